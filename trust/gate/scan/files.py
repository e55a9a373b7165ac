"""The files behind the paths that a user names: the only module here that reads a disk.

A file is read whole, up to a cap. A folder is walked in the order of names; folders of version
control systems and ``node_modules`` are passed over, links to folders are not followed (they may
lead round in circles, or out), and of the files those are read whose names say what they may be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_BYTES = 4 << 20
TOO_LARGE = f"is too large: at most {MAX_FILE_BYTES >> 20} MiB are read"
MAX_WALKED = 200_000
"""Files and folders of one folder that is named."""
SKIPPED_FOLDERS = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS", "node_modules"})
LAYOUT_MARKER = "oci-layout"
_ARCHIVES = ("*.tar", "*.tar.gz", "*.tgz", "*.tar.zst")
_DOCKERFILES = ("dockerfile", "containerfile", "dockerfile.*", "containerfile.*", "*.dockerfile", "*.containerfile")
_YAML = ("*.yaml", "*.yml", "kustomization")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file or image layout to read.

    Attributes:
        name: as the user gave it; below a folder, that and the way down.
        path: where it is.
        named: whether the user named it, or it was met in a folder.
    """

    name: str
    path: Path
    named: bool

    @property
    def is_layout(self) -> bool:
        """Whether it is the folder of an OCI image layout."""
        return self.path.is_dir()


def is_dockerfile_name(name: str) -> bool:
    """``Dockerfile``, ``Containerfile``, with an ending, or as an ending; in any case of letters."""
    low = name.lower()
    return any(fnmatchcase(low, pattern) for pattern in _DOCKERFILES) and not low.endswith(".dockerignore")


def is_archive_name(name: str) -> bool:
    """A tar file, by its name."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in _ARCHIVES)


def candidates(path: Path, exclude: tuple[str, ...] = ()) -> Iterator[Candidate]:
    """The file itself, or what is in the folder.

    Raises:
        UsageError: it cannot be listed, or has too many files.
    """
    if not path.is_dir() or (path / LAYOUT_MARKER).is_file():
        yield Candidate(str(path), path, named=True)
        return
    count = 0
    for folder, below, files in os.walk(path, onerror=_cannot_list):
        here = Path(folder)
        kept = [name for name in sorted(below) if not _is_passed_over(here / name, path, exclude)]
        below[:] = [name for name in kept if not (here / name / LAYOUT_MARKER).is_file()]
        count += len(kept) + len(files)
        if count > MAX_WALKED:
            raise UsageError(f"holds more than {MAX_WALKED} files", hint="name the folders in it that are released")
        yield from (Candidate(str(here / name), here / name, named=False) for name in kept if name not in below)
        for name in sorted(files):
            if _may_hold_images(name) and not _is_excluded(here / name, path, exclude):
                yield Candidate(str(here / name), here / name, named=False)


def head(path: Path, count: int) -> bytes:
    """The first bytes of a plain file; none of a pipe, which can be read only once, or where that fails."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""  # reading all of it will say why


def read(path: Path) -> bytes:
    """All bytes of a file, which may be a pipe.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(TOO_LARGE)
    return data


def _may_hold_images(name: str) -> bool:
    low = name.lower()
    wanted = (*_YAML, "*.json", *_ARCHIVES)
    return is_dockerfile_name(name) or any(fnmatchcase(low, pattern) for pattern in wanted)


def _is_passed_over(folder: Path, top: Path, exclude: tuple[str, ...]) -> bool:
    return folder.name in SKIPPED_FOLDERS or folder.is_symlink() or _is_excluded(folder, top, exclude)


def _is_excluded(path: Path, top: Path, exclude: tuple[str, ...]) -> bool:
    below = path.relative_to(top).as_posix()
    wanted = [pattern.rstrip("/") for pattern in exclude]
    return any(fnmatchcase(path.name, pattern) or fnmatchcase(below, pattern) for pattern in wanted)


def _cannot_list(error: OSError) -> None:
    raise UsageError(f"cannot be listed: {error.filename}: {error.strerror or error}") from error
