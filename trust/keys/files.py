"""Files of the key folder: capped reads, private modes, atomic writes."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import KeyUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_KEY_FILE_BYTES = 64 << 10
FOLDER_MODE = 0o700
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


def create(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet, whole or not at all, mode 0600.

    Returns:
        Whether it was written; False where the name is taken, and then nothing has changed.

    Raises:
        KeyUnavailableError: it cannot be written.
    """
    with _written(path, data) as temporary:
        try:
            path.hardlink_to(temporary)  # looks and takes the name in one step, unlike rename
        except FileExistsError:
            return False
    return True


def replace(path: Path, data: bytes) -> None:
    """Write a file anew, whole or not at all, mode 0600.

    Raises:
        KeyUnavailableError: it cannot be written; the old one is as it was.
    """
    with _written(path, data) as temporary:
        temporary.replace(path)


def delete(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        KeyUnavailableError: it cannot be removed.
    """
    with _mapped(f"cannot remove {path}"):
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """A temporary file beside ``path`` with these bytes on the disk, to be linked or renamed."""
    with _mapped(f"cannot write {path}"):
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)  # mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Turn what the system says into our error."""
    try:
        yield
    except OSError as error:
        raise KeyUnavailableError(f"{what}: {error.strerror or error}") from error
