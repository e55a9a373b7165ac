"""What is trusted, step by step from a root to a tag. Bytes in, judgements out: no I/O, no clock.

The order is TUF's (root, timestamp, snapshot, targets, delegations), the rules are notary's (client/tufclient.go,
trustpinning/certs.go), with what it leaves open closed: a file must be what the one above it lists by length and
sha256; a version never falls within a chain; one key under two certificates signs once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import (
    DocksealError,
    ExpiredError,
    RollbackError,
    TamperedError,
    UnsignedError,
    UntrustedRootError,
)
from trust.notary.codec import decode
from trust.notary.model import (
    RELEASES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Delegation,
    File,
    Meta,
    P,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
    parent_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from trust.notary.publickeys import PublicKey

_BEGUN_ANEW = "if the repository was begun anew, ask its owner for the new root, and give it with --root FILE"


@dataclass(frozen=True, slots=True)
class Found:
    """What a tag is signed to mean, and the role that says so."""

    tag: str
    meta: Meta
    role: str


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository whose every file has verified.

    ``targets`` holds the file of each role; ``skipped`` why the file of a delegation does not count (expired, not
    signed by enough of its keys), as notary skips it. ``delegations`` are those that the files name.
    """

    gun: str
    root: File[Root]
    timestamp: File[Timestamp]
    snapshot: File[Snapshot]
    targets: Mapping[str, File[Targets]]
    delegations: Mapping[str, Delegation] = field(default_factory=dict)
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    skipped: Mapping[str, DocksealError] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, int]:
        """The version of every role."""
        top = {
            ROOT: self.root.payload.version,
            TIMESTAMP: self.timestamp.payload.version,
            SNAPSHOT: self.snapshot.payload.version,
        }
        return top | {name: item.payload.version for name, item in self.targets.items()}

    @property
    def expiry(self) -> dict[str, datetime]:
        """When each role's file expires, UTC."""
        top = {ROOT: self.root.expires, TIMESTAMP: self.timestamp.expires, SNAPSHOT: self.snapshot.expires}
        return top | {name: item.expires for name, item in self.targets.items()}

    def lookup(self, tag: str) -> Found | None:
        """What docker takes a tag to mean: in ``targets/releases``, else in ``targets``; other roles do not count.

        Raises:
            ExpiredError, TamperedError: ``targets/releases`` does not count, so that an older ``targets`` could
                answer in its place.
        """
        if RELEASES in self.skipped:
            raise self.skipped[RELEASES]
        for role in (RELEASES, TARGETS):
            meta = self.signed_by(role).get(tag)
            if meta is not None:
                return Found(tag, meta, role)
        return None

    def trusted_tag(self, tag: str) -> Found:
        """Like :meth:`lookup`, for a tag that must be there.

        Raises:
            UnsignedError: it is not signed.
        """
        found = self.lookup(tag)
        if found is None:
            others = [role for role in self.targets if tag in self.signed_by(role)]
            said = f"; docker heeds no signature of {', '.join(others)} alone" if others else ""
            raise UnsignedError(
                f"the tag {tag!r} of {self.gun} is not signed there{said}", hint="dockseal notary inspect NAME"
            )
        return found

    def tags(self) -> tuple[Found, ...]:
        """Everything that :meth:`lookup` would find, by name."""
        names = {name for role in (RELEASES, TARGETS) for name in self.signed_by(role)}
        return tuple(found for name in sorted(names) if (found := self.lookup(name)) is not None)

    def signed_by(self, role: str) -> dict[str, Meta]:
        """The tags of a role that its prefixes cover; nothing where its file does not count."""
        item = self.targets.get(role)
        if item is None:
            return {}
        delegation = self.delegations.get(role)
        return {
            name: meta for name, meta in item.payload.targets.items() if delegation is None or delegation.may_sign(name)
        }

    def signing_keys(self) -> tuple[tuple[str, PublicKey], ...]:
        """The keys that sign here, each once with a role: not those of snapshot and timestamp, which servers hold.

        A signer's key is its own delegation's, and not that of ``targets/releases``.
        """
        payload = self.root.payload
        keys = {**payload.keys, **self.keys}
        roles = {name: payload.roles[name] for name in (ROOT, TARGETS)}
        roles |= {name: item.role for name, item in self.delegations.items()}
        found: dict[str, tuple[str, PublicKey]] = {}
        for name in sorted(roles, key=lambda name: name == RELEASES):  # that one last
            for key_id in roles[name].key_ids:
                if key_id in keys:
                    found.setdefault(keys[key_id].canonical_id, (name, keys[key_id]))
        return tuple(found.values())

    def signers_of(self, tag: str) -> tuple[str, ...]:
        """The roles that sign for a tag what docker takes it to mean."""
        found = self.lookup(tag)
        return tuple(
            role
            for role in self.targets
            if found is not None and found.meta.same_content(self.signed_by(role).get(tag))
        )


