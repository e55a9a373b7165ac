from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trust.keys import container
from trust.keys.store import KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.keys.store import Purpose

EXAMPLE = Path(__file__).parents[2] / "keys.example"
EXAMPLE_PASSPHRASE = b"example-passphrase"


@dataclass
class Answers:
    """Passphrases as a user would give them, and a record of what was asked."""

    old: bytes = b"correct horse"
    fresh: bytes = b"correct horse"
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    secret: str = "123456"

    def existing(self, label: str, purpose: Purpose) -> bytes:
        self.asked.append(("existing", label, purpose))
        return self.old

    def new(self, label: str, purpose: Purpose) -> bytes:
        self.asked.append(("new", label, purpose))
        return self.fresh

    def pin(self, token: str) -> str:
        self.asked.append(("pin", token, ""))
        return self.secret


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


@pytest.fixture
def open_store(folder: Path, answers: Answers) -> Callable[[], KeyStore]:
    """A new run of the program on the same folder."""
    return lambda: KeyStore(folder, answers, clock=lambda: datetime(2026, 11, 24, 8, 0, tzinfo=UTC), pins=answers)


@pytest.fixture
def store(open_store: Callable[[], KeyStore]) -> KeyStore:
    return open_store()


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bcrypt round instead of 16, for tests that are not about the cost."""
    monkeypatch.setattr(container, "KDF_ROUNDS", 1)
    monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)
