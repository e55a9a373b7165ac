"""doctor: what may go wrong with keys, roles and set-up before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import DocksealError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
    names = repositories or _known(desk)
    used: set[str] = set()
    found: list[Finding] = []
    for name in names:
        found += _look(desk, name, used)
    keys = desk.keys.keys()
    found = [
        *checks.check_keys(keys, used),
        *found,
        *checks.check_clock(desk.now, _clocks(desk)),
        *_logins(desk, names),
        *checks.check_modes(desk.home),
        *checks.check_packages(_owners(), "dockseal"),
    ]
    _show(found, output)
    if any(item.level is checks.Level.PROBLEM for item in found):
        raise typer.Exit(1)


def _known(desk: Desk) -> list[str]:
    from trust.memory import known_repositories

    pinned = {pin.repository for pin in desk.config.pins if "*" not in pin.repository}
    names = sorted(pinned | set(known_repositories(desk.home / "cache")))
    return [f"oci:{name}" if name.startswith("/") else name for name in names]


def _look(desk: Desk, name: str, used: set[str]) -> list[Finding]:
    """One repository's roles; what cannot be read is a note, since nothing was judged."""
    from trust.doctor import Finding, Level, check_roles
    from trust.repo import status

    try:
        trusted = changes.read(desk, changes.store_of(desk, name, None), TrustOptions())
    except DocksealError as error:
        return [Finding(Level.NOTE, f"{name} cannot be looked at: {error.message}", error.hint)]
    roles = status(trusted.verified, desk.signing)
    used |= {key_id for item in roles for key_id in item.key_ids}
    return check_roles(name, roles, desk.now)


def _clocks(desk: Desk) -> dict[str, datetime]:
    times = {host: transport.server_time for host, transport in desk.transports.items()}
    return {host: time for host, time in times.items() if time is not None}


def _logins(desk: Desk, names: Sequence[str]) -> list[Finding]:
    from trust.doctor import Finding, Level

    found = []
    for host in sorted({name.partition("/")[0] for name in names if not name.startswith("oci:")}):
        try:
            credentials = desk.docker_config.get(host)
        except DocksealError as error:
            found.append(Finding(Level.PROBLEM, f"the login of {host} cannot be read: {error.message}", error.hint))
            continue
        who = "nobody is logged in" if credentials is None else f"logged in as {credentials.user or 'a token'}"
        found.append(Finding(Level.OK, f"{host}: {who}"))
    return found


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
