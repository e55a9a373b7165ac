"""Registries whose tags cannot move: writers go on, and readers find the newest state by the states' own tags."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import Status
from tests.trust.writing import live, plain_image, put_sample, remote, state_of
from trust.copy import copy
from trust.errors import DeniedError, UnreachableError
from trust.repo import refresh
from trust.revoke import plan_revocation, revoke
from trust.sign import sign
from trust.states import POINTER_TAG, announced
from trust.verify import judge

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.oci.registry import Registry
    from trust.oci.store import Store


@pytest.fixture
def store(server: FaultyRegistry) -> Registry:
    server.immutable_tags = True
    return remote(server.host)


@pytest.fixture
def ann(people: People, store: Store) -> Person:
    """She has pushed v1 and v2."""
    ann = people("ann")
    ann.push(store, "v1", plain_image("one"))
    ann.push(store, "v2", plain_image("two"))
    return ann


def reader(people: People, ann: Person, name: str = "bob", *, told: bool = False) -> Person:
    bob = people.onlooker(name, *ann.pins)
    return replace(bob, immutable=frozenset(ann.pins[0].repository.split("/")[:1])) if told else bob


def versions(store: Store) -> list[int]:
    return [item.version for item in announced(store.tags(1000))]


class TestWriters:
    def test_the_pointer_stays_and_they_say_so_once_a_run(self, store: Store, ann: Person) -> None:
        assert versions(store) == [2, 1]
        assert live(store).version == 1
        (warning,) = ann.warnings
        assert f"does not let the tag {POINTER_TAG} move" in warning
        assert "immutable_tags = true" in warning

    def test_they_build_on_the_newest_state(self, store: Store, ann: Person, people: People) -> None:
        ben = people("ben")
        ben.pins += ann.pins
        signed = state_of(ben.push(store, "v3", plain_image("three")))
        assert signed.verified.version == 3
        assert set(signed.verified.tags) == {"v1", "v2", "v3"}
        (second,) = [item.identity for item in announced(store.tags(1000)) if item.version == 2]
        assert [parent[:12] for parent in signed.verified.links.parents] == [second]

    def test_the_same_push_again_writes_nothing(self, server: FaultyRegistry, store: Store, ann: Person) -> None:
        there = len(versions(store))
        assert ann.push(store, "v2", plain_image("two")).unchanged
        assert len(versions(store)) == there

    def test_where_they_are_told_they_leave_the_pointer_alone(
        self, server: FaultyRegistry, store: Store, people: People
    ) -> None:
        ann = people("ann")
        ann.immutable = frozenset({server.host})
        for tag in ("v1", "v2", "v2"):
            ann.push(store, tag, plain_image(tag))
        assert ann.warnings == []
        assert store.resolve(POINTER_TAG) is None
        assert versions(store) == [2, 1]
        assert reader(people, ann).verdict(store, "v2") == "trusted", "also for those who are not told"
        assert reader(people, ann, "eve", told=True).verdict(store, "v2") == "trusted"

    def test_a_pointer_that_never_was_there_and_is_denied_is_an_error(
        self, server: FaultyRegistry, people: People
    ) -> None:
        server.fail("PUT", f"/manifests/{POINTER_TAG}", Status(403), times=9)
        with pytest.raises(DeniedError):
            people("ann").push(remote(server.host), "v1", plain_image("one"))

    def test_far_behind_the_pointer(self, store: Store, ann: Person, people: People) -> None:
        """More versions lie between than a state covers, and than a look may cost."""
        for _ in range(70):
            refresh(ann.writer(store))
        ann.warnings.clear()
        ben = people("ben")
        ben.pins += ann.pins
        assert state_of(ben.push(store, "v3", plain_image("three"))).verified.version == 73
        assert live(store).version == 1
        assert reader(people, ann).verdict(store, "v3") == "trusted"


class TestImageTags:
    def test_one_that_cannot_move_means_what_it_meant(self, store: Store, ann: Person, people: People) -> None:
        before = ann.trusted_digest(store, "v1")
        with pytest.raises(DeniedError, match="signed to mean what it meant before") as caught:
            ann.push(store, "v1", plain_image("another"))
        assert "immutable tag" in (caught.value.hint or "")
        assert ann.trusted_digest(store, "v1") == before
        assert reader(people, ann, told=True).trusted_digest(store, "v1") == before
        target = ann.reader(store).read("v1").verified.targets["targets"].targets["v1"]
        assert target.custom is not None
        assert target.custom["signedAt"] > "2026-11-24T09:30:01", "later than what was taken back"

    def test_one_that_was_never_signed_is_not_signed_after_it(self, store: Store, ann: Person) -> None:
        put_sample(store, "old")
        with pytest.raises(DeniedError):
            ann.push(store, "old", plain_image("another"))
        assert ann.verdict(store, "old") == "unsigned"

    def test_a_new_repository(self, store: Store, people: People) -> None:
        put_sample(store, "v1")
        ann = people("ann")
        with pytest.raises(DeniedError):
            ann.push(store, "v1", plain_image("another"))
        assert ann.verdict(store, "v1") == "unsigned"

    def test_signing_under_a_tag_that_cannot_move(self, store: Store, ann: Person) -> None:
        before = ann.trusted_digest(store, "v1")
        with pytest.raises(DeniedError):
            sign(store, "v2", "v1", ann.signer(store))
        assert ann.trusted_digest(store, "v1") == before

    def test_where_it_is_told_nothing_is_sent_at_all(self, server: FaultyRegistry, store: Store, ann: Person) -> None:
        ann.immutable = frozenset({server.host})
        there = len(server.writes)
        with pytest.raises(DeniedError, match="tags cannot move"):
            sign(store, "v2", "v1", ann.signer(store))
        assert len(server.writes) == there
        with pytest.raises(DeniedError, match="tags cannot move") as caught:
            ann.push(store, "v1", plain_image("another"))
        assert "another tag" in (caught.value.hint or "")
        assert versions(store) == [2, 1]

    def test_a_refusal_of_another_kind_leaves_the_signature(self, server: FaultyRegistry, people: People) -> None:
        """The tag is not there: the same push goes on later, and moves it."""
        store, ann = remote(server.host), people("ann")
        server.fail("PUT", "/manifests/v1", Status(403), times=1)
        with pytest.raises(DeniedError):
            ann.push(store, "v1", plain_image("one"))
        assert ann.push(store, "v1", plain_image("one")).unchanged
        assert ann.verdict(store, "v1") == "trusted"

    def test_somebody_else_who_has_signed_it_meanwhile_keeps_it(self, store: Store, ann: Person) -> None:
        signer = ann.signer(store)
        manifest = put_sample(store, None, "mine")
        signed = signer.sign("v1", manifest)
        assert signed.state is not None
        winner = put_sample(store, None, "theirs")
        ann.signer(store).sign("v1", winner)
        with pytest.raises(DeniedError):
            signer.move_tag("v1", manifest, signed.state)
        found = ann.reader(store).read("v1").verified.lookup("v1")
        assert found is not None
        assert found.hashes["sha256"] == winner.digest.hex


class TestReaders:
    def test_what_the_pointer_does_not_have_is_looked_for_once(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        bob = reader(people, ann)
        assert bob.verdict(store, "v1") == "trusted"
        assert bob.verdict(store, "v2") == "trusted"
        assert bob.verdict(store, "v3") == "missing"

    def test_a_lookup_that_succeeds_costs_no_look(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        bob = reader(people, ann)
        there = len(server.requests)
        assert bob.verdict(store, "v1") == "trusted"
        assert [request.method for request in server.requests[there:]] == ["GET", "HEAD"]

    def test_one_that_is_told_sees_a_revocation_at_once(self, store: Store, ann: Person, people: People) -> None:
        writer = ann.writer(store)
        revoke(writer, plan_revocation(writer, "v1"))
        assert reader(people, ann, told=True).verdict(store, "v1") == "unsigned"
        assert reader(people, ann, "eve").verdict(store, "v1") == "trusted", "until the pointer's state expires"
        assert reader(people, ann, "eve").later(days=15).verdict(store, "v1") == "expired"

    def test_one_with_memory_never_falls_back(self, store: Store, ann: Person, people: People) -> None:
        bob = reader(people, ann)
        assert bob.verdict(store, "v2") == "trusted"
        writer = ann.writer(store)
        revoke(writer, plan_revocation(writer, "v1"))
        assert bob.verdict(store, "v1") == "unsigned"

    def test_one_that_is_told_goes_by_the_pointer_where_no_state_is_announced(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        for item in announced(store.tags(1000)):
            del server.tags["app"][item.tag]
        assert reader(people, ann, told=True).verdict(store, "v1") == "trusted"
        assert reader(people, ann, told=True).verdict(store, "v2") == "unsigned"

    def test_status_pages_show_the_newest(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        bob = reader(people, ann, told=True)
        found = bob.reader(store).read_past_expiry()
        assert found is not None
        assert found.verified.version == 2

    def test_a_registry_that_goes_away_is_no_verdict(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        bob = reader(people, ann)
        server.fail("GET", "/tags/list", Status(500), times=1)
        with pytest.raises(UnreachableError):
            judge(store, bob.machine(), "v2")


def test_a_copy_into_such_a_registry(store: Store, ann: Person, people: People, server: FaultyRegistry) -> None:
    target = remote(server.host, "copy")
    bob = reader(people, ann, told=True)
    for version in (2, 3):
        copied = copy(store, target, None, bob.machine(), bob.uploads(target))
        assert copied.state_version == version
        ann.push(store, "v3", plain_image("three"))
    assert versions(target) == [3, 2]


def test_a_copy_by_one_who_is_not_told(store: Store, ann: Person, people: People, server: FaultyRegistry) -> None:
    target = remote(server.host, "copy")
    bob = reader(people, ann)
    assert bob.verdict(store, "v2") == "trusted"
    copy(store, target, None, bob.machine(), bob.uploads(target))
    ann.push(store, "v3", plain_image("three"))
    assert bob.verdict(store, "v3") == "trusted"
    copy(store, target, None, bob.machine(), bob.uploads(target))
    assert versions(target) == [3, 2]
    assert any("the state stands under its own tag alone" in text for text in bob.warnings)
