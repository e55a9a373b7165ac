"""Ctrl-C at any moment: exit 130 within two seconds, nothing half-written here, the tag where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME
from tests.cli.program import ROOT, WITH_CHEAP_KEYS, Terminal
from tests.doubles.faulty_registry import FaultyRegistry, Hang, Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed

LIMIT_S = 10.0
"""Far below any timeout of the program; how fast it is on a quiet machine is no matter of a test."""


def _interrupted(
    server: FaultyRegistry, method: str, pattern: str, command: list[str], number: signal.Signals = signal.SIGINT
) -> tuple[str, str, float]:
    """Run until the registry got such a request, which it never answers; then interrupt."""
    process = subprocess.Popen(
        [*WITH_CHEAP_KEYS, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not _waits(server, method, pattern):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the request did not come"
            time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        took = time.monotonic() - start
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    return out, err, took


def _waits(server: FaultyRegistry, method: str, pattern: str) -> bool:
    return any(
        request.method == method and pattern in request.target and not request.status for request in server.requests
    )


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("GET", "/manifests/_trust"),
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/sha256:"),
        ("PUT", "/manifests/_trust."),
        ("PUT", "/manifests/_trust"),
        ("PUT", "/manifests/v1"),
    ],
    ids=lambda value: value.replace("/", " "),
)
def test_control_c_during_a_push(method: str, pattern: str, signed: Signed) -> None:
    with FaultyRegistry() as server:
        server.fail(method, f"{pattern}$" if pattern.endswith("_trust") else pattern.replace(".", r"\."), Hang(30))
        _, err, took = _interrupted(server, method, pattern, ["push", "--from", f"{NAME}:v1", f"{server.host}/app:v1"])
        assert server.tags.get("app", {}).get("v1") is None
    assert err.splitlines()[-1] == "Interrupted"
    assert "Traceback" not in err
    assert took < LIMIT_S
    assert _leftovers(signed.home) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_cancelled_ends_like_one_that_is_interrupted(signed: Signed, number: signal.Signals) -> None:
    with FaultyRegistry() as server:
        server.fail("PUT", "/blobs/uploads/", Hang(30))
        command = ["push", "--from", f"{NAME}:v1", f"{server.host}/app:v1"]
        _, err, took = _interrupted(server, "PUT", "/blobs/", command, number)
    assert err.splitlines()[-1] == "Interrupted"
    assert took < LIMIT_S
    assert _leftovers(signed.home) == []


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As nohup starts a program."""
    script = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom cli.main import main\n"
        "try: main()\nfinally: print(signal.getsignal(signal.SIGHUP).name, signal.getsignal(signal.SIGTERM).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["SIG_IGN default_int_handler"]


def test_control_c_while_layers_are_compressed_and_sent(signed: Signed, tmp_path: Path) -> None:
    """Two layers of noise from an archive: one on its way, one being compressed."""
    for number in (1, 2):
        (tmp_path / f"layer{number}").mkdir()
        (tmp_path / f"layer{number}" / "noise").write_bytes(os.urandom(8 << 20))
    for command in (
        ["build", "-t", "big:v1", "--compression", "none", f"{tmp_path}/layer1", f"{tmp_path}/layer2"],
        ["save", "-o", f"{tmp_path}/big.tar", "big:v1"],
    ):
        subprocess.run([*WITH_CHEAP_KEYS, *command], cwd=ROOT, check=True, capture_output=True)
    with FaultyRegistry() as server:
        server.fail("PUT", "/blobs/uploads/", Hang(30))
        source = f"docker-archive:{tmp_path}/big.tar"
        _, err, took = _interrupted(server, "PUT", "/blobs/", ["push", "--from", source, f"{server.host}/app:v1"])
        assert server.tags.get("app", {}) == {}
    assert err.splitlines()[-1] == "Interrupted"
    assert took < LIMIT_S
    assert _leftovers(signed.home) == []


def test_control_c_during_a_pull(signed: Signed) -> None:
    with FaultyRegistry() as server:
        name = f"{server.host}/app:v1"
        subprocess.run(
            [*WITH_CHEAP_KEYS, "push", "--from", f"{NAME}:v1", name], cwd=ROOT, check=True, capture_output=True
        )
        server.clear()
        server.fail("GET", "/blobs/", Hang(30))
        folder = signed.home.parent / "pulled"
        _, err, took = _interrupted(server, "GET", "/blobs/", ["pull", "--to", f"oci:{folder}:v1", name])
    assert err.splitlines()[-1] == "Interrupted"
    assert took < LIMIT_S
    assert "v1" not in (folder / "index.json").read_text() if (folder / "index.json").exists() else True
    assert _leftovers(signed.home) == []


def test_control_c_on_a_terminal_gives_the_cursor_back(signed: Signed) -> None:
    with FaultyRegistry() as server:
        server.fail("PUT", "/blobs/uploads/", Hang(30))
        with Terminal("push", "--from", f"{NAME}:v1", f"{server.host}/app:v1") as terminal:
            terminal.expect("Pushing")
            while not _waits(server, "PUT", "/blobs/uploads/"):
                time.sleep(0.01)
            terminal.type("\x03")
            assert terminal.finish() == 130
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")
    assert terminal.shown.rstrip().endswith("Interrupted")


def _leftovers(home: Path) -> list[str]:
    """Files that only an unfinished run leaves behind."""
    spool = home / "cache" / "spool"
    found = [str(path) for path in spool.iterdir()] if spool.exists() else []
    return found + [str(path) for path in home.rglob("*") if path.name.startswith(".new-") or path.suffix == ".tmp"]


def test_a_push_that_was_interrupted_is_finished_by_the_next(signed: Signed) -> None:
    with FaultyRegistry() as server:
        command = ["push", "--from", f"{NAME}:v1", f"{server.host}/app:v1"]
        server.fail("PUT", "/manifests/v1", Hang(30), times=1)
        _interrupted(server, "PUT", "/manifests/v1", command)
        for arguments in (command, ["verify", f"{server.host}/app:v1"]):
            done = subprocess.run([*WITH_CHEAP_KEYS, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_a_push_that_a_registry_breaks_off_leaves_nothing_here(signed: Signed) -> None:
    with FaultyRegistry() as server:
        server.fail("PUT", "/manifests/sha256", Status(400))
        done = subprocess.run(
            [*WITH_CHEAP_KEYS, "push", "--from", f"{NAME}:v1", f"{server.host}/app:v1"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "400" in done.stderr
    assert _leftovers(signed.home) == []
