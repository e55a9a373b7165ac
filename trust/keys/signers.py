"""Which of a role's keys can sign here, and signing with them: key files and keys elsewhere alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securesystemslib.signer import Signer

from trust.errors import KeyUnavailableError
from trust.keys.ids import short_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from securesystemslib.signer import Key, SecretsHandler, Signature

    from trust.keys.store import KeyStore, StoredKey


class GuardedSigner(Signer):
    """A securesystemslib signer out of which only our errors come.

    Args:
        inner: the signer that does the work.
        label: how people name the key, for errors.
    """

    def __init__(self, inner: Signer, label: str) -> None:
        self._inner = inner
        self._label = label

    @property
    def public_key(self) -> Key:
        """The public key of the signatures."""
        return self._inner.public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign bytes.

        Raises:
            KeyUnavailableError: the key cannot sign, whatever the reason.
        """
        try:
            return self._inner.sign(payload)
        except Exception as error:  # a signer may run anything: a library, a token's driver, a cloud's client
            raise KeyUnavailableError(
                f"the key {self._label!r} ({short_id(self.public_key.keyid)}) could not sign: {type(error).__name__}",
                hint="dockseal key list",
            ) from error

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Not a way to make one: it wraps a signer that exists."""
        raise NotImplementedError(f"{cls.__name__} wraps a signer")


class Signers:
    """The keys of this machine, asked for by a role's key ids.

    Args:
        store: the key files.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def available(self, key_ids: Iterable[str]) -> tuple[StoredKey, ...]:
        """Those of the keys that can be used here, in the order asked for. Nothing is decrypted.

        Raises:
            KeyUnavailableError: the key folder cannot be read.
        """
        found = (self._store.get(key_id) for key_id in dict.fromkeys(key_ids))
        return tuple(key for key in found if key is not None)

    def signer(self, key: StoredKey) -> Signer:
        """What signs with this key; asks for its passphrase the first time.

        Raises:
            KeyUnavailableError: the passphrase is wrong, or the file is damaged.
        """
        return self._store.signer(key)
