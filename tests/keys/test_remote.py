"""Keys that are elsewhere: a real PKCS#11 token in software, a real GnuPG, and what the other services are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer, SSlibKey
from tuf.api.metadata import Metadata, Root

from trust.errors import KeyUnavailableError, UsageError
from trust.keys import remote
from trust.keys.ids import key_id
from trust.keys.store import KeyStore, StoredKey, load_public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from securesystemslib.signer import Key, SecretsHandler, Signature

    from tests.keys.conftest import Answers
    from tests.peers.tokens import GnuPG, Token

needs_token = pytest.mark.peer("softhsm2-util", "pkcs11-tool")
needs_gpg = pytest.mark.peer("gpg")


@pytest.fixture
def hsm(token: Token) -> Iterator[Callable[[str], str]]:
    """Makes a key on the token; its URI. The keys are gone afterwards."""
    made: list[int] = []

    def make(curve: str) -> str:
        made.append(len(made) + 1)
        return token.make_key(made[-1], curve)

    yield make
    for number in made:
        token.delete_key(number)


def signed_root(store: KeyStore, *keys: StoredKey) -> bytes:
    """A root that these keys sign, all of them needed."""
    root = Root()
    for key in keys:
        root.add_key(key.public, "root")
    root.roles["root"].threshold = len(keys)
    metadata = Metadata(root)
    for key in keys:
        metadata.sign(store.signer(key), append=True)
    return metadata.to_bytes()


def assert_python_tuf_accepts(data: bytes) -> None:
    """As a client does, from bytes alone; and not after a change."""
    root = Metadata[Root].from_bytes(data)
    root.verify_delegate("root", root)
    root.signed.version += 1
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    assert not result.signed


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@needs_token
class TestToken:
    @pytest.mark.parametrize(
        ("curve", "scheme"), [("secp256r1", "ecdsa-sha2-nistp256"), ("secp384r1", "ecdsa-sha2-nistp384")]
    )
    def test_a_key_on_a_token_signs_a_root_in_a_later_run(
        self, hsm: Callable[[str], str], open_store: Callable[[], KeyStore], folder: Path, curve: str, scheme: str
    ) -> None:
        added = open_store().add(hsm(curve), "release", purpose="root")
        assert (added.label, added.uri, added.purpose) == ("release", "hsm:1?label=release", "root")
        assert (added.public.scheme, added.backed_up) == (scheme, None)
        assert set(files(folder)) == {"release.json"}
        later = open_store()
        assert later.find(added.key_id[:7]) == later.get(added.key_id) == added
        assert_python_tuf_accepts(signed_root(later, added))

    def test_the_pin_is_asked_for_once_a_run_and_token(
        self, hsm: Callable[[str], str], store: KeyStore, answers: Answers
    ) -> None:
        keys = [store.add(hsm("secp256r1")), store.add(hsm("secp384r1"))]
        assert answers.asked == []
        assert_python_tuf_accepts(signed_root(store, *keys))
        store.signer(keys[0]).sign(b"again")
        assert answers.asked == [("pin", "the token 'release'", "")]

    def test_without_a_label_it_is_called_after_its_place_and_id(
        self, hsm: Callable[[str], str], store: KeyStore
    ) -> None:
        added = store.add(hsm("secp256r1"))
        assert added.label == f"hsm-{added.short}"

    def test_a_wrong_pin_is_shown_to_the_token_once(
        self, hsm: Callable[[str], str], store: KeyStore, answers: Answers, folder: Path
    ) -> None:
        signer = store.signer(store.add(hsm("secp256r1")))
        before = files(folder)
        answers.secret = "000000"
        again = KeyStore(folder, answers, pins=answers)
        signer = again.signer(again.keys()[0])
        with pytest.raises(KeyUnavailableError, match="could not sign: wrong PIN") as caught:
            signer.sign(b"payload")
        assert "a token locks" in str(caught.value.hint)
        assert "000000" not in f"{caught.value} {caught.value.hint}"
        with pytest.raises(KeyUnavailableError, match="refused this PIN before"):
            signer.sign(b"payload")
        assert files(folder) == before

    def test_where_nobody_can_give_the_pin(self, hsm: Callable[[str], str], folder: Path, answers: Answers) -> None:
        store = KeyStore(folder, answers)
        key = store.add(hsm("secp256r1"))
        with pytest.raises(KeyUnavailableError, match="the token 'release' needs its PIN, and nobody can be asked"):
            store.signer(key)

    def test_a_key_that_was_removed_from_the_token(self, token: Token, store: KeyStore, folder: Path) -> None:
        key = store.add(token.make_key(9, "secp256r1"))
        before = files(folder)
        token.delete_key(9)
        with pytest.raises(KeyUnavailableError, match="could not find ECDSA private key") as caught:
            store.signer(key).sign(b"payload")
        assert "is the token in" in str(caught.value.hint)
        assert files(folder) == before

    def test_a_key_that_was_replaced_on_the_token(self, token: Token, store: KeyStore) -> None:
        key = store.add(token.make_key(9, "secp256r1"))
        token.delete_key(9)
        token.make_key(9, "secp256r1")
        try:
            with pytest.raises(KeyUnavailableError, match=r"hsm:9.* is another key than the key 'hsm-.*' .* by now"):
                store.signer(key).sign(b"payload")
        finally:
            token.delete_key(9)

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("hsm:7", "could not find ECDSA key on the PKCS#11 token"),
            ("hsm:1?label=other", "No PKCS#11 token found for label other"),
        ],
    )
    def test_what_is_not_on_a_token(self, token: Token, store: KeyStore, uri: str, message: str) -> None:
        with pytest.raises(KeyUnavailableError, match=message):
            store.add(uri)
        assert store.keys() == ()

    def test_a_curve_that_is_not_used_here(self, hsm: Callable[[str], str], store: KeyStore) -> None:
        with pytest.raises(KeyUnavailableError, match="secp521r1 is not a supported EC curve"):
            store.add(hsm("secp521r1"))

    def test_no_library_is_named(
        self, hsm: Callable[[str], str], store: KeyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = store.add(hsm("secp256r1"))
        monkeypatch.delenv("PYKCS11LIB")
        with pytest.raises(KeyUnavailableError, match="PYKCS11LIB environment variable must be set"):
            store.signer(key).sign(b"payload")

    def test_a_library_that_is_none(
        self, hsm: Callable[[str], str], store: KeyStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        key = store.add(hsm("secp256r1"))
        monkeypatch.setenv("PYKCS11LIB", str(tmp_path / "removed.so"))
        with pytest.raises(KeyUnavailableError, match="could not sign") as caught:
            store.signer(key).sign(b"payload")
        assert "PYKCS11LIB" in str(caught.value.hint)

    def test_the_same_key_is_added_once(self, hsm: Callable[[str], str], store: KeyStore) -> None:
        uri = hsm("secp256r1")
        key = store.add(uri, "release")
        with pytest.raises(UsageError, match="is here already: it is 'release'"):
            store.add(uri, "again")
        with pytest.raises(UsageError, match="there is a key 'release' already"):
            store.add(uri, "release")
        assert store.keys() == (key,)

    def test_its_private_part_cannot_be_exported_or_changed_here(
        self, hsm: Callable[[str], str], store: KeyStore, folder: Path
    ) -> None:
        key = store.add(hsm("secp256r1"), "release")
        for action in (store.export_private, store.change_passphrase):
            with pytest.raises(UsageError, match=r"is not here.*: it is in hsm:1"):
                action(key)
        assert load_public(store.export_public(key)) == key.public
        store.remove(key)
        assert files(folder) == {}
        assert store.add("hsm:1", "release") == key


@needs_gpg
class TestGnuPG:
    @pytest.mark.parametrize("kind", ["ed25519", "rsa3072"])
    def test_a_gnupg_key_signs_a_root_in_a_later_run(
        self, gnupg: GnuPG, open_store: Callable[[], KeyStore], folder: Path, kind: str
    ) -> None:
        fingerprint = gnupg.make_key(kind, f"{kind}-a")
        added = open_store().add(gnupg.uri(fingerprint), purpose="root")
        assert added.uri == gnupg.uri(fingerprint.lower())
        assert added.label == f"gnupg-{added.short}"
        later = open_store()
        assert later.get(added.key_id) == added
        data = signed_root(later, added)
        assert_python_tuf_accepts(data)
        (name,) = Metadata[Root].from_bytes(data).signed.keys
        assert name == added.key_id == key_id(added.public)

    def test_a_subkey_signs_under_its_own_fingerprint(self, gnupg: GnuPG, store: KeyStore) -> None:
        primary = gnupg.make_key("rsa2048", "with-subkey")
        subkey = gnupg.add_subkey(primary)
        assert_python_tuf_accepts(signed_root(store, store.add(gnupg.uri(subkey))))
        with pytest.raises(KeyUnavailableError, match="does not match the attached public key") as caught:
            store.signer(store.add(gnupg.uri(primary))).sign(b"payload")
        assert "the key or subkey that signs" in str(caught.value.hint)

    def test_an_ed25519_subkey_is_not_found_as_the_page_about_hardware_says(
        self, gnupg: GnuPG, store: KeyStore
    ) -> None:
        subkey = gnupg.add_subkey(gnupg.make_key("ed25519", "with-small-subkey"), "ed25519")
        with pytest.raises(KeyUnavailableError, match="Could not find gpg key"):
            store.add(gnupg.uri(subkey))

    def test_a_key_that_is_gone_from_gnupg(self, gnupg: GnuPG, store: KeyStore, folder: Path) -> None:
        fingerprint = gnupg.make_key("ed25519", "gone")
        key = store.add(gnupg.uri(fingerprint))
        before = files(folder)
        gnupg("--yes", "--delete-secret-keys", fingerprint)
        with pytest.raises(KeyUnavailableError, match="could not sign: OSError") as caught:
            store.signer(key).sign(b"payload")
        assert "gpg --list-secret-keys" in str(caught.value.hint)
        assert files(folder) == before

    def test_its_public_part_is_handed_on_with_its_scheme(self, gnupg: GnuPG, store: KeyStore) -> None:
        key = store.add(gnupg.uri(gnupg.make_key("ed25519", "public")))
        assert load_public(store.export_public(key)) == key.public

    def test_an_unknown_fingerprint(self, gnupg: GnuPG, store: KeyStore, folder: Path) -> None:
        with pytest.raises(KeyUnavailableError, match="Could not find gpg key"):
            store.add(gnupg.uri("0" * 40))
        assert not folder.exists()

    def test_a_small_rsa_key(self, gnupg: GnuPG, store: KeyStore) -> None:
        with pytest.raises(UsageError, match="1024 bits: expected 2048"):
            store.add(gnupg.uri(gnupg.make_key("rsa1024", "small")))

    def test_a_dsa_key(self, gnupg: GnuPG, store: KeyStore) -> None:
        with pytest.raises(UsageError, match="is of type dsa: expected Ed25519 or RSA"):
            store.add(gnupg.uri(gnupg.make_key("dsa2048", "dsa")))

    def test_a_curve_that_securesystemslib_does_not_know(self, gnupg: GnuPG, store: KeyStore) -> None:
        with pytest.raises(KeyUnavailableError, match="gave no public key"):
            store.add(gnupg.uri(gnupg.make_key("nistp256", "curve")))


def test_gnupg_is_not_installed(store: KeyStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from securesystemslib._gpg.constants import is_available_gnupg

    monkeypatch.setenv("PATH", str(tmp_path))
    is_available_gnupg.cache_clear()
    try:
        with pytest.raises(KeyUnavailableError, match="GPG support requires a GPG client"):
            store.add("gnupg:" + "0" * 40)
    finally:
        is_available_gnupg.cache_clear()


@pytest.mark.parametrize(
    "uri",
    [
        "gnupg:",
        "gnupg:me@example.org",
        "gnupg:1234",
        "gnupg:" + "0" * 40 + "?homedir=relative",
        "gnupg:" + "0" * 40 + "?homedir=/a b",
        "gnupg:" + "0" * 40 + "?homedir=/a%20--export-secret-keys",
        "gnupg:" + "0" * 40 + "?homedir=/a'b",
        "gnupg:" + "0" * 40 + "?homedir=/a%5Cb",
        "gnupg:" + "0" * 40 + "?other=1",
        "gnupg:[" + "0" * 40,
    ],
)
def test_a_gnupg_uri_that_is_refused_before_gpg_runs(store: KeyStore, uri: str) -> None:
    with pytest.raises(UsageError, match=r"invalid URI|cannot be used"):
        store.add(uri)


@pytest.mark.parametrize(
    "uri", ["", "hsm", "file:key.pem", "tkey:", "https://example.org/key", "hsm:1\n", "hsm:" + "1" * 2000]
)
def test_a_uri_of_no_service(store: KeyStore, folder: Path, uri: str) -> None:
    with pytest.raises(UsageError, match=r"no such kind of key URI|is not usable") as caught:
        store.add(uri)
    assert len(str(caught.value)) < 500
    assert not folder.exists()


class DeniedError(Exception):
    """As a cloud's client raises it."""


