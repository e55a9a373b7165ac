"""What a writer builds on, when it may begin a repository, and what it renews."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.oci.samples import sample
from tests.trust.builders import Delegate
from tests.trust.writing import NOW, Person, add_signer, folder, live, plain_image, roles, state_of
from trust.digest import Digest
from trust.errors import (
    ConflictError,
    ExpiredError,
    RollbackError,
    UnsignedError,
    UntrustedRootError,
)
from trust.keys.ids import EXAMPLE_KEY_IDS
from trust.pins import Pin
from trust.publish import check_planned
from trust.repo import init, lay_foundation, propose_renewal, refresh
from trust.sign import sign
from trust.states import POINTER_TAG, own_tag
from trust.team import carry_out, plan_rotation
from trust.tuf.draft import Change
from trust.tuf.edits import KeyChange
from trust.tuf.roles import Target
from trust.writer import Writer

if TYPE_CHECKING:
    from datetime import datetime

    from tests.trust.writing import People
    from trust.oci.layout import Layout
    from trust.oci.store import Store

SOME_ROOT = Digest.of(b"some root")


def begin(person: Person, store: Store) -> None:
    init(person.writer(store), lambda: lay_foundation(person.keys, store.repository, person.roles))


class TestBeginning:
    """A repository is begun only where nothing speaks for an earlier one."""

    def test_where_there_is_nothing(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        assert ann.writer(store).heads is None
        with pytest.raises(UnsignedError, match="holds no trust data"):
            ann.writer(store).base()
        begin(ann, store)
        assert live(store).version == 1
        assert [pin.repository for pin in ann.pins] == [store.repository]

    def test_twice(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        begin(ann, store)
        with pytest.raises(ConflictError, match="has trust data already, version 1"):
            begin(ann, store)

    def test_not_where_this_machine_has_seen_trust_data(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        ann.pins.clear()
        shutil.rmtree(store.path)
        with pytest.raises(RollbackError, match="holds no trust data any more") as caught:
            ann.push(folder(people), "v1", plain_image("a"))
        assert "_trust*" in (caught.value.hint or "")
        assert not store.path.exists()

    @pytest.mark.parametrize(
        "pin",
        [
            Pin("localhost:5000/app", root=SOME_ROOT),
            Pin("localhost:5000/app", root_keys=("a" * 64,), threshold=1),
            Pin("localhost:5000/*", root=SOME_ROOT),
        ],
        ids=["a root for this name", "keys for this name", "a root for many names"],
    )
    def test_not_where_a_root_is_pinned(self, people: People, pin: Pin) -> None:
        ann, store = people("ann"), folder(people)
        ann.pin(pin)
        with pytest.raises(RollbackError, match="has pinned a root for it") as caught:
            ann.push(store, "v1", plain_image("a"))
        assert "config.toml" in (caught.value.hint or "")
        assert not store.path.exists()

    def test_where_keys_are_pinned_for_many_names_and_the_new_root_is_theirs(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.pin(Pin("localhost:5000/*", root_keys=(ann.keys.find("root").key_id,), threshold=1))
        ann.push(store, "v1", plain_image("a"))
        assert ann.verdict(store, "v1") == "trusted"
        assert len(ann.pins) == 1, "the pattern is pin enough"

    def test_not_where_keys_are_pinned_for_many_names_and_the_new_root_is_not_theirs(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.pin(Pin("localhost:5000/*", root_keys=(people.all.find("root-b").key_id,), threshold=1))
        with pytest.raises(UntrustedRootError, match="not the pinned one"):
            ann.push(store, "v1", plain_image("a"))
        assert not store.path.exists()

    def test_not_with_published_keys(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        foundation = lay_foundation(ann.keys, store.repository, ann.roles)
        key = foundation.keys["targets"].keys[0]
        example = type(key)(min(EXAMPLE_KEY_IDS), key.keytype, key.scheme, key.keyval)
        keys = dict(foundation.keys) | {"targets": replace(foundation.keys["targets"], keys=(example,))}
        with pytest.raises(UntrustedRootError, match="published example keys"):
            ann.writer(store).plan_first(replace(foundation, keys=keys))


class TestGround:
    """What is not acceptable is not built on."""

    def test_another_root_than_the_pinned_one(self, people: People) -> None:
        ann, eve, store = people("ann"), people("eve", prefix="other-"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        with pytest.raises(UntrustedRootError, match="no root of trust is pinned"):
            eve.push(store, "v1", plain_image("b"))
        eve.pin(Pin(store.repository, root=SOME_ROOT))
        with pytest.raises(UntrustedRootError, match="not the pinned one"):
            eve.push(store, "v1", plain_image("b"))

    def test_trust_on_first_use_pins_what_is_built_on(self, people: People) -> None:
        ann, eve, store = people("ann"), people("eve", prefix="other-"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        heads = Writer(store, eve.machine(trust_on_first_use=True), eve.signing).heads
        assert heads is not None
        assert eve.pins == ann.pins

    def test_the_own_keys_are_ground_enough(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        again = people("ann2")
        again.push(store, "v2", plain_image("b"))
        assert again.pins == ann.pins

    def test_an_older_state_than_was_seen(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        old = store.get_manifest(POINTER_TAG)
        ann.push(store, "v1", plain_image("b"))
        state = live(store)
        store.put_manifest(old, POINTER_TAG)
        store.untag(own_tag(state.version, state.identity))
        with pytest.raises(RollbackError):
            ann.push(store, "v1", plain_image("c"))

    def test_a_damaged_pointer_is_healed_from_what_was_announced(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        broken = store.get_manifest(POINTER_TAG).raw.replace(b"timestamp.json", b"timestump.json")
        store.put_manifest(type(store.get_manifest(POINTER_TAG)).parse(broken), POINTER_TAG)
        ann.push(store, "v2", plain_image("b"))
        assert [ann.verdict(store, tag) for tag in ("v1", "v2")] == ["trusted"] * 2
        assert any("the state that _trust points at is left out" in text for text in ann.warnings)

    def test_an_idle_repository_is_no_new_one(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = ann.later(days=100)
        assert late.verdict(store, "v1") == "expired"
        signed = late.push(store, "v2", plain_image("b"))
        assert (signed.initialised, state_of(signed).verified.version) == (False, 2)
        assert [late.verdict(store, tag) for tag in ("v1", "v2")] == ["trusted"] * 2


class TestPlan:
    def test_a_tag_that_another_role_goes_before_for(self, people: People) -> None:
        """``targets`` would shadow a signer's digest, were it still to list the tag."""
        ann, store = people("ann", "root", "targets", "publish", "release"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        add_signer(people.all, store, Delegate("release", paths=("v*",)))
        target = Target("v1", Digest.of(b"new"), 3, "type", NOW)
        with pytest.raises(UnsignedError, match="would still resolve to") as caught:
            ann.writer(store).plan(Change(put={"release": (target,)}), expected={"v1": target.digest})
        assert "goes before" in caught.value.message

    def test_a_state_that_has_expired_when_it_is_made(self, people: People) -> None:
        """Reached by nobody but a mistake of ours: what is planned is checked as every reader will."""
        ann, store = people("ann"), folder(people)
        state = state_of(ann.push(store, "v1", plain_image("a")))
        late = ann.later(days=30)
        with pytest.raises(ExpiredError):
            check_planned(state.verified.state, state.pin, late.machine(), store.repository, {})

    def test_settling_writes_nothing_where_nothing_is_left_to_do(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        signed = ann.push(store, "v1", plain_image("a"))
        before = (store.path / "index.json").read_bytes()
        assert ann.writer(store).settle().digest == state_of(signed).digest
        assert (store.path / "index.json").read_bytes() == before


BOTH = ("release", "other-targets")
CHOICES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]] = {
    "the one here": (("release",), "v1", (), ("release",)),
    "the other here": (("other-targets",), "v1", (), ("other-targets",)),
    "both here": (BOTH, "v1", (), BOTH),
    "the one asked for": (BOTH, "v1", ("other-targets",), ("other-targets",)),
    "the only one allowed": (BOTH, "nightly", (), ("other-targets",)),
}
"""Keys here, tag, signers asked for; who signs."""


