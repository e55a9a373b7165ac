"""Archives brought into the local store: ``docker save`` files, whose layers are compressed here, and OCI archives."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.oci.archive import DOCKER_MANIFEST_FILE, IMAGE_NAME, OciArchive, docker_image, docker_images
from trust.oci.final import LazyBlob, image_of, manifest_of, put_image
from trust.oci.image import Image, SourceLayer
from trust.oci.layer import compress_layer
from trust.oci.layout import REF_NAME
from trust.oci.localstore import LocalStore, checked_name
from trust.oci.manifest import OCI_CONFIG, Descriptor, image_manifest
from trust.oci.reference import Reference
from trust.oci.tarball import Tarball

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trust.oci.codec import Codec
    from trust.oci.store import Store

_WORKERS = 2
"""Layers that are compressed at once."""


def load_archive(
    path: Path, local: LocalStore, codec: Codec, *, spool_dir: Path, name: Reference | None = None
) -> tuple[Reference, ...]:
    """Bring all images of an archive of either kind into the local store.

    Args:
        path: the archive.
        local: where they go.
        codec: how layers that are plain tars are compressed.
        spool_dir: where they are while they are; also where a compressed archive is unpacked to.
        name: for an archive with one image that has no full name of its own.

    Returns:
        The names, in the archive's order. All of them are checked before anything is written.

    Raises:
        MissingError: there is no such file.
        UsageError: it is no such archive, or an image has no name or a reserved tag.
        TamperedError: it is damaged or hostile.
        DocksealError: the disk is full.
    """
    archive = Tarball.open(path, spool_dir)
    names: list[Reference] = []
    if DOCKER_MANIFEST_FILE in archive:  # docker writes both, and its own form is the one that it reads
        entries = docker_images(archive)
        named = [_names_of(entry.names, name, len(entries), path) for entry in entries]
        for entry, references in zip(entries, named, strict=True):
            image = docker_image(archive, entry)
            for reference in references:
                store = local.store(reference.repository)
                image = image if image.manifest else finish_image(image, store, codec, spool_dir)
                store.put_manifest(manifest_of(image), reference.tag)
            names += references
        return tuple(names)
    oci = OciArchive(archive)
    full_names = [_full_names(entry) for entry in oci.entries]
    named = [_names_of(full, name, len(full_names), path) for full in full_names]
    for listed, references in zip(oci.entries, named, strict=True):
        image = image_of(oci, listed.digest)
        for reference in references:
            put_image(image, local.store(reference.repository), reference.tag)
        names += references
    return tuple(names)


def finish_image(image: Image, store: Store, codec: Codec, spool_dir: Path) -> Image:
    """Compress an image's layers into ``store``, with its config; the final image, whose manifest is not yet stored.

    Raises:
        TamperedError: a layer is not the one that the config names.
        DocksealError: the disk is full.
    """

    def finish(layer: SourceLayer) -> SourceLayer:
        with compress_layer(layer.open, codec, spool_dir, expected_diff_id=layer.diff_id) as spooled:
            store.put_blob(spooled.descriptor, spooled.open)
        return SourceLayer(
            LazyBlob(store, spooled.descriptor), spooled.descriptor.size, spooled.diff_id, spooled.descriptor
        )

    layers = _in_threads(finish, image.layers)
    config = Descriptor.of(image.config, OCI_CONFIG)
    store.put_blob(config, lambda: io.BytesIO(image.config))
    descriptors = tuple(layer.descriptor for layer in layers if layer.descriptor is not None)
    return Image(image.config, tuple(layers), image_manifest(config, descriptors))


def _in_threads(work: Callable[[SourceLayer], SourceLayer], layers: tuple[SourceLayer, ...]) -> list[SourceLayer]:
    """``work`` on several layers at once; after a failure none begins."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(_WORKERS)
    try:
        return list(pool.map(work, layers))
    finally:
        pool.shutdown(cancel_futures=True)


def _names_of(names: tuple[str, ...], name: Reference | None, count: int, path: Path) -> list[Reference]:
    if name is not None and count > 1:
        raise UsageError(f"{path} has {count} images: one name for all of them is ambiguous")
    if name is not None:
        return [checked_name(name)]
    if not names:
        raise UsageError(
            f"an image in {path} has no full name, REPOSITORY:TAG",
            hint=f"name it where it is pushed: dockseal push --from docker-archive:{path} NAME (or oci-archive:)",
        )
    return [checked_name(Reference.parse(text)) for text in names]


def _full_names(entry: Descriptor) -> tuple[str, ...]:
    """``ref.name`` counts where it is more than a tag."""
    full = entry.annotation(IMAGE_NAME) or entry.annotation(REF_NAME) or ""
    return (full,) if ":" in full or "/" in full else ()
