"""What this machine saw of a repository: the memory against rollback (TUF spec 5.3.10 to 5.6.6).

python-tuf's own cache forgets versions when a root rotates, and stores a timestamp before it has
checked what hangs on it. This memory keeps, per repository, the highest version of every role and
the newest root; it changes only when a whole state has verified, and never falls.

The files of the last verified state are kept by their sha256. A file that is there was checked
by rules 1 to 3 for this repository, so it is neither fetched nor checked again.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from trust import strictjson
from trust.client import parse_root
from trust.digest import Digest
from trust.errors import DocksealError, RollbackError, UsageError
from trust.files import locked, write_atomically
from trust.tuf.draft import publisher_left
from trust.tuf.edits import PUBLISHING_ROLES
from trust.tuf.state import FAST_FORWARDED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trust.tuf.verified import Verified

_SCHEMA = 1
_MAX_FOLDER_NAME = 180
"""Characters; file systems allow 255, and a longer name ends with a digest instead."""
_BLOB_NAME = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen last. ``versions`` holds the highest version per role; ``anchor`` the pin it stood on."""

    anchor: str
    identity: str
    content: str
    root: Digest
    versions: Mapping[str, int] = field(default_factory=dict)


def known_repositories(cache: Path) -> tuple[str, ...]:
    """The repositories whose trust data this machine has seen."""
    found = set()
    for path in (cache / "trust").glob("*/seen.json"):
        with contextlib.suppress(OSError, DocksealError):
            found.add(str(strictjson.loads_object(path.read_bytes(), str(path)).get("repository")))
    return tuple(sorted(found))


class Memory:
    """The memory of one repository, in a folder of its own under ``cache``. The constructor does no I/O."""

    def __init__(self, cache: Path, repository: str) -> None:
        name = quote(repository, safe="")
        if len(name) > _MAX_FOLDER_NAME:
            name = f"{name[:_MAX_FOLDER_NAME]}-{Digest.of(repository.encode()).hex}"
        self._folder = cache / "trust" / name
        self._repository = repository

    def seen(self) -> Seen | None:
        """What was seen, or None on the first time.

        Raises:
            UsageError: the file is damaged; forgetting it in silence would forget a rollback.
        """
        path = self._folder / "seen.json"
        try:
            body = strictjson.loads_object(path.read_bytes(), str(path))
            return _parse(body)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, ValueError, DocksealError) as error:
            raise UsageError(
                f"the memory of {self._repository} cannot be read: {error}",
                hint=f"look at {path}; removing it forgets what was seen, and with it the protection against rollback",
            ) from error

    def file(self, digest: Digest) -> bytes | None:
        """A role file of the last verified state, checked against its digest; None where it is not there."""
        try:
            data = (self._folder / "files" / digest.hex).read_bytes()
        except OSError:
            return None
        return data if Digest.of(data) == digest else None

    def check(self, verified: Verified, anchor: str) -> None:
        """Nothing is older than what was seen (rule 5).

        Where somebody changed the pin, and the state shares no root with what was seen, the repository was
        made anew, and the old memory says nothing of it.

        Raises:
            RollbackError: a role, the root, or the state itself is older, or another of the same version.
        """
        seen = self.seen()
        if seen is None or (seen.anchor != anchor and not self._shares_root(verified, seen)):
            return
        found = verified.versions
        reset = self._publisher_left(verified, seen)
        for role, version in seen.versions.items():
            if reset and (role in PUBLISHING_ROLES or role not in {"root", *verified.names}):
                continue
            if reset and version >= FAST_FORWARDED:
                continue
            if role not in found:
                raise RollbackError(f"{role} has vanished from the trust data: version {version} was seen before")
            if found[role] < version:
                raise RollbackError(
                    f"the trust data was rolled back: {role} is version {found[role]}, and {version} was seen before"
                )
        same_version = not reset and found["timestamp"] == seen.versions["timestamp"]
        if same_version and verified.identity != seen.identity and _content(verified) != seen.content:
            raise RollbackError(
                f"the trust data is a fork of what was seen: two states of version {verified.version}, "
                f"{seen.identity[:12]} before and {verified.identity[:12]} now"
            )

    def keep(self, verified: Verified, anchor: str) -> None:
        """Remember a verified state. Another process may have seen more: versions never fall.

        Raises:
            RollbackError: another process has seen a newer state meanwhile.
        """
        with locked(self._folder / ".lock"):
            self.check(verified, anchor)
            files = verified.state.files
            folder = self._folder / "files"
            for name, data in files.here:
                if self.file(files.digest(name)) is None:
                    write_atomically(folder / files.digest(name).hex, data)
            body = {
                "schema": _SCHEMA,
                "repository": self._repository,
                "anchor": anchor,
                "identity": verified.identity,
                "content": _content(verified),
                "root": str(Digest.of(verified.state.root)),
                "versions": verified.versions,
            }
            write_atomically(self._folder / "seen.json", json.dumps(body, indent=1).encode())
            current = {files.digest(name).hex for name in files}
            for path in folder.iterdir():
                if _BLOB_NAME.match(path.name) and path.name not in current:
                    path.unlink(missing_ok=True)

    def _publisher_left(self, verified: Verified, seen: Seen) -> bool:
        """Whether a key lost its say in snapshot or timestamp since (TUF spec 5.3.11).

        Then nothing that it signed binds anybody: it may have been fast-forwarded, or list roles that never
        were. The state names the new root (rule 4), so it is none of the old ones.
        """
        data = self.file(seen.root)
        if data is None or Digest.of(verified.state.root) == seen.root:
            return False
        return publisher_left(parse_root(data).signed, verified.root)

    def _shares_root(self, verified: Verified, seen: Seen) -> bool:
        """Whether some root of the state is one of those seen; the newest need not be, or a rollback would hide."""
        digests = [Digest.of(data) for data in verified.state.roots]
        return any(digest == seen.root or self.file(digest) is not None for digest in digests)


def _content(verified: Verified) -> str:
    """A hash over what a state says, whoever published it."""
    files = sorted((name, digest.hex) for name, digest in verified.state.content.items())
    return Digest.of(json.dumps(files).encode()).hex


def _parse(body: dict[str, object]) -> Seen:
    versions = body["versions"]
    if body["schema"] != _SCHEMA or not isinstance(versions, dict) or not {"root", "timestamp"} <= set(versions):
        raise ValueError("unknown form")
    if not all(type(version) is int for version in versions.values()):
        raise ValueError("a version is no integer")
    return Seen(
        str(body["anchor"]),
        str(body["identity"]),
        str(body["content"]),
        Digest(str(body["root"])),
        versions,
    )
