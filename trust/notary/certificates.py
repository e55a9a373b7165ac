"""Root certificates: a root key's own statement for which repository it is (notary: cryptoservice/certificate.go)."""

from __future__ import annotations

import secrets
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING

from trust.notary import der
from trust.notary.publickeys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

YEARS = 10
SERIAL_BITS = 128
_BIT_STRING = 0x03
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def make(gun: str, public: EllipticCurvePublicKey, sign: Callable[[bytes], bytes], now: datetime) -> PublicKey:
    """A self-signed certificate for ten years. Its serial number is random, and so its id is another one every time.

    Args:
        gun: the repository.
        public: the root key.
        sign: gives the DER signature (ECDSA with SHA-256) of the root key over bytes.
        now: UTC.

    Raises:
        KeyUnavailableError: the key cannot sign.
    """
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_der_x509_certificate

    body = _to_be_signed(gun, public, now)
    signature = der.wrap(_BIT_STRING, b"\0" + sign(body))
    whole = der.wrap(der.SEQUENCE, body + _ECDSA_WITH_SHA256 + signature)
    return PublicKey("ecdsa-x509", load_der_x509_certificate(whole).public_bytes(Encoding.PEM))


def _to_be_signed(gun: str, public: EllipticCurvePublicKey, now: datetime) -> bytes:
    """TBSCertificate (RFC 5280, 4.1.2). The library signs with a key that it holds alone: here with one for nothing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    with warnings.catch_warnings(action="ignore"):
        # X.509 ends names at 64 characters, repositories have up to 255: docker and notary write and read those
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gun, _validate=False)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(secrets.randbits(SERIAL_BITS - 1) | 1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365 * YEARS + YEARS // 4))
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).tbs_certificate_bytes
