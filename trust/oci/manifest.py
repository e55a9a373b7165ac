"""Manifests: OCI image-spec v1.1 and Docker image manifest v2 schema 2, image and index.

The bytes received are what is kept, hashed and sent on; a parsed :class:`Manifest` carries them.
Docker schema 1 is refused by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Self

from trust import strictjson
from trust.digest import Digest
from trust.errors import TamperedError, UsageError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = f"{OCI_LAYER}+gzip"
OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = f"{DOCKER_LAYER}.gzip"
FOREIGN_LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
IMAGE_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
MANIFEST_TYPES = IMAGE_TYPES + INDEX_TYPES
MAX_MANIFEST_BYTES = 8 << 20
MAX_CONFIG_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of a blob or manifest (image-spec, descriptor.md). ``size`` in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: tuple[tuple[str, str], ...] = ()
    data: bytes | None = field(default=None, repr=False)
    platform: str | None = None
    """``os/arch[/variant]`` of an index entry."""

    @property
    def is_foreign(self) -> bool:
        """Whether the layer lives elsewhere (``urls``) and is never pushed."""
        return self.media_type in FOREIGN_LAYERS

    def annotation(self, name: str) -> str | None:
        """The value of one annotation."""
        return dict(self.annotations).get(name)

    @classmethod
    def of(cls, data: bytes, media_type: str, annotations: dict[str, str] | None = None) -> Self:
        """The descriptor of these bytes."""
        return cls(media_type, Digest.of(data), len(data), tuple((annotations or {}).items()))

    def to_json(self) -> dict[str, object]:
        """As it stands in a manifest."""
        import base64

        result: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform is not None:
            names = ("os", "architecture", "variant")
            result["platform"] = dict(zip(names, self.platform.split("/"), strict=False))
        if self.annotations:
            result["annotations"] = dict(self.annotations)
        if self.data is not None:
            result["data"] = base64.b64encode(self.data).decode("ascii")
        return result


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest or index: its exact bytes, and what they say.

    ``layers`` is empty for an index, ``manifests`` for an image. Make it with :meth:`parse`
    or :func:`image_manifest`.
    """

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def is_index(self) -> bool:
        """Whether it lists images by platform."""
        return self.media_type in INDEX_TYPES

    @property
    def size(self) -> int:
        """Bytes of the manifest itself."""
        return len(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor that names this manifest."""
        return Descriptor(self.media_type, self.digest, self.size)

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None) -> Self:
        """Read a manifest's bytes.

        Args:
            raw: at most ``MAX_MANIFEST_BYTES``.
            media_type: the ``Content-Type`` or descriptor's type, which must agree with ``mediaType`` inside.

        Raises:
            UsageError: a media type that is no supported manifest (schema 1 is named).
            TamperedError: the bytes are no valid manifest.
        """
        if len(raw) > MAX_MANIFEST_BYTES:
            raise TamperedError(f"the manifest is {len(raw)} bytes: expected at most {MAX_MANIFEST_BYTES}")
        body = strictjson.loads_object(raw, "the manifest")
        found = _manifest_type(body, media_type)
        digest = Digest.of(raw)
        annotations = _string_map(body.get("annotations"), "annotations")
        artifact_type = body.get("artifactType")
        if artifact_type is not None and not isinstance(artifact_type, str):
            raise TamperedError("the manifest's artifactType is no string")
        if found in INDEX_TYPES:
            manifests = _descriptors(body, "manifests")
            return cls(raw, found, digest, None, (), manifests, artifact_type, annotations)
        config = _descriptor(body.get("config"), "config")
        layers = _descriptors(body, "layers")
        return cls(raw, found, digest, config, layers, (), artifact_type, annotations)


def image_manifest(
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    *,
    artifact_type: str | None = None,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """An OCI image manifest; the same input gives the same bytes."""
    body: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if artifact_type is not None:
        body["artifactType"] = artifact_type
    body["config"] = config.to_json()
    body["layers"] = [layer.to_json() for layer in layers]
    if annotations:
        body["annotations"] = annotations
    return Manifest.parse(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(), OCI_MANIFEST)


def _manifest_type(body: dict[str, object], media_type: str | None) -> str:
    if body.get("schemaVersion") == 1:
        raise UsageError(
            "the manifest is Docker schema 1, which is no longer supported: expected schema 2 or OCI",
            hint="pull and push the image with a current client first; that converts it",
        )
    inside = body.get("mediaType")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
    if inside is None and media_type not in MANIFEST_TYPES:
        inside = OCI_INDEX if "manifests" in body else OCI_MANIFEST if "layers" in body else media_type
    found = media_type if inside is None else inside
    if found not in MANIFEST_TYPES or not isinstance(found, str):
        raise UsageError(f"unsupported manifest type {str(found)[:100]!r}: expected an OCI or Docker v2 image or index")
    if media_type in MANIFEST_TYPES and media_type != found:
        raise TamperedError(f"the manifest says it is {found}: expected {media_type}")
    if "manifests" in body and not body.keys().isdisjoint({"layers", "config", "fsLayers"}):  # CVE-2021-41190
        raise TamperedError(
            "the manifest has the parts of an image and of an index: it would read differently elsewhere"
        )
    return found


def _descriptors(body: dict[str, object], where: str) -> tuple[Descriptor, ...]:
    value = body.get(where)
    if value is None and where in body:
        return ()  # as Go programs write an empty list, and read it (umoci init)
    if not isinstance(value, list):
        raise TamperedError(f"the manifest's {where} is no list")
    return tuple(_descriptor(item, f"{where}[{number}]") for number, item in enumerate(value))


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise TamperedError(f"the manifest's {where} is no descriptor")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise TamperedError(f"the manifest's {where} lacks mediaType or digest")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise TamperedError(f"the manifest's {where} has no valid size: got {size!r}")
    annotations = _string_map(value.get("annotations"), f"{where}.annotations")
    data = _inline_data(value.get("data"), where)
    platform = _platform(value.get("platform"), where)
    return Descriptor(media_type, _digest(digest, where), size, annotations, data, platform)


def _digest(text: str, where: str) -> Digest:
    try:
        return Digest(text)
    except UsageError as error:
        if text.startswith("sha256:"):
            raise TamperedError(f"the manifest's {where} has an {error.message}") from error
        raise


def _inline_data(value: object, where: str) -> bytes | None:
    import base64

    if value is None:
        return None
    if not isinstance(value, str):
        raise TamperedError(f"the manifest's {where}.data is no string")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise TamperedError(f"the manifest's {where}.data is not base64") from error


def _platform(value: object, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TamperedError(f"the manifest's {where}.platform is no object")
    parts = [value.get("os"), value.get("architecture"), value.get("variant")]
    return "/".join(str(part) for part in parts if part)


def _string_map(value: object, where: str) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise TamperedError(f"the manifest's {where} is no map of strings")
    return tuple(value.items())
