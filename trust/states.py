"""States in a store: one OCI image manifest each, under a tag of its own, and ``_trust`` for the current one.

Any OCI tool can copy one: a layer per role file, media type ``application/vnd.tuf.metadata+json``, file name
in the annotation ``tuf.io/filename``. Small files stand in their descriptor's ``data`` as well, so that a cold
verification of an ordinary repository reads the state in one request. docs/format.md has the whole layout.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import MissingError, TamperedError, UntrustedRootError
from trust.oci.manifest import OCI_EMPTY, Descriptor, Manifest, image_manifest
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.tuf.state import MAX_ROLE_FILE_BYTES, MAX_STATE_FILES, State, unverified_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trust.oci.store import Store

STATE_TYPE = "application/vnd.dockseal.trust.state.v1"
ROLE_FILE_TYPE = "application/vnd.tuf.metadata+json"
FILE_NAME = "tuf.io/filename"
POINTER_TAG = TRUST_TAG_PREFIX
INLINE_FILE_BYTES = 16 << 10
INLINE_TOTAL_BYTES = 512 << 10
MAX_STATE_BYTES = 256 << 20
MAX_TAGS = 100_000
"""How many tags of a repository are listed in search of announced states."""
MAX_CANDIDATES = 500

_EMPTY = b"{}"
_OWN_TAG = re.compile(rf"{TRUST_TAG_PREFIX}\.(?P<version>[0-9]{{16}})-(?P<identity>[0-9a-f]{{12}})\Z")


@dataclass(frozen=True, slots=True)
class Announced:
    """A state's own tag. Version and identity in it are hints; nothing is verified."""

    tag: str
    version: int
    identity: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """An unverified state, and the digest of the manifest that holds it."""

    state: State
    digest: Digest


def own_tag(version: int, identity: str) -> str:
    """The tag that a state keeps for good: ``_trust.<version, 16 digits>-<12 hex of its identity>``."""
    return f"{TRUST_TAG_PREFIX}.{version:016}-{identity[:12]}"


def encode(state: State) -> Manifest:
    """The manifest that holds a state; the same state gives the same bytes."""
    inline = _inlined(state)
    layers = tuple(
        replace(Descriptor.of(data, ROLE_FILE_TYPE, {FILE_NAME: name}), data=data if name in inline else None)
        for name, data in state.files.items()
    )
    config = replace(Descriptor.of(_EMPTY, OCI_EMPTY), data=_EMPTY)
    return image_manifest(config, layers, artifact_type=STATE_TYPE)


def read_pointer(store: Store, cached: Callable[[Digest], bytes | None]) -> StoredState | None:
    """The state that ``_trust`` points at, or None where there is no such tag.

    Args:
        store: scoped to the repository.
        cached: gives a role file's bytes by digest where this machine has them.

    Raises:
        UntrustedRootError: something else is there under this tag.
        TamperedError: the state is malformed.
    """
    try:
        manifest = store.get_manifest(POINTER_TAG)
    except MissingError:
        return None
    return _read(store, manifest, cached)


def read_announced(store: Store, tag: str, cached: Callable[[Digest], bytes | None]) -> StoredState:
    """The state under a tag of its own.

    Raises:
        MissingError: it is gone.
        UntrustedRootError, TamperedError: it is no state, or malformed.
    """
    return _read(store, store.get_manifest(tag), cached)


def announced(store: Store) -> tuple[Announced, ...]:
    """The states' own tags, newest first.

    Raises:
        UnreachableError: the tags cannot be listed.
    """
    found = [_OWN_TAG.match(tag) for tag in store.tags(MAX_TAGS)]
    states = [Announced(match[0], int(match["version"]), match["identity"]) for match in found if match]
    return tuple(sorted(states, key=lambda item: (item.version, item.identity), reverse=True))


def announce(store: Store, state: State, version: int) -> Manifest:
    """Bring a state there under its own tag, which nothing can overwrite; the pointer stays.

    Raises:
        UnreachableError: and nothing is announced.
    """
    manifest = encode(state)
    for descriptor, data in [(manifest.config, _EMPTY), *zip(manifest.layers, state.files.values(), strict=True)]:
        if descriptor is not None:
            store.put_blob(descriptor, lambda data=data: io.BytesIO(data))
    store.put_manifest(manifest, own_tag(version, unverified_identity(state)))
    return manifest


def point(store: Store, manifest: Manifest) -> None:
    """Make ``_trust`` point at a state that is announced."""
    store.put_manifest(manifest, POINTER_TAG)


def _read(store: Store, manifest: Manifest, cached: Callable[[Digest], bytes | None]) -> StoredState:
    if manifest.artifact_type != STATE_TYPE:
        raise UntrustedRootError(
            f"{store.name} holds no trust data that is known: expected {STATE_TYPE}, got {manifest.artifact_type!r}",
            hint="another tool uses the tag _trust; nothing was changed",
        )
    if len(manifest.layers) > MAX_STATE_FILES:
        raise TamperedError(f"the state holds {len(manifest.layers)} files: expected at most {MAX_STATE_FILES}")
    if sum(layer.size for layer in manifest.layers) > MAX_STATE_BYTES:
        raise TamperedError(f"the state is larger than {MAX_STATE_BYTES} bytes")
    return StoredState(State.of(_files(store, manifest, cached)), manifest.digest)


def _files(store: Store, manifest: Manifest, cached: Callable[[Digest], bytes | None]) -> Iterator[tuple[str, bytes]]:
    for layer in manifest.layers:
        name = layer.annotation(FILE_NAME)
        if name is None or layer.media_type != ROLE_FILE_TYPE:
            raise TamperedError(f"the state holds a layer that is no role file: {layer.media_type}")
        data = layer.data
        if data is not None and (len(data) != layer.size or Digest.of(data) != layer.digest):
            raise TamperedError(f"the inlined {name} does not match its digest {layer.digest}")
        if data is None:
            data = cached(layer.digest)
        yield name, store.read_blob(layer, MAX_ROLE_FILE_BYTES) if data is None else data


def _inlined(state: State) -> set[str]:
    """Which files stand in the manifest: timestamp, snapshot, targets, newest root, then the rest."""
    first = [state.names[role] for role in ("timestamp", "snapshot", "targets", "root")]
    rest = [name for name in state.files if name not in first]
    chosen: set[str] = set()
    total = 0
    for name in first + rest:
        size = len(state.files[name])
        if size <= INLINE_FILE_BYTES and total + size <= INLINE_TOTAL_BYTES:
            chosen.add(name)
            total += size
    return chosen
