"""Three-way merge of a targets file: two sides that both changed since a common ancestor. Pure.

Tag by tag and delegation by delegation, the side that changed goes on. Where both changed, removal wins;
of two signatures of one tag the later ``signedAt``, then the larger digest; of two delegations the second, without the
keys that the first removed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import Delegations, Targets

from trust.tuf.roles import bins_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import DelegatedRole, TargetFile

Value = TypeVar("Value")


def merge_targets(ancestor: Targets, first: Targets, second: Targets) -> Targets:
    """The payload that has the changes of both sides, one version above both; the later expiry.

    Args:
        ancestor: what both began with.
        first: one side.
        second: the other, whose version of a delegation goes on where both changed it.
    """
    tags = merge_tags(ancestor.targets, first.targets, second.targets)
    return Targets(
        version=max(first.version, second.version) + 1,
        spec_version=first.spec_version,
        expires=max(first.expires, second.expires),
        targets=tags,
        delegations=_delegations(ancestor, first, second),
        unrecognized_fields=deepcopy(first.unrecognized_fields),
    )


def merge_tags(
    ancestor: Mapping[str, TargetFile], first: Mapping[str, TargetFile], second: Mapping[str, TargetFile]
) -> dict[str, TargetFile]:
    """The tags alone."""
    return _merge(ancestor, first, second, lambda _, one, other: later(one, other))


def later(first: TargetFile, second: TargetFile) -> TargetFile:
    """Of two signatures of one tag, the one that was made later; then the one with the larger digest."""
    return max(first, second, key=lambda item: (signed_at(item), item.hashes.get("sha256", "")))


def signed_at(target: TargetFile) -> str:
    """When a target was signed: RFC 3339, UTC, which sorts as text."""
    custom = target.custom
    return str(custom.get("signedAt", "")) if isinstance(custom, dict) else ""


def _delegations(ancestor: Targets, first: Targets, second: Targets) -> Delegations | None:
    if bins_of(first) is not None:  # the same on both sides, or nobody could merge them (trust.tuf.join)
        return deepcopy(first.delegations if second.delegations == ancestor.delegations else second.delegations)
    sides = [_roles(side) for side in (ancestor, first, second)]
    merged = _merge(sides[0], sides[1], sides[2], _delegation)
    if not merged:
        return None
    keys = {key_id: key for side in (ancestor, first, second) for key_id, key in _keys(side).items()}
    used = {key_id for role in merged.values() for key_id in role.keyids}
    return Delegations({key_id: keys[key_id] for key_id in keys if key_id in used}, deepcopy(merged))


def _delegation(old: DelegatedRole | None, first: DelegatedRole, second: DelegatedRole) -> DelegatedRole:
    """The second, without the keys that the first side removed, and with the threshold that was changed, or the higher.

    Where nobody could meet that, the second as it is.
    """
    merged = deepcopy(second)
    if old is not None:
        removed = set(old.keyids) - set(first.keyids)
        merged.keyids = [key_id for key_id in second.keyids if key_id not in removed]
        changed = {first.threshold, second.threshold} - {old.threshold}
        merged.threshold = max(changed, default=old.threshold)
    return merged if len(merged.keyids) >= merged.threshold else second


def _roles(side: Targets) -> Mapping[str, DelegatedRole]:
    return {} if side.delegations is None else side.delegations.roles or {}


def _keys(side: Targets) -> Mapping[str, Key]:
    return {} if side.delegations is None else side.delegations.keys


def _merge(
    ancestor: Mapping[str, Value],
    first: Mapping[str, Value],
    second: Mapping[str, Value],
    both: Callable[[Value | None, Value, Value], Value],
) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for name in dict.fromkeys((*first, *second)):
        old, one, other = ancestor.get(name), first.get(name), second.get(name)
        if other == old:
            chosen = one
        elif one in (old, other):
            chosen = other
        else:
            chosen = None if one is None or other is None else both(old, one, other)
        if chosen is not None:
            merged[name] = chosen
    return merged
