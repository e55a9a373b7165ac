"""Keys that people bring: private keys to take in, public keys of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from trust import strictjson
from trust.errors import KeyUnavailableError, TamperedError, UsageError, WrongPassphraseError
from trust.keys import container, openpgp
from trust.keys.files import MAX_KEY_FILE_BYTES
from trust.keys.ids import key_id, public_key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from securesystemslib.signer import Key, SSlibKey

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384
"""What OpenSSL verifies at most; more would only slow every reader down."""

_KINDS = "Ed25519, ECDSA (P-256, P-384, P-521) or RSA"
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def load_private(data: bytes, what: str, passphrase: Callable[[], bytes]) -> PrivateKeyTypes:
    """Read a private key from PEM: PKCS#8, PKCS#1, SEC1 or OpenSSH, encrypted or not.

    Args:
        data: the file, at most 64 KiB.
        what: names it in errors.
        passphrase: asked once, and only where the file is encrypted.

    Raises:
        UsageError: a public key, a certificate, or a kind of key that is not used here.
        KeyUnavailableError: the passphrase is wrong, or the file is damaged.
    """
    _check_size(data, what)
    if b" PRIVATE KEY-----" not in data:
        raise _not_private(data, what)
    private = _load_openssh(data, what, passphrase) if _OPENSSH in data else _load_pem(data, what, passphrase)
    tuf_key(private.public_key(), what)
    return private


def load_public(data: bytes) -> Key:
    """Read a public key: PEM (SubjectPublicKeyInfo), or a key as it stands in TUF metadata.

    Returns:
        The key under its recomputed id, whatever id the file gives.

    Raises:
        UsageError: it is none of these, a private key, or a kind of key that is not used here.
    """
    what = "the public key file"
    _check_size(data, what)
    if b"PRIVATE KEY-----" in data:
        raise UsageError(f"{what} holds a private key", hint="dockseal key export NAME --public")
    if data.lstrip()[:1] == b"{":
        try:
            return key_from_json(strictjson.loads_object(data, what), what)
        except TamperedError as error:
            raise UsageError(error.message) from error
    return tuf_key(_load_pem_public(data, what), what)


def key_from_json(body: dict[str, object], what: str) -> Key:
    """A key as TUF metadata holds it (TUF specification 4.2): ``keytype``, ``scheme``, ``keyval``.

    Raises:
        TamperedError: a field is missing or its value is no such key.
        UsageError: a kind of key that is not used here.
    """
    from securesystemslib.signer import SSlibKey

    keytype, scheme, keyval = body.get("keytype"), body.get("scheme"), body.get("keyval")
    if not isinstance(keytype, str) or not isinstance(scheme, str) or not isinstance(keyval, dict):
        raise TamperedError(f"{what} is no TUF key: expected keytype, scheme and keyval")
    if scheme.startswith("pgp+"):
        return _openpgp_key(keytype, scheme, keyval, what)
    public = keyval.get("public")
    if set(keyval) != {"public"} or not isinstance(public, str):
        raise TamperedError(f"{what} is no TUF key: expected 'public', and nothing else, in keyval")
    key = SSlibKey("", keytype, scheme, {"public": public})
    usual = tuf_key(public_key_of(key), what)
    if keytype != usual.keytype or not _same_kind(scheme, usual.scheme):
        raise UsageError(f"{what} has the key type {keytype}/{scheme}: expected {usual.keytype}/{usual.scheme}")
    key.keyid = key_id(key)
    return key


def key_to_json(key: Key) -> dict[str, object]:
    """The key as TUF metadata holds it; :func:`key_from_json` reads it."""
    return {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}


def usual_spelling(key: Key, what: str) -> Key:
    """The same key as :func:`tuf_key` would write it, with its scheme kept and its id recomputed.

    A service may wrap its PEM otherwise, and one key would have two ids.

    Raises:
        TamperedError: its value is no public key.
        UsageError: a kind of key that is not used here.
    """
    if not openpgp.is_openpgp(key):
        usual = tuf_key(public_key_of(key), what)
        key = type(usual)("", usual.keytype, key.scheme, usual.keyval)
    return key_from_json(key_to_json(key), what)


def tuf_key(public: PublicKeyTypes, what: str) -> SSlibKey:
    """A public key as TUF writes it, with the usual scheme of its kind.

    Raises:
        UsageError: a kind or size that is not used here.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from securesystemslib.signer import SSlibKey

    if not isinstance(public, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise UsageError(f"{what} holds a {type(public).__name__}: expected {_KINDS}")
    if isinstance(public, rsa.RSAPublicKey) and not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
        raise UsageError(
            f"{what} holds an RSA key of {public.key_size} bits: expected {MIN_RSA_BITS} to {MAX_RSA_BITS}"
        )
    try:
        return SSlibKey.from_crypto(public)
    except ValueError as error:
        raise UsageError(f"{what} holds a key on another curve: expected {_KINDS}") from error


def public_text(key: Key) -> bytes:
    """The key to hand to others: PEM, or JSON where PEM would lose the scheme. :func:`load_public` reads both.

    Raises:
        TamperedError: its value is no public key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = public_key_of(key)
    if tuf_key(public, "the key").scheme != key.scheme:
        return json.dumps(key_to_json(key), indent=1).encode("utf-8") + b"\n"
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _openpgp_key(keytype: str, scheme: str, keyval: dict[str, object], what: str) -> Key:
    key = openpgp.OpenPgpKey("", keytype, scheme, keyval)
    tuf_key(openpgp.public_key_of(key), what)
    key.keyid = key_id(key)
    return key


def _same_kind(scheme: str, usual: str) -> bool:
    """ECDSA's scheme follows from its curve and Ed25519 has one; RSA has several that python-tuf counts."""
    rsa = ("rsassa-pss-sha", "rsa-pkcs1v15-sha")
    tails = ("256", "384", "512")
    return scheme == usual or (usual.startswith(rsa) and scheme in {head + tail for head in rsa for tail in tails})


def _check_size(data: bytes, what: str) -> None:
    if len(data) > MAX_KEY_FILE_BYTES:
        raise KeyUnavailableError(f"{what} is no key file: it is larger than {MAX_KEY_FILE_BYTES} bytes")


def _not_private(data: bytes, what: str) -> UsageError | KeyUnavailableError:
    if b"PUBLIC KEY-----" in data or data.startswith((b"ssh-", b"ecdsa-")):
        return UsageError(f"{what} holds a public key: expected a private one", hint="load the key it belongs to")
    if b"-----BEGIN CERTIFICATE-----" in data:
        return UsageError(f"{what} holds a certificate: expected a private key")
    return KeyUnavailableError(f"{what} is damaged: expected a private key in PEM form", hint=container.RESTORE_HINT)


def _load_openssh(data: bytes, what: str, passphrase: Callable[[], bytes]) -> PrivateKeyTypes:
    header = container.read_header(data, what)
    if header.is_encrypted and header.rounds > container.MAX_KDF_ROUNDS:
        container.check_cost(header, what)
    secret = passphrase() if header.is_encrypted else None
    return cast("PrivateKeyTypes", container.unseal(data, secret, what))


def _load_pem(data: bytes, what: str, passphrase: Callable[[], bytes]) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    secret = passphrase() if b"ENCRYPTED" in data else None
    try:
        return load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "its passphrase is wrong, or it is damaged" if secret is not None else "it is damaged"
        kind = WrongPassphraseError if secret is not None else KeyUnavailableError
        raise kind(f"{what} cannot be read: {reason}", hint=container.RESTORE_HINT) from error


def _load_pem_public(data: bytes, what: str) -> PublicKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{what} cannot be read: expected a public key as PEM, or as TUF metadata holds it",
            hint="dockseal key export NAME --public",
        ) from error
