"""Lists of references: one a line with ``#`` comments, or a JSON list of strings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trust.gate.scan.collect import Collector
    from trust.gate.scan.source import Source

_JSON = re.compile(r"\s*(?:\[\s*[\"\[\]{]|\{)")  # "[" alone may begin an IPv6 address
_LINE = re.compile(r"[^\r\n]+")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ONE_WORD = re.compile(r"\s*(?:[^\s:#][^\s#]*[^\s:#]|[^\s:#])?\s*(?:(?:^|\s)#.*)?\Z")


def looks_like_list(source: Source) -> bool:
    """Whether every line is one word, or none, and a comment: no YAML mapping is, and JSON is told by its beginning."""
    return not _JSON.match(source.text) and all(_ONE_WORD.match(line[0]) for line in _LINE.finditer(source.text))


def read_list(source: Source, collector: Collector) -> None:
    """Every line's reference."""
    for line in _LINE.finditer(source.text):
        rest = _COMMENT.sub("", line[0])
        if text := rest.strip():
            offset = line.start() + rest.index(text)
            collector.image(text, source.place(offset, text))
