from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import FaultyRegistry, Status
from tests.trust.attackers import EVIL, IMAGE, OTHER_IMAGE, V1, Victim
from tests.trust.builders import (
    NOW,
    Delegate,
    Team,
    a_machine,
    a_registry,
    a_target,
    a_team,
    put_state,
)
from trust.errors import TamperedError, UnreachableError, UnsignedError
from trust.history import Entry, TagChange, history
from trust.read import Reader
from trust.states import own_tag
from trust.tuf.draft import Change
from trust.tuf.roles import RoleKeys
from trust.tuf.state import unverified_identity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def team() -> Team:
    return a_team()


@pytest.fixture
def victim(tmp_path: Path, team: Team) -> Victim:
    return Victim(tmp_path, (team.pin(team.first(V1)),))


def entries(victim: Victim, limit: int = 20) -> tuple[Entry, ...]:
    return history(victim.store, victim.reader(), victim.machine, limit)


def test_the_states_newest_first_with_what_each_changed(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    moved = team.put(first, EVIL)
    signer = team.with_delegates(moved, Delegate("release", (a_target("r1", b"r"),)))
    dropped = team.next(signer, Change(drop={"targets": ("v1",)}))
    victim = Victim(tmp_path, (team.pin(first),))
    for state in (first, moved, signer, dropped):
        put_state(victim.store, state)
    found = entries(victim)
    assert [entry.version for entry in found] == [4, 3, 2, 1]
    assert [entry.current for entry in found] == [True, False, False, False]
    assert [entry.identity for entry in found] == [unverified_identity(s) for s in (dropped, signer, moved, first)]
    assert [entry.tag for entry in found] == [own_tag(entry.version, entry.identity) for entry in found]
    one, other, new = IMAGE.digest.hex, OTHER_IMAGE.digest.hex, a_target("r1", b"r").digest.hex
    assert [entry.changes for entry in found] == [
        (TagChange("targets", "v1", other, None),),
        (TagChange("release", "r1", None, new),),
        (TagChange("targets", "v1", one, other),),
        (TagChange("targets", "v1", None, one),),
    ]
    assert [entry.roles for entry in found] == [
        {"timestamp": 4, "snapshot": 4, "targets": 4},
        {"timestamp": 3, "snapshot": 3, "targets": 3, "release": 1},
        {"timestamp": 2, "snapshot": 2, "targets": 2},
        {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1},
    ]
    assert [entry.parents for entry in found] == [(entry.identity,) for entry in found[1:]] + [()]
    for entry in found:
        for role, key_ids in entry.signed_by.items():
            keys = team.keys.get(role) or team.delegated[role]
            assert key_ids == tuple(key.keyid for key in keys.keys)


def test_what_stands_on_an_older_root_stays_in_the_log(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    second = team.rotate_root(first, keys={"timestamp": RoleKeys((team.ring.key(),))})
    victim = Victim(tmp_path, (team.pin(first),))
    put_state(victim.store, first)
    put_state(victim.store, second)
    victim.reader().read("v1")
    assert [entry.version for entry in entries(victim)] == [2, 1]
    assert victim.notes.told == []
    assert entries(victim)[0].roles == {"root": 2, "timestamp": 2, "snapshot": 2}


def test_a_limit_keeps_the_newest_and_compares_the_oldest_too(tmp_path: Path, team: Team) -> None:
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    put_state(victim.store, state)
    for number in range(3):
        state = team.put(state, a_target(f"t{number}"))
        put_state(victim.store, state)
    found = entries(victim, 2)
    assert [entry.version for entry in found] == [4, 3]
    assert [[change.tag for change in entry.changes] for entry in found] == [["t2"], ["t1"]]


def test_where_the_parent_is_gone_no_change_is_made_up(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    victim = Victim(tmp_path, (team.pin(first),))
    put_state(victim.store, team.put(first, EVIL))
    (entry,) = entries(victim)
    assert entry.changes == ()
    assert entry.parents == (unverified_identity(first),)


def test_what_does_not_verify_is_left_out_with_a_word(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    victim = Victim(tmp_path, (team.pin(first),))
    put_state(victim.store, a_team().first(EVIL), pointed=False)
    put_state(victim.store, first)
    assert [entry.identity for entry in entries(victim)] == [unverified_identity(first)]
    (told,) = victim.notes.told
    assert "is left out: " in told


def test_expired_states_are_shown(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    victim = Victim(tmp_path, (team.pin(first),), now=NOW.replace(year=2030))
    put_state(victim.store, first)
    assert len(entries(victim)) == 1


def test_without_trust_data_there_is_no_history(victim: Victim) -> None:
    with pytest.raises(UnsignedError, match="holds no trust data"):
        entries(victim)


def test_a_current_state_that_does_not_verify_is_the_verdict(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    victim = Victim(tmp_path, (team.pin(first),))
    put_state(victim.store, team.remake(first, signers={"targets": a_team().signers("targets")}))
    with pytest.raises(TamperedError):
        entries(victim)


def test_a_registry_that_stops_answering_is_unreachable(tmp_path: Path, team: Team) -> None:
    with FaultyRegistry() as server:
        store = a_registry(server)
        team.repository = store.repository
        first = team.first(V1)
        put_state(store, first)
        server.fail("GET", r"/manifests/_trust\.", Status(503))
        machine = a_machine(tmp_path, pins=[team.pin(first)])
        with pytest.raises(UnreachableError):
            history(store, Reader(store, machine), machine)


def test_a_state_that_was_announced_only_is_not_the_current_one(tmp_path: Path, team: Team) -> None:
    first = team.first(V1)
    victim = Victim(tmp_path, (team.pin(first),))
    put_state(victim.store, first)
    put_state(victim.store, team.put(first, EVIL), pointed=False)
    assert [(entry.version, entry.current) for entry in entries(victim)] == [(2, False), (1, True)]
