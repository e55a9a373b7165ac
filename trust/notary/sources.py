"""Where role files are: on a Notary server (notary: server/server.go), or in docker's and notary's folders."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trust import strictjson
from trust.errors import ConflictError, DeniedError, DocksealError, TamperedError, UnreachableError, UsageError
from trust.notary.codec import read_key
from trust.notary.model import ROOT, TIMESTAMP, Meta
from trust.oci.wire import Call, clean, is_loopback, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trust.notary.publickeys import PublicKey
    from trust.oci.transport import Answer, Transport

MAX_TIMESTAMP_BYTES = 1 << 20
MAX_FILE_BYTES = 100 << 20
"""notary's own limits (client/tufclient.go)."""
MAX_KEY_BYTES = 64 << 10
ANSWER_SECONDS = 60
"""A publish may take the server a while: it verifies everything."""
HUB_SERVER = "https://notary.docker.io"

_OK, _BAD_REQUEST, _MISSING = 200, 400, 404
_KEY_FILE = re.compile(r"([0-9a-f]{64})(?:_[a-z]+)?\.key\Z")
_FRESH = (("Cache-Control", "no-cache"),)


class RejectedError(DocksealError):
    """The server did not take an update: another was first, or something is wrong with it."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """The address of a Notary server, checked when it is made.

    Raises:
        UsageError: it is no https URL (http is for this machine alone).
    """

    text: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.text)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(f"{self.text[:100]!r} is no URL") from error
        plain = parts.scheme == "http" and is_loopback(host)
        if not host or parts.username or parts.query or parts.fragment or (parts.scheme != "https" and not plain):
            raise UsageError(
                f"{clean(self.text, 100)!r} is no address of a Notary server: expected https://HOST[:PORT]",
                hint=f"--server or DOCKER_CONTENT_TRUST_SERVER, such as {HUB_SERVER}",
            )

    @property
    def scheme(self) -> str:
        """``https``, or ``http`` on this machine."""
        return urlsplit(self.text).scheme

    @property
    def host(self) -> str:
        """``HOST[:PORT]``, after which docker's TLS folder is called."""
        return urlsplit(self.text).netloc

    @property
    def path(self) -> str:
        """What goes before ``/v2/``."""
        return urlsplit(self.text).path.rstrip("/")


def default_server(registry: str) -> str:
    """The server that docker asks for a registry where it is told no other."""
    return HUB_SERVER if registry == "docker.io" else f"https://{registry}"


