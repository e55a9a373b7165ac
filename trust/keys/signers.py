"""Signing so that only our errors come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securesystemslib.signer import Signer

from trust.errors import KeyUnavailableError
from trust.keys.ids import short_id

if TYPE_CHECKING:
    from securesystemslib.signer import Key, SecretsHandler, Signature


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
