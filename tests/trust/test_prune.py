"""Pruning removes what newer states cover and what is old, and nothing else; not every registry lets it."""

from __future__ import annotations

import io
import shutil
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.doubles.faulty_registry import Status
from tests.peers.registry import start_registry
from tests.trust.attackers import BLOBS, IMAGE, V1
from tests.trust.builders import (
    NOW,
    a_layout,
    a_machine,
    a_registry,
    a_target,
    a_team,
    checked,
    put_image,
    put_state,
    signed_of,
    with_file,
)
from tests.trust.writing import remote
from trust.digest import Digest
from trust.errors import TamperedError, UnreachableError, UnsignedError
from trust.pins import Pin
from trust.proposals import PROPOSAL_TYPE, read_proposals, store_proposal
from trust.prune import Prunable, Pruned, plan_prune, prune
from trust.read import Reader
from trust.rolefiles import encode_files, put_files
from trust.states import POINTER_TAG, announced, encode, own_tag, read_pointer
from trust.tuf.draft import Change, first_state
from trust.tuf.edits import change_tags
from trust.tuf.past import past_of
from trust.tuf.proposed import propose
from trust.tuf.state import COVERED_VERSIONS, EXTENSION, Period, State, Terms, unverified_identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.faulty_registry import FaultyRegistry
    from trust.oci.store import Store

LENGTH = COVERED_VERSIONS + 16
START = NOW - timedelta(days=LENGTH - 1)
OUTSIDE = LENGTH - COVERED_VERSIONS - 1
TEAM = a_team()


def follow(state: State, number: int, start: datetime) -> list[State]:
    """As many states that follow this one, a day apart."""
    found = [state]
    for days in range(number):
        found.append(TEAM.next(found[-1], now=start + timedelta(days=days)))
    return found[1:]


@cache
def chain() -> tuple[State, ...]:
    """``LENGTH`` states that follow each other, a day apart; the last is of NOW."""
    first = TEAM.first(V1, now=START)
    return (first, *follow(first, LENGTH - 1, START + timedelta(days=1)))


def tag_of(state: State) -> str:
    return own_tag(int(signed_of(state.role("timestamp"))["version"]), unverified_identity(state))


def tags_of(*states: State) -> set[str]:
    return {tag_of(state) for state in states}


def put_all(store: Store, *states: State) -> Store:
    for state in states[:-1]:
        put_state(store, state, pointed=False)
    put_state(store, states[-1])
    return store


def covering(*others: State) -> dict[str, Callable[[dict[str, Any]], None]]:
    """The edit of a timestamp that lists these states, and what they list, as ancestors."""

    def edit(body: dict[str, Any]) -> None:
        for other in others:
            timestamp = signed_of(other.role("timestamp"))
            body[EXTENSION]["covers"] |= timestamp[EXTENSION]["covers"]
            body[EXTENSION]["covers"][unverified_identity(other)] = timestamp["version"]

    return {"timestamp": edit}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    put_all(a_layout(folder), *chain())
    return folder


@pytest.fixture
def store(made_once: Path, tmp_path: Path) -> Store:
    """The whole chain in a folder."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return a_layout(tmp_path)


@pytest.fixture
def remote_store(server: FaultyRegistry, made_once: Path) -> Store:
    """The whole chain in a registry in memory."""
    return copied(a_layout(made_once), a_registry(server))


def copied(source: Store, target: Store) -> Store:
    """All of a chain's states and its pointer, as any OCI tool copies them."""
    for tag in source.tags(1000):
        manifest = source.get_manifest(tag)
        assert manifest.config is not None
        for descriptor in (manifest.config, *manifest.layers):
            target.put_blob(descriptor, partial(io.BytesIO, source.read_blob(descriptor, 1 << 20)))
        target.put_manifest(manifest, tag)
    return target


def planned(
    store: Store, tmp_path: Path, *, days: int = 30, now: datetime = NOW, root: bytes | None = None
) -> Prunable:
    pin = Pin(store.repository, root=Digest.of(root or chain()[0].root), signed_as=TEAM.repository)
    machine = a_machine(tmp_path, now=now, pins=(pin,))
    return plan_prune(store, Reader(store, machine), machine, days)


def gone(plan: Prunable) -> set[str]:
    return {state.tag for state in plan.states}


def left(store: Store) -> set[str]:
    return {item.tag for item in announced(store.tags(10_000))}


