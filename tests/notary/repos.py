"""Notary repositories made in memory, one wrong thing at a time, and the vectors that the real server made."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from trust.notary import certificates
from trust.notary.codec import encode, message_of
from trust.notary.model import (
    RELEASES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Delegation,
    Meta,
    Role,
    Root,
    Signature,
    Snapshot,
    Targets,
    Timestamp,
    format_time,
    meta_of,
)
from trust.notary.publickeys import PublicKey, from_crypto, raw_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trust.notary.model import Payload

    Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

VECTORS = Path(__file__).parent / "vectors" / "v1"
VECTORS_GUN = "docker.io/acme/app"
VECTORS_NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1000)
GUN = "registry.example:5000/team/app"
V1 = Meta(528, {"sha256": bytes(range(32))})
V2 = Meta(529, {"sha256": bytes(range(1, 33))})


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key for each name, made once."""
    del name
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def signature(private: Private, message: bytes, method: str | None = None) -> tuple[str, bytes]:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "eddsa", private.sign(message)
    if isinstance(private, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        scheme = padding.PKCS1v15() if method == "rsapkcs1v15" else pss
        return method or "rsapss", private.sign(message, scheme, hashes.SHA256())
    return "ecdsa", raw_signature(private.sign(message, ec.ECDSA(hashes.SHA256())), private.curve.key_size)


def certificate(name: str, gun: str = GUN, made: dt.datetime = NOW) -> PublicKey:
    return _certificate(name, gun, made)


@cache
def _certificate(name: str, gun: str, made: dt.datetime) -> PublicKey:
    private = key(name)
    return certificates.make(
        gun, private.public_key(), lambda body: private.sign(body, ec.ECDSA(hashes.SHA256())), made
    )


def plain(name: str) -> PublicKey:
    return from_crypto(key(name).public_key())


def sign(payload: Payload, *signers: tuple[PublicKey, Private]) -> bytes:
    message = message_of(payload)
    made = tuple(Signature(public.key_id, *signature(private, message)) for public, private in signers)
    return encode(payload, made).raw


@dataclass
class Files:
    """A source of role files, as a server or a folder is one. ``roots`` are those by version."""

    files: dict[str, bytes]
    roots: dict[int, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    name: str = "https://notary.example"

    def get(self, role: str, *, version: int | None = None, meta: Meta | None = None) -> bytes | None:
        del meta
        self.asked.append(role if version is None else f"{version}.{role}")
        return self.files.get(role) if version is None else self.roots.get(version)


@dataclass(frozen=True)
class Repo:
    """How to make a repository: a root certificate, targets with two delegations, and the rest.

    ``payload`` changes what a role says, ``raw`` its finished bytes, ``listed`` how the file above lists it;
    ``signers`` are those who sign it instead of its own key. ``version`` and ``root_version`` are what it is at.
    """

    gun: str = GUN
    root_version: int = 1
    version: int = 3
    root_key: str = "root"
    made: dt.datetime = NOW
    expires: Mapping[str, dt.datetime] = field(default_factory=dict)
    payload: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    raw: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    listed: Mapping[str, Callable[[Meta], Meta]] = field(default_factory=dict)
    signers: Mapping[str, Sequence[tuple[PublicKey, Private]]] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    top: Mapping[str, Meta] = field(default_factory=dict)
    releases: Mapping[str, Meta] = field(default_factory=lambda: {"v1": V1, "v2": V2})
    alice: Mapping[str, Meta] = field(default_factory=lambda: {"v1": V1})
    paths: tuple[str, ...] = ("",)
    delegations: bool = True

    def but(self, **changes: Any) -> Repo:
        return replace(self, **changes)

    @property
    def root_certificate(self) -> PublicKey:
        return certificate(self.root_key, self.gun, self.made)

    def build(self) -> Files:
        files = {ROOT: self._file(ROOT, self._root(), self.root_certificate, self.root_key)}
        if self.delegations:
            for name, targets in ((RELEASES, self.releases), ("targets/alice", self.alice)):
                payload = Targets(self.version, self._until(name), targets)
                files[name] = self._file(name, payload, plain("alice"), "alice")
        files[TARGETS] = self._file(TARGETS, self._targets(), plain(TARGETS), TARGETS)
        listed = {name: self._listed(name, data) for name, data in files.items()}
        snapshot = Snapshot(self.version, self._until(SNAPSHOT), listed)
        files[SNAPSHOT] = self._file(SNAPSHOT, snapshot, plain(SNAPSHOT), SNAPSHOT)
        meta = {SNAPSHOT: self._listed(SNAPSHOT, files[SNAPSHOT])}
        timestamp = Timestamp(self.version, self._until(TIMESTAMP), meta)
        files[TIMESTAMP] = self._file(TIMESTAMP, timestamp, plain(TIMESTAMP), TIMESTAMP)
        roots = {self.root_version: files[ROOT]}
        return Files({name: data for name, data in files.items() if name not in self.missing}, roots)

    def _root(self) -> Root:
        publics = {ROOT: self.root_certificate, **{name: plain(name) for name in (TARGETS, SNAPSHOT, TIMESTAMP)}}
        roles = {name: Role((public.key_id,)) for name, public in publics.items()}
        return Root(self.root_version, self._until(ROOT), {item.key_id: item for item in publics.values()}, roles)

    def _targets(self) -> Targets:
        if not self.delegations:
            return Targets(self.version, self._until(TARGETS), self.top)
        alice = plain("alice")
        roles = tuple(Delegation(name, Role((alice.key_id,)), self.paths) for name in (RELEASES, "targets/alice"))
        return Targets(self.version, self._until(TARGETS), self.top, {alice.key_id: alice}, roles)

    def _file(self, name: str, payload: Any, public: PublicKey, private: str) -> bytes:
        payload = self.payload.get(name, _same)(payload)
        data = sign(payload, *self.signers.get(name, ((public, key(private)),)))
        return self.raw[name](data) if name in self.raw else data

    def _listed(self, name: str, data: bytes) -> Meta:
        meta = meta_of(data)
        return self.listed[name](meta) if name in self.listed else meta

    def _until(self, name: str) -> str:
        return format_time(self.expires.get(name, LATER))


def _same(payload: Any) -> Any:
    return payload


def vectors() -> Files:
    """What the real server served."""
    files = {
        str(path.relative_to(VECTORS)).removesuffix(".json"): path.read_bytes() for path in VECTORS.rglob("*.json")
    }
    roots = {int(name[0]): data for name, data in files.items() if name.endswith(".root")}
    return Files({name: data for name, data in files.items() if not name.endswith(".root")}, roots)


def root_certificate_expiry(gun: str) -> str:
    """When the root certificate of a repository that was made here ends, as JSON has it."""
    return f"{Repo(gun=gun).root_certificate.certificate().not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
