"""The corpus: folders of files shaped like real ones, and what is expected of each.

``expected.json`` has, for each folder, the inputs and options of a scan and what must come of it:
``images`` as ``FILE:LINE:COLUMN REFERENCE (context)``, with a ``*`` where no digest can be written;
``problems`` and ``left_out`` as ``FILE:LINE:COLUMN message``. ``pinned/`` has the files after pinning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trust.digest import Digest
from trust.gate.scan import ScanOptions, scan
from trust.oci.reference import Reference

if TYPE_CHECKING:
    from trust.gate.found import Found, LeftOut, Problem, Scan

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
PINNED = HERE / "pinned"
EXPECTED = HERE / "expected.json"


@dataclass(frozen=True, slots=True)
class Case:
    """One folder's scan, and what is expected of it."""

    name: str
    inputs: tuple[str, ...]
    options: dict[str, Any]
    expected: dict[str, list[str]]

    @classmethod
    def all(cls) -> tuple[Self, ...]:
        data = json.loads(EXPECTED.read_text("utf-8"))
        return tuple(
            cls(name, tuple(item["inputs"]), item.get("options", {}), item["expected"]) for name, item in data.items()
        )

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def scan(self, folder: Path | None = None) -> Scan:
        lists: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()
        }
        paths = [(folder or self.folder) / name for name in self.inputs]
        return scan(paths, options=ScanOptions(**lists))


def told(result: Scan, folder: Path) -> dict[str, list[str]]:
    """A scan as ``expected.json`` has it, with paths below the folder."""

    def at(item: Found | Problem | LeftOut) -> str:
        return str(item.place).replace(f"{folder}/", "").replace(str(folder), ".")

    return {
        "images": [
            f"{at(item)} {item.text}{'' if item.place.span else ' *'}{f' ({item.context})' if item.context else ''}"
            for item in result.found
        ],
        "problems": [f"{at(item)} {item.message}" for item in result.problems],
        "left_out": [f"{at(item)} {item.reason}" for item in result.left_out],
    }


def digest_of(text: str) -> Digest:
    """What a test takes a reference to mean: one digest for each name and tag."""
    reference = Reference.parse(text.partition("@")[0])
    return Digest.of(str(reference.with_default_tag()).encode())
