from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.builders import a_state, a_team, signed_of, verified
from tests.trust.mutations import Mutation, bent_bytes, mutations
from trust.errors import DocksealError, TamperedError
from trust.tuf import state as states
from trust.tuf.state import (
    COVERED_VERSIONS,
    EXTENSION,
    MAX_PERIOD_DAYS,
    Links,
    Period,
    State,
    Terms,
    identity_of,
    parse_file_name,
    unverified_identity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ID = "ab" * 32
FILES = (
    ("1.root.json", b"r1"),
    ("2.root.json", b"r2"),
    ("7.snapshot.json", b"s"),
    ("5.targets.json", b"t"),
    ("2.release.json", b"d"),
    ("timestamp.json", b"ts"),
)


def without(*names: str) -> list[tuple[str, bytes]]:
    return [(name, data) for name, data in FILES if name not in names]


def test_a_state_knows_its_files_by_role() -> None:
    state = State.of(FILES)
    assert state.root_version == 2
    assert state.roots == (b"r1", b"r2")
    assert state.root == b"r2"
    assert [state.role(name) for name in ("snapshot", "targets", "release", "timestamp")] == [b"s", b"t", b"d", b"ts"]
    assert state.names["root"] == "2.root.json"
    with pytest.raises(KeyError):
        state.role("stranger")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "lacks root.json, timestamp.json"),
        (without("1.root.json"), "lacks 1.root.json"),
        (without("timestamp.json"), "lacks timestamp.json"),
        (without("7.snapshot.json"), "lacks snapshot.json"),
        (without("5.targets.json"), "lacks targets.json"),
        ([*FILES, ("6.targets.json", b"")], "two files for targets"),
        ([*FILES, ("timestamp.json", b"")], "two files for timestamp"),
        ([*FILES, ("2.root.json", b"")], "two files for 2.root.json"),
        ([*FILES, ("4.root.json", b"")], "lacks 3.root.json"),
        ([*FILES, ("0.x.json", b"")], "no role file's name"),
        ([*FILES, ("01.x.json", b"")], "no role file's name"),
        ([*FILES, ("1.timestamp.json", b"")], "no role file's name"),
        ([*FILES, ("../1.x.json", b"")], "no role file's name"),
        ([*FILES, ("1.X.json", b"")], "no role file's name"),
        ([*FILES, ("1.x.json\n", b"")], "no role file's name"),
    ],
)
def test_an_incomplete_or_ambiguous_set_of_files_is_no_state(files: list[tuple[str, bytes]], reason: str) -> None:
    with pytest.raises(TamperedError) as caught:
        State.of(files)
    assert reason in caught.value.message


def test_a_role_file_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MAX_ROLE_FILE_BYTES", 4)
    with pytest.raises(TamperedError, match=r"5\.targets\.json is 5 bytes: expected at most 4"):
        State.of([*without("5.targets.json"), ("5.targets.json", b"12345")])


def test_file_names_give_role_and_version() -> None:
    assert parse_file_name("timestamp.json") == ("timestamp", None)
    assert parse_file_name("12.bin-0f.json") == ("bin-0f", 12)


LINKS = Links("r", 3, ID, (ID,), ((ID, 7),), ("cd" * 32,))
TERMS = Terms.make("r", {"timestamp": Period(7, 3), "release": Period(90, 20)})


def test_links_and_terms_are_read_as_they_were_written() -> None:
    assert Links.parse(json.loads(json.dumps(LINKS.to_json()))) == LINKS
    assert Terms.parse(json.loads(json.dumps(TERMS.to_json()))) == TERMS


def test_terms_have_defaults() -> None:
    assert Period.of(90) == Period(90, 30)
    assert Period.of(1) == Period(1, 1)
    assert TERMS.max_timestamp_days == 8
    assert TERMS.period("release") == Period(90, 20)
    assert TERMS.period("stranger") == TERMS.period("targets") == Period(365, 60)


