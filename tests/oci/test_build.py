"""Building: the same input gives the same image; what a base hands down follows docker's rules."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import socket
import stat
import subprocess
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.errors import DocksealError, TamperedError, UsageError
from trust.oci.build import EPOCH, Settings, build_image, created_at, this_platform
from trust.oci.codec import Codec
from trust.oci.final import put_image
from trust.oci.foldertar import open_folder
from trust.oci.image import Image, SourceLayer
from trust.oci.layer import diff_id_of
from trust.oci.layout import Layout
from trust.oci.manifest import (
    DOCKER_LAYER_GZIP,
    FOREIGN_LAYERS,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Manifest,
)
from trust.oci.tarcheck import BLOCK_BYTES, TarCheck

if TYPE_CHECKING:
    from collections.abc import Callable

NONE = Codec("none", 0)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


def tree(folder: Path) -> Path:
    """A folder with everything that a layer may hold."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(b"#!/bin/sh\necho hello\n")
    (folder / "bin/app").chmod(0o4755)
    (folder / "bin/app2").hardlink_to(folder / "bin/app")
    (folder / "data").write_bytes(bytes(3000))
    (folder / "data").chmod(0o640)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "outside").symlink_to("/etc/./passwd")
    (folder / "dangling").symlink_to("./nothing//here")
    (folder / f"ü{'long' * 40}").write_bytes(b"x")
    (folder / "bin").chmod(0o755)
    os.mkfifo(folder / "fifo", 0o600)
    (folder / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"y")
    for path in folder.iterdir():
        if path.name.startswith(("ü", "not")):
            path.chmod(0o644)  # whatever the umask
    return folder