def read_root(data: bytes, what: str = "root.json") -> File[Root]:
    """A root, signed by its own keys; whether it is to be trusted is another question.

    Raises:
        TamperedError: it is malformed, or not signed.
    """
    root = decode(data, Root, what)
    check_signed(root, root.payload.roles[ROOT], root.payload.keys, what)
    return root


def follow_root(trusted: File[Root], data: bytes) -> File[Root]:
    """The next root after one that is trusted, whose keys and its own must have signed it.

    Raises:
        RollbackError: it is no later one.
        TamperedError: it is malformed or not signed as it must be, or versions are left out.
    """
    before, what = trusted.payload, "root.json"
    after = decode(data, Root, what)
    version = after.payload.version
    if version == before.version:
        if after.message != trusted.message:
            raise TamperedError(f"root {version} is another one than the trusted root {version}", hint=_BEGUN_ANEW)
        check_signed(after, before.roles[ROOT], before.keys, what)
        return after  # it may have been signed again, and the snapshot lists those bytes
    if version < before.version:
        raise RollbackError(f"root.json has version {version}: version {before.version} is known already")
    if version > before.version + 1:
        raise TamperedError(f"root {version} does not follow root {before.version}: expected {before.version + 1}")
    try:
        check_signed(after, before.roles[ROOT], before.keys, what)
    except TamperedError as error:
        raise UntrustedRootError(
            f"root {version} is not signed by the keys of the trusted root {before.version}",
            hint=_BEGUN_ANEW,
        ) from error
    check_signed(after, after.payload.roles[ROOT], after.payload.keys, what)
    return after


def same_line(one: Root, other: Root) -> bool:
    """Whether one of two roots may descend from the other: replaced root certificates stay among the keys."""
    return any(set(newer.keys).intersection(older.roles[ROOT].key_ids) for newer, older in ((one, other), (other, one)))


def check_root(root: File[Root], gun: str, now: datetime | None) -> None:
    """Judge the newest root: its certificates, and its age. None for ``now`` looks past both ages.

    Raises:
        UntrustedRootError: it is for another repository.
        ExpiredError: it, or every certificate that signed it, has expired.
        TamperedError: its certificates are malformed.
    """
    keys, role = root.payload.keys, root.payload.roles[ROOT]
    good: dict[str, PublicKey] = {}
    problem: DocksealError | None = None
    for key_id in role.key_ids:
        if key_id in keys:
            leaf_now = now if now is not None or not keys[key_id].is_certificate else _within(keys[key_id])
            try:
                keys[key_id].check_valid_for(gun, leaf_now or root.expires)
            except DocksealError as error:
                problem = problem or error
            else:
                good[key_id] = keys[key_id]
    try:
        check_signed(root, role, good, "root.json")
    except TamperedError as error:
        raise problem or error from error
    check_fresh(root, "root.json", now)


def read_timestamp(root: File[Root], data: bytes, now: datetime | None) -> File[Timestamp]:
    """The timestamp, which says what is current.

    Raises:
        TamperedError: it is malformed, or not signed.
        ExpiredError: it has expired.
    """
    return _read(root, data, Timestamp, TIMESTAMP, now)


def read_snapshot(root: File[Root], timestamp: File[Timestamp], data: bytes, now: datetime | None) -> File[Snapshot]:
    """The snapshot that the timestamp names. It must name the root.

    Raises:
        TamperedError: as :func:`read_timestamp`; or it is another one, or names another root.
        ExpiredError: it has expired.
    """
    check_content(data, timestamp.payload.meta[SNAPSHOT], "snapshot.json")
    snapshot = _read(root, data, Snapshot, SNAPSHOT, now)
    check_content(root.raw, snapshot.payload.meta[ROOT], "root.json")
    return snapshot


