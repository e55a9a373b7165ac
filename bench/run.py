"""Measure dockseal beside skopeo, docker and crane, and write docs/benchmarks.md.

    python -m bench.run [--rounds N] [--large] [--report FILE]

Every push goes to an empty registry:2 on loopback, from a home folder that has not seen the image.
Tools take turns; figures are medians, ratios medians of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench import images, measure, peers, tags
from bench.gate import bench_gate
from bench.measure import MB, Run, interleaved, median_ratio, median_wall

ROOT = Path(__file__).parent.parent
SCRATCH = ROOT / "build" / "bench"
REPORT = ROOT / "docs" / "benchmarks.md"
LAYER_BYTES = (200 * MB, 150 * MB, 100 * MB, 50 * MB)
LARGE_LAYER_BYTES = 5_000 * MB
START_ROUNDS = 15
SIGNED = "dockseal, signed"
FIRST = "dockseal, first push"
BARE_TYPER = """
import typer
app = typer.Typer()
@app.callback(invoke_without_command=True)
def main(version: bool = False) -> None:
    print("bare 1.0")
app()
"""
PAGE = """\
# Benchmarks

Written by `make bench`: medians of {rounds} interleaved rounds; ratios are medians of the rounds' ratios. Every push
goes to an empty registry:2 on loopback, by a user who has never seen the image. dockseal's are signed: pushes to a
repository whose trust has begun (`repo init`), and as the very first push, which makes the keys and the root, too.

Machine: {machine}.

| what | measured | at most | |
| --- | ---: | ---: | --- |
{rows}

Memory is a process's largest resident set. docker's figures are its client's: the engine, which does the work, is
another process, and its image is loaded beforehand.

{tables}
"""

Push = Callable[[peers.Registry, Path], Run]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of targets."""

    what: str
    measured: float
    target: float
    unit: str

    def markdown(self) -> str:
        verdict = "kept" if self.measured <= self.target else "**missed**"
        return f"| {self.what} | {self.measured:.2f}{self.unit} | {self.target:.2f}{self.unit} | {verdict} |"


