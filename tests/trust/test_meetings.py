"""Two who sign one tag at once, changes that wait for a key, and pushes that are repeated after they were killed."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import Drop, LoseAnswer
from tests.trust.builders import Delegate
from tests.trust.writing import NOW, add_signer, live, plain_image, remote, state_of, then
from trust.errors import ConflictError, UnreachableError
from trust.history import history
from trust.repo import refresh
from trust.revoke import plan_revocation, revoke
from trust.states import POINTER_TAG, announced

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.digest import Digest
    from trust.oci.store import Store
    from trust.tuf.verified import Verified

ANNOUNCE = r"/manifests/_trust\."
POINT = r"/manifests/_trust$"
LOOK = r"/tags/list"
TAG = r"/manifests/v1$"
STATE_BLOB = r"/blobs/"
"""Where the image is there already: what is signed is about to be announced."""


@pytest.fixture
def pair(server: FaultyRegistry, people: People) -> tuple[Person, Person]:
    """Two machines with the same keys; ``v1`` is signed."""
    ann, bob = people("ann"), people("bob")
    ann.push(remote(server.host), "v1", plain_image("old"))
    bob.pins[:] = ann.pins
    return ann, bob


def push_v1(who: Person, server: FaultyRegistry, outcomes: dict[str, Digest | None]) -> None:
    """Push an image of one's own as ``v1``; None is a push that was told it lost."""
    name = who.folder.name
    outcomes[name] = None
    errors = []
    with_image = plain_image(f"of {name}")
    try:
        outcomes[name] = who.push(remote(server.host), "v1", with_image).digest
    except ConflictError as error:
        errors.append(error)
    assert all("at the same time" in str(error) and error.exit_code == 1 for error in errors)


