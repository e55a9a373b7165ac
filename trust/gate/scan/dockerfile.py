"""Dockerfiles and Containerfiles: what ``FROM``, ``COPY --from``, ``RUN --mount=from=`` and ``# syntax=`` name.

Only ``ARG`` before the first ``FROM`` counts in ``FROM``; in ``--from`` and ``from=`` docker puts in no variables
at all (moby/buildkit, frontend/dockerfile/dockerfile2llb).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.scan.collect import RENDER_HINT
from trust.gate.scan.dockerlines import SHELL_WORD, Instruction, Text, instruction_of, read_instructions
from trust.gate.scan.variables import Dialect, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.gate.found import Place
    from trust.gate.scan.collect import Collector
    from trust.gate.scan.source import Source

PLATFORM_ARGS = frozenset(
    f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT")
)
"""Set by the builder, without an ``ARG``."""
SCRATCH = "scratch"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*\Z")


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
    found, escape = read_instructions(source, collector)
    names = tuple(_stage_name(item) for item in found if item.word == "FROM")
    build = _Build(source, collector, build_args, escape, names)
    for instruction in found:
        _read_instruction(build, instruction)


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
            inner = instruction_of(instruction.rest)
            if inner.word in {"COPY", "RUN"}:
                _read_instruction(build, inner)
        case _:
            pass


def _read_arg(build: _Build, instruction: Instruction) -> None:
    for match in SHELL_WORD.finditer(instruction.rest.value):
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
