"""New payloads of role files: who may sign what, and what is signed. Nothing here signs, reads or writes.

An :class:`Edit` holds whole payloads, one version on from those of the state that it stands on. A
role that it does not name stays as it is.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import DelegatedRole, Delegations, Root, Targets

from trust import strictjson
from trust.errors import UsageError
from trust.tuf import roles
from trust.tuf.state import EXTENSION, Period, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key
    from tuf.api.metadata import TargetFile

    from trust.tuf.verified import Verified

PUBLISHING_ROLES = ("snapshot", "timestamp")
ALL_TAGS = ("*",)


@dataclass(frozen=True, slots=True)
class Edit:
    """Payloads to be signed."""

    root: Root | None = None
    targets: Mapping[str, Targets] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewSigner:
    """A signer to add: a delegated role with keys, threshold and the tag patterns it may sign (TUF path patterns).

    ``publishes``: its keys may sign snapshot and timestamp, so that it needs no other key. ``expires_days``:
    None for the period of targets.
    """

    name: str
    keys: tuple[Key, ...]
    threshold: int = 1
    patterns: tuple[str, ...] = ALL_TAGS
    expires_days: int | None = None
    publishes: bool = True


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Keys to add to and remove from a role, and its new threshold; None keeps it."""

    add: tuple[Key, ...] = ()
    remove: tuple[str, ...] = ()
    threshold: int | None = None


def add_signer(base: Verified, signer: NewSigner, now: datetime, *, adopt: bool = False) -> Edit:
    """Delegate to a new signer; its first role file is empty, or holds what ``targets`` signed where it adopts.

    Args:
        base: verified.
        signer: to be added.
        now: UTC.
        adopt: move the tags of ``targets`` that the patterns cover to the signer.

    Raises:
        UsageError: the name is taken, or the threshold cannot be met.
    """
    if signer.name in base.targets:
        raise UsageError(f"there is a signer {signer.name!r} already", hint="dockseal signer list NAME")
    if not 1 <= signer.threshold <= len({key.keyid for key in signer.keys}):
        raise UsageError(f"a threshold of {signer.threshold} cannot be met by {len(signer.keys)} key(s)")
    root = _root_for(base, signer, now)
    top = _next_targets(base, Targets.type, now)
    delegation = DelegatedRole(signer.name, [], signer.threshold, terminating=False, paths=list(signer.patterns))
    if top.delegations is None:
        top.delegations = Delegations({}, {})
    assert top.delegations.roles is not None  # noqa: S101 - signers are named roles
    top.delegations.roles[signer.name] = delegation
    for key in signer.keys:
        top.add_key(key, signer.name)
    moved = _adopted(top, delegation) if adopt else {}
    first = first_file(base, signer.name, signer.expires_days, now)
    first.targets = moved
    return Edit(root, {Targets.type: top, signer.name: first})


def first_file(base: Verified, name: str, expires_days: int | None, now: datetime) -> Targets:
    """A new signer's first payload, with no tag; a name that was there before goes on above its old version (rule 6).

    Args:
        base: verified.
        name: of the signer.
        expires_days: None for the period of targets.
        now: UTC.
    """
    entry = base.snapshot.meta.get(f"{name}.json")
    days = base.terms.period(name).expires_days if expires_days is None else expires_days
    return Targets(
        version=1 if entry is None else _next(int(entry.version), name),
        expires=now.replace(microsecond=0) + timedelta(days=days),
    )


def adopt_tags(base: Verified, name: str, now: datetime) -> Edit:
    """Move the tags of ``targets`` that a signer's patterns cover to the signer, which must sign them then.

    Raises:
        UsageError: there is no such signer, or nothing to move.
    """
    top = _next_targets(base, Targets.type, now)
    delegation = _delegation(top, name)
    moved = _adopted(top, delegation)
    if not moved:
        raise UsageError(f"targets signs no tag that {name} may sign: there is nothing to adopt")
    payload = _next_targets(base, name, now)
    payload.targets.update({tag: target for tag, target in moved.items() if tag not in payload.targets})
    return Edit(None, {Targets.type: top, name: payload})


def remove_signer(base: Verified, name: str, now: datetime) -> Edit:
    """Take a signer away. Its keys stop publishing, unless another signer has them.

    Raises:
        UsageError: there is no such signer.
    """
    top = _next_targets(base, Targets.type, now)
    delegation = _delegation(top, name)
    keys = list(delegation.keyids)
    for key_id in keys:
        top.revoke_key(key_id, name)
    assert top.delegations is not None  # noqa: S101 - the delegation was there
    assert top.delegations.roles is not None  # noqa: S101 - likewise
    del top.delegations.roles[name]
    kept = {key_id for role in top.delegations.roles.values() for key_id in role.keyids}
    if not top.delegations.roles:
        top.delegations = None
    root = _without_publishers(base, [key_id for key_id in keys if key_id not in kept], now)
    return Edit(root, {Targets.type: top})


def change_keys(base: Verified, role: str, change: KeyChange, now: datetime) -> Edit:
    """Change who signs a role; what it signed is signed again.

    Raises:
        UsageError: no such role or key, or a threshold that cannot be met.
    """
    if role in base.root.roles:
        root = next_root(base, now)
        _change(root, role, change)
        targets = {Targets.type: _next_targets(base, Targets.type, now)} if role == Targets.type else {}
        return Edit(root, targets)
    top = _next_targets(base, Targets.type, now)
    _delegation(top, role)
    _change(top, role, change)
    publishing = _moved_publishers(base, role, change, top, now)
    return Edit(publishing, {Targets.type: top, role: _next_targets(base, role, now)})


