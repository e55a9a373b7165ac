"""Images in tar archives: what ``docker save`` writes, and tar files of an OCI layout.

``docker save`` (moby's image/tarexport) writes ``manifest.json``, a list of ``{"Config": FILE,
"RepoTags": [NAME…], "Layers": [FILE…]}``. Classic archives name their files ``ID/layer.tar``,
sometimes a link to another layer's; newer ones are an OCI layout as well and name
``blobs/sha256/HEX``. Such an image has no manifest yet. An OCI archive holds images in their final
form, whose bytes are checked as they are read.
"""

from __future__ import annotations

import posixpath
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from trust import strictjson
from trust.digest import Digest
from trust.errors import MissingError, TamperedError, UsageError
from trust.oci.final import image_of
from trust.oci.image import Image, SourceLayer
from trust.oci.layout import REF_NAME, Layout
from trust.oci.manifest import (
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Manifest,
)
from trust.oci.reference import Reference
from trust.oci.store import read_whole
from trust.oci.tarball import Tarball
from trust.oci.verified import VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trust.oci.store import Tag

DOCKER_MANIFEST_FILE = "manifest.json"
IMAGE_NAME = "io.containerd.image.name"
"""The annotation in which containerd and docker put an image's full name; ``ref.name`` is the tag alone."""
MAX_LAYERS = 1000
_CONFIG_NAME = re.compile(r"([0-9a-f]{64})(?:\.json)?\Z")
_NAMES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One entry of ``manifest.json``."""

    config: str
    names: tuple[str, ...]
    layers: tuple[str, ...]


# OCI archives


def read_oci_archive(path: Path, tag: str | None = None, *, spool_dir: Path) -> Image:
    """An image in a tar file of an OCI layout; without a tag, the only one.

    Args:
        path: the archive, which may be gzip- or zstd-compressed as a whole.
        tag: its ``ref.name``; needed where it holds several.
        spool_dir: where a compressed archive is unpacked to.

    Raises:
        MissingError: no such file, tag or blob.
        UsageError: it is no such archive, or has several images and no tag was given.
        TamperedError: it is damaged or hostile.
    """
    store = OciArchive(Tarball.open(path, spool_dir))
    return image_of(store, choose_entry(store.entries, tag, str(path)).digest)


class OciArchive:
    """The images of a tar file of an OCI layout, to read."""

    def __init__(self, archive: Tarball) -> None:
        self._archive = archive

    @cached_property
    def entries(self) -> tuple[Descriptor, ...]:
        """All of ``index.json``, in its order.

        Raises:
            UsageError: it is no such archive.
            TamperedError: it is damaged.
        """
        if "index.json" not in self._archive:
            hint = "a file that docker save wrote is named docker-archive:FILE"
            raise UsageError(f"{self._archive.path} is no OCI archive: it has no index.json", hint=hint)
        return Manifest.parse(self._archive.read("index.json", MAX_MANIFEST_BYTES), OCI_INDEX).manifests

    def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The manifest at a ``ref.name`` or digest."""
        if not isinstance(reference, Digest):
            reference = choose_entry(self.entries, reference, str(self._archive.path)).digest
        raw = self._archive.read(_blob(reference), MAX_MANIFEST_BYTES)
        if (found := Digest.of(raw)) != reference:
            raise TamperedError(f"a manifest in {self._archive.path} is {found}: expected {reference}")
        return Manifest.parse(
            raw, next((entry.media_type for entry in self.entries if entry.digest == reference), None)
        )

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob, whole."""
        return read_whole(self.open_blob, descriptor, max_bytes)

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob as a stream; reading its last byte raises TamperedError where size or digest is wrong."""
        open_, _ = self._archive.reader(_blob(descriptor.digest))
        with VerifiedReader.open(open_(), descriptor) as blob:
            yield blob


def choose_entry(entries: tuple[Descriptor, ...], tag: str | None, where: str) -> Descriptor:
    """The entry of ``index.json`` with a ``ref.name``; without one, the only entry.

    Raises:
        MissingError: there is none.
        UsageError: there are several, and no tag was given.
        TamperedError: two manifests have the tag.
    """
    fitting = {
        entry.digest: entry
        for entry in entries
        if tag in (None, entry.annotation(REF_NAME), entry.annotation(IMAGE_NAME))
    }
    names = [entry.annotation(REF_NAME) or str(entry.digest) for entry in entries]
    if not fitting:
        raise MissingError(f"{where} has no image{'' if tag is None else f' {tag!r}'}", hint=_names_hint(names))
    if len(fitting) > 1 and tag is None:
        raise UsageError(f"{where} has {len(fitting)} images: expected a tag", hint=_names_hint(names))
    if len(fitting) > 1:
        raise TamperedError(f"{where} has the tag {tag!r} at {len(fitting)} manifests: expected one")
    return next(iter(fitting.values()))


