"""Damaged files of every kind: nothing but findings comes of them, and what is found is really there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gate.corpora import CORPUS, digest_of
from trust.gate.pin import pinned
from trust.gate.scan import ScanOptions
from trust.gate.scan.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.gate.found import Scan

SEEDS = sorted(path for path in CORPUS.rglob("*") if path.is_file())
OPTIONS = ScanOptions(
    crd_paths=("spec.*.image", "Kafka:spec.sidecars.metrics.image"),
    env={"A": "b", "REGISTRY": "r"},
    build_args={"GO_VERSION": "1"},
    profiles=("*",),
)
SIGNS = [
    "${",
    "}",
    "$",
    '"',
    "'",
    "{",
    "[",
    "]",
    ":",
    ",",
    "-",
    "&a",
    "*a",
    "!!str",
    "!x",
    "<<:",
    "|",
    ">",
    "\\",
    "\\U",
    "\\x",
    "%",
    "---",
    "...",
    "?",
    "#",
    "@",
    "=",
    "\x00",
    "\r",
    "\x85",
    "\u2028",
    "\ufeff",
]
WORDS = [
    "<<EOF",
    "--from=",
    "--mount=",
    "FROM",
    "ARG",
    "image:",
    "containers:",
    "extends:",
    "include:",
    "!reset",
    "services:",
    "jobs:",
    "on:",
    "uses:",
]
TOKENS = st.sampled_from([*SIGNS, *WORDS, "\n", "\t", " ", "\n  ", ": ", "- "])


def _read(path: Path, data: bytes, *, named: bool) -> Scan:
    reading = Reading(OPTIONS)
    reading._read_data(str(path), path, data, named=named)
    reading.finish()
    return reading.collector.result()


@st.composite
def damaged(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[Path, bytes]:
    """A file of the corpus, cut and stuffed in a few places."""
    path = draw(st.sampled_from(SEEDS))
    data = bytearray(path.read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 12))
        data[at : at + cut] = draw(TOKENS.map(str.encode) | st.binary(max_size=3))
    return Path("/nowhere") / path.relative_to(CORPUS), bytes(data)


@settings(max_examples=150)
@given(damaged(), st.booleans())
def test_a_damaged_file_gives_problems_and_never_another_error(case: tuple[Path, bytes], named: bool) -> None:
    path, data = case
    before = _read(path, data, named=named)
    spans = {}
    for found in before.found:
        if found.place.span is not None:
            assert data[slice(*found.place.span)].decode() == found.text
            spans[found.place.span] = digest_of(found.text)
    after = _read(path, pinned(data, spans), named=named)
    assert [_identity(found) for found in after.found] == [_identity(found) for found in before.found]


def _identity(found: Any) -> tuple[str, int, str]:
    return found.text.partition("@")[0].removesuffix(":latest"), found.place.line, found.context


@given(st.binary(max_size=200), st.sampled_from(["Dockerfile", "compose.yaml", ".gitlab-ci.yml", "x.json", "list"]))
def test_no_bytes_make_it_stumble(data: bytes, name: str) -> None:
    result = _read(Path("/nowhere") / name, data, named=True)
    assert result.found or result.problems
