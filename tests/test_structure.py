"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
WORDS = {"trust.strictjson", "trust.digest", "trust.errors", "trust.files"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("trust", "cli", cache_dir=None)


def test_every_import_contract_is_kept() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "also"),
    [
        ("trust.oci", set()),
        ("trust.keys", set()),
        ("trust.tuf", {"trust.keys.ids"}),
        ("trust.notary", {"trust.keys.ids", "trust.keys.formats"}),
    ],
)
def test_a_lower_room_imports_nothing_of_ours_but_itself_and_the_words(
    graph: grimp.ImportGraph, room: str, also: set[str]
) -> None:
    modules = {room, *graph.find_descendants(room)}
    imported = set().union(*map(graph.find_modules_directly_imported_by, modules))
    assert imported - modules - WORDS - also - {"trust"} == set()
