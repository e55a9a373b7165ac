"""key: what people do with keys, and where passphrases come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME
from tests.cli.program import PASSPHRASE, Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

NEW = "another passphrase"
SOURCES = ("DOCKSEAL_PASSPHRASE", "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE")


@pytest.fixture
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SOURCES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_generate_list_export_load_remove(kind: str, dockseal: Dockseal, tmp_path: Path) -> None:
    made = dockseal("key", "generate", "--kind", kind, "release")
    (key,) = dockseal("key", "list", "-o", "json").json
    assert (key["label"], key["type"], key["purpose"]) == ("release", kind, "repository")
    assert made.out == f"Made the key release ({key['id'][:7]})\n"
    assert [line.split()[:4] for line in dockseal("key", "list").lines[1:]] == [
        ["release", key["id"][:7], kind, "repository"]
    ]
    backup = tmp_path / "backup.pem"
    backup.write_text(dockseal("key", "export", "release").out)
    assert "ENCRYPTED" in backup.read_text() or "OPENSSH PRIVATE KEY" in backup.read_text()
    assert "PUBLIC KEY" in dockseal("key", "export", "--public", key["id"][:7]).out
    assert "pass -y" in dockseal("key", "remove", "release", code=2).err
    assert dockseal("key", "remove", "-y", "release").out == f"Removed the key release ({key['id'][:7]})\n"
    assert "keys here: none" in dockseal("key", "export", "release", code=4).err
    assert key["id"][:7] in dockseal("key", "load", backup).out
    assert dockseal("key", "list", "-o", "json").json[0] == key | {
        "label": "backup",
        "created": dockseal("key", "list", "-o", "json").json[0]["created"],
    }


def test_passwd(keys: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKSEAL_NEW_PASSPHRASE", NEW)
    assert "Changed the passphrase of root" in dockseal("key", "passwd", "root").out
    assert "passphrase" in dockseal("key", "passwd", "root", code=4).err
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", NEW)
    dockseal("key", "passwd", "root")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["generate", "root"], 2, "root"),
        (["generate", "a/b"], 2, "a/b"),
        (["generate", "--kind", "dsa", "x"], 2, "dsa"),
        (["load", "/nowhere.pem"], 2, "/nowhere.pem"),
        (["load", "{here}"], 4, "key"),
        (["export", "none"], 4, "keys here: root"),
        (["passwd", "none"], 4, "keys here: root"),
        (["remove", "-y", "none"], 4, "keys here: root"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_goes_wrong_is_said(
    arguments: list[str], code: int, words: str, dockseal: Dockseal, tmp_path: Path
) -> None:
    (tmp_path / "not-a-key.pem").write_text("hello\n")
    told = dockseal("key", *(text.format(here=tmp_path / "not-a-key.pem") for text in arguments), code=code)
    assert words in told.err


def test_a_damaged_key_file(signed: Signed, dockseal: Dockseal) -> None:
    path = next((signed.home / "keys").glob("*publish.key"))
    path.write_bytes(path.read_bytes()[:-60])
    told = dockseal("push", "--from", f"{NAME}:v1", "--as", NAME, f"{signed.name}:v2", code=4)
    assert "publish" in told.err
    dockseal("verify", "--as", NAME, f"{signed.name}:v2", code=11)


def test_off_a_terminal_the_error_names_the_variables(signed: Signed, dockseal: Dockseal, no_passphrase: None) -> None:
    told = dockseal("push", "--from", f"{NAME}:v1", "--as", NAME, f"{signed.name}:v2", code=4)
    assert "nobody can be asked" in told.err
    for name in ("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "DOCKSEAL_PASSPHRASE", "--passphrase-file FILE"):
        assert name in told.err
    told = dockseal("key", "generate", "--root-key", "second", code=4)
    assert "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE" in told.err


def test_the_variables_of_docker_and_ours(
    keys: Path, dockseal: Dockseal, no_passphrase: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", NEW)
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "used by nobody")
    dockseal("repo", "init", "--as", NAME, f"oci:{tmp_path}/one")
    dockseal("repo", "refresh", "--as", NAME, f"oci:{tmp_path}/one")
    monkeypatch.delenv("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE")
    dockseal("repo", "refresh", "--as", NAME, f"oci:{tmp_path}/one", code=4)
    file = tmp_path / "passphrase"
    file.write_text(f"{NEW}\nsecond line\n")
    dockseal("repo", "refresh", "--as", NAME, "--passphrase-file", file, f"oci:{tmp_path}/one")
    file.write_text("")
    assert (
        "is empty"
        in dockseal("repo", "refresh", "--as", NAME, "--passphrase-file", file, f"oci:{tmp_path}/one", code=4).err
    )
    file.unlink()
    assert (
        "cannot be read"
        in dockseal("repo", "refresh", "--as", NAME, "--passphrase-file", file, f"oci:{tmp_path}/one", code=4).err
    )


def test_a_new_passphrase_is_asked_for_twice(home: Path, no_passphrase: None) -> None:
    with Terminal("key", "generate", "release") as terminal:
        terminal.expect("New passphrase for the repository key release: ")
        terminal.type(f"{NEW}\n")
        terminal.expect("Repeat passphrase for the repository key release: ")
        terminal.type(f"{NEW}\n")
        assert terminal.finish() == 0
    assert "Made the key release" in terminal.shown
    assert NEW not in terminal.shown


def test_two_passphrases_that_differ(home: Path, no_passphrase: None, dockseal: Dockseal) -> None:
    with Terminal("key", "generate", "release") as terminal:
        for times in (1, 2, 3):
            terminal.expect("New passphrase", times=times)
            terminal.type(f"{NEW}\n")
            terminal.expect("Repeat passphrase", times=times)
            terminal.type(f"{NEW}s\n")
        assert terminal.finish() == 4
    assert "differ" in terminal.shown
    assert dockseal("key", "list", "-o", "json").json == []


def test_a_passphrase_that_is_too_short(home: Path, no_passphrase: None, dockseal: Dockseal) -> None:
    with Terminal("key", "generate", "release") as terminal:
        for times in (1, 2, 3):
            terminal.expect("New passphrase", times=times)
            terminal.type("short\n")
        assert terminal.finish() == 4
    assert "8 characters" in terminal.shown
    assert "Repeat" not in terminal.shown
    assert dockseal("key", "list", "-o", "json").json == []


def test_a_passphrase_that_is_long_enough_at_the_second_attempt(home: Path, no_passphrase: None) -> None:
    with Terminal("key", "generate", "release") as terminal:
        terminal.expect("New passphrase")
        terminal.type("short\n")
        terminal.expect("New passphrase", times=2)
        terminal.type(f"{NEW}\n")
        terminal.expect("Repeat passphrase")
        terminal.type(f"{NEW}\n")
        assert terminal.finish() == 0
    assert "Made the key release" in terminal.shown


def test_prompts_come_before_the_rows_of_a_push(signed: Signed, no_passphrase: None) -> None:
    with Terminal("push", "--from", f"{NAME}:v1", "--as", NAME, f"{signed.name}:v2") as terminal:
        for key in ("targets", "publish"):
            terminal.expect(f"{key}: ")
            terminal.type("mistyped, as it happens\n")
            terminal.expect("Wrong passphrase, try again.", times=1 + (key == "publish"))
            terminal.expect(f"{key}: ", times=2)
            terminal.type(f"{PASSPHRASE}\n")
        assert terminal.finish() == 0, terminal.shown
    assert terminal.shown.index("Passphrase for") < terminal.shown.index("Layer already exists")
    assert f"Successfully signed {signed.name}:v2" in terminal.shown


@pytest.mark.parametrize(
    ("answer", "code", "words"), [("y", 0, "Successfully revoked"), ("", 1, "Nothing was revoked")]
)
def test_a_revocation_asks(answer: str, code: int, words: str, signed: Signed) -> None:
    with Terminal("revoke", "--as", NAME, f"{signed.name}:v1") as terminal:
        terminal.expect("[y/N] ")
        terminal.type(f"{answer}\n")
        assert terminal.finish() == code
    assert words in terminal.shown


def test_control_c_at_a_prompt(home: Path, no_passphrase: None, dockseal: Dockseal) -> None:
    with Terminal("key", "generate", "release") as terminal:
        terminal.expect("New passphrase")
        terminal.type("\x03")
        assert terminal.finish() == 130
    assert "Interrupted" in terminal.shown
    assert dockseal("key", "list", "-o", "json").json == []
