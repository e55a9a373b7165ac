"""Honest states to start from, and tools to bend them as an attacker would.

A :class:`Team` holds the keys of one repository. ``a_state`` and ``next_state`` make what a publisher
makes; :meth:`Team.remake` edits the signed parts of a state's files and signs everything that hangs on
them again, which is what somebody who holds those keys can do.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from trust.client import verify_state
from trust.digest import Digest
from trust.errors import UnsignedError
from trust.keys.store import KeyStore
from trust.machine import Machine
from trust.oci.layout import Layout
from trust.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest, image_manifest
from trust.oci.reference import Repository
from trust.oci.registry import Registry
from trust.oci.retry import RetryPolicy
from trust.oci.transport import Transport
from trust.pins import Pin
from trust.states import POINTER_TAG, announce, announced, encode, point
from trust.tuf import draft, roles
from trust.tuf.draft import Change
from trust.tuf.roles import TOP_LEVEL_ROLES, RoleKeys, Target
from trust.tuf.rules import check_file
from trust.tuf.state import EXTENSION, State, Terms, unverified_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key, Signer
    from tuf.api.metadata import Role

    from tests.doubles.faulty_registry import FaultyRegistry
    from trust.keys.store import Purpose
    from trust.oci.store import Store
    from trust.tuf.verified import Verified

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
REPOSITORY = "localhost:5000/app"
PASSPHRASE = b"correct horse"
V1 = b'{"image": 1}'
V2 = b'{"image": 2}'


class Passphrases:
    """The same passphrase for everything."""

    def existing(self, label: str, purpose: Purpose) -> bytes:
        return PASSPHRASE

    def new(self, label: str, purpose: Purpose) -> bytes:
        return PASSPHRASE


def make_keys(tmp_path: Path) -> KeyStore:
    """An empty key folder; conftest.py makes its keys cheap."""
    return KeyStore(tmp_path / "keys", Passphrases(), clock=lambda: NOW)


@dataclass
class Pins:
    """Pins as config.toml would keep them, and what people were told."""

    saved: list[Pin] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def a_machine(
    tmp_path: Path,
    *,
    now: datetime = NOW,
    pins: Iterable[Pin] = (),
    notes: Pins | None = None,
    root: Digest | None = None,
    trust_on_first_use: bool = False,
    allow_example_keys: bool = False,
) -> Machine:
    """A machine with a memory under ``tmp_path``; what it saves and says goes to ``notes``."""
    notes = notes or Pins()
    return Machine(
        now=now,
        cache=tmp_path / "cache",
        pins=tuple(pins),
        save_pin=notes.saved.append,
        root=root,
        trust_on_first_use=trust_on_first_use,
        allow_example_keys=allow_example_keys,
        warn=notes.told.append,
    )


def new_signer() -> CryptoSigner:
    """A fresh ed25519 key in memory: fast."""
    return CryptoSigner.generate_ed25519()


class Keyring:
    """Signs for any role whose keys are in it; a ``Signing`` without files and passphrases."""

    def __init__(self, *signers: CryptoSigner) -> None:
        self._signers = {signer.public_key.keyid: signer for signer in signers}

    def new(self) -> CryptoSigner:
        signer = new_signer()
        self._signers[signer.public_key.keyid] = signer
        return signer

    def key(self) -> Key:
        """The public key of a new signer."""
        return self.new().public_key

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._signers

    def __getitem__(self, key_id: str) -> CryptoSigner:
        return self._signers[key_id]

    def only(self, *key_ids: str) -> Keyring:
        """A ring with these keys alone."""
        return Keyring(*(self._signers[key_id] for key_id in key_ids))

    def __call__(self, role_name: str, role: Role) -> Sequence[Signer]:
        held = [self._signers[key_id] for key_id in role.keyids if key_id in self._signers]
        if len(held) < role.threshold:
            raise UnsignedError(f"too few keys of {role_name}")
        return held[: role.threshold]


@dataclass(frozen=True)
class Delegate:
    """A delegated role to be made: what it signs, for which tags, and on whose behalf."""

    name: str
    targets: tuple[Target, ...] = ()
    paths: tuple[str, ...] = ("*",)
    terminating: bool = False
    threshold: int = 1
    parent: str = "targets"
    version: int = 1


@dataclass
class Team:
    """The keys of one repository and the states made with them."""

    repository: str = REPOSITORY
    ring: Keyring = field(default_factory=Keyring)
    keys: dict[str, RoleKeys] = field(default_factory=dict)
    delegated: dict[str, RoleKeys] = field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        return Terms.make(self.repository, {})

    def pin(self, state: State) -> Pin:
        """The pin of this repository's first root."""
        return Pin(self.repository, root=Digest.of(state.roots[0]))

    def signers(self, role: str) -> list[CryptoSigner]:
        """Everybody in the ring who signs a role."""
        keys = self.keys.get(role) or self.delegated[role]
        return [self.ring[key.keyid] for key in keys.keys if key.keyid in self.ring]

    def first(self, *targets: Target, now: datetime = NOW) -> State:
        return draft.first_state(self.terms, self.keys, targets, self.ring, now)

    def next(self, state: State, change: Change | None = None, *, now: datetime = NOW) -> State:
        """The state after this one; an empty change makes a new snapshot and timestamp."""
        return draft.next_state(verified(state), change or Change(), signing=self.ring, now=now)

    def put(self, state: State, *targets: Target, role: str = "targets", now: datetime = NOW) -> State:
        """The state in which a role signs these targets as well."""
        return self.next(state, Change(put={role: targets}), now=now)

    def with_delegates(self, state: State, *delegates: Delegate, now: datetime = NOW) -> State:
        """The next state, with these roles delegated (their keys are new), each with its role file."""
        for item in delegates:
            if item.name not in self.delegated:
                self.delegated[item.name] = RoleKeys(
                    tuple(self.ring.key() for _ in range(item.threshold)), item.threshold
                )
        bodies = {role: signed_of(state.role(role)) for role in state.names if role not in _NOT_TARGETS}
        for item in delegates:
            bodies[item.name] = {
                "_type": "targets",
                "spec_version": "1.0.31",
                "version": item.version,
                "expires": roles.rfc3339(now + timedelta(days=365)),
                "targets": {target.tag: target.to_file().to_dict() for target in item.targets},
            }
        for parent in {item.parent for item in delegates}:
            children = [item for item in delegates if item.parent == parent]
            bodies[parent]["delegations"] = self.delegations(*children)
            if parent in state.names:
                bodies[parent]["version"] += 1
        return self.remake(state, bodies=bodies, bump=True, now=now)

    def delegations(self, *delegates: Delegate) -> dict[str, Any]:
        """TUF's DELEGATIONS object (spec 4.5)."""
        keys = {key.keyid: key.to_dict() for item in delegates for key in self.delegated[item.name].keys}
        found = [
            {
                "name": item.name,
                "keyids": [key.keyid for key in self.delegated[item.name].keys],
                "threshold": item.threshold,
                "terminating": item.terminating,
                "paths": list(item.paths),
            }
            for item in delegates
        ]
        return {"keys": keys, "roles": found}

    def rotate_root(
        self, state: State, *, now: datetime = NOW, keys: Mapping[str, RoleKeys] | None = None, times: int = 1
    ) -> State:
        """The state with new roots at its end, and a timestamp made for the newest."""
        roots = list(state.roots)
        for _ in range(times):
            roots.append(self.next_root(roots[-1], now=now, keys=keys))
        self.keys |= keys or {}
        return self.remake(state, roots=roots, bump=True, now=now)

    def next_root(self, root: bytes, *, now: datetime = NOW, keys: Mapping[str, RoleKeys] | None = None) -> bytes:
        """The root after this one, signed by its keys and, where it has others, by the new ones."""
        body = signed_of(root)
        old = Root.from_dict(signed_of(root))
        body["version"] += 1
        body["expires"] = roles.rfc3339(now + timedelta(days=365))
        for name, role in (keys or {}).items():
            body["keys"] |= {key.keyid: key.to_dict() for key in role.keys}
            body["roles"][name] = {"keyids": [key.keyid for key in role.keys], "threshold": role.threshold}
        ids = dict.fromkeys([*old.roles["root"].keyids, *body["roles"]["root"]["keyids"]])
        return sign_raw(body, [self.ring[key_id] for key_id in ids])

    def remake(
        self,
        state: State,
        edits: Mapping[str, Any] | None = None,
        *,
        roots: Sequence[bytes] | None = None,
        bodies: Mapping[str, dict[str, Any]] | None = None,
        raw: Mapping[str, Callable[[bytes], bytes]] | None = None,
        signers: Mapping[str, Sequence[Signer]] | None = None,
        bump: bool = False,
        now: datetime = NOW,
    ) -> State:
        """Edit a state's signed parts; what was edited, and what hangs on it, is signed again.

        Args:
            state: to start from.
            edits: by role: changes the signed part (for snapshot and timestamp after they were bound anew).
            roots: all roots, instead of the state's.
            bodies: the signed parts of targets roles, instead of the state's.
            raw: by role: changes the file's bytes before others bind them.
            signers: by role, instead of the team's.
            bump: give snapshot and timestamp the next version.
            now: when all this happens.
        """
        edits, raw, signers = edits or {}, raw or {}, signers or {}

        def make(role: str, body: dict[str, Any]) -> bytes:
            edits.get(role, _keep)(body)
            data = sign_raw(body, signers.get(role) or self.signers(role))
            return raw.get(role, bytes)(data)

        chain = list(roots or state.roots)
        if "root" in edits or "root" in raw:
            chain[-1] = make("root", signed_of(chain[-1]))
        files: dict[str, tuple[int, bytes]] = {}
        for role, body in (
            bodies or {r: signed_of(state.role(r)) for r in state.names if r not in _NOT_TARGETS}
        ).items():
            same = role in state.names and body == signed_of(state.role(role)) and role not in {*edits, *raw, *signers}
            data = state.role(role) if same else make(role, body)
            files[role] = (signed_of(data)["version"], data)
        snapshot = signed_of(state.role("snapshot"))
        snapshot["meta"] |= {f"{role}.json": roles.meta_of(*entry).to_dict() for role, entry in files.items()}
        timestamp = signed_of(state.role("timestamp"))
        if bump:
            identity = unverified_identity(state)
            timestamp[EXTENSION] |= {"parents": [identity]}
            timestamp[EXTENSION]["covers"] = {identity: timestamp["version"], **timestamp[EXTENSION]["covers"]}
            for body, days in ((snapshot, 90), (timestamp, 14)):
                body["version"] += 1
                body["expires"] = roles.rfc3339(now + timedelta(days=days))
        signed_snapshot = make("snapshot", snapshot)
        version = signed_of(signed_snapshot)["version"]
        timestamp["meta"]["snapshot.json"] = roles.meta_of(version, signed_snapshot).to_dict()
        timestamp[EXTENSION]["root"] = {"version": len(chain), "sha256": Digest.of(chain[-1]).hex}
        return roles.assemble(chain, files, (version, signed_snapshot), make("timestamp", timestamp))


