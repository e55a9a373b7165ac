"""Writing trust: from what is there to a planned state, and from there to one that is live.

What push, sign, revoke, refresh and init share. A plan is made and verified in full before anything
is written, so that whatever can be refused is refused first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import RollbackError, UnsignedError
from trust.heads import Heads, find_heads
from trust.pins import Pin
from trust.publish import check_planned, publish
from trust.read import Reader
from trust.states import POINTER_TAG
from trust.tuf.draft import Change, first_state, next_state
from trust.tuf.roles import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.client import Verified
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.signing import KeySigning
    from trust.tuf.roles import RoleKeys, Target
    from trust.tuf.state import Terms


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a new repository starts with: its terms and who signs which of the four roles."""

    terms: Terms
    keys: Mapping[str, RoleKeys]


class Writer:
    """Writes one repository's trust data from one machine's standpoint. The constructor does no I/O."""

    def __init__(self, store: Store, machine: Machine, signing: KeySigning) -> None:
        self._store = store
        self._machine = machine
        self.signing = signing
        self._reader = Reader(store, machine, signing.holds_all)

    def look_again(self) -> None:
        """Forget what was there: an upload takes time, in which others write."""
        self.__dict__.pop("heads", None)

    @cached_property
    def heads(self) -> Heads | None:
        """What there is to build on; None where the repository may be initialised.

        Raises:
            RollbackError: there is nothing, and this machine has seen or pinned trust data.
            UntrustedRootError, TamperedError: what is there is not acceptable.
            ConflictError: too many announced states.
        """
        heads = find_heads(self._store, self._reader, self._machine)
        if heads is None:
            self._refuse_second_start()
        return heads

    def base(self) -> Verified:
        """The state to build on.

        Raises:
            UnsignedError: the repository has no trust data yet.
        """
        if self.heads is None:
            raise self._reader.nothing_there()
        return self.heads.base.verified

    def plan(self, change: Change, *, expected: Mapping[str, Digest | None] | None = None) -> Trusted:
        """The next state, signed and verified, not yet written.

        Args:
            change: what is to change in :meth:`base`.
            expected: what tags must resolve to afterwards.

        Raises:
            UnsignedError: a key is not here, a role has expired that cannot be renewed here, or
                a tag would resolve to something else.
            KeyUnavailableError: a key that is here cannot be used.
        """
        base = self.base()
        assert self.heads is not None  # noqa: S101 - base() has seen to it
        change = replace(change, renew=change.renew | self._expired(base, change))
        state = next_state(base, change, signing=self.signing, now=self._machine.now, pending=self.heads.pending)
        return check_planned(state, self.heads.base.pin, self._machine, self._store.repository, dict(expected or {}))

    def plan_first(self, foundation: Foundation, targets: tuple[Target, ...] = ()) -> Trusted:
        """The first state of a repository, signed and verified, not yet written.

        Raises:
            UntrustedRootError: example keys were used for it.
            UnsignedError, KeyUnavailableError: see :meth:`plan`.
        """
        self._machine.refuse_example_keys({key.keyid for role in foundation.keys.values() for key in role.keys})
        state = first_state(foundation.terms, foundation.keys, targets, self.signing, self._machine.now)
        pin = self._machine.pin(self._store.repository) or Pin(self._store.repository, root=Digest.of(state.roots[0]))
        expected: dict[str, Digest | None] = {target.tag: target.digest for target in targets}
        return check_planned(state, pin, self._machine, self._store.repository, expected)

    def publish(self, planned: Trusted) -> None:
        """Make a planned state live (see :func:`trust.publish.publish`)."""
        publish(self._store, self._reader, self._machine, planned, self.heads)

    def settle(self) -> Trusted:
        """Make the pointer name :meth:`base`, where a killed writer left that undone.

        Raises:
            ConflictError: another writer is at work.
        """
        self.base()
        assert self.heads is not None  # noqa: S101 - base() has seen to it
        base = self.heads.base
        if self._store.resolve(POINTER_TAG) != base.digest:
            publish(self._store, self._reader, self._machine, base, self.heads)
        return base

    def roles_for(self, tag: str, signers: tuple[str, ...]) -> tuple[str, ...]:
        """The roles that sign a tag: ``targets`` where no signers exist, else every one whose key is here.

        Raises:
            UnsignedError: a signer that was asked for may not sign this tag, or none may.
        """
        base = self.base()
        if base.targets["targets"].delegations is None and not signers:
            return ("targets",)
        allowed = base.roles_for(tag)
        if refused := [name for name in signers if name not in allowed]:
            known = ", ".join(sorted(set(base.targets) - {"targets"})) or "none"
            raise UnsignedError(
                f"{', '.join(refused)} may not sign the tag {tag!r}: signers of this repository are {known}",
                hint=f"dockseal inspect {self._store.name} shows who can sign what",
            )
        chosen = signers or tuple(name for name in allowed if self.signing.can_sign(base.role(name)))
        if not chosen:
            raise UnsignedError(
                f"no key on this machine may sign the tag {tag!r}: its signers are {', '.join(allowed) or 'none'}",
                hint="`dockseal key list` shows the keys that are here",
            )
        return chosen

    def stale(self) -> bool:
        """Whether a role is due that this machine can sign: a good moment to publish anew."""
        return bool(self.due() - {"root"})

    def due(self) -> frozenset[str]:
        """The roles whose signing period has begun and whose keys are here."""
        base, now = self.base(), self._machine.now
        return frozenset(
            role
            for role, when in base.expiry().items()
            if (when - now).days < base.terms.period(role).signing_days and self.signing.can_sign(base.role(role))
        )

    def _expired(self, base: Verified, change: Change) -> frozenset[str]:
        """Expired roles that must be signed again with this change, or readers would refuse the state."""
        written = change.targets_roles | change.renew | {"snapshot", "timestamp"}
        needed = {"root", "targets"} | set(change.put)
        late = {role: when for role, when in base.expiry().items() if self._machine.now >= when and role not in written}
        for role in late.keys() & needed:
            if not self.signing.can_sign(base.role(role)):
                raise UnsignedError(
                    f"{role} expired {rfc3339(late[role])}, and its keys are not on this machine",
                    hint=f"whoever holds the key of {role} runs: dockseal repo refresh {self._store.name}",
                )
        return frozenset(role for role in late if self.signing.can_sign(base.role(role)))

    def _refuse_second_start(self) -> None:
        nothing = self._reader.nothing_there()
        if not isinstance(nothing, UnsignedError):
            raise nothing
        pin = self._machine.pin(self._store.repository)
        if pin is not None and (pin.root is not None or "*" not in pin.repository):
            raise RollbackError(
                f"{self._store.name} holds no trust data, and this machine has pinned a root for it: {pin.anchor}",
                hint="if it is to begin anew, remove its pin from config.toml first",
            )
