"""The key folder: private keys encrypted, their public parts beside them.

A key named ``root`` is two files, both of mode 0600 in a folder of mode 0700:

- ``root.key``: the private key, in OpenSSH's encrypted form (:mod:`trust.keys.container`);
- ``root.json``: purpose, day and public key, readable without the passphrase::

      {"schema": 1, "purpose": "root", "created": "2026-11-24T08:00:00Z",
       "public": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "…"}}}

The description is written last, so a key that is listed is complete; on use the private key is
checked to belong to it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from trust import strictjson
from trust.errors import KeyUnavailableError, TamperedError, UsageError
from trust.files import create_once, delete, write_atomically
from trust.keys import container, files, formats
from trust.keys.formats import load_public
from trust.keys.ids import SHORT_ID_DIGITS, KeyId, key_id, public_key_of, short_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from securesystemslib.signer import Key, Signer

__all__ = ["KeyStore", "Kind", "Passphrases", "Purpose", "StoredKey", "load_public"]

Purpose = Literal["root", "repository"]
Kind = Literal["ed25519", "ecdsa", "rsa"]

MIN_PASSPHRASE_CHARACTERS = 8
RSA_BITS = 3072
SCHEMA = 1
_PURPOSES: dict[str, Purpose] = {"root": "root", "repository": "repository"}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_ID_PREFIX = re.compile(rf"[0-9a-f]{{{SHORT_ID_DIGITS},64}}\Z")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of the folder. ``created`` is RFC 3339 UTC; ``public`` bears ``key_id`` as its id."""

    label: str
    key_id: KeyId
    public: Key
    purpose: Purpose
    created: str

    @property
    def short(self) -> str:
        """The first 7 hex digits of the id."""
        return short_id(self.key_id)


