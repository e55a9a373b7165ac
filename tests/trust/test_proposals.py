"""Proposals in a store: anybody who may push can put, change and repeat them, and nothing there is believed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.doubles.faulty_registry import FaultyRegistry, Status
from tests.trust.builders import (
    a_layout,
    a_registry,
    a_state,
    a_target,
    a_team,
    checked,
    new_signer,
    sign_raw,
)
from tests.trust.mutations import Mutation, bent_bytes, mutations
from tests.trust.test_proposed import holds, ids
from trust.errors import (
    ConflictError,
    DocksealError,
    TamperedError,
    UnreachableError,
    UntrustedRootError,
    UsageError,
)
from trust.proposals import (
    MAX_PROPOSALS,
    PROPOSAL_TYPE,
    contents,
    decode,
    discard,
    encode,
    find,
    parse_role_file,
    read_proposals,
    store_proposal,
    tags_of,
)
from trust.rolefiles import encode_files, put_files
from trust.states import STATE_TYPE, announce, read_pointer
from trust.states import encode as encode_state
from trust.tuf.edits import KeyChange, NewSigner, add_signer, change_keys, change_tags
from trust.tuf.proposed import propose, sign_with

if TYPE_CHECKING:
    from pathlib import Path

    from trust.oci.store import Store

NOW = a_target().signed_at
TEAM = a_team(thresholds={"targets": 2})
BASE = checked(a_state(team=TEAM))
PLAIN = propose(BASE, change_tags(BASE, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
ONE, OTHER = (sign_with(PLAIN, BASE, holds(TEAM.ring, key_id)) for key_id in ids(TEAM, "targets"))
SIGNER = propose(BASE, add_signer(BASE, NewSigner("ci", (TEAM.ring.key(),)), NOW))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return a_layout(tmp_path)


def plant(store: Store, files: dict[str, bytes], hexes: str = "0" * 12, artifact_type: str = PROPOSAL_TYPE) -> str:
    """Put anything under a proposal's tag."""
    tag = f"_trust-proposal.{hexes}"
    put_files(store, encode_files(files, artifact_type), files, tag)
    return tag


def test_it_comes_back_as_it_was(store: Store) -> None:
    tag = store_proposal(store, ONE, BASE.identity)
    (found,) = read_proposals(store, BASE)
    assert (found.id, found.base, found.tags, found.problem) == (PLAIN.identity[:12], BASE.identity, (tag,), None)
    assert found.proposed.files() == ONE.files()
    assert store_proposal(store, ONE, BASE.identity) == tag, "the same again is no other"


def test_two_who_sign_at_once_both_count(store: Store) -> None:
    tags = {store_proposal(store, item, BASE.identity) for item in (ONE, OTHER)}
    (found,) = read_proposals(store, BASE)
    assert found.proposed.is_complete
    assert set(found.tags) == tags
    assert len(tags) == 2


def test_it_is_never_readable_as_trust(store: Store) -> None:
    """Not under the pointer, and not when it calls itself a state."""
    store_proposal(store, ONE, BASE.identity)
    manifest = encode(ONE, BASE.identity)
    store.put_manifest(manifest, "_trust")
    with pytest.raises(UntrustedRootError, match="no trust data that is known"):
        read_pointer(store, lambda _digest: None)
    put_files(store, encode_files(contents(ONE), STATE_TYPE), contents(ONE), "_trust")
    with pytest.raises(TamperedError, match="the state is incomplete"):
        read_pointer(store, lambda _digest: None)


def test_a_state_is_no_proposal(store: Store) -> None:
    announce(store, BASE.state, 1)
    store.put_manifest(encode_state(BASE.state), "_trust-proposal." + "a" * 12)
    (found,) = read_proposals(store, BASE)
    assert isinstance(found.problem, TamperedError)
    assert "it is no proposal but" in found.problem.message


