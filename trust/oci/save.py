"""Final images written as tar archives: for ``docker load``, or as an OCI layout.

The same images give the same bytes: fixed order, owner and time.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from trust.digest import Digest
from trust.errors import TamperedError, UsageError
from trust.oci.archive import DOCKER_MANIFEST_FILE, IMAGE_NAME, diff_ids_of
from trust.oci.codec import Codec
from trust.oci.final import manifest_of
from trust.oci.folder import mapped_errors
from trust.oci.image import Image, SourceLayer
from trust.oci.layer import compress_layer
from trust.oci.layout import MARKER, MARKER_BYTES, REF_NAME
from trust.oci.manifest import OCI_INDEX, OCI_LAYER_ZSTD, Descriptor
from trust.oci.reference import Reference

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trust.oci.store import BlobReader

NamedImage = tuple[Reference, Image]
"""A full name with its tag, and a final image."""


def write_docker_archive(images: Sequence[NamedImage], out: BinaryIO, path: Path, *, spool_dir: Path) -> None:
    """What ``docker load`` reads. Layers go in as they are, gzip included; zstd is undone, which older engines lack.

    Args:
        images: several names of one image make one entry.
        out: where the archive goes, perhaps a pipe.
        path: how errors name it.
        spool_dir: for layers that are unpacked.

    Raises:
        UsageError: an index, or an image with a layer that lives elsewhere.
        TamperedError: diff ids that do not fit the layers, or a layer is not what its digest says.
        DocksealError: the disk is full.
    """
    names: dict[Digest, list[str]] = {}
    by_digest: dict[Digest, Image] = {}
    for reference, image in images:
        _check_saveable(reference, image)
        by_digest[manifest_of(image).digest] = image
        names.setdefault(manifest_of(image).digest, []).append(reference.familiar)
    entries = []
    with _writer(out, path) as writer:
        for digest, image in by_digest.items():
            pairs = zip(image.layers, diff_ids_of(image.config), strict=True)
            layers = [_add_layer(writer, layer, diff_id, spool_dir) for layer, diff_id in pairs]
            config = writer.add(f"{Digest.of(image.config).hex}.json", image.config)
            entries.append({"Config": config, "RepoTags": names[digest], "Layers": layers})
        writer.add(DOCKER_MANIFEST_FILE, _json(entries))


def write_oci_archive(images: Sequence[NamedImage], out: BinaryIO, path: Path) -> None:
    """A tar file of an OCI layout, indexes included.

    ``ref.name`` is the tag, or the full name where two images have the same tag.

    Args:
        images: the images.
        out: where the archive goes, perhaps a pipe.
        path: how errors name it.

    Raises:
        TamperedError: a layer is not what its digest says.
        DocksealError: the disk is full.
    """
    tags = [reference.tag for reference, _ in images]
    entries = []
    for reference, image in images:
        manifest = manifest_of(image)
        ref_name = reference.tag if reference.tag and tags.count(reference.tag) == 1 else str(reference)
        annotations = ((IMAGE_NAME, str(reference)), (REF_NAME, ref_name))
        entries.append(Descriptor(manifest.media_type, manifest.digest, manifest.size, annotations).to_json())
    blobs = {digest: (open_, size) for _, image in images for digest, open_, size in _blobs_of(image)}
    with _writer(out, path) as writer:
        writer.add(MARKER, MARKER_BYTES)
        writer.add("index.json", _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        for digest, (open_, size) in sorted(blobs.items(), key=lambda item: item[0]):
            writer.add_stream(f"blobs/sha256/{digest.hex}", open_, size)


class _Writer:
    """Adds files to an archive, each name once."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._names: set[str] = set()

    def add(self, name: str, data: bytes) -> str:
        """Add a small file; its name."""
        return self.add_stream(name, lambda: io.BytesIO(data), len(data))

    def add_stream(self, name: str, open_: BlobReader, size: int) -> str:
        """Add a file of ``size`` bytes; its name."""
        import tarfile

        if name not in self._names:
            self._names.add(name)
            member = tarfile.TarInfo(name)  # time, owner and group are zero, the mode is 0644
            member.size = size
            with open_() as file:
                self._archive.addfile(member, file)
        return name


@contextmanager
def _writer(out: BinaryIO, path: Path) -> Iterator[_Writer]:
    import tarfile

    with mapped_errors(path), tarfile.open(fileobj=out, mode="w|") as archive:
        yield _Writer(archive)


def _check_saveable(reference: Reference, image: Image) -> None:
    if manifest_of(image).is_index:
        raise UsageError(
            f"{reference.familiar} is an index of several platforms: a docker archive holds one",
            hint="save it as an OCI archive, or pull one platform of it first (--platform)",
        )
    if any(layer.descriptor is not None and layer.descriptor.is_foreign for layer in image.layers):
        raise UsageError(f"{reference.familiar} has a layer that lives elsewhere: it cannot be saved")
    if len(diff_ids_of(image.config)) != len(image.layers):
        raise TamperedError(f"{reference.familiar} has {len(image.layers)} layers: its config names another number")


def _add_layer(writer: _Writer, layer: SourceLayer, diff_id: Digest, spool_dir: Path) -> str:
    """Add one layer under its digest; its name."""
    if layer.descriptor is None or layer.descriptor.media_type != OCI_LAYER_ZSTD:
        digest = diff_id if layer.descriptor is None else layer.descriptor.digest
        return writer.add_stream(f"{digest.hex}.tar", layer.open, layer.size)
    plain = Codec("none", 0)
    with compress_layer(layer.open, plain, spool_dir, expected_diff_id=diff_id, recompress=True) as spooled:
        return writer.add_stream(f"{diff_id.hex}.tar", spooled.open, spooled.descriptor.size)


def _blobs_of(image: Image) -> Iterator[tuple[Digest, BlobReader, int]]:
    """Everything that the image needs: its manifest, config and layers, and those of the images it lists."""
    manifest = manifest_of(image)
    yield manifest.digest, lambda: io.BytesIO(manifest.raw), manifest.size
    if manifest.config is not None:
        yield manifest.config.digest, lambda: io.BytesIO(image.config), len(image.config)
    for layer in image.layers:
        if layer.descriptor is not None and not layer.descriptor.is_foreign:
            yield layer.descriptor.digest, layer.open, layer.size
    for child in image.images:
        yield from _blobs_of(child)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
