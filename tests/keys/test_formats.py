from __future__ import annotations

import base64
import json
import subprocess
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import SSlibKey

from tests.keys.conftest import EXAMPLE, EXAMPLE_PASSPHRASE, Answers
from trust.errors import DocksealError, KeyUnavailableError, UsageError
from trust.keys import formats
from trust.keys.ids import key_id
from trust.keys.store import KeyStore, load_public

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
PASSPHRASE = b"correct horse"


def pem(key: PrivateKeyTypes, style: PrivateFormat, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, style, encryption)


def openssh(key: PrivateKeyTypes, rounds: int = 1) -> bytes:
    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(rounds).build(PASSPHRASE)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)


def spki(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PRIVATE: dict[str, tuple[PrivateKeyTypes, bytes, bool]] = {
    "PKCS#8 Ed25519": (ED25519, pem(ED25519, PrivateFormat.PKCS8), False),
    "PKCS#8 Ed25519, encrypted": (ED25519, pem(ED25519, PrivateFormat.PKCS8, PASSPHRASE), True),
    "PKCS#8 P-256": (P256, pem(P256, PrivateFormat.PKCS8), False),
    "PKCS#8 RSA, encrypted": (RSA, pem(RSA, PrivateFormat.PKCS8, PASSPHRASE), True),
    "SEC1 P-256": (P256, pem(P256, PrivateFormat.TraditionalOpenSSL), False),
    "SEC1 P-256, encrypted": (P256, pem(P256, PrivateFormat.TraditionalOpenSSL, PASSPHRASE), True),
    "PKCS#1 RSA": (RSA, pem(RSA, PrivateFormat.TraditionalOpenSSL), False),
    "PKCS#1 RSA, encrypted": (RSA, pem(RSA, PrivateFormat.TraditionalOpenSSL, PASSPHRASE), True),
    "OpenSSH Ed25519": (ED25519, pem(ED25519, PrivateFormat.OpenSSH), False),
    "OpenSSH Ed25519, encrypted": (ED25519, openssh(ED25519), True),
    "OpenSSH RSA, encrypted": (RSA, openssh(RSA), True),
    "PKCS#8 with Windows line ends": (P256, pem(P256, PrivateFormat.PKCS8).replace(b"\n", b"\r\n"), False),
    "OpenSSH with Windows line ends": (P256, openssh(P256).replace(b"\n", b"\r\n"), True),
    "PKCS#8 with text around it": (P256, b"note\n" + pem(P256, PrivateFormat.PKCS8) + b"\nend", False),
}


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("case", PRIVATE)
def test_a_private_key_made_elsewhere_is_taken_in(store: KeyStore, answers: Answers, case: str) -> None:
    private, data, encrypted = PRIVATE[case]
    key = store.load(data, "mine", purpose="repository")
    assert key.public == SSlibKey.from_crypto(private.public_key())
    key.public.verify_signature(store.signer(key).sign(b"payload"), b"payload")
    asked = [("existing", "mine", "repository")] if encrypted else []
    assert answers.asked == [*asked, ("new", "mine", "repository")]


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: str(curve.name))
def test_larger_curves_are_taken_in_and_sign(store: KeyStore, curve: ec.EllipticCurve) -> None:
    data = pem(ec.generate_private_key(curve), PrivateFormat.PKCS8)
    key = store.load(data, "mine", purpose="repository")
    key.public.verify_signature(store.signer(key).sign(b"payload"), b"payload")


@pytest.mark.usefixtures("cheap")
@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("extra", [["-t", "ed25519"], ["-t", "ecdsa"], ["-t", "rsa", "-m", "PEM"]], ids=" ".join)
def test_what_ssh_keygen_writes_is_taken_in(store: KeyStore, tmp_path: Path, extra: list[str]) -> None:
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-a", "2", "-N", PASSPHRASE.decode(), "-f", path, *extra], check=True)
    key = store.load(path.read_bytes(), "mine", purpose="root")
    key.public.verify_signature(store.signer(key).sign(b"payload"), b"payload")


@pytest.mark.peer("openssl")
@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("derivation", [["-iter", "10000"], ["-scrypt", "-scrypt_N", "1024"]], ids=" ".join)
def test_what_openssl_encrypts_is_taken_in(store: KeyStore, tmp_path: Path, derivation: list[str]) -> None:
    plain = tmp_path / "plain.pem"
    plain.write_bytes(pem(ED25519, PrivateFormat.PKCS8))
    command = ["openssl", "pkcs8", "-topk8", "-in", str(plain), "-passout", f"pass:{PASSPHRASE.decode()}", *derivation]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    assert store.load(data, "mine", purpose="root").public == SSlibKey.from_crypto(ED25519.public_key())


