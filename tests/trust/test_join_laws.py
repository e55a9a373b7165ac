"""The laws of join, over states of several writers: roles, keys that are held or not, removals, rotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.trust.builders import NOW, Delegate, Team, a_team, checked, verified
from trust.digest import Digest
from trust.heads import covers
from trust.tuf.draft import Change, next_state, state_on
from trust.tuf.join import join, newest_root, same_content
from trust.tuf.roles import RoleKeys, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.tuf.join import SignersOf
    from trust.tuf.verified import Verified

ROLES = ("targets", "one", "two")
TAGS = ("a", "b", "c", "d")
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"

Tags = dict[str, dict[str, str]]
"""Digest by tag, by role."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one writer does in one state: signs, removes, renews, or rotates the root."""

    role: str
    put: tuple[tuple[str, str, int], ...] = ()
    drop: tuple[str, ...] = ()
    rotate: int = 0
    """Days after which a new root is made; 0 makes none."""


steps = st.builds(
    Step,
    role=st.sampled_from(ROLES),
    put=st.lists(
        st.tuples(st.sampled_from(TAGS), st.text("xyz", min_size=1, max_size=2), st.integers(0, 3)), max_size=2
    ).map(tuple),
    drop=st.lists(st.sampled_from(TAGS), max_size=1).map(tuple),
    rotate=st.sampled_from([0, 0, 0, 0, 1, 2]),
)
writers = st.lists(steps, min_size=1, max_size=3)
held = st.sets(st.sampled_from(ROLES)).map(frozenset)


@dataclass(slots=True)
class World:
    """A repository with two signers, and what writers make of its first state, none knowing of another."""

    team: Team = field(default_factory=a_team)

    def begun(self) -> Verified:
        first = self.team.first(*(_target("a", role, 0) for role in ROLES[:1]))
        delegates = (Delegate("one", (_target("b", "one", 0),)), Delegate("two", (_target("c", "two", 0),)))
        return verified(self.team.with_delegates(first, *delegates))

    def after(self, base: Verified, some: Sequence[Step]) -> Verified:
        state = base
        for step in some:
            put = tuple(_target(tag, text, second) for tag, text, second in step.put)
            change = Change(put={step.role: put}, drop={step.role: step.drop})
            state = verified(next_state(state, change, signing=self.team.ring, now=NOW))
            if step.rotate:
                state = verified(self.team.rotate_root(state.state, now=NOW + timedelta(days=step.rotate)))
        return state

    def signers(self, roles: frozenset[str] = frozenset(ROLES)) -> SignersOf:
        def of(name: str, role: Role) -> Sequence[Signer] | None:
            return self.team.ring(name, role) if name in roles else None

        return of

    def joined(
        self, heads: Sequence[Verified], ancestor: Verified | None, roles: frozenset[str] = frozenset(ROLES)
    ) -> Verified:
        """The joined state, as every reader checks it: all files verify under the joined root."""
        state = state_on(join(heads, ancestor, self.signers(roles)), signing=self.team.ring, now=NOW)
        return checked(state)


def _target(tag: str, text: str, second: int) -> Target:
    signed_at = NOW.replace(microsecond=0) + timedelta(seconds=second)
    return Target(tag, Digest.of(text.encode()), 100, MEDIA_TYPE, signed_at)


def tags_of(state: Verified) -> Tags:
    return {
        role: {tag: str(item.hashes["sha256"]) for tag, item in payload.targets.items()}
        for role, payload in state.targets.items()
    }


def content(state: Verified) -> tuple[Tags, str, frozenset[str]]:
    """What a state says; versions and files may differ."""
    return tags_of(state), state.root_sha256, frozenset(state.links.pending)


def forked(heads: Sequence[Verified]) -> bool:
    """Whether the heads' roots are no chain."""
    root_of = newest_root(heads)
    return any(head.state.roots != root_of.state.roots[: head.state.root_version] for head in heads)


@settings(max_examples=40)
@given(st.lists(writers, min_size=2, max_size=3), held)
def test_join_is_commutative_up_to_content(some: list[list[Step]], keys: frozenset[str]) -> None:
    world = World()
    base = world.begun()
    heads = [world.after(base, each) for each in some]
    results = [world.joined(order, base, keys) for order in permutations(heads)]
    assert all(content(result) == content(results[0]) for result in results)
    assert all(same_content(result, results[0]) for result in results)


@settings(max_examples=25)
@given(st.lists(writers, min_size=3, max_size=3))
def test_join_is_associative_up_to_content_where_roots_do_not_fork_and_all_keys_are_held(
    some: list[list[Step]],
) -> None:
    world = World()
    base = world.begun()
    rotated = [any(step.rotate for step in each) for each in some]
    if sum(rotated) > 1:  # two new roots are a fork, whose loser is pending: see below
        some = [[Step(s.role, s.put, s.drop) for s in each] if i else each for i, each in enumerate(some)]
    heads = [world.after(base, each) for each in some]
    assert not forked(heads)
    together = world.joined(heads, base)
    one, two, three = heads
    groupings = [((one, two), three), ((two, three), one), ((one, three), two)]
    for pair, last in groupings:
        assert content(world.joined([world.joined(pair, base), last], base))[:2] == content(together)[:2]
    assert together.links.pending == ()


