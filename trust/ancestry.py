"""Ancestors beyond the window: a state lists those of its last 64 versions, and they list theirs.

Each is believed by its identity alone, which one that is believed already lists (:mod:`trust.tuf.past`). That it is
listed does not say that its content is there: whoever may publish can list what it has left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import MissingError, TamperedError, UntrustedRootError
from trust.states import read_announced
from trust.tuf.past import past_of
from trust.tuf.state import COVERED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trust.digest import Digest
    from trust.oci.store import Store
    from trust.rolefiles import Cached
    from trust.states import Announced
    from trust.tuf.past import Past
    from trust.tuf.state import Links
    from trust.tuf.verified import Verified

_STEP = COVERED_VERSIONS // 2
"""How far a walk back over the ancestors goes at once: lines that were joined within it are all seen."""
MAX_HISTORY = 64
"""How many ancestors a writer reads in search of one beyond the window: 2,000 versions' worth."""


class Ancestry:
    """What some states list, and what that lists, as far back as the announced states that are left."""

    def __init__(self, store: Store, cached: Cached, states: Sequence[Announced]) -> None:
        """Make one that knows nothing yet.

        Args:
            store: scoped to the repository.
            cached: gives a role file's bytes by digest where this machine has them.
            states: that are announced there, newest first.
        """
        self._store = store
        self._cached = cached
        self._states = states
        self._known: dict[tuple[int, str], str] = {}

    @property
    def known(self) -> Mapping[tuple[int, str], str]:
        """Identity by (version, its first 12 digits)."""
        return self._known

    def follow(self, state: Verified, *, down_to: int = 0, reads: int | None = None) -> None:
        """Walk back from a state.

        Not every ancestor is read: one that lists those of its last 64 versions spares them.

        Args:
            state: verified.
            down_to: the version at which the walk may end.
            reads: how many ancestors are read at most; None is all.
        """
        self._list(state.links)
        version = state.version
        reached = version - COVERED_VERSIONS
        while reached > down_to and reads != 0:
            item = self._next(version)
            if item is None:
                return
            version = item.version
            reads = None if reads is None else reads - 1
            found = self.read(item)
            if found is not None:
                self._list(found[0].links)
                reached = version - COVERED_VERSIONS

    def read(self, item: Announced) -> tuple[Past, Digest] | None:
        """A state that is known, and the digest of its manifest, if it is there and the one that is vouched for."""
        try:
            stored = read_announced(self._store, item.tag, self._cached, lazily=True)
            past = past_of(stored.state)
        except (MissingError, TamperedError, UntrustedRootError):
            return None
        return (past, stored.digest) if past.identity == self._known[item.version, item.identity] else None

    def _list(self, links: Links) -> None:
        self._known |= {(version, identity[:12]): identity for identity, version in links.covers}

    def _next(self, below: int) -> Announced | None:
        known = [item for item in self._states if item.version < below and (item.version, item.identity) in self._known]
        near = [item for item in known if item.version >= below - _STEP]
        return near[-1] if near else next(iter(known), None)
