"""One registry over HTTP: retries, redirects, tokens, caps, time limits, TLS."""

from __future__ import annotations

import io
import socket
import ssl
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest
import requests

from tests.doubles.faulty_registry import (
    HTML,
    Alter,
    CutBody,
    Drop,
    Endless,
    FaultyRegistry,
    Hang,
    Response,
    Status,
    basic_header,
    redirect,
    with_headers,
)
from trust.errors import DeniedError, TamperedError, UnreachableError, UsageError
from trust.oci.auth import Credentials
from trust.oci.retry import PROGRESS_BYTES, Backoff, RetryPolicy, TransientError
from trust.oci.transport import Timeouts, Transport
from trust.oci.wire import Body, Call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PULL = ("repository:app:pull",)
PUSH = ("repository:app:pull,push",)
PING = Call("GET", "/v2/")
LIST = Call("GET", "/v2/app/tags/list", PULL)


@dataclass(slots=True)
class Clock:
    """Time that passes by sleeping only."""

    now: float = 0.0
    naps: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class As:
    """Credentials for every host."""

    credentials: Credentials

    def get(self, host: str, path: str = "") -> Credentials:
        return self.credentials


ALICE = As(Credentials("alice", "secret"))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        running.tags["app"]["v1"] = "sha256:0"
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport(registry: FaultyRegistry, clock: Clock) -> Transport:
    return Transport(registry.host, ALICE, sleep=clock.sleep, monotonic=clock.monotonic)


# Requests and retries


def test_a_request_says_who_is_asking_and_wants_plain_bytes(registry: FaultyRegistry, transport: Transport) -> None:
    assert transport.send(PING).body == b"{}"
    (request,) = registry.requests
    assert request.headers["user-agent"].startswith("dockseal/")
    assert request.headers["accept-encoding"] == "identity"
    assert request.authorization is None


def test_a_program_that_is_not_installed_has_no_version(
    registry: FaultyRegistry, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("trust.oci.transport.version", absent)
    transport.send(PING)
    assert registry.requests[0].headers["user-agent"] == "dockseal"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    registry: FaultyRegistry, transport: Transport, clock: Clock, status: int
) -> None:
    registry.fail("GET", "/v2/", Status(status), times=2)
    assert transport.send(PING).status == 200
    assert [request.status for request in registry.requests] == [status, status, 200]
    assert 0.25 <= clock.naps[0] <= 0.5 <= clock.naps[1] <= 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 501])
def test_what_will_not_pass_is_not(registry: FaultyRegistry, transport: Transport, status: int) -> None:
    registry.fail("GET", "/v2/", Status(status))
    assert transport.send(PING).status == status
    assert len(registry.requests) == 1


