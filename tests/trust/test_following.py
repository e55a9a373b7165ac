"""Proposals that go on by themselves, and what an attacker who may push makes of that: nothing.

Whatever is in a registry, anybody who may push there can have put. So no key signs on its own what its holder
has not signed, or what does not follow from what others signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, TargetFile, Targets

from tests.doubles.faulty_registry import Status
from tests.trust.builders import V2, a_target, new_signer
from tests.trust.teams import Crew, a_crew
from tests.trust.writing import NOW, live, plain_image, put_sample, remote
from trust.errors import ConflictError, KeyUnavailableError, UnsignedError
from trust.following import includes, proposes, waiting_tags
from trust.proposals import PROPOSAL_TYPE, Proposal, contents, store_proposal, tags_of
from trust.repo import refresh
from trust.rolefiles import encode_files, put_files
from trust.sign import sign
from trust.tuf.edits import change_tags, remove_signer
from trust.tuf.proposed import judge, propose, sign_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.team import Outcome
    from trust.tuf.edits import Edit
    from trust.tuf.verified import Verified

EVIL = a_target("evil", V2)


@pytest.fixture
def crew(people: People) -> Crew:
    return a_crew(people)


@pytest.fixture
def ann(crew: Crew) -> Person:
    return crew.found()


def plant(crew: Crew, files: dict[str, bytes]) -> str:
    """Put files into a proposal, as anybody may who may push."""
    manifest = encode_files(files, PROPOSAL_TYPE)
    tag = f"_trust-proposal.{manifest.digest.hex[:12]}"
    put_files(crew.store, manifest, files, tag)
    return tag


def only(crew: Crew, files: dict[str, bytes]) -> None:
    """Put files into a proposal, in the place of every other."""
    for tag in tags_of(crew.store.tags(1000)):
        crew.store.untag(tag)
    plant(crew, files)


class TestNewSigners:
    """A new signer's first file has no signature yet: who proposed it vouches for nothing in it."""

    def bent(self, outcome: Outcome, change: Callable[[Targets], None]) -> dict[str, bytes]:
        files = contents(outcome.proposed)
        metadata = Metadata[Targets].from_bytes(files["1.ci.json"])
        change(metadata.signed)
        return files | {"1.ci.json": metadata.to_bytes()}

    @staticmethod
    def add_a_tag(first: Targets) -> None:
        first.targets["evil"] = EVIL.to_file()

    @staticmethod
    def change_an_adopted_tag(first: Targets) -> None:
        first.targets["v1"].hashes["sha256"] = "e" * 64

    @staticmethod
    def drop_an_adopted_tag(first: Targets) -> None:
        first.targets.clear()

    @staticmethod
    def delegate_further(first: Targets) -> None:
        key = new_signer().public_key
        role = DelegatedRole("mallory", [key.keyid], 1, terminating=False, paths=["*"])
        first.delegations = Delegations({key.keyid: key}, {"mallory": role})

    @staticmethod
    def live_for_ever(first: Targets) -> None:
        first.expires = NOW.replace(year=2099)

    @staticmethod
    def add_a_field(first: Targets) -> None:
        first.unrecognized_fields["note"] = "x"

    @pytest.mark.parametrize(
        "change",
        [
            "add_a_tag",
            "change_an_adopted_tag",
            "drop_an_adopted_tag",
            "delegate_further",
            "live_for_ever",
            "add_a_field",
        ],
    )
    def test_what_somebody_wrote_into_it_is_not_signed(self, crew: Crew, ann: Person, change: str) -> None:
        crew.push(ann, "v1", "one")
        outcome = crew.add(ann, "ci", "ci", adopt=True)
        only(crew, self.bent(outcome, getattr(self, change)))
        ci = crew("ci", "ci")
        with pytest.raises(UnsignedError):
            crew.push(ci, "v2", "two")
        found = live(crew.store)
        assert (found.version, found.tags, set(found.targets)) == (2, ("v1",), {"targets"})

    def test_the_honest_one_beside_it_is_completed(self, crew: Crew, ann: Person) -> None:
        crew.push(ann, "v1", "one")
        outcome = crew.add(ann, "ci", "ci", adopt=True)
        for change in (self.add_a_tag, self.delegate_further):
            plant(crew, self.bent(outcome, change))
        crew.push(crew("ci", "ci"), "v2", "two")
        assert live(crew.store).tags == ("v1", "v2")

    def test_whoever_looks_at_it_may_still_sign_it(self, crew: Crew, ann: Person) -> None:
        """To approve is to decide."""
        crew.push(ann, "v1", "one")
        outcome = crew.add(ann, "ci", "ci", adopt=True)
        only(crew, self.bent(outcome, self.live_for_ever))
        assert crew.approve(crew("ci", "ci")).state is not None

    def test_a_key_that_cannot_be_used_is_said(self, crew: Crew, ann: Person, people: People) -> None:
        crew.add(ann, "ci", "ci")
        crew.key("ci")
        locked = people("locked", "ci", passphrase=b"not this one")
        locked.pins = ann.pins
        with pytest.raises(KeyUnavailableError):
            crew.push(locked, "v1", "one")


