"""The laws of joining states that were made at the same time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.builders import NOW, Delegate, Team, a_team, verified
from trust.client import verify_state
from trust.digest import Digest
from trust.tuf.draft import Change, next_state, state_on
from trust.tuf.join import join, publishes_under, same_content
from trust.tuf.roles import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.tuf.join import SignersOf
    from trust.tuf.verified import Verified

TAGS = ("a", "b", "c")
Edit = tuple[str, list[tuple[str, str, int]], list[str]]


def target(tag: str, text: str, second: int = 0) -> Target:
    digest = Digest.of(text.encode())
    signed_at = NOW.replace(microsecond=0) + timedelta(seconds=second)
    return Target(tag, digest, 100, "application/vnd.oci.image.manifest.v1+json", signed_at)


def changed(team: Team, base: Verified, role: str, put: Sequence[Target], drop: Sequence[str] = ()) -> Verified:
    change = Change(put={role: tuple(put)}, drop={role: tuple(drop)})
    return verified(next_state(base, change, signing=team.ring, now=NOW))


def made(team: Team, base: Verified, edit: Edit) -> Verified:
    role, put, drop = edit
    return changed(team, base, role, [target(*item) for item in put], drop)


def with_keys(team: Team) -> SignersOf:
    return team.ring


def without_keys(name: str, role: Role) -> Sequence[Signer] | None:
    del name, role
    return None


def joined(team: Team, heads: Sequence[Verified], ancestor: Verified | None, signers: SignersOf) -> Verified:
    state = state_on(join(heads, ancestor, signers), signing=team.ring, now=NOW)
    return verify_state(state, state.roots[0])


def meanings(state: Verified) -> dict[str, dict[str, str]]:
    return {
        role: {tag: str(item.hashes["sha256"]) for tag, item in payload.targets.items()}
        for role, payload in state.targets.items()
    }


@pytest.fixture(scope="module")
def team() -> Team:
    return a_team()


@pytest.fixture(scope="module")
def base(team: Team) -> Verified:
    """Tag ``a`` is signed, and two signers are there."""
    return begun(team)


def begun(team: Team) -> Verified:
    state = team.first(target("a", "old"))
    return verified(team.with_delegates(state, Delegate("one"), Delegate("two")))


puts = st.lists(
    st.tuples(st.sampled_from(TAGS), st.text("xyz", min_size=1, max_size=3), st.integers(0, 59)), max_size=3
)
edits: st.SearchStrategy[Edit] = st.tuples(
    st.sampled_from(["targets", "one", "two"]), puts, st.lists(st.sampled_from(TAGS), max_size=1)
)


@settings(max_examples=40)
@given(edits, edits)
def test_two_heads_join_alike_in_either_order_and_lose_nothing(first: Edit, second: Edit) -> None:
    team = a_team()
    base = begun(team)
    heads = [made(team, base, first), made(team, base, second)]
    one = joined(team, heads, base, with_keys(team))
    assert meanings(one) == meanings(joined(team, heads[::-1], base, with_keys(team)))
    assert set(one.links.parents) == {head.identity for head in heads}
    assert one.links.pending == ()
    old, result = meanings(base), meanings(one)
    for head in heads:
        assert dict(one.links.covers)[head.identity] == head.version
        assert all(one.versions[role] >= version for role, version in head.versions.items())
        for role in old:
            gone = {tag for item in heads for tag in set(old[role]) - set(meanings(item)[role])}
            assert set(meanings(head)[role]) - gone <= set(result[role]), "nothing is missing that was not removed"
            assert not gone & set(result[role]), "removal wins"


@settings(max_examples=25)
@given(st.lists(edits, min_size=3, max_size=3))
def test_three_heads_join_alike_all_at_once_or_one_after_the_other(some: list[Edit]) -> None:
    team = a_team()
    base = begun(team)
    heads = [made(team, base, edit) for edit in some]
    together = joined(team, heads, base, with_keys(team))
    left = joined(team, [joined(team, heads[:2], base, with_keys(team)), heads[2]], base, with_keys(team))
    right = joined(team, [heads[0], joined(team, heads[1:], base, with_keys(team))], base, with_keys(team))
    assert meanings(together) == meanings(left) == meanings(right)


def test_one_head_is_its_own_join(team: Team, base: Verified) -> None:
    again = joined(team, [base], None, without_keys)
    assert same_content(again, base)
    assert again.links.parents == (base.identity,)


def test_changes_of_different_roles_need_no_key(team: Team, base: Verified) -> None:
    """Whoever publishes can join what others signed."""
    heads = [changed(team, base, role, [target("b", role)]) for role in ("one", "two")]
    found = joined(team, heads, base, without_keys)
    assert {role: set(tags) for role, tags in meanings(found).items()} == {"targets": {"a"}, "one": {"b"}, "two": {"b"}}
    assert found.links.pending == ()


def test_what_cannot_be_merged_without_the_key_is_pending_and_not_lost(team: Team, base: Verified) -> None:
    heads = [changed(team, base, "one", [target(tag, tag)]) for tag in ("b", "c")]
    strongest = max(heads, key=lambda head: (head.versions["one"], Digest.of(head.state.role("one")).hex))
    (weaker,) = [head for head in heads if head is not strongest]
    found = joined(team, heads, base, without_keys)
    assert meanings(found)["one"] == meanings(strongest)["one"]
    assert found.links.pending == (weaker.identity,)
    assert weaker.identity not in dict(found.links.covers)
    later = joined(team, [found, weaker], base, with_keys(team))
    assert set(meanings(later)["one"]) == {"b", "c"}
    assert later.links.pending == ()


def test_what_a_pending_state_stands_on_alone_waits_with_it_and_is_not_listed_as_covered(
    team: Team, base: Verified
) -> None:
    stronger = base
    for tag in ("x", "y", "z"):
        stronger = changed(team, stronger, "one", [target(tag, tag)])
    first = changed(team, base, "one", [target("b", "b"), target("c", "c")])
    second = changed(team, first, "one", [], ["b"])
    found = joined(team, [stronger, second], base, without_keys)
    assert found.links.pending == (second.identity, first.identity)
    assert first.identity not in dict(found.links.covers)
    later = joined(team, [found, second], base, with_keys(team))
    assert set(meanings(later)["one"]) == {"c", "x", "y", "z"}, "and what it dropped itself does not come back"
    assert later.links.pending == ()


def test_with_no_common_ancestor_nothing_is_guessed(team: Team, base: Verified) -> None:
    heads = [changed(team, base, "one", [target(tag, tag)]) for tag in ("b", "c")]
    found = joined(team, heads, None, with_keys(team))
    assert len(found.links.pending) == 1
    assert len(meanings(found)["one"]) == 1


def test_of_two_signatures_of_one_tag_the_later_counts_then_the_larger_digest(team: Team, base: Verified) -> None:
    early, late = target("b", "early", 1), target("b", "late", 2)
    heads = [changed(team, base, "one", [item]) for item in (early, late)]
    assert meanings(joined(team, heads, base, with_keys(team)))["one"]["b"] == late.digest.hex
    same = [target("b", text, 3) for text in ("x", "y")]
    heads = [changed(team, base, "one", [item]) for item in same]
    largest = max(item.digest.hex for item in same)
    assert meanings(joined(team, heads, base, with_keys(team)))["one"]["b"] == largest


def test_of_roots_that_forked_the_larger_goes_on_and_the_other_is_pending(team: Team, base: Verified) -> None:
    heads = [verified(team.rotate_root(base.state, now=NOW + timedelta(days=days))) for days in (1, 2)]
    winner = max(heads, key=lambda head: head.root_sha256)
    found = joined(team, heads, base, with_keys(team))
    assert found.root_sha256 == winner.root_sha256
    assert set(found.links.pending) == {head.identity for head in heads if head is not winner}


def test_a_publisher_that_left_does_not_publish_under_the_new_root(base: Verified) -> None:
    assert publishes_under(base.root, base)
    stranger = verified(a_team().first(target("a", "x")))
    assert not publishes_under(stranger.root, base)
