"""Key files of docker and notary. Those in vectors/ were written by notary, with the passphrase ``passphrase``."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.keys.conftest import Answers
from trust import loadkeys
from trust.errors import DocksealError, KeyUnavailableError, UsageError, WrongPassphraseError
from trust.keys import container
from trust.keys.store import KeyStore
from trust.notary import der
from trust.notary import keys as notary_keys
from trust.notary.keys import Labels, canonical_id, read_labels, read_private, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

VECTORS = sorted((Path(__file__).parent / "vectors").glob("*.key"))
PASSPHRASE = b"passphrase"
IV = bytes(range(16))
GO_ED25519 = bytes.fromhex("06092b06010401da470f01")
EC_OID = bytes.fromhex("06072a8648ce3d0201")
RSA_OID = bytes.fromhex("06092a864886f70d010101")
CURVES = {"secp256r1": "06082a8648ce3d030107", "secp384r1": "06052b81040022", "secp521r1": "06052b81040023"}


def ask() -> bytes:
    return PASSPHRASE


def never() -> bytes:
    raise AssertionError("no passphrase is needed")


def pem(kind: str, body: bytes, *headers: str) -> bytes:
    text = base64.encodebytes(body).decode()
    head = "".join(f"{line}\n" for line in headers) + "\n" * bool(headers)
    return f"-----BEGIN {kind}-----\n{head}{text}-----END {kind}-----\n".encode()


def sequence(*parts: bytes) -> bytes:
    return der.wrap(der.SEQUENCE, b"".join(parts))


def octets(data: bytes) -> bytes:
    return der.wrap(der.OCTET_STRING, data)


def number(value: int) -> bytes:
    return der.wrap(der.INTEGER, value.to_bytes(4, "big").lstrip(b"\0") or b"\0")


def go_pkcs8(private: PrivateKeyTypes) -> bytes:
    """PKCS#8 of version 1, as Go's writer in notary makes it."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return sequence(number(1), sequence(GO_ED25519), octets(go_ed25519(private)))
    traditional = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    if isinstance(private, ec.EllipticCurvePrivateKey):
        curve = bytes.fromhex(CURVES[private.curve.name])
        return sequence(number(1), sequence(EC_OID, curve), octets(traditional))
    return sequence(number(1), sequence(RSA_OID), octets(traditional))


def go_ed25519(private: ed25519.Ed25519PrivateKey) -> bytes:
    public = private.public_key().public_bytes_raw()
    return public + private.private_bytes_raw() + public


def aes(key: bytes, data: bytes) -> bytes:
    padding = 16 - len(data) % 16
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(IV)).encryptor()
    return encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()


def pbes2(data: bytes, *, rounds: int = 2048, cipher: str = "60864801650304012a", prf: bytes = b"") -> bytes:
    kdf = sequence(bytes.fromhex("06092a864886f70d01050c"), sequence(octets(b"saltsalt"), number(rounds), prf))
    encryption = sequence(der.wrap(der.OBJECT_IDENTIFIER, bytes.fromhex(cipher)), octets(IV))
    algorithm = sequence(bytes.fromhex("06092a864886f70d01050d"), sequence(kdf, encryption))
    key = hashlib.pbkdf2_hmac("sha1", PASSPHRASE, b"saltsalt", min(rounds, 4096), 32)
    return sequence(algorithm, octets(aes(key, data)))


def dek(data: bytes) -> bytes:
    """As OpenSSL encrypted PEM files of old."""
    first = hashlib.md5(PASSPHRASE + IV[:8], usedforsecurity=False).digest()
    second = hashlib.md5(first + PASSPHRASE + IV[:8], usedforsecurity=False).digest()
    return aes(first + second, data)


P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
DEK = ("Proc-Type: 4,ENCRYPTED", f"DEK-Info: AES-256-CBC,{IV.hex()}")