def two_keys() -> bytes:
    first, *body, last, _ = pem(ED25519, PrivateFormat.OpenSSH).split(b"\n")
    count = b"\0\0\0\1\0\0\0\x33"  # before the public key, whose length follows
    changed = base64.b64decode(b"".join(body)).replace(count, b"\0\0\0\2" + count[4:])
    return b"\n".join([first, base64.b64encode(changed), last])


def dsa_key() -> PrivateKeyTypes:
    return dsa.generate_private_key(1024)  # noqa: S505 - such a key must be refused


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library says that such keys are weak; that is why we refuse them
    SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - likewise

REFUSED: dict[str, tuple[bytes, type[DocksealError], str]] = {
    "a public key": (spki(P256), UsageError, "holds a public key"),
    "an SSH public key": (b"ssh-ed25519 AAAA me@here\n", UsageError, "holds a public key"),
    "a certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", UsageError, "a certificate"),
    "an Ed448 key": (pem(ed448.Ed448PrivateKey.generate(), PrivateFormat.PKCS8), UsageError, "expected Ed25519, "),
    "a key that cannot sign": (pem(x25519.X25519PrivateKey.generate(), PrivateFormat.PKCS8), UsageError, "X25519"),
    "an ML-DSA key": (pem(mldsa.MLDSA44PrivateKey.generate(), PrivateFormat.PKCS8), UsageError, "MLDSA44"),
    "a DSA key": (pem(dsa_key(), PrivateFormat.PKCS8), UsageError, "DSA"),
    "a bitcoin key": (pem(ec.generate_private_key(ec.SECP256K1()), PrivateFormat.PKCS8), UsageError, "another curve"),
    "a small RSA key": (pem(SMALL_RSA, PrivateFormat.PKCS8), UsageError, "1024 bits: expected 2048"),
    "nothing": (b"", KeyUnavailableError, "is damaged"),
    "DER": (ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), KeyUnavailableError, "PEM form"),
    "not UTF-8": (b"\xff\xfe" * 50, KeyUnavailableError, "is damaged"),
    "too large": (pem(P256, PrivateFormat.PKCS8) + b"\n" * 65536, KeyUnavailableError, "larger than 65536 bytes"),
    "cut off": (pem(P256, PrivateFormat.PKCS8)[:120], KeyUnavailableError, "it is damaged"),
    "cut off and encrypted": (
        pem(P256, PrivateFormat.PKCS8, PASSPHRASE)[:120],
        KeyUnavailableError,
        "its passphrase is wrong, or it is damaged",
    ),
    "OpenSSH cut off": (openssh(P256)[:200], KeyUnavailableError, "no complete OpenSSH private key"),
    "OpenSSH of nothing": (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        KeyUnavailableError,
        "does not begin as an OpenSSH key does",
    ),
    "OpenSSH with its inside cut off": (
        b"\n".join([*openssh(P256).split(b"\n")[:2], b"-----END OPENSSH PRIVATE KEY-----", b""]),
        KeyUnavailableError,
        "is damaged: it is cut off",
    ),
    "OpenSSH with two keys": (two_keys(), KeyUnavailableError, "not hold exactly one key"),
    "OpenSSH with endless rounds": (openssh(ED25519, 1025), KeyUnavailableError, "1025 bcrypt rounds"),
    "OpenSSH with an Ed448 type": (
        openssh(ED25519).replace(b"AAAAC3NzaC1lZDI1NTE5", b"AAAAC3NzaC1lZDI1NTE4"),
        KeyUnavailableError,
        "Unsupported key type|is damaged",
    ),
}


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_usable_private_key_is_refused(store: KeyStore, folder: Path, case: str) -> None:
    data, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        store.load(data, "mine", purpose="repository")
    assert not folder.exists()


@pytest.mark.parametrize("case", [case for case in PRIVATE if PRIVATE[case][2]])
def test_a_wrong_passphrase_of_the_file(store: KeyStore, folder: Path, answers: Answers, case: str) -> None:
    answers.old = b"wrong horse"
    with pytest.raises(KeyUnavailableError, match="passphrase") as caught:
        store.load(PRIVATE[case][1], "mine", purpose="repository")
    assert "horse" not in f"{caught.value} {caught.value.hint}"
    assert not folder.exists()


@pytest.mark.usefixtures("cheap")
def test_a_key_is_taken_in_once(store: KeyStore) -> None:
    key = store.load(PRIVATE["PKCS#8 P-256"][1], "first", purpose="repository")
    with pytest.raises(UsageError, match=f"is here already: it is 'first' \\({key.short}\\)"):
        store.load(PRIVATE["SEC1 P-256"][1], "second", purpose="repository")


def document(key: SSlibKey, **change: Any) -> bytes:
    return json.dumps({**key.to_dict(), **change}).encode()