_NOT_TARGETS = {"root", "snapshot", "timestamp"}


def _keep(body: dict[str, Any]) -> None:
    del body


def a_team(
    repository: str = REPOSITORY, *, thresholds: Mapping[str, int] | None = None, ring: Keyring | None = None
) -> Team:
    """A team with keys of its own for each of the four roles."""
    team = Team(repository, ring or Keyring())
    for role in TOP_LEVEL_ROLES:
        threshold = (thresholds or {}).get(role, 1)
        team.keys[role] = RoleKeys(tuple(team.ring.key() for _ in range(threshold)), threshold)
    return team


def a_state(*targets: Target, team: Team | None = None, now: datetime = NOW) -> State:
    """Version 1 of everything, signing these targets (by default ``v1``)."""
    return (team or a_team()).first(*(targets or (a_target(),)), now=now)


def next_state(team: Team, state: State, change: Change | None = None, *, now: datetime = NOW) -> State:
    """See :meth:`Team.next`."""
    return team.next(state, change, now=now)


def a_target(tag: str = "v1", content: bytes = V1, *, now: datetime = NOW, **annotations: str) -> Target:
    """A tag that is signed to mean these bytes."""
    return Target(tag, Digest.of(content), len(content), OCI_MANIFEST, now, annotations)


def verified(state: State, root: bytes | None = None) -> Verified:
    """Verify from the state's own first root."""
    return verify_state(state, root or state.roots[0])


