"""What is measured, and the servers it talks to, all on loopback and on free ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 30.0
PASSPHRASE = "correct horse battery"
DOCKSEAL = str(Path(sys.executable).with_name("dockseal"))
CRANE_MODULE = "github.com/google/go-containerregistry/cmd/crane@v0.20.6"


class Registry:
    """A registry:2 that has just been started."""

    def __init__(self, address: str, root: Path) -> None:
        self.address = address
        self.root = root

    @property
    def image(self) -> str:
        return f"{self.address}/app:v1"

    def stored_bytes(self) -> int:
        """Bytes of all blobs."""
        return sum(path.stat().st_size for path in self.root.rglob("blobs/sha256/*/*/data"))


@contextmanager
def registry(parent: Path) -> Iterator[Registry]:
    """An empty registry."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="registry-") as folder:
        port = _free_port()
        root = Path(folder, "data")
        config = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(root)}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        config_file = Path(folder, "config.yml")
        config_file.write_text(json.dumps(config))  # YAML reads JSON
        with _server(["docker-registry", "serve", str(config_file)], ("127.0.0.1", port)):
            yield Registry(f"localhost:{port}", root)


@contextmanager
def docker_engine(parent: Path) -> Iterator[dict[str, str]]:
    """A Docker engine of its own; the environment in which ``docker`` talks to it."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="docker-", ignore_cleanup_errors=True) as folder:
        sock = Path(folder, "socket")
        network = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false"]
        folders = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        with _server(["dockerd", *network, *folders, "-s", "vfs", "-H", f"unix://{sock}"], str(sock)):
            yield {"DOCKER_HOST": f"unix://{sock}", "HOME": folder}


@contextmanager
def _server(command: list[str], address: tuple[str, int] | str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(process, address)
            yield
        finally:
            process.terminate()
            process.wait(START_TIMEOUT_S)


def _wait_for(process: subprocess.Popen[bytes], address: tuple[str, int] | str) -> None:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} does not answer at {address}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dockseal_environment(home: Path) -> dict[str, str]:
    """A user who has never pushed before."""
    return {"HOME": str(home), "DOCKSEAL_HOME": str(home / "dockseal"), "DOCKSEAL_PASSPHRASE": PASSPHRASE}


def crane(folder: Path) -> str | None:
    """Crane, where it is or can be built."""
    found = shutil.which("crane", path=f"{folder}:{os.environ['PATH']}")
    if found is None and (go := shutil.which("go")):
        subprocess.run([go, "install", CRANE_MODULE], env={**os.environ, "GOBIN": str(folder)}, check=False)
        found = shutil.which("crane", path=str(folder))
    return found
