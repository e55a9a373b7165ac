"""Layers on their way: live rows on a terminal of any size, one plain line per change elsewhere."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING

import pytest

from cli.progress import PULL_WORDS, layer_rows
from tests.cli.conftest import NAME
from tests.cli.program import Terminal, process
from trust.upload import LayerProgress

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

UP = "\x1b[1A\x1b[2K"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def many_layers(signed: Signed, dockseal: Dockseal, tmp_path: Path) -> str:
    """A local image with 20 layers."""
    folders = []
    for number in range(20):
        folders.append(tmp_path / f"layer{number}")
        folders[-1].mkdir()
        (folders[-1] / f"noise{number}").write_bytes(os.urandom(20_000))
    dockseal("build", "-t", f"{NAME}:many", "--compression", "none", *folders)
    return f"{NAME}:many"


def test_plain_lines_off_a_terminal(many_layers: str, signed: Signed) -> None:
    told = process("push", "--from", many_layers, "--as", NAME, f"{signed.name}:many")
    assert "\x1b" not in told.out
    layers = [line.partition(": ")[0] for line in told.lines if line.endswith(": Preparing")]
    assert len(set(layers)) == 20
    for layer in layers:
        changes = [line.partition(": ")[2] for line in told.lines if line.startswith(f"{layer}: ")]
        assert changes[0] == "Preparing"
        assert changes[-1] == "Pushed"
        assert len(changes) == len(set(changes))
    assert told.lines[-1] == f"Successfully signed {signed.name}:many"


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (8, 40), (50, 200)])
def test_rows_on_a_terminal(rows: int, columns: int, many_layers: str, signed: Signed) -> None:
    push = ("push", "--from", many_layers, "--as", NAME, f"{signed.name}:many")
    with Terminal(*push, rows=rows, columns=columns) as terminal:
        assert terminal.finish() == 0, terminal.shown
    plain = ESCAPE.sub("", terminal.shown).replace("\r", "\n")
    last = re.split("Preparing|Waiting|Pushing", plain)[-1]
    assert len(set(re.findall(r"([0-9a-f]{12}): Pushed", last))) >= 19  # all rows stay, whatever the height
    assert "Pushed" not in last.partition("many: digest: ")[2]
    assert f"Successfully signed {signed.name}:many" in plain
    redrawn = [len(run) // len(UP) for run in re.findall(f"(?:{re.escape(UP)})+", terminal.shown)]
    assert max(redrawn, default=0) < rows  # nothing scrolls while it is drawn over


def test_a_pull_uses_dockers_words_for_pulls(many_layers: str, signed: Signed, home: Path) -> None:
    process("push", "--from", many_layers, "--as", NAME, f"{signed.name}:many")
    with Terminal("pull", "--as", NAME, "--to", f"oci:{home}/out:v1", f"{signed.name}:many") as terminal:
        assert terminal.finish() == 0, terminal.shown
    assert "Pull complete" in terminal.shown
    assert "Push" not in terminal.shown


def test_quiet_shows_nothing(many_layers: str, signed: Signed) -> None:
    with Terminal("push", "-q", "--from", many_layers, "--as", NAME, f"{signed.name}:many") as terminal:
        assert terminal.finish() == 0
    assert re.fullmatch(rf"{re.escape(signed.name)}@sha256:[0-9a-f]{{64}}\n", terminal.shown)


def test_lines_from_many_threads_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with layer_rows(words=PULL_WORDS) as report:

        def run(number: int) -> None:
            for done in range(50):
                report(LayerProgress(f"{number:012x}", "Pushing", done, 50))
            report(LayerProgress(f"{number:012x}", "Pushed"))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines == sorted(f"{number:012x}: {word}" for number in range(8) for word in ("Downloading", "Pull complete"))
