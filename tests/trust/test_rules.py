from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Delegate,
    a_target,
    a_team,
    sign_raw,
    signed_of,
    verified,
    with_file,
)
from tests.trust.mutations import Mutation, bent_bytes, mutations
from trust.errors import DocksealError, TamperedError, UntrustedRootError
from trust.tuf import rules
from trust.tuf.roles import parse_rfc3339, rfc3339, role_of
from trust.tuf.state import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Callable

TEAM = a_team()
STATE = TEAM.with_delegates(TEAM.first(a_target()), Delegate("release", (a_target("r1"),)))
NAMES = sorted(STATE.files)


def check(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Check one file of the state with its signed part changed."""
    body = json.loads(STATE.files[name])
    change(body["signed"])
    rules.check_file(name, json.dumps(body).encode(), REPOSITORY)


@pytest.mark.parametrize("name", NAMES)
def test_honest_files_pass(name: str) -> None:
    check(name, lambda _body: None)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("timestamp.json", lambda body: body.update(_type="root"), "a file of type 'root': expected 'timestamp'"),
        ("2.targets.json", lambda body: body.update(version=3), "holds version 3: expected 2"),
        ("2.targets.json", lambda body: body.pop("version"), "holds version None: expected 2"),
        ("2.targets.json", lambda body: body.update(_type="snapshot"), "expected 'targets'"),
        ("1.release.json", lambda body: body.pop("_type"), "expected 'targets'"),
        ("2.targets.json", lambda body: body["delegations"].pop("keys"), "keys is no object"),
        ("2.targets.json", lambda body: body.update(delegations=[]), "keys is no object"),
        ("2.targets.json", lambda body: body["delegations"].update(keys={"x": 1}), "key x is no object"),
        ("2.targets.json", lambda body: body["delegations"].update(keys={"x": {}}), "key x is malformed"),
        ("2.targets.json", lambda body: body.pop("targets"), "targets is no object"),
        ("2.targets.json", lambda body: body["targets"].update({"a/b": {}}), "'a/b', which is no tag"),
        ("2.targets.json", lambda body: body["targets"].update({"a\x1b[2J": {}}), "which is no tag"),
        ("2.targets.json", lambda body: body["targets"].update(v1=1), "'v1' without a valid sha256"),
        ("2.targets.json", lambda body: body["targets"]["v1"].update(hashes=[]), "without a valid sha256"),
        ("2.targets.json", lambda body: body["targets"]["v1"].update(hashes={"sha512": "0"}), "without a valid sha256"),
        ("2.targets.json", lambda body: body["targets"]["v1"]["hashes"].update(sha256="zz"), "without a valid sha256"),
        ("1.root.json", lambda body: body.pop("keys"), "keys is no object"),
        ("1.root.json", lambda body: body.pop(EXTENSION), "lacks a valid x-dockseal"),
        ("timestamp.json", lambda body: body.pop(EXTENSION), "lacks a valid x-dockseal"),
    ],
)
def test_a_file_that_breaks_a_rule_is_tampered(
    name: str, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(TamperedError) as caught:
        check(name, change)
    assert reason in caught.value.message


@pytest.mark.parametrize("data", [b"{}", b'{"signed": []}', b'{"signed": null}'])
def test_a_file_without_a_signed_part_is_tampered(data: bytes) -> None:
    with pytest.raises(TamperedError, match="has no signed part"):
        rules.check_file("timestamp.json", data, REPOSITORY)


@pytest.mark.parametrize(
    "value",
    [
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {}},
        {"keytype": "rot13", "scheme": "rot13", "keyval": {"public": "00"}},
        {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": "no PEM"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": "x"},
        {"keytype": 1, "scheme": 1, "keyval": {"public": "00"}},
    ],
)
def test_a_key_that_is_none_is_tampered(value: dict[str, object]) -> None:
    with pytest.raises(TamperedError):
        check("2.targets.json", lambda body: body["delegations"].update(keys={"0" * 64: value}))


def test_a_foreign_file_is_no_ground_for_trust() -> None:
    for name in ("1.root.json", "timestamp.json"):
        with pytest.raises(UntrustedRootError, match=f"{name} says '{REPOSITORY}', expected 'x/y'"):
            rules.check_file(name, STATE.files[name], "x/y")


def test_the_timestamp_may_live_as_long_as_the_root_allows() -> None:
    found = verified(STATE)
    rules.check_timestamp(found.timestamp, found.terms, NOW)
    rules.check_timestamp(found.timestamp, found.terms, NOW - timedelta(days=1))
    with pytest.raises(TamperedError, match="the root allows 15 days from now"):
        rules.check_timestamp(found.timestamp, found.terms, NOW - timedelta(days=1, seconds=1))


def test_every_role_has_its_keys() -> None:
    found = verified(STATE)
    for name in ("root", "timestamp", "snapshot", "targets"):
        assert role_of(name, found.root, found.targets) == found.root.roles[name]
    assert found.role("release").keyids == [key.keyid for key in TEAM.delegated["release"].keys]
    with pytest.raises(KeyError):
        found.role("stranger")
    assert found.key_ids == {key.keyid for role in (*TEAM.keys.values(), *TEAM.delegated.values()) for key in role.keys}


def test_times_are_written_and_read_back() -> None:
    assert parse_rfc3339(rfc3339(NOW)) == NOW
    assert parse_rfc3339("yesterday") is None


@given(st.sampled_from(NAMES), st.data())
def test_fuzz_only_our_errors_leave_a_check_of_bytes(name: str, data: st.DataObject) -> None:
    changed = data.draw(bent_bytes(STATE.files[name]))
    try:
        rules.check_file(name, changed, REPOSITORY)
    except DocksealError:
        return
    assert isinstance(json.loads(changed)["signed"], dict)


@given(st.sampled_from(NAMES), mutations())
def test_fuzz_only_our_errors_leave_a_check_of_json(name: str, mutate: Mutation) -> None:
    body = json.loads(STATE.files[name])
    mutate(body)
    try:
        rules.check_file(name, json.dumps(body).encode(), REPOSITORY)
    except DocksealError:
        return
    assert body["signed"]["_type"] in {"root", "targets", "snapshot", "timestamp"}


def test_the_newest_root_must_be_the_one_that_the_timestamp_names() -> None:
    two = TEAM.rotate_root(STATE)
    other = with_file(two, "2.root.json", sign_raw(signed_of(two.root) | {"note": "x"}, TEAM.signers("root")))
    with pytest.raises(TamperedError, match="the timestamp was made for root 2"):
        verified(other)


def test_the_snapshot_lists_every_role() -> None:
    found = verified(STATE)
    rules.check_snapshot(found.snapshot, found.targets, STATE)
    with pytest.raises(TamperedError, match="the snapshot does not list stranger"):
        rules.check_snapshot(found.snapshot, [*found.targets, "stranger"], STATE)
    with pytest.raises(TamperedError, match="differ: release"):
        rules.check_snapshot(found.snapshot, ["targets"], STATE)
