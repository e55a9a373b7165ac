"""Digests written back: what changes, and that nothing else does."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.gate.corpora import digest_of
from trust.digest import Digest
from trust.errors import UsageError
from trust.gate.found import Found, Place
from trust.gate.pin import pinned, unwritable
from trust.gate.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable

NEW, OLD = Digest.of(b"new"), Digest.of(b"old")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app:v1", f"app:v1@{NEW}"),
        ("localhost:5000/app", f"localhost:5000/app:latest@{NEW}"),
        ("app", f"app:latest@{NEW}"),
        (f"app:v1@{OLD}", f"app:v1@{NEW}"),
        (f"app@{OLD}", f"app@{NEW}"),
        (f"app:v1@{NEW}", f"app:v1@{NEW}"),
        (f"app@{NEW}", f"app@{NEW}"),
    ],
)
def test_a_reference_is_pinned(text: str, expected: str) -> None:
    data = f"é {text} ü".encode()
    assert pinned(data, {(3, 3 + len(text)): NEW}) == f"é {expected} ü".encode()


def test_many_are_pinned_at_once_whatever_their_order() -> None:
    assert pinned(b"a b c", {(4, 5): NEW, (0, 1): OLD}) == f"a:latest@{OLD} b c:latest@{NEW}".encode()
    assert pinned(b"a b c", {}) == b"a b c"


@pytest.mark.parametrize(
    ("data", "spans"),
    [(b"a b", [(0, 2), (1, 3)]), (b"a B", [(2, 3)]), (b"a \xff", [(2, 3)]), (b"a", [(5, 6)]), (b"a", [(0, 0)])],
)
def test_a_file_that_has_changed_is_left_alone(data: bytes, spans: list[tuple[int, int]]) -> None:
    with pytest.raises(UsageError) as raised:
        pinned(data, dict.fromkeys(spans, NEW))
    assert raised.value.hint == "the file has changed since it was read: run again"


def test_what_no_digest_can_be_written_for_is_told() -> None:
    place = Place("compose.yaml", 3, 5)
    found = [
        Found("app:v1", place),
        Found("app:v1", Place("x", 1, 1, (0, 6))),
        Found("app:v1", Place("")),
        Found("app:v1", Place("save.tar")),
        Found(f"app@{NEW}", place),
    ]
    (problem,) = unwritable(found)
    assert problem.place == place
    assert problem.message == "cannot be written: app:v1 is made of variables or spread over lines"
    assert problem.hint == "pin it at compose.yaml:3:5"


# Any YAML


REFERENCES = st.from_regex(
    r"[a-z]{1,6}(:[1-9][0-9]{3}/[a-z]{1,5}|/[a-z]{1,5})?(:v[0-9]{1,2})?(@sha256:[0-9a-f]{64})?", fullmatch=True
)
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=8)
MARK = b"\xef\xbb\xbf"


@st.composite
def manifests(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Manifests in a mix of styles: flow and block, quotes, comments, anchors, line ends, odd indentation."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    comment = st.sampled_from(["", "  # image: no:1", " # é🚢"])
    lines = []
    anchors = 0
    for number in range(draw(st.integers(1, 3))):
        lines += [
            "---",
            "apiVersion: v1",
            f"kind:  Pod{draw(comment)}",
            f"metadata: {{name: {json.dumps(draw(WORDS))}}}",
        ]
        lines += [draw(st.sampled_from(["", "# c"])), "spec:", "  containers:"]
        pad = " " * draw(st.integers(2, 5))
        for _ in range(draw(st.integers(1, 3))):
            quote = draw(st.sampled_from(["", "'", '"']))
            image = f"{quote}{draw(REFERENCES)}{quote}"
            style = draw(st.sampled_from(["block", "flow", "anchor", "alias", "tag", "json", "below"]))
            if style == "alias" and not anchors:
                style = "block"
            name = json.dumps(draw(WORDS))
            if style == "anchor":
                anchors += 1
            lines += {
                "block": [f"{pad}- name: {name}{draw(comment)}", f"{pad}  image:  {image}{draw(comment)}"],
                "flow": [f"{pad}- {{ image: {image} , name: {name}}}{draw(comment)}"],
                "anchor": [f"{pad}-   image: &i{anchors}   {image}{draw(comment)}"],
                "alias": [f"{pad}- image: *i{anchors}"],
                "tag": [f"{pad}- image: !!str {image}"],
                "json": [f'{pad}- {{"name":{name},"image":"{image.strip(quote) if quote else image}"}}'],
                "below": [f"{pad}- image:", f"{pad}     {image}{draw(comment)}"],
            }[style]
        anchors = 0  # an anchor ends with its document
        lines += [f"  x{number}: {json.dumps(draw(WORDS))}"]
    data = end.join(lines).encode() + draw(st.sampled_from([b"", end.encode()]))
    mark: bytes = draw(st.sampled_from([b"", MARK]))
    return bytes(mark + data)


def _loaded(data: bytes) -> list[Any]:
    """As another reader sees it: ruamel.yaml's own composer and constructor."""
    return list(YAML(typ="safe", pure=True).load_all(io.StringIO(data.removeprefix(MARK).decode())))


def _with_digests(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _pinned_text(item) if key == "image" and isinstance(item, str) else _with_digests(item)
            for key, item in value.items()
        }
    return [_with_digests(item) for item in value] if isinstance(value, list) else value


def _pinned_text(text: str) -> str:
    return pinned(text.encode(), {(0, len(text)): digest_of(text)}).decode()


@given(manifests())
def test_after_pinning_any_manifest_says_the_same_but_for_its_references(data: bytes) -> None:
    result = scan(["-"], stdin=data)
    assert [problem.message for problem in result.problems] == []
    spans = {found.place.span: digest_of(found.text) for found in result.found if found.place.span}
    after = pinned(data, spans)
    assert _loaded(after) == _with_digests(_loaded(data))
    count = sum(len(document["spec"]["containers"]) for document in _loaded(data))
    assert count >= len(spans)
    again = scan(["-"], stdin=after)
    assert (
        pinned(after, {found.place.span: digest_of(found.text) for found in again.found if found.place.span}) == after
    )
    assert _PINNED.sub(b"", after) == _PINNED.sub(b"", data)


_PINNED = re.compile(rb"(?::latest)?@sha256:[0-9a-f]{64}")
