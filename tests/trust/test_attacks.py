"""Attacks on a reader. Each is first shown to work against python-tuf alone, then refused by ours.

The numbers are those of the rules in docs/verification.md.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from tests.doubles.faulty_registry import FaultyRegistry, Status
from tests.keys.conftest import EXAMPLE
from tests.trust.attackers import EVIL, IMAGE, OTHER_IMAGE, V1, PythonTuf, Victim
from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Delegate,
    Keyring,
    Passphrases,
    Team,
    a_machine,
    a_registry,
    a_target,
    a_team,
    checked,
    put_state,
    sign_raw,
    signed_of,
    target_of,
    with_file,
)
from trust.digest import Digest
from trust.errors import (
    MismatchError,
    RollbackError,
    TamperedError,
    UnreachableError,
    UnsignedError,
    UntrustedRootError,
    VerificationError,
)
from trust.keys.ids import key_id
from trust.keys.store import KeyStore
from trust.pins import Pin
from trust.states import POINTER_TAG
from trust.tuf.draft import Change
from trust.tuf.roles import RoleKeys
from trust.tuf.state import EXTENSION, State
from trust.verify import judge, verify_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def team() -> Team:
    return a_team()


@pytest.fixture
def state(team: Team) -> State:
    """The honest first state: ``v1`` is signed to mean the image."""
    return team.first(V1)


@pytest.fixture
def victim(tmp_path: Path, team: Team, state: State) -> Victim:
    """A machine that has pinned the honest root and seen nothing yet."""
    return Victim(tmp_path, (team.pin(state),))


@pytest.fixture
def python_tuf(tmp_path: Path) -> PythonTuf:
    return PythonTuf(tmp_path / "python-tuf")


def test_the_honest_state_is_accepted_by_both(state: State, victim: Victim, python_tuf: PythonTuf) -> None:
    assert python_tuf.accepts(state)
    assert victim.sees(state).verified.lookup("v1") is not None
    assert victim.judges(state).verdict == "trusted"


# Rule 1: strict JSON


def _signed_twice(data: bytes) -> bytes:
    """The evil ``signed`` first, for parsers that take the first; the signed one last, for those that take the last."""
    body = json.loads(data)
    evil = json.loads(data)["signed"]
    evil["targets"] = {"v1": EVIL.to_file().to_dict()}
    return b'{"signed":%s,"signatures":%s,"signed":%s}' % tuple(
        json.dumps(part).encode() for part in (evil, body["signatures"], body["signed"])
    )


@pytest.mark.parametrize(
    ("bend", "reason"),
    [
        (_signed_twice, "'signed' occurs twice"),
        (lambda data: data[:-1] + b',"note":1.5}', "1.5 is no integer"),
        (lambda data: data[:-1] + b',"note":NaN}', "NaN is no integer"),
        (lambda data: data[:-1] + b',"note":9007199254740992}', "2^53 or more"),
        (lambda data: data[:-1] + b',"note":"\\ud800"}', "surrogates not allowed"),
    ],
    ids=["a name that occurs twice", "a float", "not a number", "an integer of 2^53", "half a surrogate pair"],
)
def test_rule_1_json_that_others_read_differently(
    team: Team, victim: Victim, python_tuf: PythonTuf, bend: Callable[[bytes], bytes], reason: str
) -> None:
    state = team.first(V1)
    victim = victim.pinned_to(team.pin(state))
    evil = team.remake(state, raw={"targets": bend})
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match=r"strict JSON") as caught:
        victim.sees(evil)
    assert reason in caught.value.message


def test_rule_1_a_version_that_is_another_number_elsewhere(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    evil = team.remake(state, {"timestamp": lambda body: body.update(version=2**53 + 1)})
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match=r"2\^53 or more"):
        victim.sees(evil)


# Rule 2: key ids are recomputed


def _forged(team: Team, pinned: str, **extra: object) -> State:
    """Mallory's repository, in which Mallory's root key bears the id of the pinned one."""
    mallory = a_team(ring=Keyring())
    state = mallory.first(EVIL)
    signer = mallory.signers("root")[0]

    def forge(body: dict[str, Any]) -> None:
        key = body["keys"].pop(signer.public_key.keyid)
        body["keys"][pinned] = key
        body["roles"]["root"]["keyids"] = [pinned]
        body.update(extra)

    body = signed_of(state.roots[0])
    forge(body)
    root = sign_raw(body, [signer], labels={signer.public_key.keyid: pinned})
    return mallory.remake(state, roots=[root])


@pytest.mark.parametrize("extra", [{}, {"delegations": {}}, {"delegations": {"keys": {}}}])
def test_rule_2_a_forged_key_id_that_satisfies_a_pin_of_keys(
    tmp_path: Path, team: Team, python_tuf: PythonTuf, extra: dict[str, object]
) -> None:
    pinned = team.keys["root"].keys[0].keyid
    evil = _forged(team, pinned, **extra)
    root = Metadata[Root].from_bytes(evil.roots[0])
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    assert result.verified
    assert set(result.signed) == {pinned}
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="is forged: its material has the id"):
        Victim(tmp_path, (Pin(REPOSITORY, root_keys=(pinned,), threshold=1),)).sees(evil)


def test_rule_2_a_root_is_checked_before_a_pin_of_keys_looks_at_it(tmp_path: Path, team: Team, state: State) -> None:
    """python-tuf's own errors would leave, since it cannot encode a float."""
    keys = tuple(key.keyid for key in team.keys["root"].keys)
    evil = team.remake(state, raw={"root": lambda data: data.replace(b'"signed":{', b'"signed":{"note":1.5,')})
    with pytest.raises(TamperedError, match=r"1\.5 is no integer"):
        Victim(tmp_path, (Pin(REPOSITORY, root_keys=keys, threshold=1),)).sees(evil)


