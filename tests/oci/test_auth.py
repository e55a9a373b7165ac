"""Challenges, tokens and logins; the token server is a function here, and a server in test_transport."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.faulty_registry import HTML, FaultyRegistry, Status, basic_header
from trust.errors import DeniedError, DocksealError, UnreachableError
from trust.oci.auth import Challenge, Credentials, TokenSource, check_login, covers, parse_challenges
from trust.oci.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "https://registry.example"
REALM = "https://auth.example/token"
BEARER = f'Bearer realm="{REALM}",service="svc"'
PULL = ("repository:a/b:pull",)
PUSH = ("repository:a/b:pull,push",)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the token server."""

    method: str
    url: str
    authorization: str | None
    form: dict[str, list[str]]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query)


@dataclass(slots=True)
class World:
    """A token server that gives ``token-1``, ``token-2`` …, a clock, and our credentials."""

    credentials: Credentials | None = None
    answers: list[tuple[int, object]] = field(default_factory=list)
    seconds: object = 300
    now: float = 1000.0
    asked: list[Asked] = field(default_factory=list)
    looked_up: list[tuple[str, str]] = field(default_factory=list)

    def get(self, host: str, path: str = "") -> Credentials | None:
        self.looked_up.append((host, path))
        return self.credentials

    def fetch(self, method: str, url: str, headers: Mapping[str, str], form: bytes | None) -> tuple[int, bytes]:
        self.asked.append(Asked(method, url, headers.get("Authorization"), parse_qs((form or b"").decode())))
        if self.answers:
            status, body = self.answers.pop(0)
            return status, body if isinstance(body, bytes) else json.dumps(body).encode()
        return 200, json.dumps({"token": f"token-{len(self.asked)}", "expires_in": self.seconds}).encode()

    def source(self, challenge: str = BEARER) -> TokenSource:
        source = TokenSource("registry.example", URL, self, self.fetch, lambda: self.now)
        source.challenged([challenge], PULL, None, again=False)
        return source


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Basic"], [("basic", {})]),
        (['Basic realm="x, y"'], [("basic", {"realm": "x, y"})]),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"'],
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (["bearer REALM=https://a/t , Service = s"], [("bearer", {"realm": "https://a/t", "service": "s"})]),
        (['Basic realm="a", Bearer realm="b"'], [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        (['Basic realm="a"', 'Bearer realm="b"'], [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
        (["Negotiate, NTLM", "Basic realm=x"], [("negotiate", {}), ("ntlm", {}), ("basic", {"realm": "x"})]),
        ([r'Bearer realm="a \"quoted\" \\ one"'], [("bearer", {"realm": r'a "quoted" \ one'})]),
        (['realm="lost"', ""], []),
        (['Bearer realm="open'], [("bearer", {})]),
    ],
)
def test_challenges_are_read(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges(headers)] == expected


@given(st.lists(st.text(alphabet='Bearer ,="\\realm\tscope:/é')))
def test_nothing_leaves_the_reader_of_challenges(headers: list[str]) -> None:
    assert all(isinstance(one, Challenge) for one in parse_challenges(headers))


@pytest.mark.parametrize(
    ("have", "want", "covered"),
    [
        (PUSH, PULL, True),
        (PULL, PUSH, False),
        (PUSH, ("repository:a/c:pull",), False),
        ((*PULL, "repository:a/c:pull"), ("repository:a/c:pull",), True),
        ((), PULL, False),
        (PULL, (), True),
        (("repository:host:5000/a:pull",), ("repository:host:5000/a:pull",), True),
    ],
)
def test_a_wider_token_serves_narrower_needs(have: tuple[str, ...], want: tuple[str, ...], covered: bool) -> None:
    assert covers(have, want) is covered


def test_nothing_is_sent_before_the_registry_asks() -> None:
    world = World(Credentials("alice", "secret"))
    source = TokenSource("registry.example", URL, world, world.fetch, lambda: 0.0)
    assert source.header(PULL) is None
    assert world.asked == []
    assert world.looked_up == []


def test_a_token_is_asked_with_one_parameter_per_scope() -> None:
    world = World(Credentials("alice", "secret"))
    assert world.source().header((*PUSH, "repository:c/d:pull")) == "Bearer token-1"
    assert world.asked[0].query == {"service": ["svc"], "scope": [*PUSH, "repository:c/d:pull"]}
    assert world.asked[0].authorization == basic_header("alice", "secret")
    assert world.looked_up == [("registry.example", "a/b")]


def test_without_credentials_a_token_is_asked_anonymously() -> None:
    world = World()
    assert world.source().header(PULL) == "Bearer token-1"
    assert (world.asked[0].method, world.asked[0].authorization) == ("GET", None)


def test_without_any_source_of_credentials_too() -> None:
    world = World()
    source = TokenSource("registry.example", URL, None, world.fetch, lambda: 0.0)
    assert source.challenged([BEARER], PULL, None, again=False)
    assert source.header(PULL) == "Bearer token-1"


def test_the_realms_own_query_is_kept() -> None:
    world = World()
    world.source(f'Bearer realm="{REALM}?account=x"').header(())
    world.source(f'Bearer realm="{REALM}?account=x"').header(PULL)
    assert [one.url for one in world.asked] == [f"{REALM}?account=x", f"{REALM}?account=x&scope={PULL[0]}"]


def test_a_token_is_kept_for_its_scopes_and_narrower_ones() -> None:
    world = World()
    source = world.source()
    assert [source.header(scopes) for scopes in (PUSH, PULL, PUSH)] == ["Bearer token-1"] * 3
    assert source.header(("repository:c/d:pull",)) == "Bearer token-2"
    assert source.header(()) == "Bearer token-3"
    assert source.header(()) == "Bearer token-3"


@pytest.mark.parametrize(
    ("expires_in", "fresh_until", "upload_until"),
    [
        (300, 239, 149),
        (1, 47, 29),
        (None, 47, 29),
        ("300", 47, 29),
        (True, 47, 29),
        (299.5, 239, 149),
        (10**9, 69_000, 43_000),
    ],
)
def test_a_token_is_renewed_early_and_earlier_for_uploads(
    expires_in: object, fresh_until: float, upload_until: float
) -> None:
    for upload, until in ((False, fresh_until), (True, upload_until)):
        world = World(seconds=expires_in)
        source = world.source()
        source.header(PULL)
        world.now += until
        assert source.header(PULL, upload=upload) == "Bearer token-1"
        world.now += until * 0.05 + 2
        assert source.header(PULL, upload=upload) == "Bearer token-2"


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_both_names_of_a_token_are_read(name: str) -> None:
    world = World(answers=[(200, {name: "t.o-k_e~n+/=="})])
    assert world.source().header(PULL) == "Bearer t.o-k_e~n+/=="


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"token": ""},
        {"token": 7},
        {"token": "a\r\nX-Evil: 1"},
        {"token": "a" * 50_000},
        b"<html>",
        b"\xff",
        b"[" * 9999,
    ],
    ids=range(9),
)
def test_what_is_no_token_is_refused(body: object) -> None:
    with pytest.raises(UnreachableError, match="gave no token"):
        World(answers=[(200, body)]).source().header(PULL)


