"""The ``.env`` file beside a compose file (compose specification, "Env_file format")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.scan.variables import Dialect, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.gate.scan.collect import Collector
    from trust.gate.scan.source import Source

_PLAIN = Dialect(escape="\\")
_ENTRY = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:
        [=:][ \t]*(?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<plain>[^'"\r\n][^\r\n]*)?)
    )?(?<![^\S\r\n])[ \t]*(?:[ \t]\#[^\r\n]*)?(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_NOTHING = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_REST = re.compile(r"[^\n]*(?:\n|\Z)")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(source: Source, env: Mapping[str, str], collector: Collector) -> dict[str, str]:
    """Its variables. What cannot be read is a problem, and what stands on an unset variable is itself not set."""
    found: dict[str, str] = {}
    at = 0
    while at < len(source.text):
        if (match := _NOTHING.match(source.text, at)) is None:
            match = _ENTRY.match(source.text, at)
            if match is None:
                collector.problem(source.place(at), "is no line of the form NAME=VALUE")
                match = _REST.match(source.text, at)
            elif (value := _value(match, {**found, **env})) is not None:
                found[match["name"]] = value
        at = match.end() if match else len(source.text)
    return found


def _value(match: re.Match[str], known: Mapping[str, str]) -> str | None:
    if match["single"] is not None:
        return match["single"]
    text = match["double"]
    if text is None:
        text = _COMMENT.sub("", match["plain"] or "").rstrip()
    else:
        text = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), text)
    try:
        return expand(text, known.get, _PLAIN)
    except UsageError:
        return None
