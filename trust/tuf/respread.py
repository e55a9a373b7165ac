"""Joining a role whose tags one side has spread over other hash bins, while another signed some. Pure but for signing.

What the others changed is not where it was, so the tags of all bins are merged, and every bin is signed again.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from trust.tuf import bins, roles
from trust.tuf.merge import merge_tags
from trust.tuf.roles import bins_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root, SuccinctRoles, Targets

    from trust.tuf.verified import Verified


def respread(
    name: str, delegator: Root | Targets, heads: Sequence[Verified], ancestor: Verified, signers: Sequence[Signer]
) -> tuple[Targets, dict[str, tuple[int, bytes]]]:
    """The role as the strongest side that spread it has it, with the tags of all sides.

    Args:
        name: of the role.
        delegator: as it was joined.
        heads: those that have changed the role or its bins, the strongest first.
        ancestor: what all of them began with.
        signers: of the role, and so of its bins.

    Returns:
        What the role's own file says; version and file of the role and of each bin.

    Raises:
        TamperedError: a bin is not what its delegation says.
        UnreachableError: one could not be fetched.
    """
    old = ancestor.listing(name) if name in ancestor.targets else {}
    tags = heads[0].listing(name)
    for head in heads[1:]:
        tags = merge_tags(old, tags, head.listing(name))
    before = bins_of(ancestor.targets[name]) if name in ancestor.targets else None
    chosen = next((head for head in heads if not as_many(bins_of(head.targets[name]), before)), heads[0])
    payload = deepcopy(chosen.targets[name])
    payload.version = max(int(head.targets[name].version) for head in heads) + 1
    spread = bins_of(payload)
    payloads: dict[str, Targets] = {}
    if spread is None:
        payload.targets = tags
    else:
        role = delegator.get_delegated_role(name)
        payload.delegations = bins.delegation(name, role, roles.keys_of(delegator), spread.number_of_bins)
        expires = chosen.payload(spread.get_role_for_target("")).expires
        payloads = bins.filled(roles.succinct(payload), tags, _last_versions(heads), expires)
    files = {name: payload, **payloads}
    return payload, {role: (int(file.version), roles.sign(file, signers)) for role, file in files.items()}


def _last_versions(heads: Sequence[Verified]) -> dict[str, int]:
    found: dict[str, int] = {}
    for head in heads:
        for name, version in head.versions.items():
            found[name] = max(version, found.get(name, 0))
    return found


def as_many(one: SuccinctRoles | None, other: SuccinctRoles | None) -> bool:
    """Whether two versions of a role spread its tags in the same way."""
    return (one and (one.bit_length, one.name_prefix)) == (other and (other.bit_length, other.name_prefix))
