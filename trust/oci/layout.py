"""An OCI image layout folder as a store (image-spec v1.1, image-layout.md).

::

    oci-layout            {"imageLayoutVersion":"1.0.0"}
    index.json            the tags: entries with the annotation org.opencontainers.image.ref.name
    blobs/sha256/<hex>    blobs and manifests alike

Writers take the folder's lock to change ``index.json``; readers need none, since every file
appears whole. A manifest that was stored by digest alone is a blob without an entry.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from trust import strictjson
from trust.digest import CHUNK_BYTES, Digest
from trust.errors import DocksealError, MissingError, TamperedError, UsageError
from trust.oci.folder import OWN_PREFIX, Folder, is_spool
from trust.oci.manifest import MANIFEST_TYPES, MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, Manifest
from trust.oci.reference import check_tag
from trust.oci.store import Outcome, Placed, read_whole
from trust.oci.verified import VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from trust.oci.store import BlobReader, Tag

REF_NAME = "org.opencontainers.image.ref.name"
GC_GRACE_SECONDS = 3600
"""A younger blob is never collected: its manifest may still be on the way."""

MARKER = "oci-layout"
_INDEX = "index.json"
_BLOBS = ("blobs", "sha256")
MARKER_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_MARKER_BYTES = 4096


class Layout:
    """One repository's manifests, tags and blobs in an OCI image layout folder; a ``Store``.

    The folder is made by the first write.

    Args:
        folder: the layout.
        repository: the trust repository's name; the folder's absolute path by default.
        prefix: what stands before the tag in ``ref.name``. Entries without it are not seen, so several
            repositories share a folder (the local store).
        name: how people name it; ``oci:FOLDER`` by default.
        private: make folders for nobody else to read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        repository: str | None = None,
        prefix: str = "",
        name: str | None = None,
        private: bool = False,
    ) -> None:
        self._folder = Folder(folder, private)
        self._name = name
        self._repository = repository
        self._prefix = prefix

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.path

    @property
    def name(self) -> str:
        """``oci:FOLDER``, or the name it was given."""
        return f"oci:{self.path}" if self._name is None else self._name

    @property
    def repository(self) -> str:
        """The trust repository's name."""
        return os.path.abspath(self.path) if self._repository is None else self._repository  # noqa: PTH100 - no I/O, folds ..

    # Manifests and tags

    def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The manifest at a tag or digest.

        Raises:
            MissingError: there is none.
            TamperedError: the folder is damaged, or the bytes are not what their digest says.
        """
        if isinstance(reference, Digest):
            self._check_marker()
            return self._load(reference, None)
        entry = self._tagged(reference)
        if entry is None:
            raise MissingError(f"{self.name} has no tag {reference!r}", hint=self._tags_hint())
        return self._load(entry.digest, entry)

    def resolve(self, tag: Tag) -> Digest | None:
        """The digest that the tag points at now, or None."""
        try:
            entry = self._tagged(tag)
        except MissingError:
            return None
        return None if entry is None else entry.digest

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""
        return self.has_blob(digest)

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store it by digest, or under a tag, whose entry is replaced. Other entries stay as they are.

        Raises:
            MissingError: config or layers of an image are not there.
            UsageError: the folder holds something else than an image layout.
        """
        if tag is not None:
            check_tag(tag)
        self._create()
        with self._folder.locked():  # so that nothing it refers to is collected before its entry is there
            self._check_parts(manifest)
            if (status := self._folder.status(*_blob(manifest.digest))) is None or status.st_size != manifest.size:
                self._folder.write([manifest.raw], *_blob(manifest.digest))
            self._folder.touch(*_blob(manifest.digest))
            if tag is not None:
                self._edit(lambda entries: _with_entry(entries, manifest, self._prefix + tag))

    def tags(self, limit: int) -> tuple[Tag, ...]:
        """The tags in order, at most ``limit`` + 1; none where there is no layout."""
        try:
            entries = self.entries()
        except MissingError:
            return ()
        names = {entry.annotation(REF_NAME) or "" for entry in entries}
        found = (name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix))
        return tuple(sorted(tag for tag in found if _is_tag(tag)))[: limit + 1]

    def entries(self) -> tuple[Descriptor, ...]:
        """All of ``index.json``, in its order: other repositories' entries and those without a tag too.

        Raises:
            MissingError: there is no layout.
            TamperedError: it is damaged.
        """
        return Manifest.parse(self._read_index(), OCI_INDEX).manifests

    def delete_manifest(self, digest: Digest) -> None:
        """Remove the manifest's entries, and so its tags; the blob stays until it is collected.

        Raises:
            MissingError: there is no such manifest.
        """
        if not self.has_manifest(digest):
            raise MissingError(f"{self.name} has no manifest {digest}")
        self._drop(lambda entry: entry.get("digest") == str(digest))

    def untag(self, tag: Tag) -> None:
        """Remove one tag.

        Raises:
            MissingError: there is no such tag.
        """
        if not self._drop(lambda entry: _ref_name(entry) == self._prefix + tag):
            raise MissingError(f"{self.name} has no tag {tag!r}", hint=self._tags_hint())

    # Blobs

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob, whole.

        Raises:
            MissingError: it is not there.
            TamperedError: it is longer than ``max_bytes``, or has other bytes than its descriptor says.
        """
        return read_whole(self.open_blob, descriptor, max_bytes)

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob as a stream; reading its last byte raises TamperedError where size or digest is wrong."""
        with VerifiedReader.open(self._open(descriptor.digest), descriptor) as blob:
            yield blob

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return self._folder.status(*_blob(digest)) is not None

    def put_blob(
        self,
        descriptor: Descriptor,
        open_: BlobReader,
        *,
        mount_from: tuple[str, ...] = (),
        sent: Callable[[int], None] | None = None,
    ) -> Placed:
        """Bring a blob there. ``mount_from`` means nothing to a folder.

        Raises:
            TamperedError: ``open_`` gives other bytes than the descriptor says.
            DocksealError: the disk is full.
            UsageError: the folder holds something else than an image layout.
        """
        self._create()
        if placed := self.mount_blob(descriptor, mount_from):
            return placed
        with open_() as source:
            self._folder.write(_checked(source, descriptor, sent), *_blob(descriptor.digest))
        return Placed(Outcome.PUSHED)

    def mount_blob(self, descriptor: Descriptor, mount_from: tuple[str, ...] = ()) -> Placed | None:  # noqa: ARG002 - Store's
        """EXISTS or None; a blob that exists is kept from being collected for a while."""
        if self._folder.status(*_blob(descriptor.digest)) is None:
            return None
        with self._folder.locked():
            status = self._folder.status(*_blob(descriptor.digest))
            if status is None or status.st_size != descriptor.size:
                return None
            self._folder.touch(*_blob(descriptor.digest))
        return Placed(Outcome.EXISTS)

    def gc(self) -> int:
        """Remove the blobs that no entry reaches, except the young ones; also what killed writers left.

        Returns:
            The bytes that were freed.

        Raises:
            TamperedError: an entry's manifest is damaged; nothing was removed.
        """
        with self._folder.locked() as now:
            keep = {digest.hex for digest in self._reachable()}
            freed = sum(self._collect(now, *_BLOBS, name) for name in self._folder.list(*_BLOBS) if name not in keep)
            return freed + self._folder.sweep(now)

    # Inside

    def _check_marker(self) -> None:
        try:
            raw = self._folder.read(MARKER, max_bytes=_MAX_MARKER_BYTES)
        except MissingError as error:
            if {_INDEX, _BLOBS[0]} & set(self._folder.list()):
                raise TamperedError(f"{self.path} is damaged: an image layout has a file {MARKER}") from error
            raise MissingError(f"there is no image layout at {self.path}") from error
        version = strictjson.loads_object(raw, str(self.path / MARKER)).get("imageLayoutVersion")
        if not isinstance(version, str) or not version.startswith("1."):
            raise TamperedError(f"{self.path / MARKER} names the layout version {version!r}: expected 1.0.0")

    def _read_index(self) -> bytes:
        self._check_marker()
        try:
            return self._folder.read(_INDEX, max_bytes=MAX_MANIFEST_BYTES)
        except MissingError as error:
            if _BLOBS[0] in self._folder.list():
                raise TamperedError(f"{self.path} is damaged: it has no {_INDEX}") from error
            raise MissingError(f"the image layout at {self.path} is empty") from error  # it is being made

    def _tagged(self, tag: Tag) -> Descriptor | None:
        found = {entry.digest: entry for entry in self.entries() if entry.annotation(REF_NAME) == self._prefix + tag}
        if len(found) > 1:
            raise TamperedError(f"{self.path / _INDEX} has the tag {tag!r} at {len(found)} manifests: expected one")
        return next(iter(found.values()), None)

    def _tags_hint(self) -> str | None:
        tags = self.tags(10)
        return f"its tags are {', '.join(tags)}" if tags else None

    def _load(self, digest: Digest, entry: Descriptor | None) -> Manifest:
        try:
            raw = self._folder.read(*_blob(digest), max_bytes=MAX_MANIFEST_BYTES)
        except MissingError as error:
            raise MissingError(f"{self.name} has no manifest {digest}") from error
        found = Digest.of(raw)
        if found != digest or (entry is not None and len(raw) != entry.size):
            expected = digest if entry is None else f"{digest} of {entry.size} bytes"
            raise TamperedError(f"a manifest of {self.name} is {found} of {len(raw)} bytes: expected {expected}")
        return Manifest.parse(raw, None if entry is None else entry.media_type)

    def _open(self, digest: Digest) -> BinaryIO:
        try:
            return self._folder.open(*_blob(digest))
        except MissingError as error:
            raise MissingError(f"{self.name} has no blob {digest}") from error

    def _create(self) -> None:
        """Make an empty layout where nothing is; complete one whose maker was killed; leave any other alone."""
        self._folder.make()
        names = set(self._folder.list())
        if any(map(is_spool, names)):
            with self._folder.locked() as now:
                self._folder.sweep(now)
        if {MARKER, _INDEX, _BLOBS[0]} <= names:
            return
        foreign = sorted(name for name in names if not name.startswith(OWN_PREFIX))
        if MARKER not in names and foreign:
            raise UsageError(
                f"{self.path} is no image layout, but holds other files: {', '.join(foreign[:3])}",
                hint="name a new or an empty folder",
            )
        with self._folder.locked():  # in this order: see _read_index
            if self._folder.status(MARKER) is None:
                self._folder.write([MARKER_BYTES], MARKER)
            if self._folder.status(_INDEX) is None:
                if _BLOBS[0] in self._folder.list():
                    raise TamperedError(f"{self.path} is damaged: it has no {_INDEX}")
                self._folder.write([_dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})], _INDEX)
            self._folder.make(*_BLOBS)

    def _check_parts(self, manifest: Manifest) -> None:
        parts = [part for part in (manifest.config, *manifest.layers) if part is not None and not part.is_foreign]
        for part in parts:
            if not self.has_blob(part.digest):
                raise MissingError(f"{self.name} has no blob {part.digest}, which the manifest {manifest.digest} needs")

    def _edit(self, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
        """Rewrite ``index.json`` under the lock, which the caller holds."""
        raw = self._read_index()
        Manifest.parse(raw, OCI_INDEX)  # what cannot be read is not rewritten either
        index = strictjson.loads_object(raw, str(self.path / _INDEX))
        index["manifests"] = change(cast("list[dict[str, object]]", index["manifests"] or []))
        changed = _dump(index)
        if len(changed) > MAX_MANIFEST_BYTES:
            raise DocksealError(f"{self.path / _INDEX} would exceed {MAX_MANIFEST_BYTES} bytes: it has too many tags")
        self._folder.write([changed], _INDEX)

    def _drop(self, condition: Callable[[dict[str, object]], bool]) -> int:
        """Remove this repository's entries that meet the condition; how many they were."""
        self._check_marker()
        count = 0

        def without(entries: list[dict[str, object]]) -> list[dict[str, object]]:
            nonlocal count
            left = [entry for entry in entries if not (self._is_mine(entry) and condition(entry))]
            count = len(entries) - len(left)
            return left

        with self._folder.locked():
            self._edit(without)
        return count

    def _is_mine(self, entry: dict[str, object]) -> bool:
        return (_ref_name(entry) or "").startswith(self._prefix)

    def _reachable(self) -> set[Digest]:
        """Every digest that the entries lead to, through indexes and images."""
        found: set[Digest] = set()
        walked: set[Digest] = set()  # apart from found: one manifest's layer may be another manifest
        left = list(self.entries())
        while left:
            entry = left.pop()
            found.add(entry.digest)
            if entry.digest in walked or entry.media_type not in MANIFEST_TYPES or not self.has_blob(entry.digest):
                continue  # an index may list images that are not here
            walked.add(entry.digest)
            manifest = self._load(entry.digest, entry)
            left.extend(manifest.manifests)
            found.update(part.digest for part in (manifest.config, *manifest.layers) if part is not None)
        return found

    def _collect(self, now: float, *names: str) -> int:
        """Remove one file that is old enough; its size, or 0."""
        status = self._folder.status(*names)
        if status is None or now - status.st_mtime < GC_GRACE_SECONDS:
            return 0
        self._folder.remove(*names)
        return status.st_size


def _blob(digest: Digest) -> tuple[str, str, str]:
    return (*_BLOBS, digest.hex)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _is_tag(text: str) -> bool:
    try:
        check_tag(text)
    except UsageError:
        return False
    return True


def _ref_name(entry: dict[str, object]) -> str | None:
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None


def _with_entry(entries: list[dict[str, object]], manifest: Manifest, ref_name: str) -> list[dict[str, object]]:
    entry = Descriptor(manifest.media_type, manifest.digest, manifest.size, ((REF_NAME, ref_name),)).to_json()
    return [*(other for other in entries if _ref_name(other) != ref_name), entry]


def _checked(source: BinaryIO, descriptor: Descriptor, sent: Callable[[int], None] | None) -> Iterable[bytes]:
    """The bytes of ``source``, which must be the descriptor's.

    Raises:
        TamperedError: they are not.
    """
    hasher = hashlib.sha256()
    total = 0
    while chunk := source.read(CHUNK_BYTES):
        total += len(chunk)
        if total > descriptor.size:
            break
        hasher.update(chunk)
        yield chunk
        if sent is not None:
            sent(total)
    found = Digest.from_hex(hasher.hexdigest())
    if total != descriptor.size or found != descriptor.digest:
        size = f"more than {descriptor.size}" if total > descriptor.size else str(total)
        raise TamperedError(
            f"the source gives {found} of {size} bytes: expected {descriptor.digest} of {descriptor.size} bytes"
        )
