"""A registry in memory that behaves, until a test tells it not to.

::

    with FaultyRegistry() as registry:
        registry.fail("PUT", "/blobs/uploads/", Status(503), times=2)
        ...
        assert [request.method for request in registry.writes] == ["POST", "PUT", "PUT", "PUT"]

It speaks HTTP/1.1 on a free port of 127.0.0.1 and follows OCI distribution-spec v1.1.1: manifests, blobs with
ranges, uploads that resume, mounts, tags in pages, deletion. What it holds is plain data that a test may
read and change: ``manifests[repo][digest]``, ``blobs[repo][digest]``, ``tags[repo][tag]``. Every
request is recorded. ``fail`` attaches a fault to the requests that a rule matches; the attributes
below ``fail`` in this class switch features off, as some registries do for good.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trust.oci.manifest import Manifest

MAX_HANG_S = 30.0
READ_BYTES = 1 << 16
WEB_PAGE = b"<!DOCTYPE html><html><body>Welcome</body></html>"
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came. ``status`` is 0 where no answer was sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back. ``Content-Length`` is that of the body unless ``headers`` say otherwise."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_headers(self, **headers: str) -> Response:
        """With these headers; ``Retry_After`` stands for ``Retry-After``."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this instead of doing anything."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alter:
    """Do what was asked, then answer with something else."""

    change: Callable[[Response], Response]


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer, or only after ``seconds``."""

    seconds: float = MAX_HANG_S


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection after ``after`` bytes of the request's body; an upload keeps what came."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Do what was asked, then close without an answer."""


@dataclass(frozen=True, slots=True)
class CutBody:
    """Announce the whole body, send ``after`` bytes of it, close."""

    after: int


@dataclass(frozen=True, slots=True)
class Endless:
    """A body that does not end (chunked); ``pause_s`` between its chunks."""

    chunk: bytes = b"x" * READ_BYTES
    pause_s: float = 0.0


Fault = Status | Alter | Hang | Drop | LoseAnswer | CutBody | Endless

HTML = Status(200, WEB_PAGE, {"Content-Type": "text/html; charset=utf-8"})


def redirect(url: str, status: int = 307) -> Status:
    """Send the client elsewhere."""
    return Status(status, b"", {"Location": url})


def wrong_body(body: bytes) -> Alter:
    """Other bytes than the right ones, everything else unchanged."""
    return Alter(lambda response: replace(response, body=body))


def with_headers(**headers: str) -> Alter:
    """The right answer with other headers."""
    return Alter(lambda response: response.with_headers(**headers))


def without_header(name: str) -> Alter:
    """The right answer without one header."""
    return Alter(lambda response: replace(response, headers={k: v for k, v in response.headers.items() if k != name}))


