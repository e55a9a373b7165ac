"""The next state: what changes, in which role, and the files that follow from it. Pure but for signing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tuf.api.metadata import Role, Root, Snapshot, Targets

from trust import strictjson
from trust.digest import Digest
from trust.errors import UnsignedError
from trust.tuf import roles
from trust.tuf.edits import PUBLISHING_ROLES, change_tags
from trust.tuf.proposed import Proposed, judge, propose
from trust.tuf.state import COVERED_VERSIONS, EXTENSION, FAST_FORWARDED, Links, State, Terms

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer
    from tuf.api.metadata import MetaFile

    from trust.tuf.roles import RoleKeys, Target
    from trust.tuf.verified import Verified


class Signing(Protocol):
    """Finds the signers of a role.

    Raises:
        UnsignedError: fewer than the threshold are at hand.
        KeyUnavailableError: one that is at hand cannot be used.
    """

    def __call__(self, role_name: str, role: Role) -> Sequence[Signer]:
        """As many signers as the role's threshold asks for."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What is to change: targets put and tags dropped, by role; and the roles to be signed again as they are."""

    put: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    drop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    renew: frozenset[str] = frozenset()

    @property
    def targets_roles(self) -> frozenset[str]:
        """The roles whose targets file is written again."""
        return frozenset(self.put) | frozenset(self.drop) | (self.renew - {"root", "snapshot", "timestamp"})


def first_state(
    terms: Terms, keys: Mapping[str, RoleKeys], targets: Iterable[Target], signing: Signing, now: datetime
) -> State:
    """Version 1 of everything."""
    root = roles.make_root(terms, keys, now)
    signed_root = roles.sign(root, signing("root", root.roles["root"]))
    top = Targets(
        version=1,
        expires=roles.expiry(terms, "targets", now),
        targets={target.tag: target.to_file() for target in targets},
    )
    files = {Targets.type: (1, roles.sign(top, signing("targets", root.roles["targets"])))}
    snapshot = roles.make_snapshot(1, files, terms, now)
    return _finish([signed_root], root, files, snapshot, _Place(1, terms), signing, now)


def next_state(
    base: Verified, change: Change, *, signing: Signing, now: datetime, pending: tuple[str, ...] = ()
) -> State:
    """The state after ``base``, one version on.

    Args:
        base: verified.
        change: an empty one makes a new snapshot and timestamp alone.
        signing: gives the signers of each role that is written.
        now: UTC.
        pending: identities of heads that are not part of this state; they join those of the base.
    """
    put = {role: [target.to_file() for target in targets] for role, targets in change.put.items()}
    edit = change_tags(base, put, change.drop, change.renew, now)
    proposed = sign_fully(propose(base, edit), base, signing)
    return state_after(base, proposed, signing=signing, now=now, pending=pending)


def sign_fully(proposed: Proposed, base: Verified, signing: Signing) -> Proposed:
    """Sign every file as often as it needs.

    Raises:
        UnsignedError: a key is not at hand.
        KeyUnavailableError: one that is cannot be used.
    """
    for draft in proposed.drafts:
        for need in draft.needs:
            for signer in signing(draft.role, Role(list(need.key_ids), need.threshold)):
                roles.add_signature(draft.metadata, signer)
    return judge(base, {draft.role: draft.metadata for draft in proposed.drafts})