class TestPlanted:
    """Unsigned files that nobody asked for."""

    def test_nobody_signs_them_by_pushing(self, crew: Crew, ann: Person) -> None:
        """Neither as they are, nor merged into what was pushed meanwhile."""
        crew.push(ann, "v1", "one")
        base = live(crew.store)
        evil = propose(base, change_tags(base, {"targets": [EVIL.to_file()]}, {}, [], NOW))
        plant(crew, contents(evil))
        for tag in ("v2", "v3"):
            crew.push(ann, tag, tag)
            plant(crew, contents(evil))
        assert live(crew.store).tags == ("v1", "v2", "v3")
        for proposal in crew.proposals(ann):
            assert not any(draft.metadata.signatures for draft in proposal.proposed.drafts)

    def test_a_stripped_proposal_hinders_nobody(self, crew: Crew, ann: Person) -> None:
        """Each file is signed by itself, and without the signer's own no state could hold them."""
        outcome = crew.add(ann, "ci", "ci")
        files = contents(outcome.proposed)
        del files["1.ci.json"]
        only(crew, files)
        crew.push(ann, "v1", "one")
        assert live(crew.store).tags == ("v1",)
        assert any("delegates to ci, and has no role file of it" in text for text in ann.warnings)

    def test_one_that_is_old_is_completed(self, crew: Crew, ann: Person) -> None:
        root_only = crew("root-only", "root")
        crew.rotate(root_only, "root", add=("root-b",))
        late = ann.later(days=364)
        refresh(late.writer(crew.store))
        assert crew.key_id("root-b") in live(crew.store).root.roles["root"].keyids, "while it is fresh it is completed"

    def test_one_that_has_expired_hinders_nobody(self, crew: Crew, ann: Person) -> None:
        """A complete root that nobody published for a year: whoever can publish is told, and goes on."""
        crew.rotate(crew("root-only", "root"), "root", add=("root-b",))
        late = ann.later(days=366)
        refresh(late.writer(crew.store))
        assert any("is left out: the trust data has expired" in text for text in late.warnings), late.warnings

    def test_two_that_exclude_each_other(self, crew: Crew, ann: Person) -> None:
        """A signer signs a tag and is removed: both wait for a publisher, and one goes first."""
        both = crew("both", "root", "targets", "publish", "ci")
        crew.add(both, "ci", "ci", publishes=False)
        crew.push(crew("ci", "ci"), "v1", "one")
        crew.remove(crew("no-publisher", "root", "targets"), "ci")
        assert len(crew.proposals(ann)) == 2
        refresh(ann.writer(crew.store))
        assert "ci" not in live(crew.store).targets
        assert crew.onlooker("eve").verdict(crew.store, "v1") in {"missing", "unsigned"}


