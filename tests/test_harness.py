"""The test run keeps its own promises: no way out, no silent skip, no request unseen."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_socket import SocketConnectBlockedError

from tests.peers.proxy import Fault, RecordingProxy, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
BODY = os.urandom(3 << 20)


class _Echo(BaseHTTPRequestHandler):
    """Answers PUT with the digest of the body, GET with BODY in chunks, HEAD with its length."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self._answer(hashlib.sha256(self._body()).hexdigest().encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(BODY), 100_001):
            part = BODY[start : start + 100_001]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        self._body()
        self.send_response(204)
        self.send_header("Location", f"http://{self.headers['Host']}/here")
        self.end_headers()

    def _answer(self, data: bytes) -> None:
        self.send_response(201)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing on stderr."""


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_proxy_passes_every_kind_of_body_on_one_connection_and_records_each(echo: str) -> None:
    with RecordingProxy(echo) as proxy:
        client = http.client.HTTPConnection(proxy.address, timeout=10)
        client.request("PUT", "/whole", body=BODY)
        assert client.getresponse().read().decode() == hashlib.sha256(BODY).hexdigest()
        client.request("PUT", "/chunks?a=b", body=iter([BODY, b"x", BODY]))
        assert client.getresponse().read().decode() == hashlib.sha256(BODY + b"x" + BODY).hexdigest()
        client.request("HEAD", "/head")
        head = client.getresponse()
        assert (head.read(), head.headers["Content-Length"]) == (b"", str(len(BODY)))
        client.request("GET", "/get")
        assert client.getresponse().read() == BODY
        client.request("POST", "/empty")
        answer = client.getresponse()
        assert (answer.read(), answer.headers["Location"]) == (b"", f"http://{proxy.address}/here")
        client.close()
        assert proxy.requests == (
            Request("PUT", "/whole", 201),
            Request("PUT", "/chunks?a=b", 201),
            Request("HEAD", "/head", 200),
            Request("GET", "/get", 200),
            Request("POST", "/empty", 204),
        )
        assert [request.method for request in proxy.writes] == ["PUT", "PUT", "POST"]


@pytest.mark.parametrize("fault", [Fault(drop=True), Fault(lose_response=True)])
def test_a_faulted_request_gets_no_response_and_is_recorded_without_status(echo: str, fault: Fault) -> None:
    with RecordingProxy(echo, lambda request: fault if request.path == "/bad" else None) as proxy:
        client = http.client.HTTPConnection(proxy.address, timeout=10)
        client.request("PUT", "/bad", body=b"x")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client.getresponse()
        client.close()
        client.request("PUT", "/good", body=b"x")
        assert client.getresponse().status == 201
        client.close()
        assert proxy.requests == (Request("PUT", "/bad"), Request("PUT", "/good", 201))


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_a_connection_beyond_loopback_is_blocked() -> None:
    with socket.socket() as outside, pytest.raises(SocketConnectBlockedError):
        outside.connect(("192.0.2.1", 80))


def test_home_is_empty_and_the_test_s_own(home: Path) -> None:
    assert list(home.iterdir()) == []
    assert {Path(os.environ[name]) for name in ("HOME", "DOCKER_CONFIG", "DOCKSEAL_HOME")} == {
        home,
        home / ".docker",
        home / "dockseal",
    }
    assert not [name for name in os.environ if name.startswith("DOCKER_CONTENT_TRUST")]


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_skipped_test_fails_the_run_in_ci_only(tmp_path: Path, ci: str, code: int, workers: str) -> None:
    tmp_path.joinpath("test_sample.py").write_text(
        "import pytest\ndef test_skips(): pytest.skip('told reason')\ndef test_passes(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", workers, f"--rootdir={tmp_path}", "-rs"]
    done = subprocess.run(
        [*command, "-c", "/dev/null", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("in CI every test must run" in done.stdout) == bool(code)
    assert "1 passed, 1 skipped" in done.stdout
    assert "told reason" in done.stdout
