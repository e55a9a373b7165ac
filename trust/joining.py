"""Joining the heads of a repository from one machine's standpoint: with the keys that are here, and what is pending."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.ancestry import MAX_HISTORY, Ancestry
from trust.errors import DocksealError, UnreachableError
from trust.heads import Heads, reaches_all, uncovered
from trust.publish import check_planned
from trust.states import MAX_CANDIDATES, Announced, announced, own_tag
from trust.tuf.draft import state_on
from trust.tuf.join import join
from trust.tuf.state import COVERED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader, Trusted
    from trust.signing import KeySigning
    from trust.tuf.draft import Ground
    from trust.tuf.verified import Verified

MAX_ANCESTORS = 8
"""How many states that all heads list are looked at, in search of one that all of them cover."""


@dataclass(frozen=True, slots=True)
class Joiner:
    """Joins heads in one repository, and signs what comes of it."""

    store: Store
    reader: Reader
    machine: Machine
    signing: KeySigning
    read: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """The role files of past states, by identity: role and hash."""

    def join(self, heads: Heads) -> Trusted:
        """The state that joins several heads, and what was pending, signed and verified, not yet written.

        Raises:
            UnsignedError: snapshot and timestamp cannot be signed here.
            ConflictError: a role is left with no valid file.
        """
        pending = uncovered(self._pending(heads))
        states = [head.verified for head in (*heads.states, *pending)]
        ground = self._ground(states, heads.tags)
        if pending and not set(heads.base.verified.links.pending) - set(ground.pending):
            states = [head.verified for head in heads.states]  # nothing that was pending can be merged here
            if len(states) == 1:
                return heads.base
            ground = self._ground(states, heads.tags)
        ground = ground.with_twins([twin.verified for twin in heads.twins])
        state = state_on(ground, signing=self.signing, now=self.machine.now)
        return check_planned(state, heads.base.pin, self.machine, self.store.repository, {}, states)

    def _ground(self, states: Sequence[Verified], tags: Sequence[str]) -> Ground:
        ancestor = self._ancestor(states, tags)
        left_behind = None if ancestor is None else self._left_behind(states, ancestor, announced(tags))
        if left_behind is None:  # what was removed since could come back: nothing is merged
            return join(states, None, self._signers_of)
        return join(states, ancestor, self._signers_of, left_behind)

    def _left_behind(
        self, states: Sequence[Verified], ancestor: Verified, there: Sequence[Announced]
    ) -> set[tuple[str, str]] | None:
        """The files of some states that the line of another had and has replaced, by role and hash.

        None where a state of that line is gone, or there are too many to read.
        """
        found: set[tuple[str, str]] = set()
        for state in states:
            older = _older_files(state, states, ancestor)
            if older:
                past = self._past_files(state, ancestor, there)
                if past is None:
                    return None
                found |= older & past
        return found

    def _past_files(
        self, state: Verified, ancestor: Verified, there: Sequence[Announced]
    ) -> set[tuple[str, str]] | None:
        """The role files of the ancestors of a state that are none of this ancestor, by role and hash."""
        ancestry = Ancestry(self.store, self.reader.cached, there)
        ancestry.follow(state, down_to=ancestor.version, reads=MAX_HISTORY)
        before = {ancestor.identity, *dict(ancestor.links.covers)}
        between = {
            identity: version
            for (version, _), identity in ancestry.known.items()
            if identity not in before and version > ancestor.version - COVERED_VERSIONS
        }
        if len(between) > MAX_CANDIDATES:
            return None
        files: set[tuple[str, str]] = set()
        for identity, version in between.items():
            if identity not in self.read:
                found = ancestry.read(Announced(own_tag(version, identity), version, identity[:12]))
                if found is None:
                    return None
                hashes = {name: (meta.hashes or {}).get("sha256", "") for name, meta in found[0].meta.items()}
                self.read[identity] = {(name.removesuffix(".json"), digest) for name, digest in hashes.items()}
            files |= self.read[identity]
        return files

    def _signers_of(self, name: str, role: Role) -> Sequence[Signer] | None:
        return self.signing(name, role) if self.signing.can_sign(role) else None

    def _ancestor(self, states: Sequence[Verified], tags: Sequence[str]) -> Verified | None:
        """The newest state that all of these cover, if it is still there.

        That they list it is not enough: what a publisher lists and has left out would be taken for removed. Where the
        window no longer reaches it, as with a change that has long been pending, their ancestors are asked.
        """
        common = set.intersection(*({(state.version, state.identity), *_listed(state)} for state in states))
        if not common and self._signs_what_differs(states):
            common = self._common_history(states, announced(tags))
        for version, identity in sorted(common, reverse=True)[:MAX_ANCESTORS]:
            found = self._announced(own_tag(version, identity), identity)
            if found is None:
                return None
            if all(state.identity == identity or reaches_all(state, found.verified) for state in states):
                return found.verified
        return None

    def _common_history(self, states: Sequence[Verified], there: Sequence[Announced]) -> set[tuple[int, str]]:
        oldest = min(state.version for state in states) - COVERED_VERSIONS
        lists = []
        for state in states:
            ancestry = Ancestry(self.store, self.reader.cached, there)
            ancestry.follow(state, down_to=oldest, reads=MAX_HISTORY)
            known = {(version, identity) for (version, _), identity in ancestry.known.items()}
            lists.append({(state.version, state.identity), *known})
        return set.intersection(*lists)

    def _signs_what_differs(self, states: Sequence[Verified]) -> bool:
        """Whether some role that the states do not have in common can be merged here."""
        base = states[0]
        return any(
            self.signing.can_sign(base.role(name))
            for name in base.targets
            if any(
                name not in state.state.names or state.state.digest(name) != base.state.digest(name) for state in states
            )
        )

    def _pending(self, heads: Heads) -> Iterator[Trusted]:
        """The states that are pending, as far as they are still there."""
        tags = {item.identity: item.tag for item in announced(heads.tags)}
        for identity in heads.base.verified.links.pending:
            tag = tags.get(identity[:12])
            found = None if tag is None else self._announced(tag, identity)
            if found is not None:
                yield found

    def _announced(self, tag: str, identity: str) -> Trusted | None:
        try:
            found = self.reader.announced(tag)
        except UnreachableError:
            raise
        except DocksealError:
            return None
        return found if found.verified.identity == identity else None


def _listed(state: Verified) -> set[tuple[int, str]]:
    return {(version, identity) for identity, version in state.links.covers}


def _older_files(state: Verified, states: Sequence[Verified], ancestor: Verified) -> set[tuple[str, str]]:
    """The files of others, by role and hash, that have changed since the ancestor and are older than the state's."""
    versions = state.versions
    return {
        (name, other.state.digest(name).hex)
        for other in states
        for name in other.names
        if other.state.versions[name] < versions.get(name, 0)
        and (name not in ancestor.state.names or other.state.digest(name) != ancestor.state.digest(name))
    }
