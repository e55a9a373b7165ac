"""What was found out about an image, before anybody judges it: plain values, gathered by :mod:`trust.release`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trust.digest import Digest
    from trust.errors import DocksealError
    from trust.gate.found import Found
    from trust.oci.source import StoreName


@dataclass(frozen=True, slots=True)
class Image:
    """One image that a release would run, and every place that names it.

    ``repository`` is what policies are written for: the registry's, or, of a folder, what its trust data is called.
    """

    asked: StoreName
    repository: str
    found: tuple[Found, ...] = ()

    @property
    def name(self) -> str:
        """In full, as docker reads it (``docker.io/library/nginx:1``), or ``oci:FOLDER:TAG``."""
        return str(self.asked)

    @property
    def tag(self) -> str | None:
        """The tag; None where the image is named by digest alone."""
        return self.asked.tag

    @property
    def digest(self) -> Digest | None:
        """The digest that it is pinned to."""
        return self.asked.digest


@dataclass(frozen=True, slots=True)
class Signature:
    """A signer of a digest: the keys whose signatures under its role file are valid, and when that file expires."""

    name: str
    key_ids: frozenset[str]
    expires: datetime


@dataclass(frozen=True, slots=True)
class SignedTag:
    """What a tag is signed to mean.

    ``size`` is the manifest's, in bytes; ``signed_at`` None where the signature does not say. ``expires`` is the
    earliest expiry of what this answer stands on, and ``expiring`` that role.
    """

    tag: str
    digest: Digest
    size: int
    signatures: tuple[Signature, ...]
    signed_at: datetime | None
    annotations: Mapping[str, str]
    expires: datetime
    expiring: str


@dataclass(frozen=True, slots=True)
class StateFacts:
    """A verified state: its version, the roots that lead to its newest, when it was made at the latest, its expiry."""

    version: int
    roots: tuple[Digest, ...]
    made: datetime
    expires: datetime
    expiring: str

    @property
    def root(self) -> Digest:
        """The newest root."""
        return self.roots[-1]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was found out about an image.

    ``error`` is what ended it before anything could be looked up. ``signed`` is the tag's signature, or, for
    ``NAME@DIGEST``, those of all current tags that yield the digest; empty where there is none. ``registry_digest``
    is where the registry's tag points, and ``tag_exists`` False where there is none; both are not asked for where the
    image is pinned by digest. ``problem`` is what went wrong with the image itself. ``platforms`` are those that the
    registry has, where a rule asks for some.
    """

    error: DocksealError | None = None
    state: StateFacts | None = None
    signed: tuple[SignedTag, ...] = ()
    registry_digest: Digest | None = None
    tag_exists: bool = True
    problem: DocksealError | None = None
    platforms: frozenset[str] = field(default_factory=frozenset)