def _bent(change: str) -> dict[str, bytes]:
    """ONE's file, changed by somebody who may push."""
    (name,) = contents(ONE)
    body = json.loads(contents(ONE)[name])
    match change:
        case "tag":
            body["signed"]["targets"]["v2"]["hashes"]["sha256"] = "f" * 64
        case "signature":
            body["signatures"][0]["sig"] = "00" * 64
        case "stranger":
            return {name: sign_raw(body["signed"], [new_signer()])}
        case "twice":
            return {name: contents(ONE)[name].replace(b'{"signatures"', b'{"signatures":[],"signatures"', 1)}
        case "version":
            body["signed"]["version"] = 3
    return {name: json.dumps(body).encode()}


def _third() -> bytes:
    return sign_raw(json.loads(contents(ONE)["2.targets.json"])["signed"] | {"version": 3}, [])


@pytest.mark.parametrize(
    ("files", "says"),
    [
        pytest.param(_bent("tag"), "does not verify", id="another digest"),
        pytest.param(_bent("signature"), "does not verify", id="a signature of nothing"),
        pytest.param(_bent("stranger"), "is of a key that has no say", id="a stranger's signature"),
        pytest.param(_bent("twice"), "occurs twice", id="a name that occurs twice"),
        pytest.param(_bent("version"), "holds version 3: expected 2", id="another version than its name says"),
        pytest.param({"2.targets.json": b"{}"}, "has no signed part", id="nothing signed"),
        pytest.param({"readme.md": b'{"signed":{}}'}, "is no role file's name", id="no role file"),
        pytest.param({"timestamp.json": BASE.state.role("timestamp")}, "holds timestamp.json", id="a timestamp"),
        pytest.param({"1.snapshot.json": BASE.state.role("snapshot")}, "holds 1.snapshot.json", id="a snapshot"),
        pytest.param(
            contents(ONE) | {"3.targets.json": _third()},
            "one file of root, targets or a signer each",
            id="two files of a role",
        ),
        pytest.param(
            {n: d for n, d in contents(SIGNER).items() if n != "1.ci.json"}, "delegates to ci", id="a file is not there"
        ),
        pytest.param({"1.ci.json": contents(SIGNER)["1.ci.json"]}, "to which nobody delegates", id="a file too many"),
    ],
)
def test_what_was_tampered_with_is_refused_by_name(store: Store, files: dict[str, bytes], says: str) -> None:
    """And takes nothing from the honest one."""
    honest = store_proposal(store, ONE, BASE.identity)
    tag = plant(store, files, PLAIN.identity[:12])
    found = {proposal.tags: proposal for proposal in read_proposals(store, BASE)}
    bad, good = found[tag,], found[honest,]
    assert isinstance(bad.problem, TamperedError)
    assert says in bad.problem.message
    assert tag in bad.problem.message
    assert bad.id == tag
    assert bad.proposed.drafts == ()
    assert (good.problem, good.proposed.files()) == (None, ONE.files())
    assert find(list(found.values()), PLAIN.identity[:6]) is good
    assert find(list(found.values()), tag) is bad


def test_a_root_of_another_repository(store: Store) -> None:
    team = a_team("localhost:5000/other")
    other = checked(a_state(team=team), team.repository)
    edit = change_keys(other, "root", KeyChange((new_signer().public_key,)), NOW)
    plant(store, contents(propose(other, edit)))
    (found,) = read_proposals(store, BASE)
    assert isinstance(found.problem, UntrustedRootError)
    assert "belongs to another repository" in found.problem.message


@pytest.mark.parametrize("artifact_type", [STATE_TYPE, "application/vnd.example"])
def test_junk_is_shown_and_hinders_nothing(store: Store, artifact_type: str) -> None:
    plant(store, {}, "b" * 12, artifact_type)
    plant(store, {"2.targets.json": b"\xff\xfe"}, "c" * 12)
    store_proposal(store, ONE, BASE.identity)
    assert sorted(proposal.problem is None for proposal in read_proposals(store, BASE)) == [False, False, True]


def test_tags_of_proposals() -> None:
    honest = "_trust-proposal.0123456789ab"
    assert tags_of(["_trust", "v1", honest, honest + "c", "_trust-proposal.0123456789aZ", "_trust-proposal."]) == (
        honest,
    )