class TestPlan:
    def test_what_is_old_and_outside_the_window_goes_oldest_first(self, store: Store, tmp_path: Path) -> None:
        plan = planned(store, tmp_path)
        assert [state.tag for state in plan.states] == [tag_of(state) for state in chain()[:OUTSIDE]]
        assert (plan.kept, plan.unknown, plan.proposals) == (COVERED_VERSIONS + 1, (), ())
        assert plan.states[0].made == START

    @pytest.mark.parametrize(("days", "goes"), [(0, 15), (70, 9), (78, 1), (79, 0), (1000, 0)])
    def test_the_retention(self, days: int, goes: int, store: Store, tmp_path: Path) -> None:
        """One that is exactly as old as the retention stays."""
        assert len(planned(store, tmp_path, days=days).states) == goes

    def test_never_fewer_than_the_window_however_old(self, store: Store, tmp_path: Path) -> None:
        assert planned(store, tmp_path, now=NOW + timedelta(days=4000)).kept == COVERED_VERSIONS + 1

    def test_a_short_history_stays(self, tmp_path: Path) -> None:
        store = put_all(a_layout(tmp_path), *chain()[:COVERED_VERSIONS])
        assert planned(store, tmp_path, days=0).tags == ()

    def test_all_lines_of_a_join_are_ancestors(self, tmp_path: Path) -> None:
        one = chain()[3:5]
        other = TEAM.put(chain()[2], a_target("side"), now=START)
        other_next = TEAM.next(other, now=START)
        joined = TEAM.remake(other_next, bump=True, edits=covering(*one), now=START)
        states = (*chain()[:3], *one, other, other_next, joined)
        store = put_all(a_layout(tmp_path), *states, *follow(joined, LENGTH, START))
        assert tags_of(*states) <= gone(planned(store, tmp_path))

    def test_what_nothing_covers_stays_however_old(self, store: Store, tmp_path: Path) -> None:
        lost = TEAM.put(chain()[3], a_target("lost"), now=START)
        put_state(store, lost, pointed=False)
        plan = planned(store, tmp_path)
        assert plan.unknown == (tag_of(lost),)
        assert gone(plan) == tags_of(*chain()[:OUTSIDE])

    def test_what_is_pending_stays_with_all_that_its_merge_is_compared_with(self, tmp_path: Path) -> None:
        old = [TEAM.first(V1, now=START)]
        old += follow(old[0], LENGTH, START)
        pending = TEAM.put(old[-5], a_target("pending"), now=START)

        def edit(body: dict[str, Any]) -> None:
            body[EXTENSION]["pending"] = [unverified_identity(pending)]

        head = TEAM.remake(old[-1], bump=True, edits={"timestamp": edit}, now=START)
        states = (*old, head, *follow(head, LENGTH, START))
        root = old[0].root
        plan = planned(put_all(a_layout(tmp_path), pending, *states), tmp_path, root=root)
        assert plan.unknown == (), "it is needed, and nobody need be told"
        assert gone(plan) == tags_of(*old[: -5 + 1 - COVERED_VERSIONS])

    def test_every_head_keeps_its_window(self, store: Store, tmp_path: Path) -> None:
        fork = TEAM.put(chain()[-10], a_target("fork"))
        put_state(store, fork, pointed=False)
        assert gone(planned(store, tmp_path)) == tags_of(*chain()[: OUTSIDE - 8])

    def test_what_the_pointer_names_stays(self, store: Store, tmp_path: Path) -> None:
        """A pointer that fell back is what readers without memory stand on until a writer moves it."""
        put_state(store, chain()[5])
        assert gone(planned(store, tmp_path)) == tags_of(*chain()[:OUTSIDE]) - tags_of(chain()[5])

    @pytest.mark.parametrize("what", ["another timestamp", "another snapshot", "another image"])
    def test_what_its_identity_does_not_vouch_for_stays(self, what: str, store: Store, tmp_path: Path) -> None:
        old, other = chain()[4], chain()[7]
        name = other.names["snapshot"]
        forged = {
            "another timestamp": with_file(old, "timestamp.json", other.role("timestamp")),
            "another snapshot": State.of(
                [
                    *((key, data) for key, data in old.files.items() if key != old.names["snapshot"]),
                    (name, other.files[name]),
                ]
            ),
        }
        if what in forged:
            put_files(store, encode(forged[what]), forged[what].files, tag_of(old))
        else:
            put_image(store, IMAGE, BLOBS, tag_of(old))
        assert gone(planned(store, tmp_path)) == tags_of(*chain()[:OUTSIDE]) - tags_of(old)

    def test_what_is_listed_and_yet_above_the_head_stays(self, tmp_path: Path) -> None:
        """That a state is covered is the word of one publisher; its roles must be part of the head as well."""
        above = TEAM.next(chain()[0], Change(renew=frozenset({"targets"})), now=START)
        head = TEAM.remake(chain()[1], bump=True, edits=covering(above), now=START)
        store = put_all(a_layout(tmp_path), *chain()[:2], above, head, *follow(head, LENGTH, START))
        plan = planned(store, tmp_path)
        assert tag_of(above) not in gone(plan)
        assert tags_of(*chain()[:2], head) <= gone(plan)

    def test_states_older_than_the_pin_go_too(self, tmp_path: Path) -> None:
        """A pin of a later root verifies no earlier state; the identities that a verified one lists are enough."""
        rotated = TEAM.rotate_root(chain()[10], now=START)
        states = follow(rotated, LENGTH, START)
        store = put_all(a_layout(tmp_path), *chain()[:11], rotated, *states)
        assert tags_of(*chain()[:11]) <= gone(planned(store, tmp_path, root=rotated.root))

    def test_a_gap_leaves_what_is_behind_it(self, store: Store, tmp_path: Path) -> None:
        """Somebody's retention policy took most states: nothing says any more that those before are covered."""
        for state in chain()[10:-1]:
            store.untag(tag_of(state))
        plan = planned(store, tmp_path)
        assert plan.states == ()
        assert set(plan.unknown) == tags_of(*chain()[:10])

    def test_a_state_of_the_walk_that_cannot_be_read_is_stepped_over(self, store: Store, tmp_path: Path) -> None:
        unreadable = chain()[-1 - COVERED_VERSIONS // 2]
        put_image(store, IMAGE, BLOBS, tag_of(unreadable))
        assert gone(planned(store, tmp_path)) == tags_of(*chain()[:OUTSIDE])

    def test_there_is_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UnsignedError):
            planned(a_layout(tmp_path), tmp_path)


