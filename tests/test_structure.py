"""Who may import whom: the contracts of pyproject.toml, and what they cannot say; what is in the sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
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
        (
            "trust.notary",
            {"trust.keys.ids", "trust.keys.formats", "trust.keys.store", "trust.oci.wire", "trust.oci.transport"},
        ),
    ],
)
def test_a_lower_room_imports_nothing_of_ours_but_itself_and_the_words(
    graph: grimp.ImportGraph, room: str, also: set[str]
) -> None:
    modules = {room, *graph.find_descendants(room)}
    imported = set().union(*map(graph.find_modules_directly_imported_by, modules))
    assert imported - modules - WORDS - also - {"trust"} == set()


def test_the_sdist_holds_all_that_its_tests_need(tmp_path: Path) -> None:
    """Everything in the repository; where the tests run from an sdist, that is what is there."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        held = {member.name.partition("/")[2] for member in sdist}
    assert {"CONTRIBUTING.md", ".ci/run", ".gitignore", "Makefile", "tests/conftest.py"} <= held
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        assert set(listed.splitlines()) <= held
