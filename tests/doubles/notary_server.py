"""A Notary server that can be told to misbehave: role files over HTTP, its own snapshot and timestamp keys.

It takes what notary's server takes (server/handlers): an update of known roles, each one version on, all or none; it
signs snapshot and timestamp itself. ``fault`` may answer in its place.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.notary.repos import LATER, key, plain, sign
from trust.notary.codec import decode
from trust.notary.model import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Root,
    Snapshot,
    Targets,
    Timestamp,
    format_time,
    meta_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = re.compile(r"/v2/(?P<gun>.+)/_trust/tuf/(?P<name>.*)\Z")
_NAME = re.compile(r"(?:(?P<version>\d+)\.)?(?P<role>[a-z/_-]+?)(?:\.(?P<hash>[0-9a-f]{64}))?\.(?P<kind>json|key)\Z")
_PART = re.compile(rb'filename="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the wrong kind; ``hang_s`` is silence before it."""

    status: int = 200
    body: bytes = b""
    hang_s: float = 0.0


@dataclass
class NotaryDouble:
    """``files`` by GUN and role, with old roots as ``2.root``."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str, str], Reply | None] | None = None
    before_update: Callable[[], object] | None = None
    url: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """What the server says; a fault goes first."""
        self.requests.append(f"{method} {path}")
        reply = self.fault(method, path) if self.fault is not None else None
        if reply is not None:
            self._stop.wait(reply.hang_s)
            return reply
        found = _PATH.match(path)
        if found is None:
            return Reply(404)
        if method == "POST":
            if self.before_update is not None:
                once, self.before_update = self.before_update, None
                once()
            with self._lock:
                return self._update(found["gun"], body)
        name = _NAME.match(found["name"])
        return Reply(404) if name is None else self._get(self.files.get(found["gun"], {}), name)

    def _get(self, files: dict[str, bytes], name: re.Match[str]) -> Reply:
        if name["kind"] == "key":
            return Reply(body=json.dumps(plain(name["role"]).to_json()).encode())
        data = files.get(f"{name['version']}.root" if name["version"] else name["role"])
        if data is None or (name["hash"] and meta_of(data).sha256.hex() != name["hash"]):
            return _error(404, "METADATA_NOT_FOUND", "You have requested metadata that does not exist.")
        return Reply(body=data)

    def _update(self, gun: str, body: bytes) -> Reply:
        before = self.files.get(gun, {})
        files = dict(before)
        for match in _PART.finditer(body):
            role, data = match[1].decode(), match[2]
            kind = Root if role == ROOT else Snapshot if role == SNAPSHOT else Targets
            version = decode(data, kind, role).payload.version
            if version != _version(before.get(role)) + 1:
                return _error(400, "VERSION", "A newer version of metadata is already available for the repository.")
            files[role] = data
            if role == ROOT:
                files[f"{version}.root"] = data
        self.files[gun] = self._signed(files, _version(before.get(SNAPSHOT)), _version(before.get(TIMESTAMP)))
        return Reply()

    def _signed(self, files: dict[str, bytes], snapshot: int, timestamp: int) -> dict[str, bytes]:
        if _version(files.get(SNAPSHOT)) in {0, snapshot}:
            meta = {name: meta_of(data) for name, data in files.items() if name == ROOT or name.startswith(TARGETS)}
            payload = Snapshot(snapshot + 1, format_time(LATER), meta)
            files[SNAPSHOT] = sign(payload, (plain(SNAPSHOT), key(SNAPSHOT)))
        listed = {SNAPSHOT: meta_of(files[SNAPSHOT])}
        made = Timestamp(timestamp + 1, format_time(LATER), listed)
        files[TIMESTAMP] = sign(made, (plain(TIMESTAMP), key(TIMESTAMP)))
        return files


def _version(data: bytes | None) -> int:
    return 0 if data is None else int(json.loads(data)["signed"]["version"])


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode())


def _handler(double: NotaryDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(double.answer("GET", self.path, b""))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._reply(double.answer("POST", self.path, body))

        def _reply(self, reply: Reply) -> None:
            try:
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
            """Tests are quiet."""

    return Handler


def rejection(name: str, message: str) -> bytes:
    """An update that notary's server found wrong (server/errors, ErrInvalidUpdate)."""
    detail = {"Name": name, "Error": {"Msg": message}}
    return json.dumps(
        {"errors": [{"code": "INVALID_UPDATE", "message": "Update sent by the client is invalid.", "detail": detail}]}
    ).encode()
