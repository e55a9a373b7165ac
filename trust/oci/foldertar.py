"""A folder as a tar that depends on its content alone.

What is kept: names, content, permission bits, symbolic links as they are (they are never
followed), hard links within the folder. What is normalised: sorted entries, owner 0:0 without
names, every modification time the one given, no extended attributes. Sockets and devices are
refused. Format: POSIX ustar, with PAX headers only for what ustar cannot say.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from trust.digest import CHUNK_BYTES
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Buffer

_KINDS = {stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a character device", stat.S_IFBLK: "a block device"}


def open_folder(folder: Path, mtime: int) -> BinaryIO:
    """A stream of the folder's tar, made while it is read.

    Args:
        folder: whose content becomes the layer; the folder itself is no entry.
        mtime: the modification time of every entry, in seconds since 1970.

    Raises:
        UsageError: (while reading) something that a layer cannot hold, that may not be read, or that
            changes while it is read.
    """
    return cast("BinaryIO", io.BufferedReader(_Chunks(_tar(folder, mtime)), CHUNK_BYTES))


class _Chunks(io.RawIOBase):
    """A generator's bytes as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._left))
        view[:count], self._left = self._left[:count], self._left[count:]
        return count


def _tar(folder: Path, mtime: int) -> Iterator[bytes]:
    linked: dict[tuple[int, int], str] = {}
    for path, name, status in _walk(os.fspath(folder)):
        entry = _entry(path, name, status, linked)
        entry.mtime = mtime
        yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if entry.isreg():
            yield from _content(path, entry.size)
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _walk(folder: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Path, name in the tar and status of all that is below: each folder before what it holds."""
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        with reading(f"{folder}/{prefix}"):
            names = sorted(os.listdir(f"{folder}/{prefix}"), key=os.fsencode)  # noqa: PTH208 - names, not paths
        folders = []
        for name in names:
            path = f"{folder}/{prefix}{name}"
            with reading(path):
                status = os.lstat(path)
            yield path, prefix + name, status
            if stat.S_ISDIR(status.st_mode):
                folders.append(f"{prefix}{name}/")
        prefixes += reversed(folders)


def _entry(path: str, name: str, status: os.stat_result, linked: dict[tuple[int, int], str]) -> tarfile.TarInfo:
    """The header of one file; ``linked`` are the names of files with several, by device and inode."""
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(status.st_mode)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        entry.type = tarfile.DIRTYPE
    elif kind == stat.S_IFIFO:
        entry.type = tarfile.FIFOTYPE
    elif kind == stat.S_IFLNK:
        entry.type = tarfile.SYMTYPE
        entry.mode = 0o777  # on Linux a link has no other; other systems invent one
        with reading(path):
            entry.linkname = os.readlink(path)  # noqa: PTH115 - a Path would rewrite ./x and a//b
    elif kind != stat.S_IFREG:
        raise UsageError(f"{path!r} is {_KINDS.get(kind, 'no file')}, which a layer cannot hold")
    elif status.st_nlink > 1 and (first := linked.setdefault((status.st_dev, status.st_ino), name)) != name:
        entry.type, entry.linkname = tarfile.LNKTYPE, first
    else:
        entry.size = status.st_size
    return entry


def _content(path: str, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes of a plain file: the header that says so is out already."""
    # O_NONBLOCK: were the file replaced by a FIFO meanwhile, the open itself would block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with reading(path), os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        left = size
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise UsageError(f"{path!r} changed while it was read: expected {size} bytes", hint="build again")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Say which of the user's files could not be read.

    Raises:
        UsageError: the file system gave an error.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path!r} cannot be read: {error.strerror}") from error
