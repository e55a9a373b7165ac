"""What a proposal needs, which signatures count, and which files belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles, Targets

from tests.trust.builders import NOW, Delegate, Keyring, Team, a_state, a_target, a_team, checked, new_signer
from trust.errors import ConflictError, TamperedError
from trust.tuf.edits import KeyChange, NewSigner, add_signer, change_keys, change_tags, remove_signer
from trust.tuf.proposed import is_live, judge, merged, propose, sign_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

    from trust.tuf.proposed import Available, Proposed, RoleFile
    from trust.tuf.verified import Verified


def holds(ring: Keyring, *key_ids: str) -> Available:
    """Signs with these keys of a ring."""

    def some(wanted: Sequence[str], most: int) -> Sequence[Signer]:
        return [ring[key_id] for key_id in wanted if key_id in key_ids][:most]

    return some


def ids(team: Team, role: str) -> list[str]:
    keys = team.keys.get(role) or team.delegated[role]
    return [str(key.keyid) for key in keys.keys]


def files(proposed: Proposed) -> dict[str, RoleFile]:
    return {draft.role: draft.metadata for draft in proposed.drafts}


@pytest.fixture
def team() -> Team:
    return a_team(thresholds={"root": 2, "targets": 2})


@pytest.fixture
def base(team: Team) -> Verified:
    return checked(a_state(team=team))


def test_a_root_needs_the_old_threshold_and_its_own(team: Team, base: Verified) -> None:
    new = team.ring.key()
    proposed = propose(base, change_keys(base, "root", KeyChange((new,), threshold=3), NOW))
    assert proposed.lacking_words() == ("2 of the root so far", "3 of the new root")
    old = ids(team, "root")
    one = sign_with(proposed, base, holds(team.ring, old[0]))
    assert one.lacking_words() == ("1 of the root so far", "2 of the new root")
    two = sign_with(one, base, holds(team.ring, old[1]))
    assert two.lacking_words() == ("1 of the new root",)
    assert not two.is_complete
    three = sign_with(two, base, holds(team.ring, new.keyid))
    assert three.is_complete
    assert three.identity == proposed.identity, "signatures are no part of what is proposed"


def test_no_more_signatures_than_are_missing(team: Team, base: Verified) -> None:
    proposed = propose(base, change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
    everybody = sign_with(proposed, base, holds(team.ring, *ids(team, "targets"), *ids(team, "root")))
    assert set(everybody.drafts[0].metadata.signatures) == set(ids(team, "targets"))
    again = sign_with(everybody, base, holds(team.ring, *ids(team, "targets")))
    assert again.files() == everybody.files()


def test_a_file_is_needed_by_the_root_that_comes_with_it(team: Team, base: Verified) -> None:
    """A new targets key signs, and the old ones need not."""
    new = team.ring.key()
    edit = change_keys(base, "targets", KeyChange((new,), tuple(ids(team, "targets")), 1), NOW)
    proposed = propose(base, edit)
    assert [(draft.role, need.who, need.threshold) for draft in proposed.drafts for need in draft.needs] == [
        ("root", "the root so far", 2),
        ("root", "the new root", 2),
        ("targets", "targets", 1),
    ]
    signed = sign_with(proposed, base, holds(team.ring, new.keyid, *ids(team, "root")))
    assert signed.is_complete
    assert set(files(signed)["targets"].signatures) == {new.keyid}
    assert signed.targets is not None
    assert signed.root is not None


def test_a_signature_that_does_not_verify_never_counts(team: Team, base: Verified) -> None:
    proposed = propose(base, change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
    other = propose(base, change_tags(base, {"targets": [a_target("v3").to_file()]}, {}, [], NOW))
    signed = sign_with(other, base, holds(team.ring, *ids(team, "targets")))
    moved = files(proposed)["targets"]
    moved.signatures = files(signed)["targets"].signatures
    stranger = new_signer()
    moved.sign(stranger, append=True)
    found = judge(base, {"targets": moved})
    assert found.lacking_words() == ("2 of targets",)
    assert found.drafts[0].metadata.signatures == {}
    assert (found.root, found.targets is not None) == (None, True)


def test_copies_are_put_together(team: Team, base: Verified) -> None:
    proposed = propose(base, change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
    one, other = (sign_with(proposed, base, holds(team.ring, key_id)) for key_id in ids(team, "targets"))
    assert not one.is_complete
    assert not other.is_complete
    assert merged(one, other, base).is_complete
    assert merged(one, one, base).files() == one.files()
    assert not one.is_complete, "neither is changed"


def test_what_is_overtaken(team: Team, base: Verified) -> None:
    proposed = propose(base, change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
    after = checked(team.put(base.state, a_target("v3")))
    with pytest.raises(ConflictError, match="it has targets 2, and the state has targets 2 already"):
        judge(after, files(proposed))
    ahead = files(proposed)
    ahead["targets"].signed.version = 7
    with pytest.raises(ConflictError, match="it has targets 7"):
        judge(base, ahead)


class TestWhatBelongsTogether:
    """Each file is signed by itself; anybody can take one away, or bring one from elsewhere."""

    @pytest.fixture
    def team(self) -> Team:
        return a_team()

    def test_who_leaves_is_what_the_files_say(self, team: Team) -> None:
        base = checked(team.with_delegates(a_state(team=team), Delegate("ci"), Delegate("release")))
        assert propose(base, remove_signer(base, "ci", NOW)).removed == {"ci"}
        assert propose(base, change_tags(base, {}, {}, ["ci"], NOW)).removed == frozenset()

    def test_with_a_signer_go_those_it_delegates_to(self, team: Team) -> None:
        first = team.with_delegates(a_state(team=team), Delegate("ci"), Delegate("deep", parent="ci"))
        base = checked(first)
        assert propose(base, remove_signer(base, "ci", NOW)).removed == {"ci", "deep"}

    def test_a_new_signers_file_was_taken_away(self, base: Verified) -> None:
        proposed = propose(base, add_signer(base, NewSigner("ci", (new_signer().public_key,)), NOW))
        del (rest := files(proposed))["ci"]
        with pytest.raises(TamperedError, match="delegates to ci, and has no role file of it"):
            judge(base, rest)

    def test_a_file_to_which_nobody_delegates(self, base: Verified) -> None:
        stranger: Metadata[Targets] = Metadata(Targets())
        with pytest.raises(TamperedError, match="a file of 'ci', to which nobody delegates"):
            judge(base, {"ci": stranger})

    def test_a_file_of_one_who_leaves(self, team: Team) -> None:
        base = checked(team.with_delegates(a_state(team=team), Delegate("ci")))
        both = files(propose(base, remove_signer(base, "ci", NOW)))
        both |= files(propose(base, change_tags(base, {}, {}, ["ci"], NOW)))
        with pytest.raises(TamperedError, match="to which nobody delegates"):
            judge(base, both)

    def test_a_signer_that_two_delegate_to(self, team: Team) -> None:
        base = checked(team.with_delegates(a_state(team=team), Delegate("ci"), Delegate("release")))
        edit = change_tags(base, {}, {}, ["ci"], NOW)
        key = new_signer().public_key
        edit.targets["ci"].delegations = Delegations(
            {key.keyid: key}, {"release": DelegatedRole("release", [key.keyid], 1, terminating=False, paths=["*"])}
        )
        with pytest.raises(TamperedError, match="'release' is delegated twice"):
            propose(base, edit)

    def test_hash_bins_without_end_do_not_fill_the_memory(self, base: Verified) -> None:
        edit = change_tags(base, {}, {}, ["targets"], NOW)
        key = new_signer().public_key
        edit.targets["targets"].delegations = Delegations(
            {key.keyid: key}, succinct_roles=SuccinctRoles([key.keyid], 1, 32, "bin")
        )
        with pytest.raises(TamperedError, match="4294967296 bins"):
            propose(base, edit)


def test_whether_it_is_live_already() -> None:
    team = a_team()
    base = checked(a_state(team=team))
    new = team.ring.key()
    for edit in (
        change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW),
        change_keys(base, "root", KeyChange((new,)), NOW),
        add_signer(base, NewSigner("ci", (new,)), NOW),
    ):
        proposed = propose(base, edit)
        assert not is_live(proposed, base)
    put = propose(base, change_tags(base, {"targets": [a_target("v2").to_file()]}, {}, [], NOW))
    assert is_live(put, checked(team.put(base.state, a_target("v2"))))
    assert not is_live(put, checked(team.put(base.state, a_target("v3"))))
