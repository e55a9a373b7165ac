from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import FaultyRegistry
from tests.trust.writing import People, all_keys
from trust.keys import container

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trust.keys.store import KeyStore


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bcrypt round instead of 24: these tests are not about what a key costs."""
    monkeypatch.setattr(container, "KDF_ROUNDS", 1)
    monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)


@pytest.fixture(scope="session")
def session_keys(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    """Keys for every role, unlocked once a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "KDF_ROUNDS", 1)
        return all_keys(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def people(tmp_path: Path, session_keys: KeyStore) -> People:
    """Makes machines with the session's keys."""
    return People(tmp_path, session_keys)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    """A registry of the test's own, in memory."""
    with FaultyRegistry() as registry:
        yield registry
