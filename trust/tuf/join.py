"""Joining heads: one ground out of states that were made at the same time. Pure but for signing.

Role by role, the side that changed since the common ancestor goes on. Where several changed, a targets file is
merged three ways and signed again by whoever holds its key. Where the key is not at hand, or there is no common
ancestor to compare with, nothing is guessed: the stronger side stays, and the others become *pending*. Roots that
forked never merge: the larger (version, sha256) wins. No version ever falls below that of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Targets

from trust.errors import ConflictError, TamperedError
from trust.tuf import roles
from trust.tuf.draft import Ground, file_of
from trust.tuf.merge import merge_targets
from trust.tuf.respread import as_many, respread
from trust.tuf.roles import bins_of, delegated_names
from trust.tuf.state import COVERED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.digest import Digest
    from trust.tuf.state import Far
    from trust.tuf.verified import Verified

    SignersOf = Callable[[str, Role], Sequence[Signer] | None]
    """Signers for a role's threshold; None where too few are at hand."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One version of a role's file, the heads that have it, and the first of those."""

    name: str
    digest: Digest
    heads: tuple[str, ...]
    head: Verified

    @property
    def payload(self) -> Targets:
        """What it says."""
        return self.head.payload(self.name)

    @property
    def file(self) -> tuple[int, bytes | Far]:
        """Version and file, as they go into the next state."""
        return file_of(self.head, self.name)

    @property
    def strength(self) -> tuple[int, str]:
        """What decides where nothing else does."""
        return self.file[0], self.digest.hex

    @property
    def is_sound(self) -> bool:
        """Whether it verifies where it is: whoever publishes can put anything into a state for a bin."""
        try:
            return bool(self.payload)
        except TamperedError:
            return False

    def is_accepted(self, delegator: Root | Targets) -> bool:
        """Whether a delegator accepts it. A bin whose delegation stayed as it is there need not be fetched for that."""
        parent = self.head.bins.get(self.name)
        if parent is not None and isinstance(delegator, Targets):
            before = self.head.targets[parent].delegations
            if before == delegator.delegations:
                return True
        return _accepts(delegator, self.name, self.head.state.role(self.name))


def join(
    heads: Sequence[Verified],
    ancestor: Verified | None,
    signers_of: SignersOf,
    superseded: Container[tuple[str, str]] = (),
) -> Ground:
    """The ground that all heads share. With one head it is that head's own.

    Args:
        heads: verified, from the same pin; in any order.
        ancestor: the newest state that all of them cover; None where there is none left, or never was one: states
            with which one repository began twice, under one root, are merged as if it had been empty.
        signers_of: signs merged files.
        superseded: role and hex sha256 of files that a head's line had, and has left behind since the ancestor. They
            are no change: whoever may publish can put a genuine old file into a new state.

    Raises:
        ConflictError: a role is left with no file that its delegator accepts.
    """
    ordered = sorted(heads, key=lambda head: (head.version, head.identity), reverse=True)
    strongest = ordered[0]
    history = strongest.version - COVERED_VERSIONS
    if len(ordered) == 1:
        return Ground.of(strongest)
    root_of = newest_root(ordered)
    joiner = _Joiner(ordered, ancestor, signers_of, root_of.root, superseded)
    files = joiner.files()
    forked = {head.identity for head in ordered if head.state.roots != root_of.state.roots[: head.state.root_version]}
    left = joiner.left | forked
    covered = [(head.identity, head.version) for head in ordered if head.identity not in left]
    ancestors = dict([*covered, *(item for head in ordered if head.identity not in left for item in head.links.covers)])
    pending = [item for head in ordered for item in head.links.pending]
    for head in ordered:
        if head.identity in left:  # what it stands on alone waits with it
            pending += [head.identity, *(item for item, version in head.links.covers if version > history)]
    return Ground(
        roots=root_of.state.roots,
        root=root_of.root,
        files=files,
        meta=joiner.floor(),
        version=strongest.version,
        snapshot_version=max(int(head.snapshot.version) for head in ordered),
        parents=tuple(identity for identity, _ in covered),
        covers=tuple(sorted(ancestors.items(), key=lambda item: (-item[1], item[0]))),
        pending=tuple(item for item in dict.fromkeys(pending) if item not in ancestors),
    )


def newest_root(heads: Iterable[Verified]) -> Verified:
    """The state whose root goes on: the larger (version, sha256), whatever any pointer says."""
    return max(heads, key=lambda head: (int(head.root.version), head.root_sha256))


def publishes_under(root: Root, state: Verified) -> bool:
    """Whether the state's timestamp and snapshot are signed by keys that this root still lets publish.

    A publisher that was removed could otherwise go on under the root that still knew it.
    """
    files = (("timestamp", state.state.role("timestamp")), ("snapshot", state.state.role("snapshot")))
    return all(_accepts(root, name, data) for name, data in files)


def same_content(first: Verified, second: Verified) -> bool:
    """Whether two states say the same: all role files but snapshot and timestamp are equal."""
    return first.state.content == second.state.content


class _Joiner:
    """Settles one role after the other, from targets down the delegations that were settled before."""

    def __init__(
        self,
        heads: Sequence[Verified],
        ancestor: Verified | None,
        signers_of: SignersOf,
        root: Root,
        superseded: Container[tuple[str, str]],
    ) -> None:
        self._heads = heads
        self._ancestor = ancestor
        self._superseded = superseded
        # nothing was there before any of them; a later state that names no parents hides what it was made from
        self._begin = all(head.version == 1 and not head.links.parents for head in heads)
        self._signers_of = signers_of
        self._root = root
        self._refused: set[tuple[str, str]] = set()
        self._anew: set[str] = set()
        self.left: set[str] = set()

    def files(self) -> dict[str, tuple[int, bytes | Far]]:
        """Version and file by role."""
        found: dict[str, tuple[int, bytes | Far]] = {}
        settled: dict[str, Targets] = {}
        waiting: list[tuple[str, Root | Targets]] = [(Targets.type, self._root)]
        while waiting:
            name, delegator = waiting.pop(0)
            anew = self._respread(name, delegator)
            if anew is None:
                found[name], payload = self._settle(name, delegator)
            else:
                payload, files = anew
                found |= files
            if payload is not None:
                settled[name] = payload
                waiting += [(child, payload) for child in delegated_names(payload) if child not in found]
        self.left |= {head.identity for head in self._heads if self._was_spread_otherwise(head, settled)}
        return found

    def _respread(self, name: str, delegator: Root | Targets) -> tuple[Targets, dict[str, tuple[int, bytes]]] | None:
        """A role whose tags one side has spread over other bins while another changed some; None where it is none such.

        Without the role's key, or an ancestor, or where a bin was spoiled, nothing is guessed.
        """
        heads = [head for head in self._heads if name in head.targets]
        if self._ancestor is None or all(
            as_many(bins_of(heads[0].targets[name]), bins_of(head.targets[name])) for head in heads
        ):
            return None
        changed = [head for head in heads if self._has_changed(name, head, self._ancestor)]
        if any(self._has_left_behind(name, head) for head in changed):
            return None
        signers = self._signers_of(name, delegator.get_delegated_role(name)) if len(changed) > 1 else None
        if signers is None:
            return None
        try:
            found = respread(name, delegator, changed, self._ancestor, signers)
        except TamperedError:
            return None
        self._anew.add(name)
        return found

    def _has_changed(self, name: str, head: Verified, ancestor: Verified) -> bool:
        return any(
            item not in ancestor.names or head.state.digest(item) != ancestor.state.digest(item)
            for item in _files_of(name, head)
            if (item, head.state.digest(item).hex) not in self._superseded
        )

    def _has_left_behind(self, name: str, head: Verified) -> bool:
        return any((item, head.state.digest(item).hex) in self._superseded for item in _files_of(name, head))

    def _was_spread_otherwise(self, head: Verified, settled: Mapping[str, Targets]) -> bool:
        """Whether a head has changed a bin of a role whose tags another side has spread over other bins.

        What it says there is in none of the joined files: it stays pending, and its writer is told.
        """
        ancestor = self._ancestor
        for name, role in head.bins.items():
            if (
                role in self._anew
                or role not in settled
                or as_many(bins_of(head.targets[role]), bins_of(settled[role]))
            ):
                continue
            known = ancestor is not None and name in ancestor.state.names
            if ancestor is None or not known or ancestor.state.digest(name) != head.state.digest(name):
                return True
        return False

    def floor(self) -> dict[str, MetaFile]:
        """The highest snapshot entry of every role: none may vanish or fall (rule 6).

        Files that the joined delegations do not accept bind nobody.
        """
        found: dict[str, MetaFile] = {}
        for head in self._heads:
            for name, meta in head.snapshot.meta.items():
                refused = (name.removesuffix(".json"), head.identity) in self._refused
                if not refused and (name not in found or meta.version > found[name].version):
                    found[name] = meta
        return found

    def _settle(self, name: str, delegator: Root | Targets) -> tuple[tuple[int, bytes | Far], Targets | None]:
        """Version and file of a role, and what it says; None for a bin, which delegates to nobody."""
        sides = self._sides(name, delegator)
        if len(sides) > 1 and name in sides[0].head.bins:
            sides = [side for side in sides if side.is_sound]
        changed = self._changed(name, sides)
        accepted = [side for side in sides if side.is_accepted(delegator)]
        self._refused |= {(name, head) for side in sides if side not in accepted for head in side.heads}
        is_bin = isinstance(delegator, Targets) and bins_of(delegator) is not None
        if len(changed) == 1 and changed[0] in accepted:
            return changed[0].file, None if is_bin else changed[0].payload
        signed = self._merged(name, delegator, changed)
        if signed is not None:
            return (int(signed[1].version), signed[0]), signed[1]
        if not accepted:
            raise ConflictError(
                f"the states that were made at the same time leave no valid file for {name}",
                hint=f"whoever holds the key of {name} signs again",
            )
        chosen = max([side for side in changed if side in accepted] or accepted, key=lambda side: side.strength)
        self.left |= {head for side in changed if side is not chosen for head in side.heads}
        return chosen.file, None if is_bin else chosen.payload

    def _sides(self, name: str, delegator: Root | Targets) -> list[_Side]:
        """The versions of a file; of a bin those whose role is spread over as many bins."""
        bins = bins_of(delegator) if isinstance(delegator, Targets) else None
        found: dict[Digest, _Side] = {}
        for head in self._heads:
            if name not in head.state.names:
                continue
            parent = head.bins.get(name)
            if bins is not None and (parent is None or not as_many(bins, bins_of(head.targets[parent]))):
                continue
            digest = head.state.digest(name)
            known = found.get(digest)
            found[digest] = _Side(
                name, digest, (*(known.heads if known else ()), head.identity), known.head if known else head
            )
        return list(found.values())

    def _changed(self, name: str, sides: list[_Side]) -> list[_Side]:
        """Those that are not as the ancestor was, nor left behind since; all, where that is not known."""
        if self._ancestor is None or len(sides) == 1:
            return sides
        current = [side for side in sides if (name, side.digest.hex) not in self._superseded]
        if name not in self._ancestor.state.names:
            return current
        old = self._ancestor.state.digest(name)
        return [side for side in current if side.digest != old]

    def _merged(self, name: str, delegator: Root | Targets, sides: list[_Side]) -> tuple[bytes, Targets] | None:
        """All sides in one file, signed; None where that cannot be made here."""
        if not sides or (self._ancestor is None and not self._begin):
            return None
        if any(not as_many(bins_of(sides[0].payload), bins_of(side.payload)) for side in sides):
            return None  # one side has moved all tags into bins: what the other changed is not where it was
        signers = self._signers_of(name, delegator.get_delegated_role(name))
        if signers is None:
            return None
        old = Targets(version=1, expires=sides[0].payload.expires)
        if self._ancestor is not None and name in self._ancestor.names:
            old = self._ancestor.payload(name)
        payload = sides[0].payload
        for side in sides[1:]:
            payload = merge_targets(old, payload, side.payload)
        if len(sides) == 1:  # signed with keys that the joined root or targets no longer accepts
            payload = merge_targets(payload, payload, payload)
        payload.version = max(int(side.payload.version) for side in sides) + 1
        return roles.sign(payload, signers), payload


def _accepts(delegator: Root | Targets, name: str, data: bytes) -> bool:
    try:
        metadata: Metadata[Targets] = Metadata.from_bytes(data)
        delegator.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def _files_of(name: str, head: Verified) -> list[str]:
    """A role and its hash bins."""
    return [name, *(item for item, role in head.bins.items() if role == name)]
