"""dockseal policy: drafting, checking, testing and explaining."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

POLICY = """\
[[rule]]
pattern = "ghcr.io/acme/*"
signers = { threshold = 2, of = ["ci", "release", "security"] }
tags = ["v*"]
max_age = "90d"
max_metadata_age = "7d"
min_version = 5
platforms = ["linux/amd64"]
annotations = { stage = "prod" }

  [[rule.exception]]
  image = "ghcr.io/acme/old:v0*"
  reason = "OPS-1"
  until = 2999-12-31

[[rule]]
pattern = "ghcr.io/**"
signers = { all = ["ci"] }
root = { keys = ["abababababababababababababababababababababababababababababababab"] }
no_latest = true
require_digest = true

[[rule]]
pattern = "localhost:5000/**"
mode = "off"
"""
GOOD = 'image = "ghcr.io/acme/app:v1"\nplatforms = ["linux/amd64"]\nannotations = { stage = "prod" }\n'
CASES = f"""\
[[case]]
name = "two of three"
{GOOD}
signers = ["ci", "release"]
expect = "trusted"

[[case]]
{GOOD}
signers = {{ ci = "one key", release = "one key" }}
expect = "unauthorized"

[[case]]
{GOOD}
signers = ["ci", "release"]
signed_age = "91d"
expect = "expired"

[[case]]
{GOOD}
signers = ["ci", "release"]
metadata_age = "8d"
expect = "expired"

[[case]]
{GOOD}
signers = ["ci", "release"]
state = 4
expect = "rollback"

[[case]]
image = "ghcr.io/acme/app:latest"
signers = ["ci", "release"]
expect = "disallowed"

[[case]]
image = "ghcr.io/acme/old:v01"
expect = "unsigned"
outcome = "excused"

[[case]]
image = "ghcr.io/acme/app:v1"
verdict = "tampered"
expect = "tampered"
outcome = "refused"

[[case]]
image = "ghcr.io/other/deep/app@sha256:{"ab" * 32}"
signers = ["ci"]
expect = "trusted"

[[case]]
image = "localhost:5000/app:v1"
expect = "off"

[[case]]
image = "nginx:1"
verdict = "trusted"
signers = ["ci"]
expect = "disallowed"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "dockseal-policy.toml").write_text(POLICY)
    return folder


def test_check_a_good_policy(dockseal: Dockseal, project: Path) -> None:
    assert dockseal("policy", "check").out == "dockseal-policy.toml: 3 rule(s), no mistake\n"
    assert dockseal("policy", "check", "-o", "json").json == {
        "schema": 1,
        "policy": "dockseal-policy.toml",
        "mistakes": [],
        "over": [],
    }
    (project / "empty.toml").write_text("")
    assert "refuses every image" in dockseal("policy", "check", "empty.toml").err


def test_check_names_every_mistake_and_what_is_over(dockseal: Dockseal, project: Path) -> None:
    (project / "dockseal-policy.toml").write_text(POLICY.replace("2999", "2020"))
    told = dockseal("policy", "check")
    assert told.lines[0] == "dockseal-policy.toml:11: this exception ended on 2020-12-31: OPS-1"
    (project / "dockseal-policy.toml").write_text("a = 1\n[[rule]]\nb = 2\n")
    told = dockseal("policy", "check", code=2)
    assert [line.partition(" ")[0] for line in told.lines] == [f"dockseal-policy.toml:{line}:" for line in (1, 2, 2, 3)]
    assert [item["line"] for item in dockseal("policy", "check", "-o", "json", code=2).json["mistakes"]] == [1, 2, 2, 3]


def test_the_cases_beside_a_policy(dockseal: Dockseal, project: Path) -> None:
    (project / "dockseal-policy.test.toml").write_text(CASES)
    told = dockseal("policy", "test")
    assert told.lines[0] == "ok      two of three: trusted"
    assert told.lines[-1] == "11 case(s), 0 failed"
    body = dockseal("policy", "test", "-o", "json").json
    assert all(case["passed"] for case in body["cases"])


