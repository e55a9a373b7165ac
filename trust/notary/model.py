"""Role files of Notary v1 as values, and the words of their format (notary: tuf/data).

They are older than TUF 1.0: no ``spec_version``, names without ``.json``, no versions beside hashes. A file that was
read keeps its bytes, and its times their spelling, so that it can be passed on as it came.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from trust.errors import TamperedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.notary.publickeys import PublicKey

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
BASE_ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
RELEASES = "targets/releases"
"""The delegation that docker looks a tag up in before it looks into ``targets``."""
MAX_ROLE_NAME = 255

_DELEGATION = re.compile(r"targets(?:/[-a-z0-9_]+)+\Z")
_TIME = re.compile(
    r"(?P<whole>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<part>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)\Z", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Meta:
    """What a name stands for: ``length`` in bytes, raw ``hashes`` by algorithm, ``custom`` any JSON or None."""

    length: int
    hashes: Mapping[str, bytes]
    custom: object = None

    @property
    def sha256(self) -> bytes:
        """The hash that is always there."""
        return self.hashes["sha256"]

    def same_content(self, other: Meta | None) -> bool:
        """Whether both stand for the same bytes."""
        return other is not None and (self.length, self.sha256) == (other.length, other.sha256)


@dataclass(frozen=True, slots=True)
class Role:
    """Who signs: ids of keys and how many of them must."""

    key_ids: tuple[str, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Delegation:
    """A delegated role with the prefixes of the names that it may sign; an empty prefix is all of them."""

    name: str
    role: Role
    paths: tuple[str, ...] = ()

    def may_sign(self, name: str) -> bool:
        """Whether a name begins with one of the prefixes. None of them means none, as notary has it."""
        return any(name.startswith(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Root:
    """Who signs the four top-level roles. ``keys`` by id, those of replaced certificates included."""

    TYPE: ClassVar[str] = "Root"
    version: int
    expires: str
    keys: Mapping[str, PublicKey]
    roles: Mapping[str, Role]
    consistent_snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Targets:
    """What tags mean, and to whom it is delegated; the same for ``targets`` and every delegation."""

    TYPE: ClassVar[str] = "Targets"
    version: int
    expires: str
    targets: Mapping[str, Meta] = field(default_factory=dict)
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    delegations: tuple[Delegation, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files that belong together, by role."""

    TYPE: ClassVar[str] = "Snapshot"
    version: int
    expires: str
    meta: Mapping[str, Meta]


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Which snapshot is current."""

    TYPE: ClassVar[str] = "Timestamp"
    version: int
    expires: str
    meta: Mapping[str, Meta]


Payload = Root | Targets | Snapshot | Timestamp
P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: ``sig`` raw, ``method`` in lower case."""

    key_id: str
    method: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class File(Generic[P]):
    """A role file: what it says, the bytes that were signed, and the file as it is stored."""

    payload: P
    message: bytes
    signatures: tuple[Signature, ...]
    raw: bytes

    @property
    def expires(self) -> datetime:
        """UTC, to the microsecond."""
        return parse_time(self.payload.expires)

    def meta(self) -> Meta:
        """How a snapshot or timestamp lists this file."""
        return meta_of(self.raw)


def meta_of(data: bytes) -> Meta:
    """Length and both hashes of a role file."""
    return Meta(len(data), {"sha256": hashlib.sha256(data).digest(), "sha512": hashlib.sha512(data).digest()})


def parse_time(text: str) -> datetime:
    """RFC 3339 with up to nine decimals, as Go writes it; UTC, cut off after the microsecond.

    Raises:
        TamperedError: it is no such time.
    """
    found = _TIME.match(text)
    try:
        if found is None:
            raise ValueError(text)  # noqa: TRY301 - one way out
        whole = datetime.strptime(found["whole"], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        zone = found["zone"]
        offset = timedelta() if zone == "Z" else timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        part = timedelta(microseconds=int((found["part"] or "0").ljust(6, "0")[:6]))
        return whole + part + (offset if zone[0] == "-" else -offset)
    except (ValueError, OverflowError) as error:
        raise TamperedError(f"{text[:40]!r} is no time: expected RFC 3339") from error


def format_time(moment: datetime) -> str:
    """A time as Go writes it: decimals without trailing zeros."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}Z"


def is_delegation(name: str) -> bool:
    """Whether a role may be called so."""
    return len(name) <= MAX_ROLE_NAME and _DELEGATION.match(name) is not None


def parent_of(name: str) -> str:
    """The role that delegates to this one."""
    return name.rpartition("/")[0]
