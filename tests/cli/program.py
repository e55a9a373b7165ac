"""The program as people run it: in this process, as a process of its own, and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cli.main import run

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from cli.main import main; main()")
CHEAP_KEYS = "from trust.keys import container; container.KDF_ROUNDS = container.MIN_KDF_ROUNDS = 1"
FOREGROUND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
)
"""As a shell starts a program in the foreground; in the background, or under nohup, the tests, and so it, would ignore
Ctrl-C or a hang-up."""
WITH_CHEAP_KEYS = (sys.executable, "-c", f"{FOREGROUND}\n{CHEAP_KEYS}\nfrom cli.main import main; main()")
LIMITED = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
{CHEAP_KEYS}
from cli.main import main
main()
"""
PASSPHRASE = "correct horse battery"
DEADLINE_S = 30


@dataclass(frozen=True, slots=True)
class Result:
    """What a run printed, and its exit code."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Dockseal:
    """Runs the program in this process: ``dockseal("push", name)`` gives what it printed, and expects exit code 0."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> Result:
        self._capsys.readouterr()
        found = run([str(argument) for argument in arguments])
        result = Result(*self._capsys.readouterr(), found)
        assert found == code, f"exit code {found}, expected {code}\n{result.out}\n{result.err}"
        return result


def process(*arguments: str | Path, code: int | None = 0, **options: Any) -> Result:
    """Run it as a process without a terminal."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(
        [*WITH_CHEAP_KEYS, *map(str, arguments)], cwd=ROOT, check=False, text=True, timeout=DEADLINE_S, **options
    )
    result = Result(done.stdout or "", done.stderr or "", done.returncode)
    assert code in {None, done.returncode}, result
    return result


def on_a_full_disk(size: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it where no file can grow beyond ``size`` bytes."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


class Terminal:
    """Runs it on a terminal of its own; ``type`` answers prompts, ``expect`` waits for what it prints."""

    def __init__(self, *arguments: str | Path, rows: int = 24, columns: int = 80) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *WITH_CHEAP_KEYS, *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=environment | {"TERM": "xterm"},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        os.close(self._master)

    def expect(self, text: str, *, times: int = 1) -> None:
        """Wait until ``text`` was shown as often."""
        end = time.monotonic() + DEADLINE_S
        while self.shown.count(text) < times:
            assert self._read(end), f"{text!r} did not come:\n{self.shown}"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def finish(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + DEADLINE_S
        while self._read(end):
            pass
        return self._process.wait(DEADLINE_S)

    def _read(self, end: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
