"""Publishing a state: announce it, look again, point at it, look again (docs/publishing.md).

At every point a crash leaves the old pointer with the old trust, or an announced state that the next
writer completes. A registry has no locks: where another writer was faster, this one notices and says
so, and nothing of either is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.ancestry import MAX_HISTORY, Ancestry
from trust.client import check_fresh, verify_state
from trust.digest import Digest
from trust.errors import (
    ConflictError,
    DeniedError,
    DocksealError,
    MissingError,
    RollbackError,
    UnreachableError,
    UnsignedError,
)
from trust.heads import Heads, covers, find_heads, reaches_all
from trust.pins import Pin
from trust.read import Trusted
from trust.states import MAX_TAGS, POINTER_TAG, announce, announced, encode, own_tag, point, read_announced
from trust.tuf.rules import check_file
from trust.tuf.state import COVERED_VERSIONS

MAX_ROUNDS = 24
"""How often a writer looks, joins and points before it gives up; see :meth:`trust.machine.Machine.pause`."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trust.machine import Machine
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.read import Reader
    from trust.tuf.state import State
    from trust.tuf.verified import Verified


def check_planned(  # noqa: PLR0917 - the standpoint is pin, machine and repository
    state: State,
    pin: Pin,
    machine: Machine,
    repository: str,
    expected: dict[str, Digest | None],
    bases: Sequence[Verified] = (),
) -> Trusted:
    """A state that is to be published, verified as every reader will: a mistake of ours must not go live.

    Args:
        state: just made.
        pin: the one it must verify under.
        machine: for the time.
        repository: the name it must bear.
        expected: what each tag must resolve to (None: nothing). Where there are any, nothing that they stand
            on may have expired.
        bases: what it was made from; what has expired there, others renew after it.

    Raises:
        UnsignedError: a tag would resolve to something else, since another role goes before; or the repository
            is a copy.
        TamperedError, ExpiredError: readers would refuse it.
    """
    pin.check_own(repository)
    for name, data in state.files.here:
        check_file(name, data, repository)
    verified = verify_state(state, pin.starting_root(state))
    for tag, digest in expected.items():
        check_fresh(verified, machine.now, tag)
        yields = verified.meaning(tag)
        if yields != digest:
            raise shadowed(tag, digest, yields, repository)
    check_fresh(verified, machine.now, roles=_written(verified, bases))
    return Trusted(verified, pin, encode(state).digest)


def _written(verified: Verified, bases: Sequence[Verified]) -> set[str]:
    """The roles that a state has anew."""
    return {
        role for role, version in verified.versions.items() if all(base.versions.get(role) != version for base in bases)
    }


def shadowed(tag: str, wanted: Digest | None, yields: Digest | None, repository: str) -> UnsignedError:
    """A tag would still resolve to what another role says, which goes before."""
    return UnsignedError(
        f"the tag {tag!r} would still resolve to {yields}: expected {wanted}; another role that signs it goes before",
        hint=f"where targets signs it from earlier times: dockseal signer add SIGNER {repository} --adopt; "
        f"`dockseal inspect {repository}` shows who signs it",
    )


@dataclass(frozen=True, slots=True)
class Publisher:
    """Makes states live in one repository.

    ``join`` gives the state that joins several heads, signed and verified; it raises ConflictError where
    that cannot be made on this machine.
    """

    store: Store
    reader: Reader
    machine: Machine
    join: Callable[[Heads], Trusted]
    stuck: list[str] = field(default_factory=list)
    """The pointer's tag, once this store has refused to move it."""

    def publish(self, planned: Trusted, known: tuple[Trusted, ...] = ()) -> Trusted:
        """Announce a planned state, join it with what others announced meanwhile, and point at the result.

        Args:
            planned: by :func:`check_planned`.
            known: states of the store that this run has verified already.

        Returns:
            The state that is live in the end: the planned one, or one that covers it.

        Raises:
            ConflictError: it did not come to rest in a bounded number of rounds, or what was planned is
                accepted no more. It stays announced: the next writer completes it.
            UnreachableError: the store did not answer; running again is safe.
        """
        seen = (planned, *known)
        if planned not in known:
            self._announce(planned)
        for attempt in range(MAX_ROUNDS):
            heads = self._look(seen)
            if heads.others:  # whoever wakes up first joins all, and spares the others
                self.machine.pause(attempt, len(heads.states))
                heads = self._look(seen)
            joined = heads.base
            if heads.others or planned.verified.identity in joined.verified.links.pending:  # its key may be here
                joined = self.join(heads)
            if joined is not heads.base:
                self._announce(joined)
                seen = (joined, *seen)
            elif self._settled(heads, planned, seen) and self._remembers(heads.base):
                return heads.base
        raise _gave_up(self.store, planned)

    def check_begun(self, first: Trusted) -> None:
        """Give way to a larger root, where this machine was killed when it had just begun the repository.

        Raises:
            ConflictError: a larger root is there.
        """
        begins = not first.verified.links.parents
        if begins and self.machine.memory(self.store.repository).seen() is None:
            _give_way(self.store, self.reader, first, pointed=self._moves)

    def newer(self, live: Trusted) -> Trusted | None:
        """The state that has taken a live one's place meanwhile, if there is one; None where no tag moves anyway."""
        if not self._moves:
            return None
        return next((head for head in self._look((live,)).states if covers(head.verified, live.verified)), None)

    def _announce(self, planned: Trusted) -> None:
        announce(self.store, planned.verified.state, planned.verified.version)
        self.reader.note(planned)

    def _look(self, seen: tuple[Trusted, ...]) -> Heads:
        heads = find_heads(self.store, self.reader, self.machine, seen)
        if heads is None:
            raise MissingError(f"what was just announced to {self.store.name} is gone")
        return heads

    def _settled(self, heads: Heads, planned: Trusted, seen: tuple[Trusted, ...]) -> bool:
        """Point at the only head; whether it still is the only one, and pointed at, after that."""
        head = heads.base
        _check_part_of(self.store, self.reader, planned, heads)
        begins = not planned.verified.links.parents
        pointed = heads.pointer == head.digest
        if begins:
            _give_way(self.store, self.reader, planned, pointed=pointed)
        self.reader.pin(head)  # before the pointer: a crash in between leaves a root that is known here
        if not pointed:
            self._point(head)
            if begins:
                _give_way(self.store, self.reader, planned, pointed=self._moves)
        again = self._look((head, *seen))
        rests = again.pointer == head.digest or not self._moves
        return not again.others and again.base.digest == head.digest and rests

    def _remembers(self, live: Trusted) -> bool:
        """Keep what is live; False where another process of this machine has seen a newer state meanwhile."""
        try:
            self.reader.remember(live)
        except RollbackError:
            return False
        return True

    @property
    def _moves(self) -> bool:
        """Whether the pointer moves in this store, as far as is known."""
        return self.machine.moves_tags(self.store.repository) and not self.stuck

    def _point(self, head: Trusted) -> None:
        if not self._moves:
            return
        made_here = encode(head.verified.state)  # the head may have been made by another version of this program
        manifest = made_here if made_here.digest == head.digest else self.store.get_manifest(head.digest)
        if not move_pointer(self.store, manifest):
            self.stuck.append(POINTER_TAG)
            registry = self.store.repository.partition("/")[0]
            self.machine.warn(
                f"{self.store.name} does not let the tag {POINTER_TAG} move: the state stands under its own tag alone; "
                f'readers find it sooner with `[registry."{registry}"] immutable_tags = true` in config.toml'
            )


