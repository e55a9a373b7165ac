"""Signing what a store has: the digest, the order of tags, and the time of a signature."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.doubles.faulty_registry import Drop
from tests.oci.samples import index_of, sample
from tests.trust.builders import put_state
from tests.trust.writing import Person, example_keys, folder, live, plain_image, remote, roles
from trust.errors import MissingError, UnreachableError, UnsignedError, UntrustedRootError, UsageError
from trust.oci.manifest import OCI_INDEX
from trust.sign import MAX_CLOCK_LEAD, sign
from trust.tuf.draft import Change

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People
    from trust.oci.store import Store
    from trust.tuf.roles import Target


def custom(store: Store, tag: str) -> dict[str, object]:
    target = live(store).lookup(tag)
    assert target is not None
    return dict(target.custom)


class TestWhatIsThere:
    def test_a_tag_as_it_is(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        manifest = sample("a").put(store, "v1")
        server.clear()
        signed = sign(store, "v1", "v1", ann.signer(store, annotations={"by": "hand"}))
        assert (signed.digest, signed.size, signed.roles) == (manifest.digest, manifest.size, ("targets",))
        assert ann.trusted_digest(store, "v1") == manifest.digest
        assert [request.path for request in server.writes if request.path.endswith("/v1")] == []
        assert custom(store, "v1") == {
            "mediaType": manifest.media_type,
            "signedAt": "2026-11-24T09:30:00Z",
            "annotations": {"by": "hand"},
        }

    def test_an_index_by_its_own_digest(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        one, two = sample("a"), sample("b", architecture="arm64")
        for image in (one, two):
            image.put(store)
        index = index_of((one, "linux/amd64"), (two, "linux/arm64"))
        store.put_manifest(index, "v1")
        assert sign(store, "v1", "v1", ann.signer(store)).digest == index.digest
        assert custom(store, "v1")["mediaType"] == OCI_INDEX
        assert ann.trusted_digest(store, "v1") == index.digest

    def test_a_digest_under_a_tag_that_moves_last(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        manifest = sample("a").put(store)
        server.clear()
        sign(store, manifest.digest, "v1", ann.signer(store))
        assert server.writes[-1].path == "/v2/app/manifests/v1"
        assert ann.trusted_digest(store, "v1") == manifest.digest

    def test_a_tag_under_another_tag(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        manifest = sample("a").put(store, "candidate")
        sign(store, "candidate", "v1", ann.signer(store))
        assert store.resolve("v1") == manifest.digest
        assert [ann.verdict(store, tag) for tag in ("v1", "candidate")] == ["trusted", "unsigned"]

    def test_a_digest_that_the_tag_has_already(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        manifest = sample("a").put(store, "v1")
        sign(store, manifest.digest, "v1", ann.signer(store))
        server.clear()
        assert sign(store, manifest.digest, "v1", ann.signer(store)).unchanged
        assert server.writes == ()

    def test_a_crash_before_the_tag_moves(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        manifest = sample("a").put(store)
        server.fail("PUT", "/manifests/v1$", Drop(), times=None)
        with pytest.raises(UnreachableError):
            sign(store, manifest.digest, "v1", ann.signer(store))
        assert ann.verdict(store, "v1") == "missing"
        server.clear()
        assert sign(store, manifest.digest, "v1", ann.signer(store)).unchanged
        assert ann.trusted_digest(store, "v1") == manifest.digest


class TestRefusal:
    @pytest.mark.parametrize("tag", ["_trust", "_trust.x", "-v1", f"sha256-{'ab' * 32}"])
    def test_of_a_tag_that_is_reserved_or_none(self, people: People, tag: str) -> None:
        ann, store = people("ann"), folder(people)
        manifest = sample("a").put(store)
        with pytest.raises(UsageError):
            sign(store, manifest.digest, tag, ann.signer(store))
        assert store.tags(10) == ()

    def test_of_what_is_not_there(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        sample("a").put(store, "v1")
        with pytest.raises(MissingError):
            sign(store, sample("b").manifest.digest, "v1", ann.signer(store))
        assert store.tags(10) == ("v1",)

    def test_without_the_key(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        sample("b").put(store, "v2")
        bob = people("bob", "publish")
        bob.pins[:] = ann.pins
        before = store.tags(10)
        with pytest.raises(UnsignedError):
            sign(store, "v2", "v2", bob.signer(store))
        assert store.tags(10) == before


class TestSignedAt:
    """Each signature of a tag is later than the one before, whatever the clocks say."""

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (60, "2026-11-24T09:31:00Z"),
            (0.5, "2026-11-24T09:30:01Z"),
            (0, "2026-11-24T09:30:01Z"),
            (-60, "2026-11-24T09:30:01Z"),
            (-300, "2026-11-24T09:30:01Z"),
        ],
        ids=["a minute later", "in the same second", "at the same time", "a minute behind", "five minutes behind"],
    )
    def test_it_grows(self, people: People, seconds: float, expected: str) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        ann.later(seconds=seconds).push(store, "v1", plain_image("b"))
        assert custom(store, "v1")["signedAt"] == expected

    def test_within_one_second_by_a_clock_that_knows_fractions(self, people: People) -> None:
        ann, store = people("ann").later(seconds=0.25), folder(people)
        ann.push(store, "v1", plain_image("a"))
        ann.later(seconds=0.25).push(store, "v1", plain_image("b"))
        assert custom(store, "v1")["signedAt"] == "2026-11-24T09:30:01Z"

    def test_each_tag_has_its_own(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        ann.push(store, "v2", plain_image("a"))
        assert custom(store, "v2")["signedAt"] == "2026-11-24T09:30:00Z"

    def test_a_clock_that_is_further_behind_is_refused(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = ann.later(seconds=-MAX_CLOCK_LEAD.seconds - 1)
        image = plain_image("b")
        with pytest.raises(UsageError, match=r"last signed at 2026-11-24T09:30:00Z, .* says 2026-11-24T09:24:59Z"):
            late.push(store, "v1", image)
        assert custom(store, "v1")["signedAt"] == "2026-11-24T09:30:00Z"

    def test_a_time_that_nobody_can_read_counts_as_none(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        signed = ann.push(store, "v1", plain_image("a"))
        old = live(store).targets["targets"].targets["v1"]
        old.custom["signedAt"] = "yesterday"
        target = SimpleNamespace(tag="v1", to_file=lambda: old)
        planned = ann.writer(store).plan(Change(put={"targets": (cast("Target", target),)}))
        put_state(store, planned.verified.state)
        assert custom(store, "v1")["signedAt"] == "yesterday"
        assert ann.trusted_digest(store, "v1") == signed.digest
        ann.push(store, "v1", plain_image("b"))
        assert custom(store, "v1")["signedAt"] == "2026-11-24T09:30:00Z"


def test_an_example_key_signs_nothing_but_a_trial(people: People, tmp_path: Path) -> None:
    keys = example_keys(tmp_path)
    store = folder(people)
    person = Person(tmp_path / "trial", keys, roles=roles())
    sample("a").put(store, "v1")
    with pytest.raises(UntrustedRootError, match="published example keys"):
        sign(store, "v1", "v1", person.signer(store))
    assert store.tags(10) == ("v1",)