class Cloud(Signer):
    """A key service, registered the way securesystemslib documents; it stands for those that need an account."""

    asked: tuple[Any, ...] = ()
    found = ""
    inner = CryptoSigner.generate_ecdsa()
    denies = False

    def __init__(self, key: Key) -> None:
        self._key = key

    @classmethod
    def import_(cls, *arguments: Any) -> tuple[str, Key]:
        if cls.denies:
            raise DeniedError("AccessDenied:  you may\nnot " + "x" * 1000)
        cls.asked = arguments
        key = cls.inner.public_key
        pem = key.keyval["public"].replace("\n", "\r\n")  # as a service may wrap it
        return cls.found, SSlibKey("id of the service", key.keytype, key.scheme, {"public": pem})

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        del priv_key_uri, secrets_handler
        return cls(public_key)

    @property
    def public_key(self) -> Key:
        return self._key

    def sign(self, payload: bytes) -> Signature:
        if self.denies:
            raise DeniedError("AccessDenied")
        return self.inner.sign(payload)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> type[Cloud]:
    for scheme in ("awskms", "gcpkms", "azurekms", "hv"):
        monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, scheme, Cloud)
    monkeypatch.setattr(Cloud, "denies", False)
    return Cloud


GCP = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
ASKED = {
    "awskms:alias/release": (("alias/release",), "awskms:alias/release"),
    "awskms:arn:aws:kms:eu-west-1:1:key/1234": (
        ("arn:aws:kms:eu-west-1:1:key/1234",),
        "awskms:arn:aws:kms:eu-west-1:1:key/1234",
    ),
    f"gcpkms:{GCP}": ((GCP,), f"gcpkms:{GCP}"),
    "azurekms://team.vault.azure.net/keys/release": (
        ("team", "release"),
        "azurekms://team.vault.azure.net/keys/release/0a1b",
    ),
    "azurekms://team.vault.azure.net/keys/release/0a1b": (
        ("team", "release"),
        "azurekms://team.vault.azure.net/keys/release/0a1b",
    ),
    "hv:release": (("release",), "hv:release/3"),
    "hv:release/3": (("release",), "hv:release/3"),
}


