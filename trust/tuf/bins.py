"""Hash bins: a role's many tags in many small files, so that a change writes one of them (TAP 15; docs/adr/0009).

The role that has bins delegates to them succinctly: keys and threshold are its own, and a tag's hash says which bin
holds it. Its own file holds no tags. Nothing here signs, reads or writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import Delegations, SuccinctRoles, Targets

from trust.errors import UsageError
from trust.tuf.roles import bins_of
from trust.tuf.state import BIN_MARK, MAX_BINS, MAX_PERIOD_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from securesystemslib.signer import Key
    from tuf.api.metadata import Role, TargetFile

    from trust.tuf.verified import Verified

ADVISED_TAGS = 2_000
"""From so many tags in one file on, bins are worth their while."""
TAGS_PER_BIN = 64
FEWEST_ADVISED = 256
"""Whoever has so many tags will have more."""


def advised(payload: Targets) -> int:
    """How many bins a role had better have; 0 where one file will do."""
    if len(payload.targets) < ADVISED_TAGS:
        return 0
    wanted = max(FEWEST_ADVISED, len(payload.targets) // TAGS_PER_BIN)
    return min(MAX_BINS, 1 << (wanted - 1).bit_length())


def check_count(bins: int) -> int:
    """Return the number of bins, if it can be one; 0 is none.

    Raises:
        UsageError: it is no power of two, or too large.
    """
    if bins == 0 or (1 < bins <= MAX_BINS and bins & (bins - 1) == 0):
        return bins
    raise UsageError(f"{bins} bins: expected a power of two from 2 to {MAX_BINS}, or 0 for none")


def delegation(name: str, role: Role, keys: Mapping[str, Key], bins: int) -> Delegations:
    """The delegation of a role to its bins.

    Args:
        name: of the role.
        role: who signs it, and so the bins.
        keys: by id; those of the role must be among them.
        bins: how many.
    """
    own = {key_id: keys[key_id] for key_id in role.keyids}
    succinct = SuccinctRoles(list(role.keyids), role.threshold, bins.bit_length() - 1, f"{name}{BIN_MARK}")
    return Delegations(own, succinct_roles=succinct)


def filled(
    succinct: SuccinctRoles, tags: Mapping[str, TargetFile], versions: Mapping[str, int], expires: datetime
) -> dict[str, Targets]:
    """The bins' payloads, with these tags.

    Args:
        succinct: the delegation to them.
        tags: all of the role's.
        versions: the last version of each bin, where there was one by its name.
        expires: of every bin; UTC.
    """
    found = {name: Targets(version=versions.get(name, 0) + 1, expires=expires) for name in succinct.get_roles()}
    for tag, file in tags.items():
        found[succinct.get_role_for_target(tag)].targets[tag] = file
    return found


def bin_expiry(now: datetime) -> datetime:
    """When a bin expires: never, for people. What ends is its role's own file, and every lookup needs both."""
    return now.replace(microsecond=0) + timedelta(days=MAX_PERIOD_DAYS)


def check_total(payloads: Iterable[Targets]) -> None:
    """All bins of a repository fit into its states.

    Raises:
        UsageError: they do not.
    """
    total = sum(bins.number_of_bins for bins in map(bins_of, payloads) if bins is not None)
    if total > MAX_BINS:
        raise UsageError(f"the repository would have {total} bins: expected at most {MAX_BINS} of all signers together")


def in_order(top: Targets, binned: Iterable[str]) -> None:
    """Put the signers with bins last: their bins are terminating (TAP 15), so nothing behind one is ever asked.

    Raises:
        UsageError: two signers with bins may sign the same tags, and one could never be reached.
    """
    assert top.delegations is not None  # noqa: S101 - there are signers
    roles = top.delegations.roles or {}
    last = [name for name in roles if name in set(binned)]
    for number, name in enumerate(last):
        for other in last[number + 1 :]:
            if not _disjoint(roles[name].paths or [], roles[other].paths or []):
                raise UsageError(
                    f"{name} and {other} may sign the same tags: of such signers only one can have bins",
                    hint="give them patterns that begin differently, such as 'v*' and 'rc-*'",
                )
    top.delegations.roles = {name: roles[name] for name in [*(name for name in roles if name not in last), *last]}


def _disjoint(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether the patterns begin differently, so that no tag fits both; anything less plain counts as no."""
    beginnings = [_literal(pattern) for pattern in others]
    return all(
        not (one.startswith(other) or other.startswith(one)) for one in map(_literal, some) for other in beginnings
    )


def _literal(pattern: str) -> str:
    return pattern[: min((pattern.index(mark) for mark in "*?[" if mark in pattern), default=len(pattern))]


def binned_signers(base: Verified) -> set[str]:
    """The roles that have bins."""
    return {name for name, payload in base.targets.items() if bins_of(payload) is not None}
