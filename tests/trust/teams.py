"""People who sign together: keys by label, signers, rotations and approvals, each from somebody's own machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.trust.writing import folder, live, plain_image
from trust import team
from trust.approval import approve, open_proposals
from trust.digest import Digest
from trust.errors import KeyUnavailableError
from trust.pins import Pin
from trust.proposals import find
from trust.repo import Roles, init, lay_foundation
from trust.tuf.edits import ALL_TAGS, KeyChange, NewSigner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securesystemslib.signer import Key

    from tests.trust.writing import People, Person
    from trust.oci.store import Store
    from trust.proposals import Proposal
    from trust.team import Outcome

ROLES: dict[str, tuple[str, ...]] = {
    "root": ("root",),
    "targets": ("targets",),
    "snapshot": ("publish",),
    "timestamp": ("publish",),
}


@dataclass(slots=True)
class Crew:
    """A repository and those who sign for it. ``ann`` founded it, with every key of it."""

    people: People
    store: Store
    members: dict[str, Person] = field(default_factory=dict)

    def __call__(self, name: str, *labels: str) -> Person:
        """Somebody's machine with these keys; without any named, the machine that is there by that name."""
        if name not in self.members:
            for label in labels:
                self.key(label)
            self.members[name] = self.people(name, *labels)
            self.members[name].pins = list(self.members["ann"].pins) if "ann" in self.members else []
        return self.members[name]

    def key(self, label: str) -> Key:
        """A public key of the session; it is made where there is none of this label."""
        try:
            return self.people.all.find(label).public
        except KeyUnavailableError:
            return self.people.all.generate(label, purpose="root" if "root" in label else "repository").public

    def key_id(self, label: str) -> str:
        return str(self.key(label).keyid)

    def found(
        self, *, roles: Mapping[str, tuple[str, ...]] | None = None, thresholds: Mapping[str, int] | None = None
    ) -> Person:
        """Ann begins the repository, with no tag signed yet."""
        chosen = ROLES | dict(roles or {})
        labels = dict.fromkeys(label for some in chosen.values() for label in some)
        ann = self("ann", *labels)
        ann.roles = Roles(labels=chosen, thresholds=thresholds or {})
        init(ann.writer(self.store), lambda: lay_foundation(ann.keys, self.store.repository, ann.roles))
        return ann

    def add(
        self,
        who: Person,
        name: str,
        *labels: str,
        adopt: bool = False,
        threshold: int = 1,
        patterns: tuple[str, ...] = ALL_TAGS,
        publishes: bool = True,
        days: int | None = None,
    ) -> Outcome:
        keys = tuple(self.key(label) for label in labels)
        signer = NewSigner(name, keys, threshold, patterns, days, publishes)
        writer = who.writer(self.store)
        return team.carry_out(writer, team.plan_signer(writer, signer, who.now, adopt=adopt))

    def remove(self, who: Person, name: str) -> Outcome:
        writer = who.writer(self.store)
        return team.carry_out(writer, team.plan_removal(writer, name, who.now))

    def rotate(
        self,
        who: Person,
        role: str,
        *,
        add: tuple[str, ...] = (),
        remove: tuple[str, ...] = (),
        threshold: int | None = None,
    ) -> Outcome:
        change = KeyChange(
            tuple(self.key(label) for label in add), tuple(self.key_id(label) for label in remove), threshold
        )
        writer = who.writer(self.store)
        return team.carry_out(writer, team.plan_rotation(writer, role, change, who.now))

    def approve(self, who: Person, name: str | None = None) -> Outcome:
        writer = who.writer(self.store)
        return approve(writer, find(open_proposals(writer, who.now), name))

    def proposals(self, who: Person) -> tuple[Proposal, ...]:
        return open_proposals(who.writer(self.store), who.now)

    def push(self, who: Person, tag: str, text: str, *signers: str) -> Digest:
        """Push an image; the digest that was pushed."""
        return who.push(self.store, tag, plain_image(text), signers=signers).digest

    def onlooker(self, name: str) -> Person:
        """A machine with no key that pinned root 1."""
        return self.people.onlooker(name, Pin(self.store.repository, root=Digest.of(live(self.store).state.roots[0])))

    def newcomer(self, name: str) -> Person:
        """A machine with no key that pinned the newest root."""
        return self.people.onlooker(name, Pin(self.store.repository, root=Digest.of(live(self.store).state.root)))


def a_crew(people: People) -> Crew:
    """A repository in a folder, not begun yet."""
    return Crew(people, folder(people))