def checked(state: State, repository: str = REPOSITORY, root: bytes | None = None) -> Verified:
    """Verify as a reader does, from the state's own first root: our rules for each file, then the rest."""
    for name, data in state.files.items():
        check_file(name, data, repository)
    return verified(state, root)


def signed_of(data: bytes) -> dict[str, Any]:
    """The signed part of a role file, to be changed."""
    body = json.loads(data)["signed"]
    assert isinstance(body, dict)
    return body


def sign_raw(body: Mapping[str, Any], signers: Sequence[Signer], *, labels: Mapping[str, str] | None = None) -> bytes:
    """Sign any signed part, valid or not; ``labels`` gives signatures other key ids."""
    payload = str(encode_canonical(dict(body))).encode()
    signatures = []
    for signer in signers:
        signature = signer.sign(payload).to_dict()
        signature["keyid"] = (labels or {}).get(signature["keyid"], signature["keyid"])
        signatures.append(signature)
    return json.dumps({"signatures": signatures, "signed": body}, separators=(",", ":"), ensure_ascii=False).encode()


def with_file(state: State, name: str, data: bytes) -> State:
    """The state with one file replaced or added, and nothing else changed."""
    return State.of((dict(state.files) | {name: data}).items())


# Stores


def an_image(content: bytes = b"layer") -> tuple[Manifest, dict[Digest, bytes]]:
    """A small image and its blobs."""
    config = b'{"architecture":"amd64","os":"linux"}'
    manifest = image_manifest(Descriptor.of(config, OCI_CONFIG), (Descriptor.of(content, OCI_LAYER_GZIP),))
    return manifest, {Digest.of(config): config, Digest.of(content): content}


