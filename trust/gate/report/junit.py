"""For test reports: JUnit's XML as GitLab shows it, a suite with one case for each image and place.

GitLab tells cases apart by ``classname`` and ``name`` and links ``file``. Refused is a failure, not reached an error,
and what an exception or ``mode = "off"`` lets through is skipped.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from trust.gate.found import Found, Place
from trust.gate.judge import Outcome
from trust.gate.report import one_line, problem_text, where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.gate.judge import Decision
    from trust.gate.report import Report

_SUITE = "dockseal gate"


def render(report: Report) -> str:
    """The report as XML."""
    cases = [*_cases(report), *_inputs(report)]
    numbers = {
        "tests": len(cases),
        "failures": sum("<failure" in case for case in cases),
        "errors": sum("<error" in case for case in cases),
        "skipped": sum("<skipped" in case for case in cases),
    }
    head = "".join(f' {name}="{number}"' for name, number in numbers.items())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites{_attribute('name', _SUITE)}{head}>",
        f"  <testsuite{_attribute('name', _SUITE)}{head}>",
        *cases,
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _cases(report: Report) -> Iterator[str]:
    seen: Counter[tuple[str, str]] = Counter()
    for item in report.decisions:
        for found in item.image.found or (Found(item.image.name, Place("")),):
            suite = found.place.path or "command line"
            name = item.image.name + (f" ({found.context})" if found.context else "")
            seen[suite, name] += 1
            number = f" #{seen[suite, name]}" if seen[suite, name] > 1 else ""
            yield _case(suite, name + number, found.place, _body(item, report))


def _body(item: Decision, report: Report) -> str:
    text = "\n".join(f"{one_line(finding.message)}\nHint: {one_line(finding.advice)}" for finding in item.findings)
    if item.rule is not None:
        text += f"\nRule: {item.rule.pattern} ({report.policy}:{item.rule.line})"
    message = item.findings[0].message if item.findings else ""
    match item.outcome:
        case Outcome.REFUSED:
            return _element("failure", message, item.verdict, text)
        case Outcome.UNREACHABLE:
            return _element("error", message, item.verdict, text)
        case Outcome.EXCUSED | Outcome.OFF:
            return f"<skipped{_attribute('message', '; '.join(item.notes) or 'the rule says not to look')}/>"
        case Outcome.WARNED:
            return f"<system-out>{_text(f'Warning: {text}')}</system-out>"
        case Outcome.PASSED:
            return ""


def _inputs(report: Report) -> Iterator[str]:
    for problem in report.problems:
        message = problem_text(problem)
        text = f"{message}\nHint: {one_line(problem.hint)}" if problem.hint else message
        name = f"input {where(problem.place)}"
        yield _case(problem.place.path or "-", name, problem.place, _element("error", message, "input", text))


def _case(suite: str, name: str, place: Place, body: str) -> str:
    attributes = _attribute("classname", suite) + _attribute("name", name)
    if place.path not in {"", "-"}:
        attributes += _attribute("file", place.path)
        attributes += _attribute("line", str(place.line)) if place.line else ""
    return f"    <testcase{attributes}>{body}</testcase>"


def _element(tag: str, message: str, kind: str, text: str) -> str:
    return f"<{tag}{_attribute('message', message)}{_attribute('type', kind)}>{_text(text)}</{tag}>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(one_line(value))}"'


def _text(value: str) -> str:
    """Several lines of text: each is made harmless by itself."""
    return "\n".join(escape(one_line(line)) for line in value.split("\n"))
