"""Private keys as docker and notary keep them, ``~/.docker/trust/private/ID.key``.

PEM with the headers ``role`` and ``gun``. Since notary 0.6 (docker 17.12) it holds PKCS#8 (RFC 5208),
encrypted with PBES2 (RFC 8018: PBKDF2-HMAC-SHA1 with 2,048 rounds, AES-256-CBC); before, what OpenSSL
wrote of old (``Proc-Type``, ``DEK-Info``). Only what :func:`trust.keys.formats.load_private` cannot read
is read here (docs/adr/0004-keys-from-and-to-elsewhere.md):

- an ECDSA key in PKCS#8 of version 1: Go's writer put that number there, cryptography wants 0;
- an Ed25519 key under the OID 1.3.6.1.4.1.11591.15.1: 32 bytes public key, then Go's 64 bytes of private key;
- the same 96 bytes in an ``ED25519 PRIVATE KEY`` of the older form.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import KeyUnavailableError, UsageError, WrongPassphraseError
from trust.notary import der

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

MAX_ITERATIONS = 10_000_000
"""PBKDF2 rounds of about 3 s; notary writes 2,048. A hostile count must not hang us."""

_PEM = re.compile(
    rb"-----BEGIN (?P<kind>(?:[A-Z0-9]+ )?PRIVATE KEY)-----\r?\n"
    rb"(?P<headers>(?:[A-Za-z-]+:[^\n]*\n)*)"
    rb"(?P<body>[A-Za-z0-9+/=\s]+)"
    rb"-----END (?P=kind)-----"
)
_ROUNDS = 2048
_SALT_BYTES = 8
_AES_KEY_BYTES = 32
_BLOCK_BYTES = 16
_ED25519_BYTES = 32
_GO_KEY_BYTES = 96

_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_AES_256_CBC = bytes.fromhex("60864801650304012a")
_EC = bytes.fromhex("2a8648ce3d0201")
_RSA = bytes.fromhex("2a864886f70d010101")
_NOTARY_ED25519 = bytes.fromhex("2b06010401da470f01")
_CURVES = {"2a8648ce3d030107": "SECP256R1", "2b81040022": "SECP384R1", "2b81040023": "SECP521R1"}


@dataclass(frozen=True, slots=True)
class Labels:
    """What the file says its key is for; not signed. ``gun`` is the repository's name."""

    role: str | None
    gun: str | None


@dataclass(frozen=True, slots=True)
class _Pem:
    kind: str
    headers: dict[str, str]
    body: bytes


def read_labels(data: bytes) -> Labels:
    """The headers ``role`` and ``gun`` of a PEM file; both None where it is none, or has none."""
    pem = _parse_pem(data)
    headers = pem.headers if pem is not None else {}
    return Labels(headers.get("role"), headers.get("gun"))


