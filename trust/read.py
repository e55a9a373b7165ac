"""Reading trust: from a state in a store to one that verified from this machine's standpoint.

The order of the checks is that of the verdicts: no trust data, the root, what was tampered with,
what was rolled back, what has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.client import check_fresh, parse_root, verify_state
from trust.digest import Digest
from trust.errors import RollbackError, TamperedError, UnsignedError, UntrustedRootError
from trust.pins import Pin
from trust.states import read_pointer
from trust.tuf.rules import check_file, check_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.machine import Machine
    from trust.memory import Seen
    from trust.oci.store import Store
    from trust.states import StoredState
    from trust.tuf.state import State
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Trusted:
    """A verified state, the pin it stands on, and the digest of the manifest that holds it."""

    verified: Verified
    pin: Pin
    digest: Digest


class Reader:
    """Reads one repository's trust data from one machine's standpoint. The constructor does no I/O."""

    def __init__(self, store: Store, machine: Machine, own_keys: Callable[[set[str]], bool] | None = None) -> None:
        """Make a reader.

        Args:
            store: scoped to the repository.
            machine: the standpoint.
            own_keys: for writers: whether all these keys are held here. A root that only this machine
                could have made is its own, also where a crash came between its making and its pin.
        """
        self._machine = machine
        self._store = store
        self._own_keys = own_keys
        self._memory = machine.memory(store.repository)
        self._pinned = False

    def read(self, tag: str | None = None) -> Trusted:
        """The current state, verified in full and fresh; then, and only then, it is remembered.

        Args:
            tag: what is to be looked up in it: the roles that may sign it must be fresh too.

        Raises:
            UnsignedError, UntrustedRootError, TamperedError, RollbackError, ExpiredError: the verdict.
        """
        trusted = self.read_past_expiry()
        if trusted is None:
            raise self.nothing_there()
        check_fresh(trusted.verified, self._machine.now, tag)
        self.remember(trusted)
        return trusted

    def read_past_expiry(self) -> Trusted | None:
        """The current state, verified but for its age, for writers and status pages; None where there is none.

        Raises:
            UntrustedRootError, TamperedError, RollbackError: the verdict.
        """
        stored = read_pointer(self._store, self.cached)
        if stored is None:
            return None
        trusted = self.trust(stored)
        self.check_seen(trusted)
        return trusted

    def trust(self, stored: StoredState, pin: Pin | None = None) -> Trusted:
        """Verify a state under ``pin``, or the one of this machine, but for its age and the versions seen.

        Raises:
            UntrustedRootError, TamperedError, RollbackError: the verdict.
        """
        trusted = self.trust_past(stored, pin)
        known = self._known(trusted.pin)
        if known is not None and trusted.verified.root.version < known.versions["root"]:
            raise RollbackError(
                f"the trust data was rolled back: its newest root is version {trusted.verified.root.version}, and "
                f"{known.versions['root']} was seen before"
            )
        trusted.pin.check_floors(trusted.verified)
        return trusted

    def trust_past(self, stored: StoredState, pin: Pin | None = None) -> Trusted:
        """Like :meth:`trust`, but the state may be older than what was seen: for a look at history.

        Raises:
            UntrustedRootError, TamperedError: the verdict.
        """
        pin = pin or self._pin(stored.state)
        known = self._known(pin)
        start = self._start(stored.state, pin, known)
        self._check_files(stored.state, tuple(stored.state.files), pin, known)
        verified = verify_state(stored.state, start)
        self._machine.refuse_example_keys(set(verified.key_ids))
        if self._own_keys is None:  # a writer replaces a timestamp that lives too long, and is not locked out by it
            check_timestamp(verified.timestamp, verified.terms, self._machine.now)
        return Trusted(verified, pin, stored.digest)

    def check_seen(self, trusted: Trusted) -> None:
        """Nothing in a verified state is older than what was seen.

        Raises:
            RollbackError: it is.
        """
        self._memory.check(trusted.verified, _anchor(trusted.pin))

    def remember(self, trusted: Trusted) -> None:
        """Keep a state that verified in full; a root that was trusted on first use is pinned now.

        Raises:
            RollbackError: another process has seen a newer one meanwhile.
        """
        self._memory.keep(trusted.verified, _anchor(trusted.pin))
        self.pin(trusted)

    def pin(self, trusted: Trusted) -> None:
        """Write down the root that a state stands on, where this machine has pinned none."""
        machine, repository = self._machine, self._store.repository
        if machine.pin(repository) is None and not self._pinned:
            machine.save_pin(trusted.pin)
            if machine.trust_on_first_use:  # of a root that was made here its maker is told more (cli)
                machine.warn(f"trusted on first use: {repository} is now pinned to the root {trusted.pin.root}")
            self._pinned = True

    def cached(self, digest: Digest) -> bytes | None:
        """A role file that this machine has; its bytes are what the digest says."""
        return self._memory.file(digest)

    def nothing_there(self) -> UnsignedError | RollbackError:
        """The verdict where a store holds no trust data."""
        if self._memory.seen() is not None:
            return RollbackError(
                f"{self._store.name} holds no trust data any more: it was signed when this machine last looked",
                hint="a retention policy must spare the tags _trust*; a copy or a backup brings the trust data back",
            )
        return UnsignedError(
            f"{self._store.name} holds no trust data: nothing in it is signed",
            hint="check the name; `dockseal push` signs while pushing, `dockseal sign` signs what is there",
        )

    def _pin(self, state: State) -> Pin:
        repository = self._store.repository
        pin = self._machine.pin(repository)
        if pin is not None:
            return pin
        first = Digest.of(state.roots[0])
        if self._machine.trust_on_first_use or (self._own_keys is not None and self._own_keys(root_key_ids(state))):
            return Pin(repository, root=first)
        folder = repository.startswith("/")
        raise UntrustedRootError(
            f"no root of trust is pinned for {repository}: it offers {first}",
            hint=("where the folder carries another repository, name it with --as NAME; else " if folder else "")
            + "ask its owner for the fingerprint, then pin it in config.toml, or name a root file with --root; "
            "--trust-on-first-use believes what is there now\n"
            f'  [[pin]]\n  repository = "{repository}"\n  root = "sha256:…"',
        )

    def _known(self, pin: Pin) -> Seen | None:
        """What was seen on the ground of this pin."""
        seen = self._memory.seen()
        return seen if seen is not None and seen.anchor == _anchor(pin) else None

    def _start(self, state: State, pin: Pin, known: Seen | None) -> bytes:
        """The root to verify from: the newest seen, or else the oldest that the pin accepts.

        Raises:
            UntrustedRootError: the pin accepts none.
            TamperedError: the chain of roots is another one than was seen. (Who got hold of keys that
                a rotation has replaced can sign such a chain from there on.)
        """
        if known is not None:
            for data in state.roots:
                if Digest.of(data) == known.root:
                    return data
        if pin.root is None:  # rule 2 first: a pin of keys counts key ids
            roots = tuple(f"{number}.root.json" for number in range(1, state.root_version + 1))
            self._check_files(state, roots, pin, known)
        start = pin.starting_root(state)
        if known is not None and state.root_version >= known.versions["root"]:
            raise TamperedError(
                f"root {known.versions['root']} is another one than this machine has seen: expected {known.root}"
            )
        return start

    def _check_files(self, state: State, names: tuple[str, ...], pin: Pin, known: Seen | None) -> None:
        """Rules 1 to 3 and 8; that a file is of another repository weighs more than that one is malformed."""
        malformed = None
        for name in names:
            data = state.files[name]
            if known is None or self._memory.file(Digest.of(data)) is None:
                try:
                    check_file(name, data, pin.signed_name(self._store.repository))
                except TamperedError as error:
                    malformed = malformed or error
        if malformed is not None:
            raise malformed


def root_key_ids(state: State) -> set[str]:
    """The ids that the first root names for its own role; unverified until the state is.

    Raises:
        TamperedError: the root is malformed.
    """
    return set(parse_root(state.roots[0]).signed.roles["root"].keyids)


def _anchor(pin: Pin) -> str:
    return pin.anchor if pin.signed_as is None else f"{pin.anchor} as {pin.signed_as}"
