"""Options that several commands take, with one wording."""

from __future__ import annotations

import inspect
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli import terminal
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., object]")


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


def _expect(output: Output) -> Output:
    terminal.expect_json(wanted=output is Output.JSON)
    return output


OutputOption = Annotated[
    Output, typer.Option("-o", "--output", callback=_expect, help="text, or json: one object on stdout.")
]
FirstUse = Annotated[
    bool,
    typer.Option("--trust-on-first-use", help="Where no root is pinned, pin the one that is there now, and say which."),
]
RootFile = Annotated[
    Path | None,
    typer.Option("--root", metavar="FILE", help="A root file to trust in this run, in place of the pinned one."),
]
AsName = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="For oci: folders: the repository name that the trust data bears."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", metavar="FILE", help="Read the passphrase from a file's first line.")
]
Bins = Annotated[
    int,
    typer.Option(
        "--bins", min=0, metavar="N", help="Put the tags into N hash bins, a power of two up to 4096; 0 is none."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print NAME@DIGEST only.")]
Signers = Annotated[
    list[str] | None, typer.Option("--signer", metavar="NAME", help="Sign as this signer; may be given again.")
]
Annotations = Annotated[
    list[str] | None,
    typer.Option("--annotation", metavar="KEY=VALUE", help="Sign this with the digest; may be given again."),
]
Platform = Annotated[
    str | None,
    typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="Of an index, the image for this platform."),
]
Compression = Annotated[
    str | None,
    typer.Option(
        "--compression",
        metavar="CODEC[:LEVEL]",
        help="gzip (default), zlib, zstd or none, for layers that are plain tars.",
    ),
]
Uploads = Annotated[
    int | None,
    typer.Option("--max-concurrent-uploads", min=1, max=64, metavar="N", help="Layers at a time; default 5."),
]
AlsoNotary = Annotated[
    str | None,
    typer.Option("--also-notary", metavar="URL", help="Do it on this Notary server, too, for docker's own clients."),
]
Untrusted = Annotated[
    bool,
    typer.Option(
        "--disable-content-trust",
        help="Neither sign nor verify; trust data is not touched. Takes =true and =false, as docker's does.",
    ),
]


def explained(app: typer.Typer, name: str | None = None) -> Callable[[Command], Command]:
    """Add a command whose ``--help`` ends with the examples of its docstring, line by line."""

    def register(function: Command) -> Command:
        prose, heading, examples = inspect.cleandoc(function.__doc__ or "").partition("\n\nExample")
        first_sentence = prose.partition("\n\n")[0].replace("\n", " ").partition(". ")[0]
        app.command(
            name,
            help=prose,
            short_help=first_sentence.removesuffix("."),
            epilog=f"\b\n{heading.strip()}{examples}" if heading else None,
        )(function)
        return function

    return register


def pairs(values: list[str] | None, option: str) -> dict[str, str]:
    """``KEY=VALUE`` arguments as a map.

    Raises:
        UsageError: one has no ``=``, or a key stands twice.
    """
    found: dict[str, str] = {}
    for value in values or ():
        key, equals, text = value.partition("=")
        if not equals or not key or key in found:
            raise UsageError(f"{option} {value!r}: expected KEY=VALUE, each key once")
        found[key] = text
    return found


def number_of_days(text: str) -> int:
    """``30`` or ``30d``.

    Raises:
        UsageError: it is no number of days.
    """
    digits = text.removesuffix("d")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 5 or int(digits) < 1:  # noqa: PLR2004 - 273 years
        raise UsageError(f"{text!r} is no number of days: expected 30 or 30d")
    return int(digits)


def source_date_epoch() -> str | None:
    """``SOURCE_DATE_EPOCH``, the time that a reproducible build bears."""
    return os.environ.get("SOURCE_DATE_EPOCH")


def read_file(path: Path) -> bytes:
    """The bytes of a file that an argument names.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
