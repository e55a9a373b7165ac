"""Image layouts, their archives and docker save files: the names in them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate.corpora import told
from trust.digest import Digest
from trust.gate.scan import ScanOptions, scan
from trust.oci.source import StoreName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
REF, NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"


def index(*annotations: Mapping[str, str]) -> bytes:
    entries = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(ONE), "size": 1, "annotations": item}
        for item in annotations
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def saved(*names: list[str]) -> bytes:
    return json.dumps([{"Config": "c.json", "RepoTags": item, "Layers": []} for item in names]).encode()


def archive(path: Path, **members: bytes) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_json", ".json").replace("_", "-"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue()) if path.suffix == ".gz" else buffer.getvalue())
    return path


def layout(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_bytes(data)
    return folder


def read(path: Path, folder: Path, **options: Any) -> dict[str, list[str]]:
    return told(scan([path], options=ScanOptions(**options)), folder)


def test_a_layout_names_its_tags_and_its_full_names_with_their_digests(tmp_path: Path) -> None:
    path = layout(
        tmp_path / "x",
        index(
            {REF: "v1"},
            {REF: "_trust"},
            {REF: "_trust.0000000000000001-abcdef012345"},
            {REF: "ghcr.io/acme/app:v2"},
            {REF: "latest", NAME: "docker.io/library/nginx:latest"},
            {REF: "ghcr.io/acme/app:_trust"},
            {},
        ),
    )
    result = scan([path])
    assert [found.text for found in result.found] == [
        f"oci:{path}:v1",
        f"ghcr.io/acme/app:v2@{ONE}",
        f"docker.io/library/nginx:latest@{ONE}",
    ]
    assert [problem.message for problem in result.problems] == [f"holds an image without a name: {ONE}"]
    assert StoreName.parse(result.found[0].text).tag == "v1"


def test_a_layout_in_a_folder_is_found_and_not_walked(tmp_path: Path) -> None:
    path = layout(tmp_path / "a/x", index({REF: "v1"}))
    (path / "Dockerfile").write_text("FROM not-read")
    (tmp_path / "a/Dockerfile").write_text("FROM b")
    assert [found.text for found in scan([tmp_path]).found] == [f"oci:{path}:v1", "b"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [(index(), "x holds no image"), (b"{", "x index.json"), (b"[]", "x ")],
)
def test_a_layout_that_is_empty_or_damaged_is_a_problem(tmp_path: Path, data: bytes, problem: str) -> None:
    found = read(layout(tmp_path / "x", data), tmp_path)
    assert found["images"] == []
    assert len(found["problems"]) == 1
    assert found["problems"][0].startswith(problem.split(" index", maxsplit=1)[0])


@pytest.mark.parametrize("name", ["image.tar", "image.tar.gz", "no-ending"])
def test_an_archive_of_a_layout_names_what_is_in_it(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / name, oci_layout=b"{}", index_json=index({REF: "acme/app:v1"}, {REF: "v1"}))
    assert read(path, tmp_path) == {
        "images": [f"{name} acme/app:v1@{ONE} * (image in it)"],
        "problems": [f"{name} holds an image with the tag 'v1' alone: expected a full name"],
        "left_out": [],
    }


def test_a_compressed_archive_is_unpacked_where_the_caller_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar.gz", index_json=index({REF: "acme/app:v1"}))
    assert len(read(path, tmp_path, spool_dir=tmp_path)["images"]) == 1
    assert "gone" in read(path, tmp_path, spool_dir=tmp_path / "gone")["problems"][0]


def test_a_save_file_names_what_is_in_it(tmp_path: Path) -> None:
    path = archive(tmp_path / "old.tar", manifest_json=saved(["acme/app:v1", "acme/app:v2"], []))
    assert read(path, tmp_path) == {
        "images": [
            "old.tar acme/app:v1 * (a name without a digest in a docker save file)",
            "old.tar acme/app:v2 * (a name without a digest in a docker save file)",
        ],
        "problems": ["old.tar holds an image without a name: c.json"],
        "left_out": [],
    }


def test_a_save_file_that_is_a_layout_as_well_names_each_image_once(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "new.tar",
        index_json=index({NAME: "docker.io/acme/app:v1", REF: "v1"}),
        manifest_json=saved(["acme/app:v1"], ["acme/hidden:v1"], []),
    )
    assert read(path, tmp_path)["images"] == [
        f"new.tar docker.io/acme/app:v1@{ONE} * (image in it)",
        "new.tar acme/hidden:v1 * (a name without a digest in a docker save file)",
    ]


def test_what_is_no_archive_of_images_is_a_problem(tmp_path: Path) -> None:
    other = archive(tmp_path / "other.tar", readme=b"x")
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(b"\x1f\x8b\x08damaged")
    empty = archive(tmp_path / "empty.tar", index_json=index())
    assert "is no docker save archive" in read(other, tmp_path)["problems"][0]
    assert len(read(damaged, tmp_path)["problems"]) == 1
    assert len(read(empty, tmp_path)["problems"]) == 1


def test_archives_in_folders_are_listed_and_not_opened(tmp_path: Path) -> None:
    archive(tmp_path / "image.tar", index_json=index({REF: "acme/app:v1"}))
    (tmp_path / "Dockerfile").write_text("FROM a")
    assert read(tmp_path, tmp_path) == {
        "images": ["Dockerfile:1:6 a (stage 0)"],
        "problems": [],
        "left_out": ["image.tar archives in folders are not opened: name it to have it read"],
    }
