"""A real Notary server (Debian's notary 0.7) on loopback, and docker and notary as its clients.

A test that uses it is marked ``@pytest.mark.peer("notary-server")``, and ``"notary"``, ``"docker"``, ``"dockerd"`` as
it needs them. The server keeps its data in memory, for as long as a session (a worker); every test takes a repository
of its own.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.peers.programs import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.engine import DockerEngine
    from tests.peers.registry import TokenServer

PASSPHRASE = "correct horse battery"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
CLI_TIMEOUT_S = 120
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class NotaryServer:
    """Where it is, and the certificate that clients must trust."""

    url: str
    certificate: Path

    @property
    def host(self) -> str:
        return self.url.removeprefix("https://")

    def trust_in(self, docker_config: Path) -> None:
        """Let docker and dockseal trust its certificate, in docker's way."""
        folder = docker_config / "tls" / self.host
        folder.mkdir(parents=True)
        shutil.copy2(self.certificate, folder / "ca.crt")


@dataclass(frozen=True, slots=True)
class Clients:
    """docker and notary with a home of their own."""

    server: NotaryServer
    home: Path
    host: str = ""

    @property
    def docker_folder(self) -> Path:
        return self.home / ".docker"

    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "DOCKER_CONFIG": str(self.docker_folder),
            "DOCKER_HOST": self.host,
            "DOCKER_CONTENT_TRUST": "1",
            "DOCKER_CONTENT_TRUST_SERVER": self.server.url,
            "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": PASSPHRASE,
            "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": PASSPHRASE,
            **{f"NOTARY_{role}_PASSPHRASE": PASSPHRASE for role in ("ROOT", "TARGETS", "SNAPSHOT", "DELEGATION")},
        }

    def docker(self, *arguments: str | Path, check: bool = True, answer: str = "") -> str:
        """What docker said."""
        return self._run(BY_NAME["docker"].path() or "", *arguments, check=check, answer=answer)

    def notary(self, *arguments: str | Path, check: bool = True, answer: str = "") -> str:
        """What notary said; it uses docker's keys."""
        options = ("-s", self.server.url, "--tlscacert", self.server.certificate, "-d", self.docker_folder / "trust")
        return self._run(BY_NAME["notary"].path() or "", *options, *arguments, check=check, answer=answer)

    def _run(self, *command: str | Path, check: bool, answer: str) -> str:
        done = subprocess.run(
            [str(each) for each in command],
            env=self.environment(),
            input=answer,
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, said
        return said if done.returncode == 0 else f"exit {done.returncode}: {said}"


@contextmanager
def start_notary(folder: Path, *, tokens: TokenServer | None = None) -> Iterator[NotaryServer]:
    """Run a server that keeps its data in memory; with ``tokens`` over plain HTTP, as that token server is."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, private = _self_signed(folder)
    tls = {"tls_key_file": str(private), "tls_cert_file": str(certificate)}
    scheme = "https" if tokens is None else "http"
    for attempt in range(ATTEMPTS):  # the port that was free may be taken by now
        port = _free_port()
        path = folder / "server.json"
        auth = {} if tokens is None else {"auth": {"type": "token", "options": tokens.config(folder)["token"]}}
        config: dict[str, object] = {
            "server": {"http_addr": f"127.0.0.1:{port}", **(tls if tokens is None else {})},
            "trust_service": {"type": "local", "key_algorithm": "ecdsa"},
            "storage": {"backend": "memory"},
            "logging": {"level": "error"},
            **auth,
        }
        path.write_text(json.dumps(config))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(BY_NAME["notary-server"].path()), "-config", str(path)], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            if _answers(f"{scheme}://localhost:{port}/_notary_server/health", certificate, process):
                yield NotaryServer(f"{scheme}://localhost:{port}", certificate)
                return
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert attempt < ATTEMPTS - 1, (folder / "log").read_text()


def _answers(url: str, certificate: Path, process: subprocess.Popen[bytes]) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(url, timeout=2):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _self_signed(folder: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


@pytest.fixture(scope="session")
def notary_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotaryServer]:
    """A running server that tests share."""
    with start_notary(tmp_path_factory.mktemp("notary")) as server:
        yield server


@pytest.fixture
def clients(notary_server: NotaryServer, docker_engine: DockerEngine, tmp_path: Path) -> Clients:
    """docker and notary, as another person's machine has them."""
    found = Clients(notary_server, tmp_path / "docker-user", docker_engine.host)
    notary_server.trust_in(found.docker_folder)
    return found


@pytest.fixture
def trusted_server(notary_server: NotaryServer) -> NotaryServer:
    """The server, which this test's own docker folder trusts."""
    from pathlib import Path

    notary_server.trust_in(Path(os.environ["DOCKER_CONFIG"]))
    return notary_server
