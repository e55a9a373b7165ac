"""Attacks on the graph of states, by whoever may push to the repository, or held a publishing key (rule 10).

What is announced is anybody's word: it counts only as far as it is signed, and costs a bounded amount of work.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.doubles.faulty_registry import digest_of
from tests.oci.samples import sample
from tests.trust.attackers import BLOBS, EVIL, IMAGE, V1, Victim, team_of
from tests.trust.builders import (
    Keyring,
    Pins,
    Team,
    a_machine,
    a_registry,
    a_target,
    a_team,
    put_image,
    put_state,
    signed_of,
    verified,
    with_file,
)
from tests.trust.writing import live, plain_image, remote, then
from trust.errors import ConflictError, RollbackError, UnsignedError, UntrustedRootError
from trust.heads import Heads, find_heads
from trust.oci.manifest import Manifest
from trust.pins import Pin
from trust.read import Reader
from trust.revoke import plan_revocation, revoke
from trust.rolefiles import encode_files
from trust.states import MAX_CANDIDATES, POINTER_TAG, STATE_TYPE, encode, own_tag, point, read_announced
from trust.strictjson import MAX_INTEGER
from trust.tuf.roles import RoleKeys
from trust.tuf.state import COVERED_VERSIONS, EXTENSION, FAST_FORWARDED, State, unverified_identity
from trust.verify import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.oci.store import Store

PUBLISHING = ("snapshot", "timestamp")


@pytest.fixture
def team() -> Team:
    """Two may publish: the second key of snapshot and timestamp is mallory's."""
    team = a_team()
    for role in PUBLISHING:
        team.keys[role] = RoleKeys((*team.keys[role].keys, team.ring.key()), 1)
    return team


@pytest.fixture
def first(team: Team) -> State:
    return team.first(V1)


@pytest.fixture
def victim(tmp_path: Path, team: Team, first: State) -> Victim:
    return Victim(tmp_path, (team.pin(first),))


def mallory(team: Team) -> Team:
    """The same repository as whoever holds the second publishing key, and what others signed."""
    keys = team.keys | {role: RoleKeys(team.keys[role].keys[1:], 1) for role in PUBLISHING}
    return Team(team.repository, _ring_of(team, keys), keys, team.delegated)


def _ring_of(team: Team, keys: dict[str, RoleKeys]) -> Keyring:
    return team.ring.only(*{key.keyid for role in keys.values() for key in role.keys})


def without_mallory(team: Team, state: State) -> State:
    """The state under a new root, by which only the first publishing keys count."""
    return honestly(team).rotate_root(state, keys={role: RoleKeys(team.keys[role].keys[:1], 1) for role in PUBLISHING})


def honestly(team: Team) -> Team:
    """The team when only the first publisher signs."""
    keys = team.keys | {role: RoleKeys(team.keys[role].keys[:1], 1) for role in PUBLISHING}
    return Team(team.repository, _ring_of(team, keys), keys, team.delegated)


def found(victim: Victim) -> Heads:
    heads = find_heads(victim.store, victim.reader(), victim.machine)
    assert heads is not None
    return heads


def names(heads: Heads) -> set[str]:
    return {head.verified.identity for head in heads.states}


def name(state: State) -> str:
    return unverified_identity(state)


def version(state: State) -> int:
    return int(signed_of(state.role("timestamp"))["version"])


def chain(team: Team, state: State, length: int) -> list[State]:
    states = [state]
    while len(states) < length:
        states.append(team.next(states[-1]))
    return states


def announce_as(store: Store, state: State, tag: str) -> None:
    """Announce under a tag that says something else than the state does."""
    put_state(store, state, pointed=False)
    store.put_manifest(encode(state), tag)


# An old state


@pytest.mark.parametrize("age", [1, 5, COVERED_VERSIONS, COVERED_VERSIONS + 1, COVERED_VERSIONS + 4])
def test_an_old_state_announced_again_is_no_head_inside_and_outside_the_window(
    team: Team, first: State, victim: Victim, age: int
) -> None:
    states = chain(team, first, COVERED_VERSIONS + 5)
    put_state(victim.store, states[-1])
    old = states[-1 - age]
    announce_as(victim.store, old, own_tag(version(states[-1]) + 1, "f" * 64))
    announce_as(victim.store, old, own_tag(version(states[-1]), "0" * 64))
    assert names(found(victim)) == {name(states[-1])}
    assert victim.reader().read("v1").verified.identity == name(states[-1])


