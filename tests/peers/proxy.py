"""A recording HTTP proxy in front of one server, on loopback.

It passes bytes on as they came, heads and chunk framing included, so that what is on the wire is
what client and server say to each other; ``Host`` stays that of the proxy, and so a registry's
``Location`` leads back through it. Every request is recorded with the status of its response.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedIOBase
    from types import TracebackType

    _Send = Callable[[bytes], None]

CHUNK_BYTES = 1 << 18
MAX_LINE_BYTES = 1 << 16
TIMEOUT_S = 60.0
FIRST_FINAL_STATUS = 200
BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it passed. ``status`` is 0 where the client got no response."""

    method: str
    path: str
    status: int = 0

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What to do to one request. Times in seconds.

    ``drop`` closes the connection before the server sees anything; ``lose_response`` closes it
    once the server has answered, so that the client cannot know what was done. ``cut_request`` and
    ``cut_response`` close it in the middle of a body (a response without one is lost). ``twice`` lets the server
    see the request two times, and the client the second answer.
    """

    delay_s: float = 0.0
    drop: bool = False
    lose_response: bool = False
    cut_request: bool = False
    cut_response: bool = False
    twice: bool = False


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line and headers of a message: raw bytes, and what framing depends on."""

    raw: bytes
    first_line: str
    length: int | None
    chunked: bool
    close: bool

    @classmethod
    def read(cls, stream: BufferedIOBase) -> Self | None:
        """The next head, or None at the end of the stream."""
        lines = [stream.readline(MAX_LINE_BYTES)]
        if not lines[0]:
            return None
        while lines[-1] not in {b"\r\n", b"\n", b""}:
            lines.append(stream.readline(MAX_LINE_BYTES))
        headers: dict[str, str] = {}
        for line in lines[1:-1]:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        length = headers.get("content-length")
        return cls(
            raw=b"".join(lines),
            first_line=lines[0].decode("latin-1").strip(),
            length=None if length is None else int(length),
            chunked=headers.get("transfer-encoding", "").lower() == "chunked",
            close=headers.get("connection", "").lower() == "close",
        )


class RecordingProxy:
    """Listens on a free port of 127.0.0.1 while the context lasts.

    Args:
        upstream: ``host:port`` of the server.
        fault: asked for every request before it is passed on.
    """

    def __init__(self, upstream: str, fault: Callable[[Request], Fault | None] | None = None) -> None:
        host, _, port = upstream.rpartition(":")
        self.upstream = (host.strip("[]"), int(port))
        self.fault = fault
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._server = _Server(self)

    @property
    def address(self) -> str:
        """``127.0.0.1:port``, to be used where the server's own address would stand."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """Everything that has passed, in the order of completion."""
        with self._lock:
            return tuple(self._requests)

    @property
    def writes(self) -> tuple[Request, ...]:
        """All requests but GET and HEAD."""
        return tuple(request for request in self.requests if request.is_write)

    def clear(self) -> None:
        """Forget what has passed."""
        with self._lock:
            self._requests.clear()

    def record(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: RecordingProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.proxy = proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away ends its connection, not the test run."""


class _Connection(socketserver.StreamRequestHandler):
    """One client connection, with one of its own to the server."""

    server: _Server
    disable_nagle_algorithm = True
    timeout = TIMEOUT_S

    def handle(self) -> None:
        with socket.create_connection(self.server.proxy.upstream, TIMEOUT_S) as upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = upstream.makefile("rb")
            while self._exchange(upstream, answers):
                pass
            answers.close()

    def _exchange(self, upstream: socket.socket, answers: BufferedIOBase) -> bool:
        """Pass one request and its response on; whether the connection stays open."""
        request_head = _Head.read(self.rfile)
        if request_head is None:
            return False
        method, path, *_ = request_head.first_line.split(" ")
        request = Request(method, path)
        fault = (self.server.proxy.fault and self.server.proxy.fault(request)) or Fault()
        time.sleep(fault.delay_s)
        if fault.drop:
            self.server.proxy.record(request)
            return False
        if fault.cut_request and request_head.length:
            _copy(self.rfile, upstream.sendall, request_head.length // 2)
            self.server.proxy.record(request)
            return False
        if fault.twice and not request_head.chunked:
            request_head = self._send_once(request_head)
        open_after = self._send_request(request_head, upstream)
        response_head = self._final_response(answers, lost=fault.lose_response)
        if response_head is None or fault.lose_response:
            self.server.proxy.record(request)
            return False
        status = int(response_head.first_line.split(" ")[1])
        self.server.proxy.record(Request(method, path, status))
        if fault.cut_response and method != "HEAD":
            if response_head.length:
                self.connection.sendall(response_head.raw)
                _copy(answers, self.connection.sendall, response_head.length // 2)
            return False
        self.connection.sendall(response_head.raw)
        if method != "HEAD" and status not in BODILESS:
            open_after &= _copy_body(response_head, answers, self.connection.sendall, to_the_end=True)
        return open_after and not request_head.close and not response_head.close

    def _send_once(self, head: _Head) -> _Head:
        """Let the server see a request on a connection of its own; the request again, its body in its head."""
        body = self.rfile.read(head.length or 0)
        again = replace(head, raw=head.raw + body, length=0)
        with socket.create_connection(self.server.proxy.upstream, TIMEOUT_S) as other:
            other.sendall(again.raw)
            with other.makefile("rb") as answers:
                _Head.read(answers)
        return again

    def _send_request(self, head: _Head, upstream: socket.socket) -> bool:
        """Send head and body. A server may answer and close before it has read them all."""
        try:
            upstream.sendall(head.raw)
            return _copy_body(head, self.rfile, upstream.sendall, to_the_end=False)
        except (BrokenPipeError, ConnectionResetError):
            return False

    def _final_response(self, answers: BufferedIOBase, *, lost: bool) -> _Head | None:
        """The response's head; interim ones (1xx) are passed on at once."""
        while (head := _Head.read(answers)) is not None:
            if int(head.first_line.split(" ")[1]) >= FIRST_FINAL_STATUS:
                return head
            if not lost:
                self.connection.sendall(head.raw)
        return None


def _copy_body(head: _Head, source: BufferedIOBase, send: _Send, *, to_the_end: bool) -> bool:
    """Copy the body that ``head`` announces; whether another message can follow it."""
    if head.chunked:
        _copy_chunks(source, send)
    elif head.length is not None:
        return _copy(source, send, head.length)
    elif to_the_end:
        while data := source.read(CHUNK_BYTES):
            send(data)
        return False
    return True


def _copy_chunks(source: BufferedIOBase, send: _Send) -> None:
    """Copy a chunked body with its framing (RFC 9112, section 7.1)."""
    while True:
        line = source.readline(MAX_LINE_BYTES)
        send(line)
        size = int(line.partition(b";")[0].strip() or b"0", 16)
        if size == 0:
            break
        _copy(source, send, size + len(b"\r\n"))
    while line not in {b"\r\n", b"\n", b""}:
        line = source.readline(MAX_LINE_BYTES)
        send(line)


def _copy(source: BufferedIOBase, send: _Send, size: int) -> bool:
    """Copy ``size`` bytes; False where the source ended before."""
    while size > 0:
        data = source.read1(min(size, CHUNK_BYTES))
        if not data:
            return False
        send(data)
        size -= len(data)
    return True
