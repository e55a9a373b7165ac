from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, GPGKey, SSlibKey

from trust.errors import KeyUnavailableError, TamperedError, UsageError
from trust.keys.ids import EXAMPLE_KEY_IDS, KeyId, check_not_example, key_id, key_material, short_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
P256 = ec.generate_private_key(ec.SECP256R1()).public_key()
ED25519 = ed25519.Ed25519PrivateKey.generate().public_key()
KINDS: dict[str, PublicKeyTypes] = {
    "ed25519": ED25519,
    "ecdsa P-256": P256,
    "ecdsa P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "ecdsa P-521": ec.generate_private_key(ec.SECP521R1()).public_key(),
    "rsa": RSA,
    "ml-dsa": mldsa.MLDSA44PrivateKey.generate().public_key(),
}


def key(keytype: str, public: object, *, scheme: str = "s", keyid: str = "label", **more: object) -> SSlibKey:
    made = SSlibKey(keyid, keytype, scheme, {"public": "", **more})
    made.keyval["public"] = public
    return made


def pem(public: PublicKeyTypes) -> str:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_is_the_one_that_python_tuf_gives_to_a_new_key(kind: str) -> None:
    made = SSlibKey.from_crypto(KINDS[kind])
    assert key_id(made) == made.keyid
    assert short_id(key_id(made)) == made.keyid[:7] == key_id(made).short


def test_a_forged_label_does_not_change_the_id() -> None:
    honest = CryptoSigner.generate_ed25519().public_key
    forged = SSlibKey.from_dict("f" * 64, honest.to_dict())
    assert key_id(forged) == honest.keyid != forged.keyid


def test_unknown_fields_beside_the_key_do_not_count() -> None:
    honest = CryptoSigner.generate_ed25519().public_key
    assert key_id(SSlibKey.from_dict("x", {**honest.to_dict(), "x-note": "hello"})) == honest.keyid


@pytest.mark.parametrize("value", [1.5, b"bytes", {1: 2, "a": 3}, "\ud800"], ids=repr)
def test_what_canonical_json_cannot_say_has_no_id(value: object) -> None:
    with pytest.raises(TamperedError, match="has no id"):
        key_id(key("ed25519", "00", extra=value))


def test_endless_nesting_has_no_id() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TamperedError):
        key_id(key("ed25519", value))


@pytest.mark.parametrize("kind", KINDS)
def test_material_is_the_subject_public_key_info(kind: str) -> None:
    public = KINDS[kind]
    assert key_material(SSlibKey.from_crypto(public)) == public.public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


RAW = ED25519.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
COMPRESSED = P256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
SPELLINGS: dict[str, tuple[PublicKeyTypes, SSlibKey]] = {
    "hex in capitals": (ED25519, key("ed25519", RAW.upper())),
    "hex with spaces": (ED25519, key("ed25519", f" {RAW[:10]} {RAW[10:]}\n")),
    "PEM without its last line end": (RSA, key("rsa", pem(RSA).strip())),
    "PEM with Windows line ends": (RSA, key("rsa", pem(RSA).replace("\n", "\r\n"))),
    "PEM with text before it": (P256, key("ecdsa", "a note\n" + pem(P256))),
    "PEM in PKCS#1 form": (RSA, key("rsa", RSA.public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode())),
    "another scheme": (RSA, key("rsa", pem(RSA), scheme="rsassa-pss-sha512")),
    "the older name of the key type": (P256, key("ecdsa-sha2-nistp256", pem(P256))),
    "another field in keyval": (ED25519, key("ed25519", RAW, private="")),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_key_spelt_in_two_ways_is_noticed(spelling: str) -> None:
    public, other = SPELLINGS[spelling]
    usual = SSlibKey.from_crypto(public)
    assert key_id(other) != key_id(usual)
    assert key_material(other) == key_material(usual)


GARBAGE = {
    "empty": key("ed25519", ""),
    "no text": key("ed25519", 7),
    "too short": key("ed25519", "00" * 31),
    "no hex": key("ed25519", "zz" * 32),
    "PEM of nothing": key("rsa", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"),
    "lone surrogate": key("rsa", "\ud800"),
    "an EC key that says it is RSA": key("rsa", pem(P256)),
    "an RSA key that says it is EC": key("ecdsa", pem(RSA)),
    "PEM in an ed25519 key": key("ed25519", pem(ED25519)),
    "an unknown type": key("dsa", pem(RSA)),
    "a GPG key": GPGKey("a" * 40, "rsa", "pgp+rsa-pkcsv1.5", {"public": {"e": "01", "n": "02"}}),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_has_no_material(case: str) -> None:
    with pytest.raises(TamperedError):
        key_material(GARBAGE[case])


@given(
    st.sampled_from(["ed25519", "ecdsa", "rsa", "ml-dsa", "ecdsa-sha2-nistp384", "", "x"]),
    st.one_of(st.text(), st.binary(max_size=80).map(bytes.hex), st.none(), st.integers()),
)
def test_only_our_error_leaves_the_parser(keytype: str, public: object) -> None:
    try:
        key_material(key(keytype, public))
    except TamperedError:
        return


@pytest.mark.parametrize("text", ["", "A" * 64, "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n"])
def test_a_malformed_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="64 lower-case hex"):
        KeyId(text)


def test_an_id_is_a_text() -> None:
    assert KeyId("ab" * 32) == "ab" * 32


def test_example_keys_are_refused_unless_allowed() -> None:
    example = next(iter(EXAMPLE_KEY_IDS))
    check_not_example(["0" * 64], allowed=False)
    check_not_example([example], allowed=True)
    with pytest.raises(KeyUnavailableError, match=r"is from keys\.example") as caught:
        check_not_example(["0" * 64, example], allowed=False)
    assert "DOCKSEAL_ALLOW_EXAMPLE_KEYS=1" in str(caught.value.hint)
