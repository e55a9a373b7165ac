"""HTTP to one registry: the only module that knows requests, and where its errors end.

What requests would do by itself is left out on purpose: a Session lets ``.netrc`` replace our
Authorization, follows redirects with a changed method and keeps cookies; an adapter does none of it.
Redirects, retries and authorization are here, each bounded.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from trust.errors import TamperedError, UnreachableError
from trust.oci import certs, wire
from trust.oci.auth import CredentialSource, TokenSource
from trust.oci.reference import DEFAULT_REGISTRY, Repository
from trust.oci.retry import Backoff, RetryPolicy, TransientError
from trust.oci.wire import MAX_SMALL_BYTES, Body, Call

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from typing import Self

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""The longest silence of a registry."""
SMALL_SECONDS = 90
"""The longest that a request without a blob may take, attempts, redirects and all. The waits between attempts do not
count: a registry that is busy says how long they shall be."""
MIN_BYTES_PER_SECOND = 8 << 10
"""A body that comes slower on average than this, after ``READ_SECONDS``, counts as silence."""
SEND_BYTES = 512 << 10
READ_BYTES = 256 << 10
MAX_REDIRECTS = 5
MAX_AUTH_ROUNDS = 3
MAX_WARNINGS = 16
POOL_SIZE = 16
"""Connections kept open to one host; more may be open at once."""

DEFAULT_POLICY = RetryPolicy()