class TestProposals:
    def proposal(self, store: Store, number: int, tag: str) -> str:
        """A proposal that stands on a state of the chain."""
        base = checked(chain()[number])
        edit = change_tags(base, {"targets": [a_target(tag).to_file()]}, {}, [], NOW)
        return store_proposal(store, propose(base, edit), base.identity)

    def test_those_overtaken_together_with_their_state_go(self, tmp_path: Path) -> None:
        store = a_layout(tmp_path)
        head = TEAM.put(chain()[-1], a_target("v2"))
        put_all(store, *chain(), head)
        old, young = self.proposal(store, 3, "a"), self.proposal(store, LENGTH - 3, "b")
        base = checked(head)
        open_ = store_proposal(
            store, propose(base, change_tags(base, {"targets": [a_target("c").to_file()]}, {}, [], NOW)), base.identity
        )
        assert planned(store, tmp_path).proposals == (old,)
        assert {young, open_} <= {tag for item in read_proposals(store, base) for tag in item.tags}

    def test_those_that_were_emptied_go(self, store: Store, tmp_path: Path) -> None:
        """What approve --reject leaves where it could not delete."""
        tag = "_trust-proposal." + "e" * 12
        put_files(store, encode_files({}, PROPOSAL_TYPE), {}, tag)
        plan = planned(store, tmp_path)
        assert plan.proposals == (tag,)
        assert tag in prune(store, plan).removed
        assert tag not in store.tags(1000)

    def test_an_image_that_somebody_puts_in_its_place_meanwhile_stays(
        self, remote_store: Store, tmp_path: Path
    ) -> None:
        tag = "_trust-proposal." + "e" * 12
        put_files(remote_store, encode_files({}, PROPOSAL_TYPE), {}, tag)
        plan = planned(remote_store, tmp_path)
        put_image(remote_store, IMAGE, BLOBS, "v1")
        remote_store.put_manifest(IMAGE, tag)
        assert tag in plan.proposals
        assert tag not in prune(remote_store, plan).removed
        assert remote_store.resolve("v1") == IMAGE.digest

    def test_what_is_no_proposal_stays(self, store: Store, tmp_path: Path) -> None:
        put_image(store, IMAGE, BLOBS, "_trust-proposal." + "f" * 12)
        assert planned(store, tmp_path).proposals == ()


