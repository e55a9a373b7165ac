"""The two who judge an attack: python-tuf alone, and a machine of ours."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from tuf.api import exceptions
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from tests.trust.builders import (
    NOW,
    REPOSITORY,
    Keyring,
    Pins,
    Team,
    a_layout,
    a_machine,
    an_image,
    plant_state,
    put_image,
    target_of,
)
from tests.trust.writing import LABELS
from trust.read import Reader
from trust.tuf.edits import PUBLISHING_ROLES
from trust.tuf.roles import TOP_LEVEL_ROLES, RoleKeys
from trust.verify import judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import TargetFile

    from tests.trust.writing import People
    from trust.digest import Digest
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.pins import Pin
    from trust.read import Trusted
    from trust.tuf.state import State
    from trust.verify import Judgement

IMAGE, BLOBS = an_image()
OTHER_IMAGE, OTHER_BLOBS = an_image(b"another layer")
V1 = target_of(IMAGE)
EVIL = target_of(OTHER_IMAGE)


class Files(FetcherInterface):
    """Serves files as any web server would: 404 for what is not there, unless ``status`` says otherwise."""

    def __init__(self, files: Mapping[str, bytes], status: Mapping[str, int] | None = None) -> None:
        self._files = files
        self._status = status or {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name in self._status or name not in self._files:
            raise exceptions.DownloadHTTPError(name, self._status.get(name, 404))
        return iter([self._files[name]])


@dataclass
class PythonTuf:
    """``ngclient.Updater`` as its manual shows it, with a cache folder that stays."""

    folder: Path
    bootstrap: bytes | None = None
    now: datetime = NOW
    status: Mapping[str, int] = field(default_factory=dict)

    def sees(self, state: State, tag: str = "v1") -> TargetFile | None:
        """Refresh and look a tag up; raises what python-tuf raises."""
        with suppress(FileExistsError):
            self.folder.mkdir()
        updater = Updater(
            str(self.folder),
            "http://files/",
            fetcher=Files(state.files, self.status),
            config=UpdaterConfig(),
            bootstrap=self.bootstrap or state.roots[0],
        )
        updater._trusted_set.reference_time = self.now
        updater.refresh()
        return updater.get_targetinfo(tag)

    def accepts(self, state: State) -> bool:
        return self.sees(state) is not None


@dataclass
class Victim:
    """A machine and the store it reads from."""

    tmp_path: Path
    pins: tuple[Pin, ...]
    repository: str = REPOSITORY
    now: datetime = NOW
    notes: Pins = field(default_factory=Pins)

    def __post_init__(self) -> None:
        self.store = a_layout(self.tmp_path, self.repository)

    @property
    def machine(self) -> Machine:
        return a_machine(self.tmp_path, now=self.now, pins=self.pins, notes=self.notes)

    def reader(self) -> Reader:
        return Reader(self.store, self.machine)

    def sees(self, state: State, tag: str | None = "v1") -> Trusted:
        """Read what ``_trust`` points at; raises the verdict."""
        plant_state(self.store, state)
        return self.reader().read(tag)

    def judges(self, state: State, tag: str | None = "v1", digest: Digest | None = None) -> Judgement:
        """Verify a name, with the honest image under its tag."""
        plant_state(self.store, state)
        put_image(self.store, IMAGE, BLOBS, "v1")
        return judge(self.store, self.machine, tag, digest)

    def pinned_to(self, *pins: Pin) -> Victim:
        return replace(self, pins=pins)


def team_of(people: People, store: Store) -> Team:
    """The keys of a repository that the session's keys began, in the hands of an attacker."""
    keys = {label: people.all.find(label) for label in LABELS}
    team = Team(store.repository, Keyring(*(cast("CryptoSigner", people.all.signer(key)) for key in keys.values())))
    for role in TOP_LEVEL_ROLES:
        team.keys[role] = RoleKeys((keys["publish" if role in PUBLISHING_ROLES else role].public,))
    return team
