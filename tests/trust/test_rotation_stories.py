"""Keys come and go, and nobody has to be told: what three clients say after each rotation.

``remembers`` saw the repository before; ``pinned root 1`` has no memory; ``pinned the newest`` came after.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.trust.attackers import BLOBS, IMAGE, V1
from tests.trust.builders import (
    Team,
    a_registry,
    a_team,
    plant_state,
    put_image,
    put_state,
    sign_raw,
    signed_of,
)
from tests.trust.teams import Crew, a_crew
from tests.trust.writing import live, plain_image
from trust.digest import Digest
from trust.errors import TamperedError, UnsignedError, UsageError
from trust.pins import Pin
from trust.push import push
from trust.read import Trusted
from trust.states import POINTER_TAG, announced
from trust.verify import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.tuf.state import State

REMEMBERS, ROOT_1, NEWEST = "remembers", "pinned root 1", "pinned the newest"
ALL_TRUST = dict.fromkeys((REMEMBERS, ROOT_1, NEWEST), "trusted")


@pytest.fixture
def crew(people: People) -> Crew:
    return a_crew(people)


def verdicts(crew: Crew, remembers: Person, tag: str = "v1") -> dict[str, str]:
    return {
        REMEMBERS: remembers.verdict(crew.store, tag),
        ROOT_1: crew.onlooker("root-1").verdict(crew.store, tag),
        NEWEST: crew.newcomer("newest").verdict(crew.store, tag),
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One rotation: labels of keys that come and go, and the new threshold; None keeps it."""

    role: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """Rotations one after the other, by somebody who holds every key.

    ``left``: labels and threshold of the last role at the end; ``root``: the newest root's version then.
    """

    steps: tuple[Step, ...]
    left: tuple[tuple[str, ...], int]
    root: int = 2
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    thresholds: tuple[tuple[str, int], ...] = ()


