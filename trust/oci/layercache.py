"""What earlier pushes learnt, so that the next one reads, compresses and sends nothing twice.

Three small memories, one file per entry, under ``DOCKSEAL_HOME/cache/layers``:

- ``layers``: diff id, codec, level and library version -> the compressed layer's descriptor,
- ``places``: compressed digest and registry -> repositories that held it (for mounts),
- ``configs`` and ``ids``: image configs, so that an image of a Docker engine is known without an export.

It is a memory, never an authority: what is damaged is a miss, what cannot be written is not
remembered, and whoever uses an entry asks the registry whether it is still so. Files appear by
rename, so that several processes may share the folder; no fsync, since a lost entry costs a
compression and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust import strictjson
from trust.digest import Digest
from trust.errors import DocksealError
from trust.files import private_folder
from trust.oci.manifest import MAX_CONFIG_BYTES, Descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from trust.oci.codec import Codec

MAX_ENTRIES = {"layers": 4096, "places": 4096, "configs": 512, "ids": 512}
"""Per memory; the least recently used quarter goes when there are more."""
MAX_REPOSITORIES = 4
"""Kept per layer and registry: docker tries four mounts for a large layer."""
MAX_ENTRY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The memories in one folder, which need not exist yet."""

    folder: Path

    def get(self, diff_id: Digest, codec: Codec) -> Descriptor | None:
        """The compressed form of a layer that was compressed with this codec before."""
        entry = self._read_object("layers", _layer_name(diff_id, codec))
        try:
            match entry:
                case {"mediaType": str(media_type), "digest": str(digest), "size": int(size)} if size >= 0:
                    return Descriptor(media_type, Digest(digest), size)
        except DocksealError:
            pass
        return None

    def put(self, diff_id: Digest, codec: Codec, descriptor: Descriptor) -> None:
        """Remember the compressed form of a layer."""
        bare = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)
        self._write("layers", _layer_name(diff_id, codec), json.dumps(bare.to_json()).encode())

    def repositories(self, digest: Digest, registry: str) -> tuple[str, ...]:
        """Repository paths that held this blob, the most recent first.

        Args:
            digest: of the compressed layer.
            registry: host and who is logged in, as the caller words it; what one account
                sees must not be tried by another.
        """
        entry = self._read_object("places", _place_name(digest, registry))
        paths = entry.get("repositories")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            return ()
        return tuple(paths[:MAX_REPOSITORIES])

    def remember(self, digest: Digest, registry: str, path: str) -> None:
        """Remember that a repository holds this blob now."""
        others = (known for known in self.repositories(digest, registry) if known != path)
        entry = {"repositories": [path, *others][:MAX_REPOSITORIES]}
        self._write("places", _place_name(digest, registry), json.dumps(entry).encode())

    def config(self, image_id: Digest) -> bytes | None:
        """The config of an image, by its digest or by the id under which it was put."""
        alias = self._read("ids", image_id.hex, MAX_ENTRY_BYTES)
        digest = image_id
        with contextlib.suppress(DocksealError, UnicodeDecodeError):
            digest = image_id if alias is None else Digest(alias.decode("ascii"))
        config = self._read("configs", digest.hex, MAX_CONFIG_BYTES)
        return config if config is not None and Digest.of(config) == digest else None

    def put_config(self, config: bytes, image_id: Digest | None = None) -> None:
        """Remember an image's config.

        Args:
            config: its exact bytes.
            image_id: where the engine knows the image under another digest than the config's
                (containerd's image store: the manifest's).
        """
        digest = Digest.of(config)
        self._write("configs", digest.hex, config)
        if image_id is not None and image_id != digest:
            self._write("ids", image_id.hex, str(digest).encode())

    def _read(self, memory: str, name: str, max_bytes: int) -> bytes | None:
        path = self.folder / memory / name
        try:
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
            os.utime(path)  # marks it as used
        except OSError:
            return None
        return data if len(data) <= max_bytes else None

    def _read_object(self, memory: str, name: str) -> dict[str, object]:
        data = self._read(memory, name, MAX_ENTRY_BYTES)
        try:
            return {} if data is None else strictjson.loads_object(data, "a cache entry")
        except DocksealError:
            return {}

    def _write(self, memory: str, name: str, data: bytes) -> None:
        folder = self.folder / memory
        with contextlib.suppress(OSError, DocksealError):  # a full or read-only disk must not stop a push
            private_folder(folder)
            _prune(folder, MAX_ENTRIES[memory])
            _replace(folder / name, data)


def _layer_name(diff_id: Digest, codec: Codec) -> str:
    return f"{diff_id.hex}-{codec.name}-{codec.level}-{codec.library}"


def _place_name(digest: Digest, registry: str) -> str:
    """The registry's part is hashed: it is no file name, and says who is logged in."""
    return f"{digest.hex}-{hashlib.sha256(registry.encode()).hexdigest()[:32]}"


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _prune(folder: Path, limit: int) -> None:
    """Make room, least recently used first; scratch files that a killed process left age like the rest."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    if len(names) < limit:
        return
    used: list[tuple[float, Path]] = []
    for name in names:
        with contextlib.suppress(OSError):  # another process prunes, too
            used.append(((folder / name).stat().st_mtime, folder / name))
    used.sort()
    for _, path in used[: len(used) - limit * 3 // 4]:
        path.unlink(missing_ok=True)
