"""doctor: what may go wrong before it does."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME
from tests.cli.homes import Homes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

UNREACHABLE = "localhost:1/nobody/there"


@pytest.fixture
def folder(keys: Path, dockseal: Dockseal, tmp_path: Path) -> str:
    """A repository in a folder that this machine knows by its own name, made by a root key that is backed up."""
    dockseal("key", "export", "root")
    name = f"oci:{tmp_path}/app"
    dockseal("repo", "init", name)
    return name


def test_all_is_well(folder: str, dockseal: Dockseal) -> None:
    told = dockseal("doctor")
    assert {line.split()[0] for line in told.lines} == {"ok"}
    for words in ("3 key(s), all in use, root keys backed up", f"{folder}: every role is held here", "nobody else"):
        assert words in told.out


def test_a_root_key_without_a_backup_ends_in_1_until_it_is_exported(signed: Signed, dockseal: Dockseal) -> None:
    told = dockseal("doctor", code=1)
    assert "the root key root" in told.out
    assert "-> dockseal key export root > root.backup.pem" in told.out
    dockseal("key", "export", "root")
    assert "was never backed up" not in dockseal("doctor").out


def test_as_json(signed: Signed, dockseal: Dockseal) -> None:
    told = dockseal("doctor", "-o", "json", code=1).json
    assert told["schema"] == 1
    assert [set(finding) for finding in told["findings"]] == [{"level", "what", "next"}] * len(told["findings"])
    assert [finding["what"] for finding in told["findings"] if finding["level"] == "problem"] == [
        told["findings"][0]["what"]
    ]


def test_a_repository_that_cannot_be_read_is_a_note(folder: str, dockseal: Dockseal) -> None:
    told = dockseal("doctor", UNREACHABLE, folder)
    assert f"note     {UNREACHABLE} cannot be looked at" in told.out
    assert "every role is held here" in told.out, "and the others are looked at all the same"


def test_what_is_no_repository_ends_in_2(folder: str, dockseal: Dockseal) -> None:
    assert "names an image" in dockseal("doctor", f"{folder}:v1", code=2).err


def test_a_key_that_signs_nowhere(folder: str, dockseal: Dockseal) -> None:
    dockseal("key", "generate", "spare")
    told = dockseal("doctor")
    assert re.search(r"note     the key spare \([0-9a-f]{7}\) signs in no repository that this machine knows", told.out)
    assert "spare" not in dockseal("doctor", folder).out, "one repository does not tell"


def test_a_pinned_repository_is_known_and_may_hide_the_use_of_a_key(
    folder: str, dockseal: Dockseal, home: Path
) -> None:
    dockseal("key", "generate", "spare")
    config = home / "dockseal" / "config.toml"
    config.write_text(f'{config.read_text()}\n[[pin]]\nrepository = "{UNREACHABLE}"\nroot = "sha256:{"0" * 64}"\n')
    told = dockseal("doctor")
    assert f"{UNREACHABLE} cannot be looked at" in told.out
    assert "signs in no repository that could be read" in told.out
    assert "key remove" not in told.out


def test_roles_that_expire(folder: str, dockseal: Dockseal) -> None:
    with freeze_time(datetime.now(UTC) + timedelta(days=310)):
        told = dockseal("doctor", code=1)
        for role in ("timestamp expired", "snapshot expired", "root expires", "targets expires"):
            assert f"problem  {folder}: {role}" in told.out
        assert f"-> dockseal repo refresh {folder}" in told.out
        dockseal("repo", "refresh", folder)
        assert "every role is held here and far from its expiry" in dockseal("doctor").out


def test_roles_that_somebody_else_holds(
    folder: str, dockseal: Dockseal, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home / "other"
    other.mkdir()
    (other / "config.toml").write_text((home / "dockseal" / "config.toml").read_text())
    monkeypatch.setenv("DOCKSEAL_HOME", str(other))
    told = dockseal("doctor")
    assert "no keys here" in told.out
    assert re.search(
        rf"note     {folder}: nobody here holds a key of timestamp \(\w+\), snapshot .* root .* targets", told.out
    )


def test_damage_is_reported_and_does_not_end_it(folder: str, dockseal: Dockseal, home: Path) -> None:
    (home / "dockseal" / "keys" / "bad.json").write_text("{}")
    (home / "dockseal" / "keys" / "bad.json").chmod(0o600)
    (home / "dockseal" / "config.toml").write_text("[[pin]\n")
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text("{")
    told = dockseal("doctor", code=1)
    problems = [line for line in told.lines if line.startswith("problem")]
    assert [next(word for word in ("bad", "config.toml", "logins") if word in line) for line in problems] == [
        "bad",
        "config.toml",
        "logins",
    ]
    assert "nobody else installs the packages trust, cli" in told.out


def test_a_clock_that_was_set_back(folder: str, dockseal: Dockseal, home: Path) -> None:
    path = home / "dockseal" / "config.toml"
    later = datetime.now(UTC).timestamp() + 3600
    os.utime(path, (later, later))
    assert f"{path} was written" in dockseal("doctor", code=1).out


def test_a_pin_that_everybody_can_change(folder: str, dockseal: Dockseal, home: Path) -> None:
    path = home / "dockseal" / "config.toml"
    path.chmod(0o666)
    assert f"-> chmod go-w {path}" in dockseal("doctor", code=1).out


@pytest.mark.peer("docker-registry")
class TestOnARegistry:
    @pytest.fixture
    def name(self, registry: str, unique_name: str, keys: Path, dockseal: Dockseal) -> str:
        dockseal("key", "export", "root")
        dockseal("repo", "init", f"{registry}/{unique_name}")
        return f"{registry}/{unique_name}"

    def test_the_clock_is_compared_with_the_registrys(self, name: str, registry: str, dockseal: Dockseal) -> None:
        told = dockseal("doctor")
        assert f"ok       the clock agrees with {registry}" in told.out
        assert f"ok       {registry}: nobody is logged in" in told.out
        with freeze_time(datetime.now(UTC) + timedelta(minutes=7), tick=True):
            told = dockseal("doctor", code=1)
        assert f"problem  this machine's clock is 7 minutes ahead of that of {registry}" in told.out
        assert "-> set the clock" in told.out

    def test_a_login(self, name: str, registry: str, dockseal: Dockseal, home: Path) -> None:
        path = home / ".docker" / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"auths": {registry: {"username": "ann", "password": "secret"}}}))
        path.chmod(0o644)
        told = dockseal("doctor", code=1)
        assert f"{registry}: logged in as ann" in told.out
        assert f"problem  {path} holds passwords and is open to others: mode 0644" in told.out
        assert "secret" not in told.out + told.err

    def test_a_helper_that_is_not_installed(self, name: str, registry: str, dockseal: Dockseal, home: Path) -> None:
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text('{"credsStore": "not-there"}')
        told = dockseal("doctor", code=1)
        assert f"problem  {registry}: docker's configuration names docker-credential-not-there" in told.out


def test_a_key_that_waits_for_an_approval(
    signed: Signed, tmp_path: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invited key is in no role yet: nobody is told to remove it without a second thought."""
    homes = Homes(signed, tmp_path, dockseal, monkeypatch)
    homes.run("signer", "invite", "carol", homes.repo)
    homes.at("carol")
    homes.run("signer", "accept", homes.repo)
    config = homes.at("carol") / "config.toml"
    config.write_text(config.read_text().replace(NAME, str(signed.folder)) + f'signed_as = "{NAME}"\n')
    told = dockseal("doctor")
    assert "the key carol" in told.out
    assert "-> where it waits for no approval and is no spare: dockseal key remove carol" in told.out
