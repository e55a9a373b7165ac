"""Role files in the making: bytes out, signed by the signers that are handed in. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Timestamp
from tuf.api.serialization.json import JSONSerializer

from trust.digest import Digest
from trust.errors import DocksealError, KeyUnavailableError, TamperedError
from trust.tuf.state import EXTENSION, MAX_BINS, TIMESTAMP_FILE, State, digest_of, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from securesystemslib.signer import Key, Signer
    from tuf.api.metadata import SuccinctRoles, T, Targets

    from trust.tuf.state import Far, Links, Terms

TOP_LEVEL_ROLES = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who signs a role: public keys and how many of them must."""

    keys: tuple[Key, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """What a tag is signed to mean.

    ``length`` is the manifest's size in bytes, ``signed_at`` UTC.
    """

    tag: str
    digest: Digest
    length: int
    media_type: str
    signed_at: datetime
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, file: TargetFile) -> Self:
        """From a TARGETS object that :meth:`to_file` made; what it lacks is empty, or of the earliest time."""
        custom = file.custom if isinstance(file.custom, dict) else {}
        annotations = custom.get("annotations")
        return cls(
            file.path,
            signed_digest(file),
            int(file.length),
            str(custom.get("mediaType", "")),
            signed_at(file) or datetime.min.replace(tzinfo=UTC),
            dict(annotations) if isinstance(annotations, dict) else {},
        )

    def to_file(self) -> TargetFile:
        """As TUF's TARGETS object (spec 4.5)."""
        custom = {
            "mediaType": self.media_type,
            "signedAt": rfc3339(self.signed_at),
            "annotations": dict(self.annotations),
        }
        return TargetFile(self.length, {"sha256": self.digest.hex}, self.tag, {"custom": custom})


def signed_digest(file: TargetFile) -> Digest:
    """The manifest's digest that a TARGETS object of a verified role gives its tag (rule 8 sees that it has one)."""
    return Digest.from_hex(str(file.hashes["sha256"]))


def signed_at(file: TargetFile) -> datetime | None:
    """When a tag was signed, UTC; None where the TARGETS object does not say."""
    custom = file.custom if isinstance(file.custom, dict) else {}
    return parse_rfc3339(str(custom.get("signedAt")))


def role_of(name: str, root: Root, targets: Mapping[str, Targets]) -> Role:
    """Who signs a role, top-level or delegated.

    Raises:
        KeyError: there is no such role.
    """
    if name in root.roles:
        return root.roles[name]
    for parent in targets.values():
        delegations = parent.delegations
        if delegations is None:
            continue
        if delegations.roles is not None and name in delegations.roles:
            return delegations.roles[name]
        if delegations.succinct_roles is not None and delegations.succinct_roles.is_delegated_role(name):
            return delegations.succinct_roles
    raise KeyError(name)


def delegator_of(name: str, root: Root, targets: Mapping[str, Targets]) -> Root | Targets:
    """Who says who signs a role.

    Raises:
        KeyError: there is no such role.
    """
    if name in root.roles:
        return root
    for parent in targets.values():
        if name in delegated_names(parent):
            return parent
    raise KeyError(name)


def delegated_names(payload: Targets) -> tuple[str, ...]:
    """The roles that a targets file delegates to.

    Raises:
        TamperedError: it has more hash bins than a state can hold.
    """
    delegations = payload.delegations
    if delegations is None:
        return ()
    if delegations.succinct_roles is not None:
        if delegations.succinct_roles.number_of_bins > MAX_BINS:  # 2^32 names would fill the memory
            raise TamperedError(f"{delegations.succinct_roles.number_of_bins} bins: expected at most {MAX_BINS}")
        return tuple(delegations.succinct_roles.get_roles())
    return tuple(delegations.roles or ())


def bins_of(payload: Targets) -> SuccinctRoles | None:
    """The hash bins that a role puts its tags into; None where it has none."""
    return None if payload.delegations is None else payload.delegations.succinct_roles