def test_after_the_last_attempt_the_registrys_words_are_told(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", Status(503, b'{"errors":[{"code":"UNAVAILABLE","message":"later"}]}'), times=None)
    with pytest.raises(UnreachableError, match=r"answered 503 \(UNAVAILABLE: later\) \(5 attempts\)") as caught:
        transport.send(PING)
    assert type(caught.value) is UnreachableError
    assert len(registry.requests) == 5


@pytest.mark.parametrize(
    ("value", "bounds"),
    [("7", (7, 7)), ("86400", (60, 60)), ("soon", (0.25, 0.5)), ("0", (0.25, 0.5))],
)
def test_retry_after_is_honoured_up_to_a_minute(
    registry: FaultyRegistry, transport: Transport, clock: Clock, value: str, bounds: tuple[float, float]
) -> None:
    registry.fail("GET", "/v2/", Status(429, b"toomanyrequests", {"Retry-After": value}))
    transport.send(PING)
    assert bounds[0] <= clock.naps[0] <= bounds[1]


def test_attempts_that_get_ahead_do_not_count() -> None:
    clock = Clock()
    backoff = Backoff(RetryPolicy(attempts=2), clock.sleep)
    for done in (0, PROGRESS_BYTES, 2 * PROGRESS_BYTES):
        backoff.wait(TransientError("broken"), done)
    with pytest.raises(UnreachableError, match=r"broken \(2 attempts\)"):
        backoff.wait(TransientError("broken"), 3 * PROGRESS_BYTES - 1)


def test_waits_double_up_to_a_limit() -> None:
    clock = Clock()
    backoff = Backoff(RetryPolicy(attempts=9), clock.sleep)
    for _ in range(8):
        backoff.wait(TransientError("x"))
    bounds = [0.5, 1, 2, 4, 8, 16, 16, 16]
    assert all(bound / 2 <= nap <= bound for nap, bound in zip(clock.naps, bounds, strict=True))


def test_a_single_attempt_ends_without_its_number() -> None:
    clock = Clock()
    with pytest.raises(UnreachableError, match=r"^x$"):
        Backoff(RetryPolicy(attempts=1), clock.sleep).wait(TransientError("x"))


def test_a_call_without_retry_fails_at_once(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", Status(503))
    with pytest.raises(TransientError):
        transport.send(Call("GET", "/v2/", retry=False))
    assert len(registry.requests) == 1


@pytest.mark.parametrize("fault", [Drop(), CutBody(1)], ids=["before the answer", "in mid-body"])
def test_a_broken_connection_is_tried_again(
    registry: FaultyRegistry, transport: Transport, fault: Drop | CutBody
) -> None:
    registry.fail("GET", "/v2/", fault, times=2)
    assert transport.send(PING).body == b"{}"
    assert len(registry.requests) == 3


def test_a_connection_that_always_breaks_is_unreachable(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", CutBody(1), times=None)
    with pytest.raises(UnreachableError, match="broke off"):
        transport.send(PING)


def test_where_nobody_listens_the_error_comes_soon_and_names_the_reason(clock: Clock) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        transport = Transport(f"127.0.0.1:{free.getsockname()[1]}", sleep=clock.sleep, monotonic=clock.monotonic)
        with pytest.raises(
            UnreachableError, match=r"GET http://127.0.0.1:\d+/v2/: Connection refused \(3 attempts\)"
        ) as caught:
            transport.send(PING)
    assert caught.value.hint == f"is the registry running at {transport.registry}, and is that its name?"
    assert sum(clock.naps) < 2


def test_a_host_that_does_not_exist_is_named(clock: Clock) -> None:
    transport = Transport("nowhere.localhost", sleep=clock.sleep, monotonic=clock.monotonic)
    with pytest.raises(UnreachableError, match=r"http://nowhere\.localhost/v2/: "):
        transport.send(PING)


def test_a_registry_that_hangs_is_given_up(registry: FaultyRegistry, clock: Clock) -> None:
    registry.fail("GET", "/v2/", Hang(), times=None)
    transport = Transport(registry.host, sleep=clock.sleep, policy=RetryPolicy(2), timeouts=Timeouts(1, 0.1))
    with pytest.raises(UnreachableError, match=r"no answer within 0\.1 s \(2 attempts\)"):
        transport.send(PING)


def test_a_registry_may_take_its_time_where_it_has_much_to_do(registry: FaultyRegistry, clock: Clock) -> None:
    registry.fail("GET", "/v2/", Hang(0.3))
    transport = Transport(registry.host, sleep=clock.sleep, timeouts=Timeouts(1, 0.1))
    assert transport.send(Call("GET", "/v2/", answer_seconds=5)).ok


def test_a_registry_that_hangs_is_asked_twice_and_no_more(registry: FaultyRegistry, clock: Clock) -> None:
    registry.fail("GET", "/v2/", Hang(), times=None)
    transport = Transport(registry.host, sleep=clock.sleep, timeouts=Timeouts(1, 0.1))
    with pytest.raises(UnreachableError, match=r"no answer within 0\.1 s \(2 attempts\)"):
        transport.send(LIST)
    assert len(registry.requests) == 2


def test_a_hanging_registry_may_recover(registry: FaultyRegistry, clock: Clock) -> None:
    registry.fail("GET", "/v2/", Hang())
    assert Transport(registry.host, sleep=clock.sleep, timeouts=Timeouts(1, 0.1)).send(LIST).ok


@pytest.mark.parametrize("status", [302, 401])
def test_all_that_one_request_takes_is_bounded(registry: FaultyRegistry, status: int) -> None:
    """Each answer comes before its own limit; redirects and tokens add up."""

    def slowly(response: Response) -> Response:
        time.sleep(0.2)
        return response if response.status == 401 else Response(302, {"Location": "/v2/"})

    registry.bearer = status == 401
    registry.fail("GET", "/v2/", Alter(slowly), times=None)
    registry.fail("GET", "/token", Hang(0.2), times=None)
    transport = Transport(registry.host, timeouts=Timeouts(1, 5, small=0.3))
    start = time.monotonic()
    with pytest.raises(UnreachableError, match=r"no answer within|took too long to get there"):
        transport.send(LIST)
    assert time.monotonic() - start < 1.5


def test_the_waits_that_a_busy_registry_asks_for_do_not_count(registry: FaultyRegistry, clock: Clock) -> None:
    registry.fail("GET", "/v2/", Status(429, b"slow down", {"Retry-After": "60"}), times=4)
    transport = Transport(registry.host, sleep=clock.sleep, monotonic=clock.monotonic)
    assert transport.send(LIST).ok
    assert sum(clock.naps) == 240


@pytest.mark.parametrize("encrypted", [False, True])
def test_headers_that_drip_are_given_up(encrypted: bool, clock: Clock, tls: ssl.SSLContext, tmp_path: Path) -> None:
    """Each byte comes before the time limit of a read, and there is always one more."""
    with dripping(tls if encrypted else None) as host:
        folders = (trust_it(tmp_path, host),) if encrypted else ()
        transport = Transport(host, sleep=clock.sleep, timeouts=Timeouts(1, 0.3), certs_folders=folders)
        start = time.monotonic()
        with pytest.raises(UnreachableError, match=r"no answer within 0\.3 s \(2 attempts\)"):
            transport.send(PING)
        assert time.monotonic() - start < 3


@contextmanager
def dripping(context: ssl.SSLContext | None) -> Iterator[str]:
    """Answer every connection with headers that do not end."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        secured = connection if context is None else context.wrap_socket(connection, server_side=True)
        with suppress(OSError), secured as answer:
            answer.recv(65536)
            answer.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.02):
                answer.sendall(b"x")

    def run() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"localhost:{server.getsockname()[1]}"
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_body_that_drips_is_given_up(registry: FaultyRegistry) -> None:
    registry.fail("GET", "/v2/", Endless(b"x", pause_s=0.02), times=None)
    transport = Transport(registry.host, policy=RetryPolicy(1), timeouts=Timeouts(1, 0.1))
    with pytest.raises(UnreachableError, match="came too slowly"):
        transport.send(PING)


def test_an_endless_body_is_cut_off(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", Endless())
    with pytest.raises(TamperedError, match="expected at most 65536 bytes"):
        transport.send(PING)


def test_an_endless_error_is_cut_off_and_told(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", Alter(lambda _: Response(403, {}, b"x" * 1_000_000)))
    assert transport.send(PING).body == b"x" * 65536


def test_a_length_that_is_wrong_is_a_broken_answer(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", with_headers(Content_Length="9"), times=None)
    with pytest.raises(UnreachableError, match="broke off"):
        transport.send(PING)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"\x16\x03\x01",
        b"",
    ],
)
def test_only_our_errors_leave_a_broken_answer(answer: bytes, clock: Clock) -> None:
    with serve(answer) as host, pytest.raises((UnreachableError, TamperedError)):
        Transport(host, sleep=clock.sleep, policy=RetryPolicy(1), timeouts=Timeouts(1, 1)).send(PING)


@contextmanager
def serve(answer: bytes) -> Iterator[str]:
    """Answer one connection with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_an_interrupt_passes(registry: FaultyRegistry) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    registry.fail("GET", "/v2/", Status(503), times=None)
    with pytest.raises(KeyboardInterrupt):
        Transport(registry.host, sleep=interrupt).send(PING)


def test_connections_are_kept(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("HEAD", "/v2/", Status(204))
    for call in (PING, Call("HEAD", "/v2/"), PING, Call("DELETE", "/v2/")):
        transport.send(call)
    assert len(registry._connections) == 1


def test_a_warning_is_told_once(registry: FaultyRegistry) -> None:
    told: list[str] = []
    registry.fail("GET", "/v2/", with_headers(Warning='299 - "quota \x1b[2J nearly full"'), times=None)
    transport = Transport(registry.host, on_warning=told.append)
    for _ in range(3):
        transport.send(PING)
    assert told == [f"{registry.host}: quota [2J nearly full"]


def test_a_flood_of_warnings_ends(registry: FaultyRegistry) -> None:
    told: list[str] = []
    text = ", ".join(f'299 - "warning {number}"' for number in range(100))
    registry.fail("GET", "/v2/", with_headers(Warning=text))
    Transport(registry.host, on_warning=told.append).send(PING)
    assert len(told) == 16


# Bodies


def test_a_body_is_sent_with_its_length_and_again_after_a_401(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer = True
    opened = []

    def open_() -> io.BytesIO:
        opened.append(1)
        return io.BytesIO(b"hello")

    answer = transport.send(Call("POST", "/v2/app/blobs/uploads/", PUSH, body=Body(5, open_)))
    assert answer.status == 202
    assert [request.body for request in registry.requests] == [b"hello", b"hello"]
    assert [request.headers["content-length"] for request in registry.requests] == ["5", "5"]
    assert len(opened) == 2


@pytest.mark.parametrize("body", [None, b"", Body(0, io.BytesIO)])
def test_an_empty_body_has_a_length_of_zero(
    registry: FaultyRegistry, transport: Transport, body: bytes | Body | None
) -> None:
    transport.send(Call("POST", "/v2/app/blobs/uploads/", body=body))
    assert registry.requests[0].headers["content-length"] == "0"
    assert "transfer-encoding" not in registry.requests[0].headers


# Tokens


def test_a_token_is_fetched_once_and_sent_at_once_from_then_on(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer, registry.basic = True, ("alice", "secret")
    for _ in range(3):
        assert transport.send(LIST).ok
    assert [request.status for request in registry.requests] == [401, 200, 200, 200]
    (asked,) = registry.token_requests
    assert asked.query == {"service": ["faulty"], "scope": [*PULL]}
    assert asked.authorization == basic_header("alice", "secret")


def test_a_token_that_expired_is_replaced(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer = True
    transport.send(LIST)
    registry.expire_tokens()
    assert transport.send(LIST).ok
    assert [request.status for request in registry.requests] == [401, 200, 401, 200]


def test_a_refused_token_is_not_asked_for_ever(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer = True
    registry.fail(
        "GET", "/tags/", Alter(lambda _: registry._unauthorized(registry.requests[0]) or Response(500)), times=None
    )
    assert transport.send(LIST).status == 401
    assert len(registry.requests) <= 3


def test_basic_auth_is_sent_when_asked(registry: FaultyRegistry, transport: Transport) -> None:
    registry.basic = ("alice", "secret")
    assert transport.send(LIST).ok
    assert transport.send(LIST).ok
    assert [request.authorization for request in registry.requests] == [None, *[basic_header("alice", "secret")] * 2]


def test_a_wrong_password_is_sent_once(registry: FaultyRegistry, transport: Transport) -> None:
    registry.basic = ("alice", "other")
    assert transport.send(LIST).status == 401
    assert len(registry.requests) == 2


def test_a_busy_token_server_is_asked_again(registry: FaultyRegistry, transport: Transport, clock: Clock) -> None:
    registry.bearer = True
    registry.fail("GET", "/token", Status(503, headers={"Retry-After": "3"}))
    registry.fail("GET", "/token", Drop())
    assert transport.send(LIST).ok
    assert clock.naps[1] == 3


def test_netrc_does_not_replace_our_authorization(registry: FaultyRegistry, transport: Transport, home: Path) -> None:
    (home / ".netrc").write_text("machine localhost login mallory password x\n")
    registry.bearer = True
    assert transport.send(LIST).ok
    assert requests.utils.get_netrc_auth(f"http://{registry.host}") == ("mallory", "x")
    sent = {request.authorization for request in (*registry.requests, *registry.token_requests)}
    assert sent == {None, "Bearer token-1", basic_header("alice", "secret")}


def test_cookies_are_not_kept(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", with_headers(Set_Cookie="a=b"))
    transport.send(PING)
    transport.send(PING)
    assert "cookie" not in registry.requests[1].headers


def test_a_token_that_cannot_be_sent_is_not_shown(registry: FaultyRegistry) -> None:
    registry.bearer = True
    broken = As(Credentials(registry_token="hunter2\n"))
    with pytest.raises(UnreachableError, match="cannot be sent") as caught:
        Transport(registry.host, broken).send(LIST)
    assert "hunter2" not in str(caught.value)


# Redirects


@pytest.fixture
def elsewhere() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_credentials_do_not_follow_a_redirect_to_another_host(
    registry: FaultyRegistry, elsewhere: FaultyRegistry, transport: Transport, method: str, status: int
) -> None:
    registry.bearer = True
    transport.send(LIST)
    registry.fail(method, "/v2/", redirect(f"http://{elsewhere.host}/v2/?X-Amz-Signature=s", status))
    assert transport.send(Call(method, "/v2/app/tags/list", PULL)).ok
    assert registry.requests[-1].authorization == "Bearer token-1"
    assert [request.target for request in elsewhere.requests] == ["/v2/?X-Amz-Signature=s"]
    assert elsewhere.requests[0].authorization is None


def test_a_401_of_another_host_is_no_challenge_to_us(
    registry: FaultyRegistry, elsewhere: FaultyRegistry, transport: Transport
) -> None:
    elsewhere.basic = ("alice", "secret")
    registry.fail("GET", "/v2/", redirect(f"http://{elsewhere.host}/v2/"), times=None)
    assert transport.send(PING).status == 401
    assert [request.authorization for request in elsewhere.requests] == [None]


def test_credentials_follow_a_redirect_on_the_same_host(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer = True
    transport.send(LIST)
    registry.fail("GET", "list$", redirect("/v2/app/tags/list?moved"))
    assert transport.send(LIST).ok
    assert registry.requests[-1].authorization == "Bearer token-1"
    assert registry.requests[-1].target == "/v2/app/tags/list?moved"


def test_redirects_end(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", redirect("/v2/"), times=None)
    with pytest.raises(UnreachableError, match="more than 5 redirects"):
        transport.send(PING)
    assert len(registry.requests) == 6


def test_a_redirect_without_location_is_an_answer(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", Status(307))
    assert transport.send(PING).status == 307


@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("PUT", 308), ("PATCH", 302), ("DELETE", 307)])
def test_an_upload_does_not_follow_to_another_host(
    registry: FaultyRegistry, elsewhere: FaultyRegistry, transport: Transport, method: str, status: int
) -> None:
    registry.fail(method, "/v2/", redirect(f"http://{elsewhere.host}/x?X-Signature=hunter2", status))
    with pytest.raises(UnreachableError, match="not followed") as caught:
        transport.send(Call(method, "/v2/", body=b"secret"))
    assert elsewhere.requests == ()
    assert "hunter2" not in str(caught.value)


def test_an_upload_follows_on_the_same_host_with_its_body(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("POST", "/v2/", redirect("/v2/app/blobs/uploads/"))
    assert transport.send(Call("POST", "/v2/", body=b"hello")).status == 202
    assert registry.requests[1].body == b"hello"


def test_a_method_never_changes(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("POST", "/v2/", redirect("/v2/app/blobs/uploads/", 302))
    with pytest.raises(UnreachableError, match="not followed"):
        transport.send(Call("POST", "/v2/", body=b"hello"))
    assert len(registry.requests) == 1


def test_a_token_request_loses_its_credentials_on_the_way_to_another_host(
    registry: FaultyRegistry, elsewhere: FaultyRegistry, transport: Transport
) -> None:
    registry.bearer = True
    registry.fail("GET", "/token", redirect(f"http://{elsewhere.host}/token"))
    transport.send(LIST)
    assert registry.token_requests[0].authorization == basic_header("alice", "secret")
    assert [request.authorization for request in elsewhere.token_requests] == [None]


def test_a_refresh_token_does_not_follow_to_another_host(registry: FaultyRegistry, elsewhere: FaultyRegistry) -> None:
    registry.bearer = True
    registry.fail("POST", "/token", redirect(f"http://{elsewhere.host}/token"), times=None)
    with pytest.raises(UnreachableError, match="not followed"):
        Transport(registry.host, As(Credentials(identity_token="refresh"))).send(LIST)
    assert elsewhere.token_requests == ()


def test_a_web_page_is_an_answer_for_the_caller_to_judge(registry: FaultyRegistry, transport: Transport) -> None:
    registry.fail("GET", "/v2/", HTML)
    assert transport.send(PING).headers["content-type"].startswith("text/html")


# Hosts, proxies and TLS


@pytest.mark.parametrize(
    ("host", "insecure", "url"),
    [
        ("docker.io", False, "https://registry-1.docker.io"),
        ("docker.io", True, "https://registry-1.docker.io"),
        ("ghcr.io", False, "https://ghcr.io"),
        ("registry.lan:5000", False, "https://registry.lan:5000"),
        ("registry.lan:5000", True, "http://registry.lan:5000"),
        ("localhost:5000", False, "http://localhost:5000"),
        ("127.0.0.2:5000", False, "http://127.0.0.2:5000"),
        ("[::1]:5000", False, "http://[::1]:5000"),
        ("localhost.example", False, "https://localhost.example"),
    ],
)
def test_only_this_machine_and_insecure_hosts_are_spoken_to_without_tls(host: str, insecure: bool, url: str) -> None:
    assert Transport(host, insecure=insecure).url == url


def test_another_user_asks_the_same_registry() -> None:
    transport = Transport("registry.lan:5000", insecure=True).with_credentials(ALICE)
    assert transport.url == "http://registry.lan:5000"


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{registry.host}")
    monkeypatch.setenv("NO_PROXY", "")
    with FaultyRegistry() as here:
        assert Transport(here.host).send(PING).ok
        assert len(here.requests) == 1
    transport = Transport("registry.lan:5000", insecure=True, sleep=clock.sleep)
    transport.send(Call("GET", "/v2/"))
    assert registry.requests[0].target == "http://registry.lan:5000/v2/"
    monkeypatch.setenv("NO_PROXY", "registry.lan")
    with pytest.raises(UnreachableError):
        Transport("registry.lan:5000", insecure=True, sleep=clock.sleep, policy=RetryPolicy(1, 1)).send(PING)


def make_certificate(folder: Path, *extensions: str) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=localhost", "-keyout", str(folder / "it.key"), "-out", str(folder / "it.cert")]
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    make_certificate(tmp_path, "subjectAltName=DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "it.cert", tmp_path / "it.key")
    return context


def trust_it(tmp_path: Path, host: str, *, client: bool = False) -> str:
    """A certs.d folder in which the host's authority is, and who we are."""
    folder = tmp_path / "certs.d" / host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes((tmp_path / "it.cert").read_bytes())
    (folder / "README").write_text("not a certificate")
    if client:
        for name in ("it.cert", "it.key"):
            (folder / name).write_bytes((tmp_path / name).read_bytes())
    return str(tmp_path / "certs.d")


def test_a_registry_with_its_own_authority_is_trusted_through_certs_d(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with FaultyRegistry(tls) as registry:
        folder = trust_it(tmp_path, registry.host)
        registry.bearer = True
        registry.tags["app"]["v1"] = "x"
        transport = Transport(registry.host, certs_folders=("/nowhere", folder))
        assert transport.url == f"https://{registry.host}"
        assert transport.send(LIST).ok


def test_a_registry_that_wants_a_client_certificate_gets_it(tls: ssl.SSLContext, tmp_path: Path) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(tmp_path / "it.cert")
    with FaultyRegistry(tls) as registry:
        transport = Transport(registry.host, certs_folders=(trust_it(tmp_path, registry.host, client=True),))
        assert transport.send(PING).ok


def test_an_unknown_authority_is_refused_at_once_with_the_folder_to_put_it(tls: ssl.SSLContext, tmp_path: Path) -> None:
    with FaultyRegistry(tls) as registry:
        folder = tmp_path / "certs.d" / registry.host
        folder.mkdir(parents=True)
        (folder / "empty").write_text("")
        transport = Transport(registry.host, certs_folders=(str(tmp_path / "certs.d"),))
        with pytest.raises(UnreachableError, match=r"TLS failed: .*certificate verify failed") as caught:
            transport.send(PING)
        assert caught.value.hint == f"put the registry's CA into {tmp_path}/certs.d/{registry.host}/ca.crt"


def test_an_authority_in_the_environment_is_trusted(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "it.cert"))
    with FaultyRegistry(tls) as registry:
        folder = tmp_path / "certs.d" / registry.host
        folder.mkdir(parents=True)
        (folder / "empty").write_text("")
        assert Transport(registry.host, certs_folders=(str(tmp_path / "certs.d"),)).send(PING).ok


def test_a_step_down_from_https_is_refused(tls: ssl.SSLContext, tmp_path: Path, registry: FaultyRegistry) -> None:
    with FaultyRegistry(tls) as secure:
        transport = Transport(secure.host, certs_folders=(trust_it(tmp_path, secure.host),))
        secure.fail("GET", "/v2/", redirect(f"http://{registry.host}/v2/"))
        with pytest.raises(UnreachableError, match="plain http"):
            transport.send(PING)
    assert registry.requests == ()


def test_a_plain_registry_may_redirect_to_https(
    tls: ssl.SSLContext, tmp_path: Path, registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "it.cert"))
    with FaultyRegistry(tls) as secure:
        registry.fail("GET", "/v2/", redirect(f"https://{secure.host}/v2/"))
        assert Transport(registry.host).send(PING).ok


def test_a_damaged_certificate_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "h.example"
    folder.mkdir()
    (folder / "ca.crt").write_text("nonsense")
    transport = Transport("h.example", certs_folders=(str(tmp_path),))
    with pytest.raises(UsageError, match=r"ca\.crt cannot be loaded"):
        transport.send(PING)


def test_a_certs_folder_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "h.example").write_text("")
    with pytest.raises(UsageError, match="cannot be read"):
        Transport("h.example", certs_folders=(str(tmp_path),)).send(PING)


def test_talking_plain_http_to_a_tls_port_is_unreachable(tls: ssl.SSLContext, clock: Clock) -> None:
    with FaultyRegistry(tls) as registry, pytest.raises(UnreachableError):
        Transport(registry.host, sleep=clock.sleep).send(PING)


def test_a_token_server_that_denies_is_denied(registry: FaultyRegistry, transport: Transport) -> None:
    registry.bearer, registry.basic = True, ("alice", "other")
    with pytest.raises(DeniedError, match="refused the stored credentials"):
        transport.send(LIST)