@pytest.mark.parametrize(
    ("credentials", "who"), [(None, "anonymous access"), (Credentials("alice", "hunter2"), "the stored credentials")]
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_by_the_token_server_names_the_next_command(
    credentials: Credentials | None, who: str, status: int
) -> None:
    world = World(credentials, answers=[(status, {"details": "incorrect"})])
    with pytest.raises(DeniedError, match=rf"refused {who} \(incorrect\)") as caught:
        world.source().header(PULL)
    assert caught.value.hint == "dockseal login registry.example"
    assert "hunter2" not in str(caught.value)


def test_a_broken_token_server_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="answered 404: expected 200"):
        World(answers=[(404, b"")]).source().header(PULL)


def test_a_token_server_that_must_not_see_credentials_is_not_asked() -> None:
    world = World(Credentials("alice", "secret"))
    with pytest.raises(UnreachableError):
        world.source('Bearer realm="http://auth.example/token"').header(PULL)
    assert world.asked == []


def test_an_identity_token_is_exchanged_by_post() -> None:
    world = World(Credentials(identity_token="refresh"))
    assert world.source().header((*PUSH, "repository:c/d:pull")) == "Bearer token-1"
    assert (world.asked[0].method, world.asked[0].url, world.asked[0].authorization) == ("POST", REALM, None)
    assert world.asked[0].form == {
        "grant_type": ["refresh_token"],
        "service": ["svc"],
        "client_id": ["dockseal"],
        "scope": ["repository:a/b:pull,push repository:c/d:pull"],
        "refresh_token": ["refresh"],
    }


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    ("credentials", "basic"),
    [
        (Credentials(identity_token="refresh"), basic_header("<token>", "refresh")),
        (Credentials("alice", "secret", "refresh"), basic_header("alice", "secret")),
    ],
)
def test_where_there_is_no_oauth2_an_identity_token_is_a_password(
    credentials: Credentials, basic: str, status: int
) -> None:
    world = World(credentials, answers=[(status, b"")])
    assert world.source().header(PULL) == "Bearer token-2"
    assert [one.method for one in world.asked] == ["POST", "GET"]
    assert world.asked[1].authorization == basic


def test_a_registry_token_is_used_as_it_is_and_not_twice() -> None:
    world = World(Credentials(registry_token="ready"))
    source = world.source()
    assert source.header(PULL) == "Bearer ready"
    assert not source.challenged([BEARER], PULL, "Bearer ready", again=False)
    assert world.asked == []


