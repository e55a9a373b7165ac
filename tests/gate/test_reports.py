"""What a run tells, in five forms, also where names and messages are an attacker's."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tests.gate.sarif_schema import SARIF
from tests.gate.sketch import DIGEST, HERE, NOW, a_signature, an_image, decided, some_facts
from trust.digest import Digest
from trust.errors import TamperedError, UnreachableError, UnsignedError
from trust.gate.facts import Facts
from trust.gate.found import LeftOut, Place, Problem
from trust.gate.judge import Decision, Outcome, judge
from trust.gate.policy import Policy
from trust.gate.report import Report, junit, markdown, objects, sarif, text

OTHER = Digest.of(b"other")
FOLDER = "/home/runner/work/app"
NO_RULE = "no rule of dockseal-policy.toml matches docker.io/library/nginx: what no rule allows is refused"
EXCUSED = '[[rule.exception]]\nimage = "ghcr.io/acme/*"\nreason = "OPS-1"\nuntil = 2026-12-31\n'


def a_report(*decisions: Decision, problems: tuple[Problem, ...] = (), left_out: tuple[LeftOut, ...] = ()) -> Report:
    return Report(decisions, problems, left_out, "dockseal-policy.toml", NOW, FOLDER, "1.2.3")


def everything() -> Report:
    """One image of each outcome, an input that cannot be read, and one that is left out."""
    web, again = Place("k8s/web.yaml", 12, 16, (1, 2)), Place("./k8s/a b.yaml", 3, 9)
    return a_report(
        decided(name="ghcr.io/acme/good:v1", places=(web,)),
        decided(
            "", some_facts(registry_digest=OTHER), name="ghcr.io/acme/bad:v1", places=(web, again), context="app web"
        ),
        decided('mode = "warn"', some_facts(registry_digest=OTHER), name="ghcr.io/acme/soon:v1", places=(again,)),
        decided(EXCUSED, Facts(error=UnsignedError("not signed")), name="ghcr.io/acme/old:v1", places=(web,)),
        decided('mode = "off"', name="ghcr.io/acme/off:v1", places=(web,)),
        decided("", Facts(error=UnreachableError("no answer")), name="ghcr.io/acme/down:v1", places=(Place("-", 4),)),
        judge(an_image("nginx:1", Place("")), Facts(), Policy(), HERE),
        problems=(
            Problem(Place("Dockerfile", 7, 1), "FROM $X has no value", "pass --build-arg"),
            Problem(Place("-"), "x"),
        ),
        left_out=(LeftOut(Place("Dockerfile", 1), "scratch is no image"),),
    )


# Text


def test_text_for_people() -> None:
    assert (
        text.render(everything())
        == f"""\
trusted         ghcr.io/acme/good:v1       sha256:{DIGEST.short}  until 2026-12-08  ci
mismatch        ghcr.io/acme/bad:v1
  at            k8s/web.yaml:12:16 (app web)
  at            ./k8s/a b.yaml:3:9 (app web)
  rule          ** (dockseal-policy.toml:1)
  signed        {DIGEST} by ci
  Error:        mismatch: ghcr.io/acme/bad:v1 is signed to mean {DIGEST}: the registry's tag points at {OTHER}
  Hint:         do not run the tag: it was moved without signing; deploy the signed digest, or sign the new one
mismatch        ghcr.io/acme/soon:v1 (warned)
  at            ./k8s/a b.yaml:3:9
  rule          ** (dockseal-policy.toml:1)
  signed        {DIGEST} by ci
  Error:        mismatch: ghcr.io/acme/soon:v1 is signed to mean {DIGEST}: the registry's tag points at {OTHER}
  Hint:         do not run the tag: it was moved without signing; deploy the signed digest, or sign the new one
unsigned        ghcr.io/acme/old:v1 (excused)
  at            k8s/web.yaml:12:16
  rule          ** (dockseal-policy.toml:1)
  Error:        unsigned: not signed
  Hint:         `dockseal sign` signs what the registry has, once you know that it is what you mean
  Note:         excused until 2026-12-31: OPS-1
