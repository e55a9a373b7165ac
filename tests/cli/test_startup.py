"""The start is quick because heavy libraries are imported where they are used. Lists of modules, not clocks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.program import ROOT

HEAVY = (
    "cryptography",
    "isal",
    "requests",
    "rich.live",
    "rich.progress",
    "securesystemslib",
    "tarfile",
    "tomlkit",
    "tuf",
    "urllib3",
    "zstandard",
)
PROBE = """
import sys
from cli.main import run
code = run(sys.argv[1:])
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
raise SystemExit(code)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["push", "--help"], ["images"], ["push", "UPPER:v1"]])
def test_heavy_libraries_are_not_loaded(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=30
    )
    loaded = set(done.stderr.splitlines())
    assert "cli.main" in loaded
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)


def test_a_folder_needs_no_http(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = f"oci:{tmp_path_factory.mktemp('none')}/x:v1"
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "verify", store],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=30,
    )
    assert done.returncode == 10
    assert "requests" not in done.stderr.splitlines()
