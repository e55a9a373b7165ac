"""Where things stand in a policy file: TOML and YAML as plain data, with the line of every key and item.

tomllib gives no positions. So once it has accepted a text, :class:`_Locator` walks over it again; what it walks
over is known to be valid TOML, so it only has to tell keys, values and where they end. YAML is read as the files of a
release are, by :mod:`trust.gate.scan.yaml`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.gate.scan.tree import Node, Scalar, Table

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
"""A YAML alias costs nothing to write and much to follow."""
MAX_DEPTH = 20

Path = tuple[str | int, ...]
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_INLINE_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}\n#]+")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_AT_LINE = re.compile(r"\(at (?:line (\d+)|end of document)")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong in a file, and in which line, from 1."""

    line: int
    message: str


class MistakeError(Exception):
    """The file cannot be read at all; it does not leave :mod:`trust.gate.policyfile`."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.mistake = Mistake(line, message)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content as dicts, lists and scalars, and the line of each key and item by its path."""

    body: Mapping[str, Any]
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of what is at ``path``, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(data: bytes, name: str) -> Document:
    """Parse by the file's name: ``.yaml`` and ``.yml`` are YAML, all else TOML.

    Raises:
        UsageError: it is larger than a policy may be.
        MistakeError: it cannot be parsed.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name} has {len(data)} bytes: expected at most {MAX_BYTES}")
    if name.endswith((".yaml", ".yml")):
        return _read_yaml(data, name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MistakeError(data[: error.start].count(b"\n") + 1, "this is no UTF-8 text") from error
    return _read_toml(text)


def _read_toml(text: str) -> Document:
    try:
        body = tomllib.loads(text)
        lines = _Locator(text.replace("\r\n", "\n")).lines()
    except (ValueError, RecursionError) as error:
        found = _AT_LINE.search(str(error))
        line = text.count("\n") + 1 if found is None or found[1] is None else int(found[1])
        raise MistakeError(line, f"this is no TOML: {_AT_LINE.split(str(error))[0].strip()}") from error
    return Document(body, lines)


class _Locator:
    """Finds the lines of a text that tomllib has accepted (TOML 1.0)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self._lines: dict[Path, int] = {}
        self._items: dict[Path, int] = {}

    def lines(self) -> dict[Path, int]:
        """The line of every key, table and array item."""
        table: Path = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_SPACE)
        return self._lines

    def _header(self) -> Path:
        """``[table]`` or ``[[array of tables]]``; what follows belongs to it."""
        repeated = self._text.startswith("[[", self._at)
        at = self._at
        self._at += 2 if repeated else 1
        path: Path = ()
        keys = self._key()
        for number, key in enumerate(keys):
            path = (*path, key)
            if repeated and number == len(keys) - 1:
                self._note(path, at)
                self._items[path] = self._items.get(path, -1) + 1
            if path in self._items:
                path = (*path, self._items[path])
            self._note(path, at)
        self._at += 2 if repeated else 1
        return path

    def _pair(self, table: Path) -> None:
        at = self._at
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path, at)
        self._at += 1  # the equals sign
        self._skip(_INLINE_SPACE)
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        keys = []
        while True:
            self._skip(_INLINE_SPACE)
            found = _STRING.match(self._text, self._at) or _BARE_KEY.match(self._text, self._at)
            assert found is not None  # noqa: S101 - tomllib has accepted the text
            self._at = found.end()
            keys.append(str(tomllib.loads(f"key = {found[0]}")["key"]) if found[0][0] in "\"'" else found[0])
            self._skip(_INLINE_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first == "[":
            self._items_of(path)
        elif first == "{":
            self._table_of(path)
        else:
            found = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            assert found is not None  # noqa: S101 - likewise
            self._at = found.end()

    def _items_of(self, path: Path) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "]":
                break
            self._note((*path, number), self._at)
            self._value((*path, number))
            number += 1
            self._skip(_SPACE)
            self._at += self._text[self._at] == ","
        self._at += 1

    def _table_of(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "}":
                break
            self._pair(path)
            self._skip(_SPACE)
            self._at += self._text[self._at] == ","
        self._at += 1

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self._at)
        self._at = self._at if found is None else found.end()

    def _note(self, path: Path, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._line_ends, at - 1) + 1)


def _read_yaml(data: bytes, name: str) -> Document:
    from trust.gate.found import Problem
    from trust.gate.scan.source import Source
    from trust.gate.scan.tree import Table
    from trust.gate.scan.yaml import documents

    try:
        found = documents(Source.decode(name, data))
    except UsageError as error:
        raise MistakeError(1, f"this {error.message}") from error
    if isinstance(found, Problem):
        raise MistakeError(
            found.place.line, f"this {found.message}" if found.message.startswith("is ") else found.message
        )
    if not found:
        return Document({}, {})
    if len(found) > 1 or not isinstance(found[0], Table):
        raise MistakeError(found[-1].place.line, "expected one document, with names and values such as `rule:`")
    plain = _Plain()
    return Document(plain.table(found[0], ()), plain.lines)


class _Plain:
    """A tree of YAML as plain data, and its lines. What is not quoted is read as YAML 1.2's core schema does."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}

    def table(self, node: Table, path: Path) -> dict[str, Any]:
        found = {}
        for key, child in node.entries.items():
            place = node.source.place(node.keys[key]) if key in node.keys else child.place
            found[key] = self._child(child, (*path, key), place.line)
        return found

    def _child(self, node: Node, path: Path, line: int) -> Any:
        from trust.gate.scan.tree import Array, Scalar

        self.lines[path] = line
        if len(self.lines) > MAX_NODES or len(path) > MAX_DEPTH:
            raise MistakeError(line, "this has too many or too deep values for a policy")
        if isinstance(node, Scalar):
            return _scalar(node, line)
        if node.tag is not None:
            raise MistakeError(line, f"a policy has no tags: got {node.tag}")
        if isinstance(node, Array):
            return [self._child(item, (*path, number), item.place.line) for number, item in enumerate(node.items)]
        return self.table(node, path)


def _scalar(node: Scalar, line: int) -> Any:
    if not node.is_string:
        raise MistakeError(line, f"a policy has no tags: got {node.tag}")
    if not node.plain or node.tag is not None:
        return node.value
    if node.is_null:
        return None
    if node.value in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return node.value[0] in "tT"
    return int(node.value) if _INTEGER.match(node.value) else node.value
