"""constraints.txt holds every package that is needed, fixed by hash, and tells no index address."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "constraints.txt").read_text()
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)(?:\[(?P<extras>[^]]+)\])?==(?P<version>[^ ]+) (?P<rest>(?:.*\\\n)+.*)$", re.MULTILINE
)
PINNED = {match["name"]: match for match in ENTRY.finditer(TEXT)}


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    texts = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    return [Requirement(text) for text in texts]


def with_dependencies(wanted: list[Requirement]) -> list[Requirement]:
    """What is declared, and what that needs here, extras included."""
    found: dict[str, Requirement] = {}
    while wanted:
        requirement = wanted.pop()
        if str(requirement) in found:
            continue
        found[str(requirement)] = requirement
        for text in dependencies_of(requirement.name):
            dependency = Requirement(text)
            extras = requirement.extras or {""}
            if dependency.marker is None or any(dependency.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(dependency)
    return list(found.values())


def dependencies_of(name: str) -> list[str]:
    """As its metadata tells; nothing where it is not installed, as a build tool may not be."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_no_index_address_is_told() -> None:
    assert "://" not in TEXT
    assert "index" not in TEXT


@pytest.mark.parametrize("requirement", with_dependencies(declared()), ids=str)
def test_every_requirement_is_met_by_a_pinned_version(requirement: Requirement) -> None:
    entry = PINNED.get(canonicalize_name(requirement.name))
    assert entry is not None, f"{requirement} is missing: run `make constraints`"
    assert requirement.specifier.contains(entry["version"], prereleases=True)


@pytest.mark.parametrize("requirement", [item for item in with_dependencies(declared()) if item.extras], ids=str)
def test_an_extra_is_pinned_with_its_package_or_pip_would_look_for_a_newer_one(requirement: Requirement) -> None:
    extras = (PINNED[canonicalize_name(requirement.name)]["extras"] or "").split(", ")
    assert requirement.extras <= set(extras)


@pytest.mark.parametrize("name", PINNED)
def test_every_version_has_hashes(name: str) -> None:
    assert "--hash=sha256:" in PINNED[name]["rest"]
