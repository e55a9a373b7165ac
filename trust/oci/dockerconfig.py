"""docker's config.json: where credentials for registries are kept, and the helpers that keep them.

Sources: docker/cli ``config/configfile`` and ``config/credentials``; docker-credential-helpers' README for
the protocol of helpers; containers-auth.json(5) for podman's file and its ``host/namespace`` keys.
"""

from __future__ import annotations

import base64
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trust.errors import UsageError
from trust.files import write_atomically
from trust.oci.reference import DEFAULT_REGISTRY
from trust.oci.wire import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub's key in every file and helper."""
TOKEN_USER = "<token>"
"""The user name under which helpers keep an identity token."""
MAX_CONFIG_BYTES = 4 << 20
MAX_HELPER_BYTES = 1 << 20
HELPER_SECONDS = 60
_HELPER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_NOT_FOUND = ("credentials not found", "no credentials server url", "no credentials username")
_HUB_HOSTS = frozenset({"index.docker.io", "docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are at a registry: user and secret, an identity token (OAuth2 refresh), or a ready bearer token.

    Raises:
        UsageError: they hold what no request can carry (half a surrogate pair).
    """

    user: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        try:
            f"{self.user}{self.secret}{self.identity_token}{self.registry_token}".encode()
        except UnicodeEncodeError:  # JSON can hold half a character; no context, since it quotes the secret
            raise UsageError("the stored credentials are no valid text: expected Unicode") from None

    @classmethod
    def of(cls, user: str, secret: str) -> Credentials:
        """From user and secret as helpers give them."""
        return cls(identity_token=secret) if user == TOKEN_USER else cls(user, secret)

    @property
    def basic(self) -> str | None:
        """The value of a Basic ``Authorization`` header."""
        if not self.user:
            return None
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode("ascii")


class DockerConfig:
    """Reads what docker and podman know of credentials, and writes docker's file.

    Args:
        env: the process environment.
        home: the home folder, where ``.docker`` is.
    """

    def __init__(self, env: Mapping[str, str] | None = None, home: Path | None = None) -> None:
        self._env = os.environ if env is None else env
        self._home = home
        self._helper_answers: dict[tuple[str, str], Credentials | None] = {}

    def get(self, host: str, path: str = "") -> Credentials | None:
        """The credentials for a registry host and, where a key names one, a repository path.

        ``DOCKER_AUTH_CONFIG`` is asked first, then each file; in each ``credHelpers``, ``credsStore``, ``auths``.

        Raises:
            UsageError: a file or an entry cannot be read, or a helper failed.
        """
        for name, config in self._configs():
            for helper in _helpers(config, host):
                if found := self._from_helper(helper, _key(host)):
                    return found
            entry = _find_entry(_map(config.get("auths"), f"{name}: auths"), host, path)
            if entry is not None and (credentials := _read_entry(*entry, name)) is not None:
                return credentials
        return None

    def helpers(self, host: str) -> tuple[str, ...]:
        """The credential helpers that are asked for a host, whether they are installed or not.

        Raises:
            UsageError: a file cannot be read.
        """
        return tuple(dict.fromkeys(helper for _, config in self._configs() for helper in _helpers(config, host)))

    def plain_files(self) -> tuple[Path, ...]:
        """The files that hold secrets themselves, and no helper for them.

        Raises:
            UsageError: a file cannot be read.
        """
        found = [(path, _read(path)) for path in self._files()]
        return tuple(
            path for path, config in found if config and any(_map(config.get("auths"), f"{path}: auths").values())
        )

    def store(self, host: str, user: str, secret: str) -> Path | None:
        """Keep a login, in the configured helper or else in the file.

        Returns:
            The file that now holds the secret in plain (base64), or None when a helper keeps it.

        Raises:
            UsageError: the helper failed, or the file cannot be written.
        """
        path, config = self._writable()
        auths, key = _map(config.setdefault("auths", {}), f"{path}: auths"), _key(host)
        for old in [old for old in auths if _plain(old) == _plain(key)]:
            del auths[old]
        helper = next(iter(_helpers(config, host)), None)
        if helper is not None:
            login = json.dumps({"ServerURL": key, "Username": user, "Secret": secret})
            if _run_helper(helper, "store", login) is None:
                raise UsageError(
                    f"the credential helper docker-credential-{helper} is not installed", hint=f"edit {path}"
                )
            auths[key] = {}
        elif user == TOKEN_USER:
            auths[key] = {"identitytoken": secret}
        else:
            auths[key] = {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode("ascii")}
        self._helper_answers.clear()
        _write(path, config)
        return None if helper is not None else path

    def erase(self, host: str) -> bool:
        """Forget a login; False when there was none.

        Raises:
            UsageError: the helper failed, or the file cannot be written.
        """
        path, config = self._writable()
        key, found = _key(host), False
        for helper in _helpers(config, host):
            if self._from_helper(helper, key) is not None:
                _run_helper(helper, "erase", key)
                found = True
        self._helper_answers.clear()
        auths = _map(config.get("auths"), f"{path}: auths")
        old_keys = [old for old in auths if _plain(old) == _plain(key)]
        for old in old_keys:
            found = bool(auths.pop(old)) or found
        if old_keys:
            _write(path, config)
        return found

    def _files(self) -> list[Path]:
        """The files that may hold credentials, first to ask first."""
        found = [self._docker_file()]
        if explicit := self._env.get("REGISTRY_AUTH_FILE"):
            found.insert(0, Path(explicit))
        if runtime := self._env.get("XDG_RUNTIME_DIR"):
            found.append(Path(runtime) / "containers" / "auth.json")
        return found

    def _docker_file(self) -> Path:
        folder = self._env.get("DOCKER_CONFIG")
        if folder:
            return Path(folder) / "config.json"
        return (self._home or Path(self._env.get("HOME") or "~").expanduser()) / ".docker" / "config.json"

    def _configs(self) -> list[tuple[str, dict[str, object]]]:
        found = []
        if inline := self._env.get("DOCKER_AUTH_CONFIG"):
            found.append(("DOCKER_AUTH_CONFIG", _parse(inline.encode(), "DOCKER_AUTH_CONFIG")))
        return found + [(str(path), config) for path in self._files() if (config := _read(path)) is not None]

    def _writable(self) -> tuple[Path, dict[str, object]]:
        """The file that a login goes to; a symbolic link stays one."""
        path = self._files()[0]
        path = path.resolve() if path.is_symlink() else path
        return path, _read(path) or {}

    def _from_helper(self, helper: str, key: str) -> Credentials | None:
        """Ask once per process: a helper may take a second or two."""
        if (helper, key) not in self._helper_answers:
            self._helper_answers[helper, key] = _ask_helper(helper, key)
        return self._helper_answers[helper, key]


def _key(host: str) -> str:
    return HUB_KEY if host == DEFAULT_REGISTRY else host


def _plain(key: str) -> str:
    """A key without scheme and API version: ``host[:port][/path]``."""
    if "://" in key:
        with suppress(ValueError):
            parts = urlsplit(key)
            key = parts.netloc + parts.path
    host, slash, path = key.partition("/")
    path = "" if path.strip("/") in {"v1", "v2"} else path.strip("/")
    host = DEFAULT_REGISTRY if host in _HUB_HOSTS else host
    return f"{host}{slash}{path}" if path else host


def _helpers(config: dict[str, object], host: str) -> list[str]:
    """The helpers to ask for a host: its own, then the general one."""
    own = _map(config.get("credHelpers"), "credHelpers")
    names = [name for key, name in own.items() if _plain(key) == host]
    found = []
    for name in [*names[:1], config.get("credsStore")]:
        if not name:
            continue
        if not isinstance(name, str) or not _HELPER_NAME.match(name):
            raise UsageError(f"{str(name)[:60]!r} is no name of a credential helper")
        found.append(name)
    return found


def _find_entry(auths: dict[str, object], host: str, path: str) -> tuple[str, object] | None:
    """The entry with the longest key that covers ``host/path``."""
    wanted = f"{host}/{path}" if path else host
    fitting = [key for key in auths if wanted == _plain(key) or wanted.startswith(f"{_plain(key)}/")]
    filled = [key for key in fitting if auths[key]]
    best = max(filled, key=lambda key: (len(_plain(key)), key == _key(host)), default=None)
    return None if best is None else (best, auths[best])


def _read_entry(key: str, value: object, where: str) -> Credentials | None:
    entry = _map(value, f"{where}: auths[{key!r}]")
    fields = {
        name: entry.get(name) or "" for name in ("username", "password", "auth", "identitytoken", "registrytoken")
    }
    if not all(isinstance(text, str) for text in fields.values()):
        raise UsageError(f"{where}: auths[{key!r}] is malformed: expected strings")
    text = {name: str(value) for name, value in fields.items()}
    user, secret = text["username"], text["password"]
    if text["auth"]:
        try:
            decoded = base64.b64decode(text["auth"], validate=True).decode("utf-8")
        except ValueError as error:  # binascii.Error, a text that is not ASCII, bytes that are not UTF-8
            raise UsageError(f"{where}: auths[{key!r}].auth is no base64 text") from error
        user, colon, secret = decoded.partition(":")
        if not colon:
            raise UsageError(f"{where}: auths[{key!r}].auth does not hold user:password")
        secret = secret.rstrip("\0")  # docker itself once padded with zero bytes
    credentials = Credentials.of(user, secret)
    if text["identitytoken"] or text["registrytoken"]:
        return Credentials(user, secret, text["identitytoken"], text["registrytoken"])
    return credentials if user else None


def _map(value: object, what: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{what} is malformed: expected an object, got {type(value).__name__}")
    return value


def _read(path: Path) -> dict[str, object] | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return _parse(data, str(path))


def _parse(data: bytes, what: str) -> dict[str, object]:
    """Our user's own file, so plain JSON: other tools keep all sorts of things in it."""
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{what} is longer than {MAX_CONFIG_BYTES} bytes")
    try:
        value: object = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError) as error:
        # The parser's own message may quote the file, which holds secrets.
        raise UsageError(
            f"{what} is no valid JSON", hint="docker's config.json is described at docs.docker.com"
        ) from error
    return _map(value, what)


def _write(path: Path, config: dict[str, object]) -> None:
    """Replace the file at once; mode 0600, its folder 0700 when it is new."""
    write_atomically(path, json.dumps(config, indent="\t", ensure_ascii=False).encode(), error=UsageError)


def _ask_helper(helper: str, key: str) -> Credentials | None:
    output = _run_helper(helper, "get", key)
    if output is None:
        return None
    try:
        answer: object = json.loads(output)
    except (ValueError, RecursionError):
        answer = None
    user, secret = (answer.get("Username"), answer.get("Secret")) if isinstance(answer, dict) else (None, None)
    if not isinstance(user, str) or not isinstance(secret, str):
        raise UsageError(f"docker-credential-{helper} gave no credentials for {key}: expected Username and Secret")
    return Credentials.of(user, secret) if user else None


def _run_helper(helper: str, verb: str, text: str) -> bytes | None:
    """Run ``docker-credential-HELPER VERB``; None where it is not installed, or knows nothing.

    Raises:
        UsageError: it failed for another reason.
    """
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configuration names the program; no shell is involved
            [program, verb], input=text.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = (
            f"no answer within {HELPER_SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        )
        raise UsageError(f"{program} {verb} failed: {reason}") from error
    if done.returncode == 0 and len(done.stdout) <= MAX_HELPER_BYTES:
        return done.stdout
    # A helper says why it failed on stdout or stderr; the secret is on neither then.
    words = clean((done.stdout[:400] or done.stderr[:400]).decode("utf-8", "replace"), 200)
    if verb != "store" and any(known in words.lower() for known in _NOT_FOUND):
        return None
    raise UsageError(f"{program} {verb} failed: {words or f'exit code {done.returncode}'}")
