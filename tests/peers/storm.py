"""A storm: processes with homes of their own that push different tags into one repository at the same moment.

Some are killed at random, and started again with the same command.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KILLED_AFTER_S = (0.2, 2.5)
DEADLINE_S = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a storm: tags whose push ended well, those that are signed and current, what the others said."""

    done: tuple[str, ...]
    trusted: tuple[str, ...]
    errors: tuple[str, ...]
    killed: int
    pending: int
    requests: int
    wall_s: float
    slowest_s: float


@dataclass(slots=True)
class _Counts:
    done: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    killed: int = 0
    slowest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Storm:
    """One repository of a registry; ``command`` runs dockseal, ``access_log`` is the registry's."""

    command: Sequence[str]
    name: str
    folder: Path
    access_log: Path
    passphrase: str

    def begin(self) -> None:
        """Push a first tag from a first home."""
        content = self.folder / "rootfs"
        content.mkdir()
        (content / "hello").write_text("hello\n")
        self._run("first", "build", "-q", "-t", f"{self.name}:v0", str(content))
        self._run("first", "save", "-o", str(self._archive), f"{self.name}:v0")
        self._push("first", "v0")

    def one_after_the_other(self, pushes: int) -> int:
        """How many requests so many pushes need that nobody disturbs."""
        before = self.requests()
        for number in range(pushes):
            self._push("first", f"alone-{number}")
        return self.requests() - before

    def rage(self, writers: int, pushes: int, *, killed: float = 0.0, seed: int = 0) -> Outcome:
        """Let ``writers`` push ``pushes`` tags each; of all attempts the share ``killed`` is killed."""
        for number in range(writers):
            self._new_home(f"writer-{number}")
        before, start = self.requests(), time.monotonic()
        with ThreadPoolExecutor(writers) as pool:
            each = list(pool.map(lambda number: self._write(number, pushes, killed, seed), range(writers)))
        wall_s, requests = time.monotonic() - start, self.requests() - before
        found = json.loads(self._run("first", "inspect", "-o", "json", self.name))
        trusted = [item["tag"] for item in found["tags"] if item["drift"] is None]
        done = tuple(tag for counts in each for tag in counts.done)
        return Outcome(
            done,
            tuple(sorted(set(done) & set(trusted))),
            tuple(error for counts in each for error in counts.errors),
            sum(counts.killed for counts in each),
            len(found["state"]["pending"]),
            requests,
            wall_s,
            max(counts.slowest_s for counts in each),
        )

    def requests(self) -> int:
        """How many the registry has answered."""
        return self.access_log.read_bytes().count(b"\n")

    @property
    def _archive(self) -> Path:
        return self.folder / "image.tar"

    def _new_home(self, home: str) -> None:
        """Keys and pin of the first home, and no memory."""
        for name in ("keys", "config.toml"):
            source, target = self.folder / "first" / name, self.folder / home / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)

    def _write(self, number: int, pushes: int, killed: float, seed: int) -> _Counts:
        counts, chance = _Counts(), random.Random(f"{seed} {number}")
        for index in range(pushes):
            tag, start = f"w{number}-{index}", time.monotonic()
            while True:
                process = self._start(f"writer-{number}", *self._push_command(tag))
                try:
                    dies = chance.random() < killed
                    _, error = process.communicate(timeout=chance.uniform(*KILLED_AFTER_S) if dies else DEADLINE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    counts.killed += 1
                    continue
                break
            if process.returncode == 0:
                counts.done.append(tag)
            else:
                counts.errors.append(f"{tag}: {error}")
            counts.slowest_s = max(counts.slowest_s, time.monotonic() - start)
        return counts

    def _push(self, home: str, tag: str) -> None:
        self._run(home, *self._push_command(tag))

    def _push_command(self, tag: str) -> tuple[str, ...]:
        return ("push", "-q", "--from", f"docker-archive:{self._archive}", f"{self.name}:{tag}")

    def _run(self, home: str, *arguments: str) -> str:
        process = self._start(home, *arguments)
        out, error = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, error
        return out

    def _start(self, home: str, *arguments: str) -> subprocess.Popen[str]:
        own = {"DOCKSEAL_HOME": str(self.folder / home), "DOCKSEAL_PASSPHRASE": self.passphrase}
        return subprocess.Popen(
            [*self.command, *arguments],
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