def move_pointer(store: Store, manifest: Manifest) -> bool:
    """Make ``_trust`` point at a state that is announced; False where it points elsewhere and cannot move.

    Raises:
        UnreachableError: the store did not answer, or denies a first pointer.
    """
    try:
        point(store, manifest)
    except DeniedError:
        if store.resolve(POINTER_TAG) is None:
            raise
        return False
    return True


def _check_part_of(store: Store, reader: Reader, planned: Trusted, heads: Heads) -> None:
    """The change is part of what will be live, or the writer is told.

    Raises:
        ConflictError: it is not.
    """
    mine, head = planned.verified, heads.base.verified
    alike = (head, *(twin.verified for twin in heads.twins))
    if any(mine.identity == one.identity or covers(one, mine) for one in alike):
        return
    if _is_ancestor(store, reader, mine, heads):
        return
    if mine.identity in head.links.pending:
        raise ConflictError(
            f"{store.name}: another writer changed the same roles, and the key that could merge both is not here; "
            f"this change is pending as {mine.identity[:12]}",
            hint=f"whoever holds the key runs: dockseal repo refresh {store.name}",
        )
    raise ConflictError(
        f"{store.name}: this change is accepted no more: the root of trust changed meanwhile",
        hint=f"dockseal inspect {store.name} shows who can sign what",
    )


def _is_ancestor(store: Store, reader: Reader, mine: Verified, heads: Heads) -> bool:
    """Whether others have joined a state and then left it behind by more than the window."""
    head = heads.base.verified
    if mine.version >= head.version - COVERED_VERSIONS or not reaches_all(head, mine):
        return False
    ancestry = Ancestry(store, reader.cached, announced(heads.tags))
    ancestry.follow(head, down_to=mine.version, reads=MAX_HISTORY)
    return ancestry.known.get((mine.version, mine.identity[:12])) == mine.identity


def _gave_up(store: Store, planned: Trusted) -> ConflictError:
    tag = own_tag(planned.verified.version, planned.verified.identity)
    return ConflictError(
        f"others publish to {store.name} all the time: after {MAX_ROUNDS} rounds the state was not at rest; nothing "
        f"was lost, the change is announced as {tag}, and no image tag was moved",
        hint="run the same command again; the next writer completes it anyway",
    )


def _give_way(store: Store, reader: Reader, planned: Trusted, *, pointed: bool) -> None:
    """Of machines that begin one repository at the same time, each with a root of its own, the largest root goes on.

    Each announces before it looks, so of any two at least one sees the other; one that has pointed points back.

    Raises:
        ConflictError: a larger root is there.
    """
    mine = Digest.of(planned.verified.state.roots[0])
    rivals = [rival for rival in _rivals(store, reader) if _root(rival) > mine]
    if not rivals:
        return
    winner = max(rivals, key=lambda rival: (_root(rival), rival.verified.version))
    if pointed:
        move_pointer(store, store.get_manifest(winner.digest))
    tag = own_tag(winner.verified.version, winner.verified.identity)
    raise ConflictError(
        f"another machine began to sign {store.name} at the same time, with a root of its own that goes first: "
        f"{_root(winner)}; no image tag was moved",
        hint=f"ask who began it for a signature, and pin that root; if the tag {tag} is a left-over, remove it",
    )


def _rivals(store: Store, reader: Reader) -> Iterator[Trusted]:
    """The announced states that verify from their own first root, whoever made it."""
    for item in announced(store.tags(MAX_TAGS)):
        try:
            stored = read_announced(store, item.tag, reader.cached)
            yield reader.trust(stored, Pin(store.repository, root=Digest.of(stored.state.roots[0])))
        except UnreachableError:
            raise
        except DocksealError:
            continue  # find_heads has warned of it


def _root(state: Trusted) -> Digest:
    return Digest.of(state.verified.state.roots[0])
