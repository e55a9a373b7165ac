from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.doubles.faulty_registry import FaultyRegistry, wrong_body
from tests.trust.builders import (
    REPOSITORY,
    Delegate,
    a_layout,
    a_registry,
    a_state,
    a_target,
    a_team,
    an_image,
    put_image,
    put_state,
)
from tests.trust.mutations import Mutation, bent_bytes, mutations
from trust import rolefiles, states
from trust.digest import Digest
from trust.errors import DocksealError, MissingError, TamperedError, UntrustedRootError
from trust.oci.layout import Layout
from trust.oci.manifest import OCI_EMPTY, OCI_MANIFEST, Manifest
from trust.rolefiles import FILE_NAME, INLINE_FILE_BYTES, INLINE_TOTAL_BYTES, ROLE_FILE_TYPE
from trust.states import (
    MAX_STATE_BYTES,
    POINTER_TAG,
    STATE_TYPE,
    announce,
    announced,
    encode,
    own_tag,
    point,
    read_announced,
    read_pointer,
)
from trust.tuf.state import State, unverified_identity

if TYPE_CHECKING:
    from pathlib import Path

    from trust.oci.store import Store

TEAM = a_team()
STATE = TEAM.with_delegates(TEAM.first(a_target()), Delegate("release"))


def nothing_cached(digest: Digest) -> None:
    del digest


def body_of(manifest: Manifest) -> dict[str, object]:
    body = json.loads(manifest.raw)
    assert isinstance(body, dict)
    return body


def plant(store: Store, body: dict[str, object]) -> None:
    """Make ``_trust`` a manifest with this body; its blobs are there where the state's are."""
    put_state(store, STATE)
    store.put_manifest(Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST), POINTER_TAG)


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return a_layout(tmp_path)


def test_a_state_is_one_manifest_with_a_layer_for_each_role_file() -> None:
    manifest = encode(STATE)
    assert manifest.artifact_type == STATE_TYPE
    assert manifest.media_type == OCI_MANIFEST
    assert manifest.config is not None
    assert manifest.config.media_type == OCI_EMPTY
    assert {layer.annotation(FILE_NAME) for layer in manifest.layers} == set(STATE.files)
    assert {layer.media_type for layer in manifest.layers} == {ROLE_FILE_TYPE}
    assert all(layer.data is not None for layer in manifest.layers)
    assert encode(STATE).raw == manifest.raw


def test_what_is_announced_and_pointed_at_is_read_back(store: Layout) -> None:
    assert read_pointer(store, nothing_cached) is None
    identity = unverified_identity(STATE)
    manifest = announce(store, STATE, 2)
    tag = own_tag(2, identity)
    assert tag == f"_trust.0000000000000002-{identity[:12]}"
    assert store.tags(9) == (tag,)
    point(store, manifest)
    for stored in (read_pointer(store, nothing_cached), read_announced(store, tag, nothing_cached)):
        assert stored is not None
        assert dict(stored.state.files) == dict(STATE.files)
        assert stored.digest == manifest.digest
    with pytest.raises(MissingError):
        read_announced(store, own_tag(3, identity), nothing_cached)


def test_announced_states_are_found_among_other_tags() -> None:
    tags = (
        "v1",
        "_trust",
        own_tag(2, "b" * 64),
        own_tag(10, "a" * 64),
        own_tag(2, "c" * 64),
        "_trust.1-aa",
        "_trust-x",
    )
    assert [(item.version, item.identity[0]) for item in announced(tags)] == [(10, "a"), (2, "c"), (2, "b")]
    assert next(item.tag for item in announced(tags)) == own_tag(10, "a" * 64)


def padded(role: str, size: int) -> State:
    files = dict(STATE.files)
    files[STATE.names[role]] += b" " * (size - len(files[STATE.names[role]]))
    return State.of(files.items())


def test_large_files_are_blobs(store: Layout) -> None:
    for size, inlined in ((INLINE_FILE_BYTES, True), (INLINE_FILE_BYTES + 1, False)):
        state = padded("targets", size)
        layers = {layer.annotation(FILE_NAME): layer for layer in encode(state).layers}
        assert (layers["2.targets.json"].data is not None) is inlined
        put_state(store, state)
        stored = read_pointer(store, nothing_cached)
        assert stored is not None
        assert dict(stored.state.files) == dict(state.files)


def test_what_is_inlined_is_bounded_and_the_newest_comes_first() -> None:
    filler = {f"{number}.root.json": b"r" * INLINE_FILE_BYTES for number in range(1, 41)}
    state = State.of((filler | {n: d for n, d in STATE.files.items() if not n.endswith("root.json")}).items())
    inlined = {layer.annotation(FILE_NAME): layer.size for layer in encode(state).layers if layer.data is not None}
    assert {"timestamp.json", "2.snapshot.json", "2.targets.json", "40.root.json", "1.root.json"} <= set(inlined)
    assert INLINE_TOTAL_BYTES - INLINE_FILE_BYTES < sum(inlined.values()) <= INLINE_TOTAL_BYTES


