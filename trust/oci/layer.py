"""A layer in its final form: hashed both ways in one pass, compressed once, re-openable.

A layer goes out under the digest of its compressed bytes, while the image's config names it by the
digest of the uncompressed tar, its *diff id* (image-spec, config.md). One pass over the source
gives both. A file that is complete before it is sent costs no time while another layer is on its
way, and buys the right length, the look before the upload, and the second attempt.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from trust.digest import CHUNK_BYTES, Digest
from trust.errors import DocksealError, TamperedError, UsageError
from trust.oci.codec import MAGIC_BYTES, MAX_LAYER_BYTES, Codec, Packing, decompressed, media_type_of, packing_of
from trust.oci.manifest import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trust.oci.store import BlobReader

__all__ = ["MAX_LAYER_BYTES", "Codec", "SpooledLayer", "compress_layer", "diff_id_of"]

_TRIM_EVERY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class SpooledLayer:
    """A layer that can be sent: ``open`` gives exactly the bytes that ``descriptor`` names.

    ``diff_size`` is the number of uncompressed bytes. ``spool`` is the file that holds the bytes,
    or None where the source itself does; :meth:`close` removes it.
    """

    descriptor: Descriptor
    diff_id: Digest
    diff_size: int
    open: BlobReader
    spool: Path | None = None

    def close(self) -> None:
        """Remove the spool file; once more does no harm."""
        if self.spool is not None:
            self.spool.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def compress_layer(
    open_: BlobReader,
    codec: Codec,
    spool_dir: Path,
    *,
    expected_diff_id: Digest | None,
    recompress: bool = False,
    progress: Callable[[int], None] | None = None,
    tap: Callable[[bytes], None] | None = None,
    max_bytes: int = MAX_LAYER_BYTES,
) -> SpooledLayer:
    """Bring a layer into its final form, in one pass and bounded memory.

    A layer that is compressed already keeps its bytes, and one that shall stay a plain tar has
    them; both are hashed where they are, without a copy.

    Args:
        open_: opens the layer as the source holds it: a tar, perhaps gzip- or zstd-compressed.
        codec: how a plain tar is compressed.
        spool_dir: where the compressed bytes go, mode 0600.
        expected_diff_id: what the config says, where there is one.
        recompress: undo the source's compression and apply ``codec`` all the same.
        progress: told how many bytes of the source were read so far.
        tap: given the uncompressed bytes on their way.
        max_bytes: the most the layer may unpack to.

    Raises:
        TamperedError: damaged compression, more than ``max_bytes``, or another diff id.
        DocksealError: the source cannot be read, or the spool file cannot be written.
    """
    with open_() as file:
        start, chunks = _peek(_read(file, progress))
        packing = packing_of(start)
        # Hashing costs a fifth of compressing: nothing is hashed that does not name anything.
        packed = _Hashed(chunks) if packing != "none" and not recompress else None
        plain = _Hashed(decompressed(packed or chunks, packing, max_bytes=max_bytes), tap)
        if packed is not None:
            layer = _kept(packed, plain, packing, open_)
        elif packing == codec.packing == "none":
            layer = _kept(plain, plain, packing, open_)
        else:
            layer = _spool(plain, codec, spool_dir)
    if expected_diff_id is not None and layer.diff_id != expected_diff_id:
        layer.close()
        raise TamperedError(
            f"the layer is not the one that the image's config names: expected {expected_diff_id}, got {layer.diff_id}"
        )
    return layer


def diff_id_of(open_: BlobReader, media_type: str, *, max_bytes: int = MAX_LAYER_BYTES) -> Digest:
    """The diff id of a layer in its final form, read as its media type says.

    Raises:
        UsageError: the media type is no layer's.
        TamperedError: the bytes are not what the media type says, or unpack to more than ``max_bytes``.
        DocksealError: the layer cannot be read.
    """
    packing = _packing_of_type(media_type)
    with open_() as file:
        plain = _Hashed(decompressed(_read(file, None), packing, max_bytes=max_bytes))
        plain.drain()
    return plain.digest


class _Hashed:
    """Passes chunks on while it hashes and counts them."""

    def __init__(self, chunks: Iterable[bytes], tap: Callable[[bytes], None] | None = None) -> None:
        self._chunks = chunks
        self._tap = tap
        self._hasher = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hasher.update(chunk)
            self.size += len(chunk)
            if self._tap is not None:
                self._tap(chunk)
            yield chunk

    def drain(self) -> None:
        """Hash what is left."""
        for _ in self:
            pass

    @property
    def digest(self) -> Digest:
        """Of what has passed."""
        return Digest.from_hex(self._hasher.hexdigest())


def _read(file: BinaryIO, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    done = 0
    while True:
        try:
            chunk = file.read(CHUNK_BYTES)
        except OSError as error:
            raise DocksealError(f"the layer cannot be read: {error}") from error
        if not chunk:
            return
        yield chunk
        done += len(chunk)
        if done % _TRIM_EVERY_BYTES < len(chunk):
            _give_memory_back()
        if progress is not None:
            progress(done)


def _give_memory_back() -> None:
    """Return freed memory to the system, where the C library can (glibc).

    Compressed chunks have odd sizes; glibc's heap grows by about 1 % of what passes through, all of
    it free, and never gives it back by itself.
    """
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _peek(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all of them once more."""
    iterator = iter(chunks)
    start = b""
    while len(start) < MAGIC_BYTES and (chunk := next(iterator, None)) is not None:
        start += chunk
    return start[:MAGIC_BYTES], chain((start,), iterator) if start else iterator


def _kept(packed: _Hashed, plain: _Hashed, packing: Packing, open_: BlobReader) -> SpooledLayer:
    plain.drain()
    descriptor = Descriptor(media_type_of(packing), packed.digest, packed.size)
    return SpooledLayer(descriptor, plain.digest, plain.size, open_)


def _spool(plain: _Hashed, codec: Codec, spool_dir: Path) -> SpooledLayer:
    """Write the compressed bytes to a file of their own, which no failure or interrupt leaves behind."""
    try:
        handle, name = tempfile.mkstemp(dir=spool_dir, prefix="layer-")
    except OSError as error:
        raise _cannot_write(spool_dir, error) from error
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as spool:
            packed = _Hashed(codec.compressed(plain))
            spool.writelines(packed)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _cannot_write(spool_dir, error) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    descriptor = Descriptor(codec.media_type, packed.digest, packed.size)
    return SpooledLayer(descriptor, plain.digest, plain.size, _FileReader(path), path)


@dataclass(frozen=True, slots=True)
class _FileReader:
    path: Path

    def __call__(self) -> BinaryIO:
        return self.path.open("rb")


def _cannot_write(spool_dir: Path, error: OSError) -> DocksealError:
    return DocksealError(
        f"the compressed layer cannot be written to {spool_dir}: {error.strerror or error}",
        hint="free some space, or set TMPDIR to a folder that has more",
    )


def _packing_of_type(media_type: str) -> Packing:
    if "layer" not in media_type and "rootfs" not in media_type:
        raise UsageError(f"{media_type[:100]!r} is no media type of a layer")
    if media_type.endswith(("+gzip", ".gzip")):
        return "gzip"
    return "zstd" if media_type.endswith("+zstd") else "none"
