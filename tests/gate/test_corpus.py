"""Files shaped like real ones: the images of each, with line and column, and its bytes after pinning."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gate.corpora import CORPUS, PINNED, Case, digest_of, told
from trust.gate.pin import pinned

if TYPE_CHECKING:
    from trust.digest import Digest
    from trust.gate.found import Found, Scan, Span

CASES = Case.all()
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _digests(result: Scan) -> dict[Path, dict[Span, Digest]]:
    """What pinning is told: for each file, the spans of its references."""
    digests: dict[Path, dict[Span, Digest]] = defaultdict(dict)
    for found in result.found:
        if found.place.span is not None:
            digests[Path(found.place.path)][found.place.span] = digest_of(found.text)
    return digests


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _pin_all(case: Case, folder: Path) -> None:
    for path, digests in _digests(case.scan(folder)).items():
        path.write_bytes(pinned(path.read_bytes(), digests))


def test_the_corpus_is_complete() -> None:
    assert sorted(case.name for case in CASES) == sorted(folder.name for folder in CORPUS.iterdir())
    assert len(_files(CORPUS)) >= 40
    assert {folder.name for folder in PINNED.iterdir()} <= {case.name for case in CASES}


@by_name
def test_every_file_gives_the_images_and_problems_expected_of_it(case: Case) -> None:
    assert told(case.scan(), case.folder) == case.expected


@by_name
def test_lines_columns_and_spans_all_lead_to_the_reference(case: Case) -> None:
    for found in case.scan().found:
        data = Path(found.place.path).read_bytes()
        lines = data.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
        rest = lines[found.place.line - 1][found.place.column - 1 :]
        assert rest, found
        if found.place.span is not None:
            assert rest.startswith(found.text)
            assert data[slice(*found.place.span)].decode() == found.text


@by_name
def test_decoys_are_not_found(case: Case) -> None:
    assert [found for found in case.scan().found if "not-" in found.text] == []


@by_name
def test_pinned_files_are_as_they_should_be_to_the_byte(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / case.name
    shutil.copytree(case.folder, folder)
    _pin_all(case, folder)
    assert _files(folder) == _files(case.folder) | _files(PINNED / case.name)


@by_name
def test_pinning_twice_changes_nothing_more_and_finds_the_same_images(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / case.name
    shutil.copytree(case.folder, folder)
    before = case.scan(folder)
    _pin_all(case, folder)
    once, after = _files(folder), case.scan(folder)
    _pin_all(case, folder)
    assert _files(folder) == once
    assert [_unpinned(found) for found in after.found] == [_unpinned(found) for found in before.found]
    assert [problem.message for problem in after.problems] == [problem.message for problem in before.problems]


def _unpinned(found: Found) -> tuple[str, str, int, str]:
    """Without digest and column: a reference that stands before it on a line may have grown."""
    name = found.text.partition("@")[0]
    tagged = name if ":" in name.rpartition("/")[2] or "@" in found.text else f"{name}:latest"
    return tagged, found.place.path, found.place.line, found.context
