"""A tar archive from a stranger: its files found by name and read where they lie, nothing extracted.

Only the archive's own index is judged here; what is inside a layer is not. The archive is opened
once and read by position, so that threads share it and a file replaced meanwhile changes nothing.
"""

from __future__ import annotations

import io
import os
import posixpath
import tempfile
import weakref
from typing import TYPE_CHECKING, BinaryIO, cast

from trust.digest import CHUNK_BYTES
from trust.errors import MissingError, TamperedError, UsageError
from trust.oci.codec import Density, decompressed, packing_of
from trust.oci.folder import mapped_errors
from trust.oci.stream import ReadStream
from trust.oci.tarcheck import TarCheck

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator
    from pathlib import Path

    from trust.oci.store import BlobReader

MAX_MEMBERS = 1 << 14
"""``docker save`` writes four to a layer."""
MAX_UNPACKED_BYTES = 32 << 30
"""What a compressed archive may unpack to, since that is kept while it is read."""
UNPACKED_DENSITY = Density(100, 256 << 20)
"""Layers are packed 2:1 to 4:1. An archive that is denser and large may be real, but it is the user who decides so."""
_MAX_HEADER_BYTES = 1 << 20
_MAX_READS = 8 * MAX_MEMBERS
_MAX_LINKS = 8
_OTHER_MAGICS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_UNPACKERS = {"gzip": "gunzip", "zstd": "unzstd"}


class Tarball:
    """The files of one tar archive. Make it with :meth:`open`.

    It stays open as long as it, or a reader of one of its files, is in use.
    """

    def __init__(self, path: Path, descriptor: int, members: dict[str, tarfile.TarInfo], twice: frozenset[str]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._members = members
        self._twice = twice
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def open(cls, path: Path, spool_dir: Path) -> Tarball:
        """Open an archive, which may be compressed as a whole: it is then unpacked to a temporary file.

        Args:
            path: the archive.
            spool_dir: where the temporary file is; it has no name, so nothing can leave it behind.

        Raises:
            MissingError: there is no such file.
            UsageError: it is no tar archive.
            TamperedError: it is damaged, or unpacks to more than ``MAX_UNPACKED_BYTES`` or ``UNPACKED_DENSITY`` allow.
            DocksealError: the disk is full.
        """
        with mapped_errors(path):
            if path.is_dir():
                raise UsageError(f"{path} is a folder: expected an archive", hint=f"a layout is named oci:{path}")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with mapped_errors(path):
                descriptor = _unpacked(descriptor, path, spool_dir)
                members, twice = _scan(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, members, twice)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def reader(self, name: str) -> tuple[BlobReader, int]:
        """How to read one file, and its size in bytes. Links that stay inside are followed.

        Raises:
            MissingError: there is no such file.
            TamperedError: a link that leaves the archive or goes in circles, a name that occurs twice, no plain file.
        """
        member = self._resolve(name)
        extent = (member.offset_data, member.size)
        return (lambda: cast("BinaryIO", _Extent(self, *extent))), member.size

    def read(self, name: str, max_bytes: int) -> bytes:
        """A small file, whole.

        Raises:
            MissingError: there is no such file.
            TamperedError: it is longer than ``max_bytes``, or as for :meth:`reader`.
        """
        open_, size = self.reader(name)
        if size > max_bytes:
            raise TamperedError(f"{name} in {self.path} has {size} bytes: at most {max_bytes} are read")
        with open_() as file:
            return file.read()

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes at a position of the archive."""
        with mapped_errors(self.path):
            data = os.pread(self._descriptor, size, offset)
        if not data:
            raise TamperedError(f"{self.path} was cut short while it was read")
        return data

    def _resolve(self, name: str) -> tarfile.TarInfo:
        at = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            member = self._members.get(at)
            if member is None:
                raise MissingError(f"{self.path} has no file {at!r}")
            if at in self._twice:
                raise TamperedError(f"{self.path} has the file {at!r} twice: readers would differ in what it holds")
            if member.isreg():
                return member
            if not (member.issym() or member.islnk()):
                raise TamperedError(f"{at!r} in {self.path} is no plain file")
            base = posixpath.dirname(at) if member.issym() else ""
            target = posixpath.normpath(posixpath.join(base, member.linkname))
            if target.startswith(("/", "..")):
                raise TamperedError(f"{at!r} in {self.path} is a link that leaves the archive: {member.linkname!r}")
            at = target
        raise TamperedError(f"{name!r} in {self.path} is a link to more than {_MAX_LINKS} links")


class _Extent(ReadStream):
    """One file of an archive as a stream."""

    def __init__(self, archive: Tarball, offset: int, size: int) -> None:
        super().__init__()
        self._archive = archive
        self._at = offset
        self._end = offset + size

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._end - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._archive.read_at(self._at, wanted) if wanted else b""
        self._at += len(data)
        return data


class _Headers(io.RawIOBase):
    """What tarfile may see of an archive while it looks for headers: little at a time, and not for ever."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._name = name
        self._at = 0
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES or self._reads > _MAX_READS:
            raise TamperedError(f"{self._name} has a header of more than {_MAX_HEADER_BYTES} bytes, or no end")
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence != os.SEEK_SET or not 0 <= offset < 1 << 62:
            raise TamperedError(f"{self._name} is no valid tar archive: a member begins at {offset}")
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at


def _scan(descriptor: int, path: Path) -> tuple[dict[str, tarfile.TarInfo], frozenset[str]]:
    """The members by name, and the names of files that occur twice."""
    import tarfile

    size = os.fstat(descriptor).st_size
    members: dict[str, tarfile.TarInfo] = {}
    twice: set[str] = set()
    count = 0
    try:
        with tarfile.open(fileobj=cast("BinaryIO", _Headers(descriptor, str(path))), mode="r:") as archive:
            while (member := archive.next()) is not None:
                _check_member(member, size, path)
                name = posixpath.normpath(member.name)
                if name in members and not (member.isdir() and members[name].isdir()):
                    twice.add(name)
                members[name] = member
                count += 1
                if count > MAX_MEMBERS:
                    raise TamperedError(f"{path} has more than {MAX_MEMBERS} members")
    except tarfile.ReadError as error:
        if not members:
            raise UsageError(f"{path} is no tar archive: {error}") from error
        raise TamperedError(f"{path} is damaged: {error}") from error
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError) as error:
        raise TamperedError(f"{path} is damaged: {error}") from error
    return members, frozenset(twice)


