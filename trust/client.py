"""The one adapter around python-tuf's client.

``ngclient.Updater`` decides what TUF settles (spec section 5, "detailed client workflow"). It reads
the clock, the disk and a URL; here it gets a clock of ours, an empty scratch folder and a fetcher
that serves one state's files. Rollback memory is ours (:mod:`trust.memory`), so nothing of python-tuf's
cache is kept. Two private names are used, ``_trusted_set`` and ``_load_targets``: the public interface
neither takes a clock nor loads a role without looking for a target; tests/trust/test_client.py holds them fast.
"""

from __future__ import annotations

import contextlib
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from trust.errors import DocksealError, ExpiredError, TamperedError
from trust.tuf import rules
from trust.tuf.roles import TOP_LEVEL_ROLES, bins_of, delegated_names
from trust.tuf.state import MAX_ROLE_FILE_BYTES, State, identity_of
from trust.tuf.verified import Verified

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tuf.api.metadata import TargetFile
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet


_BASE_URL = "state:/"
_MAX_ROOT_ROTATIONS = 256


class _StateFetcher(FetcherInterface):
    """Serves a state's files. No generator: only python-tuf's errors leave it (rule 9)."""

    def __init__(self, state: State) -> None:
        self._files = state.files

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._files.get(url.removeprefix(_BASE_URL))
        if data is None:
            raise exceptions.DownloadHTTPError(f"the state has no {url.removeprefix(_BASE_URL)}", 404)
        return iter([data])


def verify_state(state: State, trusted_root: bytes) -> Verified:
    """Verify a state in full, but for its age: expiry is judged last, by :func:`check_fresh`.

    A writer never asks for its age (an idle repository is not a new one); a reader always does,
    after what weighs more: a state that is both tampered with and expired is ``tampered``. So
    python-tuf is given a clock at which nothing has expired. The caller has checked each file
    with :func:`trust.tuf.rules.check_file`.

    Args:
        state: unverified.
        trusted_root: the state's root file that the caller trusts; its own signatures are checked too.

    Raises:
        TamperedError: a signature, hash, length, version or format is wrong.
        DocksealError: the scratch folder cannot be written.
    """
    if trusted_root not in state.roots:  # else what python-tuf trusts would not be what the state holds
        raise TamperedError("the trust data does not hold the root that it is to be verified from")
    try:
        with _foreign_errors():
            return _refresh(state, trusted_root)
    except OSError as error:
        raise DocksealError(f"cannot use the folder for temporary files: {error.strerror or error}") from error


