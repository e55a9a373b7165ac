"""The adapter around python-tuf: also holds fast what it takes from python-tuf's inside."""

from __future__ import annotations

import copy
import json
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tuf.ngclient import Updater

from tests.trust.attackers import PythonTuf
from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Delegate,
    Team,
    a_state,
    a_target,
    a_team,
    checked,
    sign_raw,
    signed_of,
    verified,
    with_file,
)
from tests.trust.mutations import Mutation, bent_bytes, mutations
from trust.client import check_fresh, parse_root, verify_state
from trust.errors import DocksealError, ExpiredError, TamperedError, UntrustedRootError, VerificationError
from trust.tuf.state import State

if TYPE_CHECKING:
    from pathlib import Path

TEAM = a_team(thresholds={"root": 2})
STATE = TEAM.rotate_root(
    TEAM.with_delegates(
        TEAM.first(a_target()),
        Delegate("release", (a_target("r1", b"r"),), paths=("r*",), threshold=2),
        Delegate("all", (a_target("r1", b"r"), a_target("x"))),
    )
)
NAMES = sorted(STATE.files)


def test_what_is_taken_from_inside_python_tuf_is_there(tmp_path: Path) -> None:
    updater = Updater(str(tmp_path), "http://x/", bootstrap=STATE.root)
    assert isinstance(updater._trusted_set.reference_time, datetime)
    assert updater._trusted_set.reference_time.tzinfo is UTC
    assert callable(updater._load_targets)
    assert updater._trusted_set.root.version == 2


def test_a_verified_state_says_what_it_holds() -> None:
    found = checked(STATE)
    assert found.version == 3
    assert found.versions == {"root": 2, "timestamp": 3, "snapshot": 3, "targets": 2, "release": 1, "all": 1}
    assert found.tags == ("r1", "v1", "x")
    assert found.root_sha256 == found.links.root_sha256
    assert {found.lookup(tag) is not None for tag in found.tags} == {True}
    assert found.lookup("stranger") is None
    assert found.signers_of("r1") == ("release", "all")
    assert found.signers_of("v1") == ("targets",)
    assert found.signers_of("stranger") == ()
    assert found.consulted("v1") == ()
    assert found.consulted("r1") == ("release",)
    assert found.consulted("r2") == ("release", "all")
    assert found.terms.repository == REPOSITORY


def test_the_walk_is_that_of_python_tuf() -> None:
    """Preorder, and what stands behind a terminating delegation is not reached."""
    team = a_team()
    state = team.with_delegates(
        team.first(a_target("other")),
        Delegate("a"),
        Delegate("b", paths=("v*",), terminating=True),
        Delegate("c", (a_target(),)),
    )
    state = team.with_delegates(state, Delegate("aa", parent="a"), Delegate("ab", parent="a"))
    found = checked(state)
    assert list(found.roles_for("v1")) == ["a", "aa", "ab", "b"]
    assert list(found.roles_for("w1")) == ["a", "aa", "ab", "c"]
    assert found.lookup("v1") is None
    assert found.signers_of("v1") == ()


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_each_top_level_role_must_be_fresh(role: str) -> None:
    team = a_team()
    soon = NOW + timedelta(hours=1)
    found = checked(team.remake(a_state(team=team), {role: lambda body: body.update(expires=f"{soon:%FT%TZ}")}))
    check_fresh(found, NOW)
    check_fresh(found, soon - timedelta(seconds=1), "v1")
    with pytest.raises(ExpiredError, match=f"{role} was valid until 2026-11-24T10:00:00Z, and now it is") as caught:
        check_fresh(found, soon)
    assert "repo refresh" in str(caught.value.hint)


def test_a_root_that_is_none_is_tampered() -> None:
    assert parse_root(STATE.root).signed.version == 2
    for data, reason in ((b"x", "malformed"), (STATE.role("targets"), "type 'targets'")):
        with pytest.raises(TamperedError, match=reason):
            parse_root(data)


def test_a_state_that_does_not_hold_the_trusted_root_is_tampered() -> None:
    with pytest.raises(TamperedError, match="does not hold the root"):
        verify_state(STATE, a_state().root)


def test_a_role_that_is_delegated_twice_is_tampered() -> None:
    team = a_team()
    state = team.with_delegates(a_state(team=team), Delegate("a"), Delegate("b"))
    state = team.remake(state, {"a": lambda body: body.update(delegations=team.delegations(Delegate("b")))})
    with pytest.raises(TamperedError, match="'b' is delegated twice"):
        checked(state)
    loop = team.remake(state, {"a": lambda body: body.update(delegations=team.delegations(Delegate("a")))})
    with pytest.raises(TamperedError, match="delegated twice"):
        checked(loop)


