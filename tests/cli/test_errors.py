"""What goes wrong around the program: full disks, closed pipes, registries that misbehave, secrets in messages."""

from __future__ import annotations

import io
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.terminal import confirm, table
from tests.cli.conftest import NAME
from tests.cli.program import COMMAND, PASSPHRASE, ROOT, on_a_full_disk, process
from tests.doubles.faulty_registry import HTML, FaultyRegistry, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal
    from tests.doubles.faulty_registry import Fault


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def big(tmp_path: Path) -> Path:
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "noise").write_bytes(os.urandom(300_000))
    return folder


def _essential(names: set[str]) -> set[str]:
    """Lock files and caches may come and go; blobs, names and keys may not."""
    return {name for name in names if "cache/" not in name and not name.endswith(".lock")}


def test_a_full_disk_during_a_build(signed: Signed, big: Path) -> None:
    before = _essential(_files(signed.home))
    done = on_a_full_disk(100_000, "build", "-t", "big:v1", big)
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert _essential(_files(signed.home)) == before
    assert not [name for name in _files(signed.home) if "spool" in name]


def test_a_full_disk_during_a_push_to_a_folder(signed: Signed, big: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    dockseal("build", "-t", "big:v1", big)
    dockseal("save", "-o", tmp_path / "big.tar", "big:v1")
    before = _essential(_files(signed.folder))
    for source in ("big:v1", f"docker-archive:{tmp_path}/big.tar"):
        done = on_a_full_disk(100_000, "push", "--from", source, "--as", NAME, f"{signed.name}:v2")
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr
        assert "Traceback" not in done.stderr
        assert _essential(_files(signed.folder)) == before
    dockseal("verify", "--as", NAME, f"{signed.name}:v1")
    dockseal("verify", "--as", NAME, f"{signed.name}:v2", code=11)


def test_a_full_disk_when_keys_are_made(home: Path) -> None:
    done = on_a_full_disk(50, "key", "generate", "release")
    assert done.returncode == 4
    assert "File too large" in done.stderr
    assert _essential(_files(home)) == set()


def test_a_full_disk_when_an_archive_is_saved(signed: Signed, big: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    dockseal("build", "-t", "big:v1", big)
    (tmp_path / "out").mkdir()
    done = on_a_full_disk(100_000, "save", "-o", tmp_path / "out" / "big.tar", "big:v1")
    assert done.returncode == 1
    assert _files(tmp_path / "out") == set()


def test_output_that_cannot_be_written(signed: Signed) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - subprocess takes a file
        told = process("images", stdout=full, code=1)
    assert "Error: No space left on device" in told.err
    assert "Exception ignored" not in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize("arguments", [["images"], ["save", "-o", "-", f"{NAME}:v1"], ["--help"], ["key", "list"]])
def test_a_closed_pipe_is_silent(arguments: list[str], signed: Signed) -> None:
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        err = running.stderr.read()
        running.wait(20)
    assert err == ""


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Status(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}), 3, "dockseal login"),
        (Status(403), 3, "dockseal login"),
        (Status(404), 10, "holds no trust data"),
        (Status(500), 3, "500"),
        (Status(429, b"", {"Retry-After": "0"}), 3, "429"),
        (HTML, 3, "web page"),
        (Status(200, b"{}", {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}), 15, "manifest"),
    ],
    ids=["401", "403", "404", "500", "429", "a web page", "nonsense"],
)
def test_registries_that_misbehave(fault: Fault, code: int, words: str, signed: Signed, dockseal: Dockseal) -> None:
    with FaultyRegistry() as server:
        server.fail("*", "/manifests/", fault, times=None)
        told = dockseal("verify", f"{server.host}/app:v1", code=code)
        assert words in told.err
        assert len(told.err) < 1500
        pushed = dockseal("push", "--from", f"{NAME}:v1", f"{server.host}/app:v1", code=_pushed(code))
        assert "Successfully" not in pushed.out
        assert server.writes == () or code == 10


def _pushed(code: int) -> int:
    """A push to a registry that says 404 to everything begins there, and fails when it writes."""
    return 11 if code == 10 else code


