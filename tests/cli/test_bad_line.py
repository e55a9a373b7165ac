"""A line that drops, delays, cuts and repeats what is said between the program and a real registry."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from bench.faults import Line, push_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.peer("docker-registry")
def test_every_push_gets_through_whole(registry: str, tmp_path: Path) -> None:
    result = push_all(registry, tmp_path, Line(Random(2), rate=0.1), pushes=8, workers=2)
    assert sum(result.faults.values()) > 0
    assert result.broken == []
    assert result.lost == []
