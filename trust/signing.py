"""From a role to those who sign for it on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import UnsignedError
from trust.keys.ids import check_not_example, short_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.keys.store import KeyStore, StoredKey


class KeySigning:
    """Signs with the keys of a :class:`KeyStore`; each is unlocked when it is first needed."""

    def __init__(self, keys: KeyStore, *, allow_example_keys: bool) -> None:
        self._keys = keys
        self._allow_example_keys = allow_example_keys

    def held(self, role: Role) -> tuple[StoredKey, ...]:
        """The keys of the role that this machine has."""
        found = [self._keys.get(key_id) for key_id in role.keyids]
        return tuple(key for key in found if key is not None)

    def holds_all(self, key_ids: set[str]) -> bool:
        """Whether all these keys are here."""
        return all(self._keys.get(key_id) is not None for key_id in key_ids)

    def can_sign(self, role: Role) -> bool:
        """Whether enough of its keys are here; whether they can be unlocked is not known yet."""
        return len(self.held(role)) >= role.threshold

    def some(self, key_ids: Sequence[str], most: int) -> Sequence[Signer]:
        """Signers for those of the keys that are here, at most so many.

        Raises:
            KeyUnavailableError: one of them cannot be used.
        """
        found = [key for key in map(self._keys.get, key_ids) if key is not None]
        return [self._signer(key) for key in found[:most]]

    def prepare(self, roles: Iterable[Role]) -> None:
        """Open the keys that will sign for these roles side by side: each costs a guesser, and us, a long derivation.

        Raises:
            KeyUnavailableError: one of them cannot be used.
        """
        used = {key.key_id: key for role in roles for key in self.held(role)[: role.threshold]}
        check_not_example(used, allowed=self._allow_example_keys)
        self._keys.open_together(list(used.values()))

    def __call__(self, role_name: str, role: Role) -> Sequence[Signer]:
        """As many signers as the role's threshold asks for.

        Raises:
            UnsignedError: fewer than the threshold are here.
            KeyUnavailableError: one of them cannot be used: a wrong passphrase, an example key.
        """
        held = self.held(role)
        if len(held) < role.threshold:
            ids = ", ".join(short_id(key_id) for key_id in role.keyids)
            raise UnsignedError(
                f"this machine cannot sign as {role_name}: {role.threshold} of the keys {ids} are needed, "
                f"and it holds {len(held)}",
                hint="`dockseal key list` shows the keys that are here, `dockseal key load FILE` brings one; "
                "to sign with a key of your own, ask whoever holds these for `dockseal signer invite NAME REPO`",
            )
        return [self._signer(key) for key in held[: role.threshold]]

    def _signer(self, key: StoredKey) -> Signer:
        check_not_example([key.key_id], allowed=self._allow_example_keys)
        return self._keys.signer(key)