def read_targets(root: File[Root], snapshot: File[Snapshot], data: bytes, now: datetime | None) -> File[Targets]:
    """The ``targets`` that the snapshot names.

    Raises:
        TamperedError, ExpiredError: as :func:`read_snapshot`.
    """
    check_content(data, snapshot.payload.meta[TARGETS], "targets.json")
    return _read(root, data, Targets, TARGETS, now)


def read_delegation(
    delegation: Delegation, keys: Mapping[str, PublicKey], snapshot: File[Snapshot], data: bytes, now: datetime | None
) -> tuple[File[Targets], DocksealError | None]:
    """A delegated role's file, and why it does not count where notary would skip it.

    Raises:
        TamperedError: it is not what the snapshot names, or malformed.
    """
    what = f"{delegation.name}.json"
    check_content(data, snapshot.payload.meta[delegation.name], what)
    found = decode(data, Targets, what)
    try:
        check_signed(found, delegation.role, keys, what)
        check_fresh(found, what, now)
    except (TamperedError, ExpiredError) as error:
        return found, error
    return found, None


def delegated(name: str, targets: File[Targets], own: Delegation | None) -> Iterator[Delegation]:
    """The direct children of a role; each may sign no more than its parent.

    Args:
        name: of the role.
        targets: its file.
        own: its own delegation; None for ``targets``, which may sign everything.
    """
    for item in targets.payload.delegations:
        if parent_of(item.name) != name:
            continue  # notary ignores those, too
        paths = item.paths if own is None else tuple(path for path in item.paths if own.may_sign(path))
        yield Delegation(item.name, item.role, paths)


def check_signed(file: File[P], role: Role, keys: Mapping[str, PublicKey], what: str) -> None:
    """Whether enough different keys of a role have signed.

    Raises:
        TamperedError: they have not.
    """
    signed = set()
    for item in file.signatures:
        key = keys.get(item.key_id) if item.key_id in role.key_ids else None
        if key is not None and key.verifies(file.message, item.method, item.sig):
            signed.add(key.canonical_id)
    if len(signed) < role.threshold:
        raise TamperedError(
            f"{what} is not signed by its role: {role.threshold} good signature(s) of its keys were expected, "
            f"{len(signed)} found"
        )


def check_fresh(file: File[P], what: str, now: datetime | None) -> None:
    """Whether a file still counts; None for ``now`` does not ask.

    Raises:
        ExpiredError: it does not.
    """
    if now is not None and now >= file.expires:
        raise ExpiredError(
            f"{what} expired {file.expires:%Y-%m-%dT%H:%M:%SZ}: what is there may be out of date",
            hint="whoever publishes there signs it anew",
        )


def check_content(data: bytes, meta: Meta, what: str) -> None:
    """Whether bytes are those that are listed.

    Raises:
        TamperedError: they are not.
    """
    if len(data) != meta.length:
        raise TamperedError(f"{what} has {len(data)} bytes: {meta.length} are signed")
    for algorithm, expected in meta.hashes.items():
        if hashlib.new(algorithm, data).digest() != expected:
            raise TamperedError(f"{what} is not the file that is signed: its {algorithm} differs")


def check_not_older(repository: Repository, seen: Mapping[str, int]) -> None:
    """Compare with what was seen before. A delegation that is gone was removed, which its parent says.

    Raises:
        RollbackError: a role has fallen back, or the file of a delegation that is still there is gone.
    """
    versions = repository.versions
    for role, known in seen.items():
        if role not in versions and (role not in repository.delegations or role in repository.skipped):
            continue
        if versions.get(role, 0) < known:
            raise RollbackError(
                f"{role} is at version {versions.get(role, 'none')} there: this machine has seen version {known}",
                hint="the server, or somebody on the way, serves old data; if a delegation was removed and added "
                "again, remove what is known of it in DOCKSEAL_HOME/cache/notary",
            )


def missing(name: str, gun: str) -> TamperedError:
    """A file that should be there is not."""
    return TamperedError(f"{name} of {gun} is missing: what is there says that it exists")


def _read(root: File[Root], data: bytes, kind: type[P], name: str, now: datetime | None) -> File[P]:
    what = f"{name}.json"
    found = decode(data, kind, what)
    check_signed(found, root.payload.roles[name], root.payload.keys, what)
    check_fresh(found, what, now)
    return found


def _within(key: PublicKey) -> datetime:
    """A time at which a certificate is valid: its age is not asked for."""
    return key.certificate().not_valid_after_utc
