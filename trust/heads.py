"""Which state a writer builds on: the pointer's, and what was announced after it.

States form a graph (docs/publishing.md). A state that no other one covers is a *head*. Writers look
past the pointer, so that a change which a killed writer announced is completed by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata

from trust.errors import ConflictError, DocksealError, UnreachableError
from trust.proposals import tags_of
from trust.states import MAX_CANDIDATES, MAX_TAGS, POINTER_TAG, announced, own_tag, read_announced
from trust.tuf.edits import PUBLISHING_ROLES
from trust.tuf.state import COVERED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuf.api.metadata import MetaFile, Root

    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader, Trusted
    from trust.states import Announced
    from trust.tuf.state import State
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Heads:
    """What was found: the state to build on, and the heads that are not part of it.

    ``pointed``: there is a pointer; without one, the repository's first state is announced at most.
    """

    base: Trusted
    others: tuple[Trusted, ...] = ()
    proposal_tags: tuple[str, ...] = ()
    pointed: bool = True

    @property
    def pending(self) -> tuple[str, ...]:
        """The identities of the heads that the next state cannot include yet."""
        return tuple(head.verified.identity for head in self.others)


def covers(newer: Verified, older: Verified) -> bool:
    """Whether ``newer`` lists ``older`` as an ancestor and in nothing falls below it."""
    if older.identity not in dict(newer.links.covers) or newer.version <= older.version:
        return False
    return _reaches_all(newer, older)


def continues(newer: Verified, older: Verified) -> bool:
    """Whether ``newer`` covers ``older``, or has left it so far behind that ``covers`` no longer reaches it.

    History counts where both stand on one chain of roots and nothing falls; for lookers-on such as a copy,
    never for what is a head.
    """
    if covers(newer, older):
        return True
    is_history = older.version < newer.version - COVERED_VERSIONS
    return (
        is_history and older.state.roots == newer.state.roots[: older.state.root_version] and _reaches_all(newer, older)
    )


def _reaches_all(newer: Verified, older: Verified) -> bool:
    """Whether no role falls."""
    if newer.root.version < older.root.version:
        return False
    return all(_reaches(newer.snapshot.meta.get(name), meta) for name, meta in older.snapshot.meta.items())


def _reaches(new: MetaFile | None, old: MetaFile) -> bool:
    """Whether a snapshot entry is at least as new: at equal versions, of equal hashes."""
    if new is None:
        return False
    return new.version > old.version or (new.version == old.version and new.hashes == old.hashes)


def find_heads(store: Store, reader: Reader, machine: Machine, known: Sequence[Trusted] = ()) -> Heads | None:
    """The state to build on, or None where the repository has no trust data at all.

    Of several heads those that stand on the pointer's state go first, then the larger (version,
    identity): what somebody was told is live never loses.

    Args:
        store: scoped to the repository.
        reader: reads it from this machine's standpoint.
        machine: is told of states that were ignored.
        known: states that this run has verified already, and need not be read again.

    Raises:
        ConflictError: more candidates than can be looked at.
        UntrustedRootError, TamperedError, RollbackError: the pointer's state is not acceptable, or without
            a pointer what is there is older than what was seen.
    """
    pointer = _pointer(store, reader, known)
    tags = store.tags(MAX_TAGS)
    states = announced(tags)
    if pointer is None and not states:
        return None
    covered = set() if pointer is None else _hints(pointer.verified)
    floor = 0 if pointer is None else pointer.verified.version - COVERED_VERSIONS
    waiting = [item for item in states if item.version > floor and item.identity not in covered]
    if len(waiting) > MAX_CANDIDATES:
        raise ConflictError(
            f"{store.name} holds {len(waiting)} announced states that nothing covers: at most {MAX_CANDIDATES} are "
            "looked at, so that nobody can keep writers busy for ever",
            hint="remove the tags _trust.* that are not yours, or ask whoever may",
        )
    found = [] if pointer is None else [pointer]
    for item in waiting:
        trusted = _known(item, known) or _candidate(store, item.tag, reader, machine)
        if trusted is not None:
            found.append(trusted)
    if not found:
        return None
    heads = _still_published(uncovered(found), machine)
    preferred = [head for head in heads if pointer is None or head is pointer or _stands_on(head, pointer)]
    base = max(preferred or heads, key=lambda head: (head.verified.version, head.verified.identity))
    reader.check_seen(base)  # the pointer, and what was announced after it, may be gone
    others = tuple(head for head in heads if head is not base)
    return Heads(base, others, tags_of(tags), pointed=pointer is not None)


def uncovered(states: Iterable[Trusted]) -> list[Trusted]:
    """The heads among these states."""
    unique = {item.verified.identity: item for item in states}.values()
    return [item for item in unique if not any(covers(other.verified, item.verified) for other in unique)]


def _still_published(heads: list[Trusted], machine: Machine) -> list[Trusted]:
    """The heads whose snapshot and timestamp verify under the newest root of all: a key that left says nothing more."""
    newest = max(heads, key=lambda head: head.verified.root.version).verified
    found = []
    for head in heads:
        state = head.verified.state
        is_older = state.root_version < newest.state.root_version
        if is_older and state.roots == newest.state.roots[: state.root_version] and not publishes(state, newest.root):
            machine.warn(
                f"ignored the state {own_tag(head.verified.version, head.verified.identity)}: it was signed with a "
                f"key that may not publish any more since root {newest.root.version}"
            )
        else:
            found.append(head)
    return found


def publishes(state: State, root: Root) -> bool:
    """Whether snapshot and timestamp of a state are signed by keys that this root lets publish."""
    for role in PUBLISHING_ROLES:
        file = Metadata.from_bytes(state.role(role))
        if not root.get_verification_result(role, file.signed_bytes, file.signatures).verified:
            return False
    return True


def _pointer(store: Store, reader: Reader, known: Sequence[Trusted]) -> Trusted | None:
    if known:
        digest = store.resolve(POINTER_TAG)
        for item in known:
            if item.digest == digest:
                return item
    return reader.read_past_expiry()


def _known(item: Announced, known: Sequence[Trusted]) -> Trusted | None:
    return next((state for state in known if state.verified.identity.startswith(item.identity)), None)


def _stands_on(head: Trusted, pointer: Trusted) -> bool:
    return covers(head.verified, pointer.verified)


def _hints(verified: Verified) -> set[str]:
    """The beginnings of the identities that need not be looked at, as they stand in the states' own tags."""
    known = {verified.identity, *dict(verified.links.covers), *verified.links.pending}
    return {identity[:12] for identity in known}


def _candidate(store: Store, tag: str, reader: Reader, machine: Machine) -> Trusted | None:
    """An announced state, if it verifies; else it is ignored, with a warning (anybody who may push can announce)."""
    try:
        return reader.trust(read_announced(store, tag, reader.cached))
    except UnreachableError:
        raise
    except DocksealError as error:
        machine.warn(f"ignored the announced state {tag}: {error}")
        return None