class Passphrases(Protocol):
    """Where passphrases come from: a file, the environment, a prompt. UTF-8, without a line end."""

    def existing(self, label: str, purpose: Purpose) -> bytes:
        """The passphrase that a key file has."""
        ...

    def new(self, label: str, purpose: Purpose) -> bytes:
        """A passphrase to give to a key file."""
        ...


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KeyStore:
    """The keys in one folder. A key is decrypted at most once in the life of this object.

    Args:
        folder: ``DOCKSEAL_HOME/keys``; made when the first key is written.
        passphrases: asked when one is needed, and only then.
        clock: gives the time that new keys bear.
    """

    def __init__(self, folder: Path, passphrases: Passphrases, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._folder = folder
        self._passphrases = passphrases
        self._clock = clock
        self._signers: dict[str, Signer] = {}

    def keys(self) -> tuple[StoredKey, ...]:
        """All keys, by label.

        Raises:
            KeyUnavailableError: a description is damaged, or the folder cannot be read.
        """
        found, damage = self._scan()
        if damage is not None:
            raise damage
        return found

    def find(self, name: str) -> StoredKey:
        """A key by what people call it.

        Args:
            name: its label, its id, or the first 7 or more hex digits of its id.

        Raises:
            KeyUnavailableError: there is none, or the digits fit several.
        """
        if _LABEL.match(name) and self._described(name):
            return self._describe(name)
        found, damage = self._scan()
        matches = {key.key_id: key for key in found if _ID_PREFIX.match(name) and key.key_id.startswith(name)}
        if len(matches) == 1:
            return next(iter(matches.values()))
        if damage is not None:
            raise damage
        many = bool(matches)
        here = ", ".join(f"{key.label} ({key.short})" for key in (matches.values() if many else found)) or "none"
        raise KeyUnavailableError(
            f"{'several keys begin with' if many else 'there is no key'} {name[:80]!r}: keys here: {here}",
            hint="give more digits, or the label" if many else "dockseal key generate NAME, or dockseal key load FILE",
        )

    def get(self, key_id: str) -> StoredKey | None:
        """The key with this id, if it is here. A damaged description of another key is no obstacle.

        Raises:
            KeyUnavailableError: the folder cannot be read.
        """
        return next((key for key in self._scan()[0] if key.key_id == key_id), None)

    def generate(self, label: str, *, kind: Kind = "ed25519", purpose: Purpose = "repository") -> StoredKey:
        """Make a new key. The passphrase is asked for before anything is made.

        Raises:
            UsageError: the label is malformed or taken.
            KeyUnavailableError: the passphrase is too short, or the files cannot be written.
        """
        self._check_free(label)
        passphrase = self._new_passphrase(label, purpose)
        return self._add(_new_private(kind), label, purpose, passphrase)

    def load(self, data: bytes, label: str, *, purpose: Purpose) -> StoredKey:
        """Take in a private key that was made elsewhere, or a backup.

        Args:
            data: PEM: PKCS#8, PKCS#1, SEC1 or OpenSSH, encrypted or not.
            label: what to call it here.
            purpose: which passphrase variable it follows.

        Raises:
            UsageError: the label is malformed or taken, the key is here already, or it is none that is used here.
            KeyUnavailableError: a passphrase is wrong or too short, or the file is damaged.
        """
        self._check_free(label)
        private = formats.load_private(data, "the file", lambda: self._old_passphrase(label, purpose))
        here = self.get(key_id(formats.tuf_key(private.public_key(), "the file")))
        if here is not None:
            raise UsageError(f"this key is here already: it is {here.label!r} ({here.short})")
        return self._add(private, label, purpose, self._new_passphrase(label, purpose))

    def export_private(self, key: StoredKey) -> bytes:
        """The encrypted private key, as it is stored: a backup, which :meth:`load` reads.

        Raises:
            KeyUnavailableError: the file is damaged, or not that of this key.
        """
        return self._read_private(key)

    def export_public(self, key: StoredKey) -> bytes:
        """The public key as PEM (SubjectPublicKeyInfo), to hand to others."""
        return formats.public_pem(key.public)

    def change_passphrase(self, key: StoredKey) -> None:
        """Encrypt the private key anew. Copies elsewhere keep the old passphrase.

        Raises:
            KeyUnavailableError: the old passphrase is wrong or the new one too short; the file is as it was.
        """
        private = self._unlock(key)
        passphrase = self._new_passphrase(key.label, key.purpose)
        write_atomically(self._private_path(key.label), container.seal(private, passphrase), error=KeyUnavailableError)

    def remove(self, key: StoredKey) -> None:
        """Delete the private and the public part.

        Raises:
            KeyUnavailableError: the key is not here (any more).
        """
        if self._describe(key.label).key_id != key.key_id:
            raise KeyUnavailableError(f"the key {key.label!r} is another one by now: it was {key.short}")
        delete(self._private_path(key.label), error=KeyUnavailableError)
        delete(self._public_path(key.label), error=KeyUnavailableError)
        self._signers.pop(key.key_id, None)

    def signer(self, key: StoredKey) -> Signer:
        """What signs with this key; asks for its passphrase the first time.

        Raises:
            KeyUnavailableError: the passphrase is wrong, or the file is damaged or not that of this key.
        """
        if key.key_id not in self._signers:
            self._signers[key.key_id] = _make_signer(self._unlock(key), key)
        return self._signers[key.key_id]

    def _private_path(self, label: str) -> Path:
        return self._folder / f"{label}.key"

    def _public_path(self, label: str) -> Path:
        return self._folder / f"{label}.json"

    def _described(self, label: str) -> bool:
        return label in files.names(self._folder, ".json")

    def _scan(self) -> tuple[tuple[StoredKey, ...], KeyUnavailableError | None]:
        """The keys that can be read, and what is wrong with the first that cannot."""
        found: list[StoredKey] = []
        damage: KeyUnavailableError | None = None
        for label in files.names(self._folder, ".json"):
            if _LABEL.match(label):
                try:
                    found.append(self._describe(label))
                except KeyUnavailableError as error:
                    damage = damage or error
        return tuple(found), damage

    def _describe(self, label: str) -> StoredKey:
        path = self._public_path(label)
        data = files.read(path, secret=False)
        try:
            return _parse_description(data, label, f"the key description {path}")
        except (TamperedError, UsageError) as error:
            raise KeyUnavailableError(error.message, hint=container.RESTORE_HINT) from error

    def _check_free(self, label: str) -> None:
        if not _LABEL.match(label):
            raise UsageError(
                f"invalid key name {label[:80]!r}: expected letters, digits, '.', '_' and '-', at most 64, "
                "beginning with a letter or a digit"
            )
        if self._described(label):
            raise UsageError(f"there is a key {label!r} already", hint="choose another name, or see dockseal key list")
        if label in files.names(self._folder, ".key"):
            path = self._private_path(label)
            raise UsageError(
                f"{path} is there without its description {label}.json: a key was copied in part, or cut off",
                hint=f"dockseal key load {path} takes it in under another name; then delete the file",
            )

    def _old_passphrase(self, label: str, purpose: Purpose) -> bytes:
        passphrase = self._passphrases.existing(label, purpose)
        if not passphrase:
            raise KeyUnavailableError(f"the passphrase for the key {label!r} is empty")
        return passphrase

    def _new_passphrase(self, label: str, purpose: Purpose) -> bytes:
        passphrase = self._passphrases.new(label, purpose)
        try:
            characters = len(passphrase.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise KeyUnavailableError(f"the new passphrase for the key {label!r} is not UTF-8") from error
        if characters < MIN_PASSPHRASE_CHARACTERS:
            raise KeyUnavailableError(
                f"the new passphrase for the key {label!r} is too short: it has {characters} characters, "
                f"expected at least {MIN_PASSPHRASE_CHARACTERS}"
            )
        return passphrase

    def _add(self, private: PrivateKeyTypes, label: str, purpose: Purpose, passphrase: bytes) -> StoredKey:
        public = formats.tuf_key(private.public_key(), "the key")
        created = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = StoredKey(label, key_id(public), public, purpose, created)
        self._write(label, container.seal(private, passphrase), _description(key))
        self._signers[key.key_id] = _make_signer(private, key)
        return key

    def _write(self, label: str, sealed: bytes, description: bytes) -> None:
        """Both files or none; the private one takes the name."""
        taken = UsageError(f"there is a key {label!r} already: another process was first")
        if not create_once(self._private_path(label), sealed, error=KeyUnavailableError):
            raise taken
        written = False
        try:
            written = create_once(self._public_path(label), description, error=KeyUnavailableError)
        finally:  # after an interrupt too
            if not written:
                delete(self._private_path(label), error=KeyUnavailableError)
        if not written:
            raise taken

    def _read_private(self, key: StoredKey) -> bytes:
        """The private file, checked as far as it can be without the passphrase."""
        path = self._private_path(key.label)
        what = f"the key file {path}"
        data = files.read(path, secret=True)
        header = container.read_header(data, what)
        container.check_cost(header, what)
        if header.public != container.ssh_public_blob(public_key_of(key.public)):
            raise _not_this_key(key)
        return data

    def _unlock(self, key: StoredKey) -> PrivateKeyTypes:
        data = self._read_private(key)
        passphrase = self._old_passphrase(key.label, key.purpose)
        private = container.unseal(data, passphrase, f"the key {key.label!r} ({key.short})")
        if key_id(formats.tuf_key(private.public_key(), "the key")) != key.key_id:
            raise _not_this_key(key)
        return private


def _make_signer(private: PrivateKeyTypes, key: StoredKey) -> Signer:
    from securesystemslib.signer import CryptoSigner, SSlibKey

    from trust.keys.signers import GuardedSigner

    public = SSlibKey(key.key_id, key.public.keytype, key.public.scheme, key.public.keyval)
    return GuardedSigner(CryptoSigner(private, public), key.label)


def _not_this_key(key: StoredKey) -> KeyUnavailableError:
    return KeyUnavailableError(
        f"{key.label}.key and {key.label}.json do not belong together: expected the private key of {key.short}",
        hint=container.RESTORE_HINT,
    )


def _new_private(kind: Kind) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    raise UsageError(f"unknown kind of key {kind!r}: expected {', '.join(get_args(Kind))}")


def _description(key: StoredKey) -> bytes:
    public = {"keytype": key.public.keytype, "scheme": key.public.scheme, "keyval": key.public.keyval}
    body = {"schema": SCHEMA, "purpose": key.purpose, "created": key.created, "public": public}
    return json.dumps(body, indent=1).encode("utf-8") + b"\n"


def _parse_description(data: bytes, label: str, what: str) -> StoredKey:
    body = strictjson.loads_object(data, what)
    if body.get("schema") != SCHEMA:
        raise TamperedError(f"{what} has the schema {str(body.get('schema'))[:20]}: expected {SCHEMA}")
    purpose = _PURPOSES.get(str(body.get("purpose")))
    created, public = body.get("created"), body.get("public")
    if purpose is None or not isinstance(created, str) or not isinstance(public, dict):
        raise TamperedError(f"{what} is damaged: expected purpose, created and public")
    key = formats.key_from_json(public, what)
    return StoredKey(label, key_id(key), key, purpose, created)
