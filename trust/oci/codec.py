"""How a layer is compressed and undone: gzip (ISA-L), zlib's gzip, zstd, or not at all.

A layer's media type says gzip or zstd (image-spec, layer.md); which program made the bytes, and at
which level, is our own choice. ISA-L at level 1 costs a tenth of zlib's level 6 for an eighth more
bytes. Undoing is bounded: each step yields at most ``STEP_BYTES``, and the sum is capped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self, cast

from trust.errors import TamperedError, UsageError
from trust.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Packing = Literal["gzip", "zstd", "none"]

STEP_BYTES = 256 << 10
MAX_LAYER_BYTES = 64 << 30
"""What one layer may unpack to. Where nothing of it is kept, a bomb costs time only; a zstd layer on its way into a
docker archive is written to the spool folder unpacked, and takes the room until the disk is full."""


@dataclass(frozen=True, slots=True)
class Density:
    """From ``floor_bytes`` on, what unpacks to more than ``ratio`` times its bytes is taken for a bomb."""

    ratio: int
    floor_bytes: int


LAYER_DENSITY = Density(1100, 8 << 30)
"""Layers with sparse files are real: DEFLATE packs zeros 1032:1, and such a layer passes up to the cap.
What is denser can only be zstd (32 749:1 for zeros)."""
MAX_ZSTD_WINDOW_BYTES = 32 << 20
"""A frame's window is held in memory. ``zstd -19`` has 8 MiB and container builders at most this; ``--long`` and
``--ultra`` from 21 on have more, with which one layer would take a push past 100 MB."""

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAGIC_BYTES = 4
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # after a first byte of 0x50 to 0x5f
_GZIP_WBITS = 31  # the largest window, in a gzip container

_LEVELS = {"gzip": range(4), "zlib": range(1, 10), "zstd": range(1, 20), "none": range(1)}
_DEFAULT_LEVELS = {"gzip": 1, "zlib": 6, "zstd": 3, "none": 0}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Codec:
    """A compressor and its level: ``gzip`` 0-3 (ISA-L), ``zlib`` 1-9, ``zstd`` 1-19, ``none`` 0.

    Raises:
        UsageError: there is no such codec, or it has no such level.
    """

    name: str = "gzip"
    level: int = 1

    def __post_init__(self) -> None:
        levels = _LEVELS.get(self.name)
        if levels is None:
            raise UsageError(f"unknown compression {self.name[:40]!r}: expected one of {', '.join(_LEVELS)}")
        if self.level not in levels:
            raise UsageError(f"{self.name} has no compression level {self.level}: expected {levels[0]} to {levels[-1]}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``NAME`` or ``NAME:LEVEL``, as people write it.

        Raises:
            UsageError: it is neither.
        """
        name, colon, level = text.partition(":")
        if colon and not (level.isascii() and level.isdigit() and len(level) <= 2):  # noqa: PLR2004 - two digits hold every level
            raise UsageError(f"invalid compression {text[:40]!r}: expected NAME or NAME:LEVEL, like gzip:1 or zstd:3")
        return cls(name, int(level) if colon else _DEFAULT_LEVELS.get(name, 0))

    @property
    def packing(self) -> Packing:
        """The format of the result."""
        return "gzip" if self.name == "zlib" else cast("Packing", self.name)

    @property
    def media_type(self) -> str:
        """The OCI media type of a layer made with it."""
        return media_type_of(self.packing)

    @property
    def library(self) -> str:
        """Name and version of the code that does it: other versions may give other bytes."""
        if self.name == "gzip":
            import isal

            return f"isal-{isal.__version__}"
        if self.name == "zlib":
            import zlib

            return f"zlib-{zlib.ZLIB_RUNTIME_VERSION}"
        if self.name == "zstd":
            import zstandard

            return f"zstd-{'.'.join(map(str, zstandard.ZSTD_VERSION))}"
        return "none"

    def compressed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The compressed form of ``chunks``. No name, no time: the same bytes give the same result."""
        if self.name == "none":
            yield from chunks
            return
        compressor = self._compressor()
        for chunk in chunks:
            if packed := compressor.compress(chunk):
                yield packed
        yield compressor.flush()

    def _compressor(self) -> _Compressor:
        if self.name == "gzip":
            from isal import isal_zlib

            return isal_zlib.compressobj(self.level, isal_zlib.DEFLATED, _GZIP_WBITS)
        if self.name == "zlib":
            import zlib

            return zlib.compressobj(self.level, zlib.DEFLATED, _GZIP_WBITS)
        import zstandard

        return zstandard.ZstdCompressor(level=self.level, write_checksum=True).compressobj()

    def __str__(self) -> str:
        return f"{self.name}:{self.level}"


def media_type_of(packing: Packing) -> str:
    """The OCI media type of a layer in this packing."""
    return {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD, "none": OCI_LAYER}[packing]


def packing_of(start: bytes) -> Packing:
    """How bytes that begin like this are packed; a tar begins with a file name, so it cannot be confused."""
    if start.startswith(GZIP_MAGIC):
        return "gzip"
    if start.startswith(ZSTD_MAGIC) or _is_skippable(start):
        return "zstd"
    return "none"


def decompressed(
    chunks: Iterable[bytes],
    packing: Packing,
    *,
    what: str = "the layer",
    max_bytes: int = MAX_LAYER_BYTES,
    density: Density = LAYER_DENSITY,
    hint: str | None = None,
) -> Iterator[bytes]:
    """Undo a packing, in pieces of at most ``STEP_BYTES`` (as they come for ``none``).

    Several gzip members or zstd frames in a row are one stream (RFC 1952 section 2.2, RFC 8878 section 3.1).

    Args:
        chunks: the packed bytes.
        packing: what is undone.
        what: how errors name it.
        max_bytes: what may come out in all.
        density: what is taken for a bomb before that.
        hint: what to do about one that is too large.

    Raises:
        TamperedError: damaged, cut short, followed by anything else, or larger than it may be.
    """
    tally = _Tally(chunks)
    unpack = {"gzip": _gunzipped, "zstd": _unzstd, "none": _unchanged}[packing]
    size = 0
    for piece in unpack(tally, what):
        size += len(piece)
        if size > max_bytes:
            raise TamperedError(f"{what} unpacks to more than {max_bytes} bytes, which is the most it may", hint=hint)
        if size > density.floor_bytes and size > density.ratio * tally.count:
            raise TamperedError(
                f"{what} looks like a decompression bomb: {tally.count} bytes unpack to more than {size}, "
                f"expected at most {density.ratio} times",
                hint=hint,
            )
        yield piece


class _Tally:
    """Passes chunks on and counts their bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.count += len(chunk)
            yield chunk


