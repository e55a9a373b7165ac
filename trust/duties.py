"""What this machine's keys let it sign in a state, what is due, and what has expired. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import Role

from trust.errors import UnsignedError
from trust.tuf.edits import PUBLISHING_ROLES
from trust.tuf.roles import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from trust.proposals import Proposal
    from trust.signing import KeySigning
    from trust.tuf.draft import Change
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Duties:
    """What one machine may and should sign.

    Args:
        base: the state to build on.
        signing: the keys.
        now: UTC.
        name: what people call the repository.
    """

    base: Verified
    signing: KeySigning
    now: datetime
    name: str

    def roles_for(self, tag: str, signers: tuple[str, ...], proposals: Iterable[Proposal]) -> tuple[str, ...]:
        """The roles that sign a tag: ``targets`` where no signers exist, else every one whose key is here.

        Args:
            tag: to be signed.
            signers: those that were asked for; none means all.
            proposals: the open ones: one may wait for this machine.

        Raises:
            UnsignedError: a signer that was asked for may not sign this tag, or none may.
        """
        base = self.base
        awaited = self._awaited(proposals) if not signers and not self.signing.held(base.role("targets")) else None
        top = base.targets["targets"].delegations
        if (top is None or top.roles is None) and not signers and awaited is None:
            return ("targets",)
        allowed = base.roles_for(tag)
        if refused := [name for name in signers if name not in allowed]:
            known = ", ".join(sorted(set(base.targets) - {"targets"})) or "none"
            raise UnsignedError(
                f"{', '.join(refused)} may not sign the tag {tag!r}: signers of this repository are {known}",
                hint=f"dockseal inspect {self.name} shows who can sign what",
            )
        chosen = signers or tuple(name for name in allowed if self.signing.held(base.role(name)))
        if not chosen:
            raise UnsignedError(
                f"no key on this machine may sign the tag {tag!r}: "
                + (f"its signers are {', '.join(allowed)}" if allowed else "no signer's patterns cover it"),
                hint=f"dockseal signer list {self.name} shows who can sign what"
                if awaited is None
                else f"dockseal approve {self.name} {awaited} adds this machine's signature, which it needs",
            )
        return chosen

    def can_sign_all(self, roles: Iterable[str]) -> bool:
        """Whether this machine can sign all these roles, and publish."""
        return all(self.signing.can_sign(self.base.role(role)) for role in (*roles, *PUBLISHING_ROLES))

    def due(self) -> frozenset[str]:
        """The roles whose signing period has begun and whose keys are here."""
        base, now = self.base, self.now
        latest = now + timedelta(days=base.terms.max_timestamp_days)  # readers refuse one that lives longer (rule 7)
        return self.renewable(
            role
            for role, when in base.expiry().items()
            if (when - now).days < base.terms.period(role).signing_days or (role == "timestamp" and when > latest)
        )

    def expired(self, change: Change) -> Mapping[str, datetime]:
        """The roles that have expired and that a change does not write: when each did."""
        written = change.targets_roles | change.renew | set(PUBLISHING_ROLES)
        return {role: when for role, when in self.base.expiry().items() if self.now >= when and role not in written}

    def renewable(self, roles: Iterable[str]) -> frozenset[str]:
        """Those of the roles whose keys are here."""
        return frozenset(role for role in roles if self.signing.can_sign(self.base.role(role)))

    def refuse_expired(self, change: Change) -> None:
        """A tag is not signed where readers would refuse the state, whatever is signed in it here.

        Raises:
            UnsignedError: a role that the tag needs has expired, and cannot be renewed here.
        """
        late = self.expired(change)
        needed = {"root", "targets"} | set(change.put)
        for role in (late.keys() & needed) - self.renewable(late):
            raise UnsignedError(
                f"{role} expired {rfc3339(late[role])}, and its keys are not on this machine",
                hint=f"whoever holds the key of {role} runs: dockseal repo refresh {self.name}",
            )

    def _awaited(self, proposals: Iterable[Proposal]) -> str | None:
        """An open proposal that waits for a key of this machine: a signer who does not publish is live after it."""
        for proposal in proposals:
            for _, need in proposal.proposed.lacking():
                if self.signing.held(Role(list(need.key_ids), 1)):
                    return proposal.id
        return None
