"""Whether bytes are a whole tar, told from its headers while they stream by.

What a layer holds is not judged here: names, links and modes are the runtime's concern. A file
that is no tar, or is cut short, is noticed before it becomes an image. Formats: POSIX ustar and pax
(IEEE 1003.1, "pax"), GNU tar, as Go's archive/tar reads them.
"""

from __future__ import annotations

import re
from typing import NoReturn

from trust.errors import TamperedError, UsageError

BLOCK_BYTES = 512
MAX_EXTENDED_BYTES = 1 << 20
"""Of a pax or long-name header, the same as Go's reader takes."""
_OTHER_PACKINGS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
_ZEROS = bytes(BLOCK_BYTES)
_CHECKSUM = slice(148, 156)
_SIZE = slice(124, 136)
_TYPE = slice(156, 157)
_SPARSE_MORE = {True: 482, False: 504}  # where an old GNU sparse header, or its continuation, says that more follows
_WITHOUT_CONTENT = frozenset(b"123456")  # links, devices, folders, FIFOs: their size field means nothing
_EXTENDED = frozenset(b"xgLK")
_MAX_SIZE = 1 << 53
_OCTAL = re.compile(rb"[0-7]*")
_PAX_SIZE = re.compile(rb"(?:\A|\n)[0-9]{1,7} size=([0-9]{1,19})\n")


class TarCheck:
    """Give it the bytes with :meth:`feed`, then call :meth:`finish`.

    Args:
        what: how errors name the file.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._block = bytearray()
        self._blocks = 0
        self._skip = 0
        self._extended = 0
        """Bytes of an extended header that are still to come, padding included."""
        self._pax = bytearray()
        self._next_size: int | None = None
        self._sparse = False
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Look at the next bytes.

        Raises:
            UsageError: they begin no tar.
            TamperedError: they cannot belong to a tar.
        """
        view = memoryview(data)
        while view and not self._ended:
            if self._skip and not self._sparse:  # an old sparse header goes on before its content
                skipped = min(self._skip, len(view))
                self._skip -= skipped
                view = view[skipped:]
                continue
            wanted = BLOCK_BYTES - len(self._block)
            self._block += view[:wanted]
            view = view[wanted:]
            if len(self._block) == BLOCK_BYTES:
                block = bytes(self._block)
                self._block.clear()
                self._blocks += 1
                self._take(block)

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            UsageError: there was no tar.
            TamperedError: the tar has no end.
        """
        if not self._blocks:
            self._refuse_kind(bytes(self._block))
        if not self._ended and (self._block or self._skip or self._extended or self._sparse):
            raise TamperedError(f"{self._what} is a tar that was cut short")

    def _take(self, block: bytes) -> None:
        if self._sparse:
            self._sparse = block[_SPARSE_MORE[False]] != 0
        elif self._extended:
            self._pax += block
            self._extended -= BLOCK_BYTES
            if not self._extended and (found := _PAX_SIZE.findall(self._pax)):
                self._next_size = int(found[-1])
        elif block == _ZEROS:
            self._ended = True  # what follows is padding, which no reader looks at
        else:
            self._header(block)

    def _header(self, block: bytes) -> None:
        if _number(block[_CHECKSUM]) not in _checksums(block):
            if self._blocks == 1:
                self._refuse_kind(block)
            self._refuse("has a header with a wrong checksum")
        kind = block[_TYPE][0]
        size = 0 if kind in _WITHOUT_CONTENT else _number(block[_SIZE])
        if kind in _EXTENDED:
            if size is None or size > MAX_EXTENDED_BYTES:
                self._refuse(f"has an extended header of more than {MAX_EXTENDED_BYTES} bytes")
            self._pax.clear()
            self._extended = _padded(size) if kind == ord("x") else 0
            self._skip = 0 if kind == ord("x") else _padded(size)
            return
        if self._next_size is not None and kind not in _WITHOUT_CONTENT:
            size = self._next_size
        self._next_size = None
        if size is None or size > _MAX_SIZE:
            self._refuse("has a header with an impossible size")
        self._skip = _padded(size)
        self._sparse = kind == ord("S") and block[_SPARSE_MORE[True]] != 0

    def _refuse_kind(self, start: bytes) -> NoReturn:
        packing = next((name for magic, name in _OTHER_PACKINGS.items() if start.startswith(magic)), None)
        found = "" if packing is None else f": it is compressed with {packing}"
        raise UsageError(f"{self._what} is no tar, plain or with gzip or zstd{found}")

    def _refuse(self, reason: str) -> NoReturn:
        raise TamperedError(f"{self._what} {reason}")


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _number(field: bytes) -> int | None:
    """A numeric field: octal digits, or GNU's big-endian binary where the first bit is set; None if it is neither."""
    if field[0] == 0x80:  # noqa: PLR2004 - 0xff would begin a negative number
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits or b"0", 8) if _OCTAL.fullmatch(digits) else None


def _checksums(block: bytes) -> tuple[int, int]:
    """The sum of the header's bytes with a blank checksum; old programs took the bytes as signed."""
    blank = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    unsigned = sum(blank)
    return unsigned, unsigned - 256 * sum(byte > 127 for byte in blank)  # noqa: PLR2004 - the sign bit
