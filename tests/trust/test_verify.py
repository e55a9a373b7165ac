"""Verifying a name: what it costs, what it says, what it keeps."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.serialization.json import JSONDeserializer

from tests.doubles.faulty_registry import FaultyRegistry
from tests.trust.attackers import BLOBS, IMAGE, OTHER_BLOBS, OTHER_IMAGE, V1, Victim
from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Delegate,
    Pins,
    Team,
    a_machine,
    a_registry,
    a_target,
    a_team,
    plant_state,
    put_image,
    put_state,
    target_of,
    verified,
)
from trust import strictjson
from trust.digest import Digest
from trust.errors import (
    MismatchError,
    MissingError,
    RollbackError,
    TamperedError,
    UnsignedError,
    UntrustedRootError,
    UsageError,
)
from trust.pins import Pin
from trust.read import Reader, root_key_ids
from trust.states import POINTER_TAG
from trust.tuf.roles import RoleKeys, delegator_of
from trust.verify import judge, verify_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuf.api.metadata import Metadata

    from trust.tuf.state import State


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


def publish(server: FaultyRegistry, *, large: int = 0) -> tuple[Team, State]:
    """An image that is signed and there; ``large`` tags more, which make the targets file larger."""
    store = a_registry(server)
    team = a_team(store.repository)
    more = [a_target(f"t{number}") for number in range(large)]
    state = team.with_delegates(team.first(V1, *more), Delegate("release"))
    state = team.rotate_root(state)
    put_image(store, IMAGE, BLOBS, "v1")
    put_state(store, state)
    server.clear()
    return team, state


def requests(server: FaultyRegistry) -> list[str]:
    found = [f"{request.method} {request.path.rpartition('/')[2]}" for request in server.requests]
    server.clear()
    return found


def test_a_cold_verification_is_two_requests_and_a_warm_one_too(server: FaultyRegistry, tmp_path: Path) -> None:
    team, state = publish(server)
    machine = a_machine(tmp_path, pins=[team.pin(state)])
    for _ in ("cold", "warm"):
        assert judge(a_registry(server), machine, "v1").verdict == "trusted"
        assert requests(server) == ["GET _trust", "HEAD v1"]
    assert verify_name(a_registry(server), machine, None, IMAGE.digest).digest == IMAGE.digest
    assert requests(server) == ["GET _trust"]


def test_large_role_files_are_fetched_once(server: FaultyRegistry, tmp_path: Path) -> None:
    team, state = publish(server, large=200)
    machine = a_machine(tmp_path, pins=[team.pin(state)])
    blob = f"GET {Digest.of(state.role('targets'))}"
    assert judge(a_registry(server), machine, "v1").verdict == "trusted"
    assert requests(server) == ["GET _trust", blob, "HEAD v1"]
    assert judge(a_registry(server), machine, "v1").verdict == "trusted"
    assert requests(server) == ["GET _trust", "HEAD v1"]
    newer = team.next(state)  # the same targets file
    put_state(a_registry(server), newer)
    server.clear()
    assert judge(a_registry(server), machine, "v1").verdict == "trusted"
    assert requests(server) == ["GET _trust", "HEAD v1"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often which bytes were parsed, by python-tuf or by our strict parser."""
    counted: Counter[bytes] = Counter()
    deserialize, loads = JSONDeserializer.deserialize, strictjson.loads

    def counting_deserialize(self: JSONDeserializer, raw_data: bytes) -> Metadata[Any]:
        counted[raw_data] += 1
        return deserialize(self, raw_data)

    def counting_loads(data: bytes, what: str) -> object:
        counted[data] += 1
        return loads(data, what)

    monkeypatch.setattr(JSONDeserializer, "deserialize", counting_deserialize)
    monkeypatch.setattr(strictjson, "loads", counting_loads)
    return counted


def by_keys(team: Team, state: State) -> Pin:
    del state
    return Pin(team.repository, root_keys=tuple(key.keyid for key in team.keys["root"].keys), threshold=1)


@pytest.mark.parametrize("pin_of", [Team.pin, by_keys], ids=["a pinned root", "pinned keys"])
def test_a_warm_verification_parses_each_role_file_at_most_once(
    server: FaultyRegistry, tmp_path: Path, parsed: Counter[bytes], pin_of: Callable[[Team, State], Pin]
) -> None:
    team, state = publish(server, large=200)
    machine = a_machine(tmp_path, pins=[pin_of(team, state)])
    assert judge(a_registry(server), machine, "v1").verdict == "trusted"
    parsed.clear()
    assert judge(a_registry(server), machine, "v1").verdict == "trusted"
    counts = {name: parsed[data] for name, data in state.files.items()}
    assert counts == {
        "1.root.json": 0,  # the newest root that was seen is where it starts
        "2.root.json": 1,
        "3.snapshot.json": 1,
        "2.targets.json": 1,
        "1.release.json": 1,
        "timestamp.json": 1,
    }


