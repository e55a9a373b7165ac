"""Signing in the older dialect with the keys of the key folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trust.errors import DocksealError, KeyUnavailableError, UnsignedError, UsageError
from trust.keys.ids import check_not_example, public_key_of
from trust.notary import certificates
from trust.notary.codec import encode, message_of
from trust.notary.keys import Labels, canonical_id, write_private
from trust.notary.model import File, P, Role, Signature
from trust.notary.publickeys import PublicKey, raw_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trust.keys.store import KeyStore, Purpose, StoredKey

ROOT_LABEL = "notary-root"
MAKING_SECONDS = 5.0
LOOK_SECONDS = 0.05


class NotarySigning:
    """Finds keys of Notary's roles among those that are here, whether made here or loaded from docker's folder."""

    def __init__(self, keys: KeyStore, *, allow_example_keys: bool) -> None:
        self._keys = keys
        self._allow_example_keys = allow_example_keys

    def find(self, key: PublicKey) -> StoredKey | None:
        """The private key that belongs to a public one or to a certificate, if it is here."""
        wanted = key.canonical_id
        for stored in self._keys.keys():  # noqa: SIM118 - a KeyStore is no dict
            try:
                if canonical_id(public_key_of(stored.public)) == wanted:
                    return stored
            except DocksealError:  # a kind of key that notary does not know
                continue
        return None

    def held(self, role: Role, keys: Mapping[str, PublicKey]) -> tuple[tuple[PublicKey, StoredKey], ...]:
        """The keys of a role that are here, one for each private key."""
        found = {}
        for key_id in role.key_ids:
            if key_id in keys and (stored := self.find(keys[key_id])) is not None:
                found[stored.key_id] = (keys[key_id], stored)
        return tuple(found.values())

    def can_sign(self, role: Role, keys: Mapping[str, PublicKey]) -> bool:
        """Whether enough of a role's keys are here; whether they can be unlocked is not known yet."""
        return len(self.held(role, keys)) >= role.threshold

    def sign(self, payload: P, role: Role, keys: Mapping[str, PublicKey], what: str) -> File[P]:
        """The role file, signed as often as its role asks for.

        Raises:
            UnsignedError: fewer keys are here.
            KeyUnavailableError: one of them cannot be used.
        """
        held = self.held(role, keys)
        if len(held) < role.threshold:
            raise UnsignedError(
                f"this machine cannot sign {what}: {role.threshold} of its keys "
                f"{', '.join(sorted(keys[key_id].canonical_id[:7] for key_id in role.key_ids if key_id in keys))} "
                f"are needed, and it holds {len(held)}",
                hint="`dockseal key load FILE` takes a key of ~/.docker/trust/private in",
            )
        message = message_of(payload)
        return encode(payload, tuple(self._signature(key, stored, message) for key, stored in held[: role.threshold]))

    def key_for(self, label: str, purpose: Purpose) -> PublicKey:
        """The key of this label, which is made where there is none: ECDSA on P-256, which every client reads.

        Raises:
            KeyUnavailableError: it cannot be made.
        """
        from trust.notary.publickeys import from_crypto

        try:
            stored = self._keys.find(label)
        except KeyUnavailableError:
            try:
                stored = self._keys.generate(label, kind="ecdsa", purpose=purpose)
            except UsageError:
                stored = self._made_by_another(label)
        return from_crypto(public_key_of(stored.public))

    def _made_by_another(self, label: str) -> StoredKey:
        """Another process makes this key at this moment; its description is written last."""
        for _ in range(int(MAKING_SECONDS / LOOK_SECONDS)):
            try:
                return self._keys.find(label)
            except KeyUnavailableError:
                time.sleep(LOOK_SECONDS)
        return self._keys.find(label)

    def certificate(self, gun: str, key: PublicKey, now: datetime) -> PublicKey:
        """A root certificate of a key for a repository.

        Raises:
            KeyUnavailableError: the key is not here, is of another kind, or cannot be used.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

        stored, public = self.find(key), key.material
        if stored is None or not isinstance(public, EllipticCurvePublicKey):
            raise KeyUnavailableError(f"the root key {key.canonical_id[:7]} is not here, or no ECDSA key")
        made = certificates.make(gun, public, lambda body: self._der(stored, body), now)
        leaf = made.certificate()
        leaf.verify_directly_issued_by(leaf)
        return made

    def exported(self, key: PublicKey, labels: Labels) -> bytes | None:
        """A key's file as docker and notary write it; None where the key is not here.

        Raises:
            UsageError: a kind of key that docker does not know, or one that is not in a file.
            KeyUnavailableError: a passphrase is wrong or too short, or the file is damaged.
        """
        stored = self.find(key)
        if stored is None:
            return None
        return self._keys.export_with(stored, lambda private, secret: write_private(private, secret, labels))

    def _signature(self, key: PublicKey, stored: StoredKey, message: bytes) -> Signature:
        """Sign, and check that every client would take it: some schemes of ours are none of notary's."""
        raw, method = self._der(stored, message), "eddsa"
        keytype = stored.public.keytype
        if keytype == "rsa":
            method = "rsapss"
        elif keytype != "ed25519":
            from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

            public = key.material
            assert isinstance(public, EllipticCurvePublicKey)  # noqa: S101 - the same key
            raw, method = raw_signature(raw, public.curve.key_size), "ecdsa"
        if not key.verifies(message, method, raw):
            raise KeyUnavailableError(
                f"the key {stored.label!r} signs with {stored.public.scheme}, which docker and notary do not read",
                hint="Notary wants ECDSA on P-256, RSA (PSS, SHA-256) or Ed25519",
            )
        return Signature(key.key_id, method, raw)

    def _der(self, stored: StoredKey, message: bytes) -> bytes:
        check_not_example([stored.key_id], allowed=self._allow_example_keys)
        return bytes.fromhex(self._keys.signer(stored).sign(message).signature)
