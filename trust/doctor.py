"""What may go wrong with this machine's keys, roles and set-up before it does. Facts in, findings out."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from trust.keys.ids import SHORT_ID_DIGITS
from trust.tuf.edits import PUBLISHING_ROLES
from trust.tuf.roles import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from trust.keys.store import StoredKey
    from trust.repo import RoleStatus

EXPIRES_SOON = timedelta(days=60)
MAX_CLOCK_ERROR = timedelta(minutes=5)
SET_CLOCK = "set the clock: what has expired is judged by it"
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


@dataclass(frozen=True, slots=True)
class Login:
    """How this machine is known to a registry: ``user`` is None for nobody and empty for a token.

    ``missing``: credential helpers that docker's configuration names, and that are not installed.
    """

    user: str | None = None
    missing: tuple[str, ...] = ()


def check_keys(keys: Sequence[StoredKey], used: Iterable[str] | None, *, all_seen: bool = True) -> list[Finding]:
    """Root keys without a backup, and keys that no known repository uses.

    Args:
        keys: those of this machine.
        used: the key ids of all roles of the known repositories; None where only some were looked at.
        all_seen: whether each of them could be read.
    """
    ids = None if used is None else set(used)
    left = [key for key in keys if ids is not None and key.key_id not in ids]
    found = [
        Finding(
            Level.PROBLEM,
            f"the root key {key.label} ({key.short}) was never backed up",
            f"dockseal key export {key.label} > {key.label}.backup.pem",
        )
        for key in keys
        if key.purpose == "root" and key.uri is None and key.backed_up is None and not (all_seen and key in left)
    ]
    found += [_unused(key, all_seen=all_seen) for key in left]
    if found or not keys:
        return found or [Finding(Level.OK, "no keys here: this machine verifies and does not sign")]
    in_use = "" if used is None else ", all in use"
    return [Finding(Level.OK, f"{len(keys)} key(s){in_use}, root keys backed up")]


def check_roles(repository: str, roles: Sequence[RoleStatus], now: datetime) -> list[Finding]:
    """Roles that expire soon, and those that nobody here can sign.

    One that expires within 60 days is noted. It is a problem from the day that it can be signed anew here, or
    when it has expired. A timestamp and a snapshot live shortly, and are noted when they are due.
    """
    found = []
    for item in roles:
        soon = item.role not in PUBLISHING_ROLES and item.expires - EXPIRES_SOON <= now
        if soon or item.is_due(now):
            found.append(_expiring(repository, item, now))
    away = [f"{item.role} ({_ids(item)})" for item in roles if not item.held]
    if away:
        found.append(Finding(Level.NOTE, f"{repository}: nobody here holds a key of {', '.join(away)}"))
    return found or [Finding(Level.OK, f"{repository}: every role is held here and far from its expiry")]


def check_clock(now: datetime, ahead: Mapping[str, timedelta], written: Mapping[Path, datetime]) -> list[Finding]:
    """This machine's clock beside those of the registries that answered, and beside its own files.

    Args:
        now: UTC.
        ahead: by how much each registry's clock is ahead of this one.
        written: when files of ours were written last (UTC): a clock that is behind them was set back.
    """
    found = [
        Finding(
            Level.PROBLEM,
            f"this machine's clock is {_minutes(difference)} {'behind' if difference > timedelta() else 'ahead of'} "
            f"that of {host}",
            SET_CLOCK,
        )
        for host, difference in ahead.items()
        if abs(difference) > MAX_CLOCK_ERROR
    ]
    path = max(written, key=lambda path: written[path], default=None)
    if path is not None and written[path] - now > MAX_CLOCK_ERROR:
        what = f"this machine's clock says {rfc3339(now)}, and {path} was written {rfc3339(written[path])}"
        found.append(Finding(Level.PROBLEM, what, SET_CLOCK))
    if found or not ahead:
        return found or [Finding(Level.OK, "the clock is not behind the files here; no registry was asked")]
    return [Finding(Level.OK, f"the clock agrees with {', '.join(ahead)}")]


def check_logins(logins: Mapping[str, Login], plain: Sequence[Path]) -> list[Finding]:
    """Credential helpers that are not installed, and files with secrets in plain that others can read.

    Args:
        logins: by registry host.
        plain: the files that hold secrets in plain.
    """
    found = []
    for host, login in logins.items():
        if login.missing:
            helpers = ", ".join(f"docker-credential-{name}" for name in login.missing)
            what = f"{host}: docker's configuration names {helpers}, which is not installed"
            found.append(Finding(Level.PROBLEM, what, "install it, or take it out of docker's config.json"))
        else:
            who = "nobody is logged in" if login.user is None else f"logged in as {login.user or 'a token'}"
            found.append(Finding(Level.OK, f"{host}: {who}"))
    for path in plain:
        if mode := _mode(path, _OTHERS):
            what = f"{path} holds passwords and is open to others: {mode}, expected 0600"
            found.append(Finding(Level.PROBLEM, what, f"chmod 600 {path}"))
    return found


def check_modes(home: Path) -> list[Finding]:
    """Keys that others can read, and pins and memory that others can change.

    Where only the group can change them it is a note: many systems give every user a group of their own.
    """
    found = []
    for path in (home / "keys", *sorted((home / "keys").glob("*"))):
        if mode := _mode(path, _OTHERS):
            number = "700" if path.is_dir() else "600"
            what = f"{path} is open to others: {mode}, expected 0{number}"
            found.append(Finding(Level.PROBLEM, what, f"chmod {number} {path}"))
    memory = home / "cache" / "trust"
    for path in (home, home / "config.toml", home / "cache", memory, *sorted(memory.glob("**/*"))):
        if mode := _mode(path, stat.S_IWOTH):
            found.append(Finding(Level.PROBLEM, f"{path} can be changed by others: {mode}", f"chmod go-w {path}"))
        elif mode := _mode(path, stat.S_IWGRP):
            found.append(Finding(Level.NOTE, f"{path} can be changed by its group: {mode}", f"chmod go-w {path}"))
    return found or [Finding(Level.OK, f"nobody else can read the keys in {home}, or change what is trusted here")]


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


def _unused(key: StoredKey, *, all_seen: bool) -> Finding:
    where = "no repository that this machine knows" if all_seen else "no repository that could be read"
    advice = f"where it waits for no approval and is no spare: dockseal key remove {key.label}" if all_seen else None
    return Finding(Level.NOTE, f"the key {key.label} ({key.short}) signs in {where}", advice)


def _expiring(repository: str, item: RoleStatus, now: datetime) -> Finding:
    late, due = item.expires <= now, item.is_due(now)
    level = Level.PROBLEM if late or (due and item.can_sign) else Level.NOTE
    what = f"{repository}: {item.role} {'expired' if late else 'expires'} {rfc3339(item.expires)}"
    if not due:
        return Finding(level, f"{what}; it can be signed anew from {rfc3339(item.sign_from)}")
    who = "" if item.can_sign else f"whoever holds {item.threshold} of {_ids(item)} runs: "
    return Finding(level, what, f"{who}dockseal repo refresh {repository}")


def _ids(item: RoleStatus) -> str:
    return ", ".join(key_id[:SHORT_ID_DIGITS] for key_id in item.key_ids)


def _minutes(difference: timedelta) -> str:
    minutes = round(abs(difference).total_seconds() / 60)
    return f"{minutes} minutes" if minutes < 2 * 60 else f"{minutes // 60} hours"


def _mode(path: Path, bits: int) -> str | None:
    """A file's mode in words, where it has some of these bits."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return f"mode {stat.S_IMODE(mode):04o}" if mode & bits else None
