"""What people see: results on stdout, everything else on stderr; questions only on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from trust.errors import DocksealError

SCHEMA = 1
_STEERING = (
    *range(9), *range(11, 32), *range(127, 160),  # controls, but tabs and line ends
    0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A),  # direction, lines and paragraphs
    *range(0xD800, 0xE000),  # halves of pairs, which stand for bytes of a file's name that are no text
)  # fmt: skip
"""What others have signed or named must not move the cursor, write over a verdict or turn it around."""
_CONTROLS = dict.fromkeys(_STEERING, "\N{REPLACEMENT CHARACTER}")
_ESCAPED = {code: f"\\u{code:04x}" for code in _STEERING}
"""In JSON, where they only stand in strings: the value stays what it is."""


def say(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(f"{text.translate(_CONTROLS)}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line beside the result."""
    sys.stderr.write(f"{text.translate(_CONTROLS)}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Something that people should know, though the command goes on."""
    note(f"Warning: {text}")


@dataclass(slots=True)
class _Json:
    """Whether this run was asked for JSON, and has given it."""

    wanted: bool = False
    given: bool = False


_json = _Json()


def expect_json(wanted: bool) -> None:
    """Say at the start of a run, and again where an option says so, what stdout shall hold."""
    _json.wanted, _json.given = wanted, False


def show_error(error: DocksealError) -> None:
    """``Error:`` what, expected and got; ``Hint:`` the next command; as JSON too, where none was given yet."""
    note(f"Error: {error.message}")
    if error.hint:
        note(f"Hint: {error.hint}")
    if _json.wanted and not _json.given:
        try:
            say_json({"verdict": error.verdict, "reason": error.message, "hint": error.hint})
        except OSError:  # a full disk, a closed pipe: the exit code still tells
            discard_output()


def say_json(value: object) -> None:
    """One object, or a list of them, on stdout; each carries ``"schema": 1``."""
    _json.given = True
    say(json.dumps(_with_schema(value), indent=2, ensure_ascii=False).translate(_ESCAPED))


def _with_schema(value: object) -> object:
    if isinstance(value, list):
        return [_with_schema(item) for item in value]
    return {"schema": SCHEMA, **value} if isinstance(value, dict) else value


def discard_output() -> None:
    """What is left in stdout's buffer cannot be written: do not try again at the end of the program."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on a terminal; ``yes`` answers at once.

    Raises:
        UsageError: nobody can be asked, and no ``-y`` was given.
    """
    if yes:
        return True
    if not is_interactive():
        raise UsageError(f"{question} Nobody can be asked here", hint="pass -y to say yes")
    sys.stderr.write(f"{question.translate(_CONTROLS)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def one_line(text: str) -> str:
    """What others have signed, on one line: a second one could look like ours."""
    return " ".join(text.splitlines())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as docker prints them: padded, three spaces apart, no lines."""
    lines = [list(head), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("   ".join(cells).rstrip() for cells in padded)


def moment(time: datetime | None) -> str | None:
    """RFC 3339, UTC, whole seconds."""
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def in_days(time: datetime, now: datetime) -> str:
    """``in 13 days``, ``2 days ago``: how far away a time is."""
    days = (time - now).days
    if time <= now:
        late = (now - time).days
        return "today" if late == 0 else f"{late} day{'s' * (late != 1)} ago"
    return "in less than a day" if days == 0 else f"in {days} day{'s' * (days != 1)}"


def size(count: int) -> str:
    """Bytes as docker shows them: decimal units, ``12.3MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":  # noqa: PLR2004 - docker's decimal units
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError
