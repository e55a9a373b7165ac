"""Publishing tags on a Notary server, in the way of ``docker trust sign`` and ``docker trust revoke``.

Every round reads what is there, verifies it, and puts new files on top, all or none. Where another publisher was
first the server refuses, and the next round builds on what won: a change of other tags is no conflict.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from trust.errors import TamperedError, UnsignedError, UsageError
from trust.notary.chain import check_root
from trust.notary.model import (
    RELEASES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    File,
    Meta,
    Role,
    Root,
    Snapshot,
    Targets,
    format_time,
    parent_of,
)
from trust.notary.signing import ROOT_LABEL
from trust.notary.sources import RejectedError, conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from trust.notary.chain import Repository
    from trust.notary.publickeys import PublicKey
    from trust.notary.signing import NotarySigning

Signed = File[Root] | File[Targets] | File[Snapshot]
MAX_ROUNDS = 40
FIRST_WAIT_SECONDS = 0.05
MAX_WAIT_SECONDS = 2.0
ROOT_DAYS = 3650
TARGETS_DAYS = 1095
"""notary's periods (const.go): ten years and three. The server signs its timestamp for 14 days."""


class Publishing(Protocol):
    """A Notary server as a publisher needs it."""

    @property
    def name(self) -> str:
        """Its address."""
        ...

    def key(self, role: str) -> PublicKey:
        """The key with which the server signs a role."""
        ...

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Put files there, all or none.

        Raises:
            RejectedError: the server did not take them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """Tags to sign, and tags to withdraw."""

    put: Mapping[str, Meta] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Published:
    """What came of it. ``repository`` is what is there now; ``roles`` were written, none where all was so already."""

    repository: Repository
    roles: tuple[str, ...] = ()
    initialised: bool = False


