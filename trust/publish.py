"""Publishing a state: announce it, look again, point at it, look again (docs/publishing.md).

At every point a crash leaves the old pointer with the old trust, or an announced state that the next
writer completes. A registry has no locks: where another writer was faster, this one notices and says
so, and nothing of either is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.client import check_fresh, verify_state
from trust.digest import Digest
from trust.errors import ConflictError, DocksealError, UnreachableError, UnsignedError
from trust.heads import Heads, covers, find_heads
from trust.pins import Pin
from trust.read import Trusted
from trust.states import MAX_TAGS, POINTER_TAG, announce, announced, encode, own_tag, point, read_announced
from trust.tuf.rules import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.machine import Machine
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
    base: Verified | None = None,
) -> Trusted:
    """A state that is to be published, verified as every reader will: a mistake of ours must not go live.

    Args:
        state: just made.
        pin: the one it must verify under.
        machine: for the time.
        repository: the name it must bear.
        expected: what each tag must resolve to (None: nothing). Where there are any, nothing that they stand
            on may have expired.
        base: what it was made from; what has expired there, others renew after it.

    Raises:
        UnsignedError: a tag would resolve to something else, since another role goes before; or the repository
            is a copy.
        TamperedError, ExpiredError: readers would refuse it.
    """
    pin.check_own(repository)
    for name, data in state.files.items():
        check_file(name, data, repository)
    verified = verify_state(state, pin.starting_root(state))
    for tag, digest in expected.items():
        check_fresh(verified, machine.now, tag)
        found = verified.lookup(tag)
        if (found and found.hashes.get("sha256")) != (digest and digest.hex):
            raise shadowed(
                tag, digest, None if found is None else Digest.from_hex(str(found.hashes["sha256"])), repository
            )
    check_fresh(verified, machine.now, roles=_written(verified, base))
    return Trusted(verified, pin, encode(state).digest)


def _written(verified: Verified, base: Verified | None) -> set[str]:
    """The roles that a state has anew."""
    before = {} if base is None else base.versions
    return {role for role, version in verified.versions.items() if before.get(role) != version}


def shadowed(tag: str, wanted: Digest | None, yields: Digest | None, repository: str) -> UnsignedError:
    """A tag would still resolve to what another role says, which goes before."""
    return UnsignedError(
        f"the tag {tag!r} would still resolve to {yields}: expected {wanted}; another role that signs it goes before",
        hint=f"where targets signs it from earlier times: dockseal signer add SIGNER {repository} --adopt; "
        f"`dockseal inspect {repository}` shows who signs it",
    )


def publish(store: Store, reader: Reader, machine: Machine, planned: Trusted, heads: Heads | None) -> None:
    """Announce a planned state and make the pointer name it.

    Args:
        store: scoped to the repository.
        reader: reads it from this machine's standpoint.
        machine: is told what others did.
        planned: by :func:`check_planned`.
        heads: what it was made from; None for the first state.

    Raises:
        ConflictError: another writer was there at the same time. This state stays announced, under
            its own tag; running the same command again builds on what won.
        UnreachableError: the store did not answer; running again is safe.
    """
    known = (planned,) if heads is None else (planned, heads.base, *heads.others)
    if heads is not None and planned is heads.base:  # announced by a writer that was killed
        manifest = store.get_manifest(planned.digest)
    else:
        manifest = announce(store, planned.verified.state, planned.verified.version)
    for final in (False, True):
        found = find_heads(store, reader, machine, known)
        news = [] if found is None else [head for head in (found.base, *found.others) if head not in known]
        if found is not None and news:
            if final and covers(found.base.verified, planned.verified):  # it built on this one before this one pointed
                store.put_manifest(store.get_manifest(found.base.digest), POINTER_TAG)
            raise _conflict(store, f"it announced {', '.join(head.verified.identity[:12] for head in news)}")
        if heads is None or not heads.pointed:
            _give_way(store, reader, planned, pointed=final)
        if not final:
            reader.pin(planned)  # before the pointer: a crash in between leaves a root that is known here
            point(store, manifest)
    pointed = store.resolve(POINTER_TAG)
    if pointed != manifest.digest:
        raise _conflict(store, f"{POINTER_TAG} is now {pointed}")
    reader.remember(planned)


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
        store.put_manifest(store.get_manifest(winner.digest), POINTER_TAG)
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


def _conflict(store: Store, what: str) -> ConflictError:
    return ConflictError(
        f"another writer publishes to {store.name} at the same time: {what}; nothing was lost, no image tag was moved",
        hint="run the same command again: it builds on what is there now",
    )
