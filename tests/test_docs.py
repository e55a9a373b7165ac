"""The pages: their links lead somewhere, and the commands that they print exist."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
import typer.main

from cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("keys.example/*.md")]))
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|[\s\"($`])dockseal (?!#)([^`\n]+)")
_END = re.compile(r"\s(?:\||&&|>|<|<<<|2>|#|…)(?:\s|$)|;(?:\s|$)|\)$")
_OPTION = re.compile(r"--[a-z][a-z-]*|-[a-zA-Z]")
_PROGRAM = typer.main.get_command(app)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _links(page: Path) -> Iterator[tuple[Path, str]]:
    """File and heading of every link that stays in the tree."""
    text = _SPAN.sub("", _FENCE.sub("", page.read_text("utf-8")))
    for target in _LINK.findall(text):
        path, _, heading = unquote(target).partition("#")
        if "://" not in target:
            yield (page.parent / path if path else page), heading


def _anchors(page: Path) -> set[str]:
    """The headings as the common renderers name them: lower case, no punctuation, dashes for spaces."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = [
        f"{target}#{heading}"
        for target, heading in _links(page)
        if not target.exists() or (heading and heading not in _anchors(target))
    ]
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    linked = {
        target.resolve()
        for index in (ROOT / "docs/README.md", ROOT / "docs/adr/README.md")
        for target, _ in _links(index)
    }
    assert {page for page in PAGES if (ROOT / "docs") in page.parents} - linked == {ROOT / "docs/README.md"}


@dataclass(frozen=True, slots=True)
class Printed:
    """A command as a page prints it, without ``dockseal``; ``whole`` where a reader could run it."""

    page: str
    text: str
    whole: bool

    @property
    def words(self) -> list[str]:
        """What the shell would make of it; brackets of a synopsis are taken off."""
        text = re.sub(r"\[(-[^\]]*)\]", r"\1", self.text)
        try:
            return shlex.split(text)
        except ValueError:  # prose with an apostrophe
            return text.split()


def _printed(page: Path) -> Iterator[Printed]:
    text = page.read_text("utf-8")
    for fence in _FENCE.findall(text):
        joined = fence.replace("\\\n", " ")
        for found in _COMMAND.finditer(joined):
            whole = "[" not in found[1] and not found[0].startswith("`")  # no synopsis, and no hint that is shown
            yield Printed(_name(page), _END.split(found[1])[0], whole)
    for span in _SPAN.findall(_FENCE.sub("", text)):
        for found in _COMMAND.findall(span):
            yield Printed(_name(page), _END.split(found)[0], whole=False)


PRINTED = tuple(dict.fromkeys(item for page in PAGES for item in _printed(page)))


def _problem(printed: Printed) -> str | None:
    """Why the program would not know this command; None where it would."""
    command, words = _PROGRAM, printed.words
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        below = command.commands.get(words[0])
        if below is None:
            return None if words[0].isupper() or words[0] == "…" else f"no command {words[0]!r}"
        command, words = below, words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    for word in words:
        option = word.partition("=")[0]
        if _OPTION.fullmatch(option) and option not in known:
            return f"no option {option}"
    required = [item for item in command.params if item.param_type_name == "argument" and item.required]
    if printed.whole and required and not any(not word.startswith("-") for word in words):
        return f"lacks {required[0].name}"
    return None


def test_the_pages_print_commands_at_all() -> None:
    assert len(PRINTED) > 100
    assert any(item.text.startswith("push ") for item in PRINTED if item.page == "README.md")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("push localhost:5000/app:v1", None),
        ("push --from docker-archive:app.tar -q app", None),
        ("push --disable-content-trust=false app", None),
        ("build -t app:v1 [--base NAME] [--nope X] PATH", "no option --nope"),
        ("psuh app", "no command 'psuh'"),
        ("key rotat REPO root", "no command 'rotat'"),
        ("push --form oci:x app", "no option --form"),
        ("verify", "lacks name"),
    ],
)
def test_a_mistyped_command_is_noticed(text: str, problem: str | None) -> None:
    assert _problem(Printed("", text, whole=True)) == problem


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    problems = {f"dockseal {item.text}": _problem(item) for item in PRINTED if item.page == _name(page)}
    assert {text: problem for text, problem in problems.items() if problem} == {}