off             ghcr.io/acme/off:v1: not looked at
  at            k8s/web.yaml:12:16
  rule          ** (dockseal-policy.toml:1)
unreachable     ghcr.io/acme/down:v1
  at            -:4
  rule          ** (dockseal-policy.toml:1)
  Error:        unreachable: no answer
  Hint:         nothing was judged: check the name, `dockseal login` and the network, then run the gate again
disallowed      docker.io/library/nginx:1
  at            the command line
  Error:        disallowed: {NO_RULE}
  Hint:         add a [[rule]] for it; `dockseal policy init` drafts one
input           at Dockerfile:7:1: FROM $X has no value
  Hint:         pass --build-arg
input           at -: x
left out        at Dockerfile:1: scratch is no image
summary         7 images: 1 passed, 1 excused, 1 warned, 1 off, 2 refused, 1 unreachable, 2 input(s) that cannot be used
"""
    )


def test_the_summary_of_little() -> None:
    assert a_report().summary == "0 images: nothing to judge"
    assert a_report(decided()).summary == "1 image: 1 passed"


# JSON


def test_json_for_programs() -> None:
    body = json.loads(objects.render(everything()))
    assert (body["schema"], body["exitCode"], body["at"]) == (1, 1, "2026-11-24T09:00:00Z")
    assert body["summary"] == {"passed": 1, "excused": 1, "warned": 1, "off": 1, "refused": 2, "unreachable": 1}
    good, bad, _, old, off, *_ = body["images"]
    assert good == {
        "reference": "ghcr.io/acme/good:v1",
        "repository": "ghcr.io/acme/good",
        "tag": "v1",
        "outcome": "passed",
        "verdict": "trusted",
        "digest": str(DIGEST),
        "signers": ["ci"],
        "expires": "2026-12-08T09:00:00Z",
        "root": str(Digest.of(b"root")),
        "state": 12,
        "rule": {"pattern": "**", "line": 1, "mode": "enforce"},
        "exception": None,
        "findings": [],
        "notes": [],
        "places": [{"path": "k8s/web.yaml", "line": 12, "column": 16, "context": None, "text": "ghcr.io/acme/good:v1"}],
    }
    assert bad["findings"][0]["verdict"] == "mismatch"
    assert old["exception"] == {"reason": "OPS-1", "until": "2026-12-31"}
    assert (off["verdict"], off["outcome"]) == ("off", "off")
    assert body["problems"][0] == {
        "path": "Dockerfile",
        "line": 7,
        "column": 1,
        "message": "FROM $X has no value",
        "hint": "pass --build-arg",
    }
    assert body["leftOut"] == [{"path": "Dockerfile", "line": 1, "column": None, "reason": "scratch is no image"}]


# SARIF


def sarif_of(report: Report) -> dict[str, Any]:
    log = json.loads(sarif.render(report))
    errors = list(Draft7Validator(SARIF).iter_errors(log))
    assert errors == []
    (run,) = log["runs"]
    assert isinstance(run, dict)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    return run


def places(run: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    found = []
    for result in run["results"]:
        physical = result["locations"][0]["physicalLocation"]
        row = (result["ruleId"], result["level"], physical["artifactLocation"]["uri"], physical["region"]["startLine"])
        found.append(row)
    return found


def test_sarif_has_a_result_for_each_reason_and_place() -> None:
    run = sarif_of(everything())
    assert places(run) == [
        ("dockseal/mismatch", "error", "k8s/web.yaml", 12),
        ("dockseal/mismatch", "error", "k8s/a%20b.yaml", 3),
        ("dockseal/mismatch", "warning", "k8s/a%20b.yaml", 3),
        ("dockseal/unsigned", "note", "k8s/web.yaml", 12),
        ("dockseal/unreachable", "error", "dockseal-policy.toml", 1),
        ("dockseal/disallowed", "error", "dockseal-policy.toml", 1),
        ("dockseal/input", "error", "Dockerfile", 7),
        ("dockseal/input", "error", "dockseal-policy.toml", 1),
    ]
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 12, "startColumn": 16}
    assert run["results"][3]["suppressions"] == [{"kind": "external", "justification": "OPS-1"}]
    assert run["tool"]["driver"]["semanticVersion"] == "1.2.3"
    assert run["invocations"] == [{"executionSuccessful": False, "exitCode": 1}]


def test_sarif_of_a_good_run_has_no_result() -> None:
    run = sarif_of(a_report(decided()))
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 0}]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("k8s/x.yaml", "k8s/x.yaml"),
        ("./x.yaml", "x.yaml"),
        (f"{FOLDER}/k8s/x.yaml", "k8s/x.yaml"),
        ("k8s/../x.yaml", "x.yaml"),
        ("../other/x.yaml", "file:///home/runner/work/other/x.yaml"),
        ("/etc/x.yaml", "file:///etc/x.yaml"),
        ("é %#?.yaml", "%C3%A9%20%25%23%3F.yaml"),
    ],
)
def test_sarif_paths_begin_where_the_run_does(path: str, uri: str) -> None:
    run = sarif_of(a_report(decided("", some_facts(registry_digest=OTHER), places=(Place(path, 1, 1),))))
    artifact = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact["uri"] == uri
    assert ("uriBaseId" in artifact) is not uri.startswith("file:")


def test_sarif_fingerprints_outlive_edits_and_tell_results_apart() -> None:
    def prints(*lines: int, name: str = "ghcr.io/acme/app:v1") -> list[str]:
        spots = tuple(Place("k8s.yaml", line, 1) for line in lines)
        run = sarif_of(a_report(decided("", some_facts(registry_digest=OTHER), name=name, places=spots)))
        return [result["partialFingerprints"]["docksealImage/v1"] for result in run["results"]]

    assert prints(3, 9) == prints(4, 20)
    assert len(set(prints(3, 9))) == 2
    assert prints(3) != prints(3, name="ghcr.io/acme/web:v1")
    assert prints(3) == prints(3, name=f"ghcr.io/acme/app:v1@{DIGEST}")


# JUnit


def test_junit_for_gitlab() -> None:
    body = ET.fromstring(junit.render(everything()))  # noqa: S314 - our own bytes
    (suite,) = body
    assert body.tag == "testsuites"
    assert suite.attrib == {"name": "dockseal gate", "tests": "10", "failures": "3", "errors": "3", "skipped": "2"}
    cases = [(case.get("classname"), case.get("name"), [part.tag for part in case]) for case in suite]
    assert cases == [
        ("k8s/web.yaml", "ghcr.io/acme/good:v1", []),
        ("k8s/web.yaml", "ghcr.io/acme/bad:v1 (app web)", ["failure"]),
        ("./k8s/a b.yaml", "ghcr.io/acme/bad:v1 (app web)", ["failure"]),
        ("./k8s/a b.yaml", "ghcr.io/acme/soon:v1", ["system-out"]),
        ("k8s/web.yaml", "ghcr.io/acme/old:v1", ["skipped"]),
        ("k8s/web.yaml", "ghcr.io/acme/off:v1", ["skipped"]),
        ("-", "ghcr.io/acme/down:v1", ["error"]),
        ("command line", "docker.io/library/nginx:1", ["failure"]),
        ("Dockerfile", "input Dockerfile:7:1", ["error"]),
        ("-", "input -", ["error"]),
    ]
    failure = suite[1][0]
    assert failure.get("type") == "mismatch"
    assert "Hint: do not run the tag" in (failure.text or "")
    assert (suite[1].get("file"), suite[1].get("line")) == ("k8s/web.yaml", "12")
    assert suite[6].get("file") is None


def test_junit_tells_two_places_in_one_file_apart() -> None:
    spots = (Place("k8s.yaml", 1), Place("k8s.yaml", 2))
    suite = ET.fromstring(junit.render(a_report(decided(places=spots))))[0]  # noqa: S314 - our own bytes
    assert [case.get("name") for case in suite] == ["ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1 #2"]


# Markdown


def test_markdown_for_a_jobs_summary() -> None:
    lines = html.unescape(markdown.render(everything())).splitlines()
    assert lines[0] == "### dockseal gate: the release stops here"
    assert "7 images: 1 passed" in lines[2]
    verdicts = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert verdicts == [
        *("Verdict", "---", "mismatch: refused", "disallowed: refused", "unreachable: unreachable"),
        *("mismatch: warned", "unsigned: excused", "off", "trusted", "Input", "---", "Dockerfile:7:1", "-"),
    ]
    assert "k8s/web.yaml:12:16<br>./k8s/a b.yaml:3:9" in lines[6]
    assert "may go on" in markdown.render(a_report(decided()))
    assert "|" not in markdown.render(a_report())


# What others have named

HOSTILE = (
    "::error::x\n::set-output name=a::b\r##[error]x\x1b[2J\x1b]8;;http://x\x07\x00\x9b1m\u202e\u2028"
    "<script>alert(1)</script>]]><!--&amp;\"' | a | `b` [c](http://d) ![e](f) @me #1 **g** __h__ www.i.com\n\n# j\n"
    "\ud800\ufffe"
)


def hostile(words: str = HOSTILE) -> Report:
    facts = Facts(error=TamperedError(words, hint=words))
    place = Place(words, 1, 1)
    return a_report(
        decided("", facts, places=(place,), context=words),
        decided('mode = "warn"', facts, places=(place,), context=words),
        decided("", some_facts(a_signature((words, "b"))), places=(place,), context=words),
        replace(decided("", facts, places=(place,)), outcome=Outcome.EXCUSED, notes=(words,)),
        problems=(Problem(place, words, words),),
        left_out=(LeftOut(place, words),),
    )


STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def test_text_is_steered_by_nobody() -> None:
    lines = text.render(hostile()).splitlines()
    assert len(lines) == 21
    assert not any(STEERING.search(line) for line in lines)
    assert not any(re.match(r"\s*(::|##\[)", line) or "##[" in line for line in lines)


def test_json_is_one_object_of_ascii() -> None:
    body = objects.render(hostile())
    assert body.isascii()
    assert not STEERING.search(body)
    assert json.loads(body)["images"][0]["places"][0]["context"].startswith("::error::x\n")


def test_sarif_stays_what_it_is() -> None:
    run = sarif_of(hostile())
    assert sarif.render(hostile()).isascii()
    assert len(run["results"]) == 4
    assert all("\n" not in result["message"]["text"] for result in run["results"])
    assert not any("](" in result["message"]["text"] for result in run["results"])


def test_junit_stays_well_formed() -> None:
    body = junit.render(hostile())
    suite = ET.fromstring(body.encode())[0]  # noqa: S314 - our own bytes
    assert {part.tag for case in suite for part in case} <= {"failure", "error", "skipped", "system-out"}
    assert len(suite) == 5
    assert not STEERING.search(body)


def test_markdown_makes_no_link_html_or_row() -> None:
    body = markdown.render(hostile())
    lines = body.splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + 4 + 2 + 1
    assert all(line.count(" | ") == lines[4].count(" | ") for line in lines[4:10])
    text_of_others = body.replace("<br>", "").replace("### dockseal", "")
    assert not re.search(r"[<>`@*_\[\]!\\~]|://|www\.|&(?!#\d+;)|#(?!\d+;)", text_of_others)


@given(st.text(max_size=80))
def test_no_text_breaks_out(words: str) -> None:
    report = hostile(words)
    assert len(text.render(report).splitlines()) == 21 - (not words)  # a problem without hint has no such line
    json.loads(objects.render(report))
    sarif_of(report)
    ET.fromstring(junit.render(report).encode())  # noqa: S314 - our own bytes
    markdown.render(report).encode()
