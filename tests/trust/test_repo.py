"""The foundation of a repository: keys, thresholds, periods, labels; and what expires when."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.trust.writing import NOW, folder, live, plain_image, roles
from trust.errors import ConflictError, KeyUnavailableError, UnsignedError, UsageError
from trust.repo import MAX_LABEL, Roles, init, label_for, lay_foundation, refresh, status
from trust.tuf.roles import TOP_LEVEL_ROLES
from trust.tuf.state import DEFAULT_PERIODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.trust.writing import People
    from trust.writer import Foundation

NAME = "localhost:5000/app"


class TestFoundation:
    def test_makes_a_root_key_for_all_and_two_keys_for_the_repository(self, people: People) -> None:
        store = people.onlooker("new").keys
        one = lay_foundation(store, NAME, Roles())
        two = lay_foundation(store, "localhost:5000/other", Roles())
        made = store.keys()
        assert [(key.label, key.purpose) for key in made] == [
            ("localhost-5000-app.publish", "repository"),
            ("localhost-5000-app.targets", "repository"),
            ("localhost-5000-other.publish", "repository"),
            ("localhost-5000-other.targets", "repository"),
            ("root", "root"),
        ]
        assert one.keys["root"] == two.keys["root"]
        assert one.keys["snapshot"] == one.keys["timestamp"]
        assert lay_foundation(store, NAME, Roles()) == one, "nothing is made twice"

    def test_makes_no_key_with_a_passphrase_that_is_wrong_for_one_that_is_here(self, people: People) -> None:
        mistyped = people("mistyped", "root", passphrase=b"mistyped passphrase").keys
        with pytest.raises(KeyUnavailableError, match="wrong passphrase for the key 'root'"):
            lay_foundation(mistyped, NAME, Roles())
        left = mistyped.keys()
        assert [key.label for key in left] == ["root"]

    def test_has_the_default_periods(self, people: People) -> None:
        terms = lay_foundation(people.all, NAME, roles()).terms
        assert {role: terms.period(role) for role in TOP_LEVEL_ROLES} == DEFAULT_PERIODS
        assert (terms.repository, terms.max_timestamp_days) == (NAME, 15)

    @pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
    def test_makes_keys_of_the_kind_asked_for(self, people: People, kind: str) -> None:
        keys = people.onlooker("new").keys
        foundation = lay_foundation(keys, NAME, Roles(), "ecdsa" if kind == "ecdsa" else "ed25519")
        assert {key.keytype for role in foundation.keys.values() for key in role.keys} == {kind}

    @pytest.mark.parametrize(
        ("labels", "thresholds", "says"),
        [
            ({}, {"root": 2}, "root cannot have a threshold of 2 with 1 key"),
            ({"root": ("root", "root-b")}, {"root": 3}, "threshold of 3 with 2 key"),
            ({}, {"targets": 0}, "threshold of 0"),
            ({"targets": ("targets", "targets")}, {"targets": 2}, "one key was named twice for targets"),
        ],
        ids=["one key, two signatures", "two keys, three signatures", "none at all", "one key, twice"],
    )
    def test_refuses_thresholds_that_cannot_be_met(
        self, people: People, labels: Mapping[str, tuple[str, ...]], thresholds: Mapping[str, int], says: str
    ) -> None:
        with pytest.raises(UsageError, match=says):
            lay_foundation(people.all, NAME, roles(labels=labels, thresholds=thresholds))

    def test_refuses_a_key_that_is_not_here_and_makes_none(self, people: People) -> None:
        keys = people.onlooker("new").keys
        with pytest.raises(KeyUnavailableError, match="there is no key 'gone'"):
            lay_foundation(keys, NAME, Roles(labels={"root": ("gone",)}))
        assert keys.keys() == ()

    @pytest.mark.parametrize("days", [0, -1])
    def test_refuses_a_period_of_no_days(self, people: People, days: int) -> None:
        with pytest.raises(UsageError, match=f"timestamp is {days} days"):
            lay_foundation(people.all, NAME, roles(days={"timestamp": days}))

    @pytest.mark.parametrize(("days", "signing"), [(1, 1), (2, 1), (30, 10)])
    def test_signs_again_in_the_last_third_of_a_period(self, people: People, days: int, signing: int) -> None:
        period = lay_foundation(people.all, NAME, roles(days={"timestamp": days})).terms.period("timestamp")
        assert (period.expires_days, period.signing_days) == (days, signing)


class TestLabels:
    @pytest.mark.parametrize(
        ("repository", "label"),
        [
            ("localhost:5000/app", "localhost-5000-app.targets"),
            ("docker.io/library/nginx", "docker.io-library-nginx.targets"),
            ("/srv/layouts/my app", "srv-layouts-my-app.targets"),
            ("/", ".targets"),
        ],
    )
    def test_say_what_they_are_for(self, repository: str, label: str) -> None:
        assert label_for(repository, "targets") == label

    def test_of_long_names_differ_and_fit(self, people: People) -> None:
        names = [f"registry.example.org/{'a' * 60}/{end}" for end in ("one", "two")]
        labels = {label_for(name, "publish") for name in names}
        assert len(labels) == 2
        keys = people.onlooker("new").keys
        for label in labels:
            assert len(label) <= MAX_LABEL
            assert keys.generate(label).label == label


class TestInit:
    def test_makes_no_key_where_there_is_trust_data(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))

        def no_keys() -> Foundation:
            pytest.fail("keys were made")

        with pytest.raises(ConflictError, match="has trust data already"):
            init(ann.writer(store), no_keys)

    def test_signs_no_tag(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        planned = init(ann.writer(store), lambda: lay_foundation(ann.keys, store.repository, ann.roles))
        assert planned.verified.tags == ()
        assert live(store).identity == planned.verified.identity


class TestStatus:
    def test_of_a_new_repository(self, people: People) -> None:
        ann, store = people("ann", "targets", "publish"), folder(people)
        people("owner").push(store, "v1", plain_image("a"))
        found = status(live(store), ann.signing)
        assert [(item.role, item.version, item.can_sign, [key.label for key in item.held]) for item in found] == [
            ("timestamp", 1, True, ["publish"]),
            ("snapshot", 1, True, ["publish"]),
            ("root", 1, False, []),
            ("targets", 1, True, ["targets"]),
        ]
        assert [item.expires - NOW for item in found] == [timedelta(days=days) for days in (14, 90, 365, 365)]
        assert [item.expires - item.sign_from for item in found] == [timedelta(days=days) for days in (7, 30, 60, 60)]

    def test_a_threshold_is_met_or_not(self, people: People) -> None:
        both = people("both", "root", "root-b", "targets", "publish")
        both.roles = roles(labels={"root": ("root", "root-b")}, thresholds={"root": 2})
        store = folder(people)
        both.push(store, "v1", plain_image("a"))
        one = people("one")
        for person, can in ((both, True), (one, False)):
            (root,) = [item for item in status(live(store), person.signing) if item.role == "root"]
            assert (root.can_sign, root.threshold, len(root.key_ids)) == (can, 2, 2)


class TestRefresh:
    def test_without_the_publishing_key(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        bob = people("bob", "targets")
        bob.pins[:] = ann.pins
        with pytest.raises(UnsignedError, match="cannot sign as snapshot"):
            refresh(bob.writer(store))

    def test_of_nothing(self, people: People) -> None:
        with pytest.raises(UnsignedError, match="holds no trust data"):
            refresh(people("ann").writer(folder(people)))

    def test_makes_an_expired_repository_fresh_for_readers_with_memory(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        late = ann.later(days=15)
        assert late.verdict(store, "v1") == "expired"
        refresh(late.writer(store))
        assert late.verdict(store, "v1") == "trusted"