ROOT_ABC = (("root", ("root", "root-b", "root-c")),)
TWO = (("root", 2),)
STORIES = {
    "a root key is added": Story((Step("root", ("root-b",)),), (("root", "root-b"), 1)),
    "a root key is removed": Story((Step("root", (), ("root-c",)),), (("root", "root-b"), 1), roles=ROOT_ABC),
    "the root key is replaced": Story((Step("root", ("root-b",), ("root",)),), (("root-b",), 1)),
    "root's threshold is raised": Story((Step("root", (), (), 2),), (("root", "root-b", "root-c"), 2), roles=ROOT_ABC),
    "root's threshold is lowered": Story(
        (Step("root", (), (), 1),), (("root", "root-b", "root-c"), 1), roles=ROOT_ABC, thresholds=TWO
    ),
    "root loses a key and keeps its threshold": Story(
        (Step("root", (), ("root",)),), (("root-b", "root-c"), 2), roles=ROOT_ABC, thresholds=TWO
    ),
    "roots 1 to 5 were missed": Story(
        (
            Step("root", ("root-b",), ("root",)),
            Step("root", ("root-c",), (), 2),
            Step("root", ("root-d",), ("root-b",)),
            Step("root", (), (), 1),
            Step("root", (), ("root-c",)),
        ),
        (("root-d",), 1),
        root=6,
    ),
    "the targets key is replaced": Story((Step("targets", ("targets-b",), ("targets",)),), (("targets-b",), 1)),
    "targets needs two": Story((Step("targets", ("targets-b",), (), 2),), (("targets", "targets-b"), 2)),
    "the publishing key is replaced, role by role": Story(
        (Step("snapshot", ("publish-b",), ("publish",)), Step("timestamp", ("publish-b",), ("publish",))),
        (("publish-b",), 1),
        root=3,
    ),
    "a key that two roles share leaves one": Story(
        (Step("targets", ("targets-b",), ("root",)),), (("targets-b",), 1), roles=(("targets", ("root",)),)
    ),
    "a key that two roles share leaves both": Story(
        (Step("targets", ("targets-b",), ("root",)), Step("root", ("root-b",), ("root",))),
        (("root-b",), 1),
        root=3,
        roles=(("targets", ("root",)),),
    ),
    "a key comes back": Story(
        (Step("root", ("root-b",), ("root",)), Step("root", ("root",), ("root-b",))), (("root",), 1), root=3
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_every_client_follows(crew: Crew, name: str) -> None:
    story = STORIES[name]
    ann = crew.found(roles=dict(story.roles), thresholds=dict(story.thresholds))
    founders = dict.fromkeys(label for labels in ann.roles.labels.values() for label in labels)
    everybody = crew("everybody", *dict.fromkeys((*founders, *(label for step in story.steps for label in step.add))))
    crew.push(ann, "v1", "one")
    remembers = crew.onlooker("remembers")
    assert remembers.verdict(crew.store, "v1") == "trusted"
    for step in story.steps:
        outcome = crew.rotate(everybody, step.role, add=step.add, remove=step.remove, threshold=step.threshold)
        assert outcome.state is not None, outcome.proposed.lacking_words()
    assert verdicts(crew, remembers) == ALL_TRUST
    found = live(crew.store)
    role = found.role(story.steps[-1].role)
    labels, threshold = story.left
    assert (set(role.keyids), role.threshold) == ({crew.key_id(label) for label in labels}, threshold)
    assert found.root.version == story.root
    crew.push(everybody, "v2", "two")
    assert verdicts(crew, remembers, "v2") == ALL_TRUST


def test_a_signers_key_is_replaced(crew: Crew) -> None:
    ann = crew.found()
    ci = crew("ci", "ci")
    crew.add(ann, "ci", "ci", adopt=True)
    crew.push(ci, "v1", "one")
    remembers = crew.onlooker("remembers")
    assert remembers.verdict(crew.store, "v1") == "trusted"
    outcome = crew.rotate(ann, "ci", add=("ci-b",), remove=("ci",))
    assert outcome.state is None, "ann has no key of ci: it waits for the new one"
    new = crew("new", "ci-b")
    assert crew.approve(new).state is not None
    assert verdicts(crew, remembers) == ALL_TRUST
    publishers = set(live(crew.store).root.roles["timestamp"].keyids)
    assert publishers == {crew.key_id("publish"), crew.key_id("ci-b")}
    with pytest.raises(UnsignedError, match="no key on this machine may sign the tag 'v2'"):
        crew.push(ci, "v2", "two")
    crew.push(new, "v2", "two")
    assert verdicts(crew, remembers, "v2") == ALL_TRUST


def test_a_rotation_while_another_writer_pushes(people: People, server: FaultyRegistry) -> None:
    """Whoever comes second finds what the first did, and running again builds on it."""
    crew = Crew(people, a_registry(server))
    ann = crew.found()
    crew.push(ann, "v1", "one")
    bob = crew("bob", "targets", "publish")
    remembers = crew.onlooker("remembers")
    assert remembers.verdict(crew.store, "v1") == "trusted"
    planned = bob.signer(crew.store)
    image = plain_image("two")

    def rotated(manifest: object) -> None:
        crew.rotate(ann, "root", add=("root-b",))

    crew("everybody", "root", "root-b", "targets", "publish")
    push(crew.store, "v2", image, planned, bob.uploads(crew.store), on_pushed=rotated)
    assert (live(crew.store).root.version, live(crew.store).tags) == (2, ("v1", "v2"))
    assert verdicts(crew, remembers, "v2") == ALL_TRUST


def test_both_announce_before_either_looks(crew: Crew) -> None:
    ann = crew.found()
    crew.push(ann, "v1", "one")
    bob = crew("bob", "targets", "publish")
    remembers = crew.onlooker("remembers")
    remembers.verdict(crew.store, "v1")
    late = bob.writer(crew.store)
    assert late.heads is not None
    planned = late.plan_tag(V1, ("targets",))
    assert isinstance(planned, Trusted)
    crew.rotate(ann, "root", add=("root-b",))
    late.publish(planned)
    assert live(crew.store).root.version == 2
    assert live(crew.store).lookup("v1") is not None
    crew.push(bob, "v2", "two")
    assert verdicts(crew, remembers, "v2") == ALL_TRUST


# What no rotation may do: each with python-tuf's own words or ours, at every client


@dataclass(frozen=True, slots=True)
class Forgery:
    """A second root that somebody forged with a part of the keys, and what the clients say."""

    make: Callable[[Team, State], State]
    expected: dict[str, str]
    says: str


def _root_of(team: Team, state: State, signers: tuple[str, ...], **role: object) -> State:
    """The state with a second root, in which root has other keys or another threshold, signed by these alone."""
    body = signed_of(state.root)
    body["version"] += 1
    old = body["roles"]["root"]
    body["roles"]["root"] = old | role
    keys = {key_id: team.ring[key_id] for key_id in signers}
    for key_id, signer in keys.items():
        body["keys"][key_id] = signer.public_key.to_dict()
    root = sign_raw(body, list(keys.values()))
    return team.remake(state, roots=[*state.roots, root], bump=True)


def _wrong_old_threshold(team: Team, state: State) -> State:
    one, new = team.keys["root"].keys[0].keyid, team.ring.key().keyid
    return _root_of(team, state, (one, new), keyids=[one, new], threshold=1)


def _new_threshold_not_met(team: Team, state: State) -> State:
    old = [key.keyid for key in team.keys["root"].keys]
    new = [team.ring.key().keyid for _ in range(2)]
    body_keys = {key_id: team.ring[key_id].public_key.to_dict() for key_id in new}
    body = signed_of(state.root)
    body["version"] += 1
    body["keys"] |= body_keys
    body["roles"]["root"] = {"keyids": new, "threshold": 2}
    root = sign_raw(body, [team.ring[key_id] for key_id in (*old, new[0])])
    return team.remake(state, roots=[*state.roots, root], bump=True)


def _one_key_under_two_ids(team: Team, state: State) -> State:
    old = [key.keyid for key in team.keys["root"].keys]
    signer = team.ring.new()
    forged = "f" * 64
    body = signed_of(state.root)
    body["version"] += 1
    body["keys"] |= {name: signer.public_key.to_dict() for name in (signer.public_key.keyid, forged)}
    body["roles"]["root"] = {"keyids": [signer.public_key.keyid, forged], "threshold": 2}
    root = sign_raw(body, [*(team.ring[key_id] for key_id in old), signer])
    again = sign_raw(body, [signer], labels={signer.public_key.keyid: forged})
    return team.remake(state, roots=[*state.roots, _with_signature(root, again)], bump=True)


def _with_signature(one: bytes, other: bytes) -> bytes:
    body = json.loads(one)
    body["signatures"] += json.loads(other)["signatures"]
    return json.dumps(body).encode()


def _skipped(team: Team, state: State) -> State:
    """Root 2 was left out, and root 3 put in its place."""
    two = team.next_root(state.root)
    three = team.next_root(two)
    return team.remake(state, roots=[*state.roots, three], bump=True)


TAMPERED = dict.fromkeys((REMEMBERS, ROOT_1, NEWEST), "tampered")
FORGERIES = {
    "a new root with too few of the old signatures": Forgery(
        _wrong_old_threshold, TAMPERED | {NEWEST: "trusted"}, "was signed by 1/2 keys"
    ),
    "a new root with too few of its own signatures": Forgery(
        _new_threshold_not_met, TAMPERED, "was signed by 1/2 keys"
    ),
    "a new root in which one key counts twice": Forgery(_one_key_under_two_ids, TAMPERED, "id"),
    "a root that skips a version": Forgery(_skipped, TAMPERED, "expected 2"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_rotation_that_is_none(people: People, server: FaultyRegistry, name: str) -> None:
    """Who pinned a forged root itself has asked for it: nothing before it is looked at."""
    story = FORGERIES[name]
    store = a_registry(server)
    team = a_team(store.repository, thresholds={"root": 2})
    state = team.first(V1)
    put_image(store, IMAGE, BLOBS, "v1")
    put_state(store, state)
    remembers = people.onlooker("remembers", team.pin(state))
    assert remembers.verdict(store, "v1") == "trusted"
    forged = story.make(team, state)
    plant_state(store, forged)
    onlookers = {
        REMEMBERS: remembers,
        ROOT_1: people.onlooker("root 1", team.pin(state)),
        NEWEST: people.onlooker("newest", Pin(store.repository, root=Digest.of(forged.root))),
    }
    assert {who: person.verdict(store, "v1") for who, person in onlookers.items()} == story.expected
    error = judge(store, onlookers[ROOT_1].machine(), "v1").error
    assert isinstance(error, TamperedError)
    assert story.says in error.message


def test_what_can_never_be_met_is_refused_before_anything_is_signed(crew: Crew) -> None:
    ann = crew.found()
    before = crew.store.resolve(POINTER_TAG)
    for change, says in (
        ({"threshold": 2}, "root would need 2 signature.s. of 1 key"),
        ({"remove": ("root",)}, "root would need 1 signature.s. of 0 key"),
        ({"remove": ("targets",)}, "root has no key"),
        ({"add": ("root-b",), "remove": ("root-b",), "threshold": 2}, "has no key"),
    ):
        with pytest.raises(UsageError, match=says):
            crew.rotate(ann, "root", **change)
    assert crew.store.resolve(POINTER_TAG) == before
    assert crew.proposals(ann) == ()


def test_the_state_before_a_rotation_is_a_rollback_for_those_who_saw_it(crew: Crew) -> None:
    """Who has no memory cannot see it while the old timestamp lives; a floor in the pin helps."""
    ann = crew.found()
    crew.push(ann, "v1", "one")
    old = crew.store.get_manifest(POINTER_TAG)
    remembers, stranger = crew.onlooker("remembers"), crew.onlooker("stranger")
    crew.rotate(ann, "targets", add=("targets-b",))
    assert remembers.verdict(crew.store, "v1") == "trusted"
    newest = crew.newcomer("newest")
    crew.store.put_manifest(old, POINTER_TAG)
    assert remembers.verdict(crew.store, "v1") == "trusted", "it looks past the pointer"
    for item in announced(crew.store.tags(1000))[:1]:
        crew.store.untag(item.tag)
    assert remembers.verdict(crew.store, "v1") == "rollback"
    assert newest.verdict(crew.store, "v1") == "untrusted-root"
    assert stranger.verdict(crew.store, "v1") == "trusted"
    assert stranger.later(days=15).verdict(crew.store, "v1") == "expired"
    stranger.pin(replace(stranger.pins[0], min_root=2))
    assert stranger.verdict(crew.store, "v1") == "rollback"


# Roots that were missed


@pytest.fixture(scope="module")
def long_chain() -> tuple[Team, dict[int, State]]:
    """The same repository with 1, 51, 257 and 301 roots."""
    team = a_team("localhost:5000/app")
    state = team.first(V1)
    states = {1: state}
    roots = list(state.roots)
    for number in range(2, 302):
        roots.append(team.next_root(roots[-1]))
        if number in {51, 257, 301}:
            states[number] = state = team.remake(state, roots=roots, bump=True)
    return team, states


def test_fifty_missed_roots_cost_no_request_more(
    people: People, server: FaultyRegistry, long_chain: tuple[Team, dict[int, State]]
) -> None:
    """They are in the state, most of them in its manifest: two requests, as for any repository."""
    team, states = long_chain
    store = a_registry(server)
    bob = people.onlooker("bob", replace(team.pin(states[1]), repository=store.repository, signed_as=team.repository))
    put_image(store, IMAGE, BLOBS, "v1")
    put_state(store, states[51])
    before = len(server.requests)
    assert bob.verdict(store, "v1") == "trusted"
    assert len(server.requests) - before == 2


def test_more_than_256_missed_roots_are_said_and_a_newer_pin_is_the_way_out(
    people: People, long_chain: tuple[Team, dict[int, State]]
) -> None:
    team, states = long_chain
    crew = a_crew(people)
    put_image(crew.store, IMAGE, BLOBS, "v1")
    stranger = people.onlooker("stranger", team.pin(states[1]))
    remembers = people.onlooker("remembers", team.pin(states[1]))
    plant_state(crew.store, states[51])
    assert remembers.verdict(crew.store, "v1") == "trusted"
    plant_state(crew.store, states[257])
    assert stranger.verdict(crew.store, "v1") == "trusted", "256 rotations are followed"
    stranger = people.onlooker("another", team.pin(states[1]))
    plant_state(crew.store, states[301])
    error = judge(crew.store, stranger.machine(), "v1").error
    assert isinstance(error, TamperedError)
    assert "root 257 is the newest that can be trusted: the state's newest is 301" in error.message
    assert error.hint == "after more than 256 rotations since the pinned root, pin a newer one"
    assert remembers.verdict(crew.store, "v1") == "trusted", "its memory is a newer root than its pin"
    stranger.pin(Pin(crew.store.repository, root=Digest.of(states[301].root)))
    assert stranger.verdict(crew.store, "v1") == "trusted"
