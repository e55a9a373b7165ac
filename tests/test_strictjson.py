"""Strict JSON: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import TamperedError
from trust.strictjson import MAX_DEPTH, MAX_INTEGER, loads, loads_object

REFUSED = {
    "a name twice": (b'{"a":1,"a":2}', "the name 'a' occurs twice"),
    "a name twice, once escaped": (b'{"a":1,"\\u0061":2}', "the name 'a' occurs twice"),
    "a name twice, deep inside": (b'[{"x":{"a":1,"b":2,"a":3}}]', "the name 'a' occurs twice"),
    "a float": (b"[1.5]", "1.5 is no integer"),
    "an integer with a fraction of zero": (b"1.0", "1.0 is no integer"),
    "an exponent": (b"1e3", "1e3 is no integer"),
    "NaN": (b"[NaN]", "NaN is no integer"),
    "Infinity": (b"[Infinity]", "Infinity is no integer"),
    "minus Infinity": (b"-Infinity", "-Infinity is no integer"),
    "2^53": (b"9007199254740992", "is 2\\^53 or more"),
    "minus 2^53": (b"[-9007199254740992]", "is 2\\^53 or more"),
    "an endless number": (b"1" * 10_000, "is 2\\^53 or more"),
    "a lone surrogate": (b'["\\ud800"]', "surrogate"),
    "a lone surrogate as a name": (b'{"\\udfff":1}', "surrogate"),
    "surrogates in the wrong order": (b'"\\udc00\\ud800"', "surrogate"),
    "nesting beyond the limit": (b"[" * 33 + b"]" * 33, "nested deeper than 32 levels"),
    "objects nested beyond the limit": (b'{"a":' * 33 + b"1" + b"}" * 33, "nested deeper than 32 levels"),
    "endless nesting": (b"[" * 1_000_000, "nested deeper than 32 levels"),
    "nesting behind brackets in a string": (b'["' + b"]" * 99 + b'",' + b"[" * 32 + b"]" * 33, "nested deeper"),
    "nesting behind an escaped quote": (b'["\\"' + b"]" * 99 + b'",' + b"[" * 32 + b"]" * 33, "nested deeper"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not strict JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not strict JSON"),
    "bytes that are no UTF-8": (b'"\xff"', "not strict JSON"),
    "an overlong encoding": (b'"\xc0\x80"', "not strict JSON"),
    "nothing": (b"", "not strict JSON"),
    "two values": (b"{}{}", "not strict JSON"),
    "a comment": (b"{} // no", "not strict JSON"),
    "a trailing comma": (b"[1,]", "not strict JSON"),
    "single quotes": (b"{'a':1}", "not strict JSON"),
    "a control character in a string": (b'"\n"', "not strict JSON"),
    "a leading zero": (b"01", "not strict JSON"),
    "a string without end": (b'"abc', "not strict JSON"),
    "HTML": (b"<html></html>", "not strict JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_differently_elsewhere_is_refused(name: str) -> None:
    data, message = REFUSED[name]
    with pytest.raises(TamperedError, match=message) as caught:
        loads(data, "the file")
    assert caught.value.message.startswith("the file is not strict JSON: ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":[1,-1,true,false,null,"x"]}', {"a": [1, -1, True, False, None, "x"]}),
        (b" 0 ", 0),
        (b"9007199254740991", MAX_INTEGER),
        (b"-9007199254740991", -MAX_INTEGER),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ('"ä\\u00e4"'.encode(), "ää"),
        (b'{"a":{"a":1},"b":{"a":1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b"[" + b"{}," * 500 + b"[]]", [{}] * 500 + [[]]),
        (b'["' + b"[" * 1000 + b'"]', ["[" * 1000]),
        (b'["\\\\",' + b"[]," * 40 + b"1]", ["\\", *[[] for _ in range(40)], 1]),
    ],
)
def test_strict_json_is_read(data: bytes, value: object) -> None:
    assert loads(data, "the file") == value


def test_the_deepest_nesting_allowed_is_read() -> None:
    value: object = loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "the file")
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(value, list)
        (value,) = value
    assert value == []


def test_an_object_may_be_asked_for() -> None:
    assert loads_object(b'{"a":1}', "the file") == {"a": 1}
    for data, kind in ((b"[]", "list"), (b"1", "int"), (b"null", "NoneType"), (b'"x"', "str")):
        with pytest.raises(TamperedError, match=f"the file is not a JSON object: got {kind}"):
            loads_object(data, "the file")


def test_a_name_twice_among_very_many_is_found_quickly() -> None:
    names = b",".join(b'"%d":0' % number for number in range(300_000))
    start = time.monotonic()
    with pytest.raises(TamperedError, match="the name '299999' occurs twice"):
        loads(b"{" + names + b',"299999":0}', "the file")
    assert time.monotonic() - start < 20


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_every_value_comes_back(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode(), "the file") == value


@given(st.floats())
def test_no_float_comes_through(value: float) -> None:
    with pytest.raises(TamperedError):
        loads(json.dumps([value]).encode(), "the file")


@given(st.binary() | st.text(alphabet='{}[]":,\\u0123456789abcdefE.- \n').map(str.encode))
def test_only_tampered_leaves_it(data: bytes) -> None:
    with suppress(TamperedError):
        loads(data, "the file")
