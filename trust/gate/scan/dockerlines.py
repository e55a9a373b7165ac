"""The lines of a Dockerfile: directives, instructions with their flags, heredocs.

Read as BuildKit reads them (moby/buildkit, frontend/dockerfile/parser). Where its versions differ, so that a
line might be an instruction for one of them and text for the other, that is a problem: nobody may hide a
``FROM`` between two readers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trust.gate.scan.collect import Collector
    from trust.gate.scan.source import Source

KNOWN = {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"}
KNOWN |= {"ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
_LINE = re.compile(r"([^\n]*)(?:\n|\Z)")
_DIRECTIVE = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S(?:.*\S)?)\s*\Z")
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_WORD = re.compile(r"\S+")
_SHELL_PART = r"""<<\s*|'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\]"""  # blanks after << belong to its word
SHELL_WORD = re.compile(rf"(?:{_SHELL_PART})+")
_SHELL_LINE = re.compile(rf"(?:\s|{_SHELL_PART})*\\?\Z")
_HEREDOC = re.compile(r"\d*<<(-?)\s*([^<\s][^<]*)\Z")
_PLAIN_NAME = re.compile(r"""(['"]?)([A-Za-z0-9_.-]+)\1\Z""")
_OPERATOR = re.compile(r"\$\{\w*[^\w}]")
_HEREDOC_HINT = "name it by a plain word, as in <<EOF, with no ${…:-…} on its line"


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a logical line; ``offsets`` say where each of its characters stands in the file."""

    value: str
    offsets: Sequence[int]

    def __getitem__(self, part: slice) -> Text:
        return Text(self.value[part], self.offsets[part])

    def strip(self) -> Text:
        """Without blanks at its ends."""
        begin = len(self.value) - len(self.value.lstrip())
        return self[begin : len(self.value.rstrip())] if self.value.strip() else self[:0]

    def words(self) -> list[Text]:
        """Split at blanks."""
        return [self[match.start() : match.end()] for match in _WORD.finditer(self.value)]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, ``--flags``, and the rest."""

    word: str
    offset: int
    flags: tuple[Text, ...]
    rest: Text


def read_instructions(source: Source, collector: Collector) -> tuple[list[Instruction], str]:
    """All instructions, and the escape character; the frontend's image is noted."""
    if (control := _CONTROL.search(source.text)) is not None:
        message = f"holds the control character {control[0]!r}: programs differ in what is a blank"
        collector.problem(source.place(control.start()), message)
    escape = _read_directives(source, collector)
    found: list[Instruction] = []
    try:
        found.extend(_instructions(source, escape, collector))
    except _OpenHeredocError as error:
        collector.problem(source.place(error.offset), f"the heredoc {error.name[:80]} has no end")
    return found, escape


class _OpenHeredocError(Exception):
    """Never leaves this module."""

    def __init__(self, offset: int, name: str) -> None:
        super().__init__(name)
        self.offset = offset
        self.name = name


def _lines(source: Source) -> Iterator[Text]:
    """Physical lines without their ends."""
    for match in _LINE.finditer(source.text):
        line = match[1].rstrip("\r")
        yield Text(line, range(match.start(), match.start() + len(line)))


def _read_directives(source: Source, collector: Collector) -> str:
    """Note the frontend, which runs; return the escape character (Dockerfile reference, "Parser directives").

    BuildKit looks for ``syntax`` and for the others in two passes, which differ: only the first passes over a
    line ``#!``, and takes ``//`` for ``#``; only the second passes over blanks before ``#``.
    """
    lines = list(_head(source))
    first = lines[1:] if lines and lines[0].value.startswith("#!") else lines
    for comment in ("#", "//"):
        if (found := _directives(first, comment).get("syntax")) is not None:
            image = found.value.split()[0]
            collector.image(image, source.place(found.offsets[0], image), "syntax")
            break
    stripped = [line[len(line.value) - len(line.value.lstrip()) :] for line in lines]
    escape = _directives(stripped, "#").get("escape")
    return escape.value if escape is not None and escape.value in {"\\", "`"} else "\\"


def _head(source: Source) -> Iterator[Text]:
    """The lines up to the first that is no comment: directives stand nowhere else."""
    for line in _lines(source):
        yield line
        if not line.value.lstrip().startswith(("#", "//")):
            return


def _directives(lines: list[Text], comment: str) -> dict[str, Text]:
    found: dict[str, Text] = {}
    for line in lines:
        match = _DIRECTIVE.match(line.value, len(comment)) if line.value.startswith(comment) else None
        if match is None or match[1].lower() not in _DIRECTIVES:
            break
        found.setdefault(match[1].lower(), line[match.start(2) : match.end(2)])
    return found


