"""Archives: what docker save and skopeo write, what hostile ones try, and what we write ourselves."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import json
import os
import re
import resource
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.oci.samples import (
    config_of,
    docker_archive_files,
    files_of,
    index_of,
    layer_tar,
    link,
    oci_archive_files,
    sample,
    tar_of,
    write,
)
from trust.digest import Digest
from trust.errors import DocksealError, MissingError, TamperedError, UsageError
from trust.oci import archive as archives
from trust.oci import tarball
from trust.oci.archive import OciArchive, diff_ids_of, read_layout
from trust.oci.codec import Codec, Density
from trust.oci.final import image_of, platform_of, put_image
from trust.oci.image import Image
from trust.oci.layout import Layout
from trust.oci.load import load_archive
from trust.oci.localstore import LocalStore
from trust.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    image_manifest,
)
from trust.oci.reference import Reference, Repository
from trust.oci.save import write_docker_archive, write_oci_archive
from trust.oci.tarball import MAX_MEMBERS, Tarball

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.engine import DockerEngine

APP = sample("one", "two")
ARM = sample("arm", architecture="arm64")
INDEX = index_of((APP, "linux/amd64"), (ARM, "linux/arm64"))


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_docker_archive(path: Path, name: str | None = None) -> Image:
    return archives.read_docker_archive(path, name, spool_dir=path.parent)


def read_oci_archive(path: Path, tag: str | None = None) -> Image:
    return archives.read_oci_archive(path, tag, spool_dir=path.parent)


def contents(image: Image) -> list[bytes]:
    result = []
    for layer in image.layers:
        with layer.open() as file:
            result.append(file.read())
    return result


def hellos(image: Image) -> list[bytes]:
    """What the file ``hello`` of each layer holds."""
    result = []
    for layer in contents(image):
        with tarfile.open(fileobj=io.BytesIO(layer), mode="r:*") as archive:
            member = archive.extractfile("hello")
            assert member is not None
            result.append(member.read())
    return result


def docker_archive(path: Path, *texts: str, names: tuple[str, ...] = ("app:v1",)) -> Path:
    return write(path, tar_of(docker_archive_files(*texts, names=names)))


# docker save files


def test_a_classic_archive_gives_config_layers_and_diff_ids(tmp_path: Path) -> None:
    image = read_docker_archive(docker_archive(tmp_path / "a.tar", "one", "two"))
    layers = [layer_tar("one"), layer_tar("two")]
    assert image.manifest is None
    assert image.config == config_of(layers)
    assert contents(image) == layers
    assert [layer.size for layer in image.layers] == [len(layer) for layer in layers]
    assert [layer.diff_id for layer in image.layers] == [Digest.of(layer) for layer in layers]


def test_a_layer_opens_as_often_as_wanted_and_from_several_places_at_once(tmp_path: Path) -> None:
    layer = read_docker_archive(docker_archive(tmp_path / "a.tar", "one")).layers[0]
    with layer.open() as first, layer.open() as second:
        assert first.read(10) == second.read(10)
        assert first.readable()
        assert first.read() == second.read()
        assert first.read(1) == b""
    into = bytearray(8)
    with layer.open() as third:
        assert third.readinto(into) == 8  # type: ignore[attr-defined]
    assert bytes(into) == layer_tar("one")[:8]


def test_a_file_replaced_meanwhile_changes_nothing(tmp_path: Path) -> None:
    image = read_docker_archive(docker_archive(tmp_path / "a.tar", "one"))
    (tmp_path / "a.tar").unlink()
    docker_archive(tmp_path / "a.tar", "other")
    assert hellos(image) == [b"one"]


def test_an_archive_is_closed_when_nobody_uses_it(tmp_path: Path) -> None:
    def open_files() -> int:
        links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(link.startswith(str(tmp_path)) for link in links)

    layer = read_docker_archive(docker_archive(tmp_path / "a.tar.gz", "one")).layers[0]
    assert open_files() == 1
    del layer
    gc.collect()
    assert open_files() == 0


def test_a_newer_archive_that_is_an_oci_layout_too(tmp_path: Path) -> None:
    image = sample("one", packed=False)
    described, *layers = image.blobs
    manifest = [
        {
            "Config": f"blobs/sha256/{described[0].digest.hex}",
            "RepoTags": ["app:v1"],
            "Layers": [f"blobs/sha256/{layer.digest.hex}" for layer, _ in layers],
            "LayerSources": {},
        }
    ]
    files = [*oci_archive_files(image), ("manifest.json", json.dumps(manifest).encode())]
    assert hellos(read_docker_archive(write(tmp_path / "a.tar", tar_of(files)), "app:v1")) == [b"one"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_a_compressed_archive_is_read_too(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.z", pack(tar_of(docker_archive_files("one", "two"))))
    assert hellos(read_docker_archive(path)) == [b"one", b"two"]


def test_names_may_begin_with_a_dot_slash(tmp_path: Path) -> None:
    files = [(f"./{name}", data) for name, data in docker_archive_files("one")]
    assert hellos(read_docker_archive(write(tmp_path / "a.tar", tar_of(files)))) == [b"one"]


def test_an_image_without_layers_or_names(tmp_path: Path) -> None:
    config = b'{"rootfs":{"type":"layers"}}'
    manifest = b'[{"Config":"c.json","RepoTags":null,"Layers":null}]'
    image = read_docker_archive(write(tmp_path / "a.tar", tar_of([("c.json", config), ("manifest.json", manifest)])))
    assert image == Image(config, ())


def linked(target: str, kind: bytes = tarfile.SYMTYPE) -> list[tuple[str, bytes] | tarfile.TarInfo]:
    """An archive whose only layer is a link."""
    files = docker_archive_files("one")
    return [("real/layer.tar", files[0][1]), link("layer0/layer.tar", target, kind), *files[1:]]


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    for number, (target, kind) in enumerate(
        [
            ("../real/layer.tar", tarfile.SYMTYPE),
            ("../layer0/../real/./layer.tar", tarfile.SYMTYPE),
            ("real/layer.tar", tarfile.LNKTYPE),
        ]
    ):
        path = write(tmp_path / f"{number}.tar", tar_of(linked(target, kind)))
        assert hellos(read_docker_archive(path)) == [b"one"]


BAD_LINKS = {
    "an absolute link": (linked("/etc/passwd"), "leaves the archive"),
    "a link above the archive": (linked("../../etc/passwd"), "leaves the archive"),
    "a hard link above the archive": (linked("../real/layer.tar", tarfile.LNKTYPE), "leaves the archive"),
    "a hard link to an absolute path": (linked("/real/layer.tar", tarfile.LNKTYPE), "leaves the archive"),
    "a link to itself": (linked("layer.tar"), "a link to more than 8 links"),
    "a link to nothing": (linked("nothing.tar"), "has no file 'layer0/nothing.tar'"),
    "a link to a folder": ([*linked("folder"), link("layer0/folder", "", tarfile.DIRTYPE)], "is no plain file"),
    "a device": (linked("", tarfile.CHRTYPE), "is no plain file"),
}


@pytest.mark.parametrize("name", BAD_LINKS)
def test_links_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    files, message = BAD_LINKS[name]
    with pytest.raises(TamperedError, match=message):
        read_docker_archive(write(tmp_path / "a.tar", tar_of(files)))


def with_manifest(manifest: bytes) -> list[tuple[str, bytes]]:
    return [*docker_archive_files("one")[:-1], ("manifest.json", manifest)]


def with_config(config: bytes, name: str = "config.json") -> list[tuple[str, bytes]]:
    manifest = json.dumps([{"Config": name, "RepoTags": ["app:v1"], "Layers": ["layer0/layer.tar"]}]).encode()
    return [docker_archive_files("one")[0], (name, config), ("manifest.json", manifest)]


TAMPERED: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "a manifest that is no JSON": (with_manifest(b"["), "not strict JSON"),
    "a manifest that is an object": (with_manifest(b"{}"), "is no list of images"),
    "a manifest without images": (with_manifest(b"[]"), "is no list of images"),
    "an image that is no object": (with_manifest(b"[1]"), "is no object"),
    "an image without config": (with_manifest(b'[{"Layers":[]}]'), "lacks Config"),
    "tags that are no list": (with_manifest(b'[{"Config":"c","RepoTags":"app"}]'), "wrong type"),
    "layers that are no strings": (with_manifest(b'[{"Config":"c","Layers":[1]}]'), "wrong type"),
    "a thousand and one layers": (
        with_manifest(json.dumps([{"Config": "c", "Layers": ["l"] * 1001}]).encode()),
        "at most 1000 are read",
    ),
    "a config that is not there": (
        with_manifest(b'[{"Config":"c.json"}]'),
        "has no file 'c.json', which manifest.json",
    ),
    "a layer that is not there": (docker_archive_files("one")[1:], "has no file 'layer0/layer.tar'"),
    "a config with other bytes than its name says": (
        with_config(config_of([layer_tar("one")]), f"{'0' * 64}.json"),
        "expected the digest that its name states",
    ),
    "a config with too few diff ids": (with_config(config_of([])), "has 1 layers: its config names 0 diff ids"),
    "a config with too many diff ids": (
        with_config(config_of([b"a", b"b"])),
        "has 1 layers: its config names 2 diff ids",
    ),
    "a config without rootfs": (with_config(b"{}"), "has no list rootfs.diff_ids"),
    "a config with a rootfs of a wrong type": (with_config(b'{"rootfs":1}'), "has no list rootfs.diff_ids"),
    "diff ids that are no strings": (with_config(b'{"rootfs":{"diff_ids":[1]}}'), "has no list rootfs.diff_ids"),
    "diff ids that are no digests": (with_config(b'{"rootfs":{"diff_ids":["abc"]}}'), "has an invalid digest"),
    "a config that is no JSON": (with_config(b"config"), "not strict JSON"),
    "an endless config": (with_config(b" " * ((8 << 20) + 1)), "at most 8388608 are read"),
    "an endless manifest": (with_manifest(b" " * ((8 << 20) + 1)), "at most 8388608 are read"),
    "a manifest twice": (
        [*docker_archive_files("one"), ("manifest.json", b"[]")],
        "twice: readers would differ",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_hostile_archive_is_tampered(name: str, tmp_path: Path) -> None:
    files, message = TAMPERED[name]
    with pytest.raises(TamperedError, match=message):
        read_docker_archive(write(tmp_path / "a.tar", tar_of(files)))


def test_what_is_no_archive_is_said_plainly(tmp_path: Path) -> None:
    good = tar_of(docker_archive_files("one"))
    cases: list[tuple[bytes, type[DocksealError], str]] = [
        (b"", UsageError, "is no tar archive"),
        (b"hello, world" * 100, UsageError, "is no tar archive"),
        (bz2.compress(good), UsageError, "is compressed with bzip2"),
        (b"\xfd7zXZ\0" + bytes(100), UsageError, "is compressed with xz"),
        (gzip.compress(b"hello"), UsageError, "is no tar, plain or with gzip or zstd"),
        (gzip.compress(good)[:-20], TamperedError, "gzip"),
        (gzip.compress(good)[:20], TamperedError, "gzip"),
        (b"\x1f\x8b\x08" + b"\xff" * 50, TamperedError, "gzip"),
        (good[: len(good) // 3], TamperedError, "is cut short"),
        (tar_of([("hello", b"world")]), UsageError, "has no manifest.json"),
        (bytes(10240), UsageError, "has no manifest.json"),
    ]
    for number, (data, error, message) in enumerate(cases):
        with pytest.raises(error, match=message):
            read_docker_archive(write(tmp_path / f"{number}.tar", data))
    with pytest.raises(MissingError, match="does not exist"):
        read_docker_archive(tmp_path / "none.tar")
    with pytest.raises(UsageError, match="is a folder") as caught:
        read_docker_archive(tmp_path)
    assert caught.value.hint == f"a layout is named oci:{tmp_path}"


def test_the_other_kind_of_archive_is_named_in_the_hint(tmp_path: Path) -> None:
    oci = write(tmp_path / "oci.tar", tar_of(oci_archive_files(APP)))
    with pytest.raises(UsageError) as caught:
        read_docker_archive(oci)
    assert caught.value.hint == f"a layout's archive is named oci-archive:{oci}"
    with pytest.raises(UsageError, match=r"no OCI archive: it has no index\.json") as caught:
        read_oci_archive(docker_archive(tmp_path / "docker.tar", "one"))
    assert caught.value.hint is not None
    assert "docker-archive:FILE" in caught.value.hint


def test_a_header_may_not_fill_the_memory(tmp_path: Path) -> None:
    name = tarfile.TarInfo("x" * (2 << 20))
    path = write(tmp_path / "a.tar", tar_of([name]))
    with pytest.raises(TamperedError, match="has a header of more than"):
        read_docker_archive(path)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    data = tarfile.TarInfo("x").tobuf() * (MAX_MEMBERS + 1)
    with pytest.raises(TamperedError, match="more than 16384 members"):
        read_docker_archive(write(tmp_path / "a.tar", data))


@pytest.mark.parametrize("size", [5000, 1 << 40, 1 << 70])
def test_a_member_of_an_unknown_kind_that_leads_beyond_the_end(size: int, tmp_path: Path) -> None:
    first, second = tarfile.TarInfo("first"), tarfile.TarInfo("second")
    second.type, second.size = b"Z", size
    data = first.tobuf(tarfile.GNU_FORMAT) + second.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(TamperedError, match=r"is damaged|is no valid tar archive"):
        read_docker_archive(write(tmp_path / "a.tar", data))


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"Z"):
        member = tarfile.TarInfo("x")
        member.type, member.size = kind, -(1 << 40)
        data = tarfile.TarInfo("first").tobuf() + member.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
        with pytest.raises((TamperedError, UsageError)):  # Python 3.11.2 sees the archive end before one of them
            read_docker_archive(write(tmp_path / "a.tar", data))


def test_a_header_that_holds_no_number_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.pax_headers = {"GNU.sparse.map": "abc"}
    with pytest.raises(TamperedError, match="is damaged: invalid literal"):
        read_docker_archive(write(tmp_path / "a.tar", tar_of([member])))


def test_a_full_disk_while_unpacking_names_the_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of([("big", bytes(4 << 20))])))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(DocksealError, match=f"could not write {tmp_path}: File too large") as caught:
            Tarball.open(path, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free some disk space" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_an_archive_that_is_a_bomb_is_left_to_the_user(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tar.x", pack(tar_of([("zeros", bytes(8 << 20)), *docker_archive_files("one")])))
    read_docker_archive(path)
    monkeypatch.setattr(tarball, "UNPACKED_DENSITY", Density(100, 4 << 20))
    with pytest.raises(TamperedError, match=r"looks like a decompression bomb.* expected at most 100 times") as caught:
        read_docker_archive(path)
    assert re.fullmatch(
        rf"if you trust it, unpack it yourself: (gunzip|unzstd) < {path} > {path}.tar", caught.value.hint or ""
    )
    assert list(tmp_path.iterdir()) == [path]


def test_the_room_that_a_compressed_archive_takes_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of([("noise", os.urandom(3 << 20))])))
    monkeypatch.setattr(tarball, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(TamperedError, match="more than 1048576 bytes") as caught:
        read_docker_archive(path)
    assert "gunzip" in (caught.value.hint or "")


def test_what_is_no_tar_ends_before_it_is_unpacked(tmp_path: Path) -> None:
    """A file that may grow to one step's size, no more: what came before the error was not kept either."""
    path = write(tmp_path / "a.tar.gz", gzip.compress(b"x" * (64 << 20)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(UsageError, match="is no tar"):
            read_docker_archive(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_header_that_cannot_be_ends_the_unpacking(tmp_path: Path) -> None:
    good = tar_of(docker_archive_files("one"))
    broken = tarfile.TarInfo("x").tobuf()[:148] + b"0000000\0" + bytes(356)
    with pytest.raises(TamperedError, match="wrong checksum"):
        read_docker_archive(write(tmp_path / "a.tar.gz", gzip.compress(good.rstrip(b"\0") + bytes(512) + broken)))


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("layer")
    member.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(TamperedError, match="is a sparse file"):
        read_docker_archive(write(tmp_path / "a.tar", tar_of([member])))


def test_an_archive_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", "one")
    layer = read_docker_archive(path).layers[0]
    os.truncate(path, 0)
    with layer.open() as file, pytest.raises(TamperedError, match="cut short while it was read"):
        file.read()


def several(tmp_path: Path) -> Path:
    one, two = docker_archive_files("one", names=("app:v1", "app:latest")), docker_archive_files("two", names=())
    two = [(name.replace("layer0", "other0"), data) for name, data in two]
    manifest = json.loads(one[-1][1]) + json.loads(two[-1][1].replace(b"layer0", b"other0"))
    files = [*one[:-1], *two[:-1], ("manifest.json", json.dumps(manifest).encode())]
    return write(tmp_path / "several.tar", tar_of(files))


@pytest.mark.parametrize(
    ("name", "hello"),
    [("app:v1", b"one"), ("app", b"one"), ("docker.io/library/app:v1", b"one"), ("@0", b"one"), ("@1", b"two")],
)
def test_one_of_several_images_is_chosen_by_name_or_number(name: str, hello: bytes, tmp_path: Path) -> None:
    assert hellos(read_docker_archive(several(tmp_path), name)) == [hello]


def test_several_images_need_a_name_and_the_error_lists_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 2 images: expected a name") as caught:
        read_docker_archive(several(tmp_path))
    assert caught.value.hint == "it has app:v1, app:latest, @1"
    for name in ("app:v2", "other", "@2", "@x"):
        with pytest.raises(MissingError, match="has no image"):
            read_docker_archive(several(tmp_path), name)
    with pytest.raises(UsageError):
        read_docker_archive(several(tmp_path), "App")


def test_names_that_are_none_do_not_hide_the_others(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", "one", names=("NOT A NAME", "app:v1"))
    assert hellos(read_docker_archive(path, "app:v1")) == [b"one"]


def test_one_name_at_two_images_is_tampered(tmp_path: Path) -> None:
    one, two = docker_archive_files("one"), docker_archive_files("two")
    manifest = json.loads(one[-1][1]) + json.loads(two[-1][1])
    files = [*one[:-1], two[-2], ("manifest.json", json.dumps(manifest).encode())]
    with pytest.raises(TamperedError, match="at 2 images: expected one"):
        read_docker_archive(write(tmp_path / "a.tar", tar_of(files)), "app:v1")


def test_diff_ids_that_are_null_are_none() -> None:
    assert diff_ids_of(b'{"rootfs":{"type":"layers","diff_ids":null}}') == ()


# OCI archives and final images


def test_an_oci_archive_gives_the_final_image(tmp_path: Path) -> None:
    image = read_oci_archive(write(tmp_path / "a.tar", tar_of(oci_archive_files(APP))))
    assert image.manifest == APP.manifest
    assert image.config == APP.config
    assert contents(image) == [data for _, data in APP.blobs[1:]]
    assert [layer.descriptor for layer in image.layers] == [described for described, _ in APP.blobs[1:]]


def test_an_oci_archive_is_read_by_tag_and_compressed_too(tmp_path: Path) -> None:
    files = oci_archive_files(APP, annotations={"org.opencontainers.image.ref.name": "v1"})
    path = write(tmp_path / "a.tgz", gzip.compress(tar_of(files)))
    assert read_oci_archive(path, "v1").manifest == APP.manifest
    assert OciArchive(Tarball.open(path, tmp_path)).get_manifest("v1") == APP.manifest
    with pytest.raises(MissingError, match="has no image 'v2'") as caught:
        read_oci_archive(path, "v2")
    assert caught.value.hint == "it has v1"


def test_other_bytes_in_an_oci_archive_are_noticed(tmp_path: Path) -> None:
    files = oci_archive_files(APP)
    for number, (name, data) in enumerate(files):
        if name.startswith("blobs/"):
            damaged = [*files[:number], (name, bytes([data[0] ^ 1]) + data[1:]), *files[number + 1 :]]
            with pytest.raises(TamperedError):
                contents(read_oci_archive(write(tmp_path / "a.tar", tar_of(damaged))))
            del damaged[number]
            with pytest.raises(MissingError):
                contents(read_oci_archive(write(tmp_path / "a.tar", tar_of(damaged))))


def test_a_config_beyond_the_cap_is_not_read(tmp_path: Path) -> None:
    archive = OciArchive(Tarball.open(write(tmp_path / "a.tar", tar_of(oci_archive_files(APP))), tmp_path))
    with pytest.raises(TamperedError, match="expected at most 10"):
        archive.read_blob(APP.blobs[0][0], 10)


def index_archive(tmp_path: Path, *images: str) -> Path:
    there = {"amd64": APP, "arm64": ARM}
    index = {"schemaVersion": 2, "manifests": [INDEX.descriptor.to_json()]}
    files = [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        ("index.json", json.dumps(index).encode()),
        (f"blobs/sha256/{INDEX.digest.hex}", INDEX.raw),
        *(file for name in images for file in files_of(there[name])),
    ]
    return write(tmp_path / "index.tar", tar_of(files))


def test_an_index_comes_with_the_images_that_are_there(tmp_path: Path) -> None:
    image = read_oci_archive(index_archive(tmp_path, "amd64", "arm64"))
    assert image.manifest == INDEX
    assert [child.manifest for child in image.images] == [APP.manifest, ARM.manifest]
    image = read_oci_archive(index_archive(tmp_path, "arm64"))
    assert [child.manifest for child in image.images] == [ARM.manifest]


def test_one_platform_of_an_index(tmp_path: Path) -> None:
    archive = OciArchive(Tarball.open(index_archive(tmp_path, "amd64", "arm64"), tmp_path))
    assert image_of(archive, INDEX.digest, platform="linux/arm64").manifest == ARM.manifest
    with pytest.raises(MissingError, match=r"no image for linux/s390x: it has linux/amd64, linux/arm64"):
        image_of(archive, INDEX.digest, platform="linux/s390x")
    assert image_of(archive, ARM.manifest.digest, platform="linux/arm64").manifest == ARM.manifest
    with pytest.raises(MissingError, match="is for linux/arm64: expected linux/amd64"):
        image_of(archive, ARM.manifest.digest, platform="linux/amd64")


def test_a_variant_meets_the_platform_without_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    APP.put(layout)
    index = index_of((APP, "linux/arm/v7"))
    layout.put_manifest(index, "v1")
    assert image_of(layout, "v1", platform="linux/arm").manifest == APP.manifest
    with pytest.raises(MissingError):
        image_of(layout, "v1", platform="linux/arm/v6")
    layout.put_manifest(index_of(), "empty")
    with pytest.raises(MissingError, match="it has none"):
        image_of(layout, "empty", platform="linux/arm")
    assert platform_of(b'{"os":"linux","architecture":"arm","variant":"v7"}') == "linux/arm/v7"


def test_an_index_that_states_a_wrong_size_is_tampered(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    APP.put(layout)
    raw = index_of((APP, "linux/amd64")).raw
    size = f'"size": {APP.manifest.size}'.encode()
    assert size in raw
    layout.put_manifest(type(INDEX).parse(raw.replace(size, b'"size": 7')), "v1")
    with pytest.raises(TamperedError, match="the index says 7"):
        image_of(layout, "v1")


def test_an_index_of_too_many_images_is_refused_and_one_that_repeats_them_is_not(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    APP.put(layout)
    layout.put_manifest(index_of((APP, "linux/amd64"), (APP, "linux/arm64")), "twice")
    assert len(image_of(layout, "twice").images) == 1
    config, data = APP.blobs[0]
    layout.put_blob(config, lambda: io.BytesIO(data))
    entries = []
    blobs = tmp_path / "layout/blobs/sha256"
    for number in range(1001):
        manifest = image_manifest(config, (), annotations={"number": str(number)})
        (blobs / manifest.digest.hex).write_bytes(manifest.raw)
        entries.append(manifest.descriptor.to_json())
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX.media_type, "manifests": entries}).encode()
    layout.put_manifest(type(INDEX).parse(raw), "many")
    with pytest.raises(TamperedError, match="more than 1000 images"):
        image_of(layout, "many")


def test_a_layout_is_read_by_tag_or_as_its_only_image(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    with pytest.raises(MissingError, match="no image layout at"):
        read_layout(layout)
    APP.put(layout, "v1")
    assert read_layout(layout).manifest == APP.manifest
    APP.put(layout, "v2")
    assert read_layout(layout).manifest == APP.manifest
    ARM.put(layout, "arm")
    assert read_layout(layout, "arm").manifest == ARM.manifest
    with pytest.raises(UsageError, match="has 2 images: expected a tag") as caught:
        read_layout(layout)
    assert caught.value.hint == "it has v1, v2, arm"
    layout.untag("v1")
    layout.untag("v2")
    layout.untag("arm")
    with pytest.raises(MissingError, match=r"has no image$"):
        read_layout(layout)


def test_a_tag_at_two_manifests_is_tampered(tmp_path: Path) -> None:
    annotations = {"org.opencontainers.image.ref.name": "v1"}
    entries = [one.manifest.descriptor.to_json() | {"annotations": annotations} for one in (APP, ARM)]
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    path = write(tmp_path / "a.tar", tar_of([("index.json", index)]))
    with pytest.raises(TamperedError, match="at 2 manifests: expected one"):
        read_oci_archive(path, "v1")


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    for number in range(25):
        APP.put(layout, f"v{number:02}")
    with pytest.raises(MissingError) as caught:
        read_layout(layout, "x")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("v19 and 5 more")


def test_a_final_image_is_carried_over_byte_for_byte(tmp_path: Path) -> None:
    image = read_oci_archive(index_archive(tmp_path, "amd64", "arm64"))
    layout = Layout(tmp_path / "layout")
    put_image(image, layout, "v1")
    assert layout.get_manifest("v1") == INDEX
    copied = image_of(layout, "v1")
    assert contents(copied.images[0]) == [data for _, data in APP.blobs[1:]]
    into = bytearray(4)
    with copied.images[0].layers[0].open() as file:
        assert file.readable()
        assert file.readinto(into) == 4  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="has no manifest yet"):
        put_image(Image(b"", ()), layout)


def test_foreign_layers_are_left_where_they_are(tmp_path: Path) -> None:
    config, data = APP.blobs[0]
    foreign = Descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", Digest.of(b"far"), 3)
    source, target = Layout(tmp_path / "source"), Layout(tmp_path / "target")
    source.put_blob(config, lambda: io.BytesIO(data))
    source.put_manifest(image_manifest(config, (foreign,)), "v1")
    put_image(image_of(source, "v1"), target, "v1")
    assert not target.has_blob(foreign.digest)
    with (tmp_path / "a.tar").open("wb") as out, pytest.raises(UsageError, match="a layer that lives elsewhere"):
        write_docker_archive([(NAME, image_of(source, "v1"))], out, tmp_path / "a.tar", spool_dir=tmp_path)
    with (tmp_path / "a.tar").open("wb") as out:
        write_oci_archive([(NAME, image_of(source, "v1"))], out, tmp_path / "a.tar")
    assert read_oci_archive(tmp_path / "a.tar").manifest == source.get_manifest("v1")


# Saving


NAME = Reference.parse("app:v1")


def stored(tmp_path: Path, image: object = APP) -> Image:
    layout = Layout(tmp_path / "stored")
    assert isinstance(image, type(APP))
    image.put(layout, "v1")
    return image_of(layout, image.manifest.digest)


def test_saved_docker_archives_are_read_back_and_always_the_same(tmp_path: Path) -> None:
    image = stored(tmp_path)
    names = [(NAME, image), (Reference.parse("ghcr.io/acme/app:v1"), image)]
    first, second = io.BytesIO(), io.BytesIO()
    write_docker_archive(names, first, tmp_path / "a.tar", spool_dir=tmp_path)
    write_docker_archive(names, second, tmp_path / "a.tar", spool_dir=tmp_path)
    assert first.getvalue() == second.getvalue()
    path = write(tmp_path / "a.tar", first.getvalue())
    assert hellos(read_docker_archive(path, "app:v1")) == [b"one", b"two"]
    assert hellos(read_docker_archive(path, "ghcr.io/acme/app:v1")) == [b"one", b"two"]
    assert read_docker_archive(path).config == APP.config


def test_images_share_their_layers_in_a_docker_archive(tmp_path: Path) -> None:
    names = [(Reference.parse(f"app:{text}"), stored(tmp_path, sample("one", text))) for text in ("two", "three")]
    out = io.BytesIO()
    write_docker_archive(names, out, tmp_path / "a.tar", spool_dir=tmp_path)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert len([name for name in archive.getnames() if name.endswith(".tar")]) == 3
    path = write(tmp_path / "a.tar", out.getvalue())
    assert hellos(read_docker_archive(path, "app:three")) == [b"one", b"three"]


def zstd_image(tmp_path: Path) -> Image:
    tar = layer_tar("zstd")
    packed, config = zstandard.ZstdCompressor().compress(tar), config_of([tar])
    layout = Layout(tmp_path / "zstd")
    described, layer = Descriptor.of(config, OCI_CONFIG), Descriptor.of(packed, OCI_LAYER_ZSTD)
    layout.put_blob(described, lambda: io.BytesIO(config))
    layout.put_blob(layer, lambda: io.BytesIO(packed))
    layout.put_manifest(image_manifest(described, (layer,)), "v1")
    return image_of(layout, "v1")


def test_zstd_is_undone_for_docker(tmp_path: Path) -> None:
    out = io.BytesIO()
    (tmp_path / "spool").mkdir()
    write_docker_archive([(NAME, zstd_image(tmp_path))], out, tmp_path / "a.tar", spool_dir=tmp_path / "spool")
    image = read_docker_archive(write(tmp_path / "a.tar", out.getvalue()))
    assert contents(image) == [layer_tar("zstd")]
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_docker_cannot_load_is_not_saved_for_it(tmp_path: Path) -> None:
    index = read_oci_archive(index_archive(tmp_path, "amd64"))
    with pytest.raises(UsageError, match="is an index of several platforms"):
        write_docker_archive([(NAME, index)], io.BytesIO(), tmp_path / "a.tar", spool_dir=tmp_path)
    image = stored(tmp_path)
    wrong = Image(config_of([b"a"]), image.layers, image.manifest)
    with pytest.raises(TamperedError, match="has 2 layers: its config names another number"):
        write_docker_archive([(NAME, wrong)], io.BytesIO(), tmp_path / "a.tar", spool_dir=tmp_path)


def test_saved_oci_archives_are_read_back_and_always_the_same(tmp_path: Path) -> None:
    index = read_oci_archive(index_archive(tmp_path, "amd64", "arm64"))
    names = [(NAME, index), (Reference.parse("app:arm"), index.images[1])]
    first, second = io.BytesIO(), io.BytesIO()
    write_oci_archive(names, first, tmp_path / "a.tar")
    write_oci_archive(names, second, tmp_path / "a.tar")
    assert first.getvalue() == second.getvalue()
    path = write(tmp_path / "a.tar", first.getvalue())
    assert read_oci_archive(path, "v1").manifest == INDEX
    assert read_oci_archive(path, "docker.io/library/app:arm").manifest == ARM.manifest
    assert contents(read_oci_archive(path, "arm")) == [data for _, data in ARM.blobs[1:]]


def test_two_images_with_one_tag_get_full_names(tmp_path: Path) -> None:
    out = io.BytesIO()
    names = [(NAME, stored(tmp_path)), (Reference.parse("other:v1"), stored(tmp_path, ARM))]
    write_oci_archive(names, out, tmp_path / "a.tar")
    path = write(tmp_path / "a.tar", out.getvalue())
    assert read_oci_archive(path, "docker.io/library/other:v1").manifest == ARM.manifest
    with pytest.raises(MissingError):
        read_oci_archive(path, "v1")


def test_a_full_disk_while_saving_is_a_clear_error(tmp_path: Path) -> None:
    image = stored(tmp_path)
    with Path("/dev/full").open("wb", buffering=0) as out, pytest.raises(DocksealError, match="No space left"):
        write_oci_archive([(NAME, image)], out, tmp_path / "a.tar")


def test_a_damaged_layer_is_noticed_while_it_is_saved(tmp_path: Path) -> None:
    image = stored(tmp_path)
    blob = tmp_path / "stored/blobs/sha256" / APP.blobs[1][0].digest.hex
    blob.write_bytes(bytes(len(APP.blobs[1][1])))
    with pytest.raises(TamperedError, match="has other bytes"):
        write_oci_archive([(NAME, image)], io.BytesIO(), tmp_path / "a.tar")
    with pytest.raises(TamperedError, match="has other bytes"):
        write_docker_archive([(NAME, image)], io.BytesIO(), tmp_path / "a.tar", spool_dir=tmp_path)


# Loading


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "images")


def load(path: Path, local: LocalStore, name: Reference | None = None, codec: Codec | None = None) -> list[str]:
    spool = path.parent / "spool"
    spool.mkdir(exist_ok=True)
    references = load_archive(path, local, codec or Codec(), spool_dir=spool, name=name)
    assert list(spool.iterdir()) == []
    return [str(reference) for reference in references]


def test_a_docker_archive_is_loaded_with_all_its_names(tmp_path: Path, local: LocalStore) -> None:
    path = docker_archive(tmp_path / "a.tar", "one", "two", names=("app:v1", "ghcr.io/acme/app:v2"))
    assert load(path, local) == ["docker.io/library/app:v1", "ghcr.io/acme/app:v2"]
    image = local.image("app:v1")
    assert hellos(image) == [b"one", b"two"]
    assert [layer.descriptor.media_type for layer in image.layers if layer.descriptor] == [OCI_LAYER_GZIP] * 2
    assert image.config == config_of([layer_tar("one"), layer_tar("two")])
    assert local.image("ghcr.io/acme/app:v2").manifest == image.manifest


def test_loading_twice_gives_the_same_digest(tmp_path: Path, local: LocalStore) -> None:
    path = docker_archive(tmp_path / "a.tar", "one")
    load(path, local)
    first = local.find(NAME)
    load(path, local)
    assert local.find(NAME) == first
    load(path, local, codec=Codec("none", 0))
    assert local.image("app:v1").layers[0].descriptor == Descriptor.of(layer_tar("one"), OCI_LAYER)


def test_all_images_of_an_archive_are_loaded_or_none(tmp_path: Path, local: LocalStore) -> None:
    with pytest.raises(UsageError, match="has no full name") as caught:
        load(several(tmp_path), local)
    assert caught.value.hint is not None
    assert local.images() == ()
    with pytest.raises(UsageError, match="one name for all of them"):
        load(several(tmp_path), local, NAME)
    with pytest.raises(UsageError, match="is reserved"):
        load(docker_archive(tmp_path / "b.tar", "one", names=("app:_trust",)), local)


def test_a_nameless_image_is_loaded_under_the_name_given(tmp_path: Path, local: LocalStore) -> None:
    path = docker_archive(tmp_path / "a.tar", "one", names=())
    assert load(path, local, Reference.parse("app")) == ["docker.io/library/app:latest"]
    oci = write(tmp_path / "b.tar", tar_of(oci_archive_files(APP)))
    with pytest.raises(UsageError, match="has no full name"):
        load(oci, local)
    assert load(oci, local, NAME) == ["docker.io/library/app:v1"]
    assert local.find(NAME) == APP.manifest


def test_what_we_saved_is_loaded_byte_for_byte(tmp_path: Path, local: LocalStore) -> None:
    index = read_oci_archive(index_archive(tmp_path, "amd64", "arm64"))
    with (tmp_path / "a.tar").open("wb") as out:
        write_oci_archive([(NAME, index), (Reference.parse("app:arm"), index.images[1])], out, tmp_path / "a.tar")
    assert load(tmp_path / "a.tar", local) == ["docker.io/library/app:v1", "docker.io/library/app:arm"]
    assert local.find(NAME) == INDEX
    assert local.find(Reference.parse("app:arm")) == ARM.manifest


def test_a_layer_with_another_diff_id_is_refused_and_no_name_appears(tmp_path: Path, local: LocalStore) -> None:
    files = with_config(config_of([b"another layer"]))
    with pytest.raises(TamperedError, match="not the one that the image's config names"):
        load(write(tmp_path / "a.tar", tar_of(files)), local)
    assert local.images() == ()
    assert list((tmp_path / "spool").iterdir()) == []


# Fuzzing: whatever the bytes are, only our errors come out

FUZZ_DOCKER = tar_of(linked("../real/layer.tar"))
FUZZ_OCI = tar_of(oci_archive_files(APP))


@st.composite
def damaged(draw: st.DrawFn, archive: bytes) -> bytes:
    """Some bytes changed (headers more often than others), perhaps cut, perhaps compressed and changed again."""
    data = bytearray(archive)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.one_of(st.integers(0, len(data) - 1), st.integers(0, 511), st.integers(1024, 1535)))
        data[at] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    if draw(st.booleans()):
        header = draw(st.integers(0, max(0, len(data) // 512 - 1))) * 512
        if len(data) >= header + 512:  # with a checksum that is right, the header is believed
            block = data[header : header + 512]
            block[148:156] = b" " * 8
            data[header + 148 : header + 156] = b"%06o\0 " % sum(block)
    if draw(st.integers(0, 4)) == 0:
        data = bytearray(gzip.compress(bytes(data), 1, mtime=0))
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(0, 255))
    return bytes(data)


def only_our_errors(read: Callable[[Path], Image], data: bytes, folder: Path) -> None:
    path = write(folder / "fuzz.tar", data)
    try:
        contents(read(path))
    except DocksealError as error:
        assert isinstance(error, (UsageError, TamperedError, MissingError))  # noqa: PT017 - either way is fine


@given(damaged(FUZZ_DOCKER))
def test_only_our_errors_leave_a_damaged_docker_archive(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    only_our_errors(read_docker_archive, data, tmp_path_factory.getbasetemp())


@given(damaged(FUZZ_OCI))
def test_only_our_errors_leave_a_damaged_oci_archive(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    only_our_errors(read_oci_archive, data, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("archive", [FUZZ_DOCKER, FUZZ_OCI], ids=["docker", "oci"])
def test_every_truncation_of_an_archive_is_our_error(archive: bytes, tmp_path: Path) -> None:
    for length in range(0, len(archive), 97):
        only_our_errors(read_docker_archive, archive[:length], tmp_path)
        only_our_errors(read_oci_archive, archive[:length], tmp_path)


# skopeo, umoci and the engine


@pytest.mark.peer("skopeo")
def test_skopeo_reads_our_docker_archive_and_we_read_skopeos(tmp_path: Path) -> None:
    with (tmp_path / "ours.tar").open("wb") as out:
        write_docker_archive([(NAME, stored(tmp_path))], out, tmp_path / "ours.tar", spool_dir=tmp_path)
    run("skopeo", "copy", f"docker-archive:{tmp_path / 'ours.tar'}:app:v1", f"oci:{tmp_path / 'layout'}:v1")
    assert hellos(read_layout(Layout(tmp_path / "layout"), "v1")) == [b"one", b"two"]
    run("skopeo", "copy", f"oci:{tmp_path / 'layout'}:v1", f"docker-archive:{tmp_path / 'theirs.tar'}:app:v2")
    assert hellos(read_docker_archive(tmp_path / "theirs.tar", "app:v2")) == [b"one", b"two"]


@pytest.mark.peer("skopeo")
def test_skopeo_reads_our_oci_archive_and_we_read_skopeos(tmp_path: Path) -> None:
    with (tmp_path / "ours.tar").open("wb") as out:
        write_oci_archive([(NAME, stored(tmp_path))], out, tmp_path / "ours.tar")
    run("skopeo", "copy", f"oci-archive:{tmp_path / 'ours.tar'}:v1", f"oci-archive:{tmp_path / 'theirs.tar'}:v2")
    assert read_oci_archive(tmp_path / "theirs.tar", "v2").manifest == APP.manifest


@pytest.mark.peer("skopeo")
def test_what_skopeo_saved_is_loaded(tmp_path: Path, local: LocalStore) -> None:
    stored(tmp_path)
    run("skopeo", "copy", f"oci:{tmp_path / 'stored'}:v1", f"docker-archive:{tmp_path / 'a.tar'}:app:v1")
    assert load(tmp_path / "a.tar", local) == ["docker.io/library/app:v1"]
    assert hellos(local.image("app:v1")) == [b"one", b"two"]
    assert local.store(Repository.parse("app")).tags(5) == ("v1",)


@pytest.mark.peer("dockerd", "docker")
def test_a_real_engine_loads_what_we_saved_and_we_load_what_it_saved(
    docker_engine: DockerEngine, tmp_path: Path, local: LocalStore
) -> None:
    names = [(Reference.parse(f"dockseal-saved:{text}"), image) for text, image in engine_images(tmp_path).items()]
    with (tmp_path / "ours.tar").open("wb") as out:
        write_docker_archive(names, out, tmp_path / "ours.tar", spool_dir=tmp_path)
    loaded = docker_engine.docker("load", "-i", str(tmp_path / "ours.tar")).stdout
    assert "dockseal-saved:gzip" in loaded
    assert "dockseal-saved:zstd" in loaded
    docker_engine.docker("save", "-o", str(tmp_path / "theirs.tar"), "dockseal-saved:gzip", "dockseal-saved:zstd")
    assert sorted(load(tmp_path / "theirs.tar", local)) == sorted(str(name) for name, _ in names)
    assert hellos(local.image("dockseal-saved:gzip")) == [b"one", b"two"]
    assert hellos(local.image("dockseal-saved:zstd")) == [b"zstd"]
    assert local.image("dockseal-saved:gzip").config == APP.config


def engine_images(tmp_path: Path) -> dict[str, Image]:
    return {"gzip": stored(tmp_path), "zstd": zstd_image(tmp_path)}
