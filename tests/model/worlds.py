"""One run in the model: a registry, machines, and a diary of what everybody wanted, was told and saw.

What must hold of it in the end stands in :mod:`tests.model.checks`.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from tests.model.machines import FOUNDER, NOW, Mate, image, keys, new_home
from tests.model.registry import Killed, ModelStore, Registry
from tests.model.schedules import play
from tests.oci.samples import sample
from trust import team
from trust.errors import UnreachableError
from trust.prune import plan_prune, prune
from trust.read import Reader
from trust.repo import init, refresh
from trust.revoke import plan_revocation, revoke
from trust.tuf import state as tuf_state
from trust.tuf.edits import NewSigner
from trust.verify import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tests.model.schedules import Action, Choose, Run, Sleep
    from trust.digest import Digest
    from trust.pins import Pin
    from trust.writer import Writer

BASE_TAG = "old"
"""Signed, with an image of the same text, in every repository that has begun."""
SIGNERS = ("one", "two")
"""Delegated signers and their keys, where a repository has any."""


def at_once(_seconds: float) -> None:
    """Wait for nobody."""


@dataclass(slots=True)
class Intent:
    """What an actor wanted to change: a tag to mean a digest (None: nothing); and how it ended."""

    actor: str
    tag: str
    digest: Digest | None
    start: int
    end: int = -1
    error: BaseException | None = None
    proposed: bool = False

    @property
    def told_success(self) -> bool:
        return self.error is None

    @property
    def was_cut_off(self) -> bool:
        """Whether it was killed, or the registry did not answer: its image tag may lag behind."""
        return isinstance(self.error, Killed | UnreachableError)


@dataclass(slots=True)
class Look:
    """What a reader saw; start and end are steps."""

    actor: str
    tag: str
    warm: bool
    start: int
    end: int
    verdict: str
    digest: Digest | None
    version: int


@dataclass(slots=True)
class World:
    """One run.

    Attributes:
        registry: with what it begins with.
        pin: what every machine has pinned; None where the repository has not begun.
        window: how many versions ``covers`` reaches (:func:`tests.model.machines.quick`).
        healer: the keys of the writer who comes when all others are gone.
        strangers: actors that are no honest writers: what they put there need not be valid.
        losing: actors whose change may go nowhere, since what another does takes their say away.
        verdicts: what readers may be told beside those that every push leads to.
        stale: whether requests may be answered with what was there before: then only what the next writer
            leaves is judged.
    """

    registry: Registry
    pin: Pin | None
    window: int = tuf_state.COVERED_VERSIONS
    healer: tuple[str, ...] = FOUNDER
    strangers: frozenset[str] = frozenset()
    losing: frozenset[str] = frozenset()
    verdicts: frozenset[str] = frozenset({"trusted", "mismatch", "missing", "unsigned"})
    stale: bool = False
    immutable: frozenset[str] = frozenset()
    actions: dict[str, Action] = field(default_factory=dict)
    mates: dict[str, Mate] = field(default_factory=dict)
    intents: list[Intent] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    run: Run | None = None

    def mate(self, name: str, *labels: str, now: datetime = NOW) -> Mate:
        """A machine; the one that is there by that name."""
        if name not in self.mates:
            pins = [self.pin] if self.pin else []
            self.mates[name] = Mate(name, keys(*labels), new_home(), pins, now, immutable=self.immutable)
        return self.mates[name]

    # what actors do

    def pushes(self, name: str, *changes: tuple[str, str], labels: tuple[str, ...] = FOUNDER, late: int = 0) -> None:
        """An actor that pushes one tag after the other; ``late``: seconds that its clock is ahead."""
        mate = self.mate(name, *labels, now=NOW + timedelta(seconds=late))

        def action(store: ModelStore, sleep: Sleep) -> None:
            for tag, text in changes:
                with self.intent(name, tag, image(text).digest) as intent:
                    intent.proposed = mate.push(store, sleep, tag, text).proposal is not None

        self.actions[name] = action

    def revokes(self, name: str, tag: str, labels: tuple[str, ...] = FOUNDER, late: int = 0) -> None:
        """An actor that revokes a tag."""
        mate = self.mate(name, *labels, now=NOW + timedelta(seconds=late))

        def action(store: ModelStore, sleep: Sleep) -> None:
            with self.intent(name, tag, None):
                writer = mate.writer(store, sleep)
                revoke(writer, plan_revocation(writer, tag))

        self.actions[name] = action

    def does(
        self, name: str, what: Callable[[Writer, Mate], object], labels: tuple[str, ...] = FOUNDER, late: int = 0
    ) -> None:
        """An actor that writes something else."""
        mate = self.mate(name, *labels, now=NOW + timedelta(seconds=late))
        self.actions[name] = lambda store, sleep: what(mate.writer(store, sleep), mate)

    def refreshes(self, name: str, labels: tuple[str, ...] = FOUNDER) -> None:
        """An actor that runs `dockseal repo refresh`."""
        self.does(name, lambda writer, _mate: refresh(writer), labels)

    def prunes(self, name: str, labels: tuple[str, ...] = FOUNDER) -> None:
        """An actor that removes whatever may be removed, however young."""
        mate = self.mate(name, *labels, now=NOW + timedelta(seconds=60))

        def action(store: ModelStore, sleep: Sleep) -> None:
            machine = mate.machine(sleep)
            prune(store, plan_prune(store, Reader(store, machine), machine, keep_days=0))

        self.actions[name] = action

    def reads(self, name: str, *tags: str, warm: bool) -> None:
        """An actor that verifies one tag after the other; warm: with the memory of what it saw before."""
        mate = self.mate(name)
        if warm:
            judge(ModelStore(self.registry), mate.machine(), tags[0])

        def action(store: ModelStore, _sleep: Sleep) -> None:
            for number, tag in enumerate(tags):
                self.look(store, mate if warm else self.mate(f"{name}{number}"), name, tag, warm=warm)

        self.actions[name] = action

    def look(self, store: ModelStore, mate: Mate, actor: str, tag: str, *, warm: bool) -> None:
        """Verify a tag, and write down what came of it."""
        start = self.registry.step
        found = judge(store, mate.machine(), tag)
        digest = found.digest if found.error is None else None
        self.looks.append(Look(actor, tag, warm, start, self.registry.step, found.verdict, digest, mate.version()))

    @contextmanager
    def intent(self, actor: str, tag: str, digest: Digest | None) -> Iterator[Intent]:
        """Note what is wanted, and how it ends. A refusal ends the actor's run, as it ends a command."""
        noted = Intent(actor, tag, digest, self.registry.step)
        self.intents.append(noted)
        try:
            yield noted
        except BaseException as error:
            noted.error = error
            raise
        finally:
            noted.end = self.registry.step

    def play(self, choose: Choose) -> None:
        """Run all actors to their ends."""
        self.run = play(self.registry, self.actions, choose)
        last: dict[str, int] = {}
        for intent in self.intents:  # one begins with its first request
            after = last.get(intent.actor, -1)
            steps = [n for n, m in enumerate(self.run.moments) if n > after and m.choice.actor == intent.actor]
            intent.start = steps[0] if steps else len(self.run.moments)
            last[intent.actor] = intent.end

    @property
    def played(self) -> Run:
        """What happened."""
        assert self.run is not None
        return self.run

    def diary(self) -> str:
        """What everybody wanted, was told and saw, for people."""
        wanted = [
            f"{item.actor}: {item.tag} = {item.digest} [{item.start}-{item.end}] {item.error!r}"
            for item in self.intents
        ]
        told = [f"{mate.name} was told: {text}" for mate in self.mates.values() for text in mate.told]
        return "\n".join([*wanted, *map(str, self.looks), *told])

    def close(self) -> None:
        """Remove the homes."""
        for mate in self.mates.values():
            shutil.rmtree(mate.home, ignore_errors=True)


