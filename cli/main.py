"""The command ``dockseal``: what it is made of, and how its errors end."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import click
import typer

from cli import images, keys, login, receive, repo, send, terminal
from trust.errors import DocksealError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
_SWITCH = "--disable-content-trust"
_TRUE = {"true", "1", "t"}
_FALSE = {"false", "0", "f"}
_EPILOG = "First push: dockseal build -t localhost:5000/app:v1 ./folder && dockseal push localhost:5000/app:v1"

app = typer.Typer(
    name="dockseal",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    epilog=_EPILOG,
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        terminal.say(f"dockseal {version('dockseal')}")
        raise typer.Exit


@app.callback()
def dockseal(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Content trust for container images, with nothing to run but the registry you already have.

    [bold]dockseal push NAME:TAG[/bold] uploads an image and its signed trust data together; an unsigned push is
    refused. [bold]dockseal verify[/bold] and [bold]dockseal pull[/bold] prove it on another machine.

    Exit codes: 0 trusted, 2 usage, 3 unreachable, 4 key, 10 unsigned, 11 missing, 12 mismatch, 13 expired,
    14 rollback, 15 tampered, 16 untrusted-root, 17 unauthorized, 130 interrupted.
    """
    del version


for module in (send, receive, images, login):
    module.register(app)
app.add_typer(repo.app, name="repo")
app.add_typer(keys.app, name="key")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; the only place that ends it."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        code = app(args=_docker_switch(arguments), standalone_mode=False)
    except DocksealError as error:
        terminal.show_error(error)
        return error.exit_code
    except click.exceptions.Abort:
        terminal.note("Interrupted.")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads; stay silent at exit
        return 1
    except OSError as error:
        terminal.note(f"Error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return 1
    return code if isinstance(code, int) else 0


def _docker_switch(arguments: Sequence[str]) -> list[str]:
    """``--disable-content-trust=false`` and ``=true``, as docker's flag reads them."""
    result = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == _SWITCH and equals:
            if value.lower() not in _TRUE | _FALSE:
                raise click.UsageError(f"{argument}: expected true or false")
            argument = _SWITCH if value.lower() in _TRUE else "--enable-content-trust"  # noqa: PLW2901
        result.append(argument)
    return result
