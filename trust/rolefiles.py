"""Role files as layers of an OCI manifest: how states and proposals stand in a store.

A layer per file: media type ``application/vnd.tuf.metadata+json``, file name in the annotation
``tuf.io/filename``. Small files stand in their descriptor's ``data`` as well.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import TamperedError
from trust.oci.manifest import OCI_EMPTY, Descriptor, Manifest, image_manifest
from trust.tuf.state import MAX_ROLE_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trust.oci.store import Store

    Cached = Callable[[Digest], bytes | None]

ROLE_FILE_TYPE = "application/vnd.tuf.metadata+json"
FILE_NAME = "tuf.io/filename"
INLINE_FILE_BYTES = 16 << 10
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
    inlined = _inlined(files, inline_first)
    layers = tuple(
        replace(Descriptor.of(data, ROLE_FILE_TYPE, {FILE_NAME: name}), data=data if name in inlined else None)
        for name, data in files.items()
    )
    config = replace(Descriptor.of(_EMPTY, OCI_EMPTY), data=_EMPTY)
    return image_manifest(config, layers, artifact_type=artifact_type, annotations=annotations)


def put_files(store: Store, manifest: Manifest, files: Mapping[str, bytes], tag: str) -> None:
    """Bring files and manifest there, the tag last."""
    assert manifest.config is not None  # noqa: S101 - an image manifest
    for descriptor, data in [(manifest.config, _EMPTY), *zip(manifest.layers, files.values(), strict=True)]:
        store.put_blob(descriptor, lambda data=data: io.BytesIO(data))
    store.put_manifest(manifest, tag)


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
        if data is None and cached is not None:
            data = cached(layer.digest)
        yield name, store.read_blob(layer, MAX_ROLE_FILE_BYTES) if data is None else data


def _inlined(files: Mapping[str, bytes], first: tuple[str, ...]) -> set[str]:
    chosen: set[str] = set()
    total = 0
    for name in [*first, *(name for name in files if name not in first)]:
        size = len(files[name])
        if size <= INLINE_FILE_BYTES and total + size <= INLINE_TOTAL_BYTES:
            chosen.add(name)
            total += size
    return chosen
