"""States in a store: one OCI image manifest each, under a tag of its own, and ``_trust`` for the current one.

Any OCI tool can copy one (:mod:`trust.rolefiles`). Timestamp, snapshot, targets and newest root are inlined
first, so that a cold verification of an ordinary repository reads the state in one request. docs/format.md has
the whole layout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from trust.errors import MissingError, UntrustedRootError
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.rolefiles import FILE_NAME, encode_files, open_files, put_files
from trust.tuf.state import MAX_STATE_FILES, State, is_bin_file, unverified_identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trust.digest import Digest
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.rolefiles import Cached

STATE_TYPE = "application/vnd.dockseal.trust.state.v1"
POINTER_TAG = TRUST_TAG_PREFIX
MAX_STATE_BYTES = 256 << 20
MAX_TAGS = 150_000
"""How many tags of a repository are listed in search of announced states."""
MAX_CANDIDATES = 500

_OWN_TAG = re.compile(rf"{TRUST_TAG_PREFIX}\.(?P<version>[0-9]{{16}})-(?P<identity>[0-9a-f]{{12}})\Z")


_ENCODED: WeakKeyDictionary[State, Manifest] = WeakKeyDictionary()
"""A push needs the manifest of a state several times; with hash bins it has thousands of layers."""


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
    if state not in _ENCODED:
        _ENCODED[state] = _encode(state)
    return _ENCODED[state]


def _encode(state: State) -> Manifest:
    first = tuple(state.names[role] for role in ("timestamp", "snapshot", "targets", "root"))
    return encode_files(state.files, STATE_TYPE, inline_first=first)


def read_pointer(store: Store, cached: Cached) -> StoredState | None:
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
    return open_state(store, manifest, cached)


def read_announced(store: Store, tag: str, cached: Cached, *, lazily: bool = False) -> StoredState:
    """The state under a tag of its own; lazily, each of its files is fetched when it is asked for.

    Raises:
        MissingError: it is gone.
        UntrustedRootError, TamperedError: it is no state, or malformed.
    """
    return open_state(store, store.get_manifest(tag), cached, lazily=lazily)


def weight(manifest: Manifest) -> int:
    """How many bytes reading a state fetches at the most: hash bins are fetched when they are asked for."""
    far = (layer for layer in manifest.layers if layer.data is None)
    return sum(layer.size for layer in far if not is_bin_file(layer.annotation(FILE_NAME) or ""))


def announced(tags: Iterable[str]) -> tuple[Announced, ...]:
    """Those of a store's tags that are states' own, newest first."""
    found = [_OWN_TAG.match(tag) for tag in tags]
    states = [Announced(match[0], int(match["version"]), match["identity"]) for match in found if match]
    return tuple(sorted(states, key=lambda item: (item.version, item.identity), reverse=True))


def announce(store: Store, state: State, version: int) -> Manifest:
    """Bring a state there under its own tag, which nothing can overwrite; the pointer stays.

    Raises:
        UnreachableError: and nothing is announced.
    """
    manifest = encode(state)
    put_files(store, manifest, state.files, own_tag(version, unverified_identity(state)))
    return manifest


def point(store: Store, manifest: Manifest) -> None:
    """Make ``_trust`` point at a state that is announced."""
    store.put_manifest(manifest, POINTER_TAG)


def open_state(store: Store, manifest: Manifest, cached: Cached, *, lazily: bool = False) -> StoredState:
    """The state that a manifest holds, unverified; see :func:`read_announced`."""
    if manifest.artifact_type != STATE_TYPE:
        raise UntrustedRootError(
            f"{store.name} holds no trust data that is known: expected {STATE_TYPE}, got {manifest.artifact_type!r}",
            hint="another tool uses the tag _trust; nothing was changed",
        )
    limits = {"max_files": MAX_STATE_FILES, "max_bytes": MAX_STATE_BYTES}
    files = open_files(store, manifest, **limits, cached=cached, lazily=lazily)
    return StoredState(State.of(files), manifest.digest)
