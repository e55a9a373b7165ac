"""The states of a repository, newest first: what each changed, and who signed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata

from trust.errors import DocksealError, UnreachableError
from trust.states import MAX_TAGS, announced, read_announced
from trust.tuf.state import BIN_MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader
    from trust.tuf.verified import Verified

DEFAULT_ENTRIES = 20


@dataclass(frozen=True, slots=True)
class TagChange:
    """A tag's digest (hex) before and after, in one role; None where it was not signed."""

    role: str
    tag: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One state. ``roles`` are those whose file is new in it, with their version; ``signed_by`` their keys' ids."""

    version: int
    identity: str
    tag: str
    parents: tuple[str, ...]
    pending: tuple[str, ...]
    roles: Mapping[str, int]
    changes: tuple[TagChange, ...]
    signed_by: Mapping[str, tuple[str, ...]]
    current: bool


def history(store: Store, reader: Reader, machine: Machine, limit: int = DEFAULT_ENTRIES) -> tuple[Entry, ...]:
    """The newest states that verify, but for their age; one more is read to compare the oldest with.

    Raises:
        DocksealError: the current state does not verify: the verdict.
    """
    current = reader.read_past_expiry()
    if current is None:
        raise reader.nothing_there()
    found: list[tuple[str, Verified]] = []
    for item in announced(store.tags(MAX_TAGS))[: limit + 1]:
        try:
            found.append((item.tag, reader.trust_past(read_announced(store, item.tag, reader.cached)).verified))
        except UnreachableError:
            raise
        except DocksealError as error:
            machine.warn(f"{item.tag} is left out: {error}")
    by_identity = {verified.identity: verified for _, verified in found}
    return tuple(
        _entry(tag, verified, _parent(verified, by_identity), current.verified.identity)
        for tag, verified in found[:limit]
    )


def _parent(verified: Verified, known: Mapping[str, Verified]) -> Verified | None:
    return next((known[parent] for parent in verified.links.parents if parent in known), None)


def _entry(tag: str, verified: Verified, parent: Verified | None, current: str) -> Entry:
    before = {} if parent is None else parent.versions
    roles = {role: version for role, version in verified.versions.items() if before.get(role) != version}
    return Entry(
        version=verified.version,
        identity=verified.identity,
        tag=tag,
        parents=verified.links.parents,
        pending=verified.links.pending,
        roles=roles,
        changes=_changes(verified, parent) if parent is not None or not verified.links.parents else (),
        signed_by={role: _signers(verified, role) for role in roles if role in verified.state.names},
        current=verified.identity == current,
    )


def _changes(verified: Verified, parent: Verified | None) -> tuple[TagChange, ...]:
    changes = []
    for role in sorted({*verified.names, *(parent.names if parent else ())}):
        if parent is not None and _same(parent, verified, role):
            continue
        old, new = _digests(parent, role), _digests(verified, role)
        changes += [
            TagChange(role.partition(BIN_MARK)[0], tag, old.get(tag), new.get(tag))
            for tag in sorted({*old, *new})
            if old.get(tag) != new.get(tag)
        ]
    return tuple(changes)


def _same(parent: Verified, verified: Verified, role: str) -> bool:
    """Whether a role's file is the same; a hash bin that is need not be fetched."""
    known = role in parent.state.names and role in verified.state.names
    return known and parent.state.digest(role) == verified.state.digest(role)


def _digests(verified: Verified | None, role: str) -> dict[str, str]:
    targets = None if verified is None or role not in verified.names else verified.payload(role)
    return {} if targets is None else {tag: str(item.hashes["sha256"]) for tag, item in targets.targets.items()}


def _signers(verified: Verified, role: str) -> tuple[str, ...]:
    """The keys of the role that signed its file; that their signatures are valid was verified."""
    signatures = Metadata.from_bytes(verified.state.role(role)).signatures
    return tuple(key_id for key_id in verified.role(role).keyids if key_id in signatures)
