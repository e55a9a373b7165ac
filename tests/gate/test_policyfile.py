"""Policy files: what they may say, and every mistake with its line."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from trust.digest import Digest
from trust.errors import DocksealError, UsageError
from trust.gate.fields import parse_duration
from trust.gate.policy import EXCUSABLE, Mode, Policy, SignersWanted
from trust.gate.policyfile import load, parse, stale_exceptions
from trust.gate.positions import MAX_BYTES, read_document

ROOT = Path(__file__).parents[2]
SCHEMA = Draft7Validator(json.loads(files("trust.gate").joinpath("policy.schema.json").read_text("utf-8")))
KEY = "ab" * 32
FULL = f"""\
schema = 1

[[rule]]
pattern = "ghcr.io/acme/*"
signers = {{ threshold = 2, of = ["ci", "release", "security"] }}
root = "{Digest.of(b"root")}"
tags = ["v*", "stable"]
no_latest = true
require_digest = true
max_age = "90d"
max_metadata_age = "12h"
min_version = 120
platforms = ["linux/amd64", "linux/arm/v7"]
annotations = {{ commit = "*", "org.example/stage" = "prod" }}
mode = "warn"

  [[rule.exception]]
  image = "ghcr.io/acme/legacy:v1*"
  reason = "no pipeline yet: OPS-12"
  until = 2026-12-31

  [[rule.exception]]
  image = "ghcr.io/acme/old"
  reason = "goes away"
  until = "2026-11-30"
  verdicts = ["unsigned", "mismatch"]

[[rule]]
pattern = "docker.io/**"
signers = {{ all = ["ci"] }}
root = {{ keys = ["{KEY}"], threshold = 1 }}