def _instructions(source: Source, escape: str, collector: Collector) -> Iterator[Instruction]:
    lines = _lines(source)
    continued = re.compile(rf"(?:^|(?<=[^{re.escape(escape)}])){re.escape(escape)}[ \t]*\Z")
    for first in lines:
        if _is_blank(first):
            continue
        part, goes_on = _cut(first, continued)
        parts = [part]
        while goes_on and (following := next(lines, None)) is not None:
            if not _is_blank(following):
                part, goes_on = _cut(following, continued)
                parts.append(part)
        line = _joined(parts).strip()
        if not line.value:
            continue
        instruction = instruction_of(line)
        if instruction.word not in KNOWN:
            collector.problem(
                source.place(instruction.offset), f"{instruction.word[:80]!r} is no instruction of a Dockerfile"
            )
        yield instruction
        heredocs, is_plain = _heredocs(instruction, line.value)
        if not is_plain:
            message = "versions of docker differ in how they read << here"
            collector.problem(source.place(instruction.offset), message, _HEREDOC_HINT)
        for name, chomp in heredocs:
            _pass_over(lines, name, instruction.offset, chomp=chomp)


def _joined(parts: list[Text]) -> Text:
    if len(parts) == 1:
        return parts[0]
    return Text("".join(part.value for part in parts), [offset for part in parts for offset in part.offsets])


def _is_blank(line: Text) -> bool:
    text = line.value.lstrip()
    return not text or text.startswith("#")


def _cut(line: Text, continued: re.Pattern[str]) -> tuple[Text, bool]:
    match = continued.search(line.value)
    return (line, False) if match is None else (line[: match.start()], True)


def instruction_of(line: Text) -> Instruction:
    """What a logical line says, which is not empty."""
    word = line.words()[0]
    flags, rest = _flags(line[len(word.value) :].strip())
    return Instruction(word.value.upper(), line.offsets[0], tuple(flags), rest)


def _flags(text: Text) -> tuple[list[Text], Text]:
    """The leading ``--flags``, quotes and escapes taken off, and what follows."""
    flags = []
    while text.value.startswith("--"):
        kept, at, quote = [], 0, ""
        while at < len(text.value) and (quote or not text.value[at].isspace()):
            char = text.value[at]
            if char == "\\" and at + 1 < len(text.value):
                at += 1
                kept.append(at)
            elif quote:
                quote = "" if char == quote else quote
                kept.extend([at] if quote else [])
            elif char in {"'", '"'}:
                quote = char
            else:
                kept.append(at)
            at += 1
        flag = Text("".join(text.value[index] for index in kept), tuple(text.offsets[index] for index in kept))
        text = text[at:].strip()
        if flag.value == "--":
            break
        flags.append(flag)
    return flags, text


def _heredocs(instruction: Instruction, line: str) -> tuple[list[tuple[str, bool]], bool]:
    """The heredocs that a line opens, and whether all versions of docker see the same.

    Returns:
        name of each, and whether tabs before its end count for nothing; and whether that is plain. It is not
        where lexers differ (blanks or quotes in the name, operators in ``${…}``, JSON with something behind it)
        and the end could pass for an instruction: then lines may be hidden from one of two readers.
    """
    if instruction.word == "ONBUILD" and instruction.rest.value:
        instruction = instruction_of(instruction.rest)
    rest = instruction.rest.value
    if instruction.word not in {"ADD", "COPY", "RUN"} or "<<" not in line:
        return [], True
    if is_json := _is_json(rest):
        return [], True
    is_plain = is_json is False and not _OPERATOR.search(line)
    if not _SHELL_LINE.match(line):
        return [], is_plain  # a quote is open: BuildKit's word splitting gives up, and sees none
    found = []
    for match in filter(None, map(_HEREDOC.match, SHELL_WORD.findall(line))):
        name = _PLAIN_NAME.match(match[2])
        is_plain = is_plain and name is not None and name[2].upper() not in KNOWN
        found.append((re.sub(r"['\"\\]", "", match[2]) if name is None else name[2], bool(match[1])))
    return found, is_plain


def _is_json(text: str) -> bool | None:
    """Whether it is a list of texts, a command without a shell; None where readers of JSON may differ."""
    try:
        words, end = json.JSONDecoder().raw_decode(text) if text.startswith("[") else (None, 0)
    except (ValueError, RecursionError) as error:
        return None if isinstance(error, RecursionError) else False
    if not isinstance(words, list):
        return False
    is_whole = end == len(text) and all(isinstance(word, str) for word in words)
    return True if is_whole else None


def _pass_over(lines: Iterator[Text], name: str, offset: int, *, chomp: bool) -> None:
    for line in lines:
        if (line.value.lstrip("\t") if chomp else line.value) == name:
            return
    raise _OpenHeredocError(offset, name)