def target_of(manifest: Manifest, tag: str = "v1", *, now: datetime = NOW, **annotations: str) -> Target:
    """A tag that is signed to mean this manifest."""
    return Target(tag, manifest.digest, manifest.size, manifest.media_type, now, annotations)


def put_image(store: Store, manifest: Manifest, blobs: Mapping[Digest, bytes], tag: str) -> None:
    """Bring an image into a store, under a tag."""
    for descriptor in (manifest.config, *manifest.layers):
        assert descriptor is not None
        store.put_blob(descriptor, partial(io.BytesIO, blobs[descriptor.digest]))
    store.put_manifest(manifest, tag)


def put_state(store: Store, state: State, *, pointed: bool = True) -> Manifest:
    """Announce a state and, unless told otherwise, make ``_trust`` point at it."""
    manifest = announce(store, state, int(signed_of(state.role("timestamp"))["version"]))
    if pointed:
        point(store, manifest)
    return manifest


def plant_state(store: Store, state: State) -> Manifest:
    """Make ``_trust`` point at a state, valid or not, and hide all others, as who runs the registry can.

    With the honest states' own tags there, readers would look past the pointer (rule 10).
    """
    for item in announced(store.tags(1000)):
        store.untag(item.tag)
    manifest = encode(state)
    for descriptor, data in zip(manifest.layers, state.files.values(), strict=True):
        store.put_blob(descriptor, partial(io.BytesIO, data))
    assert manifest.config is not None
    store.put_blob(manifest.config, partial(io.BytesIO, b"{}"))
    store.put_manifest(manifest, POINTER_TAG)
    return manifest


def a_layout(tmp_path: Path, repository: str = REPOSITORY) -> Layout:
    """A store in a folder: no server."""
    return Layout(tmp_path / "layout", repository=repository)


def a_registry(server: FaultyRegistry, path: str = "app") -> Registry:
    """A store in a registry, each request sent once; ``repository`` is ``localhost:PORT/app``."""
    once = RetryPolicy(attempts=1, connect_attempts=1)
    return Registry(Repository(server.host, path), Transport(server.host, policy=once))


def renamed(pin: Pin, **changes: Any) -> Pin:
    """The pin with other fields."""
    return replace(pin, **changes)