@pytest.mark.parametrize("age", [1, COVERED_VERSIONS + 4])
def test_a_pointer_set_back_is_looked_past_by_whoever_has_a_memory(
    team: Team, first: State, victim: Victim, age: int
) -> None:
    states = chain(team, first, COVERED_VERSIONS + 5)
    put_state(victim.store, states[-1])
    put_image(victim.store, IMAGE, BLOBS, "v1")
    assert victim.reader().read("v1").verified.version == len(states)
    put_state(victim.store, states[-1 - age])
    assert victim.reader().read("v1").verified.identity == name(states[-1])
    assert judge(victim.store, victim.machine, "v1").verdict == "trusted"
    assert names(found(victim)) == {name(states[-1])}, "writers see it without a memory, too"


def test_a_pointer_set_back_where_the_newer_states_are_gone_is_a_rollback(
    team: Team, first: State, victim: Victim
) -> None:
    newer = team.next(first)
    put_state(victim.store, newer)
    victim.reader().read("v1")
    victim.store.untag(own_tag(version(newer), name(newer)))
    put_state(victim.store, first)
    with pytest.raises(RollbackError, match="was rolled back"):
        victim.reader().read("v1")
    with pytest.raises(RollbackError, match="was rolled back"):
        found(victim)


def test_the_next_writer_moves_a_pointer_that_was_set_back_forward_again(
    server: FaultyRegistry, people: People
) -> None:
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    old = server.tags["app"][POINTER_TAG]
    ann.push(store, "b", plain_image("b"))
    server.tags["app"][POINTER_TAG] = old
    bob = people("bob")
    bob.pins[:] = ann.pins
    bob.push(remote(server.host), "c", plain_image("c"))
    carl = people.onlooker("carl", *ann.pins)
    assert [carl.verdict(store, tag) for tag in "abc"] == ["trusted"] * 3


# States that never were


def _older_targets(states: list[State]) -> State:
    return State.of(
        [(file, data) for file, data in states[2].files.items() if not file.endswith("targets.json")]
        + [(states[1].names["targets"], states[1].role("targets"))]
    )


def _older_timestamp(states: list[State]) -> State:
    return with_file(states[2], "timestamp.json", states[1].role("timestamp"))


def _older_timestamp_and_snapshot(states: list[State]) -> State:
    kept = [(file, data) for file, data in states[2].files.items() if not file.endswith("snapshot.json")]
    mixed = State.of([*kept, (states[1].names["snapshot"], states[1].role("snapshot"))])
    return with_file(mixed, "timestamp.json", states[1].role("timestamp"))


def _newer_root(states: list[State]) -> State:
    return State.of([*states[2].files.items(), ("2.root.json", states[3].root)])


def _without_the_new_root(states: list[State]) -> State:
    return State.of((file, data) for file, data in states[3].files.items() if file != "2.root.json")


@pytest.mark.parametrize(
    "repack",
    [_older_targets, _older_timestamp, _older_timestamp_and_snapshot, _newer_root, _without_the_new_root],
    ids=lambda repack: repack.__name__.strip("_").replace("_", " "),
)
@pytest.mark.parametrize("pointed", [False, True], ids=["announced", "pointed at"])
def test_genuine_files_repacked_into_a_state_that_never_was(
    team: Team, first: State, victim: Victim, repack: Callable[[list[State]], State], *, pointed: bool
) -> None:
    states = [first, team.put(first, a_target("v2")), team.put(team.put(first, a_target("v2")), a_target("v3"))]
    states.append(team.rotate_root(states[-1]))
    for state in states:
        put_state(victim.store, state)
    victim.reader().read("v1")
    forged = repack(states)
    victim.store.put_manifest(encode(forged), own_tag(9, "e" * 64))
    if pointed:
        point(victim.store, encode(forged))
    assert names(found(victim)) == {name(states[-1])}
    assert any(text.startswith(("ignored the announced state", "the state that _trust")) for text in victim.notes.told)
    assert victim.reader().read("v1").verified.identity == name(states[-1])


