"""What a run of the gate tells, in five forms. Bytes are made elsewhere; here is text only.

Names, places and messages come from files and registries of others. Each form has its own way to keep them from being
taken for more than text; what all share is :func:`one_line`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.gate.judge import Outcome, exit_code

if TYPE_CHECKING:
    from datetime import datetime

    from trust.gate.found import LeftOut, Place, Problem
    from trust.gate.judge import Decision

_STEERING = (
    *range(32),  # C0: escape sequences, line ends, tabs
    *range(0x7F, 0xA0),  # DEL and C1
    *(0x2028, 0x2029),  # line ends of Unicode
    *(0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # they change the order that is shown
    *range(0xD800, 0xE000),  # half surrogate pairs
    *(0xFEFF, 0xFFFE, 0xFFFF),
)
_REPLACED = dict.fromkeys(_STEERING, "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run decided.

    ``at`` is the moment that was judged, UTC. ``folder`` is where relative paths begin, absolute, with slashes.
    ``version`` is this program's.
    """

    decisions: tuple[Decision, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[LeftOut, ...]
    policy: str
    at: datetime
    folder: str
    version: str

    @property
    def exit_code(self) -> int:
        """0, 1, 2 or 3."""
        return exit_code(self.decisions, self.problems)

    @property
    def counts(self) -> dict[str, int]:
        """How many images came to which outcome; those that did not occur are left out."""
        found = Counter(decision.outcome for decision in self.decisions)
        return {outcome.value: found[outcome] for outcome in Outcome if outcome in found}

    @property
    def summary(self) -> str:
        """One line: ``3 images: 2 passed, 1 refused``."""
        parts = [f"{number} {outcome}" for outcome, number in self.counts.items()]
        parts += [f"{len(self.problems)} input(s) that cannot be used"] * bool(self.problems)
        number = len(self.decisions)
        return f"{number} image{'s' * (number != 1)}: {', '.join(parts) or 'nothing to judge'}"


def one_line(text: str) -> str:
    """Text of others as one line that steers nothing: controls become U+FFFD."""
    return " ".join(text.split("\n")).translate(_REPLACED)


def where(place: Place) -> str:
    """A place as people read it."""
    return str(place) or "the command line"


def problem_text(problem: Problem) -> str:
    """What is wrong with an input, and where; its message may go on from the place (``is no YAML``)."""
    return one_line(f"{where(problem.place)}: {problem.message}")


def moment(time: datetime | None) -> str | None:
    """RFC 3339, UTC, whole seconds."""
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"
