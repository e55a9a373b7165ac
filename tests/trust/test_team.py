"""Who may sign what: signers, publishers, and pushes by people who hold a part of the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.peers.proxy import RecordingProxy
from tests.trust.teams import Crew, a_crew
from tests.trust.writing import live, plain_image, put_sample, remote
from trust.errors import ConflictError, KeyUnavailableError, TamperedError, UnsignedError, UsageError
from trust.oci.layout import Layout
from trust.proposals import MAX_PROPOSALS, PROPOSAL_TYPE
from trust.repo import refresh
from trust.revoke import plan_revocation, revoke
from trust.rolefiles import encode_files, put_files
from trust.sign import sign
from trust.states import POINTER_TAG
from trust.team import carry_out, check_signer_name, plan_replacement, plan_rotation, plan_signer, preview
from trust.tuf.edits import KeyChange, NewSigner

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.digest import Digest


@pytest.fixture
def crew(people: People) -> Crew:
    return a_crew(people)


@pytest.fixture
def ann(crew: Crew) -> Person:
    return crew.found()


def things(crew: Crew) -> int:
    """How many blobs and manifests the folder has: nothing was sent where their number stays."""
    assert isinstance(crew.store, Layout)
    return len(list((crew.store.path / "blobs" / "sha256").iterdir()))


def publishers(crew: Crew, role: str = "timestamp") -> set[str]:
    return set(live(crew.store).root.roles[role].keyids)


def with_signers(crew: Crew, ann: Person, *names: str, **how: object) -> dict[str, Person]:
    """Each with a key of its own, live."""
    machines = {}
    for name in names:
        machines[name] = crew(name, name)
        crew.add(ann, name, name, **how)  # type: ignore[arg-type]
        crew.push(machines[name], f"{name}-first", name, name)
    return machines


class TestNames:
    @pytest.mark.parametrize("name", ["ci", "a", "release_2026", "a" + "0" * 31])
    def test_that_signers_may_have(self, name: str) -> None:
        assert check_signer_name(name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "root",
            "targets",
            "snapshot",
            "timestamp",
            "releases",
            "",
            "CI",
            "1a",
            "_a",
            "a-b",
            "a.b",
            "a b",
            "ci\n",
            "é",
            "a" * 33,
        ],
    )
    def test_that_none_may_have(self, name: str) -> None:
        with pytest.raises(UsageError, match="invalid signer name"):
            check_signer_name(name)

    def test_none_is_made_with_such_a_name(self, crew: Crew, ann: Person) -> None:
        with pytest.raises(UsageError, match="invalid signer name 'releases'"):
            crew.add(ann, "releases", "ci")


class TestComing:
    def test_at_once_where_its_key_is_here(self, crew: Crew) -> None:
        crew.found()
        both = crew("both", "root", "targets", "publish", "ci")
        assert crew.add(both, "ci", "ci").state is not None
        assert live(crew.store).role("ci").keyids == [crew.key_id("ci")]
        assert publishers(crew) == publishers(crew, "snapshot") == {crew.key_id("publish"), crew.key_id("ci")}

    def test_else_with_its_first_push(self, crew: Crew, ann: Person) -> None:
        """It needs no secret but its own key, and nobody else has to do anything."""
        outcome = crew.add(ann, "ci", "ci")
        assert outcome.state is None
        assert outcome.proposed.lacking_words() == ("1 of ci",)
        assert "ci" not in live(crew.store).targets
        ci = crew("ci", "ci")
        digest = crew.push(ci, "v1", "one")
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == digest
        assert live(crew.store).signers_of("v1") == ("ci",)
        assert crew.proposals(ann) == ()
        assert ci.warnings[0].startswith("completed proposal ")

    def test_with_its_first_signature_of_what_is_there(self, crew: Crew, ann: Person) -> None:
        crew.add(ann, "ci", "ci")
        ci = crew("ci", "ci")
        put_sample(crew.store, "v1", "one")
        signed = sign(crew.store, "v1", "v1", ci.signer(crew.store))
        assert signed.roles == ("ci",)
        assert ann.verdict(crew.store, "v1") == "trusted"

    def test_a_dry_run_shows_who_comes_and_writes_nothing(self, people: People, server: FaultyRegistry) -> None:
        with RecordingProxy(server.host) as proxy:
            crew = Crew(people, remote(proxy.address))
            ann = crew.found()
            crew.push(ann, "v1", "one")
            proxy.clear()
            writer = ann.writer(crew.store)
            found = preview(writer, plan_signer(writer, NewSigner("ci", (crew.key("ci"),)), ann.now, adopt=True))
            assert [role.role for role in found.roles if role.is_new] == ["ci"]
            assert proxy.requests
            assert proxy.writes == ()

    def test_nobody_here_has_a_say(self, crew: Crew, ann: Person) -> None:
        eve = crew("eve", "other-root")
        with pytest.raises(UnsignedError, match="no key that has a say in this is on this machine"):
            crew.add(eve, "eve", "other-targets")
        assert crew.proposals(ann) == ()

    def test_one_may_propose_oneself_and_others_decide(self, crew: Crew, ann: Person) -> None:
        eve = crew("eve", "other-root")
        outcome = crew.add(eve, "eve", "other-root")
        assert outcome.proposed.lacking_words() == ("1 of the root so far", "1 of the new root", "1 of targets")
        crew.push(ann, "v1", "one")
        assert "eve" not in live(crew.store).targets

    def test_a_key_that_cannot_be_used_changes_nothing(self, crew: Crew, people: People, ann: Person) -> None:
        wrong = people("wrong", "root", "targets", "publish", passphrase=b"not this one")
        wrong.pins = ann.pins
        before = crew.store.resolve(POINTER_TAG)
        with pytest.raises(KeyUnavailableError):
            crew.add(wrong, "ci", "ci")
        assert crew.store.resolve(POINTER_TAG) == before
        assert crew.proposals(ann) == ()

    def test_two_ids_for_one_key_are_refused_before_anything_is_written(self, crew: Crew, ann: Person) -> None:
        from securesystemslib.signer import SSlibKey

        key = crew.key("ci")
        assert isinstance(key, SSlibKey)
        twin = SSlibKey("f" * 64, key.keytype, key.scheme, key.keyval)
        writer = crew("both", "root", "targets", "publish", "ci").writer(crew.store)
        edit = plan_signer(writer, NewSigner("ci", (key, twin), 2), ann.now, adopt=False)
        before = crew.store.resolve(POINTER_TAG)
        with pytest.raises(TamperedError, match="id"):
            carry_out(writer, edit)
        assert crew.store.resolve(POINTER_TAG) == before


class TestSigning:
    def test_in_every_role_whose_key_is_here_and_whose_patterns_match(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        crew.add(both, "ci", "ci")
        crew.add(both, "release", "release", patterns=("v*",))
        crew.push(both, "v1", "one")
        crew.push(both, "nightly", "two")
        found = live(crew.store)
        assert found.signers_of("v1") == ("ci", "release")
        assert found.signers_of("nightly") == ("ci",)
        assert found.targets["targets"].targets == {}, "never in targets once there are signers"

    def test_only_as_the_signer_that_was_asked_for(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        for name in ("ci", "release"):
            crew.add(both, name, name)
        crew.push(both, "v1", "one", "release")
        assert live(crew.store).signers_of("v1") == ("release",)

    def test_a_later_role_that_an_earlier_one_shadows_is_refused_before_the_upload(
        self, crew: Crew, ann: Person
    ) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        for name in ("ci", "release"):
            crew.add(both, name, name)
        old = crew.push(both, "v1", "one")
        before, image = things(crew), plain_image("two")
        with pytest.raises(UnsignedError, match=f"would still resolve to {old}"):
            both.push(crew.store, "v1", image, signers=("release",))
        assert things(crew) == before

    @pytest.mark.parametrize("tag", ["latest", "V1", "w1"])
    def test_a_tag_that_the_patterns_do_not_cover_is_refused_before_the_upload(
        self, crew: Crew, ann: Person, tag: str
    ) -> None:
        ci = with_signers(crew, ann, "ci", patterns=("v*", "ci-*"))["ci"]
        before, image = things(crew), plain_image("one")
        with pytest.raises(UnsignedError, match=f"may sign the tag '{tag}': no signer's patterns cover it"):
            ci.push(crew.store, tag, image)
        assert things(crew) == before

    def test_what_targets_signs_would_shadow_it_and_adopting_is_the_way_out(self, crew: Crew, ann: Person) -> None:
        """Also where the signer only proposes: it is known before the upload."""
        old = crew.push(ann, "v1", "one")
        crew.add(ann, "ci", "ci")
        ci = crew("ci", "ci")
        before, image = things(crew), plain_image("two")
        with pytest.raises(UnsignedError, match=f"would still resolve to {old}") as caught:
            ci.push(crew.store, "v1", image)
        assert "--adopt" in (caught.value.hint or "")
        assert things(crew) == before
        crew.push(ci, "v2", "two")
        writer = ann.writer(crew.store)
        outcome = carry_out(writer, plan_signer(writer, NewSigner("ci", ()), ann.now, adopt=True))
        assert outcome.proposed.lacking_words() == ("1 of ci",)
        assert crew.approve(ci).state is not None
        assert live(crew.store).signers_of("v1") == ("ci",)
        new = crew.push(ci, "v1", "two")
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == new

    def test_the_shadow_is_seen_in_a_proposal_too(self, crew: Crew, ann: Person) -> None:
        crew.push(ann, "v1", "one")
        crew.add(crew("both", "root", "targets", "publish", "ci"), "ci", "ci", publishes=False)
        before, image = things(crew), plain_image("two")
        with pytest.raises(UnsignedError, match="another role that signs it goes before"):
            crew("ci", "ci").push(crew.store, "v1", image)
        assert things(crew) == before

    def test_adopted_from_the_start(self, crew: Crew, ann: Person) -> None:
        digest = crew.push(ann, "v1", "one")
        crew.add(ann, "ci", "ci", adopt=True)
        ci = crew("ci", "ci")
        crew.push(ci, "v2", "two")
        found = live(crew.store)
        assert found.signers_of("v1") == found.signers_of("v2") == ("ci",)
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == digest


class TestLeaving:
    def test_takes_its_tags_and_its_right_to_publish_along(self, crew: Crew, ann: Person) -> None:
        ci = with_signers(crew, ann, "ci", "release")["ci"]
        outcome = crew.remove(ann, "ci")
        assert outcome.state is not None
        assert [(tag.tag, tag.after) for tag in outcome.differences.tags] == [("ci-first", None)]
        eve = crew.onlooker("eve")
        assert (eve.verdict(crew.store, "ci-first"), eve.verdict(crew.store, "release-first")) == (
            "unsigned",
            "trusted",
        )
        assert publishers(crew) == publishers(crew, "snapshot") == {crew.key_id("publish"), crew.key_id("release")}
        with pytest.raises(UnsignedError, match="no key on this machine may sign the tag 'v2'"):
            crew.push(ci, "v2", "two")

    def test_keeps_the_names_last_version_and_one_that_comes_again_goes_on_above_it(
        self, crew: Crew, ann: Person
    ) -> None:
        ci = with_signers(crew, ann, "ci")["ci"]
        crew.push(ci, "v2", "two")
        eve = crew.onlooker("eve")
        eve.verdict(crew.store, "v2")
        last = live(crew.store).versions["ci"]
        crew.remove(ann, "ci")
        assert "ci" not in live(crew.store).targets
        assert live(crew.store).versions["ci"] == last
        assert eve.verdict(crew.store, "v2") == "unsigned"
        crew.add(ann, "ci", "ci-b")
        new = crew("new", "ci-b")
        crew.push(new, "v3", "three")
        assert live(crew.store).versions["ci"] == last + 2
        assert (eve.verdict(crew.store, "v3"), eve.verdict(crew.store, "v2")) == ("trusted", "unsigned")

    def test_after_the_last_one_targets_signs_again(self, crew: Crew, ann: Person) -> None:
        with_signers(crew, ann, "ci")
        crew.remove(ann, "ci")
        crew.push(ann, "v2", "two")
        assert live(crew.store).signers_of("v2") == ("targets",)

    def test_the_tag_moves_to_what_another_signer_says(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        for name in ("ci", "release"):
            crew.add(both, name, name)
        old = crew.push(both, "v1", "one", "release")
        new = crew.push(both, "v1", "two", "ci")
        assert crew.store.resolve("v1") == new
        crew.remove(both, "ci")
        assert crew.store.resolve("v1") == old
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == old


class TestRevoking:
    def test_from_every_role_that_signs_it(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        for name in ("ci", "release"):
            crew.add(both, name, name)
        crew.push(both, "v1", "one")
        writer = both.writer(crew.store)
        revoke(writer, plan_revocation(writer, "v1"))
        assert all("v1" not in targets.targets for targets in live(crew.store).targets.values())
        assert crew.onlooker("eve").verdict(crew.store, "v1") == "unsigned"

    def test_says_whose_key_is_missing_and_revokes_nothing(self, crew: Crew, ann: Person) -> None:
        both = crew("both", "root", "targets", "publish", "ci", "release")
        for name in ("ci", "release"):
            crew.add(both, name, name)
        crew.push(both, "v1", "one")
        ci = crew("ci", "ci")
        with pytest.raises(UnsignedError, match="release signs it, and the keys of release are not on this machine"):
            plan_revocation(ci.writer(crew.store), "v1")
        assert live(crew.store).signers_of("v1") == ("ci", "release")


class TestPublishingByOthers:
    """A push by somebody who may sign and not publish."""

    def pushed(self, crew: Crew, who: Person, tag: str, text: str) -> Digest:
        signed = who.push(crew.store, tag, plain_image(text))
        assert signed.state is None
        assert signed.proposal is not None
        assert signed.lacking == ()
        assert crew.store.has_manifest(signed.digest), "the image is there by digest"
        assert crew.store.resolve(tag) != signed.digest, "and its tag has not moved"
        return signed.digest

    @pytest.fixture
    def ci(self, crew: Crew, ann: Person) -> Person:
        crew.add(crew("both", "root", "targets", "publish", "ci"), "ci", "ci", publishes=False)
        return crew("ci", "ci")

    @pytest.fixture
    def bob(self, crew: Crew, ann: Person) -> Person:
        """A publisher who signs for bob-* alone."""
        return with_signers(crew, ann, "bob", patterns=("bob-*",))["bob"]

    def test_the_next_push_completes_it(self, crew: Crew, ci: Person, bob: Person) -> None:
        digest = self.pushed(crew, ci, "v1", "one")
        eve = crew.onlooker("eve")
        assert eve.verdict(crew.store, "v1") == "missing"
        crew.push(bob, "bob-2", "two")
        assert crew.store.resolve("v1") == digest
        assert eve.trusted_digest(crew.store, "v1") == digest
        assert eve.verdict(crew.store, "bob-2") == "trusted"
        assert crew.proposals(bob) == ()

    def test_the_next_signature_completes_it(self, crew: Crew, ci: Person, bob: Person) -> None:
        digest = self.pushed(crew, ci, "v1", "one")
        put_sample(crew.store, "bob-3", "three")
        sign(crew.store, "bob-3", "bob-3", bob.signer(crew.store))
        assert crew.store.resolve("v1") == digest

    def test_the_next_refresh_completes_it(self, crew: Crew, ci: Person, bob: Person) -> None:
        digest = self.pushed(crew, ci, "v1", "one")
        refresh(bob.writer(crew.store))
        assert crew.store.resolve("v1") == digest
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == digest

    def test_several_are_completed_together(self, crew: Crew, ci: Person, bob: Person) -> None:
        """Each proposal has the tags of those before it, and takes their place."""
        digests = {tag: self.pushed(crew, ci, tag, tag) for tag in ("v1", "v2", "v3")}
        assert len(crew.proposals(bob)) == 1
        refresh(bob.writer(crew.store))
        assert {tag: crew.onlooker("eve").trusted_digest(crew.store, tag) for tag in digests} == digests

    def test_the_same_tag_again_takes_its_place(self, crew: Crew, ci: Person, bob: Person) -> None:
        self.pushed(crew, ci, "v1", "one")
        digest = self.pushed(crew, ci, "v1", "another")
        assert len(crew.proposals(bob)) == 1
        refresh(bob.writer(crew.store))
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == digest

    def test_a_job_that_runs_again_proposes_nothing_new(self, crew: Crew, ci: Person, bob: Person) -> None:
        self.pushed(crew, ci, "v1", "one")
        before = crew.proposals(bob)
        self.pushed(crew, ci.later(minutes=5), "v1", "one")
        assert crew.proposals(bob) == before

    def test_one_who_holds_targets_and_no_publishing_key(self, crew: Crew, ann: Person) -> None:
        bob = crew("bob", "targets")
        digest = self.pushed(crew, bob, "v1", "one")
        crew.push(ann, "v2", "two")
        assert crew.store.resolve("v1") == digest
        assert live(crew.store).tags == ("v1", "v2")


class TestThresholds:
    """A signer that needs two: a pipeline proposes, and somebody approves."""

    @pytest.fixture
    def bot(self, crew: Crew, ann: Person) -> Person:
        everybody = crew("everybody", "root", "targets", "publish", "bot", "rel-a", "rel-b")
        outcome = crew.add(everybody, "release", "bot", "rel-a", "rel-b", threshold=2)
        assert outcome.state is not None
        return crew("bot", "bot")

    def test_a_push_proposes_and_the_approval_moves_the_tag(self, crew: Crew, bot: Person) -> None:
        signed = bot.push(crew.store, "v1", plain_image("one"))
        assert (signed.state, signed.lacking) == (None, ("1 of release",))
        assert crew.store.has_manifest(signed.digest)
        assert "v1" not in crew.store.tags(100)
        approver = crew("approver", "rel-a")
        outcome = crew.approve(approver, signed.proposal)
        assert outcome.state is not None
        assert crew.store.resolve("v1") == signed.digest
        assert crew.onlooker("eve").trusted_digest(crew.store, "v1") == signed.digest

    def test_nobody_approves_by_pushing(self, crew: Crew, ann: Person, bot: Person) -> None:
        """Not even who holds a key that could."""
        bot.push(crew.store, "v1", plain_image("one"))
        approver = crew("approver", "rel-a", "publish")
        refresh(approver.writer(crew.store))
        assert "v1" not in live(crew.store).tags
        (proposal,) = crew.proposals(approver)
        assert proposal.proposed.lacking_words() == ("1 of release",)

    def test_a_job_that_runs_again_proposes_nothing_new(self, crew: Crew, bot: Person) -> None:
        first = bot.push(crew.store, "v1", plain_image("one"))
        again = bot.later(minutes=9).push(crew.store, "v1", plain_image("one"))
        assert again.proposal == first.proposal
        assert len(crew.proposals(bot)) == 1

    def test_an_approver_who_proposes_the_same_approves_it(self, crew: Crew, bot: Person) -> None:
        first = bot.push(crew.store, "v1", plain_image("one"))
        approver = crew("approver", "rel-a")
        again = approver.push(crew.store, "v1", plain_image("one"))
        assert again.proposal == first.proposal
        refresh(crew("ann").writer(crew.store))
        assert crew.store.resolve("v1") == first.digest

    def test_two_keys_here_need_nobody(self, crew: Crew, bot: Person) -> None:
        both = crew("both", "rel-a", "rel-b")
        crew.push(both, "v1", "one")
        assert crew.onlooker("eve").verdict(crew.store, "v1") == "trusted"


def test_junk_beside_the_state_keeps_nobody_from_pushing(crew: Crew, ann: Person) -> None:
    files = {"2.targets.json": b"junk"}
    manifest = encode_files(files, PROPOSAL_TYPE)
    for number in range(MAX_PROPOSALS + 3):
        put_files(crew.store, manifest, files, f"_trust-proposal.{number:012x}")
    crew.push(ann, "v1", "one")
    assert crew.onlooker("eve").verdict(crew.store, "v1") == "trusted"
    assert any("holds 103 proposals: 100 are looked at" in text for text in ann.warnings)


def test_of_two_complete_ones_for_the_same_role_one_is_overtaken(crew: Crew, ann: Person) -> None:
    root_only = crew("root-only", "root")
    for label in ("root-b", "root-c"):
        crew.rotate(root_only, "root", add=(label,))
    refresh(ann.writer(crew.store))
    assert live(crew.store).root.version == 2
    (left,) = crew.proposals(ann)
    assert isinstance(left.problem, ConflictError)


def test_one_key_is_replaced_in_several_roles_at_once(crew: Crew, ann: Person) -> None:
    writer = crew("everybody", "root", "targets", "publish", "publish-b").writer(crew.store)
    edit = plan_replacement(
        writer, ("snapshot", "timestamp"), crew.key_id("publish"), (crew.key("publish-b"),), ann.now
    )
    assert carry_out(writer, edit).state is not None
    assert publishers(crew) == publishers(crew, "snapshot") == {crew.key_id("publish-b")}


def test_a_change_planned_on_a_state_that_went_on(crew: Crew, ann: Person) -> None:
    writer = ann.writer(crew.store)
    edit = plan_rotation(writer, "root", KeyChange((crew.key("root-b"),)), ann.now)
    crew.rotate(ann, "root", add=("root-c",))
    with pytest.raises(ConflictError):
        carry_out(ann.writer(crew.store), edit)