@dataclass(slots=True)
class Rule:
    """A fault and the requests it befalls. ``hits`` counts them."""

    method: str
    pattern: re.Pattern[str]
    fault: Fault
    times: int | None
    skip: int
    hits: int = 0

    def matches(self, method: str, target: str) -> bool:
        if self.method not in {method, "*"} or not self.pattern.search(target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was sent."""

    media_type: str
    data: bytes


class FaultyRegistry:
    """Runs while the context lasts; ``host`` is ``localhost:PORT``."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.manifests: defaultdict[str, dict[str, StoredManifest]] = defaultdict(dict)
        self.blobs: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        self.tags: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.uploads: dict[str, bytearray] = {}
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._rules: list[Rule] = []
        self._requests: list[Recorded] = []
        self._connections: set[socket.socket] = set()
        self._tokens: dict[str, float] = {}
        self._count = 0
        self._server = _Server(self)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"localhost:{self._server.server_port}"

    def fail(self, method: str, pattern: str, fault: Fault, *, times: int | None = 1, skip: int = 0) -> Rule:
        """Let requests fail.

        Args:
            method: or ``*`` for any.
            pattern: a regular expression that is searched in path and query.
            fault: what happens; the latest rule that matches decides.
            times: how often; None is for ever.
            skip: let so many matching requests pass first.
        """
        rule = Rule(method, re.compile(pattern), fault, times, skip)
        with self.lock:
            self._rules.insert(0, rule)
        return rule

    # What a registry can or cannot do.
    page_size: int | None = None
    """Tags in a page, at most; None sends as many as asked for."""
    sends_link = True
    ignores_n = False
    sends_digest = True
    can_mount = True
    can_resume = True
    can_delete = True
    can_untag = True
    immutable_tags = False
    absolute_locations = True
    checks_references = True
    """Refuse a manifest whose blobs or manifests are not there."""
    basic: tuple[str, str] | None = None
    """Ask for this user and password."""
    bearer = False
    """Ask for a token of ``/token``, which gives them to everybody, or to ``basic`` only."""
    refresh_token: str | None = None
    """What the OAuth2 form of ``/token`` accepts; None: it is not there."""
    token_seconds = 300

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """Every request so far, in the order of arrival; those to ``/token`` are in ``token_requests``."""
        with self.lock:
            return tuple(one for one in self._requests if one.path != "/token")

    @property
    def token_requests(self) -> tuple[Recorded, ...]:
        with self.lock:
            return tuple(one for one in self._requests if one.path == "/token")

    @property
    def writes(self) -> tuple[Recorded, ...]:
        """All requests but GET and HEAD."""
        return tuple(one for one in self.requests if one.is_write)

    def clear(self) -> None:
        """Forget the requests and the rules; manifests, blobs and tags stay."""
        with self.lock:
            self._requests.clear()
            self._rules.clear()

    def expire_tokens(self) -> None:
        """Accept none of the tokens given so far."""
        with self.lock:
            self._tokens.clear()

    def add_blob(self, repo: str, data: bytes) -> str:
        """Put a blob there; gives its digest."""
        digest = digest_of(data)
        with self.lock:
            self.blobs[repo][digest] = data
        return digest

    def add_manifest(self, repo: str, manifest: Manifest, tag: str | None = None) -> str:
        """Put a manifest there, under a tag too; what it refers to is not looked for."""
        digest = str(manifest.digest)
        with self.lock:
            self.manifests[repo][digest] = StoredManifest(manifest.media_type, manifest.raw)
            if tag is not None:
                self.tags[repo][tag] = digest
        return digest

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        with self.lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    # For the connections.
    def opened(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self.lock:
            self._connections.discard(connection)

    def arrived(self, request: Recorded) -> tuple[int, Fault | None]:
        """Record a request; gives its number, and what is to happen to it."""
        with self.lock:
            self._requests.append(request)
            fault = next((rule.fault for rule in self._rules if rule.matches(request.method, request.target)), None)
            return len(self._requests) - 1, fault

    def update(self, number: int, **changes: Any) -> Recorded:
        """Add to what is known of a request."""
        with self.lock:
            if number >= len(self._requests):  # cleared meanwhile
                return Recorded("", "", {})
            self._requests[number] = replace(self._requests[number], **changes)
            return self._requests[number]

    def answer(self, request: Recorded) -> Response:
        """Do what a registry does."""
        with self.lock:
            if request.path == "/token":
                return self._token(request)
            if (refusal := self._unauthorized(request)) is not None:
                return refusal
            for pattern, action in _ROUTES:
                if (match := pattern.fullmatch(request.path)) is not None:
                    return action(self, request, *match.groups())
            return error(404, "NAME_INVALID", "invalid repository name")

    def keep_partial(self, request: Recorded) -> None:
        """What came of an upload before its connection broke."""
        with self.lock:
            session = request.path.rpartition("/")[2]
            if self.can_resume and session in self.uploads:
                self.uploads[session] += request.body
            else:
                self.uploads.pop(session, None)

    def _unauthorized(self, request: Recorded) -> Response | None:
        given = request.authorization or ""
        if self.bearer:
            expires = self._tokens.get(given.removeprefix("Bearer "), 0.0)
            scheme = (
                f'Bearer realm="{self._scheme}://{self.host}/token",service="faulty",scope="{self._scope(request)}"'
            )
            allowed = given.startswith("Bearer ") and expires > time.monotonic()
        elif self.basic is not None:
            scheme, allowed = 'Basic realm="faulty"', given == basic_header(*self.basic)
        else:
            return None
        refusal = error(401, "UNAUTHORIZED", "authentication required")
        return None if allowed else replace(refusal, headers={**JSON_TYPE, "WWW-Authenticate": scheme})

    def _scope(self, request: Recorded) -> str:
        name = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", request.path)
        actions = "pull,push" if request.is_write else "pull"
        return f"repository:{name.group(1)}:{actions}" if name else ""

    def _token(self, request: Recorded) -> Response:
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            if self.refresh_token is None:
                return Response(404)
            allowed = form.get("refresh_token") == [self.refresh_token]
        else:
            allowed = self.basic is None or request.authorization == basic_header(*self.basic)
        if not allowed:
            return error(401, "UNAUTHORIZED", "incorrect username or password")
        self._count += 1
        token = f"token-{self._count}"
        self._tokens[token] = time.monotonic() + self.token_seconds
        return Response(200, JSON_TYPE, json.dumps({"token": token, "expires_in": self.token_seconds}).encode())

    def _base(self, request: Recorded) -> Response:
        return Response(200, JSON_TYPE, b"{}")

    def _tags(self, request: Recorded, repo: str) -> Response:
        if repo not in self.tags and repo not in self.manifests:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        last = request.query.get("last", [""])[0]
        names = sorted(name for name in self.tags[repo] if name > last)
        asked = int(request.query.get("n", ["0"])[0]) if not self.ignores_n else 0
        size = min(filter(None, (asked, self.page_size)), default=len(names))
        page, headers = names[:size], dict(JSON_TYPE)
        if self.sends_link and len(names) > size:
            headers["Link"] = f'</v2/{repo}/tags/list?n={size}&last={page[-1]}>; rel="next"'
        return Response(200, headers, json.dumps({"name": repo, "tags": page}).encode())

    def _manifest(self, request: Recorded, repo: str, reference: str) -> Response:
        if request.method == "PUT":
            return self._put_manifest(request, repo, reference)
        digest = self.tags[repo].get(reference, reference) if repo in self.tags else reference
        if repo not in self.manifests or digest not in self.manifests[repo]:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if request.method == "DELETE":
            return self._delete_manifest(repo, reference)
        stored = self.manifests[repo][digest]
        headers = {"Content-Type": stored.media_type}
        if self.sends_digest:
            headers["Docker-Content-Digest"] = digest
        return Response(200, headers, stored.data)

    def _put_manifest(self, request: Recorded, repo: str, reference: str) -> Response:
        digest = digest_of(request.body)
        if ":" in reference and reference != digest:
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        missing = self._missing_references(repo, request.body) if self.checks_references else []
        if missing:
            return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail={"digest": missing[0]})
        if ":" not in reference:
            if self.immutable_tags and self.tags[repo].get(reference, digest) != digest:
                return error(412, "PRECONDITION", f"tag {reference} is immutable")
            self.tags[repo][reference] = digest
        self.manifests[repo][digest] = StoredManifest(request.headers.get("content-type", ""), request.body)
        headers = {"Location": f"/v2/{repo}/manifests/{digest}"}
        return Response(201, {**headers, "Docker-Content-Digest": digest} if self.sends_digest else headers)

    def _missing_references(self, repo: str, body: bytes) -> list[str]:
        content = json.loads(body)
        wanted = [item for item in [content.get("config"), *content.get("layers", [])] if item]
        blobs = [item["digest"] for item in wanted if "foreign" not in item["mediaType"]]
        missing = [digest for digest in blobs if digest not in self.blobs[repo]]
        listed = [item["digest"] for item in content.get("manifests", [])]
        return missing + [digest for digest in listed if digest not in self.manifests[repo]]

    def _delete_manifest(self, repo: str, reference: str) -> Response:
        is_tag = ":" not in reference
        if not self.can_delete or (is_tag and not self.can_untag):
            return error(405, "UNSUPPORTED", "The operation is unsupported.")
        if is_tag:
            del self.tags[repo][reference]
        else:
            del self.manifests[repo][reference]
            self.tags[repo] = {tag: digest for tag, digest in self.tags[repo].items() if digest != reference}
        return Response(202)

    def _blob(self, request: Recorded, repo: str, digest: str) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return error(405, "UNSUPPORTED", "The operation is unsupported.")
        data = self.blobs[repo].get(digest) if repo in self.blobs else None
        if data is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if asked is None or not self.can_resume:
            return Response(200, headers, data)
        start = int(asked.group(1))
        if start >= len(data):
            return Response(416)
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Response(206, headers, data[start:])

    def _start_upload(self, request: Recorded, repo: str) -> Response:
        if request.method != "POST":
            return error(405, "UNSUPPORTED", "The operation is unsupported.")
        mount, source = request.query.get("mount", [""])[0], request.query.get("from", [""])[0]
        if mount and self.can_mount and mount in self.blobs.get(source, {}):
            self.blobs[repo][mount] = self.blobs[source][mount]
            return Response(201, {"Location": f"/v2/{repo}/blobs/{mount}", "Docker-Content-Digest": mount})
        self._count += 1
        session = f"session-{self._count}"
        self.uploads[session] = bytearray()
        return self._session(202, repo, session)

    def _upload(self, request: Recorded, repo: str, session: str) -> Response:
        held = self.uploads.get(session)
        if held is None:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "GET":
            return self._session(204, repo, session)
        if request.method == "DELETE":
            del self.uploads[session]
            return Response(204)
        held += request.body
        if request.method == "PATCH":
            return self._session(202, repo, session)
        digest = request.query.get("digest", [""])[0]
        del self.uploads[session]
        if digest != digest_of(bytes(held)):
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[repo][digest] = bytes(held)
        return Response(201, {"Location": f"/v2/{repo}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _session(self, status: int, repo: str, session: str) -> Response:
        base = f"{self._scheme}://{self.host}" if self.absolute_locations else ""
        location = f"{base}/v2/{repo}/blobs/uploads/{session}?_state=a%2Fb%3D{len(self.uploads[session])}"
        end = max(len(self.uploads[session]) - 1, 0)
        return Response(status, {"Location": location, "Range": f"0-{end}", "Docker-Upload-UUID": session})


_NAME = r"/v2/([a-z0-9._/-]+)"
_ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Response]], ...] = (
    (re.compile(r"/v2/"), FaultyRegistry._base),
    (re.compile(rf"{_NAME}/tags/list"), FaultyRegistry._tags),
    (re.compile(rf"{_NAME}/manifests/([^/]+)"), FaultyRegistry._manifest),
    (re.compile(rf"{_NAME}/blobs/uploads/"), FaultyRegistry._start_upload),
    (re.compile(rf"{_NAME}/blobs/uploads/([^/]+)"), FaultyRegistry._upload),
    (re.compile(rf"{_NAME}/blobs/(sha256:[0-9a-f]{{64}})"), FaultyRegistry._blob),
)


