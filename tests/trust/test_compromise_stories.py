"""Keys that leaked, from the leak to the day after: what honest clients and writers see, and how they go on.

``saw nothing`` pinned root 1 and has no memory, ``saw before`` remembers the state before the attack, ``saw the
attack`` one of the attacker's, ``saw the end`` the rotation, ``came later`` pinned the newest root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.trust.builders import V2, Keyring, Team, a_target, plant_state, put_state, signed_of
from tests.trust.teams import Crew, a_crew
from tests.trust.writing import live, put_sample
from trust import strictjson
from trust.digest import Digest
from trust.errors import UnsignedError, UsageError
from trust.repo import refresh
from trust.states import POINTER_TAG
from trust.team import carry_out, plan_replacement
from trust.tuf.roles import RoleKeys
from trust.tuf.state import FAST_FORWARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securesystemslib.signer import CryptoSigner

    from tests.trust.writing import People, Person
    from trust.tuf.state import State

EVIL = a_target("v1", V2)
LAST = strictjson.MAX_INTEGER
Edit = dict[str, "Callable[[dict[str, Any]], object]"]


@pytest.fixture
def crew(people: People) -> Crew:
    return a_crew(people)


@dataclass
class Thief:
    """Somebody with one leaked key, and the right to push to the registry."""

    crew: Crew
    label: str
    signers: tuple[str, ...] = ()

    def state(self, base: State, edits: Mapping[str, Any], *, roots: tuple[bytes, ...] | None = None) -> State:
        """A state after ``base`` that this key can sign."""
        key = self.crew.people.all.find(self.label)
        signer = cast("CryptoSigner", self.crew.people.all.signer(key))
        mine = RoleKeys((key.public,))
        team = Team(self.crew.store.repository, Keyring(signer), {"snapshot": mine, "timestamp": mine})
        team.delegated = dict.fromkeys(self.signers, mine)
        return team.remake(base, edits, roots=roots, bump=True)

    def signs(self, base: State, *, version: int | None = None) -> State:
        """A state in which the leaked signer says that v1 is something else."""

        def change(body: dict[str, Any]) -> None:
            body["version"] = body["version"] + 1 if version is None else version
            body["targets"]["v1"] = EVIL.to_file().to_dict()

        return self.state(base, {"ci": change})


def everybody(crew: Crew) -> dict[str, Person]:
    return {name: crew.onlooker(name) for name in ("saw nothing", "saw before", "saw the attack", "saw the end")}


def verdicts(crew: Crew, clients: Mapping[str, Person], tag: str) -> dict[str, str]:
    return {name: client.verdict(crew.store, tag) for name, client in clients.items()}


def all_say(verdict: str, clients: Mapping[str, Person]) -> dict[str, str]:
    return dict.fromkeys(clients, verdict)


# The key of CI leaks


@pytest.fixture
def ci(crew: Crew) -> Person:
    """ci signs v1, release signs v2; both publish."""
    crew.found()
    for name, tag in (("ci", "v1"), ("release", "v2")):
        crew.add(crew("ann"), name, name)
        crew.push(crew(name, name), tag, tag, name)
    return crew("ci")


def test_a_signer_is_removed(crew: Crew, ci: Person) -> None:
    clients = everybody(crew)
    assert clients["saw before"].verdict(crew.store, "v1") == "trusted"
    before, thief = live(crew.store).state, Thief(crew, "ci", ("ci",))
    outcome = crew.remove(crew("ann"), "ci")
    assert [(tag.tag, tag.after) for tag in outcome.differences.tags] == [("v1", None)]
    clients["came later"] = crew.newcomer("came later")
    del clients["saw the attack"]
    assert verdicts(crew, clients, "v1") == all_say("unsigned", clients), "only ci signed it"
    assert verdicts(crew, clients, "v2") == all_say("trusted", clients)

    honest = live(crew.store).state
    fresh = crew.onlooker("fresh")
    plant_state(crew.store, thief.signs(thief.signs(before)))
    seen = verdicts(crew, clients, "v2")
    assert seen == all_say("rollback", clients) | {"came later": "untrusted-root"}, (
        "whoever saw the rotation refuses it"
    )
    assert fresh.verdict(crew.store, "v2") == "trusted", "who saw nothing cannot know, while the timestamp lives"
    floor = crew.people.onlooker("floor", replace(fresh.pins[0], min_root=live(crew.store).root.version + 1))
    assert floor.verdict(crew.store, "v2") == "rollback", "a floor in the pin helps"

    plant_state(crew.store, thief.state(before, {}, roots=honest.roots))
    assert verdicts(crew, clients, "v2") == all_say("tampered", clients), "the new root and the old publisher"
    put_state(crew.store, honest)
    assert verdicts(crew, clients, "v2") == all_say("trusted", clients)


def test_a_signers_key_is_replaced_and_its_tags_live_on(crew: Crew, ci: Person) -> None:
    """What it signed was shown to ann, and is signed anew."""
    clients = everybody(crew)
    clients["saw before"].verdict(crew.store, "v1")
    digest = clients["saw before"].trusted_digest(crew.store, "v1")
    before, thief = live(crew.store).state, Thief(crew, "ci", ("ci",))
    outcome = crew.rotate(crew("both", "root", "targets", "publish", "ci-b"), "ci", add=("ci-b",), remove=("ci",))
    assert outcome.state is not None
    assert outcome.differences.tags == ()
    del clients["saw the attack"]
    assert {client.trusted_digest(crew.store, "v1") for client in clients.values()} == {digest}
    plant_state(crew.store, thief.signs(before))
    assert verdicts(crew, clients, "v1") == all_say("rollback", clients)


@pytest.mark.parametrize("version", [7, FAST_FORWARDED, LAST])
def test_a_signers_versions_were_used_up(crew: Crew, ci: Person, version: int) -> None:
    """The name is removed and comes again; also for those who saw the attack."""
    clients = everybody(crew)
    clients["saw before"].verdict(crew.store, "v2")
    thief = Thief(crew, "ci", ("ci",))
    put_state(crew.store, thief.signs(live(crew.store).state, version=version))
    assert clients["saw the attack"].verdict(crew.store, "v1") == "mismatch", "it was a publisher like any other"
    both = crew("both", "root", "targets", "publish", "ci-b")
    if version == LAST:
        with pytest.raises(UsageError, match=f"ci is at version {LAST}") as caught:
            crew.rotate(both, "ci", add=("ci-b",), remove=("ci",))
        assert "signer remove" in (caught.value.hint or "")
    crew.remove(both, "ci")
    assert clients["saw the end"].verdict(crew.store, "v1") == "unsigned"
    outcome = crew.add(both, "ci", "ci-b")
    assert outcome.state is not None
    crew.push(crew("b", "ci-b"), "v3", "three")
    assert verdicts(crew, clients, "v3") == all_say("trusted", clients)
    assert verdicts(crew, clients, "v1") == all_say("unsigned", clients)
    assert live(crew.store).versions["ci"] == (9 if version == 7 else 2)


# The key of a publisher leaks


def replaced(crew: Crew) -> None:
    """Both roles in one state."""
    writer = crew("ann2", "root", "targets", "publish", "publish-b").writer(crew.store)
    edit = plan_replacement(
        writer, ("snapshot", "timestamp"), crew.key_id("publish"), (crew.key("publish-b"),), crew("ann2").now
    )
    assert carry_out(writer, edit).state is not None


def role_by_role(crew: Crew) -> None:
    ann = crew("ann2", "root", "targets", "publish", "publish-b")
    for role in ("snapshot", "timestamp"):
        assert crew.rotate(ann, role, add=("publish-b",), remove=("publish",)).state is not None


def role_by_role_the_other_way(crew: Crew) -> None:
    ann = crew("ann2", "root", "targets", "publish", "publish-b")
    for role in ("timestamp", "snapshot"):
        assert crew.rotate(ann, role, add=("publish-b",), remove=("publish",)).state is not None


ROTATIONS = {"in one state": replaced, "role by role": role_by_role, "the other way": role_by_role_the_other_way}


def versions(timestamp: int, snapshot: int | None = None) -> Edit:
    edits: Edit = {"timestamp": lambda body: body.update(version=timestamp)}
    if snapshot is not None:
        edits["snapshot"] = lambda body: body.update(version=snapshot)
    return edits


FORWARDED: dict[str, Edit] = {
    "timestamp to 2^52": versions(FAST_FORWARDED),
    "both to 2^52": versions(FAST_FORWARDED, FAST_FORWARDED),
    "timestamp to 2^53 - 1": versions(LAST),
    "snapshot to 2^53 - 1": versions(LAST - 1, LAST),
    "both to 2^53 - 1": versions(LAST, LAST),
    "both to below the line": versions(FAST_FORWARDED - 1, FAST_FORWARDED - 1),
}


@pytest.fixture
def founded(crew: Crew) -> Person:
    ann = crew.found()
    crew.push(ann, "v1", "one")
    crew.push(ann, "v1", "two")
    return ann


@pytest.mark.parametrize(
    ("forwarded", "rotation"),
    [*((name, "in one state") for name in FORWARDED), *(("both to 2^53 - 1", name) for name in list(ROTATIONS)[1:])],
)
def test_versions_that_were_fast_forwarded(crew: Crew, founded: Person, forwarded: str, rotation: str) -> None:
    """Honest clients and writers go on after the rotation, and there is room again."""
    clients = everybody(crew)
    assert clients["saw before"].verdict(crew.store, "v1") == "trusted"
    attack = Thief(crew, "publish").state(live(crew.store).state, FORWARDED[forwarded])
    put_state(crew.store, attack)
    assert clients["saw the attack"].verdict(crew.store, "v1") == "trusted", "nothing is wrong with it yet"
    ROTATIONS[rotation](crew)
    assert verdicts(crew, clients, "v1") == all_say("trusted", clients)
    ann = crew("ann2")
    for tag in ("v2", "v3"):
        crew.push(ann, tag, tag)
    assert verdicts(crew, clients, "v3") == all_say("trusted", clients)
    found = live(crew.store)
    assert max(found.version, found.snapshot.version) <= FAST_FORWARDED + 5
    if forwarded != "both to below the line":
        assert found.version < 20, "it started again above the last honest version"
        assert found.version > 3
    plant_state(crew.store, attack)
    assert clients["saw the end"].verdict(crew.store, "v1") == "rollback", "the old ones are refused"


def test_without_a_rotation_the_last_version_is_the_end(crew: Crew, founded: Person) -> None:
    put_state(crew.store, Thief(crew, "publish").state(live(crew.store).state, versions(LAST)))
    before = crew.store.resolve(POINTER_TAG)
    with pytest.raises(UnsignedError, match=f"there is no version above {LAST}") as caught:
        crew.push(founded, "v2", "two")
    assert "dockseal key rotate" in (caught.value.hint or "")
    assert crew.store.resolve(POINTER_TAG) == before


def test_ancestors_that_were_made_up(crew: Crew, founded: Person) -> None:
    """The attacker chooses what ``covers`` says; an honest version is above all of it that leaves room."""
    made_up = {"a" * 64: LAST - 1, "b" * 64: FAST_FORWARDED - 1}
    edits = versions(LAST) | {
        "timestamp": lambda body: body.update(version=LAST) or body["x-dockseal"].update(covers=made_up)
    }
    put_state(crew.store, Thief(crew, "publish").state(live(crew.store).state, edits))
    client = crew.onlooker("saw the attack")
    assert client.verdict(crew.store, "v1") == "trusted"
    replaced(crew)
    assert live(crew.store).version == FAST_FORWARDED
    crew.push(crew("ann2"), "v2", "two")
    assert client.verdict(crew.store, "v2") == "trusted"


def test_later_states_of_a_key_that_left_are_no_heads(crew: Crew, founded: Person) -> None:
    """Announced before and after the rotation; whoever writes is told, and nothing of it is taken over."""
    thief, base = Thief(crew, "publish"), live(crew.store).state
    put_state(crew.store, thief.state(base, versions(LAST - 5)), pointed=False)
    attack = thief.state(base, versions(LAST))
    put_state(crew.store, attack)
    replaced(crew)
    put_state(crew.store, thief.state(attack, versions(LAST, LAST)), pointed=False)
    forgetful = crew("forgetful", "targets", "publish-b")
    crew.push(forgetful, "v2", "two")
    assert live(crew.store).links.pending == ()
    assert any("may not publish any more since root 2" in text for text in forgetful.warnings)
    assert crew.onlooker("saw nothing").verdict(crew.store, "v2") == "trusted"


class TestATimestampThatExpiresIn2099:
    @pytest.fixture
    def clients(self, crew: Crew, founded: Person) -> dict[str, Person]:
        clients = everybody(crew)
        clients["saw before"].verdict(crew.store, "v1")
        for_ever = {"timestamp": lambda body: body.update(expires="2099-01-01T00:00:00Z")}
        put_state(crew.store, Thief(crew, "publish").state(live(crew.store).state, for_ever))
        assert verdicts(crew, clients, "v1") == all_say("trusted", clients), "they look past the pointer"
        return clients

    @pytest.mark.parametrize("rotation", ROTATIONS)
    def test_ends_with_the_rotation(self, crew: Crew, clients: dict[str, Person], rotation: str) -> None:
        ROTATIONS[rotation](crew)
        assert verdicts(crew, clients, "v1") == all_say("trusted", clients)
        crew.push(crew("ann2"), "v2", "two")
        assert verdicts(crew, clients, "v2") == all_say("trusted", clients)

    def test_ends_with_the_next_push(self, crew: Crew, clients: dict[str, Person]) -> None:
        crew.push(crew("ann"), "v1", "two")
        assert verdicts(crew, clients, "v1") == all_say("trusted", clients)

    def test_ends_with_a_refresh(self, crew: Crew, clients: dict[str, Person]) -> None:
        refresh(crew("ann").writer(crew.store))
        assert verdicts(crew, clients, "v1") == all_say("trusted", clients)


@pytest.mark.parametrize(
    ("version", "rotation"),
    [(7, "in one state"), (FAST_FORWARDED, "role by role"), (LAST, "in one state"), (LAST, "the other way")],
)
def test_a_snapshot_that_lists_a_role_that_never_was(crew: Crew, founded: Person, version: int, rotation: str) -> None:
    """A signer of that name can be added, too."""
    clients = everybody(crew)
    clients["saw before"].verdict(crew.store, "v1")
    entry = {"version": version, "length": 2, "hashes": {"sha256": Digest.of(b"{}").hex}}
    ghost = {"snapshot": lambda body: body["meta"].update({"ghost.json": entry})}
    put_state(crew.store, Thief(crew, "publish").state(live(crew.store).state, ghost))
    assert clients["saw the attack"].verdict(crew.store, "v1") == "trusted"
    ROTATIONS[rotation](crew)
    assert verdicts(crew, clients, "v1") == all_say("trusted", clients)
    crew.push(crew("ann2"), "v2", "two")
    everything = crew("everything", "root", "targets", "publish-b", "ghost")
    assert crew.add(everything, "ghost", "ghost").state is not None
    crew.push(everything, "v3", "three")
    assert verdicts(crew, clients, "v3") == all_say("trusted", clients)


def test_what_a_publisher_alone_cannot_do(crew: Crew, founded: Person) -> None:
    """It has no key of targets: it can hold back and hurry on, and sign nothing."""
    client = crew.onlooker("client")
    honest = live(crew.store).state
    body = signed_of(honest.role("targets"))
    body["targets"]["v1"] = EVIL.to_file().to_dict()
    body["version"] += 1
    key = crew.people.all.find("publish")
    signer = cast("CryptoSigner", crew.people.all.signer(key))
    mine = RoleKeys((key.public,))
    team = Team(crew.store.repository, Keyring(signer), {"snapshot": mine, "timestamp": mine, "targets": mine})
    plant_state(crew.store, team.remake(honest, bodies={"targets": body}, bump=True))
    put_sample(crew.store, "v9", "nine")
    assert client.verdict(crew.store, "v1") == "tampered"