def _with_bins(bits: int, files: int) -> tuple[Team, State]:
    team = a_team()
    state = team.with_delegates(a_state(a_target("other"), team=team), Delegate("bin-0", (a_target(),)))
    keys = team.delegated["bin-0"].keys
    bodies: dict[str, Any] = {"targets": signed_of(state.role("targets"))}
    bodies["targets"]["delegations"] = {
        "keys": {key.keyid: key.to_dict() for key in keys},
        "succinct_roles": {
            "keyids": [key.keyid for key in keys],
            "threshold": 1,
            "bit_length": bits,
            "name_prefix": "bin",
        },
    }
    for number in range(files):
        bodies[f"bin-{number}"] = signed_of(state.role("bin-0"))
        team.delegated[f"bin-{number}"] = team.delegated["bin-0"]
    return team, team.remake(state, bodies=bodies)


def test_hash_bins_are_verified_and_looked_up() -> None:
    _team, state = _with_bins(1, 2)
    found = checked(state)
    assert found.lookup("v1") is not None
    (signer,) = found.signers_of("v1")
    assert found.role(signer).threshold == 1
    with pytest.raises(KeyError):
        found.role("stranger")


def test_hash_bins_without_end_do_not_fill_the_memory() -> None:
    _team, state = _with_bins(32, 1)
    with pytest.raises(TamperedError, match="4294967296 bins: expected at most 4096"):
        checked(state)


def test_a_folder_for_temporary_files_that_cannot_be_used_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DocksealError, match="temporary files") as caught:
        verified(STATE)
    assert not isinstance(caught.value, VerificationError)


def test_fields_of_the_future_are_kept_and_verified(tmp_path: Path) -> None:
    team = a_team()
    state = team.remake(a_state(team=team), {role: lambda body: body.update(new={"a": [1]}) for role in team.keys})
    assert PythonTuf(tmp_path / "tuf").accepts(state)
    assert checked(state).version == 1


def _signed(files: dict[str, bytes]) -> dict[str, Any]:
    return {name: json.loads(data)["signed"] for name, data in files.items()}


@settings(max_examples=200)
@given(st.sampled_from(NAMES), st.data())
def test_fuzz_changed_bytes_never_verify(name: str, data: st.DataObject) -> None:
    changed = dict(STATE.files) | {name: data.draw(bent_bytes(STATE.files[name]))}
    try:
        found = checked(State.of(changed.items()), root=STATE.roots[0])
    except (TamperedError, UntrustedRootError):
        return
    assert _signed(changed) == _signed(dict(STATE.files))
    assert found.identity == verified(STATE).identity


@settings(max_examples=200)
@given(st.sampled_from(NAMES), mutations())
def test_fuzz_changed_json_never_verifies(name: str, mutate: Mutation) -> None:
    body = json.loads(STATE.files[name])
    before = copy.deepcopy(body["signed"])
    mutate(body)
    try:
        checked(with_file(STATE, name, json.dumps(body).encode()), root=STATE.roots[0])
    except (TamperedError, UntrustedRootError):
        return
    assert body["signed"] == before


@settings(max_examples=200)
@given(st.sampled_from(["root", "targets", "release", "snapshot", "timestamp"]), mutations())
def test_fuzz_whatever_a_key_holder_signs_only_our_errors_leave(role: str, mutate: Mutation) -> None:
    try:
        state = TEAM.remake(STATE, {role: mutate})
    except (KeyError, TypeError, ValueError, TamperedError):
        reject()  # no file name or snapshot entry can be made of it
    try:
        found = checked(state)
        check_fresh(found, NOW, "v1")
    except (TamperedError, UntrustedRootError, ExpiredError):
        return
    assert found.lookup("stranger") is None


@given(bent_bytes(STATE.root))
def test_fuzz_only_our_errors_leave_parse_root(data: bytes) -> None:
    with suppress(TamperedError):
        assert parse_root(data).signed.type == "root"


def test_signatures_that_are_too_many_or_unknown_do_not_matter() -> None:
    stranger = a_team().signers("root")
    data = sign_raw(signed_of(STATE.role("timestamp")), [*TEAM.signers("timestamp"), *stranger])
    assert checked(with_file(STATE, "timestamp.json", data)).identity == verified(STATE).identity