def test_basic_auth_is_sent_where_the_registry_wants_it() -> None:
    source = World(Credentials("älice", "sécret")).source('Basic realm="x"')
    assert source.header(PULL) == basic_header("älice", "sécret")
    assert not source.challenged(['Basic realm="x"'], PULL, basic_header("älice", "sécret"), again=True)
    assert World().source('Basic realm="x"').header(PULL) is None


@pytest.mark.parametrize("credentials", [None, Credentials(identity_token="x")])
def test_without_a_user_a_basic_challenge_is_final(credentials: Credentials | None) -> None:
    world = World(credentials)
    source = TokenSource("registry.example", URL, world, world.fetch, lambda: 0.0)
    assert not source.challenged(["Basic"], PULL, None, again=False)


def test_bearer_is_preferred_where_it_has_a_realm() -> None:
    credentials = Credentials("alice", "secret")
    assert World(credentials).source(f"Basic realm=x, {BEARER}").header(PULL) == "Bearer token-1"
    assert World(credentials).source("Bearer service=s, Basic realm=x").header(PULL) == basic_header("alice", "secret")


@pytest.mark.parametrize("challenge", ["Negotiate", "", "Bearer service=s"])
def test_a_challenge_that_we_cannot_answer_is_final(challenge: str) -> None:
    world = World()
    source = TokenSource("registry.example", URL, world, world.fetch, lambda: 0.0)
    assert not source.challenged([challenge], PULL, None, again=False)
    assert source.header(PULL) is None


def test_a_refused_token_is_replaced_once() -> None:
    world = World()
    source = world.source()
    assert source.header(PULL) == "Bearer token-1"
    assert source.challenged([BEARER], PULL, "Bearer token-1", again=False)
    assert source.header(PULL) == "Bearer token-2"
    assert not source.challenged([BEARER], PULL, "Bearer token-2", again=True)


def test_a_scope_that_the_registry_misses_comes_first_from_then_on() -> None:
    world = World()
    source = world.source()
    missing = f'{BEARER},scope="repository:other/name:pull",error="insufficient_scope"'
    source.header(PULL)
    assert source.challenged([missing], PULL, "Bearer token-1", again=True)
    assert source.header(PULL) == "Bearer token-2"
    assert world.asked[1].query["scope"] == ["repository:other/name:pull", *PULL]
    assert source.header(PULL) == "Bearer token-2"
    assert not source.challenged([missing], PULL, "Bearer token-2", again=True)


def test_many_threads_share_one_token() -> None:
    world, barrier = World(), threading.Barrier(8)
    source = world.source()

    def ask() -> None:
        barrier.wait()
        source.header(PUSH)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.asked) == 1


def login(registry: FaultyRegistry, credentials: Credentials) -> None:
    check_login(Transport(registry.host), credentials)


@pytest.mark.parametrize("bearer", [False, True])
def test_a_login_is_proven(bearer: bool) -> None:
    with FaultyRegistry() as registry:
        registry.basic, registry.bearer = ("alice", "secret"), bearer
        login(registry, Credentials("alice", "secret"))
        with pytest.raises(DeniedError, match="refused"):
            login(registry, Credentials("alice", "wrong"))
        assert {request.path for request in registry.requests} == {"/v2/"}


def test_a_login_with_an_identity_token_is_proven() -> None:
    with FaultyRegistry() as registry:
        registry.bearer, registry.refresh_token = True, "refresh"
        login(registry, Credentials(identity_token="refresh"))
        with pytest.raises(DeniedError):
            login(registry, Credentials(identity_token="wrong"))


def test_a_login_that_the_registry_denies_says_who() -> None:
    with FaultyRegistry() as registry:
        registry.basic = ("alice", "secret")
        with pytest.raises(DeniedError, match=r"refused the login of bob \(UNAUTHORIZED") as caught:
            login(registry, Credentials("bob", "hunter2"))
        assert "hunter2" not in str(caught.value)
        with pytest.raises(DeniedError, match="an identity token"):
            login(registry, Credentials(identity_token="x"))
        registry.fail("GET", "/v2/", Status(403))
        with pytest.raises(DeniedError, match="refused the login of bob"):
            login(registry, Credentials("bob", "x"))


def test_a_registry_that_asks_nobody_accepts_any_login() -> None:
    with FaultyRegistry() as registry:
        login(registry, Credentials("anyone", "x"))


@pytest.mark.parametrize("fault", [HTML, Status(404, b"not here")])
def test_a_login_at_what_is_no_registry_fails(fault: Status) -> None:
    with FaultyRegistry() as registry:
        registry.fail("GET", "/v2/", fault)
        with pytest.raises(UnreachableError, match="is no registry"):
            login(registry, Credentials("alice", "x"))


@given(st.lists(st.text()), st.binary())
def test_only_our_errors_leave_a_token_source(headers: list[str], body: bytes) -> None:
    world = World(answers=[(200, body)])
    source = TokenSource("registry.example", URL, world, world.fetch, lambda: 0.0)
    try:
        source.challenged([BEARER, *headers], PULL, None, again=False)
        source.header(PULL)
    except DocksealError:
        return
