"""The image that is pushed: this machine's own files, which compress as system images do.

Made once below ``build/bench``; the same machine gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = ("/usr/lib", "/usr/bin", "/usr/sbin", "/usr/share")
MIN_FILE_BYTES = 1 << 10
MAX_FILE_BYTES = 32 << 20
NAME = "app:v1"


def docker_archive(path: Path, layer_sizes: tuple[int, ...]) -> Path:
    """A ``docker save`` file with uncompressed layers of about these sizes in bytes."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    files = _files()
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
        layers = []
        for number, size in enumerate(layer_sizes):
            layer = path.with_suffix(".layer")
            diff_id = _layer(layer, size, files)
            layers.append((f"{number}/layer.tar", diff_id))
            with layer.open("rb") as stream:
                archive.addfile(_entry(layers[-1][0], layer.stat().st_size), stream)
            layer.unlink()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for _, diff_id in layers]},
            "history": [{"created_by": name} for name, _ in layers],
        }
        manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": [name for name, _ in layers]}]
        for name, value in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(value).encode()
            archive.addfile(_entry(name, len(data)), io.BytesIO(data))
    partial.rename(path)
    return path


def _layer(path: Path, size: int, files: Iterator[Path]) -> str:
    """Write a layer of at least ``size`` bytes; its diff id in hex."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as layer:
        for number, file in enumerate(files):
            with file.open("rb") as stream:
                layer.addfile(_entry(f"files/{number}", file.stat().st_size), stream)
            if layer.offset >= size:
                break
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files() -> Iterator[Path]:
    """Files of this machine in a fixed random order, again and again."""
    found = [
        path
        for source in SOURCES
        for folder, _, names in os.walk(source)
        for path in (Path(folder, name) for name in names)
        if not path.is_symlink() and path.is_file() and os.access(path, os.R_OK)
        if MIN_FILE_BYTES <= path.stat().st_size <= MAX_FILE_BYTES
    ]
    found.sort()
    random.Random(1).shuffle(found)  # noqa: S311 - an order, not a secret
    return cycle(found)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