def _respelt(key: SSlibKey, **changes: str) -> SSlibKey:
    """The same key material under another spelling, with the id that this spelling has."""
    value = {"public": changes.get("public", key.keyval["public"])}
    other = SSlibKey("", key.keytype, changes.get("scheme", key.scheme), value)
    return SSlibKey(key_id(other), other.keytype, other.scheme, value)


def _ed25519() -> tuple[CryptoSigner, SSlibKey]:
    signer = CryptoSigner.generate_ed25519()
    return signer, _respelt(signer.public_key, public=signer.public_key.keyval["public"].upper())


def _ecdsa() -> tuple[CryptoSigner, SSlibKey]:
    signer = CryptoSigner.generate_ecdsa()
    return signer, _respelt(signer.public_key, public=signer.public_key.keyval["public"] + "\n")


def _rsa() -> tuple[CryptoSigner, SSlibKey]:
    signer = CryptoSigner.generate_rsa(size=2048)
    return signer, _respelt(signer.public_key, scheme="rsassa-pss-sha512")


@pytest.mark.parametrize(
    "twin", [_ed25519, _ecdsa, _rsa], ids=["hex in capitals", "PEM wrapped differently", "another scheme"]
)
def test_rule_2_one_key_under_two_ids_fulfils_a_threshold_of_two(
    tmp_path: Path, python_tuf: PythonTuf, twin: Callable[[], tuple[CryptoSigner, SSlibKey]]
) -> None:
    signer, second = twin()
    first = signer.public_key
    again = signer if second.scheme == first.scheme else CryptoSigner(signer._private_key, second)
    team = a_team()
    state = team.first(V1)

    def two_of_one(body: dict[str, Any]) -> None:
        body["keys"] |= {key.keyid: key.to_dict() for key in (first, second)}
        body["roles"]["targets"] = {"keyids": [first.keyid, second.keyid], "threshold": 2}

    def sign_twice(data: bytes) -> bytes:
        body = json.loads(data)["signed"]
        once, twice = (json.loads(sign_raw(body, [one]))["signatures"][0] for one in (signer, again))
        return json.dumps({"signatures": [once, {**twice, "keyid": second.keyid}], "signed": body}).encode()

    evil = team.remake(state, {"root": two_of_one}, raw={"targets": sign_twice})
    assert first.keyid != second.keyid
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="one key stands under two ids"):
        Victim(tmp_path, (team.pin(evil),)).sees(evil)


def test_rule_2_two_roles_may_share_a_key(tmp_path: Path) -> None:
    team = a_team()
    team.keys["timestamp"] = team.keys["snapshot"]
    state = team.first(V1)
    assert Victim(tmp_path, (team.pin(state),)).sees(state).verified.version == 1


def test_rule_2_holds_for_delegated_keys_too(tmp_path: Path, python_tuf: PythonTuf) -> None:
    team = a_team()
    state = team.with_delegates(team.first(V1), Delegate("release"))

    def relabel(body: dict[str, Any]) -> None:
        keys = body["delegations"]["keys"]
        (label,) = keys
        keys["0" * 64] = keys.pop(label)
        body["delegations"]["roles"][0]["keyids"] = ["0" * 64]

    label = team.delegated["release"].keys[0].keyid
    evil = team.remake(
        state,
        {"targets": relabel},
        raw={"release": lambda data: data.replace(label.encode(), b"0" * 64)},
    )
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="is forged"):
        Victim(tmp_path, (team.pin(evil),)).sees(evil)


# Rule 3: the repository's name


def test_rule_3_the_state_of_app_dev_offered_as_app_prod(tmp_path: Path, python_tuf: PythonTuf) -> None:
    ring = Keyring()
    dev = a_team("localhost:5000/app-dev", ring=ring)
    state = dev.first(V1)
    keys = tuple(key.keyid for key in dev.keys["root"].keys)
    pin = Pin("localhost:5000/*", root_keys=keys, threshold=1)
    assert python_tuf.accepts(state)
    with pytest.raises(UntrustedRootError, match=r"says 'localhost:5000/app-dev', expected 'localhost:5000/app-prod'"):
        Victim(tmp_path / "prod", (pin,), "localhost:5000/app-prod").sees(state)
    assert Victim(tmp_path / "dev", (pin,), "localhost:5000/app-dev").sees(state).verified.version == 1


