"""Files that are whole or not there: temporary file, fsync, rename, with an explicit mode."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trust.errors import DocksealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
SHARED_FILE = 0o644
LEFTOVER_SECONDS = 24 * 3600
"""A temporary file that is older, and that nobody has open, is a killed process's."""


def write_atomically(
    path: Path, data: bytes, *, mode: int = PRIVATE_FILE, error: type[DocksealError] = DocksealError
) -> None:
    """Replace ``path`` with ``data``, or leave it as it was. Folders that are missing on the way are made private.

    Raises:
        DocksealError: as ``error`` says: the file cannot be written (a full disk, no permission).
    """
    with _mapped(f"cannot write {path}", error), _written(path, data, mode) as temporary:
        temporary.replace(path)


def create_once(path: Path, data: bytes, *, error: type[DocksealError] = DocksealError) -> bool:
    """Write a private file that is not there yet, whole or not at all.

    Returns:
        Whether it was written; False where the name is taken, and then nothing has changed.

    Raises:
        DocksealError: as ``error`` says: it cannot be written.
    """
    with _mapped(f"cannot write {path}", error), _written(path, data, PRIVATE_FILE) as temporary:
        try:
            path.hardlink_to(temporary)  # looks and takes the name in one step, unlike rename
        except FileExistsError:
            return False
    return True


def delete(path: Path, *, error: type[DocksealError] = DocksealError) -> None:
    """Remove a file, if it is there.

    Raises:
        DocksealError: as ``error`` says: it cannot be removed.
    """
    with _mapped(f"cannot remove {path}", error):
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int = SHARED_FILE) -> Iterator[BinaryIO]:
    """A file to stream into, which takes the place of ``path`` when the block ends well, and is gone when it does not.

    Raises:
        UsageError: something that is no plain file is there: a device would be replaced, not written.
        DocksealError: the file cannot be written (a full disk, no permission).
    """
    with _mapped(f"cannot write {path}", DocksealError):
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no plain file", hint="use - for standard output")
        with _temporary(path, mode) as (temporary, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)


def private_folder(folder: Path) -> Path:
    """The folder, made where it is missing, with those on the way to it: for nobody else to read.

    Raises:
        DocksealError: it cannot be made.
    """
    with _mapped(f"cannot make the folder {folder}", DocksealError):
        _make_private(folder)
    return folder


def enter_spool(folder: Path, now: datetime) -> int:
    """Take part in a folder of temporary files, and remove what killed processes have left there a day ago or earlier.

    Whoever spools there holds a shared lock on the folder, so nothing is removed while anybody else does.

    Returns:
        A descriptor; to close it is to leave.

    Raises:
        DocksealError: the folder cannot be made or opened.
    """
    private_folder(folder)
    with _mapped(f"cannot use the folder {folder}", DocksealError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # somebody else is here, or the file system knows no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sweep(folder, now.timestamp() - LEFTOVER_SECONDS)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made where it is missing) against other processes.

    Raises:
        DocksealError: the lock file cannot be made.
    """
    with _mapped(f"cannot lock {path}", DocksealError):
        _make_private(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_private(folder: Path) -> None:
    """One by one: ``mkdir(parents=True)`` gives its mode to the last folder only."""
    if not folder.parent.exists():
        _make_private(folder.parent)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def _sweep(folder: Path, before: float) -> None:
    """Remove what has not changed since; what cannot be removed stays."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            status = path.lstat()
            if status.st_mtime >= before:
                continue
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _written(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A temporary file beside ``path`` with these bytes on the disk, to be linked or renamed."""
    _make_private(path.parent)
    with _temporary(path, mode) as (temporary, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        yield temporary
        _sync_folder(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, stat.S_IMODE(mode))
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _mapped(what: str, error: type[DocksealError]) -> Iterator[None]:
    """Turn what the system says into our error."""
    try:
        yield
    except OSError as problem:
        raise error(f"{what}: {problem.strerror or problem}") from problem
