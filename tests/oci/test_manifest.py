"""Manifests: OCI and Docker, images and indexes; what is wrong with the others."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.errors import TamperedError, UsageError
from trust.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    FOREIGN_LAYERS,
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    image_manifest,
)

CONFIG = Descriptor.of(b"{}", OCI_CONFIG)
LAYER = Descriptor.of(b"layer", OCI_LAYER_GZIP)
SIGNED = {"mediaType": OCI_CONFIG, "digest": str(CONFIG.digest), "size": 2}


def image(**changes: object) -> bytes:
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG.to_json(), "layers": [LAYER.to_json()]}
    return json.dumps({key: value for key, value in (body | changes).items() if value != "absent"}).encode()


def index(**changes: object) -> bytes:
    entry = Descriptor(OCI_MANIFEST, Digest.of(b"m"), 1, platform="linux/arm/v7").to_json()
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    return json.dumps({key: value for key, value in (body | changes).items() if value != "absent"}).encode()


def test_an_image_is_read_and_its_bytes_are_kept() -> None:
    raw = image(artifactType="application/x", annotations={"a": "b"}, unknown=[1])
    manifest = Manifest.parse(raw, OCI_MANIFEST)
    assert manifest.raw == raw
    assert manifest.digest == Digest.of(raw)
    assert manifest.size == len(raw)
    assert manifest.config == CONFIG
    assert manifest.layers == (LAYER,)
    assert manifest.manifests == ()
    assert not manifest.is_index
    assert manifest.artifact_type == "application/x"
    assert manifest.annotations == (("a", "b"),)
    assert manifest.descriptor == Descriptor(OCI_MANIFEST, manifest.digest, len(raw))


def test_an_index_is_read_with_its_platforms() -> None:
    manifest = Manifest.parse(index())
    assert manifest.is_index
    assert manifest.config is None
    assert [entry.platform for entry in manifest.manifests] == ["linux/arm/v7"]
    assert manifest.manifests[0].to_json()["platform"] == {"os": "linux", "architecture": "arm", "variant": "v7"}


@pytest.mark.parametrize(
    ("raw", "media_type", "found"),
    [
        (image(), None, OCI_MANIFEST),
        (image(mediaType="absent"), None, OCI_MANIFEST),
        (image(mediaType="absent"), OCI_MANIFEST, OCI_MANIFEST),
        (image(mediaType="absent"), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (image(mediaType="absent"), "application/json", OCI_MANIFEST),
        (image(), "text/plain; charset=utf-8", OCI_MANIFEST),
        (image(), f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (image(), OCI_MANIFEST.upper(), OCI_MANIFEST),
        (image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (index(), OCI_INDEX, OCI_INDEX),
        (index(mediaType="absent"), None, OCI_INDEX),
        (index(mediaType=DOCKER_INDEX), None, DOCKER_INDEX),
        (index(manifests=None), None, OCI_INDEX),
        (image(layers=None), None, OCI_MANIFEST),
        (image(layers=[]), None, OCI_MANIFEST),
    ],
)
def test_the_type_is_the_one_inside_or_the_one_told(raw: bytes, media_type: str | None, found: str) -> None:
    assert Manifest.parse(raw, media_type).media_type == found


TAMPERED = {
    "no JSON": (b"<html>", None, "the manifest is not strict JSON"),
    "a list": (b"[]", None, "not a JSON object"),
    "a name twice": (image()[:-1] + b',"config":{}}', None, "occurs twice"),
    "too long": (b" " * (MAX_MANIFEST_BYTES + 1), None, "at most 8388608"),
    "another type than told": (image(), DOCKER_MANIFEST, "the manifest says it is"),
    "an image called an index": (image(), OCI_INDEX, "the manifest says it is"),
    "layers and manifests": (image(manifests=[]), None, "the parts of an image and of an index"),
    "an index with a config": (index(config=SIGNED), None, "the parts of an image and of an index"),
    "an index with layers of schema 1": (index(fsLayers=[]), None, "the parts of an image and of an index"),
    "no config": (image(config="absent"), None, "config is no descriptor"),
    "a config that is null": (image(config=None), None, "config is no descriptor"),
    "no layers": (image(layers="absent", mediaType=OCI_MANIFEST), None, "layers is no list"),
    "layers that are an object": (image(layers={}), None, "layers is no list"),
    "a layer that is a string": (image(layers=["x"]), None, r"layers\[0\] is no descriptor"),
    "an index without manifests": (index(manifests="absent"), None, "manifests is no list"),
    "no digest": (image(config={"mediaType": "x", "size": 1}), None, "lacks mediaType or digest"),
    "no media type": (image(config={"digest": str(CONFIG.digest), "size": 1}), None, "lacks mediaType or digest"),
    "a digest that is none": (image(config=SIGNED | {"digest": "sha256:abc"}), None, "config has an invalid digest"),
    "a digest that is a path": (image(config=SIGNED | {"digest": "sha256:../../x"}), None, "an invalid digest"),
    "no size": (image(config={"mediaType": "x", "digest": str(CONFIG.digest)}), None, "has no valid size"),
    "a negative size": (image(config=SIGNED | {"size": -1}), None, "has no valid size"),
    "a size that is true": (image(config=SIGNED | {"size": True}), None, "has no valid size"),
    "a size that is text": (image(config=SIGNED | {"size": "2"}), None, "has no valid size"),
    "a size with a fraction": (image(config=SIGNED | {"size": 2.0}), None, "not strict JSON"),
    "annotations that are a list": (image(annotations=[]), None, "annotations is no map of strings"),
    "annotations that are numbers": (image(annotations={"a": 1}), None, "annotations is no map of strings"),
    "annotations of a layer": (image(config=SIGNED | {"annotations": {"a": None}}), None, "no map of strings"),
    "data that is no base64": (image(config=SIGNED | {"data": "e3#="}), None, "data is not base64"),
    "data beyond ASCII": (image(config=SIGNED | {"data": "é"}), None, "data is not base64"),
    "data that is a number": (image(config=SIGNED | {"data": 1234}), None, "data is no string"),
    "a platform that is text": (index(manifests=[SIGNED | {"platform": "linux"}]), None, "platform is no object"),
    "an artifactType that is a number": (image(artifactType=1), None, "artifactType is no string"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_is_no_valid_manifest_is_tampered(name: str) -> None:
    raw, media_type, message = TAMPERED[name]
    with pytest.raises(TamperedError, match=message):
        Manifest.parse(raw, media_type)


UNSUPPORTED = {
    "schema 1": (b'{"schemaVersion":1,"fsLayers":[]}', None, "Docker schema 1"),
    "signed schema 1": (
        b'{"schemaVersion":1}',
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "Docker schema 1",
    ),
    "another type": (
        image(mediaType="application/vnd.oci.artifact.manifest.v1+json"),
        None,
        "unsupported manifest type",
    ),
    "a type that is a number": (image(mediaType=7), None, "unsupported manifest type '7'"),
    "a type that is a list": (image(mediaType=[]), None, "unsupported manifest type"),
    "an object that is no manifest": (b"{}", None, "unsupported manifest type 'None'"),
    "an object of another type": (b"{}", "text/html", "unsupported manifest type 'text/html'"),
    "another digest algorithm": (image(config=SIGNED | {"digest": f"sha512:{'0' * 128}"}), None, "only supported"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_said_by_name(name: str) -> None:
    raw, media_type, message = UNSUPPORTED[name]
    with pytest.raises(UsageError, match=message):
        Manifest.parse(raw, media_type)


def test_a_docker_image_is_read() -> None:
    config = SIGNED | {"mediaType": DOCKER_CONFIG}
    layer = SIGNED | {"mediaType": DOCKER_LAYER_GZIP}
    manifest = Manifest.parse(image(mediaType=DOCKER_MANIFEST, config=config, layers=[layer]))
    assert manifest.media_type == DOCKER_MANIFEST
    assert manifest.layers[0].media_type == DOCKER_LAYER_GZIP


def test_a_manifest_of_ours_is_always_the_same_bytes() -> None:
    inlined = Descriptor("application/x", Digest.of(b"data"), 4, (("name", "ünï"),), b"data")
    first = image_manifest(CONFIG, (LAYER, inlined), artifact_type="application/y", annotations={"who": "me"})
    assert first == image_manifest(CONFIG, (LAYER, inlined), artifact_type="application/y", annotations={"who": "me"})
    assert first.layers == (LAYER, inlined)
    assert first.layers[1].data == b"data"
    assert first.layers[1].annotation("name") == "ünï"
    assert first.layers[1].annotation("other") is None
    assert first.artifact_type == "application/y"
    assert first.annotations == (("who", "me"),)
    assert "ünï".encode() in first.raw
    assert image_manifest(CONFIG, ()).raw.startswith(
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest'
    )


def test_a_descriptor_of_bytes_names_them() -> None:
    described = Descriptor.of(b"data", "text/plain", {"a": "b"})
    assert described == Descriptor("text/plain", Digest.of(b"data"), 4, (("a", "b"),))
    assert described.to_json() == {
        "mediaType": "text/plain",
        "digest": str(Digest.of(b"data")),
        "size": 4,
        "annotations": {"a": "b"},
    }


def test_foreign_layers_are_told_by_their_type() -> None:
    assert all(Descriptor.of(b"", kind).is_foreign for kind in FOREIGN_LAYERS)
    assert not LAYER.is_foreign


def test_a_platform_may_be_incomplete() -> None:
    entries = [SIGNED | {"platform": platform} for platform in ({}, {"os": "linux"}, {"os": "linux", "variant": ""})]
    parsed = Manifest.parse(index(manifests=entries))
    assert [entry.platform for entry in parsed.manifests] == ["", "linux", "linux"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SIGNED, "data", "platform"]), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations"]), JSON
    ),
    st.booleans(),
    st.sampled_from([None, OCI_MANIFEST, OCI_INDEX, "text/plain"]),
)
def test_only_our_errors_leave_the_parser(changes: dict[str, object], of_index: bool, media_type: str | None) -> None:
    raw = index(**changes) if of_index else image(**changes)
    with suppress(TamperedError, UsageError):
        assert Manifest.parse(raw, media_type).raw == raw


@given(st.binary())
def test_only_our_errors_leave_the_parser_whatever_the_bytes(raw: bytes) -> None:
    with suppress(TamperedError, UsageError):
        Manifest.parse(raw)
