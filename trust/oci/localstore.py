"""The images of this machine: one OCI layout folder that holds many repositories.

An entry's ``ref.name`` is the full name, ``docker.io/library/app:v1``. One :class:`Layout` a
repository gives the common store interface; what spans repositories is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trust import strictjson
from trust.errors import MissingError, TamperedError, UsageError
from trust.oci.final import image_of
from trust.oci.layout import REF_NAME, Layout
from trust.oci.manifest import MAX_CONFIG_BYTES
from trust.oci.reference import Reference, check_image_tag

if TYPE_CHECKING:
    from pathlib import Path

    from trust.digest import Digest
    from trust.oci.image import Image
    from trust.oci.manifest import Descriptor, Manifest
    from trust.oci.reference import Repository
    from trust.oci.store import Store

_ID_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})\Z")
"""What may be an image id: at least four hex digits."""


@dataclass(frozen=True, slots=True)
class LocalImage:
    """One name and what it stands for.

    ``id`` is the config's digest, of an index the index's own; ``size`` is in bytes, the
    compressed layers and config, of an index those of the images that are here.
    """

    reference: Reference
    digest: Digest
    id: Digest
    created: datetime | None
    size: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What :meth:`LocalStore.remove` did. ``deleted`` is the image's id if no other name holds it."""

    untagged: Reference
    deleted: Digest | None
    freed: int


class LocalStore:
    """The images of this machine.

    Args:
        folder: ``images`` in ``DOCKSEAL_HOME``; made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layout = Layout(folder, repository="", name="the local store", private=True)

    def store(self, repository: Repository) -> Store:
        """One repository's manifests, tags and blobs. Its blobs are shared with the others'."""
        name = f"the local store's {repository.familiar}"
        return Layout(self._folder, repository=str(repository), prefix=f"{repository}:", name=name, private=True)

    def images(self) -> tuple[LocalImage, ...]:
        """All names, in order.

        Raises:
            TamperedError: the store is damaged.
        """
        return tuple(self._describe(reference, entry) for reference, entry in self._named())

    def find(self, reference: Reference) -> Manifest | None:
        """The manifest of a name, or None. ``NAME:TAG@DIGEST`` needs the tag to be at the digest.

        Raises:
            TamperedError: the store is damaged.
        """
        entry = self._entry(reference.with_default_tag())
        return None if entry is None else self._layout.get_manifest(entry.digest)

    def lookup(self, name: str) -> LocalImage:
        """The image that people mean by a name, or by the beginning of an id.

        Raises:
            MissingError: there is none.
            UsageError: it is no name, or the beginning of several ids.
        """
        match = _ID_PREFIX.match(name)
        try:
            reference = Reference.parse(name).with_default_tag()
        except UsageError:
            if not match:
                raise
        else:
            for found, entry in self._named():
                if _means(reference, found, entry):
                    return self._describe(found, entry)
        fitting = [image for image in self.images() if match and image.id.hex.startswith(match[1])]
        if not fitting:
            raise MissingError(f"there is no local image {name!r}", hint="dockseal images lists those that are there")
        if len({image.id for image in fitting}) > 1:
            raise UsageError(f"{name!r} begins the ids of several images: expected more digits of one")
        return fitting[0]

    def image(self, name: Reference | str) -> Image:
        """The image of a name or of the beginning of an id, in its final form.

        Raises:
            MissingError: there is none.
            UsageError: as for :meth:`lookup`.
        """
        return image_of(self._layout, self.lookup(str(name)).digest)

    def tag(self, source: Reference | str, target: Reference) -> None:
        """Give an image one more name; the name leaves the image that it stood for.

        Raises:
            MissingError: there is no such image.
            UsageError: the target has a digest, or its tag is reserved.
        """
        manifest = self._layout.get_manifest(self.lookup(str(source)).digest)
        target = checked_name(target)
        self.store(target.repository).put_manifest(manifest, target.tag)

    def remove(self, name: Reference | str) -> Removal:
        """Take one name away, and the image where it was its last one.

        Raises:
            MissingError: there is no such image.
            UsageError: an id that several names stand for.
        """
        image = self.lookup(str(name))
        others = [other for other in self.images() if other.digest == image.digest and other != image]
        if others and not _asks_by_tag(name, image.reference):
            names = ", ".join(sorted(other.reference.familiar for other in [image, *others]))
            raise UsageError(f"{name} has several names: {names}", hint="remove them one by one")
        self.store(image.reference.repository).untag(image.reference.tag or "")
        return Removal(image.reference, None if others else image.id, self._layout.gc())

    def _named(self) -> list[tuple[Reference, Descriptor]]:
        """The entries that have a full name; others may be there, put by other tools."""
        try:
            entries = self._layout.entries()
        except MissingError:
            return []
        named = ((_reference(entry), entry) for entry in entries)
        return sorted(((reference, entry) for reference, entry in named if reference), key=lambda pair: str(pair[0]))

    def _entry(self, reference: Reference) -> Descriptor | None:
        return next((entry for found, entry in self._named() if _means(reference, found, entry)), None)

    def _describe(self, reference: Reference, entry: Descriptor) -> LocalImage:
        """A damaged image is listed without its size, so that it can be removed; using it says what is wrong."""
        try:
            manifest = self._layout.get_manifest(entry.digest)
            if manifest.config is None:
                return LocalImage(reference, entry.digest, entry.digest, None, self._index_size(manifest))
            config = self._layout.read_blob(manifest.config, MAX_CONFIG_BYTES)
        except (MissingError, TamperedError):
            return LocalImage(reference, entry.digest, entry.digest, None, 0)
        return LocalImage(reference, entry.digest, manifest.config.digest, _created(config), _size(manifest))

    def _index_size(self, index: Manifest) -> int:
        here = [entry for entry in index.manifests if self._layout.has_manifest(entry.digest)]
        return sum(_size(self._layout.get_manifest(entry.digest)) for entry in here)


def digest_tag(digest: Digest) -> str:
    """The tag of what was pulled by digest alone. It is of this machine only, and never pushed with the others."""
    return f"sha256-{digest.short}"


def checked_name(reference: Reference) -> Reference:
    """A name that an image may be given: with a tag, ``latest`` by default, and no digest.

    Raises:
        UsageError: it has a digest, or its tag is reserved.
    """
    if reference.digest is not None:
        raise UsageError(f"{reference.familiar} has a digest: expected a name with a tag, NAME:TAG")
    reference = reference.with_default_tag()
    check_image_tag(reference.tag or "")
    return reference


def _reference(entry: Descriptor) -> Reference | None:
    """The entry's full name; None for those that other tools put there."""
    name = entry.annotation(REF_NAME) or ""
    try:
        reference = Reference.parse(name)
    except UsageError:
        return None
    return reference if reference.tag is not None and str(reference) == name else None


def _means(asked: Reference, name: Reference, entry: Descriptor) -> bool:
    """Whether ``asked``, with tag or digest or both, is the entry called ``name``."""
    return (
        asked.repository == name.repository and asked.tag in {None, name.tag} and asked.digest in {None, entry.digest}
    )


def _asks_by_tag(asked: Reference | str, name: Reference) -> bool:
    try:
        reference = Reference.parse(asked) if isinstance(asked, str) else asked
    except UsageError:
        return False
    return reference.repository == name.repository and reference.with_default_tag().tag == name.tag


def _created(config: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(str(strictjson.loads_object(config, "the image's config").get("created")))
    except (TamperedError, ValueError):  # a list judges nothing
        return None


def _size(manifest: Manifest) -> int:
    return sum(part.size for part in (manifest.config, *manifest.layers) if part is not None)
