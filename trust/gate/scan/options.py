"""What the user says about the files to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How files are read.

    Attributes:
        build_args: values of Dockerfiles' ``ARG``, as ``docker build --build-arg`` sets them.
        env: variables of compose and GitLab CI files that the files do not set themselves.
        profiles: the active profiles of compose files; ``*`` for all.
        crd_paths: where custom resources keep images: ``spec.image``, or ``Kind:spec.image`` for one kind.
            Lists on the way are entered; ``*`` stands for every key.
        allow_empty: whether a file or folder without an image is none of the problems.
        exclude: files and folders of walked folders to pass over; glob patterns for their name or
            their path below the folder that was named.
        spool_dir: where a compressed archive is unpacked to; the system's temporary folder by default.
    """

    build_args: Mapping[str, str] = field(default_factory=lambda: _NONE)
    env: Mapping[str, str] = field(default_factory=lambda: _NONE)
    profiles: tuple[str, ...] = ()
    crd_paths: tuple[str, ...] = ()
    allow_empty: bool = False
    exclude: tuple[str, ...] = ()
    spool_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a path that can lead nowhere.

        Raises:
            UsageError: it has no keys, or an empty one.
        """
        for path in self.crd_paths:
            if not all(path.rpartition(":")[2].split(".")) or path.startswith(":"):
                raise UsageError(f"invalid path {path[:100]!r}: expected one like spec.image or Kind:spec.image")