def digest_of(data: bytes) -> str:
    """``sha256:…`` of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def basic_header(user: str, password: str) -> str:
    """The Authorization header of basic auth."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def error(status: int, code: str, message: str, detail: object = None) -> Response:
    """The specification's error body."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return Response(status, JSON_TYPE, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    """They are joined at the end: closed connections and ``closing`` end them."""
    request_queue_size = 64

    def __init__(self, registry: FaultyRegistry) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.registry = registry

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away ends its connection, not the test run."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.registry.opened(self.connection)

    def finish(self) -> None:
        self.server.registry.closed(self.connection)
        super().finish()

    def do_GET(self) -> None:
        registry = self.server.registry
        headers = {name.lower(): value for name, value in self.headers.items()}
        number, fault = registry.arrived(Recorded(self.command, self.path, headers))
        if isinstance(fault, Drop):
            registry.keep_partial(registry.update(number, body=self._read_body(fault.after)))
            self.close_connection = True
            return
        request = registry.update(number, body=self._read_body())
        if isinstance(fault, Hang):
            self.close_connection = registry.closing.wait(min(fault.seconds, MAX_HANG_S))
            if self.close_connection:
                return
        if isinstance(fault, Status):
            response = Response(fault.status, fault.headers, fault.body)
        else:
            response = registry.answer(request)
        if isinstance(fault, Alter):
            response = fault.change(response)
        if isinstance(fault, LoseAnswer):
            self.close_connection = True
            return
        registry.update(number, status=response.status)
        self._send(response, fault)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names in http.server

    def _send(self, response: Response, fault: Fault | None) -> None:
        self.send_response(response.status)
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        if isinstance(fault, Endless):
            headers["Transfer-Encoding"] = "chunked"
        if "Transfer-Encoding" in headers:
            del headers["Content-Length"]
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(fault, Endless):
            self._send_endless(fault)
        elif self.command != "HEAD" and response.status not in {204, 304}:
            self.wfile.write(response.body[: fault.after] if isinstance(fault, CutBody) else response.body)
            self.close_connection |= headers.get("Content-Length") != str(len(response.body))
            self.close_connection |= isinstance(fault, CutBody)

    def _send_endless(self, fault: Endless) -> None:
        self.close_connection = True
        while not self.server.registry.closing.wait(fault.pause_s):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(fault.chunk), fault.chunk))
            self.wfile.flush()

    def _read_body(self, limit: int | None = None) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if limit is None else min(length, limit))

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in {b"\r\n", b"\n", b""}:
            pass
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Tests are quiet."""
