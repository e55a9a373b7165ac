"""A repository's trust data as a whole: its foundation, what expires when, and a fresh timestamp."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from trust.errors import ConflictError, KeyUnavailableError, UsageError
from trust.team import carry_out
from trust.tuf.bins import check_count
from trust.tuf.draft import Change
from trust.tuf.edits import PUBLISHING_ROLES, change_tags
from trust.tuf.roles import TOP_LEVEL_ROLES, RoleKeys
from trust.tuf.state import Period, Terms
from trust.writer import Foundation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from trust.keys.store import KeyStore, Kind, Purpose, StoredKey
    from trust.read import Trusted
    from trust.signing import KeySigning
    from trust.team import Outcome
    from trust.tuf.verified import Verified
    from trust.writer import Writer

ROOT_LABEL = "root"
MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class Roles:
    """Who shall sign a new repository: labels of keys and thresholds by role; what is left out is made.

    ``days`` are expiries by role. ``bins``: the tags of ``targets`` go into so many hash bins; 0 is none.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, int] = field(default_factory=dict)
    days: Mapping[str, int] = field(default_factory=dict)
    bins: int = 0


def lay_foundation(
    keys: KeyStore,
    repository: str,
    roles: Roles,
    kind: Kind = "ed25519",
    *,
    before_new: Callable[[Sequence[str]], None] | None = None,
) -> Foundation:
    """Choose the keys of a new repository, and make those that were not named.

    As docker did, one root key serves all repositories of a person; the targets key and the publishing key
    (snapshot and timestamp) are the repository's own.

    Args:
        keys: of this machine.
        repository: the new one.
        roles: what was named for it.
        kind: of the keys that are made.
        before_new: told of the labels of the keys that are about to be made, each with a passphrase.

    Raises:
        UsageError: a threshold cannot be met, or a period is too short.
        KeyUnavailableError: a key that was named is not here, or one that is cannot be used; no key was made.
    """
    defaults: dict[str, tuple[str, Purpose]] = {
        "root": (ROOT_LABEL, "root"),
        "targets": (label_for(repository, "targets"), "repository"),
        "snapshot": (label_for(repository, "publish"), "repository"),
        "timestamp": (label_for(repository, "publish"), "repository"),
    }
    periods = {role: _period(role, days) for role, days in roles.days.items()}
    here: dict[str, list[StoredKey]] = {}
    for role in TOP_LEVEL_ROLES:
        labels, threshold = roles.labels.get(role, ()), roles.thresholds.get(role, 1)
        if not 1 <= threshold <= max(len(labels), 1):
            raise UsageError(
                f"{role} cannot have a threshold of {threshold} with {max(len(labels), 1)} key(s)",
                hint=f"name as many keys: --{role}-key LABEL, once for each",
            )
        found = [keys.find(label) for label in labels] or _found(keys, defaults[role][0])
        if len({key.key_id for key in found}) != len(found):
            raise UsageError(f"one key was named twice for {role}: each counts once")
        here[role] = found
    if not all(here.values()):  # a wrong passphrase is noticed before new keys get it
        for role, found in here.items():
            for key in found[: roles.thresholds.get(role, 1)]:
                keys.signer(key)
        if before_new is not None:
            before_new(tuple(dict.fromkeys(defaults[role][0] for role, found in here.items() if not found)))
    chosen: dict[str, RoleKeys] = {}
    for role, found in here.items():
        signers = found or [_key(keys, *defaults[role], kind)]
        chosen[role] = RoleKeys(tuple(key.public for key in signers), roles.thresholds.get(role, 1))
    return Foundation(Terms.make(repository, periods), chosen, check_count(roles.bins))


def label_for(repository: str, what: str) -> str:
    """The label of a key made for a repository: ``localhost-5000-app.targets``."""
    import re

    from trust.digest import Digest

    slug = re.sub(r"[^A-Za-z0-9.]+", "-", repository).strip("-.")
    label = f"{slug}.{what}"
    if len(label) <= MAX_LABEL:
        return label
    mark = Digest.of(repository.encode()).hex[:8]
    return f"{slug[: MAX_LABEL - len(what) - len(mark) - 2]}-{mark}.{what}"