@settings(max_examples=30)
@given(st.lists(writers, min_size=1, max_size=2), held)
def test_join_is_idempotent(some: list[list[Step]], keys: frozenset[str]) -> None:
    """Joined with what it covers, or with itself, a state says what it said."""
    world = World()
    base = world.begun()
    heads = [world.after(base, each) for each in some]
    result = world.joined(heads, base, keys)
    assert same_content(world.joined([result], None, frozenset()), result)
    assert same_content(world.joined([result, result], base, frozenset()), result)
    covered = [head for head in heads if head.identity in dict(result.links.covers)]
    for head in covered:
        again = world.joined([result, head], head, keys)
        assert same_content(again, result)
        assert set(again.links.pending) == set(result.links.pending)


@settings(max_examples=40)
@given(st.lists(writers, min_size=2, max_size=3), held)
def test_versions_only_grow_and_every_head_is_covered_or_pending(some: list[list[Step]], keys: frozenset[str]) -> None:
    world = World()
    base = world.begun()
    heads = [world.after(base, each) for each in some]
    result = world.joined(heads, base, keys)
    for head in heads:
        assert result.version > head.version
        assert head.identity in result.links.pending or covers(result, head), "never neither"
        for role, version in head.versions.items():
            if not forked(heads) or role != "root":
                assert result.versions[role] >= version
    assert not set(result.links.pending) & set(dict(result.links.covers))
    assert result.root_sha256 == newest_root(heads).root_sha256


@settings(max_examples=40)
@given(st.lists(writers, min_size=2, max_size=3))
def test_no_target_is_missing_that_was_not_removed_or_signed_anew(some: list[list[Step]]) -> None:
    world = World()
    base = world.begun()
    heads = [world.after(base, each) for each in some]
    assume(not forked(heads))  # the loser's root is pending, and its tags are merged
    result = world.joined(heads, base)
    old, new = tags_of(base), tags_of(result)
    for role in ROLES:
        gone = {tag for head in heads for tag in old[role].keys() - tags_of(head)[role].keys()}
        for head in heads:
            for tag, digest in tags_of(head)[role].items():
                if tag in gone:
                    assert tag not in new[role], "removal wins"
                    continue
                offered = {tags_of(other)[role].get(tag) for other in heads}
                assert new[role][tag] in offered
                if old[role].get(tag) != digest and {*offered} <= {digest, old[role].get(tag), None}:
                    assert new[role][tag] == digest, "the only change there was"


@settings(max_examples=30)
@given(st.lists(writers, min_size=2, max_size=2), held)
def test_what_is_pending_is_merged_later_by_whoever_holds_the_keys(
    some: list[list[Step]], keys: frozenset[str]
) -> None:
    """In the end it is as if all keys had been there at once."""
    world = World()
    base = world.begun()
    heads = [world.after(base, [Step(step.role, step.put, step.drop) for step in each]) for each in some]
    assume(not any(covers(one, other) for one in heads for other in heads))
    first = world.joined(heads, base, keys)
    left = [head for head in heads if head.identity in first.links.pending]
    changed_twice = {
        role for role in ROLES if len({base.state.digest(role), *(h.state.digest(role) for h in heads)}) == 3
    }
    assert bool(left) is bool(changed_twice - keys)
    later = world.joined([first, *left], base)
    assert later.links.pending == ()
    assert tags_of(later) == tags_of(world.joined(heads, base))


@settings(max_examples=20)
@given(st.lists(writers, min_size=2, max_size=3))
def test_with_no_ancestor_left_nothing_is_guessed(some: list[list[Step]]) -> None:
    """Each role stays as one side has it; every side that has it otherwise is pending."""
    world = World()
    base = world.begun()
    heads = [world.after(base, each) for each in some]
    assume(not any(covers(one, other) for one in heads for other in heads))
    result = world.joined(heads, None)
    for role in ROLES:
        assert result.state.digest(role) in {head.state.digest(role) for head in heads}
    for head in heads:
        if any(head.state.digest(role) != result.state.digest(role) for role in ROLES):
            assert head.identity in result.links.pending


@settings(max_examples=25)
@given(writers, writers, held)
def test_roots_that_fork_never_merge_and_the_other_is_pending(
    one: list[Step], two: list[Step], keys: frozenset[str]
) -> None:
    world = World()
    base = world.begun()
    heads = [
        world.after(base, [*one, Step("targets", rotate=1)]),
        world.after(base, [*two, Step("targets", rotate=2)]),
    ]
    assume(forked(heads))  # what both did first may be one and the same state
    result = world.joined(heads, base, keys)
    winner = newest_root(heads)
    (loser,) = [head for head in heads if head is not winner]
    assert result.state.roots == winner.state.roots
    assert loser.identity in result.links.pending


@settings(max_examples=15)
@given(writers, writers)
def test_a_file_signed_with_a_key_that_was_replaced_is_signed_again_or_pending(
    one: list[Step], two: list[Step]
) -> None:
    """``checked`` in ``joined`` has seen to it that every file verifies under the joined root."""
    world = World()
    base = world.begun()
    one, two = ([Step(step.role, step.put, step.drop) for step in each] for each in (one, two))
    other = world.after(base, one)
    new_keys = {"targets": RoleKeys((world.team.ring.key(),))}
    rotated = world.team.rotate_root(base.state, keys=new_keys)
    renewed = world.team.remake(rotated, {"targets": lambda body: body.update(version=body["version"] + 1)}, bump=True)
    rotator = world.after(verified(renewed), two)
    with_key = world.joined([rotator, other], base)
    assert with_key.links.pending == ()
    assert with_key.root_sha256 == rotator.root_sha256
    without = world.joined([rotator, other], base, frozenset())
    assert tags_of(without)["targets"] == tags_of(rotator)["targets"]
    if other.state.digest("targets") != base.state.digest("targets"):
        assert other.identity in without.links.pending