def test_a_state_of_another_repository_of_the_same_team(tmp_path: Path, team: Team, first: State) -> None:
    """Its root is signed by the pinned keys, too."""
    (key,) = team.keys["root"].keys
    victim = Victim(tmp_path, (Pin(team.repository, root_keys=(key.keyid,), threshold=1),))
    dev = Team("localhost:5000/app-dev", team.ring, team.keys)
    foreign = dev.put(dev.first(EVIL), EVIL)
    put_state(victim.store, first)
    put_state(victim.store, foreign, pointed=False)
    assert names(found(victim)) == {name(first)}
    assert "app-dev" in victim.notes.told[-1]
    grafted = dev.remake(team.put(first, EVIL), {"timestamp": lambda body: body[EXTENSION].update(repository="x/y")})
    put_state(victim.store, grafted, pointed=False)
    assert names(found(victim)) == {name(first)}
    victim.reader().read("v1")
    victim.store.untag(POINTER_TAG)
    point(victim.store, encode(foreign))
    with pytest.raises(UntrustedRootError, match="belongs to another repository"):
        victim.reader().read("v1")


# Hints that lie


def _annotated(manifest: Manifest, **annotations: str) -> Manifest:
    body = json.loads(manifest.raw)
    body["annotations"] = annotations
    return Manifest.parse(json.dumps(body).encode())


def test_forged_annotations_say_nothing(team: Team, first: State, victim: Victim) -> None:
    newer = team.next(first)
    for state in (first, newer):
        put_state(victim.store, state)
    boast = {
        "dockseal.version": "999",
        "dockseal.covers": name(newer),
        "org.opencontainers.image.created": "2099-01-01",
    }
    boasting = _annotated(encode(first), **boast)
    victim.store.put_manifest(boasting, own_tag(999, "a" * 64))
    assert names(found(victim)) == {name(newer)}
    point(victim.store, _annotated(encode(newer), **boast))
    assert victim.reader().read("v1").verified.identity == name(newer)


def test_a_tag_name_says_neither_version_nor_identity(team: Team, first: State, victim: Victim) -> None:
    """What is announced is found under whatever name, and weighs what it weighs."""
    change = team.put(first, EVIL)
    for state in (first, team.next(first)):
        put_state(victim.store, state)
    victim.store.put_manifest(encode(first), own_tag(10**15, name(change)))
    announce_as(victim.store, change, own_tag(77, "b" * 64))
    victim.store.untag(own_tag(version(change), name(change)))
    heads = found(victim)
    assert name(change) in names(heads)
    assert heads.base.verified.version == 2


def _indented(state: State) -> State:
    data = json.dumps(json.loads(state.role("timestamp")), indent=1).encode()
    return with_file(state, "timestamp.json", data)


@pytest.mark.parametrize("place", ["its own tag", "another tag", "the pointer"])
def test_a_timestamp_that_was_indented_again_keeps_nobody_busy(
    server: FaultyRegistry, people: People, place: str
) -> None:
    """It is the same state in another manifest: readers take either, and writers come to rest."""
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))

    def plant() -> None:
        newest = max(tag for tag in server.tags["app"] if tag.startswith("_trust."))
        state = _state_under(store, newest)
        tags = {"its own tag": newest, "another tag": own_tag(50, "c" * 64), "the pointer": POINTER_TAG}
        manifest = encode(_indented(state))
        put_state(store, _indented(state), pointed=False)
        server.add_manifest("app", encode(state), newest)  # put_state has overwritten it
        server.add_manifest("app", manifest, tags[place])

    server.fail("PUT", r"/manifests/_trust\.", then(plant))
    ann.push(remote(server.host), "b", plain_image("b"))
    carl = people.onlooker("carl", *ann.pins)
    assert [carl.verdict(store, tag) for tag in "ab"] == ["trusted"] * 2
    assert len([one for one in server.writes if one.path.endswith("/_trust")]) <= 4
    ann.push(remote(server.host), "c", plain_image("c"))
    assert [carl.verdict(store, tag) for tag in "abc"] == ["trusted"] * 3


def _state_under(store: Store, tag: str) -> State:
    return read_announced(store, tag, lambda _digest: None).state


# Keys that were removed


def test_a_state_signed_by_a_key_that_was_removed_since_is_ignored(team: Team, first: State, victim: Victim) -> None:
    new = without_mallory(team, first)
    put_state(victim.store, new)
    late = mallory(team).put(first, EVIL)
    for state in chain(mallory(team), late, 4):
        put_state(victim.store, state, pointed=False)
    assert names(found(victim)) == {name(new)}
    assert "may not publish any more since root 2" in victim.notes.told[-1]