def test_one_that_was_overtaken_keeps_its_id(store: Store) -> None:
    """So that people are told, and not that there is none of that name."""
    tags = {store_proposal(store, item, BASE.identity) for item in (ONE, OTHER)}
    after = checked(TEAM.put(BASE.state, a_target("v3")))
    (found,) = read_proposals(store, after)
    assert isinstance(found.problem, ConflictError)
    assert (found.id, set(found.tags)) == (PLAIN.identity[:12], tags)


def test_of_too_many_some_are_looked_at(store: Store) -> None:
    for number in range(MAX_PROPOSALS + 5):
        plant(store, {"2.targets.json": b"junk"}, f"{number:012x}")
    found = read_proposals(store, BASE)
    assert len(found) == MAX_PROPOSALS
    discard(store, found[0].tags)
    assert len(read_proposals(store, BASE)) == MAX_PROPOSALS


def test_a_state_without_any(store: Store) -> None:
    assert read_proposals(store, BASE, ()) == ()


class TestDiscarding:
    def test_where_tags_can_be_deleted(self, store: Store) -> None:
        tag = store_proposal(store, ONE, BASE.identity)
        discard(store, (tag, "_trust-proposal.ffffffffffff"))
        assert read_proposals(store, BASE) == ()
        assert tags_of(store.tags(10)) == ()

    def test_where_they_cannot(self, server: FaultyRegistry) -> None:
        registry = a_registry(server)
        tag = store_proposal(registry, ONE, BASE.identity)
        server.can_delete = server.can_untag = False
        discard(registry, (tag,))
        assert tags_of(registry.tags(10)) == (tag,)
        assert read_proposals(registry, BASE) == ()

    def test_one_that_vanishes_while_it_is_read(self, store: Store) -> None:
        assert read_proposals(store, BASE, ("_trust-proposal.ffffffffffff",)) == ()


def test_a_registry_that_does_not_answer_is_no_proposal(server: FaultyRegistry) -> None:
    registry = a_registry(server)
    tag = store_proposal(registry, ONE, BASE.identity)
    server.fail("GET", f"/manifests/{tag}", Status(503), times=None)
    with pytest.raises(UnreachableError):
        read_proposals(registry, BASE)


def test_choosing_one(store: Store) -> None:
    store_proposal(store, ONE, BASE.identity)
    with pytest.raises(UsageError, match="there is no proposal 'ffff': open are "):
        find(read_proposals(store, BASE), "ffff")
    with pytest.raises(UsageError, match="there is no proposal: open are none"):
        find((), None)
    assert find(read_proposals(store, BASE), None).id == PLAIN.identity[:12]
    store_proposal(store, sign_with(SIGNER, BASE, holds(TEAM.ring, *ids(TEAM, "root"))), BASE.identity)
    with pytest.raises(UsageError, match="there are several proposals: open are"):
        find(read_proposals(store, BASE), None)
    assert find(read_proposals(store, BASE), SIGNER.identity[:12].upper()).id == SIGNER.identity[:12]


@pytest.mark.parametrize("data", [b"{}", b"[]", b"", b'{"signed":{"_type":"targets"},"signatures":[]}'])
def test_a_file_that_python_tuf_cannot_read(data: bytes) -> None:
    with pytest.raises(TamperedError, match=r"2\.targets\.json is malformed"):
        parse_role_file("2.targets.json", data)


@given(bent_bytes(contents(ONE)["2.targets.json"]))
def test_fuzz_only_our_errors_leave_bent_bytes(data: bytes) -> None:
    _decoded({"2.targets.json": data})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(mutations())
def test_fuzz_only_our_errors_leave_bent_json(mutate: Mutation) -> None:
    for name, data in contents(SIGNER).items():
        body = json.loads(data)
        mutate(body)
        with suppress(ValueError):
            _decoded(contents(SIGNER) | {name: json.dumps(body).encode()})


def _decoded(files: dict[str, bytes]) -> None:
    with suppress(DocksealError):
        proposed = decode(files.items(), BASE)
        assert proposed.identity
        encode(proposed, BASE.identity)
