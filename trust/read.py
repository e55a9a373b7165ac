"""Reading trust: from a state in a store to one that verified from this machine's standpoint.

The order of the checks is that of the verdicts: no trust data, the root, what was tampered with,
what was rolled back, what has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.client import check_fresh, parse_root, verify_state
from trust.digest import Digest
from trust.errors import (
    ConflictError,
    DocksealError,
    ExpiredError,
    MissingError,
    RollbackError,
    TamperedError,
    UnreachableError,
    UnsignedError,
    UntrustedRootError,
)
from trust.pins import Pin
from trust.states import MAX_CANDIDATES, MAX_STATE_BYTES, MAX_TAGS, announced, open_state, own_tag, read_pointer, weight
from trust.tuf.join import newest_root, publishes_under
from trust.tuf.rules import check_file, check_timestamp
from trust.tuf.state import FAST_FORWARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trust.machine import Machine
    from trust.memory import Seen
    from trust.oci.store import Store
    from trust.states import StoredState
    from trust.tuf.state import State
    from trust.tuf.verified import Verified


MAX_OVERTAKEN = 8
"""How often a state is read again that another process of this machine has overtaken."""
MAX_REFUSED_BYTES = MAX_STATE_BYTES
"""What announced states that do not verify may weigh in one run, all together."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A verified state, the pin it stands on, and the digest of the manifest that holds it."""

    verified: Verified
    pin: Pin
    digest: Digest


def still_publishing(
    look: Callable[[Mapping[str, Trusted]], list[Trusted]],
) -> tuple[list[Trusted], Mapping[str, Trusted]]:
    """What publishers of the newest root that is found have signed, and by identity what others have.

    A key that left says nothing more: neither that states are covered, nor how far the versions are. So what only
    such a state has hidden is looked for again without it.

    Args:
        look: finds states, without those that it is given.
    """
    late: dict[str, Trusted] = {}
    while True:
        found = look(late)
        newest = newest_root(item.verified for item in found) if found else None
        left = {item.verified.identity: item for item in found if newest and not _is_under(newest, item.verified)}
        if not left:
            return found, late
        late |= left


