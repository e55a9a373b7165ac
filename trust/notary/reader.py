"""Reading a repository from a Notary server or from docker's folder, from what this machine knows of it.

No answer is ever taken from what was seen before: that serves to notice that something has fallen back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from trust.errors import RollbackError, TamperedError, UnsignedError, UntrustedRootError
from trust.notary import chain
from trust.notary.model import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Delegation, File, Meta, Root, Snapshot, Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from trust.errors import DocksealError
    from trust.notary.chain import Repository
    from trust.notary.publickeys import PublicKey

    Accepts = Callable[[File[Root]], bool]
    """Asked about a root where none is known: whether it is to be trusted."""

MAX_ROOTS = 1024
"""Rotations that are followed in one run."""
MAX_DELEGATIONS = 1024


class Source(Protocol):
    """Where role files come from."""

    @property
    def name(self) -> str:
        """What people call it, for errors."""
        ...

    def get(self, role: str, *, version: int | None = None, meta: Meta | None = None) -> bytes | None:
        """A role file, or None where there is none.

        Args:
            role: which.
            version: of a root; None is the newest.
            meta: the one with this content; None is the current one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What this machine has trusted of a repository: its newest root, and the version of every role."""

    root: File[Root]
    versions: Mapping[str, int] = field(default_factory=dict)


def read(source: Source, gun: str, seen: Seen | None, accepts: Accepts, now: datetime | None) -> Repository:
    """Read and verify a repository.

    Args:
        source: where it is.
        gun: its name.
        seen: what is known; its root is where trust starts.
        accepts: asked about the root where nothing is known.
        now: UTC; None looks past expiry: for a takeover from a folder, and for publishers, who sign anew.

    Raises:
        UnsignedError: there is no trust data.
        RollbackError: there is none any more, or it is older than what was seen.
        UntrustedRootError, TamperedError, ExpiredError: the verdict.
        UnreachableError: it could not be read.
    """
    data = source.get(ROOT)
    if data is None:
        raise nothing_there(source, gun, seen)
    try:
        return _read(source, gun, data, seen, accepts, now)
    except TamperedError:
        newer = source.get(ROOT)  # the root may have been rotated while the rest was read
        if newer is None or newer == data:
            raise
        return _read(source, gun, newer, seen, accepts, now)


def _read(  # noqa: PLR0917 - what read() was asked, and the root
    source: Source, gun: str, data: bytes, seen: Seen | None, accepts: Accepts, now: datetime | None
) -> Repository:
    root = _trusted_root(source, gun, data, seen, accepts)
    chain.check_root(root, gun, now)
    timestamp = chain.read_timestamp(root, _need(source, gun, TIMESTAMP), now)
    listed = timestamp.payload.meta[SNAPSHOT]
    snapshot = chain.read_snapshot(root, timestamp, _need(source, gun, SNAPSHOT, listed), now)
    top = chain.read_targets(root, snapshot, _need(source, gun, TARGETS, snapshot.payload.meta[TARGETS]), now)
    found = _Delegated(source, gun, snapshot, now)
    found.walk(TARGETS, top, None)
    repository = chain.Repository(
        gun, root, timestamp, snapshot, {TARGETS: top, **found.files}, found.delegations, found.keys, found.skipped
    )
    if seen is not None:
        chain.check_not_older(repository, seen.versions)
    return repository


def nothing_there(source: Source, gun: str, seen: Seen | None) -> UnsignedError | RollbackError:
    """The verdict where a source has no root."""
    if seen is not None:
        return RollbackError(
            f"{source.name} holds no trust data of {gun} any more: this machine knows a root of it",
            hint="if it was removed there on purpose, remove what is known of it: in DOCKSEAL_HOME/cache/notary, and "
            f"docker's in ~/.docker/trust/tuf/{gun}",
        )
    return UnsignedError(
        f"{source.name} holds no trust data of {gun}", hint="`dockseal notary publish NAME` begins a repository there"
    )


def describe_root(root: File[Root]) -> str:
    """A root as people compare it: the ids of its keys and certificates, and the file's sha256."""
    payload = root.payload
    keys = [payload.keys[key_id] for key_id in payload.roles[ROOT].key_ids if key_id in payload.keys]
    shown = ", ".join(f"key {key.canonical_id} with the certificate {key.key_id}" for key in keys)
    return f"version {payload.version}, {shown}, file sha256:{root.meta().sha256.hex()}"


def _trusted_root(source: Source, gun: str, data: bytes, seen: Seen | None, accepts: Accepts) -> File[Root]:
    if seen is None:
        root = chain.read_root(data)
        if not accepts(root):
            raise UntrustedRootError(
                f"no root of {gun} at {source.name} is known here: it offers {describe_root(root)}",
                hint="compare it with what its owner says (`notary key list` shows the key, `docker trust inspect` the "
                "certificate), then pass --trust-on-first-use, or name a root file with --root",
            )
        return root
    trusted, newest = seen.root, chain.read_root(data).payload.version
    if newest - trusted.payload.version > MAX_ROOTS:
        raise TamperedError(
            f"root.json has version {newest}: at most {MAX_ROOTS} after {trusted.payload.version} count"
        )
    for version in range(trusted.payload.version + 1, newest):  # a newer root comes first: it may replace what expired
        between = source.get(ROOT, version=version)
        if between is None:
            raise chain.missing(f"{version}.root.json", gun)
        trusted = chain.follow_root(trusted, between)
    return chain.follow_root(trusted, data)


def _need(source: Source, gun: str, role: str, meta: Meta | None = None) -> bytes:
    data = source.get(role, meta=meta)
    if data is None:
        raise chain.missing(f"{role}.json", gun)
    return data


@dataclass(slots=True)
class _Delegated:
    """The delegated roles, parents first."""

    source: Source
    gun: str
    snapshot: File[Snapshot]
    now: datetime | None
    files: dict[str, File[Targets]] = field(default_factory=dict)
    delegations: dict[str, Delegation] = field(default_factory=dict)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    skipped: dict[str, DocksealError] = field(default_factory=dict)

    def walk(self, name: str, targets: File[Targets], own: Delegation | None) -> None:
        self.keys.update(targets.payload.keys)
        for item in chain.delegated(name, targets, own):
            if len(self.delegations) >= MAX_DELEGATIONS:
                raise TamperedError(f"{self.gun} has more than {MAX_DELEGATIONS} delegations")
            self.delegations[item.name] = item
            meta = self.snapshot.payload.meta.get(item.name)
            if meta is None:  # a delegation whose first file was never published
                continue
            data = _need(self.source, self.gun, item.name, meta)
            found, problem = chain.read_delegation(item, targets.payload.keys, self.snapshot, data, self.now)
            if problem is not None:
                self.skipped[item.name] = problem
                continue
            self.files[item.name] = found
            self.walk(item.name, found, item)