class TestKeptAlive:
    """A state goes on while a proposal waits."""

    @pytest.fixture
    def ben(self, crew: Crew) -> Person:
        """One of two who must sign targets; ann holds both keys."""
        crew.found(roles={"targets": ("targets", "targets-b")}, thresholds={"targets": 2})
        return crew("ben", "targets", "publish")

    def test_the_key_that_signed_it_signs_it_again(self, crew: Crew, ann: Person) -> None:
        """Ann proposes a signer, and goes on to push tags herself: the proposal follows."""
        crew.add(ann, "ci", "ci")
        crew.push(ann, "v1", "one")
        (proposal,) = crew.proposals(ann)
        assert proposal.problem is None
        assert proposal.proposed.lacking_words() == ("1 of ci",)
        crew.push(crew("ci", "ci"), "v2", "two")
        assert live(crew.store).tags == ("v1", "v2")

    def test_no_other_key_does(self, crew: Crew, ben: Person) -> None:
        """Whoever pushes has not approved what else is proposed, even if one of the keys is theirs."""
        signed = ben.push(crew.store, "v1", plain_image("one"))
        assert signed.proposal is not None
        crew.push(crew("ann"), "v2", "two")
        (proposal,) = crew.proposals(ben)
        assert proposal.proposed.lacking_words() == ("1 of targets",)
        (draft,) = proposal.proposed.drafts
        assert set(draft.metadata.signatures) == {crew.key_id("targets")}
        assert crew.approve(crew("other", "targets-b")).state is None
        refresh(ben.writer(crew.store))
        assert live(crew.store).tags == ("v1", "v2")

    def test_where_the_key_that_signed_it_is_elsewhere_it_is_overtaken(self, crew: Crew) -> None:
        crew.found(roles={"targets": ("targets", "targets-b", "targets-c")}, thresholds={"targets": 2})
        first = crew("a", "targets").push(crew.store, "v1", plain_image("one"))
        second = crew("b", "targets-b").push(crew.store, "v2", plain_image("two"))
        assert crew.approve(crew("c", "targets-c", "publish"), second.proposal).state is not None
        (proposal,) = crew.proposals(crew("a"))
        assert proposal.id == first.proposal
        assert isinstance(proposal.problem, ConflictError)
        again = crew("a").push(crew.store, "v1", plain_image("one"))
        assert crew.approve(crew("c"), again.proposal).state is not None
        assert live(crew.store).tags == ("v1", "v2")

    def test_an_overtaken_root_is_reported_as_overtaken(self, crew: Crew, people: People) -> None:
        ann = crew.found(roles={"root": ("root", "root-b")}, thresholds={"root": 2})
        one = crew("one", "root")
        outcome = crew.rotate(one, "root", add=("root-c",))
        crew.rotate(ann, "root", add=("root-d",))
        (proposal,) = crew.proposals(ann)
        assert proposal.id == outcome.proposal
        assert isinstance(proposal.problem, ConflictError)
        assert "it has root 2, and the state has root 2 already" in proposal.problem.message
        with pytest.raises(ConflictError, match="the proposal was overtaken"):
            crew.approve(crew("two", "root-b"), outcome.proposal)
        assert live(crew.store).root.version == 2

    def test_two_who_add_the_same_signer(self, crew: Crew, ann: Person) -> None:
        """The one that is not needed any more is overtaken, and hinders nobody."""
        crew.add(ann, "ci", "ci", publishes=False)
        crew.add(crew("both", "root", "targets", "publish", "ci-b"), "ci", "ci-b", publishes=False)
        (proposal,) = crew.proposals(ann)
        assert isinstance(proposal.problem, ConflictError)
        crew.push(crew("b", "ci-b"), "v1", "one")

    def test_a_signer_that_left_takes_its_proposals_along(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci")
        crew.add(both, "ci", "ci", "ci-b", threshold=2, publishes=False)
        crew.approve(crew("b", "ci-b"))
        refresh(ann.writer(crew.store))
        crew("ci", "ci").push(crew.store, "v1", plain_image("one"))
        crew.remove(ann, "ci")
        (proposal,) = crew.proposals(ann)
        assert proposal.problem is not None
        assert "to which nobody delegates" in proposal.problem.message

    def test_a_registry_that_fails_then_does_not_undo_the_push(self, people: People, server: FaultyRegistry) -> None:
        """What was asked for is live, and its tag moves."""
        crew = Crew(people, remote(server.host))
        ann = crew.found()
        crew.add(ann, "ci", "ci")
        server.fail("PUT", "manifests/_trust-proposal", Status(503), times=None)
        digest = crew.push(ann, "v1", "one")
        assert crew.store.resolve("v1") == digest
        assert any("could not be brought up to the new state" in text for text in ann.warnings)


class TestTags:
    def test_an_image_that_is_not_there_moves_no_tag(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci")
        crew.add(both, "ci", "ci", publishes=False)
        manifest = put_sample(crew.store, "v1", "one")
        signed = sign(crew.store, "v1", "v2", crew("ci", "ci").signer(crew.store))
        assert signed.proposal is not None
        crew.store.untag("v1")
        for path in (crew.store.path / "blobs" / "sha256").glob(manifest.digest.hex):  # type: ignore[attr-defined]
            path.unlink()
        refresh(ann.writer(crew.store))
        assert "v2" in live(crew.store).tags
        assert "v2" not in crew.store.tags(100)

    def test_an_empty_proposal_is_one_that_was_discarded(self, crew: Crew, ann: Person) -> None:
        store_proposal(crew.store, judge(live(crew.store), {}), live(crew.store).identity)
        assert crew.proposals(ann) == ()


class TestWhatOneWhoDoesNotPublishProposes:
    """What is carried over into the next proposal, and what is left alone."""

    @pytest.fixture
    def base(self, crew: Crew) -> Verified:
        crew.found()
        crew.add(crew("both", "root", "targets", "publish", "ci"), "ci", "ci", publishes=False)
        crew.push(crew("all", "ci", "publish"), "v1", "one")
        return live(crew.store)

    def a_proposal(self, crew: Crew, base: Verified, edit: Edit, *labels: str) -> Proposal:
        proposed = sign_with(propose(base, edit), base, crew("signs", *labels).signing.some)
        return Proposal(proposed.identity[:12], proposed, base.identity)

    def test_its_tags(self, crew: Crew, base: Verified) -> None:
        new = a_target("v2").to_file()
        edit = change_tags(base, {"ci": [new]}, {}, [], NOW)
        complete = self.a_proposal(crew, base, edit, "ci")
        assert waiting_tags(complete, base, ("ci",)) == [new]
        assert includes(complete.proposed, complete, base)
        assert proposes(complete, base, a_target("v2", now=NOW), ("ci",))
        assert not proposes(complete, base, a_target("v2", V2), ("ci",))
        assert not proposes(complete, base, a_target("v3"), ("ci",))
        assert not proposes(complete, base, a_target("v2"), ("targets",))
        assert waiting_tags(complete, base, ("ci", "targets")) == []

    def test_not_what_lacks_a_signature(self, crew: Crew, base: Verified) -> None:
        edit = change_tags(base, {"ci": [a_target("v2").to_file()]}, {}, [], NOW)
        lacking = self.a_proposal(crew, base, edit, "publish")
        assert waiting_tags(lacking, base, ("ci",)) == []
        assert not includes(lacking.proposed, lacking, base)

    def test_not_what_takes_something_away(self, crew: Crew, base: Verified) -> None:
        dropped = self.a_proposal(crew, base, change_tags(base, {}, {"ci": ["v1"]}, [], NOW), "ci")
        assert waiting_tags(dropped, base, ("ci",)) == []
        removed = self.a_proposal(crew, base, remove_signer(base, "ci", NOW), "targets")
        assert waiting_tags(removed, base, ("targets",)) == []

    def test_a_target_without_custom_fields(self, crew: Crew, base: Verified) -> None:
        bare = TargetFile(12, {"sha256": "a" * 64}, "v2")
        edit = change_tags(base, {"ci": [bare]}, {}, [], NOW)
        assert not proposes(self.a_proposal(crew, base, edit, "ci"), base, a_target("v2"), ("ci",))
