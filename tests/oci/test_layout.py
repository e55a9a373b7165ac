"""The OCI image layout folder as a store, and skopeo and umoci as its other readers and writers."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from tests.oci.samples import Sample, index_of, sample
from trust.digest import Digest
from trust.errors import DeniedError, DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.files import LEFTOVER_SECONDS
from trust.oci.folder import Folder
from trust.oci.layout import GC_GRACE_SECONDS, REF_NAME, Layout
from trust.oci.manifest import (
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    Descriptor,
    Manifest,
    image_manifest,
)
from trust.oci.store import Outcome, Store
from trust.oci.verified import VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = sample("one", "two")
OTHER = sample("three")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def layout(folder: Path) -> Layout:
    return Layout(folder)


def blob_path(folder: Path, digest: Digest) -> Path:
    return folder / "blobs" / "sha256" / digest.hex


def index(folder: Path) -> dict[str, list[dict[str, object]]]:
    return cast("dict[str, list[dict[str, object]]]", json.loads((folder / "index.json").read_bytes()))


def age(folder: Path, seconds: int = 2 * GC_GRACE_SECONDS) -> None:
    """Make everything in the folder old."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.tmp")]


def put_all(store: Store, tag: str | None = None) -> None:
    APP.put(store, tag)


# What a store does


def test_a_folder_that_does_not_exist_has_nothing_and_is_not_made(layout: Layout, folder: Path) -> None:
    assert layout.tags(10) == ()
    assert layout.resolve("v1") is None
    assert not layout.has_manifest(APP.manifest.digest)
    assert not layout.has_blob(APP.manifest.digest)
    assert layout.mount_blob(APP.manifest.descriptor) is None
    with pytest.raises(MissingError, match="no image layout at"):
        layout.get_manifest("v1")
    with pytest.raises(MissingError, match="no image layout at"):
        layout.get_manifest(APP.manifest.digest)
    with pytest.raises(MissingError, match="no image layout at"):
        layout.entries()
    assert not folder.exists()


def test_what_was_put_is_found_by_tag_and_digest(layout: Layout) -> None:
    put_all(layout, "v1")
    assert layout.get_manifest("v1") == APP.manifest
    assert layout.get_manifest(APP.manifest.digest) == APP.manifest
    assert layout.resolve("v1") == APP.manifest.digest
    assert layout.resolve("v2") is None
    assert layout.has_manifest(APP.manifest.digest)
    for descriptor, data in APP.blobs:
        assert layout.has_blob(descriptor.digest)
        assert layout.read_blob(descriptor, 1 << 20) == data
        with layout.open_blob(descriptor) as blob:
            assert blob.read() == data


def test_a_manifest_without_a_tag_is_a_blob_that_is_found_by_its_digest(layout: Layout, folder: Path) -> None:
    put_all(layout)
    assert index(folder)["manifests"] == []
    assert layout.get_manifest(APP.manifest.digest) == APP.manifest
    assert layout.tags(10) == ()


def test_the_name_and_the_repository_are_the_folder_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout(Path("a/../b")).repository == str(tmp_path / "b")
    assert Layout(Path("b")).name == "oci:b"
    assert Layout(Path("b"), repository="ghcr.io/acme/app").repository == "ghcr.io/acme/app"
    assert list(tmp_path.iterdir()) == []