@pytest.mark.parametrize("uri", ASKED)
def test_what_a_service_is_asked_for(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    asked, found = ASKED[uri]
    monkeypatch.setattr(cloud, "found", found)
    key = store.add(uri)
    assert cloud.asked == asked
    assert (key.uri, key.public) == (found, cloud.inner.public_key)
    assert_python_tuf_accepts(signed_root(store, key))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("hv:release/2", "not the key's newest version: expected hv:release/3"),
        ("hsm:seven", "malformed: expected hsm:KEYID"),
        ("azurekms://example.org/keys/k", "malformed: expected azurekms://VAULT"),
        ("azurekms://team.vault.azure.net", "malformed"),
    ],
)
def test_a_service_uri_that_is_refused(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setattr(cloud, "found", "hv:release/3")
    with pytest.raises(UsageError, match=message):
        store.add(uri)


def test_a_description_that_appears_meanwhile_is_left_alone(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def import_(*arguments: Any) -> tuple[str, Key]:
        folder.mkdir(parents=True)
        (folder / "mine.json").write_bytes(b"of another process")
        return "awskms:key", cloud.inner.public_key

    monkeypatch.setattr(cloud, "import_", import_)
    with pytest.raises(UsageError, match="there is a key 'mine' already"):
        store.add("awskms:key", "mine")
    assert files(folder) == {"mine.json": b"of another process"}


def test_a_service_that_denies(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(cloud, "found", "awskms:key")
    key = store.add("awskms:key")
    before = files(folder)
    monkeypatch.setattr(cloud, "denies", True)
    with pytest.raises(KeyUnavailableError, match="could not sign: DeniedError: AccessDenied") as caught:
        store.signer(key).sign(b"payload")
    assert "kms:Sign" in str(caught.value.hint)
    with pytest.raises(
        KeyUnavailableError, match=r"gave no public key: DeniedError: AccessDenied: you may not x+"
    ) as caught:
        store.add("awskms:other")
    assert len(str(caught.value)) < 400
    assert files(folder) == before


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("awskms:key", "_aws_signer.AWS", "aws"),
        (f"gcpkms:{GCP}", "_gcp_signer.GCP", "gcp"),
        ("azurekms://v.vault.azure.net/keys/k", "_azure_signer.AZURE", "azure"),
        ("hv:key", "_vault_signer.VAULT", "vault"),
        ("hsm:1", "_hsm_signer.PKCS11", "hsm"),
    ],
)
def test_a_library_that_is_not_installed(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, uri: str, module: str, extra: str
) -> None:
    monkeypatch.setattr(f"securesystemslib.signer.{module}_IMPORT_ERROR", "it is not there")
    with pytest.raises(KeyUnavailableError, match="gave no public key") as caught:
        store.add(uri)
    assert caught.value.hint == f"pip install 'dockseal[{extra}]'"
    assert store.keys() == ()


def test_every_service_is_one_of_securesystemslib() -> None:
    assert set(remote.SERVICES) <= set(SIGNER_FOR_URI_SCHEME)


def test_a_description_with_a_uri_of_no_service_is_listed_and_does_not_sign(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(cloud, "found", "awskms:key")
    key = store.add("awskms:key", "mine")
    path = folder / "mine.json"
    path.write_text(path.read_text().replace("awskms:key", "file:/etc/passwd"))
    (damaged,) = store.keys()
    assert damaged.key_id == key.key_id
    with pytest.raises(UsageError, match="no such kind of key URI"):
        store.signer(damaged)
    path.write_text(path.read_text().replace("file:/etc/passwd", "hsm:\\u001b[2J"))
    with pytest.raises(KeyUnavailableError, match="is damaged: uri is no text"):
        store.keys()


def test_a_signature_of_another_key_is_refused(
    store: KeyStore, cloud: type[Cloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "found", "awskms:key")
    key = store.add("awskms:key")
    signer = store.signer(key)
    other = CryptoSigner.generate_ecdsa()
    assert isinstance(other.public_key, SSlibKey)
    monkeypatch.setattr(cloud, "inner", other)
    with pytest.raises(KeyUnavailableError, match="is another key than"):
        signer.sign(b"payload")
    with pytest.raises(UnverifiedSignatureError):
        key.public.verify_signature(other.sign(b"payload"), b"payload")
