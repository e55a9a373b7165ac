"""What people read before they do anything: help, usage errors, completion."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import typer.main

from cli.main import app
from tests.cli.program import COMMAND, ROOT, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.program import Dockseal

COLUMNS = 80


def _commands(program: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = getattr(program, "commands", None)
    if below is None:
        yield path
        return
    for name, command in sorted(below.items()):
        yield from _commands(command, (*path, name))


COMMANDS = tuple(_commands(typer.main.get_command(app)))


def test_the_commands_of_the_tutorial_are_there() -> None:
    names = {" ".join(path) for path in COMMANDS}
    assert names >= {
        *("build", "images", "tag", "rmi", "load", "save", "login", "logout"),
        *("push", "sign", "revoke", "pull", "verify", "inspect", "copy"),
        *("repo init", "repo status", "repo refresh", "repo log"),
        *("key generate", "key list", "key load", "key export", "key passwd", "key remove"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_teaches_with_an_example_and_fits_the_terminal(
    path: tuple[str, ...], dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    told = dockseal(*path, "--help")
    head, found, examples = told.out.partition("\n  Example")
    assert found, told.out
    assert f"dockseal {' '.join(path)}" in examples
    assert [line for line in told.lines if len(line) > COLUMNS] == []
    assert head.startswith(f"Usage: dockseal {' '.join(path)} ")
    prose = head.split("\n\n")[1].splitlines()
    assert all(len(line) > COLUMNS // 2 for line in prose[:-1]), prose  # paragraphs are filled
    options = head.partition("\nOptions:\n")[2]
    assert "-h, --help" in options


def test_the_first_page(dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    told = dockseal("--help")
    assert "dockseal push localhost:5000/app:v1" in told.out
    assert "130 interrupted" in told.out
    assert "..." not in told.out.partition("Commands:")[2]
    assert [line for line in told.lines if len(line) > COLUMNS] == []
    assert dockseal("--version").out.startswith("dockseal ")


@pytest.mark.parametrize("group", ["repo", "key"])
def test_a_group_alone_shows_its_commands(group: str, dockseal: Dockseal) -> None:
    told = dockseal(group, code=2)
    assert "Commands:" in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["push"], "Missing argument 'NAME[:TAG]'"),
        (["push", "--nope", "x"], "No such option"),
        (["push", "-o", "yaml", "x"], "yaml"),
        (["verify", "a", "b"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_says_where_help_is(arguments: list[str], words: str, dockseal: Dockseal) -> None:
    told = dockseal(*arguments, code=2)
    assert words in told.err
    assert "Usage: dockseal" in told.err
    assert "-h' for help" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("shell", "variables", "expected"),
    [
        ("bash", {"COMP_WORDS": "dockseal ver", "COMP_CWORD": "1"}, "verify"),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "dockseal ver"}, "verify"),
        ("fish", {"_TYPER_COMPLETE_ARGS": "dockseal ver", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "verify"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_completion(shell: str, variables: dict[str, str], expected: str) -> None:
    script = process(env=os.environ | {"_DOCKSEAL_COMPLETE": f"source_{shell}"}).out
    assert "_DOCKSEAL_COMPLETE=" in script
    assert "dockseal" in script
    completed = process(env=os.environ | variables | {"_DOCKSEAL_COMPLETE": f"complete_{shell}"}, code=None)
    assert expected in completed.out


@pytest.mark.parametrize("shell", ["bash"])
def test_show_completion_knows_the_shell_it_runs_in(shell: str, tmp_path: Path) -> None:
    command = " ".join(f"'{part}'" for part in (*COMMAND, "--show-completion"))
    done = subprocess.run([shell, "-c", f"{command}; true"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert f"complete_{shell}" in done.stdout