OURS: dict[str, tuple[PrivateKeyTypes, bytes, bool]] = {
    "ECDSA of version 1": (P256, pem("PRIVATE KEY", go_pkcs8(P256), "role: root"), False),
    "ECDSA of version 1 without headers": (P256, pem("PRIVATE KEY", go_pkcs8(P256)), False),
    "ECDSA of version 1, encrypted": (P256, pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(P256)), "role: root"), True),
    "P-384, encrypted": (P384, pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(P384))), True),
    "P-521, encrypted": (P521, pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(P521))), True),
    "RSA of version 1": (RSA, pem("PRIVATE KEY", go_pkcs8(RSA), "role: root"), False),
    "RSA of version 1, encrypted": (RSA, pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(RSA)), "role: x"), True),
    "Ed25519": (ED25519, pem("PRIVATE KEY", go_pkcs8(ED25519), "gun: a/b", "role: snapshot"), False),
    "Ed25519, encrypted": (ED25519, pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(ED25519))), True),
    "Ed25519 of old": (ED25519, pem("ED25519 PRIVATE KEY", go_ed25519(ED25519), "role: snapshot"), False),
    "Ed25519 of old, encrypted": (ED25519, pem("ED25519 PRIVATE KEY", dek(go_ed25519(ED25519)), *DEK), True),
    "standard PKCS#8 in notary's encryption": (
        ED25519,
        pem(
            "ENCRYPTED PRIVATE KEY",
            pbes2(ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())),
        ),
        True,
    ),
    "with Windows line ends": (
        P256,
        pem("ENCRYPTED PRIVATE KEY", pbes2(go_pkcs8(P256)), "role: root").replace(b"\n", b"\r\n"),
        True,
    ),
}


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: str(path.name[:7]))
def test_what_notary_wrote_is_read_and_called_as_notary_calls_it(path: Path) -> None:
    private = read_private(path.read_bytes(), "it", ask)
    assert private is not None
    assert canonical_id(private.public_key()) == path.stem
    with pytest.raises(ValueError, match=r"Invalid|invalid|parse|Could not"):  # else this parser could go
        load_pem_private_key(re.sub(rb"\n(role|gun):[^\n]*", b"", path.read_bytes()), PASSPHRASE)


def test_the_vectors_labels() -> None:
    assert {path.stem[:7]: read_labels(path.read_bytes()) for path in VECTORS} == {
        "25ccb67": Labels("targets", "docker.io/acme/app"),
        "3a9d6f4": Labels("alice", None),
        "50ea220": Labels("root", None),
        "e84d066": Labels("root", None),
    }


@pytest.mark.parametrize("case", OURS)
def test_a_file_of_this_dialect_is_read(case: str) -> None:
    private, data, encrypted = OURS[case]
    found = read_private(data, "it", ask if encrypted else never)
    assert found is not None
    assert found.public_key() == private.public_key()


@pytest.mark.parametrize("case", [case for case in OURS if OURS[case][2]])
def test_a_wrong_passphrase(case: str) -> None:
    with pytest.raises(WrongPassphraseError, match="its passphrase is wrong, or it is damaged"):
        read_private(OURS[case][1], "it", lambda: b"wrong")


def standard(private: PrivateKeyTypes, form: PrivateFormat, *, encrypted: bool = False) -> bytes:
    encryption = BestAvailableEncryption(PASSPHRASE) if encrypted else NoEncryption()
    return private.private_bytes(Encoding.PEM, form, encryption)


