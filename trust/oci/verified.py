"""A stream that checks what went through it: size and sha256, at its end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO, cast

from trust.digest import CHUNK_BYTES, Digest
from trust.errors import TamperedError, UnreachableError
from trust.oci.stream import ReadStream

if TYPE_CHECKING:
    from trust.oci.manifest import Descriptor


class VerifiedReader(ReadStream):
    """Reads ``file``, which must have the descriptor's size and digest.

    The read that takes the last byte is the one that checks, so a reader who counts is as safe as
    one who reads until nothing comes. Closing it closes ``file``.
    """

    def __init__(self, file: BinaryIO, descriptor: Descriptor) -> None:
        super().__init__()
        self._file = file
        self._want = descriptor
        self._hasher = hashlib.sha256()
        self._seen = 0

    @classmethod
    def open(cls, file: BinaryIO, descriptor: Descriptor) -> BinaryIO:
        """As a BinaryIO.

        Raises:
            TamperedError: (while reading) size or digest is wrong.
        """
        reader = cls(file, descriptor)
        if descriptor.size == 0:
            reader._check_end()
        return cast("BinaryIO", reader)

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, all of them where it is negative or None.

        Raises:
            TamperedError: size or digest is wrong.
            UnreachableError: the disk failed.
        """
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        left = self._want.size - self._seen
        try:
            data = self._file.read(min(size, left))
        except OSError as error:
            raise UnreachableError(f"could not read the blob {self._want.digest}: {error.strerror}") from error
        self._hasher.update(data)
        self._seen += len(data)
        if data and self._seen == self._want.size:
            self._check_end()
        elif not data and left and size:
            raise TamperedError(
                f"the blob {self._want.digest} ends after {self._seen} bytes: expected {self._want.size}"
            )
        return data

    def close(self) -> None:
        """Close the file underneath too."""
        self._file.close()
        super().close()

    def _check_end(self) -> None:
        if self._file.read(1):
            raise TamperedError(f"the blob {self._want.digest} is longer than its {self._want.size} bytes")
        found = Digest.from_hex(self._hasher.hexdigest())
        if found != self._want.digest:
            raise TamperedError(f"the blob {self._want.digest} has other bytes: their digest is {found}")
