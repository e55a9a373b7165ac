"""Where an image comes from, and which store a name means.

``oci:``, ``docker-archive:`` and ``oci-archive:`` read as skopeo does: what stands before the first
colon is the path, so a path cannot hold one; the rest is a name or tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

from trust.digest import Digest
from trust.errors import UsageError
from trust.oci.reference import Reference, Repository, check_tag

_OCI = "oci:"


class SourceKind(Enum):
    """The kinds of source, by the prefix that names them; the local store needs none."""

    DOCKER_DAEMON = "docker-daemon"
    DOCKER_ARCHIVE = "docker-archive"
    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    LOCAL = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image comes from. Make it with :meth:`parse`.

    ``path`` is set for archives and layouts. ``name`` is, by kind, an image of the daemon or of the local
    store (or the beginning of an id), a name in a docker archive, or a tag (``ref.name``); None where none was given.
    """

    kind: SourceKind
    path: Path | None = None
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``docker-daemon:NAME``, ``docker-archive:FILE[:NAME]``, ``oci:DIR[:TAG]``, ``oci-archive:FILE[:TAG]``.

        Anything else is a name of the local store; one that begins like these is written in full
        (``docker.io/library/oci:v1``).

        Raises:
            UsageError: it is none of them, or a part is missing.
        """
        prefix, colon, rest = text.partition(":")
        kind = next((kind for kind in SourceKind if colon and kind.value and kind.value == prefix), SourceKind.LOCAL)
        if kind is SourceKind.LOCAL:
            if not text:
                raise UsageError("the image's name is empty")
            return cls(kind, name=text)
        if kind is SourceKind.DOCKER_DAEMON:
            if not rest:
                raise UsageError(f"{text!r} lacks the image's name", hint="docker-daemon:NAME[:TAG]")
            return cls(kind, name=rest)
        path, name = _split_path(text, rest)
        return cls(kind, path, name)

    def __str__(self) -> str:
        parts = (self.kind.value, "" if self.path is None else str(self.path), self.name or "")
        return ":".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class StoreName:
    """What a NAME argument means: a layout folder or a registry's repository, with tag and digest.

    Exactly one of ``folder`` and ``repository`` is set. Make it with :meth:`parse`.
    """

    folder: Path | None = None
    repository: Repository | None = None
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``oci:DIR[:TAG][@DIGEST]`` or a name as docker reads it.

        ``oci:`` always means a folder. A registry whose host is called ``oci`` is named by its address.

        Raises:
            UsageError: it is malformed.
        """
        if not text.startswith(_OCI):
            reference = Reference.parse(text)
            return cls(None, reference.repository, reference.tag, reference.digest)
        rest, at, digest = text[len(_OCI) :].partition("@sha256:")
        path, tag = _split_path(text, rest)
        if any("\ud800" <= character <= "\udfff" for character in text):  # bytes that Python could not decode
            raise UsageError(f"{text!r} is no UTF-8: expected a path that trust data can name")
        return cls(path, None, None if tag is None else check_tag(tag), Digest(f"sha256:{digest}") if at else None)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.repository or f'{_OCI}{self.folder}'}{tag}{digest}"


def _split_path(text: str, rest: str) -> tuple[Path, str | None]:
    path, colon, name = rest.partition(":")
    if not path or "\0" in path:
        raise UsageError(
            f"{text!r} lacks the path", hint="oci:FOLDER:TAG, oci-archive:FILE:TAG or docker-archive:FILE:NAME"
        )
    if colon and not name:
        raise UsageError(
            f"{text!r} ends with a colon: expected a name or tag after it", hint="a path cannot hold a colon"
        )
    return Path(path), name or None