def read_private(data: bytes, what: str, passphrase: Callable[[], bytes]) -> PrivateKeyTypes | None:
    """Read a private key of this dialect.

    Args:
        data: the file.
        what: names it in errors.
        passphrase: asked once, and only where the file is of this dialect and encrypted.

    Returns:
        The key, or None where the file is of another dialect: PEM of the usual kinds, OpenSSH's, no key at all.

    Raises:
        WrongPassphraseError: the passphrase is wrong, or the file is damaged.
        KeyUnavailableError: the file is damaged.
        UsageError: a kind of key that is not used here.
    """
    pem = _parse_pem(data)
    if pem is None or pem.kind not in {"ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "ED25519 PRIVATE KEY"}:
        return None
    secret: bytes | None = None
    try:
        if pem.kind == "PRIVATE KEY":
            return _from_pkcs8(pem.body) if _is_notary_pkcs8(pem.body) else None
        if pem.kind == "ED25519 PRIVATE KEY" and "DEK-Info" not in pem.headers:
            return _from_go(pem.body)
        if pem.kind == "ED25519 PRIVATE KEY":
            iv = _dek_iv(pem.headers["DEK-Info"])
            secret = passphrase()
            return _from_go(_decrypt(_openssl_key(secret, iv[:8]), iv, pem.body))
        box = _encrypted(pem.body)
        if box is None:
            return None
        secret = passphrase()
        key = hashlib.pbkdf2_hmac("sha1", secret, box.salt, box.iterations, _AES_KEY_BYTES)
        return _from_pkcs8(_decrypt(key, box.iv, box.sealed))
    except ValueError as error:
        if secret is not None:
            raise WrongPassphraseError(
                f"{what} cannot be read: its passphrase is wrong, or it is damaged", hint="try again"
            ) from error
        raise KeyUnavailableError(f"{what} is damaged: {error}") from error


def write_private(
    private: PrivateKeyTypes, passphrase: bytes, labels: Labels, *, salt: bytes | None = None, iv: bytes | None = None
) -> bytes:
    """A private key as docker (since 17.12) and notary (since 0.6) write it, byte for byte.

    Whoever has the file guesses its passphrase at 2,048 rounds of PBKDF2 a try: that is what they read.

    Args:
        private: ECDSA or RSA.
        passphrase: of the file.
        labels: for its headers.
        salt: 8 bytes, ``iv``: 16 bytes; chosen at random where they are left out.
        iv: see ``salt``.

    Raises:
        UsageError: a kind of key that is not written.
    """
    salt, iv = salt or os.urandom(_SALT_BYTES), iv or os.urandom(_BLOCK_BYTES)
    rounds = _ROUNDS.to_bytes(2, "big")
    key = hashlib.pbkdf2_hmac("sha1", passphrase, salt, _ROUNDS, _AES_KEY_BYTES)
    settings = _sequence(der.wrap(der.OCTET_STRING, salt), der.wrap(der.INTEGER, rounds))
    derivation = _sequence(der.wrap(der.OBJECT_IDENTIFIER, _PBKDF2), settings)
    cipher = _sequence(der.wrap(der.OBJECT_IDENTIFIER, _AES_256_CBC), der.wrap(der.OCTET_STRING, iv))
    algorithm = _sequence(der.wrap(der.OBJECT_IDENTIFIER, _PBES2), _sequence(derivation, cipher))
    body = _sequence(algorithm, der.wrap(der.OCTET_STRING, _encrypt(key, iv, _to_pkcs8(private))))
    text = base64.b64encode(body).decode()
    headers = [f"{name}: {value}" for name, value in (("gun", labels.gun), ("role", labels.role)) if value]
    lines = [*headers, ""] if headers else []
    lines += [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode()


def canonical_id(public: PublicKeyTypes) -> str:
    """The id by which docker and notary call a key, and its file: 64 hex digits.

    Raises:
        UsageError: a kind of key that notary does not know.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(public, ed25519.Ed25519PublicKey):
        kind, value = "ed25519", public.public_bytes_raw()
    elif isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        kind = "rsa" if isinstance(public, rsa.RSAPublicKey) else "ecdsa"
        value = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        raise UsageError(f"notary has no keys of the kind {type(public).__name__}")
    body = {"keytype": kind, "keyval": {"private": None, "public": base64.b64encode(value).decode()}}
    return hashlib.sha256(json.dumps(body, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Box:
    """An encrypted PKCS#8 key with the parameters that notary gives it."""

    salt: bytes
    iterations: int
    iv: bytes
    sealed: bytes


def _parse_pem(data: bytes) -> _Pem | None:
    match = _PEM.search(data)
    if match is None:
        return None
    headers = {}
    for line in match["headers"].decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        headers[name] = value.strip()
    try:
        body = base64.b64decode(b"".join(match["body"].split()), validate=True)
    except ValueError:
        return None  # whoever reads other dialects says what is wrong
    return _Pem(match["kind"].decode(), headers, body)


def _encrypted(body: bytes) -> _Box | None:
    """The parts of EncryptedPrivateKeyInfo (RFC 5208, 6); None for other algorithms than notary's.

    Raises:
        ValueError: the parameters are notary's, but of no use.
    """
    try:
        algorithm, sealed = der.sequence(body, der.SEQUENCE, der.OCTET_STRING)
        scheme, parameters = der.sequence(der.wrap(der.SEQUENCE, algorithm), der.OBJECT_IDENTIFIER, der.SEQUENCE)
        derivation, cipher = der.sequence(der.wrap(der.SEQUENCE, parameters), der.SEQUENCE, der.SEQUENCE)
        kdf, settings = der.sequence(der.wrap(der.SEQUENCE, derivation), der.OBJECT_IDENTIFIER, der.SEQUENCE)
        salt, count = der.sequence(der.wrap(der.SEQUENCE, settings), der.OCTET_STRING, der.INTEGER)
        name, iv = der.sequence(der.wrap(der.SEQUENCE, cipher), der.OBJECT_IDENTIFIER, der.OCTET_STRING)
    except ValueError:
        return None
    only = der.wrap(der.OCTET_STRING, salt) + der.wrap(der.INTEGER, count)
    if (scheme, kdf, name) != (_PBES2, _PBKDF2, _AES_256_CBC) or settings != only:  # else another PRF than SHA-1
        return None
    iterations = int.from_bytes(count, "big")
    if not 0 < iterations <= MAX_ITERATIONS or len(iv) != _BLOCK_BYTES:
        raise ValueError(f"it derives its key with {iterations} rounds: expected at most {MAX_ITERATIONS}")
    return _Box(salt, iterations, iv, sealed)


def _is_notary_pkcs8(body: bytes) -> bool:
    try:
        version, algorithm = der.sequence(body, der.INTEGER, der.SEQUENCE)
        (kind,) = der.sequence(der.wrap(der.SEQUENCE, algorithm), der.OBJECT_IDENTIFIER)
    except ValueError:
        return False
    return kind == _NOTARY_ED25519 or (version == b"\1" and kind in {_EC, _RSA})


def _from_pkcs8(body: bytes) -> PrivateKeyTypes:
    """PrivateKeyInfo (RFC 5208, 5) of any version."""
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    _, algorithm, value = der.sequence(body, der.INTEGER, der.SEQUENCE, der.OCTET_STRING)
    (kind,) = der.sequence(der.wrap(der.SEQUENCE, algorithm), der.OBJECT_IDENTIFIER)
    if kind == _EC:
        return _from_sec1(value, algorithm)
    if kind == _NOTARY_ED25519:
        return _from_go(value)
    return load_der_private_key(value if kind == _RSA else body, None)


def _to_pkcs8(private: PrivateKeyTypes) -> bytes:
    """PrivateKeyInfo (RFC 5208, 5); for ECDSA with notary's version 1, and the curve in both of its places."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    if isinstance(private, rsa.RSAPrivateKey):
        return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{type(private).__name__} is no key for docker: expected ECDSA or RSA")
    curve = next(bytes.fromhex(digits) for digits, name in _CURVES.items() if name.lower() == private.curve.name)
    algorithm = _sequence(der.wrap(der.OBJECT_IDENTIFIER, _EC), der.wrap(der.OBJECT_IDENTIFIER, curve))
    value = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return _sequence(der.wrap(der.INTEGER, b"\1"), algorithm, der.wrap(der.OCTET_STRING, value))


def _sequence(*parts: bytes) -> bytes:
    return der.wrap(der.SEQUENCE, b"".join(parts))


def _from_sec1(value: bytes, algorithm: bytes) -> PrivateKeyTypes:
    """ECPrivateKey (RFC 5915, 3); the curve stands in the algorithm (RFC 5480, 2.1.1)."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    _, curve = der.sequence(der.wrap(der.SEQUENCE, algorithm), der.OBJECT_IDENTIFIER, der.OBJECT_IDENTIFIER)
    _, number = der.sequence(value, der.INTEGER, der.OCTET_STRING)
    name = _CURVES.get(curve.hex())
    if name is None:
        raise ValueError("it is on a curve that is not used here")
    private = ec.derive_private_key(int.from_bytes(number, "big"), getattr(ec, name)())
    if private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) not in value:
        raise ValueError("its private and public parts do not belong together")
    return private


def _from_go(value: bytes) -> PrivateKeyTypes:
    """Public key, then golang.org/x/crypto/ed25519's private key: the seed and the public key again."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(value) != _GO_KEY_BYTES:
        raise ValueError(f"its Ed25519 key has {len(value)} bytes: expected {_GO_KEY_BYTES}")
    first, seed, last = (value[start : start + _ED25519_BYTES] for start in range(0, _GO_KEY_BYTES, _ED25519_BYTES))
    private = Ed25519PrivateKey.from_private_bytes(seed)
    if not private.public_key().public_bytes_raw() == first == last:
        raise ValueError("its private and public parts do not belong together")
    return private


def _dek_iv(text: str) -> bytes:
    name, _, digits = text.partition(",")
    iv = bytes.fromhex(digits.strip())
    if name.strip() != "AES-256-CBC" or len(iv) != _BLOCK_BYTES:
        raise ValueError(f"it is encrypted with {name[:40]!r}: expected AES-256-CBC")
    return iv


def _openssl_key(secret: bytes, salt: bytes) -> bytes:
    """OpenSSL's EVP_BytesToKey with MD5 and one round, as ``DEK-Info`` files derive their key."""
    first = hashlib.md5(secret + salt, usedforsecurity=False).digest()
    return first + hashlib.md5(first + secret + salt, usedforsecurity=False).digest()


def _decrypt(key: bytes, iv: bytes, sealed: bytes) -> bytes:
    """AES-256-CBC with the padding of PKCS#7; ValueError where that does not come out."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(8 * _BLOCK_BYTES).unpadder()
    return unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()


def _encrypt(key: bytes, iv: bytes, content: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    padder = PKCS7(8 * _BLOCK_BYTES).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