def _unchanged(chunks: Iterable[bytes], _what: str) -> Iterator[bytes]:
    yield from chunks


def _gunzipped(chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    from isal import igzip_lib, isal_zlib

    damage = cast("type[Exception]", igzip_lib.IsalError)  # the stub calls it an instance
    member = None
    try:
        for pending in _slices(chunks):
            rest: bytes | memoryview = pending
            while rest:
                if member is None:
                    member = isal_zlib.decompressobj(_GZIP_WBITS)
                if piece := member.decompress(rest, STEP_BYTES):
                    yield piece
                rest = member.unused_data if member.eof else member.unconsumed_tail
                if member.eof:
                    member = None
        if member is not None:
            raise TamperedError(f"{what} is cut short: its gzip stream has no end")
    except damage as error:
        raise TamperedError(f"{what} is no valid gzip: {error}") from error


def _slices(chunks: Iterable[bytes]) -> Iterator[memoryview]:
    """Small input keeps what a step leaves over, and copies, small."""
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), STEP_BYTES):
            yield view[start : start + STEP_BYTES]


def _unzstd(chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Feed the decoder block by block.

    A block yields at most 128 KiB (RFC 8878 section 3.1.1.2), which bounds each step; and to know
    the blocks is to know whether the last frame is complete, which the library does not tell.
    """
    import zstandard

    library = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    cursor = _Cursor(chunks, what)
    try:
        while start := cursor.start_of_frame():
            if _is_skippable(start):
                cursor.skip(int.from_bytes(cursor.take(4), "little"))
                continue
            frame = library.decompressobj()
            for part in _frame_parts(cursor, start, what):
                if piece := frame.decompress(part):
                    yield piece
    except zstandard.ZstdError as error:
        raise TamperedError(f"{what} is no valid zstd: {error}") from error


def _is_skippable(start: bytes) -> bool:
    return start[1:MAGIC_BYTES] == _ZSTD_SKIPPABLE and start[0] & 0xF0 == 0x50  # noqa: PLR2004 - RFC 8878 section 3.1.2


def _frame_parts(cursor: _Cursor, magic: bytes, what: str) -> Iterator[bytes]:
    """One frame: its header, then each block with its header, then the checksum (RFC 8878 section 3.1.1)."""
    if magic != ZSTD_MAGIC:
        raise TamperedError(f"{what} is no valid zstd: a frame begins with {magic.hex()}, expected {ZSTD_MAGIC.hex()}")
    flags = cursor.take(1)
    single_segment, has_checksum = flags[0] >> 5 & 1, flags[0] >> 2 & 1
    content_size_bytes = (single_segment, 2, 4, 8)[flags[0] >> 6]
    dictionary_id_bytes = (0, 1, 2, 4)[flags[0] & 3]
    fields = cursor.take(1 - single_segment + dictionary_id_bytes + content_size_bytes)
    window = int.from_bytes(fields[dictionary_id_bytes:], "little") if single_segment else _window(fields[0])
    if window > MAX_ZSTD_WINDOW_BYTES:
        raise TamperedError(
            f"{what} needs a zstd window of {window} bytes: expected at most {MAX_ZSTD_WINDOW_BYTES}",
            hint="compress it again, with zstd -19 or less and without --long",
        )
    yield magic + flags + fields
    last = False
    while not last:
        header = cursor.take(3)
        value = int.from_bytes(header, "little")
        last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
        yield header + cursor.take(1 if kind == 1 else size)  # a run-length block holds one byte
    if has_checksum:
        yield cursor.take(4)


def _window(descriptor: int) -> int:
    """Bytes of a frame's window (RFC 8878 section 3.1.1.1.2)."""
    base = 1 << (10 + (descriptor >> 3))
    return base + (base >> 3) * (descriptor & 7)


class _Cursor:
    """Takes exact numbers of bytes out of chunks."""

    def __init__(self, chunks: Iterable[bytes], what: str) -> None:
        self._chunks = iter(chunks)
        self._what = what
        self._left = memoryview(b"")

    def start_of_frame(self) -> bytes:
        """The next four bytes, or none at the end."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._left = memoryview(chunk)
        return self.take(MAGIC_BYTES)

    def take(self, count: int) -> bytes:
        """Exactly so many bytes; a block's size field ends below 2 MiB."""
        return b"".join(self._pieces(count))

    def skip(self, count: int) -> None:
        """Pass over so many bytes, up to 4 GiB, without keeping them."""
        for _ in self._pieces(count):
            pass

    def _pieces(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise TamperedError(f"{self._what} is cut short: its zstd stream lacks {count} bytes or more")
                self._left = memoryview(chunk)
            piece, self._left = self._left[:count], self._left[count:]
            count -= len(piece)
            yield piece
