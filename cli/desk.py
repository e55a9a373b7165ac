"""Where the concrete parts meet: the folder of this user, the clock, keys, stores and the registry.

Nothing else chooses a concrete part, reads the clock or the environment.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cli import terminal
from cli.options import read_file
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from trust.config import Config
    from trust.keys.store import KeyStore
    from trust.machine import Machine
    from trust.oci.codec import Codec
    from trust.oci.dockerconfig import DockerConfig
    from trust.oci.layercache import LayerCache
    from trust.oci.localstore import LocalStore
    from trust.oci.source import StoreName
    from trust.oci.store import Store
    from trust.oci.transport import Transport
    from trust.signing import KeySigning
    from trust.upload import LayerProgress, Uploads
    from trust.writer import Writer

EXAMPLE_KEYS_VARIABLE = "DOCKSEAL_ALLOW_EXAMPLE_KEYS"


@dataclass(frozen=True, slots=True)
class TrustOptions:
    """``--trust-on-first-use``, ``--root FILE`` and ``--as NAME``."""

    trust_on_first_use: bool = False
    root: Path | None = None
    as_name: str | None = None


class Desk:
    """The parts of one run. Nothing is opened before it is asked for."""

    def __init__(self, *, passphrase_file: Path | None = None, replacing_passphrase: bool = False) -> None:
        self._passphrase_file = passphrase_file
        self._replacing_passphrase = replacing_passphrase
        self.transports: dict[str, Transport] = {}

    @cached_property
    def home(self) -> Path:
        """``DOCKSEAL_HOME``, or the platform's folder for a user's data."""
        if chosen := os.environ.get("DOCKSEAL_HOME"):
            return Path(chosen).expanduser().absolute()
        import platformdirs

        return Path(platformdirs.user_data_dir("dockseal"))

    @cached_property
    def now(self) -> datetime:
        """The time of this run, UTC."""
        return self.clock()

    @staticmethod
    def clock() -> datetime:
        """The time at this moment, UTC: only to compare clocks."""
        from datetime import UTC, datetime

        return datetime.now(UTC)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that a release's files may use."""
        return os.environ

    @property
    def config_path(self) -> Path:
        """config.toml."""
        return self.home / "config.toml"

    @cached_property
    def config(self) -> Config:
        """What config.toml says."""
        from trust.config import load

        return load(self.config_path)

    @cached_property
    def keys(self) -> KeyStore:
        """This user's keys."""
        from cli.passphrases import TerminalPassphrases
        from trust.keys.store import KeyStore

        passphrases = TerminalPassphrases(self._passphrase_file, replacing=self._replacing_passphrase)
        return KeyStore(
            self.home / "keys",
            passphrases,
            clock=lambda: self.now,
            pins=passphrases,
            can_ask_again=passphrases.can_ask_again,
        )

    @cached_property
    def signing(self) -> KeySigning:
        """What signs with them."""
        from trust.signing import KeySigning

        return KeySigning(self.keys, allow_example_keys=self.allow_example_keys)

    @property
    def allow_example_keys(self) -> bool:
        """Whether the published keys of keys.example may be used, for a trial."""
        return os.environ.get(EXAMPLE_KEYS_VARIABLE) == "1"

    @cached_property
    def images(self) -> LocalStore:
        """The local image store."""
        from trust.oci.localstore import LocalStore

        return LocalStore(self.home / "images")

    @cached_property
    def layer_cache(self) -> LayerCache:
        """What earlier pushes learnt about layers."""
        from trust.oci.layercache import LayerCache

        return LayerCache(self.home / "cache" / "layers")

    @cached_property
    def spool(self) -> Path:
        """The folder for layers and archives on their way, made where it is missing: ``TMPDIR`` where that is set."""
        from trust.files import enter_spool, private_folder

        if chosen := os.environ.get("TMPDIR"):
            return private_folder(Path(chosen))
        folder = self.home / "cache" / "spool"
        weakref.finalize(self, os.close, enter_spool(folder, self.now))
        return folder

    @cached_property
    def docker_config(self) -> DockerConfig:
        """Docker's config.json and credential helpers."""
        from trust.oci.dockerconfig import DockerConfig

        return DockerConfig()

    def codec(self, chosen: str | None = None) -> Codec:
        """How plain layers are compressed."""
        from trust.oci.codec import Codec

        return Codec.parse(chosen or self.config.compression)

    def machine(self, options: TrustOptions) -> Machine:
        """The standpoint of this run."""
        from trust.config import add_pin
        from trust.digest import Digest
        from trust.machine import Machine

        return Machine(
            now=self.now,
            cache=self.home / "cache",
            pins=self.config.pins,
            save_pin=lambda pin: add_pin(self.config_path, pin),
            root=None if options.root is None else Digest.of(read_file(options.root)),
            trust_on_first_use=options.trust_on_first_use,
            allow_example_keys=self.allow_example_keys,
            immutable=self.config.immutable_tags,
            warn=terminal.warn,
        )

    def transport(self, registry: str) -> Transport:
        """The connection to one registry."""
        from trust.oci.transport import Transport

        if registry not in self.transports:
            self.transports[registry] = Transport(
                registry,
                self.docker_config,
                insecure=registry in self.config.insecure,
                on_warning=lambda text: terminal.warn(f"{registry} says: {text}"),
            )
        return self.transports[registry]

    def store(self, name: StoreName, as_name: str | None = None) -> Store:
        """The store that a name means, scoped to its repository."""
        from trust.oci.layout import Layout
        from trust.oci.reference import Repository

        if name.folder is not None:
            repository = None if as_name is None else str(Repository.parse(as_name))
            return Layout(name.folder.absolute(), repository=repository)
        if as_name is not None:
            raise UsageError(f"--as is for oci: folders: {name} has a name already")
        from trust.oci.registry import Registry

        assert name.repository is not None  # noqa: S101 - one of the two is set
        return Registry(name.repository, self.transport(name.repository.registry))

    def writer(self, store: Store, machine: Machine) -> Writer:
        """Writes a store's trust data."""
        from trust.writer import Writer

        return Writer(store, machine, self.signing)

    def uploads(
        self,
        store: Store,
        report: Callable[[LayerProgress], None],
        *,
        codec: str | None = None,
        max_concurrent: int | None = None,
    ) -> Uploads:
        """How layers go to a store."""
        from trust.upload import Uploads

        registry = store.repository.partition("/")[0]
        return Uploads(
            cache=self.layer_cache,
            spool=self.spool,
            codec=self.codec(codec),
            registry=f"{registry} {self._account(store.repository)}",
            max_concurrent=max_concurrent or self.config.max_concurrent_uploads,
            report=report,
        )

    def _account(self, repository: str) -> str:
        """Who is logged in there: what one account may mount, another may not."""
        if repository.startswith("/"):
            return "folder"
        registry, _, path = repository.partition("/")
        credentials = self.docker_config.get(registry, path)
        return "anonymous" if credentials is None else credentials.user
