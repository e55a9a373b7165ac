"""GnuPG's keys in metadata that strangers wrote; tests/keys/test_remote.py has a real gpg."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import GPGKey, Key, Signature, SSlibKey

from trust.errors import DocksealError, TamperedError, UsageError
from trust.keys.formats import key_from_json
from trust.keys.ids import key_id, key_material, public_key_of

PUBLIC = ed25519.Ed25519PrivateKey.generate().public_key()
Q = PUBLIC.public_bytes_raw().hex()
NUMBERS = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
N = f"{NUMBERS.n:x}"
ED25519: dict[str, Any] = {"keytype": "eddsa", "scheme": "pgp+eddsa-ed25519", "keyval": {"public": {"q": Q}}}
RSA: dict[str, Any] = {"keytype": "rsa", "scheme": "pgp+rsa-pkcsv1.5", "keyval": {"public": {"e": "010001", "n": N}}}


def changed(body: dict[str, Any], public: object, **more: object) -> dict[str, Any]:
    return {**body, "keyval": {"public": public, **more}}


@pytest.mark.parametrize("body", [ED25519, RSA], ids=["ed25519", "rsa"])
def test_a_key_has_an_id_of_its_material_and_not_of_a_label(body: dict[str, Any]) -> None:
    honest = key_from_json(body, "it")
    forged = Key.from_dict("f" * 64, {**body})
    assert key_id(forged) == honest.keyid == key_id(honest)
    assert honest.to_dict() == body


def test_one_key_in_openpgp_and_plain_is_one_material() -> None:
    plain = SSlibKey.from_crypto(PUBLIC)
    ours = key_from_json(ED25519, "it")
    assert plain.keyid != ours.keyid
    assert key_material(plain) == key_material(ours)


DAMAGED: dict[str, dict[str, Any]] = {
    "no public value": {**ED25519, "keyval": {}},
    "a public value that is text": changed(ED25519, Q),
    "a private value beside it": changed(ED25519, {"q": Q}, private=""),
    "another name": changed(ED25519, {"x": Q}),
    "one name more": changed(ED25519, {"q": Q, "e": "03"}),
    "a number for text": changed(ED25519, {"q": 5}),
    "upper case, a second id for one key": changed(ED25519, {"q": Q.upper()}),
    "cut off": changed(ED25519, {"q": Q[:-2]}),
    "an odd digit": changed(ED25519, {"q": Q[:-1]}),
    "leading zeros, a second id for one key": changed(RSA, {"e": "010001", "n": f"00{N}"}),
    "an exponent of one": changed(RSA, {"e": "01", "n": N}),
    "an Ed25519 value in an RSA key": changed(RSA, {"q": Q}),
    "DSA": {**ED25519, "keytype": "dsa", "scheme": "pgp+dsa-fips-180-2"},
    "an unknown scheme": {**ED25519, "scheme": "pgp+other"},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_key_that_is_refused(case: str) -> None:
    with pytest.raises((TamperedError, UsageError)):
        key_from_json(DAMAGED[case], "it")
    body = DAMAGED[case]
    with pytest.raises(TamperedError):
        public_key_of(GPGKey("x", body["keytype"], body["scheme"], body["keyval"]))


def test_a_small_rsa_key_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 2048 to"):
        key_from_json(changed(RSA, {"e": "010001", "n": f"{(1 << 1023) + 1:x}"}), "it")


def test_python_tuf_no_longer_reads_dsa_keys() -> None:
    with pytest.raises(ValueError, match="Unsupported public key"):
        Key.from_dict("x", {"keytype": "dsa", "scheme": "pgp+dsa-fips-180-2", "keyval": {"public": {}}})


FORGED: dict[str, dict[str, Any]] = {
    "no headers": {},
    "headers that are no hex": {"other_headers": "xyz"},
    "headers that are no text": {"other_headers": 5},
    "headers of nothing": {"other_headers": ""},
}


@pytest.mark.parametrize("signature", ["00" * 64, "xyz", ""])
@pytest.mark.parametrize("body", [ED25519, RSA], ids=["ed25519", "rsa"])
@pytest.mark.parametrize("case", FORGED)
def test_a_forged_signature_counts_as_none_and_stops_nobody(case: str, body: dict[str, Any], signature: str) -> None:
    made = Signature("x", signature, FORGED[case])
    with pytest.raises(UnverifiedSignatureError):
        Key.from_dict("x", {**body}).verify_signature(made, b"payload")


def test_which_would_stop_python_tuf_alone() -> None:
    alone = GPGKey("x", ED25519["keytype"], ED25519["scheme"], ED25519["keyval"])
    with pytest.raises(KeyError):
        alone.verify_signature(Signature("x", "00" * 64), b"payload")


@given(
    st.fixed_dictionaries(
        {
            "keytype": st.sampled_from(["eddsa", "rsa", "dsa"]),
            "scheme": st.sampled_from([ED25519["scheme"], RSA["scheme"], "pgp+other"]),
            "keyval": st.dictionaries(
                st.sampled_from(["public", "private"]),
                st.one_of(
                    st.text(max_size=4),
                    st.dictionaries(
                        st.sampled_from(["q", "e", "n"]),
                        st.one_of(st.integers(), st.from_regex(r"[0-9a-f]{0,70}\Z"), st.text(max_size=4)),
                    ),
                ),
            ),
        }
    )
)
def test_only_our_errors_leave_a_key(body: dict[str, Any]) -> None:
    try:
        key = key_from_json(body, "it")
    except DocksealError:
        return
    assert key.keyid == key_id(key)
