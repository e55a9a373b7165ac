"""The next state: what changes, in which role, and the files that follow from it. Pure but for signing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

from tuf.api.metadata import MetaFile, Role, Root, Targets

from trust import strictjson
from trust.digest import Digest
from trust.errors import UnsignedError
from trust.tuf import bins, roles
from trust.tuf.edits import PUBLISHING_ROLES, change_tags
from trust.tuf.proposed import Proposed, judge, propose
from trust.tuf.state import COVERED_VERSIONS, EXTENSION, FAST_FORWARDED, Links, State, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer

    from trust.tuf.roles import RoleKeys, Target
    from trust.tuf.state import Far
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


def first_state(  # noqa: PLR0917 - what a repository begins with
    terms: Terms,
    keys: Mapping[str, RoleKeys],
    targets: Iterable[Target],
    signing: Signing,
    now: datetime,
    count: int = 0,
) -> State:
    """Version 1 of everything; ``targets`` has as many hash bins as ``count`` says."""
    root = roles.make_root(terms, keys, now)
    signed_root = roles.sign(root, signing("root", root.roles["root"]))
    top = Targets(
        version=1,
        expires=roles.expiry(terms, "targets", now),
        targets={target.tag: target.to_file() for target in targets},
    )
    signers = signing("targets", root.roles["targets"])
    payloads: dict[str, Targets] = {}
    if count:
        tags, top.targets = top.targets, {}
        top.delegations = bins.delegation(Targets.type, root.roles["targets"], root.keys, count)
        payloads = bins.filled(roles.succinct(top), tags, {}, bins.bin_expiry(now))
    empty = b""
    files: dict[str, tuple[int, bytes | Far]] = {Targets.type: (1, roles.sign(top, signers))}
    for name, payload in payloads.items():
        if not payload.targets and not empty:
            empty = roles.sign(payload, signers)  # all empty bins are one file
        files[name] = (1, roles.sign(payload, signers) if payload.targets else empty)
    return state_on(Ground((signed_root,), root, files), signing=signing, now=now)


def next_state(
    base: Verified, change: Change, *, signing: Signing, now: datetime, twins: Sequence[Verified] = ()
) -> State:
    """The state after ``base``, one version on.

    Args:
        base: verified.
        change: an empty one makes a new snapshot and timestamp alone.
        signing: gives the signers of each role that is written.
        now: UTC.
        twins: states that say the same as the base, and are covered with it.
    """
    put = {role: [target.to_file() for target in targets] for role, targets in change.put.items()}
    edit = change_tags(base, put, change.drop, change.renew, now)
    proposed = sign_fully(propose(base, edit), base, signing)
    return state_after(base, proposed, signing=signing, now=now, twins=twins)


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
    base: Verified, proposed: Proposed, *, signing: Signing, now: datetime, twins: Sequence[Verified] = ()
) -> State:
    """The state in which a proposal that has all its signatures is live, with a new snapshot and timestamp.

    Args:
        base: verified.
        proposed: complete.
        signing: gives the signers of snapshot and timestamp, under the root that is new with it.
        now: UTC.
        twins: see :func:`next_state`.
    """
    return state_on(Ground.of(base, twins).with_proposed(proposed), signing=signing, now=now)


@dataclass(frozen=True, slots=True)
class Ground:
    """All of a state but its snapshot and timestamp: what the next state is built on.

    ``files`` holds version and bytes by role, ``meta`` the snapshot entries that must not be lost or undercut;
    ``version`` and ``snapshot_version`` are those of the state that came before. The rest is its place in the
    graph of states (:class:`trust.tuf.state.Links`).
    """

    roots: tuple[bytes, ...]
    root: Root
    files: Mapping[str, tuple[int, bytes | Far]]
    meta: Mapping[str, MetaFile] = field(default_factory=dict)
    version: int = 0
    snapshot_version: int = 0
    parents: tuple[str, ...] = ()
    covers: tuple[tuple[str, int], ...] = ()
    pending: tuple[str, ...] = ()

    @classmethod
    def of(cls, base: Verified, twins: Sequence[Verified] = ()) -> Self:
        """The ground that one state gives, with its twins."""
        ground = cls(
            roots=base.state.roots,
            root=base.root,
            files={name: file_of(base, name) for name in base.names},
            meta=dict(base.snapshot.meta),
            version=base.version,
            snapshot_version=int(base.snapshot.version),
            parents=(base.identity,),
            covers=((base.identity, base.version), *base.links.covers),
            pending=base.links.pending,
        )
        return ground.with_twins(twins)

    def with_twins(self, twins: Sequence[Verified]) -> Self:
        """With states that say the same: they are covered, with all that they cover, and what waits there waits."""
        covers, pending = dict(self.covers), dict.fromkeys(self.pending)
        for twin in twins:
            covers |= {twin.identity: twin.version} | dict(twin.links.covers)
            pending |= dict.fromkeys(twin.links.pending)
        return replace(
            self,
            snapshot_version=max(self.snapshot_version, *(int(twin.snapshot.version) for twin in twins), 0),
            covers=tuple(sorted(covers.items(), key=lambda item: (-item[1], item[0]))),
            pending=tuple(item for item in pending if item not in covers),
        )

    def with_proposed(self, proposed: Proposed) -> Self:
        """With the files of a proposal that has all its signatures."""
        roots, root, new = self.roots, self.root, proposed.files()
        if proposed.root is not None:
            root, roots = proposed.root, (*roots, new.pop(Root.type)[1])
        files = {**self.files, **new}
        files = {name: file for name, file in files.items() if name not in proposed.removed}
        ground = replace(self, roots=roots, root=root, files=files)
        return ground.started_again() if publisher_left(self.root, root) else ground

    def started_again(self) -> Self:
        """Where a publishing key leaves, nothing that it signed binds anybody (TUF spec 5.3.11; trust.memory).

        Versions that it may have fast-forwarded start again above the last ancestor that has an honest one, and
        entries of roles that are not there are kept at honest versions alone.
        """
        version, snapshot = self.version, self.snapshot_version
        if version >= FAST_FORWARDED:
            version = max((number for _, number in self.covers if number < FAST_FORWARDED), default=0)
        if snapshot >= FAST_FORWARDED:
            snapshot = version
        meta = {
            name: entry
            for name, entry in self.meta.items()
            if name.removesuffix(".json") in self.files or int(entry.version) < FAST_FORWARDED
        }
        return replace(self, version=version, snapshot_version=snapshot, meta=meta)


def file_of(state: Verified, name: str) -> tuple[int, bytes | Far]:
    """Version and file of a role or a hash bin, as it goes into another state."""
    return state.state.versions[name], state.state.files.entry(state.state.names[name])


def state_on(ground: Ground, *, signing: Signing, now: datetime) -> State:
    """The state that a ground makes, with a new snapshot and timestamp.

    A removed role keeps its last version in the snapshot (rule 6).

    Raises:
        UnsignedError: no version is left.
    """
    last = max(ground.version, ground.snapshot_version)
    if last >= strictjson.MAX_INTEGER:
        raise UnsignedError(
            f"there is no version above {last}: somebody who holds a publishing key has used them up",
            hint="rotate the keys of snapshot and timestamp: dockseal key rotate REPO snapshot --remove-key KEY",
        )
    root, terms = ground.root, Terms.parse(ground.root.unrecognized_fields[EXTENSION])
    snapshot = roles.make_snapshot(ground.snapshot_version + 1, ground.files, terms, now)
    snapshot.meta = dict(ground.meta) | snapshot.meta
    signed_snapshot = roles.sign(snapshot, signing("snapshot", root.roles["snapshot"]))
    version = ground.version + 1
    links = Links(
        terms.repository,
        int(root.version),
        Digest.of(ground.roots[-1]).hex,
        ground.parents,
        tuple(item for item in ground.covers if item[1] >= version - COVERED_VERSIONS or item[0] in ground.parents),
        ground.pending,
    )
    timestamp = roles.make_timestamp(version, int(snapshot.version), signed_snapshot, links, terms, now)
    signed_timestamp = roles.sign(timestamp, signing("timestamp", root.roles["timestamp"]))
    return roles.assemble(ground.roots, ground.files, (int(snapshot.version), signed_snapshot), signed_timestamp)


def publisher_left(before: Root, after: Root) -> bool:
    """Whether a key lost its say in snapshot or timestamp (TUF spec 5.3.11)."""
    return any(set(before.roles[name].keyids) - set(after.roles[name].keyids) for name in PUBLISHING_ROLES)
