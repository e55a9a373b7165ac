"""The key folder: private keys encrypted, their public parts beside them.

A key named ``root`` is two files, both of mode 0600 in a folder of mode 0700:

- ``root.key``: the private key, in OpenSSH's encrypted form (:mod:`trust.keys.container`);
- ``root.json``: its description (:mod:`trust.keys.description`), readable without the passphrase.

A key whose private part is elsewhere (:mod:`trust.keys.remote`) is the description alone, with a URI.

The description is written last, so a key that is listed is complete; on use the private key is
checked to belong to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

from trust.errors import KeyUnavailableError, TamperedError, UsageError
from trust.files import create_once, delete, write_atomically
from trust.keys import backup, container, description, files, formats, remote
from trust.keys.asking import BACKUP, Asking, Passphrases
from trust.keys.description import Purpose, StoredKey
from trust.keys.formats import load_public
from trust.keys.ids import SHORT_ID_DIGITS, key_id, short_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from securesystemslib.signer import Signer

    from trust.keys.remote import Pins

    Reader = Callable[[bytes, str, Callable[[], bytes]], PrivateKeyTypes]
    """From a file's bytes, what it is called in errors and what gives its passphrase: the private key."""

__all__ = ["KeyStore", "Kind", "Passphrases", "Purpose", "Restored", "StoredKey", "load_public"]

Kind = Literal["ed25519", "ecdsa", "rsa"]

RSA_BITS = 3072
_ID_PREFIX = re.compile(rf"[0-9a-f]{{{SHORT_ID_DIGITS},64}}\Z")


@dataclass(frozen=True, slots=True)
class Restored:
    """A key of a backup. ``was_here``: nothing was written, since this key was here already."""

    key: StoredKey
    was_here: bool


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _never(purpose: Purpose) -> bool:
    del purpose
    return False


