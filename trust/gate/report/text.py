"""For people: one line for each image that passes, and why and where for each that does not.

Every line begins with a word of ours. A pipeline that takes lines beginning with ``::`` for commands (GitHub Actions
does, blanks before them or not, and ``##[`` anywhere) finds none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.gate.judge import Outcome
from trust.gate.report import one_line, problem_text, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.gate.judge import Decision
    from trust.gate.report import Report

_WIDTH = 15
"""Of the first column: the longest verdict and a blank."""
_NAME_WIDTH = 60


def render(report: Report) -> str:
    """The report as lines."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    width = min(max((len(item.image.name) for item in report.decisions), default=0), _NAME_WIDTH)
    for item in report.decisions:
        if item.outcome is Outcome.PASSED:
            yield _passed(item, width)
        else:
            yield from _other(item, report)
        yield from (_row("  Note:", note) for note in item.notes)
    for problem in report.problems:
        yield _row("input", f"at {problem_text(problem)}")
        if problem.hint:
            yield _row("  Hint:", problem.hint)
    for left in report.left_out:
        yield _row("left out", f"at {left.place}: {left.reason}")
    yield _row("summary", report.summary)


def _passed(item: Decision, width: int) -> str:
    digest = "" if item.digest is None else f"sha256:{item.digest.short}"
    until = "" if item.expires is None else f"until {item.expires:%Y-%m-%d}"
    return _row(item.verdict, f"{item.image.name.ljust(width)}  {digest}  {until}  {', '.join(item.signers)}")


def _other(item: Decision, report: Report) -> Iterator[str]:
    outcome = "" if item.outcome in {Outcome.REFUSED, Outcome.UNREACHABLE} else f" ({item.outcome.value})"
    yield _row(item.verdict, f"{item.image.name}{outcome if item.outcome is not Outcome.OFF else ': not looked at'}")
    for found in item.image.found:
        context = f" ({found.context})" if found.context else ""
        yield _row("  at", f"{where(found.place)}{context}")
    if item.rule is not None:
        yield _row("  rule", f"{item.rule.pattern} ({report.policy}:{item.rule.line})")
    if item.digest is not None:
        yield _row("  signed", f"{item.digest} by {', '.join(item.signers) or 'nobody who counts'}")
    for finding in item.findings:
        yield _row("  Error:", f"{finding.verdict}: {finding.message}")
        yield _row("  Hint:", finding.advice)


def _row(head: str, text: str) -> str:
    return f"{head.ljust(_WIDTH)} {one_line(text)}".rstrip().replace("##[", "## [")
