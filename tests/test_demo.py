"""``make demo`` does what it says: it checks each exit code itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_demo_runs_to_its_end() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", ROOT / "docs" / "demo.sh"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "# Done." in done.stdout.splitlines()[-1]
    assert [line for line in done.stdout.splitlines() if line.startswith("(exit")] == ["(exit 16)", "(exit 12)"]