def _is_under(newest: Verified, state: Verified) -> bool:
    """Whether a state is signed by publishers of the newest root; it was verified under its own."""
    return state.root_sha256 == newest.root_sha256 or publishes_under(newest.root, state)


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
        self._verified: dict[str, Trusted] = {}
        self._files: dict[Digest, bytes] = {}
        self._refused: dict[str, DocksealError] = {}
        self._wasted = 0
        self._ground: Pin | None = None

    def read(self, tag: str | None = None) -> Trusted:
        """The current state, verified in full and fresh; then, and only then, it is remembered.

        Args:
            tag: what is to be looked up in it: the roles that may sign it must be fresh too.

        Raises:
            UnsignedError, UntrustedRootError, TamperedError, RollbackError, ExpiredError: the verdict.
            ConflictError: other processes of this machine have seen newer states, every time.
        """
        for _ in range(MAX_OVERTAKEN):
            trusted = self._current(tag)
            try:
                self.remember(trusted)
            except RollbackError:
                continue  # another process of this machine has seen a newer state meanwhile
            return trusted
        raise ConflictError(
            f"others publish to {self._store.name} all the time, and other processes here read it",
            hint="run the same command again",
        )

    def _current(self, tag: str | None) -> Trusted:
        try:
            trusted = self.read_past_expiry()
            if trusted is None:
                raise self.nothing_there()
            check_fresh(trusted.verified, self._machine.now, tag)
        except (RollbackError, TamperedError, ExpiredError, UnsignedError) as problem:
            found = self.look_past_pointer(tag)
            if found is None:
                raise problem from None
            return found
        return trusted

    def look_past_pointer(self, tag: str | None = None, above: int = 0) -> Trusted | None:
        """The newest announced state that verifies in full and is fresh, whatever ``_trust`` points at (rule 10).

        A pointer may have fallen back, lag behind a writer that was killed, or stand still in a registry whose
        tags cannot move. None where there is no such state, or where too many were announced to look at.

        Args:
            tag: what is to be looked up in it.
            above: only states of a greater version.
        """
        return self._newest(above, lambda trusted: check_fresh(trusted.verified, self._machine.now, tag))

    def _newest(self, above: int = 0, check: Callable[[Trusted], None] = lambda _: None) -> Trusted | None:
        """The newest announced state that verifies and passes ``check``; what a valid one covers is not looked at."""
        floor = self._floor(above)
        states = [item for item in announced(self._store.tags(MAX_TAGS)) if item.version >= floor]  # newest first
        looked_at: dict[str, Trusted | None] = {}

        def look(late: Mapping[str, Trusted]) -> list[Trusted]:
            found: list[Trusted] = []
            covered: set[str] = set()
            for item in states:
                if item.identity in covered:
                    continue
                if item.tag not in looked_at:
                    if len(looked_at) == MAX_CANDIDATES:
                        raise ConflictError(
                            f"{self._store.name} holds more than {MAX_CANDIDATES} announced states that nothing "
                            "covers: only the pointer is looked at"
                        )
                    looked_at[item.tag] = self._acceptable(item.tag, check)
                trusted = looked_at[item.tag]
                if trusted is not None and trusted.verified.identity not in late:
                    found.append(trusted)
                    covered |= {identity[:12] for identity in dict(trusted.verified.links.covers)}
            return found

        try:
            allowed, _ = still_publishing(look)
        except ConflictError as flood:
            self._machine.warn(flood.message)
            return None
        return max(allowed, key=lambda trusted: (trusted.verified.version, trusted.verified.identity), default=None)

    def _floor(self, above: int) -> int:
        """The lowest version that can be the newest state's."""
        return max(above + 1, self.last_version)

    @property
    def last_version(self) -> int:
        """The version of the state that this machine saw last; 0 where it has seen none, or one fast-forwarded."""
        seen = self._memory.seen()
        last = 0 if seen is None else seen.versions["timestamp"]
        return last if last < FAST_FORWARDED else 0

    def _acceptable(self, state_tag: str, check: Callable[[Trusted], None]) -> Trusted | None:
        try:
            trusted = self.announced(state_tag)
            self.check_current(trusted)
            self.check_seen(trusted)
            check(trusted)
        except (UnreachableError, ConflictError):
            raise
        except DocksealError:
            return None  # anybody who may push can announce
        return trusted

    def read_past_expiry(self) -> Trusted | None:
        """The current state, verified but for its age, for writers and status pages; None where there is none.

        Where the registry's tags cannot move, the pointer says nothing, unless no state is announced.

        Raises:
            UntrustedRootError, TamperedError, RollbackError: the verdict.
        """
        if not self._machine.moves_tags(self._store.repository):
            newest = self._newest()
            if newest is not None:
                return newest
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
        self.check_current(trusted)
        return trusted

    def check_current(self, trusted: Trusted) -> None:
        """Neither root nor floors of the pin say that a verified state is history.

        Raises:
            RollbackError: they do.
        """
        known = self._known(trusted.pin)
        if known is not None and trusted.verified.root.version < known.versions["root"]:
            raise RollbackError(
                f"the trust data was rolled back: its newest root is version {trusted.verified.root.version}, and "
                f"{known.versions['root']} was seen before"
            )
        trusted.pin.check_floors(trusted.verified)

    def announced(self, tag: str) -> Trusted:
        """The state under a tag of its own, verified like by :meth:`trust_past`; read once a run.

        Raises:
            MissingError: it is gone.
            UntrustedRootError, TamperedError: the verdict.
            ConflictError: too much was read in vain; anybody who may push can announce.
        """
        if tag in self._refused:
            raise self._refused[tag]
        if tag not in self._verified:
            manifest = self._store.get_manifest(tag)
            cost = weight(manifest)
            if self._wasted + cost > MAX_REFUSED_BYTES:
                raise ConflictError(
                    f"{self._store.name} holds announced states of {self._wasted} bytes that do not verify: no more "
                    "are looked at, so that nobody can keep others busy for ever",
                    hint="remove the tags _trust.* that are not yours, or ask whoever may",
                )
            try:
                trusted = self.trust_past(open_state(self._store, manifest, self.cached))
            except (TamperedError, UntrustedRootError) as error:
                self._wasted += cost
                self._refused[tag] = error
                raise
            except MissingError:
                self._wasted += cost
                raise
            self._keep(tag, trusted)
        return self._verified[tag]

    def note(self, trusted: Trusted) -> None:
        """A state that this run has announced need not be read."""
        self._keep(own_tag(trusted.verified.version, trusted.verified.identity), trusted)

    def _keep(self, tag: str, trusted: Trusted) -> None:
        self._verified[tag] = trusted
        files = trusted.verified.state.files
        self._files |= {files.digest(name): data for name, data in files.here}

    def by_digest(self, digest: Digest | None) -> Trusted | None:
        """A state that this run has verified already."""
        return next((trusted for trusted in self._verified.values() if trusted.digest == digest), None)

    def trust_past(self, stored: StoredState, pin: Pin | None = None) -> Trusted:
        """Like :meth:`trust`, but the state may be older than what was seen: for a look at history.

        Raises:
            UntrustedRootError, TamperedError: the verdict.
        """
        asked, pin = pin, pin or self._pin(stored.state)
        known = self._known(pin)
        start = self._start(stored.state, pin, known)
        self._check_files(stored.state, tuple(name for name, _ in stored.state.files.here), pin, known)
        verified = verify_state(stored.state, start)
        self._machine.refuse_example_keys(set(verified.key_ids))
        if self._own_keys is None:  # a writer replaces a timestamp that lives too long, and is not locked out by it
            check_timestamp(verified.timestamp, verified.terms, self._machine.now)
        if asked is None:
            self.stand_on(pin)
        return Trusted(verified, pin, stored.digest)

    def stand_on(self, pin: Pin) -> None:
        """Accept no other root in this run, where this machine has pinned none: the first that is met decides.

        Two machines may have begun with the same keys, each with a root of its own, which never merge.
        """
        self._ground = self._ground or pin

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
        return self._files.get(digest) or self._memory.file(digest)

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
        pin = self._machine.pin(repository) or self._ground
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
            if known is None or self._memory.file(state.files.digest(name)) is None:
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
