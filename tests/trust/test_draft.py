"""The next state as a pure function: versions, links, periods, and what stays byte for byte."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Root

from tests.trust.builders import NOW, V2, Delegate, a_state, a_target, a_team, checked, signed_of, verified
from trust.digest import Digest
from trust.errors import UnsignedError
from trust.states import encode
from trust.tuf.draft import Change, first_state, next_state
from trust.tuf.roles import TOP_LEVEL_ROLES, parse_rfc3339, rfc3339, role_of
from trust.tuf.state import COVERED_VERSIONS, DEFAULT_PERIODS, EXTENSION, Terms

FORMAT = Path(__file__).parents[2] / "docs" / "format.md"
LATER = NOW + timedelta(days=3, microseconds=1)


class TestFirst:
    def test_is_version_one_of_everything(self) -> None:
        found = checked(a_state())
        assert set(found.versions.values()) == {1}
        assert found.tags == ("v1",)
        assert (found.links.parents, found.links.covers, found.links.pending) == ((), (), ())
        assert found.links.root_sha256 == Digest.of(found.state.roots[0]).hex

    def test_files_live_as_long_as_their_periods(self) -> None:
        ends = verified(a_state(now=LATER)).expiry()
        start = LATER.replace(microsecond=0)
        assert {role: (when - start).days for role, when in ends.items()} == {
            role: period.expires_days for role, period in DEFAULT_PERIODS.items()
        }

    def test_may_sign_nothing(self) -> None:
        team = a_team()
        assert checked(first_state(team.terms, team.keys, (), team.ring, NOW)).tags == ()

    @pytest.mark.parametrize("lacking", TOP_LEVEL_ROLES)
    def test_needs_every_key(self, lacking: str) -> None:
        team = a_team()
        lost = {key.keyid for key in team.keys[lacking].keys}
        ring = team.ring.only(*(key.keyid for role in team.keys.values() for key in role.keys if key.keyid not in lost))
        with pytest.raises(UnsignedError):
            first_state(team.terms, team.keys, (), ring, NOW)


class TestNext:
    def test_without_a_change_is_a_new_snapshot_and_timestamp(self) -> None:
        team = a_team()
        old = a_state(team=team)
        new = team.next(old, now=LATER)
        assert checked(new).versions == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}
        for role in ("root", "targets"):
            assert new.role(role) == old.role(role)
        assert checked(new).links.parents == (verified(old).identity,)

    def test_puts_and_drops_tags(self) -> None:
        team = a_team()
        state = a_state(a_target("v1"), a_target("v2"), team=team)
        new = team.next(state, Change(put={"targets": (a_target("v3", V2),)}, drop={"targets": ("v1", "gone")}))
        assert checked(new).tags == ("v2", "v3")
        found = checked(new).lookup("v3")
        assert found is not None
        assert (found.hashes, found.length) == ({"sha256": Digest.of(V2).hex}, len(V2))

    def test_leaves_the_other_roles_as_they_are(self) -> None:
        team = a_team()
        base = team.with_delegates(a_state(team=team), Delegate("release"), Delegate("nightly"))
        new = team.next(base, Change(put={"release": (a_target("v2", V2),)}))
        assert checked(new).versions == verified(base).versions | {"release": 2, "snapshot": 3, "timestamp": 3}
        for role in ("targets", "nightly", "root"):
            assert new.role(role) == base.role(role)

    def test_renews_what_it_is_told_to(self) -> None:
        team = a_team()
        base = team.with_delegates(a_state(team=team), Delegate("release"))
        change = Change(renew=frozenset({"root", "targets", "release", "snapshot"}))
        assert change.targets_roles == {"targets", "release"}
        new = checked(team.next(base, change, now=LATER))
        assert new.versions == {"root": 2, "targets": 3, "release": 2, "snapshot": 3, "timestamp": 3}
        assert new.terms == verified(base).terms
        assert new.expiry()["release"] == LATER.replace(microsecond=0) + timedelta(days=365)
        assert new.links.root_version == 2

    def test_a_renewed_root_is_signed_by_as_many_as_its_threshold(self) -> None:
        team = a_team(thresholds={"root": 2})
        new = team.next(a_state(team=team), Change(renew=frozenset({"root"})))
        assert checked(new).root.version == 2
        signatures = Metadata[Root].from_bytes(new.root).signatures
        assert set(signatures) == {key.keyid for key in team.keys["root"].keys}
        alone = team.ring.only(*(key.keyid for role in ("snapshot", "timestamp") for key in team.keys[role].keys))
        with pytest.raises(UnsignedError):
            next_state(verified(new), Change(renew=frozenset({"root"})), signing=alone, now=NOW)

    def test_a_removed_role_keeps_its_place_in_the_snapshot(self) -> None:
        team = a_team()
        base = team.with_delegates(a_state(team=team), Delegate("release"))
        body = signed_of(base.role("targets"))
        del body["delegations"]
        body["version"] += 1
        gone = team.remake(base, bodies={"targets": body}, bump=True)
        assert "release" not in gone.names
        assert checked(team.next(gone)).versions["release"] == 1

    def test_twins_are_covered_with_all_they_cover_and_what_waits_there_waits(self) -> None:
        team = a_team()
        base = verified(a_state(team=team))
        links = {"parents": ["a" * 64], "covers": {"a" * 64: 1, "c" * 64: 1}, "pending": ["b" * 64, "c" * 64]}
        twin = checked(team.remake(base.state, {"timestamp": lambda body: body["x-dockseal"].update(links)}))
        new = verified(next_state(base, Change(), signing=team.ring, now=NOW, twins=(twin,)))
        assert dict(new.links.covers) == {base.identity: 1, twin.identity: 1, "a" * 64: 1, "c" * 64: 1}
        assert new.links.parents == (base.identity,)
        assert new.links.pending == ("b" * 64,)

    def test_what_is_pending_stays_so(self) -> None:
        team = a_team()
        pending = {"timestamp": lambda body: body["x-dockseal"].update(pending=["a" * 64])}
        base = checked(team.remake(a_state(team=team), pending))
        assert verified(next_state(base, Change(), signing=team.ring, now=NOW)).links.pending == ("a" * 64,)


class TestCovers:
    """A state lists its ancestors of the last 64 versions, with their versions."""

    def test_reach_back_64_versions(self) -> None:
        team = a_team()
        state, identities = a_state(team=team), []
        for _ in range(COVERED_VERSIONS + 3):
            identities.append(verified(state).identity)
            state = team.next(state)
        found = verified(state)
        assert found.version == COVERED_VERSIONS + 4
        numbered = list(zip(identities, range(1, found.version), strict=True))
        assert sorted(found.links.covers, key=lambda item: item[1]) == numbered[-COVERED_VERSIONS:]


@given(moment=st.datetimes(min_value=datetime(1000, 1, 1)))  # noqa: DTZ001 - hypothesis adds the zone
def test_times_survive_being_written(moment: datetime) -> None:
    utc = moment.replace(tzinfo=UTC)
    assert parse_rfc3339(rfc3339(utc)) == utc.replace(microsecond=0)


@given(st.text(max_size=30))
def test_what_is_no_time_is_none(text: str) -> None:
    found = parse_rfc3339(text)
    assert found is None or found.tzinfo is not None


def test_a_role_that_is_nobodys() -> None:
    found = verified(a_state())
    with pytest.raises(KeyError):
        role_of("nobody", found.root, found.targets)
    assert role_of("targets", found.root, {}) == found.root.roles["targets"]


class TestFormat:
    """docs/format.md shows what is written."""

    def examples(self) -> list[dict[str, Any]]:
        blocks = re.findall(r"```json\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
        return [json.loads(block if block.startswith("{") else f"{{{block}}}") for block in blocks]

    def test_of_a_root_and_a_timestamp(self) -> None:
        root, timestamp = [example[EXTENSION] for example in self.examples() if EXTENSION in example]
        assert root == Terms.make("ghcr.io/acme/app", {}).to_json()
        team = a_team()
        written: dict[str, Any] = verified(team.next(a_state(team=team))).links.to_json()
        assert list(timestamp) == list(written)
        assert list(timestamp["root"]) == list(written["root"])

    def test_of_a_target(self) -> None:
        (target,) = [example["v1"] for example in self.examples() if "v1" in example]
        written = a_target("v1", build="1734").to_file().to_dict()
        assert list(target) == list(written)
        assert list(target["custom"]) == list(written["custom"])

    def test_of_a_state(self) -> None:
        (shown,) = [example for example in self.examples() if "layers" in example]
        written = json.loads(encode(a_state()).raw)
        assert set(shown) == set(written)
        assert shown["artifactType"] == written["artifactType"]
        assert shown["config"] | {"digest": ""} == written["config"] | {"digest": ""}
        assert set(shown["layers"][0]) == set(written["layers"][0])
        names = [layer["annotations"]["tuf.io/filename"] for layer in written["layers"]]
        assert names == ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]
