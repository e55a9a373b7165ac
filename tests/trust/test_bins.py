"""Hash bins: a role's tags in many small files, of which each command reads and writes those that it needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import Status
from tests.trust.attackers import team_of
from tests.trust.builders import NOW, a_target, a_team, checked, put_state, signed_of, with_file
from tests.trust.writing import live, plain_image, put_sample, remote, state_of, then
from trust.copy import copy
from trust.errors import TamperedError, UnsignedError, UsageError
from trust.heads import covers
from trust.history import history
from trust.inspect import inspect
from trust.repo import init, lay_foundation, refresh
from trust.revoke import plan_revocation, revoke
from trust.states import encode
from trust.team import carry_out, plan_bins, plan_rotation, plan_signer
from trust.tuf.bins import advised, check_count
from trust.tuf.differences import moved
from trust.tuf.draft import Change, first_state, next_state, sign_fully, state_after, state_on
from trust.tuf.edits import KeyChange, NewSigner, rebin
from trust.tuf.join import join, same_content
from trust.tuf.proposed import propose
from trust.tuf.state import MAX_BINS, State, is_bin_file

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.oci.store import Store
    from trust.team import Outcome
    from trust.tuf.verified import Verified

BINS = 16
TAGS = tuple(f"v{number}" for number in range(40))


def begin(person: Person, store: Store, bins: int = BINS) -> Verified:
    person.roles = replace(person.roles, bins=bins)
    return init(person.writer(store), lambda: lay_foundation(person.keys, store.repository, person.roles)).verified


def sign_all(person: Person, store: Store, *tags: str, role: str = "targets") -> None:
    """Sign these tags in one state, and put one image under each."""
    writer = person.writer(store)
    manifest = put_sample(store, None)
    targets = tuple(replace(a_target(tag), digest=manifest.digest, length=manifest.size) for tag in tags)
    writer.publish(writer.plan(Change(put={role: targets})))
    for tag in tags:
        store.put_manifest(manifest, tag)


@pytest.fixture
def store(server: FaultyRegistry) -> Store:
    return remote(server.host)


@pytest.fixture
def ann(people: People, store: Store) -> Person:
    """She has signed 40 tags in 16 bins."""
    ann = people("ann")
    begin(ann, store)
    sign_all(ann, store, *TAGS)
    return ann


def blobs_read(server: FaultyRegistry, since: int) -> int:
    return sum(request.method == "GET" and "/blobs/" in request.path for request in server.requests[since:])


class TestReading:
    def test_a_tag_costs_its_bin_and_no_other(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        """The state, one bin, and where the registry's tag points."""
        bob = people.onlooker("bob", *ann.pins)
        since = len(server.requests)
        assert bob.verdict(store, "v7") == "trusted"
        assert [(request.method, "/blobs/" in request.path) for request in server.requests[since:]] == [
            ("GET", False),
            ("GET", True),
            ("HEAD", False),
        ]
        since = len(server.requests)
        assert bob.verdict(store, "v7") == "trusted"
        assert blobs_read(server, since) == 0, "the bin is remembered"

    def test_every_tag_is_found_and_no_other(self, store: Store, ann: Person, people: People) -> None:
        bob = people.onlooker("bob", *ann.pins)
        verified = bob.reader(store).read().verified
        assert verified.tags == tuple(sorted(TAGS))
        assert all(verified.signers_of(tag) == ("targets",) for tag in TAGS)
        assert verified.lookup("w1") is None
        assert verified.signers_of("w1") == ()
        assert set(verified.listing("targets")) == set(TAGS)

    def test_a_bin_that_cannot_be_fetched_is_no_verdict(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        server.fail("GET", "/blobs/", Status(503), times=9)
        assert people.onlooker("bob", *ann.pins).verdict(store, "v7") == "unreachable"

    def test_status_pages_name_the_role_and_no_bin(self, store: Store, ann: Person) -> None:
        found = inspect(store, ann.reader(store), ann.machine(), ann.signing)
        assert {item.role for item in found.roles} == {"root", "targets", "snapshot", "timestamp"}
        assert {item.tag for item in found.tags} == set(TAGS)
        assert {item.signers for item in found.tags} == {("targets",)}
        newest = history(store, ann.reader(store), ann.machine())[0]
        assert {(change.role, change.tag) for change in newest.changes} == {("targets", tag) for tag in TAGS}

    def test_it_lives_as_long_as_its_role(self, store: Store, ann: Person, people: People) -> None:
        assert people.onlooker("bob", *ann.pins).later(days=100).verdict(store, "v7") == "expired"
        refresh(ann.later(days=330).writer(store))
        assert people.onlooker("eve", *ann.pins).later(days=331).verdict(store, "v7") == "trusted"


class TestWriting:
    def test_a_push_reads_and_writes_one_bin(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        before = live(store).state
        ben = people("ben")
        ben.pins += ann.pins
        since = len(server.requests)
        signed = state_of(ben.push(store, "w1", plain_image("one")))
        after = live(store).state
        changed = {name for name in after.names if before.digest(name) != after.digest(name)}
        assert changed == {"snapshot", "timestamp", signed.verified.holder("targets", "w1")}
        assert blobs_read(server, since) <= 2
        assert ben.verdict(store, "w1") == ben.verdict(store, "v7") == "trusted"

    def test_a_tag_is_signed_again_and_revoked_where_it_is(self, store: Store, ann: Person) -> None:
        state_of(ann.push(store, "v7", plain_image("another")))
        assert ann.verdict(store, "v7") == "trusted"
        assert ann.push(store, "v7", plain_image("another")).unchanged
        writer = ann.writer(store)
        revocation = plan_revocation(writer, "v7")
        assert revocation.change.drop == {"targets": ("v7",)}
        revoke(writer, revocation)
        assert ann.verdict(store, "v7") == "unsigned"
        assert ann.verdict(store, "v8") == "trusted"
        writer = ann.writer(store)
        revoke(writer, plan_revocation(writer, None))
        assert live(store).tags == ()

    def test_what_the_registry_has_is_not_sent_again(self, server: FaultyRegistry, store: Store, ann: Person) -> None:
        since = len(server.requests)
        refresh(ann.writer(store))
        looked = [item for item in server.requests[since:] if item.method == "HEAD" and "/blobs/" in item.path]
        assert len(looked) < BINS

    def test_what_the_registry_has_collected_is_sent_again(
        self, server: FaultyRegistry, store: Store, ann: Person
    ) -> None:
        """A reckless garbage collector: the writer has the bin in its memory."""
        assert ann.verdict(store, "v7") == "trusted"
        state = live(store).state
        lost = state.digest(live(store).holder("targets", "v7"))
        del server.blobs["app"][str(lost)]
        refresh(ann.writer(store))
        assert str(lost) in server.blobs["app"]

    def test_a_copy_takes_all_bins_along(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        target = remote(server.host, "copy")
        bob = people.onlooker("bob", *ann.pins)
        copied = copy(store, target, None, bob.machine(), bob.uploads(target))
        assert {tag for tag, _ in copied.tags} == set(TAGS)
        assert all(bob.verdict(target, tag) == "trusted" for tag in TAGS[:5])


class TestRebin:
    def test_back_and_forth_changes_no_meaning(self, store: Store, ann: Person) -> None:
        before = live(store)
        for bins in (64, 0, 2):
            outcome = carry_out(ann.writer(store), plan_bins(ann.writer(store), "targets", bins, ann.now))
            assert outcome.differences.tags == ()
            assert outcome.state is not None
            after = live(store)
            assert len(after.bins) == bins
            assert after.tags == before.tags
            assert moved(before, after) == {}
        assert ann.push(store, "w1", plain_image("one")).state is not None
        assert ann.verdict(store, "w1") == ann.verdict(store, "v3") == "trusted"

    def test_bins_that_come_again_go_on_above_their_old_versions(self, store: Store, ann: Person) -> None:
        before = live(store).state.versions
        for bins in (0, BINS):
            carry_out(ann.writer(store), plan_bins(ann.writer(store), "targets", bins, ann.now))
        after = live(store).state.versions
        assert all(after[name] == before[name] + 1 for name in live(store).bins)

    @pytest.mark.parametrize("bins", [1, 3, 24, MAX_BINS * 2, -2])
    def test_numbers_that_cannot_be(self, bins: int) -> None:
        with pytest.raises(UsageError, match="power of two"):
            check_count(bins)

    def test_what_makes_no_sense(self, store: Store, ann: Person) -> None:
        base = live(store)
        with pytest.raises(UsageError, match="16 bins already"):
            rebin(base, "targets", BINS, NOW)
        with pytest.raises(UsageError, match="no signer"):
            rebin(base, "ghost", BINS, NOW)

    def test_whoever_lacks_the_key_is_told_who_has_it(self, store: Store, ann: Person, people: People) -> None:
        ben = people("ben", "publish")
        ben.pins += ann.pins
        with pytest.raises(UnsignedError, match="every bin"):
            plan_bins(ben.writer(store), "targets", 64, NOW)

    def test_advice(self) -> None:
        base = checked(a_team().first(*(a_target(f"t{number}") for number in range(2001))))
        assert advised(base.targets["targets"]) == 256
        base.targets["targets"].targets.popitem()
        base.targets["targets"].targets.popitem()
        assert advised(base.targets["targets"]) == 0


class TestSigners:
    @pytest.fixture
    def with_signer(self, people: People, store: Store) -> Person:
        ann = people("ann", "root", "targets", "publish", "release")
        begin(ann, store, 0)
        return ann

    def add(
        self,
        person: Person,
        store: Store,
        name: str,
        *,
        bins: int = 0,
        tags: tuple[str, ...] = ("*",),
        adopt: bool = False,
    ) -> None:
        signer = NewSigner(name, (person.keys.find("release").public,), patterns=tags, bins=bins)
        outcome = carry_out(person.writer(store), plan_signer(person.writer(store), signer, person.now, adopt=adopt))
        assert outcome.state is not None

    def test_a_signer_with_bins(self, store: Store, with_signer: Person) -> None:
        ann = with_signer
        self.add(ann, store, "ci", bins=BINS)
        signed = ann.push(store, "v1", plain_image("one"))
        assert signed.roles == ("ci",)
        verified = live(store)
        assert verified.signers_of("v1") == ("ci",)
        assert verified.targets["ci"].targets == {}
        assert tuple(verified.roles_for("v1")) == ("ci",)
        assert len(verified.bins) == BINS
        assert ann.verdict(store, "v1") == "trusted"

    def test_it_adopts_what_targets_has_in_bins(self, store: Store, ann: Person, people: People) -> None:
        amy = people("amy", "root", "targets", "publish", "release")
        amy.pins += ann.pins
        self.add(amy, store, "ci", bins=4, adopt=True)
        verified = live(store)
        assert verified.tags == tuple(sorted(TAGS))
        assert {verified.signers_of(tag) for tag in TAGS} == {("ci",)}
        assert len(verified.bins) == 4

    def test_without_adopting_targets_goes_on_without_bins(self, store: Store, ann: Person, people: People) -> None:
        amy = people("amy", "root", "targets", "publish", "release")
        amy.pins += ann.pins
        self.add(amy, store, "ci")
        verified = live(store)
        assert set(verified.targets["targets"].targets) == set(TAGS)
        assert verified.bins == {}

    def test_signers_without_bins_stand_before_those_with(self, store: Store, with_signer: Person) -> None:
        """Bins are terminating: nobody behind them would be asked."""
        ann = with_signer
        self.add(ann, store, "ci", bins=BINS)
        self.add(ann, store, "release")
        delegations = live(store).targets["targets"].delegations
        assert delegations is not None
        assert list(delegations.roles or ()) == ["release", "ci"]
        ann.push(store, "v1", plain_image("one"))
        assert live(store).signers_of("v1") == ("release", "ci")
        with pytest.raises(UsageError, match="only one can have bins"):
            self.add(ann, store, "other", bins=BINS)

    def test_two_with_bins_for_different_tags(self, store: Store, with_signer: Person) -> None:
        ann = with_signer
        self.add(ann, store, "ci", bins=BINS, tags=("v*",))
        self.add(ann, store, "rc", bins=BINS, tags=("rc-*",))
        ann.push(store, "v1", plain_image("one"))
        ann.push(store, "rc-1", plain_image("one"))
        assert live(store).signers_of("v1") == ("ci",)
        assert live(store).signers_of("rc-1") == ("rc",)

    def test_rebin_puts_a_signer_last(self, store: Store, with_signer: Person) -> None:
        ann = with_signer
        self.add(ann, store, "ci")
        self.add(ann, store, "release")
        ann.push(store, "v1", plain_image("one"))
        carry_out(ann.writer(store), plan_bins(ann.writer(store), "ci", BINS, ann.now))
        assert live(store).signers_of("v1") == ("release", "ci")
        assert live(store).holder("ci", "v1") != "ci"

    def test_a_key_that_changes_signs_all_bins_again(self, store: Store, with_signer: Person, people: People) -> None:
        ann = with_signer
        self.add(ann, store, "ci", bins=BINS)
        ann.push(store, "v1", plain_image("one"))
        old, new = ann.keys.find("release"), ann.keys.generate("new")
        change = KeyChange((new.public,), (old.key_id,))
        outcome = carry_out(ann.writer(store), plan_rotation(ann.writer(store), "ci", change, ann.now))
        assert outcome.state is not None
        verified = live(store)
        assert verified.role("ci").keyids == [new.key_id]
        used = verified.holder("ci", "v1")
        assert all(verified.payload(name).version == 2 + (name == used) for name in verified.bins)
        assert ann.verdict(store, "v1") == "trusted"

    def test_a_key_that_is_elsewhere_cannot_have_bins_at_once(
        self, store: Store, with_signer: Person, people: People
    ) -> None:
        stranger = people("bob", "other-root").keys.find("other-root").public
        with pytest.raises(UnsignedError, match="every bin") as caught:
            plan_signer(with_signer.writer(store), NewSigner("ci", (stranger,), bins=4), NOW, adopt=False)
        assert "repo rebin" in (caught.value.hint or "")


class TestJoin:
    TEAM = a_team()
    FIRST = checked(first_state(TEAM.terms, TEAM.keys, (a_target(),), TEAM.ring, NOW, BINS))

    def put(self, *tags: str, base: Verified = FIRST) -> Verified:
        change = Change(put={"targets": tuple(a_target(tag) for tag in tags)})
        return checked(next_state(base, change, signing=self.TEAM.ring, now=NOW))

    def joined(self, *heads: Verified, ancestor: Verified | None = FIRST) -> tuple[set[str], tuple[str, ...]]:
        ground = join(heads, ancestor, lambda _name, _role: self.TEAM.signers("targets"))
        state = checked(state_on(ground, signing=self.TEAM.ring, now=NOW))
        return set(state.tags), state.links.pending

    def test_two_bins_at_once_need_no_key(self) -> None:
        one, two = self.put("a"), self.put("b")
        assert one.holder("targets", "a") != two.holder("targets", "b")
        ground = join((one, two), self.FIRST, lambda _name, _role: None)
        assert ground.pending == ()

    def test_one_bin_at_once_is_merged(self) -> None:
        same = self.FIRST.holder("targets", "a")
        tag = next(tag for tag in (f"x{number}" for number in range(99)) if self.FIRST.holder("targets", tag) == same)
        assert self.joined(self.put("a"), self.put(tag)) == ({"v1", "a", tag}, ())

    def test_all_that_many_sides_signed(self) -> None:
        heads = [self.put(f"t{number}") for number in range(12)]
        assert self.joined(*heads) == ({"v1", *(f"t{number}" for number in range(12))}, ())
        assert not same_content(*heads[:2])

    def spread(self, count: int, base: Verified = FIRST) -> Verified:
        proposed = sign_fully(propose(base, rebin(base, "targets", count, NOW)), base, self.TEAM.ring)
        return checked(state_after(base, proposed, signing=self.TEAM.ring, now=NOW))

    @pytest.mark.parametrize("count", [0, 4, 64])
    def test_a_side_that_spreads_the_tags_anew_is_merged_with_one_that_signs(self, count: int) -> None:
        anew, other = self.spread(count), self.put("a", "b")
        for heads in permutations((anew, other)):
            ground = join(heads, self.FIRST, lambda _name, _role: self.TEAM.signers("targets"))
            state = checked(state_on(ground, signing=self.TEAM.ring, now=NOW))
            assert set(state.tags) == {"v1", "a", "b"}
            assert all(state.lookup(tag) is not None for tag in ("v1", "a", "b"))
            assert len(state.bins) == count
            assert state.links.pending == ()
            assert covers(state, anew)
            assert covers(state, other)

    def test_what_one_side_dropped_does_not_come_back_with_the_other_spread(self) -> None:
        change = Change(drop={"targets": ("v1",)})
        dropped = checked(next_state(self.FIRST, change, signing=self.TEAM.ring, now=NOW))
        assert self.joined(self.spread(4), dropped) == (set(), ())

    def test_without_the_key_it_is_pending_until_a_holder_joins(self) -> None:
        anew, other = self.spread(4), self.put("a")
        ground = join((anew, other), self.FIRST, lambda _name, _role: None)
        first = checked(state_on(ground, signing=self.TEAM.ring, now=NOW))
        assert first.links.pending == (other.identity,)
        assert self.joined(first, other) == ({"v1", "a"}, ())

    def test_one_that_changed_nothing_there_is_part_of_it(self) -> None:
        assert self.joined(self.spread(4), self.FIRST) == ({"v1"}, ())


class TestAttacks:
    """A publisher, or somebody who runs the registry, against bins."""

    TEAM = a_team()
    STATE = first_state(TEAM.terms, TEAM.keys, (a_target(), a_target("v2")), TEAM.ring, NOW, BINS)

    def test_a_bin_that_the_snapshot_does_not_bind(self) -> None:
        base = checked(self.STATE)
        mine, other = (base.holder("targets", tag) for tag in ("v1", "v2"))
        assert mine != other
        with pytest.raises(TamperedError, match="not the file that the snapshot binds"):
            checked(with_file(self.STATE, self.STATE.names[mine], self.STATE.role(other)))

    def test_a_bin_that_is_missing(self) -> None:
        name = checked(self.STATE).holder("targets", "v1")
        files = [(file, data) for file, data in self.STATE.files.items() if file != self.STATE.names[name]]
        with pytest.raises(TamperedError, match="differ"):
            checked(State.of(files))

    def test_a_bin_that_a_publisher_alone_has_signed(self) -> None:
        """The snapshot binds it; the role's key has not signed it: its tags are tampered with, and no others."""
        name = checked(self.STATE).holder("targets", "v1")
        body = signed_of(self.STATE.role(name))
        body["version"] += 1
        body["targets"]["evil"] = body["targets"]["v1"]
        names = set(self.STATE.names) - {"root", "snapshot", "timestamp"}
        bodies = {role: signed_of(self.STATE.role(role)) for role in names} | {name: body}
        team = replace(self.TEAM, delegated=dict.fromkeys(names - {"targets"}, self.TEAM.keys["targets"]))
        forged = team.remake(self.STATE, bodies=bodies, signers={name: team.signers("snapshot")}, bump=True)
        verified = checked(forged)
        assert verified.lookup("v2") is not None
        with pytest.raises(TamperedError, match="does not verify"):
            verified.lookup("v1")


def spoil(people: People, store: Store, tag: str) -> None:
    """Somebody who may publish, and holds no other key, puts a tag of his own into a bin."""
    state = live(store)
    name = state.holder("targets", tag)
    evil = team_of(people, store)
    body = signed_of(state.state.role(name))
    body["version"] += 1
    body["targets"]["evil"] = body["targets"][tag]
    names = set(state.state.names) - {"root", "snapshot", "timestamp"}
    bodies = {role: signed_of(state.state.role(role)) for role in names} | {name: body}
    team = replace(evil, delegated=dict.fromkeys(names - {"targets"}, evil.keys["targets"]))
    forged = team.remake(state.state, bodies=bodies, signers={name: team.signers("snapshot")}, bump=True)
    put_state(store, forged)


class TestMeetings:
    """Bins and others who write, through a registry."""

    def test_a_rebin_that_meets_a_push_keeps_both(
        self, server: FaultyRegistry, store: Store, ann: Person, people: People
    ) -> None:
        bob = people("bob")
        bob.pins[:] = ann.pins
        outcomes: list[Outcome] = []

        def spreads() -> None:
            writer = bob.writer(remote(server.host))
            outcomes.append(carry_out(writer, plan_bins(writer, "targets", 4, NOW)))

        server.fail("PUT", r"/manifests/_trust\.", then(spreads))
        ann.push(store, "new", plain_image("new"))
        assert [outcome.state is not None for outcome in outcomes] == [True]
        state = live(store)
        assert state.links.pending == ()
        assert len(state.bins) == 4
        carl = people.onlooker("carl", *ann.pins)
        assert {carl.verdict(store, tag) for tag in (*TAGS, "new")} == {"trusted"}

    def test_a_tag_of_one_who_may_not_publish_is_a_proposal_of_one_bin(
        self, store: Store, ann: Person, people: People
    ) -> None:
        bob = people("bob", "targets")
        bob.pins[:] = ann.pins
        signed = bob.push(store, "new", plain_image("new"))
        assert signed.state is None
        assert signed.proposal is not None
        (proposal,) = ann.writer(store).proposals
        assert [draft.role for draft in proposal.proposed.drafts] == [live(store).holder("targets", "new")]
        ann.push(store, "other", plain_image("other"))
        carl = people.onlooker("carl", *ann.pins)
        assert carl.trusted_digest(store, "new") == signed.digest
        assert carl.verdict(store, "other") == "trusted"
        assert ann.writer(store).proposals == ()

    def test_a_proposal_for_a_bin_that_was_spread_anew_is_overtaken(
        self, store: Store, ann: Person, people: People
    ) -> None:
        bob = people("bob", "targets")
        bob.pins[:] = ann.pins
        bob.push(store, "new", plain_image("new"))
        (tag,) = (tag for tag in store.tags(1000) if "_trust-proposal." in tag)
        manifest = store.get_manifest(tag)
        ann.push(store, "other", plain_image("other"))
        writer = ann.writer(store)
        carry_out(writer, plan_bins(writer, "targets", 4, NOW))
        store.put_manifest(manifest, tag)
        (proposal,) = ann.writer(store).proposals
        assert proposal.problem is not None
        ann.push(store, "third", plain_image("third"))
        assert people.onlooker("carl", *ann.pins).verdict(store, "third") == "trusted"


class TestSpoiledBins:
    """Whoever may publish can put anything there for a bin: its tags are tampered with until it is signed again."""

    @pytest.fixture(autouse=True)
    def _spoiled(self, people: People, store: Store, ann: Person) -> None:
        spoil(people, store, TAGS[0])

    def test_readers_are_told_and_others_tags_stay(self, store: Store, ann: Person, people: People) -> None:
        carl = people.onlooker("carl", *ann.pins)
        bin_of = live(store).holder
        spoiled = {tag for tag in TAGS if bin_of("targets", tag) == bin_of("targets", TAGS[0])}
        assert {carl.verdict(store, tag) for tag in set(TAGS) - spoiled} == {"trusted"}
        assert {carl.verdict(store, tag) for tag in spoiled} == {"tampered"}, (
            "and whoever has seen it falls back to none"
        )
        with pytest.raises(TamperedError) as caught:
            live(store).lookup(TAGS[0])
        assert f"dockseal repo rebin NAME targets --bins {BINS}" in (caught.value.hint or "")

    def test_who_holds_the_key_puts_the_tags_into_as_many_bins_again(
        self, store: Store, ann: Person, people: People
    ) -> None:
        writer = ann.writer(store)
        assert carry_out(writer, plan_bins(writer, "targets", BINS, NOW)).state is not None
        carl = people.onlooker("carl", *ann.pins)
        assert {carl.verdict(store, tag) for tag in TAGS} == {"trusted"}
        assert "evil" not in live(store).tags
        assert any("has spoiled" in warning for warning in ann.warnings)
        writer = ann.writer(store)
        with pytest.raises(UsageError, match="has 16 bins already"):
            plan_bins(writer, "targets", BINS, NOW)

    def test_a_rotation_of_its_key_signs_them_again_too(self, store: Store, ann: Person, people: People) -> None:
        ann.keys.generate("next", purpose="repository")
        writer = ann.writer(store)
        change = KeyChange((ann.keys.find("next").public,), (people.all.find("targets").key_id,))
        assert carry_out(writer, plan_rotation(writer, "targets", change, NOW)).state is not None
        carl = people.onlooker("carl", *ann.pins)
        assert {carl.verdict(store, tag) for tag in TAGS} == {"trusted"}

    def test_a_push_of_another_tag_goes_on(self, store: Store, ann: Person, people: People) -> None:
        bin_of = live(store).holder
        other = next(tag for tag in TAGS if bin_of("targets", tag) != bin_of("targets", TAGS[0]))
        ann.push(store, other, plain_image("new"))
        assert people.onlooker("carl", *ann.pins).verdict(store, other) == "trusted"

    def test_who_does_not_hold_the_key_is_told_who_does(self, store: Store, ann: Person, people: People) -> None:
        clerk = people("clerk", "publish")
        clerk.pins[:] = ann.pins
        writer = clerk.writer(store)
        with pytest.raises((TamperedError, UnsignedError)):
            carry_out(writer, plan_bins(writer, "targets", BINS, NOW))

    def test_where_no_earlier_state_is_left_it_stays_tampered(
        self, server: FaultyRegistry, store: Store, ann: Person
    ) -> None:
        newest = max(tag for tag in server.tags["app"] if tag.startswith("_trust."))
        for tag in [tag for tag in server.tags["app"] if tag.startswith("_trust.") and tag != newest]:
            del server.tags["app"][tag]
        writer = ann.writer(store)
        with pytest.raises(TamperedError, match="was spoiled"):
            plan_bins(writer, "targets", BINS, NOW)


def test_the_manifest_of_the_largest_state_that_there_can_be_fits_into_a_registry() -> None:
    """Registries take manifests of 4 MiB."""
    team = a_team()
    state = first_state(team.terms, team.keys, (), team.ring, NOW, MAX_BINS)
    assert encode(state).size < 2 << 20


@pytest.mark.parametrize(
    ("name", "is_bin"),
    [("1.targets-bin-0f.json", True), ("12.ci-bin-3ff.json", True), ("1.ci.json", False), ("timestamp.json", False)],
)
def test_names_of_bins(name: str, is_bin: bool) -> None:
    assert is_bin_file(name) == is_bin


@pytest.mark.peer("docker-registry")
def test_a_real_registry(registry: str, unique_name: str, people: People) -> None:
    store, ann = remote(registry, unique_name), people("ann")
    begin(ann, store, 256)
    for tag in ("v1", "v2"):
        ann.push(store, tag, plain_image("one"))
        assert people.onlooker(f"bob-{tag}", *ann.pins).verdict(store, tag) == "trusted"
    assert len(live(store).bins) == 256
