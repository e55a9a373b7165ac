"""Who meets whom in the model: each story is a world to play.

A :class:`Story` also says how far it is explored every day; all of them together take some seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.model.checks import check, check_beginning
from tests.model.machines import FOUNDER, NOW, Mate, keys
from tests.model.registry import CUT_OFF, Fate, ModelStore
from tests.model.schedules import Bounds
from tests.model.worlds import BASE_TAG, SIGNERS, World, begun, empty
from trust import team
from trust.rolefiles import encode_files
from trust.states import POINTER_TAG, STATE_TYPE, announced, own_tag
from trust.tuf.edits import KeyChange, NewSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.writer import Writer

ONE_SWITCH = Bounds(1)
ONE_CRASH = Bounds(1, 1)


@dataclass(frozen=True, slots=True)
class Story:
    """How a world is made, and how far it is explored.

    Attributes:
        begin: makes the world.
        bounds: of the systematic exploration; None: by lot alone.
        most: how many of those schedules are tried every day, those with the fewest surprises first.
        lots: how many random schedules are drawn.
        crashes: at most so many in each of those.
        window: another COVERED_VERSIONS, for worlds in which it is overrun.
        fates: what may happen to a request in those.
        judge: says whether a run is as it must be.
    """

    begin: Callable[[], World]
    bounds: Bounds | None = None
    most: int = 40
    lots: int = 8
    crashes: int = 2
    window: int | None = None
    fates: tuple[Fate, ...] = CUT_OFF
    judge: Callable[[World], None] = check


STORIES: dict[str, Story] = {}


def story(
    *,
    bounds: Bounds | None = None,
    most: int = 40,
    lots: int = 8,
    crashes: int = 2,
    window: int | None = None,
    fates: tuple[Fate, ...] = CUT_OFF,
    judge: Callable[[World], None] = check,
) -> Callable[[Callable[[], World]], Callable[[], World]]:
    """Enter a story under its name."""

    def enter(begin: Callable[[], World]) -> Callable[[], World]:
        STORIES[begin.__name__.replace("_", " ")] = Story(begin, bounds, most, lots, crashes, window, fates, judge)
        return begin

    return enter


@story(bounds=ONE_CRASH, most=120)
def two_pushes() -> World:
    """Two machines sign two tags."""
    world = begun()
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    return world


@story(bounds=ONE_CRASH, most=120)
def one_tag() -> World:
    """Two machines sign one tag."""
    world = begun()
    world.pushes("a", ("v1", "a"))
    world.pushes("b", ("v1", "b"), late=30)
    return world


@story(bounds=ONE_SWITCH)
def push_and_revoke() -> World:
    """One pushes a tag, another revokes one."""
    world = begun()
    world.pushes("a", ("va", "a"))
    world.revokes("b", BASE_TAG)
    return world


@story(bounds=ONE_CRASH)
def one_tag_revoked() -> World:
    """One pushes what another revokes."""
    world = begun()
    world.pushes("a", (BASE_TAG, "a"))
    world.revokes("b", BASE_TAG, late=30)
    return world


@story(bounds=ONE_SWITCH)
def three_pushes() -> World:
    """Three machines sign three tags."""
    world = begun()
    for name in "abc":
        world.pushes(name, (f"v{name}", name), late=ord(name))
    return world


@story(lots=20, crashes=3)
def four_writers() -> World:
    """Four machines sign and revoke, some of them the same tags, and each twice."""
    world = begun()
    world.pushes("a", ("va", "a"), ("v1", "a"))
    world.pushes("b", ("v1", "b"), ("vb", "b"), late=30)
    world.pushes("c", (BASE_TAG, "c"), ("va", "c"), late=-30)
    world.revokes("d", BASE_TAG, late=60)
    return world


@story(bounds=ONE_SWITCH)
def readers() -> World:
    """Two readers, one with a memory, look while two tags are signed."""
    world = begun()
    world.pushes("a", (BASE_TAG, "a"))
    world.pushes("b", ("vb", "b"))
    world.reads("w", BASE_TAG, "vb", BASE_TAG, warm=True)
    world.reads("x", BASE_TAG, "vb", warm=False)
    return world


@story(bounds=ONE_SWITCH)
def expired() -> World:
    """Nobody was there for months: what is expired is signed again, by two at once."""
    world = begun(NOW - timedelta(days=200))
    world.verdicts |= {"expired"}
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    world.reads("w", BASE_TAG, BASE_TAG, warm=False)
    return world


@story(bounds=ONE_CRASH, most=60)
def signers() -> World:
    """Two signers, neither of whom has the other's key, or that of the root or of targets."""
    world = begun(signers=SIGNERS)
    world.healer = (*FOUNDER, "one")
    world.pushes("a", ("va", "a"), labels=("one",))
    world.pushes("b", ("vb", "b"), labels=("two",), late=30)
    return world


