"""repo: begin trust data, watch it, keep it fresh, read its history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME
from tests.doubles.faulty_registry import FaultyRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_init_with_thresholds_and_expiries(keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    for label in ("a", "b", "c"):
        dockseal("key", "generate", "--root-key", label)
    dockseal("key", "generate", "release")
    name = f"oci:{tmp_path}/app"
    options = ["--root-threshold", "2", "--root-key", "a", "--root-key", "b", "--root-key", "c"]
    told = dockseal(
        *("repo", "init", *options, "--targets-key", "release", "--expires", "timestamp=2d", "--expires", "root=730"),
        name,
    )
    assert told.out == f"Initialized {name}\n"
    assert "[[pin]]" in told.err
    assert "dockseal key export --all > keys.backup" in told.err
    roles = {role["role"]: role for role in dockseal("inspect", "-o", "json", name).json["roles"]}
    assert (roles["root"]["threshold"], len(roles["root"]["keys"])) == (2, 3)
    assert roles["targets"]["keysHere"] == ["release"]
    days = {role: (datetime.fromisoformat(found["expires"]) - datetime.now(UTC)).days for role, found in roles.items()}
    assert days == {"root": 729, "targets": 364, "snapshot": 89, "timestamp": 1}
    again = dockseal("repo", "init", name, code=1)
    assert "already" in again.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--root-key", "none"], 4, "none"),
        (["--root-threshold", "2", "--root-key", "root"], 2, "2"),
        (["--root-threshold", "0"], 2, "root-threshold"),
        (["--expires", "timestamp=0"], 2, "no number of days"),
        (["--expires", "timestamp"], 2, "KEY=VALUE"),
        (["--expires", "timestamp=soon"], 2, "expected 30 or 30d"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("keys")
def test_an_init_that_cannot_be(options: list[str], code: int, words: str, dockseal: Dockseal, tmp_path: Path) -> None:
    told = dockseal("repo", "init", *options, f"oci:{tmp_path}/app", code=code)
    assert words in told.err
    assert not (tmp_path / "app" / "index.json").exists()
    dockseal("verify", f"oci:{tmp_path}/app:v1", code=10)


def test_status_warns_a_scheduled_job(signed: Signed, dockseal: Dockseal) -> None:
    status = ("repo", "status", "--as", NAME)
    fine = dockseal(*status, signed.name)
    assert fine.lines[0].endswith("state 1")
    assert [line.split()[0] for line in fine.lines[2:]] == ["timestamp", "snapshot", "root", "targets"]
    dockseal(*status, "--within", "7d", signed.name)
    due = dockseal(*status, "--within", "30d", signed.name, code=13)
    assert "timestamp (in 13 days)" in due.err
    assert "dockseal repo refresh" in due.err
    found = dockseal(*status, "--within", "30", "-o", "json", signed.name, code=13).json
    (timestamp,) = [role for role in found["roles"] if role["role"] == "timestamp"]
    assert timestamp == {
        "role": "timestamp",
        "version": 1,
        "expires": timestamp["expires"],
        "expired": False,
        "signFrom": timestamp["signFrom"],
        "signBy": timestamp["expires"],
        "threshold": 1,
        "keys": timestamp["keys"],
        "who": timestamp["who"],
        "keysHere": timestamp["keysHere"],
        "canSign": True,
        "next": None,
    }
    with freeze_time(later(20)):
        assert "6 days ago" in dockseal(*status, signed.name, code=13).err or "5 days ago" in due.err


def test_refresh_renews_what_is_due(signed: Signed, dockseal: Dockseal) -> None:
    refreshed = dockseal("repo", "refresh", "--as", NAME, "-o", "json", signed.name).json
    assert set(refreshed) >= {"schema", "repository", "state", "expires"}
    assert refreshed["state"] == 2
    with freeze_time(later(330)):
        dockseal("repo", "refresh", "--as", NAME, signed.name)
        dockseal("repo", "status", "--as", NAME, "--within", "13d", signed.name)
        dockseal("verify", "--as", NAME, f"{signed.name}:v1")


def test_log_tells_what_changed(signed: Signed, dockseal: Dockseal) -> None:
    dockseal("push", "--from", f"{NAME}:v1", "--as", NAME, f"{signed.name}:v2")
    dockseal("revoke", "-y", "--as", NAME, f"{signed.name}:v1")
    entries = dockseal("repo", "log", "--as", NAME, "-o", "json", signed.name).json
    assert [entry["version"] for entry in entries] == [3, 2, 1]
    assert [entry["current"] for entry in entries] == [True, False, False]
    assert [[(change["tag"], bool(change["after"])) for change in entry["changes"]] for entry in entries] == [
        [("v1", False)],
        [("v2", True)],
        [("v1", True)],
    ]
    shown = dockseal("repo", "log", "-n", "1", "--as", NAME, signed.name)
    assert shown.lines[0].startswith("state 3")
    assert any(line.startswith("  - v1") for line in shown.lines)
    assert any("signed by registry.example-team-app.targets" in line for line in shown.lines)


@pytest.mark.parametrize("command", [["status"], ["refresh"], ["log"]])
def test_nothing_there(command: list[str], keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
    told = dockseal("repo", *command, f"oci:{tmp_path}/none", code=10)
    assert "holds no trust data" in told.err
    assert told.out == ""


class TestPrune:
    @pytest.fixture(autouse=True)
    def _small_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of 2 versions instead of 64."""
        monkeypatch.setattr("trust.tuf.draft.COVERED_VERSIONS", 2)
        monkeypatch.setattr("trust.heads.COVERED_VERSIONS", 2)
        monkeypatch.setattr("trust.ancestry.COVERED_VERSIONS", 2)

    @pytest.fixture
    def old(self, keys: Path, dockseal: Dockseal, tmp_path: Path) -> str:
        """A folder with 6 states, which will be 40 days old."""
        return self.begin(dockseal, f"oci:{tmp_path}/app")

    def begin(self, dockseal: Dockseal, name: str) -> str:
        dockseal("repo", "init", name)
        for _ in range(5):
            dockseal("repo", "refresh", name)
        return name

    def test_what_is_old_goes(self, old: str, dockseal: Dockseal) -> None:
        assert dockseal("repo", "prune", "-y", old).out == "Removed 0 tags; 6 states stay\n"
        with freeze_time(later(40)):
            told = dockseal("repo", "prune", "-y", old)
            assert told.lines[-1] == "Removed 3 tags; 3 states stay"
            assert [line.split("-")[0] for line in told.lines[:-1]] == [f"_trust.{number:016}" for number in (1, 2, 3)]
            assert dockseal("repo", "prune", "-y", old).out == "Removed 0 tags; 3 states stay\n"
            dockseal("repo", "refresh", old)
            assert [entry["version"] for entry in dockseal("repo", "log", "-o", "json", old).json] == [7, 6, 5, 4]

    def test_a_dry_run_removes_nothing(self, old: str, dockseal: Dockseal) -> None:
        with freeze_time(later(40)):
            assert dockseal("repo", "prune", "--dry-run", old).lines[-1] == "Would remove 3 tags; 3 states stay"
            found = dockseal("repo", "prune", "--dry-run", "-o", "json", old).json
            assert (len(found["found"]), found["removed"], found["kept"], found["uncovered"]) == (3, [], 3, [])
            found = dockseal("repo", "prune", "--keep-days", "50", "-y", "-o", "json", old).json
            assert (found["found"], found["removed"], found["kept"]) == ([], [], 6)
            found = dockseal("repo", "prune", "-y", "-o", "json", old).json
            assert found["removed"] == found["found"]

    def test_nobody_can_be_asked(self, old: str, dockseal: Dockseal) -> None:
        with freeze_time(later(40)):
            told = dockseal("repo", "prune", old, code=2)
            assert "-y" in told.err
            assert dockseal("repo", "prune", "--dry-run", old).lines[-1] == "Would remove 3 tags; 3 states stay"

    def test_nothing_is_there(self, keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
        assert "holds no trust data" in dockseal("repo", "prune", "-y", f"oci:{tmp_path}/none", code=10).err

    @pytest.mark.usefixtures("keys")
    def test_a_registry_that_does_not_delete(self, dockseal: Dockseal) -> None:
        with FaultyRegistry() as server:
            server.can_delete = server.can_untag = False
            name = self.begin(dockseal, f"{server.host}/app")
            with freeze_time(later(40)):
                told = dockseal("repo", "prune", "-y", name, code=3)
        assert told.lines[-1] == "Removed 0 tags; 6 states stay"
        assert "3 tags could not be removed" in told.err
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in told.err


class TestBins:
    def test_from_the_beginning_and_back(self, keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
        name = f"oci:{tmp_path}/app"
        dockseal("repo", "init", "--bins", "8", name)
        found = dockseal("repo", "rebin", "-o", "json", "--bins", "4", name).json
        assert (found["result"], found["signer"], found["bins"]) == ("published", "targets", 4)
        assert "4 bins already" in dockseal("repo", "rebin", "--bins", "4", name, code=2).err
        assert dockseal("repo", "rebin", "--dry-run", name).out.startswith(f"{name}:")
        assert "Published" in dockseal("repo", "rebin", name).out

    @pytest.mark.parametrize("bins", ["3", "8192"])
    def test_numbers_that_cannot_be(self, bins: str, keys: Path, dockseal: Dockseal, tmp_path: Path) -> None:
        told = dockseal("repo", "init", "--bins", bins, f"oci:{tmp_path}/app", code=2)
        assert "power of two" in told.err
        assert not (tmp_path / "app" / "index.json").exists()

    def test_a_signer_with_bins_signs(self, signed: Signed, dockseal: Dockseal) -> None:
        dockseal("key", "generate", "ci")
        dockseal("signer", "add", "--as", NAME, "ci", signed.name, "--key", "ci", "--bins", "4", "--adopt")
        dockseal("push", "--from", f"{NAME}:v1", "--as", NAME, f"{signed.name}:v2")
        assert dockseal("verify", "--as", NAME, "-o", "json", f"{signed.name}:v2").json["signers"] == ["ci"]
        assert dockseal("verify", "--as", NAME, "-o", "json", f"{signed.name}:v1").json["signers"] == ["ci"]

    def test_a_push_advises_them(self, signed: Signed, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
        push = ("push", "--from", f"{NAME}:v1", "--as", NAME)
        assert "rebin" not in dockseal(*push, f"{signed.name}:v2").err
        monkeypatch.setattr("trust.tuf.bins.ADVISED_TAGS", 3)
        assert f"dockseal repo rebin {signed.name} --bins 256" in dockseal(*push, f"{signed.name}:v3").err
