"""What must hold of a run, whatever its schedule was.

Nothing that was announced is lost; every state that was announced verifies in full; no reader sees anything else than
what somebody meant it to see, and none ends on less than it saw; the next writer leaves one head, with the pointer
on it; whoever was cut off finishes with the same command.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.model.machines import image, new_home
from tests.model.registry import ModelStore
from tests.model.worlds import BASE_TAG, Intent, at_once
from trust.client import verify_state
from trust.digest import Digest
from trust.errors import ConflictError, DocksealError, RollbackError, UnsignedError
from trust.heads import find_heads
from trust.proposals import tags_of
from trust.read import Reader
from trust.rolefiles import read_files
from trust.states import POINTER_TAG, announced
from trust.tuf.state import State
from trust.verify import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.registry import Put, Registry
    from tests.model.worlds import World
    from trust.oci.manifest import Manifest
    from trust.tuf.verified import Verified

HEALER = "z"


def check(world: World) -> None:
    """Judge what everybody was told and saw, let one more writer run, and judge what is there then.

    Raises:
        AssertionError: something is not as it must be.
    """
    Judge(world).check()


def check_beginning(world: World) -> None:
    """Of those who begin one repository exactly one goes on, the others are told, and nobody is who was cut off.

    Raises:
        AssertionError: it is not so.
    """
    for again in ("who was cut off", "where nobody went on, everybody"):
        stopped = [item for item in world.intents if item.error is not None]
        if any(item.told_success for item in world.intents):
            stopped = [item for item in stopped if item.was_cut_off]
        for intent in stopped:
            intent.error = ConflictError(f"ran again: {again}")
            with suppress(DocksealError):
                world.actions[intent.actor](ModelStore(world.registry, intent.actor), at_once)
    done = [intent for intent in world.intents if intent.told_success]
    assert done, "nobody goes on"
    roots = {world.mates[intent.actor].pins[0].root for intent in done}
    assert len(roots) == 1, f"several go on: {[intent.actor for intent in done]}"
    for intent in done:
        for name in (intent.actor, "cold"):
            machine = (
                world.mate(name).machine()
                if name != "cold"
                else replace(world.mate(name).machine(), pins=(world.mates[intent.actor].pins[0],))
            )
            found = judge(ModelStore(world.registry), machine, intent.tag)
            assert (found.verdict, found.digest) == ("trusted", intent.digest), f"{name}: {found}"


class Judge:
    """Looks at one run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.registry = world.registry

    def check(self) -> None:
        if not self.world.stale:
            self._check_states()
            self._check_looks()
            self._check_again()
        self._heal()
        self._check_end()

    # states

    def _states(self, until: int | None = None) -> dict[str, Verified]:
        """What honest writers announced, by identity."""
        found = {}
        for put in self._announcements(until):
            state = verified(put.manifest, self.registry)
            found[state.identity] = state
        return found

    def _announcements(self, until: int | None = None) -> Iterator[Put]:
        for put in self.registry.puts:
            is_honest = put.actor not in self.world.strangers
            if is_honest and announced((put.tag,)) and (until is None or put.step <= until):
                yield put

    def _check_states(self) -> None:
        """Every state that an honest writer announced verifies in full, and in nothing falls below its parents."""
        states = self._states()
        for state in states.values():
            for parent in (states[identity] for identity in state.links.parents if identity in states):
                fallen = {role for role, number in parent.versions.items() if state.versions.get(role, 0) < number}
                assert not fallen, f"{state.version}: {fallen} fell below a parent"
        for put in self.registry.puts:
            if put.tag == POINTER_TAG and put.actor not in self.world.strangers:
                verified(put.manifest, self.registry)

    # intents

    def _announcement(self, intent: Intent) -> tuple[int, Verified] | None:
        """When its change became visible to others, and in which state."""
        for put in self._announcements():
            if put.actor == intent.actor and intent.start <= put.step <= intent.end:
                state = verified(put.manifest, self.registry)
                if meaning(state, intent.tag) == intent.digest:
                    return put.step, state
        return None

    def _is_open(self, intent: Intent) -> bool:
        return intent.proposed or self._proposal(intent) or self._announcement(intent) is not None

    def _proposal(self, intent: Intent) -> bool:
        """Whether it was proposed, though its writer may not have lived to be told so."""
        first = {put.tag: put for put in reversed(self.registry.puts) if tags_of((put.tag,))}
        return any(
            put.actor == intent.actor and intent.start <= put.step <= intent.end for put in first.values()
        )  # whoever completes one may empty its tag

    def _may_be_lost(self, intent: Intent) -> bool:
        """Whether the change may go nowhere.

        Its writer was told so, or another took its say away; or it was announced when the window had gone by, by a
        writer that was then cut off: history at birth.
        """
        if intent.actor in self.world.losing:
            return True
        found = self._announcement(intent)
        if found is None or not intent.was_cut_off:
            return False
        newest = max((state.version for state in self._states(intent.end).values()), default=0)
        return found[1].version < newest - self.world.window

    def allowed(self, tag: str, *, start: int | None = None, end: int | None = None) -> set[Digest | None]:
        """What a tag may mean: the results of announced intents that no later one has replaced.

        Args:
            tag: of an image.
            start: of a look: what was told as done until then has replaced what it came after.
            end: of the look.
        """
        base = Intent("", tag, image(tag).digest if tag == BASE_TAG else None, -2, -2)
        mine = [base, *(item for item in self.world.intents if item.tag == tag and self._is_open(item))]
        if end is not None:
            mine = [item for item in mine if item.start <= end]
        replacing = [
            item
            for item in mine
            if not self._may_be_lost(item)
            and (start is None or (item.told_success and not item.proposed and item.end < start))
        ]
        return {item.digest for item in mine if not any(item.end < other.start for other in replacing)}

    # readers

    def _check_looks(self) -> None:
        seen: dict[str, int] = {}
        for look in self.world.looks:
            assert look.verdict in self.world.verdicts, look
            if look.warm:
                assert look.version >= seen.get(look.actor, 0), look
                seen[look.actor] = look.version
            elif self.world.strangers:
                continue  # a machine without memory believes a replay (docs/threat-model.md)
            busy = any(
                item.tag == look.tag and item.start <= look.end and (item.end >= look.start or not item.told_success)
                for item in self.world.intents
            )
            allowed = self.allowed(look.tag, start=look.start, end=look.end)
            if look.verdict == "trusted":
                assert look.digest in allowed, f"{look}: expected {allowed}"
            elif look.verdict != "expired" and not busy and not self.world.strangers:
                assert None in allowed, f"{look}: nobody was at it, and it should be one of {allowed}"

    # whoever was cut off

    def _check_again(self) -> None:
        """The same command finishes what was cut off, on the same machine, though nobody else comes."""
        for name in {item.actor for item in self.world.intents if item.was_cut_off}:
            with self._set_aside(name) as registry:
                begin = len(self.world.intents)
                refused: DocksealError | None = None
                try:
                    self.world.actions[name](ModelStore(registry, name), at_once)
                except (ConflictError, UnsignedError, RollbackError) as error:
                    refused = error
                assert refused is None or self._may_refuse(name, refused), f"{name} runs again: {refused}"
                self._check_done(name, registry, self.world.intents[begin:])

    def _may_refuse(self, name: str, refused: DocksealError) -> bool:
        """Whether others were there, whose changes stand against the same command now."""
        if isinstance(refused, ConflictError):
            return any(item.actor != name for item in self.world.intents)
        is_gone = isinstance(refused, UnsignedError) and any(item.digest is None for item in self.world.intents)
        return is_gone or name in self.world.losing

    def _check_done(self, name: str, registry: Registry, again: list[Intent]) -> None:
        mate = self.world.mates[name]
        for intent in again:
            if intent.error is None and not intent.proposed:
                found = judge(ModelStore(registry), mate.machine(), intent.tag)
                if intent.digest is None:
                    assert found.verdict == "unsigned", f"{name} ran again: {intent.tag} is {found.verdict}"
                else:
                    assert (found.verdict, found.digest) == ("trusted", intent.digest), f"{name} ran again: {found}"

    @contextmanager
    def _set_aside(self, name: str) -> Iterator[Registry]:
        """What follows happens in a copy of the registry and of a machine's home, and is forgotten."""
        mate, intents, looks = self.world.mates[name], list(self.world.intents), list(self.world.looks)
        home, pins, told = mate.home, list(mate.pins), list(mate.told)
        mate.home = new_home()
        shutil.copytree(home, mate.home, dirs_exist_ok=True)
        try:
            yield self.registry.copy()
        finally:
            shutil.rmtree(mate.home, ignore_errors=True)
            mate.home, mate.pins[:], mate.told = home, pins, told
            self.world.intents, self.world.looks = intents, looks

    # the end

    def _heal(self) -> None:
        """One more writer, on a machine of its own, when nobody else is there."""
        latest = max(mate.now for mate in self.world.mates.values())
        self.registry.step += 10
        healer = self.world.mate(HEALER, *self.world.healer, now=latest + timedelta(minutes=1))
        with self.world.intent(HEALER, "zz", image("zz").digest):
            healer.push(ModelStore(self.registry, HEALER), at_once, "zz", "zz")
        self.registry.step += 10

    def _check_end(self) -> None:
        store, healer = ModelStore(self.registry), self.world.mates[HEALER]
        heads = find_heads(store, Reader(store, healer.machine()), healer.machine())
        assert heads is not None
        assert not heads.others, f"several heads: {[head.verified.identity[:12] for head in heads.states]}"
        if not self.registry.frozen:
            assert heads.pointer == heads.base.digest, "the pointer does not name the newest state"
        state = heads.base.verified
        assert not state.links.pending, f"pending: {state.links.pending}"
        for tag in {BASE_TAG, *(item.tag for item in self.world.intents)}:
            self._check_tag(tag, state)
        self._check_readers(state)

    def _check_tag(self, tag: str, state: Verified) -> None:
        """It means what somebody wanted last, and the image tag is there, unless its pusher was cut off."""
        found, allowed = meaning(state, tag), self.allowed(tag)
        assert found in allowed, f"{tag} means {found}: expected one of {allowed}"
        mine = [item for item in self.world.intents if item.tag == tag and self._is_open(item)]
        movers = self.world.intents if any(item.proposed for item in mine) else mine  # who completes it, moves the tag
        if found is None or not mine or any(item.was_cut_off for item in movers) or self.registry.frozen:
            return
        moved = self.registry.tags.get(tag)
        assert moved == found or self.world.stale, f"the image tag {tag} is {moved}, signed is {found}"

    def _check_readers(self, state: Verified) -> None:
        """Every machine, whatever it saw, trusts what the last writer signed."""
        healer, store = self.world.mates[HEALER], ModelStore(self.registry)
        self.world.mate("cold")
        for mate in self.world.mates.values():
            if not mate.pins:
                continue
            mate.now = healer.now
            found = judge(store, mate.machine(), "zz")
            assert found.error is None, f"{mate.name} ends with {found.verdict}: {found.error}"
            assert mate.version() >= state.version, f"{mate.name} ends on less than is there"


def meaning(state: Verified, tag: str) -> Digest | None:
    """What a state says of a tag."""
    found = state.lookup(tag)
    return None if found is None else Digest.from_hex(str(found.hashes["sha256"]))


_VERIFIED: dict[Digest, Verified] = {}


def verified(manifest: Manifest, registry: Registry) -> Verified:
    """The state in a manifest, verified from its own first root; every file of it is read."""
    if manifest.digest not in _VERIFIED:
        files = read_files(ModelStore(registry), manifest, max_files=10_000, max_bytes=1 << 28)
        state = State.of(files)
        _VERIFIED[manifest.digest] = verify_state(state, state.roots[0])
    return _VERIFIED[manifest.digest]
