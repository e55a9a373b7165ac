"""What a change does, in facts: held against what python-tuf's lookup yields before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import DelegatedRole

from tests.trust.builders import NOW, V1, V2, Delegate, a_state, a_target, a_team, checked, new_signer
from trust.digest import Digest
from trust.tuf.differences import TagDifference, TermDifference, differences, meaning_in
from trust.tuf.edits import KeyChange, NewSigner, add_signer, adopt_tags, change_keys, change_tags, remove_signer
from trust.tuf.proposed import propose

if TYPE_CHECKING:
    from trust.tuf.differences import Differences, RoleDifference
    from trust.tuf.edits import Edit
    from trust.tuf.verified import Verified

ONE, TWO = Digest.of(V1), Digest.of(V2)


def found(base: Verified, edit: Edit) -> Differences:
    return differences(base, propose(base, edit))


def role(found: Differences, name: str) -> RoleDifference:
    (item,) = (item for item in found.roles if item.role == name)
    return item


def test_tags_that_come_change_and_go() -> None:
    base = checked(a_state(a_target("v1"), a_target("v2"), a_target("same")))
    new = [a_target("v1", V2).to_file(), a_target("v3").to_file(), a_target("same").to_file()]
    assert found(base, change_tags(base, {"targets": new}, {"targets": ["v2"]}, [], NOW)).tags == (
        TagDifference("v1", ONE, TWO),
        TagDifference("v2", ONE, None),
        TagDifference("v3", None, ONE),
    )


def test_a_signer_comes() -> None:
    base = checked(a_state())
    key = new_signer().public_key
    shown = found(base, add_signer(base, NewSigner("ci", (key,), patterns=("v*",)), NOW))
    ci = role(shown, "ci")
    assert (ci.is_new, ci.leaves, ci.added_keys, ci.patterns, ci.threshold) == (
        True,
        False,
        (key.keyid,),
        ((), ("v*",)),
        (None, 1),
    )
    assert role(shown, "timestamp").added_keys == (key.keyid,)
    assert shown.tags == ()


def test_a_signer_leaves_with_the_tags_it_alone_signed() -> None:
    team = a_team()
    first = team.with_delegates(
        a_state(a_target("v1"), team=team),
        Delegate("ci", (a_target("v2"), a_target("v3", V2))),
        Delegate("release", (a_target("v3", V1),)),
    )
    base = checked(first)
    shown = found(base, remove_signer(base, "ci", NOW))
    assert shown.tags == (TagDifference("v2", ONE, None), TagDifference("v3", TWO, ONE))
    ci = role(shown, "ci")
    assert (ci.is_new, ci.leaves, ci.removed_keys) == (False, True, (team.delegated["ci"].keys[0].keyid,))


def test_keys_thresholds_and_expiries() -> None:
    team = a_team()
    base = checked(a_state(team=team))
    new = new_signer().public_key
    old = team.keys["root"].keys[0].keyid
    (root,) = found(base, change_keys(base, "root", KeyChange((new,), (old,)), NOW)).roles
    assert (root.added_keys, root.removed_keys, root.threshold) == ((new.keyid,), (old,), (1, 1))
    assert root.expires is not None
    (raised,) = found(base, change_keys(base, "root", KeyChange((new,), threshold=2), NOW)).roles
    assert raised.threshold == (1, 2)


def test_a_key_that_changes_the_role_alone_and_not_its_file() -> None:
    base = checked(a_state())
    shown = found(base, change_keys(base, "timestamp", KeyChange((new_signer().public_key,)), NOW))
    assert role(shown, "timestamp").expires is None
    assert role(shown, "root").expires is not None


def test_moving_tags_to_a_signer_changes_no_tag() -> None:
    team = a_team()
    base = checked(team.with_delegates(a_state(a_target("v1"), team=team), Delegate("ci")))
    assert found(base, adopt_tags(base, "ci", NOW)).tags == ()


def test_what_the_root_says_of_the_repository_is_shown() -> None:
    """A root that lets timestamps live for ever must not pass for one with another key."""
    base = checked(a_state())
    edit = change_keys(base, "root", KeyChange((new_signer().public_key,)), NOW)
    assert found(base, edit).terms == ()
    assert edit.root is not None
    terms = edit.root.unrecognized_fields["x-dockseal"]
    terms["max_timestamp_days"] = 36500
    terms["periods"]["ci"] = {"expires": 9, "signing": 3}
    assert found(base, edit).terms == (
        TermDifference("longest timestamp", 15, 36500),
        TermDifference("expiry of ci", None, 9),
        TermDifference("signing period of ci", None, 3),
    )


def test_patterns_in_words() -> None:
    team = a_team()
    base = checked(team.with_delegates(a_state(team=team), Delegate("ci", paths=("v*",))))
    edit = change_tags(base, {}, {}, ["targets"], NOW)
    assert edit.targets["targets"].delegations is not None
    roles = edit.targets["targets"].delegations.roles
    assert roles is not None
    roles["ci"] = DelegatedRole("ci", roles["ci"].keyids, 1, terminating=True, path_hash_prefixes=["ab"])
    assert role(found(base, edit), "ci").patterns == (("v*",), ("sha256:ab...", "and nobody after it"))


DELEGATES = st.lists(
    st.builds(
        Delegate,
        name=st.sampled_from(["a", "b", "c"]),
        targets=st.lists(
            st.builds(a_target, st.sampled_from(["v1", "v2", "w1"]), st.sampled_from([V1, V2])), max_size=3
        ).map(tuple),
        paths=st.sampled_from([("*",), ("v*",), ("w*",), ("v1",)]),
        terminating=st.booleans(),
        parent=st.sampled_from(["targets", "targets", "a"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item.name,
).filter(
    lambda items: all(
        item.parent == "targets" or ("a" in {one.name for one in items} and item.name != "a") for item in items
    )
)


@settings(max_examples=30)
@given(DELEGATES)
def test_what_a_tag_means_is_what_python_tuf_says(delegates: list[Delegate]) -> None:
    team = a_team()
    delegates.sort(key=lambda item: item.name)
    base = checked(team.with_delegates(a_state(a_target("w1"), team=team), *delegates))
    expected = {}
    for tag in base.tags:
        target = base.lookup(tag)
        expected[tag] = None if target is None else Digest.from_hex(str(target.hashes["sha256"]))
    assert {tag: meaning_in(base.targets.get, tag) for tag in base.tags} == expected


@pytest.mark.parametrize("loop", [True, False])
def test_a_loop_of_delegations_ends(loop: bool) -> None:
    team = a_team()
    base = checked(team.with_delegates(a_state(team=team), Delegate("ci")))
    ci = base.targets["ci"]
    if loop:
        ci.delegations = base.targets["targets"].delegations
    assert meaning_in({**base.targets, "ci": ci}.get, "v1") == ONE
    assert meaning_in({**base.targets, "ci": ci}.get, "v2") is None
    gone = {name: item for name, item in base.targets.items() if name != "ci"}
    assert meaning_in(gone.get, "v1") == ONE