class TestSigners:
    """Who signs a tag."""

    @pytest.fixture
    def store(self, people: People) -> Layout:
        store = folder(people)
        people("owner").push(store, "old", plain_image("a"))
        add_signer(
            people.all, store, Delegate("release", paths=("v*",)), Delegate("other-targets", paths=("v*", "nightly"))
        )
        return store

    def whoever(self, people: People, store: Store, *labels: str) -> Person:
        person = people("whoever", *labels, "publish")
        person.pin(Pin(store.repository, root=Digest.of(live(store).state.roots[0])))
        return person

    @pytest.mark.parametrize("case", CHOICES)
    def test_are_those_allowed_and_here(self, people: People, store: Layout, case: str) -> None:
        labels, tag, asked, expected = CHOICES[case]
        whoever = self.whoever(people, store, *labels)
        signed = whoever.push(store, tag, plain_image("b"), signers=asked)
        assert signed.roles == expected
        assert whoever.trusted_digest(store, tag) == signed.digest

    def test_none_for_a_tag_that_no_pattern_meets(self, people: People, store: Layout) -> None:
        whoever = self.whoever(people, store, "release")
        with pytest.raises(UnsignedError, match="no signer's patterns cover it"):
            whoever.push(store, "latest", plain_image("b"))

    def test_the_error_names_the_signers_there_are(self, people: People, store: Layout) -> None:
        whoever = self.whoever(people, store, "release")
        with pytest.raises(UnsignedError, match="signers of this repository are other-targets, release"):
            whoever.push(store, "v1", plain_image("b"), signers=("ann",))

    def test_unchanged_is_only_what_all_of_them_have_signed(self, people: People, store: Layout) -> None:
        release = self.whoever(people, store, "release")
        release.push(store, "v1", plain_image("b"))
        both = replace(release, keys=people("both", "release", "other-targets", "publish").keys)
        assert both.push(store, "v1", plain_image("b")).roles == ("release", "other-targets")
        assert both.push(store, "v1", plain_image("b")).unchanged
        assert live(store).signers_of("v1") == ("release", "other-targets")