def tar_of(files: dict[str, bytes], **options: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def build(*paths: Path, spool: Path, **options: Any) -> Image:
    return build_image(paths, **{"codec": Codec(), "spool_dir": spool, "platform": None, **options})


def config(image: Image) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(image.config)
    return body


def base_of(spool: Path, **changes: object) -> Image:
    """A base with one layer, and the config changed as told."""
    file = spool / "base.tar"
    file.write_bytes(tar_of({"base": b"base"}))
    settings = Settings(
        ("/init",), ("--default",), (("PATH", "/bin"), ("HOME", "/root")), (("a", "1"), ("b", "2")), "/srv"
    )
    image = build(file, spool=spool, settings=settings)
    return replace(image, config=json.dumps(config(image) | changes).encode())


class TestFolder:
    def test_becomes_the_same_image_on_another_day_and_in_another_place(self, tmp_path: Path, spool: Path) -> None:
        one, two = tree(tmp_path / "one"), tree(tmp_path / "two" / "deeper")
        for number, path in enumerate([two, *two.rglob("*")]):
            os.utime(path, (number, 1_700_000_000 + number), follow_symlinks=False)
        first, second = build(one, spool=spool), build(two, spool=spool)
        assert first.manifest is not None
        assert first.manifest == second.manifest

    def test_gives_bytes_that_do_not_change_from_release_to_release(self, tmp_path: Path, spool: Path) -> None:
        image = build(tree(tmp_path / "tree"), spool=spool, codec=NONE, platform="linux/amd64")
        assert image.manifest is not None
        assert image.manifest.digest == Digest(
            "sha256:4cba93435abbdbb87b6fe26159dc1a6c73818b9f30bfa1972a1e384fd77dcc21"
        )

    def test_keeps_names_content_modes_and_links_and_nothing_else(self, tmp_path: Path) -> None:
        folder = tree(tmp_path / "tree")
        with open_folder(folder, 77) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            entries = {}
            for entry in archive:
                held = archive.extractfile(entry) if entry.isreg() else None
                entries[entry.name] = (entry, b"" if held is None else held.read())
        assert list(entries) == sorted(entries, key=lambda name: ("/" in name, os.fsencode(name)))
        assert set(entries) == {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e, _ in entries.values()} == {(0, 0, "", "", 77)}
        app, app2 = entries["bin/app"][0], entries["bin/app2"][0]
        assert (app.mode, app2.type, app2.linkname) == (0o4755, tarfile.LNKTYPE, "bin/app")
        assert entries["data"][1] == bytes(3000)
        assert (entries["data"][0].mode, entries["empty"][0].mode, entries["empty"][0].isdir()) == (0o640, 0o700, True)
        assert [entries[name][0].linkname for name in ("outside", "dangling")] == ["/etc/./passwd", "./nothing//here"]
        assert entries["fifo"][0].isfifo()

    def test_says_with_pax_only_what_ustar_cannot_say(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_bytes(b"x")
        with open_folder(tmp_path, 0) as file:
            assert b"PaxHeader" not in file.read()
        (tmp_path / "ü").write_bytes(b"x")
        with open_folder(tmp_path, 0) as file:
            assert b"PaxHeader" in file.read()

    def test_passes_its_own_check(self, tmp_path: Path) -> None:
        check = TarCheck("the folder")
        with open_folder(tree(tmp_path / "tree"), 0) as file:
            while chunk := file.read(1000):
                check.feed(chunk)
        check.finish()

    def test_may_be_empty(self, tmp_path: Path) -> None:
        with open_folder(tmp_path, 0) as file:
            assert file.read() == bytes(1024)

    def test_may_be_deeper_than_python_recurses(self, tmp_path: Path) -> None:
        deep = tmp_path / "deep"
        subprocess.run(["mkdir", "-p", f"{deep}/{'d/' * 1100}"], check=True)
        with open_folder(deep, 0) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            assert sum(1 for _ in archive) == 1100
        subprocess.run(["rm", "-r", deep], check=True)  # deeper than shutil removes

    def test_with_a_socket_is_refused(self, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "in").mkdir()
        with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
            listener.bind("in/socket")
        with pytest.raises(UsageError, match=r"socket' is a socket, which a layer cannot hold"):
            build(tmp_path / "in", spool=spool)
        assert list(spool.iterdir()) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="making a device needs root")
    def test_with_a_device_is_refused(self, tmp_path: Path, spool: Path) -> None:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with pytest.raises(UsageError, match=r"null' is a character device"):
            build(tmp_path, spool=spool)

    @pytest.mark.parametrize(
        ("meanwhile", "message"),
        [
            (lambda path: path.write_bytes(b"short"), "changed while it was read"),
            (lambda path: path.write_bytes(bytes(9 << 20)), "changed while it was read"),
            (lambda path: path.unlink(), "cannot be read: No such file"),
            (lambda path: path.rename(path.parent / "c") and path.symlink_to("c"), "cannot be read: Too many levels"),
            (lambda path: path.unlink() or subprocess.run(["mkfifo", path], check=True), "changed while it was read"),
        ],
        ids=["becomes shorter", "becomes longer", "vanishes", "becomes a link", "becomes a FIFO"],
    )
    def test_that_changes_while_it_is_read_is_refused(
        self, meanwhile: Callable[[Path], object], message: str, tmp_path: Path, spool: Path
    ) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        (folder / "a").write_bytes(bytes((1 << 20) - 2 * BLOCK_BYTES))  # the first read ends with the header of b
        (folder / "b").write_bytes(bytes(8 << 20))

        def tell(_path: Path, done: int) -> None:
            if done == 1 << 20:
                meanwhile(folder / "b")

        with pytest.raises(UsageError, match=message):
            build(folder, spool=spool, progress=tell)
        assert list(spool.iterdir()) == []


class TestTarFile:
    TAR = tar_of({"a": b"1", "b/c": bytes(2000)})

    @pytest.mark.parametrize(
        ("data", "media_type"),
        [(gzip.compress(TAR, mtime=0), OCI_LAYER_GZIP), (zstandard.ZstdCompressor().compress(TAR), OCI_LAYER_ZSTD)],
        ids=["gzip", "zstd"],
    )
    def test_keeps_its_bytes(self, data: bytes, media_type: str, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "layer").write_bytes(data)
        image = build(tmp_path / "layer", spool=spool)
        (layer,) = image.layers
        assert layer.descriptor is not None
        assert (layer.descriptor.media_type, layer.descriptor.digest) == (media_type, Digest.of(data))
        assert layer.diff_id == Digest.of(self.TAR)
        with layer.open() as file:
            assert file.read() == data

    def test_is_compressed_where_it_is_plain(self, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "layer").write_bytes(self.TAR)
        (layer,) = build(tmp_path / "layer", spool=spool).layers
        with layer.open() as file:
            assert gzip.decompress(file.read()) == self.TAR

    @pytest.mark.parametrize(
        ("data", "error", "message"),
        [
            (b"", UsageError, "no tar"),
            (b"hello", UsageError, "no tar"),
            (b"hello" * 500, UsageError, "no tar"),
            (bz2.compress(TAR), UsageError, "compressed with bzip2"),
            (gzip.compress(b"hello", mtime=0), UsageError, "no tar"),
            (TAR[:700], TamperedError, "cut short"),
            (TAR[:1100], TamperedError, "cut short"),
            (gzip.compress(TAR, mtime=0)[:-9], TamperedError, "cut short"),
            (TAR[:1024] + b"?" + TAR[1025:], TamperedError, "wrong checksum"),
        ],
    )
    def test_that_is_none_is_refused(
        self, data: bytes, error: type[DocksealError], message: str, tmp_path: Path, spool: Path
    ) -> None:
        (tmp_path / "layer").write_bytes(data)
        with pytest.raises(error, match=message):
            build(tmp_path / "layer", spool=spool)
        assert list(spool.iterdir()) == []

    def test_that_is_none_takes_the_layers_before_it_along(self, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "good").write_bytes(self.TAR)
        (tmp_path / "bad").write_bytes(b"bad")
        with pytest.raises(UsageError):
            build(tmp_path / "good", tmp_path / "bad", spool=spool)
        assert list(spool.iterdir()) == []

    def test_must_be_a_file(self, tmp_path: Path, spool: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(UsageError, match="is no folder or tar file"):
            build(tmp_path / "fifo", spool=spool)
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            build(tmp_path / "absent", spool=spool)
        with pytest.raises(UsageError, match="cannot be read: File name too long"):
            build(tmp_path / ("x" * 300), spool=spool)


class TestTarCheck:
    @staticmethod
    def check(data: bytes, step: int = 1000) -> None:
        check = TarCheck("it")
        for start in range(0, len(data), step):
            check.feed(data[start : start + step])
        check.finish()

    FILES: ClassVar = {"a": b"", "b" * 150: b"x" * 512, "c" * 300: b"y" * 513, "ü": bytes(5000)}

    @pytest.mark.parametrize("step", [1, 511, 512, 1 << 20])
    @pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    def test_takes_every_tar_however_it_arrives(self, form: int, step: int) -> None:
        self.check(tar_of(self.FILES, format=form, pax_headers={"comment": "all"}), step)

    def test_needs_no_end_mark_and_looks_at_nothing_behind_it(self) -> None:
        data = tar_of({"a": b"x"})
        self.check(data[: 2 * BLOCK_BYTES])
        self.check(data + b"anything")
        self.check(bytes(BLOCK_BYTES))

    @staticmethod
    def header(kind: bytes, size: bytes, more: dict[int, bytes] | None = None) -> bytes:
        block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
        for at, value in {124: size.ljust(12, b"\0"), 156: kind, **(more or {})}.items():
            block[at : at + len(value)] = value
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    def test_follows_old_sparse_headers(self) -> None:
        more, last = bytes(504) + b"\1" + bytes(7), bytes(512)
        data = self.header(b"S", b"1000", {482: b"\1"}) + more + last + b"x" * 512
        self.check(data + tar_of({"a": b"x"}))
        with pytest.raises(TamperedError, match="cut short"):
            self.check(data[:1024])
        self.check(self.header(b"S", b"1000") + b"x" * 512 + tar_of({"a": b"x"}))

    def test_reads_sizes_in_octal_in_binary_and_in_pax(self) -> None:
        end = tar_of({"a": b"x"})
        self.check(self.header(b"0", b"\x80" + (512).to_bytes(11, "big")) + b"x" * 512 + end)
        pax = b"12 size=512\n"
        self.check(self.header(b"x", b"14") + pax.ljust(512, b"\0") + self.header(b"0", b"0") + b"x" * 512 + end)
        self.check(self.header(b"x", b"14") + pax.ljust(512, b"\0") + self.header(b"5", b"0") + end)
        self.check(self.header(b"2", b"7777") + end)  # a link has no content, whatever it says

    def test_takes_checksums_of_signed_bytes(self) -> None:
        block = bytearray(self.header(b"0", b"0", {0: b"\xc3\xbc"}))
        block[148:156] = b"%06o\0 " % (int(block[148:154], 8) - 512)
        self.check(bytes(block))

    @pytest.mark.parametrize(
        ("kind", "size", "message"),
        [
            (b"0", b"\xff" * 12, "impossible size"),
            (b"0", b"9", "impossible size"),
            (b"0", b"\x80" + b"\x7f" * 11, "impossible size"),
            (b"x", b"77777777777", "extended header of more than 1048576 bytes"),
            (b"L", b"\xff" * 12, "extended header of more than 1048576 bytes"),
            (b"x", b"100", "cut short"),
            (b"0", b"1", "cut short"),
        ],
    )
    def test_refuses_what_no_reader_takes(self, kind: bytes, size: bytes, message: str) -> None:
        with pytest.raises(TamperedError, match=message):
            self.check(self.header(kind, size))

    @given(st.binary(max_size=3000), st.booleans(), st.integers(1, 2000))
    def test_only_our_errors_leave_it(self, data: bytes, begins_well: bool, step: int) -> None:
        with contextlib.suppress(TamperedError, UsageError):
            self.check((self.header(b"x", b"1000") if begins_well else b"") + data, step)

    @given(st.binary(min_size=36, max_size=36), st.sampled_from(b"0123456789xgLKS\0V"))
    def test_only_our_errors_leave_a_header(self, fields: bytes, kind: int) -> None:
        with contextlib.suppress(TamperedError):
            self.check(self.header(bytes([kind]), fields[:12], {257: fields, 482: fields[:1]}) + bytes(512))


class TestConfig:
    def test_says_what_docker_needs_to_know(self, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").write_bytes(tar_of({"b": b""}))
        settings = Settings(("/app",), ("-v",), (("K", "a=b"),), (("l", "m"),), "/x/../w", "1000:1000")
        image = build(tmp_path / "a", tmp_path / "b", spool=spool, settings=settings, platform="linux/arm/v6")
        assert image.manifest is not None
        assert (image.manifest.media_type, image.manifest.size) == (OCI_MANIFEST, len(image.manifest.raw))
        assert image.manifest.config is not None
        assert image.manifest.config.digest == Digest.of(image.config)
        assert image.manifest.layers == tuple(layer.descriptor for layer in image.layers)
        step = {"created": "1970-01-01T00:00:00Z", "created_by": "dockseal build"}
        assert config(image) == {
            "architecture": "arm",
            "variant": "v6",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": ["/app"],
                "Cmd": ["-v"],
                "Env": ["K=a=b"],
                "Labels": {"l": "m"},
                "WorkingDir": "/w",
                "User": "1000:1000",
            },
            "history": [step, step],
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in image.layers]},
        }
        for layer in image.layers:
            assert layer.descriptor is not None
            assert diff_id_of(layer.open, layer.descriptor.media_type) == layer.diff_id

    def test_takes_its_time_from_the_source(self, tmp_path: Path, spool: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/file").touch()
        image = build(tmp_path / "a", spool=spool, created=created_at("1700000000"))
        assert config(image)["created"] == "2023-11-14T22:13:20Z"
        with image.layers[0].open() as file, tarfile.open(fileobj=file) as archive:
            assert archive.getmembers()[0].mtime == 1_700_000_000

    def test_without_a_time_it_is_1970(self) -> None:
        assert created_at(None) == created_at("") == EPOCH == datetime(1970, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize("text", ["yesterday", "1.5", "9" * 30])
    def test_a_time_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            created_at(text)

    @pytest.mark.parametrize("pair", [("", "x"), ("a=b", "x"), ("a", "\0")])
    def test_a_variable_or_label_without_a_name_is_refused(self, pair: tuple[str, str]) -> None:
        with pytest.raises(UsageError, match="environment variable"):
            Settings(env=(pair,))
        with pytest.raises(UsageError, match="label"):
            Settings(labels=(pair,))

    @pytest.mark.parametrize("platform", ["linux", "linux/", "Linux/amd64", "linux/arm/v7/x", "a b/c"])
    def test_a_platform_that_is_none_is_refused(self, platform: str, tmp_path: Path, spool: Path) -> None:
        with pytest.raises(UsageError, match="invalid platform"):
            build(tmp_path, spool=spool, platform=platform)

    def test_nothing_is_no_image(self, spool: Path) -> None:
        with pytest.raises(UsageError, match="nothing to build from"):
            build(spool=spool)

    @pytest.mark.parametrize(("name", "expected"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")])
    def test_this_machine_is_named_as_the_specification_does(
        self, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: name)
        assert this_platform() == f"linux/{expected}"


class TestBase:
    def test_its_layers_stay_and_new_ones_go_on_top(self, tmp_path: Path, spool: Path) -> None:
        base = base_of(spool)
        (tmp_path / "a").mkdir()
        image = build(tmp_path / "a", spool=spool, base=base)
        assert image.layers[0].descriptor == base.layers[0].descriptor
        assert config(image)["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in image.layers]
        assert len(config(image)["history"]) == len(image.layers) == 2

    def test_it_hands_down_its_settings(self, spool: Path) -> None:
        image = build(spool=spool, base=base_of(spool))
        assert config(image)["config"] == config(base_of(spool))["config"]
        assert [step.get("empty_layer", False) for step in config(image)["history"]] == [False, True]

    @pytest.mark.parametrize(
        ("settings", "changed"),
        [
            (Settings(cmd=("x",)), {"Cmd": ["x"]}),
            (Settings(entrypoint=("x",)), {"Entrypoint": ["x"], "Cmd": None}),
            (Settings(entrypoint=("x",), cmd=("y",)), {"Entrypoint": ["x"], "Cmd": ["y"]}),
            (Settings(entrypoint=()), {"Entrypoint": [], "Cmd": None}),
            (Settings(env=(("PATH", "/x"), ("NEW", ""))), {"Env": ["PATH=/x", "HOME=/root", "NEW="]}),
            (Settings(labels=(("b", "3"), ("c", "4"))), {"Labels": {"a": "1", "b": "3", "c": "4"}}),
            (Settings(workdir="sub"), {"WorkingDir": "/srv/sub"}),
            (Settings(workdir="/"), {"WorkingDir": "/"}),
            (Settings(user="me"), {"User": "me"}),
        ],
    )
    def test_settings_change_it_as_docker_would(
        self, settings: Settings, changed: dict[str, object], spool: Path
    ) -> None:
        base = base_of(spool)
        result = config(build(spool=spool, base=base, settings=settings))["config"]
        expected = {name: value for name, value in (config(base)["config"] | changed).items() if value is not None}
        assert result == expected

    def test_what_is_not_understood_is_handed_down_and_triggers_are_not(self, spool: Path) -> None:
        base = base_of(
            spool, **{"config": {"Healthcheck": {"Test": ["x"]}, "OnBuild": ["RUN x"]}, "os.version": "10.0"}
        )
        image = build(spool=spool, base=base, settings=Settings(env=(("A", "b"),), labels=(("c", "d"),), workdir="w"))
        assert config(image)["config"] == {
            "Healthcheck": {"Test": ["x"]}, "Env": ["A=b"], "Labels": {"c": "d"}, "WorkingDir": "/w"
        }  # fmt: skip
        assert config(image)["os.version"] == "10.0"

    def test_a_base_that_is_not_final_becomes_so(self, spool: Path) -> None:
        data = tar_of({"a": b"x"})
        body = {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(data))]},
        }
        base = Image(json.dumps(body).encode(), (SourceLayer(lambda: io.BytesIO(data), len(data)),))
        image = build(spool=spool, base=base)
        assert image.layers[0].descriptor is not None
        assert image.layers[0].descriptor.media_type == OCI_LAYER_GZIP
        assert image.layers[0].diff_id == Digest.of(data)
        wrong = replace(base, config=base.config.replace(Digest.of(data).hex.encode(), b"0" * 64))
        with pytest.raises(TamperedError, match="not the one that the image's config names"):
            build(spool=spool, base=wrong)

    def test_docker_s_media_types_become_oci_s(self, spool: Path) -> None:
        base = base_of(spool)
        (layer,) = base.layers
        assert layer.descriptor is not None
        docker = replace(layer, descriptor=replace(layer.descriptor, media_type=DOCKER_LAYER_GZIP))
        image = build(spool=spool, base=replace(base, layers=(docker,)))
        assert image.layers[0].descriptor == replace(layer.descriptor, media_type=OCI_LAYER_GZIP)
        for media_type in FOREIGN_LAYERS:
            foreign = replace(layer, descriptor=replace(layer.descriptor, media_type=media_type))
            with pytest.raises(UsageError, match="lives elsewhere"):
                build(spool=spool, base=replace(base, layers=(foreign,)))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"config": []}, None),
            ({"config": [1]}, "config is no map"),
            ({"history": {"a": 1}}, "history is no list"),
            ({"rootfs": None}, "rootfs.diff_ids"),
            ({"rootfs": {"diff_ids": [1]}}, "rootfs.diff_ids"),
            ({"rootfs": {"diff_ids": []}}, "has 1 layers, but its config names 0"),
            ({"architecture": 5}, "architecture is no string"),
            ({"config": {"Env": [1]}}, "config.Env"),
            ({"config": {"Labels": [1]}}, "config.Labels"),
            ({"config": {"WorkingDir": 1}}, "WorkingDir is no string"),
        ],
    )
    def test_a_malformed_config_is_refused(self, changes: dict[str, object], message: str | None, spool: Path) -> None:
        settings = Settings(env=(("A", "b"),), labels=(("c", "d"),), workdir="w")
        expectation = contextlib.nullcontext() if message is None else pytest.raises(TamperedError, match=message)
        with expectation:
            build(spool=spool, base=base_of(spool, **changes), settings=settings)


