"""Keys that GnuPG holds, as TUF keys whose ids are recomputed like all others.

securesystemslib calls such a key by its OpenPGP fingerprint, which its metadata cannot prove: the
fingerprint covers a creation time that is not there. Here the id is the sha256 of the key as
for every kind (:func:`trust.keys.ids.key_id`), and the fingerprint stands in the URI only, where it
tells ``gpg`` what to sign with: ``gnupg:FINGERPRINT``, or ``gnupg:FINGERPRINT?homedir=/FOLDER``.

An OpenPGP signature covers the payload, then the hashed headers of the signature and their length
(RFC 4880, 5.2.4). The headers go with the signature as ``other_headers``; because their length is
covered, a signature of one document never fits a part of it.

Importing this module makes securesystemslib, and so python-tuf, use these classes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import (
    KEY_FOR_TYPE_AND_SCHEME,
    SIGNER_FOR_URI_SCHEME,
    GPGKey,
    GPGSigner,
    Signature,
    Signer,
)

from trust.errors import TamperedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from securesystemslib.signer import Key, SecretsHandler

SCHEME = "gnupg"
ED25519 = ("eddsa", "pgp+eddsa-ed25519")
RSA = ("rsa", "pgp+rsa-pkcsv1.5")
_DSA = ("dsa", "pgp+dsa-fips-180-2")
_FINGERPRINT = re.compile(r"[0-9a-f]{40}\Z")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@%+,:=~-]+\Z")
"""securesystemslib builds gpg's command line as text: blanks, quotes and options must not be in it."""
_HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")


class OpenPgpKey(GPGKey):
    """A GnuPG key whose verification lets out nothing but what python-tuf expects."""

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Check a signature that GnuPG made.

        Raises:
            UnverifiedSignatureError: it is not one of this key over ``data``, or is malformed.
        """
        try:
            super().verify_signature(signature, data)
        except UnverifiedSignatureError:
            raise
        except Exception as error:  # a field that is missing or no hex comes from whoever wrote the metadata
            raise VerificationError(f"Malformed signature by {self.keyid}") from error


class OpenPgpSigner(Signer):
    """Signs with ``gpg``; the signature bears the recomputed id.

    Args:
        public_key: the key under its recomputed id.
        fingerprint: what gpg calls it, 40 lower-case hex digits.
        homedir: GnuPG's folder, where it is not the usual one.
    """

    def __init__(self, public_key: Key, fingerprint: str, homedir: str | None) -> None:
        self._public_key = public_key
        inner = GPGKey(fingerprint, public_key.keytype, public_key.scheme, public_key.keyval)
        self._inner = GPGSigner(inner, homedir)

    @property
    def public_key(self) -> Key:
        """The key under its recomputed id."""
        return self._public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> OpenPgpSigner:
        """From a URI as in this module's docstring; the passphrase is the business of gpg's own agent."""
        del secrets_handler
        return cls(public_key, *_parse(priv_key_uri))

    @classmethod
    def import_(cls, uri: str) -> tuple[str, Key]:
        """The URI in its usual spelling, and the public key.

        Raises:
            UsageError: the URI is malformed, or the key is of a kind that is not used here.
            Exception: whatever securesystemslib raises where gpg is missing or does not know the key.
        """
        fingerprint, homedir = _parse(uri)
        _, found = GPGSigner.import_(fingerprint, homedir)
        if (found.keytype, found.scheme) not in {ED25519, RSA}:
            raise UsageError(f"the GnuPG key {fingerprint} is of type {found.keytype}: expected Ed25519 or RSA")
        query = "" if homedir is None else f"?{urlencode({'homedir': homedir}, safe='/')}"
        key = OpenPgpKey("", found.keytype, found.scheme, {"public": found.keyval["public"]})
        return f"{SCHEME}:{fingerprint}{query}", key

    def sign(self, payload: bytes) -> Signature:
        """Have gpg sign; see :meth:`import_` for what it raises."""
        made = self._inner.sign(payload)
        return Signature(self._public_key.keyid, made.signature, made.unrecognized_fields)


def is_openpgp(key: Key) -> bool:
    """Whether signatures of this key are OpenPGP's."""
    return key.scheme.startswith("pgp+")


def public_key_of(key: Key) -> PublicKeyTypes:
    """The key as cryptography's object. Its value has one spelling, so one key has one id.

    Raises:
        TamperedError: the value is no Ed25519 or RSA key as GnuPG's are written, or is spelt otherwise.
    """
    value: Mapping[str, Any] = key.keyval
    public = value.get("public")
    shape = {ED25519: {"q"}, RSA: {"e", "n"}}.get((key.keytype, key.scheme))
    if shape is None or set(value) != {"public"} or not isinstance(public, dict) or set(public) != shape:
        raise TamperedError(f"a key of type {key.keytype[:40]!r} is not as GnuPG's Ed25519 and RSA keys are written")
    if not all(isinstance(text, str) and _HEX.match(text) for text in public.values()) or (
        shape == {"e", "n"} and any(number.startswith("00") for number in public.values())
    ):
        raise TamperedError("a GnuPG key is damaged: expected lower-case hex digits, and numbers without leading zeros")
    return _public_key(public)


def _public_key(public: Mapping[str, str]) -> PublicKeyTypes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    try:
        if "q" in public:
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public["q"]))
        return RSAPublicNumbers(int(public["e"], 16), int(public["n"], 16)).public_key()
    except ValueError as error:
        raise TamperedError(f"a GnuPG key is damaged: {error}") from error


def _parse(uri: str) -> tuple[str, str | None]:
    rest, _, text = uri.removeprefix(f"{SCHEME}:").partition("?")
    fingerprint, query = rest.lower(), dict(parse_qsl(text, keep_blank_values=True))
    homedir = query.pop("homedir", None)
    if not _FINGERPRINT.match(fingerprint) or query:
        raise UsageError(
            f"invalid URI {uri[:120]!r}: expected gnupg:FINGERPRINT, 40 hex digits, and perhaps ?homedir=/FOLDER",
            hint="gpg --list-secret-keys --with-subkey-fingerprint",
        )
    if homedir is not None and not _PLAIN_PATH.match(homedir):
        raise UsageError(f"GnuPG's folder {homedir[:120]!r} cannot be used: expected an absolute path without blanks")
    return fingerprint, homedir


KEY_FOR_TYPE_AND_SCHEME.update({ED25519: OpenPgpKey, RSA: OpenPgpKey})
KEY_FOR_TYPE_AND_SCHEME.pop(_DSA, None)  # 1,024 bits, and never needed here
SIGNER_FOR_URI_SCHEME[SCHEME] = OpenPgpSigner
