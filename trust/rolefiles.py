"""Role files as layers of an OCI manifest: how states and proposals stand in a store.

A layer per file: media type ``application/vnd.tuf.metadata+json``, file name in the annotation
``tuf.io/filename``. Small files stand in their descriptor's ``data`` as well.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import MissingError, TamperedError
from trust.oci.manifest import OCI_EMPTY, Descriptor, Manifest, image_manifest
from trust.tuf.state import MAX_ROLE_FILE_BYTES, Far, RoleFiles, is_bin_file, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from trust.oci.store import Store

    Cached = Callable[[Digest], bytes | None]

ROLE_FILE_TYPE = "application/vnd.tuf.metadata+json"
FILE_NAME = "tuf.io/filename"
INLINE_FILE_BYTES = 16 << 10
INLINE_SNAPSHOT_BYTES = 256 << 10
"""Every reader needs the snapshot, which lists each hash bin. A bin is never inlined: one in a thousand is needed."""
INLINE_TOTAL_BYTES = 512 << 10
_EMPTY = b"{}"


def encode_files(
    files: Mapping[str, bytes],
    artifact_type: str,
    *,
    inline_first: tuple[str, ...] = (),
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """The manifest that holds these files (bytes by name); the same files give the same bytes.

    Args:
        files: in the order of the layers.
        artifact_type: what the manifest is.
        inline_first: the names that are inlined before the others, as long as there is room.
        annotations: of the manifest: hints for people, which nothing may trust.
    """
    entries = _entries(files)
    inlined = _inlined(entries, inline_first)
    layers = tuple(_descriptor(name, entry, inline=name in inlined) for name, entry in entries.items())
    config = replace(Descriptor.of(_EMPTY, OCI_EMPTY), data=_EMPTY)
    return image_manifest(config, layers, artifact_type=artifact_type, annotations=annotations)


def put_files(store: Store, manifest: Manifest, files: Mapping[str, bytes], tag: str) -> None:
    """Bring files and manifest there, the tag last. What the store was said to have already is not sent again."""
    entries = _entries(files)
    fresh = [name for name, entry in entries.items() if not (isinstance(entry, Far) and entry.origin == store.name)]
    try:
        _put_blobs(store, manifest, files, fresh)
        store.put_manifest(manifest, tag)
    except MissingError:  # what the store had was collected meanwhile
        _put_blobs(store, manifest, files, entries)
        store.put_manifest(manifest, tag)


def _put_blobs(store: Store, manifest: Manifest, files: Mapping[str, bytes], names: Iterable[str]) -> None:
    layers = dict(zip(files, manifest.layers, strict=True))
    assert manifest.config is not None  # noqa: S101 - an image manifest
    store.put_blob(manifest.config, lambda: io.BytesIO(_EMPTY))
    for name in names:
        store.put_blob(layers[name], lambda name=name: io.BytesIO(files[name]))


def read_files(
    store: Store, manifest: Manifest, *, max_files: int, max_bytes: int, cached: Cached | None = None
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file, which are what its digest says.

    Args:
        store: holds those that are not inlined.
        manifest: unverified.
        max_files: how many there may be.
        max_bytes: what they may have in all.
        cached: gives a file's bytes by digest where this machine has them.

    Raises:
        TamperedError: a layer that is no role file, too many, or bytes that are not what they should be.
    """
    for name, entry in open_files(store, manifest, max_files=max_files, max_bytes=max_bytes, cached=cached):
        yield name, entry.fetch() if isinstance(entry, Far) else entry


def open_files(
    store: Store,
    manifest: Manifest,
    *,
    max_files: int,
    max_bytes: int,
    cached: Cached | None = None,
    lazily: bool = False,
) -> Iterator[tuple[str, bytes | Far]]:
    """Like :func:`read_files`, but a hash bin's file is fetched when it is asked for; lazily, so is any file.

    Raises:
        TamperedError: see :func:`read_files`.
    """
    total = sum(layer.size for layer in manifest.layers)
    if len(manifest.layers) > max_files or total > max_bytes:
        raise TamperedError(
            f"{manifest.digest} holds {len(manifest.layers)} files of {total} bytes: expected at most {max_files} "
            f"of {max_bytes} bytes"
        )
    for layer in manifest.layers:
        name = layer.annotation(FILE_NAME)
        if name is None or layer.media_type != ROLE_FILE_TYPE:
            raise TamperedError(f"{manifest.digest} holds a layer that is no role file: {layer.media_type}")
        data = layer.data
        if data is not None and (len(data) != layer.size or Digest.of(data) != layer.digest):
            raise TamperedError(f"the inlined {name} does not match its digest {layer.digest}")
        if data is not None:
            yield name, data
            continue
        far = Far(layer.digest, layer.size, store.name, partial(_fetch, store, layer, cached))
        yield name, far if lazily or is_bin_file(name) else far.fetch()


def _fetch(store: Store, layer: Descriptor, cached: Cached | None) -> bytes:
    data = None if cached is None else cached(layer.digest)
    return store.read_blob(layer, MAX_ROLE_FILE_BYTES) if data is None else data


def _entries(files: Mapping[str, bytes]) -> dict[str, bytes | Far]:
    return {name: files.entry(name) for name in files} if isinstance(files, RoleFiles) else dict(files)


def _descriptor(name: str, entry: bytes | Far, *, inline: bool) -> Descriptor:
    if isinstance(entry, Far):
        return Descriptor(ROLE_FILE_TYPE, entry.digest, entry.size, annotations=((FILE_NAME, name),))
    return replace(Descriptor.of(entry, ROLE_FILE_TYPE, {FILE_NAME: name}), data=entry if inline else None)


def _inlined(files: Mapping[str, bytes | Far], first: tuple[str, ...]) -> set[str]:
    chosen: set[str] = set()
    total = 0
    for name in [*first, *(name for name in files if name not in first)]:
        size = size_of(files[name])
        limit = INLINE_SNAPSHOT_BYTES if name.endswith(".snapshot.json") else INLINE_FILE_BYTES
        if not is_bin_file(name) and size <= limit and total + size <= INLINE_TOTAL_BYTES:
            chosen.add(name)
            total += size
    return chosen