class Publisher:
    """Publishes one repository.

    Args:
        server: of the repository.
        read: reads and verifies what is there, past its expiry; None where there is nothing yet.
        signing: the keys.
        gun: the repository.
        targets_label: what the key of ``targets`` is called that is made for a new repository.
        now: UTC.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        server: Publishing,
        read: Callable[[], Repository | None],
        signing: NotarySigning,
        *,
        gun: str,
        targets_label: str,
        now: datetime,
        sleep: Callable[[float], None],
    ) -> None:
        self._server = server
        self._read = read
        self._signing = signing
        self._gun = gun
        self._targets_label = targets_label
        self._now = now
        self._sleep = sleep

    def check(self, change: Change) -> None:
        """Find out whether :meth:`publish` will be refused, without making keys or writing anything.

        Raises:
            UnsignedError, KeyUnavailableError: it cannot be signed here.
            DocksealError: what is there cannot be read, or is not to be trusted.
        """
        base = self._read()
        if base is None:
            self._refuse_empty(change)
        else:
            self._plan(base, change)

    def prepare(self, change: Change) -> None:
        """Like :meth:`check`; the keys of a new repository are made, too."""
        self._files(self._read(), change)

    def publish(self, change: Change) -> Published:
        """Sign and publish; a repository is begun where there is none.

        Raises:
            UnsignedError, KeyUnavailableError: it cannot be signed here.
            ConflictError: others were faster, every time.
            RejectedError: the server refused it for another reason.
            DocksealError: what is there cannot be read, or is not to be trusted.
        """
        for number in range(MAX_ROUNDS):
            base = self._read()
            files = self._files(base, change)
            if not files:
                assert base is not None  # noqa: S101 - a first publish has files
                return Published(base)
            try:
                self._server.publish({role: item.raw for role, item in files.items()})
            except RejectedError:
                if not self._others_published(base):
                    raise
                wait = min(FIRST_WAIT_SECONDS * 2**number, MAX_WAIT_SECONDS)
                self._sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads publishers out; nothing secret
                continue
            after = self._read()
            if after is None or not _arrived(after, files):
                raise TamperedError(f"{self._server.name} took the update of {self._gun}, and does not serve it")
            return Published(after, tuple(files), initialised=base is None)
        raise conflict(self._gun, self._server.name, MAX_ROUNDS)

    def _files(self, base: Repository | None, change: Change) -> dict[str, Signed]:
        """What is to be put there; see :meth:`_first` and :meth:`_plan`."""
        return self._first(change) if base is None else self._plan(base, change)

    def _others_published(self, base: Repository | None) -> bool:
        now = self._read()
        return now is not None and (base is None or now.timestamp.raw != base.timestamp.raw)

    def _plan(self, base: Repository, change: Change) -> dict[str, Signed]:
        """The files that a change needs, and those that have expired; none where all is so already.

        Raises:
            UnsignedError: a key is not here, or docker would not heed the roles whose keys are.
            ExpiredError: the root has expired, or its certificate.
        """
        check_root(base.root, base.gun, self._now)
        put: dict[str, dict[str, Meta]] = {}
        for tag, meta in change.put.items():
            for role in self._roles_for(base, tag):
                if not meta.same_content(base.signed_by(role).get(tag)):
                    put.setdefault(role, {})[tag] = meta
        drop = {role: change.drop & set(item.payload.targets) for role, item in base.targets.items()}
        late = {role for role, item in base.targets.items() if item.expires <= self._now}
        names = [name for name in (*base.targets, *base.delegations) if name in put or drop.get(name) or name in late]
        files: dict[str, Signed] = {}
        for name in dict.fromkeys(names):
            if name not in (TARGETS, RELEASES) and name not in put and not self._can_sign(base, name):
                continue  # docker heeds no such role, and its holder withdraws its own
            files[name] = self._next(base, name, put.get(name, {}), drop.get(name, frozenset()))
        if files and self._can_sign(base, SNAPSHOT):
            files[SNAPSHOT] = self._snapshot(base, files)
        return files

    def _roles_for(self, base: Repository, tag: str) -> tuple[str, ...]:
        """Who signs a tag: ``targets`` where there are no delegations, else every one whose key is here.

        Raises:
            UnsignedError: none of them, or not the one that docker heeds.
        """
        children = [item for item in base.delegations.values() if parent_of(item.name) == TARGETS]
        if not children:
            return (TARGETS,)
        chosen = tuple(item.name for item in children if item.may_sign(tag) and self._can_sign(base, item.name))
        if RELEASES not in chosen:
            has = ", ".join(sorted(item.name for item in children))
            raise UnsignedError(
                f"no key on this machine may sign {tag!r} for docker's clients: they heed {RELEASES}, and the "
                f"delegations of {base.gun} are {has}",
                hint="`dockseal key load FILE` takes a signer's key of ~/.docker/trust/private in; "
                "`docker trust signer add --key FILE NAME REPOSITORY` lets another key sign",
            )
        return chosen

    def _can_sign(self, base: Repository, name: str) -> bool:
        role, keys = _role_of(base, name)
        return self._signing.can_sign(role, keys)

    def _next(self, base: Repository, name: str, put: Mapping[str, Meta], drop: frozenset[str]) -> File[Targets]:
        old = base.targets.get(name)
        payload = Targets(1, "") if old is None else replace(old.payload, version=old.payload.version + 1)
        if old is None and name in base.skipped:
            raise UnsignedError(
                f"{name} of {base.gun} cannot be signed as it stands: {base.skipped[name].message}",
                hint="whoever holds the key of targets adds the delegation anew",
            )
        targets = {tag: meta for tag, meta in payload.targets.items() if tag not in drop} | dict(put)
        return self._sign(base, name, replace(payload, targets=targets, expires=self._in_days(TARGETS_DAYS)))

    def _snapshot(self, base: Repository, files: Mapping[str, Signed]) -> File[Snapshot]:
        """For servers that do not hold this key."""
        old = base.snapshot.payload
        meta = dict(old.meta) | {name: item.meta() for name, item in files.items()}
        payload = Snapshot(old.version + 1, self._in_days(TARGETS_DAYS), meta)
        role, keys = _role_of(base, SNAPSHOT)
        return self._signing.sign(payload, role, keys, SNAPSHOT)

    def _sign(self, base: Repository, name: str, payload: Targets) -> File[Targets]:
        role, keys = _role_of(base, name)
        return self._signing.sign(payload, role, keys, f"{name} of {base.gun}")

    def _first(self, change: Change) -> dict[str, Signed]:
        """Root and targets of a new repository; the server holds the keys of snapshot and timestamp, and signs those.

        Raises:
            UnsignedError: there is nothing to put there.
        """
        self._refuse_empty(change)
        root_key = self._signing.key_for(ROOT_LABEL, "root")
        certificate = self._signing.certificate(self._gun, root_key, self._now)
        signers = {
            ROOT: certificate,
            TARGETS: self._signing.key_for(self._targets_label, "repository"),
            SNAPSHOT: self._server.key(SNAPSHOT),
            TIMESTAMP: self._server.key(TIMESTAMP),
        }
        keys = {key.key_id: key for key in signers.values()}
        if len(keys) != len(signers):
            raise UsageError(f"{self._server.name} gave one key for two roles")
        roles = {name: Role((key.key_id,)) for name, key in signers.items()}
        root = Root(1, self._in_days(ROOT_DAYS), keys, roles)
        targets = Targets(1, self._in_days(TARGETS_DAYS), dict(change.put))
        return {
            ROOT: self._signing.sign(root, roles[ROOT], keys, ROOT),
            TARGETS: self._signing.sign(targets, roles[TARGETS], keys, TARGETS),
        }

    def _refuse_empty(self, change: Change) -> None:
        if not change.put:
            raise UnsignedError(f"{self._server.name} holds no trust data of {self._gun}: there is nothing to withdraw")

    def _in_days(self, days: int) -> str:
        return format_time(self._now + timedelta(days=days))


def _role_of(base: Repository, name: str) -> tuple[Role, Mapping[str, PublicKey]]:
    if name in base.root.payload.roles:
        return base.root.payload.roles[name], base.root.payload.keys
    return base.delegations[name].role, base.keys


def _arrived(after: Repository, files: Mapping[str, Signed]) -> bool:
    """Whether the files that were published, or later ones, are served now."""
    for role, item in files.items():
        found = after.targets.get(role)
        if found is not None:
            mine, there = item.payload.version, found.payload.version
            if there < mine or (there == mine and found.raw != item.raw):
                return False
    return True
