"""A state: the complete set of current role files of one repository, as bytes.

File names follow TUF's consistent snapshots: ``3.root.json`` (every root since 1), ``7.snapshot.json``,
``5.targets.json``, ``2.release.json``, ``timestamp.json``. Names and versions in them are hints; what
binds the files together is signed, and judged by :mod:`trust.tuf.rules` and python-tuf.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

from securesystemslib.formats import encode_canonical

from trust import strictjson
from trust.digest import Digest
from trust.errors import TamperedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EXTENSION = "x-dockseal"
"""The field of ours in the signed part of root and timestamp."""
TIMESTAMP_FILE = "timestamp.json"
MAX_ROLE_FILE_BYTES = 64 << 20
MAX_STATE_FILES = 8192
MAX_BINS = 4096
"""Of all hash bins of a repository (docs/adr/0009-hash-bins.md)."""
BIN_MARK = "-bin"
"""What a signer's name, which has no hyphen, and the number of a bin stand around: ``ci-bin-3f``."""
FAST_FORWARDED = 1 << 52
"""No honest writer gets here: a version from here on is the work of somebody who held a key that leaked.

It binds nobody any more once that key has left (docs/verification.md); below it there is room for ever.
"""
COVERED_VERSIONS = 64
"""How many timestamp versions ``covers`` reaches back; older states are history, never a head."""

_FILE_NAME = re.compile(r"(?P<version>[1-9][0-9]{0,15})\.(?P<role>[a-z][a-z0-9_-]{0,63})\.json\Z")
_BIN_FILE = re.compile(rf"[1-9][0-9]*\.[a-z][a-z0-9_]*{BIN_MARK}-[0-9a-f]+\.json\Z")
_IDENTITY = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Far:
    """A role file that is not here: sha256 and bytes that it must have, and who fetches it.

    ``origin`` names the store that has it, which need not be given it again.
    """

    digest: Digest
    size: int
    origin: str
    fetch: Callable[[], bytes] = field(compare=False, repr=False)
    """Raises what the store raises; the bytes are what ``digest`` says."""


