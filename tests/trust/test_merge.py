"""Two sides of one targets file: the laws of their merge, and who wins where both changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile, Targets

from tests.trust.builders import NOW, new_signer
from trust.tuf.merge import later, merge_targets, signed_at

KEYS = [new_signer().public_key for _ in range(3)]
TAGS = ("v1", "v2", "latest")
NAMES = ("ci", "release")


def target(tag: str, content: int = 0, second: int = 0) -> TargetFile:
    custom = {"signedAt": f"2026-11-24T09:30:{second:02}Z"}
    return TargetFile(1, {"sha256": f"{content:064x}"}, tag, {"custom": custom})


def targets(
    *files: TargetFile, version: int = 1, signers: dict[str, int] | None = None, days: int = 0, **more: object
) -> Targets:
    """A payload; ``signers``: the number of the key by name."""
    delegations = None
    if signers:
        roles = {
            name: DelegatedRole(name, [KEYS[n].keyid], 1, terminating=False, paths=["*"]) for name, n in signers.items()
        }
        delegations = Delegations({KEYS[n].keyid: KEYS[n] for n in signers.values()}, roles)
    return Targets(
        version=version,
        expires=NOW + timedelta(days=days),
        targets={file.path: file for file in files},
        delegations=delegations,
        unrecognized_fields=dict(more),
    )


@st.composite
def payloads(draw: st.DrawFn) -> Targets:
    tags = draw(st.lists(st.sampled_from(TAGS), unique=True))
    files = [target(tag, draw(st.integers(0, 2)), draw(st.integers(0, 2))) for tag in tags]
    signers = draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)))
    return targets(*files, version=draw(st.integers(1, 5)), signers=signers, days=draw(st.integers(0, 3)))


def names(side: Targets) -> dict[str, DelegatedRole]:
    return dict(side.delegations.roles or {}) if side.delegations is not None else {}


def keys(side: Targets) -> set[str]:
    return set(side.delegations.keys) if side.delegations is not None else set()


@given(payloads(), payloads())
def test_a_side_merged_with_itself_is_that_side(ancestor: Targets, side: Targets) -> None:
    merged = merge_targets(ancestor, side, side)
    assert (merged.targets, names(merged)) == (side.targets, names(side))
    assert merged.version == side.version + 1


@given(payloads(), payloads())
def test_a_side_that_did_not_change_says_nothing(ancestor: Targets, side: Targets) -> None:
    for merged in (merge_targets(ancestor, side, ancestor), merge_targets(ancestor, ancestor, side)):
        assert (merged.targets, names(merged)) == (side.targets, names(side))


@given(payloads(), payloads(), payloads())
def test_tags_do_not_depend_on_who_is_first(ancestor: Targets, one: Targets, other: Targets) -> None:
    here, there = merge_targets(ancestor, one, other), merge_targets(ancestor, other, one)
    assert here.targets == there.targets
    assert (here.version, here.expires) == (there.version, there.expires)
    assert set(names(here)) == set(names(there))


@given(payloads(), payloads(), payloads())
def test_nothing_is_lost_that_was_not_removed(ancestor: Targets, one: Targets, other: Targets) -> None:
    merged = merge_targets(ancestor, one, other)
    for old, mine, yours, found in (
        (ancestor.targets, one.targets, other.targets, merged.targets),
        (names(ancestor), names(one), names(other), names(merged)),
    ):
        for name in {*mine, *yours}:
            removed = name in old and (name not in mine or name not in yours)
            assert (name in found) != removed, name
            if not removed:
                assert found[name] in (mine.get(name), yours.get(name))
        assert not set(found) - {*mine, *yours}


@given(payloads(), payloads(), payloads())
def test_it_can_be_encoded_and_is_newer_than_both(ancestor: Targets, one: Targets, other: Targets) -> None:
    merged = merge_targets(ancestor, one, other)
    assert merged.version > max(one.version, other.version)
    assert merged.expires == max(one.expires, other.expires)
    assert Targets.from_dict(merged.to_dict()) == merged
    assert keys(merged) == {key_id for role in names(merged).values() for key_id in role.keyids}


@given(payloads(), payloads(), payloads())
def test_neither_side_is_changed(ancestor: Targets, one: Targets, other: Targets) -> None:
    before = [side.to_dict() for side in (ancestor, one, other)]
    merged = merge_targets(ancestor, one, other)
    for role in names(merged).values():
        role.threshold = 9
    assert [side.to_dict() for side in (ancestor, one, other)] == before


OLD = target("v1", 0, 0)


@pytest.mark.parametrize(
    ("ancestor", "one", "other", "expected"),
    [
        pytest.param(None, target("v1", 1, 1), target("v1", 2, 0), 1, id="the later signature wins"),
        pytest.param(OLD, target("v1", 1, 1), target("v1", 2, 1), 2, id="then the larger digest"),
        pytest.param(OLD, None, target("v1", 2, 1), None, id="a removal wins over a new signature"),
        pytest.param(OLD, None, OLD, None, id="a removal on one side"),
        pytest.param(OLD, None, None, None, id="a removal on both"),
        pytest.param(None, None, target("v1", 2), 2, id="a tag that is new on one side"),
    ],
)
def test_one_tag_on_both_sides(
    ancestor: TargetFile | None, one: TargetFile | None, other: TargetFile | None, expected: int | None
) -> None:
    sides = [targets(*([] if side is None else [side])) for side in (ancestor, one, other)]
    for first, second in ((1, 2), (2, 1)):
        found = merge_targets(sides[0], sides[first], sides[second]).targets.get("v1")
        assert (None if found is None else int(found.hashes["sha256"], 16)) == expected


Signers = tuple[list[int], int, str]
"""The numbers of the keys, the threshold, the pattern."""


def ci(keys: list[int], threshold: int, path: str) -> Targets:
    found = [KEYS[number].keyid for number in keys]
    role = DelegatedRole("ci", found, threshold, terminating=False, paths=[path])
    delegations = Delegations({KEYS[number].keyid: KEYS[number] for number in keys}, {"ci": role})
    return Targets(expires=NOW, delegations=delegations)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(([0], 1, "*"), ([0, 1], 1, "v*"), ([0], 1, "v*"), id="a key that the first removed stays away"),
        pytest.param(([0, 1], 1, "v*"), ([1], 1, "*"), ([1], 1, "*"), id="and one that the second removed"),
        pytest.param(([0, 1], 2, "*"), ([0, 1], 1, "v*"), ([0, 1], 2, "v*"), id="a raised threshold stays raised"),
        pytest.param(([0, 1, 2], 1, "*"), ([0, 1], 1, "v*"), ([0, 1], 1, "v*"), id="the second says who is new"),
        pytest.param(([0], 1, "*"), ([1], 1, "*"), ([1], 1, "*"), id="where no key is left the second goes on"),
    ],
)
def test_a_delegation_that_both_changed_gets_back_no_key_that_was_removed(
    first: Signers, second: Signers, expected: Signers
) -> None:
    merged = merge_targets(ci([0, 1], 1, "*"), ci(*first), ci(*second))
    assert names(merged) == names(ci(*expected))
    assert keys(merged) == keys(ci(*expected))


def test_of_two_delegations_the_second_goes_on() -> None:
    merged = merge_targets(targets(signers={"ci": 0}), targets(signers={"ci": 1}), targets(signers={"ci": 2}))
    assert names(merged)["ci"].keyids == [KEYS[2].keyid]
    assert keys(merged) == {KEYS[2].keyid}


def test_a_signer_that_leaves_takes_its_key_along() -> None:
    merged = merge_targets(
        targets(signers={"ci": 0, "release": 1}),
        targets(signers={"release": 1}),
        targets(target("v1"), signers={"ci": 0, "release": 1}),
    )
    assert (set(names(merged)), keys(merged), set(merged.targets)) == ({"release"}, {KEYS[1].keyid}, {"v1"})
    gone = merge_targets(targets(signers={"ci": 0}), targets(), targets(signers={"ci": 0}))
    assert gone.delegations is None


def test_unknown_fields_of_the_first_side_stay() -> None:
    assert merge_targets(targets(), targets(note=[1]), targets()).unrecognized_fields == {"note": [1]}


def test_a_target_without_a_date_is_the_oldest() -> None:
    undated = TargetFile(1, {"sha256": "f" * 64}, "v1")
    odd = TargetFile(1, {"sha256": "f" * 64}, "v1", {"custom": "text"})
    assert [signed_at(item) for item in (undated, odd, OLD)] == ["", "", "2026-11-24T09:30:00Z"]
    assert later(undated, OLD) is OLD
    assert later(OLD, odd) is OLD
