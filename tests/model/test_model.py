"""Writers, readers and attackers in a model of a registry: every small schedule, and larger ones by lot.

A failure prints the schedule, and ``replay("two pushes", "a7 b3 a!")`` runs it again. ``DOCKSEAL_MODEL_SECONDS=60``
gives every story so many seconds of schedules that are drawn anew. docs/registry-model.md says what is explored, and
what the model assumes of a registry.
"""

from __future__ import annotations

import os
import time
from itertools import islice
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import pytest

from tests.model.machines import quick, remove_scratch
from tests.model.schedules import at_random, explore, follow, parse, write
from tests.model.stories import STORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.schedules import Choose
    from tests.model.worlds import World

SECONDS = float(os.environ.get("DOCKSEAL_MODEL_SECONDS", "0"))
"""How long each story is explored at random, after every small schedule; 0: so many as the story says, seeds fixed."""
STAY = (0.5, 0.8, 0.95)
"""How likely whoever made the last request makes the next one."""
SYSTEMATIC = [name for name, story in STORIES.items() if story.bounds is not None]


@pytest.fixture(autouse=True, scope="module")
def _scratch() -> Iterator[None]:
    yield
    remove_scratch()


def attempt(name: str, choose: Choose) -> World:
    """Run a story and judge it.

    Raises:
        AssertionError: with the schedule.
    """
    story = STORIES[name]
    world = story.begin()
    world.window = story.window or world.window
    try:
        world.play(choose)
        story.judge(world)
    except Exception as error:
        run = world.run
        text = f'replay("{name}", "{run.schedule}")\n' if run is not None else ""
        text += f"{type(error).__name__}: {error}\n"
        raise AssertionError(text + (f"{run.story()}\n" if run is not None else "") + world.diary()) from error
    finally:
        world.close()
    return world


def replay(name: str, schedule: str) -> World:
    """Run a schedule again that a failure has printed."""
    with quick(STORIES[name].window):
        return attempt(name, follow(parse(schedule)))


@pytest.mark.timeout(120 + 20 * SECONDS)
@pytest.mark.parametrize("name", SYSTEMATIC)
def test_every_small_schedule(name: str) -> None:
    story = STORIES[name]
    assert story.bounds is not None
    most = None if SECONDS else story.most
    with quick(story.window):
        runs = explore(lambda begun: attempt(name, follow(begun)).played, story.bounds)
        schedules = [run.schedule for run in islice(runs, most)]
    assert len(set(schedules)) == len(schedules) > 1


@pytest.mark.timeout(120 + 20 * SECONDS)
@pytest.mark.parametrize("name", STORIES)
def test_larger_schedules_by_lot(name: str) -> None:
    story = STORIES[name]
    first = SystemRandom().randrange(1 << 32) if SECONDS else 0
    end = time.monotonic() + SECONDS
    seed = first
    with quick(story.window):
        while time.monotonic() < end if SECONDS else seed < story.lots:
            attempt(name, at_random(Random(seed), crashes=story.crashes, stay=STAY[seed % 3], fates=story.fates))
            seed += 1


FOUND = [
    ("two beginnings", "a14 b29 a?", "killed as it pointed, and back, it hid another's success"),
    ("two beginnings with the same keys", "a8 a? b20", "whom another completed went on with no root pinned"),
    ("two beginnings with the same keys", "b8 a23 b28", "a second root took the place of the first one's success"),
    ("two beginnings alike", "b8 a23 b28", "under one root, the first one's success became pending for ever"),
    ("overrun", "a8 b90 a37", "a state older than the window was joined 24 times and never reached"),
    ("overrun", "a9 b64 b? a4", "a change that others had joined long ago was called refused"),
]
"""Schedules that were found to fail, and what went wrong."""


@pytest.mark.parametrize(("name", "schedule", "story"), FOUND, ids=[story for _, _, story in FOUND])
def test_what_was_found_once(name: str, schedule: str, story: str) -> None:
    assert story
    replay(name, schedule)


class TestTheModelItself:
    def test_a_schedule_says_all_that_there_is_to_say(self) -> None:
        with quick():
            drawn = attempt("two pushes", at_random(Random(7), crashes=1))
        again = replay("two pushes", drawn.played.schedule)
        assert again.played.schedule == drawn.played.schedule
        assert [put.manifest.digest for put in again.registry.puts] == [
            put.manifest.digest for put in drawn.registry.puts
        ]
        assert write(parse("a7 b3 a! b1 a~ b? a- b<")) == "a7 b3 a! b1 a~ b? a- b<"

    @pytest.mark.parametrize(
        "blind", ["trust.heads.announced", "trust.publish.find_heads"], ids=["in planning", "after writing"]
    )
    def test_it_finds_writers_who_do_not_look(self, monkeypatch: pytest.MonkeyPatch, blind: str) -> None:
        """Who looks at nothing but the pointer, or at nothing but the own state, loses what others announce."""
        if blind.endswith("announced"):
            monkeypatch.setattr(blind, lambda _tags: ())
        else:
            from trust.heads import Heads

            monkeypatch.setattr(
                blind, lambda _store, _reader, _machine, known: Heads(known[:1], pointer=known[0].digest)
            )
        bounds = STORIES["two pushes"].bounds
        assert bounds is not None
        with quick(), pytest.raises(AssertionError, match="replay"):
            for _ in explore(lambda begun: attempt("two pushes", follow(begun)).played, bounds):
                pass
