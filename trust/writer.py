"""Writing trust: from what is there to a planned state, and from there to one that is live.

What push, sign, revoke, refresh and init share. A plan is made and verified in full before anything
is written, so that whatever can be refused is refused first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.duties import Duties
from trust.errors import (
    ConflictError,
    DocksealError,
    RollbackError,
    TamperedError,
    UnsignedError,
    UsageError,
    VerificationError,
)
from trust.following import Led, decided, includes, keep_alive, proposes, waiting_tags
from trust.heads import Heads, find_heads
from trust.imagetags import ImageTags
from trust.joining import Joiner
from trust.mending import Mender
from trust.pins import Pin
from trust.proposals import MAX_FILES, MAX_PROPOSALS, contents, discard, read_proposals, store_proposal
from trust.publish import Publisher, check_planned, shadowed
from trust.read import Reader
from trust.tuf.differences import Differences, differences
from trust.tuf.draft import Change, first_state, next_state, state_after
from trust.tuf.edits import PUBLISHING_ROLES, change_tags
from trust.tuf.proposed import Proposed, is_live, propose, sign_with
from trust.tuf.rules import check_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.proposals import Proposal
    from trust.read import Trusted
    from trust.signing import KeySigning
    from trust.states import StoredState
    from trust.tuf.roles import RoleKeys, Target
    from trust.tuf.state import Terms
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a new repository starts with: its terms, who signs which of the four roles, and how many hash bins."""

    terms: Terms
    keys: Mapping[str, RoleKeys]
    bins: int = 0


