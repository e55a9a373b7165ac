"""Keys on tokens and in GnuPG, docker's key files and backups, as a person meets them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME
from tests.cli.program import Dockseal, Terminal, process
from tests.peers.tokens import PIN
from trust.keys import backup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Signed
    from tests.peers.tokens import GnuPG, Token

NOTARY_KEYS = sorted((Path(__file__).parents[1] / "notary" / "vectors").glob("*.key"))
needs_token = pytest.mark.peer("softhsm2-util", "pkcs11-tool")


@pytest.fixture
def hsm_key(token: Token) -> Iterator[str]:
    """The URI of a key on a token."""
    yield token.make_key(5, "secp384r1")
    token.delete_key(5)


@pytest.fixture
def given_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKSEAL_PIN", PIN)


@pytest.fixture
def image(keys: Path, rootfs: Path, dockseal: Dockseal) -> str:
    dockseal("build", "-t", f"{NAME}:v1", rootfs)
    return f"{NAME}:v1"


@needs_token
@pytest.mark.peer("gpg")
@pytest.mark.usefixtures("given_pin")
def test_a_push_signed_with_a_token_under_a_root_of_gnupg(
    hsm_key: str, gnupg: GnuPG, image: str, dockseal: Dockseal, tmp_path: Path
) -> None:
    told = dockseal("key", "add", hsm_key, "--name", "token").out
    assert told.startswith("Added the ecdsa key token (")
    assert told.endswith("which stays in hsm:5?label=release\n")
    dockseal("key", "add", gnupg.uri(gnupg.make_key("ed25519", "root")), "--name", "pgp", "--root-key")
    dockseal("key", "generate", "publish")
    store = f"oci:{tmp_path}/store"
    dockseal(
        "repo", "init", "--as", NAME, "--root-key", "pgp", "--targets-key", "token",
        "--snapshot-key", "publish", "--timestamp-key", "publish", store,
    )  # fmt: skip
    assert f"Successfully signed {store}:v1" in dockseal("push", "--from", image, "--as", NAME, f"{store}:v1").out
    verified = dockseal("verify", "-o", "json", "--as", NAME, f"{store}:v1").json
    assert (verified["verdict"], verified["signers"]) == ("trusted", ["targets"])
    listed = {key["label"]: key for key in dockseal("key", "list", "-o", "json").json}
    assert listed["token"]["uri"] == "hsm:5?label=release"
    assert listed["pgp"]["uri"].startswith("gnupg:")
    assert listed["publish"]["uri"] is None


@needs_token
def test_a_push_that_cannot_be_signed_moves_nothing(
    hsm_key: str, image: str, dockseal: Dockseal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKSEAL_PIN", PIN)
    dockseal("key", "add", hsm_key, "--name", "token")
    store = f"oci:{tmp_path}/store"
    dockseal("repo", "init", "--as", NAME, "--root-key", "root", "--targets-key", "token", store)
    before = sorted((tmp_path / "store").rglob("*"))
    push = ("push", "--from", image, "--as", NAME, f"{store}:v1")

    monkeypatch.setenv("DOCKSEAL_PIN", "999999")
    told = dockseal(*push, code=4)
    assert "wrong PIN" in told.err
    assert "Hint: run the command again with the right PIN" in told.err
    monkeypatch.delenv("DOCKSEAL_PIN")
    assert "set DOCKSEAL_PIN" in dockseal(*push, code=4).err
    monkeypatch.setenv("DOCKSEAL_PIN", PIN)
    monkeypatch.setenv("PYKCS11LIB", str(tmp_path / "removed.so"))
    assert "PYKCS11LIB" in dockseal(*push, code=4).err
    dockseal("verify", "--as", NAME, f"{store}:v1", code=11)
    assert [path for path in sorted((tmp_path / "store").rglob("*")) if "blobs" not in path.parts] == [
        path for path in before if "blobs" not in path.parts
    ]


@needs_token
def test_the_pin_is_asked_for_once_on_a_terminal(
    hsm_key: str, image: str, dockseal: Dockseal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockseal("key", "add", hsm_key, "--name", "token")
    with Terminal(
        "repo", "init", "--as", NAME, "--root-key", "token", "--targets-key", "token", f"oci:{tmp_path}/store"
    ) as terminal:
        terminal.expect("PIN for the token 'release': ")
        terminal.type(f"{PIN}\n")
        assert terminal.finish() == 0, terminal.shown
    assert terminal.shown.count("PIN for") == 1
    assert PIN not in terminal.shown


@needs_token
def test_a_key_elsewhere_is_not_exported_and_its_removal_says_what_stays(hsm_key: str, dockseal: Dockseal) -> None:
    dockseal("key", "add", hsm_key, "--name", "token")
    assert "is not here" in dockseal("key", "export", "token", code=2).err
    assert "is not here" in dockseal("key", "passwd", "token", code=2).err
    assert "BEGIN PUBLIC KEY" in dockseal("key", "export", "--public", "token").out
    assert "The key itself stays in hsm:5" in dockseal("key", "remove", "token", code=2).err
    assert dockseal("key", "list").lines[1].split()[-2:] == ["hsm:5?label=release", "-"]
    dockseal("key", "remove", "-y", "token")
    assert dockseal("key", "list", "-o", "json").json == []


def test_a_uri_of_no_service(dockseal: Dockseal) -> None:
    assert "expected hsm:KEYID" in dockseal("key", "add", "file:key.pem", code=2).err


def test_dockers_keys_are_loaded_and_told(home: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "passphrase")
    told = [dockseal("key", "load", path).out for path in NOTARY_KEYS[:3]]
    assert told[0].startswith("Loaded the ecdsa repository key targets-25ccb67 (")
    assert told[0].endswith("; its file says role 'targets', GUN 'docker.io/acme/app'\n")
    assert told[2].startswith("Loaded the ecdsa root key root-50ea220 (")
    told = [dockseal("key", "load", NOTARY_KEYS[0], "--name", "again", code=2).err]
    assert "is here already: it is 'targets-25ccb67'" in told[0]


def test_a_wrong_passphrase_loads_nothing_and_does_not_say_so(
    home: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "another one")
    told = dockseal("key", "load", NOTARY_KEYS[0], code=4)
    assert told.out == ""
    assert "passphrase is wrong" in told.err
    assert dockseal("key", "list", "-o", "json").json == []


def test_a_wrong_passphrase_three_times_on_a_terminal(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKSEAL_PASSPHRASE")
    with Terminal("key", "passwd", "root") as terminal:
        for time in (1, 2, 3):
            terminal.expect("Passphrase for the root key root: ", times=time)
            terminal.type("mistyped\n")
        assert terminal.finish() == 4
    assert terminal.shown.count("Passphrase for") == 3
    assert "Error: wrong passphrase" in terminal.shown
    assert "Hint: " in terminal.shown


def test_all_keys_go_into_one_file_and_come_back(
    signed: Signed, home: Path, dockseal: Dockseal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "ITERATIONS", 200_000)
    listed = dockseal("key", "list", "-o", "json").json
    assert {key["backedUp"] for key in listed} == {None}
    done = dockseal("key", "export", "--all")
    assert f"Wrote {len(listed)} keys" in done.err
    file = tmp_path / "keys.backup"
    file.write_text(done.out)
    assert all(key["backedUp"] for key in dockseal("key", "list", "-o", "json").json)
    assert dockseal("key", "load", file).out.count("Left as it is: ") == len(listed)
    shutil.rmtree(signed.home / "keys")
    restored = dockseal("key", "load", file)
    assert restored.out.count("Restored: ") == len(listed)
    assert {key["id"] for key in dockseal("key", "list", "-o", "json").json} == {key["id"] for key in listed}
    dockseal("repo", "refresh", "--as", NAME, signed.name)
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "another one")
    assert "wrong passphrase for the backup" in dockseal("key", "load", file, code=4).err


def test_an_export_of_one_key_is_noted(keys: Path, dockseal: Dockseal) -> None:
    dockseal("key", "export", "--public", "root")
    assert dockseal("key", "list").lines[1].split()[-2:] == ["here", "never"]
    dockseal("key", "export", "root")
    assert dockseal("key", "list").lines[1].split()[-1].startswith("20")


@pytest.mark.parametrize("arguments", [[], ["--all", "root"], ["--all", "--public"]], ids=str)
def test_what_to_export_is_asked_for_clearly(keys: Path, dockseal: Dockseal, arguments: list[str]) -> None:
    assert "expected the NAME of a key" in dockseal("key", "export", *arguments, code=2).err


def test_a_backup_takes_no_name(keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    file = tmp_path / "keys.backup"
    file.write_text("eyJ.a.b.c.d\n")
    assert "brings its names and purposes along" in dockseal("key", "load", file, "--name", "x", code=2).err
    file.write_bytes(b"x" * ((16 << 20) + 1))
    assert "larger than" in dockseal("key", "load", file, code=2).err


def test_an_export_that_cannot_be_written_is_not_noted(keys: Path, dockseal: Dockseal) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        assert "No space left" in process("key", "export", "root", code=1, stdout=full).err
    assert dockseal("key", "list", "-o", "json").json[0]["backedUp"] is None