@pytest.mark.parametrize("role", ["root", "timestamp"])
def test_rule_3_holds_for_timestamp_and_every_root(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf, role: str
) -> None:
    two = team.rotate_root(state)
    evil = team.remake(two, {role: lambda body: body[EXTENSION].update(repository="localhost:5000/other")})
    assert python_tuf.accepts(evil)
    with pytest.raises(UntrustedRootError, match=f"{role}.json says 'localhost:5000/other'"):
        victim.sees(evil)


def test_rule_3_a_copy_is_accepted_where_the_pin_says_whose_it_is(tmp_path: Path, team: Team, state: State) -> None:
    root = Digest.of(state.roots[0])
    mirror = Victim(tmp_path, (Pin("mirror.lan/app", root=root, signed_as=REPOSITORY),), "mirror.lan/app")
    assert mirror.judges(state).verdict == "trusted"
    with pytest.raises(UntrustedRootError, match="belongs to another repository") as caught:
        mirror.pinned_to(Pin("mirror.lan/app", root=root)).sees(state)
    assert 'signed_as = "localhost:5000/app"' in str(caught.value.hint)


# Rule 4: the newest root


def test_rule_4_past_256_rotations_python_tuf_stops_in_silence(team: Team, state: State, python_tuf: PythonTuf) -> None:
    long = team.rotate_root(state, times=257)
    assert python_tuf.accepts(long)
    with pytest.raises(TamperedError, match="root 257 is the newest that can be trusted: the state's newest is 258"):
        checked(long)
    assert checked(long, root=long.roots[1]).root.version == 258  # a newer root is pinned


def test_rule_4_a_removed_publisher_pairs_the_new_root_with_an_old_timestamp(
    tmp_path: Path, python_tuf: PythonTuf
) -> None:
    team = a_team()
    stays, leaves = team.ring.key(), team.ring.key()
    team.keys["timestamp"] = RoleKeys((stays, leaves))
    old = team.first(EVIL)
    new = team.rotate_root(team.put(old, V1), keys={"timestamp": RoleKeys((stays,))})
    evil = State.of([*old.files.items(), ("2.root.json", new.root)])
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="the timestamp was made for root 1"):
        Victim(tmp_path, (team.pin(old),)).sees(evil)


def test_rule_4_a_new_root_is_hidden(team: Team, state: State, victim: Victim, python_tuf: PythonTuf) -> None:
    new = team.rotate_root(state)
    evil = State.of((name, data) for name, data in new.files.items() if name != "2.root.json")
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="the timestamp was made for root 2"):
        victim.sees(evil)


# Rule 5: rollback, and a memory that only a whole state changes


