"""What a key is called, and when two keys are one.

A key id is always recomputed from the key itself. The label that a metadata file puts on a key
is a claim: python-tuf looks keys up by it, so a forged label would satisfy a pin.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Self

from trust.errors import KeyUnavailableError, TamperedError, UsageError
from trust.keys import openpgp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from securesystemslib.signer import Key

SHORT_ID_DIGITS = 7
EXAMPLE_KEYS_VARIABLE = "DOCKSEAL_ALLOW_EXAMPLE_KEYS"
EXAMPLE_KEY_IDS: frozenset[str] = frozenset(
    {
        "fee4db8890cdb2e840d87f1488425378c47866d2f02246e690286001605e30ed",
        "35f0fa334749d25b6d5ccef2864c56ca4ba3f4b16e0f562a3adec52c4a134e6f",
        "4ca7df743637c365c4e47d9d25c23cc49af263484b307143a590ba62403783e1",
    }
)
"""The ids of the keys in ``keys.example/``, whose passphrase is published."""

_KEY_ID = re.compile(r"[0-9a-f]{64}\Z")


class KeyId(str):
    """64 lower-case hex digits, checked when it is made.

    Raises:
        UsageError: the text is no key id.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text."""
        if not _KEY_ID.match(text):
            raise UsageError(f"invalid key id {text[:100]!r}: expected 64 lower-case hex digits")
        return super().__new__(cls, text)

    @property
    def short(self) -> str:
        """As people see it."""
        return short_id(self)


def key_id(key: Key) -> KeyId:
    """The id of a key, whatever its file calls it.

    It is the sha256 of the canonical JSON of ``keytype``, ``scheme`` and ``keyval`` (TUF
    specification 4.2), as python-tuf's signers compute it for new keys.

    Raises:
        TamperedError: the key holds what canonical JSON cannot say.
    """
    from securesystemslib.exceptions import FormatError
    from securesystemslib.formats import encode_canonical

    body = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
    try:
        text = encode_canonical(body)
        return KeyId(hashlib.sha256(str(text).encode("utf-8")).hexdigest())
    except (FormatError, UnicodeEncodeError, AttributeError, RecursionError) as error:
        raise TamperedError("a key holds a value that canonical JSON does not know: it has no id") from error


def short_id(key_id: str) -> str:
    """The first 7 hex digits, as people see an id."""
    return key_id[:SHORT_ID_DIGITS]


def key_material(key: Key) -> bytes:
    """The public key itself, to notice one key under two ids.

    Returns:
        The DER of its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): the same however the PEM is
        wrapped or the hex is spelt, and whatever the scheme.

    Raises:
        TamperedError: the value is no public key of the type it claims.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public_key_of(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_of(key: Key) -> PublicKeyTypes:
    """The key as cryptography's object.

    Raises:
        TamperedError: the type is not one that python-tuf counts with a local check, or the value is no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    if openpgp.is_openpgp(key):
        return openpgp.public_key_of(key)
    public = key.keyval.get("public")
    if not isinstance(public, str):
        raise TamperedError(f"a key of type {key.keytype[:40]!r} has no public value")
    try:
        found = _parse_public(key.keytype, public)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TamperedError(f"a key of type {key.keytype[:40]!r} is damaged: its value is no public key") from error
    if not isinstance(found, _types_of(key.keytype)):
        raise TamperedError(f"a key says it is {key.keytype[:40]!r}: its value is a {type(found).__name__}")
    return found


def check_not_example(key_ids: Iterable[str], *, allowed: bool) -> None:
    """Refuse the keys that everybody has.

    Args:
        key_ids: ids in use, recomputed by :func:`key_id`.
        allowed: whether the user has said so, with ``DOCKSEAL_ALLOW_EXAMPLE_KEYS=1``.

    Raises:
        KeyUnavailableError: one of them is an example key.
    """
    found = sorted(EXAMPLE_KEY_IDS.intersection(key_ids))
    if found and not allowed:
        raise KeyUnavailableError(
            f"the key {short_id(found[0])} is from keys.example: anybody can sign with it, its passphrase is published",
            hint=f"make a key of your own: dockseal key generate NAME (for a demonstration: {EXAMPLE_KEYS_VARIABLE}=1)",
        )


def _parse_public(keytype: str, public: str) -> PublicKeyTypes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if keytype == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    return load_pem_public_key(public.encode("utf-8"))


def _types_of(keytype: str) -> tuple[type, ...]:
    """The classes that a TUF ``keytype`` may hold; none for an unknown one."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    if keytype == "ml-dsa":
        return (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)
    if keytype == "ecdsa" or keytype.startswith("ecdsa-sha2-nistp"):  # the latter: as older TUF tools name it
        return (ec.EllipticCurvePublicKey,)
    return {"ed25519": (ed25519.Ed25519PublicKey,), "rsa": (rsa.RSAPublicKey,)}.get(keytype, ())
