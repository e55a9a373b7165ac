"""The images of this machine: names, ids, tags, removal, and one store a repository."""

from __future__ import annotations

import io
import json
import os
import time
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.oci.samples import Sample, index_of, sample
from trust.digest import Digest
from trust.errors import MissingError, TamperedError, UsageError
from trust.oci.layout import GC_GRACE_SECONDS
from trust.oci.localstore import LocalStore, checked_name
from trust.oci.manifest import OCI_CONFIG, Descriptor, image_manifest
from trust.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from pathlib import Path

APP = sample("one", "two")
ARM = sample("arm", architecture="arm64")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def local(folder: Path) -> LocalStore:
    return LocalStore(folder)


def put(local: LocalStore, name: str, image: Sample = APP) -> None:
    reference = Reference.parse(name)
    image.put(local.store(reference.repository), reference.tag)


def names(local: LocalStore) -> list[str]:
    return [image.reference.familiar for image in local.images()]


def size_of(image: Sample) -> int:
    return sum(descriptor.size for descriptor, _ in image.blobs)


def age(folder: Path) -> None:
    then = time.time() - 2 * GC_GRACE_SECONDS
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def ref_name(folder: Path, number: int, text: str) -> None:
    """Give an entry another ``ref.name``, as another tool might."""
    index = json.loads((folder / "index.json").read_bytes())
    index["manifests"][number]["annotations"]["org.opencontainers.image.ref.name"] = text
    (folder / "index.json").write_text(json.dumps(index))


def test_an_empty_store_has_nothing_and_is_not_made(local: LocalStore, folder: Path) -> None:
    assert local.images() == ()
    assert local.find(Reference.parse("app:v1")) is None
    assert local.store(Repository.parse("app")).tags(5) == ()
    with pytest.raises(MissingError, match="no local image 'app:v1'") as caught:
        local.image("app:v1")
    assert caught.value.hint == "dockseal images lists those that are there"
    assert not folder.exists()


def test_images_are_listed_by_name(local: LocalStore) -> None:
    put(local, "ghcr.io/acme/app:v2", ARM)
    put(local, "app:v1")
    first, second = local.images()
    assert str(first.reference) == "docker.io/library/app:v1"
    assert first.digest == APP.manifest.digest
    assert first.id == Digest.of(APP.config)
    assert first.created == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert first.size == size_of(APP)
    assert str(second.reference) == "ghcr.io/acme/app:v2"


def test_repositories_do_not_see_each_other_but_share_blobs(local: LocalStore) -> None:
    put(local, "app:v1")
    other = local.store(Repository.parse("ghcr.io/acme/app"))
    assert other.tags(5) == ()
    assert other.resolve("v1") is None
    assert other.has_blob(APP.blobs[1][0].digest)
    assert other.repository == "ghcr.io/acme/app"
    assert other.name == "the local store's ghcr.io/acme/app"
    assert local.store(Repository.parse("app")).get_manifest("v1") == APP.manifest


FINDS = {
    "a tag": ("app:v1", True),
    "the default tag": ("app", True),
    "the full name": ("docker.io/library/app:v1", True),
    "a digest": (f"app@{APP.manifest.digest}", True),
    "a tag at its digest": (f"app:v1@{APP.manifest.digest}", True),
    "a tag at another digest": (f"app:v1@{ARM.manifest.digest}", False),
    "a digest of another repository": (f"other@{APP.manifest.digest}", False),
    "another tag": ("app:v2", False),
    "another registry": ("ghcr.io/library/app:v1", False),
}


@pytest.mark.parametrize("name", FINDS)
def test_a_name_finds_its_image(name: str, local: LocalStore) -> None:
    put(local, "app:v1")
    put(local, "app:latest")
    put(local, "other:v1", ARM)
    text, found = FINDS[name]
    assert local.find(Reference.parse(text)) == (APP.manifest if found else None)


def test_an_image_is_found_by_the_beginning_of_its_id(local: LocalStore) -> None:
    put(local, "app:v1")
    put(local, "app:v2")
    put(local, "arm:v1", ARM)
    for text in (Digest.of(APP.config).hex[:4], Digest.of(APP.config).hex, str(Digest.of(APP.config))[:20]):
        assert local.image(text).manifest == APP.manifest
    assert local.image(Reference.parse("app:v2")).config == APP.config
    with pytest.raises(MissingError):
        local.image(Digest.of(APP.config).hex[:3])
    with pytest.raises(UsageError, match="must be lowercase"):
        local.image("App")


def same_beginning() -> tuple[str, list[bytes]]:
    """Two configs whose digests begin with the same four digits."""
    seen: dict[str, bytes] = {}
    for number in count():
        config = json.dumps({"number": number}).encode()
        prefix = Digest.of(config).hex[:4]
        if prefix in seen:
            return prefix, [seen[prefix], config]
        seen[prefix] = config
    raise AssertionError


def put_config(local: LocalStore, tag: str, config: bytes) -> None:
    store, described = local.store(Repository.parse("app")), Descriptor.of(config, OCI_CONFIG)
    store.put_blob(described, lambda: io.BytesIO(config))
    store.put_manifest(image_manifest(described, ()), tag)


