"""login, logout: docker's config.json and credential helpers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli import options, terminal
from cli.desk import Desk
from trust.errors import UsageError

RegistryArgument = Annotated[
    str, typer.Argument(metavar="REGISTRY", help="The registry's host; Docker Hub by default.")
]
HUB = "docker.io"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    options.explained(app)(login)
    options.explained(app)(logout)


def login(
    registry: RegistryArgument = HUB,
    username: Annotated[
        str | None, typer.Option("-u", "--username", metavar="USER", help="Asked for where it is missing.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Log in to a registry; docker and dockseal share the login.

    Example:
      echo "$TOKEN" | dockseal login -u me --password-stdin ghcr.io
    """
    from trust.oci.auth import check_login
    from trust.oci.dockerconfig import Credentials

    desk = Desk()
    user = username or _ask("Username: ")
    secret = sys.stdin.readline(1 << 16).rstrip("\r\n") if password_stdin else _ask("Password: ", hidden=True)
    if not user or not secret:
        raise UsageError("a login needs a user name and a password: one of them is empty")
    check_login(desk.transport(registry), Credentials.of(user, secret))
    place = desk.docker_config.store(registry, user, secret)
    if place is not None:
        terminal.warn(f"the password is stored unencrypted in {place}; a credential helper keeps it elsewhere")
    terminal.say("Login Succeeded")


def logout(registry: RegistryArgument = HUB) -> None:
    """Forget the login of a registry.

    Example:
      dockseal logout ghcr.io
    """
    if Desk().docker_config.erase(registry):
        terminal.say(f"Removing login credentials for {registry}")
    else:
        terminal.say(f"Not logged in to {registry}")


def _ask(question: str, *, hidden: bool = False) -> str:
    if not terminal.is_interactive():
        raise UsageError(
            "nobody can be asked for user name and password here",
            hint="dockseal login -u USER --password-stdin REGISTRY",
        )
    if hidden:
        import getpass

        return getpass.getpass(question)
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
