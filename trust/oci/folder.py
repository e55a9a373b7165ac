"""Files below one folder, read and written with care.

No read follows a link, so nothing leads out of the folder; every write appears whole or not at
all. The one module that maps the errors of the file system.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from trust.errors import DeniedError, DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.files import LEFTOVER_SECONDS, PRIVATE_FOLDER, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

OWN_PREFIX = ".dockseal-"
"""Names of files that are ours and no part of the content: the lock, and what is being written."""
_LOCK_NAME = f"{OWN_PREFIX}lock"
_SPOOL_SUFFIX = ".tmp"
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LINK = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})


def is_spool(name: str) -> bool:
    """Whether a name is that of a file that is being written, or was when its writer was killed."""
    return name.startswith(OWN_PREFIX) and name.endswith(_SPOOL_SUFFIX)


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system about ``path`` into ours.

    Raises:
        MissingError: it does not exist.
        TamperedError: it is a link, or no file where one is expected.
        DeniedError: it may not be read or written.
        DocksealError: the disk is full.
        UnreachableError: any other failure.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"{path} does not exist") from error
    except OSError as error:
        if error.errno in _LINK:
            raise TamperedError(f"{path} is a link or no plain file: expected a file inside the folder") from error
        if error.errno in _FULL:
            raise DocksealError(
                f"could not write {path}: {error.strerror}",
                hint="free some disk space and run the command again; nothing half-written was left behind",
            ) from error
        if error.errno in _DENIED:
            raise DeniedError(f"access to {path} was denied: {error.strerror}") from error
        raise UnreachableError(f"could not use {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below ``path``; names are given as ``("blobs", "sha256", "…")``.

    A folder that is made for the user has the mode of any; one of our own is ``private``.
    """

    path: Path
    private: bool = False

    def open(self, *names: str) -> BinaryIO:
        """Open one regular file to read.

        Raises:
            MissingError: there is no such file.
            TamperedError: it, or a folder on the way, is a link.
        """
        with mapped_errors(self.path.joinpath(*names)), self._below(names[:-1]) as folder:
            # O_NONBLOCK: a FIFO would block the open itself.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(names[-1], flags, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise TamperedError(f"{self.path.joinpath(*names)} is no plain file")
        return os.fdopen(file, "rb")

    def read(self, *names: str, max_bytes: int) -> bytes:
        """A small file, whole.

        Raises:
            MissingError: there is no such file.
            TamperedError: it is a link, or longer than ``max_bytes``.
        """
        with self.open(*names) as file, mapped_errors(self.path.joinpath(*names)):
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise TamperedError(f"{self.path.joinpath(*names)} is longer than {max_bytes} bytes")
        return data

    def status(self, *names: str) -> os.stat_result | None:
        """What ``stat`` says of a regular file; None where there is none.

        Raises:
            TamperedError: it, or a folder on the way, is a link.
        """
        try:
            with self.open(*names) as file:
                return os.fstat(file.fileno())
        except MissingError:
            return None

    def touch(self, *names: str) -> None:
        """Make a file young again, where we may."""
        with suppress(OSError), self._below(names[:-1]) as folder:
            os.utime(names[-1], dir_fd=folder, follow_symlinks=False)

    def list(self, *names: str) -> tuple[str, ...]:
        """The names in a folder, sorted; none where it does not exist."""
        path = self.path.joinpath(*names)
        with suppress(MissingError), mapped_errors(path), self._below(names) as folder, os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries))
        return ()

    def make(self, *names: str) -> None:
        """Make a folder and those on the way to it."""
        mode = PRIVATE_FOLDER if self.private else _FOLDER_MODE
        if self.private:
            private_folder(self.path)
        with mapped_errors(self.path.joinpath(*names)):
            self.path.mkdir(mode, parents=True, exist_ok=True)
            for count, name in enumerate(names):
                with self._below(names[:count]) as folder, suppress(FileExistsError):
                    os.mkdir(name, mode, dir_fd=folder)

    def write(self, chunks: Iterable[bytes], *names: str) -> None:
        """Write a file whole: temporary file, fsync, rename, fsync of the folder.

        Whatever ends it, Ctrl-C and a full disk included, the old file or none is left there.

        Args:
            chunks: the bytes; an error that it raises passes through.
            names: the file; its folder exists.
        """
        target = self.path.joinpath(*names)
        spool = self.path / f"{OWN_PREFIX}{secrets.token_hex(8)}{_SPOOL_SUFFIX}"
        try:
            with mapped_errors(target):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                out = os.fdopen(os.open(spool, flags, _FILE_MODE), "wb")
            with suppress(OSError):  # some file systems know no locks
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)  # for sweep()
            self._fill(out, chunks, target)
            with mapped_errors(target), self._below(names[:-1]) as folder:
                os.replace(spool, names[-1], dst_dir_fd=folder)
                os.fsync(folder)
        except BaseException:
            spool.unlink(missing_ok=True)
            raise

    def remove(self, *names: str) -> None:
        """Remove a file; it is no error where there is none."""
        with suppress(MissingError), mapped_errors(self.path.joinpath(*names)), self._below(names[:-1]) as folder:
            os.unlink(names[-1], dir_fd=folder)

    def sweep(self, now: float) -> int:
        """Remove what killed writers have left a day ago or earlier, but nothing that somebody still writes.

        Args:
            now: as :meth:`locked` gives it, which is held.

        Returns:
            The bytes that were freed.
        """
        freed = 0
        for name in filter(is_spool, self.list()):
            with suppress(DocksealError, OSError), self.open(name) as file:
                status = os.fstat(file.fileno())
                if now - status.st_mtime < LEFTOVER_SECONDS:
                    continue
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(name)
                freed += status.st_size
        return freed

    @contextmanager
    def locked(self) -> Iterator[float]:
        """Hold the folder's exclusive lock, waiting for it.

        Yields:
            The time now, in seconds, by the clock that stamps the folder's files.
        """
        with mapped_errors(self.path / _LOCK_NAME):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(self.path / _LOCK_NAME, flags, 0o666)  # less the umask: who shares the folder shares it
        try:
            with mapped_errors(self.path / _LOCK_NAME):
                fcntl.flock(lock, fcntl.LOCK_EX)
                with suppress(PermissionError):  # another user's file; its age is then that of its last use
                    os.utime(lock)
            yield os.fstat(lock).st_mtime
        finally:
            os.close(lock)

    @staticmethod
    def _fill(out: BinaryIO, chunks: Iterable[bytes], target: Path) -> None:
        try:
            for chunk in chunks:
                with mapped_errors(target):
                    out.write(chunk)
            with mapped_errors(target):
                out.flush()
                os.fchmod(out.fileno(), _FILE_MODE)
                os.fsync(out.fileno())
        finally:
            with suppress(OSError):  # what could not be flushed was reported above
                out.close()

    @contextmanager
    def _below(self, names: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of the folder ``names``; only the first step, the user's own path, may be a link."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            folder = os.open(self.path, flags)
        except NotADirectoryError as error:
            raise UsageError(f"{self.path} is no folder", hint="an archive is named oci-archive:FILE") from error
        try:
            for name in names:
                inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)