OTHERS = {
    "PKCS#8": standard(P256, PrivateFormat.PKCS8),
    "PKCS#8 encrypted otherwise": standard(P256, PrivateFormat.PKCS8, encrypted=True),
    "PKCS#8 of Ed25519": standard(ED25519, PrivateFormat.PKCS8),
    "SEC1": standard(P256, PrivateFormat.TraditionalOpenSSL),
    "PKCS#1": standard(RSA, PrivateFormat.TraditionalOpenSSL),
    "OpenSSH": standard(ED25519, PrivateFormat.OpenSSH),
    "another cipher": pem("ENCRYPTED PRIVATE KEY", pbes2(b"", cipher="608648016503040102")),
    "another derivation": pem("ENCRYPTED PRIVATE KEY", pbes2(b"", prf=sequence())),
    "no DER": pem("PRIVATE KEY", b"not DER at all"),
    "no DER, encrypted": pem("ENCRYPTED PRIVATE KEY", b"\x30\x84\xff\xff\xff\xff"),
    "no base64": b"-----BEGIN PRIVATE KEY-----\nA=A=A\n-----END PRIVATE KEY-----\n",
    "no PEM": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_dialect_is_left_to_others(case: str) -> None:
    assert read_private(OTHERS[case], "it", never) is None


def broken(private: ec.EllipticCurvePrivateKey) -> bytes:
    """With the public part of another key."""
    public = private.public_key().public_numbers().x.to_bytes(32, "big")
    return go_pkcs8(private).replace(public, bytes(32))


DAMAGED: dict[str, tuple[bytes, str]] = {
    "an Ed25519 key of another size": (
        pem("PRIVATE KEY", sequence(number(1), sequence(GO_ED25519), octets(bytes(64)))),
        "has 64 bytes: expected 96",
    ),
    "two Ed25519 keys in one": (
        pem("ED25519 PRIVATE KEY", bytes(32) + go_ed25519(ED25519)[32:]),
        "do not belong together",
    ),
    "the public part of another key": (pem("PRIVATE KEY", broken(P256)), "do not belong together"),
    "an unknown curve": (
        pem("PRIVATE KEY", go_pkcs8(P256).replace(bytes.fromhex(CURVES["secp256r1"])[2:], b"\x2a" * 8)),
        "a curve that is not used here",
    ),
    "a private number of zero": (
        pem(
            "PRIVATE KEY",
            sequence(
                number(1),
                sequence(EC_OID, bytes.fromhex(CURVES["secp256r1"])),
                octets(sequence(number(1), octets(bytes(32)))),
            ),
        ),
        "is damaged",
    ),
    "endless rounds": (pem("ENCRYPTED PRIVATE KEY", pbes2(b"", rounds=10_000_001)), "10000001 rounds: expected"),
    "another old cipher": (
        pem("ED25519 PRIVATE KEY", b"", DEK[0], "DEK-Info: DES-EDE3-CBC,0011223344556677"),
        "is encrypted with 'DES",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage(case: str) -> None:
    data, message = DAMAGED[case]
    with pytest.raises(KeyUnavailableError, match=message):
        read_private(data.replace(b"\n\n-----END", b"\nAAAA\n-----END"), "it", never)


def test_notary_has_no_ids_for_other_kinds() -> None:
    with pytest.raises(UsageError, match="notary has no keys of the kind"):
        canonical_id(ed448.Ed448PrivateKey.generate().public_key())
    assert canonical_id(RSA.public_key()) != canonical_id(P256.public_key()) != canonical_id(ED25519.public_key())


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            pem,
            st.sampled_from(["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "ED25519 PRIVATE KEY", "EC PRIVATE KEY"]),
            st.binary(min_size=1, max_size=200),
            st.sampled_from(["role: root", *DEK, "DEK-Info: AES-256-CBC,zz"]),
        ),
    )
)
def test_only_our_errors_leave_arbitrary_bytes(data: bytes) -> None:
    only_ours(data)


@given(case=st.sampled_from([*OURS]), place=st.integers(0, 400), value=st.integers(0, 255))
def test_only_our_errors_leave_a_damaged_file(case: str, place: int, value: int) -> None:
    data = bytearray(OURS[case][1])
    data[place % len(data)] = value
    only_ours(bytes(data))


@given(st.data())
def test_only_our_errors_leave_a_damaged_key_inside(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from([go_pkcs8(P256), go_pkcs8(ED25519)])))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    only_ours(pem("ENCRYPTED PRIVATE KEY", pbes2(bytes(body), rounds=1)))
    only_ours(pem("PRIVATE KEY", bytes(body)))


def only_ours(data: bytes) -> None:
    read_labels(data)
    try:
        read_private(data, "it", ask)
    except DocksealError:
        return


class TestLoading:
    """Into the key folder, by the use case that knows all dialects."""

    @pytest.fixture
    def answers(self) -> Answers:
        return Answers(old=PASSPHRASE)

    @pytest.fixture
    def store(self, tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> KeyStore:
        monkeypatch.setattr(container, "KDF_ROUNDS", 1)
        monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)
        return KeyStore(tmp_path / "keys", answers)

    def test_dockers_files_say_what_they_are_for(self, store: KeyStore, answers: Answers) -> None:
        loaded = [loadkeys.load_key(store, path.read_bytes(), path.name) for path in VECTORS]
        assert [(each.key.label, each.key.purpose, each.labels.gun) for each in loaded] == [
            ("targets-25ccb67", "repository", "docker.io/acme/app"),
            ("alice-3a9d6f4", "repository", None),
            ("root-50ea220", "root", None),
            ("root-e84d066", "root", None),
        ]
        assert answers.asked[-2:] == [("existing", "root-e84d066", "root"), ("new", "root-e84d066", "root")]
        for each in loaded:
            each.key.public.verify_signature(store.signer(each.key).sign(b"payload"), b"payload")

    def test_a_label_and_a_purpose_of_ones_own(self, store: KeyStore) -> None:
        done = loadkeys.load_key(store, VECTORS[0].read_bytes(), "x.key", label="mine", purpose="root")
        assert (done.key.label, done.key.purpose, done.labels.role) == ("mine", "root", "targets")

    def test_a_role_of_several_words_becomes_a_label(self, store: KeyStore) -> None:
        data = pem("PRIVATE KEY", go_pkcs8(P256), "role: targets/é release")
        assert loadkeys.load_key(store, data, f"{'a' * 64}.key").key.label == "targets-release-aaaaaaa"

    @pytest.mark.parametrize("case", [*OTHERS])
    def test_the_usual_dialects_are_read_too_and_nothing_is_taken_in_that_is_no_key(
        self, store: KeyStore, case: str
    ) -> None:
        if case in {"another cipher", "another derivation"} or case.startswith("no"):
            with pytest.raises(KeyUnavailableError):
                loadkeys.load_key(store, OTHERS[case], "file.pem")
            assert store.keys() == ()
            return
        done = loadkeys.load_key(store, OTHERS[case], "file.pem")
        assert (done.key.label, done.labels) == ("file", Labels(None, None))
        assert store.keys() == (done.key,)

    @pytest.mark.parametrize(
        "data",
        [
            standard(P256, PrivateFormat.TraditionalOpenSSL),
            standard(P256, PrivateFormat.TraditionalOpenSSL, encrypted=True),
            standard(RSA, PrivateFormat.TraditionalOpenSSL, encrypted=True),
        ],
        ids=["SEC1", "SEC1, encrypted", "PKCS#1, encrypted"],
    )
    def test_openssls_old_files_with_notarys_headers(self, store: KeyStore, data: bytes) -> None:
        after, headers = (
            (rb"(DEK-Info: [^\n]*\n)", rb"\1role: root\n") if b"DEK" in data else (rb"\n", rb"\nrole: root\n\n")
        )
        labelled = re.sub(after, headers, data, count=1)
        done = loadkeys.load_key(store, labelled, "old.key")
        assert (done.key.purpose, done.labels.role) == ("root", "root")

    def test_a_wrong_passphrase_takes_nothing_in(self, store: KeyStore, answers: Answers) -> None:
        answers.old = b"wrong"
        with pytest.raises(WrongPassphraseError):
            loadkeys.load_key(store, VECTORS[0].read_bytes(), VECTORS[0].name)
        assert store.keys() == ()

    def test_a_small_rsa_key_is_refused(self, store: KeyStore) -> None:
        small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - such a key must be refused
        with pytest.raises(UsageError, match="expected 2048"):
            loadkeys.load_key(store, pem("PRIVATE KEY", go_pkcs8(small), "role: root"), "small.key")

    def test_a_huge_file(self, store: KeyStore) -> None:
        with pytest.raises(KeyUnavailableError, match="larger than"):
            loadkeys.load_key(store, VECTORS[0].read_bytes() + b"\n" * 70_000, "huge.key")

    def test_a_backup_is_told_from_a_key(self, store: KeyStore, tmp_path: Path, answers: Answers) -> None:
        store.generate("release")
        answers.old = answers.fresh
        data = store.export_all()
        assert loadkeys.is_backup(data)
        assert not loadkeys.is_backup(VECTORS[0].read_bytes())
        (restored,) = loadkeys.load_backup(KeyStore(tmp_path / "other", answers), data)
        assert restored.key.label == "release"


class TestDer:
    @pytest.mark.parametrize(
        "data",
        ["", "30", "3001", "3080", "308401000000", "30820001", "300000", "0400"],
        ids=str,
    )
    def test_what_is_no_sequence_of_an_integer(self, data: str) -> None:
        with pytest.raises(ValueError, match="DER"):
            der.sequence(bytes.fromhex(data), der.INTEGER)

    @given(st.binary(max_size=70_000))
    def test_what_was_wrapped_is_read(self, data: bytes) -> None:
        assert der.read(der.wrap(der.OCTET_STRING, data)) == der.Value(der.OCTET_STRING, data)


class TestWriting:
    @pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem[:7])
    def test_a_file_of_notarys_is_written_byte_for_byte(self, path: Path) -> None:
        data = path.read_bytes()
        private = read_private(data, "it", lambda: PASSPHRASE)
        pem = notary_keys._parse_pem(data)
        assert pem is not None
        assert private is not None
        box = notary_keys._encrypted(pem.body)
        assert box is not None
        assert write_private(private, PASSPHRASE, read_labels(data), salt=box.salt, iv=box.iv) == data

    @pytest.mark.parametrize(
        "private",
        [
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ],
        ids=["p256", "p521", "rsa"],
    )
    @pytest.mark.parametrize("labels", [Labels("root", None), Labels("targets", "docker.io/a/b"), Labels(None, None)])
    def test_what_is_written_is_read(self, private: PrivateKeyTypes, labels: Labels) -> None:
        data = write_private(private, PASSPHRASE, labels)
        assert read_labels(data) == labels
        found = read_private(data, "it", lambda: PASSPHRASE)
        found = found or load_pem_private_key(data, PASSPHRASE)
        assert canonical_id(found.public_key()) == canonical_id(private.public_key())
        with pytest.raises(WrongPassphraseError):
            assert read_private(data, "it", lambda: b"another") is not None

    def test_two_files_of_one_key_differ(self) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        assert write_private(private, PASSPHRASE, Labels(None, None)) != write_private(
            private, PASSPHRASE, Labels(None, None)
        )

    def test_a_kind_that_docker_does_not_know_is_refused(self) -> None:
        with pytest.raises(UsageError, match="expected ECDSA or RSA"):
            write_private(ed25519.Ed25519PrivateKey.generate(), PASSPHRASE, Labels(None, None))
