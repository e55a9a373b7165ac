"""Image names, as docker reads them.

Grammar: distribution's ``reference`` package (name, tag and digest of an image), with docker's
defaults: ``app`` is ``docker.io/library/app``, and the tag is ``latest`` where none is given.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self

from trust.digest import Digest
from trust.errors import UsageError

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
TRUST_TAG_PREFIX = "_trust"
MAX_NAME_LENGTH = 255

_DOMAIN_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*|\[[0-9a-fA-F:]+\])(?::([0-9]{{1,5}}))?\Z")
_PORTS = range(1, 1 << 16)
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST_TAG = re.compile(r"sha256-[0-9a-fA-F]{64}\Z")
_HEX_NAME = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Repository:
    """``registry/name``, the scope of one TUF repository. Make it with :meth:`parse`."""

    registry: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """A name without tag and digest.

        Raises:
            UsageError: it is malformed.
        """
        reference = Reference.parse(text)
        if reference.tag is not None or reference.digest is not None:
            raise UsageError(f"{text!r} names an image: expected a repository, without tag and digest")
        return cls(reference.repository.registry, reference.repository.path)

    @property
    def familiar(self) -> str:
        """As docker shows it: without ``docker.io/`` and ``library/``, where the short name means the same."""
        if self.registry != DEFAULT_REGISTRY:
            return str(self)
        short = self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path
        try:
            return short if _parse_name(short, short) == self else str(self)
        except UsageError:
            return str(self)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is this machine, which may speak plain HTTP."""
        host = self.registry
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif ":" in host:
            host = host.rpartition(":")[0]
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reference:
    """``repository[:tag][@digest]``. Neither tag nor digest means that none was given."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name as docker does.

        Raises:
            UsageError: it is malformed.
        """
        rest, at, digest_text = text.partition("@")
        digest = Digest(digest_text) if at else None
        name, tag = _split_tag(rest)
        if tag is not None:
            check_tag(tag)
        return cls(_parse_name(name, text), tag, digest)

    def with_default_tag(self) -> Self:
        """With ``latest`` where neither tag nor digest is given."""
        return replace(self, tag=DEFAULT_TAG) if self.tag is None and self.digest is None else self

    @property
    def familiar(self) -> str:
        """As docker shows it."""
        return f"{self.repository.familiar}{self._suffix}"

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return tag + digest

    def __str__(self) -> str:
        return f"{self.repository}{self._suffix}"


def check_tag(tag: str) -> str:
    """Return ``tag`` if the distribution spec allows it.

    Raises:
        UsageError: it is malformed.
    """
    if not _TAG.match(tag):
        raise UsageError(
            f"invalid tag {tag[:140]!r}: expected letters, digits, '_', '.' and '-', at most 128, "
            "beginning with a letter, a digit or '_'"
        )
    return tag


def check_image_tag(tag: str) -> str:
    """Return ``tag`` if a user's image may have it: ``_trust…`` is where trust data lives.

    Raises:
        UsageError: it is malformed or reserved.
    """
    if tag.startswith(TRUST_TAG_PREFIX):
        raise UsageError(f"the tag {tag!r} is reserved: tags that begin with {TRUST_TAG_PREFIX} hold trust data")
    return check_tag(tag)


def check_new_tag(tag: str) -> str:
    """Return ``tag`` if an image may be signed or sent under it.

    Raises:
        UsageError: it is malformed or reserved, or looks like a digest: some registries resolve ``sha256-HEX`` as one
            (the referrers tag of distribution-spec v1.1).
    """
    if _DIGEST_TAG.match(tag):
        raise UsageError(
            f"the tag {tag!r} reads like a digest, and some registries resolve it as one: expected another name",
            hint="an image is signed under a tag of its own: dockseal sign NAME@DIGEST --tag TAG",
        )
    return check_image_tag(tag)


def _split_tag(text: str) -> tuple[str, str | None]:
    """``localhost:5000`` alone is the name ``localhost`` with the tag ``5000``, as docker reads it."""
    head, colon, tail = text.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (text, None)


def _parse_name(name: str, text: str) -> Repository:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, path = first, rest
    else:
        registry, path = DEFAULT_REGISTRY, name
    if registry in {"index.docker.io", "registry-1.docker.io"}:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and path and "/" not in path:
        path = f"library/{path}"
    domain = _DOMAIN.match(registry)
    if domain is None:
        raise UsageError(f"invalid name {text[:300]!r}: {registry!r} is no registry host")
    if domain[1] is not None and int(domain[1]) not in _PORTS:
        raise UsageError(f"invalid name {text[:300]!r}: {domain[1]} is no port, expected {_PORTS[0]} to {_PORTS[-1]}")
    if path != path.lower():
        raise UsageError(
            f"invalid name {text[:300]!r}: a repository name must be lowercase",
            hint=f"use {text.lower()!r}" if len(text) < MAX_NAME_LENGTH else None,
        )
    if not _PATH.match(path):
        raise UsageError(
            f"invalid name {text[:300]!r}: expected lower-case letters and digits, joined by '.', '_', '__', '-' or '/'"
        )
    if registry == DEFAULT_REGISTRY and _HEX_NAME.match(name):
        raise UsageError(f"invalid name {text!r}: 64 hex digits are an image id, not a name")
    if len(registry) + 1 + len(path) > MAX_NAME_LENGTH:
        raise UsageError(f"invalid name {text[:60]!r}…: longer than {MAX_NAME_LENGTH} characters")
    return Repository(registry, path)
