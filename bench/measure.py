"""Run one command to its end: wall time, peak memory, bytes read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAUNCHER = Path(__file__).with_name("launch.py")
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """One finished command. ``peak_bytes`` is its largest resident set, ``read_bytes`` all that it
    read from files, pages in memory included (``rchar``, proc_pid_io(5)).
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    read_bytes: int
    stored_bytes: int = 0


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run ``command`` in an environment of PATH and ``environment``; it must succeed."""
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as figures:
        launch = 'exec "$0" -I -S "$@" 3>"$FIGURES"'
        subprocess.run(
            ["sh", "-c", launch, sys.executable, str(LAUNCHER), *command],
            env={"PATH": os.environ["PATH"], "FIGURES": figures.name, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
        found = json.loads(Path(figures.name).read_bytes())
        output.seek(0)
        if found.pop("code") != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')}")
    return Run(**found)


def interleaved(rounds: int, tools: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Run all tools in turn, ``rounds`` times, every second round backwards."""
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    for number in range(rounds):
        for name in list(tools)[:: -1 if number % 2 else 1]:
            runs[name].append(tools[name]())
    return runs


def median_wall(runs: Sequence[Run]) -> float:
    return median(run.wall_s for run in runs)


def median_ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> float:
    """The median over rounds of our wall time by theirs in the same round."""
    return median(our.wall_s / their.wall_s for our, their in zip(ours, theirs, strict=True))
