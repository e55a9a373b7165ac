"""Dockerfiles and Containerfiles: what ``FROM``, ``COPY --from``, ``RUN --mount=from=`` and ``# syntax=`` name.

Read as BuildKit reads them (moby/buildkit, frontend/dockerfile): lines joined by the escape
character, comments and blank lines between them dropped, heredocs passed over. Only ``ARG`` before
the first ``FROM`` counts in ``FROM``; in ``--from`` and ``from=`` docker puts in no variables at all.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.scan.collect import RENDER_HINT
from trust.gate.scan.variables import Dialect, expand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trust.gate.found import Place
    from trust.gate.scan.collect import Collector
    from trust.gate.scan.source import Source

KNOWN = {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"}
KNOWN |= {"ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
PLATFORM_ARGS = frozenset(
    f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT")
)
"""Set by the builder, without an ``ARG``."""
SCRATCH = "scratch"
_LINE = re.compile(r"([^\n]*)(?:\n|\Z)")
_DIRECTIVE = re.compile(r"(?:#|//)\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S(?:.*\S)?)\s*\Z")
_WORD = re.compile(r"\S+")
_SHELL_PART = r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\]"""
_SHELL_WORD = re.compile(rf"(?:{_SHELL_PART})+")
_SHELL_LINE = re.compile(rf"(?:\s|{_SHELL_PART})*\\?\Z")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]*)\Z")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*\Z")


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


@dataclass(slots=True)
class _Build:
    """What is known so far while a file is read from top to bottom."""

    source: Source
    collector: Collector
    build_args: Mapping[str, str]
    escape: str
    names: tuple[str | None, ...]
    """Of all stages, in small letters; those without one are known by their number."""
    args: dict[str, str | UsageError] = field(default_factory=dict)
    """Values, or why there is none: an error only where it is used."""
    stage: int = -1
    earlier: set[str] = field(default_factory=set)


