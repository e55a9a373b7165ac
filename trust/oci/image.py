"""An image on its way from a source to a store.

A *final* image has its manifest already (``oci:``, the local store): its bytes are carried over as
they are. Any other (``docker save``, a Docker engine) has a config and layers, whose manifest is
made once the layers are compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trust.digest import Digest
    from trust.oci.manifest import Descriptor, Manifest
    from trust.oci.store import BlobReader


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """One layer as the source holds it.

    ``descriptor`` is set for a layer in its final form, and ``open`` gives exactly its bytes;
    else ``open`` gives the layer's bytes, a tar that may be gzip- or zstd-compressed, whose
    uncompressed digest must be ``diff_id``. ``size`` is that of the source's bytes, for progress.
    """

    open: BlobReader
    size: int
    diff_id: Digest | None = None
    descriptor: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One image, or an index with the images it lists.

    ``manifest`` is None until the layers are compressed. For an index ``config`` is empty, and
    ``images`` holds those of its manifests that the source has.
    """

    config: bytes
    layers: tuple[SourceLayer, ...]
    manifest: Manifest | None = None
    images: tuple[Image, ...] = ()
