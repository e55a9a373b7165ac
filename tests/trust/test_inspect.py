from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.trust.attackers import BLOBS, IMAGE, OTHER_BLOBS, OTHER_IMAGE, V1, Victim
from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Delegate,
    Team,
    a_target,
    a_team,
    make_keys,
    put_image,
    put_state,
    target_of,
)
from trust.errors import ExpiredError, TamperedError, UnsignedError
from trust.inspect import Inspection, inspect
from trust.signing import KeySigning
from trust.tuf.roles import RoleKeys, rfc3339

if TYPE_CHECKING:
    from pathlib import Path

    from trust.keys.store import KeyStore


@pytest.fixture
def team() -> Team:
    return a_team()


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return make_keys(tmp_path)


def look(victim: Victim, keys: KeyStore) -> Inspection:
    signing = KeySigning(keys, allow_example_keys=False)
    return inspect(victim.store, victim.reader(), victim.machine, signing)


def test_all_there_is_to_see(tmp_path: Path, team: Team, keys: KeyStore) -> None:
    mine = keys.generate("mine")
    team.keys["timestamp"] = RoleKeys((team.keys["timestamp"].keys[0], mine.public))
    state = team.with_delegates(
        team.first(V1, target_of(OTHER_IMAGE, "moved"), a_target("gone")),
        Delegate("release", (V1, target_of(IMAGE, "r1"))),
    )
    victim = Victim(tmp_path, (team.pin(state),))
    put_state(victim.store, state)
    for tag, image, blobs in (
        ("v1", IMAGE, BLOBS),
        ("moved", IMAGE, BLOBS),
        ("r1", IMAGE, BLOBS),
        ("extra", OTHER_IMAGE, OTHER_BLOBS),
    ):
        put_image(victim.store, image, blobs, tag)
    found = look(victim, keys)
    assert found.error is None
    assert found.trusted.verified.version == 2
    assert [(item.tag, item.signers, item.drift) for item in found.tags] == [
        ("gone", ("targets",), "missing"),
        ("moved", ("targets",), "mismatch"),
        ("r1", ("release",), None),
        ("v1", ("targets", "release"), None),
    ]
    assert found.tags[-1].digest == found.tags[-1].registry_digest == IMAGE.digest
    assert found.tags[-1].size == IMAGE.size
    assert found.tags[-1].signed_at == rfc3339(NOW)
    assert found.unsigned == ("extra",)
    roles = {status.role: status for status in found.roles}
    assert next(status.role for status in found.roles) == "timestamp"
    assert roles["timestamp"].can_sign
    assert roles["timestamp"].held == (mine,)
    assert not roles["root"].can_sign
    assert roles["release"].version == 1
    assert victim.machine.memory(REPOSITORY).seen() is not None


def test_one_tag_of_it(tmp_path: Path, team: Team, keys: KeyStore) -> None:
    state = team.first(V1, target_of(IMAGE, "v2"))
    victim = Victim(tmp_path, (team.pin(state),))
    put_state(victim.store, state)
    put_image(victim.store, IMAGE, BLOBS, "extra")
    found = look(victim, keys)
    assert [item.tag for item in found.only("v2").tags] == ["v2"]
    assert found.only("v2").unsigned == ()
    assert found.only("extra").unsigned == ("extra",)
    assert found.only("extra").tags == ()


def test_an_expired_state_is_shown_with_its_verdict_and_not_remembered(
    tmp_path: Path, team: Team, keys: KeyStore
) -> None:
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),), now=NOW.replace(year=2030))
    put_state(victim.store, state)
    found = look(victim, keys)
    assert isinstance(found.error, ExpiredError)
    assert [item.tag for item in found.tags] == ["v1"]
    assert victim.machine.memory(REPOSITORY).seen() is None


def test_a_tag_that_no_lookup_reaches_is_not_signed(tmp_path: Path, team: Team, keys: KeyStore) -> None:
    state = team.with_delegates(team.first(a_target("x")), Delegate("release", (V1,), paths=("r*",)))
    victim = Victim(tmp_path, (team.pin(state),))
    put_state(victim.store, state)
    put_image(victim.store, IMAGE, BLOBS, "v1")
    found = look(victim, keys)
    assert [item.tag for item in found.tags] == ["x"]
    assert found.unsigned == ("v1",)


def test_a_target_without_custom_data(tmp_path: Path, team: Team, keys: KeyStore) -> None:
    def bare(body: dict[str, Any]) -> None:
        del body["targets"]["v1"]["custom"]

    state = team.remake(team.first(V1), {"targets": bare})
    victim = Victim(tmp_path, (team.pin(state),))
    put_state(victim.store, state)
    assert look(victim, keys).tags[0].signed_at == ""


def test_what_is_not_there_or_does_not_verify_is_the_verdict(tmp_path: Path, team: Team, keys: KeyStore) -> None:
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    with pytest.raises(UnsignedError, match="holds no trust data"):
        look(victim, keys)
    put_state(victim.store, team.remake(state, signers={"targets": a_team().signers("targets")}))
    with pytest.raises(TamperedError):
        look(victim, keys)
