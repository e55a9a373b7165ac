"""For programs: one JSON object with ``"schema": 1``. docs/gate.md shows its form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trust.gate.report import moment

if TYPE_CHECKING:
    from trust.gate.found import Found, Place
    from trust.gate.judge import Decision
    from trust.gate.report import Report


def render(report: Report) -> str:
    """The report as indented JSON; what is not ASCII is escaped, so no terminal is steered by it."""
    body = {
        "schema": 1,
        "policy": report.policy,
        "at": moment(report.at),
        "exitCode": report.exit_code,
        "summary": report.counts,
        "images": [_image(item) for item in report.decisions],
        "problems": [
            {**_place(item.place), "message": item.message, "hint": item.hint or None} for item in report.problems
        ],
        "leftOut": [{**_place(item.place), "reason": item.reason} for item in report.left_out],
    }
    return json.dumps(body, indent=2) + "\n"


def _image(item: Decision) -> dict[str, object]:
    state, exemption, rule = item.state, item.exemption, item.rule
    return {
        "reference": item.image.name,
        "repository": item.image.repository,
        "tag": item.image.tag,
        "outcome": item.outcome.value,
        "verdict": item.verdict,
        "digest": _text(item.digest),
        "signers": list(item.signers),
        "expires": moment(item.expires),
        "root": None if state is None else _text(state.root),
        "state": None if state is None else state.version,
        "rule": None if rule is None else {"pattern": rule.pattern, "line": rule.line, "mode": rule.mode.value},
        "exception": None if exemption is None else {"reason": exemption.reason, "until": str(exemption.until)},
        "findings": [
            {"verdict": finding.verdict, "message": finding.message, "advice": finding.advice}
            for finding in item.findings
        ],
        "notes": list(item.notes),
        "places": [_found(found) for found in item.image.found],
    }


def _found(found: Found) -> dict[str, object]:
    return {**_place(found.place), "context": found.context or None, "text": found.text}


def _place(place: Place) -> dict[str, object]:
    return {"path": place.path or None, "line": place.line or None, "column": place.column or None}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