def test_a_case_that_comes_out_otherwise(dockseal: Dockseal, project: Path) -> None:
    (project / "my.toml").write_text(
        f'[[case]]\n{GOOD}signers = ["ci"]\nexpect = "trusted"\n[[case]]\nimage = "nginx"\nexpect = "x"\n'
    )
    told = dockseal("policy", "test", "--cases", "my.toml", code=2)
    assert "my.toml:8: image names neither tag nor digest" in told.err
    assert "my.toml:9: expect is 'x'" in told.err
    (project / "my.toml").write_text(f'[[case]]\n{GOOD}signers = ["ci"]\nexpect = "trusted"\noutcome = "passed"\n')
    told = dockseal("policy", "test", "--cases", "my.toml", code=1)
    assert "FAILED  ghcr.io/acme/app:v1 (my.toml:1)" in told.out
    assert "expected trusted, passed, got unauthorized, refused" in told.out
    assert told.lines[-1] == "1 case(s), 1 failed"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no [[case]]"),
        ("[[case]]\n", "my.toml:1: [[case]] has no 'image'"),
        ("x = 1\n", "my.toml:1: unknown name 'x'"),
        ("case = ", "this is no TOML"),
        ('[[case]]\nimage = "oci:x:v1"\nexpect = "trusted"\n', "image is a folder"),
        ('[[case]]\nimage = "Bad:v1"\nexpect = "trusted"\n', "lowercase"),
        ('[[case]]\nimage = "a:v1"\nexpect = "trusted"\nannotations = 1\n', "annotations is no table"),
        ('[[case]]\nimage = "a:v1"\nexpect = "trusted"\nverdict = "unauthorized"\n', "verdict is 'unauthorized'"),
    ],
)
def test_cases_that_cannot_be_run(text: str, words: str, dockseal: Dockseal, project: Path) -> None:
    (project / "my.toml").write_text(text)
    assert words in dockseal("policy", "test", "--cases", "my.toml", code=2).err


def test_there_must_be_cases(dockseal: Dockseal) -> None:
    assert "dockseal-policy.test.toml cannot be read" in dockseal("policy", "test", code=2).err


def test_explain(dockseal: Dockseal) -> None:
    told = dockseal("policy", "explain", "ghcr.io/acme/app:v1")
    assert (
        told.out
        == """\
ghcr.io/acme/app: dockseal-policy.toml:1
  pattern           ghcr.io/acme/*
  mode              enforce
  signers           2 of ci, release, security
  root              the pin of config.toml
  tags              v*
  max_age           90 days, 0:00:00
  max_metadata_age  7 days, 0:00:00
  min_version       5
  platforms         linux/amd64
  annotations       stage = prod
  exceptions        ghcr.io/acme/old:v0* until 2999-12-31: OPS-1
  goes before       ghcr.io/** (line 16)
"""
    )
    told = dockseal("policy", "explain", "ghcr.io/deep/er/app")
    assert "the tag latest is refused" in told.out
    assert "1 of abab" in told.out
    assert "no rule of dockseal-policy.toml matches" in dockseal("policy", "explain", "nginx", code=1).out
    body = dockseal("policy", "explain", "-o", "json", "localhost:5000/a/b").json
    assert body["repository"] == "localhost:5000/a/b"
    assert body["rules"] == [
        {"pattern": "localhost:5000/**", "line": 23, "asks": {"mode": "off", "root": "the pin of config.toml"}}
    ]


def test_the_schema_for_editors(dockseal: Dockseal) -> None:
    assert json.loads(dockseal("policy", "schema").out)["title"] == "dockseal policy"


def test_init_drafts_what_is_in_use_and_the_draft_passes(signed: Signed, dockseal: Dockseal, project: Path) -> None:
    store = ("--store", f"{NAME}=oci:{signed.folder}")
    (project / "dockseal-policy.toml").unlink()
    (project / "images").write_text(f"{NAME}:v1\nregistry.example/other:v1\n")
    told = dockseal("policy", "init", "--offline", *store, "--images-from", "images")
    assert "2 rule(s) drafted" in told.out
    text = (project / "dockseal-policy.toml").read_text()
    assert f'[[rule]]\npattern = "{NAME}"\nsigners = {{ all = ["targets"] }}\n' in text
    assert '[[rule]]\npattern = "registry.example/other"\nsigners = "any"\nmode = "warn"' in text
    dockseal("policy", "check")
    dockseal("gate", "--offline", *store, f"{NAME}:v1")
    assert "is there already" in dockseal("policy", "init", "x", code=2).err
    shown = dockseal("policy", "init", "--policy", "-", "--offline", *store, f"{NAME}:v1", f"{NAME}:v9", "Bad")
    assert "1 of the 2 images in use are not signed" in shown.out
    assert "Warning: " in shown.err
