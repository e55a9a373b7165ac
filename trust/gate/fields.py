"""Reading a table of a policy: every mistake is kept with its line, and reading goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from trust.errors import DocksealError, UsageError
from trust.gate.positions import Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from trust.gate.positions import Document, Path

    T = TypeVar("T")

_DURATION = re.compile(r"([0-9]{1,6})(m|h|d|w)\Z")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MAX_DURATION = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """``90d``, ``12h``, ``2w``, ``30m``.

    Raises:
        UsageError: it is none, or longer than a hundred years.
    """
    found = _DURATION.match(text)
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < span <= _MAX_DURATION:
        raise UsageError(f"{text!r} is no length of time: expected a number with m, h, d or w, such as 14d")
    return span


@dataclass(slots=True)
class Mistakes:
    """What is wrong in a document, by line."""

    document: Document
    found: list[Mistake] = field(default_factory=list)

    def add(self, path: Path, message: str) -> None:
        """Note a mistake at what is there."""
        self.found.append(Mistake(self.document.line(path), message))

    def table(self, value: object, path: Path, what: str, known: Iterable[str]) -> Table | None:
        """The table there; what it should not have is a mistake. None where it is no table."""
        if not isinstance(value, dict):
            self.add(path, f"{what} is no table")
            return None
        names = sorted(known)
        for key in value:
            if key not in names:
                near = get_close_matches(key.replace("-", "_"), names, 1)
                meant = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
                self.add((*path, key), f"unknown name {key!r} in {what}: {meant}")
        return Table(value, path, what, self)

    def tables(self, value: object, path: Path, what: str, known: Iterable[str]) -> list[Table]:
        """A list of tables."""
        if not isinstance(value, list):
            self.add(path, f"{what} is no list of tables")
            return []
        found = (self.table(item, (*path, number), what, known) for number, item in enumerate(value))
        return [item for item in found if item is not None]


@dataclass(frozen=True, slots=True)
class Table:
    """One table. A getter gives the default where a name is missing, or where its value is a mistake."""

    values: Mapping[str, Any]
    path: Path
    what: str
    mistakes: Mistakes

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.mistakes.document.line(self.path)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def wrong(self, name: str | None, message: str) -> None:
        """Note a mistake at a name, or at the table."""
        self.mistakes.add(self.path if name is None else (*self.path, name), message)

    def need(self, name: str) -> bool:
        """Whether the name is there; it is a mistake where it is not."""
        if name not in self.values:
            self.wrong(None, f"{self.what} has no {name!r}")
        return name in self.values

    def text(self, name: str) -> str | None:
        """A text that is not empty."""
        value = self.values.get(name)
        if name not in self.values or (isinstance(value, str) and value.strip()):
            return value
        self.wrong(name, f"{name} is no text: got {value!r}")
        return None

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        """A text that ``parse`` understands, or raises one of our errors."""
        value = self.text(name)
        try:
            return None if value is None else parse(value)
        except DocksealError as error:
            self.wrong(name, f"{name}: {error.message}")
            return None

    def flag(self, name: str) -> bool:
        """True or false; false by default."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self.wrong(name, f"{name} is neither true nor false: got {value!r}")
        return value is True

    def number(self, name: str) -> int:
        """A number from 1; 0 by default."""
        value = self.values.get(name, 0)
        if name in self.values and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            self.wrong(name, f"{name} is no number from 1: got {value!r}")
            return 0
        return int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of different texts that is not empty; nothing by default."""
        value = self.values.get(name)
        if name not in self.values:
            return ()
        if not isinstance(value, list) or not value:
            self.wrong(name, f"{name} is no list of texts: got {value!r}")
            return ()
        found: list[str] = []
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                self.mistakes.add((*self.path, name, number), f"{name}: {item!r} is no text")
            elif item in found:
                self.mistakes.add((*self.path, name, number), f"{name} names {item!r} twice")
            else:
                found.append(item)
        return tuple(found)

    def day(self, name: str) -> date | None:
        """A date, ``2026-12-31``."""
        value = self.values.get(name)
        if isinstance(value, str):
            try:
                value = date.fromisoformat(value)
            except ValueError:
                value = None
        if name in self.values and (not isinstance(value, date) or isinstance(value, datetime)):
            self.wrong(name, f"{name} is no date: expected 2026-12-31, got {self.values[name]!r}")
            return None
        return value
