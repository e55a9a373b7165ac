"""Machines that write: their keys, memory and pins, and small images for them to push.

Keys are made once a session and unlocked once (:func:`all_keys`); a machine has those it is given.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from tests.doubles.faulty_registry import Alter
from tests.oci.samples import Sample, config_of, index_of, layer_tar, sample
from tests.trust.builders import Keyring, Team, put_state
from trust.client import verify_state
from trust.digest import Digest
from trust.keys.store import KeyStore
from trust.machine import Machine
from trust.oci.codec import Codec
from trust.oci.image import Image, SourceLayer
from trust.oci.layercache import LayerCache
from trust.oci.layout import Layout
from trust.oci.reference import Repository
from trust.oci.registry import Registry
from trust.oci.retry import RetryPolicy
from trust.oci.transport import Transport
from trust.push import push
from trust.read import Reader
from trust.repo import Roles, lay_foundation
from trust.sign import TagSigner
from trust.signing import KeySigning
from trust.states import POINTER_TAG, read_pointer
from trust.tuf.roles import TOP_LEVEL_ROLES, RoleKeys
from trust.upload import Uploads
from trust.verify import judge
from trust.writer import Foundation, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from securesystemslib.signer import CryptoSigner

    from tests.doubles.faulty_registry import Response
    from tests.trust.builders import Delegate
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.pins import Pin
    from trust.read import Trusted
    from trust.sign import Signed
    from trust.tuf.verified import Verified
    from trust.upload import LayerProgress

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
PASSPHRASE = b"passphrase of the tests"
LABELS = ("root", "targets", "publish")
OTHERS = ("root-b", "targets-b", "other-root", "other-targets", "other-publish", "release")
CODEC = Codec()
EXAMPLE_KEYS = Path(__file__).parents[2] / "keys.example" / "keys"
ONCE = RetryPolicy(attempts=1, connect_attempts=1)


@dataclass(frozen=True, slots=True)
class Knows:
    """One passphrase for every key."""

    passphrase: bytes = PASSPHRASE

    def existing(self, label: str, purpose: str) -> bytes:
        return self.passphrase

    def new(self, label: str, purpose: str) -> bytes:
        return self.passphrase


def roles(
    prefix: str = "",
    *,
    labels: Mapping[str, tuple[str, ...]] | None = None,
    thresholds: Mapping[str, int] | None = None,
    days: Mapping[str, int] | None = None,
) -> Roles:
    """The session's keys in their roles; with the prefix ``other-`` somebody else's."""
    publish = (f"{prefix}publish",)
    usual = {"root": (f"{prefix}root",), "targets": (f"{prefix}targets",), "snapshot": publish, "timestamp": publish}
    return Roles(labels=usual | dict(labels or {}), thresholds=thresholds or {}, days=days or {})


@dataclass(slots=True)
class Person:
    """Somebody's machine: a folder with cache and spool, keys, pins, a clock."""

    folder: Path
    keys: KeyStore
    now: datetime = NOW
    pins: list[Pin] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    roles: Roles = field(default_factory=roles)
    events: list[LayerProgress] = field(default_factory=list)
    immutable: frozenset[str] = frozenset()

    @property
    def signing(self) -> KeySigning:
        return KeySigning(self.keys, allow_example_keys=False)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def machine(self, *, trust_on_first_use: bool = False) -> Machine:
        return Machine(
            now=self.now,
            cache=self.folder / "cache",
            pins=tuple(self.pins),
            save_pin=self.pin,
            trust_on_first_use=trust_on_first_use,
            immutable=self.immutable,
            warn=self.warnings.append,
        )

    def pin(self, pin: Pin) -> None:
        self.pins[:] = [*(old for old in self.pins if old.repository != pin.repository), pin]

    def writer(self, store: Store) -> Writer:
        return Writer(store, self.machine(), self.signing)

    def reader(self, store: Store) -> Reader:
        return Reader(store, self.machine())

    def signer(
        self, store: Store, *, signers: tuple[str, ...] = (), annotations: Mapping[str, str] | None = None
    ) -> TagSigner:
        def found() -> Foundation:
            return lay_foundation(self.keys, store.repository, self.roles)

        return TagSigner(self.writer(store), self.now, found, signers=signers, annotations=annotations)

    def uploads(
        self, store: Store, *, codec: Codec = CODEC, report: Callable[[LayerProgress], None] | None = None
    ) -> Uploads:
        return Uploads(
            cache=LayerCache(self.folder / "layers"),
            spool=self.spool,
            codec=codec,
            registry=store.repository.partition("/")[0],
            report=report or self.events.append,
        )

    def push(self, store: Store, tag: str, image: Image, *, signers: tuple[str, ...] = ()) -> Signed:
        signer = self.signer(store, signers=signers)
        return push(store, tag, image, signer, self.uploads(store), on_pushed=ignore)

    def verdict(self, store: Store, tag: str) -> str:
        return judge(store, self.machine(), tag).verdict

    def trusted_digest(self, store: Store, tag: str) -> Digest | None:
        """The digest that the tag is trusted to mean, if it is."""
        judgement = judge(store, self.machine(), tag)
        return judgement.digest if judgement.error is None else None

    def later(self, **time: float) -> Person:
        """The same machine, after some time."""
        return replace(self, now=self.now + timedelta(**time))