def _check_member(member: tarfile.TarInfo, archive_size: int, path: Path) -> None:
    if member.issparse():
        raise TamperedError(f"{member.name!r} in {path} is a sparse file: expected plain files")
    if member.size < 0 or (member.isreg() and member.offset_data + member.size > archive_size):
        end = member.offset_data + member.size
        raise TamperedError(f"{path} is cut short: {member.name!r} would end at byte {end} of {archive_size}")


def _unpacked(descriptor: int, path: Path, spool_dir: Path) -> int:
    """``descriptor`` itself, or in exchange one of a temporary file with the unpacked bytes."""
    magic = os.pread(descriptor, 8, 0)
    for start, name in _OTHER_MAGICS.items():
        if magic.startswith(start):
            raise UsageError(f"{path} is compressed with {name}: expected a tar archive, plain or with gzip or zstd")
    packing = packing_of(magic)
    if packing == "none":
        return descriptor
    with mapped_errors(spool_dir), tempfile.TemporaryFile(dir=spool_dir, prefix="archive-") as spool:
        with os.fdopen(os.dup(descriptor), "rb") as packed:
            chunks = decompressed(
                iter(lambda: packed.read(CHUNK_BYTES), b""),
                packing,
                what=str(path),
                max_bytes=MAX_UNPACKED_BYTES,
                density=UNPACKED_DENSITY,
                hint=f"if you trust it, unpack it yourself: {_UNPACKERS[packing]} < {path} > {path}.tar",
            )
            spool.writelines(_checked(chunks, path))
            spool.flush()
        unpacked = os.dup(spool.fileno())
    os.close(descriptor)
    return unpacked


def _checked(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Pass on what can belong to a tar: what is none ends at its first header, not when the disk is full."""
    check = TarCheck(str(path))
    for chunk in chunks:
        check.feed(chunk)
        yield chunk
    check.finish()
