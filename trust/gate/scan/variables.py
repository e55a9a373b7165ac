"""Variables in texts, as the programs that read the files would put values in their place.

The forms are the shell's: ``$A``, ``${A}``, and with ``:-``, ``-``, ``:+``, ``+``, ``:?``, ``?``. Where docker
would go on with an empty text for a variable that is not set, this is an error: whoever judges an
image must not guess its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NESTING = 20
MAX_EXPANDED = 1 << 16
"""Characters. Values that hold values grow without end otherwise (``ARG A=$A$A``, again and again)."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the programs.

    Attributes:
        quotes: whether quotes are taken off, and nothing is replaced in single ones.
        escape: the character that takes the next one as it is; empty for none.
        doubled: whether ``$$`` is a dollar.
        operators: whether ``${A:-B}`` and its like are known.
        strict: whether a lone ``$`` is an error.
    """

    quotes: bool = False
    escape: str = ""
    doubled: bool = False
    operators: bool = True
    strict: bool = False


COMPOSE = Dialect(doubled=True, strict=True)
"""Compose specification, "Interpolation"."""
GITLAB = Dialect(doubled=True, operators=False)
"""GitLab, "Where variables can be used": the runner's expansion."""


def expand(text: str, value_of: Callable[[str], str | None], dialect: Dialect) -> str:
    """The text with values in the place of variables.

    Args:
        text: as it is written.
        value_of: a variable's value; None where it is not set.
        dialect: whose rules hold.

    Raises:
        UsageError: a variable is not set and has no default, or is not written as the program asks for.
    """
    return _Expansion(text, value_of, dialect).run()


@dataclass(slots=True)
class _Expansion:
    text: str
    value_of: Callable[[str], str | None]
    dialect: Dialect
    at: int = 0
    depth: int = 0

    def run(self, stop: str = "", *, quoted: bool = False) -> str:
        """Up to ``stop``, which is left, or to the end."""
        parts: list[str] = []
        size = 0
        while self.at < len(self.text) and (char := self.text[self.at]) != stop:
            self.at += 1
            if char == "$":
                parts.append(self._dollar())
            elif char == self.dialect.escape:
                parts.append(self._escaped(char, quoted=quoted))
            elif self.dialect.quotes and char == "'" and not quoted:
                parts.append(self._up_to("'"))
            elif self.dialect.quotes and char == '"' and not quoted:
                parts.append(self.run('"', quoted=True))
                self._close('"')
            else:
                parts.append(char)
            size += len(parts[-1])
            if size > MAX_EXPANDED:
                raise UsageError(f"variables expand it to more than {MAX_EXPANDED} characters")
        return "".join(parts)

    def _escaped(self, escape: str, *, quoted: bool) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += len(char)
        return char if not quoted or char in {'"', "$", escape} else escape + char

    def _up_to(self, end: str) -> str:
        begin = self.at
        self.at = max(self.text.find(end, begin), begin) if end in self.text[begin:] else len(self.text)
        text = self.text[begin : self.at]
        self._close(end)
        return text

    def _close(self, end: str) -> None:
        if self.text[self.at : self.at + 1] != end:
            raise UsageError(f"{self.text[:200]!r} lacks a closing {end}")
        self.at += 1

    def _dollar(self) -> str:
        if self.dialect.doubled and self.text[self.at : self.at + 1] == "$":
            self.at += 1
            return "$"
        if self.text[self.at : self.at + 1] == "{":
            return self._braced()
        if match := _NAME.match(self.text, self.at):
            self.at = match.end()
            return self._value(match[0])
        if self.dialect.strict:
            raise UsageError(f"{self.text[:200]!r} has a lone $: expected a variable's name, or $$ for a dollar")
        return "$"

    def _braced(self) -> str:
        begin = self.at
        name = _NAME.match(self.text, begin + 1)
        if name is None:
            raise UsageError(f"{self.text[:200]!r} has no variable's name after ${{")
        self.at = name.end()
        operator = _OPERATOR.match(self.text, self.at) if self.dialect.operators else None
        if operator is None:
            if self.text[self.at : self.at + 1] != "}":
                raise UsageError(f"{self.text[:200]!r} uses a form of ${{{name[0]}…}} that is not read here")
            self.at += 1
            return self._value(name[0])
        self.at = operator.end()
        return self._operated(name[0], operator[0])

    def _operated(self, name: str, operator: str) -> str:
        """``${NAME`` and the operator are read; what follows, up to the brace, is the operand."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise UsageError(f"variables are nested deeper than {MAX_NESTING} levels")
        value = self.value_of(name)
        is_set = value is not None and (value != "" or not operator.startswith(":"))
        kind = operator[-1]
        if kind == "?" or (kind == "-") == is_set:  # an operand that does not count may name what is not set
            operand = _Expansion(self.text, lambda _: "", self.dialect, self.at, self.depth)
        else:
            operand = _Expansion(self.text, self.value_of, self.dialect, self.at, self.depth)
        text = operand.run("}")
        self.at = operand.at
        self._close("}")
        self.depth -= 1
        if kind == "?" and not is_set:
            raise UsageError(f"the variable {name} is not set: {text[:200] or 'it is required'}")
        if kind == "+":
            return text if is_set else ""
        return (value or "") if is_set else text

    def _value(self, name: str) -> str:
        if (value := self.value_of(name)) is None:
            raise UsageError(f"the variable {name} is not set, and has no default")
        return value