def test_rule_5_python_tuf_forgets_at_a_root_rotation(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    seen = state
    for content in (b"2", b"3", b"4"):
        seen = team.put(seen, a_target("v1", content))
    assert python_tuf.accepts(seen)
    victim.sees(seen)
    publishers = {"timestamp": RoleKeys((team.ring.key(),)), "snapshot": RoleKeys((team.ring.key(),))}
    evil = team.rotate_root(state, keys=publishers)
    python_tuf.bootstrap = seen.roots[0]
    assert signed_of(evil.role("timestamp"))["version"] < signed_of(seen.role("timestamp"))["version"]
    assert python_tuf.accepts(evil)
    with pytest.raises(RollbackError, match="was rolled back"):
        victim.sees(evil)


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", "release"])
def test_rule_5_no_role_falls(team: Team, victim: Victim, state: State, role: str) -> None:
    seen = team.with_delegates(state, Delegate("release", version=7))
    for _ in range(3):
        seen = team.put(team.put(seen, V1), a_target("r"), role="release")
    victim.sees(seen)
    evil = team.remake(seen, {role: lambda body: body.update(version=body["version"] - 1)}, bump=role != "timestamp")
    if role == "snapshot":
        evil = team.remake(seen, {role: lambda body: body.update(version=body["version"] - 2)}, bump=True)
    with pytest.raises(RollbackError, match=f"rolled back: {role} is version"):
        victim.sees(evil)


def test_rule_5_a_refused_state_must_not_lock_honest_ones_out(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    victim.sees(state)
    assert python_tuf.accepts(state)
    honest = team.put(state, a_target("v1", b"new"))
    evil = team.remake(honest, {"timestamp": lambda body: body.update(version=1000)})
    evil = with_file(evil, "2.snapshot.json", evil.role("snapshot").replace(b'"meta"', b'"Meta"'))
    with pytest.raises(RepositoryError):
        python_tuf.accepts(evil)
    with pytest.raises(RepositoryError, match="must be >= 1000"):
        python_tuf.accepts(honest)  # locked out
    with pytest.raises(TamperedError):
        victim.sees(evil)
    assert victim.sees(honest).verified.version == 2


def test_rule_5_two_states_of_one_version_are_a_fork(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    seen, other = team.put(state, V1), team.put(state, EVIL)
    victim.sees(seen)
    assert python_tuf.accepts(seen)
    assert PythonTuf(python_tuf.folder.with_name("fresh")).accepts(other)
    with pytest.raises(RollbackError, match="is a fork of what was seen: two states of version 2"):
        victim.sees(other)


def test_rule_5_an_older_root_is_a_rollback_not_a_forgery(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    victim.sees(team.rotate_root(state))
    assert python_tuf.accepts(state)
    with pytest.raises(RollbackError, match="its newest root is version 1, and 2 was seen before"):
        victim.sees(state)


def test_rule_5_a_changed_pin_does_not_open_the_way_back(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    victim.sees(team.rotate_root(state))
    keys = tuple(key.keyid for key in team.keys["root"].keys)
    assert python_tuf.accepts(state)
    for pin in (Pin(REPOSITORY, root_keys=keys, threshold=1), Pin("localhost:5000/**", root_keys=keys, threshold=1)):
        with pytest.raises(RollbackError, match="rolled back: root is version 1"):
            victim.pinned_to(pin).sees(state)


def test_rule_5_a_repository_made_anew_is_accepted_once_its_root_is_pinned(
    team: Team, state: State, victim: Victim
) -> None:
    victim.sees(team.put(state, V1))
    again = a_team()
    fresh = again.first(V1)
    with pytest.raises(UntrustedRootError, match="not the pinned one"):
        victim.sees(fresh)
    assert victim.pinned_to(again.pin(fresh)).sees(fresh).verified.version == 1


# Forked chains of roots


def _stolen(team: Team) -> tuple[State, State, State]:
    """Root 1, root 2 with new root keys, and the fork of root 2 that a thief of the old keys signs."""
    first = team.first(V1)
    old_root = team.keys["root"]
    second = team.rotate_root(first, keys={"root": RoleKeys((team.ring.key(),))})
    thief = a_team(ring=team.ring)
    thief.keys = dict(team.keys) | {"root": old_root, "targets": RoleKeys((team.ring.key(),))}
    fork = thief.rotate_root(team.first(EVIL), keys={"targets": thief.keys["targets"]})
    roots = [first.roots[0], thief.next_root(first.roots[0], keys={"targets": thief.keys["targets"]})]
    return first, second, thief.remake(fork, {"targets": lambda body: body.update(version=2)}, roots=roots, bump=True)


@pytest.mark.parametrize("longer", [0, 1], ids=["as long", "longer"])
@pytest.mark.parametrize("cached", [True, False], ids=["with its files", "with its files lost"])
def test_stolen_old_root_keys_sign_a_fork_after_the_rotation_was_seen(
    tmp_path: Path, team: Team, python_tuf: PythonTuf, longer: int, cached: bool
) -> None:
    first, second, fork = _stolen(team)
    if longer:
        thief = a_team(ring=team.ring)
        old = Root.from_dict(signed_of(fork.root)).roles
        thief.keys = {
            name: RoleKeys(tuple(team.ring[key].public_key for key in role.keyids)) for name, role in old.items()
        }
        fork = thief.rotate_root(fork)
    victim = Victim(tmp_path, (team.pin(first),))
    victim.sees(second)
    if not cached:
        for path in tmp_path.glob("cache/trust/*/files/*"):
            path.unlink()
    assert python_tuf.accepts(fork)  # from the pinned root, as after a reinstallation
    with pytest.raises(TamperedError, match="root 2 is another one than this machine has seen"):
        victim.sees(fork)
    assert victim.sees(second).verified.root.version == 2


def test_a_publisher_slips_in_a_root_that_nobody_signed(
    tmp_path: Path, team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    """python-tuf never looks at the file of a root that it trusts already; what is remembered must be that root."""
    victim.sees(state)
    assert python_tuf.accepts(state)
    forged = sign_raw(signed_of(state.root) | {"note": "Mallory's"}, a_team().signers("root"))
    evil = team.remake(state, roots=[forged], bump=True)
    python_tuf.bootstrap = state.root
    assert python_tuf.accepts(evil)
    with pytest.raises(UntrustedRootError, match="not the pinned one"):
        victim.sees(evil)
    keys = tuple(key.keyid for key in team.keys["root"].keys)
    by_keys = victim.pinned_to(Pin(REPOSITORY, root_keys=keys, threshold=1))
    with pytest.raises(UntrustedRootError, match=r"none of the state's 1 roots is"):
        by_keys.sees(evil)


# Rule 6: the snapshot lists what there is


def test_rule_6_a_delegation_without_a_role_file(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    honest = team.with_delegates(state, Delegate("release", paths=("r*",)))
    missing = State.of((name, data) for name, data in honest.files.items() if name != "1.release.json")
    unlisted = team.remake(honest, {"snapshot": lambda body: body["meta"].pop("release.json")})
    for evil in (missing, unlisted):
        python_tuf.folder = python_tuf.folder.with_name(f"for-{id(evil)}")
        assert python_tuf.accepts(evil)  # until somebody looks for a tag of that role
        with pytest.raises(TamperedError, match="release"):
            victim.sees(evil)


def test_rule_6_an_entry_that_vanishes_breaks_honest_clients(
    tmp_path: Path, team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    seen = team.with_delegates(state, Delegate("release"))
    assert python_tuf.accepts(seen)
    victim.sees(seen)

    def undelegate(body: dict[str, Any]) -> None:
        del body["delegations"]
        body["version"] += 1

    files = {name: data for name, data in seen.files.items() if name != "1.release.json"}
    evil = team.remake(
        State.of(files.items()),
        {"targets": undelegate, "snapshot": lambda body: body["meta"].pop("release.json")},
        bump=True,
    )
    assert PythonTuf(tmp_path / "fresh").accepts(evil)
    with pytest.raises(RepositoryError, match=r"missing info for 'release\.json'"):
        python_tuf.accepts(evil)
    with pytest.raises(RollbackError, match="release has vanished"):
        victim.sees(evil)
    removed = team.remake(State.of(files.items()), {"targets": undelegate}, bump=True)
    assert victim.sees(removed).verified.versions["release"] == 1


def test_rule_6_a_file_that_nobody_delegated_to(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    stranger = signed_of(state.role("targets"))
    evil = with_file(state, "1.stranger.json", sign_raw(stranger, a_team().signers("targets")))
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="differ: stranger"):
        victim.sees(evil)


def test_rule_6_an_entry_without_a_hash_binds_nothing(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    loose = team.remake(state, {"snapshot": lambda body: body["meta"]["targets.json"].pop("hashes")})
    looser = team.remake(state, {"timestamp": lambda body: body["meta"]["snapshot.json"].pop("hashes")})
    assert python_tuf.accepts(loose)
    with pytest.raises(TamperedError, match="binds targets by no sha256"):
        victim.sees(loose)
    assert PythonTuf(python_tuf.folder.with_name("second")).accepts(looser)
    with pytest.raises(TamperedError, match="binds the snapshot by no sha256"):
        victim.sees(looser)


# Rule 7: a timestamp does not live for ever


def test_rule_7_a_timestamp_that_expires_in_2099(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    evil = team.remake(state, {"timestamp": lambda body: body.update(expires="2099-01-01T00:00:00Z")})
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="expires 2099-01-01T00:00:00Z: the root allows 15 days from now"):
        victim.sees(evil)


# Rule 8: what a lookup yields


@pytest.mark.parametrize(
    "delegates",
    [
        (Delegate("first", paths=("v*",), terminating=True), Delegate("second", (EVIL,))),
        (Delegate("first", (V1,)), Delegate("second", (EVIL,))),
        (Delegate("first", (target_of(OTHER_IMAGE, "x"),), paths=("r*",)),),
    ],
    ids=["behind a terminating delegation", "shadowed by a role before it", "for a tag that the role may not sign"],
)
def test_rule_8_a_digest_that_is_listed_but_that_no_lookup_yields(
    team: Team, victim: Victim, python_tuf: PythonTuf, delegates: tuple[Delegate, ...]
) -> None:
    evil = team.with_delegates(team.first(a_target("other")), *delegates)
    role = delegates[-1].name
    python_tuf.sees(evil)
    listed = {target["hashes"]["sha256"] for target in signed_of(evil.role(role))["targets"].values()}
    assert OTHER_IMAGE.digest.hex in listed  # in a genuine, validly signed role file
    victim = victim.pinned_to(team.pin(evil))
    assert victim.judges(evil, None, OTHER_IMAGE.digest).verdict == "unsigned"
    assert victim.judges(evil, "v1", OTHER_IMAGE.digest).verdict in {"unsigned", "mismatch"}


def test_rule_8_signers_are_those_who_sign_what_the_lookup_yields(team: Team, victim: Victim) -> None:
    state = team.with_delegates(
        team.first(a_target("other")),
        Delegate("first", (V1,), paths=("v*",)),
        Delegate("second", (V1,), paths=("v1",)),
        Delegate("third", (EVIL,)),
        Delegate("fourth", (V1,), paths=("w*",)),
    )
    judgement = victim.pinned_to(team.pin(state)).judges(state)
    assert judgement.signers == ("first", "second")
    assert judgement.digest == IMAGE.digest


def test_rule_8_more_than_32_delegations_hide_nobody(team: Team, victim: Victim, python_tuf: PythonTuf) -> None:
    delegates = [Delegate(f"signer{number}") for number in range(39)]
    state = team.with_delegates(team.first(a_target("other")), *delegates, Delegate("last", (V1,)))
    assert not python_tuf.accepts(state)
    assert victim.pinned_to(team.pin(state)).judges(state).signers == ("last",)


def test_rule_8_a_digest_for_another_tag_is_a_mismatch(team: Team, state: State, victim: Victim) -> None:
    both = team.put(state, target_of(OTHER_IMAGE, "v2"))
    assert victim.judges(both, None, OTHER_IMAGE.digest).digest == OTHER_IMAGE.digest
    assert victim.judges(both, "v2", OTHER_IMAGE.digest).verdict == "trusted"
    with pytest.raises(MismatchError, match="is signed to mean"):
        verify_name(victim.store, victim.machine, "v1", OTHER_IMAGE.digest)
    with pytest.raises(UnsignedError, match="no signed tag yields it"):
        verify_name(victim.store, victim.machine, None, Digest.of(b"unknown"))
    with pytest.raises(UnsignedError, match="the tag 'v3' is not signed"):
        verify_name(victim.store, victim.machine, "v3", IMAGE.digest)


# Rule 9: a refusal is no answer


def test_rule_9_a_403_hides_the_new_root_from_python_tuf(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    new = team.rotate_root(state)
    python_tuf.status = {"2.root.json": 403}
    assert python_tuf.accepts(new)
    assert victim.sees(new).verified.root.version == 2  # a state is one manifest: all roots or none


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_rule_9_a_registry_that_refuses_says_nothing_about_trust(tmp_path: Path, team: Team, status: int) -> None:
    with FaultyRegistry() as server:
        store = a_registry(server)
        team.repository = store.repository
        state = team.first(V1)
        put_state(store, state)
        server.fail("*", f"/manifests/{POINTER_TAG}$", Status(status), times=None)
        machine = a_machine(tmp_path, pins=[team.pin(state)])
        if status in {401, 403}:
            assert judge(store, machine, "v1").verdict == "unreachable"
        with pytest.raises(UnreachableError):
            verify_name(a_registry(server), machine, "v1")


# The bytes are what counts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"spec_version":"1.0.31"', b'"spec_version":null'),
        (b"-12-08T09:00:00Z", b"-12-8T9:0:0Z"),
    ],
    ids=["what python-tuf fills in", "what python-tuf spells anew"],
)
def test_a_signed_part_that_others_changed(
    state: State, victim: Victim, python_tuf: PythonTuf, old: bytes, new: bytes
) -> None:
    """python-tuf verifies its own encoding of what it has read."""
    data = state.role("timestamp")
    assert old in data
    evil = with_file(state, "timestamp.json", data.replace(old, new))
    assert python_tuf.accepts(evil)
    with pytest.raises(TamperedError, match="does not say what its signatures are made over"):
        victim.sees(evil)


# Identity


def test_a_timestamp_that_was_only_indented_again_is_the_same_state(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    seen = victim.sees(state).verified.identity
    pretty = with_file(state, "timestamp.json", json.dumps(json.loads(state.role("timestamp")), indent=1).encode())
    assert python_tuf.accepts(pretty)
    assert victim.sees(pretty).verified.identity == seen
    twin = team.remake(state, {"timestamp": lambda body: body.update(note="x")})
    assert victim.sees(twin).verified.identity != seen, "two writers may join the same to the same"


def test_a_fork_of_the_same_version_that_says_something_else(team: Team, state: State, victim: Victim) -> None:
    victim.sees(team.put(state, a_target("v1")))
    with pytest.raises(RollbackError, match="fork"):
        victim.sees(team.put(state, EVIL))


# What python-tuf refuses as well


def _mixed(team: Team, state: State) -> State:
    other = team.put(state, EVIL)
    return State.of((dict(other.files) | {"2.snapshot.json": state.role("snapshot")}).items())


def _under_threshold(team: Team, state: State) -> State:
    def two(body: dict[str, Any]) -> None:
        other = team.ring.key()
        body["keys"][other.keyid] = other.to_dict()
        body["roles"]["targets"]["keyids"].append(other.keyid)
        body["roles"]["targets"]["threshold"] = 2

    root = signed_of(state.root)
    two(root)
    root["version"] = 2
    return team.remake(state, roots=[*state.roots, sign_raw(root, team.signers("root"))])


def _replaced(name: str, change: Callable[[bytes], bytes]) -> Callable[[Team, State], State]:
    return lambda _team, state: with_file(state, name, change(state.files[name]))


def _by_stranger(role: str) -> Callable[[Team, State], State]:
    return lambda team, state: team.remake(state, signers={role: a_team().signers("targets")})


REFUSED_BY_BOTH: dict[str, Callable[[Team, State], State]] = {
    "genuine files of two states": _mixed,
    "targets under its threshold": _under_threshold,
    "targets signed by a stranger": _by_stranger("targets"),
    "snapshot signed by a stranger": _by_stranger("snapshot"),
    "timestamp signed by a stranger": _by_stranger("timestamp"),
    "targets changed after signing": _replaced("1.targets.json", lambda data: data.replace(b'"v1"', b'"v2"')),
    "timestamp truncated": _replaced("timestamp.json", lambda data: data[:-10]),
    "snapshot that is no JSON": _replaced("1.snapshot.json", lambda _data: b"not JSON"),
    "snapshot that is a list": _replaced("1.snapshot.json", lambda _data: b"[]"),
    "targets that is empty": _replaced("1.targets.json", lambda _data: b""),
    "a timestamp in the place of targets": lambda _team, state: with_file(
        state, "1.targets.json", state.role("timestamp")
    ),
    "a signature that is no hex": _replaced("timestamp.json", lambda data: data.replace(b'"sig":"', b'"sig":"zz')),
}


@pytest.mark.parametrize("bend", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_what_python_tuf_refuses_is_tampered(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf, bend: Callable[[Team, State], State]
) -> None:
    evil = bend(team, state)
    with pytest.raises(Exception, match=r".+") as refused:
        python_tuf.accepts(evil)
    assert refused.value is not None
    with pytest.raises(TamperedError):
        victim.sees(evil)
    assert victim.sees(state).verified.version == 1  # and nothing stuck


# Published keys


@pytest.mark.parametrize("role", ["root", "targets", "release"])
def test_keys_that_everybody_has_are_no_ground_for_trust(
    tmp_path: Path, team: Team, python_tuf: PythonTuf, role: str
) -> None:
    example = KeyStore(EXAMPLE / "keys", Passphrases()).find("publish").public
    state = team.with_delegates(team.first(V1), Delegate("release"))

    def to_root(body: dict[str, Any]) -> None:
        body["keys"][example.keyid] = example.to_dict()
        body["roles"][role]["keyids"].append(example.keyid)

    def to_delegation(body: dict[str, Any]) -> None:
        body["delegations"]["keys"][example.keyid] = example.to_dict()
        body["delegations"]["roles"][0]["keyids"].append(example.keyid)

    evil = team.remake(state, {"targets": to_delegation} if role == "release" else {"root": to_root})
    assert python_tuf.accepts(evil)
    victim = Victim(tmp_path, (team.pin(evil),))
    with pytest.raises(UntrustedRootError, match="published example keys"):
        victim.sees(evil)
    machine = a_machine(tmp_path, pins=[team.pin(evil)], allow_example_keys=True)
    assert judge(victim.store, machine, None, IMAGE.digest).verdict == "trusted"


# Which verdict wins


def test_which_verdict_wins(tmp_path: Path, team: Team, state: State) -> None:
    """The first that applies decides: unreachable, no trust data, untrusted root, tampered, rollback, expired."""
    seen = team.put(team.put(state, V1), V1)
    mallory = a_team(ring=team.ring)
    mallory.keys = dict(team.keys) | {"root": RoleKeys((team.ring.key(),))}
    foreign = mallory.first(V1)
    older = team.remake(state, bump=True)
    late = {"timestamp": lambda body: body.update(expires="2026-11-23T00:00:00Z")}
    long = {"timestamp": lambda body: body.update(expires="2099-11-23T00:00:00Z")}
    broken = {"targets": lambda data: data[:-1] + b',"x":1.5}'}
    cases: dict[str, tuple[State, str]] = {
        "a foreign root and a malformed file": (mallory.remake(foreign, raw=broken), "untrusted-root"),
        "a foreign root and expired": (mallory.remake(foreign, late), "untrusted-root"),
        "a foreign root and a long timestamp": (mallory.remake(foreign, long), "untrusted-root"),
        "another repository and a malformed file": (
            team.remake(older, {"timestamp": lambda body: body[EXTENSION].update(repository="x/y")}, raw=broken),
            "untrusted-root",
        ),
        "tampered and expired": (team.remake(seen, late, raw=broken, bump=True), "tampered"),
        "tampered and older": (team.remake(older, raw=broken), "tampered"),
        "a long timestamp and older": (team.remake(older, long), "tampered"),
        "older and expired": (team.remake(older, late), "rollback"),
        "expired and the tag absent": (team.remake(seen, late, bump=True), "expired"),
    }
    for name, (evil, verdict) in cases.items():
        victim = Victim(tmp_path / name.replace(" ", "-"), (team.pin(state),))
        victim.sees(seen)
        tag = "absent" if "absent" in name else "v1"
        assert victim.judges(evil, tag).verdict == verdict, name


@pytest.mark.parametrize(
    ("signed", "there", "verdict"),
    [
        ((), None, "missing"),
        ((V1,), None, "missing"),
        ((), IMAGE, "unsigned"),
        ((EVIL,), IMAGE, "mismatch"),
        ((V1,), IMAGE, "trusted"),
    ],
    ids=["absent and unsigned", "absent and signed", "unsigned", "moved", "signed and there"],
)
def test_which_verdict_a_tag_gets(
    tmp_path: Path, team: Team, signed: tuple[Any, ...], there: Any, verdict: str
) -> None:
    state = team.first(a_target("other"), *signed)
    victim = Victim(tmp_path, (team.pin(state),))
    judgement = victim.judges(state, "v1")
    if there is None:
        victim.store.untag("v1")
        judgement = judge(victim.store, victim.machine, "v1")
    assert judgement.verdict == verdict
    if verdict != "trusted":
        assert isinstance(judgement.error, VerificationError)


def test_a_pin_is_asked_before_anything_is_called_unsigned(tmp_path: Path, team: Team, state: State) -> None:
    victim = Victim(tmp_path, ())
    assert judge(victim.store, victim.machine, "v1").verdict == "unsigned"  # no trust data
    judgement = victim.judges(state, "never-signed")
    assert judgement.verdict == "untrusted-root"
    assert "no root of trust is pinned" in str(judgement.error)


def test_no_trust_data_any_more_is_a_rollback(tmp_path: Path, victim: Victim, state: State) -> None:
    victim.judges(state)
    victim.store.untag(POINTER_TAG)
    assert judge(victim.store, victim.machine, "v1").verdict == "rollback"


def test_an_expired_signer_is_expired_by_tag_and_by_digest(team: Team, victim: Victim, python_tuf: PythonTuf) -> None:
    state = team.with_delegates(
        team.first(a_target("other")),
        Delegate("release", (V1,)),
        Delegate("late", (V1, target_of(OTHER_IMAGE, "v2"))),
    )
    state = team.remake(state, {"release": lambda body: body.update(expires="2026-11-23T00:00:00Z")}, bump=True)
    victim = victim.pinned_to(team.pin(state))
    assert victim.judges(state, "v1").verdict == "expired"
    assert victim.judges(state, "v2").verdict == "expired"  # a lookup reads release first
    assert victim.judges(state, None, IMAGE.digest).verdict == "expired"
    assert victim.judges(state, "other").verdict == "missing"  # stands on targets alone


def test_a_digest_is_trusted_through_the_tag_that_is_still_fresh(team: Team, victim: Victim) -> None:
    state = team.with_delegates(
        team.first(a_target("other")),
        Delegate("old", (target_of(IMAGE, "a1"),), paths=("a*",)),
        Delegate("new", (target_of(IMAGE, "b1"),), paths=("b*",)),
    )
    state = team.remake(state, {"old": lambda body: body.update(expires="2026-11-23T00:00:00Z")}, bump=True)
    judgement = victim.pinned_to(team.pin(state)).judges(state, None, IMAGE.digest)
    assert (judgement.verdict, judgement.signers) == ("trusted", ("new",))


def test_rule_10_a_pointer_that_was_set_back_hides_nothing_and_stops_nobody(
    team: Team, state: State, victim: Victim, python_tuf: PythonTuf
) -> None:
    """Whoever may push can move ``_trust``. python-tuf takes the old state, or can only give up if it saw more."""
    newer = team.put(state, EVIL)
    assert python_tuf.accepts(state)
    with_memory = PythonTuf(python_tuf.folder.with_name("with memory"))
    assert with_memory.accepts(newer)
    with pytest.raises(RepositoryError):
        with_memory.accepts(state)
    for each in (state, newer):
        put_state(victim.store, each)
    assert victim.reader().read("v1").verified.version == 2
    put_state(victim.store, state)
    assert victim.reader().read("v1").verified.version == 2


def test_what_a_machine_without_memory_cannot_see(team: Team, state: State, victim: Victim, tmp_path: Path) -> None:
    """A replay within the timestamp's life; ``min_version`` in the pin stops it."""
    newer = team.put(state, EVIL)
    assert victim.sees(state).verified.version == 1
    floor = Pin(REPOSITORY, root=Digest.of(state.roots[0]), min_version=2)
    with pytest.raises(RollbackError, match="the state is version 1: the pin asks for at least 2"):
        victim.pinned_to(floor).sees(state)
    assert victim.pinned_to(floor).sees(newer).verified.version == 2
    roots = Pin(REPOSITORY, root=Digest.of(state.roots[0]), min_root=2)
    with pytest.raises(RollbackError, match="the root is version 1: the pin asks for at least 2"):
        victim.pinned_to(roots).sees(newer)
    later = Victim(tmp_path / "later", victim.pins, now=NOW + timedelta(days=15))
    assert later.judges(state).verdict == "expired"


def test_an_unchanged_state_can_be_renewed_without_its_targets_key(team: Team, state: State, victim: Victim) -> None:
    publisher = Team(
        team.repository,
        team.ring.only(*(key.keyid for key in team.keys["snapshot"].keys + team.keys["timestamp"].keys)),
    )
    publisher.keys = team.keys
    later = NOW + timedelta(days=10)
    renewed = publisher.next(state, Change(), now=later)
    assert renewed.role("targets") == state.role("targets")
    victim.now = later
    assert victim.sees(renewed).verified.version == 2
