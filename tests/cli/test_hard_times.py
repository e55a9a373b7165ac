"""A full disk, processes that are killed, a clock that jumps back, one home for several: nothing lost, a clear word."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME
from tests.cli.program import ROOT, WITH_CHEAP_KEYS, on_a_full_disk, process
from tests.doubles.faulty_registry import FaultyRegistry, Hang

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

DEADLINE_S = 20.0


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as server:
        yield server


@pytest.fixture
def app(server: FaultyRegistry, signed: Signed, dockseal: Dockseal) -> str:
    """A repository in which ``v1`` was pushed from this machine."""
    name = f"{server.host}/app"
    dockseal("push", "-q", "--from", f"{NAME}:v1", f"{name}:v1")
    return name


@pytest.mark.parametrize("size", [100, 300, 1500])
def test_a_full_disk_during_a_push_to_a_registry(app: str, dockseal: Dockseal, size: int) -> None:
    """What it needs to write down cannot be: the push says so, and the same command goes on where it stopped."""
    command = ["push", "--from", f"{NAME}:v1", f"{app}:v2"]
    done = on_a_full_disk(size, *command)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    dockseal("verify", f"{app}:v1")
    dockseal("verify", f"{app}:v2", code=11)
    dockseal(*command)
    dockseal("verify", f"{app}:v2")


def test_a_full_disk_during_a_verification(app: str, dockseal: Dockseal, signed: Signed) -> None:
    """It is not called trusted where what was seen cannot be kept: the protection against rollback would be gone."""
    dockseal("push", "-q", "--from", f"{NAME}:v1", f"{app}:v2")
    for path in (signed.home / "cache").rglob("seen.json"):
        path.unlink()
    done = on_a_full_disk(100, "verify", f"{app}:v2")
    assert done.returncode == 1
    assert "File too large" in done.stderr
    dockseal("verify", f"{app}:v2")


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("PUT", "/blobs/uploads/"),
        ("PUT", r"/manifests/_trust\."),
        ("PUT", "/manifests/_trust$"),
        ("PUT", "/manifests/v2$"),
    ],
    ids=["uploading", "announcing", "pointing", "moving the tag"],
)
def test_a_push_that_is_killed(server: FaultyRegistry, app: str, dockseal: Dockseal, method: str, pattern: str) -> None:
    command = ["push", "-q", "--annotation", "build=2", "--from", f"{NAME}:v1", f"{app}:v2"]
    server.fail(method, pattern, Hang(30))
    running = subprocess.Popen(
        [*WITH_CHEAP_KEYS, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + DEADLINE_S
    while not any(
        request.method == method and re.search(pattern, request.target) and not request.status
        for request in server.requests
    ):
        assert running.poll() is None
        assert time.monotonic() < end, "the request did not come"
        time.sleep(0.01)
    running.kill()
    running.wait(DEADLINE_S)
    server.clear()
    dockseal("verify", f"{app}:v1")
    dockseal("verify", f"{app}:v2", code=11)
    dockseal(*command)
    if pattern in {"/manifests/_trust$", "/manifests/v2$"}:
        assert {request.method for request in server.writes if "/manifests/" not in request.target} == set()
    dockseal("verify", f"{app}:v2")
    assert dockseal("inspect", "-o", "json", app).json["state"]["pending"] == []


class TestAClockThatJumpsBack:
    """By a day, after ``v1`` was signed: on the machine of whoever signs, and of whoever verifies."""

    @pytest.fixture
    def yesterday(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=1)

    def test_what_was_signed_is_still_trusted(self, signed: Signed, dockseal: Dockseal, yesterday: datetime) -> None:
        with freeze_time(yesterday):
            dockseal("verify", "--as", NAME, f"{signed.name}:v1")

    def test_another_tag_is_signed_and_nothing_falls(
        self, signed: Signed, dockseal: Dockseal, yesterday: datetime
    ) -> None:
        version = dockseal("inspect", "--as", NAME, "-o", "json", signed.name).json["state"]["version"]
        with freeze_time(yesterday):
            dockseal("push", "--as", NAME, "--from", f"{NAME}:v1", f"{signed.name}:v2")
            dockseal("verify", "--as", NAME, f"{signed.name}:v2")
        for tag in ("v1", "v2"):
            dockseal("verify", "--as", NAME, f"{signed.name}:{tag}")
        assert dockseal("inspect", "--as", NAME, "-o", "json", signed.name).json["state"]["version"] > version

    def test_the_same_tag_is_refused_with_a_clear_word(
        self, signed: Signed, dockseal: Dockseal, yesterday: datetime
    ) -> None:
        with freeze_time(yesterday):
            command = ["push", "--as", NAME, "--annotation", "build=2", "--from", f"{NAME}:v1", f"{signed.name}:v1"]
            told = dockseal(*command, code=2)
        assert "this machine's clock says" in told.err
        assert "check this machine's clock" in told.err
        dockseal("verify", "--as", NAME, f"{signed.name}:v1")


def test_processes_that_share_one_home(app: str, dockseal: Dockseal) -> None:
    tags = [f"t{number}" for number in range(4)]
    running = [
        subprocess.Popen(
            [*WITH_CHEAP_KEYS, "push", "-q", "--from", f"{NAME}:v1", f"{app}:{tag}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for tag in tags
    ]
    ends = [(one.communicate(timeout=60), one.returncode) for one in running]
    assert [code for _, code in ends] == [0] * len(tags), ends
    for tag in ("v1", *tags):
        process("verify", f"{app}:{tag}")