def parse_root(data: bytes) -> Metadata[Root]:
    """A root file as python-tuf reads it; unverified.

    Raises:
        TamperedError: it is none.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
    except exceptions.RepositoryError as error:
        raise TamperedError(f"a root file is malformed: {error}") from error
    if not isinstance(metadata.signed, Root):
        raise TamperedError(f"a root file holds a file of type {metadata.signed.type!r}")
    return metadata


def check_fresh(
    verified: Verified, now: datetime, tag: str | None = None, *, roles: Collection[str] = TOP_LEVEL_ROLES
) -> None:
    """The last step of a verification: nothing that a lookup of ``tag`` stands on has expired.

    Args:
        verified: by :func:`verify_state`.
        now: UTC, with time zone.
        tag: what it looks up; the roles that may sign it are asked for as well.
        roles: asked for in any case: all four top-level ones for a reader.

    Raises:
        ExpiredError: a role file has expired.
        TamperedError: the timestamp lives longer than the root allows (rule 7).
    """
    rules.check_timestamp(verified.timestamp, verified.terms, now)
    expired = {role: when for role, when in verified.expiry_of(tag, roles).items() if now >= when}
    if expired:
        role, when = min(expired.items(), key=lambda item: item[1])
        raise ExpiredError(
            f"the trust data has expired: {role} was valid until {when:%Y-%m-%dT%H:%M:%SZ}, and now it is "
            f"{now:%Y-%m-%dT%H:%M:%SZ}",
            hint="whoever publishes runs `dockseal repo refresh`, or pushes; until then a freeze cannot be ruled out",
        )


def _refresh(state: State, trusted_root: bytes) -> Verified:
    config = UpdaterConfig(
        max_root_rotations=_MAX_ROOT_ROTATIONS,
        max_delegations=len(state.files),
        root_max_length=MAX_ROLE_FILE_BYTES,
        timestamp_max_length=MAX_ROLE_FILE_BYTES,
        snapshot_max_length=MAX_ROLE_FILE_BYTES,
        targets_max_length=MAX_ROLE_FILE_BYTES,
    )
    with tempfile.TemporaryDirectory(prefix="dockseal-") as scratch:
        updater = Updater(scratch, _BASE_URL, fetcher=_StateFetcher(state), config=config, bootstrap=trusted_root)
        trusted = updater._trusted_set  # noqa: SLF001 - see the module's docstring
        trusted.reference_time = datetime.min.replace(tzinfo=UTC)
        updater.refresh()
        targets = {Targets.type: trusted.targets}
        bins: dict[str, str] = {}
        waiting = [Targets.type]
        while waiting:
            parent = waiting.pop(0)
            for role in delegated_names(targets[parent]):
                if role in targets or role in bins:
                    raise TamperedError(f"the role {role!r} is delegated twice: expected one place for a name")
                if bins_of(targets[parent]) is not None:
                    bins[role] = parent
                    continue
                targets[role] = updater._load_targets(role, parent)  # noqa: SLF001 - likewise
                waiting.append(role)
    links, terms = rules.links_of(trusted.timestamp), rules.terms_of(trusted.root)
    rules.check_newest_root(state, trusted.root, links)
    rules.check_snapshot_bound(trusted.timestamp)
    rules.check_snapshot(trusted.snapshot, (*targets, *bins), state)

    def lookup(tag: str) -> TargetFile | None:
        verified.consulted(tag)  # its bins are there then: python-tuf finds them, and fetches nothing by itself
        return updater.get_targetinfo(tag)

    verified = Verified(
        state=state,
        root=trusted.root,
        timestamp=trusted.timestamp,
        snapshot=trusted.snapshot,
        targets=targets,
        terms=terms,
        links=links,
        identity=identity_of(trusted.timestamp.to_dict()),
        lookup=lookup,
        bins=bins,
        load_bin=_Bins(state, trusted, bins).load,
    )
    return verified


class _Bins:
    """Fetches and verifies hash bins when a lookup needs them: one of a thousand files, not all."""

    def __init__(self, state: State, trusted: TrustedMetadataSet, parents: Mapping[str, str]) -> None:
        self._state = state
        self._trusted = trusted
        self._parents = parents
        self._loaded: dict[str, Targets] = {}

    def load(self, name: str) -> Targets:
        """The payload of one bin, which delegates to nobody.

        Raises:
            TamperedError: it is not what its delegation and the snapshot say.
            DocksealError: it could not be fetched.
        """
        if name not in self._loaded:
            file = self._state.names[name]
            data = self._state.files[file]
            role = self._parents[name]
            try:
                rules.check_file(file, data, "")
                with _foreign_errors():
                    payload = self._trusted.update_delegated_targets(data, name, role)
                rules.check_bin(name, payload)
            except TamperedError as error:
                raise TamperedError(
                    f"the hash bin {name} was spoiled: {error.message}",
                    hint=f"whoever holds the key of {role} signs its bins again: dockseal repo rebin NAME {role} "
                    f"--bins {sum(parent == role for parent in self._parents.values())}",
                ) from error
            self._loaded[name] = payload
        return self._loaded[name]


@contextlib.contextmanager
def _foreign_errors() -> Iterator[None]:
    """python-tuf's errors as ours.

    Raises:
        TamperedError: what was to be verified does not verify.
    """
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        if isinstance(error.__cause__, DocksealError):  # a file could not be fetched: that is no verdict on it
            raise error.__cause__ from error
        raise TamperedError(f"the trust data does not verify: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        # python-tuf's parser lets these out on malformed fields; see its Metadata.from_dict
        raise TamperedError(f"the trust data is malformed: {type(error).__name__}: {error}") from error