class Writer:
    """Writes one repository's trust data from one machine's standpoint. The constructor does no I/O."""

    def __init__(self, store: Store, machine: Machine, signing: KeySigning) -> None:
        self.store = store
        self._machine = machine
        self.signing = signing
        self._reader = Reader(store, machine, signing.holds_all)

    def look_again(self) -> None:
        """Forget what was there: an upload takes time, in which others write."""
        for name in ("heads", "joined", "proposals", "ahead"):
            self.__dict__.pop(name, None)

    @property
    def moves_tags(self) -> bool:
        """Whether tags move in this store, as far as config.toml knows."""
        return self._machine.moves_tags(self.store.repository)

    @cached_property
    def heads(self) -> Heads | None:
        """What there is to build on; None where the repository may be initialised.

        Raises:
            RollbackError: there is nothing, and this machine has seen or pinned trust data.
            UntrustedRootError, TamperedError: what is there is not acceptable.
            ConflictError: too many announced states.
        """
        heads = find_heads(self.store, self._reader, self._machine)
        if heads is None:
            self._refuse_second_start()
        elif self._machine.trust_on_first_use:
            self._reader.pin(heads.base)
        return heads

    @cached_property
    def joined(self) -> Trusted | None:
        """The state to build on, without what open proposals lead to: the only head, or the planned join of several.

        Where this machine may not publish, it is the strongest head. What is pending is tried again, since this
        machine may hold the key that was missing.
        """
        heads = self.heads
        if heads is None or not (heads.others or heads.base.verified.links.pending):
            return None if heads is None else heads.base
        try:
            return self._joiner.join(heads)
        except (ConflictError, UnsignedError) as problem:
            self._machine.warn(str(problem))
            return heads.base

    @cached_property
    def proposals(self) -> tuple[Proposal, ...]:
        """The open proposals, judged against :meth:`standing`."""
        if self.heads is None or not self.heads.proposal_tags:
            return ()
        found = read_proposals(self.store, self.standing(), self.heads.proposal_tags)
        if len(self.heads.proposal_tags) > MAX_PROPOSALS:
            self._machine.warn(
                f"{self.store.name} holds {len(self.heads.proposal_tags)} proposals: {MAX_PROPOSALS} are looked at; "
                "`dockseal approve --reject` removes one"
            )
        for proposal in found:
            if proposal.problem is not None and not isinstance(proposal.problem, ConflictError):
                self._machine.warn(str(proposal.problem))  # what was only overtaken, `approve --list` shows
        return found

    @cached_property
    def ahead(self) -> tuple[Led, ...]:
        """The states that open proposals lead to on which nobody has to decide any more: planned, not yet live."""
        found: list[Led] = []
        for proposal in self.proposals:
            base = found[-1].state.verified if found else self.standing()
            try:
                proposed = decided(proposal, base, self.signing, self._machine.now)
                if proposed is not None and self.can_publish(proposed, base):
                    found.append(Led(proposal, self._plan_proposed(base, proposed)))
            except ConflictError:
                continue  # one that goes before overtakes it
            except VerificationError as error:  # anybody who may push can have put it there
                self._machine.warn(f"proposal {proposal.id} is left out: {error}")
        return tuple(found)

    def trust(self, stored: StoredState) -> Trusted:
        """Verify a state from elsewhere as this machine would one in the store, but for its age.

        Raises:
            UntrustedRootError, TamperedError, RollbackError: the verdict.
        """
        trusted = self._reader.trust(stored)
        self._reader.check_seen(trusted)
        return trusted

    def standing(self) -> Verified:
        """The state that is there, without what open proposals lead to.

        Raises:
            UnsignedError: the repository has no trust data yet.
        """
        if self.heads is None or self.joined is None:
            raise self._reader.nothing_there()
        mender = Mender(self.store, self._reader, self._machine, self.signing)
        return mender.mended(self.joined.verified, self.heads.tags)

    def is_spoiled(self, role: str) -> bool:
        """Whether a hash bin of this role does not verify: whoever publishes can put anything there."""
        if self.joined is None:
            return False
        live = self.joined.verified
        try:
            for name in (name for name, owner in live.bins.items() if owner == role):
                live.payload(name)
        except TamperedError:
            return True
        return False

    def base(self) -> Verified:
        """The state to build on.

        Raises:
            UnsignedError: the repository has no trust data yet, or is a copy of another.
        """
        standing = self.standing()
        assert self.heads is not None  # noqa: S101 - something is there
        self.heads.base.pin.check_own(self.store.repository)
        return self.ahead[-1].state.verified if self.ahead else standing

    def plan(self, change: Change, *, expected: Mapping[str, Digest | None] | None = None) -> Trusted:
        """The next state, signed and verified, not yet written.

        Args:
            change: what is to change in :meth:`base`.
            expected: what tags must resolve to afterwards. Without any, roles that expired and whose keys are
                elsewhere stay as they are, for others to renew.

        Raises:
            UnsignedError: a key is not here, a role that the tags need has expired and cannot be renewed here, or
                a tag would resolve to something else.
            KeyUnavailableError: a key that is here cannot be used.
        """
        base, duties = self.base(), self.duties
        assert self.heads is not None  # noqa: S101 - base() has seen to it
        if expected:
            duties.refuse_expired(change)
        change = replace(change, renew=change.renew | duties.renewable(duties.expired(change)))
        self.signing.prepare(base.role(name) for name in (*change.targets_roles, *change.renew, *PUBLISHING_ROLES))
        state = next_state(base, change, signing=self.signing, now=self._machine.now, twins=self._twins(base))
        pin = self.heads.base.pin
        return check_planned(state, pin, self._machine, self.store.repository, dict(expected or {}), [base])

    def plan_tag(self, target: Target, roles: tuple[str, ...]) -> Trusted | Proposed:
        """The next state with a tag signed by these roles, or a proposal where signatures are missing here.

        Raises:
            UnsignedError: no key of a role is here, a role has expired that cannot be renewed here, or the
                tag would resolve to something else.
            KeyUnavailableError: a key that is here cannot be used.
        """
        base, duties = self.base(), self.duties
        change = Change(put=dict.fromkeys(roles, (target,)))
        duties.refuse_expired(change)
        if duties.can_sign_all(roles):
            return self.plan(change, expected={target.tag: target.digest})
        again = next((item for item in self.proposals if proposes(item, base, target, roles)), None)
        if again is not None:
            return sign_with(again.proposed, base, self.signing.some)
        earlier = [file for item in self.proposals for file in waiting_tags(item, base, roles)]
        files = [*(file for file in earlier if file.path != target.tag), target.to_file()]
        late = duties.renewable(duties.expired(change))
        edit = change_tags(base, dict.fromkeys(roles, files), {}, late, self._machine.now)
        unsigned = propose(base, edit)
        self._check_yields(differences(base, unsigned), target)
        proposed = sign_with(unsigned, base, self.signing.some)
        for draft in proposed.drafts:
            if not draft.metadata.signatures:
                self.signing(draft.role, base.role(draft.role))  # says which keys are needed
        return proposed

    def leave(self, proposed: Proposed) -> str:
        """Store a proposal for those whose signatures are missing; what people call it.

        It takes the place of those whose tags it has, and which waited for nothing but a publisher.

        Raises:
            TamperedError: readers would refuse it; nothing was stored.
        """
        base = self.base()
        if len(proposed.drafts) > MAX_FILES:
            raise UsageError(
                f"this changes {len(proposed.drafts)} role files and lacks signatures: expected at most {MAX_FILES} "
                "in a proposal",
                hint="a role with hash bins is changed where its keys are; `dockseal repo rebin --bins 0` takes it out "
                "of them",
            )
        for name, data in contents(proposed).items():
            check_file(name, data, base.terms.repository)
        tag = store_proposal(self.store, proposed, base.identity)
        for item in self.proposals:
            if tag not in item.tags and includes(proposed, item, base):
                discard(self.store, item.tags)
        return proposed.identity[:12]

    def plan_first(self, foundation: Foundation, targets: tuple[Target, ...] = ()) -> Trusted:
        """The first state of a repository, signed and verified, not yet written.

        Raises:
            UntrustedRootError: example keys were used for it.
            UnsignedError, KeyUnavailableError: see :meth:`plan`.
        """
        self._machine.refuse_example_keys({key.keyid for role in foundation.keys.values() for key in role.keys})
        state = first_state(
            foundation.terms, foundation.keys, targets, self.signing, self._machine.now, foundation.bins
        )
        pin = self._machine.pin(self.store.repository) or Pin(self.store.repository, root=Digest.of(state.roots[0]))
        expected: dict[str, Digest | None] = {target.tag: target.digest for target in targets}
        return check_planned(state, pin, self._machine, self.store.repository, expected)

    def plan_proposed(self, proposed: Proposed) -> Trusted:
        """The state in which a complete proposal is live, signed and verified, not yet written.

        Raises:
            UnsignedError, KeyUnavailableError: snapshot and timestamp cannot be signed here.
            UntrustedRootError: example keys were used for it.
        """
        return self._plan_proposed(self.base(), proposed)

    def can_publish(self, proposed: Proposed, base: Verified | None = None) -> bool:
        """Whether this machine can sign the snapshot and timestamp that go with it."""
        root = proposed.root or (base or self.base()).root
        return all(self.signing.can_sign(root.roles[role]) for role in PUBLISHING_ROLES)

    def publish(self, planned: Trusted) -> Trusted:
        """Make a planned state live, after what open proposals led to (:class:`trust.publish.Publisher`).

        Open proposals that it overtakes are brought up to it, where their keys are here.

        Returns:
            The state that is live: the planned one, or one that joins it with what others did meanwhile.
        """
        before = self.standing() if self.heads is not None else None
        known = self._publish_ahead()
        self._reader.stand_on(planned.pin)
        live = self._publisher.publish(planned, known)
        if before is not None and self.proposals:
            done = {led.proposal.id for led in self.ahead}
            left = tuple(
                proposal
                for proposal in self.proposals
                if proposal.id not in done and not is_live(proposal.proposed, planned.verified)
            )
            try:
                keep_alive(self.store, left, before, live.verified, self.signing)
            except DocksealError as error:  # what was asked for is live; others must not hinder what is left to do
                self._machine.warn(f"a proposal that was overtaken could not be brought up to the new state: {error}")
        self._tell_pending(live)
        return live

    def _tell_pending(self, live: Trusted) -> None:
        for identity in live.verified.links.pending:
            self._machine.warn(
                f"{self.store.name}: the change {identity[:12]} of another writer is pending, since its key is not "
                f"here; whoever holds it runs: dockseal repo refresh {self.store.name}"
            )

    def catch_up(self) -> None:
        """Publish what joins the heads, and what open proposals led to; then look again.

        Raises:
            ConflictError: others publish all the time.
        """
        if self.heads is not None and self.heads.others:  # whoever announced them is about to join them
            self._machine.pause(0, len(self.heads.states))
            self.look_again()
        if self.ahead or self.joined is not (None if self.heads is None else self.heads.base):
            self._publish_ahead()
            self.look_again()

    def settle(self) -> Trusted:
        """Make the pointer name :meth:`base`, where a killed writer left that undone.

        Raises:
            UnsignedError: the repository has no trust data yet.
            ConflictError: others publish all the time.
        """
        self.base()
        assert self.heads is not None  # noqa: S101 - base() has seen to it
        base = self.heads.base
        if self.heads.pointer != base.digest and self.moves_tags:
            return self._publisher.publish(base, self.heads.states)
        self._publisher.check_begun(base)
        self._reader.pin(base)
        return base

    @cached_property
    def image_tags(self) -> ImageTags:
        """The repository's image tags, which move last of all."""
        return ImageTags(self.store, self._publisher.newer)

    @cached_property
    def _joiner(self) -> Joiner:
        return Joiner(self.store, self._reader, self._machine, self.signing)

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(self.store, self._reader, self._machine, self._joiner.join)

    def _publish_ahead(self) -> tuple[Trusted, ...]:
        """Publish what is planned but not live; the states that are known then."""
        if self.heads is None or self.joined is None:
            return ()
        known = (*self.heads.states, *self.heads.twins)
        if self.joined not in known:
            known = (self._publisher.publish(self.joined, known), *known)
            self.image_tags.move([head.verified for head in self.heads.states], known[0])
        for led in self.ahead:
            live = self._publisher.publish(led.state, known)
            self.image_tags.move([known[0].verified], live)
            discard(self.store, led.proposal.tags)
            self._machine.warn(f"completed proposal {led.proposal.id}, which waited for nobody's decision")
            known = (live, *known)
        return known

    @property
    def duties(self) -> Duties:
        """What this machine may and should sign in :meth:`base`."""
        return Duties(self.base(), self.signing, self._machine.now, self.store.name)

    def roles_for(self, tag: str, signers: tuple[str, ...]) -> tuple[str, ...]:
        """See :meth:`trust.duties.Duties.roles_for`."""
        return self.duties.roles_for(tag, signers, self.proposals)

    def _check_yields(self, found: Differences, target: Target) -> None:
        changed = {item.tag: item.after for item in found.tags}
        yields = changed.get(target.tag, self.base().meaning(target.tag))
        if yields != target.digest:
            raise shadowed(target.tag, target.digest, yields, self.store.name)

    def _plan_proposed(self, base: Verified, proposed: Proposed) -> Trusted:
        assert self.heads is not None  # noqa: S101 - there is a base
        if proposed.root is not None:
            self._machine.refuse_example_keys(set(proposed.root.keys))
        state = state_after(base, proposed, signing=self.signing, now=self._machine.now, twins=self._twins(base))
        return check_planned(state, self.heads.base.pin, self._machine, self.store.repository, {}, [base])

    def _twins(self, base: Verified) -> tuple[Verified, ...]:
        """The states that say the same as the head that is built on: what is built covers them too."""
        if self.heads is None or base.identity != self.heads.base.verified.identity:
            return ()
        return tuple(twin.verified for twin in self.heads.twins)

    def _refuse_second_start(self) -> None:
        nothing = self._reader.nothing_there()
        if not isinstance(nothing, UnsignedError):
            raise nothing
        pin = self._machine.pin(self.store.repository)
        if pin is not None and (pin.root is not None or "*" not in pin.repository):
            raise RollbackError(
                f"{self.store.name} holds no trust data, and this machine has pinned a root for it: {pin.anchor}",
                hint="if it is to begin anew, remove its pin from config.toml first",
            )
