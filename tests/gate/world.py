"""A release and its registries: signed repositories on a registry in memory, a machine, a policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.trust.builders import (
    NOW,
    Pins,
    Team,
    a_machine,
    a_registry,
    a_team,
    an_image,
    put_state,
    target_of,
)
from trust.gate.found import Found, Place
from trust.gate.judge import Standpoint, judge
from trust.gate.policyfile import load
from trust.release import gather, images_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from tests.doubles.faulty_registry import FaultyRegistry
    from trust.gate.judge import Decision
    from trust.gate.lock import Lock
    from trust.gate.policy import Policy
    from trust.machine import Machine
    from trust.oci.source import StoreName
    from trust.oci.store import Store
    from trust.pins import Pin
    from trust.tuf.state import State

ANY = '[[rule]]\npattern = "**"\nsigners = "any"\n'


def policy(text: str = ANY) -> Policy:
    """A policy in TOML."""
    return load(text.encode(), "dockseal-policy.toml")


def rule(more: str = "", signers: str = '"any"') -> Policy:
    """One rule for everything."""
    return policy(f'[[rule]]\npattern = "**"\nsigners = {signers}\n{more}\n')


@dataclass
class World:
    """``host`` is the registry's address; ``now`` the real time."""

    server: FaultyRegistry
    folder: Path
    pins: list[Pin] = field(default_factory=list)
    notes: Pins = field(default_factory=Pins)
    now: datetime = NOW
    opened: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.server.host

    def name(self, rest: str) -> str:
        """``app:v1`` in full."""
        return f"{self.host}/{rest}"

    def store(self, path: str = "app") -> Store:
        return a_registry(self.server, path)

    def team(self, path: str = "app") -> Team:
        return a_team(self.store(path).repository)

    def publish(self, state: State, team: Team, path: str = "app") -> State:
        """Put a state there and pin its first root, unless another is pinned."""
        put_state(self.store(path), state)
        if not any(pin.repository == team.repository for pin in self.pins):
            self.pins.append(team.pin(state))
        return state

    def machine(self, name: str = "machine") -> Machine:
        return a_machine(self.folder / name, now=self.now, pins=self.pins, notes=self.notes)

    def open(self, asked: StoreName) -> Store:
        assert asked.repository is not None
        self.opened.append(str(asked))
        return a_registry(self.server, asked.repository.path)

    def decide(
        self,
        *names: str | Found,
        by: Policy | None = None,
        at: datetime | None = None,
        lock: Lock | None = None,
        check_pinned: bool = False,
        pinning: bool = False,
        timeout: float = 30,
        machine: Machine | None = None,
        open_store: Callable[[StoreName], Store] | None = None,
    ) -> list[Decision]:
        """What the gate decides about these images."""
        by, machine, open_store = by or policy(), machine or self.machine(), open_store or self.open
        found = [item if isinstance(item, Found) else Found(item, Place("")) for item in names]
        images, problems = images_of(found, machine, open_store, ignore_pins=pinning)
        assert problems == ()
        facts = gather(images, by, machine, open_store, timeout_seconds=timeout)
        here = Standpoint(at or self.now, lock=lock, check_pinned=check_pinned, pinning=pinning)
        return [judge(image, facts[image], by, here) for image in images]

    def one(self, name: str | Found, **options: Any) -> Decision:
        """The same for one image; options are those of :meth:`decide`."""
        (decision,) = self.decide(name, **options)
        return decision


def with_tags(world: World, tags: Iterable[str], path: str = "app") -> tuple[Team, State]:
    """A repository whose tags are signed and there, each with a manifest of its own."""
    team, targets = world.team(path), []
    for tag in tags:
        manifest, _ = an_image(f"{path} {tag}".encode())
        world.server.add_manifest(path, manifest, tag)
        targets.append(target_of(manifest, tag))
    state = world.publish(team.first(*targets), team, path)
    world.server.clear()
    return team, state
