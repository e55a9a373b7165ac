"""Reading the key folder: capped, and refusing what is open to others."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from trust.errors import KeyUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_KEY_FILE_BYTES = 64 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read(path: Path, *, secret: bool) -> bytes:
    """The whole of a small file.

    Args:
        path: the file.
        secret: refuse it if anybody but its owner has access.

    Raises:
        KeyUnavailableError: missing, unreadable, not a file, too large or too open.
    """
    with _mapped(f"cannot read {path}"), os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyUnavailableError(f"{path} is not a regular file")
        if secret and status.st_mode & _OTHERS:
            raise KeyUnavailableError(
                f"the key file {path} is open to others: its mode is {stat.S_IMODE(status.st_mode):04o}, expected 0600",
                hint=f"chmod 600 {path}",
            )
        data = file.read(MAX_KEY_FILE_BYTES + 1)
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyUnavailableError(f"{path} is no key file: it is larger than {MAX_KEY_FILE_BYTES} bytes")
    return data


def names(folder: Path, suffix: str) -> tuple[str, ...]:
    """The stems of the files with this suffix, sorted; none if there is no folder.

    Raises:
        KeyUnavailableError: the folder cannot be read.
    """
    with _mapped(f"cannot read the key folder {folder}"):
        try:
            found = [entry.name for entry in folder.iterdir()]
        except FileNotFoundError:
            return ()
    return tuple(sorted(name.removesuffix(suffix) for name in found if name.endswith(suffix)))


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Turn what the system says into our error."""
    try:
        yield
    except OSError as error:
        raise KeyUnavailableError(f"{what}: {error.strerror or error}") from error