class TestPlatform:
    def test_the_base_decides(self, spool: Path) -> None:
        base = base_of(spool, os="linux", architecture="arm64", variant="v8")
        for asked in (None, "linux/arm64", "linux/arm64/v8"):
            image = build(spool=spool, base=base, platform=asked)
            assert (config(image)["architecture"], config(image)["variant"]) == ("arm64", "v8")

    @pytest.mark.parametrize("asked", ["linux/amd64", "windows/arm64", "linux/arm64/v9"])
    def test_a_base_for_another_platform_is_refused(self, asked: str, spool: Path) -> None:
        with pytest.raises(UsageError, match="the base is for linux/arm64: expected"):
            build(spool=spool, base=base_of(spool, architecture="arm64"), platform=asked)

    def test_a_base_that_says_none_takes_what_is_asked_for(self, spool: Path) -> None:
        image = build(spool=spool, base=base_of(spool, os=None), platform="linux/riscv64")
        assert config(image)["architecture"] == "riscv64"
        assert config(build(spool=spool, base=base_of(spool, os=None)))["os"] == "linux"

    def test_an_index_gives_the_image_for_the_platform(self, spool: Path) -> None:
        images = tuple(
            build(spool=spool, base=base_of(spool, os=None), platform=platform)
            for platform in ("linux/amd64", "linux/arm/v7", "linux/arm/v6")
        )
        entries = [
            image.manifest.descriptor.to_json() | {"platform": {"os": "linux", **platform}}
            for image, platform in zip(
                images,
                (
                    {"architecture": "amd64"},
                    {"architecture": "arm", "variant": "v7"},
                    {"architecture": "arm", "variant": "v6"},
                ),
                strict=True,
            )
            if image.manifest is not None
        ]
        nameless = build(spool=spool, base=base_of(spool), settings=Settings(user="nobody"))
        assert nameless.manifest is not None
        entries.append(nameless.manifest.descriptor.to_json())
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        index = Image(b"", (), Manifest.parse(raw), (nameless, *images))
        for asked, variant in (("linux/arm/v6", "v6"), ("linux/arm", "v7")):
            assert config(build(spool=spool, base=index, platform=asked))["variant"] == variant
        with pytest.raises(
            UsageError, match=r"no image for linux/s390x: it has linux/amd64, linux/arm/v6, linux/arm/v7"
        ):
            build(spool=spool, base=index, platform="linux/s390x")


