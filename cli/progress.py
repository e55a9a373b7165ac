"""Layers on their way: live rows on a terminal, one plain line per change elsewhere, nothing with ``-q``."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.live import Live
    from rich.table import Table

    from trust.upload import LayerProgress

    Report = Callable[[LayerProgress], None]

PULL_WORDS = {
    "Preparing": "Pulling fs layer",
    "Waiting": "Waiting",
    "Pushing": "Downloading",
    "Pushed": "Pull complete",
    "Layer already exists": "Already exists",
}
"""The same events, in the words of ``docker pull``."""
_REFRESHES_PER_SECOND = 10
_BAR_CELLS = 30
_LONGEST_MOVING = len("Compressing")


@contextmanager
def layer_rows(*, quiet: bool = False, words: Mapping[str, str] | None = None) -> Iterator[Report]:
    """Show layers while the block runs.

    Args:
        quiet: show nothing.
        words: other words for a status.
    """
    if quiet:
        yield _silent
    elif sys.stdout.isatty():
        live = _Live(words or {})
        try:
            yield live
        finally:
            live.close()
    else:
        yield _Lines(words or {})


def _silent(event: LayerProgress) -> None:
    del event


class _Lines:
    """One plain line per change of status."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._shown: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, event: LayerProgress) -> None:
        with self._lock:
            if self._shown.get(event.layer) != event.status:
                self._shown[event.layer] = event.status
                terminal.say(f"{event.layer}: {self._words.get(event.status, event.status)}")


class _Live:
    """Rows that are drawn over again; they begin with the first layer, so that a prompt can come before."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._rows: dict[str, LayerProgress] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._closing = False

    def __call__(self, event: LayerProgress) -> None:
        with self._lock:
            self._rows[event.layer] = event
            if self._live is None:
                self._live = self._started()

    def close(self) -> None:
        """Draw all rows once more and leave them as they are."""
        self._closing = True
        if self._live is not None:
            self._live.stop()

    def _started(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=self._draw,
            console=Console(highlight=False),
            refresh_per_second=_REFRESHES_PER_SECOND,
            vertical_overflow="crop",
        )
        live.start()
        return live

    def _draw(self) -> Table:
        rows = list(self._rows.values())
        height = sys.maxsize if self._closing or self._live is None else self._live.console.height
        return _grid(rows if len(rows) < height else _most_telling(rows, height - 1), self._words)


def _most_telling(rows: list[LayerProgress], count: int) -> list[LayerProgress]:
    """The rows for a terminal that is too low for all: those that move, those that wait, then what is done."""
    ranks = {"Compressing": 0, "Pushing": 0, "Preparing": 1, "Waiting": 1}
    chosen = sorted(rows, key=lambda row: ranks.get(row.status, 2))[:count]
    return [row for row in rows if row in chosen]


def _grid(rows: Iterable[LayerProgress], words: Mapping[str, str]) -> Table:
    from rich.table import Table

    grid = Table.grid()
    grid.add_column(no_wrap=True, overflow="crop")
    for event in rows:
        status, bar = words.get(event.status, event.status), _bar(event)
        grid.add_row(f"{event.layer}: {status:<{_LONGEST_MOVING}} {bar}" if bar else f"{event.layer}: {status}")
    return grid


def _bar(event: LayerProgress) -> str:
    """Docker's bar: ``[=====>     ]  12.3MB/45.6MB``."""
    if not event.total:
        return ""
    done = min(event.current, event.total)
    cells = done * _BAR_CELLS // event.total
    head = ">" if cells < _BAR_CELLS else ""
    bar = f"{'=' * cells}{head}".ljust(_BAR_CELLS)
    return f"\\[{bar}]  {terminal.size(done)}/{terminal.size(event.total)}"