[[rule]]
pattern = "localhost:5000/**"
mode = "off"
"""
IN_YAML = """\
rule:
  - pattern: ghcr.io/acme/*   # comment
    signers: &both {all: [ci, release]}
    min_version: 3
    no_latest: true
    exception:
      - image: ghcr.io/acme/old
        reason: "yes"
        until: 2026-12-31
  - pattern: nginx
    signers: *both
"""


def mistakes(text: str, name: str = "p.toml") -> list[tuple[int, str]]:
    return [(item.line, item.message) for item in parse(text.encode(), name).mistakes]


def test_the_smallest_policy() -> None:
    (rule,) = load(b'[[rule]]\npattern = "ghcr.io/acme/*"\nsigners = "any"\n', "p.toml").rules
    assert (rule.pattern, rule.signers, rule.mode, rule.line) == ("ghcr.io/acme/*", SignersWanted(), Mode.ENFORCE, 1)


def test_everything_that_a_policy_may_say() -> None:
    first, second, third = load(FULL.encode(), "p.toml").rules
    assert first.signers == SignersWanted(of=("ci", "release", "security"), threshold=2)
    assert first.root == Digest.of(b"root")
    assert first.tags == ("v*", "stable")
    assert first.no_latest
    assert first.require_digest
    assert (first.max_age, first.max_metadata_age) == (timedelta(days=90), timedelta(hours=12))
    assert first.min_version == 120
    assert first.platforms == ("linux/amd64", "linux/arm/v7")
    assert first.annotations == {"commit": "*", "org.example/stage": "prod"}
    assert first.mode is Mode.WARN
    legacy, old = first.exceptions
    assert (legacy.repository, legacy.tag, legacy.until) == ("ghcr.io/acme/legacy", "v1*", date(2026, 12, 31))
    assert legacy.verdicts == EXCUSABLE
    assert (old.tag, old.until, old.verdicts) == (None, date(2026, 11, 30), ("unsigned", "mismatch"))
    assert second.signers == SignersWanted(all=("ci",))
    assert (second.root, second.root_keys, second.root_threshold, second.has_root) == (None, (KEY,), 1, True)
    assert (third.mode, third.signers, third.has_root) == (Mode.OFF, None, False)
    assert [rule.line for rule in (first, second, third)] == [3, 28, 33]


def test_a_policy_in_yaml() -> None:
    first, second = load(IN_YAML.encode(), "p.yaml").rules
    assert first.signers == second.signers == SignersWanted(all=("ci", "release"))
    assert (first.min_version, first.no_latest, second.pattern) == (3, True, "docker.io/library/nginx")
    assert first.exceptions[0].reason == "yes"


BAD_EXCEPTION = """\
[[rule]]
pattern = "x"
signers = "any"
[[rule.exception]]
image = "x:a?b"
reason = ""
until = "soon"
verdicts = ["bad"]
"""
MISTAKES = {
    "an unknown name at the top": ("x = 1\n", [(1, "unknown name 'x' in the policy")]),
    "an unknown schema": ("schema = 2\n", [(1, "schema 2 is not known")]),
    "a rule that is no list": ('[rule]\npattern = "x"\n', [(1, "[[rule]] is no list of tables")]),
    "a rule that is no table": ("rule = [1]\n", [(1, "[[rule]] is no table")]),
    "a rule without anything": ("\n[[rule]]\n", [(2, "has no 'pattern'"), (2, "has no 'signers'")]),
    "a mistyped name": (
        '[[rule]]\npattern = "x"\nsigner = "any"\n',
        [(1, "has no 'signers'"), (3, "unknown name 'signer' in [[rule]]: did you mean 'signers'?")],
    ),
    "a dash for an underscore": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nno-latest = true\n',
        [(4, "did you mean 'no_latest'?")],
    ),
    "a pattern with a tag": ('[[rule]]\nsigners = "any"\npattern = "nginx:1"\n', [(3, "has a tag")]),
    "a pattern with capitals": ('[[rule]]\nsigners = "any"\npattern = "Nginx"\n', [(3, "lower-case")]),
    "a pattern of nothing": ('[[rule]]\nsigners = "any"\npattern = " "\n', [(3, "pattern is no text")]),
    "a pattern with a digest": ('[[rule]]\nsigners = "any"\npattern = "a@b"\n', [(3, "no pattern")]),
    "two rules for one pattern": (
        '[[rule]]\npattern = "nginx"\nsigners = "any"\n[[rule]]\npattern = "docker.io/nginx"\nsigners = "any"\n',
        [(5, "has a rule already, in line 1")],
    ),
    "signers that are another word": ('[[rule]]\npattern = "x"\nsigners = "all"\n', [(3, 'expected "any"')]),
    "signers that are a list": ('[[rule]]\npattern = "x"\nsigners = ["ci"]\n', [(3, 'expected "any"')]),
    "signers of nobody": ('[[rule]]\npattern = "x"\nsigners = {}\n', [(3, "either all, or threshold and of")]),
    "no signer at all": ('[[rule]]\npattern = "x"\nsigners = { all = [] }\n', [(3, "all is no list of texts")]),
    "both kinds of signers": (
        '[[rule]]\npattern = "x"\nsigners = { all = ["a"], threshold = 1, of = ["b"] }\n',
        [(3, "either all, or threshold and of")],
    ),
    "a threshold of nothing": (
        '[[rule]]\npattern = "x"\nsigners = { threshold = 0, of = ["a"] }\n',
        [(3, "threshold is no number from 1")],
    ),
    "a threshold that is true": (
        '[[rule]]\npattern = "x"\nsigners = { threshold = true, of = ["a"] }\n',
        [(3, "threshold is no number from 1")],
    ),
    "a threshold without names": (
        '[[rule]]\npattern = "x"\nsigners = { threshold = 1 }\n',
        [(3, "signers has no 'of'")],
    ),
    "a threshold that is too high": (
        '[[rule]]\npattern = "x"\nsigners = { threshold = 3, of = ["a", "b"] }\n',
        [(3, "2 signers cannot meet a threshold of 3")],
    ),
    "one signer named twice": (
        '[[rule]]\npattern = "x"\n[rule.signers]\nthreshold = 2\nof = [\n  "a",\n  "a",\n  "b",\n]\n',
        [(7, "of names 'a' twice")],
    ),
    "a signer that is no name": (
        '[[rule]]\npattern = "x"\nsigners = { all = ["Ci", 3] }\n',
        [(3, "3 is no text"), (3, "'Ci' is not a signer's name")],
    ),
    "a root that is no digest": ('[[rule]]\npattern = "x"\nsigners = "any"\nroot = "x"\n', [(4, "invalid digest")]),
    "a root without keys": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nroot = { threshold = 1 }\n',
        [(4, "root has no 'keys'")],
    ),
    "a root of bad keys": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nroot = { keys = ["x"], threshold = 2 }\n',
        [(4, "1 keys cannot meet a threshold of 2"), (4, "'x' is not a key id")],
    ),
    "a tag with a slash": ('[[rule]]\npattern = "x"\nsigners = "any"\ntags = ["a/b"]\n', [(4, "'a/b' is not a tag")]),
    "a flag that is text": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nno_latest = "yes"\n',
        [(4, "neither true nor false")],
    ),
    "an age without unit": ('[[rule]]\npattern = "x"\nsigners = "any"\nmax_age = "90"\n', [(4, "no length of time")]),
    "an age that is a number": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nmax_age = 90\n',
        [(4, "max_age is no text")],
    ),
    "a platform without architecture": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nplatforms = ["linux"]\n',
        [(4, "'linux' is not OS/ARCH")],
    ),
    "an annotation that is a number": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nannotations = { a = 1 }\n',
        [(4, "the annotation 'a' is no text")],
    ),
    "annotations that are a list": (
        '[[rule]]\npattern = "x"\nsigners = "any"\nannotations = ["a"]\n',
        [(4, "annotations is no table")],
    ),
    "an unknown mode": ('[[rule]]\npattern = "x"\nsigners = "any"\nmode = "on"\n', [(4, "'on' is not known")]),
    "an exception without anything": (
        '[[rule]]\npattern = "x"\nsigners = "any"\n[[rule.exception]]\n',
        [(4, "has no 'image'"), (4, "has no 'reason'"), (4, "has no 'until'")],
    ),
    "an exception that cannot be": (
        BAD_EXCEPTION,
        [(5, "no tag that could match"), (6, "reason is no text"), (7, "until is no date"), (8, "'bad' is no verdict")],
    ),
    "an exception until a moment": (
        BAD_EXCEPTION.replace('"soon"', "2026-12-31T00:00:00Z").replace("a?b", "a").replace('""', '"r"'),
        [(7, "until is no date"), (8, "'bad' is no verdict")],
    ),
    "text that is no TOML": ("[[rule]]\npattern = \n", [(2, "this is no TOML: Invalid value")]),
    "a name twice": ("schema = 1\nschema = 1\n", [(2, "this is no TOML: Cannot overwrite a value")]),
    "a file that ends too early": ('[[rule]]\nsigners = "any', [(2, "this is no TOML")]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_named_with_its_line(name: str) -> None:
    text, expected = MISTAKES[name]
    found = mistakes(text)
    assert [line for line, _ in found] == [line for line, _ in expected], found
    assert all(any(words in message for _, message in found) for _, words in expected), found
    with pytest.raises(UsageError) as caught:
        load(text.encode(), "p.toml")
    assert all(f"p.toml:{line}: " in caught.value.message for line, _ in expected)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_schema_refuses_what_the_reader_refuses(name: str) -> None:
    """But for what no schema can say: that a number is beyond a list's length, or that two patterns are one."""
    beyond = {
        *("two rules for one pattern", "a threshold that is too high", "a pattern with a tag", "a pattern of nothing"),
        *("a pattern with capitals", "a pattern with a digest"),
    }
    text, expected = MISTAKES[name]
    if name not in beyond and "no TOML" not in expected[0][1]:
        assert not SCHEMA.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("text", [FULL, '[[rule]]\npattern = "x"\nsigners = "any"\n', ""])
def test_the_schema_accepts_what_the_reader_accepts(text: str) -> None:
    Draft7Validator.check_schema(SCHEMA.schema)
    body = json.loads(json.dumps(tomllib.loads(text), default=str))
    assert list(SCHEMA.iter_errors(body)) == []
    assert mistakes(text) == []


def test_the_policies_of_the_pages_are_valid() -> None:
    texts = [
        block.partition("```")[0]
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for block in page.read_text("utf-8").split("```toml\n")[1:]
        if "[[rule]]" in block.partition("```")[0]
    ]
    assert len(texts) > 2
    for text in texts:
        assert mistakes(text) == [], text
        assert SCHEMA.is_valid(json.loads(json.dumps(tomllib.loads(text), default=str))), text


def test_yaml_mistakes_have_lines_too() -> None:
    text = "rule:\n  - pattern: nginx\n    signerz:\n      all: [a]\n  - signers:\n      all: [a,\n            a]\n"
    assert mistakes(text, "p.yml") == [
        (2, "[[rule]] has no 'signers'"),
        (3, "unknown name 'signerz' in [[rule]]: did you mean 'signers'?"),
        (5, "[[rule]] has no 'pattern'"),
        (7, "all names 'a' twice"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rule: [", 1, "this is no YAML"),
        ("rule: []\nrule: []", 2, "occurs twice"),
        ("- a", 1, "expected one document"),
        ("a: 1\n---\nb: 1", 3, "expected one document"),
        ("rule: !!python/object:os.system x", 1, "no tags"),
        ("rule: !foo [a]", 1, "no tags"),
        ("a: &a [*a]", 1, "is used inside what it names"),
        ("rule:\n  a: &a [x, x]\n  b: &b [*a, *a]\n" + "".join(f"  {n}: &{n} [*b, *b]\n" for n in "c"), 1, "no list"),
    ],
)
def test_yaml_that_is_refused(text: str, line: int, words: str) -> None:
    found = mistakes(text, "p.yaml")
    assert found[0][0] == line
    assert words in found[0][1]


def test_aliases_do_not_multiply_without_end() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for before, after in ("ab", "bc", "cd", "de", "ef", "fg"):
        text += f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    assert len(mistakes(text, "p.yaml")) == 1
    deep = "rule: " + "[" * 50 + "]" * 50
    assert "too deep" in mistakes(deep, "p.yaml")[0][1]


def test_what_yaml_means_without_quotes() -> None:
    text = "a: 12\nb: '12'\nc: true\nd: on\ne:\nf: 1.5\ng: !!str 12\n"
    expected: dict[str, Any] = {"a": 12, "b": "12", "c": True, "d": "on", "e": None, "f": "1.5", "g": "12"}
    assert read_document(text.encode(), "p.yml").body == expected
    assert read_document(b"", "p.yml").body == {}


@pytest.mark.parametrize("name", ["p.toml", "p.yaml"])
def test_bytes_that_are_no_text(name: str) -> None:
    assert "no UTF-8" in mistakes_of(b"a = 1\n\xff", name)
    with pytest.raises(UsageError, match="expected at most"):
        parse(b" " * (MAX_BYTES + 1), name)


def mistakes_of(data: bytes, name: str) -> str:
    return parse(data, name).mistakes[0].message


def test_an_empty_policy_is_no_mistake_and_allows_nothing() -> None:
    assert load(b"", "p.toml") == Policy(name="p.toml")
    assert load(b"", "p.toml").rule_for("ghcr.io/acme/app") is None


def test_exceptions_that_are_over() -> None:
    loaded = load(FULL.encode(), "p.toml")
    assert [item.line for item in stale_exceptions(loaded, date(2026, 12, 15))] == [22]
    assert stale_exceptions(loaded, date(2026, 11, 30)) == ()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("14d", timedelta(days=14)),
        ("2w", timedelta(weeks=2)),
        ("12h", timedelta(hours=12)),
        ("5m", timedelta(minutes=5)),
    ],
)
def test_lengths_of_time(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "d", "0d", "-1d", "1y", "1 d", "1d ", "999999w", "1d\n", "\u0661d"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        parse_duration(text)


# What TOML may look like

keys = st.from_regex(r"[a-z]{1,3}|\"[ -!#-\[\]-~]{0,4}\"", fullmatch=True)
scalars = st.sampled_from(
    ["1", '"]}"', "'#'", '"""a\n"b" ]\n"""', "'''\n\\'''", "2026-01-01", "true", "1.5", "[]", "{}"]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n " + ", # ]\n ".join(items) + "\n]"),
        st.dictionaries(keys, inner, max_size=2).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + " }"
        ),
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(keys, values), max_size=5))
def test_every_key_is_found_where_it_stands(pairs: list[tuple[str, str]]) -> None:
    text = "# = [\n"
    expected: dict[tuple[str | int, ...], int] = {}
    for number, (key, value) in enumerate(pairs):
        expected[("t", number)] = text.count("\n") + 1
        text += f"[[t]]\n\n{key} = {value} # ]]\n"
        name = key.strip('"') if key.startswith('"') else key
        expected["t", number, name] = expected["t", number] + 2
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a table in a line may hold no line ends
    document = read_document(text.encode(), "p.toml")
    assert {path: document.lines[path] for path in expected} == expected
    assert set(paths(document.body)) == set(document.lines)


def paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, inner in items:
        found += paths(inner, (*path, key))
    return found


@pytest.mark.parametrize("name", ["p.toml", "p.yaml"])
@given(data=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))))
def test_only_our_errors_leave_the_reader(name: str, data: bytes) -> None:
    with suppress(DocksealError):
        parse(data, name)


@given(st.integers(0, len(FULL)), st.sampled_from(["", "x", "[", '"', "\n", "=", "#", "1"]), st.integers(0, 5))
def test_only_our_errors_leave_the_reader_of_a_broken_policy(at: int, more: str, less: int) -> None:
    assert parse((FULL[:at] + more + FULL[at + less :]).encode(), "p.toml").policy is not None
