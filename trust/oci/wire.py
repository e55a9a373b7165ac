"""The small print of registries' HTTP: URLs, headers and error bodies. Text in, values out, no I/O.

Sources: OCI distribution-spec v1.1.1; RFC 9110 (Location, Retry-After), RFC 8288 (Link), RFC 7234 5.5 (Warning).
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urljoin, urlsplit

from trust.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

MAX_URL_LENGTH = 8192
MAX_TEXT_LENGTH = 500
"""Characters of a registry's own words in one of our messages."""
MAX_WARNING_LENGTH = 4096
MAX_SMALL_BYTES = 64 << 10
"""A body that only carries an error, a token or nothing."""

_HARMLESS_PARAMETERS = frozenset({"n", "last", "mount", "from", "digest", "service", "scope"})
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_SECRET = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*|(?i:\b(?:bearer|basic) )[\w.~+/-]{8,}=*")
_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_WARNING = re.compile(r'\s*299\s+\S+\s+"((?:[^"\\]|\\.)*)"')
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL_NEXT = re.compile(r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\b)', re.IGNORECASE)
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-")


class Readable(Protocol):
    """What a request's body is read from."""

    def read(self, amount: int, /) -> bytes:
        """At most ``amount`` bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Body:
    """``size`` bytes to send, opened anew for every replay."""

    size: int
    open: Callable[[], AbstractContextManager[Readable]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a registry.

    Attributes:
        url: a path on the registry (``/v2/…``), or an absolute URL on it.
        scopes: what a token must allow, as ``repository:NAME:ACTIONS``.
        max_bytes: the cap of a successful answer's body.
        stream: leave a successful answer's body unread, for the caller.
        retry: try again after a failure that may pass; without it TransientError is raised at once.
        answer_seconds: how long the answer may take, where the registry has a lot to do first.
        deadline: when all of it must be over, by the transport's clock, which sets it.
    """

    method: str
    url: str
    scopes: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Body | None = None
    max_bytes: int = MAX_SMALL_BYTES
    stream: bool = False
    retry: bool = True
    answer_seconds: float = 0
    deadline: float = math.inf

    @property
    def is_small(self) -> bool:
        """Whether neither way a blob's bytes are moved: such a call is over soon, or fails."""
        return not self.stream and not isinstance(self.body, Body)


@dataclass(frozen=True, slots=True)
class Problem:
    """A registry's error body: its codes, and one line for people."""

    codes: tuple[str, ...]
    text: str


def clean(text: str, limit: int = MAX_TEXT_LENGTH) -> str:
    """Foreign text on one line, without control characters, tokens and queries of URLs."""
    return _line(_URL_QUERY.sub(r"\1", text[: 4 * limit]), limit)


def redact(url: str) -> str:
    """A URL as a message may show it: no user, no fragment, only harmless parameters."""
    try:
        parts = urlsplit(url)
        query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] in _HARMLESS_PARAMETERS], safe=":/,")
    except ValueError:
        return "(an invalid URL)"
    host = parts.netloc.rpartition("@")[2]
    return _line(f"{parts.scheme}://{host}{parts.path}" + (f"?{query}" if query else ""), MAX_TEXT_LENGTH)


