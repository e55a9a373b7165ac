"""Run one command and write its figures as JSON to file descriptor 3.

A process of its own, and a small one: a child's peak memory begins at that of the process which
forks it (``ru_maxrss``, getrusage(2)), so that a large parent would hide a small child.
"""

import json
import os
import sys
import time

FIGURES_FD = 3


def main() -> None:
    start = time.perf_counter()
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, FIGURES_FD)])
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # ended, and its accounts are still there
    wall_s = time.perf_counter() - start
    with open(f"/proc/{pid}/io") as accounts:  # noqa: PTH123 - pathlib would triple this process
        read_bytes = next(int(line[6:]) for line in accounts if line.startswith("rchar:"))
    _, status, usage = os.wait4(pid, 0)
    figures = {
        "code": os.waitstatus_to_exitcode(status),
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss << 10,
        "read_bytes": read_bytes,
    }
    os.write(FIGURES_FD, json.dumps(figures).encode())


main()
