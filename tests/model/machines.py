"""The machines of the model: keys that follow from their labels, homes in memory, and what a command does there."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.oci.samples import sample
from trust.client import verify_state
from trust.keys import container
from trust.keys.store import KeyStore
from trust.machine import Machine
from trust.repo import Roles, lay_foundation
from trust.sign import TagSigner, sign
from trust.signing import KeySigning
from trust.tuf.rules import check_file
from trust.writer import Foundation, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.registry import ModelStore
    from tests.model.schedules import Sleep
    from trust.keys.store import Purpose, StoredKey
    from trust.oci.manifest import Manifest
    from trust.pins import Pin
    from trust.sign import Signed
    from trust.tuf.state import State
    from trust.tuf.verified import Verified

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
REPOSITORY = "localhost:5000/app"
FOUNDER = ("root", "targets", "publish")


class _Passphrases:
    def existing(self, label: str, purpose: Purpose) -> bytes:
        return b"a passphrase"

    def new(self, label: str, purpose: Purpose) -> bytes:
        return b"a passphrase"


@cache
def scratch() -> Path:
    """A folder of this process, in memory where there is such a thing."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    return Path(tempfile.mkdtemp(prefix="dockseal-model-", dir=memory if memory.is_dir() else None))


def new_home() -> Path:
    """An empty folder."""
    return Path(tempfile.mkdtemp(dir=scratch()))


def remove_scratch() -> None:
    """Remove the folder of this process, and everything that was made in it."""
    shutil.rmtree(scratch(), ignore_errors=True)
    for made in (scratch, keys):
        made.cache_clear()


class _QuickKeys(KeyStore):
    """Looks into its folder once: the keys of the model never change."""

    _known: dict[str, StoredKey] | None = None

    def get(self, key_id: str) -> StoredKey | None:
        if self._known is None:
            self._known = {key.key_id: key for key in self.keys()}
        return self._known.get(key_id)


@cache
def keys(*labels: str) -> KeyStore:
    """A key folder with these keys, unlocked. They follow from their labels, so that every run is the same."""
    store = _QuickKeys(new_home() / "keys", _Passphrases(), clock=lambda: NOW)
    for label in labels:
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())
        data = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store.load(data, label, purpose="root" if "root" in label else "repository")
    store._known = None
    return store


@cache
def image(text: str) -> Manifest:
    """A small image that is in every registry of the model; its texts are letters."""
    return sample(text).manifest


@contextmanager
def quick(window: int | None = None) -> Iterator[None]:
    """Make thousands of runs bearable; nothing that is decided changes.

    What is a pure function of bytes is computed once for the same bytes (different schedules lead to the same states
    again and again), key files are cheap, nothing is forced onto a disk. ``window``: another ``COVERED_VERSIONS``.
    """
    checked: dict[tuple[object, ...], Verified] = {}
    accepted: set[tuple[object, ...]] = set()

    def verify_once(state: State, trusted_root: bytes) -> Verified:
        if len(list(state.files.here)) < len(state.files):
            return verify_state(state, trusted_root)  # what is fetched later comes from one actor's store
        key = (trusted_root, *((name, state.files.digest(name)) for name in state.files))
        if key not in checked:
            checked[key] = verify_state(state, trusted_root)
        return checked[key]

    def check_once(name: str, data: bytes, repository: str) -> None:
        if (name, data, repository) not in accepted:
            check_file(name, data, repository)
            accepted.add((name, data, repository))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "KDF_ROUNDS", 1)
        patch.setattr(container, "MIN_KDF_ROUNDS", 1)
        patch.setattr(os, "fsync", lambda _descriptor: None)
        for module in ("trust.publish", "trust.read"):
            patch.setattr(f"{module}.verify_state", verify_once)
            patch.setattr(f"{module}.check_file", check_once)
        for item in (*vars(Writer).values(), *vars(TagSigner).values()):
            if isinstance(item, cached_property) and hasattr(item, "lock"):
                # until Python 3.12 one lock for all objects of a class: a waiting actor would keep the others out
                patch.setattr(item, "lock", nullcontext())
        if window is not None:
            for loaded in [item for name, item in sys.modules.items() if name.startswith("trust.")]:
                if hasattr(loaded, "COVERED_VERSIONS"):
                    patch.setattr(loaded, "COVERED_VERSIONS", window)
        yield


@dataclass(slots=True)
class Mate:
    """Somebody's machine."""

    name: str
    keys: KeyStore
    home: Path
    pins: list[Pin]
    now: datetime = NOW
    roles: tuple[str, str, str] = FOUNDER
    """The labels of root, targets and publishing key, should it found a repository."""
    bins: int = 0
    immutable: frozenset[str] = frozenset()
    told: list[str] = field(default_factory=list)

    def machine(self, sleep: Sleep = lambda _seconds: None) -> Machine:
        return Machine(
            now=self.now,
            cache=self.home,
            pins=tuple(self.pins),
            save_pin=self.pins.append,
            immutable=self.immutable,
            warn=self.told.append,
            sleep=sleep,
        )

    def writer(self, store: ModelStore, sleep: Sleep = lambda _seconds: None) -> Writer:
        return Writer(store, self.machine(sleep), KeySigning(self.keys, allow_example_keys=False))

    def found(self) -> Foundation:
        root, targets, publish = self.roles
        labels = {"root": (root,), "targets": (targets,), "snapshot": (publish,), "timestamp": (publish,)}
        return lay_foundation(self.keys, REPOSITORY, Roles(labels=labels, bins=self.bins))

    def push(self, store: ModelStore, sleep: Sleep, tag: str, text: str) -> Signed:
        """What `dockseal sign NAME@DIGEST --tag TAG` does."""
        return sign(store, image(text).digest, tag, TagSigner(self.writer(store, sleep), self.now, self.found))

    def version(self) -> int:
        """The newest state that this machine has seen."""
        seen = self.machine().memory(REPOSITORY).seen()
        return 0 if seen is None else seen.versions["timestamp"]
