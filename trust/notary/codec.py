"""Role files of Notary v1: bytes to values and back.

What is signed is the canonical form of what was received, whatever fields it has; what is read here is what counts.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from trust import strictjson
from trust.errors import TamperedError, UsageError
from trust.notary.canonical import canonical, file_bytes
from trust.notary.model import (
    BASE_ROLES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    Delegation,
    File,
    Meta,
    P,
    Payload,
    Role,
    Root,
    Signature,
    Snapshot,
    Targets,
    Timestamp,
    is_delegation,
    parse_time,
)
from trust.notary.publickeys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID = re.compile(r"[0-9a-f]{64}\Z")
_METHOD = re.compile(r"[a-z0-9 #+._-]{1,40}\Z")
_HASH_BYTES = {"sha256": 32, "sha512": 64}


def decode(data: bytes, kind: type[P], what: str) -> File[P]:
    """Read a role file; its signatures are not judged here.

    Args:
        data: the file.
        kind: what it must be.
        what: names it in errors.

    Raises:
        TamperedError: it is no such file.
    """
    body = strictjson.loads_object(data, what)
    reading = _Reading(what)
    signed = reading.mapping(body.get("signed"), "signed")
    signatures = tuple(
        reading.signature(item) for item in reading.items(body.get("signatures"), "signatures", null=True)
    )
    if signed.get("_type") != kind.TYPE:
        raise TamperedError(f"{what} is of the type {str(signed.get('_type'))[:40]!r}: expected {kind.TYPE!r}")
    try:
        payload = cast("P", _READERS[kind](reading, signed))
        return File(payload, canonical(signed), signatures, data)
    except UsageError as error:
        raise TamperedError(f"{what} cannot have been signed: {error.message}") from error


def read_key(value: object, what: str) -> PublicKey:
    """A key as it stands in metadata.

    Raises:
        TamperedError: it is none.
    """
    return _Reading(what).key(value)


def message_of(payload: Payload) -> bytes:
    """What is to be signed.

    Raises:
        UsageError: a name or a ``custom`` cannot be written in this form.
    """
    return canonical({"_type": payload.TYPE, **_fields(payload)})


def encode(payload: P, signatures: tuple[Signature, ...]) -> File[P]:
    """The file, as notary would write it."""
    message = message_of(payload)
    listed = [
        {"keyid": item.key_id, "method": item.method, "sig": base64.b64encode(item.sig).decode()} for item in signatures
    ]
    return File(payload, message, signatures, file_bytes(message, canonical(listed)))


def _fields(payload: Payload) -> dict[str, object]:
    common: dict[str, object] = {"version": payload.version, "expires": payload.expires}
    if isinstance(payload, Root):
        return common | {
            "consistent_snapshot": payload.consistent_snapshot,
            "keys": _keys(payload.keys),
            "roles": {name: _role(role) for name, role in payload.roles.items()},
        }
    if isinstance(payload, Targets):
        roles = [
            {"name": item.name, **_role(item.role), **({"paths": list(item.paths)} if item.paths else {})}
            for item in payload.delegations
        ]
        return common | {
            "targets": {name: _meta(meta) for name, meta in payload.targets.items()},
            "delegations": {"keys": _keys(payload.keys), "roles": roles},
        }
    return common | {"meta": {name: _meta(meta) for name, meta in payload.meta.items()}}


def _keys(keys: Mapping[str, PublicKey]) -> dict[str, object]:
    return {key_id: key.to_json() for key_id, key in keys.items()}


def _role(role: Role) -> dict[str, object]:
    return {"keyids": list(role.key_ids), "threshold": role.threshold}


def _meta(meta: Meta) -> dict[str, object]:
    hashes = {name: base64.b64encode(value).decode() for name, value in meta.hashes.items()}
    custom = {} if meta.custom is None else {"custom": meta.custom}
    return {"hashes": hashes, "length": meta.length, **custom}


@dataclass(frozen=True, slots=True)
class _Reading:
    """Fields of one file, checked; ``what`` names the file."""

    what: str

    def root(self, signed: dict[str, object]) -> Root:
        roles = self.mapping(signed.get("roles"), "roles")
        if set(roles) != set(BASE_ROLES):
            raise self._wrong("roles", f"expected {', '.join(BASE_ROLES)}, got {', '.join(sorted(roles))[:100]}")
        keys = self.keys(signed.get("keys"))
        return Root(
            *self.head(signed),
            keys=keys,
            roles={name: self.role(item, keys, f"the role {name}") for name, item in roles.items()},
            consistent_snapshot=signed.get("consistent_snapshot") is True,
        )

    def targets(self, signed: dict[str, object]) -> Targets:
        delegations = signed.get("delegations")  # the oldest files have none
        body = {} if delegations is None else self.mapping(delegations, "delegations")
        keys = self.keys(body.get("keys"))
        roles = tuple(self.delegation(item, keys) for item in self.items(body.get("roles"), "delegations", null=True))
        if len({item.name for item in roles}) != len(roles):
            raise self._wrong("delegations", "a role stands there twice")
        targets = {
            name: self.meta(item, f"the target {name[:60]!r}")
            for name, item in self.mapping(signed.get("targets"), "targets").items()
        }
        return Targets(*self.head(signed), targets=targets, keys=keys, delegations=roles)

    def snapshot(self, signed: dict[str, object]) -> Snapshot:
        return Snapshot(*self.head(signed), meta=self._listed(signed, (ROOT, TARGETS)))

    def timestamp(self, signed: dict[str, object]) -> Timestamp:
        return Timestamp(*self.head(signed), meta=self._listed(signed, (SNAPSHOT,)))

    def head(self, signed: dict[str, object]) -> tuple[int, str]:
        expires = signed.get("expires")
        if not isinstance(expires, str):
            raise self._wrong("expires", "expected a time")
        parse_time(expires)
        version = self._number(signed.get("version"), "version")
        if version < 1:
            raise self._wrong("version", f"expected 1 or more, got {version}")
        return version, expires

    def keys(self, value: object) -> dict[str, PublicKey]:
        found = {}
        for key_id, item in self.mapping({} if value is None else value, "keys").items():
            key = self.key(item)
            if key.key_id != key_id:
                raise self._wrong("keys", f"the key {key_id[:12]!r} has the id {key.key_id[:12]}")
            found[key_id] = key
        return found

    def key(self, value: object) -> PublicKey:
        body = self.mapping(value, "a key")
        pair = self.mapping(body.get("keyval"), "a key's keyval")
        return PublicKey(self.text(body.get("keytype"), "keytype"), self.base64(pair.get("public"), "a key"))

    def role(self, value: object, keys: Mapping[str, PublicKey], name: str) -> Role:
        body = self.mapping(value, name)
        key_ids = tuple(self.text(item, "keyids") for item in self.items(body.get("keyids"), "keyids"))
        threshold = self._number(body.get("threshold"), "threshold")
        people = {keys[key_id].canonical_id for key_id in key_ids if key_id in keys}
        if not 1 <= threshold <= len(people):
            raise self._wrong(name, f"{threshold} signature(s) are asked for, and {len(people)} key(s) are there")
        return Role(key_ids, threshold)

    def delegation(self, value: object, keys: Mapping[str, PublicKey]) -> Delegation:
        body = self.mapping(value, "a delegation")
        name = self.text(body.get("name"), "name")
        if not is_delegation(name):
            raise self._wrong("delegations", f"{name[:60]!r} is no name of a role")
        paths = tuple(self.text(item, "paths") for item in self.items(body.get("paths"), "paths", null=True))
        return Delegation(name, self.role(value, keys, f"the role {name}"), paths)

    def meta(self, value: object, name: str) -> Meta:
        body = self.mapping(value, name)
        hashes = {
            algorithm: self.base64(text, f"{name}: {algorithm}")
            for algorithm, text in self.mapping(body.get("hashes"), f"the hashes of {name}").items()
            if algorithm in _HASH_BYTES
        }
        if "sha256" not in hashes or any(len(digest) != _HASH_BYTES[name] for name, digest in hashes.items()):
            raise self._wrong(name, "expected a sha256 of 32 bytes, and no hash of another size")
        return Meta(self._number(body.get("length"), f"the length of {name}"), hashes, body.get("custom"))

    def signature(self, value: object) -> Signature:
        body = self.mapping(value, "a signature")
        key_id = self.text(body.get("keyid"), "a signature's keyid")
        if not _ID.match(key_id):
            raise self._wrong("a signature", f"{key_id[:70]!r} is no key id")
        method = self.text(body.get("method"), "a signature's method").lower()
        if not _METHOD.match(method):
            raise self._wrong("a signature", f"{method[:40]!r} is no method")
        return Signature(key_id, method, self.base64(body.get("sig"), "a signature"))

    def mapping(self, value: object, name: str) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(name, f"expected an object, got {type(value).__name__}")
        return value

    def items(self, value: object, name: str, *, null: bool = False) -> list[object]:
        if value is None and null:  # Go writes a list that was never begun so
            return []
        if not isinstance(value, list):
            raise self._wrong(name, f"expected a list, got {type(value).__name__}")
        return value

    def text(self, value: object, name: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(name, f"expected a text, got {type(value).__name__}")
        return value

    def base64(self, value: object, name: str) -> bytes:
        try:
            return base64.b64decode(self.text(value, name), validate=True)
        except ValueError as error:
            raise self._wrong(name, "expected base64") from error

    def _number(self, value: object, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(name, f"expected a number, got {str(value)[:40]!r}")
        return value

    def _listed(self, signed: dict[str, object], needed: tuple[str, ...]) -> dict[str, Meta]:
        meta = {
            name: self.meta(item, f"the file {name[:60]}")
            for name, item in self.mapping(signed.get("meta"), "meta").items()
        }
        if missing := [name for name in needed if name not in meta]:
            raise self._wrong("meta", f"{missing[0]} is not listed")
        return meta

    def _wrong(self, name: str, why: str) -> TamperedError:
        return TamperedError(f"{self.what}: {name}: {why}")


_READERS = {Root: _Reading.root, Targets: _Reading.targets, Snapshot: _Reading.snapshot, Timestamp: _Reading.timestamp}
