from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from trust.doctor import Finding, Level, check_clock, check_keys, check_modes, check_packages, check_roles
from trust.keys.ids import KeyId
from trust.keys.store import StoredKey
from trust.repo import RoleStatus

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PUBLIC = CryptoSigner.generate_ed25519().public_key
KEY = StoredKey("root", KeyId(PUBLIC.keyid), PUBLIC, "root", "2026-11-24T08:00:00Z")
ROLE = RoleStatus("targets", 3, NOW + timedelta(days=300), NOW + timedelta(days=240), 1, (PUBLIC.keyid,), (KEY,))


def levels(found: list[Finding]) -> list[str]:
    return [item.level.value for item in found]


class TestKeys:
    def test_a_root_key_without_a_backup_is_a_problem(self) -> None:
        (found,) = check_keys([KEY], [PUBLIC.keyid])
        assert (found.level, found.next) == (Level.PROBLEM, "dockseal key export root > root.backup.pem")

    def test_a_key_that_no_repository_uses_is_noted(self) -> None:
        (found,) = check_keys([replace(KEY, purpose="repository")], [])
        assert found.level is Level.NOTE
        assert "signs in no repository" in found.what

    @pytest.mark.parametrize("change", [{"backed_up": "2026-11-24T08:30:00Z"}, {"uri": "hsm:1"}])
    def test_a_root_key_that_is_backed_up_or_elsewhere_is_fine(self, change: dict[str, str]) -> None:
        key = StoredKey(**{**{name: getattr(KEY, name) for name in KEY.__slots__}, **change})
        assert levels(check_keys([key], [PUBLIC.keyid])) == ["ok"]


class TestRoles:
    def test_nothing_to_do(self) -> None:
        assert levels(check_roles("r/app", [ROLE], NOW)) == ["ok"]

    def test_a_role_that_expires_within_sixty_days(self) -> None:
        soon = replace(ROLE, expires=NOW + timedelta(days=59))
        (found,) = check_roles("r/app", [soon], NOW)
        assert (found.level, found.next) == (Level.PROBLEM, "dockseal repo refresh r/app")

    def test_a_timestamp_is_due_when_its_signing_period_begins(self) -> None:
        stamp = replace(ROLE, role="timestamp", expires=NOW + timedelta(days=10), sign_from=NOW + timedelta(days=3))
        assert levels(check_roles("r/app", [stamp], NOW)) == ["ok"]
        assert levels(check_roles("r/app", [stamp], NOW + timedelta(days=3))) == ["problem"]

    def test_a_role_that_nobody_here_can_sign_names_its_keys(self) -> None:
        late = replace(ROLE, expires=NOW - timedelta(days=1), held=())
        expired, unheld = check_roles("r/app", [late], NOW)
        assert "expired" in expired.what
        assert PUBLIC.keyid[:7] in (expired.next or "")
        assert (unheld.level, "nobody here holds" in unheld.what) == (Level.NOTE, True)

    def test_one_that_others_must_renew_is_noted(self) -> None:
        soon = replace(ROLE, expires=NOW + timedelta(days=9), held=())
        assert levels(check_roles("r/app", [soon], NOW)) == ["note", "note"]


class TestClock:
    def test_no_registry_was_asked(self) -> None:
        assert check_clock(NOW, {}) == []

    @pytest.mark.parametrize(("minutes", "level"), [(4, "ok"), (-4, "ok"), (6, "problem"), (-6, "problem")])
    def test_five_minutes_are_allowed(self, minutes: int, level: str) -> None:
        assert levels(check_clock(NOW, {"r": NOW + timedelta(minutes=minutes)})) == [level]


class TestModes:
    def test_closed_to_others(self, tmp_path: Path) -> None:
        (tmp_path / "keys").mkdir(mode=0o700)
        (tmp_path / "keys" / "a.key").touch(mode=0o600)
        assert levels(check_modes(tmp_path)) == ["ok"]

    def test_open_to_others(self, tmp_path: Path) -> None:
        (tmp_path / "keys").mkdir(mode=0o755)
        (tmp_path / "keys" / "a.key").touch()
        (tmp_path / "keys" / "a.key").chmod(0o644)
        folder, key = check_modes(tmp_path)
        assert (folder.next, key.next) == (
            f"chmod 700 {tmp_path / 'keys'}",
            f"chmod 600 {tmp_path / 'keys' / 'a.key'}",
        )

    def test_no_keys_yet(self, tmp_path: Path) -> None:
        assert levels(check_modes(tmp_path)) == ["ok"]


def test_another_distribution_installs_a_package_of_ours() -> None:
    (found,) = check_packages({"trust": ["dockseal", "trust-me"], "cli": ["dockseal"]}, "dockseal")
    assert found.level is Level.PROBLEM
    assert "trust-me" in found.what


def test_nobody_else_does() -> None:
    assert levels(check_packages({"trust": ["dockseal"], "cli": []}, "dockseal")) == ["ok"]