def test_a_removed_publisher_hides_no_honest_change_by_listing_it_as_covered(
    team: Team, first: State, victim: Victim
) -> None:
    new = without_mallory(team, first)
    honest = honestly(team).put(first, a_target("v2"))
    late = mallory(team).remake(mallory(team).next(honest), bump=True)
    assert name(honest) in dict(verified(late).links.covers)
    put_state(victim.store, new)
    for state in (honest, late):
        put_state(victim.store, state, pointed=False)
    assert names(found(victim)) == {name(new), name(honest)}
    assert sum(name(late)[:12] in text for text in victim.notes.told) == 1


@pytest.mark.parametrize("ahead", [COVERED_VERSIONS + 20, FAST_FORWARDED + 5])
@pytest.mark.parametrize("pointed", [False, True], ids=["announced", "pointed at"])
def test_a_removed_publisher_runs_versions_up_and_stops_nobody_who_knows_the_new_root(
    team: Team, first: State, victim: Victim, ahead: int, *, pointed: bool
) -> None:
    new = without_mallory(team, first)
    put_state(victim.store, new)
    victim.reader().read("v1")
    fast = mallory(team).remake(first, {"timestamp": lambda body: body.update(version=ahead)})
    put_state(victim.store, fast, pointed=pointed)
    assert names(found(victim)) == {name(new)}
    assert victim.reader().read("v1").verified.identity == name(new)


def test_a_fast_forwarded_pointer_of_a_removed_publisher_hides_the_new_root_from_no_writer(
    team: Team, first: State, victim: Victim
) -> None:
    """Not even from one that sees the repository for the first time."""
    new = without_mallory(team, first)
    put_state(victim.store, new)
    put_state(
        victim.store, mallory(team).remake(first, {"timestamp": lambda body: body.update(version=FAST_FORWARDED)})
    )
    assert names(found(victim)) == {name(new)}


def test_a_publisher_who_leaves_nothing_above_is_shut_out_by_a_new_root(
    team: Team, first: State, victim: Victim
) -> None:
    """While mallory's key counts, the last version there is stands; its rotation sets all free."""
    put_state(victim.store, first)
    last = mallory(team).remake(first, {"timestamp": lambda body: body.update(version=MAX_INTEGER)})
    put_state(victim.store, last, pointed=False)
    assert found(victim).base.verified.version == MAX_INTEGER
    with pytest.raises(UnsignedError, match="no version above"):
        team.next(last)
    new = without_mallory(team, first)
    put_state(victim.store, new)
    assert names(found(victim)) == {name(new)}
    assert version(honestly(team).next(new)) == 3


# Those who may publish


@pytest.mark.parametrize("order", [1, -1], ids=["seen is smaller", "seen is larger"])
def test_a_fork_made_by_one_holder_of_the_snapshot_key(team: Team, first: State, victim: Victim, order: int) -> None:
    """Who saw one side stays there; the next writer joins both, and nobody falls behind what was seen."""
    seen, fork = sorted((team.put(first, a_target("v2")), mallory(team).put(first, EVIL)), key=name)[::order]
    put_state(victim.store, seen)
    put_image(victim.store, IMAGE, BLOBS, "v1")
    victim.reader().read("v1")
    put_state(victim.store, fork)
    assert victim.reader().read("v1").verified.identity == name(seen)
    assert names(found(victim)) == {name(seen), name(fork)}


def test_a_publisher_who_lists_a_change_as_covered_and_leaves_it_out_is_found_out_by_its_writer(
    server: FaultyRegistry, people: People
) -> None:
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    evil = team_of(people, store)
    old = live(store).state

    def plant() -> None:
        tag = max(tag for tag in server.tags["app"] if tag.startswith("_trust."))
        mine = _state_under(store, tag)

        def swallow(body: dict[str, Any]) -> None:
            body["version"] = 5
            body[EXTENSION]["covers"][name(mine)] = version(mine)

        put_state(remote(server.host), evil.remake(old, {"timestamp": swallow}, bump=True))

    server.fail("PUT", r"/manifests/_trust\.", then(plant))
    signed = ann.push(remote(server.host), "b", plain_image("b"))
    carl = people.onlooker("carl", *ann.pins)
    assert carl.trusted_digest(store, "b") == signed.digest
    assert carl.verdict(store, "a") == "trusted"