def init(writer: Writer, found: Callable[[], Foundation]) -> Trusted:
    """Make a repository's first state, with no tag signed yet; its keys are made when nothing speaks against it.

    Raises:
        ConflictError: there is trust data already.
        UnsignedError, KeyUnavailableError: it cannot be signed here.
    """
    if writer.heads is not None:
        raise ConflictError(
            f"{writer.base().terms.repository} has trust data already, version {writer.base().version}",
            hint="dockseal inspect shows it",
        )
    planned = writer.plan_first(found())
    return writer.publish(planned)


def refresh(writer: Writer) -> Trusted:
    """Sign a new snapshot and timestamp, and every other role that is due and whose key is here.

    What several writers announced at once is joined, and what is pending as far as its keys are here.

    Raises:
        UnsignedError, KeyUnavailableError: the publishing key is not here, or cannot be used.
        ConflictError: others publish all the time.
    """
    planned = writer.plan(Change(renew=writer.duties.due()))
    return writer.publish(planned)


def propose_renewal(writer: Writer, now: datetime) -> Outcome | None:
    """Propose to sign again what is due and cannot be finished here: keys of others are needed, or a publisher.

    Without it a role with a threshold would come to its end unless somebody happened to change it.

    Returns:
        None where nothing is due that a key of this machine has a say in, or it is proposed already.

    Raises:
        KeyUnavailableError: a key that is here cannot be used.
    """
    if not _due_together(writer, now):
        return None
    writer.look_again()  # a refresh has just been published
    due = _due_together(writer, now)
    return carry_out(writer, change_tags(writer.base(), {}, {}, due, now)) if due else None


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One role's file: when it ends, when its signing period begins (both UTC), and whether it can be signed here."""

    role: str
    version: int
    expires: datetime
    sign_from: datetime
    threshold: int
    key_ids: tuple[str, ...]
    held: tuple[StoredKey, ...]

    @property
    def can_sign(self) -> bool:
        """Whether enough of its keys are on this machine."""
        return len(self.held) >= self.threshold

    def is_due(self, now: datetime) -> bool:
        """Whether its signing period has begun."""
        return self.sign_from <= now


def status(verified: Verified, signing: KeySigning) -> tuple[RoleStatus, ...]:
    """Every role of a state, the one that expires first at the top."""
    found = []
    for role, expires in verified.expiry().items():
        keys = verified.role(role)
        found.append(
            RoleStatus(
                role=role,
                version=verified.versions[role],
                expires=expires,
                sign_from=expires - timedelta(days=verified.terms.period(role).signing_days),
                threshold=keys.threshold,
                key_ids=tuple(keys.keyids),
                held=signing.held(keys),
            )
        )
    return tuple(sorted(found, key=lambda item: item.expires))


def _due_together(writer: Writer, now: datetime) -> tuple[str, ...]:
    """The roles that are due, have a key here, and lack keys of others or a publisher; not those proposed already."""
    base, signing = writer.base(), writer.signing
    publishes = all(signing.can_sign(base.role(role)) for role in PUBLISHING_ROLES)
    done = {*PUBLISHING_ROLES, *(draft.role for item in writer.proposals for draft in item.proposed.drafts)}
    return tuple(
        item.role
        for item in status(base, signing)
        if item.role not in done and item.is_due(now) and item.held and not (item.can_sign and publishes)
    )


def _found(keys: KeyStore, label: str) -> list[StoredKey]:
    """The key of this label, where there is one."""
    try:
        return [keys.find(label)]
    except KeyUnavailableError:
        return []


def _key(keys: KeyStore, label: str, purpose: Purpose, kind: Kind) -> StoredKey:
    """The key of this label, or a new one."""
    found = _found(keys, label)  # the snapshot's may have been made for the timestamp
    return found[0] if found else keys.generate(label, kind=kind, purpose=purpose)


def _period(role: str, days: int) -> Period:
    if days < 1:
        raise UsageError(f"the expiry of {role} is {days} days: expected at least 1")
    return Period.of(days)
