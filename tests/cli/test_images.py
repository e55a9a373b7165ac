"""build, images, tag, rmi, load, save: the local store, and the Docker engine beside it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal
    from tests.peers.engine import DockerEngine


def test_a_build_is_the_same_on_another_day(rootfs: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    with freeze_time("2026-01-01"):
        first = dockseal("build", "-q", "-t", "app:v1", rootfs).out
    with freeze_time("2027-06-05"):
        assert dockseal("build", "-q", "-t", "app:v1", rootfs).out == first
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        dated = dockseal("build", "-o", "json", "-t", "app:v2", rootfs).json
    assert dated["digest"] != first.strip()
    shown = {item["reference"]: item["created"] for item in dockseal("images", "-o", "json").json}
    assert shown["docker.io/library/app:v2"] == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert "SOURCE_DATE_EPOCH" in dockseal("build", "-t", "app:v3", rootfs, code=2).err


def test_a_build_with_settings_on_a_base(rootfs: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    dockseal("build", "-t", "base:v1", rootfs)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "etc").write_text("x")
    built = dockseal(
        *("build", "-t", "app:v1", "--base", "base:v1", "--platform", "linux/arm64", "--workdir", "/srv"),
        *("--entrypoint", '["/bin/app"]', "--cmd", '["--serve"]', "--env", "A=b=c", "--label", "l=1", "--user", "1000"),
        tmp_path / "more",
        code=2,
    )
    assert "linux/arm64" in built.err  # the base is for another platform
    dockseal(
        *("build", "-t", "app:v1", "--base", "base:v1", "--workdir", "/srv"),
        *("--entrypoint", '["/bin/app"]', "--cmd", '["--serve"]', "--env", "A=b=c", "--label", "l=1", "--user", "1000"),
        tmp_path / "more",
    )
    archive = tmp_path / "app.tar"
    dockseal("save", "-o", archive, "app:v1")
    with tarfile.open(archive) as tar:
        manifest = json.load(_member(tar, "manifest.json"))[0]
        config = json.load(_member(tar, manifest["Config"]))
    assert len(manifest["Layers"]) == 2
    assert config["config"] == {
        "Cmd": ["--serve"],
        "Entrypoint": ["/bin/app"],
        "Env": ["A=b=c"],
        "Labels": {"l": "1"},
        "User": "1000",
        "WorkingDir": "/srv",
    }


def _member(tar: tarfile.TarFile, name: str) -> io.BufferedReader:
    found = tar.extractfile(name)
    assert isinstance(found, io.BufferedReader)
    return found


def test_names_in_the_local_store(rootfs: Path, dockseal: Dockseal) -> None:
    built = dockseal("build", "-o", "json", "-t", "localhost:5000/app", rootfs).json
    assert built["reference"] == "localhost:5000/app:latest"
    dockseal("tag", "localhost:5000/app", "app:v1")
    shown = dockseal("images")
    assert shown.lines[0].split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [line.split()[:3] for line in shown.lines[1:]] == [
        ["app", "v1", built["digest"][7:19]],
        ["localhost:5000/app", "latest", built["digest"][7:19]],
    ]
    assert dockseal("rmi", "app:v1").out == "Untagged: app:v1\n"
    removed = dockseal("rmi", "localhost:5000/app")
    assert removed.lines == ["Untagged: localhost:5000/app:latest", f"Deleted: {built['id']}"]
    assert len(dockseal("images").lines) == 1


def test_several_images_are_removed_only_with_a_yes(rootfs: Path, dockseal: Dockseal) -> None:
    dockseal("build", "-t", "a:v1", rootfs)
    dockseal("tag", "a:v1", "b:v1")
    assert "pass -y" in dockseal("rmi", "a:v1", "b:v1", code=2).err
    assert "no local image" in dockseal("rmi", "-y", "a:v1", "none:v1", code=11).err
    assert len(dockseal("images").lines) == 3
    dockseal("rmi", "-y", "a:v1", "b:v1")
    assert len(dockseal("images").lines) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "-t", "app:v1", "{tmp}/none"], "none"),
        (["build", "-t", "App:v1", "{rootfs}"], "lower"),
        (["build", "-t", "app:_trust", "{rootfs}"], "reserved"),
        (["build", "-t", "app:v1", "--cmd", "/bin/app", "{rootfs}"], "JSON list of strings"),
        (["build", "-t", "app:v1", "--cmd", "[1]", "{rootfs}"], "JSON list of strings"),
        (["build", "-t", "app:v1", "--env", "A", "{rootfs}"], "KEY=VALUE"),
        (["build", "-t", "app:v1", "--env", "A=1", "--env", "A=2", "{rootfs}"], "each key once"),
        (["build", "-t", "app:v1", "--platform", "amd64", "{rootfs}"], "amd64"),
        (["build", "-t", "app:v1", "--compression", "gzip:99", "{rootfs}"], "99"),
        (["tag", "app", "app:"], "invalid tag"),
        (["save", "--format", "zip", "-o", "{tmp}/x", "app:v1"], "expected docker or oci"),
        (["save", "-o", "/dev/null", "app:v1"], "no plain file"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_bad_input(arguments: list[str], words: str, rootfs: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    dockseal("build", "-t", "app:v1", rootfs)
    told = dockseal(*(argument.format(tmp=tmp_path, rootfs=rootfs) for argument in arguments), code=2)
    assert words in told.err
    assert told.out == ""


@pytest.mark.parametrize("archive_format", ["docker", "oci"])
def test_save_and_load(
    archive_format: str, rootfs: Path, dockseal: Dockseal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = dockseal("build", "-q", "-t", "localhost:5000/app:v1", rootfs).out.strip()
    dockseal("save", "--format", archive_format, "-o", tmp_path / "app.tar", "localhost:5000/app:v1")
    monkeypatch.setenv("DOCKSEAL_HOME", str(tmp_path / "other"))
    assert dockseal("load", "-i", tmp_path / "app.tar").out == "Loaded image: localhost:5000/app:v1\n"
    (found,) = dockseal("images", "-o", "json").json
    assert found["reference"] == "localhost:5000/app:v1"
    assert (found["digest"] == digest) or archive_format == "docker"


def _hostile(kind: str) -> bytes:
    """A docker archive that no tool should take."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}}
    ).encode()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w"):
        pass
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name: str, data: bytes = b"", **more: object) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in more.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))

        add("manifest.json", json.dumps([{"Config": "c.json", "RepoTags": ["evil:v1"], "Layers": ["l.tar"]}]).encode())
        add("c.json", config)
        if kind == "link":
            add("l.tar", type=tarfile.SYMTYPE, linkname="../../../etc/passwd")
        else:
            add("l.tar", layer.getvalue())
    return {"truncated": out.getvalue()[:2000], "html": b"<html>no</html>" * 100}.get(kind, out.getvalue())


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(("kind", "code"), [("truncated", 15), ("html", 2), ("link", 15), ("wrong diff id", 15)])
def test_a_hostile_archive_leaves_nothing_behind(
    kind: str, code: int, home: Path, dockseal: Dockseal, tmp_path: Path
) -> None:
    archive = tmp_path / "evil.tar"
    archive.write_bytes(_hostile(kind))
    for arguments in (
        ["load", "-i", str(archive)],
        ["push", "--from", f"docker-archive:{archive}", f"oci:{tmp_path}/out:v1"],
    ):
        told = dockseal(*arguments, code=code)
        assert told.err.splitlines()[-1].startswith(("Error: ", "Hint: "))
        assert "Successfully" not in told.out
    assert dockseal("images", "-o", "json").json == []
    spool = home / "dockseal" / "cache" / "spool"
    assert not spool.exists() or not list(spool.iterdir())
    assert not (tmp_path / "out" / "index.json").exists()


