"""Public keys and certificates as Notary v1 has them, and the signatures that they verify.

A key has two ids. The *scoped* one stands in metadata; it covers the certificate, so that one root key has another id
in every repository. The *canonical* one is that of the plain key: key files are named after it.

Sources: notary's tuf/data/keys.go, tuf/signed/verifiers.go, tuf/utils/x509.go, trustpinning/certs.go.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from trust.errors import ExpiredError, TamperedError, UntrustedRootError
from trust.notary.canonical import canonical
from trust.notary.keys import canonical_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate

X509_TYPES = frozenset({"ecdsa-x509", "rsa-x509"})
MIN_RSA_BITS = 2048
MAX_KEY_BYTES = 64 << 10
NOT_BEFORE_LEEWAY = timedelta(days=1)
"""How far a certificate may begin in the future, as notary allows for clocks."""
_METHODS = {
    "ecdsa": ("ecdsa",),
    "rsa": ("rsapss", "rsapkcs1v15", "pycrypto-pkcs#1 pss"),
    "ed25519": ("eddsa",),
}
_KINDS = {"ecdsa-x509": "ecdsa", "rsa-x509": "rsa"}
_PSS_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key: its type and its value, without base64."""

    keytype: str
    public: bytes

    @property
    def key_id(self) -> str:
        """The scoped id, recomputed."""
        return _id(self.to_json())

    @property
    def canonical_id(self) -> str:
        """The id of the plain key.

        Raises:
            TamperedError: the value is no such key.
        """
        return canonical_id(self.material)

    @property
    def is_certificate(self) -> bool:
        """Whether the value is a certificate."""
        return self.keytype in X509_TYPES

    @property
    def material(self) -> PublicKeyTypes:
        """The plain key.

        Raises:
            TamperedError: the value is no such key, or of a kind that is not used.
        """
        return _material(self.keytype, self.public)

    def to_json(self) -> dict[str, object]:
        """As it stands in metadata."""
        return {
            "keytype": self.keytype,
            "keyval": {"private": None, "public": base64.b64encode(self.public).decode()},
        }

    def certificate(self) -> Certificate:
        """The leaf certificate, which is the first and the only one that is no authority.

        Raises:
            TamperedError: there is none, or more than one.
        """
        return _leaf(self.public)

    def check_valid_for(self, gun: str, now: datetime) -> None:
        """Judge the certificate of a root key as notary does (trustpinning/certs.go).

        Args:
            gun: the repository, whose name or a prefix of it with ``*`` the certificate must bear.
            now: UTC.

        Raises:
            UntrustedRootError: it is no certificate, or one for another repository.
            ExpiredError: it has expired, or is not valid yet.
            TamperedError: it is malformed or too weak.
        """
        if not self.is_certificate:
            raise UntrustedRootError(
                f"the root key {self.key_id[:7]} is no certificate: nothing says that it is for {gun}"
            )
        leaf = self.certificate()
        name = common_name(leaf)
        fits = gun.startswith(name[:-1]) if name.endswith("*") else name == gun
        if not name or not fits:
            raise UntrustedRootError(f"the root certificate is for {name[:100]!r}: expected {gun!r}")
        if leaf.signature_hash_algorithm is not None and leaf.signature_hash_algorithm.name == "sha1":
            raise TamperedError(f"the root certificate of {gun} is signed with SHA-1")
        if now > leaf.not_valid_after_utc:
            raise ExpiredError(
                f"the root certificate of {gun} expired {leaf.not_valid_after_utc:%Y-%m-%d}",
                hint="whoever holds the root key rotates it: notary key rotate NAME root",
            )
        if now + NOT_BEFORE_LEEWAY < leaf.not_valid_before_utc:
            raise ExpiredError(f"the root certificate of {gun} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on")

    def verifies(self, message: bytes, method: str, signature: bytes) -> bool:
        """Whether a signature over a message is this key's.

        Raises:
            TamperedError: the value is no key.
        """
        kind = _KINDS.get(self.keytype, self.keytype)
        return method in _METHODS.get(kind, ()) and _verifies(self.material, message, method, signature)