HONEST = SSlibKey.from_crypto(ED25519.public_key())
RSA_KEY = SSlibKey.from_crypto(RSA.public_key())
PUBLIC = {
    "PEM": spki(ED25519),
    "PEM with spaces around it": b"\n\n" + spki(ED25519) + b"\n",
    "JSON": document(HONEST),
    "JSON with a forged id": document(HONEST, keyid="f" * 64),
    "JSON with other fields": document(HONEST, keyid_hash_algorithms=["sha256", "sha512"]),
    "JSON with space before it": b"\n " + document(HONEST),
}


@pytest.mark.parametrize("case", PUBLIC)
def test_a_public_key_is_read_under_its_own_id(case: str) -> None:
    key = load_public(PUBLIC[case])
    assert key == HONEST
    assert key.keyid == key_id(key)


@pytest.mark.parametrize("scheme", ["rsa-pkcs1v15-sha256", "rsassa-pss-sha512"])
def test_an_rsa_key_keeps_its_scheme(scheme: str) -> None:
    key = load_public(document(RSA_KEY, scheme=scheme))
    assert key.scheme == scheme
    assert key.keyid == key_id(key) != RSA_KEY.keyid


PEM_P256 = spki(P256).decode()
NO_PUBLIC: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "expected a public key as PEM"),
    "a private key": (pem(P256, PrivateFormat.PKCS8), "holds a private key"),
    "an OpenSSH private key": (openssh(ED25519), "holds a private key"),
    "a certificate": (
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "expected a public key as PEM",
    ),
    "PEM cut off": (spki(P256)[:80], "expected a public key as PEM"),
    "a small RSA key": (spki(SMALL_RSA), "1024 bits: expected 2048"),
    "an ML-DSA key": (spki(mldsa.MLDSA44PrivateKey.generate()), "expected Ed25519, "),
    "JSON cut off": (document(HONEST)[:-5], "is not strict JSON"),
    "JSON with a name twice": (b'{"keytype": "a", "keytype": "b"}', "occurs twice"),
    "JSON of something else": (b"{}", "expected keytype, scheme and keyval"),
    "JSON without a value": (document(HONEST, keyval={}), "expected 'public'"),
    "JSON with a private value": (document(HONEST, keyval={"public": "00", "private": "00"}), "nothing else"),
    "JSON with a number": (document(HONEST, keyval={"public": 5}), "expected 'public'"),
    "JSON with a damaged value": (document(HONEST, keyval={"public": "00"}), "is damaged"),
    "JSON of an unknown type": (document(RSA_KEY, keytype="dsa"), "says it is 'dsa'"),
    "a scheme of another kind": (document(RSA_KEY, scheme="ed25519"), "rsa/ed25519: expected rsa/rsassa-pss-sha256"),
    "a weak scheme": (document(RSA_KEY, scheme="rsassa-pss-sha1"), "expected rsa/rsassa-pss-sha256"),
    "a scheme of another curve": (
        document(SSlibKey.from_crypto(P256.public_key()), scheme="ecdsa-sha2-nistp384"),
        "expected ecdsa/ecdsa-sha2-nistp256",
    ),
    "the older name of a type": (
        document(SSlibKey.from_crypto(P256.public_key()), keytype="ecdsa-sha2-nistp256"),
        "expected ecdsa/",
    ),
}


@pytest.mark.parametrize("case", NO_PUBLIC)
def test_what_is_no_usable_public_key_is_refused(case: str) -> None:
    data, message = NO_PUBLIC[case]
    with pytest.raises(UsageError, match=message):
        load_public(data)


def test_a_huge_public_key_file_is_refused() -> None:
    with pytest.raises(DocksealError, match="larger than 65536"):
        load_public(spki(P256) + b" " * 65536)


SEEDS = [
    *(data for _, data, _ in PRIVATE.values() if len(data) < 1200),
    *PUBLIC.values(),
    *(data for data, _, _ in REFUSED.values() if len(data) < 1200),
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_only_our_errors_leave_the_loaders(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        piece = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b"A", b"//", b"\n", b"-----", b"{"])))
        body = body[:at] + piece + body[at + data.draw(st.integers(0, 6)) :]
    for load in (lambda: formats.load_private(body, "the file", lambda: PASSPHRASE), lambda: load_public(body)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weak keys, in the words of the library
                load()
        except DocksealError:
            pass


def test_the_example_keys_can_be_loaded_as_a_backup(store: KeyStore, answers: Answers) -> None:
    answers.old = EXAMPLE_PASSPHRASE
    data = (EXAMPLE / "keys" / "root.key").read_bytes()
    key = store.load(data, "mine", purpose="root")
    assert key.key_id == KeyStore(EXAMPLE / "keys", Answers()).find("root").key_id
