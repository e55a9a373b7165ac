"""Hash bins that somebody spoiled who may publish, and does not hold the role's key.

Nobody verifies a bin before a lookup needs it (docs/adr/0009-hash-bins.md). Its tags are ``tampered`` then, and whoever
holds the role's key signs it again, as it was in the last state where it verifies.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from trust.ancestry import Ancestry
from trust.errors import DocksealError, TamperedError, UnreachableError
from trust.states import announced, own_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuf.api.metadata import Targets

    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader
    from trust.signing import KeySigning
    from trust.tuf.verified import Verified

MAX_STATES = 64
"""How many states are read in search of one where a bin verifies, and as many to know that they are ancestors."""


@dataclass(frozen=True, slots=True)
class Mender:
    """Gives the holder of a role what its bins said before they were spoiled."""

    store: Store
    reader: Reader
    machine: Machine
    signing: KeySigning

    def mended(self, base: Verified, tags: Sequence[str]) -> Verified:
        """The state, whose spoiled bins say what they said before, where their role's key is here.

        They have the version that the snapshot gives, so that what is signed on them goes above it.

        Args:
            base: verified.
            tags: all of the repository.
        """
        return replace(base, load_bin=partial(self._load, base, tags, {})) if base.bins else base

    def _load(self, base: Verified, tags: Sequence[str], known: dict[str, Targets], name: str) -> Targets:
        if name in known:
            return known[name]
        try:
            return base.load_bin(name)
        except TamperedError:
            if not self.signing.can_sign(base.role(base.owner(name))):
                raise
            found = next(self._earlier(base, tags, name), None)
            if found is None:
                raise
        state, payload = found
        known[name] = deepcopy(payload)
        known[name].version = base.state.versions[name]
        self.machine.warn(
            f"{self.store.name}: somebody who may publish has spoiled {name}; its tags are taken from the state "
            f"{own_tag(state.version, state.identity)}"
        )
        return known[name]

    def _earlier(self, base: Verified, tags: Sequence[str], name: str) -> Iterator[tuple[Verified, Targets]]:
        """The ancestors in which the bin verifies, the newest first, and what it says there."""
        there = announced(tags)
        ancestry = Ancestry(self.store, self.reader.cached, there)
        ancestry.follow(base, reads=MAX_STATES)
        known = [item for item in there if (item.version, item.identity) in ancestry.known]
        for item in known[:MAX_STATES]:
            try:
                state = self.reader.announced(item.tag).verified
                if state.identity == ancestry.known[item.version, item.identity] and name in state.bins:
                    yield state, state.load_bin(name)
            except UnreachableError:
                raise
            except DocksealError:
                continue
