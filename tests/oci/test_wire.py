"""Registries' URLs, headers and error bodies."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import DocksealError, UnreachableError
from trust.oci import wire

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = "https://registry.example/v2/app/blobs/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/v2/a?n=5&last=b&X-Amz-Signature=secret", "https://h/v2/a?n=5&last=b"),
        ("https://user:secret@h:5000/v2/#secret", "https://h:5000/v2/"),
        ("https://h/v2/?_state=secret", "https://h/v2/"),
        ("https://h/?scope=repository:a/b:pull,push", "https://h/?scope=repository:a/b:pull,push"),
        ("https://[broken/", "(an invalid URL)"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert wire.redact(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\t\x1b[31mred\x07", "a b [31mred"),
        ("\u202eevil", "evil"),
        ("half \ud800 a pair", "half a pair"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: [redacted]"),
        ("sent Basic dXNlcjpwYXNz==", "sent [redacted]"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJhdWQi.sig", "token [redacted]"),
        ("see https://h/x?X-Signature=abc here", "see https://h/x here"),
    ],
)
def test_foreign_text_is_one_line_without_tokens(text: str, shown: str) -> None:
    assert wire.clean(text) == shown


def test_long_foreign_text_is_cut() -> None:
    assert wire.clean("x" * 5000) == "x" * wire.MAX_TEXT_LENGTH + "…"


@pytest.mark.parametrize(
    ("target", "result"),
    [
        ("/elsewhere?a=b", "https://registry.example/elsewhere?a=b"),
        ("https://cdn.example/x#part", "https://cdn.example/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
    ],
)
def test_a_redirect_is_followed(target: str, result: str) -> None:
    assert wire.follow(target, SOURCE, "a redirect to") == result


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://registry.example/x", "plain http"),
        ("https://127.0.0.1/x", "internal address"),
        ("https://10.1.2.3/x", "internal address"),
        ("https://169.254.169.254/latest/meta-data", "internal address"),
        ("https://[::1]/x", "internal address"),
        ("https://localhost/x", "internal address"),
        ("file:///etc/passwd", "expected an http or https URL"),
        ("https://user:password@cdn.example/x", "expected an http or https URL"),
        ("https://cdn.example:port/x", "no URL"),
        ("https://[::1", "no URL"),
        ("https://cdn.example/a b", "expected an http or https URL"),
        ("https://cdn.example/\r\nHost: evil", "expected an http or https URL"),
        ("https://cdn.example/" + "x" * wire.MAX_URL_LENGTH, "expected an http or https URL"),
        ("https://cdn.example/ü", "expected an http or https URL"),
    ],
)
def test_a_redirect_that_leads_astray_is_refused(target: str, reason: str) -> None:
    with pytest.raises(UnreachableError, match=reason):
        wire.follow(target, SOURCE, "a redirect to")


def test_a_registry_without_tls_may_redirect_to_its_own_network() -> None:
    assert wire.follow("http://10.0.0.5:9000/x", "http://registry.lan:5000/v2/", "a redirect to")


@pytest.mark.parametrize(
    ("realm", "registry"),
    [
        ("https://auth.docker.io/token", "https://registry-1.docker.io"),
        ("http://localhost:5001/token", "http://localhost:5000"),
        ("http://127.0.0.1:5001/token", "http://localhost:5000"),
        ("http://registry.lan:5001/token", "http://registry.lan:5000"),
        ("https://auth.example/token", "http://localhost:5000"),
    ],
)
def test_a_token_server_is_accepted(realm: str, registry: str) -> None:
    assert wire.token_realm(realm, registry) == realm


@pytest.mark.parametrize(
    ("realm", "registry"),
    [
        ("http://auth.docker.io/token", "https://registry-1.docker.io"),
        ("http://evil.example/token", "http://registry.lan:5000"),
        ("http://evil.example/token", "http://localhost:5000"),
        ("https://192.168.1.1/token", "https://registry.example"),
        ("ftp://registry.example/token", "https://registry.example"),
    ],
)
def test_a_token_server_that_must_not_see_credentials_is_refused(realm: str, registry: str) -> None:
    with pytest.raises(UnreachableError):
        wire.token_realm(realm, registry)


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/v2/a/blobs/uploads/1?_state=a%2Fb%3D%3D", "https://h:5000/v2/a/blobs/uploads/1?_state=a%2Fb%3D%3D"),
        ("1?x", "https://h:5000/v2/a/blobs/uploads/1?x"),
        ("https://h:5000/v2/u", "https://h:5000/v2/u"),
        ("http://h/v2/u", "https://h:5000/v2/u"),
        ("https://H/v2/u", "https://h:5000/v2/u"),
        ("https://h", "https://h:5000/"),
    ],
    ids=["relative", "relative to the request", "as it should be", "scheme and port lost", "port lost", "no path"],
)
def test_an_upload_stays_on_the_registry(location: str, result: str) -> None:
    assert wire.upload_url(location, "https://h:5000/v2/a/blobs/uploads/", "https://h:5000") == result


def test_names_of_this_machine_are_one_host_for_an_upload() -> None:
    assert (
        wire.upload_url("http://127.0.0.1:1/u", "http://localhost:1/v2/", "http://localhost:1")
        == "http://localhost:1/u"
    )


@pytest.mark.parametrize("location", [None, "", "https://other.example/u", "http://[::1/", "//other.example/u"])
def test_an_upload_elsewhere_is_refused(location: str | None) -> None:
    with pytest.raises(UnreachableError):
        wire.upload_url(location, "https://h/v2/a/blobs/uploads/", "https://h")


def test_a_parameter_is_added_to_what_is_there() -> None:
    assert wire.with_parameter("https://h/u", "digest", "sha256:0") == "https://h/u?digest=sha256:0"
    assert (
        wire.with_parameter("https://h/u?_state=a%3D", "digest", "sha256:0")
        == "https://h/u?_state=a%3D&digest=sha256:0"
    )


@pytest.mark.parametrize(
    ("links", "query"),
    [
        (['</v2/a/tags/list?last=b&n=2>; rel="next"'], "last=b&n=2"),
        (["<https://other.example/wrong/path?last=b>;rel=next"], "last=b"),
        (['<?next_page=gAAAA%3D>; rel="prev next"'], "next_page=gAAAA%3D"),
        (['</a?x=1>; rel="first", </a?x=2>; rel="next"'], "x=2"),
        (['</a?x=1>; rel="first"', '</a?x=2>; rel="next"'], "x=2"),
        (['</a?x=1>; rel="nextish"'], None),
        (['</a>; rel="next"'], None),
        (['</a?x=1 2>; rel="next"'], None),
        (['</a?x=ü>; rel="next"'], None),
        (["nonsense"], None),
        ([], None),
    ],
)
def test_the_next_page_is_read_from_link(links: list[str], query: str | None) -> None:
    assert wire.next_query(links) == query


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("30", None, 30),
        (" 0 ", None, 0),
        ("99999999999999999999", None, 999999999),
        ("Wed, 21 Oct 2026 07:28:10 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 10),
        ("Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", None, None),
        ("Wed, 21 Oct 2026 07:28:10 -0000", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("soon", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-5", None, None),
        ("²", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_read(value: str | None, date: str | None, seconds: float | None) -> None:
    assert wire.retry_after(value, date) == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [("0-99", 100), ("bytes=0-99", 100), ("0-0", 0), ("5-9", 0), ("x", 0), (None, 0), ("0-" + "9" * 40, 0)],
)
def test_what_an_upload_holds_is_read_from_range(value: str | None, size: int) -> None:
    assert wire.received_bytes(value) == size


@pytest.mark.parametrize(("value", "start"), [("bytes 5-9/10", 5), ("bytes */10", None), (None, None)])
def test_where_a_part_begins_is_read(value: str | None, start: int | None) -> None:
    assert wire.range_start(value) == start


def test_warnings_are_read() -> None:
    headers = ['299 - "it is \\"late\\""', '299 - "a", 299 - "b"', '199 - "no"', '299 - "\x1b[2Jclear"']
    assert wire.warning_texts(headers) == ['it is "late"', "a", "b", "[2Jclear"]


@pytest.mark.parametrize(
    ("body", "content_type", "codes", "text"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no","detail":"why"}]}', "", ("DENIED",), "DENIED: no (why)"),
        (b'{"errors":[{"code":"A"},{"message":"b","detail":{"x":1.5}}]}', "", ("A", ""), 'A; b ({"x": 1.5})'),
        (b'{"errors":[{"code":"A","message":"b","detail":"b"}, 7]}', "", ("A",), "A: b"),
        (b'{"details":"incorrect username or password"}', "", (), "incorrect username or password"),
        (b'{"error":"invalid_grant","error_description":"bad"}', "", (), "invalid_grant, bad"),
        (b"toomanyrequests: slow down", "text/plain", (), "toomanyrequests: slow down"),
        (b"<html>nginx</html>", "", (), "a web page"),
        (b"oops", "text/html", (), "a web page"),
        (b"", "", (), ""),
        (b"\xff\xfe", "", (), "\ufffd\ufffd"),
        (b"[" * 50_000, "", (), "[" * 500),
    ],
)
def test_an_error_body_is_read(body: bytes, content_type: str, codes: tuple[str, ...], text: str) -> None:
    assert wire.problem_of(body, {"Content-Type": content_type}) == wire.Problem(codes, text)


@given(st.text(), st.text())
def test_only_our_errors_leave_the_url_rules(target: str, source: str) -> None:
    rules: list[Callable[[], str]] = [
        partial(wire.follow, target, f"https://h/{source}", "x"),
        partial(wire.token_realm, target, "https://h"),
        partial(wire.upload_url, target, "https://h/", "https://h"),
    ]
    for rule in rules:
        try:
            url = rule()
        except DocksealError:
            continue
        assert url.startswith(("https://", "http://"))
        assert url.isascii()


@given(st.text())
def test_nothing_leaves_the_header_parsers(text: str) -> None:
    wire.redact(text)
    wire.next_query([text])
    wire.warning_texts([text])
    wire.range_start(text)
    assert (wire.retry_after(text, text) or 0) >= 0
    assert wire.received_bytes(text) >= 0
    assert "\n" not in wire.clean(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "code", "message", "detail", "x"]), inner)
    ),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_nothing_leaves_the_reader_of_error_bodies(body: bytes) -> None:
    assert len(wire.problem_of(body, {}).text) <= wire.MAX_TEXT_LENGTH + 1
