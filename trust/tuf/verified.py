"""A verified state as objects: what every decision about a repository is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Targets

from trust.tuf.roles import TOP_LEVEL_ROLES, bins_of, delegator_of, role_of, signed_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from tuf.api.metadata import Role, Root, Snapshot, TargetFile, Timestamp

    from trust.digest import Digest
    from trust.tuf.state import Links, State, Terms


def _no_bin(name: str) -> Targets:
    raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Verified:
    """A state that verified, as the objects that python-tuf made of it; its age is not judged yet."""

    state: State
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Mapping[str, Targets]
    """The payload of ``targets`` and of every role that it delegates to, but for hash bins."""
    terms: Terms
    links: Links
    identity: str
    lookup: Callable[[str], TargetFile | None]
    """Tag to target, by python-tuf's walk over the delegations (spec 5.6.7)."""
    bins: Mapping[str, str] = field(default_factory=dict)
    """Every hash bin, and the role whose tags it holds. Their files are fetched and verified when they are needed."""
    load_bin: Callable[[str], Targets] = _no_bin
    """The payload of a bin. Raises TamperedError, or what the store raises."""

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

    def payload(self, name: str) -> Targets:
        """What a role or a hash bin says.

        Raises:
            KeyError: there is no such role.
            TamperedError: the bin is not what its delegation and the snapshot say.
            UnreachableError: the bin could not be fetched.
        """
        return self.load_bin(name) if name in self.bins else self.targets[name]

    @property
    def names(self) -> tuple[str, ...]:
        """``targets``, every delegated role, and every hash bin."""
        return (*self.targets, *self.bins)

    def owner(self, name: str) -> str:
        """The role itself, or the one whose tags a hash bin holds."""
        return self.bins.get(name, name)

    def holder(self, role: str, tag: str) -> str:
        """Where a role's word on a tag stands: in its own file, or in the bin of the tag."""
        bins = bins_of(self.targets[role])
        return role if bins is None else bins.get_role_for_target(tag)

    def listed(self, role: str, tag: str) -> TargetFile | None:
        """What a role says of a tag; which digest is trusted, only :attr:`lookup` says."""
        own = self.targets[role].targets.get(tag)
        return own or self.payload(self.holder(role, tag)).targets.get(tag)

    def listing(self, role: str) -> dict[str, TargetFile]:
        """All tags of a role, those in its bins included (each is fetched)."""
        bins = [name for name, owner in self.bins.items() if owner == role]
        found = {tag: file for name in bins for tag, file in self.payload(name).targets.items()}
        return {**found, **self.targets[role].targets}

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that some role lists; which digest is trusted, only :attr:`lookup` says."""
        return tuple(sorted({tag for name in self.names for tag in self.payload(name).targets}))

    def meaning(self, tag: str) -> Digest | None:
        """The digest that a lookup of the tag yields, if it yields one."""
        found = self.lookup(tag)
        return None if found is None else signed_digest(found)

    def signers_of(self, tag: str) -> tuple[str, ...]:
        """Every authorised role that signs for this tag the digest that its lookup yields (rule 8)."""
        found = self.lookup(tag)
        if found is None:
            return ()
        said = ((name, self.listed(name, tag)) for name in (Targets.type, *self.roles_for(tag)))
        return tuple(name for name, file in said if file and file.hashes["sha256"] == found.hashes["sha256"])

    def role(self, name: str) -> Role:
        """Who signs a role: key ids and threshold.

        Raises:
            KeyError: there is no such role.
        """
        return role_of(name, self.root, self.targets)

    def keys_that_signed(self, name: str) -> frozenset[str]:
        """The keys of a targets role whose signatures under its file are valid; others may stand there too.

        Raises:
            KeyError: there is no such role.
        """
        file = Metadata[Targets].from_bytes(self.state.role(name))
        result = delegator_of(name, self.root, self.targets).get_verification_result(
            name, file.signed_bytes, file.signatures
        )
        return frozenset(result.signed)

    def roles_for(self, tag: str) -> dict[str, Targets]:
        """The delegated roles that may sign this tag, in order of precedence; their bins are part of them.

        What stands behind a terminating delegation is not among them.
        """
        return {name: self.targets[name] for name in self._walk(tag) if name in self.targets and name != Targets.type}

    def consulted(self, tag: str) -> tuple[str, ...]:
        """The delegated roles that a lookup of this tag reads: those of :meth:`roles_for` up to the first with it."""
        found = []
        for name in self._walk(tag):
            if name in self.targets:
                found.append(name)
            if tag in self.payload(name).targets:
                break
        return tuple(name for name in found if name != Targets.type)

    def _walk(self, tag: str) -> Iterator[str]:
        """The roles and bins that may hold a tag, in python-tuf's order (spec 5.6.7)."""
        waiting = [Targets.type]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            yield name
            delegations = self.payload(name).delegations
            children = []
            for child, terminating in () if delegations is None else delegations.get_roles_for_target(tag):
                children.append(child)
                if terminating:
                    waiting = []
                    break
            waiting += reversed(children)

    def expiry_of(self, tag: str | None, roles: Iterable[str] = TOP_LEVEL_ROLES) -> dict[str, datetime]:
        """When what an answer stands on expires, by role, UTC.

        Args:
            tag: what is looked up; None looks nothing up.
            roles: that count in any case.
        """
        asked = {*roles, *(self.consulted(tag) if tag else ())}
        return {role: when for role, when in self.expiry().items() if role in asked}

    def expiry(self) -> dict[str, datetime]:
        """When each role file expires, UTC; hash bins live as long as the role whose tags they hold."""
        signed = {"root": self.root, "timestamp": self.timestamp, "snapshot": self.snapshot, **self.targets}
        return {role: item.expires for role, item in signed.items()}