def test_a_tag_moves_and_the_old_image_stays_by_digest(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    OTHER.put(layout, "v1")
    assert layout.get_manifest("v1") == OTHER.manifest
    assert layout.get_manifest(APP.manifest.digest) == APP.manifest
    assert len(index(folder)["manifests"]) == 1


def test_tags_are_sorted_and_one_more_than_asked_for_at_most(layout: Layout) -> None:
    for tag in ("c", "a", "d", "b"):
        put_all(layout, tag)
    assert layout.tags(10) == ("a", "b", "c", "d")
    assert layout.tags(2) == ("a", "b", "c")


def test_a_second_put_says_that_the_blob_exists_and_does_not_read_it(layout: Layout) -> None:
    descriptor, data = APP.blobs[1]
    sent: list[int] = []
    assert layout.put_blob(descriptor, lambda: io.BytesIO(data), sent=sent.append).outcome is Outcome.PUSHED
    assert sent == [len(data)]

    def never() -> BinaryIO:
        raise AssertionError

    assert layout.put_blob(descriptor, never, mount_from=("other",)).outcome is Outcome.EXISTS
    mounted = layout.mount_blob(descriptor)
    assert mounted is not None
    assert mounted.outcome is Outcome.EXISTS


def test_a_manifest_whose_layer_is_not_there_is_refused(layout: Layout) -> None:
    with pytest.raises(MissingError, match=r"which the manifest .* needs"):
        layout.put_manifest(APP.manifest, "v1")
    assert layout.tags(1) == ()


def test_foreign_layers_need_not_be_there(layout: Layout) -> None:
    config, data = APP.blobs[0]
    foreign = Descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest.of(b"far"), 3)
    layout.put_blob(config, lambda: io.BytesIO(data))
    layout.put_manifest(image_manifest(config, (foreign,)), "v1")
    assert layout.tags(1) == ("v1",)


