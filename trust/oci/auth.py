"""Who we are at a registry: challenges, tokens and logins.

Nothing here talks to the network: :class:`TokenSource` decides what to ask the token server, and is
given the function that asks. Sources: RFC 9110 section 11 (challenges); distribution's token
authentication specification and its OAuth2 variant; docker/cli for where credentials are kept.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode

from trust.errors import DeniedError, UnreachableError
from trust.oci.dockerconfig import Credentials, DockerConfig
from trust.oci.wire import Call, clean, problem_of, redact, token_realm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trust.oci.transport import Transport

__all__ = [
    "Challenge",
    "CredentialSource",
    "Credentials",
    "DockerConfig",
    "TokenSource",
    "check_login",
    "parse_challenges",
]

CLIENT_ID = "dockseal"
MIN_TOKEN_SECONDS = 60
"""A token lives this long where its server does not say, or says less (token specification)."""
MAX_TOKEN_SECONDS = 24 * 3600
MAX_TOKEN_LENGTH = 48 << 10
MAX_CHALLENGE_LENGTH = 8 << 10
EARLY = 0.2
"""A token is renewed when less than this part of its life is left …"""
EARLY_FOR_UPLOADS = 0.5
"""… or this part, before the request that ends a long upload: it would expire on the way (moby#33558)."""

_TOKEN68 = re.compile(r"[\w.~+/-]+=*\Z")
_CHALLENGE_PART = re.compile(
    r"""[\s,]*(?:
        (?P<name>[!#$%&'*+.^_`|~\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))
      | (?P<scheme>[!#$%&'*+.^_`|~\w-]+)(?=\s|,|\Z)
      | (?P<junk>[^\s,]+))""",
    re.VERBOSE | re.ASCII,
)


class CredentialSource(Protocol):
    """Where credentials come from; :class:`DockerConfig` is one."""

    def get(self, host: str, path: str = "") -> Credentials | None:
        """The credentials for a registry host and repository path, or None for anonymous access."""
        ...


class TokenFetch(Protocol):
    """Sends one request to a token server and gives status and body; it never follows to another host with secrets."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], form: bytes | None) -> tuple[int, bytes]: ...


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header; scheme and parameter names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """A parameter's value, or an empty string."""
        return dict(self.parameters).get(name, "")


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    scopes: tuple[str, ...]
    seconds: float
    expires: float


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of all ``WWW-Authenticate`` headers; what cannot be read is left out."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for header in headers:
        for part in _CHALLENGE_PART.finditer(header[:MAX_CHALLENGE_LENGTH]):
            if part["scheme"]:
                found.append((part["scheme"].lower(), []))
            elif part["name"] and found:
                value = part["bare"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
                found[-1][1].append((part["name"].lower(), value))
    return tuple(Challenge(scheme, tuple(parameters)) for scheme, parameters in found)


def covers(have: Iterable[str], want: Iterable[str]) -> bool:
    """Whether a token asked for with the scopes ``have`` serves a request that needs ``want``."""
    actions: dict[str, set[str]] = {}
    for scope in have:
        resource, _, names = scope.rpartition(":")
        actions.setdefault(resource, set()).update(names.split(","))
    split = (scope.rpartition(":") for scope in want)
    return all(set(names.split(",")) <= actions.get(resource, set()) for resource, _, names in split)


class TokenSource:
    """The ``Authorization`` header for each request to one registry. Thread-safe.

    The registry's first 401 says how it wants to be asked; from then on every request is sent with
    its token at once. One token is kept for each set of scopes, and a wider one serves narrower needs.

    Args:
        registry: the host as names have it (``docker.io``), the key of its credentials.
        url: the registry's base URL, which its token server is judged by.
        credentials: asked once per repository path, when first needed.
        fetch: asks the token server.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        registry: str,
        url: str,
        credentials: CredentialSource | None,
        fetch: TokenFetch,
        monotonic: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._url = url
        self._source = credentials
        self._fetch = fetch
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._known: dict[str, Credentials | None] = {}
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._missing: dict[tuple[str, ...], tuple[str, ...]] = {}

    def header(self, scopes: tuple[str, ...], *, upload: bool = False) -> str | None:
        """The header's value, or None while the registry has not asked for one.

        Args:
            scopes: what the request needs, as ``repository:NAME:ACTIONS``.
            upload: the request is long, so the token must last.

        Raises:
            DeniedError: the token server refused.
            UnreachableError: it gave no token.
        """
        with self._lock:
            if self._challenge is None:
                return None
            credentials = self._credentials(scopes)
            if self._challenge.scheme == "basic":
                return credentials.basic if credentials else None
            if credentials and credentials.registry_token:
                return f"Bearer {credentials.registry_token}"
            token = self._cached(scopes, EARLY_FOR_UPLOADS if upload else EARLY)
            return f"Bearer {(token or self._new_token(scopes, credentials)).value}"

    def challenged(self, headers: Iterable[str], scopes: tuple[str, ...], sent: str | None, *, again: bool) -> bool:
        """Learn from a 401.

        Args:
            headers: its ``WWW-Authenticate`` headers.
            scopes: what the request needed.
            sent: the ``Authorization`` that was refused.
            again: the request was refused before, so ``sent`` was new.

        Returns:
            Whether the request is worth sending again.
        """
        challenges = parse_challenges(headers)
        bearer = next((one for one in challenges if one.scheme == "bearer" and one.get("realm")), None)
        chosen = bearer or next((one for one in challenges if one.scheme == "basic"), None)
        if chosen is None:
            return False
        with self._lock:
            self._challenge = chosen
            for key in [key for key, token in self._tokens.items() if sent == f"Bearer {token.value}"]:
                del self._tokens[key]
            credentials = self._credentials(scopes)
            if chosen.scheme == "basic":
                return credentials is not None and credentials.basic not in {None, sent}
            if credentials and sent and sent == f"Bearer {credentials.registry_token}":
                return False
            asked = tuple(chosen.get("scope").split())
            news = not covers(self._wanted(scopes), asked)
            if news:
                self._missing[scopes] = asked
            return news or sent is None or not again

    def _credentials(self, scopes: tuple[str, ...]) -> Credentials | None:
        """Those for the repository of the first scope."""
        path = scopes[0].split(":")[1] if scopes else ""
        if path not in self._known:
            self._known[path] = self._source.get(self._registry, path) if self._source else None
        return self._known[path]

    def _cached(self, scopes: tuple[str, ...], early: float) -> _Token | None:
        now, wanted = self._monotonic(), self._wanted(scopes)
        for token in self._tokens.values():
            fits = covers(token.scopes, wanted) if wanted else not token.scopes
            if fits and token.expires - now > token.seconds * early:
                return token
        return None

    def _wanted(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """What the registry said it misses comes first: some token servers read one scope only."""
        return tuple(dict.fromkeys(self._missing.get(scopes, ()) + scopes))

    def _new_token(self, scopes: tuple[str, ...], credentials: Credentials | None) -> _Token:
        challenge = self._challenge or Challenge("bearer")
        realm, wanted = token_realm(challenge.get("realm"), self._url), self._wanted(scopes)
        service = [("service", challenge.get("service"))] if challenge.get("service") else []
        status, body = 404, b""
        if credentials and credentials.identity_token:
            form = [("grant_type", "refresh_token"), *service, ("client_id", CLIENT_ID)]
            form += [("scope", " ".join(wanted)), ("refresh_token", credentials.identity_token)]
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = self._fetch("POST", realm, kind, urlencode(form).encode())
        if status in {404, 405}:  # no OAuth2 here (or nothing to refresh): the older way
            query = urlencode([*service, *(("scope", scope) for scope in wanted)], safe=":/,")
            url = realm + (("&" if "?" in realm else "?") + query if query else "")
            basic = _basic(credentials)
            status, body = self._fetch("GET", url, {"Authorization": basic} if basic else {}, None)
        if status != 200:  # noqa: PLR2004 - HTTP's number says it best
            raise self._refused(realm, status, body, anonymous=credentials is None)
        token = self._read_token(body, realm, wanted)
        self._tokens[wanted] = token
        return token

    def _read_token(self, body: bytes, realm: str, scopes: tuple[str, ...]) -> _Token:
        try:
            answer: object = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        fields = answer if isinstance(answer, dict) else {}
        value = fields.get("token") or fields.get("access_token")
        if not isinstance(value, str) or not _TOKEN68.match(value) or len(value) > MAX_TOKEN_LENGTH:
            raise UnreachableError(
                f"the token server {redact(realm)} gave no token: expected JSON with token or access_token"
            )
        seconds = fields.get("expires_in")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            seconds = MIN_TOKEN_SECONDS
        lifetime = float(min(max(seconds, MIN_TOKEN_SECONDS), MAX_TOKEN_SECONDS))
        return _Token(value, scopes, lifetime, self._monotonic() + lifetime)

    def _refused(self, realm: str, status: int, body: bytes, *, anonymous: bool) -> UnreachableError:
        reason = problem_of(body, {}).text
        said = f" ({reason})" if reason else ""
        if status not in {400, 401, 403}:
            return UnreachableError(f"the token server {redact(realm)} answered {status}{said}: expected 200")
        who = "anonymous access" if anonymous else "the stored credentials"
        return DeniedError(f"the token server {redact(realm)} refused {who}{said}", hint=login_hint(self._registry))


def _basic(credentials: Credentials | None) -> str | None:
    """For a token server without OAuth2 an identity token is a password (ggcr does the same)."""
    if credentials and credentials.identity_token and not credentials.user:
        return Credentials("<token>", credentials.identity_token).basic
    return credentials.basic if credentials else None


def login_hint(registry: str) -> str:
    """The command that stores other credentials."""
    return "dockseal login" if registry == "docker.io" else f"dockseal login {registry}"


@dataclass(frozen=True, slots=True)
class _One:
    """The credentials that are being tried."""

    credentials: Credentials

    def get(self, host: str, path: str = "") -> Credentials | None:  # noqa: ARG002 - the Protocol's signature
        return self.credentials


def check_login(transport: Transport, credentials: Credentials) -> None:
    """Prove credentials against the registry (``GET /v2/``), before they are stored.

    A registry that asks nobody who they are accepts any.

    Raises:
        DeniedError: they were refused.
        UnreachableError: the registry could not be asked, or is none.
    """
    who = clean(credentials.user, 60) or "an identity token"
    advice = "check user name and password; many registries want an access token as the password"
    try:
        answer = transport.with_credentials(_One(credentials)).send(Call("GET", "/v2/"))
    except DeniedError as error:  # by its token server
        raise DeniedError(f"{transport.registry} refused the login of {who}: {error.message}", hint=advice) from error
    problem = problem_of(answer.body, answer.headers)
    if answer.status in {401, 403}:
        said = f" ({problem.text})" if problem.text else ""
        raise DeniedError(f"{transport.registry} refused the login of {who}{said}", hint=advice)
    if answer.status != 200 or problem.text == "a web page":  # noqa: PLR2004 - HTTP's number says it best
        raise UnreachableError(f"{transport.registry} is no registry: GET /v2/ answered {answer.status} {problem.text}")
