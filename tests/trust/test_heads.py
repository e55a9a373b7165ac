from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import FaultyRegistry, Status
from tests.trust.attackers import EVIL, V1, Victim
from tests.trust.builders import (
    NOW,
    Delegate,
    Team,
    a_machine,
    a_registry,
    a_target,
    a_team,
    checked,
    plant_state,
    put_state,
    verified,
)
from trust import heads as module
from trust.errors import ConflictError, RollbackError, TamperedError, UnreachableError, UntrustedRootError
from trust.heads import Heads, continues, covers, find_heads, uncovered
from trust.read import Reader
from trust.states import POINTER_TAG, encode, own_tag, read_pointer
from trust.tuf.roles import RoleKeys
from trust.tuf.state import COVERED_VERSIONS, State, unverified_identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def team() -> Team:
    return a_team()


@pytest.fixture
def first(team: Team) -> State:
    return team.first(V1)


@pytest.fixture
def writer(tmp_path: Path, team: Team, first: State) -> Victim:
    return Victim(tmp_path, (team.pin(first),))


def found(writer: Victim) -> Heads:
    heads = find_heads(writer.store, writer.reader(), writer.machine)
    assert heads is not None
    return heads


def identities(heads: Heads) -> tuple[str, ...]:
    return tuple(head.verified.identity for head in heads.states)


def name(state: State) -> str:
    return unverified_identity(state)


# Covering


def test_a_state_covers_its_ancestors(team: Team, first: State) -> None:
    second = team.next(first)
    third = team.rotate_root(team.put(second, EVIL))
    states = [verified(state) for state in (first, second, third)]
    for number, newer in enumerate(states):
        assert [covers(newer, older) for older in states] == [older < number for older in range(3)]


def test_listing_an_ancestor_is_not_enough_to_cover_it(team: Team, first: State) -> None:
    """A publisher could list a state as covered, and fall behind it in some role."""
    seen = team.put(team.put(first, V1), a_target("v2"))
    older_targets = {"targets": lambda body: body.update(version=1)}
    fallen = team.remake(seen, older_targets, bump=True)
    assert dict(verified(fallen).links.covers)[name(seen)] == 3
    assert not covers(verified(fallen), verified(seen))
    other_hash = team.remake(seen, {"targets": lambda body: body.update(note="x")}, bump=True)
    assert not covers(verified(other_hash), verified(seen))
    low = team.remake(team.next(seen), {"timestamp": lambda body: body.update(version=3)})
    assert name(seen) in dict(verified(low).links.covers)
    assert not covers(verified(low), verified(seen))


def test_a_state_under_an_older_root_covers_nothing_of_a_newer_one(team: Team, first: State) -> None:
    second = team.rotate_root(first)
    back = State.of((file, data) for file, data in second.files.items() if file != "2.root.json")
    back = team.remake(back, bump=True)
    links = {"timestamp": lambda body: body["x-dockseal"]["covers"].update({name(second): 2})}
    assert not covers(verified(team.remake(back, links)), verified(second))


def test_a_role_that_vanished_is_not_covered(team: Team, first: State) -> None:
    seen = team.with_delegates(first, Delegate("release"))
    files = {file: data for file, data in seen.files.items() if file != "1.release.json"}

    def drop(body: dict[str, object]) -> None:
        del body["delegations"]
        body["version"] = 3

    gone = team.remake(
        State.of(files.items()),
        {"targets": drop, "snapshot": lambda body: body["meta"].pop("release.json")},
        bump=True,
    )
    links = {"timestamp": lambda body: body["x-dockseal"]["covers"].update({name(seen): 2})}
    assert not covers(verified(team.remake(gone, links)), checked(seen))


def test_history_counts_for_lookers_on_only(team: Team, first: State) -> None:
    state = first
    for _ in range(COVERED_VERSIONS + 1):
        state = team.next(state)
    new, old = verified(state), verified(first)
    assert not covers(new, old)
    assert continues(new, old)
    assert continues(verified(team.next(first)), old)
    assert not continues(old, new)
    assert not continues(new, verified(a_team().first(V1)))