def test_the_beginning_of_two_ids_is_refused(local: LocalStore) -> None:
    prefix, configs = same_beginning()
    for tag, config in zip("ab", configs, strict=True):
        put_config(local, tag, config)
    with pytest.raises(UsageError, match="begins the ids of several images"):
        local.lookup(prefix)
    assert local.lookup(Digest.of(configs[1]).hex).reference.tag == "b"


def test_a_name_goes_before_an_id(local: LocalStore) -> None:
    name = Digest.of(APP.config).hex[:12]
    put(local, "app:v1")
    put(local, f"{name}:latest", ARM)
    assert local.image(name).manifest == ARM.manifest


def test_tagging_gives_one_more_name(local: LocalStore) -> None:
    put(local, "app:v1")
    local.tag("app:v1", Reference.parse("ghcr.io/acme/app"))
    local.tag(Digest.of(APP.config).hex[:12], Reference.parse("third:v3"))
    assert names(local) == ["app:v1", "third:v3", "ghcr.io/acme/app:latest"]
    put(local, "arm:v1", ARM)
    local.tag(Reference.parse("arm:v1"), Reference.parse("app:v1"))
    assert local.find(Reference.parse("app:v1")) == ARM.manifest


def test_what_is_no_name_for_an_image_is_refused(local: LocalStore) -> None:
    put(local, "app:v1")
    with pytest.raises(UsageError, match="has a digest"):
        local.tag("app:v1", Reference.parse(f"app@{APP.manifest.digest}"))
    with pytest.raises(UsageError, match="is reserved"):
        local.tag("app:v1", Reference.parse("app:_trust"))
    with pytest.raises(MissingError):
        local.tag("app:v2", Reference.parse("app:v3"))
    assert checked_name(Reference.parse("app")).tag == "latest"
    assert names(local) == ["app:v1"]


def test_removing_one_of_two_names_keeps_the_image(local: LocalStore, folder: Path) -> None:
    put(local, "app:v1")
    put(local, "app:v2")
    age(folder)
    removal = local.remove("app:v1")
    assert removal.untagged == Reference.parse("app:v1")
    assert removal.deleted is None
    assert removal.freed == 0
    assert names(local) == ["app:v2"]


def test_removing_the_last_name_frees_the_image(local: LocalStore, folder: Path) -> None:
    put(local, "app:v1")
    put(local, "arm:v1", ARM)
    age(folder)
    removal = local.remove(Reference.parse("app:v1"))
    assert removal.deleted == Digest.of(APP.config)
    assert removal.freed == size_of(APP) + APP.manifest.size
    assert local.image("arm:v1").manifest == ARM.manifest
    with pytest.raises(MissingError):
        local.remove("app:v1")


def test_an_id_removes_an_image_with_one_name_only(local: LocalStore) -> None:
    prefix = Digest.of(APP.config).hex[:12]
    put(local, "app:v1")
    put(local, "app:v2")
    for text in (prefix, Digest.of(APP.config).hex, f"app@{APP.manifest.digest}", f"sha256:{prefix}"):
        with pytest.raises(UsageError, match="has several names: app:v1, app:v2"):
            local.remove(text)
    local.remove("app:v2")
    assert local.remove(prefix).deleted == Digest.of(APP.config)
    assert names(local) == []


def test_an_index_is_listed_with_the_size_of_what_is_here(local: LocalStore) -> None:
    index = index_of((APP, "linux/amd64"), (ARM, "linux/arm64"))
    store = local.store(Repository.parse("app"))
    APP.put(store)
    store.put_manifest(index, "v1")
    (image,) = local.images()
    assert image.id == index.digest
    assert image.created is None
    assert image.size == size_of(APP)
    assert [child.manifest for child in local.image("app:v1").images] == [APP.manifest]


def test_a_config_that_says_no_time_is_listed_without(local: LocalStore) -> None:
    for tag, config in (("a", b"{}"), ("b", b'{"created":"yesterday"}'), ("c", b'{"created":1.5}'), ("d", b"[")):
        put_config(local, tag, config)
    assert [image.created for image in local.images()] == [None] * 4


def test_a_damaged_image_is_listed_and_removed_but_not_used(local: LocalStore, folder: Path) -> None:
    put(local, "app:v1")
    put(local, "arm:v1", ARM)
    (folder / "blobs/sha256" / APP.manifest.digest.hex).write_bytes(b"damaged")
    (folder / "blobs/sha256" / Digest.of(ARM.config).hex).unlink()
    assert [(image.id, image.size) for image in local.images()] == [
        (APP.manifest.digest, 0),
        (ARM.manifest.digest, 0),
    ]
    with pytest.raises(TamperedError):
        local.image("app:v1")
    with pytest.raises(MissingError):
        local.image("arm:v1")
    local.remove("app:v1")
    local.remove("arm:v1")
    assert names(local) == []


def test_entries_of_other_tools_are_left_alone(local: LocalStore, folder: Path) -> None:
    put(local, "app:v1")
    put(local, "app:v2")
    put(local, "app:v3")
    ref_name(folder, 0, "v1")
    ref_name(folder, 1, "NOT A NAME")
    assert names(local) == ["app:v3"]
    local.tag("app:v3", Reference.parse("app:v4"))
    local.remove("app:v3")
    index = json.loads((folder / "index.json").read_bytes())
    found = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert found == ["v1", "NOT A NAME", "docker.io/library/app:v4"]