@pytest.mark.parametrize("points", [True, False], ids=["and points", "and only announces"])
def test_a_publisher_who_swallows_what_was_live_is_found_out_by_who_has_seen_it(
    server: FaultyRegistry, people: People, points: bool
) -> None:
    """The next writer with a memory joins both; a reader with one looks past the pointer."""
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    old = live(store).state
    signed = ann.push(store, "b", plain_image("b"))
    mine = live(store).state

    def swallow(body: dict[str, Any]) -> None:
        body["version"] = 5
        body[EXTENSION]["covers"][name(mine)] = version(mine)

    put_state(store, team_of(people, store).remake(old, {"timestamp": swallow}, bump=True), pointed=points)
    assert ann.trusted_digest(store, "b") == signed.digest
    ann.push(remote(server.host), "c", plain_image("c"))
    carl = people.onlooker("carl", *ann.pins)
    assert carl.trusted_digest(store, "b") == signed.digest
    assert {carl.verdict(store, tag) for tag in ("a", "c")} == {"trusted"}


def _on_nothing(number: int) -> Callable[[dict[str, Any]], None]:
    """Says that a state has this version, and was made from no other."""

    def change(body: dict[str, Any]) -> None:
        body["version"] = number
        body[EXTENSION] |= {"parents": [], "covers": {}}

    return change


def _old_file_on_what_was_before(evil: Team, states: Sequence[State]) -> list[State]:
    later = {"timestamp": lambda body: body.update(version=4)}
    return [evil.remake(states[0], later, raw={"targets": lambda _: states[1].role("targets")}, bump=True)]


def _both_as_if_nothing_had_been_before(evil: Team, states: Sequence[State]) -> list[State]:
    return [
        evil.remake(states[1], {"timestamp": _on_nothing(100)}, bump=True),
        evil.remake(states[2], {"timestamp": _on_nothing(101)}, bump=True),
    ]


@pytest.mark.parametrize(
    "plant",
    [_old_file_on_what_was_before, _both_as_if_nothing_had_been_before],
    ids=lambda plant: plant.__name__.strip("_").replace("_", " "),
)
def test_a_publisher_who_brings_a_genuine_old_file_back_gets_no_revoked_tag_signed_again(
    server: FaultyRegistry, people: People, plant: Callable[[Team, Sequence[State]], list[State]]
) -> None:
    ann, store = people("ann"), remote(server.host)
    states = []
    for tag in ("a", "leaked"):
        ann.push(store, tag, plain_image(tag))
        states.append(live(store).state)
    writer = ann.writer(store)
    revoke(writer, plan_revocation(writer, "leaked"))
    states.append(live(store).state)
    for state in plant(team_of(people, store), states):
        put_state(store, state, pointed=False)
    ann.push(remote(server.host), "c", plain_image("c"))
    assert set(live(store).targets["targets"].targets) == {"a", "c"}


def test_where_the_history_of_an_old_file_is_gone_nothing_is_merged(server: FaultyRegistry, people: People) -> None:
    ann, store = people("ann"), remote(server.host)
    states = []
    for tag in ("a", "leaked"):
        ann.push(store, tag, plain_image(tag))
        states.append(live(store).state)
    writer = ann.writer(store)
    revoke(writer, plan_revocation(writer, "leaked"))
    (forged,) = _old_file_on_what_was_before(team_of(people, store), states)
    put_state(store, forged, pointed=False)
    server.add_manifest("app", sample("junk").manifest, own_tag(2, name(states[1])))
    ann.push(remote(server.host), "c", plain_image("c"))
    assert set(live(store).targets["targets"].targets) == {"a", "c"}
    assert live(store).links.pending == (name(forged),)


@pytest.mark.parametrize("points", [True, False], ids=["and points", "and only announces"])
def test_a_publisher_who_jumps_ahead_of_what_was_live_locks_out_nobody_who_has_seen_it(
    server: FaultyRegistry, people: People, points: bool
) -> None:
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    old = live(store).state
    ann.push(store, "b", plain_image("b"))
    ahead = team_of(people, store).remake(old, {"timestamp": _on_nothing(COVERED_VERSIONS + 9)}, bump=True)
    put_state(store, ahead, pointed=points)
    ann.push(remote(server.host), "c", plain_image("c"))
    assert {ann.verdict(store, tag) for tag in ("a", "b", "c")} == {"trusted"}


# Floods


def _flood(server: FaultyRegistry, count: int) -> None:
    junk = sample("junk").manifest
    for number in range(count):
        server.add_manifest("app", junk, own_tag(10**9 + number, f"{number:064x}"[::-1]))


