"""What this machine has trusted on a Notary server: the newest root and the version of every role, a file each."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from trust import strictjson
from trust.digest import Digest
from trust.errors import DocksealError, UsageError
from trust.files import locked, write_atomically
from trust.notary.chain import read_root, same_line
from trust.notary.reader import Seen

if TYPE_CHECKING:
    from pathlib import Path

    from trust.notary.chain import Repository

_SCHEMA = 1


class Memory:
    """Of one repository on one server. The constructor does no I/O."""

    def __init__(self, cache: Path, server: str, gun: str) -> None:
        mark = Digest.of(f"{server}\n{gun}".encode()).hex[:16]
        self._path = cache / "notary" / f"{quote(gun, safe='')[:150]}-{mark}.json"
        self._about = {"server": server, "gun": gun}

    def seen(self) -> Seen | None:
        """What was seen, or None on the first time.

        Raises:
            UsageError: the file is damaged; forgetting it in silence would forget a rollback.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror or error}") from error
        try:
            body = strictjson.loads_object(data, str(self._path))
            versions = body["versions"]
            if not isinstance(versions, dict) or not all(isinstance(number, int) for number in versions.values()):
                raise ValueError("versions")  # noqa: TRY301 - one way out
            return Seen(read_root(base64.b64decode(str(body["root"]), validate=True)), versions)
        except (DocksealError, KeyError, ValueError) as error:
            raise UsageError(
                f"the memory {self._path} is damaged",
                hint="remove it if you know that nothing was rolled back: the next look trusts what it finds then",
            ) from error

    def keep(self, repository: Repository) -> None:
        """Remember a repository that has verified; what is remembered never falls.

        What was known of another one, from whose root this one's does not descend, is forgotten: it was begun anew,
        and somebody has named the new root.
        """
        with locked(self._path.with_suffix(".lock")):
            before = self.seen()
            if before is not None and not same_line(before.root.payload, repository.root.payload):
                before = None
            root, versions = repository.root, dict(repository.versions)
            for role, known in before.versions.items() if before is not None else ():
                if role in versions or role in repository.delegations:
                    versions[role] = max(versions.get(role, 0), known)
            if before is not None and before.root.payload.version > root.payload.version:
                root = before.root  # another process has seen a newer one meanwhile
            body = {
                "schema": _SCHEMA,
                **self._about,
                "root": base64.b64encode(root.raw).decode(),
                "versions": versions,
            }
            write_atomically(self._path, json.dumps(body, indent=1).encode())
