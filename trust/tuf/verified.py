"""A verified state as objects: what every decision about a repository is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Targets

from trust.tuf.roles import role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tuf.api.metadata import Role, Root, Snapshot, TargetFile, Timestamp

    from trust.tuf.state import Links, State, Terms


@dataclass(frozen=True, slots=True)
class Verified:
    """A state that verified, as the objects that python-tuf made of it; its age is not judged yet."""

    state: State
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Mapping[str, Targets]
    terms: Terms
    links: Links
    identity: str
    lookup: Callable[[str], TargetFile | None]
    """Tag to target, by python-tuf's walk over the delegations (spec 5.6.7)."""

    @property
    def version(self) -> int:
        """The state's version: that of its timestamp."""
        return int(self.timestamp.version)

    @property
    def root_sha256(self) -> str:
        """Hex digest of the newest root's bytes."""
        return hashlib.sha256(self.state.root).hexdigest()

    @property
    def versions(self) -> dict[str, int]:
        """Version by role, with the removed roles that the snapshot still lists."""
        listed = {name.removesuffix(".json"): int(meta.version) for name, meta in self.snapshot.meta.items()}
        return {
            "root": int(self.root.version),
            "timestamp": self.version,
            "snapshot": int(self.snapshot.version),
            **listed,
        }

    @property
    def key_ids(self) -> frozenset[str]:
        """Every key that some role may sign with."""
        delegations = [item.delegations for item in self.targets.values() if item.delegations is not None]
        return frozenset(self.root.keys).union(*(item.keys for item in delegations))

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that some role lists; which digest is trusted, only :attr:`lookup` says."""
        return tuple(sorted({tag for targets in self.targets.values() for tag in targets.targets}))

    def signers_of(self, tag: str) -> tuple[str, ...]:
        """Every authorised role that signs for this tag the digest that its lookup yields (rule 8)."""
        found = self.lookup(tag)
        if found is None:
            return ()
        roles = {Targets.type: self.targets[Targets.type], **self.roles_for(tag)}
        return tuple(
            name
            for name, targets in roles.items()
            if tag in targets.targets and targets.targets[tag].hashes["sha256"] == found.hashes["sha256"]
        )

    def role(self, name: str) -> Role:
        """Who signs a role: key ids and threshold.

        Raises:
            KeyError: there is no such role.
        """
        return role_of(name, self.root, self.targets)

    def roles_for(self, tag: str) -> dict[str, Targets]:
        """The delegated roles that may sign this tag, in order of precedence: python-tuf's walk (spec 5.6.7).

        What stands behind a terminating delegation is not among them.
        """
        found: dict[str, Targets] = {}
        waiting = [Targets.type]
        while waiting:
            name = waiting.pop()
            found[name] = self.targets[name]
            delegations = found[name].delegations
            children = []
            for child, terminating in () if delegations is None else delegations.get_roles_for_target(tag):
                children.append(child)
                if terminating:
                    waiting = []
                    break
            waiting += reversed(children)
        del found[Targets.type]
        return found

    def consulted(self, tag: str) -> tuple[str, ...]:
        """The delegated roles that a lookup of this tag reads: those of :meth:`roles_for` up to the first with it."""
        if tag in self.targets[Targets.type].targets:
            return ()
        found = []
        for name, targets in self.roles_for(tag).items():
            found.append(name)
            if tag in targets.targets:
                break
        return tuple(found)

    def expiry(self) -> dict[str, datetime]:
        """When each role file expires, UTC."""
        signed = {"root": self.root, "timestamp": self.timestamp, "snapshot": self.snapshot, **self.targets}
        return {role: item.expires for role, item in signed.items()}