def test_cached_files_are_not_fetched() -> None:
    state = padded("targets", INLINE_FILE_BYTES + 1)
    cache = {Digest.of(data): data for data in state.files.values()}
    with FaultyRegistry() as server:
        store = a_registry(server)
        put_state(store, state)
        for cached, blobs in ((nothing_cached, 1), (cache.get, 0)):
            server.clear()
            stored = read_pointer(a_registry(server), cached)
            assert stored is not None
            assert dict(stored.state.files) == dict(state.files)
            assert [request.method for request in server.requests] == ["GET"] * (1 + blobs)


@pytest.mark.parametrize(
    ("artifact_type"), [None, "application/vnd.dockseal.trust.proposal.v1", "application/vnd.example+json"]
)
def test_something_else_under_the_tag_is_no_ground_for_trust(store: Layout, artifact_type: str | None) -> None:
    body = body_of(encode(STATE)) | {"artifactType": artifact_type}
    plant(store, {name: value for name, value in body.items() if value is not None})
    with pytest.raises(UntrustedRootError, match="no trust data that is known") as caught:
        read_pointer(store, nothing_cached)
    assert "nothing was changed" in str(caught.value.hint)


def test_an_image_under_the_tag_is_no_ground_for_trust(store: Layout) -> None:
    put_image(store, *an_image(), POINTER_TAG)
    with pytest.raises(UntrustedRootError):
        read_pointer(store, nothing_cached)


def test_layers_must_be_role_files_and_what_they_say(store: Layout) -> None:
    def layers() -> list[dict[str, object]]:
        found = body_of(encode(STATE))["layers"]
        assert isinstance(found, list)
        return found

    cases: dict[str, list[dict[str, object]]] = {
        "no role file": [{**item, "mediaType": "application/json"} for item in layers()],
        "is no role file's name": [{**item, "annotations": {FILE_NAME: "../../x"}} for item in layers()],
        "layer that is no role file": [{**item, "annotations": {}} for item in layers()],
        "does not match its digest": [{**item, "data": "e30="} for item in layers()],
        "two files for": layers() * 2,
        "is incomplete": [],
        f"of {MAX_STATE_BYTES} bytes": [{**item, "size": 2**40, "data": None} for item in layers()],
        "holds 8200 files": [{**item, "data": None} for item in layers()[:1]] * 8200,
    }
    for reason, found in cases.items():
        plant(store, body_of(encode(STATE)) | {"layers": found})
        with pytest.raises(TamperedError) as caught:
            read_pointer(store, nothing_cached)
        assert reason in caught.value.message


def test_a_file_that_is_another_than_its_digest_says() -> None:
    state = padded("targets", INLINE_FILE_BYTES + 1)
    with FaultyRegistry() as server:
        put_state(a_registry(server), state)
        server.fail("GET", "/blobs/", wrong_body(b"x" * (INLINE_FILE_BYTES + 1)))
        with pytest.raises(TamperedError):
            read_pointer(a_registry(server), nothing_cached)


def test_a_manifest_that_is_too_large_to_be_one(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MAX_STATE_BYTES", 100)
    monkeypatch.setattr(rolefiles, "MAX_ROLE_FILE_BYTES", 100)
    put_state(store, STATE)
    with pytest.raises(TamperedError, match="expected at most"):
        read_pointer(store, nothing_cached)


SMALL = encode(a_state())


def _read(folder: Path, raw: bytes) -> None:
    """Read a manifest as a folder would hold it."""
    try:
        manifest = Manifest.parse(raw, OCI_MANIFEST)
    except DocksealError:
        return
    layout = Layout(folder / "fuzz", repository=REPOSITORY)
    assert manifest.config is not None
    try:
        layout.put_blob(replace(manifest.config, data=None), partial(io.BytesIO, b"{}"))
        layout.put_manifest(manifest, POINTER_TAG)
        stored = read_pointer(layout, nothing_cached)
    except DocksealError:
        return
    assert stored is not None
    assert {"root", "timestamp", "snapshot", "targets"} <= set(stored.state.names)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_fuzz_only_our_errors_leave_bent_bytes(tmp_path: Path, data: st.DataObject) -> None:
    _read(tmp_path, data.draw(bent_bytes(SMALL.raw)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(mutations())
def test_fuzz_only_our_errors_leave_bent_json(tmp_path: Path, mutate: Mutation) -> None:
    body = json.loads(SMALL.raw)
    mutate(body)
    _read(tmp_path, json.dumps(body).encode())