def from_crypto(public: PublicKeyTypes) -> PublicKey:
    """A plain key.

    Raises:
        UsageError: a kind of key that notary does not know.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    canonical_id(public)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return PublicKey("ed25519", public.public_bytes_raw())
    kind = "ecdsa" if isinstance(public, ec.EllipticCurvePublicKey) else "rsa"
    return PublicKey(kind, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def common_name(certificate: Certificate) -> str:
    """The name for which a certificate is; empty where it has none, or several."""
    from cryptography.x509.oid import NameOID

    with warnings.catch_warnings(action="ignore"):  # of names that are longer than X.509 has them
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _id(body: dict[str, object]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()


@lru_cache(maxsize=256)
def _material(keytype: str, public: bytes) -> PublicKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    expected = {
        "ecdsa": ec.EllipticCurvePublicKey,
        "rsa": rsa.RSAPublicKey,
        "ed25519": ed25519.Ed25519PublicKey,
    }.get(_KINDS.get(keytype, keytype))
    if expected is None:
        raise TamperedError(f"a key is of the type {keytype[:40]!r}: expected ecdsa, rsa, ed25519 or a certificate")
    try:
        if len(public) > MAX_KEY_BYTES:
            raise ValueError("too long")  # noqa: TRY301 - one way out
        if keytype in X509_TYPES:
            found: object = _leaf(public).public_key()
        elif keytype == "ed25519":
            found = ed25519.Ed25519PublicKey.from_public_bytes(public)
        elif public.startswith(b"-----"):  # keys for "pycrypto-pkcs#1 pss" are PEM
            found = load_pem_public_key(public)
        else:
            found = load_der_public_key(public)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TamperedError(f"a key of the type {keytype} is damaged: its value is no public key") from error
    if not isinstance(found, expected):
        raise TamperedError(f"a key says it is {keytype}: its value is a {type(found).__name__}")
    if isinstance(found, rsa.RSAPublicKey) and found.key_size < MIN_RSA_BITS:
        raise TamperedError(f"an RSA key has {found.key_size} bits: expected at least {MIN_RSA_BITS}")
    return cast("PublicKeyTypes", found)


@lru_cache(maxsize=256)
def _leaf(pem: bytes) -> Certificate:
    from cryptography.x509 import BasicConstraints, ExtensionNotFound, load_pem_x509_certificates

    try:
        chain = load_pem_x509_certificates(pem)
        leaves = []
        for certificate in chain:
            try:
                is_authority = certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
            except ExtensionNotFound:
                is_authority = False
            if not is_authority:
                leaves.append(certificate)
    except Exception as error:  # whatever a parser of another language makes of it
        raise TamperedError("a certificate is damaged: expected PEM") from error
    if len(leaves) != 1:
        raise TamperedError(f"a key holds {len(leaves)} leaf certificates: expected one")
    return leaves[0]


def _verifies(key: PublicKeyTypes, message: bytes, method: str, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(der_signature(signature, key.curve.key_size), message, ec.ECDSA(hashes.SHA256()))
        else:
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), _PSS_SALT_BYTES)
            scheme = padding.PKCS1v15() if method == "rsapkcs1v15" else pss
            cast("rsa.RSAPublicKey", key).verify(signature, message, scheme, hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def der_signature(raw: bytes, bits: int) -> bytes:
    """An ECDSA signature as OpenSSL takes it, from the two numbers side by side.

    Raises:
        ValueError: it is of another length than the curve gives it.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    size = (bits + 7) // 8
    if len(raw) != 2 * size:
        raise ValueError(f"an ECDSA signature has {len(raw)} bytes: expected {2 * size}")
    return encode_dss_signature(int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big"))


def raw_signature(der: bytes, bits: int) -> bytes:
    """The inverse of :func:`der_signature`.

    Raises:
        ValueError: it is no DER signature.
    """
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = (bits + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(der))
