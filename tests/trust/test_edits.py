"""What an edit says: payloads one version on, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.trust.builders import NOW, V2, Delegate, Team, a_state, a_target, a_team, checked, new_signer
from trust import strictjson
from trust.errors import UsageError
from trust.tuf.edits import (
    KeyChange,
    NewSigner,
    add_signer,
    adopt_tags,
    change_keys,
    change_tags,
    next_root,
    remove_signer,
    replace_key,
)
from trust.tuf.state import DEFAULT_PERIODS

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import DelegatedRole, Root, Targets

    from trust.tuf.edits import Edit
    from trust.tuf.verified import Verified

LATER = NOW + timedelta(days=3, microseconds=5)


@pytest.fixture
def team() -> Team:
    return a_team()


@pytest.fixture
def base(team: Team) -> Verified:
    """``targets`` signs v1, v2 and latest; nobody else signs."""
    return checked(a_state(a_target("v1"), a_target("v2"), a_target("latest"), team=team))


@pytest.fixture
def with_signers(team: Team) -> Verified:
    """ci and release, who publish, and nightly, who does not."""
    first = team.with_delegates(
        a_state(a_target("v1"), team=team), Delegate("ci", (a_target("v2"),)), Delegate("release"), Delegate("nightly")
    )
    found = checked(first)
    root = found.root
    for name in ("ci", "release"):
        for role in ("snapshot", "timestamp"):
            root.add_key(team.delegated[name].keys[0], role)
    return found


def key() -> Key:
    return new_signer().public_key


def root_of(edit: Edit) -> Root:
    assert edit.root is not None
    return edit.root


def delegation(targets: Targets, name: str) -> DelegatedRole:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    return targets.delegations.roles[name]


class TestAdding:
    def test_a_publisher_changes_root_targets_and_its_own_file(self, base: Verified) -> None:
        one = key()
        edit = add_signer(base, NewSigner("ci", (one,), patterns=("v*",)), LATER)
        assert root_of(edit).version == 2
        for role in ("snapshot", "timestamp"):
            assert root_of(edit).roles[role].keyids == [*base.root.roles[role].keyids, one.keyid]
        assert set(edit.targets) == {"targets", "ci"}
        found = delegation(edit.targets["targets"], "ci")
        assert (found.keyids, found.threshold, found.paths, found.terminating) == ([one.keyid], 1, ["v*"], False)
        assert (edit.targets["targets"].version, edit.targets["ci"].version) == (2, 1)
        assert edit.targets["targets"].targets == base.targets["targets"].targets
        assert edit.targets["ci"].targets == {}
        assert edit.targets["ci"].expires == LATER.replace(microsecond=0) + timedelta(days=365)

    def test_one_who_does_not_publish_leaves_the_root_alone(self, base: Verified) -> None:
        assert add_signer(base, NewSigner("ci", (key(),), publishes=False), NOW).root is None

    def test_a_period_of_its_own_stands_in_the_root(self, base: Verified) -> None:
        edit = add_signer(base, NewSigner("ci", (key(),), expires_days=90, publishes=False), NOW)
        terms = root_of(edit).unrecognized_fields["x-dockseal"]
        assert terms["periods"]["ci"] == {"expires": 90, "signing": 30}
        assert terms["periods"]["targets"]["expires"] == DEFAULT_PERIODS["targets"].expires_days
        assert root_of(edit).roles["timestamp"].keyids == base.root.roles["timestamp"].keyids
        assert edit.targets["ci"].expires == NOW + timedelta(days=90)

    def test_adopting_moves_what_the_patterns_cover(self, base: Verified) -> None:
        edit = add_signer(base, NewSigner("ci", (key(),), patterns=("v*",)), NOW, adopt=True)
        assert set(edit.targets["targets"].targets) == {"latest"}
        assert edit.targets["ci"].targets == {tag: base.targets["targets"].targets[tag] for tag in ("v1", "v2")}

    def test_a_name_that_was_there_goes_on_above_its_old_version(self, team: Team, with_signers: Verified) -> None:
        gone = remove_signer(with_signers, "ci", NOW)
        left = dict(with_signers.targets)
        del left["ci"]
        after = replace(with_signers, targets={**left, "targets": gone.targets["targets"]})
        assert add_signer(after, NewSigner("ci", (key(),)), NOW).targets["ci"].version == 2

    @pytest.mark.parametrize(
        ("name", "keys", "threshold", "says"),
        [
            ("ci", 0, 1, "a threshold of 1 cannot be met by 0 key"),
            ("ci", 1, 2, "a threshold of 2 cannot be met by 1 key"),
            ("ci", 1, 0, "a threshold of 0 cannot be met"),
            ("targets", 1, 1, "there is a signer 'targets' already"),
        ],
    )
    def test_what_cannot_be(self, base: Verified, name: str, keys: int, threshold: int, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            add_signer(base, NewSigner(name, tuple(key() for _ in range(keys)), threshold), NOW)

    def test_one_key_named_twice_counts_once(self, base: Verified) -> None:
        one = key()
        with pytest.raises(UsageError, match="cannot be met"):
            add_signer(base, NewSigner("ci", (one, one), 2), NOW)

    def test_the_base_stays_as_it_was(self, base: Verified) -> None:
        before = (base.root.to_dict(), base.targets["targets"].to_dict())
        add_signer(base, NewSigner("ci", (key(),), expires_days=9), NOW, adopt=True)
        assert (base.root.to_dict(), base.targets["targets"].to_dict()) == before


class TestAdopting:
    def test_later(self, with_signers: Verified) -> None:
        edit = adopt_tags(with_signers, "ci", NOW)
        assert edit.root is None
        assert edit.targets["targets"].targets == {}
        assert set(edit.targets["ci"].targets) == {"v1", "v2"}
        assert edit.targets["ci"].version == 2

    def test_what_the_signer_signs_itself_is_kept(self, team: Team) -> None:
        own = a_target("v1", V2)
        found = checked(team.with_delegates(a_state(a_target("v1"), team=team), Delegate("ci", (own,))))
        assert adopt_tags(found, "ci", NOW).targets["ci"].targets == {"v1": own.to_file()}

    def test_nothing_to_adopt(self, team: Team) -> None:
        found = checked(team.with_delegates(a_state(a_target("v1"), team=team), Delegate("ci", paths=("w*",))))
        with pytest.raises(UsageError, match="targets signs no tag that ci may sign"):
            adopt_tags(found, "ci", NOW)

    def test_nobody_of_that_name(self, base: Verified) -> None:
        with pytest.raises(UsageError, match="there is no signer 'ci': signers are none"):
            adopt_tags(base, "ci", NOW)


class TestRemoving:
    def test_takes_delegation_keys_and_publishing(self, team: Team, with_signers: Verified) -> None:
        edit = remove_signer(with_signers, "ci", NOW)
        top, gone = edit.targets["targets"], team.delegated["ci"].keys[0].keyid
        assert top.delegations is not None
        assert list(top.delegations.roles or ()) == ["release", "nightly"]
        assert gone not in top.delegations.keys
        assert all(gone not in root_of(edit).roles[role].keyids for role in ("snapshot", "timestamp"))
        assert gone not in root_of(edit).keys
        assert set(edit.targets) == {"targets"}

    def test_one_who_does_not_publish_leaves_the_root_alone(self, with_signers: Verified) -> None:
        assert remove_signer(with_signers, "nightly", NOW).root is None

    def test_the_last_one_leaves_no_delegations(self, team: Team) -> None:
        found = checked(team.with_delegates(a_state(team=team), Delegate("ci")))
        assert remove_signer(found, "ci", NOW).targets["targets"].delegations is None

    def test_a_key_that_another_signer_has_goes_on_publishing(self, team: Team, with_signers: Verified) -> None:
        shared = team.delegated["ci"].keys[0]
        with_signers.targets["targets"].add_key(shared, "release")
        assert remove_signer(with_signers, "ci", NOW).root is None

    def test_the_last_publisher_stays(self, team: Team, with_signers: Verified) -> None:
        """A repository in which nobody can publish could never be repaired but with the root key."""
        own = team.delegated["ci"].keys[0].keyid
        for role in ("snapshot", "timestamp"):
            for key_id in list(with_signers.root.roles[role].keyids):
                if key_id != own:
                    with_signers.root.revoke_key(key_id, role)
        assert remove_signer(with_signers, "ci", NOW).root is None

    def test_nobody_of_that_name(self, with_signers: Verified) -> None:
        with pytest.raises(UsageError, match="signers are ci, release, nightly"):
            remove_signer(with_signers, "nobody", NOW)


class TestChangingKeys:
    def test_of_root_changes_nothing_else(self, base: Verified) -> None:
        one = key()
        edit = change_keys(base, "root", KeyChange((one,), threshold=2), NOW)
        assert root_of(edit).roles["root"].keyids == [*base.root.roles["root"].keyids, one.keyid]
        assert root_of(edit).roles["root"].threshold == 2
        assert edit.targets == {}

    def test_of_targets_signs_what_it_signed_anew(self, base: Verified) -> None:
        edit = change_keys(base, "targets", KeyChange((key(),), tuple(base.root.roles["targets"].keyids)), NOW)
        assert edit.targets["targets"].version == 2
        assert edit.targets["targets"].targets == base.targets["targets"].targets

    def test_of_a_publishing_signer_moves_its_right_to_publish(self, team: Team, with_signers: Verified) -> None:
        old, new = team.delegated["ci"].keys[0].keyid, key()
        edit = change_keys(with_signers, "ci", KeyChange((new,), (old,)), NOW)
        for role in ("snapshot", "timestamp"):
            assert new.keyid in root_of(edit).roles[role].keyids
            assert old not in root_of(edit).roles[role].keyids
        assert delegation(edit.targets["targets"], "ci").keyids == [new.keyid]
        assert edit.targets["ci"].targets == with_signers.targets["ci"].targets

    def test_of_a_signer_whose_old_key_another_has(self, team: Team, with_signers: Verified) -> None:
        shared = team.delegated["ci"].keys[0]
        with_signers.targets["targets"].add_key(shared, "release")
        edit = change_keys(with_signers, "ci", KeyChange((key(),), (shared.keyid,)), NOW)
        assert shared.keyid in root_of(edit).roles["timestamp"].keyids

    def test_of_one_who_does_not_publish_leaves_the_root_alone(self, team: Team, with_signers: Verified) -> None:
        old = team.delegated["nightly"].keys[0].keyid
        assert change_keys(with_signers, "nightly", KeyChange((key(),), (old,)), NOW).root is None

    def test_a_threshold_alone_moves_no_publisher(self, with_signers: Verified) -> None:
        edit = change_keys(with_signers, "ci", KeyChange((key(),), threshold=2), NOW)
        assert delegation(edit.targets["targets"], "ci").threshold == 2

    @pytest.mark.parametrize(
        ("role", "change", "says"),
        [
            ("root", KeyChange(threshold=2), "root would need 2 signature"),
            ("root", KeyChange(remove=("f" * 64,)), "root has no key fffffff"),
            ("ci", KeyChange(remove=("f" * 64,)), "ci has no key fffffff"),
            ("ci", KeyChange(threshold=0), "ci would need 0 signature"),
            ("nobody", KeyChange(), "there is no signer 'nobody'"),
        ],
    )
    def test_what_cannot_be(self, with_signers: Verified, role: str, change: KeyChange, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            change_keys(with_signers, role, change, NOW)


class TestReplacing:
    def test_in_all_roles_at_once(self, team: Team, with_signers: Verified) -> None:
        old, new = team.delegated["ci"].keys[0].keyid, key()
        edit = replace_key(with_signers, ("snapshot", "timestamp", "ci"), old, (new,), NOW)
        assert all(old not in root_of(edit).roles[role].keyids for role in root_of(edit).roles)
        assert delegation(edit.targets["targets"], "ci").keyids == [new.keyid]
        assert set(edit.targets) == {"targets", "ci"}

    def test_in_top_level_roles_alone(self, base: Verified) -> None:
        old = base.root.roles["root"].keyids[0]
        edit = replace_key(base, ("root",), old, (key(),), NOW)
        assert old not in root_of(edit).keys
        assert edit.targets == {}
        top = replace_key(base, ("targets",), base.root.roles["targets"].keyids[0], (key(),), NOW)
        assert set(top.targets) == {"targets"}

    def test_in_a_signer_alone(self, team: Team, with_signers: Verified) -> None:
        edit = replace_key(with_signers, ("nightly",), team.delegated["nightly"].keys[0].keyid, (key(),), NOW)
        assert edit.root is None
        assert set(edit.targets) == {"targets", "nightly"}

    def test_where_it_is_not(self, base: Verified) -> None:
        with pytest.raises(UsageError, match="has no key"):
            replace_key(base, ("root",), "f" * 64, (key(),), NOW)


class TestTags:
    def test_put_dropped_and_renewed(self, with_signers: Verified) -> None:
        new = a_target("v3").to_file()
        edit = change_tags(with_signers, {"ci": [new]}, {"targets": ["v1", "gone"]}, ["release"], LATER)
        assert set(edit.targets) == {"targets", "ci", "release"}
        assert edit.root is None
        assert set(edit.targets["ci"].targets) == {"v2", "v3"}
        assert edit.targets["targets"].targets == {}
        assert edit.targets["release"].expires == LATER.replace(microsecond=0) + timedelta(days=365)

    def test_the_root_is_renewed_as_it_is(self, base: Verified) -> None:
        edit = change_tags(base, {}, {}, ["root"], LATER)
        assert root_of(edit).to_dict() == next_root(base, LATER).to_dict()
        assert root_of(edit).roles == base.root.roles


@pytest.mark.parametrize("name", ["targets", "ci"])
def test_a_role_whose_versions_were_used_up_says_so(team: Team, name: str) -> None:
    first = team.with_delegates(a_state(team=team), Delegate("ci"))
    last = {name: lambda body: body.update(version=strictjson.MAX_INTEGER)}
    found = checked(team.remake(first, last, bump=True))
    with pytest.raises(UsageError, match=f"{name} is at version 9007199254740991, and there is none above"):
        change_tags(found, {name: [a_target("v9").to_file()]}, {}, [], NOW)