_HUB_URL = "https://registry-1.docker.io"
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNAUTHORIZED = 401
_TOO_MANY = 429
_SLOW_DOWN = "the registry asks for fewer requests: log in with `dockseal login`, which often allows more, or wait"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until a connection stands, of silence on it, and of a request without a blob in all."""

    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS
    small: float = SMALL_SECONDS


@dataclass(slots=True)
class Answer:
    """What a registry answered. ``body`` is read and capped, except for a stream."""

    status: int
    url: str
    headers: Mapping[str, str]
    raw: urllib3.BaseHTTPResponse = field(repr=False)
    deadline: Callable[[int], bool] = field(repr=False)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's numbers say it best

    def all(self, name: str) -> list[str]:
        """The values of a header that may come several times."""
        return list(self.raw.headers.getlist(name))

    def read_some(self) -> bytes:
        """The next bytes of the body, nothing at its end.

        Raises:
            TransientError: the connection broke, or went silent.
        """
        try:
            data = self.raw.read1(READ_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # ValueError: http.client's for a chunk size that is no number
            silent = isinstance(error, (urllib3.exceptions.ReadTimeoutError, TimeoutError))
            message = f"{wire.redact(self.url)}: the answer broke off: {_reason(error)}"
            raise TransientError(message, silent=silent) from error
        if self.deadline(len(data)):
            raise TransientError(f"{wire.redact(self.url)}: the answer came too slowly", silent=True)
        return data

    def read(self, max_bytes: int, *, strict: bool) -> bytes:
        """The whole body.

        Args:
            max_bytes: its cap.
            strict: a longer body is an error; otherwise it is cut off.

        Raises:
            TamperedError: it is longer.
            TransientError: as :meth:`read_some`.
        """
        parts, size = [], 0
        while size <= max_bytes and (data := self.read_some()):
            parts.append(data)
            size += len(data)
        if size > max_bytes and strict:
            raise TamperedError(f"{wire.redact(self.url)} sent a longer body: expected at most {max_bytes} bytes")
        return b"".join(parts)[:max_bytes]

    def close(self) -> None:
        """Close the connection, unless the body was read to its end: then it is back in the pool."""
        self.raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Transport:
    """Requests to one registry. Thread-safe; opens connections when first used.

    Args:
        registry: the host as names have it: ``docker.io``, ``localhost:5000``.
        credentials: who we are; None is anonymous.
        insecure: speak plain HTTP to a host that is not this machine.
        scheme: ``https`` or ``http``, where a URL was given that says so; else it follows from the host.
        on_warning: told each distinct ``Warning`` of the registry once.
        certs_folders: where ``HOST[:PORT]/*.crt`` and ``*.cert`` with ``*.key`` are looked for.
    """

    def __init__(
        self,
        registry: str,
        credentials: CredentialSource | None = None,
        *,
        insecure: bool = False,
        scheme: str | None = None,
        on_warning: Callable[[str], None] = lambda _text: None,
        certs_folders: tuple[str, ...] = certs.FOLDERS,
        policy: RetryPolicy = DEFAULT_POLICY,
        timeouts: Timeouts = Timeouts(),
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self._insecure = insecure
        self._scheme = scheme
        self._on_warning = on_warning
        self._certs_folders = certs_folders
        self._policy = policy
        self._timeouts = timeouts
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._adapter: _Adapter | None = None
        self._warned: set[str] = set()
        self._date = ""
        self.url = self._base_url()
        self._tokens = TokenSource(registry, self.url, credentials, self._fetch_token, monotonic)

    @property
    def server_time(self) -> datetime | None:
        """What time the registry said it was in its last answer; None where it did not."""
        return wire.http_date(self._date)

    def with_credentials(self, credentials: CredentialSource) -> Transport:
        """The same registry as somebody else."""
        return Transport(
            self.registry,
            credentials,
            insecure=self._insecure,
            scheme=self._scheme,
            on_warning=self._on_warning,
            certs_folders=self._certs_folders,
            policy=self._policy,
            timeouts=self._timeouts,
            sleep=self._sleep,
            monotonic=self._monotonic,
        )

    def backoff(self) -> Backoff:
        """For a caller that retries more than one request."""
        return Backoff(self._policy, self._sleep)

    def send(self, call: Call) -> Answer:
        """Send a request, with authorization, retries and redirects as far as they are safe.

        Returns:
            The answer, whatever its status, except those that may pass.

        Raises:
            UnreachableError: no answer after all attempts, or a redirect that must not be followed.
            DeniedError: the token server refused.
            TamperedError: the body is longer than ``call.max_bytes``.
        """
        return self._patiently(call, self._authorized) if call.retry else self._authorized(call)

    def _patiently(self, call: Call, attempt: Callable[[Call], Answer]) -> Answer:
        """Make attempts until one succeeds, or they have taken too long or too many."""
        backoff, left = self.backoff(), self._timeouts.small if call.is_small else math.inf
        while True:
            start = self._monotonic()
            try:
                return attempt(replace(call, deadline=start + left))
            except TransientError as problem:
                left -= self._monotonic() - start
                backoff.wait(problem, last=left <= 0)

    def _authorized(self, call: Call) -> Answer:
        """One attempt, repeated with a (new) token where the registry asks for one."""
        url = urljoin(self.url, call.url)
        rounds = 0
        while True:
            rounds += 1
            header = self._tokens.header(call.scopes, upload=isinstance(call.body, Body))
            answer = self._redirected(call, url, dict(call.headers), header)
            refused = answer.status == _UNAUTHORIZED and wire.origin(answer.url) == wire.origin(url)
            if not refused or rounds == MAX_AUTH_ROUNDS:
                break
            challenges = answer.all("WWW-Authenticate")
            if not self._tokens.challenged(challenges, call.scopes, header, again=rounds > 1):
                break
        self._warn(answer)
        self._raise_temporary(call.method, answer)
        return answer

    def _redirected(self, call: Call, url: str, headers: dict[str, str], authorization: str | None) -> Answer:
        """Follow redirects; credentials stay on the host that they are for, and so does anything but reading."""
        reading = call.method in {"GET", "HEAD"}
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._exchange(call, url, headers, authorization)
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                return answer
            target = wire.follow(answer.headers["Location"], url, "a redirect to")
            same = wire.origin(target) == wire.origin(url)
            if not reading and not (same and answer.status in {307, 308}):
                raise UnreachableError(
                    f"{call.method} {wire.redact(url)} is redirected to {wire.redact(target)}: not followed"
                )
            authorization = authorization if same else None
            url = target
        raise UnreachableError(f"{wire.redact(url)}: more than {MAX_REDIRECTS} redirects")

    def _exchange(self, call: Call, url: str, headers: dict[str, str], authorization: str | None) -> Answer:
        """One request on the wire."""
        request = self._prepare(call.method, url, headers, authorization)
        with contextlib.ExitStack() as stack:
            if isinstance(call.body, Body) and call.body.size:
                request.headers["Content-Length"] = str(call.body.size)
                # the stubs know bytes and str only; urllib3 reads blocks from anything with read()
                body: Any = stack.enter_context(call.body.open())
                request.body = body
            elif call.method not in {"GET", "HEAD"}:
                data = call.body if isinstance(call.body, bytes) else b""
                request.body = data
                request.headers["Content-Length"] = str(len(data))
            raw = self._send(request, call)
        slow = _Slowness(self._monotonic, self._timeouts.read, call.deadline)
        answer = Answer(raw.status_code, url, raw.headers, raw.raw, slow)
        self._date = raw.headers.get("Date", self._date)
        if call.stream and answer.ok:
            return answer
        with answer:
            cap = call.max_bytes if answer.ok else MAX_SMALL_BYTES
            answer.body = answer.read(cap, strict=answer.ok)
        return answer

    def _send(self, request: requests.PreparedRequest, call: Call) -> requests.Response:
        url = request.url or ""
        left = call.deadline - self._monotonic()
        if left <= 0:
            raise TransientError(f"{request.method} {wire.redact(url)}: it took too long to get there", silent=True)
        timeout = (min(self._timeouts.connect, left), min(self._timeouts.read + call.answer_seconds, left))
        host = urlsplit(url).hostname or ""
        proxies: dict[str, str] = {} if wire.is_loopback(host) else get_environ_proxies(url)
        try:
            return self._adapter_once().send(request, stream=True, timeout=timeout, proxies=proxies)
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"{wire.redact(url)}: TLS failed: {_reason(error)}",
                hint=f"put the registry's CA into {self._certs_folders[0]}/{self.registry}/ca.crt"
                if self._certs_folders
                else None,
            ) from error
        except requests.exceptions.Timeout as error:
            seconds = timeout[0] if isinstance(error, requests.exceptions.ConnectTimeout) else timeout[1]
            message = f"{request.method} {wire.redact(url)}: no answer within {seconds:.3g} s"
            raise TransientError(message, silent=True) from error
        except requests.exceptions.ConnectionError as error:
            connected = not any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in _causes(error))
            message = f"{request.method} {wire.redact(url)}: {_reason(error)}"
            hint = None if connected else f"is the registry running at {urlsplit(url).netloc}, and is that its name?"
            raise TransientError(message, connected=connected, hint=hint) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise UnreachableError(f"{request.method} {wire.redact(url)}: {_reason(error)}") from error

    def _prepare(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None
    ) -> requests.PreparedRequest:
        """Identity: what is hashed is what was sent, never a decoded body."""
        all_headers = {"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if authorization is not None:
            all_headers["Authorization"] = authorization
        try:
            request = requests.Request(method, url, headers=all_headers).prepare()
        except (requests.RequestException, ValueError) as error:
            # its text may quote a header, and so a token
            raise UnreachableError(f"{method} {wire.redact(url)} cannot be sent: {type(error).__name__}") from error
        request.url = url  # prepare() re-quotes it; an upload's state is opaque
        return request

    def _fetch_token(self, method: str, url: str, headers: Mapping[str, str], form: bytes | None) -> tuple[int, bytes]:
        """Ask the token server. Credentials go to the host of its URL and no other."""
        call = Call(method, url, body=form)
        others = {name: value for name, value in headers.items() if name != "Authorization"}

        def attempt(call: Call) -> Answer:
            answer = self._redirected(call, url, others, headers.get("Authorization"))
            self._raise_temporary(method, answer)
            return answer

        answer = self._patiently(call, attempt)
        return answer.status, answer.body

    def _raise_temporary(self, method: str, answer: Answer) -> None:
        if answer.status not in _TEMPORARY:
            return
        answer.close()
        text = wire.problem_of(answer.body, answer.headers).text
        asked = wire.retry_after(answer.headers.get("Retry-After"), answer.headers.get("Date"))
        said = f" ({text})" if text else ""
        hint = _SLOW_DOWN if answer.status == _TOO_MANY else None
        message = f"{method} {wire.redact(answer.url)} answered {answer.status}{said}"
        raise TransientError(message, hint=hint, retry_after=asked)

    def _warn(self, answer: Answer) -> None:
        for text in wire.warning_texts(answer.all("Warning")):
            with self._lock:
                new = text not in self._warned and len(self._warned) < MAX_WARNINGS
                self._warned.add(text) if new else None
            if new:
                self._on_warning(f"{self.registry}: {text}")

    def _base_url(self) -> str:
        """https, except for this machine and hosts that are configured insecure."""
        if self._scheme is not None:
            return f"{self._scheme}://{self.registry}"
        if self.registry == DEFAULT_REGISTRY:
            return _HUB_URL
        plain = self._insecure or (
            Repository(self.registry, "-").is_loopback and not certs.files(self.registry, self._certs_folders)
        )
        return f"{'http' if plain else 'https'}://{self.registry}"

    def _adapter_once(self) -> _Adapter:
        with self._lock:
            if self._adapter is None:
                self._adapter = _Adapter(
                    partial(certs.tls_context, self.registry, self._certs_folders, DEFAULT_CA_BUNDLE_PATH)
                )
            return self._adapter


class _Adapter(HTTPAdapter):
    """requests' connection pool with our block size, and one TLS context that is made when first needed."""

    def __init__(self, make_context: Callable[[], ssl.SSLContext]) -> None:
        self._make_context = cache(make_context)
        super().__init__(pool_connections=4, pool_maxsize=POOL_SIZE)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """The pool for a request, whose connections wait for headers as a whole."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        pool.ConnectionCls = _HTTPS if pool.scheme == "https" else _HTTP
        return pool

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Host and settings of the pool for a request."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        tls = {"ssl_context": self._make_context()} if host["scheme"] == "https" else {}
        return host, {"blocksize": SEND_BYTES, **tls}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to add: the context verifies, and requests would load its bundle for every connection."""


class _Prompt(urllib3.connection.HTTPConnection):
    """Headers that drip count as silence: each byte would start the socket's time limit anew."""

    def getresponse(self) -> Any:
        """The answer, its headers read."""
        late, connection = threading.Event(), self.sock

        def end() -> None:
            late.set()
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(cast("float", self.timeout), end)
        watch.daemon = True
        watch.start()
        try:
            return super().getresponse()
        finally:
            watch.cancel()
            if late.is_set():  # what was made of a part of the headers means nothing
                raise TimeoutError


class _HTTP(_Prompt):
    pass


class _HTTPS(_Prompt, urllib3.connection.HTTPSConnection):
    pass


class _Slowness:
    """Whether a body comes slower than ``MIN_BYTES_PER_SECOND`` after ``grace`` seconds, or after its deadline."""

    def __init__(self, monotonic: Callable[[], float], grace: float, deadline: float) -> None:
        self._monotonic = monotonic
        self._start = monotonic()
        self._grace = grace
        self._deadline = deadline
        self._size = 0

    def __call__(self, size: int) -> bool:
        self._size += size
        late = self._start + self._grace + self._size / MIN_BYTES_PER_SECOND
        return self._monotonic() > min(late, self._deadline)


def user_agent() -> str:
    """``dockseal/VERSION``."""
    try:
        return f"dockseal/{version('dockseal')}"
    except PackageNotFoundError:
        return "dockseal"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it wraps; requests and urllib3 keep them in ``args`` and ``reason``."""
    todo, seen = [error], set[int]()
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        todo += [item for item in inner if isinstance(item, BaseException)]


def _reason(error: BaseException) -> str:
    """Why it failed, in the words of the innermost error; the outer ones quote the URL."""
    causes = list(_causes(error))
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            return wire.clean(cause.strerror, 200)
    return wire.clean(str(causes[-1]) or type(causes[-1]).__name__, 200)
