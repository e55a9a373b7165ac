"""A real Docker engine, with its own storage, without a network, for as long as a test session."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.programs import BY_NAME
from trust.errors import UnreachableError
from trust.oci.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
CLI_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """``host`` is what ``DOCKER_HOST`` should be."""

    host: str
    folder: Path

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker's command line against it."""
        config = self.folder / "cli"
        environment = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(config), "HOME": str(self.folder)}
        return subprocess.run(
            [str(BY_NAME["docker"].path()), *arguments],
            env={**environment, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
            check=check,
        )


@contextmanager
def start_engine() -> Iterator[DockerEngine]:
    """Start dockerd, wait until it answers, and stop it in the end.

    Registries on loopback are reached over plain HTTP without further options.
    """
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))  # short: a socket's path has at most 107 bytes
    host = f"unix://{folder}/sock"
    command = [
        str(BY_NAME["dockerd"].path()),
        *("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false"),
        *("-s", "vfs", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/pid", "-H", host),
    ]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(Engine(host), process, log_path)
        yield DockerEngine(host, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            engine.ping()
        except UnreachableError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"dockerd did not start:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """A running engine that tests share; mark the test with ``peer("dockerd", "docker")``."""
    with start_engine() as engine:
        yield engine
