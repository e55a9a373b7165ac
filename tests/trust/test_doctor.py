"""doctor: facts in, findings out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from trust.doctor import (
    SET_CLOCK,
    Finding,
    Level,
    Login,
    check_clock,
    check_keys,
    check_logins,
    check_modes,
    check_packages,
    check_roles,
)
from trust.keys.ids import KeyId
from trust.keys.store import StoredKey
from trust.repo import RoleStatus

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PUBLIC = CryptoSigner.generate_ed25519().public_key
KEY = StoredKey("root", KeyId(PUBLIC.keyid), PUBLIC, "root", "2026-11-24T08:00:00Z")
SPARE = replace(KEY, purpose="repository")
BACKED_UP = replace(KEY, backed_up="2026-11-24T08:30:00Z")
ELSEWHERE = replace(KEY, uri="hsm:1")
ROLE = RoleStatus("targets", 3, NOW + timedelta(days=300), NOW + timedelta(days=240), 1, (PUBLIC.keyid,), (KEY,))


def until(left: int, signing: int) -> RoleStatus:
    """A role that expires in ``left`` days, with a signing period of ``signing`` days."""
    expires = NOW + timedelta(days=left)
    return replace(ROLE, expires=expires, sign_from=expires - timedelta(days=signing))


def levels(found: list[Finding]) -> list[str]:
    return [item.level.value for item in found]


class TestKeys:
    def test_a_root_key_without_a_backup_is_a_problem(self) -> None:
        (found,) = check_keys([KEY], [PUBLIC.keyid])
        assert (found.level, found.next) == (Level.PROBLEM, "dockseal key export root > root.backup.pem")

    def test_a_key_that_no_repository_uses_is_noted(self) -> None:
        (found,) = check_keys([SPARE], [])
        assert found.level is Level.NOTE
        assert "signs in no repository that this machine knows" in found.what
        assert "dockseal key remove root" in str(found.next)

    def test_nobody_is_told_to_remove_a_key_that_an_unreachable_repository_may_use(self) -> None:
        (found,) = check_keys([SPARE], [], all_seen=False)
        assert "no repository that could be read" in found.what
        assert found.next is None

    def test_where_only_some_repositories_were_looked_at_no_key_is_called_unused(self) -> None:
        (found,) = check_keys([SPARE], None)
        assert (found.level, found.what) == (Level.OK, "1 key(s), root keys backed up")

    @pytest.mark.parametrize(("all_seen", "expected"), [(True, ["note"]), (False, ["problem", "note"])])
    def test_a_root_key_that_was_rotated_out_needs_no_backup(self, all_seen: bool, expected: list[str]) -> None:
        assert levels(check_keys([KEY], [], all_seen=all_seen)) == expected

    @pytest.mark.parametrize("key", [BACKED_UP, ELSEWHERE], ids=["backed up", "elsewhere"])
    def test_a_root_key_that_is_backed_up_or_elsewhere_is_fine(self, key: StoredKey) -> None:
        assert check_keys([key], [PUBLIC.keyid]) == [Finding(Level.OK, "1 key(s), all in use, root keys backed up")]

    def test_no_keys(self) -> None:
        (found,) = check_keys([], [])
        assert (found.level, "does not sign" in found.what) == (Level.OK, True)


class TestRoles:
    def test_nothing_to_do(self) -> None:
        assert levels(check_roles("r/app", [ROLE], NOW)) == ["ok"]

    @pytest.mark.parametrize(
        ("left", "signing", "level", "then"),
        [
            (61, 60, "ok", None),
            (60, 60, "problem", "dockseal repo refresh r/app"),
            (60, 20, "note", None),
            (20, 20, "problem", "dockseal repo refresh r/app"),
            (-1, 20, "problem", "dockseal repo refresh r/app"),
        ],
    )
    def test_a_role_that_can_be_signed_here(self, left: int, signing: int, level: str, then: str | None) -> None:
        """It is noted for 60 days, and a problem from when it can be signed anew."""
        (found,) = check_roles("r/app", [until(left, signing)], NOW)
        assert (found.level, found.next) == (Level(level), then)

    def test_one_that_is_noted_early_says_from_when(self) -> None:
        (found,) = check_roles("r/app", [until(30, 10)], NOW)
        assert (
            found.what == "r/app: targets expires 2026-12-24T09:00:00Z; it can be signed anew from 2026-12-14T09:00:00Z"
        )

    @pytest.mark.parametrize(("role", "left", "signing"), [("timestamp", 14, 7), ("snapshot", 59, 30)])
    def test_publishing_roles_live_shortly_and_count_when_they_are_due(
        self, role: str, left: int, signing: int
    ) -> None:
        item = replace(until(left, signing), role=role)
        assert levels(check_roles("r/app", [item], NOW)) == ["ok"]
        assert levels(check_roles("r/app", [item], NOW + timedelta(days=left - signing))) == ["problem"]

    def test_a_role_that_nobody_here_can_sign_names_its_keys(self) -> None:
        expired, unheld = check_roles("r/app", [replace(until(-1, 20), held=())], NOW)
        assert (expired.level, "expired" in expired.what) == (Level.PROBLEM, True)
        assert expired.next == f"whoever holds 1 of {PUBLIC.keyid[:7]} runs: dockseal repo refresh r/app"
        assert (unheld.level, "nobody here holds" in unheld.what) == (Level.NOTE, True)

    def test_one_that_others_must_renew_is_noted(self) -> None:
        assert levels(check_roles("r/app", [replace(until(9, 20), held=())], NOW)) == ["note", "note"]

    def test_those_that_nobody_here_holds_are_one_note(self) -> None:
        roles = [replace(ROLE, role=role, held=()) for role in ("root", "targets")]
        (found,) = check_roles("r/app", roles, NOW)
        short = PUBLIC.keyid[:7]
        assert found.what == f"r/app: nobody here holds a key of root ({short}), targets ({short})"


class TestClock:
    def test_no_registry_was_asked(self) -> None:
        (found,) = check_clock(NOW, {}, {})
        assert (found.level, "no registry was asked" in found.what) == (Level.OK, True)

    @pytest.mark.parametrize(
        ("minutes", "words"),
        [
            (5, "the clock agrees with r"),
            (-5, "the clock agrees with r"),
            (6, "this machine's clock is 6 minutes behind that of r"),
            (-6, "this machine's clock is 6 minutes ahead of that of r"),
            (-60 * 50, "this machine's clock is 50 hours ahead of that of r"),
        ],
    )
    def test_five_minutes_are_allowed(self, minutes: int, words: str) -> None:
        (found,) = check_clock(NOW, {"r": timedelta(minutes=minutes)}, {})
        wrong = abs(minutes) > 5
        assert found == Finding(Level.PROBLEM if wrong else Level.OK, words, SET_CLOCK if wrong else None)

    def test_a_clock_that_was_set_back_is_behind_the_files_here(self) -> None:
        old, new = Path("/home/keys/a.key"), Path("/home/keys/b.key")
        written = {old: NOW - timedelta(days=3), new: NOW + timedelta(minutes=6)}
        (found,) = check_clock(NOW, {}, written)
        assert (found.level, str(new) in found.what) == (Level.PROBLEM, True)
        assert levels(check_clock(NOW, {}, {**written, new: NOW + timedelta(minutes=4)})) == ["ok"]


class TestLogins:
    @pytest.mark.parametrize(
        ("login", "level", "words"),
        [
            (Login(), "ok", "r: nobody is logged in"),
            (Login("ann"), "ok", "r: logged in as ann"),
            (Login(""), "ok", "r: logged in as a token"),
            (Login(None, ("pass",)), "problem", "docker-credential-pass, which is not installed"),
        ],
    )
    def test_who_one_is(self, login: Login, level: str, words: str) -> None:
        (found,) = check_logins({"r": login}, [])
        assert (found.level.value, words in found.what) == (level, True)

    @pytest.mark.parametrize(("mode", "open_"), [(0o600, False), (0o640, True), (0o604, True)])
    def test_passwords_that_others_can_read(self, tmp_path: Path, mode: int, open_: bool) -> None:
        path = tmp_path / "config.json"
        path.touch()
        path.chmod(mode)
        found = check_logins({}, [path])
        assert [item.next for item in found] == ([f"chmod 600 {path}"] if open_ else [])


class TestModes:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        """As the program leaves it under an ordinary umask."""
        for name in ("keys", "cache", "cache/trust", "cache/trust/r"):
            (tmp_path / name).mkdir(mode=0o700)
        for name in ("keys/a.key", "config.toml", "cache/trust/r/seen.json"):
            (tmp_path / name).touch(mode=0o600)
        tmp_path.chmod(0o755)
        return tmp_path

    def test_closed_to_others(self, home: Path) -> None:
        assert levels(check_modes(home)) == ["ok"]

    @pytest.mark.parametrize(
        ("name", "mode", "level", "command"),
        [
            ("keys", 0o755, "problem", "chmod 700"),
            ("keys/a.key", 0o640, "problem", "chmod 600"),
            ("config.toml", 0o646, "problem", "chmod go-w"),
            ("config.toml", 0o664, "note", "chmod go-w"),
            ("cache/trust/r/seen.json", 0o602, "problem", "chmod go-w"),
            (".", 0o777, "problem", "chmod go-w"),
            (".", 0o775, "note", "chmod go-w"),
        ],
    )
    def test_open_to_others(self, home: Path, name: str, mode: int, level: str, command: str) -> None:
        (home / name).chmod(mode)
        (found,) = check_modes(home)
        assert (found.level.value, found.next) == (level, f"{command} {home / name}")
        assert f"{mode:04o}" in found.what

    def test_a_link_is_judged_by_where_it_leads(self, home: Path) -> None:
        (home / "keys" / "b.key").symlink_to(home / "keys" / "a.key")
        assert levels(check_modes(home)) == ["ok"]

    def test_no_keys_yet(self, tmp_path: Path) -> None:
        assert levels(check_modes(tmp_path / "nothing")) == ["ok"]


def test_another_distribution_installs_a_package_of_ours() -> None:
    (found,) = check_packages({"trust": ["dockseal", "trust-me"], "cli": ["dockseal"]}, "dockseal")
    assert found.level is Level.PROBLEM
    assert "trust-me" in found.what


def test_nobody_else_does() -> None:
    assert levels(check_packages({"trust": ["dockseal"], "cli": []}, "dockseal")) == ["ok"]
