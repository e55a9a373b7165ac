"""What a change does, in facts that can be shown: tags, keys, thresholds, patterns, expiries. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Targets

from trust.errors import TamperedError
from trust.tuf.roles import signed_digest
from trust.tuf.rules import terms_of
from trust.tuf.state import BIN_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tuf.api.metadata import DelegatedRole, Role

    from trust.digest import Digest
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
    root, new = base.root, dict[str, Targets]()
    expires: dict[str, datetime] = {}
    for draft in proposed.drafts:
        payload = draft.metadata.signed
        if draft.role not in base.bins and is_role(draft.role):
            expires[draft.role] = payload.expires
        if isinstance(payload, Root):
            root = payload
        else:
            new[draft.role] = payload

    def after(name: str) -> Targets | None:
        return None if name in proposed.removed else new.get(name) or before(name)

    def before(name: str) -> Targets | None:
        return base.payload(name) if name in base.targets or name in base.bins else None

    tags = []
    for tag in sorted(_touched(base, new, proposed.removed)):
        was, will_be = meaning_in(before, tag), meaning_in(after, tag)
        if was != will_be:
            tags.append(TagDifference(tag, was, will_be))
    kept = {name: after(name) for name in dict.fromkeys((*base.targets, *new))}
    targets = {name: item for name, item in kept.items() if item is not None}
    old_roles, new_roles = _roles(base.root, base.targets), _roles(root, targets)
    found = [
        _compare(name, old_roles.get(name), new_roles.get(name), expires.get(name))
        for name in dict.fromkeys((*new_roles, *old_roles))
    ]
    return Differences(
        tuple(tags), tuple(item for item in found if item is not None), _compare_terms(base.terms, terms_of(root))
    )


def is_role(name: str) -> bool:
    """Whether it is a role that people know, and no hash bin of one."""
    return BIN_MARK not in name


def moved(before: Verified, after: Verified) -> dict[str, Digest | None]:
    """What tags resolve to now, where that is something else than it was; None where nothing is trusted any more.

    A hash bin that was spoiled says nothing.
    """
    changed = {
        name
        for name in {*before.names, *after.names}
        if name not in before.state.names
        or name not in after.state.names
        or before.state.digest(name) != after.state.digest(name)
    }
    payloads = ((name, _sound(after, name)) for name in changed if name in after.state.names)
    new = {name: payload for name, payload in payloads if payload is not None}
    gone = frozenset(changed - {*after.state.names})
    found = {}
    for tag in sorted(_touched(before, new, gone)):
        was, is_now = _meaning(before, tag), _meaning(after, tag)
        if was != is_now:
            found[tag] = is_now
    return found


def _meaning(state: Verified, tag: str) -> Digest | None:
    try:
        return state.meaning(tag)
    except TamperedError:
        return None


def _sound(state: Verified, name: str) -> Targets | None:
    try:
        return state.payload(name)
    except TamperedError:
        return None


def _touched(base: Verified, new: Mapping[str, Targets], gone: frozenset[str]) -> set[str]:
    """The tags that new payloads may give another meaning: those that differ, or all where delegations change."""
    spread = any(
        name in base.targets and base.targets[name].delegations != payload.delegations for name, payload in new.items()
    )
    if gone or spread or not new.keys() <= {*base.names}:
        every = [*(_sound(base, name) for name in base.names), *new.values()]
        return {tag for payload in every if payload is not None for tag in payload.targets}
    found: set[str] = set()
    for name, payload in new.items():
        before = _sound(base, name)
        old = {} if before is None else before.targets
        found |= {tag for tag in {*old, *payload.targets} if old.get(tag) != payload.targets.get(tag)}
    return found


def meaning_in(payload_of: Callable[[str], Targets | None], tag: str) -> Digest | None:
    """What a tag resolves to, by TUF's walk over the delegations (spec 5.6.7)."""
    waiting, seen = [Targets.type], set[str]()
    while waiting:
        name = waiting.pop(0)
        payload = None if name in seen else payload_of(name)
        seen.add(name)
        if payload is None:
            continue
        if tag in payload.targets:
            return signed_digest(payload.targets[tag])
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
