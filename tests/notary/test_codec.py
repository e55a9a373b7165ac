"""Role files byte for byte. Those in vectors/v1 are what notary's own server and client wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notary.repos import GUN, VECTORS, Repo, plain
from trust.errors import DocksealError, TamperedError, UsageError
from trust.notary.canonical import canonical, file_bytes
from trust.notary.codec import decode, encode, message_of
from trust.notary.model import (
    RELEASES,
    Delegation,
    Meta,
    Role,
    Root,
    Signature,
    Snapshot,
    Targets,
    Timestamp,
    format_time,
    is_delegation,
    parse_time,
)

KINDS = {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}
NAMES = sorted(str(path.relative_to(VECTORS)).removesuffix(".json") for path in VECTORS.rglob("*.json"))


def kind_of(name: str) -> Any:
    return KINDS.get(name.rpartition(".")[2], Targets)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_notarys_is_the_same_after_decoding_and_encoding(name: str) -> None:
    data = (VECTORS / f"{name}.json").read_bytes()
    found = decode(data, kind_of(name), name)
    assert encode(found.payload, found.signatures).raw == data
    assert found.message == message_of(found.payload)


def test_there_are_vectors_of_every_role() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("ünï <&> \u2028", '"ünï <&> \u2028"'),
        (-(2**53) + 1, "-9007199254740991"),
        ({}, "{}"),
        ("\x7f", '"\x7f"'),
    ],
)
def test_what_is_signed_is_written_as_docker_writes_it(value: object, text: str) -> None:
    assert canonical(value) == text.encode()


@pytest.mark.parametrize("value", [1.5, 2**53, "a\nb", {"a": b""}, {"\x00": 1}, "\ud800"], ids=repr)
def test_what_others_would_read_differently_is_not_signed(value: object) -> None:
    with pytest.raises(UsageError):
        canonical(value)


def test_the_file_is_escaped_and_what_is_signed_is_not() -> None:
    targets = Targets(1, "2030-01-01T00:00:00Z", {"v1": Meta(1, {"sha256": bytes(32)}, {"note": "<a&b> \u2028\u2029"})})
    made = encode(targets, ())
    assert b"<a&b>" in made.message
    assert b'"\\u003ca\\u0026b\\u003e \\u2028\\u2029"' in made.raw
    again = decode(made.raw, Targets, "targets")
    assert (again.payload, again.message) == (targets, made.message)


def test_the_outer_order_is_signed_then_signatures() -> None:
    assert file_bytes(b"{}", b"[]") == b'{"signed":{},"signatures":[]}'


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2036-11-20T15:50:37.738824815Z", "2036-11-20T15:50:37.738824+00:00"),
        ("2026-12-07T15:50:37.8Z", "2026-12-07T15:50:37.800000+00:00"),
        ("2026-12-07T15:50:37Z", "2026-12-07T15:50:37+00:00"),
        ("2026-12-07T15:50:37-05:00", "2026-12-07T20:50:37+00:00"),
        ("2026-12-07T15:50:37.1+01:30", "2026-12-07T14:20:37.100000+00:00"),
    ],
)
def test_times_are_go_s(text: str, moment: str) -> None:
    assert parse_time(text).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-12-07",
        "2026-13-07T15:50:37Z",
        "2026-12-07T15:50:37",
        "2026-12-07t15:50:37Z",
        "0001-01-01T00:00:00+23:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(TamperedError):
        parse_time(text)


@given(st.datetimes(timezones=st.just(parse_time("2026-01-01T00:00:00Z").tzinfo)))
def test_every_time_is_read_back(moment: Any) -> None:
    if moment.year >= 1000:
        assert parse_time(format_time(moment)) == moment
        assert not format_time(moment).endswith(("0Z", ".Z")) or "." not in format_time(moment)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("targets/releases", True),
        ("targets/a/b-c_9", True),
        ("targets", False),
        ("targets/", False),
        ("targets/A", False),
        ("targets/a/../b", False),
        ("targets/" + "a" * 255, False),
        ("root/x", False),
    ],
)
def test_names_of_delegations(name: str, fits: bool) -> None:
    assert is_delegation(name) is fits


def broken(name: str, change: Any) -> bytes:
    """A file in which something was changed; its signatures are not judged here."""
    body = json.loads(Repo().build().files[name])
    change(body)
    return json.dumps(body).encode()


def _set(*path: Any, to: Any) -> Any:
    def change(body: Any) -> None:
        for step in path[:-1]:
            body = body[step]
        body[path[-1]] = to

    return change


def _first_key(body: Any) -> Any:
    keys = body["signed"]["keys"]
    return keys[next(iter(keys))]


def _rename_key(body: Any) -> None:
    keys = body["signed"]["keys"]
    keys["0" * 64] = keys.pop(next(iter(keys)))


MALFORMED: list[tuple[str, str, Any, str]] = [
    ("another type", "root", _set("signed", "_type", to="Targets"), "expected 'Root'"),
    ("a lower-case type", "targets", _set("signed", "_type", to="targets"), "expected 'Targets'"),
    ("no signed part", "root", lambda body: body.pop("signed"), "expected an object"),
    ("signatures that are no list", "root", _set("signatures", to={}), "expected a list"),
    ("a signature without method", "root", lambda body: body["signatures"][0].pop("method"), "expected a text"),
    ("a signature by a method that is none", "root", _set("signatures", 0, "method", to="\x1f"), "is no method"),
    ("a signature that is no base64", "root", _set("signatures", 0, "sig", to="%"), "expected base64"),
    ("a signature by nobody", "root", _set("signatures", 0, "keyid", to="me"), "is no key id"),
    ("no version", "root", lambda body: body["signed"].pop("version"), "expected a number"),
    ("version 0", "snapshot", _set("signed", "version", to=0), "expected 1 or more"),
    ("a version that is true", "snapshot", _set("signed", "version", to=True), "expected a number"),
    ("no expiry", "timestamp", lambda body: body["signed"].pop("expires"), "expected a time"),
    ("an expiry that is none", "timestamp", _set("signed", "expires", to="never"), "is no time"),
    ("a role too few", "root", lambda body: body["signed"]["roles"].pop("targets"), "expected root, targets"),
    ("a role too many", "root", _set("signed", "roles", "mirrors", to={}), "expected root, targets"),
    ("a threshold of 0", "root", _set("signed", "roles", "root", "threshold", to=0), "0 signature(s)"),
    ("a threshold of 2 with one key", "root", _set("signed", "roles", "root", "threshold", to=2), "2 signature(s)"),
    ("a key under another id", "root", _rename_key, "has the id"),
    ("a key of another type", "root", lambda body: _first_key(body).update(keytype="dsa"), "has the id"),
    ("a snapshot without root", "snapshot", lambda body: body["signed"]["meta"].pop("root"), "root is not listed"),
    ("a timestamp without snapshot", "timestamp", _set("signed", "meta", to={}), "snapshot is not listed"),
    ("a file without sha256", "snapshot", _set("signed", "meta", "root", "hashes", to={}), "expected a sha256"),
    ("a short hash", "snapshot", _set("signed", "meta", "root", "hashes", "sha512", to="AAAA"), "another size"),
    ("a negative length", "snapshot", _set("signed", "meta", "root", "length", to=-1), "expected a number"),
    (
        "a target without hashes",
        "targets/alice",
        _set("signed", "targets", to={"v1": {"length": 1}}),
        "expected an object",
    ),
    ("targets that are a list", "targets", _set("signed", "targets", to=[]), "expected an object"),
    (
        "a delegation of no name",
        "targets",
        _set("signed", "delegations", "roles", 0, "name", to="x"),
        "no name of a role",
    ),
    (
        "a delegation twice",
        "targets",
        _set("signed", "delegations", "roles", 0, "name", to="targets/alice"),
        "stands there twice",
    ),
    ("a delegation without keys", "targets", _set("signed", "delegations", "keys", to={}), "0 key(s) are there"),
    ("paths that are a text", "targets", _set("signed", "delegations", "roles", 0, "paths", to="v"), "expected a list"),
    ("a custom with a float", RELEASES, _set("signed", "targets", "v1", "custom", to={"a": 1.5}), "not strict JSON"),
    ("a custom with a great number", RELEASES, _set("signed", "targets", "v1", "custom", to=2**53), "not strict JSON"),
    ("a custom with a control character", RELEASES, _set("signed", "targets", "v1", "custom", to="\x01"), "control"),
]


@pytest.mark.parametrize(
    ("name", "change", "said"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_file_is_refused(name: str, change: Any, said: str) -> None:
    with pytest.raises(TamperedError) as caught:
        decode(broken(name, change), kind_of(name), f"{name}.json")
    assert said in caught.value.message
    assert caught.value.verdict == "tampered"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"signed":{},"signed":{}}', b"\xff", b"[" * 99])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(TamperedError):
        decode(data, Root, "root.json")


def test_a_null_where_go_had_no_list_is_an_empty_list() -> None:
    body = json.loads(Repo(delegations=False).build().files["targets"])
    body["signed"]["delegations"] = {"keys": None, "roles": None}
    body["signatures"] = None
    found = decode(json.dumps(body).encode(), Targets, "targets")
    assert (found.payload.delegations, found.signatures) == ((), ())


def test_the_oldest_files_have_no_delegations() -> None:
    body = json.loads(Repo(delegations=False).build().files["targets"])
    del body["signed"]["delegations"]
    assert decode(json.dumps(body).encode(), Targets, "targets").payload.delegations == ()


def test_a_method_is_read_in_any_case() -> None:
    data = broken("root", _set("signatures", 0, "method", to="ECDSA"))
    assert decode(data, Root, "root").signatures[0].method == "ecdsa"


def test_a_delegation_without_paths_is_written_without_them_and_signs_nothing() -> None:
    public = plain("alice")
    delegation = Delegation("targets/x", Role((public.key_id,)))
    payload = Targets(1, "2030-01-01T00:00:00Z", keys={public.key_id: public}, delegations=(delegation,))
    data = encode(payload, ()).raw
    assert b"paths" not in data
    assert decode(data, Targets, "targets").payload == payload
    assert not delegation.may_sign("v1")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_only_our_errors_leave_the_parser(data: bytes) -> None:
    kinds: tuple[Any, ...] = (Root, Targets, Snapshot, Timestamp)
    for kind in kinds:
        with pytest.raises(DocksealError):
            decode(data, kind, "the file")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just(GUN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(NAMES), st.data())
def test_only_our_errors_leave_it_for_files_that_are_almost_right(name: str, data: st.DataObject) -> None:
    body = json.loads((VECTORS / f"{name}.json").read_bytes())
    place: Any = body
    while isinstance(place, dict | list) and place:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[step], dict | list) or data.draw(st.booleans()):
            place[step] = data.draw(JSON)
            break
        place = place[step]
    try:
        found = decode(json.dumps(body).encode(), kind_of(name), name)
    except DocksealError:
        return
    assert encode(found.payload, found.signatures).payload == found.payload


CUSTOM = st.recursive(
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('az<&"\\ü', max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text("abv1.-_<&ü", min_size=1, max_size=9), CUSTOM, max_size=4), st.integers(1, 2**53 - 1))
def test_whatever_is_signed_is_read_back(customs: dict[str, object], version: int) -> None:
    entries = {name: Meta(7, {"sha256": bytes(32)}, custom) for name, custom in customs.items()}
    payload = Targets(version, "2030-01-01T00:00:00Z", entries)
    made = encode(payload, (Signature("0" * 64, "ecdsa", b"sig"),))
    assert decode(made.raw, Targets, "targets") == made
