"""Where the concrete parts of a Notary repository meet: server or folder, keys, memory, and what is trusted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cli import terminal
from trust.errors import UnsignedError, UsageError

if TYPE_CHECKING:
    from cli.desk import Desk
    from trust.notary.chain import Repository
    from trust.notary.model import File, Root
    from trust.notary.publish import Publisher
    from trust.notary.reader import Seen, Source
    from trust.notary.signing import NotarySigning
    from trust.notary.sources import Server
    from trust.oci.dockerconfig import Credentials, DockerConfig

SERVER_VARIABLE = "DOCKER_CONTENT_TRUST_SERVER"
READ_SECONDS = 30
ATTEMPTS = 3
"""A Notary server that hangs holds a push up; it is given up sooner than a registry, and nothing is half done."""


def docker_folder() -> Path:
    """Docker's folder: ``DOCKER_CONFIG``, or ``~/.docker``."""
    chosen = os.environ.get("DOCKER_CONFIG")
    return Path(chosen) if chosen else Path("~/.docker").expanduser()


class _RegistryLogin:
    """Docker sends the registry's login to its Notary server, under whatever name that has."""

    def __init__(self, config: DockerConfig, gun: str) -> None:
        self._config = config
        self._registry, _, self._path = gun.partition("/")

    def get(self, host: str, path: str = "") -> Credentials | None:
        """The credentials of the registry."""
        del host, path
        return self._config.get(self._registry, self._path)


class Notary:
    """One repository on a Notary server, from this machine's standpoint."""

    def __init__(
        self, desk: Desk, gun: str, server: str | None, *, root: Path | None, first_use: bool, shown: bool = False
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            desk: keys, logins, the folder of this user.
            gun: the repository's name, with its registry.
            server: its URL; None for the environment's, or docker's default.
            root: a root.json to trust.
            first_use: whether a root that is not known here is trusted.
            shown: whether it is only shown, to somebody who decides then.
        """
        from trust.notary.memory import Memory
        from trust.notary.sources import ServerUrl, default_server

        if "/" not in gun or gun.startswith("/"):
            raise UsageError(f"{gun} is a folder: a Notary server knows repositories of registries", hint="--as NAME")
        self._desk = desk
        self.gun = gun
        self.registry = gun.partition("/")[0]
        self.url = ServerUrl(server or os.environ.get(SERVER_VARIABLE) or default_server(self.registry))
        self._memory = Memory(desk.home / "cache", self.url.text, gun)
        self._root = root
        self._first_use = first_use
        self._only_shown = shown
        self._said = False

    @property
    def signing(self) -> NotarySigning:
        """The keys that are here."""
        from trust.notary.signing import NotarySigning

        return NotarySigning(self._desk.keys, allow_example_keys=self._desk.allow_example_keys)

    def read(self, *, remember: bool = True) -> Repository:
        """What the server has, verified; then, and only then, it is remembered.

        Raises:
            DocksealError: the verdict.
        """
        from trust.notary.reader import read

        # the server may sign its timestamp this very second
        repository = read(self._server(), self.gun, self._seen(), self._accepts, self._desk.clock())
        if remember:
            self.remember(repository)
        return repository

    def remember(self, repository: Repository) -> None:
        """Never take less than this from the server again."""
        self._memory.keep(repository)

    def read_folder(self, folder: Path, *, allow_expired: bool) -> Repository:
        """What docker's folder, or a copy of a server's files, has; nothing of it is remembered.

        Raises:
            DocksealError: the verdict.
        """
        from trust.notary.reader import Seen, read
        from trust.notary.sources import Folder

        source: Source = Folder(folder, self.gun)
        now = None if allow_expired else self._desk.now
        seen = self._seen()
        known = None if seen is None else Seen(seen.root)  # docker's copy may be older than what the server had since
        return read(source, self.gun, known, self._accepts, now)

    def publisher(self) -> Publisher:
        """Publishes there."""
        from trust.notary.publish import Publisher
        from trust.repo import label_for

        return Publisher(
            self._server(),
            self.read_to_write,
            self.signing,
            gun=self.gun,
            targets_label=label_for(self.gun, "notary"),
            now=self._desk.clock(),
            sleep=time.sleep,
        )

    def _server(self) -> Server:
        from trust.notary.sources import Server
        from trust.oci.retry import RetryPolicy
        from trust.oci.transport import Timeouts, Transport

        if self.url.text not in self._desk.transports:
            self._desk.transports[self.url.text] = Transport(
                self.url.host,
                _RegistryLogin(self._desk.docker_config, self.gun),
                scheme=self.url.scheme,
                on_warning=lambda text: terminal.warn(f"{self.url.host} says: {text}"),
                certs_folders=(str(docker_folder() / "tls"),),
                policy=RetryPolicy(attempts=ATTEMPTS),
                timeouts=Timeouts(read=READ_SECONDS),
            )
        return Server(self._desk.transports[self.url.text], self.url, self.gun)

    def read_to_write(self) -> Repository | None:
        """For a publisher, who signs anew what has expired; None where there is nothing."""
        from trust.notary.reader import read

        try:
            repository = read(self._server(), self.gun, self._seen(), self._accepts, None)
        except UnsignedError:
            return None
        self.remember(repository)
        return repository

    def _named_root(self) -> Seen | None:
        """``--root FILE``."""
        from trust.notary.chain import read_root
        from trust.notary.reader import Seen

        if self._root is None:
            return None
        try:
            data = self._root.read_bytes()
        except OSError as error:
            raise UsageError(f"{self._root} cannot be read: {error.strerror or error}") from error
        return Seen(read_root(data, str(self._root)))

    def _seen(self) -> Seen | None:
        """Where trust starts: a root that was named, else one that dockseal or docker has trusted here before."""
        from trust.notary.chain import read_root, same_line
        from trust.notary.reader import Seen
        from trust.notary.sources import cached_root

        seen, named = self._memory.seen(), self._named_root()
        if named is not None:
            ours = seen is not None and same_line(named.root.payload, seen.root.payload)
            return Seen(named.root, seen.versions if seen is not None and ours else {})
        if seen is not None:
            return seen
        cached = cached_root((docker_folder() / "trust", Path("~/.notary").expanduser()), self.gun)
        return None if cached is None else Seen(read_root(cached, "the root that docker trusts here"))

    def _accepts(self, root: File[Root]) -> bool:
        """A root whose key is here is ours; any, where the user says so."""
        payload = root.payload
        if self.signing.can_sign(payload.roles["root"], payload.keys):
            return True
        if self._first_use:
            self._say(f"trusted on first use: the root of {self.gun}", root)
        return self._first_use or self._shown(root)

    def _shown(self, root: File[Root]) -> bool:
        if self._only_shown:
            self._say(f"no root of {self.gun} was known here; it offers", root)
        return self._only_shown

    def _say(self, what: str, root: File[Root]) -> None:
        from trust.notary.reader import describe_root

        if not self._said:
            terminal.warn(f"{what}: {describe_root(root)}")
            self._said = True