@dataclass(frozen=True, slots=True)
class People:
    """Makes machines, each with a folder of its own."""

    folder: Path
    all: KeyStore

    def __call__(self, name: str, *labels: str, passphrase: bytes | None = None, prefix: str = "") -> Person:
        """A machine with these keys; without any named, those of the ordinary roles."""
        labels = labels or tuple(f"{prefix}{label}" for label in LABELS)
        keys = some_keys(self.all, self.folder / name / "keys", labels, passphrase=passphrase)
        return Person(self.folder / name, keys, roles=roles(prefix))

    def onlooker(self, name: str, *pins: Pin) -> Person:
        """A machine with no key and these pins."""
        return Person(self.folder / name, KeyStore(self.folder / name / "keys", Knows()), pins=list(pins))


def ignore(manifest: Manifest) -> None:
    """Nobody wants to know."""


@cache
def all_keys(folder: Path) -> KeyStore:
    """Every key of the session, unlocked."""
    store = KeyStore(folder, Knows(), clock=lambda: NOW)
    for label in (*LABELS, *OTHERS):
        store.generate(label, purpose="root" if "root" in label else "repository")
    return store


def some_keys(keys: KeyStore, folder: Path, labels: tuple[str, ...], *, passphrase: bytes | None = None) -> KeyStore:
    """A key folder with some of these keys; unlocked, unless a passphrase is given to be tried."""
    folder.mkdir(mode=0o700, parents=True)
    store = KeyStore(folder, Knows(passphrase or PASSPHRASE), clock=lambda: NOW)
    for label in labels:
        for ending in ("key", "json"):
            shutil.copy(keys._folder / f"{label}.{ending}", folder)
        if passphrase is None:
            key = keys.find(label)
            store._signers[key.key_id] = keys.signer(key)
    return store


def remote(host: str, path: str = "app", *, policy: RetryPolicy = ONCE) -> Registry:
    """A repository of a registry, without patience."""
    return Registry(Repository.parse(f"{host}/{path}"), Transport(host, policy=policy, sleep=lambda _seconds: None))


@dataclass(slots=True)
class Opened:
    """Gives bytes, and counts how often they were asked for."""

    data: bytes
    count: int = 0

    def __call__(self) -> BinaryIO:
        self.count += 1
        return io.BytesIO(self.data)


def plain_image(*texts: str) -> Image:
    """An image as ``docker save`` has it: plain tars, and no manifest yet."""
    tars = [layer_tar(text) for text in texts]
    layers = tuple(SourceLayer(Opened(tar), len(tar), Digest.of(tar)) for tar in tars)
    return Image(config_of(tars), layers)


def final_image(one: Sample) -> Image:
    """An image in its final form."""
    layers = tuple(
        SourceLayer(Opened(data), descriptor.size, descriptor=descriptor) for descriptor, data in one.blobs[1:]
    )
    return Image(one.config, layers, one.manifest)


def index_image(*architectures: str) -> Image:
    """An index with one image for each."""
    samples = [sample(f"for {name}", architecture=name) for name in architectures]
    manifest = index_of(*((one, f"linux/{name}") for one, name in zip(samples, architectures, strict=True)))
    return Image(b"", (), manifest, tuple(final_image(one) for one in samples))


def opens(image: Image) -> int:
    """How often a layer of the image was opened."""
    return sum(layer.open.count for layer in image.layers if isinstance(layer.open, Opened))


def state_of(signed: Signed) -> Trusted:
    """The state that is live since."""
    assert signed.state is not None, f"waits for {signed.lacking}"
    return signed.state


def live(store: Store) -> Verified:
    """The state that the pointer names, verified against its own first root."""
    stored = read_pointer(store, lambda _digest: None)
    assert stored is not None, f"{POINTER_TAG} is not there"
    return verify_state(stored.state, stored.state.roots[0])


def add_signer(keys: KeyStore, store: Store, *delegates: Delegate, now: datetime = NOW) -> None:
    """Delegate to signers, each with the session's key of the same name, and publish that."""
    state = live(store).state
    everybody = {label: keys.find(label) for label in (*LABELS, *(item.name for item in delegates))}
    team = Team(store.repository, Keyring(*(cast("CryptoSigner", keys.signer(key)) for key in everybody.values())))
    for role in TOP_LEVEL_ROLES:
        key = everybody["publish" if role in {"snapshot", "timestamp"} else role]
        team.keys[role] = RoleKeys((key.public,))
    team.delegated = {item.name: RoleKeys((everybody[item.name].public,)) for item in delegates}
    put_state(store, team.with_delegates(state, *delegates, now=now))


def then(action: Callable[[], object]) -> Alter:
    """Do what was asked; then something happens before the answer goes out."""

    def change(response: Response) -> Response:
        action()
        return response

    return Alter(change)


def folder(people: People, name: str = "layout", *, repository: str | None = "localhost:5000/app") -> Layout:
    """A repository in a folder; None gives it the folder's own name."""
    return Layout(people.folder / name, repository=repository)


def put_sample(store: Store, tag: str | None, *texts: str) -> Manifest:
    """Bring an image there without signing it."""
    return sample(*texts).put(store, tag)


def example_keys(folder: Path) -> KeyStore:
    """The published keys, with the mode that git does not keep."""
    copied = shutil.copytree(EXAMPLE_KEYS, folder / "examples")
    for path in copied.iterdir():
        path.chmod(0o600)
    return KeyStore(copied, Knows(b"example-passphrase"))
