"""What may go wrong with this machine's keys, roles and set-up before it does. Facts in, findings out."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from trust.tuf.roles import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from trust.keys.store import StoredKey
    from trust.repo import RoleStatus

EXPIRES_SOON = timedelta(days=60)
MAX_CLOCK_ERROR = timedelta(minutes=5)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Level(StrEnum):
    """How much a finding weighs."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do next."""

    level: Level
    what: str
    next: str | None = None


def check_keys(keys: Sequence[StoredKey], used: Iterable[str]) -> list[Finding]:
    """Root keys without a backup, and keys that no known repository uses.

    Args:
        keys: those of this machine.
        used: the key ids of all roles of the known repositories.
    """
    found = [
        Finding(
            Level.PROBLEM,
            f"the root key {key.label} ({key.short}) was never backed up",
            f"dockseal key export {key.label} > {key.label}.backup.pem",
        )
        for key in keys
        if key.purpose == "root" and key.uri is None and key.backed_up is None
    ]
    ids = set(used)
    found += [
        Finding(
            Level.NOTE,
            f"the key {key.label} ({key.short}) signs in no repository that this machine knows",
            f"dockseal key remove {key.label}",
        )
        for key in keys
        if key.key_id not in ids
    ]
    return found or [Finding(Level.OK, f"{len(keys)} key(s), all in use, root keys backed up")]


def check_roles(repository: str, roles: Iterable[RoleStatus], now: datetime) -> list[Finding]:
    """Roles that expire soon, and those that nobody here can sign."""
    found = []
    for item in roles:
        begins = item.sign_from if item.role == "timestamp" else item.expires - EXPIRES_SOON  # a timestamp is short
        if begins <= now:
            found.append(_expiring(repository, item, now))
        if not item.held:
            ids = ", ".join(key_id[:7] for key_id in item.key_ids)
            found.append(Finding(Level.NOTE, f"{repository}: nobody here holds a key of {item.role} ({ids})"))
    return found or [Finding(Level.OK, f"{repository}: every role is held here and far from its expiry")]


def check_clock(now: datetime, times: Mapping[str, datetime]) -> list[Finding]:
    """This machine's clock beside those of the registries that answered (host to time, UTC)."""
    wrong = [
        Finding(
            Level.PROBLEM,
            f"this machine's clock says {rfc3339(now)}, that of {host} {rfc3339(time)}",
            "set the clock: what has expired is judged by it",
        )
        for host, time in times.items()
        if abs(time - now) > MAX_CLOCK_ERROR
    ]
    if not times:
        return []
    return wrong or [Finding(Level.OK, f"the clock agrees with {', '.join(times)}")]


def check_modes(home: Path) -> list[Finding]:
    """Keys that others can read, and folders that others can write to."""
    found = []
    for path in (home / "keys", *sorted((home / "keys").glob("*"))):
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if mode & _OTHERS:
            expected = "700" if stat.S_ISDIR(mode) else "600"
            what = f"{path} is open to others: mode {stat.S_IMODE(mode):04o}, expected 0{expected}"
            found.append(Finding(Level.PROBLEM, what, f"chmod {expected} {path}"))
    return found or [Finding(Level.OK, f"nobody else can read {home / 'keys'}")]


def check_packages(owners: Mapping[str, Sequence[str]], own: str) -> list[Finding]:
    """Other distributions that install a top-level package of the same name as ours.

    Args:
        owners: the distributions that provide each of our import packages.
        own: the name of our distribution.
    """
    found = []
    for package, distributions in owners.items():
        others = sorted({name for name in distributions if name.lower() != own})
        if others:
            what = f"the import package {package!r} is also installed by {', '.join(others)}: one hides the other"
            found.append(Finding(Level.PROBLEM, what, "install dockseal isolated: pipx install dockseal"))
    return found or [Finding(Level.OK, f"nobody else installs the packages {', '.join(owners)}")]


def _expiring(repository: str, item: RoleStatus, now: datetime) -> Finding:
    level = Level.PROBLEM if item.expires <= now or item.can_sign else Level.NOTE
    word = "expired" if item.expires <= now else "expires"
    what = f"{repository}: {item.role} {word} {rfc3339(item.expires)}"
    if item.can_sign:
        return Finding(level, what, f"dockseal repo refresh {repository}")
    ids = ", ".join(key_id[:7] for key_id in item.key_ids)
    return Finding(level, what, f"whoever holds {item.threshold} of {ids} runs: dockseal repo refresh {repository}")