def replace_key(base: Verified, names: Sequence[str], old: str, new: tuple[Key, ...], now: datetime) -> Edit:
    """Replace one key by others in several roles, and sign anew what those roles signed.

    Raises:
        UsageError: a role has no such key.
    """
    root = next_root(base, now) if any(name in base.root.roles for name in names) else None
    top = _next_targets(base, Targets.type, now)
    change = KeyChange(new, (old,))
    for name in names:
        _change(top if root is None or name not in root.roles else root, name, change)
    signers = [name for name in names if name not in base.root.roles]
    targets = {Targets.type: top} if signers or Targets.type in names else {}
    return Edit(root, targets | {name: _next_targets(base, name, now) for name in signers})


def change_tags(
    base: Verified,
    put: Mapping[str, Iterable[TargetFile]],
    drop: Mapping[str, Iterable[str]],
    renew: Iterable[str],
    now: datetime,
) -> Edit:
    """Put and drop tags by role, and sign roles again as they are."""
    names = {*put, *drop, *renew}
    targets = {name: _next_targets(base, name, now) for name in base.targets if name in names}
    for name, payload in targets.items():
        for tag in drop.get(name, ()):
            payload.targets.pop(tag, None)
        payload.targets.update({target.path: target for target in put.get(name, ())})
    return Edit(next_root(base, now) if Root.type in names else None, targets)


def next_root(base: Verified, now: datetime) -> Root:
    """The root as it is, one version on."""
    root = deepcopy(base.root)
    root.version += 1
    root.expires = roles.expiry(base.terms, Root.type, now)
    return root


def _next_targets(base: Verified, name: str, now: datetime) -> Targets:
    old = base.targets[name]
    return Targets(
        version=_next(old.version, name),
        spec_version=old.spec_version,
        expires=roles.expiry(base.terms, name, now),
        targets=dict(old.targets),  # the entries are never changed in place, and there may be very many
        delegations=deepcopy(old.delegations),
        unrecognized_fields=deepcopy(old.unrecognized_fields),
    )


def _next(version: int, name: str) -> int:
    if version >= strictjson.MAX_INTEGER:
        raise UsageError(
            f"{name} is at version {version}, and there is none above: somebody who held its key has used them up",
            hint="a signer is removed (signer remove) and may be added again; targets cannot go on in this repository",
        )
    return version + 1


def _root_for(base: Verified, signer: NewSigner, now: datetime) -> Root | None:
    """The root that makes the signer a publisher and states its period; None where it need not change."""
    if not signer.publishes and signer.expires_days is None:
        return None
    root = next_root(base, now)
    if signer.publishes:
        for role in PUBLISHING_ROLES:
            for key in signer.keys:
                root.add_key(key, role)
    if signer.expires_days is not None:
        periods = {**dict(base.terms.periods), signer.name: Period.of(signer.expires_days)}
        terms = Terms(base.terms.repository, tuple(periods.items()), base.terms.max_timestamp_days)
        root.unrecognized_fields[EXTENSION] = terms.to_json()
    return root


def _adopted(top: Targets, delegation: DelegatedRole) -> dict[str, TargetFile]:
    moved = {tag: target for tag, target in top.targets.items() if delegation.is_delegated_path(tag)}
    for tag in moved:
        del top.targets[tag]
    return moved


def _delegation(top: Targets, name: str) -> DelegatedRole:
    found = None if top.delegations is None or top.delegations.roles is None else top.delegations.roles.get(name)
    if found is None:
        known = [] if top.delegations is None else list(top.delegations.roles or ())
        raise UsageError(f"there is no signer {name!r}: signers are {', '.join(known) or 'none'}")
    return found


def _without_publishers(base: Verified, key_ids: Sequence[str], now: datetime) -> Root | None:
    """The root without these keys in snapshot and timestamp; None where they are in neither, or none would be left."""
    root = next_root(base, now)
    changed = False
    for role in PUBLISHING_ROLES:
        left = [key_id for key_id in root.roles[role].keyids if key_id not in key_ids]
        if left != root.roles[role].keyids and len(left) >= root.roles[role].threshold:
            for key_id in set(root.roles[role].keyids) - set(left):
                root.revoke_key(key_id, role)
            changed = True
    return root if changed else None


def _moved_publishers(base: Verified, role: str, change: KeyChange, top: Targets, now: datetime) -> Root | None:
    """A signer that publishes with its own keys goes on doing so with the new ones, and not with the old."""
    old = set(base.targets[Targets.type].delegations.roles[role].keyids)  # type: ignore[union-attr,index]
    published = old & set(base.root.roles["timestamp"].keyids)
    if not published:
        return None
    delegations = top.delegations
    used = set() if delegations is None else {key for item in (delegations.roles or {}).values() for key in item.keyids}
    root = next_root(base, now)
    for name in PUBLISHING_ROLES:
        for key in change.add:
            root.add_key(key, name)
        for key_id in change.remove:
            if key_id in root.roles[name].keyids and key_id not in used:
                root.revoke_key(key_id, name)
    return root


def _change(delegator: Root | Targets, name: str, change: KeyChange) -> None:
    role = delegator.get_delegated_role(name)
    for key_id in change.remove:
        if key_id not in role.keyids:
            raise UsageError(f"{name} has no key {key_id[:7]}: it has {', '.join(item[:7] for item in role.keyids)}")
    for key in change.add:
        delegator.add_key(key, name)
    threshold = role.threshold if change.threshold is None else change.threshold
    left = [key_id for key_id in role.keyids if key_id not in change.remove]
    if not 1 <= threshold <= len(left):
        raise UsageError(
            f"{name} would need {threshold} signature(s) of {len(left)} key(s): that can never be met",
            hint="add a key with --new-key, or change the threshold with --threshold",
        )
    for key_id in change.remove:
        delegator.revoke_key(key_id, name)
    role.threshold = threshold
