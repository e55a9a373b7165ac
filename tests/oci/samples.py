"""Small images, and archives made by hand, for the tests of layouts and archives."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.oci.manifest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    Descriptor,
    Manifest,
    image_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from trust.oci.store import Store


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with one layer per text: a file ``hello`` that holds it."""

    manifest: Manifest
    config: bytes
    blobs: tuple[tuple[Descriptor, bytes], ...]

    def put(self, store: Store, tag: str | None = None) -> Manifest:
        for descriptor, data in self.blobs:
            store.put_blob(descriptor, partial(io.BytesIO, data))
        store.put_manifest(self.manifest, tag)
        return self.manifest


def layer_tar(text: str) -> bytes:
    return tar_of([("hello", text.encode())])


def tar_of(files: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> bytes:
    """A tar of files in order; a TarInfo stands for a member without content (links, folders)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                archive.addfile(file)
            else:
                member = tarfile.TarInfo(file[0])
                member.size = len(file[1])
                archive.addfile(member, io.BytesIO(file[1]))
    return out.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


def config_of(layers: Iterable[bytes], architecture: str = "amd64") -> bytes:
    """A config for these uncompressed layers."""
    body = {
        "created": "2024-05-06T07:08:09.123456789Z",
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
    }
    return json.dumps(body).encode()


def sample(*texts: str, architecture: str = "amd64", packed: bool = True) -> Sample:
    tars = [layer_tar(text) for text in texts]
    layers = [gzip.compress(tar, mtime=0) for tar in tars] if packed else tars
    descriptors = [Descriptor.of(layer, OCI_LAYER_GZIP if packed else OCI_LAYER) for layer in layers]
    config = config_of(tars, architecture)
    described = Descriptor.of(config, OCI_CONFIG)
    manifest = image_manifest(described, tuple(descriptors))
    return Sample(manifest, config, ((described, config), *zip(descriptors, layers, strict=True)))


def index_of(*samples: tuple[Sample, str]) -> Manifest:
    """An index of images by platform."""
    entries = [
        Descriptor(one.manifest.media_type, one.manifest.digest, one.manifest.size, platform=platform).to_json()
        for one, platform in samples
    ]
    return Manifest.parse(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode())


def files_of(store: Sample) -> list[tuple[str, bytes]]:
    """The blobs of an image as files of an OCI layout."""
    blobs = [
        (store.manifest.digest, store.manifest.raw),
        *((described.digest, data) for described, data in store.blobs),
    ]
    return [(f"blobs/sha256/{digest.hex}", data) for digest, data in blobs]


def oci_archive_files(image: Sample, *, annotations: dict[str, str] | None = None) -> list[tuple[str, bytes]]:
    entry = image.manifest.descriptor.to_json() | {"annotations": annotations or {}}
    index = {"schemaVersion": 2, "manifests": [entry]}
    return [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        ("index.json", json.dumps(index).encode()),
        *files_of(image),
    ]


def docker_archive_files(*texts: str, names: tuple[str, ...] = ("app:v1",)) -> list[tuple[str, bytes]]:
    """The classic form: each layer in a folder of its own."""
    layers = [layer_tar(text) for text in texts]
    config = config_of(layers)
    config_name = f"{Digest.of(config).hex}.json"
    layer_names = [f"layer{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": config_name, "RepoTags": list(names), "Layers": layer_names}]
    return [
        *zip(layer_names, layers, strict=True),
        (config_name, config),
        ("manifest.json", json.dumps(manifest).encode()),
    ]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