# what a registry begins with


def empty() -> Registry:
    """Images, and nothing signed."""
    registry = Registry()
    for text in ("a", "b", "c", "d", BASE_TAG, "zz"):
        sample(text).put(ModelStore(registry))
    registry.puts.clear()
    return registry


@cache
def _begun(now: datetime, signers: tuple[str, ...], publishes: bool, bins: int) -> tuple[Registry, Pin]:
    registry = empty()
    store = ModelStore(registry)
    founder = Mate("founder", keys(*FOUNDER, *signers), new_home(), [], now, bins=bins)
    init(founder.writer(store), founder.found)
    founder.push(store, at_once, BASE_TAG, BASE_TAG)
    for name in signers:
        writer = founder.writer(store)
        signer = NewSigner(name, (founder.keys.find(name).public,), publishes=publishes)
        team.carry_out(writer, team.plan_signer(writer, signer, now, adopt=False))
    return registry, founder.pins[0]


def begun(
    now: datetime = NOW - timedelta(days=1), *, signers: tuple[str, ...] = (), publishes: bool = True, bins: int = 0
) -> World:
    """A repository in which one tag is signed, by ``targets``; with delegated signers where some are named."""
    registry, pin = _begun(now, signers, publishes, bins)
    return World(registry.copy(), pin)