class KeyStore:
    """The keys in one folder. A key is decrypted at most once in the life of this object.

    Args:
        folder: ``DOCKSEAL_HOME/keys``; made when the first key is written.
        passphrases: asked when one is needed, and only then.
        clock: gives the time that new keys bear.
        pins: asked for the PIN of a token; None where nobody can be.
        can_ask_again: whether a wrong passphrase for this purpose came from a person, who may try again.
    """

    def __init__(
        self,
        folder: Path,
        passphrases: Passphrases,
        *,
        clock: Callable[[], datetime] = _utc_now,
        pins: Pins | None = None,
        can_ask_again: Callable[[Purpose], bool] = _never,
    ) -> None:
        self._folder = folder
        self._asking = Asking(passphrases, can_ask_again)
        self._clock = clock
        self._secrets = remote.Secrets(pins)
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
        if description.is_label(name) and self._described(name):
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
        passphrase = self._asking.new(label, purpose)
        return self._add(_new_private(kind), label, purpose, passphrase)

    def load(self, data: bytes, label: str, *, purpose: Purpose, read: Reader = formats.load_private) -> StoredKey:
        """Take in a private key that was made elsewhere, or a backup of one.

        Args:
            data: what ``read`` reads; by default PEM: PKCS#8, PKCS#1, SEC1 or OpenSSH, encrypted or not.
            label: what to call it here.
            purpose: which passphrase variable it follows.
            read: reads other dialects.

        Raises:
            UsageError: the label is malformed or taken, the key is here already, or it is none that is used here.
            KeyUnavailableError: a passphrase is wrong or too short, or the file is damaged.
        """
        self._check_free(label)
        private = self._asking.with_tries(
            purpose, lambda: read(data, "the file", lambda: self._asking.existing(label, purpose))
        )
        self._check_new(key_id(formats.tuf_key(private.public_key(), "the file")))
        return self._add(private, label, purpose, self._asking.new(label, purpose))

    def add(self, uri: str, label: str | None = None, *, purpose: Purpose = "repository") -> StoredKey:
        """Take in a key that stays where it is: on a token, in a KMS, in GnuPG. Its public key is fetched.

        Args:
            uri: where it is (:data:`trust.keys.remote.SERVICES`).
            label: what to call it here; by default its kind of place and its short id.
            purpose: what it is for.

        Raises:
            UsageError: the URI or the label is malformed or taken, the key is here already or is of no kind used here.
            KeyUnavailableError: the place cannot be reached, denies, or its library is missing.
        """
        if label is not None:
            self._check_free(label)
        found, public = remote.fetch(uri, self._secrets)
        self._check_new(public.keyid)
        label = label or f"{uri.partition(':')[0]}-{short_id(public.keyid)}"
        self._check_free(label)
        key = StoredKey(label, key_id(public), public, purpose, self._now(), uri=found)
        if not create_once(self._public_path(label), description.dump(key), error=KeyUnavailableError):
            raise _taken(label)
        return key

    def export_private(self, key: StoredKey) -> bytes:
        """The encrypted private key, as it is stored: a backup, which :meth:`load` reads.

        Raises:
            UsageError: the private key is elsewhere.
            KeyUnavailableError: the file is damaged, or not that of this key.
        """
        _check_held(key)
        return self._read_private(key)

    def export_with(self, key: StoredKey, write: Callable[[PrivateKeyTypes, bytes], bytes]) -> bytes:
        """The private key in another dialect.

        Args:
            key: to be exported.
            write: from the private key and the passphrase that the file gets to the file's bytes.

        Raises:
            UsageError: the private key is elsewhere.
            KeyUnavailableError: a passphrase is wrong or too short, or the file is damaged.
        """
        _check_held(key)
        return write(self._unlock(key), self._asking.new(key.label, key.purpose))

    def export_all(self) -> bytes:
        """All keys in one encrypted archive, which :meth:`restore` reads. Of those elsewhere, what is known here.

        Raises:
            UsageError: there is no key.
            KeyUnavailableError: a file is damaged, or the archive's passphrase is too short.
        """
        keys = self.keys()
        if not keys:
            raise UsageError("there is no key to export", hint="dockseal key generate NAME")
        now = self._now()
        content = {f"{key.label}.json": description.dump(replace(key, backed_up=now)) for key in keys}
        content |= {f"{key.label}.key": self._read_private(key) for key in keys if key.uri is None}
        return backup.seal(content, self._asking.new(BACKUP, "root"))

    def note_backup(self, keys: Iterable[StoredKey]) -> None:
        """Note that these keys have been exported now.

        Raises:
            KeyUnavailableError: the note cannot be written.
        """
        for key in keys:
            noted = description.dump(replace(key, backed_up=self._now()))
            write_atomically(self._public_path(key.label), noted, error=KeyUnavailableError)

    def restore(self, data: bytes) -> tuple[Restored, ...]:
        """Take in an archive. Every key is checked before the first is written; those that are here are left alone.

        A key whose label another one has here gets a longer one.

        Raises:
            KeyUnavailableError: the archive's passphrase is wrong, it is damaged, or a file cannot be written.
        """
        content = self._asking.with_tries(
            "root", lambda: backup.unseal(data, lambda: self._asking.existing(BACKUP, "root"))
        )
        keys = [_parse_restored(name, content) for name in sorted(content) if name.endswith(".json")]
        return tuple(self._restore(key, content.get(f"{key.label}.key")) for key in keys)

    def export_public(self, key: StoredKey) -> bytes:
        """The public key to hand to others: PEM (SubjectPublicKeyInfo), or JSON where PEM would lose the scheme."""
        return formats.public_text(key.public)

    def change_passphrase(self, key: StoredKey) -> None:
        """Encrypt the private key anew. Copies elsewhere keep the old passphrase.

        Raises:
            UsageError: the private key is elsewhere.
            KeyUnavailableError: the old passphrase is wrong or the new one too short; the file is as it was.
        """
        _check_held(key)
        private = self._unlock(key)
        passphrase = self._asking.new(key.label, key.purpose)
        write_atomically(self._private_path(key.label), container.seal(private, passphrase), error=KeyUnavailableError)

    def remove(self, key: StoredKey) -> None:
        """Delete the private and the public part; of a key that is elsewhere, what is known of it here.

        Raises:
            KeyUnavailableError: the key is not here (any more).
        """
        if self._describe(key.label).key_id != key.key_id:
            raise KeyUnavailableError(f"the key {key.label!r} is another one by now: it was {key.short}")
        delete(self._private_path(key.label), error=KeyUnavailableError)
        delete(self._public_path(key.label), error=KeyUnavailableError)
        self._signers.pop(key.key_id, None)

    def signer(self, key: StoredKey) -> Signer:
        """What signs with this key; asks for its passphrase or PIN the first time.

        Raises:
            KeyUnavailableError: the passphrase is wrong, or the file is damaged or not that of this key; for a key
                that is elsewhere, its library is missing.
        """
        if key.key_id not in self._signers:
            self._signers[key.key_id] = (
                _make_signer(self._unlock(key), key) if key.uri is None else remote.open_signer(key, self._secrets)
            )
        return self._signers[key.key_id]

    def open_together(self, keys: Sequence[StoredKey]) -> None:
        """Have the signers of several keys at the time that one takes: derivations go side by side.

        Raises:
            KeyUnavailableError: as :meth:`signer`.
        """
        from concurrent.futures import ThreadPoolExecutor

        closed = {key.key_id: key for key in keys if key.uri is None and key.key_id not in self._signers}
        if len(closed) < 2 or any(self._asking.is_answered_by_a_person(key.purpose) for key in closed.values()):  # noqa: PLR2004 - one key is as fast alone
            return
        with ThreadPoolExecutor(len(closed)) as pool:
            opened = pool.map(lambda key: _make_signer(self._unlock(key), key), closed.values())
            self._signers.update(zip(closed, opened, strict=True))

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
            if description.is_label(label):
                try:
                    found.append(self._describe(label))
                except KeyUnavailableError as error:
                    damage = damage or error
        return tuple(found), damage

    def _describe(self, label: str) -> StoredKey:
        path = self._public_path(label)
        data = files.read(path, secret=False)
        try:
            return description.parse(data, label, f"the key description {path}")
        except (TamperedError, UsageError) as error:
            raise KeyUnavailableError(error.message, hint=container.RESTORE_HINT) from error

    def _check_free(self, label: str) -> None:
        description.check_label(label)
        if self._described(label):
            raise UsageError(f"there is a key {label!r} already", hint="choose another name, or see dockseal key list")
        if label in files.names(self._folder, ".key"):
            path = self._private_path(label)
            raise UsageError(
                f"{path} is there without its description {label}.json: a key was copied in part, or cut off",
                hint=f"dockseal key load {path} takes it in under another name; then delete the file",
            )

    def _check_new(self, identity: str) -> None:
        here = self.get(identity)
        if here is not None:
            raise UsageError(f"this key is here already: it is {here.label!r} ({here.short})")

    def _now(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _add(self, private: PrivateKeyTypes, label: str, purpose: Purpose, passphrase: bytes) -> StoredKey:
        public = formats.tuf_key(private.public_key(), "the key")
        key = StoredKey(label, key_id(public), public, purpose, self._now())
        self._write(label, container.seal(private, passphrase), description.dump(key))
        self._signers[key.key_id] = _make_signer(private, key)
        return key

    def _write(self, label: str, sealed: bytes, described: bytes) -> None:
        """Both files or none; the private one takes the name."""
        if not create_once(self._private_path(label), sealed, error=KeyUnavailableError):
            raise _taken(label)
        written = False
        try:
            written = create_once(self._public_path(label), described, error=KeyUnavailableError)
        finally:  # after an interrupt too
            if not written:
                delete(self._private_path(label), error=KeyUnavailableError)
        if not written:
            raise _taken(label)

    def _restore(self, key: StoredKey, sealed: bytes | None) -> Restored:
        here = self.get(key.key_id)
        if here is not None:
            return Restored(here, was_here=True)
        taken = {*files.names(self._folder, ".json"), *files.names(self._folder, ".key")}
        if key.label in taken:
            key = replace(key, label=f"{key.label[:48]}-{key.short}")
            self._check_free(key.label)
        if sealed is not None:
            self._write(key.label, sealed, description.dump(key))
        elif not create_once(self._public_path(key.label), description.dump(key), error=KeyUnavailableError):
            raise _taken(key.label)
        return Restored(key, was_here=False)

    def _read_private(self, key: StoredKey) -> bytes:
        """The private file, checked as far as it can be without the passphrase."""
        path = self._private_path(key.label)
        data = files.read(path, secret=True)
        container.check_belongs(data, key.public, f"the key file {path}")
        return data

    def _unlock(self, key: StoredKey) -> PrivateKeyTypes:
        data = self._read_private(key)
        what = f"the key {key.label!r} ({key.short})"
        private = self._asking.with_tries(
            key.purpose, lambda: container.unseal(data, self._asking.existing(key.label, key.purpose), what)
        )
        if key_id(formats.tuf_key(private.public_key(), "the key")) != key.key_id:
            raise container.not_together(key.key_id, f"the key file {self._private_path(key.label)}")
        return private


def _make_signer(private: PrivateKeyTypes, key: StoredKey) -> Signer:
    from securesystemslib.signer import CryptoSigner, SSlibKey

    from trust.keys.signers import GuardedSigner

    public = SSlibKey(key.key_id, key.public.keytype, key.public.scheme, key.public.keyval)
    return GuardedSigner(CryptoSigner(private, public), key.label)


def _check_held(key: StoredKey) -> None:
    if key.uri is not None:
        raise UsageError(
            f"the private key of {key.label!r} ({key.short}) is not here and cannot be exported or changed: "
            f"it is in {key.uri}",
            hint=f"dockseal key export {key.label} --public",
        )


def _parse_restored(name: str, content: dict[str, bytes]) -> StoredKey:
    """A key of a backup, checked as one of the folder is."""
    label = name.removesuffix(".json")
    what = f"{name[:80]!r} in the backup"
    try:
        description.check_label(label)
        key = description.parse(content[name], label, what)
    except (TamperedError, UsageError) as error:
        raise KeyUnavailableError(error.message) from error
    sealed = content.get(f"{label}.key")
    if (sealed is None) != (key.uri is not None):
        raise KeyUnavailableError(f"{what} is incomplete: expected a private key or a URI")
    if sealed is not None:
        container.check_belongs(sealed, key.public, f"the private key of {what}")
    return key


def _taken(label: str) -> UsageError:
    return UsageError(f"there is a key {label!r} already: another process was first")


def _new_private(kind: Kind) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    raise UsageError(f"unknown kind of key {kind!r}: expected {', '.join(get_args(Kind))}")