def broken(value: dict[str, object], path: str, new: object) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(value))
    *above, last = path.split("/")
    here = body
    for name in above:
        here = here[name]
    if new is None:
        del here[last]
    else:
        here[last] = new
    return body


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("repository", None),
        ("repository", ""),
        ("repository", 1),
        ("root", None),
        ("root", []),
        ("root/version", 0),
        ("root/version", True),
        ("root/version", "1"),
        ("root/sha256", "AB" * 32),
        ("root/sha256", None),
        ("parents", None),
        ("parents", {}),
        ("parents", ["x"]),
        ("covers", None),
        ("covers", [ID]),
        ("covers", {"x": 1}),
        ("covers", {ID: 0}),
        ("pending", [1]),
        ("pending", None),
    ],
)
def test_malformed_links_are_tampered(path: str, new: object) -> None:
    with pytest.raises(TamperedError):
        Links.parse(broken(LINKS.to_json(), path, new))


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("repository", None),
        ("periods", None),
        ("periods/root", None),
        ("periods/release", 5),
        ("periods/root/expires", 0),
        ("periods/root/expires", MAX_PERIOD_DAYS + 2),
        ("periods/root/signing", None),
        ("max_timestamp_days", None),
        ("max_timestamp_days", 2**52),
    ],
)
def test_malformed_terms_are_tampered(path: str, new: object) -> None:
    with pytest.raises(TamperedError):
        Terms.parse(broken(TERMS.to_json(), path, new))


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_an_extension_that_is_no_object_is_tampered(value: object) -> None:
    for parse in (Links.parse, Terms.parse):
        with pytest.raises(TamperedError, match=f"lacks a valid {EXTENSION}"):
            parse(value)


def test_the_identity_is_that_of_the_signed_part() -> None:
    state = a_state()
    assert unverified_identity(state) == verified(state).identity == identity_of(signed_of(state.role("timestamp")))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"signed": 1}', b'{"signed": {}, "signed": {}}'])
def test_a_timestamp_without_a_signed_part_has_no_identity(data: bytes) -> None:
    with pytest.raises(TamperedError):
        unverified_identity(State.of([*without("timestamp.json"), ("timestamp.json", data)]))


def test_covers_moves_its_window() -> None:
    team = a_team()
    state = a_state(team=team)
    first = verified(state).identity
    for _ in range(COVERED_VERSIONS):
        state = team.next(state)
    links = verified(state).links
    assert len(links.covers) == COVERED_VERSIONS
    assert dict(links.covers)[first] == 1
    moved = verified(team.next(state)).links
    assert len(moved.covers) == COVERED_VERSIONS
    assert first not in dict(moved.covers)


NAMES = st.sampled_from([name for name, _ in FILES]) | st.from_regex(r"[0-9]{0,3}\.?[a-z]{0,5}(\.json)?\n?")


@given(st.lists(st.tuples(NAMES, st.binary(max_size=3)), max_size=12))
def test_fuzz_only_our_errors_leave_state_of(files: Iterable[tuple[str, bytes]]) -> None:
    try:
        state = State.of(files)
    except DocksealError:
        return
    assert {"root", "timestamp", "snapshot", "targets"} <= set(state.names)
    assert len(state.roots) == state.root_version


@given(mutations(), st.sampled_from([Links, Terms]))
def test_fuzz_only_our_errors_leave_links_and_terms(mutate: Mutation, kind: type[Links | Terms]) -> None:
    body: dict[str, Any] = {"x": json.loads(json.dumps((LINKS if kind is Links else TERMS).to_json()))}
    mutate(body)
    try:
        value = kind.parse(body.get("x"))
    except DocksealError:
        return
    assert kind.parse(value.to_json()) == value


TIMESTAMP = a_state().role("timestamp")


@given(bent_bytes(TIMESTAMP))
def test_fuzz_only_our_errors_leave_the_identity(data: bytes) -> None:
    try:
        identity = unverified_identity(State.of([*without("timestamp.json"), ("timestamp.json", data)]))
    except DocksealError:
        return
    assert len(identity) == 64