class RoleFiles(Mapping[str, bytes]):
    """Role files by name; what is far away is fetched when it is asked for, once."""

    def __init__(self, files: Iterable[tuple[str, bytes | Far]]) -> None:
        self._entries = dict(files)
        self._fetched: dict[str, bytes] = {}
        self._digests: dict[str, Digest] = {}

    def __getitem__(self, name: str) -> bytes:
        entry = self._entries[name]
        if isinstance(entry, bytes):
            return entry
        if name not in self._fetched:
            self._fetched[name] = entry.fetch()
        return self._fetched[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def here(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of those that need not be fetched any more."""
        for name, entry in self._entries.items():
            if isinstance(entry, bytes):
                yield name, entry
            elif name in self._fetched:
                yield name, self._fetched[name]

    def entry(self, name: str) -> bytes | Far:
        """A file as it goes into another state: without being fetched."""
        return self._entries[name]

    def digest(self, name: str) -> Digest:
        """The sha256 of a file."""
        if name not in self._digests:
            self._digests[name] = digest_of(self._entries[name])
        return self._digests[name]


def digest_of(entry: bytes | Far) -> Digest:
    """The sha256 of a role file."""
    return entry.digest if isinstance(entry, Far) else Digest.of(entry)


def size_of(entry: bytes | Far) -> int:
    """The bytes of a role file."""
    return entry.size if isinstance(entry, Far) else len(entry)


@dataclass(frozen=True, eq=False)
class State:
    """The role files of one state, by file name. Make it with :meth:`of`.

    Frozen without slots: the parsed index is kept beside the bytes. Two are equal only if they are one: to
    compare the bytes, all would have to be fetched.
    """

    files: RoleFiles

    @classmethod
    def of(cls, files: Iterable[tuple[str, bytes | Far]]) -> Self:
        """Check that the set of names is complete and unambiguous.

        Raises:
            TamperedError: a name is unknown or occurs twice, a role has two files, a root is
                missing, or there is no timestamp, snapshot or targets.
        """
        collected: dict[str, bytes | Far] = {}
        roles: set[str] = set()
        for name, data in files:
            role, version = parse_file_name(name)
            if name in collected or (role != "root" and role in roles):
                raise TamperedError(f"the state holds two files for {role if role != 'root' else name}: expected one")
            if size_of(data) > MAX_ROLE_FILE_BYTES:
                raise TamperedError(f"{name} is {size_of(data)} bytes: expected at most {MAX_ROLE_FILE_BYTES}")
            del version
            roles.add(role)
            collected[name] = data
        state = cls(RoleFiles(collected.items()))
        newest = len([name for name in collected if name.endswith(".root.json")])
        missing = [f"{number}.root.json" for number in range(1, newest + 1) if f"{number}.root.json" not in collected]
        missing += [f"{role}.json" for role in ("root", "timestamp", "snapshot", "targets") if role not in roles]
        if missing:
            raise TamperedError(f"the state is incomplete: it lacks {', '.join(missing[:5])}")
        return state

    @cached_property
    def names(self) -> Mapping[str, str]:
        """File name by role; for ``root`` that of the newest."""
        result: dict[str, str] = {}
        for name in self.files:
            role, version = parse_file_name(name)
            if role != "root" or version == self.root_version:
                result[role] = name
        return result

    @cached_property
    def versions(self) -> Mapping[str, int]:
        """Version by role, by file name; a timestamp has none."""
        parsed = {role: parse_file_name(name)[1] for role, name in self.names.items()}
        return {role: version for role, version in parsed.items() if version is not None}

    @cached_property
    def root_version(self) -> int:
        """Version of the newest root, by file name; every root since 1 is there."""
        return sum(name.endswith(".root.json") for name in self.files)

    @cached_property
    def content(self) -> Mapping[str, Digest]:
        """The sha256 of every file but snapshot and timestamp, by name: two writers may join the same to the same."""
        left_out = (self.names["snapshot"], self.names["timestamp"])
        return {name: self.files.digest(name) for name in self.files if name not in left_out}

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Every root since version 1, oldest first."""
        return tuple(self.files[f"{number}.root.json"] for number in range(1, self.root_version + 1))

    @property
    def root(self) -> bytes:
        """The newest root."""
        return self.files[f"{self.root_version}.root.json"]

    def role(self, name: str) -> bytes:
        """The current file of a role (``timestamp``, ``targets``, a signer).

        Raises:
            KeyError: the state has none.
        """
        return self.files[self.names[name]]

    def digest(self, name: str) -> Digest:
        """The sha256 of a role's current file, which need not be here.

        Raises:
            KeyError: the state has none.
        """
        return self.files.digest(self.names[name])


@dataclass(frozen=True, slots=True)
class Links:
    """``x-dockseal`` of a timestamp: what binds this state to its repository, root and ancestors.

    Identities are 64 hex digits (see :func:`identity_of`); ``covers`` gives each ancestor's
    timestamp version, so that the window can be moved without the ancestors at hand.
    """

    repository: str
    root_version: int
    root_sha256: str
    parents: tuple[str, ...] = ()
    covers: tuple[tuple[str, int], ...] = ()
    pending: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As it stands in the timestamp."""
        return {
            "repository": self.repository,
            "root": {"version": self.root_version, "sha256": self.root_sha256},
            "parents": list(self.parents),
            "covers": dict(self.covers),
            "pending": list(self.pending),
        }

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read it.

        Raises:
            TamperedError: a field is missing or malformed.
        """
        body = _object(value, "timestamp")
        root = _object(body.get("root"), "timestamp's root")
        version, sha256 = root.get("version"), root.get("sha256")
        covers = _object(body.get("covers"), "timestamp's covers")
        _check_identities([sha256, *covers])
        return cls(
            _string(body.get("repository"), "repository"),
            _positive(version, "root version"),
            str(sha256),
            _identities(body.get("parents")),
            tuple((name, _positive(number, "covered version")) for name, number in covers.items()),
            _identities(body.get("pending")),
        )


@dataclass(frozen=True, slots=True)
class Period:
    """How long a role's file lives, and how long before its end it is to be signed again; in days."""

    expires_days: int
    signing_days: int

    @classmethod
    def of(cls, expires_days: int) -> Self:
        """A period whose last third is for signing again."""
        return cls(expires_days, max(1, expires_days // 3))


DEFAULT_PERIODS = {
    "root": Period(365, 60),
    "targets": Period(365, 60),
    "snapshot": Period(90, 30),
    "timestamp": Period(14, 7),
}
MAX_PERIOD_DAYS = 36_500
"""A hundred years: more would pass the end of the calendar."""
CLOCK_SLACK_DAYS = 1
"""How much longer than its period a timestamp may live, for clocks that differ."""


@dataclass(frozen=True, slots=True)
class Terms:
    """``x-dockseal`` of a root: what the repository is and how long its role files live."""

    repository: str
    periods: tuple[tuple[str, Period], ...]
    max_timestamp_days: int

    @classmethod
    def make(cls, repository: str, periods: Mapping[str, Period]) -> Self:
        """With the defaults where ``periods`` names no role."""
        merged = DEFAULT_PERIODS | dict(periods)
        return cls(repository, tuple(merged.items()), merged["timestamp"].expires_days + CLOCK_SLACK_DAYS)

    def period(self, role: str) -> Period:
        """The period of a role; a signer without one of its own has that of targets."""
        periods = dict(self.periods)
        return periods.get(role, periods["targets"])

    def to_json(self) -> dict[str, object]:
        """As it stands in the root."""
        periods = {
            role: {"expires": period.expires_days, "signing": period.signing_days} for role, period in self.periods
        }
        return {"repository": self.repository, "periods": periods, "max_timestamp_days": self.max_timestamp_days}

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read it.

        Raises:
            TamperedError: a field is missing or malformed.
        """
        body = _object(value, "root")
        periods: dict[str, Period] = {}
        for role, item in _object(body.get("periods"), "root's periods").items():
            days = _object(item, f"period of {role}")
            periods[role] = Period(
                _days(days.get("expires"), f"expiry of {role}"),
                _days(days.get("signing"), f"signing period of {role}"),
            )
        if lacking := set(DEFAULT_PERIODS) - set(periods):
            raise TamperedError(f"the root's {EXTENSION} has no period for {', '.join(sorted(lacking))}")
        return cls(
            _string(body.get("repository"), "repository"),
            tuple(periods.items()),
            _days(body.get("max_timestamp_days"), "max_timestamp_days"),
        )


def parse_file_name(name: str) -> tuple[str, int | None]:
    """Role and version of a role file's name; a timestamp has no version.

    Raises:
        TamperedError: it is no role file's name.
    """
    if name == TIMESTAMP_FILE:
        return "timestamp", None
    match = _FILE_NAME.match(name)
    if match is None or match["role"] == "timestamp":
        raise TamperedError(f"{name[:100]!r} is no role file's name: expected timestamp.json or VERSION.ROLE.json")
    return match["role"], int(match["version"])


def is_bin_file(name: str) -> bool:
    """Whether a file is named as a hash bin's. Such files are fetched when a lookup needs them, and not before."""
    return _BIN_FILE.match(name) is not None


def identity_of(signed: Mapping[str, object]) -> str:
    """A state's identity: sha256, in hex, of the canonical signed part of its timestamp.

    The timestamp binds the snapshot, the snapshot every role file, each by hash; and a timestamp
    that was only indented again, or signed again, is still the same state.
    """
    canonical = encode_canonical(dict(signed))
    return hashlib.sha256(str(canonical).encode("utf-8")).hexdigest()


def unverified_identity(state: State) -> str:
    """The identity by the timestamp's own words; nothing is verified.

    Raises:
        TamperedError: the timestamp is not strict JSON with a signed part.
    """
    body = strictjson.loads_object(state.role("timestamp"), TIMESTAMP_FILE)
    return identity_of(_object(body.get("signed"), TIMESTAMP_FILE))


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TamperedError(f"the {what} lacks a valid {EXTENSION}: expected an object, got {type(value).__name__}")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise TamperedError(f"{EXTENSION}: {what} is no string")
    return value


def _positive(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TamperedError(f"{EXTENSION}: {what} is no positive integer")
    return value


def _days(value: object, what: str) -> int:
    days = _positive(value, what)
    if days > MAX_PERIOD_DAYS + CLOCK_SLACK_DAYS:
        raise TamperedError(f"{EXTENSION}: {what} is {days} days: expected at most {MAX_PERIOD_DAYS}")
    return days


def _identities(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TamperedError(f"{EXTENSION}: expected a list of identities")
    _check_identities(value)
    return tuple(value)


def _check_identities(values: Iterable[object]) -> None:
    if not all(isinstance(value, str) and _IDENTITY.match(value) for value in values):
        raise TamperedError(f"{EXTENSION}: an identity is not 64 hex digits")