def looks_like_dockerfile(source: Source) -> bool:
    """Whether the first instruction is FROM, or an ARG of a file that has a FROM."""
    first = re.match(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*(FROM|ARG)[ \t]+[^\s:]", source.text, re.IGNORECASE)
    return first is not None and re.search(r"^[ \t]*FROM[ \t]", source.text, re.IGNORECASE | re.MULTILINE) is not None


def read_dockerfile(source: Source, build_args: Mapping[str, str], collector: Collector) -> None:
    """All images that building it needs."""
    escape = _read_directives(source, collector)
    found: list[Instruction] = []
    try:
        found.extend(_instructions(source, escape, collector))
    except _OpenHeredocError as error:
        collector.problem(source.place(error.offset), f"the heredoc {error.name[:80]} has no end")
    names = tuple(_stage_name(item) for item in found if item.word == "FROM")
    build = _Build(source, collector, build_args, escape, names)
    for instruction in found:
        _read_instruction(build, instruction)


# Lines


class _OpenHeredocError(Exception):
    """Never leaves this module."""

    def __init__(self, offset: int, name: str) -> None:
        super().__init__(name)
        self.offset = offset
        self.name = name


def _lines(source: Source) -> Iterator[Text]:
    """Physical lines without their ends."""
    for match in _LINE.finditer(source.text):
        line = match[1].removesuffix("\r")
        yield Text(line, range(match.start(), match.start() + len(line)))


def _read_directives(source: Source, collector: Collector) -> str:
    """Note the frontend, which runs; return the escape character (Dockerfile reference, "Parser directives")."""
    escape = "\\"
    for number, line in enumerate(_lines(source)):
        match = _DIRECTIVE.match(line.value)
        if match is None:
            if number == 0 and line.value.startswith("#!"):
                continue
            break
        if match[1].lower() == "syntax":
            image = match[2].split()[0]
            collector.image(image, source.place(line.offsets[match.start(2)], image), "syntax")
        elif match[1].lower() == "escape" and match[2] in {"\\", "`"}:
            escape = match[2]
    return escape


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
        instruction = _instruction(line)
        if instruction.word not in KNOWN:
            collector.problem(
                source.place(instruction.offset), f"{instruction.word[:80]!r} is no instruction of a Dockerfile"
            )
        yield instruction
        for name, chomp in _heredocs(instruction, line.value):
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


def _instruction(line: Text) -> Instruction:
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


def _heredocs(instruction: Instruction, line: str) -> list[tuple[str, bool]]:
    """Name of each heredoc that the line opens, and whether tabs before its end count for nothing."""
    if instruction.word == "ONBUILD" and instruction.rest.value:
        instruction = _instruction(instruction.rest)
    if instruction.word not in {"ADD", "COPY", "RUN"} or "<<" not in line or _is_json(instruction.rest.value):
        return []
    if not _SHELL_LINE.match(line):
        return []  # a quote is open: BuildKit's word splitting gives up, and sees none
    matches = (_HEREDOC.match(word) for word in _SHELL_WORD.findall(line))
    names = ((re.sub(r"['\"\\]", "", match[2]), bool(match[1])) for match in matches if match)
    return [(name, chomp) for name, chomp in names if name]


def _is_json(text: str) -> bool:
    try:
        return text.startswith("[") and isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _pass_over(lines: Iterator[Text], name: str, offset: int, *, chomp: bool) -> None:
    for line in lines:
        if (line.value.lstrip("\t") if chomp else line.value) == name:
            return
    raise _OpenHeredocError(offset, name)


# Instructions


def _stage_name(instruction: Instruction) -> str | None:
    words = [word.value.lower() for word in instruction.rest.words()]
    return words[2] if len(words) == 3 and words[1] == "as" else None  # noqa: PLR2004 - IMAGE AS NAME


def _read_instruction(build: _Build, instruction: Instruction) -> None:
    match instruction.word:
        case "ARG" if build.stage < 0:
            _read_arg(build, instruction)
        case "FROM":
            build.stage += 1
            _read_from(build, instruction)
        case "COPY":
            for flag in instruction.flags:
                if flag.value.startswith("--from="):
                    _read_copy(build, flag[len("--from=") :])
        case "RUN":
            for flag in instruction.flags:
                if flag.value.startswith("--mount="):
                    _read_mount(build, flag[len("--mount=") :])
        case "ONBUILD" if instruction.rest.value:
            inner = _instruction(instruction.rest)
            if inner.word in {"COPY", "RUN"}:
                _read_instruction(build, inner)
        case _:
            pass


def _read_arg(build: _Build, instruction: Instruction) -> None:
    for match in _SHELL_WORD.finditer(instruction.rest.value):
        name, equals, default = match[0].partition("=")
        if name in build.build_args:
            build.args[name] = build.build_args[name]
        elif equals:
            try:
                build.args[name] = _expanded(build, default)
            except UsageError as error:
                build.args[name] = error


def _read_from(build: _Build, instruction: Instruction) -> None:
    source, collector = build.source, build.collector
    words = instruction.rest.words()
    name = build.names[build.stage]
    if len(words) != 1 and (name is None or not _STAGE_NAME.match(name)):
        hint = RENDER_HINT if "{{" in instruction.rest.value else ""
        collector.problem(source.place(instruction.offset), "FROM has neither the form IMAGE nor IMAGE AS NAME", hint)
        return
    place = source.place(words[0].offsets[0])
    try:
        image = _expanded(build, words[0].value)
    except UsageError as error:
        collector.problem(place, error.message, _hint(error, build))
        image = SCRATCH  # nothing to note
    if image != SCRATCH and image.lower() not in build.earlier:
        collector.image(image, _place(source, words[0], image), f"stage {name or build.stage}")
    if name is not None:
        build.earlier.add(name)


def _expanded(build: _Build, text: str) -> str:
    def value_of(name: str) -> str | None:
        known = build.args.get(name)
        if isinstance(known, UsageError):
            raise known
        return build.build_args.get(name) if known is None and name in PLATFORM_ARGS else known

    return expand(text, value_of, Dialect(quotes=True, escape=build.escape))


def _hint(error: UsageError, build: _Build) -> str:
    match = re.match(r"the variable (\w+) ", error.message)
    if match is None:
        return ""
    name = match[1]
    if name in build.build_args:
        return f"docker takes --build-arg {name} only where `ARG {name}` stands before the first FROM"
    return f"give its value: --build-arg {name}=VALUE"


def _place(source: Source, word: Text, image: str) -> Place:
    """With a span where the word, quotes apart, is the image just as it stands."""
    quotes = 1 if word.value[:1] in {"'", '"'} else 0
    if word.value[quotes : len(word.value) - quotes] == image:
        return source.place(word.offsets[quotes], image)
    return source.place(word.offsets[0])


def _read_copy(build: _Build, value: Text) -> None:
    if not value.value:
        return
    if not re.match(r"[+-]?[0-9]+\Z", value.value):
        _read_reference(build, value, "COPY --from")
    elif not 0 <= int(value.value[:9]) < len(build.names):
        build.collector.problem(build.source.place(value.offsets[0]), f"there is no stage {value.value[:40]}")


def _read_mount(build: _Build, value: Text) -> None:
    try:
        fields = next(csv.reader([value.value], strict=True), [])
    except csv.Error as error:
        build.collector.problem(build.source.place(value.offsets[0]), f"--mount cannot be read: {error}")
        return
    for text in fields:
        key, _, image = text.partition("=")
        if key.strip().lower() == "from" and image:
            begin = value.value.index(text) + len(key) + 1 if text in value.value else 0
            _read_reference(build, Text(image, value.offsets[begin : begin + len(image)]), "RUN --mount")


def _read_reference(build: _Build, value: Text, context: str) -> None:
    """A stage, in any case of letters, or an image."""
    place = build.source.place(value.offsets[0], value.value)
    if "$" in value.value:
        hint = "give the image a stage of its own: FROM $IMAGE AS NAME"
        build.collector.problem(place, f"docker puts no variable into {context}: {value.value[:200]!r}", hint)
    elif value.value != SCRATCH and value.value.lower() not in build.names:
        build.collector.image(value.value, place, context)
