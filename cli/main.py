"""The command ``dockseal``: what it is made of, and how its errors end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import (
    approve,
    doctor,
    gate,
    images,
    keys,
    login,
    notary,
    options,
    plugin,
    policy,
    receive,
    repo,
    rotate,
    send,
    signers,
    terminal,
)
from trust.errors import DocksealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
_SWITCH = "--disable-content-trust"
_TRUE = {"true", "1", "t"}
_FALSE = {"false", "0", "f"}
_EPILOG = """\b
Examples:
  dockseal build -t localhost:5000/app:v1 ./rootfs
  dockseal push localhost:5000/app:v1
  dockseal verify localhost:5000/app:v1

\b
Exit codes:
  0 done, trusted     1 another error     2 usage           3 unreachable
  4 key unavailable   10 unsigned         11 missing        12 mismatch
  13 expired          14 rollback         15 tampered       16 untrusted-root
  17 unauthorized     130 interrupted

Every command explains itself: dockseal COMMAND --help
"""

app = typer.Typer(
    name="dockseal",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help fits 80 columns, as docker's does
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

    `push` uploads an image and its signed trust data together; what cannot be signed is refused. `verify` and
    `pull` prove it on another machine that knows the root of trust.
    """
    del version


for module in (send, receive, images, login, approve, doctor, gate):
    module.register(app)
app.add_typer(repo.app, name="repo")
app.add_typer(keys.app, name="key")
options.explained(keys.app)(rotate.rotate)
app.add_typer(signers.app, name="signer")
app.add_typer(notary.app, name="notary")
app.add_typer(plugin.app, name="plugin")
app.add_typer(policy.app, name="policy")


def main() -> None:
    """Run the program; the only place that ends it."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a job that is cancelled leaves no spool files, as with Ctrl-C
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup it is ignored, and stays so
            signal.signal(number, signal.default_int_handler)
    code = run(sys.argv[1:])
    if code == INTERRUPTED:  # threads that wait for a registry are not waited for
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    terminal.expect_json(wanted=False)
    try:
        app(args=gate.with_lock_files(_docker_switch(arguments)), prog_name="dockseal")
    except DocksealError as error:
        terminal.show_error(error)
        return error.exit_code
    except OSError as error:
        reason = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        terminal.show_error(DocksealError(reason))
        terminal.discard_output()
        return 1
    except SystemExit as done:  # typer has shown usage errors, and what it made of an interrupt or a closed pipe
        code = done.code if isinstance(done.code, int) else 0
        if code == INTERRUPTED:
            terminal.note("Interrupted")
        return code
    return 0


def _docker_switch(arguments: Sequence[str]) -> list[str]:
    """``--disable-content-trust=false`` and ``=true``, as docker's flag reads them; the last one holds."""
    result: list[str] = []
    for number, argument in enumerate(arguments):
        if argument == "--":
            return [*result, *arguments[number:]]
        name, equals, value = argument.partition("=")
        if name != _SWITCH:
            result.append(argument)
            continue
        if equals and value.lower() not in _TRUE | _FALSE:
            raise UsageError(f"{argument}: expected true or false")
        result = [other for other in result if other != _SWITCH]
        if not equals or value.lower() in _TRUE:
            result.append(_SWITCH)
    return result