def _blob(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _names_hint(names: list[str]) -> str | None:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"it has {', '.join(names[:_NAMES_SHOWN])}{more}" if names else None


# docker save


def read_docker_archive(path: Path, name: str | None = None, *, spool_dir: Path) -> Image:
    """An image of a file that ``docker save`` wrote, without a manifest yet; layers are read where they lie.

    Args:
        path: the archive, which may be gzip- or zstd-compressed as a whole.
        name: one of its names, or ``@N`` for the Nth image from 0; needed where it holds several.
        spool_dir: where a compressed archive is unpacked to.

    Raises:
        MissingError: no such file or image.
        UsageError: it is no such archive, or has several images and no name was given.
        TamperedError: it is damaged or hostile.
    """
    archive = Tarball.open(path, spool_dir)
    return docker_image(archive, _choose_image(docker_images(archive), name, str(path)))


def docker_images(archive: Tarball) -> tuple[ArchivedImage, ...]:
    """The images that ``manifest.json`` lists.

    Raises:
        UsageError: there is no ``manifest.json``.
        TamperedError: it is damaged.
    """
    if DOCKER_MANIFEST_FILE not in archive:
        hint = f"a layout's archive is named oci-archive:{archive.path}" if "index.json" in archive else None
        raise UsageError(f"{archive.path} is no docker save archive: it has no {DOCKER_MANIFEST_FILE}", hint=hint)
    body = strictjson.loads(archive.read(DOCKER_MANIFEST_FILE, MAX_MANIFEST_BYTES), DOCKER_MANIFEST_FILE)
    if not isinstance(body, list) or not body:
        raise TamperedError(f"{DOCKER_MANIFEST_FILE} in {archive.path} is no list of images")
    return tuple(_archived(item) for item in body)


def docker_image(archive: Tarball, entry: ArchivedImage) -> Image:
    """One image of the archive.

    Raises:
        TamperedError: a file is missing, the config is not what its name says, or does not fit the layers.
    """
    try:
        config = archive.read(entry.config, MAX_CONFIG_BYTES)
        readers = [archive.reader(name) for name in entry.layers]
    except MissingError as error:
        raise TamperedError(f"{error.message}, which {DOCKER_MANIFEST_FILE} names") from error
    _check_config_name(entry.config, config)
    diff_ids = diff_ids_of(config)
    if len(diff_ids) != len(readers):
        raise TamperedError(f"{archive.path} has {len(readers)} layers: its config names {len(diff_ids)} diff ids")
    layers = (SourceLayer(open_, size, diff_id) for (open_, size), diff_id in zip(readers, diff_ids, strict=True))
    return Image(config, tuple(layers))


def diff_ids_of(config: bytes) -> tuple[Digest, ...]:
    """``rootfs.diff_ids`` of an image's config (image-spec, config.md).

    Raises:
        TamperedError: there is no such list of digests.
    """
    rootfs = strictjson.loads_object(config, "the image's config").get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if rootfs == {"type": "layers"} or (isinstance(rootfs, dict) and "diff_ids" in rootfs and diff_ids is None):
        return ()  # docker leaves the list out, or null, for an image without layers
    if not isinstance(diff_ids, list) or not all(isinstance(item, str) for item in diff_ids):
        raise TamperedError("the image's config has no list rootfs.diff_ids")
    try:
        return tuple(Digest(item) for item in diff_ids)
    except UsageError as error:
        raise TamperedError(f"the image's config has an {error.message}") from error


def _archived(item: object) -> ArchivedImage:
    if not isinstance(item, dict):
        raise TamperedError(f"an image in {DOCKER_MANIFEST_FILE} is no object")
    config, names, layers = item.get("Config"), item.get("RepoTags") or [], item.get("Layers") or []
    if not isinstance(config, str) or not _are_strings(names) or not _are_strings(layers):
        raise TamperedError(
            f"an image in {DOCKER_MANIFEST_FILE} lacks Config, or has RepoTags or Layers of a wrong type"
        )
    if len(layers) > MAX_LAYERS:
        raise TamperedError(
            f"an image in {DOCKER_MANIFEST_FILE} has {len(layers)} layers: at most {MAX_LAYERS} are read"
        )
    return ArchivedImage(config, tuple(names), tuple(layers))


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check_config_name(name: str, config: bytes) -> None:
    """Docker names the config by its digest; other tools may not."""
    match = _CONFIG_NAME.match(posixpath.basename(name))
    found = Digest.of(config)
    if match and match[1] != found.hex:
        raise TamperedError(f"the config {name} is {found}: expected the digest that its name states")


def _choose_image(images: tuple[ArchivedImage, ...], name: str | None, where: str) -> ArchivedImage:
    hint = _names_hint([", ".join(image.names) or f"@{number}" for number, image in enumerate(images)])
    if name is None:
        if len(images) > 1:
            raise UsageError(f"{where} has {len(images)} images: expected a name", hint=hint)
        return images[0]
    if name.startswith("@"):
        fitting = [image for number, image in enumerate(images) if name == f"@{number}"]
    else:
        wanted = Reference.parse(name).with_default_tag()
        fitting = [image for image in images if any(_same_name(other, wanted) for other in image.names)]
    if not fitting:
        raise MissingError(f"{where} has no image {name!r}", hint=hint)
    if len({(image.config, image.layers) for image in fitting}) > 1:
        raise TamperedError(f"{where} has the name {name!r} at {len(fitting)} images: expected one")
    return fitting[0]


def _same_name(text: str, wanted: Reference) -> bool:
    try:
        return Reference.parse(text).with_default_tag() == wanted
    except UsageError:
        return False


# Layouts


def read_layout(layout: Layout, tag: str | None = None, *, platform: str | None = None) -> Image:
    """An image of a layout folder; without a tag, the only one.

    Raises:
        MissingError: no such folder, tag or blob.
        UsageError: it has several images, and no tag was given.
        TamperedError: it is damaged.
    """
    entry = choose_entry(layout.entries(), tag, layout.name)
    return image_of(layout, entry.digest, platform=platform)
