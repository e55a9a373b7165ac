"""YAML into trees: what the values are, where they stand, and what is refused."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trust.gate.found import Place, Problem
from trust.gate.scan.source import Source
from trust.gate.scan.tree import Array, Node, Scalar, Table
from trust.gate.scan.yaml import MAX_DEPTH, documents

if TYPE_CHECKING:
    from collections.abc import Callable


def trees(text: str | bytes) -> tuple[Node, ...]:
    found = documents(Source.decode("f", text.encode() if isinstance(text, str) else text))
    assert not isinstance(found, Problem), found
    return found


def table(text: str | bytes) -> Table:
    (node,) = trees(text)
    assert isinstance(node, Table)
    return node


def plain(node: Node) -> Any:
    """The tree as Python values; every scalar is a text."""
    if isinstance(node, Table):
        return {key: plain(item) for key, item in node.entries.items()}
    return [plain(item) for item in node.items] if isinstance(node, Array) else node.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on: yes\nv: 1.10\nn: ~", {"on": "yes", "v": "1.10", "n": "~"}),
        ("a: &x [1, 2]\nb: *x", {"a": ["1", "2"], "b": ["1", "2"]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", {"a": {"k": "1", "l": "2"}, "b": {"k": "1", "l": "3"}}),
        ("a: {l: 3, <<: [{k: 1}, {k: 2, m: 4}]}", {"a": {"l": "3", "k": "1", "m": "4"}}),
        ('{\n\t"a": ["\\u00e9", "\\/"]\n}', {"a": ["é", "/"]}),
        ("? a\n: b\n? c", {"a": "b", "c": ""}),
        ("a: &k key\n*k : v", {"a": "key", "key": "v"}),
    ],
)
def test_scalars_stay_texts_and_aliases_are_what_they_name(text: str, expected: object) -> None:
    assert plain(table(text)) == expected


def test_documents_that_are_empty_are_left_out() -> None:
    assert [plain(node) for node in trees("---\n---\na: 1\n---\n# only a comment\n---\n~\n---\nb\n")] == [
        {"a": "1"},
        "b",
    ]
    assert trees("") == ()


def test_an_anchor_ends_with_its_document() -> None:
    found = documents(Source.decode("f", b"a: &x 1\n---\nb: *x\n"))
    assert found == Problem(Place("f", 3, 4), "the alias *x is not defined before it")


@pytest.mark.parametrize(
    ("text", "place", "literal"),
    [
        ("a: nginx:1 # c", "f:1:4", True),
        ('a:   "nginx:1"', "f:1:7", True),
        ("a: 'nginx:1'", "f:1:5", True),
        ("a: &x !!str nginx:1", "f:1:13", True),
        ("{é: 1, a: nginx:1}", "f:1:11", True),
        ("x: y\r\na: nginx:1\r\n", "f:2:4", True),
        ("x: y\ra: nginx:1", "f:2:4", True),
        ("\ufeffa: nginx:1", "f:1:4", True),
        ('a: "ngin\\x78:1"', "f:1:4", False),
        ("a: >-\n  nginx:1", "f:1:4", False),
        ("a: |-\n  nginx:1", "f:1:4", False),
        ('a: "nginx\\\n  :1"', "f:1:4", False),
    ],
)
def test_a_text_knows_where_it_stands(text: str, place: str, literal: bool) -> None:
    data = text.encode()
    scalar = table(data).get("a")
    assert isinstance(scalar, Scalar)
    assert (scalar.value, str(scalar.place), scalar.literal) == ("nginx:1", place, literal)
    span = scalar.place.span
    assert (data[slice(*span)] if span else None) == (b"nginx:1" if literal else None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1 the key 'a' occurs twice in one mapping"),
        ('{"a": 1, a: 2}', "f:1:10 the key 'a' occurs twice in one mapping"),
        ("<<: {}\n<<: {}", "f:2:1 the key '<<' occurs twice in one mapping"),
        (
            "a: &x {k: 1}\nb: {k: 2, <<: *x}",
            "f:2:11 << brings 'k', which stands before it: programs differ in which one counts",
        ),
        ("a: &x {k: 1}\nb: {'<<': *x}", "f:2:5 << is written so that only some programs merge what it names"),
        ("a: &x {k: 1}\nb: {!!str <<: *x}", "f:2:5 << is written so that only some programs merge what it names"),
        ("<<: 1", "f:1:1 << merges something that is no mapping"),
        ("? [a]\n: 1", "f:1:3 a key is a list or mapping: expected a text"),
        ("a: &x [1]\n*x : 1", "f:2:1 a key is a list or mapping: expected a text"),
        ("a: &x [*x]", "f:1:8 the alias *x is used inside what it names"),
        ("a: *x", "f:1:4 the alias *x is not defined before it"),
        ("[" * (MAX_DEPTH + 1), "f:1:101 is nested deeper than 100 levels"),
        (
            "\n".join(["a: &a [" + "[" * 60 + "]" * 60 + "]", "b: " + "[" * 60 + "*a" + "]" * 60]),
            "f:2:63 is nested deeper than 100 levels",
        ),
        ("a: [", "f:1:5 is no YAML: expected the node content, but found '<stream end>'"),
        ("a: b: c", "f:1:5 is no YAML: mapping values are not allowed here"),
        ("a: \x01", "f:1:1 is no YAML: unacceptable character #x0001: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', "f:1:1 is no YAML: Python int too large to convert to C int"),
        ('a: "\\UFFFFFFF"', "f:1:7 is no YAML: expected escape sequence of 8 hexdecimal numbers, but found '\"'"),
        ("a: !x!y z", "f:1:4 is no YAML: found undefined tag handle '!x!'"),
        ("!!binary aW1hZ2U=: b", "f:1:1 a text is in base64 (!!binary), which hides what it says"),
        ("!x a: b", "f:1:1 a key has the tag !x: expected a text"),
        ("a: b # \u2028c: d", "f:1:8 holds the character U+2028: a line may end or begin there for one program alone"),
        ("a: b\n\ufeffc: d", "f:2:1 holds the character U+FEFF: a line may end or begin there for one program alone"),
        ("a: \x85b", "f:1:4 holds the character U+0085: a line may end or begin there for one program alone"),
        ("a: {{ b }}", "f:1:5 a key is a list or mapping: expected a text"),
        ("{{- if x }}\na: b", "f:1:2 a key is a list or mapping: expected a text"),
        ("a: {{- x }}\n  b: c", "f:1:5 a key is a list or mapping: expected a text"),
        ("a: b\n{{ if x }}\nc: d", "f:3:1 is no YAML, but looks like a template of it"),
    ],
)
def test_what_programs_could_read_differently_is_a_problem(text: str, problem: str) -> None:
    found = documents(Source.decode("f", text.encode()))
    assert isinstance(found, Problem)
    assert f"{found.place} {found.message}" == problem
    assert bool(found.hint) == ("{{" in text)


def test_aliases_may_not_multiply() -> None:
    lines = ["a0: &a0 [" + "x," * 10 + "]"]
    lines += [f"a{n}: &a{n} [" + f"*a{n - 1}," * 10 + "]" for n in range(1, 9)]
    found = documents(Source.decode("f", "\n".join(lines).encode()))
    assert isinstance(found, Problem)
    assert found.message == "aliases expand it to more than 1000000 nodes"


SCALARS = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\x85\u2028\u2029"), max_size=30).filter(
    lambda text: all(
        char in "\t\n" or (ord(char) >= 32 and char != "\x7f" and not 0x80 <= ord(char) < 0xA0) for char in text
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(SCALARS.filter(lambda key: key != "<<"), below, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def dumped(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[object, str]:
    """A value and YAML of it in some style, made by ruamel.yaml."""
    value = draw(VALUES)
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = draw(st.sampled_from([None, True, False]))
    yaml.width = draw(st.sampled_from([10, 80, 4000]))
    yaml.allow_unicode = draw(st.booleans())
    yaml.indent = draw(st.sampled_from([2, 4, 7]))
    stream = io.StringIO()
    yaml.dump(value, stream)
    assume(_read_back(stream.getvalue()) == value)
    return value, stream.getvalue()


def _read_back(text: str) -> object:
    """What ruamel.yaml makes of its own writing: it folds keys, and writes [?x] for a text but reads it as a key."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return None


@given(dumped())
def test_trees_hold_what_another_program_wrote(case: tuple[object, str]) -> None:
    value, text = case
    if value not in ("", "null"):
        (node,) = trees(text)
        assert plain(node) == value


@given(st.text(st.sampled_from("ab:-?&*!|>'\"%@`{}[],# \n\t\\<0x"), max_size=60))
def test_no_text_makes_it_stumble(text: str) -> None:
    found = documents(Source.decode("f", text.encode()))
    for item in (found,) if isinstance(found, Problem) else found:
        assert item.place.line >= 1