@dataclass(slots=True)
class Report:
    """What docs/benchmarks.md says."""

    rows: list[Row] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add(self, what: str, measured: float, target: float, unit: str = "") -> None:
        self.rows.append(Row(what, measured, target, unit))
        print(self.rows[-1].markdown(), flush=True)

    def add_pushes(self, title: str, runs: dict[str, list[Run]]) -> None:
        """A table of tools."""
        lines = [
            f"### {title}",
            "",
            "| tool | wall s | CPU s | peak MB | stored MB |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for name, some in runs.items():
            cpu, peak, stored = (median(values) for values in zip(*map(_figures, some), strict=True))
            lines.append(f"| {name} | {median_wall(some):.2f} | {cpu:.2f} | {peak:.0f} | {stored:.0f} |")
        self.tables.append("\n".join(lines))
        print(self.tables[-1], flush=True)

    def markdown(self, rounds: int) -> str:
        rows = "\n".join(row.markdown() for row in self.rows)
        return PAGE.format(rounds=rounds, machine=machine(), rows=rows, tables="\n\n".join(self.tables))


def _figures(run: Run) -> tuple[float, float, float]:
    return run.cpu_s, run.peak_bytes / MB, run.stored_bytes / MB


def pushed_to_empty_registry(push: Push) -> Run:
    with peers.registry(SCRATCH) as registry, tempfile.TemporaryDirectory(dir=SCRATCH) as home:
        run = push(registry, Path(home))
        return replace(run, stored_bytes=registry.stored_bytes())


def dockseal_first_push(source: str) -> Push:
    """Makes the keys and the root of trust, too."""

    def push(registry: peers.Registry, home: Path) -> Run:
        command = [peers.DOCKSEAL, "push", "-q", "--from", source, registry.image]
        return measure.run(command, peers.dockseal_environment(home))

    return push


def dockseal_push(source: str) -> Push:
    """To a repository whose trust has begun."""
    push_it = dockseal_first_push(source)

    def push(registry: peers.Registry, home: Path) -> Run:
        name = registry.image.rpartition(":")[0]
        measure.run([peers.DOCKSEAL, "repo", "init", name], peers.dockseal_environment(home))
        return push_it(registry, home)

    return push


def skopeo_push(source: str) -> Push:
    def push(registry: peers.Registry, home: Path) -> Run:
        options = ["--quiet", "--insecure-policy", "--dest-tls-verify=false"]
        return measure.run(["skopeo", "copy", *options, source, f"docker://{registry.image}"], {"HOME": str(home)})

    return push


def crane_push(program: str, path: Path) -> Push:
    def push(registry: peers.Registry, home: Path) -> Run:
        return measure.run([program, "push", str(path), registry.image], {"HOME": str(home)})

    return push


def docker_push(environment: dict[str, str]) -> Push:
    def push(registry: peers.Registry, home: Path) -> Run:
        del home  # the engine keeps what it knows
        measure.run(["docker", "tag", images.NAME, registry.image], environment)
        return measure.run(["docker", "push", "--quiet", registry.image], environment)

    return push


def compare(pushes: dict[str, Push], rounds: int) -> dict[str, list[Run]]:
    return interleaved(rounds, {name: _thunk(push) for name, push in pushes.items()})


def _thunk(push: Push) -> Callable[[], Run]:
    return lambda: pushed_to_empty_registry(push)


def bench_uncompressed(report: Report, archive: Path, rounds: int) -> None:
    source = f"docker-archive:{archive}"
    pushes = {SIGNED: dockseal_push(source), FIRST: dockseal_first_push(source), "skopeo": skopeo_push(source)}
    if (crane := peers.crane(SCRATCH / "bin")) is not None:
        pushes["crane"] = crane_push(crane, archive)
    if shutil.which("dockerd") and os.geteuid() == 0:
        with peers.docker_engine(SCRATCH) as environment:
            measure.run(["docker", "load", "--quiet", "--input", str(archive)], environment)
            pushes["docker"] = docker_push(environment)
            runs = compare(pushes, rounds)
    else:
        runs = compare(pushes, rounds)
    report.add_pushes("500 MB in 4 uncompressed layers (`docker-archive:`)", runs)
    ours, theirs = runs[SIGNED], runs["skopeo"]
    report.add("push of uncompressed layers, wall time by skopeo's", median_ratio(ours, theirs), 0.35, " x")
    report.add("bytes stored, by skopeo's", ours[0].stored_bytes / theirs[0].stored_bytes, 1.15, " x")
    report.add("peak memory of that push", max(run.peak_bytes for run in ours) / MB, 100, " MB")


def bench_compressed(report: Report, layout: Path, rounds: int) -> None:
    source = f"oci:{layout}:v1"
    pushes = {SIGNED: dockseal_push(source), FIRST: dockseal_first_push(source), "skopeo": skopeo_push(source)}
    if (crane := peers.crane(SCRATCH / "bin")) is not None:
        pushes["crane"] = crane_push(crane, layout)
    runs = compare(pushes, rounds)
    report.add_pushes("The same with gzip layers (`oci:`)", runs)
    ratio = median_ratio(runs[SIGNED], runs["skopeo"])
    report.add("push of gzip layers, wall time by skopeo's", ratio, 0.60, " x")


def bench_start(report: Report) -> float:
    """The start of the program, in seconds; beside a bare typer program's."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as home:
        environment = peers.dockseal_environment(Path(home))
        bare = Path(home, "bare.py")
        bare.write_text(BARE_TYPER)
        runs = interleaved(
            START_ROUNDS,
            {
                "dockseal": lambda: measure.run([peers.DOCKSEAL, "--version"], environment),
                "bare": lambda: measure.run([sys.executable, str(bare), "--version"], environment),
            },
        )
    start_s = median_wall(runs["dockseal"])
    report.add("`dockseal --version` above a bare typer program", start_s - median_wall(runs["bare"]), 0.1, " s")
    return start_s


def bench_again(report: Report, archive: Path, rounds: int, start_s: float) -> None:
    """The second push of the same image; then verification, cold and warm."""
    push = dockseal_first_push(f"docker-archive:{archive}")
    with peers.registry(SCRATCH) as registry, tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        home = Path(folder, "pusher")
        push(registry, home)
        again = [push(registry, home) for _ in range(rounds)]
        report.add("second push, above the start of the program", median_wall(again) - start_s, 0.5, " s")
        report.add("second push, bytes read (modules included)", max(run.read_bytes for run in again) / MB, 50, " MB")
        cold, warm = [], []
        for number in range(rounds):
            reader = Path(folder, f"reader-{number}")
            (reader / "dockseal").mkdir(parents=True)
            shutil.copy(home / "dockseal" / "config.toml", reader / "dockseal")
            command = [peers.DOCKSEAL, "verify", registry.image]
            cold.append(measure.run(command, peers.dockseal_environment(reader)))
            warm.append(measure.run(command, peers.dockseal_environment(reader)))
    lines = ["### `dockseal verify`", "", "| | wall s | peak MB |", "| --- | ---: | ---: |"]
    for name, runs in (("cold (knows the pin alone)", cold), ("warm", warm)):
        lines.append(f"| {name} | {median_wall(runs):.2f} | {max(run.peak_bytes for run in runs) / MB:.0f} |")
    report.tables.append("\n".join(lines))


def bench_tags(report: Report, archive: Path, rounds: int) -> None:
    """100,000 signed tags in 1,024 bins, by 100 tags in one file; the registry's list of tags is reported apart."""
    source = f"docker-archive:{archive}"
    with peers.registry(SCRATCH) as registry, tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        few = tags.Repository(registry, "few", Path(folder, "few"))
        many = tags.Repository(registry, "many", Path(folder, "many"))
        few.fill(source, tags.FEW, 0)
        many.fill(source, tags.MANY, tags.BINS)
        both = {"100 tags": few, "100,000 tags in 1,024 bins": many}
        listing = {name: median(item.listing_s() for _ in range(rounds)) for name, item in both.items()}
        numbers = iter(range(1_000_000))
        pushes = interleaved(rounds, {name: _next_push(item, source, numbers) for name, item in both.items()})
        warm = interleaved(rounds, {name: _verify(item, item.home) for name, item in both.items()})
        cold = interleaved(rounds, {name: _cold_verify(item, folder, numbers) for name, item in both.items()})
    small, large = both
    lines = ["### Many tags", "", "| | push s | verify, warm s | verify, cold s | the registry's list of tags s |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name in both:
        figures = (median_wall(pushes[name]), median_wall(warm[name]), median_wall(cold[name]), listing[name])
        lines.append(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    report.tables.append("\n".join(lines))
    print(report.tables[-1], flush=True)
    apart = {name: tags.LISTINGS_A_PUSH * listing[name] for name in both}
    ratio = (median_wall(pushes[large]) - apart[large]) / (median_wall(pushes[small]) - apart[small])
    report.add(f"push to {large}, by {small}, the registry's list of tags apart", ratio, 1.5, " x")
    report.add("verify likewise, warm", median_ratio(warm[large], warm[small]), 1.5, " x")
    report.add("verify likewise, cold", median_ratio(cold[large], cold[small]), 1.5, " x")


def _next_push(repository: tags.Repository, source: str, numbers: Iterator[int]) -> Callable[[], Run]:
    def push() -> Run:
        return repository.dockseal("push", "-q", "--from", source, f"{repository.full_name}:new-{next(numbers)}")

    return push


def _verify(repository: tags.Repository, home: Path) -> Callable[[], Run]:
    return lambda: repository.dockseal("verify", f"{repository.full_name}:build-000042", home=home)


def _cold_verify(repository: tags.Repository, folder: str, numbers: Iterator[int]) -> Callable[[], Run]:
    def verify() -> Run:
        home = Path(folder, f"reader-{next(numbers)}")
        (home / "dockseal").mkdir(parents=True)
        shutil.copy(repository.home / "dockseal" / "config.toml", home / "dockseal")
        return _verify(repository, home)()

    return verify


def bench_large(report: Report) -> None:
    archive = images.docker_archive(SCRATCH / "large.tar", (LARGE_LAYER_BYTES,))
    run = pushed_to_empty_registry(dockseal_push(f"docker-archive:{archive}"))
    report.add_pushes("One layer of 5 GB", {SIGNED: [run]})
    report.add("peak memory of the push of a 5 GB layer", run.peak_bytes / MB, 100, " MB")


def machine() -> str:
    """This machine and its programs, in one line."""
    return f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}; {_versions()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> str:
    from tests.peers.programs import BY_NAME

    names = ("docker-registry", "skopeo", "dockerd")
    return "; ".join(f"{name}: {BY_NAME[name].version_line().rpartition('/')[2]}" for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description="measure dockseal beside its peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="push a layer of 5 GB, too")
    parser.add_argument("--report", type=Path, default=REPORT)
    arguments = parser.parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    archive = images.docker_archive(SCRATCH / "image.tar", LAYER_BYTES)
    layout = SCRATCH / "layout"
    if not layout.exists():
        copy = ["skopeo", "copy", "--quiet", "--insecure-policy", f"docker-archive:{archive}", f"oci:{layout}:v1"]
        measure.run(copy, {"HOME": str(SCRATCH)})
    report = Report()
    start_s = bench_start(report)
    bench_uncompressed(report, archive, arguments.rounds)
    bench_compressed(report, layout, arguments.rounds)
    bench_again(report, archive, arguments.rounds, start_s)
    bench_tags(report, images.docker_archive(SCRATCH / "small.tar", (1 * MB,)), arguments.rounds)
    bench_gate(SCRATCH, report.add)
    if arguments.large:
        bench_large(report)
    arguments.report.write_text(report.markdown(arguments.rounds))
    print(f"written to {arguments.report}")


if __name__ == "__main__":
    main()
