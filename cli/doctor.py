"""doctor: what may go wrong with keys, roles and set-up before it does."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import DocksealError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from trust.doctor import Finding

PACKAGES = ("trust", "cli")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    options.explained(app)(doctor)


def doctor(
    repositories: Annotated[
        list[str] | None, typer.Argument(metavar="[REPO..]", help="By default those that this machine knows.")
    ] = None,
    output: options.OutputOption = options.Output.TEXT,
) -> None:
    """Look for what may go wrong: keys without a backup, roles that expire, the clock, logins, file modes.

    Exit 1 where there is a problem.

    Example:
      dockseal doctor
    """
    from trust import doctor as checks

    desk = Desk()
    found: list[Finding] = []
    for name in repositories or ():
        changes.store_of(desk, name, None)  # what is no repository's name ends here
    names = repositories or _known(desk, found)
    looked = _look(desk, names, found)
    found = [
        *_keys(desk, None if repositories else looked.used, all_seen=looked.all_seen),
        *found,
        *checks.check_clock(desk.now, looked.clocks, _written(desk.home)),
        *_logins(desk, looked.hosts),
        *checks.check_modes(desk.home),
        *checks.check_packages(_owners(), "dockseal"),
    ]
    _show(found, output)
    if any(item.level is checks.Level.PROBLEM for item in found):
        raise typer.Exit(1)


@dataclass(slots=True)
class _Looked:
    """What the repositories told: keys in use, registries, how far their clocks are ahead; whether all were read."""

    used: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    clocks: dict[str, timedelta] = field(default_factory=dict)
    all_seen: bool = True


def _known(desk: Desk, found: list[Finding]) -> list[str]:
    """The repositories that this machine has seen or pinned; a configuration that cannot be read is a problem."""
    from trust.doctor import Finding, Level
    from trust.memory import known_repositories

    pinned: set[str] = set()
    try:
        pinned = {pin.repository for pin in desk.config.pins if "*" not in pin.repository}
    except DocksealError as error:
        found.append(Finding(Level.PROBLEM, error.message, error.hint))
    names = sorted(pinned | set(known_repositories(desk.home / "cache")))
    return [f"oci:{name}" if name.startswith("/") else name for name in names]


def _look(desk: Desk, names: Sequence[str], found: list[Finding]) -> _Looked:
    """Each repository's roles; what cannot be read is a note, since nothing was judged."""
    from trust.doctor import Finding, Level, check_roles
    from trust.repo import status

    looked = _Looked()
    for name in names:
        try:
            store = changes.store_of(desk, name, None)
            host = store.repository.partition("/")[0]
            looked.hosts |= {host} - {""}
            roles = status(changes.read(desk, store, TrustOptions()).verified, desk.signing)
        except DocksealError as error:
            looked.all_seen = False
            found.append(Finding(Level.NOTE, f"{name} cannot be looked at: {error.message}", error.hint))
            continue
        looked.used |= {key_id for item in roles for key_id in item.key_ids}
        found += check_roles(name, roles, desk.now)
        if host in desk.transports and (time := desk.transports[host].server_time) is not None:
            looked.clocks[host] = time - desk.clock()
    return looked


def _keys(desk: Desk, used: set[str] | None, *, all_seen: bool) -> list[Finding]:
    from trust.doctor import Finding, Level, check_keys

    try:
        return check_keys(desk.keys.keys(), used, all_seen=all_seen)
    except DocksealError as error:
        return [Finding(Level.PROBLEM, error.message, error.hint)]


def _written(home: Path) -> dict[Path, datetime]:
    """When the files that this program writes were written last."""
    from datetime import UTC, datetime

    found = {}
    for path in (home / "config.toml", *home.glob("keys/*"), *home.glob("cache/trust/*/seen.json")):
        with contextlib.suppress(OSError):
            found[path] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return found


def _logins(desk: Desk, hosts: set[str]) -> list[Finding]:
    """How docker's configuration knows this machine to each registry."""
    from shutil import which

    from trust.doctor import Finding, Level, Login, check_logins

    config, logins = desk.docker_config, {}
    try:
        for host in sorted(hosts):
            missing = tuple(name for name in config.helpers(host) if which(f"docker-credential-{name}") is None)
            credentials = config.get(host)
            logins[host] = Login(None if credentials is None else credentials.user, missing)
        return check_logins(logins, config.plain_files())
    except DocksealError as error:
        return [Finding(Level.PROBLEM, f"docker's logins cannot be read: {error.message}", error.hint)]


def _owners() -> dict[str, list[str]]:
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    return {package: list(owners.get(package, ())) for package in PACKAGES}


def _show(found: Sequence[Finding], output: options.Output) -> None:
    if output is options.Output.JSON:
        findings = [{"level": item.level.value, "what": item.what, "next": item.next} for item in found]
        terminal.say_json({"findings": findings})
        return
    for item in found:
        terminal.say(f"{item.level.value:8} {item.what}")
        if item.next:
            terminal.say(f"{'':8} -> {item.next}")