class Server:
    """One repository on a Notary server.

    Args:
        transport: to the server's host.
        url: its address.
        gun: the repository's name, with its registry.
    """

    def __init__(self, transport: Transport, url: ServerUrl, gun: str) -> None:
        self._transport = transport
        self._url = url
        self._gun = gun

    @property
    def name(self) -> str:
        """Its address."""
        return self._url.text

    def get(self, role: str, *, version: int | None = None, meta: Meta | None = None) -> bytes | None:
        """A role file, or None where there is none.

        Raises:
            UnreachableError, DeniedError: it could not be asked.
            TamperedError: the file is too long.
        """
        name = role if version is None else f"{version}.{role}"
        name = f"{name}.json" if meta is None else f"{name}.{meta.sha256.hex()}.json"
        cap = MAX_TIMESTAMP_BYTES if role == TIMESTAMP else MAX_FILE_BYTES
        cap = cap if meta is None else min(cap, meta.length)
        answer = self._send("GET", name, "pull", max_bytes=cap, headers=_FRESH if meta is None else ())
        if answer.status == _MISSING:
            return None
        self._expect_ok(answer, f"GET {name}")
        return answer.body

    def key(self, role: str) -> PublicKey:
        """The key with which the server signs a role; it makes one where it has none.

        Raises:
            UnreachableError, DeniedError: it could not be asked.
            TamperedError: it gave no key.
        """
        answer = self._send("GET", f"{role}.key", "push,pull", max_bytes=MAX_KEY_BYTES)
        self._expect_ok(answer, f"GET {role}.key")
        key = read_key(strictjson.loads(answer.body, f"the {role} key of {self.name}"), f"the {role} key")
        _ = key.material
        return key

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Put role files there, all or none (``POST …/_trust/tuf/``).

        Raises:
            RejectedError: the server did not take them.
            UnreachableError, DeniedError: it could not be asked.
        """
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{role}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
            + data
            + b"\r\n"
            for role, data in files.items()
        ]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        headers = (("Content-Type", f"multipart/form-data; boundary={boundary}"),)
        answer = self._send("POST", "", "push,pull", headers=headers, body=body)
        if answer.status == _BAD_REQUEST:
            raise RejectedError(f"{self.name} did not take the update of {self._gun}: {_reason(answer)}")
        self._expect_ok(answer, "the update")

    def _send(  # noqa: PLR0917 - what a request has
        self,
        method: str,
        name: str,
        actions: str,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        max_bytes: int = MAX_KEY_BYTES,
    ) -> Answer:
        return self._transport.send(
            Call(
                method,
                f"{self._url.path}/v2/{self._gun}/_trust/tuf/{name}",
                scopes=(f"repository:{self._gun}:{actions}",),
                headers=headers,
                body=body,
                max_bytes=max_bytes,
                answer_seconds=ANSWER_SECONDS if body is not None else 0,
            )
        )

    def _expect_ok(self, answer: Answer, what: str) -> None:
        if answer.status in {401, 403}:
            raise DeniedError(
                f"{self.name} refused {what} of {self._gun}: {_reason(answer)}",
                hint=f"dockseal login {self._gun.partition('/')[0]}: docker sends the registry's login there, too",
            )
        if answer.status != _OK:
            raise UnreachableError(f"{self.name} answered {answer.status} to {what} of {self._gun}: {_reason(answer)}")


class Folder:
    """What docker or notary keep of a repository (``…/trust/tuf/GUN/metadata``), or a folder of its role files."""

    def __init__(self, folder: Path, gun: str) -> None:
        inner = folder / "tuf" / gun / "metadata"
        self._folder = inner if inner.is_dir() else folder

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def get(self, role: str, *, version: int | None = None, meta: Meta | None = None) -> bytes | None:
        """A role file, or None where there is none.

        Raises:
            UsageError: it cannot be read.
            TamperedError: it is too long.
        """
        del meta  # there is one of each
        path = self._folder / (f"{role}.json" if version is None else f"{version}.{role}.json")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) > MAX_FILE_BYTES:
            raise TamperedError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
        return data


def cached_root(folders: tuple[Path, ...], gun: str) -> bytes | None:
    """The root that docker or notary trust on this machine."""
    for folder in folders:
        if (folder / "tuf" / gun / "metadata").is_dir():
            data = Folder(folder, gun).get(ROOT)
            if data is not None:
                return data
    return None


def key_files(folder: Path, key_ids: set[str]) -> Iterator[Path]:
    """The private keys with these (canonical) ids, wherever docker and notary of any age keep them in a folder.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: expected docker's trust folder, such as ~/.docker/trust")
    seen: set[str] = set()
    for path in sorted(folder.rglob("*.key")):
        found = _KEY_FILE.match(path.name)
        if found is not None and found[1] in key_ids - seen:
            seen.add(found[1])
            yield path


def conflict(gun: str, server: str, rounds: int) -> ConflictError:
    """Others were faster every time."""
    return ConflictError(
        f"{server}: others published {gun} at the same time, {rounds} times; nothing of this update was published",
        hint=f"run it again: dockseal notary publish {gun}",
    )


def _reason(answer: Answer) -> str:
    """What the server said; notary puts the reason into ``detail`` (``{"Name": …, "Error": {"Msg": …}}``)."""
    problem = problem_of(answer.body, answer.headers)
    try:
        text = json.loads(answer.body)["errors"][0]["detail"]["Error"]["Msg"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return problem.text or f"status {answer.status}"
    return clean(f"{', '.join(problem.codes)}: {text}", 300)
