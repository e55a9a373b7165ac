"""verify, inspect, copy and pull: each verdict with its exit code, and what scripts read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal, Result

VERIFY_FIELDS = [
    "schema",
    "reference",
    "repository",
    "tag",
    "digest",
    "registryDigest",
    "verdict",
    "signers",
    "expires",
    "annotations",
    "reason",
]


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_trusted_in_words_and_in_json(signed: Signed, dockseal: Dockseal) -> None:
    name = f"{signed.name}:v1"
    found = dockseal("verify", "--as", NAME, "-o", "json", name).json
    assert list(found) == VERIFY_FIELDS
    assert found == {
        "schema": 1,
        "reference": name,
        "repository": NAME,
        "tag": "v1",
        "digest": found["digest"],
        "registryDigest": found["digest"],
        "verdict": "trusted",
        "signers": ["targets"],
        "expires": found["expires"],
        "annotations": {},
        "reason": None,
    }
    assert datetime.fromisoformat(found["expires"]) > datetime.now(UTC)
    assert dockseal("verify", "--as", NAME, name).lines == [
        f"trusted: {name}",
        f"  digest   {found['digest']}",
        "  signers  targets",
        f"  expires  {found['expires']} (in 13 days)",
    ]
    by_digest = dockseal("verify", "--as", NAME, "-o", "json", f"{signed.name}@{found['digest']}").json
    assert (by_digest["verdict"], by_digest["digest"]) == ("trusted", found["digest"])


def _index(folder: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads((folder / "index.json").read_text())
    return found


def _entry(folder: Path, tag: str) -> dict[str, object]:
    return next(
        entry
        for entry in _index(folder)["manifests"]
        if isinstance(annotations := entry.get("annotations"), dict)
        and annotations.get("org.opencontainers.image.ref.name") == tag
    )


def _blob(folder: Path, digest: object) -> Path:
    return folder / "blobs" / "sha256" / str(digest).removeprefix("sha256:")


def unsigned_tag(signed: Signed, dockseal: Dockseal) -> str:
    dockseal("push", "--from", f"{NAME}:v1", "--disable-content-trust", "--as", NAME, f"{signed.name}:v2")
    return "v2"


def no_trust_data(signed: Signed, dockseal: Dockseal) -> str:
    shutil.rmtree(signed.folder)
    shutil.rmtree(signed.home / "cache")
    dockseal("push", "--from", f"{NAME}:v1", "--disable-content-trust", "--as", NAME, f"{signed.name}:v1")
    return "v1"


def no_such_tag(signed: Signed, dockseal: Dockseal) -> str:
    return "v9"


def another_image_under_the_tag(signed: Signed, dockseal: Dockseal) -> str:
    (signed.home / "evil").write_text("evil")
    dockseal("build", "-t", "evil:v1", signed.home / "cache")
    dockseal("push", "--from", "evil:v1", "--disable-content-trust", "--as", NAME, f"{signed.name}:v1")
    return "v1"


def an_older_copy_of_the_folder(signed: Signed, dockseal: Dockseal) -> str:
    old = signed.folder.with_name("old")
    shutil.copytree(signed.folder, old)
    dockseal("tag", f"{NAME}:v1", f"{NAME}:v2")
    dockseal("push", "--as", NAME, f"{signed.name}:v2")
    shutil.rmtree(signed.folder)
    old.rename(signed.folder)
    return "v1"


def all_trust_data_removed(signed: Signed, dockseal: Dockseal) -> str:
    dockseal("verify", "--as", NAME, f"{signed.name}:v1")
    index = _index(signed.folder)
    index["manifests"] = [_entry(signed.folder, "v1")]
    (signed.folder / "index.json").write_text(json.dumps(index))
    return "v1"


def a_bit_of_the_state_changed(signed: Signed, dockseal: Dockseal) -> str:
    shutil.rmtree(signed.home / "cache")
    path = _blob(signed.folder, _entry(signed.folder, "_trust")["digest"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "v1"


def nothing_pinned(signed: Signed, dockseal: Dockseal) -> str:
    (signed.home / "config.toml").unlink()
    return "v1"


def another_root_pinned(signed: Signed, dockseal: Dockseal) -> str:
    config = signed.home / "config.toml"
    config.write_text(config.read_text().replace(signed.root, f"sha256:{'0' * 64}"))
    return "v1"


@pytest.mark.parametrize(
    ("story", "code", "verdict"),
    [
        (unsigned_tag, 10, "unsigned"),
        (no_trust_data, 10, "unsigned"),
        (no_such_tag, 11, "missing"),
        (another_image_under_the_tag, 12, "mismatch"),
        (an_older_copy_of_the_folder, 14, "rollback"),
        (all_trust_data_removed, 14, "rollback"),
        (a_bit_of_the_state_changed, 15, "tampered"),
        (nothing_pinned, 16, "untrusted-root"),
        (another_root_pinned, 16, "untrusted-root"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_verdict_has_its_exit_code(
    story: Callable[[Signed, Dockseal], str], code: int, verdict: str, signed: Signed, dockseal: Dockseal
) -> None:
    tag = story(signed, dockseal)
    name = f"{signed.name}:{tag}"
    told = dockseal("verify", "--as", NAME, name, code=code)
    assert told.out == ""
    assert told.err.splitlines()[0] == f"{verdict}: {name}"
    assert told.err.splitlines()[1].startswith("Error: ")
    found = dockseal("verify", "--as", NAME, "-o", "json", name, code=code).json
    assert list(found) == VERIFY_FIELDS
    assert (found["verdict"], found["tag"], found["repository"]) == (verdict, tag, NAME)
    assert f"Error: {found['reason']}" in told.err
    refused = dockseal("pull", "--as", NAME, "--to", f"oci:{signed.home}/out:x", name, code=code)
    assert "Digest:" not in refused.out
    assert not (signed.home / "out" / "index.json").exists()


def test_expired(signed: Signed, dockseal: Dockseal) -> None:
    name = f"{signed.name}:v1"
    with freeze_time(later(15)):
        found = dockseal("verify", "--as", NAME, "-o", "json", name, code=13).json
        assert (found["verdict"], found["signers"]) == ("expired", ["targets"])
        assert found["digest"] is not None
        shown = dockseal("inspect", "--as", NAME, signed.name, code=13)
        assert "1 day ago" in shown.out
        assert "Hint: " in shown.err
        assert "timestamp (" in dockseal("repo", "status", "--as", NAME, signed.name, code=13).err
        assert "Refreshed" in dockseal("repo", "refresh", "--as", NAME, signed.name).out
        dockseal("verify", "--as", NAME, name)


def test_unreachable(dockseal: Dockseal) -> None:
    found = dockseal("verify", "-o", "json", "127.0.0.1:9/app:v1", code=3)
    assert (found.json["verdict"], found.json["digest"]) == ("unreachable", None)
    told = dockseal("verify", "127.0.0.1:9/app:v1", code=3)
    assert "Connection refused" in told.err
    assert "Traceback" not in told.err


def test_a_damaged_configuration_is_no_verdict(signed: Signed, dockseal: Dockseal) -> None:
    (signed.home / "config.toml").write_text("[[pin]\n")
    told = dockseal("verify", "--as", NAME, f"{signed.name}:v1", code=2)
    assert "config.toml" in told.err


def test_a_root_file_is_trusted_for_one_run(signed: Signed, dockseal: Dockseal, tmp_path: Path) -> None:
    (signed.home / "config.toml").unlink()
    state = json.loads(_blob(signed.folder, _entry(signed.folder, "_trust")["digest"]).read_bytes())
    root = next(
        layer["digest"] for layer in state["layers"] if layer["annotations"]["tuf.io/filename"] == "1.root.json"
    )
    shutil.copy(_blob(signed.folder, root), tmp_path / "root.json")
    dockseal("verify", "--as", NAME, "--root", tmp_path / "root.json", f"{signed.name}:v1")
    dockseal("verify", "--as", NAME, f"{signed.name}:v1", code=16)


def test_trust_on_first_use_says_what_it_pinned(signed: Signed, dockseal: Dockseal) -> None:
    (signed.home / "config.toml").unlink()
    told = dockseal("verify", "--as", NAME, "--trust-on-first-use", f"{signed.name}:v1")
    assert f"{NAME} is now pinned to the root {signed.root}" in told.err
    assert dockseal("verify", "--as", NAME, "--trust-on-first-use", f"{signed.name}:v1").err == ""


def test_inspect(signed: Signed, dockseal: Dockseal) -> None:
    dockseal("push", "--from", f"{NAME}:v1", "--disable-content-trust", "--as", NAME, f"{signed.name}:loose")
    found = dockseal("inspect", "--as", NAME, "-o", "json", signed.name).json
    assert set(found) >= {
        *("schema", "repository", "signedAs", "verdict", "reason", "state", "root", "pin", "roles", "tags", "unsigned")
    }
    assert (found["verdict"], found["unsigned"], found["pin"]) == ("trusted", ["loose"], signed.root)
    assert {role["role"] for role in found["roles"]} == {"root", "targets", "snapshot", "timestamp"}
    assert all(role["threshold"] == 1 and len(role["keys"]) == 1 and role["keysHere"] for role in found["roles"])
    (tag,) = found["tags"]
    assert (tag["tag"], tag["drift"], tag["digest"]) == ("v1", None, tag["registryDigest"])
    shown = dockseal("inspect", "--as", NAME, signed.name)
    assert any(line.split()[:2] == ["v1", tag["digest"][7:19]] for line in shown.lines)
    assert shown.lines[-1] == "Not signed: loose"
    only = dockseal("inspect", "--as", NAME, "-o", "json", f"{signed.name}:v1").json
    assert (len(only["tags"]), only["unsigned"]) == (1, [])
    assert "digest" in dockseal("inspect", f"{NAME}@sha256:{'0' * 64}", code=2).err


def test_copy_through_an_air_gap(
    signed: Signed, dockseal: Dockseal, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick, there = home / "stick", home / "there"
    done = dockseal("copy", "--as", NAME, signed.name, f"oci:{stick}")
    assert done.lines[-1].startswith("Copied 1 image(s)")
    assert f'signed_as = "{NAME}"' in done.err

    monkeypatch.setenv("DOCKSEAL_HOME", str(home / "other-machine"))
    (home / "other-machine").mkdir()
    (home / "other-machine" / "config.toml").write_text(f'[[pin]]\nrepository = "{NAME}"\nroot = "{signed.root}"\n')
    told = dockseal("copy", "--as", NAME, "-o", "json", f"oci:{stick}:v1", f"oci:{there}").json
    assert (told["schema"], list(told["tags"]), told["missing"]) == (1, ["v1"], [])
    found = dockseal("verify", "-o", "json", f"oci:{there}:v1").json
    assert found["digest"] == told["tags"]["v1"]
    again = dockseal("copy", "--as", NAME, f"oci:{stick}:v1", f"oci:{there}")
    assert any(line.endswith("Already exists") for line in again.lines)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["copy", "oci:{folder}:v1", "oci:{folder}-b:v2"], 2, "the tag is what is signed"),
        (["copy", f"oci:{{folder}}@sha256:{'0' * 64}", "oci:{folder}-b"], 2, "no digest"),
        (["copy", "--as", NAME, "oci:{folder}:v9", "oci:{folder}-b"], 10, "v9"),
        (["pull", "--as", NAME, "--to", "localhost:5000/x", "oci:{folder}:v1"], 2, "docker-daemon:"),
        (["pull", "--to", "local", "--disable-content-trust", "oci:{folder}:v1"], 2, "--as NAME"),
        (["verify", "oci:{folder}-none:v1"], 10, "holds no trust data"),
        (["verify", "oci:{folder}:_trust"], 2, "reserved"),
        (["repo", "status", "oci:{folder}:v1"], 2, "expected a repository"),
        (["repo", "status", "--within", "soon", "oci:{folder}"], 2, "expected 30 or 30d"),
        (["repo", "init", "--expires", "release=3", "oci:{folder}"], 2, "unknown role"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_said(
    arguments: list[str], code: int, words: str, signed: Signed, dockseal: Dockseal
) -> None:
    told = dockseal(*(argument.format(folder=signed.folder) for argument in arguments), code=code)
    assert words in told.err


def test_quiet_and_json_pulls(signed: Signed, dockseal: Dockseal) -> None:
    digest = dockseal("verify", "--as", NAME, "-o", "json", f"{signed.name}:v1").json["digest"]
    dockseal("rmi", f"{NAME}:v1")
    assert dockseal("pull", "-q", "--as", NAME, f"{signed.name}:v1").out == f"{signed.name}@{digest}\n"
    assert dockseal("images", "-o", "json").json[0]["reference"] == f"{NAME}:v1"
    assert dockseal("pull", "-o", "json", "--as", NAME, "--to", f"oci:{signed.home}/out", f"{signed.name}:v1").json == {
        "schema": 1,
        "reference": f"{signed.name}:v1",
        "repository": NAME,
        "digest": digest,
        "verdict": "trusted",
        "to": f"oci:{signed.home}/out",
    }


@pytest.mark.peer("skopeo")
def test_skopeo_reads_the_image_in_the_folder(signed: Signed, tmp_path: Path) -> None:
    _tool("skopeo", "copy", f"oci:{signed.folder}:v1", f"oci:{tmp_path}/copy:v1")
    assert _entry(tmp_path / "copy", "v1")["digest"] == _entry(signed.folder, "v1")["digest"]


@pytest.mark.peer("docker-registry", "skopeo")
def test_skopeo_carries_image_and_trust_data_between_registries(
    signed: Signed, registry: str, unique_name: str, dockseal: Dockseal, tmp_path: Path
) -> None:
    there, name = f"{registry}/{unique_name}", f"{registry}/{unique_name}/again"
    dockseal("copy", "--as", NAME, signed.name, there)
    dockseal("verify", f"{there}:v1")
    flags = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    for tag in ("v1", "_trust"):
        _tool("skopeo", "copy", "-a", *flags, f"docker://{there}:{tag}", f"docker://{name}:{tag}")
    config = signed.home / "config.toml"
    config.write_text(
        f'{config.read_text()}\n[[pin]]\nrepository = "{name}"\nsigned_as = "{NAME}"\nroot = "{signed.root}"\n'
    )
    dockseal("verify", f"{name}:v1")
    dockseal("verify", f"{name}:_trust", code=2)


@pytest.mark.peer("umoci")
def test_umoci_unpacks_what_was_signed(signed: Signed, tmp_path: Path, rootfs: Path) -> None:
    _tool("umoci", "unpack", "--rootless", "--image", f"{signed.folder}:v1", str(tmp_path / "bundle"))
    app = tmp_path / "bundle" / "rootfs" / "bin" / "app"
    assert app.read_text() == (rootfs / "bin" / "app").read_text()


def _tool(*command: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_json_is_one_value_and_nothing_else(signed: Signed, dockseal: Dockseal) -> None:
    runs: list[Result] = [
        dockseal("verify", "--as", NAME, "-o", "json", f"{signed.name}:v1"),
        dockseal("inspect", "--as", NAME, "-o", "json", signed.name),
        dockseal("repo", "status", "--as", NAME, "-o", "json", signed.name),
        dockseal("repo", "log", "--as", NAME, "-o", "json", signed.name),
        dockseal("repo", "refresh", "--as", NAME, "-o", "json", signed.name),
        dockseal("images", "-o", "json"),
        dockseal("key", "list", "-o", "json"),
    ]
    for found in runs:
        value = found.json
        assert all(item["schema"] == 1 for item in (value if isinstance(value, list) else [value]))