class TestOneTagTwice:
    @pytest.mark.parametrize("seconds", [-30, 0, 30], ids=["second is earlier", "same second", "second is later"])
    @pytest.mark.parametrize(
        ("method", "pattern", "skip"),
        [
            ("PUT", "/blobs/", 3),
            ("PUT", ANNOUNCE, 0),
            ("GET", LOOK, 2),
            ("PUT", POINT, 0),
            ("GET", LOOK, 3),
            ("HEAD", POINT, 1),
            ("PUT", TAG, 0),
        ],
        ids=["signed", "announced", "looked", "pointed", "looked again", "looked at the pointer", "tag moved"],
    )
    def test_the_image_tag_ends_where_the_state_says_and_who_lost_is_told(  # noqa: PLR0917 - a table
        self,
        server: FaultyRegistry,
        pair: tuple[Person, Person],
        people: People,
        seconds: int,
        method: str,
        pattern: str,
        skip: int,
    ) -> None:
        ann, bob = pair
        bob.now += timedelta(seconds=seconds)
        outcomes: dict[str, Digest | None] = {}
        server.fail(method, pattern, then(partial(push_v1, bob, server, outcomes)), skip=skip)
        push_v1(ann, server, outcomes)
        assert len(outcomes) == 2, "both have pushed"
        store = remote(server.host)
        carl = people.onlooker("carl", *ann.pins)
        assert carl.verdict(store, "v1") == "trusted"
        meaning = store.resolve("v1")
        assert meaning in {digest for digest in outcomes.values() if digest is not None}
        told_success = {name for name, digest in outcomes.items() if digest is not None}
        if len(told_success) == 2:  # bob was done before ann announced, or built on what she had announced
            assert meaning == outcomes["ann" if pattern == STATE_BLOB else "bob"]
        assert live(store).links.pending == ()

    @pytest.mark.parametrize(("seconds", "winner"), [(-30, "ann"), (30, "bob")])
    def test_the_later_signature_wins(
        self, server: FaultyRegistry, pair: tuple[Person, Person], seconds: int, winner: str
    ) -> None:
        ann, bob = (who.later(hours=1) for who in pair)
        bob.now += timedelta(seconds=seconds)
        assert self._winner(ann, bob, server) == winner

    def test_of_the_same_second_the_larger_digest_wins(
        self, server: FaultyRegistry, pair: tuple[Person, Person]
    ) -> None:
        ann, bob = (who.later(hours=1) for who in pair)
        winner = self._winner(ann, bob, server)
        digests = {name: str(remote(server.host).resolve(name)) for name in ("ann", "bob")}
        assert winner == max(digests, key=lambda name: digests[name])

    def _winner(self, ann: Person, bob: Person, server: FaultyRegistry) -> str:
        """Both push ``v1``, bob while ann has not announced yet; each has pushed its image under its own name, too."""
        for who in (ann, bob):
            who.push(remote(server.host), who.folder.name, plain_image(f"of {who.folder.name}"))
        outcomes: dict[str, Digest | None] = {}
        server.fail("PUT", STATE_BLOB, then(partial(push_v1, bob, server, outcomes)))
        push_v1(ann, server, outcomes)
        (winner,) = [
            name for name in ("ann", "bob") if remote(server.host).resolve(name) == remote(server.host).resolve("v1")
        ]
        assert outcomes[winner] is not None
        return winner

    @pytest.mark.parametrize("first", ["push", "revoke"])
    def test_a_removal_wins_against_a_signature(
        self, server: FaultyRegistry, pair: tuple[Person, Person], first: str
    ) -> None:
        ann, bob = pair
        store = remote(server.host)

        def pushes(who: Person) -> None:
            who.push(remote(server.host), "v1", plain_image("new"))

        def revokes(who: Person) -> None:
            writer = who.writer(remote(server.host))
            revoke(writer, plan_revocation(writer, "v1"))

        if first == "push":
            server.fail("PUT", ANNOUNCE, then(lambda: revokes(bob)))
            with pytest.raises(ConflictError, match=r"another writer revoked .*:v1 at the same time") as caught:
                pushes(ann)
            assert "run the same command again" in (caught.value.hint or "")
        else:
            outcomes: list[str] = []

            def bob_pushes() -> None:
                pushes(bob)
                outcomes.append("bob was first")

            server.fail("PUT", STATE_BLOB, then(bob_pushes))
            revokes(ann)
            assert outcomes
        assert live(store).lookup("v1") is None
        assert ann.verdict(store, "v1") == "unsigned"
        pushes(ann)
        assert ann.verdict(store, "v1") == "trusted"


@pytest.fixture
def crew(server: FaultyRegistry, people: People) -> tuple[Person, Person, Person, Store]:
    """Two machines that sign as ``release``, and a publisher without that key; all may publish."""
    keeper = people("keeper", "root", "targets", "publish", "release")
    store = remote(server.host)
    keeper.push(store, "v0", plain_image("old"))
    add_signer(keeper.keys, store, Delegate("release"))
    ann, bob = people("ann", "publish", "release"), people("bob", "publish", "release")
    clerk = people("clerk", "publish")
    for who in (ann, bob, clerk):
        who.pins[:] = keeper.pins
    return ann, bob, clerk, store


def announce_only(who: Person, server: FaultyRegistry, tag: str) -> None:
    """Be killed right after announcing; nobody sees the others' announcements."""
    server.fail("GET", LOOK, Drop(), times=None, skip=2)
    with pytest.raises(UnreachableError):
        who.push(remote(server.host), tag, plain_image(tag), signers=("release",))
    server.clear()


def two_announced(server: FaultyRegistry, ann: Person, bob: Person) -> None:
    """Two states that both change ``release``, neither of which knows of the other."""
    announce_only(ann, server, "a")
    hidden = {tag: digest for tag, digest in server.tags["app"].items() if tag.startswith("_trust.")}
    newest = max(hidden)
    del server.tags["app"][newest]
    announce_only(bob, server, "b")
    server.tags["app"][newest] = hidden[newest]


