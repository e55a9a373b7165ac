"""What this machine trusts and remembers, and what time it is: the standpoint of every judgement."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import UntrustedRootError
from trust.keys.ids import EXAMPLE_KEY_IDS
from trust.memory import Memory
from trust.pins import Pin, pin_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from trust.digest import Digest


FIRST_PAUSE = 0.1
MAX_PAUSE = 4.0
"""Seconds; see :meth:`Machine.pause`."""


def _nobody(text: str) -> None:
    del text


@dataclass(frozen=True, slots=True)
class Machine:
    """The standpoint.

    Args:
        now: UTC, with time zone; read once a run.
        cache: the folder of what was seen.
        pins: those of config.toml.
        save_pin: writes a pin to config.toml.
        root: pinned for this run alone (``--root FILE``).
        trust_on_first_use: pin what is found where nothing is pinned.
        allow_example_keys: accept the published keys of keys.example.
        immutable: the registries whose tags cannot move.
        warn: tells people what they should know; also what was pinned.
        sleep: waits, in seconds.
    """

    now: datetime
    cache: Path
    pins: tuple[Pin, ...]
    save_pin: Callable[[Pin], None]
    root: Digest | None = None
    trust_on_first_use: bool = False
    allow_example_keys: bool = False
    immutable: frozenset[str] = frozenset()
    warn: Callable[[str], None] = field(default=_nobody)
    sleep: Callable[[float], None] = field(default=time.sleep)

    def pause(self, attempt: int, writers: int) -> None:
        """Back off before joining what so many writers have announced: longer each time, with jitter.

        Writers that meet must not meet again, and the more there are the further apart they wake up.
        """
        self.sleep(random.uniform(0, min(MAX_PAUSE, FIRST_PAUSE * writers * 2**attempt)))  # noqa: S311 - no secret

    def moves_tags(self, repository: str) -> bool:
        """Whether the repository's registry lets tags move, as far as config.toml knows."""
        return repository.partition("/")[0] not in self.immutable

    def memory(self, repository: str) -> Memory:
        """The memory of one repository."""
        return Memory(self.cache, repository)

    def pin(self, repository: str) -> Pin | None:
        """The pin that holds for a repository now: ``--root`` goes before config.toml."""
        saved = pin_for(self.pins, repository)
        if self.root is None:
            return saved
        return Pin(repository, root=self.root, signed_as=saved.signed_as if saved else None)

    def refuse_example_keys(self, key_ids: set[str]) -> None:
        """Published keys are no root of trust.

        Raises:
            UntrustedRootError: one of them is an example.
        """
        if not self.allow_example_keys and key_ids & EXAMPLE_KEY_IDS:
            raise UntrustedRootError(
                "the trust data is signed with published example keys: everybody can sign with them",
                hint="set DOCKSEAL_ALLOW_EXAMPLE_KEYS=1 for a trial",
            )