def test_a_cold_verification_parses_each_role_file_twice_at_most(
    server: FaultyRegistry, tmp_path: Path, parsed: Counter[bytes]
) -> None:
    """Once strictly, once by python-tuf."""
    team, state = publish(server)
    parsed.clear()
    assert judge(a_registry(server), a_machine(tmp_path, pins=[team.pin(state)]), "v1").verdict == "trusted"
    assert {parsed[data] for data in state.files.values()} == {2}


def test_what_a_trusted_judgement_says(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(target_of(IMAGE, "v1", commit="abc"))
    judgement = Victim(tmp_path, (team.pin(state),)).judges(state)
    assert judgement.verdict == "trusted"
    assert judgement.error is None
    assert (judgement.repository, judgement.tag) == (REPOSITORY, "v1")
    assert judgement.digest == judgement.registry_digest == IMAGE.digest
    assert judgement.size == IMAGE.size
    assert judgement.signers == ("targets",)
    assert judgement.expires == NOW + timedelta(days=14)
    assert judgement.annotations == {"commit": "abc"}


def test_odd_custom_data_is_no_annotation(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    customs: tuple[object, ...] = (None, [], "x", {"annotations": 1})
    for number, custom in enumerate(customs):

        def odd(body: dict[str, Any], custom: object = custom) -> None:
            body["targets"]["v1"]["custom"] = custom

        victim = Victim(tmp_path / str(number), (team.pin(state),))
        assert victim.judges(team.remake(state, {"targets": odd})).annotations == {}


def test_the_expiry_is_the_earliest_of_what_the_answer_stands_on(tmp_path: Path) -> None:
    team = a_team()
    soon = {"release": lambda body: body.update(expires="2026-11-25T00:00:00Z")}
    state = team.with_delegates(team.first(V1), Delegate("release", (target_of(IMAGE, "v2"),)))
    state = team.remake(state, soon, bump=True)
    victim = Victim(tmp_path, (team.pin(state),))
    assert str(victim.judges(state, "v1").expires) == "2026-12-08 09:00:00+00:00"
    assert str(victim.judges(state, "v2").expires) == "2026-11-25 00:00:00+00:00"
    assert str(victim.judges(state, "v3").expires) == "2026-11-25 00:00:00+00:00"  # release was asked too


def test_a_signer_whose_file_has_expired_does_not_count(tmp_path: Path) -> None:
    team = a_team()
    state = team.with_delegates(team.first(a_target("x")), Delegate("first", (V1,)), Delegate("second", (V1,)))
    state = team.remake(state, {"second": lambda body: body.update(expires="2026-11-24T00:00:00Z")}, bump=True)
    assert Victim(tmp_path, (team.pin(state),)).judges(state).signers == ("first",)


def test_a_tag_that_moved_without_signing(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    victim.judges(state)
    put_image(victim.store, OTHER_IMAGE, OTHER_BLOBS, "v1")
    with pytest.raises(
        MismatchError, match=f"is signed to mean {IMAGE.digest}: .* points at {OTHER_IMAGE.digest}"
    ) as got:
        verify_name(victim.store, victim.machine, "v1")
    assert f"@{IMAGE.digest}" in str(got.value.hint)
    assert verify_name(victim.store, victim.machine, "v1", IMAGE.digest).digest == IMAGE.digest
    put_image(victim.store, OTHER_IMAGE, OTHER_BLOBS, "v2")
    with pytest.raises(UnsignedError, match=f"v2 is not signed; the registry's tag points at {OTHER_IMAGE.digest}"):
        verify_name(victim.store, victim.machine, "v2")
    victim.store.untag("v1")
    with pytest.raises(MissingError, match=f"it is signed to mean {IMAGE.digest}") as lost:
        verify_name(victim.store, victim.machine, "v1")
    assert f"`dockseal pull {victim.store.name}@{IMAGE.digest}`" in str(lost.value.hint)
    with pytest.raises(MissingError, match="v3 does not exist in the registry") as unknown:
        verify_name(victim.store, victim.machine, "v3")
    assert "lists the tags that are there" in str(unknown.value.hint)


# First use


def test_trust_on_first_use_pins_what_was_found_once_it_verified(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, ())
    notes = Pins()
    machine = a_machine(tmp_path, notes=notes, trust_on_first_use=True)
    plant_state(
        victim.store, team.remake(state, {"timestamp": lambda body: body.update(expires="2026-11-23T00:00:00Z")})
    )
    assert judge(victim.store, machine, "v1").verdict == "expired"
    assert notes.saved == []  # nothing is believed of what was refused
    plant_state(victim.store, state)
    put_image(victim.store, IMAGE, BLOBS, "v1")
    assert judge(victim.store, machine, "v1").verdict == "trusted"
    root = Digest.of(state.root)
    assert notes.saved == [Pin(REPOSITORY, root=root)]
    assert notes.told == [f"trusted on first use: {REPOSITORY} is now pinned to the root {root}"]


def test_without_a_pin_the_fingerprint_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, ())
    with pytest.raises(UntrustedRootError, match=f"it offers {Digest.of(state.root)}") as caught:
        victim.sees(state)
    assert "--trust-on-first-use" in str(caught.value.hint)
    assert not (tmp_path / "cache").exists()


def test_a_root_for_this_run_goes_before_the_pins(tmp_path: Path) -> None:
    team, other = a_team(), a_team()
    state = team.first(V1)
    notes = Pins()
    victim = Victim(tmp_path, (other.pin(other.first(V1)),))
    with pytest.raises(UntrustedRootError, match="not the pinned one"):
        victim.sees(state)
    machine = a_machine(tmp_path, pins=victim.pins, notes=notes, root=Digest.of(state.root))
    assert Reader(victim.store, machine).read("v1").pin.root == Digest.of(state.root)
    assert notes.saved == []
    copy = Pin("mirror.lan/app", root=Digest.of(b"x"), signed_as=REPOSITORY)
    mirror = Victim(tmp_path / "mirror", (copy,), "mirror.lan/app")
    plant_state(mirror.store, state)
    named = a_machine(tmp_path / "mirror", pins=[copy], root=Digest.of(state.root))
    assert Reader(mirror.store, named).read("v1").verified.version == 1


def test_a_root_that_only_this_machine_could_have_made_is_its_own(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, ())
    plant_state(victim.store, state)
    held = {key.keyid for key in team.keys["root"].keys}
    assert root_key_ids(state) == held
    writer = Reader(victim.store, victim.machine, lambda ids: ids <= held)
    found = writer.read_past_expiry()
    assert found is not None
    assert found.pin.root == Digest.of(state.root)
    with pytest.raises(UntrustedRootError):
        Reader(victim.store, victim.machine, lambda _ids: False).read_past_expiry()


# What is remembered


def test_an_expired_state_is_not_remembered(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),), now=NOW + timedelta(days=15))
    late = victim.judges(state)
    assert late.verdict == "expired"
    assert (late.digest, late.expires) == (V1.digest, NOW + timedelta(days=14)), "people look for these next"
    assert victim.machine.memory(REPOSITORY).seen() is None
    assert victim.reader().read_past_expiry() is not None


