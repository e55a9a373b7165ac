"""doctor: what may go wrong before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal


def test_a_root_key_without_a_backup_ends_in_1_until_it_is_exported(signed: Signed, dockseal: Dockseal) -> None:
    told = dockseal("doctor", code=1)
    assert "the root key root" in told.out
    assert "-> dockseal key export root > root.backup.pem" in told.out
    dockseal("key", "export", "root")
    told = dockseal("doctor")
    assert "was never backed up" not in told.out
    assert "nobody else can read" in told.out


def test_as_json(signed: Signed, dockseal: Dockseal) -> None:
    told = dockseal("doctor", "-o", "json", code=1).json
    assert told["schema"] == 1
    assert {finding["level"] for finding in told["findings"]} <= {"ok", "note", "problem"}


def test_a_repository_that_cannot_be_read_is_a_note(signed: Signed, dockseal: Dockseal) -> None:
    told = dockseal("doctor", "localhost:1/nobody/there", code=1)
    assert "note     localhost:1/nobody/there cannot be looked at" in told.out


@pytest.mark.peer("docker-registry")
def test_the_clock_is_compared_with_the_registrys(
    registry: str, unique_name: str, signed: Signed, dockseal: Dockseal
) -> None:
    name = f"{registry}/{unique_name}"
    dockseal("repo", "init", name)
    told = dockseal("doctor", name, code=1)
    assert f"the clock agrees with {registry}" in told.out
    assert f"{registry}: nobody is logged in" in told.out


def test_a_key_that_signs_nowhere(signed: Signed, dockseal: Dockseal) -> None:
    dockseal("key", "generate", "spare")
    assert "the key spare" in dockseal("doctor", code=1).out