def test_a_folder(store: Store, tmp_path: Path) -> None:
    plan = planned(store, tmp_path)
    assert prune(store, plan) == Pruned(plan.tags)
    assert left(store) == tags_of(*chain()[OUTSIDE:])
    again = planned(store, tmp_path)
    assert (again.tags, again.kept) == ((), COVERED_VERSIONS + 1)
    assert prune(store, plan) == Pruned(plan.tags), "a second run at the same time removes nothing else"
    assert read_pointer(store, lambda _digest: None) is not None


def test_a_pointer_that_moved_meanwhile_keeps_its_state(
    server: FaultyRegistry, remote_store: Store, tmp_path: Path
) -> None:
    server.can_untag = False
    plan = planned(remote_store, tmp_path)
    put_state(remote_store, chain()[5])
    assert tag_of(chain()[5]) not in prune(remote_store, plan).removed
    assert remote_store.resolve(POINTER_TAG) == encode(chain()[5]).digest


def test_tags_are_removed_alone_where_that_can_be(remote_store: Store, tmp_path: Path) -> None:
    """Somebody's own tag on an old state stays."""
    remote_store.put_manifest(encode(chain()[0]), "kept")
    plan = planned(remote_store, tmp_path)
    assert prune(remote_store, plan).removed == plan.tags
    assert remote_store.resolve("kept") == encode(chain()[0]).digest


def test_one_that_is_gone_already_counts_as_removed(
    server: FaultyRegistry, remote_store: Store, tmp_path: Path
) -> None:
    server.can_untag = False
    plan = planned(remote_store, tmp_path)
    remote_store.delete_manifest(plan.states[0].digest)
    assert prune(remote_store, plan) == Pruned(plan.tags)


def test_a_registry_that_stops_deleting(server: FaultyRegistry, remote_store: Store, tmp_path: Path) -> None:
    plan = planned(remote_store, tmp_path)
    for reference in (plan.states[2].tag, str(plan.states[2].digest)):
        server.fail("DELETE", reference, Status(403), times=99)
    done = prune(remote_store, plan)
    assert done.removed == plan.tags[:2]
    assert done.denied is not None


def test_a_registry_that_goes_away(server: FaultyRegistry, remote_store: Store, tmp_path: Path) -> None:
    plan = planned(remote_store, tmp_path)
    server.fail("DELETE", plan.states[2].tag, Status(503), times=1)
    with pytest.raises(UnreachableError):
        prune(remote_store, plan)
    assert not left(remote_store) & set(plan.tags[:2])
    assert planned(remote_store, tmp_path).tags == plan.tags[2:]


@pytest.mark.peer("docker-registry")
def test_registry_2_that_deletes(registry: str, unique_name: str, made_once: Path, tmp_path: Path) -> None:
    """It deletes by digest alone."""
    store = copied(a_layout(made_once), remote(registry, unique_name))
    plan = planned(store, tmp_path)
    assert prune(store, plan) == Pruned(plan.tags)
    assert left(store) == tags_of(*chain()[OUTSIDE:])
    assert store.resolve(POINTER_TAG) == encode(chain()[-1]).digest
    assert planned(store, tmp_path).tags == ()


@pytest.mark.peer("docker-registry")
def test_registry_2_that_does_not(made_once: Path, tmp_path: Path) -> None:
    with start_registry(tmp_path / "registry", delete=False) as host:
        store = copied(a_layout(made_once), remote(host))
        plan = planned(store, tmp_path)
        done = prune(store, plan)
        assert done.removed == ()
        assert done.denied is not None
        assert "does not let us delete" in done.denied.message
        assert left(store) == tags_of(*chain())


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "root"])
def test_a_past_state_that_is_malformed(role: str) -> None:
    state = chain()[0]
    for data in (b"{", b"{}", b'{"signed": {"_type": "timestamp"}, "signatures": []}', state.role("targets")):
        with pytest.raises(TamperedError):
            past_of(with_file(state, state.names[role], data))


def test_the_periods_of_its_own_root_say_when_it_was_made() -> None:
    terms = Terms.make(TEAM.repository, {"timestamp": Period.of(3)})
    state = first_state(terms, TEAM.keys, (V1,), TEAM.ring, START)
    assert past_of(state).made == START