def _memory_of(tmp_path: Path, store: Store, team: Team, state: State) -> tuple[Reader, Pins]:
    notes = Pins()
    return Reader(store, a_machine(tmp_path, pins=[team.pin(state)], notes=notes)), notes


def test_thousands_of_junk_tags_cost_readers_nothing_while_the_pointer_is_good(
    server: FaultyRegistry, tmp_path: Path
) -> None:
    store = a_registry(server)
    team = a_team(store.repository)
    state = team.first(V1)
    put_state(store, state)
    _flood(server, 3000)
    reader, notes = _memory_of(tmp_path, store, team, state)
    server.clear()
    assert reader.read("v1").verified.identity == name(state)
    assert len(server.requests) == 1
    assert notes.told == []


@pytest.mark.parametrize("count", [MAX_CANDIDATES - 2, 3000])
def test_thousands_of_junk_tags_and_a_pointer_set_back_cost_readers_bounded_work(
    server: FaultyRegistry, tmp_path: Path, count: int
) -> None:
    """Up to 500 are looked at, and the newest state is found; with more the pointer alone counts, and they say so."""
    store = a_registry(server)
    team = a_team(store.repository)
    old = team.first(V1)
    new = team.next(old)
    put_state(store, new)
    reader, notes = _memory_of(tmp_path, store, team, old)
    reader.read("v1")
    put_state(store, old)
    _flood(server, count)
    server.clear()
    if count <= MAX_CANDIDATES:
        assert reader.read("v1").verified.identity == name(new)
    else:
        with pytest.raises(RollbackError):
            reader.read("v1")
        assert "more than 500 announced states that nothing covers" in notes.told[-1]
    assert len(server.requests) <= MAX_CANDIDATES + 5


def test_thousands_of_junk_tags_stop_writers_before_anything_is_written(server: FaultyRegistry, people: People) -> None:
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    _flood(server, 3000)
    server.clear()
    with pytest.raises(ConflictError, match="more than 500 announced states") as caught:
        ann.push(remote(server.host), "b", plain_image("b"))
    assert "remove the tags _trust.*" in (caught.value.hint or "")
    assert server.writes == ()
    assert len(server.requests) <= MAX_CANDIDATES + 10
    assert ann.verdict(store, "a") == "trusted"


@pytest.mark.parametrize("reads", [True, False], ids=["readers", "writers"])
def test_heavy_junk_is_fetched_once_and_only_so_much_of_it(
    server: FaultyRegistry, people: People, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    """A few blobs, named by many states: whoever may push could have others download them for ever."""
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    monkeypatch.setattr("trust.read.MAX_REFUSED_BYTES", 3 << 20)
    blob = bytes(100_000)
    server.add_blob("app", blob)
    for number in range(40):
        junk = encode_files({f"{n + 1}.r{number}_{n}.json": blob for n in range(10)}, STATE_TYPE)
        server.add_manifest("app", junk, own_tag(10**9 + number, f"{number:064x}"[::-1]))
    if reads:
        server.tags["app"][POINTER_TAG] = server.tags["app"][own_tag(10**9, f"{0:064x}")]
        assert ann.verdict(remote(server.host), "a") == "tampered"
        assert "that do not verify" in ann.warnings[-1]
    else:
        with pytest.raises(ConflictError, match="that do not verify"):
            ann.push(remote(server.host), "b", plain_image("b"))
    fetched = [item for item in server.requests if item.method == "GET" and item.target.endswith(digest_of(blob))]
    assert len(fetched) <= 40


def test_a_flood_while_a_push_is_under_way_loses_nothing(server: FaultyRegistry, people: People) -> None:
    ann, store = people("ann"), remote(server.host)
    ann.push(store, "a", plain_image("a"))
    server.fail("PUT", r"/manifests/_trust\.", then(lambda: _flood(server, 600)))
    with pytest.raises(ConflictError, match="more than 500 announced states"):
        ann.push(remote(server.host), "b", plain_image("b"))
    assert store.resolve("b") is None
    for tag in [tag for tag in server.tags["app"] if tag.startswith(f"_trust.{10**9:016}"[:14])]:
        del server.tags["app"][tag]
    assert _pushes_again(ann, server).unchanged
    assert [ann.verdict(store, tag) for tag in "ab"] == ["trusted"] * 2


def _pushes_again(person: Person, server: FaultyRegistry) -> Any:
    return person.push(remote(server.host), "b", plain_image("b"))
