"""Processes that push at the same moment; the full size is in bench/storm.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.program import PASSPHRASE, ROOT, WITH_CHEAP_KEYS
from tests.peers.registry import start_registry
from tests.peers.storm import Storm

if TYPE_CHECKING:
    from pathlib import Path

ALONE = 3


@pytest.mark.peer("docker-registry")
@pytest.mark.timeout(600)  # 15 s on a quiet machine
@pytest.mark.parametrize(("writers", "pushes", "killed"), [(4, 5, 0.0), (3, 3, 0.33)], ids=["all live", "a third dies"])
def test_every_push_is_signed_and_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writers: int, pushes: int, killed: float
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    access_log = tmp_path / "access.log"
    with start_registry(tmp_path, access_log=access_log) as host:
        storm = Storm(WITH_CHEAP_KEYS, f"{host}/app", tmp_path, access_log, PASSPHRASE)
        storm.begin()
        alone = storm.one_after_the_other(ALONE)
        outcome = storm.rage(writers, pushes, killed=killed)
    assert outcome.errors == ()
    assert len(outcome.done) == len(outcome.trusted) == writers * pushes
    assert outcome.pending == 0
    if not killed:
        assert outcome.requests <= 4 * alone * writers * pushes / ALONE