class TestPending:
    """A change whose key is not here waits, is named by all commands, and is merged by a holder of the key."""

    def test_what_the_clerk_cannot_merge_waits_and_a_holder_of_the_key_merges_it(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        ann, bob, clerk, store = crew
        two_announced(server, ann, bob)
        refresh(clerk.writer(remote(server.host)))
        state = live(store)
        (pending,) = state.links.pending
        assert len({"a", "b"} & set(state.listing("release"))) == 1
        assert any(pending[:12] in text and "dockseal repo refresh" in text for text in clerk.warnings)
        entries = history(store, clerk.reader(store), clerk.machine())
        assert next(entry for entry in entries if entry.current).pending == (pending,)
        before = state.version
        clerk.warnings.clear()
        refresh(clerk.writer(remote(server.host)))
        assert live(store).links.pending == (pending,), "it waits on"
        assert live(store).version > before
        assert any(pending[:12] in text for text in clerk.warnings)
        refresh(bob.writer(remote(server.host)))
        assert live(store).links.pending == ()
        assert {"a", "b"} <= set(live(store).listing("release"))
        assert pending in dict(live(store).links.covers)
        for who, tag in ((ann, "a"), (bob, "b")):
            assert who.push(remote(server.host), tag, plain_image(tag), signers=("release",)).unchanged
            assert clerk.verdict(store, tag) == "trusted"

    def test_a_push_of_a_holder_of_the_key_merges_it_as_well(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        ann, bob, clerk, store = crew
        two_announced(server, ann, bob)
        refresh(clerk.writer(remote(server.host)))
        assert live(store).links.pending
        ann.push(remote(server.host), "c", plain_image("c"), signers=("release",))
        assert live(store).links.pending == ()
        assert {"a", "b", "c"} <= set(live(store).listing("release"))

    def test_it_outlives_the_window_and_is_merged_in_the_end(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        ann, bob, clerk, store = crew
        two_announced(server, ann, bob)
        for _ in range(70):
            refresh(clerk.writer(remote(server.host)))
        (pending,) = live(store).links.pending
        assert any(item.identity == pending[:12] for item in announced(store.tags(1000)))
        refresh(bob.writer(remote(server.host)))
        assert live(store).links.pending == ()
        assert {"a", "b"} <= live(store).targets["release"].targets.keys()

    def test_where_its_ancestors_are_gone_nothing_is_guessed(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        ann, bob, clerk, store = crew
        two_announced(server, ann, bob)
        for _ in range(70):
            refresh(clerk.writer(remote(server.host)))
        (pending,) = live(store).links.pending
        for item in announced(store.tags(1000)):
            if item.version < 60 and item.identity != pending[:12]:
                del server.tags["app"][item.tag]
        refresh(bob.writer(remote(server.host)))
        assert live(store).links.pending == (pending,)

    def test_a_writer_that_finds_its_own_change_pending_merges_it_at_once(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        """It holds the key: there is nobody to wait for."""
        ann, bob, clerk, store = crew
        announce_only(bob, server, "b")
        hidden = {tag: digest for tag, digest in server.tags["app"].items() if tag.startswith("_trust.")}
        newest = max(hidden)
        del server.tags["app"][newest]

        def clerk_joins() -> None:
            server.tags["app"][newest] = hidden[newest]
            refresh(clerk.writer(remote(server.host)))

        server.fail("PUT", ANNOUNCE, then(clerk_joins))
        signed = ann.push(remote(server.host), "a", plain_image("a"), signers=("release",))
        assert clerk.trusted_digest(store, "a") == signed.digest
        refresh(ann.writer(remote(server.host)))
        assert {"a", "b"} <= set(live(store).listing("release"))
        assert live(store).links.pending == ()

    def test_a_pusher_without_anybodys_key_is_told_that_the_own_change_waits(
        self, server: FaultyRegistry, crew: tuple[Person, Person, Person, Store]
    ) -> None:
        ann, bob, clerk, store = crew
        two_announced(server, ann, bob)
        refresh(clerk.writer(remote(server.host)))
        (pending,) = live(store).links.pending
        (waiting,) = {"a", "b"} - set(live(store).listing("release"))
        assert clerk.verdict(store, waiting) in {"missing", "unsigned"}
        assert pending in {state.identity for state in _all_states(clerk, store)}

    def test_changes_of_different_roles_wait_for_nobody(self, server: FaultyRegistry, people: People) -> None:
        """Four keys on four machines, none of which has another's."""
        keeper = people("keeper", "root", "targets", "publish", "release", "targets-b", "root-b")
        store = remote(server.host)
        keeper.push(store, "v0", plain_image("old"))
        add_signer(keeper.keys, store, *(Delegate(name, paths=(f"{name}-*",)) for name in ("release",)))
        ann, clerk = people("ann", "publish", "release"), people("clerk", "publish", "targets")
        for who in (ann, clerk):
            who.pins[:] = keeper.pins
        announce_only(ann, server, "release-1")
        revoke(writer := clerk.writer(remote(server.host)), plan_revocation(writer, "v0"))
        assert live(store).links.pending == ()
        assert live(store).lookup("release-1") is not None
        assert live(store).lookup("v0") is None


def _all_states(who: Person, store: Store) -> list[Verified]:
    from trust.states import read_announced

    reader = who.reader(store)
    return [
        reader.trust_past(read_announced(store, item.tag, reader.cached)).verified
        for item in announced(store.tags(1000))
    ]


class TestResumption:
    """The same command again finishes, and sends nothing that is there."""

    @pytest.mark.parametrize("fault", [Drop(), LoseAnswer()], ids=["cut off", "answer lost"])
    @pytest.mark.parametrize(
        ("method", "pattern", "unchanged"),
        [
            ("PUT", "/blobs/", False),
            ("PUT", r"/manifests/sha256", False),
            ("PUT", ANNOUNCE, None),
            ("GET", LOOK, None),
            ("PUT", POINT, True),
            ("PUT", TAG, True),
        ],
    )
    def test_a_killed_push_sends_no_layer_twice_and_signs_nothing_anew(
        self,
        server: FaultyRegistry,
        pair: tuple[Person, Person],
        fault: Drop | LoseAnswer,
        method: str,
        pattern: str,
        *,
        unchanged: bool | None,
    ) -> None:
        ann, bob = pair
        image = plain_image("one", "two")
        server.fail(method, pattern, fault, times=None)
        with pytest.raises(UnreachableError):
            ann.push(remote(server.host), "v1", image)
        held = set(server.blobs["app"])
        announced_before = {tag for tag in server.tags["app"] if tag.startswith("_trust.")}
        server.clear()
        signed = ann.push(remote(server.host), "v1", plain_image("one", "two"))
        sent = {one.query["digest"][0] for one in server.writes if one.method == "PUT" and "/blobs/" in one.path}
        assert not sent & held, "nothing that is there is sent again"
        if unchanged is not None:
            assert signed.unchanged is unchanged
        if len(announced_before) == 2:  # it was announced: the same state goes live
            assert {tag for tag in server.tags["app"] if tag.startswith("_trust.")} == announced_before
        store = remote(server.host)
        assert [who.trusted_digest(store, "v1") for who in (ann, bob)] == [signed.digest] * 2
        server.clear()
        assert ann.push(remote(server.host), "v1", plain_image("one", "two")).unchanged
        assert server.writes == (), "it is done"

    def test_a_push_that_was_killed_between_two_of_another_writer(
        self, server: FaultyRegistry, pair: tuple[Person, Person]
    ) -> None:
        ann, bob = pair
        server.fail("PUT", POINT, Drop(), times=None)
        with pytest.raises(UnreachableError):
            ann.push(remote(server.host), "a", plain_image("a"))
        server.clear()
        for text in ("one", "two"):
            bob.push(remote(server.host), "b", plain_image(text))
        server.clear()
        again = ann.push(remote(server.host), "a", plain_image("a"))
        assert again.unchanged
        assert [one.path.rpartition("/")[2] for one in server.writes] == ["a"], "the tag moves, and that is all"
        assert state_of(again).verified.identity == live(remote(server.host)).identity
        assert POINTER_TAG in server.tags["app"]
        assert ann.now == NOW
