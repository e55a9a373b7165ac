"""What a change does, in facts that can be shown: tags, keys, thresholds, patterns, expiries. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Targets

from trust.digest import Digest
from trust.tuf.rules import terms_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tuf.api.metadata import DelegatedRole, Role

    from trust.tuf.proposed import Proposed
    from trust.tuf.state import Terms
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class TagDifference:
    """What a tag resolves to before and after; None where nothing is trusted for it."""

    tag: str
    before: Digest | None
    after: Digest | None


@dataclass(frozen=True, slots=True)
class RoleDifference:
    """How a role changes. Key ids and patterns that come and go; threshold and expiry before and after.

    ``before`` or ``after`` is None for a signer that is new or leaves.
    """

    role: str
    added_keys: tuple[str, ...]
    removed_keys: tuple[str, ...]
    threshold: tuple[int | None, int | None]
    patterns: tuple[tuple[str, ...], tuple[str, ...]]
    expires: datetime | None

    @property
    def is_new(self) -> bool:
        """Whether the signer was not there before."""
        return self.threshold[0] is None

    @property
    def leaves(self) -> bool:
        """Whether the signer is there no more."""
        return self.threshold[1] is None


@dataclass(frozen=True, slots=True)
class TermDifference:
    """What the root says of the repository, before and after: periods in days; None where it says nothing."""

    term: str
    before: str | int | None
    after: str | int | None


@dataclass(frozen=True, slots=True)
class Differences:
    """All that a change does."""

    tags: tuple[TagDifference, ...]
    roles: tuple[RoleDifference, ...]
    terms: tuple[TermDifference, ...] = ()


def differences(base: Verified, proposed: Proposed) -> Differences:
    """What becomes trusted and untrusted, and who may sign what, when the proposal is live."""
    root, targets = base.root, dict(base.targets)
    expires: dict[str, datetime] = {}
    for draft in proposed.drafts:
        payload = draft.metadata.signed
        expires[draft.role] = payload.expires
        if isinstance(payload, Root):
            root = payload
        else:
            targets[draft.role] = payload
    for name in proposed.removed:
        targets.pop(name, None)
    before, after = effective_tags(base.targets), effective_tags(targets)
    tags = [
        TagDifference(tag, before.get(tag), after.get(tag))
        for tag in sorted({*before, *after})
        if before.get(tag) != after.get(tag)
    ]
    old, new = _roles(base.root, base.targets), _roles(root, targets)
    found = [_compare(name, old.get(name), new.get(name), expires.get(name)) for name in dict.fromkeys((*new, *old))]
    return Differences(
        tuple(tags), tuple(item for item in found if item is not None), _compare_terms(base.terms, terms_of(root))
    )


def effective_tags(targets: Mapping[str, Targets]) -> dict[str, Digest]:
    """What each tag resolves to, by TUF's walk over the delegations (spec 5.6.7)."""
    listed = {tag for payload in targets.values() for tag in payload.targets}
    found = {tag: _lookup(targets, tag) for tag in listed}
    return {tag: digest for tag, digest in found.items() if digest is not None}


def _lookup(targets: Mapping[str, Targets], tag: str) -> Digest | None:
    waiting, seen = [Targets.type], set[str]()
    while waiting:
        name = waiting.pop(0)
        payload = targets.get(name)
        if name in seen or payload is None:
            continue
        seen.add(name)
        if tag in payload.targets:
            return Digest.from_hex(str(payload.targets[tag].hashes["sha256"]))
        children = [] if payload.delegations is None else list(payload.delegations.get_roles_for_target(tag))
        names = []
        for child, terminating in children:
            names.append(child)
            if terminating:
                waiting = []
                break
        waiting = names + waiting
    return None


def _compare_terms(old: Terms, new: Terms) -> tuple[TermDifference, ...]:
    before, after = _facts(old), _facts(new)
    return tuple(
        TermDifference(name, before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def _facts(terms: Terms) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"repository": terms.repository, "longest timestamp": terms.max_timestamp_days}
    for role, period in terms.periods:
        facts |= {f"expiry of {role}": period.expires_days, f"signing period of {role}": period.signing_days}
    return facts


def _patterns(role: DelegatedRole) -> tuple[str, ...]:
    """What it may sign, in words: patterns, or hash prefixes; and whether nobody behind it is asked."""
    prefixes = tuple(f"sha256:{prefix}..." for prefix in role.path_hash_prefixes or ())
    return (*(role.paths or ()), *prefixes, *(("and nobody after it",) if role.terminating else ()))


def _roles(root: Root, targets: Mapping[str, Targets]) -> dict[str, tuple[Role, tuple[str, ...]]]:
    found: dict[str, tuple[Role, tuple[str, ...]]] = {name: (role, ()) for name, role in root.roles.items()}
    for payload in targets.values():
        delegations = payload.delegations
        if delegations is not None and delegations.roles is not None:
            found.update({name: (role, _patterns(role)) for name, role in delegations.roles.items()})
    return found


def _compare(
    name: str,
    old: tuple[Role, tuple[str, ...]] | None,
    new: tuple[Role, tuple[str, ...]] | None,
    expires: datetime | None,
) -> RoleDifference | None:
    old_keys, new_keys = set(old[0].keyids if old else ()), set(new[0].keyids if new else ())
    threshold = (old[0].threshold if old else None, new[0].threshold if new else None)
    patterns = (old[1] if old else (), new[1] if new else ())
    if old_keys == new_keys and threshold[0] == threshold[1] and patterns[0] == patterns[1] and expires is None:
        return None
    added, removed = tuple(sorted(new_keys - old_keys)), tuple(sorted(old_keys - new_keys))
    return RoleDifference(name, added, removed, threshold, patterns, expires)