def test_other_entries_and_unknown_fields_stay_as_they_are(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    entries = index(folder)["manifests"]
    entries[0]["x-mine"] = "kept"
    entries.append(entries[0] | {"annotations": {"only": "this"}})
    body = index(folder) | {"manifests": entries, "annotations": {"who": "someone"}, "x-unknown": [1, {"a": None}]}
    (folder / "index.json").write_text(json.dumps(body))
    OTHER.put(layout, "v2")
    after = index(folder)
    assert after["manifests"][:2] == entries
    assert {key: value for key, value in after.items() if key != "manifests"} == {
        key: value for key, value in body.items() if key != "manifests"
    }
    assert after["manifests"][2]["annotations"] == {REF_NAME: "v2"}


def test_untag_takes_one_tag_and_says_when_there_is_none(layout: Layout) -> None:
    put_all(layout, "v1")
    put_all(layout, "v2")
    layout.untag("v1")
    assert layout.tags(5) == ("v2",)
    with pytest.raises(MissingError, match="no tag 'v1'") as caught:
        layout.untag("v1")
    assert caught.value.hint == "its tags are v2"


def test_deleting_a_manifest_takes_all_its_tags_and_leaves_the_blob(layout: Layout) -> None:
    put_all(layout, "v1")
    put_all(layout, "v2")
    OTHER.put(layout, "v3")
    layout.delete_manifest(APP.manifest.digest)
    assert layout.tags(5) == ("v3",)
    assert layout.has_manifest(APP.manifest.digest)
    with pytest.raises(MissingError, match="has no manifest"):
        layout.delete_manifest(Digest.of(b"nothing"))


def test_an_unknown_tag_or_digest_is_missing_and_the_hint_lists_the_tags(layout: Layout) -> None:
    put_all(layout, "v1")
    with pytest.raises(MissingError, match="has no tag 'v9'") as caught:
        layout.get_manifest("v9")
    assert caught.value.hint == "its tags are v1"
    with pytest.raises(MissingError, match="has no manifest sha256:"):
        layout.get_manifest(Digest.of(b"nothing"))
    with pytest.raises(MissingError, match="has no blob sha256:"):
        layout.read_blob(Descriptor.of(b"nothing", OCI_CONFIG), 100)


def test_a_malformed_tag_is_refused_before_anything_is_written(layout: Layout, folder: Path) -> None:
    with pytest.raises(UsageError, match="invalid tag"):
        layout.put_manifest(APP.manifest, "a/b")
    assert not folder.exists()


def test_repositories_share_a_folder_by_prefix(folder: Path) -> None:
    first, second = Layout(folder, prefix="reg/a:"), Layout(folder, prefix="reg/b:")
    put_all(first, "v1")
    put_all(second, "v1")
    put_all(second, "v2")
    assert first.tags(5) == ("v1",)
    assert second.tags(5) == ("v1", "v2")
    second.delete_manifest(APP.manifest.digest)
    assert first.tags(5) == ("v1",)
    assert second.tags(5) == ()
    assert Layout(folder).tags(5) == ()


def test_files_are_readable_by_all_and_nothing_else_is_left(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    for path in (folder / "index.json", folder / "oci-layout", *(folder / "blobs/sha256").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in folder.iterdir()) == [".dockseal-lock", "blobs", "index.json", "oci-layout"]


def test_many_writers_lose_no_tag(folder: Path) -> None:
    put_all(Layout(folder))

    def write(number: int) -> None:
        for count in range(6):
            Layout(folder).put_manifest(APP.manifest, f"t{number}-{count}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(Layout(folder).tags(100)) == 36


def test_many_writers_make_one_layout(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put_all(Layout(folder), f"t{number}"), range(8)))
    assert len(Layout(folder).tags(100)) == 8
    assert leftovers(folder) == []


# Bad input


def _drop_marker(folder: Path) -> None:
    (folder / "oci-layout").unlink()


def _drop_index(folder: Path) -> None:
    (folder / "index.json").unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: cast("None", (folder / name).write_text(text))


def _link_blob(folder: Path) -> None:
    path = blob_path(folder, APP.manifest.digest)
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def _link_blobs(folder: Path) -> None:
    (folder / "blobs").rename(folder.parent / "elsewhere")
    (folder / "blobs").symlink_to(folder.parent / "elsewhere")


def _link_index(folder: Path) -> None:
    (folder / "index.json").rename(folder.parent / "elsewhere")
    (folder / "index.json").symlink_to(folder.parent / "elsewhere")


def _fifo_blob(folder: Path) -> None:
    blob_path(folder, APP.manifest.digest).unlink()
    os.mkfifo(blob_path(folder, APP.manifest.digest))


def _folder_blob(folder: Path) -> None:
    blob_path(folder, APP.manifest.digest).unlink()
    blob_path(folder, APP.manifest.digest).mkdir()


def _other_bytes(folder: Path) -> None:
    path = blob_path(folder, APP.manifest.digest)
    path.write_bytes(path.read_bytes().replace(b"schemaVersion", b"schemaversion"))


def _huge_blob(folder: Path) -> None:
    os.truncate(blob_path(folder, APP.manifest.digest), MAX_MANIFEST_BYTES + 1)


def _edited(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        body = index(folder)
        change(body["manifests"][0])
        (folder / "index.json").write_text(json.dumps(body))

    return damage


def _two_at_one_tag(folder: Path) -> None:
    body = index(folder)
    body["manifests"].append(body["manifests"][0] | {"digest": str(Digest.of(b"other"))})
    (folder / "index.json").write_text(json.dumps(body))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no oci-layout": (_drop_marker, "has a file oci-layout"),
    "no index.json": (_drop_index, "it has no index.json"),
    "an oci-layout of another version": (_write("oci-layout", '{"imageLayoutVersion":"2.0.0"}'), "expected 1.0.0"),
    "an oci-layout without version": (_write("oci-layout", "{}"), "expected 1.0.0"),
    "an oci-layout that is no JSON": (_write("oci-layout", "1.0.0"), "oci-layout is no"),
    "an endless oci-layout": (_write("oci-layout", " " * 5000), "longer than 4096 bytes"),
    "an index that is no JSON": (_write("index.json", "{"), "not strict JSON"),
    "an index that is a list": (_write("index.json", "[]"), "not a JSON object"),
    "an index without manifests": (_write("index.json", '{"schemaVersion":2}'), "manifests is no list"),
    "an endless index": (_write("index.json", " " * (MAX_MANIFEST_BYTES + 1)), "longer than 8388608 bytes"),
    "a linked index": (_link_index, "is a link or no plain file"),
    "a linked blob": (_link_blob, "is a link or no plain file"),
    "a linked blobs folder": (_link_blobs, "is a link or no plain file"),
    "a pipe for a blob": (_fifo_blob, "is no plain file"),
    "a folder for a blob": (_folder_blob, "is no plain file"),
    "a blob with other bytes": (_other_bytes, "expected sha256:"),
    "a blob beyond the cap": (_huge_blob, "longer than 8388608 bytes"),
    "an entry of another size": (_edited(lambda entry: entry.update(size=1)), "of 1 bytes"),
    "an entry of another type": (_edited(lambda entry: entry.update(mediaType=DOCKER_MANIFEST)), "the manifest says"),
    "an entry without digest": (_edited(lambda entry: entry.pop("digest")), "lacks mediaType or digest"),
    "one tag at two manifests": (_two_at_one_tag, "at 2 manifests: expected one"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_tampered(name: str, layout: Layout, folder: Path) -> None:
    damage, message = DAMAGE[name]
    put_all(layout, "v1")
    damage(folder)
    with pytest.raises(TamperedError, match=message):
        layout.get_manifest("v1")


@pytest.mark.parametrize("damage", [_drop_index, _write("index.json", "{"), _write("index.json", '{"manifests":[1]}')])
def test_a_damaged_folder_is_not_written_to(damage: Callable[[Path], None], layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    damage(folder)
    before = sorted(str(path) for path in folder.parent.rglob("*"))
    with pytest.raises(TamperedError):
        OTHER.put(layout, "v2")
    with pytest.raises(TamperedError):
        layout.untag("v1")
    after = sorted(str(path) for path in folder.parent.rglob("*") if "blobs" not in str(path))
    assert after == [path for path in before if "blobs" not in path]


def test_nothing_is_written_where_the_blobs_folder_leads(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    _link_blobs(folder)
    before = sorted(folder.parent.joinpath("elsewhere").rglob("*"))
    with pytest.raises(TamperedError, match="is a link"):
        OTHER.put(layout, "v2")
    assert sorted(folder.parent.joinpath("elsewhere").rglob("*")) == before


def test_a_folder_with_other_files_is_no_place_for_a_layout(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds other files: thesis\.txt"):
        put_all(Layout(tmp_path), "v1")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(MissingError, match="no image layout at"):
        Layout(tmp_path).get_manifest("v1")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "app.tar").write_bytes(b"")
    for action in (
        lambda: Layout(tmp_path / "app.tar").get_manifest("v1"),
        lambda: Layout(tmp_path / "app.tar").tags(1),
    ):
        with pytest.raises(UsageError, match="is no folder"):
            action()
    with pytest.raises(DocksealError):
        put_all(Layout(tmp_path / "app.tar"), "v1")


def test_a_layout_that_was_only_begun_is_empty_and_gets_completed(layout: Layout, folder: Path) -> None:
    folder.mkdir()
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    assert layout.tags(5) == ()
    assert layout.resolve("v1") is None
    put_all(layout, "v1")
    assert layout.tags(5) == ("v1",)


def test_an_index_too_big_to_read_back_is_not_written(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    filler = {"annotations": {"filler": "x" * (MAX_MANIFEST_BYTES - 500)}}
    (folder / "index.json").write_text(json.dumps(index(folder) | filler, separators=(",", ":")))
    with pytest.raises(DocksealError, match="too many tags"):
        put_all(layout, "v2")
    assert layout.tags(5) == ("v1",)


WRONG_SOURCES: dict[str, Callable[[bytes], bytes]] = {
    "fewer bytes": lambda data: data[:-1],
    "more bytes": lambda data: data + b"x",
    "other bytes": lambda data: b"x" + data[1:],
    "no bytes": lambda _: b"",
}


@pytest.mark.parametrize("name", WRONG_SOURCES)
def test_a_source_that_gives_other_bytes_leaves_nothing(name: str, layout: Layout, folder: Path) -> None:
    descriptor, data = APP.blobs[1]
    with pytest.raises(TamperedError, match="the source gives"):
        layout.put_blob(descriptor, lambda: io.BytesIO(WRONG_SOURCES[name](data)))
    assert not layout.has_blob(descriptor.digest)
    assert leftovers(folder) == []


def test_a_blob_that_was_cut_short_is_replaced(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    descriptor, data = APP.blobs[1]
    os.truncate(blob_path(folder, descriptor.digest), 3)
    assert layout.put_blob(descriptor, lambda: io.BytesIO(data)).outcome is Outcome.PUSHED
    assert layout.read_blob(descriptor, 1 << 20) == data
    os.truncate(blob_path(folder, APP.manifest.digest), 3)
    put_all(layout, "v1")
    assert layout.get_manifest("v1") == APP.manifest


class _Interrupted(io.RawIOBase):
    """Gives some bytes, then Ctrl-C."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._chunks = [data]

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._chunks:
            raise KeyboardInterrupt
        return self._chunks.pop()


def test_an_interrupt_leaves_nothing_half_written(layout: Layout, folder: Path) -> None:
    descriptor, data = APP.blobs[1]
    with pytest.raises(KeyboardInterrupt):
        layout.put_blob(descriptor, lambda: cast("BinaryIO", _Interrupted(data[:5])))
    assert not layout.has_blob(descriptor.digest)
    assert leftovers(folder) == []


@contextmanager
def _small_files_only(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit``: the kernel refuses the write, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_a_clear_error_and_leaves_nothing(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    data = bytes(3 << 20)
    descriptor = Descriptor.of(data, OCI_LAYER_GZIP)
    with _small_files_only(2 << 20), pytest.raises(DocksealError, match="could not write") as caught:
        layout.put_blob(descriptor, lambda: io.BytesIO(data))
    assert caught.value.exit_code == 1
    assert caught.value.hint is not None
    assert "disk space" in caught.value.hint
    assert not layout.has_blob(descriptor.digest)
    assert leftovers(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_not_be_read_or_written_is_denied(tmp_path: Path) -> None:
    put_all(Layout(tmp_path / "layout"), "v1")
    (tmp_path / "layout/index.json").chmod(0)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(DeniedError, match="was denied"):
            Layout(tmp_path / "layout").get_manifest("v1")
        with pytest.raises(DeniedError, match="was denied"):
            put_all(Layout(tmp_path / "layout/new"), "v1")
        with pytest.raises(DeniedError, match="was denied"):
            OTHER.put(Layout(tmp_path / "layout"), "v2")
    finally:
        os.seteuid(0)


def test_other_failures_of_the_file_system_are_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="could not use"):
        Layout(tmp_path / ("x" * 300)).get_manifest("v1")


def test_a_blob_is_read_up_to_the_cap_only(layout: Layout) -> None:
    put_all(layout)
    descriptor, data = APP.blobs[1]
    with pytest.raises(TamperedError, match=f"expected at most {len(data) - 1}"):
        layout.read_blob(descriptor, len(data) - 1)


# Streams that check themselves


def _read_whole(blob: BinaryIO) -> bytes:
    return blob.read()


def _read_in_pieces(blob: BinaryIO) -> bytes:
    return b"".join(iter(lambda: blob.read(7), b""))


def _read_into(blob: BinaryIO) -> bytes:
    buffer = bytearray(16)
    raw = cast("io.RawIOBase", blob)
    return b"".join(bytes(buffer[:count]) for count in iter(lambda: raw.readinto(buffer), 0) if count)


def _read_all(blob: BinaryIO) -> bytes:
    return cast("io.RawIOBase", blob).readall()


READERS = (_read_whole, _read_in_pieces, _read_into, _read_all)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256))])
def test_a_stream_gives_its_bytes(read: Callable[[BinaryIO], bytes], data: bytes) -> None:
    file = io.BytesIO(data)
    with VerifiedReader.open(file, Descriptor.of(data, OCI_CONFIG)) as blob:
        assert blob.readable()
        assert read(blob) == data
        assert blob.read(0) == b""
        assert blob.read(5) == b""
    assert file.closed


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("found", [b"0123456789", b"01234567890", b"012345678_x", b"", b"x"])
def test_a_stream_with_other_bytes_fails_at_its_end(read: Callable[[BinaryIO], bytes], found: bytes) -> None:
    expected = Descriptor.of(b"0123456789A"[: 10 + len(found) % 2], OCI_CONFIG)
    if Digest.of(found) == expected.digest:
        expected = Descriptor.of(b"another", OCI_CONFIG)
    with (
        VerifiedReader.open(io.BytesIO(found), expected) as blob,
        pytest.raises(TamperedError, match="the blob sha256:"),
    ):
        read(blob)


def test_a_stream_that_should_be_empty_and_is_not_fails_when_it_is_opened() -> None:
    with pytest.raises(TamperedError, match="longer than its 0 bytes"):
        VerifiedReader.open(io.BytesIO(b"x"), Descriptor.of(b"", OCI_CONFIG))


def test_a_reader_who_counts_is_checked_with_the_last_byte() -> None:
    wrong = Descriptor(OCI_CONFIG, Digest.of(b"other"), 4)
    with VerifiedReader.open(io.BytesIO(b"four"), wrong) as blob:
        assert blob.read(3) == b"fou"
        with pytest.raises(TamperedError, match="has other bytes"):
            blob.read(1)


class _BadDisk(io.RawIOBase):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_is_unreachable() -> None:
    blob = VerifiedReader.open(cast("BinaryIO", _BadDisk()), Descriptor.of(b"four", OCI_CONFIG))
    with pytest.raises(UnreachableError, match="Input/output error"):
        blob.read()


# Collecting


def test_nothing_young_is_collected(layout: Layout) -> None:
    put_all(layout, "v1")
    layout.untag("v1")
    assert layout.gc() == 0
    assert layout.get_manifest(APP.manifest.digest) == APP.manifest


def test_what_no_entry_reaches_is_collected_and_the_rest_stays(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    OTHER.put(layout, "v2")
    layout.untag("v1")
    age(folder)
    size = sum(descriptor.size for descriptor, _ in APP.blobs) + APP.manifest.size
    assert layout.gc() == size
    assert not layout.has_manifest(APP.manifest.digest)
    assert layout.get_manifest("v2") == OTHER.manifest
    assert all(layout.has_blob(descriptor.digest) for descriptor, _ in OTHER.blobs)
    assert layout.gc() == 0


def test_an_index_keeps_its_images_and_may_list_some_that_are_not_here(layout: Layout, folder: Path) -> None:
    put_all(layout)
    both = index_of((APP, "linux/amd64"), (OTHER, "linux/arm64"))
    layout.put_manifest(both, "v1")
    age(folder)
    assert layout.gc() == 0
    assert layout.get_manifest(APP.manifest.digest) == APP.manifest


def test_a_manifest_that_is_also_a_layer_keeps_what_it_needs(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    config, _ = APP.blobs[0]
    wrapper = image_manifest(config, (Descriptor(OCI_LAYER_GZIP, APP.manifest.digest, APP.manifest.size),))
    layout.put_manifest(wrapper, "wrapper")
    age(folder)
    assert layout.gc() == 0


def test_a_blob_that_a_writer_counts_on_is_kept(layout: Layout, folder: Path) -> None:
    put_all(layout)
    age(folder)
    descriptor, data = APP.blobs[1]
    assert layout.put_blob(descriptor, lambda: io.BytesIO(data)).outcome is Outcome.EXISTS
    layout.gc()
    assert layout.has_blob(descriptor.digest)
    assert not layout.has_blob(APP.blobs[2][0].digest)


def test_nothing_is_collected_where_a_manifest_is_damaged(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    _other_bytes(folder)
    age(folder)
    with pytest.raises(TamperedError):
        layout.gc()
    assert all(layout.has_blob(descriptor.digest) for descriptor, _ in APP.blobs)


KILLED = """
import io, os, signal, sys
from pathlib import Path
from trust.oci.layout import Layout
from trust.oci.manifest import Descriptor

class Killer(io.RawIOBase):
    def read(self, size=-1):
        os.kill(os.getpid(), signal.SIGKILL)

Layout(Path(sys.argv[1])).put_blob(Descriptor.of(b"data", "text/plain"), Killer)
"""


def test_what_a_killed_writer_left_is_collected(layout: Layout, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(leftovers(folder)) == 1
    age(folder)
    assert layout.gc() == 0
    assert len(leftovers(folder)) == 1, "it is not a day old"
    age(folder, 2 * LEFTOVER_SECONDS)
    layout.gc()
    assert leftovers(folder) == []
    put_all(layout, "v1")
    assert layout.tags(1) == ("v1",)


def test_what_a_killed_writer_left_is_swept_by_the_next_one(layout: Layout, folder: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    put_all(layout)
    assert len(leftovers(folder)) == 1
    age(folder, 2 * LEFTOVER_SECONDS)
    layout.put_manifest(APP.manifest, "v1")
    assert leftovers(folder) == []


def test_what_a_slow_writer_still_writes_is_not_swept(layout: Layout, folder: Path) -> None:
    """Its source has given nothing for two days."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not self.tell():
                age(folder, 2 * LEFTOVER_SECONDS)
                OTHER.put(layout, "v2")
                assert layout.gc() == 0
                assert len(leftovers(folder)) == 1
            return super().read(size)

    descriptor = Descriptor.of(b"data", OCI_LAYER_GZIP)
    assert layout.put_blob(descriptor, lambda: Slow(b"data")).outcome is Outcome.PUSHED
    assert leftovers(folder) == []


def test_a_folder_that_is_removed_meanwhile_is_no_traceback(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "gone")
    folder.touch("blob")
    folder.remove("blob")
    assert folder.list("blobs") == ()
    with pytest.raises(MissingError):
        folder.write([b"data"], "blob")


# skopeo and umoci


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_we_write_and_we_read_what_skopeo_writes(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    put_all(Layout(ours), "v1")
    run("skopeo", "copy", f"oci:{ours}:v1", f"oci:{theirs}:v2")
    assert Layout(theirs).tags(5) == ("v2",)
    assert Layout(theirs).get_manifest("v2") == APP.manifest
    for descriptor, data in APP.blobs:
        assert Layout(theirs).read_blob(descriptor, 1 << 20) == data


@pytest.mark.peer("skopeo")
def test_skopeo_and_we_write_into_one_folder(layout: Layout, folder: Path, tmp_path: Path) -> None:
    put_all(layout, "v1")
    OTHER.put(Layout(tmp_path / "other"), "x")
    run("skopeo", "copy", f"oci:{tmp_path / 'other'}:x", f"oci:{folder}:v2")
    OTHER.put(layout, "v3")
    assert layout.tags(5) == ("v1", "v2", "v3")
    assert layout.get_manifest("v2") == OTHER.manifest
    assert json.loads(run("skopeo", "inspect", "--raw", f"oci:{folder}:v1")) == json.loads(APP.manifest.raw)


@pytest.mark.peer("skopeo")
def test_skopeo_copies_an_index_of_ours(layout: Layout, folder: Path, tmp_path: Path) -> None:
    arm = sample("arm", architecture="arm64")
    put_all(layout)
    arm.put(layout)
    both = index_of((APP, "linux/amd64"), (arm, "linux/arm64"))
    layout.put_manifest(both, "v1")
    run("skopeo", "copy", "--all", f"oci:{folder}:v1", f"oci:{tmp_path / 'copy'}:v1")
    copied = Layout(tmp_path / "copy")
    assert copied.get_manifest("v1") == both
    assert copied.get_manifest(arm.manifest.digest) == arm.manifest


@pytest.mark.peer("umoci")
def test_umoci_reads_what_we_write_and_we_read_what_umoci_writes(layout: Layout, folder: Path) -> None:
    put_all(layout, "v1")
    assert run("umoci", "list", "--layout", folder).split() == ["v1"]
    run("umoci", "config", "--image", f"{folder}:v1", "--tag", "v2", "--config.label", "who=umoci")
    assert layout.tags(5) == ("v1", "v2")
    changed = layout.get_manifest("v2")
    assert changed.config is not None
    config = json.loads(layout.read_blob(changed.config, 1 << 20))
    assert config["config"]["Labels"] == {"who": "umoci"}
    run("umoci", "gc", "--layout", folder)
    put_all(layout, "v3")
    assert layout.get_manifest("v1") == APP.manifest


@pytest.mark.peer("umoci")
def test_umoci_makes_a_layout_that_we_write_into(folder: Path) -> None:
    run("umoci", "init", "--layout", folder)
    put_all(Layout(folder), "v1")
    assert run("umoci", "list", "--layout", folder).split() == ["v1"]


def test_a_layout_is_a_store(layout: Layout) -> None:
    store: Store = layout
    assert isinstance(APP, Sample)
    assert store.name.startswith("oci:")
    assert Manifest.parse(APP.manifest.raw) == APP.manifest
