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
from trust.tuf import bins, roles
from trust.tuf.roles import bins_of
from trust.tuf.state import EXTENSION, Period, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key
    from tuf.api.metadata import Role, TargetFile

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
    None for the period of targets. ``bins``: its tags go into so many hash bins; 0 is none.
    """

    name: str
    keys: tuple[Key, ...]
    threshold: int = 1
    patterns: tuple[str, ...] = ALL_TAGS
    expires_days: int | None = None
    publishes: bool = True
    bins: int = 0


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
    bins.check_count(signer.bins)
    root = _root_for(base, signer, now)
    top = _without_bins(base, now)
    delegation = DelegatedRole(signer.name, [], signer.threshold, terminating=False, paths=list(signer.patterns))
    if top.delegations is None:
        top.delegations = Delegations({}, {})
    assert top.delegations.roles is not None  # noqa: S101 - signers are named roles
    top.delegations.roles[signer.name] = delegation
    for key in signer.keys:
        top.add_key(key, signer.name)
    moved = _adopted(top, delegation) if adopt else {}
    first = first_file(base, signer.name, signer.expires_days, now)
    files = {signer.name: first, **_spread(base, signer.name, first, delegation, top, moved, signer.bins, now)}
    others = bins.binned_signers(base) - {Targets.type}
    bins.in_order(top, others | ({signer.name} if signer.bins else set()))
    bins.check_total([*(base.targets[name] for name in others), first])
    return Edit(root, {Targets.type: top, **files})


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
    files = {base.holder(name, tag) for tag in moved}
    payloads = {name: _next_targets(base, name, now), **{file: _next_targets(base, file, now) for file in files}}
    for tag, target in moved.items():
        payloads[base.holder(name, tag)].targets.setdefault(tag, target)
    return Edit(None, {Targets.type: top, **payloads})


def rebin(base: Verified, name: str, count: int, now: datetime, *, again: bool = False) -> Edit:
    """Put the tags of a signer, or of ``targets``, into another number of hash bins; 0 puts them into one file.

    With ``again`` the number may be the one that it has.

    Raises:
        UsageError: there is no such role, or it cannot have so many.
    """
    bins.check_count(count)
    if name not in base.targets:
        raise UsageError(f"there is no signer {name!r}", hint="dockseal signer list NAME")
    top = base.targets[Targets.type]
    if name == Targets.type and top.delegations is not None and top.delegations.roles:
        raise UsageError("targets delegates to signers: their tags are put into bins, not its own")
    old = bins_of(base.targets[name])
    if (0 if old is None else old.number_of_bins) == count and not again:
        raise UsageError(f"{name} has {count or 'no'} bins already")
    tags = base.listing(name)
    payload = _next_targets(base, name, now)
    payload.delegations = None
    files = {name: payload, **_spread(base, name, payload, base.role(name), _delegator(base, name), tags, count, now)}
    others = bins.binned_signers(base) - {name}
    bins.check_total([*(base.targets[other] for other in others), payload])
    if name != Targets.type and count:
        ordered = _next_targets(base, Targets.type, now)
        bins.in_order(ordered, {name, *others})
        assert ordered.delegations is not None  # noqa: S101 - the signer is delegated to
        if list(ordered.delegations.roles or ()) != list((top.delegations and top.delegations.roles) or ()):
            files = {Targets.type: ordered, **files}
    return Edit(None, files)


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
        targets = _signed_anew(base, root, role, now) if role == Targets.type else {}
        return Edit(root, targets)
    top = _next_targets(base, Targets.type, now)
    _delegation(top, role)
    _change(top, role, change)
    publishing = _moved_publishers(base, role, change, top, now)
    return Edit(publishing, {Targets.type: top, **_signed_anew(base, top, role, now)})


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
    if root is not None and Targets.type in names and bins_of(top) is not None:
        targets |= _signed_anew(base, root, Targets.type, now)
    for name in signers:
        targets |= _signed_anew(base, top, name, now)
    return Edit(root, targets)


def change_tags(
    base: Verified,
    put: Mapping[str, Iterable[TargetFile]],
    drop: Mapping[str, Iterable[str]],
    renew: Iterable[str],
    now: datetime,
) -> Edit:
    """Put and drop tags by role, each in its bin where the role has some, and sign roles again as they are."""
    targets: dict[str, Targets] = {name: _next_targets(base, name, now) for name in base.targets if name in set(renew)}

    def file_of(role: str, tag: str) -> Targets:
        name = base.holder(role, tag)
        if name not in targets:
            targets[name] = _next_targets(base, name, now)
        return targets[name]

    for role, tags in drop.items():
        for tag in tags:
            file_of(role, tag).targets.pop(tag, None)
    for role, files in put.items():
        for target in files:
            file_of(role, target.path).targets[target.path] = target
    return Edit(next_root(base, now) if Root.type in set(renew) else None, targets)


def next_root(base: Verified, now: datetime) -> Root:
    """The root as it is, one version on."""
    root = deepcopy(base.root)
    root.version += 1
    root.expires = roles.expiry(base.terms, Root.type, now)
    return root


def _next_targets(base: Verified, name: str, now: datetime) -> Targets:
    old = base.payload(name)
    return Targets(
        version=_next(old.version, name),
        spec_version=old.spec_version,
        expires=bins.bin_expiry(now) if name in base.bins else roles.expiry(base.terms, name, now),
        targets=dict(old.targets),  # the entries are never changed in place, and there may be very many
        delegations=deepcopy(old.delegations),
        unrecognized_fields=deepcopy(old.unrecognized_fields),
    )


def _spread(  # noqa: PLR0917 - what is spread where
    base: Verified,
    name: str,
    payload: Targets,
    role: Role,
    delegator: Root | Targets,
    tags: dict[str, TargetFile],
    count: int,
    now: datetime,
) -> dict[str, Targets]:
    """Put tags into a role's own payload, or into so many bins, whose payloads are given."""
    payload.targets = {} if count else tags
    if not count:
        return {}
    payload.delegations = bins.delegation(name, role, roles.keys_of(delegator), count)
    return bins.filled(roles.succinct(payload), tags, _last_versions(base), bins.bin_expiry(now))


def _last_versions(base: Verified) -> dict[str, int]:
    return {name.removesuffix(".json"): int(meta.version) for name, meta in base.snapshot.meta.items()}


def _delegator(base: Verified, name: str) -> Root | Targets:
    return base.root if name == Targets.type else base.targets[Targets.type]


def _without_bins(base: Verified, now: datetime) -> Targets:
    """The next ``targets``, with all its tags in its own file: bins and signers do not go together there."""
    top = _next_targets(base, Targets.type, now)
    if bins_of(top) is not None:
        top.targets, top.delegations = base.listing(Targets.type), None
    return top


def _signed_anew(base: Verified, delegator: Root | Targets, name: str, now: datetime) -> dict[str, Targets]:
    """A role whose keys change, to be signed again; its bins have the same keys, and are signed again with it."""
    payload = _next_targets(base, name, now)
    old = bins_of(payload)
    if old is None:
        return {name: payload}
    role = delegator.get_delegated_role(name)
    payload.delegations = bins.delegation(name, role, roles.keys_of(delegator), old.number_of_bins)
    return {name: payload, **{item: _next_targets(base, item, now) for item in old.get_roles()}}


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