@story(bounds=ONE_SWITCH)
def joined_without_the_key() -> World:
    """Two sign with one key, and who joins them lacks it: a change is pending until somebody has the key."""
    world = begun()
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    world.refreshes("c", labels=("publish",))
    return world


@story(bounds=ONE_SWITCH)
def proposals() -> World:
    """A signer who may not publish proposes; another writer's push completes it."""
    world = begun(signers=SIGNERS, publishes=False)
    world.healer = (*FOUNDER, "two")
    world.pushes("a", ("va", "a"), labels=("one",))
    world.pushes("b", ("vb", "b"), labels=("publish", "two"), late=30)
    return world


def _rotate(writer: Writer, mate: Mate, role: str, new: str, old: str | None) -> None:
    left = (keys(old).find(old).key_id,) if old else ()
    change = KeyChange((keys(new).find(new).public,), left, None)
    team.carry_out(writer, team.plan_rotation(writer, role, change, mate.now))


@story(bounds=ONE_SWITCH)
def targets_key_replaced() -> World:
    """One replaces the key of targets while another, who has both, pushes."""
    world = begun()
    both = (*FOUNDER, "targets2")
    world.healer = both
    world.does("a", lambda writer, mate: _rotate(writer, mate, "targets", "targets2", "targets"), labels=both)
    world.pushes("b", ("vb", "b"), labels=both, late=30)
    world.reads("w", BASE_TAG, BASE_TAG, warm=True)
    return world


@story(bounds=ONE_SWITCH)
def publisher_removed() -> World:
    """One takes the publishing key away from another, who pushes at that moment: that push may go nowhere."""
    world = begun()
    both = (*FOUNDER, "publish2")
    world.healer = both
    world.losing = frozenset("b")
    world.verdicts |= {"rollback"}  # for who saw that push, until the next one

    def replace_both(writer: Writer, mate: Mate) -> None:
        edit = team.plan_replacement(
            writer,
            ("snapshot", "timestamp"),
            keys("publish").find("publish").key_id,
            (keys("publish2").find("publish2").public,),
            mate.now,
        )
        team.carry_out(writer, edit)

    world.does("a", replace_both, labels=both)
    world.pushes("b", ("vb", "b"), late=30)
    world.reads("w", BASE_TAG, BASE_TAG, warm=True)
    return world


@story(bounds=ONE_SWITCH)
def signer_added() -> World:
    """One adds a signer while another pushes with the key of targets."""
    world = begun()
    world.healer = (*FOUNDER, "one")

    def add(writer: Writer, mate: Mate) -> None:
        signer = NewSigner("one", (mate.keys.find("one").public,))
        team.carry_out(writer, team.plan_signer(writer, signer, mate.now, adopt=False))

    world.does("a", add, labels=(*FOUNDER, "one"))
    world.pushes("b", ("vb", "b"), labels=(*FOUNDER, "one"), late=30)
    return world


@story(bounds=ONE_SWITCH)
def signer_removed() -> World:
    """One removes a signer who pushes at that moment: that push may go nowhere."""
    world = begun(signers=("one",))
    world.losing = frozenset("b")
    world.healer = (*FOUNDER, "one")
    world.does("a", lambda writer, mate: team.carry_out(writer, team.plan_removal(writer, "one", mate.now)))
    world.pushes("b", ("vb", "b"), labels=("one",), late=30)
    return world


