"""Layers: one pass gives both digests; what is damaged, or too large, never passes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.errors import DocksealError, TamperedError, UsageError
from trust.oci import codec as codecs
from trust.oci.codec import Codec, decompressed, packing_of
from trust.oci.layer import SpooledLayer, compress_layer, diff_id_of
from trust.oci.manifest import DOCKER_LAYER_GZIP, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trust.oci.codec import Packing

ROOT = Path(__file__).parents[2]
ALL_CODECS = [Codec(name, level) for name, levels in codecs._LEVELS.items() for level in levels if level <= 9]
TEXT = b"".join(b"line %d of a file that compresses well\n" % number for number in range(60_000))
NOISE = random.Random(1).randbytes(3 << 20)
TAR = TEXT + NOISE + bytes(1 << 20)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=1)


def zst(data: bytes, *, level: int = 1, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data)


def zst_sized(data: bytes, window_log: int) -> bytes:
    """In a single segment: the content's size is the window's."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def zst_streamed(data: bytes, window_log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


def pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def undone(
    data: bytes,
    packing: Packing,
    size: int = 1 << 20,
    max_bytes: int = 1 << 30,
    density: codecs.Density = codecs.LAYER_DENSITY,
) -> bytes:
    return b"".join(decompressed(pieces(data, size), packing, max_bytes=max_bytes, density=density))


def spooled(data: bytes, codec: Codec, folder: Path, *, recompress: bool = False) -> SpooledLayer:
    return compress_layer(lambda: io.BytesIO(data), codec, folder, expected_diff_id=None, recompress=recompress)


def content(layer: SpooledLayer) -> bytes:
    with layer.open() as file:
        return file.read()


class TestCodec:
    @pytest.mark.parametrize(
        ("text", "codec"),
        [
            ("gzip", Codec("gzip", 1)),
            ("gzip:0", Codec("gzip", 0)),
            ("zlib", Codec("zlib", 6)),
            ("zlib:9", Codec("zlib", 9)),
            ("zstd", Codec("zstd", 3)),
            ("zstd:19", Codec("zstd", 19)),
            ("none", Codec("none", 0)),
        ],
    )
    def test_is_read_as_people_write_it(self, text: str, codec: Codec) -> None:
        assert Codec.parse(text) == codec
        assert Codec.parse(str(codec)) == codec

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "lz4",
            "gzip:",
            "gzip:4",
            "gzip:-1",
            "gzip:1 ",
            "gzip:²",
            "zlib:0",
            "zstd:20",
            "zstd:0",
            "none:1",
            "zstd:3:1",
        ],
    )
    def test_that_does_not_exist_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            Codec.parse(text)

    def test_says_which_library_made_the_bytes(self) -> None:
        assert [Codec.parse(name).library.partition("-")[0] for name in ("gzip", "zlib", "zstd", "none")] == [
            "isal",
            "zlib",
            "zstd",
            "none",
        ]
        assert all(Codec.parse(name).library[-1].isdigit() for name in ("gzip", "zlib", "zstd"))

    @pytest.mark.parametrize("codec", ALL_CODECS, ids=str)
    def test_is_undone_to_the_same_bytes(self, codec: Codec) -> None:
        packed = b"".join(codec.compressed(pieces(TEXT, 1 << 20)))
        assert packing_of(packed) == codec.packing
        assert undone(packed, codec.packing) == TEXT
        assert packed == b"".join(codec.compressed(pieces(TEXT, 1 << 20)))

    @pytest.mark.parametrize("name", ["gzip", "zlib"])
    def test_gzip_names_neither_time_nor_file(self, name: str) -> None:
        packed = b"".join(Codec.parse(name).compressed([b"x"]))
        assert packed[3:8] == bytes(5)  # no flags, no modification time
        assert gzip.decompress(packed) == b"x"

    @pytest.mark.parametrize("data", [b"", b"x", bytes(100)])
    def test_small_layers_are_no_special_case(self, data: bytes) -> None:
        for codec in ALL_CODECS:
            assert undone(b"".join(codec.compressed([data])), codec.packing) == data


