"""plugin install, remove: `docker seal …`, by docker's way of finding other programs (cli-plugins)."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import options, terminal
from cli.notarydesk import docker_folder
from trust.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Make `docker seal …` work.")
NAME = "docker-seal"
_MARK = "# Made by `dockseal plugin install`."
_MODE = 0o755
FolderOption = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="By default docker's own, ~/.docker/cli-plugins.")
]


@options.explained(app)
def install(folder: FolderOption = None) -> None:
    """Let docker's command line know dockseal: `docker seal push` is then `dockseal push`.

    Example:
      dockseal plugin install && docker seal --help
    """
    from importlib.metadata import version

    from trust.files import write_atomically

    path = _path(folder)
    _refuse_foreign(path)
    about = {
        "SchemaVersion": "0.1.0",
        "Vendor": "dockseal",
        "Version": version("dockseal"),
        "ShortDescription": "Content trust in the registry itself",
    }
    write_atomically(path, _script(_command(), json.dumps(about)).encode(), mode=_MODE, error=UsageError)
    terminal.say(f"Installed {path}: docker seal --help")


@options.explained(app)
def remove(folder: FolderOption = None) -> None:
    """Take `docker seal` away again.

    Example:
      dockseal plugin remove
    """
    from trust.files import delete

    path = _path(folder)
    _refuse_foreign(path)
    if not path.exists():
        raise UsageError(f"{path} is not there")
    delete(path, error=UsageError)
    terminal.say(f"Removed {path}")


def _path(folder: Path | None) -> Path:
    return (folder or docker_folder() / "cli-plugins").expanduser().absolute() / NAME


def _refuse_foreign(path: Path) -> None:
    """What somebody else has put there is not ours to replace."""
    try:
        ours = not path.exists() or _MARK in path.read_text("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    if not ours:
        raise UsageError(f"{path} is there, and is not dockseal's", hint="remove it first, or pass --folder DIR")


def _command() -> list[str]:
    """What runs this very program: its script where there is one, else its interpreter."""
    script = Path(sys.argv[0])
    if script.name == "dockseal" and script.is_file():
        return [str(script.absolute())]
    # -P: a module in the current folder must not be taken for one of ours
    return [sys.executable, "-P", "-c", "from cli.main import main; main()"]


def _script(command: list[str], about: str) -> str:
    """Docker asks for the description first, and then passes its own options, the name ``seal`` and what follows."""
    return f"""#!/bin/sh
{_MARK}
if [ "$1" = docker-cli-plugin-metadata ]; then
    printf '%s\\n' {shlex.quote(about)}
    exit
fi
while [ "$#" -gt 0 ] && [ "$1" != seal ]; do shift; done
[ "$#" -gt 0 ] && shift
exec {shlex.join(command)} "$@"
"""
