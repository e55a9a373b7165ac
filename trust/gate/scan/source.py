"""A file's text, and how places in it are told: line and column for people, bytes for rewriting."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from trust.errors import UsageError
from trust.gate.found import Place

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Source:
    """A text file. Make it with :meth:`decode`."""

    name: str
    text: str
    _line_starts: tuple[int, ...]
    _byte_starts: tuple[int, ...]

    @classmethod
    def decode(cls, name: str, data: bytes) -> Self:
        """Strict UTF-8; a byte order mark is passed over.

        Raises:
            UsageError: it is another encoding, or no text.
        """
        mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
        try:
            text = data[mark:].decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"is no UTF-8 text: byte {mark + error.start} is {data[mark + error.start]:#04x}"
            ) from error
        if "\0" in text:
            raise UsageError("is no text: it holds NUL characters")
        starts = (0, *(match.end() for match in _LINE_END.finditer(text)))
        sizes = [mark]
        for start, end in pairwise(starts):
            sizes.append(sizes[-1] + len(text[start:end].encode()))
        return cls(name, text, starts, tuple(sizes))

    def place(self, offset: int, literal: str | None = None) -> Place:
        """Where the character at ``offset`` stands.

        Args:
            offset: in characters, from 0.
            literal: a text; where it stands exactly there, the place has its span.
        """
        line = bisect_right(self._line_starts, offset) - 1
        first = self._line_starts[line]
        span = None
        if literal and self.text.startswith(literal, offset):
            begin = self._byte_starts[line] + len(self.text[first:offset].encode())
            span = (begin, begin + len(literal.encode()))
        return Place(self.name, line + 1, offset - first + 1, span)