class TestCompressLayer:
    @pytest.mark.parametrize("name", ["gzip", "zlib:1", "zstd:1"])
    def test_hashes_both_forms_and_spools_the_compressed_one(self, name: str, tmp_path: Path) -> None:
        codec = Codec.parse(name)
        with spooled(TAR, codec, tmp_path) as layer:
            packed = content(layer)
            assert content(layer) == packed  # it opens as often as one likes
            assert layer.descriptor.digest == Digest.of(packed)
            assert layer.descriptor.size == len(packed)
            assert layer.descriptor.media_type == codec.media_type
            assert (layer.diff_id, layer.diff_size) == (Digest.of(TAR), len(TAR))
            assert undone(packed, codec.packing) == TAR
            assert layer.spool is not None
            assert layer.spool.stat().st_mode & 0o777 == 0o600
        layer.close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("packed", "media_type"), [(gz(TAR), OCI_LAYER_GZIP), (zst(TAR), OCI_LAYER_ZSTD)], ids=["gzip", "zstd"]
    )
    @pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
    def test_keeps_the_bytes_of_a_compressed_source_where_they_are(
        self, packed: bytes, media_type: str, codec: str, tmp_path: Path
    ) -> None:
        layer = spooled(packed, Codec.parse(codec), tmp_path)
        assert layer.descriptor.media_type == media_type
        assert layer.descriptor.digest == Digest.of(packed)
        assert layer.diff_id == Digest.of(TAR)
        assert content(layer) == packed
        assert list(tmp_path.iterdir()) == []

    def test_leaves_a_plain_tar_where_it_is_when_nothing_shall_compress_it(self, tmp_path: Path) -> None:
        layer = spooled(TAR, Codec("none", 0), tmp_path)
        assert layer.descriptor.media_type == OCI_LAYER
        assert layer.descriptor.digest == layer.diff_id == Digest.of(TAR)
        assert layer.descriptor.size == layer.diff_size == len(TAR)
        layer.close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("codec", ["zstd:3", "none"])
    def test_compresses_anew_where_that_is_asked_for(self, codec: str, tmp_path: Path) -> None:
        with spooled(gz(TAR), Codec.parse(codec), tmp_path, recompress=True) as layer:
            assert layer.descriptor.media_type == Codec.parse(codec).media_type
            assert layer.diff_id == Digest.of(TAR)
            assert undone(content(layer), Codec.parse(codec).packing) == TAR

    def test_gives_the_same_digest_every_time(self, tmp_path: Path) -> None:
        for codec in (Codec.parse(name) for name in ("gzip", "zlib", "zstd")):
            assert len({spooled(TAR, codec, tmp_path).descriptor for _ in range(3)}) == 1

    @pytest.mark.parametrize("data", [TAR, gz(TAR), zst(TAR)], ids=["tar", "gzip", "zstd"])
    def test_refuses_a_layer_that_the_config_does_not_name(self, data: bytes, tmp_path: Path) -> None:
        wrong = Digest.of(b"another")
        with pytest.raises(TamperedError) as caught:
            compress_layer(lambda: io.BytesIO(data), Codec(), tmp_path, expected_diff_id=wrong)
        assert str(wrong) in caught.value.message
        assert str(Digest.of(TAR)) in caught.value.message
        assert list(tmp_path.iterdir()) == []

    def test_accepts_the_layer_that_the_config_names(self, tmp_path: Path) -> None:
        compress_layer(lambda: io.BytesIO(TAR), Codec(), tmp_path, expected_diff_id=Digest.of(TAR)).close()

    def test_tells_its_progress_and_passes_on_what_it_reads(self, tmp_path: Path) -> None:
        told: list[int] = []
        seen = hashlib.sha256()
        compress_layer(
            lambda: io.BytesIO(gz(TAR)), Codec(), tmp_path, expected_diff_id=None, progress=told.append, tap=seen.update
        )
        assert told == sorted(told)
        assert told[-1] == len(gz(TAR))
        assert seen.hexdigest() == Digest.of(TAR).hex

    def test_recognises_compression_however_little_a_read_gives(self, tmp_path: Path) -> None:
        class Drops(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(1)

        layer = compress_layer(lambda: Drops(gz(b"tar")), Codec(), tmp_path, expected_diff_id=Digest.of(b"tar"))
        assert layer.descriptor.media_type == OCI_LAYER_GZIP

    def test_leaves_no_file_behind_when_it_is_interrupted(self, tmp_path: Path) -> None:
        def interrupt(_chunk: bytes) -> None:
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compress_layer(lambda: io.BytesIO(TAR), Codec(), tmp_path, expected_diff_id=None, tap=interrupt)
        assert list(tmp_path.iterdir()) == []

    def test_says_that_the_source_failed(self, tmp_path: Path) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell():
                    raise OSError(5, "Input/output error")
                return super().read(size)

        with pytest.raises(DocksealError, match=r"cannot be read: .*Input/output error"):
            compress_layer(lambda: Broken(TAR), Codec(), tmp_path, expected_diff_id=None)
        assert list(tmp_path.iterdir()) == []

    def test_says_that_there_is_no_folder_to_write_to(self, tmp_path: Path) -> None:
        with pytest.raises(DocksealError, match="cannot be written") as caught:
            spooled(TAR, Codec(), tmp_path / "absent")
        assert "TMPDIR" in str(caught.value.hint)

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
    def test_a_full_disk_is_said_and_leaves_nothing(self, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False)
        if done.returncode:
            pytest.skip("this machine lets nobody mount a small disk")
        try:
            with pytest.raises(DocksealError, match="No space left"):
                spooled(NOISE, Codec(), small)
            assert list(small.iterdir()) == []
        finally:
            subprocess.run(["umount", str(small)], check=True)

    @pytest.mark.parametrize("pack", [gz, zst], ids=["gzip", "zstd"])
    def test_stops_a_bomb_at_the_cap_in_bounded_memory(self, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
        largest = 0

        def watch(chunk: bytes) -> None:
            nonlocal largest
            largest = max(largest, len(chunk))

        bomb = pack(bytes(64 << 20))
        with pytest.raises(TamperedError, match="more than 33554432 bytes"):
            compress_layer(
                lambda: io.BytesIO(bomb), Codec(), tmp_path, expected_diff_id=None, tap=watch, max_bytes=32 << 20
            )
        assert largest <= codecs.STEP_BYTES


def peak_kib(source: Path, spool: Path, codec: str) -> int:
    """The largest resident set of a process that compresses this layer."""
    script = (
        "import sys; from pathlib import Path; from trust.oci.layer import *\n"
        "source, spool = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "compress_layer(lambda: source.open('rb'), Codec.parse(sys.argv[3]), spool, expected_diff_id=None).close()\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"  # ru_maxrss is the parent's
    )
    command = [sys.executable, "-c", script, str(source), str(spool), codec]
    return int(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
def test_memory_does_not_grow_with_the_layer(codec: str, tmp_path: Path) -> None:
    source = tmp_path / "sparse.tar"
    with source.open("wb") as file:
        file.truncate(512 << 20)
    assert peak_kib(source, tmp_path, codec) < 60 << 10


def test_the_largest_zstd_window_leaves_room_for_a_push(tmp_path: Path) -> None:
    """A push takes 60 MB without it, and 100 MB are promised."""
    source = tmp_path / "layer.zst"
    source.write_bytes(zst_streamed(NOISE * 16, 25))
    assert peak_kib(source, tmp_path, "gzip") < (24 + 32 + 6) << 10


@pytest.mark.parametrize("pack", [zst_streamed, zst_sized])
def test_a_larger_zstd_window_is_refused_with_its_size_and_what_to_do(pack: Callable[[bytes, int], bytes]) -> None:
    data = bytes(33 << 20)
    assert undone(pack(data[: 32 << 20], 25), "zstd") == data[: 32 << 20]
    with pytest.raises(TamperedError, match=r"zstd window of \d{8} bytes: expected at most 33554432") as caught:
        undone(pack(data, 26), "zstd")
    assert caught.value.hint == "compress it again, with zstd -19 or less and without --long"


class TestDecompressed:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
    def test_it_does_not_matter_how_the_bytes_arrive(self, size: int) -> None:
        data = TEXT[:20_000]
        assert undone(gz(data) + gz(b"") + gz(data), "gzip", size) == data * 2
        skippable = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
        assert undone(zst(data) + skippable + zst(data, checksum=False) + zst(b""), "zstd", size) == data * 2

    @pytest.mark.parametrize("step", [1, 2, 9, 300])
    def test_however_little_a_step_yields_nothing_is_left_over(
        self, step: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(codecs, "STEP_BYTES", step)
        for data in (bytes(5000), TEXT[:5000], NOISE[:5000]):
            assert undone(gz(data), "gzip") == data

    def test_every_level_and_kind_of_zstd_block_is_walked(self) -> None:
        for level in (1, 3, 9, 19):
            for data in (NOISE[:300_000], TEXT, bytes(1 << 20), b"", b"a"):
                assert undone(zst(data, level=level), "zstd") == data
        streamed = zstandard.ZstdCompressor(write_content_size=False, write_dict_id=False).compressobj()
        assert undone(streamed.compress(TEXT) + streamed.flush(), "zstd") == TEXT

    def test_a_stream_that_begins_with_a_skippable_frame_is_zstd(self) -> None:
        packed = b"\x50\x2a\x4d\x18" + (3 << 20).to_bytes(4, "little") + bytes(3 << 20) + zst(TEXT)
        assert packing_of(packed) == "zstd"
        assert undone(packed, "zstd") == TEXT

    GZ, ZST = gz(TEXT), zst(TEXT)

    @pytest.mark.parametrize(
        ("data", "packing", "reason"),
        [
            pytest.param(GZ[:-1], "gzip", "cut short", id="gzip that lacks its last byte"),
            pytest.param(GZ[:1000], "gzip", "cut short", id="gzip that ends in its middle"),
            pytest.param(GZ[:5], "gzip", "cut short", id="gzip that ends in its header"),
            pytest.param(GZ + b"garbage" * 3, "gzip", "no valid gzip", id="gzip with garbage behind it"),
            pytest.param(GZ + bytes(512), "gzip", "no valid", id="gzip with zeros behind it, which Go refuses too"),
            pytest.param(GZ + GZ[:9], "gzip", "cut short", id="gzip with half a member behind it"),
            pytest.param(GZ[:-5] + b"?" + GZ[-4:], "gzip", "checksum", id="gzip with a wrong checksum"),
            pytest.param(GZ[:-1] + b"\x7f", "gzip", "no valid gzip", id="gzip with a wrong length"),
            pytest.param(TEXT, "gzip", "no valid gzip", id="text called gzip"),
            pytest.param(ZST[:-1], "zstd", "cut short", id="zstd that lacks its last byte"),
            pytest.param(ZST[:1000], "zstd", "cut short", id="zstd that ends in its middle"),
            pytest.param(ZST[:5], "zstd", "cut short", id="zstd that ends in its header"),
            pytest.param(ZST[:3], "zstd", "cut short", id="zstd that ends in its magic"),
            pytest.param(ZST + b"garbage", "zstd", "no valid zstd", id="zstd with garbage behind it"),
            pytest.param(ZST + ZST[:100], "zstd", "cut short", id="zstd with half a frame behind it"),
            pytest.param(ZST[:-1] + b"?", "zstd", "no valid zstd", id="zstd with a wrong checksum"),
            pytest.param(b"\x50\x2a\x4d\x18\xff\xff\xff\xff", "zstd", "cut short", id="a skippable frame of 4 GiB"),
            pytest.param(b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", "zstd", "window of 2199", id="terabytes"),
            pytest.param(b"\x28\xb5\x2f\xfd\x20\x01\x07\x00\x00", "zstd", "no valid zstd", id="a reserved block type"),
        ],
    )  # fmt: skip
    def test_damage_is_noticed(self, data: bytes, packing: Packing, reason: str) -> None:
        with pytest.raises(TamperedError, match=reason):
            undone(data, packing)

    def test_a_plain_tar_is_capped_too(self) -> None:
        assert undone(TEXT, "none", max_bytes=len(TEXT)) == TEXT
        with pytest.raises(TamperedError, match="more than 100 bytes"):
            undone(TEXT, "none", max_bytes=100)

    def test_a_dense_layer_is_a_bomb_only_when_it_is_also_large(self) -> None:
        zeros = bytes(32 << 20)
        density = replace(codecs.LAYER_DENSITY, floor_bytes=16 << 20)
        assert len(zeros) > density.ratio * len(zst(zeros))
        assert undone(zst(zeros), "zstd") == zeros
        assert undone(gz(zeros), "gzip", density=density) == zeros  # DEFLATE cannot be that dense
        with pytest.raises(TamperedError, match="decompression bomb"):
            undone(zst(zeros), "zstd", density=density)

    @given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd"]), st.integers(1, 50))
    def test_only_our_errors_leave_it(self, data: bytes, packing: Packing, size: int) -> None:
        magic = codecs.GZIP_MAGIC if packing == "gzip" else codecs.ZSTD_MAGIC
        for candidate in (data, magic + data):
            with contextlib.suppress(TamperedError):
                undone(candidate, packing, size, max_bytes=1 << 24)

    @given(st.data())
    def test_a_changed_byte_is_noticed_or_harmless(self, data: st.DataObject) -> None:
        packing: Packing = data.draw(st.sampled_from(["gzip", "zstd"]))
        packed = bytearray(gz(TEXT[:500]) if packing == "gzip" else zst(TEXT[:500]))
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            result = undone(bytes(packed), packing)
        except TamperedError:
            return
        assert result == TEXT[:500]  # a byte of the header that means nothing

    @given(st.lists(st.binary(max_size=2000), max_size=5), st.integers(1, 5000))
    def test_any_members_in_a_row_are_one_stream(self, parts: list[bytes], size: int) -> None:
        assert undone(b"".join(map(gz, parts)), "gzip", size) == b"".join(parts)
        assert undone(b"".join(map(zst, parts)), "zstd", size) == b"".join(parts)


class TestDiffIdOf:
    @pytest.mark.parametrize(
        ("data", "media_type"),
        [(TAR, OCI_LAYER), (gz(TAR), OCI_LAYER_GZIP), (gz(TAR), DOCKER_LAYER_GZIP), (zst(TAR), OCI_LAYER_ZSTD)],
    )
    def test_reads_a_layer_as_its_media_type_says(self, data: bytes, media_type: str) -> None:
        assert diff_id_of(lambda: io.BytesIO(data), media_type) == Digest.of(TAR)

    def test_does_not_guess(self) -> None:
        with pytest.raises(TamperedError):
            diff_id_of(lambda: io.BytesIO(zlib.compress(TAR)), OCI_LAYER_GZIP)
        assert diff_id_of(lambda: io.BytesIO(gz(TAR)), OCI_LAYER) == Digest.of(gz(TAR))

    def test_a_config_is_no_layer(self) -> None:
        with pytest.raises(UsageError, match="no media type of a layer"):
            diff_id_of(lambda: io.BytesIO(b"{}"), OCI_CONFIG)

    def test_closes_what_it_opens(self) -> None:
        opened: list[BinaryIO] = []

        def open_() -> BinaryIO:
            opened.append(io.BytesIO(TAR))
            return opened[-1]

        diff_id_of(open_, OCI_LAYER)
        assert [file.closed for file in opened] == [True]
