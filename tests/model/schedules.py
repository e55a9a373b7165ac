"""Who makes the next request: schedules, played, written down, explored one by one or drawn by lot.

Each actor runs the program's own code in a thread of its own, through a :class:`ModelStore` that waits for its turn
before every request. Only one thread ever runs, so a *schedule* replays a run exactly: ``a7 b3 a! b1``: seven
requests of a, three of b, a is killed before its next one, one more of b; then whoever is there goes on to its end.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model.registry import CUT_OFF, Fate, Killed, ModelStore, Request
from trust.errors import DocksealError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from random import Random

    from tests.model.registry import Registry

    Sleep = Callable[[float], None]
    Action = Callable[[ModelStore, Sleep], object]
    """What an actor does, with its store and its way to wait."""
    Choose = Callable[[int, Mapping[str, Request], str], "Choice"]
    """Given the number of the step, what each actor wants, and who made the last request."""

MAX_STEPS = 5000
"""A run that takes more requests than this does not come to rest."""
CRASH_RATE = 0.04
"""How likely a random schedule lets something happen to a request."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who makes the next request, and what happens to it."""

    actor: str
    fate: Fate = Fate.ANSWERED


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a run: what each actor wanted, who had made the request before, and what was chosen."""

    waiting: Mapping[str, Request]
    before: str
    choice: Choice

    @property
    def request(self) -> Request:
        """The request that was chosen."""
        return self.waiting[self.choice.actor]


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class Actor:
    """Runs one action in a thread, from request to request."""

    name: str
    registry: Registry
    action: Action
    request: Request | None = None
    error: BaseException | None = None
    _fate: Fate = Fate.ANSWERED
    _go: threading.Lock = field(default_factory=_held)
    _stopped: threading.Lock = field(default_factory=_held)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Run to its first request."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def go(self, fate: Fate) -> None:
        """Let its request have this fate, and run to the next one or to the end."""
        self._fate = fate
        self._go.release()
        self._stopped.acquire()
        if self.request is None and self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        store = ModelStore(self.registry, self.name, self._turn)
        try:
            self.action(store, lambda _seconds: self._pause())
        except BaseException as error:  # noqa: BLE001 - whatever it was, the run judges it
            self.error = error
        self.request = None
        self._stopped.release()

    def _pause(self) -> None:
        if self._turn(Request("pause")) in {Fate.KILLED_BEFORE, Fate.KILLED_AFTER}:
            raise Killed

    def _turn(self, request: Request) -> Fate:
        self.request = request
        self._stopped.release()
        self._go.acquire()
        return self._fate


@dataclass(slots=True)
class Run:
    """What happened: each step, and what each actor ended with (None: well)."""

    moments: list[Moment] = field(default_factory=list)
    errors: dict[str, BaseException | None] = field(default_factory=dict)

    @property
    def schedule(self) -> str:
        """The run as :func:`parse` reads it."""
        return write(moment.choice for moment in self.moments)

    def story(self) -> str:
        """Every visible step, one a line."""
        return "\n".join(
            f"{number:4} {moment.choice.actor}{moment.choice.fate.value} {moment.request.verb} {moment.request.what}"
            for number, moment in enumerate(self.moments)
            if moment.request.verb != "blob"
        )


def play(
    registry: Registry,
    actions: Mapping[str, Action],
    choose: Choose,
) -> Run:
    """Run all actors to their ends, one request at a time.

    Args:
        registry: is changed.
        actions: by the actor's name, one letter.
        choose: is given the number of the step, what each actor wants, and who made the last request.

    Raises:
        AssertionError: they do not come to an end, or something else than our errors left the program.
    """
    actors = {name: Actor(name, registry, action) for name, action in actions.items()}
    run = Run()
    for actor in actors.values():
        actor.start()
    before = ""
    while waiting := {name: actor.request for name, actor in actors.items() if actor.request is not None}:
        registry.step = len(run.moments)
        choice = choose(registry.step, waiting, before)
        run.moments.append(Moment(waiting, before, choice))
        actors[choice.actor].go(choice.fate)
        before = choice.actor
        assert len(run.moments) < MAX_STEPS, f"no end: {run.schedule}"
    registry.step = len(run.moments)
    run.errors = {name: actor.error for name, actor in actors.items()}
    for error in run.errors.values():
        if error is not None and not isinstance(error, Killed | DocksealError):
            raise AssertionError(f"not our error in {run.schedule}") from error
    return run


def go_on(waiting: Mapping[str, Request], before: str) -> Choice:
    """Who made the last request goes on, unless it pauses or has ended; then the next by name."""
    names = sorted(waiting)
    if before in waiting and waiting[before].verb != "pause":
        return Choice(before)
    return Choice(next((name for name in names if before and name > before), names[0]))


def follow(choices: Sequence[Choice]) -> Choose:
    """Choose as a schedule says, and go on at its end. A choice of an actor that has ended is passed over."""

    def choose(number: int, waiting: Mapping[str, Request], before: str) -> Choice:
        if number < len(choices) and choices[number].actor in waiting:
            return choices[number]
        return go_on(waiting, before)

    return choose


def write(choices: Iterator[Choice] | Sequence[Choice]) -> str:
    """A schedule as text: ``a7 b3 a! b1``."""
    found: list[tuple[Choice, int]] = []
    for choice in choices:
        if found and found[-1][0] == choice and choice.fate is Fate.ANSWERED:
            found[-1] = (choice, found[-1][1] + 1)
        else:
            found.append((choice, 1))
    return " ".join(f"{choice.actor}{choice.fate.value or count}" for choice, count in found)


def parse(schedule: str) -> list[Choice]:
    """The choices that a text stands for."""
    found: list[Choice] = []
    for token in schedule.split():
        match = re.fullmatch(r"(?P<actor>[a-z])(?:(?P<count>[0-9]+)|(?P<fate>[-!?~<]))", token)
        assert match is not None, f"no schedule: {token!r}"
        fate = Fate(match["fate"] or "")
        found += [Choice(match["actor"], fate)] * int(match["count"] or 1)
    return found


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far :func:`explore` goes: how often a schedule may take the turn from one that could go on, and kill one."""

    preemptions: int
    crashes: int = 0
    fates: tuple[Fate, ...] = (Fate.KILLED_AFTER, Fate.ANSWER_LOST)
    mortal: frozenset[str] = frozenset("abcd")