def is_internal(host: str) -> bool:
    """Whether a host is this machine or an address of a private network."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private or address.is_loopback or address.is_link_local


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials belong to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def follow(target: str, source: str, what: str) -> str:
    """The absolute URL that ``source`` sends us to, where it may.

    Args:
        target: a ``Location`` or ``realm``, absolute or relative.
        source: the URL that named it.
        what: how a message calls it.

    Raises:
        UnreachableError: no HTTP URL, a step from https down to http, or from the internet to an internal address.
    """
    url, parts = _absolute(target, source, what)
    secure = source.startswith("https:")
    if secure and parts.scheme != "https":
        raise UnreachableError(
            f"{redact(source)} gave {what} {redact(url)}: refused, it leads from https to plain http"
        )
    if secure and is_internal(parts.hostname or "") and not is_internal(urlsplit(source).hostname or ""):
        raise UnreachableError(f"{redact(source)} gave {what} {redact(url)}: refused, it leads to an internal address")
    return url


def token_realm(realm: str, registry_url: str) -> str:
    """The token server's URL, where credentials may be sent to it.

    Raises:
        UnreachableError: as :func:`follow`, or a plain http URL on another host.
    """
    url = follow(realm, registry_url, "the token server")
    if url.startswith("http:"):
        host, here = urlsplit(url).hostname or "", urlsplit(registry_url).hostname
        if host != here and not (is_internal(host) and is_internal(here or "")):
            raise UnreachableError(f"the registry names the token server {redact(url)}: expected https")
    return url


def upload_url(location: str | None, request_url: str, base: str) -> str:
    """Where an upload goes on, always on the registry's own origin ``base``.

    Proxies lose the port or the scheme (distribution#996, #2862), so only path and query are taken,
    these byte for byte (``_state`` is opaque).

    Raises:
        UnreachableError: there is no Location, or it is on another host.
    """
    if not location:
        raise UnreachableError(f"{redact(request_url)} started an upload without a Location")
    url, parts = _absolute(location, request_url, "the upload's Location")
    here = urlsplit(base).hostname or ""
    if parts.hostname != here and not (is_loopback(parts.hostname or "") and is_loopback(here)):
        raise UnreachableError(
            f"the registry sends the upload to {redact(url)}: refused, expected the host {here}",
            hint="if that is the same registry behind a proxy, set its external URL (registry: REGISTRY_HTTP_HOST)",
        )
    return base + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def with_parameter(url: str, name: str, value: str) -> str:
    """The URL with one more parameter; what is there stays as it is."""
    return f"{url}{'&' if '?' in url else '?'}{name}={value}"


def next_query(links: Iterable[str]) -> str | None:
    """The query of ``Link: <…>; rel=next``.

    Only the query is used: Nexus gives a wrong path, Artifactory loses a part of it.
    """
    for header in links:
        for target, parameters in _LINK.findall(header[:MAX_URL_LENGTH]):
            if _REL_NEXT.search(parameters):
                query: str = target.partition("?")[2].partition("#")[0]
                return None if _UNPRINTABLE.search(query) or not query.isascii() else query or None
    return None


def http_date(value: str) -> datetime | None:
    """The time of a ``Date`` header (RFC 9110, 5.6.7), or None where it is none."""
    try:
        time = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return time if time.tzinfo is not None else None


def retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds that ``Retry-After`` asks for; a date is read against the answer's own ``Date``."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        then, now = email.utils.parsedate_to_datetime(value), email.utils.parsedate_to_datetime(date or "")
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: one date has a zone and the other has none
        return None


def received_bytes(value: str | None) -> int:
    """How many bytes an upload's ``Range: 0-N`` confirms. ``0-0`` also means none, so it counts as none."""
    match = _RANGE.match((value or "").strip())
    last = int(match.group(1)) if match else 0
    return last + 1 if last else 0


def range_start(value: str | None) -> int | None:
    """The first byte of ``Content-Range: bytes a-b/c``."""
    match = _CONTENT_RANGE.match((value or "").strip())
    return int(match.group(1)) if match else None


def warning_texts(headers: Iterable[str]) -> list[str]:
    """The texts of ``Warning: 299 - "…"`` (distribution-spec, "Warnings")."""
    found = [text for header in headers for text in _WARNING.findall(header[:MAX_WARNING_LENGTH])]
    return [clean(re.sub(r"\\(.)", r"\1", text)) for text in found]


def problem_of(body: bytes, headers: Mapping[str, str]) -> Problem:
    """Read an error body: the spec's JSON, or whatever else came (text, HTML)."""
    try:
        content: object = json.loads(body[:MAX_SMALL_BYTES])
    except (ValueError, RecursionError):
        content = None
    errors = content.get("errors") if isinstance(content, dict) else None
    if isinstance(errors, list) and errors:
        entries = [entry for entry in errors[:4] if isinstance(entry, dict)]
        codes = tuple(clean(str(entry.get("code", "")), 60) for entry in entries)
        return Problem(codes, clean("; ".join(_one_error(entry) for entry in entries)))
    if isinstance(content, dict):
        words = [content.get(name) for name in ("error", "error_description", "message", "details")]
        return Problem((), clean(", ".join(word for word in words if isinstance(word, str))))
    if "html" in headers.get("Content-Type", "").lower() or body.lstrip()[:1] == b"<":
        return Problem((), "a web page")
    return Problem((), clean(body[:MAX_TEXT_LENGTH].decode("utf-8", "replace")))


def _line(text: str, limit: int) -> str:
    line = _SECRET.sub("[redacted]", _UNPRINTABLE.sub(" ", text).strip())
    return line if len(line) <= limit else f"{line[:limit]}…"


def _one_error(entry: dict[str, object]) -> str:
    """``CODE: message (detail)``, as far as it is there."""
    code, message, detail = entry.get("code"), entry.get("message"), entry.get("detail")
    text = ": ".join(str(part) for part in (code, message) if part)
    if not detail or detail == message:
        return text
    return f"{text} ({clean(detail if isinstance(detail, str) else json.dumps(detail), 200)})"


def _absolute(target: str, source: str, what: str) -> tuple[str, SplitResult]:
    try:
        url = urljoin(source, target)
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise UnreachableError(f"{redact(source)} gave {what} that is no URL") from error
    usable = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
    if not usable or len(url) > MAX_URL_LENGTH or not url.isascii() or _UNPRINTABLE.search(target):
        raise UnreachableError(f"{redact(source)} gave {what} {redact(url)}: expected an http or https URL")
    return parts._replace(fragment="").geturl(), parts