# Finding


def test_nothing_is_there_at_first(writer: Victim) -> None:
    assert find_heads(writer.store, writer.reader(), writer.machine) is None


def test_the_pointer_is_the_base(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    put_state(writer.store, team.next(first))
    heads = found(writer)
    assert heads.base.verified.version == 2
    assert heads.others == ()
    assert heads.pointer == heads.base.digest


def test_what_a_killed_writer_announced_is_built_on(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    announced = team.put(first, EVIL)
    put_state(writer.store, announced, pointed=False)
    assert identities(found(writer)) == (name(announced),)


def test_two_who_announced_at_once_are_both_heads(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    one, two = team.put(first, V1), team.put(first, EVIL)
    for state in (one, two):
        put_state(writer.store, state, pointed=False)
    assert set(identities(found(writer))) == {name(one), name(two)}
    assert identities(found(writer))[0] == max(name(one), name(two))


def test_a_fork_with_a_larger_version_is_the_stronger_head_whatever_the_pointer_says(
    team: Team, first: State, writer: Victim
) -> None:
    live = team.put(first, V1)
    fork = team.next(team.put(first, EVIL))
    put_state(writer.store, live)
    put_state(writer.store, fork, pointed=False)
    assert identities(found(writer)) == (name(fork), name(live))


def test_of_heads_that_say_the_same_only_the_strongest_counts(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    one = team.put(first, V1)
    twin = team.remake(one, {"timestamp": lambda body: body.update(note="x")})
    for state in (one, twin):
        put_state(writer.store, state, pointed=False)
    heads = found(writer)
    assert identities(heads) == (max(name(one), name(twin)),)
    assert [item.verified.identity for item in heads.twins] == [min(name(one), name(twin))]


def test_a_pointer_that_does_not_verify_is_looked_past_with_a_warning(team: Team, first: State, writer: Victim) -> None:
    forged = team.remake(team.next(first), signers={"timestamp": a_team().signers("timestamp")})
    put_state(writer.store, first, pointed=False)
    put_state(writer.store, forged)
    assert identities(found(writer)) == (name(first),)
    assert any(text.startswith("the state that _trust points at is left out") for text in writer.notes.told)


def test_what_is_pending_is_no_head(team: Team, first: State, writer: Victim) -> None:
    fork = team.put(first, EVIL)
    put_state(writer.store, fork, pointed=False)
    put_state(writer.store, team.remake(team.put(first, V1), _pending(fork)))
    assert found(writer).others == ()


def _pending(state: State) -> dict[str, object]:
    return {"timestamp": lambda body: body["x-dockseal"].update(pending=[name(state)])}


def test_history_beyond_the_window_is_no_head(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first, pointed=False)
    state = first
    for _ in range(COVERED_VERSIONS + 1):
        state = team.next(state)
    put_state(writer.store, state)
    assert identities(found(writer)) == (name(state),)
    assert writer.notes.told == []


def test_an_announced_state_that_does_not_verify_is_ignored_with_a_warning(
    team: Team, first: State, writer: Victim
) -> None:
    forged = team.remake(team.next(first), signers={"timestamp": a_team().signers("timestamp")})
    honest = team.put(first, EVIL)
    put_state(writer.store, first)
    for state in (a_team().first(EVIL), forged, honest):
        put_state(writer.store, state, pointed=False)
    assert identities(found(writer)) == (name(honest),)
    assert len(writer.notes.told) == 2
    assert all(text.startswith("ignored the announced state _trust.") for text in writer.notes.told)


def test_an_announced_tag_that_holds_something_else_is_ignored(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    writer.store.put_manifest(encode(first), own_tag(7, "0" * 64))  # a tag that says more than it holds
    assert identities(found(writer)) == (name(first),)


def test_a_removed_publisher_announces_in_vain(team: Team, first: State, writer: Victim) -> None:
    """What stands on an older root than the one seen is no head."""
    new = team.rotate_root(first, keys={"timestamp": RoleKeys((team.ring.key(),))})
    late = a_team(ring=team.ring)
    late.keys = dict(team.keys) | {
        "timestamp": RoleKeys((team.ring[verified(first).root.roles["timestamp"].keyids[0]].public_key,))
    }
    writer.sees(new)
    put_state(writer.store, late.next(late.next(late.put(first, EVIL))), pointed=False)
    heads = found(writer)
    assert identities(heads) == (name(new),)
    assert "its newest root is version 1" in writer.notes.told[-1]


def test_without_a_pointer_the_announced_states_are_what_there_is(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first, pointed=False)
    put_state(writer.store, team.next(first), pointed=False)
    heads = found(writer)
    assert heads.base.verified.version == 2
    assert heads.others == ()
    assert heads.pointer is None


def test_without_a_pointer_nobody_builds_on_less_than_was_seen(team: Team, first: State, writer: Victim) -> None:
    writer.sees(team.next(team.next(first)))
    writer.store.untag(POINTER_TAG)
    put_state(writer.store, first, pointed=False)
    with pytest.raises(RollbackError, match="was rolled back"):
        found(writer)


def test_only_states_that_do_not_verify_are_nothing_to_build_on(writer: Victim) -> None:
    put_state(writer.store, a_team().first(EVIL), pointed=False)
    assert find_heads(writer.store, writer.reader(), writer.machine) is None
    assert "ignored" in writer.notes.told[0]


def test_a_pointer_that_is_not_acceptable_stops_the_writer(team: Team, first: State, writer: Victim) -> None:
    plant_state(writer.store, a_team().first(EVIL))
    with pytest.raises(UntrustedRootError):
        found(writer)
    plant_state(writer.store, team.remake(first, signers={"snapshot": a_team().signers("snapshot")}))
    with pytest.raises(TamperedError):
        found(writer)


def test_a_writer_looks_past_expiry(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    writer.now = NOW.replace(year=2030)
    assert found(writer).base.verified.version == 1


def test_a_flood_of_announced_states_stops_writers_not_readers(
    team: Team, first: State, writer: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 3)
    put_state(writer.store, first)
    for number in range(4):
        writer.store.put_manifest(encode(first), own_tag(9, f"{number:064}"[::-1]))
    with pytest.raises(ConflictError, match="holds more than 3 announced states that nothing covers"):
        found(writer)
    assert writer.reader().read("v1").verified.version == 1


def test_states_that_this_run_knows_are_not_read_again(tmp_path: Path, team: Team) -> None:
    with FaultyRegistry() as server:
        store = a_registry(server)
        team.repository = store.repository
        state = team.first(V1)
        put_state(store, state)
        reader = Reader(store, a_machine(tmp_path, pins=[team.pin(state)]))
        base = reader.read_past_expiry()
        assert base is not None
        server.clear()
        heads = find_heads(store, reader, a_machine(tmp_path), [base])
        assert heads is not None
        assert heads.base is base
        assert [(request.method, request.path.rpartition("/")[2]) for request in server.requests] == [
            ("GET", "list"),
            ("HEAD", POINTER_TAG),
        ]
        put_state(store, team.next(state))
        again = find_heads(store, reader, a_machine(tmp_path), [base])
        assert again is not None
        assert again.base.verified.version == 2


def test_a_registry_that_stops_answering_is_no_reason_to_ignore_a_state(tmp_path: Path, team: Team) -> None:
    with FaultyRegistry() as server:
        store = a_registry(server)
        team.repository = store.repository
        state = team.first(V1)
        put_state(store, state)
        put_state(store, team.next(state), pointed=False)
        server.fail("GET", r"/manifests/_trust\.", Status(503))
        machine = a_machine(tmp_path, pins=[team.pin(state)])
        with pytest.raises(UnreachableError):
            find_heads(store, Reader(store, machine), machine)


def test_only_one_of_equal_states_counts(team: Team, first: State, writer: Victim) -> None:
    put_state(writer.store, first)
    stored = read_pointer(writer.store, lambda _digest: None)
    assert stored is not None
    one, two = (writer.reader().trust(stored) for _ in range(2))
    assert [item.verified.identity for item in uncovered([one, two])] == [one.verified.identity]
