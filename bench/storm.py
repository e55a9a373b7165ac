"""Let 8 processes push 25 tags each into one repository at once, and write docs/many-writers.md.

    python -m bench.storm [--runs N] [--writers N] [--pushes N] [--report FILE]

Each process has a home of its own. In half of the runs a third of all pushes is killed at random and started again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.peers import DOCKSEAL, PASSPHRASE
from bench.run import ROOT, SCRATCH, machine
from tests.peers.registry import start_registry
from tests.peers.storm import Outcome, Storm

REPORT = ROOT / "docs" / "many-writers.md"
ALONE = 10
PAGE = """\
# Many writers: measured

Written by `make storm`: {writers} processes with homes of their own push {pushes} tags each into one repository of an
empty registry:2 on loopback, at the same moment. Where pushes are killed, a third of them gets SIGKILL after 0.2 to
2.5 s and is started again with the same command. How it works: [publishing.md](publishing.md).

Machine: {machine}.

| | ended well | signed and current | pending | killed | requests | wall s | slowest push s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

Requests are by those of as many pushes one after the other, {alone:.0f} each. Those of killed pushes count, too.
"""


def measured(number: int, killed: float, writers: int, pushes: int) -> tuple[Outcome, float]:
    """One storm in a registry of its own; and the requests of one push alone."""
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="storm-") as scratch:
        folder = Path(scratch)
        access_log = folder / "access.log"
        with start_registry(folder, access_log=access_log) as host:
            storm = Storm((DOCKSEAL,), f"{host}/app", folder, access_log, PASSPHRASE)
            storm.begin()
            alone = storm.one_after_the_other(ALONE) / ALONE
            return storm.rage(writers, pushes, killed=killed, seed=number), alone


def row(name: str, outcome: Outcome, alone: float, count: int) -> str:
    ratio = outcome.requests / (alone * count)
    return (
        f"| {name} | {len(outcome.done)} of {count} | {len(outcome.trusted)} of {count} | {outcome.pending} "
        f"| {outcome.killed} | {ratio:.1f} x | {outcome.wall_s:.0f} | {outcome.slowest_s:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="many processes that push at once")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--pushes", type=int, default=25)
    parser.add_argument("--report", type=Path, default=REPORT)
    arguments = parser.parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    count = arguments.writers * arguments.pushes
    rows: list[str] = []
    for name, killed in (("all live", 0.0), ("a third is killed", 1 / 3)):
        for number in range(arguments.runs):
            outcome, alone = measured(number, killed, arguments.writers, arguments.pushes)
            rows.append(row(name, outcome, alone, count))
            print(rows[-1], *outcome.errors, sep="\n", flush=True)
            page = PAGE.format(
                writers=arguments.writers,
                pushes=arguments.pushes,
                machine=machine(),
                rows="\n".join(rows),
                alone=alone,
            )
            arguments.report.write_text(page)


if __name__ == "__main__":
    main()