def test_a_publisher_who_leaves_takes_no_version_along(tmp_path: Path) -> None:
    """A publisher's key that was thrown out may have run the versions up (TUF spec 5.3.11)."""
    team = a_team()
    first = team.first(V1)
    far = team.remake(first, {role: lambda body: body.update(version=10**9) for role in ("snapshot", "timestamp")})
    victim = Victim(tmp_path, (team.pin(first),))
    victim.sees(far)
    publishers = {role: RoleKeys((team.ring.key(),)) for role in ("snapshot", "timestamp")}
    recovered = team.rotate_root(team.put(first, V1), keys=publishers)
    assert victim.sees(recovered).verified.version == 3
    with pytest.raises(RollbackError, match="targets"):
        Victim(tmp_path, victim.pins).sees(
            team.remake(recovered, {"targets": lambda body: body.update(version=1)}, bump=True)
        )


def test_a_damaged_memory_is_no_verdict(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    victim.sees(state)
    (path,) = tmp_path.glob("cache/trust/*/seen.json")
    path.write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        victim.judges(state)


def test_a_pointer_that_is_gone_is_a_rollback_and_at_first_it_is_unsigned(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    with pytest.raises(UnsignedError, match="holds no trust data"):
        victim.reader().read("v1")
    victim.sees(state)
    victim.store.untag(POINTER_TAG)
    with pytest.raises(RollbackError, match="holds no trust data any more") as caught:
        victim.reader().read("v1")
    assert "retention" in str(caught.value.hint)


def test_a_file_of_another_repository_in_the_cache_does_not_pass(tmp_path: Path) -> None:
    """Files that were checked for one repository are checked again for another."""
    team = a_team()
    state = team.first(V1)
    Victim(tmp_path, (team.pin(state),)).sees(state)
    root = Digest.of(state.root)
    other = Victim(tmp_path, (Pin("localhost:5000/other", root=root),), "localhost:5000/other")
    with pytest.raises(UntrustedRootError, match="belongs to another repository"):
        other.sees(state)


def test_the_cache_cannot_make_a_malformed_file_pass(tmp_path: Path) -> None:
    team = a_team()
    state = team.first(V1)
    victim = Victim(tmp_path, (team.pin(state),))
    evil = team.remake(state, raw={"targets": lambda data: data[:-1] + b',"x":1.5}'}, bump=True)
    for _ in range(2):
        with pytest.raises(TamperedError, match="strict JSON"):
            victim.sees(evil)
    victim.sees(state)
    with pytest.raises(TamperedError, match="strict JSON"):
        victim.sees(evil)


def test_the_keys_that_signed_a_role_are_those_whose_signature_is_valid() -> None:
    team = a_team()
    state = team.with_delegates(team.first(V1), Delegate("release", threshold=2), Delegate("deep", parent="release"))
    seen = verified(state)
    assert seen.keys_that_signed("targets") == {key.keyid for key in team.keys["targets"].keys}
    assert seen.keys_that_signed("release") == {key.keyid for key in team.delegated["release"].keys}
    assert seen.keys_that_signed("deep") == {key.keyid for key in team.delegated["deep"].keys}
    with pytest.raises(KeyError):
        seen.keys_that_signed("nobody")
    with pytest.raises(KeyError):
        delegator_of("nobody", seen.root, seen.targets)
