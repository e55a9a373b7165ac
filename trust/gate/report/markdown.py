"""For a job's summary: a table in GitHub's markdown, what blocks first.

Text of others is written as character references but for what cannot mean anything, so that it makes no link, mention,
HTML or second row.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trust.gate.judge import Outcome
from trust.gate.report import moment, one_line, where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trust.gate.judge import Decision
    from trust.gate.report import Report

_ORDER = (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.WARNED, Outcome.EXCUSED, Outcome.OFF, Outcome.PASSED)
_MEANING = re.compile(r"[^A-Za-z0-9 ,.:;()=+/-]|:(?=//)|(?<=www)\.")
"""What could be read as markdown or HTML, and what makes a link of an address."""


def render(report: Report) -> str:
    """The report as markdown."""
    result = "may go on" if report.exit_code == 0 else "stops here"
    lines = [f"### dockseal gate: the release {result}", "", f"{_safe(report.summary)}, at {moment(report.at)}.", ""]
    if report.decisions:
        decisions = sorted(report.decisions, key=lambda item: _ORDER.index(item.outcome))
        lines += _table(("Verdict", "Image", "Where", "Why", "What to do"), [_row(item) for item in decisions])
    if report.problems:
        rows = [(where(item.place), item.message, item.hint) for item in report.problems]
        lines += ["", *_table(("Input", "Problem", "What to do"), [[_safe(cell) for cell in row] for row in rows])]
    return "\n".join(lines) + "\n"


def _row(item: Decision) -> list[str]:
    verdict = item.verdict if item.outcome in {Outcome.PASSED, Outcome.OFF} else f"{item.verdict}: {item.outcome.value}"
    places = [where(found.place) for found in item.image.found]
    why = [finding.message for finding in item.findings] or [f"signed by {', '.join(item.signers)}"]
    advice = [finding.advice for finding in item.findings]
    return [
        _safe(verdict),
        _safe(item.image.name),
        "<br>".join(map(_safe, places)),
        "<br>".join(map(_safe, [*([] if item.outcome is Outcome.OFF else why), *item.notes])),
        "<br>".join(map(_safe, advice)),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_cells(head), _cells(["---"] * len(head)), *map(_cells, rows)]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    return _MEANING.sub(lambda found: f"&#{ord(found[0])};", one_line(text))