def test_no_secret_is_ever_shown(signed: Signed, dockseal: Dockseal, home: Path) -> None:
    (home / ".docker").mkdir()
    with FaultyRegistry() as server:
        (home / ".docker" / "config.json").write_text(
            '{"auths": {"%s": {"username": "me", "password": "s3cret-password"}}}' % server.host  # noqa: UP031 - braces
        )
        server.basic = ("me", "another")
        told = dockseal("push", "--from", f"{NAME}:v1", f"{server.host}/app:v1", code=3)
    assert "s3cret" not in told.out + told.err
    assert PASSPHRASE not in told.out + told.err


def test_a_home_that_cannot_be_written(signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DOCKSEAL_HOME", str(tmp_path / "file" / "home"))
    told = process("build", "-t", "x:v1", signed.home / "keys", code=1)
    assert "Error: " in told.err
    assert "Traceback" not in told.err
    told = process("key", "generate", "x", code=4)
    assert "Traceback" not in told.err


def _wrong_passphrase(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "not the passphrase")


def _no_keys(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (signed.home / "keys").iterdir():
        path.unlink()


def _expired_without_a_key(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    (signed.home / "keys" / "root.key").unlink()
    (signed.home / "keys" / "root.json").unlink()
    monkeypatch.setattr("cli.desk.Desk.now", datetime.now(UTC) + timedelta(days=400))


@pytest.mark.parametrize(
    ("story", "code"),
    [(_wrong_passphrase, 4), (_no_keys, 10), (_expired_without_a_key, 10)],
    ids=["wrong passphrase", "no keys", "the root has expired and its key is elsewhere"],
)
def test_a_push_that_cannot_be_signed_sends_nothing(
    story: Callable[[Signed, pytest.MonkeyPatch], None],
    code: int,
    signed: Signed,
    dockseal: Dockseal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FaultyRegistry() as server:
        name = f"{server.host}/app"
        dockseal("push", "--from", f"{NAME}:v1", f"{name}:v1")
        server.clear()
        story(signed, monkeypatch)
        refused = dockseal("push", "--from", f"{NAME}:v1", f"{name}:v2", code=code)
        assert server.writes == ()
    assert "Hint: " in refused.err
    assert "Pushing" not in refused.out


@pytest.mark.parametrize(
    ("command", "code", "verdict", "reason"),
    [
        (["verify", "localhost:99999/app"], 2, None, "99999 is no port"),
        (["push", "localhost:5000/app@sha256:x"], 2, None, "invalid digest"),
        (["pull", "oci:/nowhere:v1"], 10, "unsigned", "no trust data"),
        (["push", "--from", "docker-archive:/nowhere", "oci:/nowhere/x:v1"], 11, "missing", "does not exist"),
    ],
)
def test_a_failure_is_an_object_too_where_json_is_wanted(
    dockseal: Dockseal, command: list[str], code: int, verdict: str | None, reason: str
) -> None:
    told = dockseal(*command, "-o", "json", code=code)
    assert told.json.keys() == {"schema", "verdict", "reason", "hint"}
    assert told.json["verdict"] == verdict
    assert reason in told.json["reason"]
    hint = f"Hint: {told.json['hint']}\n" if told.json["hint"] else ""
    assert told.err == f"Error: {told.json['reason']}\n{hint}"


def test_a_failure_after_the_result_adds_no_second_object(signed: Signed, dockseal: Dockseal) -> None:
    assert dockseal("verify", "-o", "json", f"{signed.name}:v1", code=16).json["verdict"] == "untrusted-root"
    assert dockseal("verify", f"{signed.name}:v1", code=16).out == "", "the next run is asked anew"


def test_a_failure_whose_object_cannot_be_written_keeps_its_code() -> None:
    command = [*COMMAND, "verify", "-o", "json", "localhost:99999/app"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("before", "name", "code"),
    [
        (["verify"], b"oci:/nowhere/\xff:v1", 2),
        (["push", "oci:/nowhere/x:v1", "--from"], b"docker-archive:/nowhere/\xff", 11),
    ],
)
def test_a_path_that_is_no_text_is_told_all_the_same(before: list[str], name: bytes, code: int) -> None:
    for options in ([], ["-o", "json"]):
        command: list[str | bytes] = [*COMMAND, *before, name, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert ("udcff" in done.stdout) == bool(options)


def test_cells_and_questions_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(("A", "B"), [("x\ny", "z\x85")]) == "A     B\nx y   z"
    monkeypatch.setattr("cli.terminal.is_interactive", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert confirm("Revoke \x1b[2J?", yes=False)
    assert capsys.readouterr().err == "Revoke \ufffd[2J? [y/N] "
