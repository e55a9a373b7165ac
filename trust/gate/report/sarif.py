"""For code scanning: SARIF 2.1.0 (OASIS, errata 01), with what GitHub needs to show a result in a diff.

One result for each reason and place. Rule ids are ``dockseal/VERDICT`` and do not change. A fingerprint is made of
what was found where, but of no line: it outlives edits above it. A result without a file of its own (an image from
the command line) is shown at the policy's rule, since GitHub refuses results without a place.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trust.gate.found import Place
from trust.gate.judge import Outcome
from trust.gate.lock import reference_of
from trust.gate.report import one_line, problem_text
from trust.gate.words import ADVICE, MEANING, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.gate.report import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
INPUT = "input"
_LEVELS = {Outcome.WARNED: "warning", Outcome.EXCUSED: "note"}
_RULES = (*VERDICTS, INPUT)
_FINGERPRINT = "docksealImage/v1"
_SEVERITY = {"tampered": "9.5", "rollback": "9.0", "mismatch": "9.0", "untrusted-root": "9.0"}
"""As GitHub ranks results, 0 to 10; what looks like an attack comes first."""


def render(report: Report) -> str:
    """The report as one SARIF log with one run."""
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(report.version)},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": not report.problems, "exitCode": report.exit_code}],
                "results": _fingerprinted(list(_results(report))),
            }
        ],
    }
    return json.dumps(log, indent=2) + "\n"


def _driver(version: str) -> dict[str, object]:
    return {"name": "dockseal", "semanticVersion": version, "rules": [_rule(name) for name in _RULES]}


def _rule(name: str) -> dict[str, object]:
    meaning = MEANING.get(name, "An input of the gate could not be read")
    advice = ADVICE.get(name, "correct the file, or leave it out")
    return {
        "id": f"dockseal/{name}",
        "name": "".join(part.title() for part in name.split("-")),
        "shortDescription": {"text": f"{meaning}."},
        "fullDescription": {"text": f"{meaning}."},
        "help": {"text": f"What to do: {advice}."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "supply-chain"], "security-severity": _SEVERITY.get(name, "7.0")},
    }


def _results(report: Report) -> Iterator[dict[str, Any]]:
    for item in report.decisions:
        at_rule = Place(report.policy, item.rule.line if item.rule is not None else 1)
        places = [found.place for found in item.image.found if found.place.path not in {"", "-"}]
        contexts = [found.context for found in item.image.found if found.place.path not in {"", "-"}]
        for finding in item.findings:
            for place, context in zip(places or [at_rule], contexts or [""], strict=True):
                text = f"{one_line(finding.message)}. What to do: {one_line(finding.advice)}."
                result = _result(finding.verdict, _LEVELS.get(item.outcome, "error"), text, place, report)
                result["partialFingerprints"] = {
                    _FINGERPRINT: f"{finding.verdict} {reference_of(item.image)} {context}"
                }
                if item.exemption is not None:
                    result["suppressions"] = [{"kind": "external", "justification": one_line(item.exemption.reason)}]
                yield result
    for problem in report.problems:
        text = f"{problem_text(problem)}.{f' What to do: {one_line(problem.hint)}.' if problem.hint else ''}"
        place = problem.place if problem.place.path not in {"", "-"} else Place(report.policy, 1)
        result = _result(INPUT, "error", text, place, report)
        result["partialFingerprints"] = {_FINGERPRINT: f"{INPUT} {problem.message}"}
        yield result


def _result(name: str, level: str, text: str, place: Place, report: Report) -> dict[str, Any]:
    region: dict[str, int] = {"startLine": max(place.line, 1)}
    if place.column:
        region["startColumn"] = place.column
    return {
        "ruleId": f"dockseal/{name}",
        "ruleIndex": _RULES.index(name),
        "level": level,
        "message": {"text": text.replace("](", "] (")},  # no link (SARIF 2.1.0, 3.11.6)
        "locations": [
            {"physicalLocation": {"artifactLocation": _artifact(place.path, report.folder), "region": region}}
        ],
    }


def _artifact(path: str, folder: str) -> dict[str, str]:
    """The path from the folder of the run, as a relative reference; a file elsewhere keeps its own address."""
    full = posixpath.normpath(posixpath.join(folder, path))
    inside = posixpath.relpath(full, folder)
    if inside.startswith("../"):
        return {"uri": f"file://{_quoted(full)}"}
    return {"uri": _quoted(inside), "uriBaseId": "%SRCROOT%"}


def _quoted(path: str) -> str:
    return quote(path, errors="surrogatepass")  # a name that is no UTF-8 has half surrogate pairs here


def _fingerprinted(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With hashes for what tells results apart; the second of the same in one file gets another."""
    seen: Counter[str] = Counter()
    for result in results:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        subject = f"{uri} {result['partialFingerprints'][_FINGERPRINT]}"
        seen[subject] += 1
        digest = hashlib.sha256(f"{subject} {seen[subject]}".encode("utf-8", "replace")).hexdigest()
        result["partialFingerprints"] = {_FINGERPRINT: digest}
    return results