def keys_of(delegator: Root | Targets) -> Mapping[str, Key]:
    """The keys that a delegator names, by id."""
    if isinstance(delegator, Root):
        return delegator.keys
    return {} if delegator.delegations is None else delegator.delegations.keys


def succinct(payload: Targets) -> SuccinctRoles:
    """The hash bins of a role that has some."""
    found = bins_of(payload)
    assert found is not None  # noqa: S101 - the caller has put them there
    return found


def rfc3339(moment: datetime) -> str:
    """``2026-11-24T09:30:00Z``: RFC 3339, UTC, whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def parse_rfc3339(text: str) -> datetime | None:
    """The time that :func:`rfc3339` wrote, or None where it is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def expiry(terms: Terms, role: str, now: datetime) -> datetime:
    """When a role file that is signed now expires; whole seconds, as TUF wants them."""
    return now.replace(microsecond=0) + timedelta(days=terms.period(role).expires_days)


def make_root(terms: Terms, roles: Mapping[str, RoleKeys], now: datetime) -> Root:
    """Version 1 of a root, unsigned."""
    keys = {key.keyid: key for role in roles.values() for key in role.keys}
    root_roles = {name: Role([key.keyid for key in role.keys], role.threshold) for name, role in roles.items()}
    return Root(
        version=1,
        expires=expiry(terms, "root", now),
        keys=keys,
        roles=root_roles,
        consistent_snapshot=True,
        unrecognized_fields={EXTENSION: terms.to_json()},
    )


def make_snapshot(
    version: int, targets: Mapping[str, tuple[int, bytes | Far]], terms: Terms, now: datetime
) -> Snapshot:
    """A snapshot that binds each targets file (role -> version, file) by length and sha256, unsigned."""
    meta = {f"{role}.json": meta_of(number, data) for role, (number, data) in targets.items()}
    return Snapshot(version=version, expires=expiry(terms, "snapshot", now), meta=meta)


def make_timestamp(  # noqa: PLR0917 - one value a field of the file
    version: int, snapshot_version: int, snapshot: bytes, links: Links, terms: Terms, now: datetime
) -> Timestamp:
    """A timestamp that binds the snapshot by length and sha256, unsigned."""
    return Timestamp(
        version=version,
        expires=expiry(terms, "timestamp", now),
        snapshot_meta=meta_of(snapshot_version, snapshot),
        unrecognized_fields={EXTENSION: links.to_json()},
    )


def meta_of(version: int, data: bytes | Far) -> MetaFile:
    """The METAFILES entry of a role file (spec 4.4)."""
    return MetaFile(version, size_of(data), {"sha256": digest_of(data).hex})


def sign(signed: T, signers: Sequence[Signer]) -> bytes:
    """The role file: compact JSON, signed by all of ``signers``.

    Raises:
        KeyUnavailableError: a key cannot sign.
    """
    metadata = Metadata(signed)
    for signer in signers:
        add_signature(metadata, signer)
    return metadata.to_bytes(JSONSerializer(compact=True))


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign, with our own error where python-tuf wraps it.

    Raises:
        KeyUnavailableError: the key cannot sign.
    """
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, DocksealError) else KeyUnavailableError(str(error)) from error


def assemble(
    roots: Sequence[bytes],
    targets: Mapping[str, tuple[int, bytes | Far]],
    snapshot: tuple[int, bytes],
    timestamp: bytes,
) -> State:
    """The state that these role files make."""
    files: list[tuple[str, bytes | Far]] = [(f"{number}.root.json", data) for number, data in enumerate(roots, start=1)]
    files += [(f"{version}.{role}.json", data) for role, (version, data) in targets.items()]
    files += [(f"{snapshot[0]}.snapshot.json", snapshot[1]), (TIMESTAMP_FILE, timestamp)]
    return State.of(files)