def explore(attempt: Callable[[Sequence[Choice]], Run], bounds: Bounds) -> Iterator[Run]:
    """Every schedule within bounds, each once, those with the fewest surprises first (iterative context bounding).

    Turns are taken only before requests whose place among those of others matters, and actors are killed only before
    and after writes: all other schedules are equal to one of these.

    Args:
        attempt: runs and judges one schedule, the beginning of which is given.
        bounds: of the exploration.
    """
    waiting: deque[tuple[list[Choice], int, int]] = deque([([], bounds.preemptions, bounds.crashes)])
    while waiting:
        prefix, preemptions, crashes = waiting.popleft()
        run = attempt(prefix)
        yield run
        for number in range(len(prefix), len(run.moments)):
            moment = run.moments[number]
            begun = [item.choice for item in run.moments[:number]]
            for choice, is_free in _others(moment):
                if is_free or preemptions:
                    waiting.append(([*begun, choice], preemptions - (not is_free), crashes))
            if crashes and moment.request.is_write and moment.choice.actor in bounds.mortal:
                for fate in bounds.fates:
                    waiting.append(([*begun, Choice(moment.choice.actor, fate)], preemptions, crashes - 1))


def _others(moment: Moment) -> Iterator[tuple[Choice, bool]]:
    """The other actors that could have been chosen, and whether nobody was interrupted by that."""
    is_free = moment.before not in moment.waiting or moment.waiting[moment.before].verb == "pause"
    if not (is_free or moment.request.is_visible):
        return
    for name in moment.waiting:
        if name != moment.choice.actor:
            yield Choice(name), is_free


def at_random(
    random: Random,
    *,
    mortal: Collection[str] = "abcd",
    crashes: int = 1,
    stay: float = 0.8,
    fates: Sequence[Fate] = CUT_OFF,
) -> Choose:
    """Choose by lot: with ``stay`` the same actor goes on, and at most so many ``crashes`` happen."""
    left = [crashes]

    def choose(number: int, waiting: Mapping[str, Request], before: str) -> Choice:
        if before in waiting and waiting[before].verb != "pause" and random.random() < stay:
            name = before
        else:
            name = random.choice(sorted(waiting))
        if left[0] and name in mortal and waiting[name].verb != "pause" and random.random() < CRASH_RATE:
            left[0] -= 1
            return Choice(name, random.choice(fates))
        return Choice(name)

    return choose
