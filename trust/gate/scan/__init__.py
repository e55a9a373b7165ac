"""Which images a release would run, by what its files say.

:func:`scan` reads files of any kind and mix. Each kind has its reader beside this module, which takes a
text or a tree and puts what it finds into a :class:`~trust.gate.scan.collect.Collector`;
:mod:`~trust.gate.scan.reading` chooses the reader. Only :mod:`~trust.gate.scan.files`, and
:mod:`~trust.gate.scan.archives` by way of the OCI room, touch the disk. What a kind is known by, what is
read of it and what is left out: docs/gate-inputs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trust.gate.scan.options import ScanOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trust.gate.found import Scan

__all__ = ["ScanOptions", "scan"]


def scan(
    paths: Sequence[Path | Literal["-"]], *, options: ScanOptions | None = None, stdin: bytes | None = None
) -> Scan:
    """Everything that the files and folders name.

    Args:
        paths: files, folders, and ``-`` for ``stdin``; in this order.
        options: how they are read.
        stdin: what standard input holds.

    Returns:
        The images; and, as problems rather than as errors, whatever could not be read or resolved.
    """
    from trust.gate.scan.reading import Reading  # with the YAML parser and the archive readers

    reading = Reading(options or ScanOptions())
    for path in paths:
        if path == "-":
            reading.read_stdin(stdin or b"")
        else:
            reading.read_path(path)
    reading.finish()
    return reading.collector.result()
