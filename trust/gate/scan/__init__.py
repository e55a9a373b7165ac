"""Which images a release would run, by what its files say.

:func:`scan` reads files of any kind and mix; each kind has its reader beside this module, which takes
text and puts what it finds into a :class:`~trust.gate.scan.collect.Collector`. Only
:mod:`~trust.gate.scan.files` touches the disk. What a kind is known by, what is read of it and what
is left out: docs/gate-inputs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trust.errors import UsageError
from trust.gate.found import Place, Scan
from trust.gate.scan import files
from trust.gate.scan.collect import Collector
from trust.gate.scan.lists import looks_like_list, read_list
from trust.gate.scan.options import ScanOptions
from trust.gate.scan.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    options = options or ScanOptions()
    collector = Collector()
    for path in paths:
        if path == "-":
            _read("-", stdin or b"", collector)
            continue
        try:
            for candidate in files.candidates(path, options.exclude):
                _read(candidate.name, files.read(candidate.path), collector)
        except UsageError as error:
            collector.problem(Place(str(path)), error.message, error.hint or "")
    return collector.result()


def _read(name: str, data: bytes, collector: Collector) -> None:
    source = Source.decode(name, data)
    if looks_like_list(source):
        read_list(source, collector)
    else:
        collector.problem(Place(name), "is of no kind that is known here")
