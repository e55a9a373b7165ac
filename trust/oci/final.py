"""An image in its final form, out of any store: its bytes are carried over as they are."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from trust import strictjson
from trust.errors import MissingError, TamperedError, UsageError
from trust.oci.image import Image, SourceLayer
from trust.oci.manifest import MAX_CONFIG_BYTES
from trust.oci.stream import ReadStream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trust.digest import Digest
    from trust.oci.manifest import Descriptor, Manifest
    from trust.oci.store import Store, Tag

MAX_IMAGES = 1000
"""What one index may list, indexes in it included."""


class ImageStore(Protocol):
    """What an image is read from: a part of ``Store``."""

    def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The manifest at a tag or digest."""
        ...

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob, whole."""
        ...

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream that checks itself."""
        ...


def image_of(store: ImageStore, reference: Tag | Digest, *, platform: str | None = None) -> Image:
    """The image, or the index with those of its images that the store has. Layers are opened when they are read.

    Args:
        store: where it is.
        reference: tag or digest.
        platform: ``os/arch[/variant]``: of an index, only the image for it.

    Raises:
        MissingError: there is no such manifest, config or platform.
        TamperedError: bytes that are not what their digest or length says.
    """
    manifest = store.get_manifest(reference)
    if platform is None:
        return _final(store, manifest, set())
    if manifest.is_index:
        return _final(store, store.get_manifest(_of_platform(manifest, platform)), set())
    image = _final(store, manifest, set())
    found = platform_of(image.config)
    if not _fits(found, platform):
        raise MissingError(f"the image {manifest.digest} is for {found}: expected {platform}")
    return image


def platform_of(config: bytes) -> str:
    """``os/arch[/variant]`` as an image's config states it (image-spec, config.md).

    Raises:
        TamperedError: the config is not strict JSON.
    """
    body = strictjson.loads_object(config, "the image's config")
    return "/".join(str(body[name]) for name in ("os", "architecture", "variant") if body.get(name))


def _final(store: ImageStore, manifest: Manifest, seen: set[Digest]) -> Image:
    seen.add(manifest.digest)
    if len(seen) > MAX_IMAGES:
        raise TamperedError(f"the index lists more than {MAX_IMAGES} images")
    if manifest.is_index:
        children = []
        for entry in manifest.manifests:
            if entry.digest in seen:
                continue
            try:
                child = store.get_manifest(entry.digest)
            except MissingError:
                continue
            if child.size != entry.size:
                raise TamperedError(f"the manifest {child.digest} has {child.size} bytes: the index says {entry.size}")
            children.append(_final(store, child, seen))
        return Image(b"", (), manifest, tuple(children))
    config = store.read_blob(cast("Descriptor", manifest.config), MAX_CONFIG_BYTES)
    layers = tuple(SourceLayer(LazyBlob(store, layer), layer.size, descriptor=layer) for layer in manifest.layers)
    return Image(config, layers, manifest)


def _of_platform(index: Manifest, platform: str) -> Digest:
    for entry in index.manifests:
        if entry.platform is not None and _fits(entry.platform, platform):
            return entry.digest
    there = ", ".join(sorted({entry.platform for entry in index.manifests if entry.platform})) or "none"
    raise MissingError(f"the index {index.digest} has no image for {platform}: it has {there}")


def _fits(found: str, wanted: str) -> bool:
    """``linux/arm`` is met by ``linux/arm/v7``, not the other way round."""
    return f"{found}/".startswith(f"{wanted}/")


@dataclass(frozen=True, slots=True)
class LazyBlob:
    """Opens a store's blob as often as it is called."""

    store: ImageStore
    descriptor: Descriptor

    def __call__(self) -> BinaryIO:
        """The blob as a stream, whose close ends what the store holds open for it."""
        return cast("BinaryIO", _HeldBlob(self.store.open_blob(self.descriptor)))


class _HeldBlob(ReadStream):
    """A blob whose context ends when it is closed."""

    def __init__(self, blob: AbstractContextManager[BinaryIO]) -> None:
        super().__init__()
        self._context = ExitStack()
        self._blob = self._context.enter_context(blob)

    def read(self, size: int | None = -1, /) -> bytes:
        return self._blob.read(-1 if size is None else size)

    def close(self) -> None:
        self._context.close()
        super().close()


def put_image(image: Image, store: Store, tag: Tag | None = None) -> None:
    """Store a final image: layers and config, then the manifest with its tag. Foreign layers stay where they are.

    Raises:
        TamperedError: the source gives other bytes than the manifest says.
    """
    manifest = manifest_of(image)
    for child in image.images:
        put_image(child, store)
    for layer in image.layers:
        if layer.descriptor is not None and not layer.descriptor.is_foreign:
            store.put_blob(layer.descriptor, layer.open)
    if manifest.config is not None:
        store.put_blob(manifest.config, lambda: io.BytesIO(image.config))
    store.put_manifest(manifest, tag)


def manifest_of(image: Image) -> Manifest:
    """The manifest of a final image.

    Raises:
        UsageError: it is not final.
    """
    if image.manifest is None:
        raise UsageError("the image has no manifest yet: expected one whose layers are compressed")
    return image.manifest
