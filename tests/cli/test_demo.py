"""``make demo`` shows the whole way, with no server and nothing of the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.cli.program import CHEAP_KEYS, ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_ends_well_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    program = scripts / "dockseal"
    program.write_text(f"#!{sys.executable}\n{CHEAP_KEYS}\nfrom cli.main import main\nmain()\n")
    program.chmod(0o755)
    environment = {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(home), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        ["sh", str(ROOT / "docs" / "demo.sh")],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("Done.\x1b[0m")
    shown = [line for line in done.stdout.splitlines() if line.startswith("$ dockseal ")]
    assert {line.split()[2] for line in shown} >= {"build", "push", "verify", "copy", "pull"}
    for words in ("Successfully signed", "trusted: ", "untrusted-root: ", "mismatch: ", "is refused"):
        assert words in done.stdout, words
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list(home.iterdir()) == []