@story(bounds=ONE_SWITCH, window=3)
def overrun() -> World:
    """The window is three versions, and one writer falls behind by more."""
    world = begun()
    world.pushes("a", ("va", "a"))
    world.pushes("b", *((f"v{number}", "b") for number in range(5)), late=30)
    return world


@story(bounds=ONE_SWITCH, window=3)
def pruned() -> World:
    """States are removed as soon as nobody needs them, while others push."""
    world = begun()
    world.pushes("a", ("va", "a"), ("v1", "a"))
    world.pushes("b", ("vb", "b"), ("v2", "b"), late=30)
    world.prunes("p")
    return world


@story(bounds=ONE_SWITCH, most=12, lots=4)
def bins() -> World:
    """Two push into one hash bin or two."""
    world = begun(bins=2)
    world.pushes("a", ("va", "a"), ("v1", "a"))
    world.pushes("b", ("vb", "b"), ("v2", "b"), late=30)
    return world


@story(bounds=ONE_SWITCH)
def long_lists() -> World:
    """The registry lists two tags at a time, so that no list is a picture of one moment."""
    world = begun()
    world.registry.page = 2
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    return world


@story(bounds=ONE_CRASH)
def tags_that_cannot_move() -> World:
    """Neither ``_trust`` nor any other tag moves, and one of the machines knows it."""
    world = begun()
    world.registry.frozen = True
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    world.mates["a"].immutable = frozenset({"localhost:5000"})
    world.reads("w", BASE_TAG, BASE_TAG, warm=True)
    return world


@story(bounds=ONE_SWITCH)
def attacked() -> World:
    """Somebody who may push but has no key sets the pointer back, announces old states again, and plants junk."""
    world = begun()
    world.strangers = frozenset("m")
    world.pushes("a", (BASE_TAG, "a"))
    world.pushes("b", ("vb", "b"), late=30)
    world.reads("w", BASE_TAG, BASE_TAG, BASE_TAG, warm=True)
    world.actions["m"] = lambda store, _sleep: _attack(store)
    return world


def _attack(store: ModelStore) -> None:
    states = announced(store.tags(1000))
    old, newest = states[-1], states[0]
    store.put_manifest(store.get_manifest(old.tag), POINTER_TAG)
    store.put_manifest(store.get_manifest(old.tag), own_tag(newest.version + 5, old.identity))
    store.put_manifest(encode_files({"1.root.json": b"{}"}, STATE_TYPE), own_tag(newest.version + 70, "f" * 64))
    store.put_manifest(encode_files({"1.root.json": b"{}"}, STATE_TYPE), POINTER_TAG)


@story(bounds=ONE_CRASH, most=200, judge=check_beginning)
def two_beginnings() -> World:
    """Two machines begin one repository, each with keys of its own."""
    world = World(empty(), None)
    for name, labels in (("a", FOUNDER), ("b", ("root2", "targets2", "publish2"))):
        world.pushes(name, (f"v{name}", name), labels=labels)
        world.mates[name].roles = labels
    return world


@story(bounds=ONE_CRASH, judge=check_beginning)
def two_beginnings_with_the_same_keys() -> World:
    """Two machines begin one repository with the same keys, a second apart."""
    world = World(empty(), None)
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=1)
    return world


@story(bounds=ONE_SWITCH)
def one_home() -> World:
    """Two processes of one machine push and a third one verifies: they share what that machine has seen."""
    world = begun()
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"))
    world.reads("w", BASE_TAG, BASE_TAG, warm=True)
    for mate in world.mates.values():
        mate.home = world.mates["a"].home
    return world


@story(bounds=ONE_CRASH, judge=check_beginning)
def two_beginnings_alike() -> World:
    """Two machines begin one repository with the same keys in the same second, so that their roots are one."""
    world = World(empty(), None)
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"))
    return world


@story(lots=16, crashes=3, fates=(Fate.STALE,))
def old_answers() -> World:
    """A registry that does not keep what the program counts on: tags and lists may be as before the last write."""
    world = begun()
    world.stale = True
    world.pushes("a", ("va", "a"))
    world.pushes("b", ("vb", "b"), late=30)
    world.pushes("c", ("v1", "c"), late=-30)
    return world
