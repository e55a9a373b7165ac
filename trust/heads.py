"""Which state a writer builds on: the pointer's, and what was announced after it.

States form a graph (docs/publishing.md). A state that no other one covers is a *head*. Writers look
past the pointer, so that a change which a killed writer announced is completed by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import ConflictError, DocksealError, RollbackError, TamperedError, UnreachableError
from trust.proposals import tags_of
from trust.read import still_publishing
from trust.states import MAX_CANDIDATES, MAX_TAGS, POINTER_TAG, announced, own_tag, read_pointer
from trust.tuf.join import newest_root, same_content
from trust.tuf.state import COVERED_VERSIONS, FAST_FORWARDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuf.api.metadata import MetaFile

    from trust.digest import Digest
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader, Trusted
    from trust.states import Announced
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Heads:
    """What was found: the heads, the strongest first; of those that say the same only the strongest.

    ``twins`` are the others of those, which whatever is built on them covers too. ``pointer`` is the digest
    that ``_trust`` points at. ``tags`` are all tags of the repository, as they were listed.
    """

    states: tuple[Trusted, ...]
    twins: tuple[Trusted, ...] = ()
    pointer: Digest | None = None
    tags: tuple[str, ...] = ()

    @property
    def base(self) -> Trusted:
        """The strongest head: the larger (version, identity)."""
        return self.states[0]

    @property
    def others(self) -> tuple[Trusted, ...]:
        """The other heads."""
        return self.states[1:]

    @property
    def proposal_tags(self) -> tuple[str, ...]:
        """The tags that hold proposals."""
        return tags_of(self.tags)


def covers(newer: Verified, older: Verified) -> bool:
    """Whether ``newer`` lists ``older`` as an ancestor and in nothing falls below it."""
    if older.identity not in dict(newer.links.covers) or newer.version <= older.version:
        return False
    return reaches_all(newer, older)


def continues(newer: Verified, older: Verified) -> bool:
    """Whether ``newer`` covers ``older``, or has left it so far behind that ``covers`` no longer reaches it.

    History counts where both stand on one chain of roots and nothing falls; for lookers-on such as a copy,
    never for what is a head.
    """
    if covers(newer, older):
        return True
    is_history = older.version < newer.version - COVERED_VERSIONS
    return (
        is_history and older.state.roots == newer.state.roots[: older.state.root_version] and reaches_all(newer, older)
    )


def reaches_all(newer: Verified, older: Verified) -> bool:
    """Whether no role falls, nor the root."""
    if newer.root.version < older.root.version:
        return False
    return all(not_below(newer.snapshot.meta.get(name), meta) for name, meta in older.snapshot.meta.items())


def not_below(new: MetaFile | None, old: MetaFile) -> bool:
    """Whether a snapshot entry is at least as new: at equal versions, of equal hashes."""
    if new is None:
        return False
    return new.version > old.version or (new.version == old.version and new.hashes == old.hashes)


def find_heads(store: Store, reader: Reader, machine: Machine, known: Sequence[Trusted] = ()) -> Heads | None:
    """The heads, or None where the repository has no trust data at all.

    All must be signed by keys that the newest root among them still lets publish, whatever the pointer says:
    a publisher that was removed cannot go on under the root that still knew it.

    Args:
        store: scoped to the repository.
        reader: reads it from this machine's standpoint.
        machine: is told of states that were ignored.
        known: states that this run has verified already, and need not be read again.

    Raises:
        ConflictError: more candidates than can be looked at.
        UntrustedRootError, TamperedError, RollbackError: nothing acceptable is there.
    """
    try:
        return _look(store, reader, machine, known)
    except RollbackError:
        # Somebody lists what was seen here as covered, and has left it out; or another process of this machine has
        # seen a newer state since the tags were listed.
        return _look(store, reader, machine, known, wary=True)


def _look(
    store: Store, reader: Reader, machine: Machine, known: Sequence[Trusted], *, wary: bool = False
) -> Heads | None:
    """What :func:`find_heads` finds; ``wary``: a state that lacks what was seen here hides no other."""
    tags = store.tags(MAX_TAGS)
    digest, pointer, problem = _pointer(store, reader, known)  # after the list: the pointer is what may move back
    found = _Search(store, reader, machine, known, pointer, announced(tags), wary).found()
    if not found and problem is not None:
        raise problem
    if problem is not None:
        machine.warn(f"the state that {POINTER_TAG} points at is left out: {problem}")
    if not found:
        return None
    leading = [item for item in found if not wary or _has_seen(reader, item)]
    states, twins = _strongest_first(uncovered(_without_history(found, known, leading)))
    _check_seen(reader, states)
    return Heads(states, twins, digest, tags)


def _check_seen(reader: Reader, states: Sequence[Trusted]) -> None:
    """What this machine saw is part of some head, and so of whatever joins them; the others may be forks of it.

    The pointer, and what was announced after it, may be gone.

    Raises:
        RollbackError: it is part of none.
    """
    if not any(_has_seen(reader, state) for state in states):
        reader.check_seen(states[0])


def _has_seen(reader: Reader, state: Trusted) -> bool:
    """Whether what this machine saw is part of a state."""
    try:
        reader.check_seen(state)
    except RollbackError:
        return False
    return True


def uncovered(states: Iterable[Trusted]) -> list[Trusted]:
    """The heads among these states."""
    unique = {item.verified.identity: item for item in states}.values()
    return [item for item in unique if not any(covers(other.verified, item.verified) for other in unique)]


def _without_history(found: list[Trusted], known: Sequence[Trusted], leading: Sequence[Trusted]) -> list[Trusted]:
    """Without the states that a leading one, of no older root, has left more than the window behind.

    What this run knows stays: it may be a change of its own, which others have overrun.
    """
    return [
        item
        for item in found
        if item in known
        or not any(
            item.verified.version < other.verified.version - COVERED_VERSIONS
            and item.verified.root.version <= other.verified.root.version
            for other in leading
        )
    ]


def _strongest_first(heads: list[Trusted]) -> tuple[tuple[Trusted, ...], tuple[Trusted, ...]]:
    states: list[Trusted] = []
    twins: list[Trusted] = []
    for head in sorted(heads, key=lambda item: (item.verified.version, item.verified.identity), reverse=True):
        same = any(same_content(head.verified, other.verified) for other in states)
        (twins if same else states).append(head)
    return tuple(states), tuple(twins)


@dataclass(slots=True)
class _Search:
    """One look for what a writer may build on."""

    store: Store
    reader: Reader
    machine: Machine
    known: Sequence[Trusted]
    pointer: Trusted | None
    states: Sequence[Announced]
    wary: bool
    looked_at: dict[str, Trusted | None] = field(default_factory=dict)
    """By tag; None for what did not verify."""

    def found(self) -> list[Trusted]:
        """The pointer's state and the announced ones that publishers of the newest root among them have signed."""
        found, late = still_publishing(self._without)
        self._warn_of(late, found)
        return found

    def _without(self, late: Mapping[str, Trusted]) -> list[Trusted]:
        pointer = None if self.pointer is None or self.pointer.verified.identity in late else self.pointer
        found = [] if pointer is None else [pointer]
        hinted = set() if pointer is None else self._hints(pointer)
        floor = self._floor(pointer)
        for item in self.states:  # newest first: one that is valid spares those that it covers
            mine = _known(item, self.known)
            if mine is None and (item.identity in hinted or item.version <= floor):
                continue
            trusted = mine or self._look_at(item)
            if trusted is not None and trusted.verified.identity not in late:
                found.append(trusted)
                hinted |= self._hints(trusted)
        # what this run announced is there, though a list that was made while tags came and went may lack it
        here = {item.verified.identity for item in found} | late.keys()
        found += [item for item in self.known if item.verified.identity not in here]
        pending = {identity for item in found for identity in item.verified.links.pending}
        return [item for item in found if item.verified.identity not in pending]

    def _hints(self, trusted: Trusted) -> set[str]:
        """The beginnings of the identities that need not be looked at, as they stand in the states' own tags."""
        links = trusted.verified.links
        known = {trusted.verified.identity, *dict(links.covers), *links.pending}
        if self.wary and not _has_seen(self.reader, trusted):
            known = {trusted.verified.identity}
        return {identity[:12] for identity in known}

    def _floor(self, pointer: Trusted | None) -> int:
        """The version up to which nothing is looked at: history. No honest pointer is fast-forwarded."""
        if pointer is None:
            return 0
        version = pointer.verified.version
        if self.wary and not _has_seen(self.reader, pointer):
            version = self.reader.last_version
        if version >= FAST_FORWARDED:
            version = max((item.version for item in self.states if item.version < FAST_FORWARDED), default=0)
        return version - COVERED_VERSIONS

    def _look_at(self, item: Announced) -> Trusted | None:
        """An announced state, if it verifies; it is read once.

        Raises:
            ConflictError: more candidates than can be looked at.
        """
        if item.tag not in self.looked_at:
            if len(self.looked_at) >= MAX_CANDIDATES:
                raise ConflictError(
                    f"{self.store.name} holds more than {MAX_CANDIDATES} announced states that nothing covers: no "
                    "more are looked at, so that nobody can keep writers busy for ever",
                    hint="remove the tags _trust.* that are not yours, or ask whoever may",
                )
            self.looked_at[item.tag] = _candidate(item.tag, self.reader, self.machine)
        return self.looked_at[item.tag]

    def _warn_of(self, late: Mapping[str, Trusted], found: Sequence[Trusted]) -> None:
        for identity, item in late.items():
            if not any(covers(other.verified, item.verified) for other in found):
                self.machine.warn(
                    f"ignored the state {own_tag(item.verified.version, identity)}: it was signed with a key that "
                    f"may not publish any more since root {newest_root(each.verified for each in found).root.version}"
                )


def _pointer(
    store: Store, reader: Reader, known: Sequence[Trusted]
) -> tuple[Digest | None, Trusted | None, DocksealError | None]:
    """Where the pointer points, its state if that is acceptable, and what is wrong with it if it is not."""
    try:
        if known:
            digest = store.resolve(POINTER_TAG)
            for item in known:
                if item.digest == digest:
                    return digest, item, None
            if (read := reader.by_digest(digest)) is not None:
                reader.check_current(read)
                return digest, read, None
        stored = read_pointer(store, reader.cached)
        if stored is None:
            return None, None, None
        return stored.digest, reader.trust(stored), None
    except (RollbackError, TamperedError) as problem:
        return None, None, problem


def _known(item: Announced, known: Sequence[Trusted]) -> Trusted | None:
    return next((state for state in known if state.verified.identity.startswith(item.identity)), None)


def _candidate(tag: str, reader: Reader, machine: Machine) -> Trusted | None:
    """An announced state, if it verifies; else it is ignored, with a warning (anybody who may push can announce)."""
    try:
        found = reader.announced(tag)
        reader.check_current(found)
    except (UnreachableError, ConflictError):
        raise
    except DocksealError as error:
        machine.warn(f"ignored the announced state {tag}: {error}")
        return None
    return found
