"""Pruning: removing states that nobody needs any more, and proposals that were overtaken with them.

Removed is only what a head covers, directly or through its ancestors, what is older than the retention, and what
lies outside the window of versions that writers compare with. What is pending, announced and not covered, or pointed
at stays: it is somebody's change, or what readers stand on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trust.ancestry import Ancestry
from trust.errors import ConflictError, DeniedError, MissingError
from trust.heads import find_heads, not_below
from trust.proposals import MAX_PROPOSALS, PROPOSAL_TYPE, read_proposals
from trust.states import POINTER_TAG, announced
from trust.strictjson import MAX_INTEGER
from trust.tuf.state import COVERED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from trust.digest import Digest
    from trust.heads import Heads
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader
    from trust.states import Announced
    from trust.tuf.past import Past

DEFAULT_KEEP_DAYS = 30


@dataclass(frozen=True, slots=True)
class OldState:
    """A state that may go: its own tag, its identity, the digest of its manifest, and when it was signed."""

    tag: str
    identity: str
    digest: Digest
    made: datetime


@dataclass(frozen=True, slots=True)
class Prunable:
    """What may go, oldest first, and what stays though it is old.

    ``proposals`` are tags. ``kept`` counts the states that stay; ``unknown`` are those of them, by tag, which are
    outside the window and which nothing shows to be covered.
    """

    states: tuple[OldState, ...]
    proposals: tuple[str, ...]
    kept: int
    unknown: tuple[str, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags that go."""
        return (*(state.tag for state in self.states), *self.proposals)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, by tag, and why the rest could not be."""

    removed: tuple[str, ...]
    denied: DeniedError | None = None


def plan_prune(store: Store, reader: Reader, machine: Machine, keep_days: int = DEFAULT_KEEP_DAYS) -> Prunable:
    """Find what may go. Nothing is removed yet.

    Raises:
        UnsignedError, UntrustedRootError, TamperedError, RollbackError: the verdict on what is there.
        ConflictError: more announced states than can be looked at.
    """
    heads = find_heads(store, reader, machine)
    if heads is None:
        raise reader.nothing_there()
    states = announced(heads.tags)
    ancestry = Ancestry(store, reader.cached, states)
    for head in (*heads.states, *heads.twins):
        ancestry.follow(head.verified)
    needed, waits = _needed(heads), _waiting_since(states, heads)
    outside = [item for item in states if item.identity not in needed and item.version < waits]
    covered = [item for item in outside if (item.version, item.identity) in ancestry.known]
    old = tuple(_older(ancestry, heads, reversed(covered), machine.now - timedelta(days=keep_days)))
    left = {item.identity for item in states} - {state.identity[:12] for state in old}
    return Prunable(
        old,
        _overtaken(store, heads, left),
        len(states) - len(old),
        tuple(item.tag for item in outside if item not in covered),
    )


def prune(store: Store, plan: Prunable) -> Pruned:
    """Remove what was planned, oldest first, until the store refuses.

    Raises:
        UnreachableError: the store did not answer; what was removed is gone, and running again is safe.
    """
    pointed = store.resolve(POINTER_TAG)
    removed: list[str] = []
    try:
        for state in plan.states:
            if state.digest != pointed:
                _remove(store, state.tag, state.digest)
                removed.append(state.tag)
        for tag in plan.proposals:
            digest = _proposal_at(store, tag)
            if digest is not None and digest != pointed:
                _remove(store, tag, digest)
                removed.append(tag)
    except DeniedError as denied:
        return Pruned(tuple(removed), denied)
    return Pruned(tuple(removed))


def _older(ancestry: Ancestry, heads: Heads, items: Iterable[Announced], before: datetime) -> Iterator[OldState]:
    """Those of some ancestors, oldest first, that were made before a time and are no head by any measure."""
    for item in items:
        found = ancestry.read(item)
        if found is None:
            continue
        past, digest = found
        if past.made >= before:
            return  # versions grow with time: what follows is younger
        if digest != heads.pointer and _is_covered(past, heads):
            yield OldState(item.tag, past.identity, digest, past.made)


def _is_covered(past: Past, heads: Heads) -> bool:
    """Whether nothing in it is above some head: being listed alone is the word of one publisher."""
    return any(
        head.verified.root.version >= past.links.root_version
        and all(not_below(head.verified.snapshot.meta.get(name), meta) for name, meta in past.meta.items())
        for head in heads.states
    )


def _needed(heads: Heads) -> set[str]:
    """The beginnings of the identities that writers may still ask for: heads, the window that they cover, pending."""
    states = [head.verified for head in (*heads.states, *heads.twins)]
    needed = {identity for state in states for identity in (*dict(state.links.covers), *state.links.pending)}
    return {identity[:12] for identity in needed | {state.identity for state in states}}


def _waiting_since(states: Iterable[Announced], heads: Heads) -> int:
    """The version from which on all stay: whoever merges what is pending compares with all that lies in between."""
    pending = {identity[:12] for head in (*heads.states, *heads.twins) for identity in head.verified.links.pending}
    waiting = [item.version for item in states if item.identity in pending]
    return min(waiting) - COVERED_VERSIONS if waiting else MAX_INTEGER


def _overtaken(store: Store, heads: Heads, left: set[str]) -> tuple[str, ...]:
    """The tags of proposals that were discarded, or overtaken while the state that they stand on is gone."""
    looked_at = sorted(heads.proposal_tags)[:MAX_PROPOSALS]
    found = read_proposals(store, heads.base.verified, looked_at)
    alive = {
        tag
        for item in found
        for tag in item.tags
        if not isinstance(item.problem, ConflictError) or item.base[:12] in left
    }
    return tuple(tag for tag in looked_at if tag not in alive)


def _proposal_at(store: Store, tag: str) -> Digest | None:
    """The digest of a proposal; None for an image that somebody has put there meanwhile, whose tags would go too."""
    try:
        manifest = store.get_manifest(tag)
    except MissingError:
        return None
    return manifest.digest if manifest.artifact_type == PROPOSAL_TYPE else None


def _remove(store: Store, tag: str, digest: Digest) -> None:
    """Remove one tag; where the store takes away manifests alone, the manifest, with every tag on it.

    Raises:
        DeniedError: it does neither.
    """
    try:
        store.untag(tag)
    except DeniedError:
        try:
            store.delete_manifest(digest)
        except MissingError:
            return  # it went with another tag of the same digest
    except MissingError:
        return