def state_after(
    base: Verified, proposed: Proposed, *, signing: Signing, now: datetime, pending: tuple[str, ...] = ()
) -> State:
    """The state in which a proposal that has all its signatures is live, with a new snapshot and timestamp.

    Args:
        base: verified.
        proposed: complete.
        signing: gives the signers of snapshot and timestamp, under the root that is new with it.
        now: UTC.
        pending: see :func:`next_state`.
    """
    roots, root, new = list(base.state.roots), base.root, proposed.files()
    for draft in proposed.drafts:
        if isinstance(draft.metadata.signed, Root):
            root = draft.metadata.signed
            roots.append(new.pop(Root.type)[1])
    terms = Terms.parse(root.unrecognized_fields[EXTENSION])
    files = {name: (int(old.version), base.state.role(name)) for name, old in base.targets.items()} | new
    for name in proposed.removed:
        files.pop(name, None)
    version, snapshot_version, gone = _onwards(base, root, files)
    snapshot = roles.make_snapshot(snapshot_version, files, terms, now)
    snapshot.meta = gone | snapshot.meta  # a removed role keeps its last version (rule 6)
    place = _Place(
        version,
        terms,
        parents=(base.identity,),
        covers=_covers(base, version),
        pending=tuple(dict.fromkeys(base.links.pending + pending)),
    )
    return _finish(roots, root, files, snapshot, place, signing, now)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a state stands in the graph of states."""

    version: int
    terms: Terms
    parents: tuple[str, ...] = ()
    covers: tuple[tuple[str, int], ...] = ()
    pending: tuple[str, ...] = ()


def _finish(  # noqa: PLR0917 - one value a file of the state
    roots: Sequence[bytes],
    root: Root,
    files: Mapping[str, tuple[int, bytes]],
    snapshot: Snapshot,
    place: _Place,
    signing: Signing,
    now: datetime,
) -> State:
    signed_snapshot = roles.sign(snapshot, signing("snapshot", root.roles["snapshot"]))
    links = Links(
        place.terms.repository,
        int(root.version),
        Digest.of(roots[-1]).hex,
        place.parents,
        place.covers,
        place.pending,
    )
    timestamp = roles.make_timestamp(place.version, int(snapshot.version), signed_snapshot, links, place.terms, now)
    signed_timestamp = roles.sign(timestamp, signing("timestamp", root.roles["timestamp"]))
    return roles.assemble(roots, files, (int(snapshot.version), signed_snapshot), signed_timestamp)


def _onwards(base: Verified, root: Root, files: Container[str]) -> tuple[int, int, dict[str, MetaFile]]:
    """The next versions of timestamp and snapshot, and the snapshot's entries so far.

    Where a publishing key leaves, nothing that it signed binds anybody (TUF spec 5.3.11; trust.memory). Versions
    that it may have fast-forwarded start again above the last ancestor that has an honest one, and entries of
    roles that are not there are kept at honest versions alone.

    Raises:
        UnsignedError: no version is left.
    """
    version, snapshot, meta = base.version, int(base.snapshot.version), dict(base.snapshot.meta)
    if publisher_left(base.root, root):
        if version >= FAST_FORWARDED:
            version = max((number for _, number in base.links.covers if number < FAST_FORWARDED), default=0)
        if snapshot >= FAST_FORWARDED:
            snapshot = version
        meta = {
            name: entry
            for name, entry in meta.items()
            if name.removesuffix(".json") in files or int(entry.version) < FAST_FORWARDED
        }
    if max(version, snapshot) >= strictjson.MAX_INTEGER:
        raise UnsignedError(
            f"there is no version above {max(version, snapshot)}: somebody who holds a publishing key has used them up",
            hint="rotate the keys of snapshot and timestamp: dockseal key rotate REPO snapshot --remove-key KEY",
        )
    return version + 1, snapshot + 1, meta


def publisher_left(before: Root, after: Root) -> bool:
    """Whether a key lost its say in snapshot or timestamp (TUF spec 5.3.11)."""
    return any(set(before.roles[name].keyids) - set(after.roles[name].keyids) for name in PUBLISHING_ROLES)


def _covers(base: Verified, version: int) -> tuple[tuple[str, int], ...]:
    """All ancestors of the last 64 versions, newest first."""
    ancestors = {base.identity: base.version} | dict(base.links.covers)
    return tuple((name, number) for name, number in ancestors.items() if number > version - COVERED_VERSIONS - 1)
