from __future__ import annotations

import pytest

from trust.keys import container


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bcrypt round instead of 24: these tests are not about what a key costs."""
    monkeypatch.setattr(container, "KDF_ROUNDS", 1)
    monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)