@pytest.mark.peer("dockerd", "docker")
def test_the_engine_as_source_and_as_destination(
    docker_engine: DockerEngine, signed: Signed, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    pulled = dockseal("pull", "--as", NAME, "--to", "docker-daemon:gate/app:v1", f"{signed.name}:v1")
    assert "Status: Downloaded newer image" in pulled.out
    assert "gate/app" in docker_engine.docker("images").stdout
    pushed = dockseal("push", "--from", "docker-daemon:gate/app:v1", "--as", NAME, f"{signed.name}:v5", "-o", "json")
    assert dockseal("verify", "-o", "json", "--as", NAME, f"{signed.name}:v5").json["digest"] == pushed.json["digest"]
    docker_engine.docker("tag", "gate/app:v1", f"{NAME}:v6")
    pushed = dockseal("push", "--as", NAME, f"{signed.name}:v6")
    assert f"Successfully signed {signed.name}:v6" in pushed.lines
    docker_engine.docker("rmi", "-f", "gate/app:v1", f"{NAME}:v6")
    gone = dockseal("push", "--from", "docker-daemon:gate/app:v1", f"{signed.name}:v7", "--as", NAME, code=11)
    assert "gate/app:v1" in gone.err


@pytest.mark.peer("dockerd", "docker", "docker-registry")
def test_docker_pulls_what_we_pushed(
    docker_engine: DockerEngine, registry: str, unique_name: str, signed: Signed, dockseal: Dockseal
) -> None:
    name = f"{registry}/{unique_name}:v1"
    digest = dockseal("push", "--from", f"{NAME}:v1", "-o", "json", name).json["digest"]
    assert digest in docker_engine.docker("pull", name).stdout
    docker_engine.docker("rmi", name)