class TestRenewal:
    """A role that has expired, or will soon, is signed again where its key is."""

    def versions(self, store: Store) -> dict[str, int]:
        return live(store).versions

    @pytest.mark.parametrize(
        ("days", "expected"),
        [
            (1, {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}),
            (300, {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}),
            (364, {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}),
            (366, {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 2}),
        ],
    )
    def test_by_a_push(self, people: People, days: int, expected: dict[str, int]) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = ann.later(days=days)
        late.push(store, "v2", plain_image("b"))
        assert self.versions(store) == expected
        assert late.verdict(store, "v2") == "trusted"

    @pytest.mark.parametrize(
        ("days", "labels", "expected"),
        [
            (0, ("publish",), {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}),
            (304, ("root", "targets", "publish"), {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}),
            (306, ("root", "targets", "publish"), {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 2}),
            (306, ("targets", "publish"), {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}),
            (306, ("publish",), {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}),
            (400, ("root", "targets", "publish"), {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 2}),
        ],
        ids=["at once", "before the signing period", "in it", "in it, no root key", "in it, no key", "after its end"],
    )
    def test_by_a_refresh(self, people: People, days: int, labels: tuple[str, ...], expected: dict[str, int]) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = people("late", *labels).later(days=days)
        late.pins[:] = ann.pins
        refresh(late.writer(store))
        assert self.versions(store) == expected
        assert late.verdict(store, "v1") == "trusted"

    @pytest.mark.parametrize(
        "machines",
        [
            (("root", "publish"), ("targets", "publish")),
            (("targets", "publish"), ("root", "publish")),
            (("root",), ("targets", "publish")),
            (("targets",), ("root", "publish")),
            (("root",), ("targets",), ("publish",)),
            (("targets",), ("publish",), ("root",), ("publish",)),
        ],
        ids=lambda machines: " then ".join("+".join(labels) for labels in machines),
    )
    def test_of_root_and_targets_whose_keys_are_on_several_machines_in_any_order(
        self, people: People, machines: tuple[tuple[str, ...], ...]
    ) -> None:
        ann, store = people("ann"), folder(people)
        digest = ann.push(store, "v1", plain_image("a")).digest
        late = ann.later(days=400)
        for number, labels in enumerate(machines):
            late = replace(late, keys=people(f"machine {number}", *labels).keys)
            assert late.verdict(store, "v1") == "expired"
            try:
                refresh(late.writer(store))
            except UnsignedError:
                assert propose_renewal(late.writer(store), late.now) is not None
        assert late.trusted_digest(store, "v1") == digest

    def test_a_push_that_readers_would_refuse(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = people("late", "targets", "publish").later(days=400)
        late.pins[:] = ann.pins
        with pytest.raises(UnsignedError, match="root expired") as caught:
            late.push(store, "v2", plain_image("b"))
        assert "repo refresh" in (caught.value.hint or "")
        assert self.versions(store)["timestamp"] == 1

    def test_keys_are_rotated_whatever_has_expired(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = people("late", "root", "publish").later(days=400)
        late.pins[:] = ann.pins
        writer = late.writer(store)
        change = KeyChange((people.all.find("root-b").public,))
        assert carry_out(writer, plan_rotation(writer, "root", change, late.now)).state is not None
        assert late.verdict(store, "v1") == "expired", "targets still is, and its key is elsewhere"

    def test_a_signer_has_the_period_of_targets(self, people: People) -> None:
        ann, store = people("ann", "root", "targets", "publish", "release"), folder(people)
        ann.roles = roles(days={"targets": 40})
        ann.push(store, "old", plain_image("a"))
        add_signer(people.all, store, Delegate("release", paths=("v*",)))
        ann.push(store, "v1", plain_image("b"))
        assert (live(store).expiry()["release"] - NOW).days == 40
        late = ann.later(days=39)
        refresh(late.writer(store))
        assert (live(store).expiry()["release"] - NOW).days == 79

    def test_another_signer_who_expired_is_renewed_where_the_key_is(self, people: People) -> None:
        ann, store = people("ann", "root", "targets", "publish", "release"), folder(people)
        ann.push(store, "old", plain_image("a"))
        add_signer(people.all, store, Delegate("release", paths=("v*",)), Delegate("other-targets", paths=("x*",)))
        late = ann.later(days=366)
        late.push(store, "v1", plain_image("b"))
        assert late.verdict(store, "v1") == "trusted"
        assert self.versions(store)["other-targets"] == 1, "its key is elsewhere, and v1 does not need it"


def test_periods_and_repository_survive_every_change(people: People) -> None:
    ann, store = people("ann"), folder(people)
    ann.roles = roles(days={"root": 100, "targets": 50, "snapshot": 20, "timestamp": 5})
    ann.push(store, "v1", plain_image("a"))
    terms = live(store).terms
    assert (terms.repository, terms.max_timestamp_days) == (store.repository, 6)
    late = ann.later(days=101)
    late.push(store, "v2", plain_image("b"))
    assert live(store).root.version == 2
    assert live(store).terms == terms
    ends: dict[str, datetime] = live(store).expiry()
    assert {role: (when - late.now).days for role, when in ends.items()} == {
        "root": 100,
        "targets": 50,
        "snapshot": 20,
        "timestamp": 5,
    }


def test_two_of_two_keys_sign_root_and_targets(people: People) -> None:
    both = people("both", "root", "root-b", "targets", "targets-b", "publish")
    both.roles = roles(
        labels={"root": ("root", "root-b"), "targets": ("targets", "targets-b")}, thresholds={"root": 2, "targets": 2}
    )
    store = folder(people)
    both.push(store, "v1", plain_image("a"))
    late = both.later(days=366)
    late.push(store, "v1", plain_image("b"))
    assert live(store).root.version == 2
    assert late.verdict(store, "v1") == "trusted"
    one = people("one").later(days=367)
    one.pins[:] = both.pins
    before = live(store).identity
    signed = one.push(store, "v1", plain_image("c"))
    assert signed.state is None
    assert live(store).identity == before, "it waits for the second signature"
    assert both.later(days=367).verdict(store, "v1") == "trusted"


def test_signing_what_is_there_under_the_own_keys_of_a_new_machine(people: People) -> None:
    ann, store = people("ann"), folder(people)
    manifest = sample("a").put(store, "v1")
    assert sign(store, "v1", "v1", ann.signer(store)).initialised
    assert people("ann2").writer(store).base().lookup("v1") is not None
    assert ann.trusted_digest(store, "v1") == manifest.digest
