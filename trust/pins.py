"""Pins: which root of trust a repository must have.

A pin names a root file by its sha256, or keys whose signatures a starting root must bear. The
chain of roots goes on from there (TUF spec 5.3), so a pin outlives every key rotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.client import parse_root
from trust.digest import Digest
from trust.errors import RollbackError, UnsignedError, UntrustedRootError
from trust.patterns import matches, specificity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trust.tuf.state import State
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Pin:
    """One ``[[pin]]`` of config.toml.

    Exactly one of ``root`` and ``root_keys`` is set. ``threshold`` is the number of pinned keys that
    a starting root needs. ``min_root`` and ``min_version`` are floors for machines without memory.
    """

    repository: str
    root: Digest | None = None
    root_keys: tuple[str, ...] = ()
    threshold: int = 0
    signed_as: str | None = None
    min_root: int = 0
    min_version: int = 0

    def signed_name(self, repository: str) -> str:
        """The name that the trust data must bear (rule 3)."""
        return self.signed_as or repository

    def check_own(self, repository: str) -> None:
        """A writer's question: whether what is signed in this repository counts in this one alone.

        In a copy it would bear the original's name: whoever may write to the registry could carry it over there.

        Raises:
            UnsignedError: it is a copy.
        """
        original = self.signed_name(repository)
        if original != repository:
            raise UnsignedError(
                f"{repository} is a copy of {original}: what is signed here would be trusted there, too",
                hint=f"sign in {original} and copy it again (in a folder on its way there: --as {original}); for trust "
                "of its own, `dockseal pull` the image and push it under a name that nothing was copied to",
            )

    @property
    def anchor(self) -> str:
        """What the pin trusts, as text; memory made under another anchor proves nothing of a chain."""
        if self.root is not None:
            return str(self.root)
        return f"{self.threshold} of {','.join(sorted(self.root_keys))}"

    def starting_root(self, state: State) -> bytes:
        """The oldest root of the state that this pin accepts.

        Raises:
            UntrustedRootError: it accepts none.
        """
        for data in state.roots:
            if self._accepts(data):
                return data
        first = Digest.of(state.roots[0])
        raise UntrustedRootError(
            f"the root of trust is not the pinned one: expected {self.anchor}, and none of the state's "
            f"{state.root_version} roots is (its first is {first})",
            hint="if it was made anew, ask its owner for the new fingerprint on another way, then change the pin",
        )

    def check_floors(self, verified: Verified) -> None:
        """``min_root`` and ``min_version``.

        Raises:
            RollbackError: the state is older.
        """
        for what, found, floor in (
            ("root", int(verified.root.version), self.min_root),
            ("state", verified.version, self.min_version),
        ):
            if found < floor:
                raise RollbackError(f"the {what} is version {found}: the pin asks for at least {floor}")

    def _accepts(self, data: bytes) -> bool:
        if self.root is not None:
            return Digest.of(data) == self.root
        metadata = parse_root(data)
        root = metadata.signed
        if root.roles["root"].threshold < self.threshold:
            return False
        # rule 2: the ids were recomputed from the key material by check_file
        result = root.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
        return result.verified and len(set(result.signed) & set(self.root_keys)) >= self.threshold


def pin_for(pins: Iterable[Pin], repository: str) -> Pin | None:
    """The most specific pin that matches, or None."""
    found = [pin for pin in pins if matches(pin.repository, repository)]
    return max(found, key=lambda pin: specificity(pin.repository), default=None)
