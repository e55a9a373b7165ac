"""Push through a line that drops, delays, cuts and repeats requests and answers, and count what came of it.

    python -m bench.faults [--pushes 500] [--workers 4] [--rate 0.05] [--seed 1]

Workers, each a process with a home of its own, push one image after the other to a registry:2 behind a proxy, each
image under a tag of its own. A push that fails is given again, as a pipeline would. In between, a tag may be signed and
there, or not yet, and nothing else; in the end every tag must be verified with the image that was pushed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from bench import peers
from tests.peers.proxy import Fault, RecordingProxy

if TYPE_CHECKING:
    from tests.peers.proxy import Request

FAULTS = {
    "dropped before the registry saw it": Fault(drop=True),
    "answer lost": Fault(lose_response=True),
    "request cut in the middle": Fault(cut_request=True),
    "answer cut in the middle": Fault(cut_response=True),
    "seen twice by the registry": Fault(twice=True),
    "delayed by 0.3 s": Fault(delay_s=0.3),
}
UNFINISHED = frozenset({"trusted", "missing", "mismatch", "unsigned"})
"""What a tag may be while its push is not finished: never an image that nobody signed, never broken trust data."""
UNREACHABLE = 3
MAX_TRIES = 20


@dataclass(slots=True)
class Line:
    """Chooses what happens to each request; ``rate`` of them have a fault."""

    random: Random
    rate: float
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Fault | None:
        del request
        with self._lock:
            self.requests += 1
            if self.random.random() >= self.rate:
                return None
            name = self.random.choice(list(FAULTS))
            self.faults[name] += 1
        return FAULTS[name]


@dataclass(slots=True)
class Done:
    """What a worker did: digests by tag, how often a push failed, and what tags were that may not be so."""

    pushed: dict[str, str] = field(default_factory=dict)
    failed: int = 0
    broken: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """What came of it all. ``lost`` are tags that are not signed and there in the end."""

    requests: int
    faults: dict[str, int]
    failed: int
    seconds: float
    broken: list[str]
    lost: list[str]


def dockseal(*arguments: str) -> tuple[int, str, str]:
    """Run the program in this process: exit code, stdout, stderr."""
    from cli.main import run

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(list(arguments))
    return code, out.getvalue(), err.getvalue()


def push(name: str, tag: str, rootfs: Path, done: Done) -> None:
    """Push an image of its own under a tag until that is done."""
    (rootfs / "tag").write_text(tag)
    dockseal("build", "-q", "-t", f"{name}:{tag}", str(rootfs))
    err = ""
    for _ in range(MAX_TRIES):
        code, out, err = dockseal("push", "-q", f"{name}:{tag}")
        if code == 0:
            done.pushed[tag] = out.strip().rpartition("@")[2]
            return
        done.failed += 1
        found = verdict(name, tag)
        if found not in UNFINISHED:
            done.broken.append(f"{tag} was {found} after: {err}")
    raise SystemExit(f"{tag} was not pushed in {MAX_TRIES} tries: {err}")


def verdict(name: str, tag: str) -> str:
    """What a tag is; where the line is too bad to say so, it is asked again."""
    code, out = UNREACHABLE, ""
    while code == UNREACHABLE:
        code, out, _ = dockseal("verify", "-o", "json", f"{name}:{tag}")
    return str(json.loads(out)["verdict"])


def work(name: str, tags: list[str]) -> None:
    """A worker: push these tags, and print what was done as JSON."""
    done = Done()
    with tempfile.TemporaryDirectory() as rootfs:
        for tag in tags:
            push(name, tag, Path(rootfs), done)
    print(json.dumps(asdict(done)))


def push_all(registry: str, folder: Path, line: Line, pushes: int, workers: int) -> Result:
    """Push so many images through a bad line.

    Args:
        registry: ``localhost:PORT``.
        folder: for homes; it is empty.
        line: what happens to requests.
        pushes: how many, of different tags.
        workers: processes.
    """
    with RecordingProxy(registry.replace("localhost", "127.0.0.1")) as proxy:
        name = f"{proxy.address}/app"
        homes = [folder / f"home{number}" for number in range(workers)]
        homes[0].mkdir()
        _finish(_start(homes[0], name, ["first"]))  # begins the repository: the others have its keys and its pin
        for home in homes[1:]:
            shutil.copytree(homes[0], home)
        proxy.fault = line
        begin = perf_counter()
        tags = [f"t{number}" for number in range(pushes)]
        crew = [_start(home, name, tags[number::workers]) for number, home in enumerate(homes)]
        done = [_finish(one) for one in crew]
        seconds = perf_counter() - begin
        proxy.fault = None
        found = subprocess.run(
            [sys.executable, "-c", "from cli.main import main; main()", "inspect", "-o", "json", name],
            env=os.environ | peers.dockseal_environment(homes[0]),
            stdout=subprocess.PIPE,
            check=True,
        )
    report = json.loads(found.stdout)
    there = {item["tag"]: item["digest"] for item in report["tags"] if item["drift"] is None}
    lost = [tag for one in done for tag, digest in one.pushed.items() if there.get(tag) != digest]
    lost += [f"pending: {item}" for item in report["state"]["pending"]]
    broken = [text for one in done for text in one.broken]
    return Result(line.requests, dict(line.faults), sum(one.failed for one in done), seconds, broken, lost)


def _start(home: Path, name: str, tags: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.faults", "--work", name, *tags]
    return subprocess.Popen(
        command, env=os.environ | peers.dockseal_environment(home), stdout=subprocess.PIPE, text=True
    )


def _finish(worker: subprocess.Popen[str]) -> Done:
    out, _ = worker.communicate()
    if worker.returncode:
        raise SystemExit(f"a worker ended with {worker.returncode}")
    return Done(**json.loads(out))


def main() -> None:
    """Run a storm and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pushes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], options.work[1:])
        return
    line = Line(Random(options.seed), options.rate)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder, peers.registry(Path(folder)) as registry:
        homes = Path(folder, "homes")
        homes.mkdir()
        result = push_all(registry.address, homes, line, options.pushes, options.workers)
    print(json.dumps(asdict(result), indent=1))
    if result.broken or result.lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