@pytest.mark.peer("skopeo", "umoci")
@pytest.mark.parametrize("codec", ["gzip", "zlib", "none"])
def test_independent_readers_take_what_was_built(codec: str, tmp_path: Path, spool: Path) -> None:
    (tmp_path / "top.tar").write_bytes(tar_of({"top": b"top"}))
    settings = Settings(entrypoint=("/bin/app",), labels=(("l", "m"),))
    folder = tree(tmp_path / "tree")
    image = build(folder, tmp_path / "top.tar", spool=spool, codec=Codec.parse(codec), settings=settings)
    put_image(image, Layout(tmp_path / "layout"), "v1")
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{tmp_path}/layout:v1", f"oci:{tmp_path}/copy:v1"]
    subprocess.run(copy, check=True)
    subprocess.run(["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/copy:v1", tmp_path / "bundle"], check=True)
    root = tmp_path / "bundle" / "rootfs"
    assert {path.relative_to(folder) for path in folder.rglob("*")} | {Path("top")} == {
        path.relative_to(root) for path in root.rglob("*")
    }
    assert (root / "bin/app").samefile(root / "bin/app2")
    assert stat.S_IMODE((root / "bin/app").stat().st_mode) == 0o4755
    assert (root / "dangling").readlink() == Path("nothing/here")
    runtime = json.loads((tmp_path / "bundle" / "config.json").read_bytes())
    assert runtime["process"]["args"] == ["/bin/app"]
