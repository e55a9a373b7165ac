"""push, as a person meets it: the classic tutorial, sources, all tags, unsigned pushes, refusals."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import PASSPHRASE, Dockseal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.peers.fixtures import HtpasswdRegistry

pytestmark = pytest.mark.peer("docker-registry")


@pytest.fixture
def image(registry: str, unique_name: str, keys: Path, rootfs: Path, dockseal: Dockseal) -> str:
    """The name of a local image that may be pushed to the registry."""
    name = f"{registry}/{unique_name}"
    dockseal("build", "-t", f"{name}:v1", rootfs)
    return name


def test_the_classic_tutorial(
    registry_htpasswd: HtpasswdRegistry,
    keys: Path,
    image: str,
    dockseal: Dockseal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = registry_htpasswd.host
    path = image.partition("/")[2]
    name = f"{host}/{path}"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{registry_htpasswd.password}\n"))
    assert dockseal("login", "-u", registry_htpasswd.user, "--password-stdin", host).out == "Login Succeeded\n"

    dockseal("tag", f"{image}:v1", "app:v1")
    dockseal("tag", "app:v1", f"{name}:v1")
    first = dockseal("push", f"{name}:v1")
    layer = first.lines[1].partition(":")[0]
    digest = first.lines[-3].split()[2]
    assert first.lines == [
        f"The push refers to repository [{name}]",
        f"{layer}: Preparing",
        f"{layer}: Pushing",
        f"{layer}: Pushed",
        f"v1: digest: {digest} size: {first.lines[-3].split()[-1]}",
        "Signing and pushing trust metadata",
        f"Successfully signed {name}:v1",
    ]
    assert f'repository = "{name}"' in first.err
    assert "dockseal key export --all > keys.backup" in first.err
    assert str(keys / "keys") in first.err

    dockseal("tag", "app:v1", f"{name}:v2")
    second = dockseal("push", f"{name}:v2")
    assert f"{layer}: Layer already exists" in second.lines
    assert f"{layer}: Pushing" not in second.lines
    assert second.err == ""

    for blob in (keys / "images" / "blobs" / "sha256").iterdir():
        os.utime(blob, (0, 0))  # young blobs are kept: another process may be about to use them
    dockseal("rmi", "-y", f"{name}:v1", f"{name}:v2", "app:v1", f"{image}:v1")
    assert dockseal("images", "-o", "json").json == []
    pulled = dockseal("pull", f"{name}:v1")
    assert pulled.lines == [
        f"v1: Pulling from {path}",
        f"{layer}: Pulling fs layer",
        f"{layer}: Downloading",
        f"{layer}: Pull complete",
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}:v1",
        "trusted: signed by targets",
    ]
    again = dockseal("pull", f"{name}:v1")
    assert f"Status: Image is up to date for {name}:v1" in again.lines
    assert dockseal("verify", f"{name}:v2").lines[0] == f"trusted: {name}:v2"
    assert dockseal("logout", host).out == f"Removing login credentials for {host}\n"
    assert "dockseal login" in dockseal("verify", f"{name}:v2", code=3).err


def test_json_of_a_push(image: str, dockseal: Dockseal) -> None:
    first = dockseal("push", "-o", "json", f"{image}:v1").json
    assert first == {
        "schema": 1,
        "reference": f"{image}:v1",
        "digest": first["digest"],
        "size": first["size"],
        "signed": True,
        "signers": ["targets"],
        "state": 1,
        "root": first["root"],
        "initialised": True,
        "unchanged": False,
        "proposal": None,
    }
    again = dockseal("push", "-o", "json", f"{image}:v1").json
    assert again == first | {"initialised": False, "unchanged": True}


def test_quiet_prints_the_digest_name_alone(image: str, dockseal: Dockseal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    digest = dockseal("build", "-q", "-t", f"{image}:v2", tmp_path).out.strip()
    assert dockseal("push", "-q", f"{image}:v2").out == f"{image}@{digest}\n"


def test_what_a_killed_push_left_is_swept_by_the_next(image: str, dockseal: Dockseal, home: Path) -> None:
    left = home / "dockseal" / "cache" / "spool" / "push-killed"
    left.mkdir(parents=True, mode=0o700)
    (left / "layer").write_bytes(b"x")
    os.utime(left, (0, 0))
    dockseal("push", f"{image}:v1")
    assert list(left.parent.iterdir()) == []


def test_all_tags(image: str, dockseal: Dockseal) -> None:
    dockseal("tag", f"{image}:v1", f"{image}:v2")
    dockseal("tag", f"{image}:v1", f"{image}-other:v9")
    results = dockseal("push", "-a", "-o", "json", image).json
    assert [result["reference"] for result in results] == [f"{image}:v1", f"{image}:v2"]
    assert all(result["schema"] == 1 for result in results)
    assert [tag["tag"] for tag in dockseal("inspect", "-o", "json", image).json["tags"]] == ["v1", "v2"]
    assert dockseal("push", "-a", "-q", image).out.count(f"{image}@sha256:") == 2
    assert "no tag" in dockseal("push", "-a", f"{image}:v1", code=2).err
    assert "has no tag of" in dockseal("push", "-a", f"{image}-none", code=11).err


def test_what_was_pulled_by_digest_is_not_among_all_tags(image: str, dockseal: Dockseal) -> None:
    digest = dockseal("push", "-o", "json", f"{image}:v1").json["digest"]
    dockseal("pull", f"{image}@{digest}")
    assert len(dockseal("images", "-o", "json").json) == 2
    assert [result["reference"] for result in dockseal("push", "-a", "-o", "json", image).json] == [f"{image}:v1"]


@pytest.mark.parametrize(
    ("switch", "is_signed"),
    [
        (["--disable-content-trust"], False),
        (["--disable-content-trust=true"], False),
        (["--disable-content-trust=false"], True),
        (["--disable-content-trust", "--disable-content-trust=false"], True),
        (["--disable-content-trust=0", "--disable-content-trust=1"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_content_trust_is_switched_off_as_docker_does(
    switch: list[str], is_signed: bool, image: str, dockseal: Dockseal
) -> None:
    pushed = dockseal("push", *switch, f"{image}:v1")
    assert ("Successfully signed" in pushed.out) == is_signed
    assert ("UNSIGNED" in pushed.err) == (not is_signed)
    dockseal("verify", f"{image}:v1", code=0 if is_signed else 10)
    pulled = dockseal("pull", "--disable-content-trust", "-o", "json", f"{image}:v1")
    assert pulled.json["verdict"] == "unverified"
    assert "switched off" in pulled.err


def test_an_unsigned_push_over_a_signed_tag_is_a_mismatch(image: str, dockseal: Dockseal, tmp_path: Path) -> None:
    signed = dockseal("push", "-o", "json", f"{image}:v1").json["digest"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("evil")
    dockseal("build", "-t", f"{image}:v1", tmp_path / "other")
    unsigned = dockseal("push", "--disable-content-trust", "-o", "json", f"{image}:v1").json
    assert not unsigned["signed"]
    found = dockseal("verify", "-o", "json", f"{image}:v1", code=12).json
    assert (found["verdict"], found["digest"], found["registryDigest"]) == ("mismatch", signed, unsigned["digest"])
    refused = dockseal("pull", f"{image}:v1", code=12)
    hinted = refused.err.partition("`dockseal ")[2].partition("`")[0].split()
    assert hinted == ["pull", f"{image}@{signed}"]
    assert dockseal(*hinted, "-q").out == f"{image}@{signed}\n"
    shown = dockseal("inspect", image)
    assert "mismatch" in shown.out
    dockseal("push", f"{image}:v1")
    dockseal("verify", f"{image}:v1")


@pytest.mark.parametrize("archive_format", ["docker", "oci"])
def test_push_from_an_archive(archive_format: str, image: str, dockseal: Dockseal, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    dockseal("save", "--format", archive_format, "-o", archive, f"{image}:v1")
    dockseal("rmi", f"{image}:v1")
    pushed = dockseal("push", "--from", f"{archive_format}-archive:{archive}", f"{image}:v7")
    assert f"Successfully signed {image}:v7" in pushed.lines
    assert f"{image}:v7" in dockseal("pull", f"{image}:v7").out


def test_push_from_a_folder(image: str, signed_elsewhere: Signed, dockseal: Dockseal) -> None:
    pushed = dockseal("push", "--from", f"{signed_elsewhere.name}:v1", f"{image}:v3", "-o", "json").json
    assert dockseal("verify", f"{image}:v3", "-o", "json").json["digest"] == pushed["digest"]


@pytest.fixture
def signed_elsewhere(_made_once: Path) -> Signed:
    from tests.cli.conftest import Signed

    return Signed(_made_once / "store", _made_once / "home", "")


def test_an_image_that_is_nowhere(registry: str, keys: Path, no_engine: None, dockseal: Dockseal) -> None:
    failed = dockseal("push", f"{registry}/none:v1", code=11)
    assert f"Error: there is no image {registry}/none:v1 here" in failed.err
    assert "--from docker-archive:FILE" in failed.err


def test_annotations_are_signed(image: str, dockseal: Dockseal) -> None:
    dockseal("push", "--annotation", "commit=abc", "--annotation", "url=http://x/?a=b", f"{image}:v1")
    shown = dockseal("verify", f"{image}:v1")
    assert "  commit=abc" in shown.lines
    assert dockseal("verify", "-o", "json", f"{image}:v1").json["annotations"] == {
        "commit": "abc",
        "url": "http://x/?a=b",
    }


def test_json_holds_an_annotation_as_it_was_signed_and_shows_nothing_of_its_controls(
    image: str, dockseal: Dockseal
) -> None:
    value = "a\x1b[2J\x7f\x9b\u202egnitsurt\u2066\u2028\u200f é"
    dockseal("push", "--annotation", f"a={value}", f"{image}:v1")
    told = dockseal("verify", "-o", "json", f"{image}:v1")
    assert told.json["annotations"] == {"a": value}
    assert not set(told.out) & set("\x1b\x7f\x9b\u202e\u2066\u2028\u200f")
    assert "é" in told.out
    shown = dockseal("verify", f"{image}:v1").lines[-1]
    assert shown == "  a=a\ufffd[2J\ufffd\ufffd\ufffdgnitsurt\ufffd \ufffd é"


def test_an_annotation_cannot_write_over_a_verdict(image: str, dockseal: Dockseal) -> None:
    dockseal("push", "--annotation", "a=\x1b[2J\ntrusted: other\x07", f"{image}:v1")
    lines = dockseal("verify", f"{image}:v1").lines
    assert lines[-1] == "  a=\ufffd[2J trusted: other\ufffd"
    assert [line for line in lines if line.startswith("trusted")] == [f"trusted: {image}:v1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "UPPER:v1"], "lower"),
        (["push", "localhost:5000/app:"], "invalid tag ''"),
        (["push", "localhost:5000/app:v1@sha256:abc"], "digest"),
        (["push", "localhost:5000/app:_trust"], "_trust"),
        (["push", "--disable-content-trust", "localhost:5000/app:_trust"], "_trust"),
        (["push", "oci::v1"], "lacks the path"),
        (["push", "oci:folder:v1"], "--from SOURCE"),
        (["push", "--as", "x/y", "localhost:5000/app:v1"], "--as is for oci: folders"),
        (["push", "--annotation", "nothing", "localhost:5000/app:v1"], "KEY=VALUE"),
        (["push", "--disable-content-trust", "--signer", "a", "localhost:5000/app:v1"], "need content trust"),
        (["push", "--disable-content-trust=maybe", "localhost:5000/app:v1"], "expected true or false"),
        (["push", "--compression", "brotli", "localhost:5000/app:v1"], "brotli"),
        (["push", "--root", "/nowhere", "localhost:5000/app:v1"], "/nowhere"),
        (["push", "--max-concurrent-uploads", "0", "localhost:5000/app:v1"], "max-concurrent-uploads"),
        (["sign", "localhost:5000/app@sha256:" + "0" * 64], "--tag TAG"),
        (["revoke", "localhost:5000/app@sha256:" + "0" * 64], "a tag is what is signed"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_anything_happens(
    arguments: list[str], words: str, signed: Signed, no_engine: None, dockseal: Dockseal
) -> None:
    dockseal("tag", "registry.example/team/app:v1", "localhost:5000/app:v1")
    failed = dockseal(*arguments, code=2)
    assert words in failed.err
    assert failed.out == ""


def test_a_wrong_passphrase_sends_nothing(
    image: str, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "not the passphrase")
    failed = dockseal("push", f"{image}:v1", code=4)
    assert "passphrase" in failed.err
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", PASSPHRASE)
    dockseal("verify", f"{image}:v1", code=10)
    dockseal("pull", "--disable-content-trust", f"{image}:v1", code=11)


def test_sign_what_the_registry_has_and_revoke_it(image: str, dockseal: Dockseal) -> None:
    dockseal("push", "--disable-content-trust", f"{image}:v1")
    signed = dockseal("sign", f"{image}:v1")
    assert signed.lines[1:] == ["Signing and pushing trust metadata", f"Successfully signed {image}:v1"]
    digest = signed.lines[0].split()[2]
    assert "Already signed" in dockseal("sign", f"{image}:v1").out
    assert dockseal("sign", f"{image}@{digest}", "--tag", "stable", "-o", "json").json["reference"] == f"{image}:stable"
    dockseal("verify", f"{image}:stable")
    dockseal("verify", f"{image}@{digest}")

    asked = dockseal("revoke", f"{image}:v1", code=2)
    assert "pass -y" in asked.err
    assert dockseal("revoke", "-y", f"{image}:v1").out == f"Successfully revoked the signature of {image}:v1\n"
    dockseal("verify", f"{image}:v1", code=10)
    revoked = dockseal("revoke", "-y", "-o", "json", image).json
    assert revoked == {"schema": 1, "repository": image, "revoked": ["stable"], "state": revoked["state"]}


def test_a_push_by_another_machine_needs_the_root(
    image: str, dockseal: Dockseal, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockseal("push", f"{image}:v1")
    monkeypatch.setenv("DOCKSEAL_HOME", str(home / "other"))
    assert "--trust-on-first-use" in dockseal("verify", f"{image}:v1", code=16).err
    dockseal("pull", f"{image}:v1", code=16)
    trusted = dockseal("verify", "--trust-on-first-use", f"{image}:v1")
    assert "pinned" in trusted.err
    dockseal("verify", f"{image}:v1")
    dockseal("pull", f"{image}:v1")
    refused = dockseal("push", f"{image}:v1", code=0)
    assert "Already signed" in refused.out
    dockseal("tag", f"{image}:v1", f"{image}:v2")
    assert "key" in dockseal("push", f"{image}:v2", code=10).err


def test_many_platforms_in_one_index(
    registry: str, unique_name: str, keys: Path, dockseal: Dockseal, tmp_path: Path
) -> None:
    from tests.oci.samples import index_of, sample
    from trust.oci.layout import Layout

    amd, arm = sample("amd", architecture="amd64"), sample("arm", architecture="arm64")
    layout = Layout(tmp_path / "multi")
    for one in (amd, arm):
        one.put(layout)
    layout.put_manifest(
        index_of((amd, "linux/amd64"), (arm, "linux/arm64")),
        "multi",
    )
    name = f"{registry}/{unique_name}:multi"
    pushed = dockseal("push", "--from", f"oci:{tmp_path}/multi:multi", "-o", "json", name).json
    assert dockseal("sign", "-o", "json", name).json["digest"] == pushed["digest"]
    assert dockseal("verify", "-o", "json", name).json["digest"] == pushed["digest"]
    one = dockseal("pull", "--platform", "linux/arm64", "-o", "json", name).json
    assert one["digest"] == str(arm.manifest.digest)
    assert dockseal("pull", "-o", "json", "--to", f"oci:{tmp_path}/out:all", name).json["digest"] == pushed["digest"]
    missing = dockseal("pull", "--platform", "linux/riscv64", name, code=11)
    assert "linux/arm64" in missing.err


def test_what_was_pushed_is_plain_json_for_scripts(image: str, dockseal: Dockseal) -> None:
    out = dockseal("push", "-o", "json", f"{image}:v1").out
    assert json.loads(out)["reference"] == f"{image}:v1"
