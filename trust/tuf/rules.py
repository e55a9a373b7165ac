"""The rules that stand around python-tuf. Each stops an attack that passes python-tuf alone.

The numbers are those of docs/verification.md. All functions are pure; those named ``check_*``
return nothing and raise.
"""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from datetime import timedelta
from typing import TYPE_CHECKING

from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Key
from tuf.api.metadata import Root, Timestamp

from trust import strictjson
from trust.errors import TamperedError, UntrustedRootError
from trust.keys.ids import key_id, key_material
from trust.tuf.state import EXTENSION, Links, State, Terms, digest_of, parse_file_name, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from tuf.api.metadata import Snapshot, Targets

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def check_file(name: str, data: bytes, repository: str) -> None:
    """Rules 1 to 3 and 8, for one role file: a pure function of its arguments, so its result may be kept by hash.

    1. Strict JSON first. 2. Key ids are recomputed from key material (python-tuf trusts the label, so
    a forged id would satisfy a pin), and the same material under two ids is refused (one key would
    count twice). 3. Timestamp and every root are of the repository that was asked for (else one
    team's ``app-dev`` state passes as ``app-prod``). 8. What a lookup can yield is a tag's sha256.

    Raises:
        TamperedError: rule 1, 2 or 8 is broken, or the file is not what its name says.
        UntrustedRootError: rule 3 is broken.
    """
    body = strictjson.loads_object(data, name)
    signed = body.get("signed")
    if not isinstance(signed, dict):
        raise TamperedError(f"{name} has no signed part")
    role, version = parse_file_name(name)
    if version is not None and signed.get("version") != version:
        raise TamperedError(f"{name} holds version {signed.get('version')!r}: expected {version}")
    expected_type = role if role in {"root", "snapshot", "timestamp"} else "targets"
    if signed.get("_type") != expected_type:
        raise TamperedError(f"{name} holds a file of type {signed.get('_type')!r}: expected {expected_type!r}")
    if role == "root":
        _check_keys(name, signed)
        _check_repository(name, Terms.parse(signed.get(EXTENSION)).repository, repository)
        _check_encoding(name, signed, Root)
    elif role == "timestamp":
        _check_repository(name, Links.parse(signed.get(EXTENSION)).repository, repository)
        _check_encoding(name, signed, Timestamp)
    elif role != "snapshot":
        _check_targets(name, signed.get("targets"))
        if signed.get("delegations") is not None:
            _check_keys(name, signed["delegations"])


def _check_encoding(name: str, signed: dict[str, object], kind: type[Root | Timestamp]) -> None:
    """The signed part says to python-tuf what it says to us, in full.

    python-tuf verifies its own encoding of what it has read, where an absent ``spec_version`` has got a
    value; so others could change these files. (Snapshot and targets are bound by their sha256.)
    """
    try:
        encoded = kind.from_dict(deepcopy(signed)).to_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TamperedError(f"{name} is malformed: {type(error).__name__}: {error}") from error
    if encoded != signed:
        raise TamperedError(f"{name} does not say what its signatures are made over")


def _check_repository(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise UntrustedRootError(
            f"the trust data belongs to another repository: {name} says {found!r}, expected {expected!r}",
            hint=f'where this is a copy, say so in its pin: signed_as = "{found}"',
        )


def _check_targets(name: str, targets: object) -> None:
    """Every target is a tag, and has the digest that a lookup is to yield."""
    if not isinstance(targets, dict):
        raise TamperedError(f"{name}: targets is no object")
    for tag, target in targets.items():
        if not _TAG.match(tag):
            raise TamperedError(f"{name} signs {tag[:100]!r}, which is no tag")
        hashes = target.get("hashes") if isinstance(target, dict) else None
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        if not isinstance(digest, str) or not _SHA256.match(digest):
            raise TamperedError(f"{name} signs the tag {tag!r} without a valid sha256")


def _check_keys(name: str, holder: object) -> None:
    keys = holder.get("keys") if isinstance(holder, dict) else None
    if not isinstance(keys, dict):
        raise TamperedError(f"{name}: keys is no object")
    owners: dict[bytes, str] = {}
    for label, value in keys.items():
        key = _parse_key(name, label, value)
        computed = key_id(key)
        if computed != label:
            raise TamperedError(f"{name}: key id {label[:64]} is forged: its material has the id {computed}")
        other = owners.setdefault(key_material(key), label)
        if other != label:
            raise TamperedError(f"{name}: one key stands under two ids, {other[:7]} and {label[:7]}")


def _parse_key(name: str, label: str, value: object) -> Key:
    if not isinstance(value, dict):
        raise TamperedError(f"{name}: key {label[:64]} is no object")
    try:
        return Key.from_dict(label, _copy(value))
    except (KeyError, TypeError, ValueError, FormatError) as error:
        raise TamperedError(f"{name}: key {label[:64]} is malformed: {error}") from error


def _copy(value: dict[str, object]) -> dict[str, object]:
    """Deep enough for ``from_dict``, which empties its argument."""
    return {name: dict(item) if isinstance(item, dict) else item for name, item in value.items()}


def terms_of(root: Root) -> Terms:
    """What the root says of its repository.

    Raises:
        TamperedError: it says nothing valid.
    """
    return Terms.parse(root.unrecognized_fields.get(EXTENSION))


def links_of(timestamp: Timestamp) -> Links:
    """What the timestamp says of its state.

    Raises:
        TamperedError: it says nothing valid.
    """
    return Links.parse(timestamp.unrecognized_fields.get(EXTENSION))


def check_newest_root(state: State, trusted: Root, links: Links) -> None:
    """Rule 4: the trusted root is the newest in the state, and the one that the timestamp names.

    Past 256 rotations python-tuf stops in silence; and a removed publisher could pair the new
    root with an old timestamp.

    Raises:
        TamperedError: it is another one.
    """
    if trusted.version != state.root_version:
        raise TamperedError(
            f"root {trusted.version} is the newest that can be trusted: the state's newest is {state.root_version}",
            hint="after more than 256 rotations since the pinned root, pin a newer one",
        )
    digest = hashlib.sha256(state.root).hexdigest()
    if (links.root_version, links.root_sha256) != (trusted.version, digest):
        raise TamperedError(
            f"the timestamp was made for root {links.root_version} ({links.root_sha256[:12]}): "
            f"expected root {trusted.version} ({digest[:12]})"
        )


def check_snapshot(snapshot: Snapshot, roles: Iterable[str], state: State) -> None:
    """Rule 6: the snapshot lists exactly the roles there are, and the removed ones at their last version.

    An entry that vanishes, or a delegation without a file, breaks honest clients. Every entry
    carries its sha256, since a fork can bear one version number twice.

    Raises:
        TamperedError: it lists others, or an entry has no hash.
    """
    current = set(roles)
    listed = {name.removesuffix(".json") for name in snapshot.meta}
    files = set(state.names) - {"root", "timestamp", "snapshot"}
    if absent := current - listed:
        raise TamperedError(f"the snapshot does not list {', '.join(sorted(absent))}")
    if files != current:
        odd = ", ".join(sorted(files ^ current))
        raise TamperedError(f"the state's files and its delegated roles differ: {odd}")
    unbound = [name for name in current if "sha256" not in (snapshot.meta[f"{name}.json"].hashes or {})]
    if unbound:
        raise TamperedError(f"the snapshot binds {', '.join(sorted(unbound))} by no sha256")
    for name in current:  # what is not fetched is carried into the next state by what is said of it here
        meta, file = snapshot.meta[f"{name}.json"], state.files.entry(state.names[name])
        said = (meta.version, (meta.hashes or {})["sha256"], size_of(file) if meta.length is None else meta.length)
        if said != (state.versions[name], digest_of(file).hex, size_of(file)):
            raise TamperedError(f"{state.names[name]} is not the file that the snapshot binds")


def check_timestamp(timestamp: Timestamp, terms: Terms, now: datetime) -> None:
    """Rule 7: a timestamp may not expire later than now + ``max_timestamp_days``.

    Raises:
        TamperedError: it lives longer, or does not bind the snapshot by sha256.
    """
    latest = now + timedelta(days=terms.max_timestamp_days)
    if timestamp.expires > latest:
        raise TamperedError(
            f"the timestamp expires {timestamp.expires:%Y-%m-%dT%H:%M:%SZ}: the root allows {terms.max_timestamp_days} "
            f"days from now, {latest:%Y-%m-%dT%H:%M:%SZ}"
        )
    check_snapshot_bound(timestamp)


def check_snapshot_bound(timestamp: Timestamp) -> None:
    """The timestamp binds the snapshot by its sha256, so that the state has one identity.

    Raises:
        TamperedError: it does not.
    """
    if "sha256" not in (timestamp.snapshot_meta.hashes or {}):
        raise TamperedError("the timestamp binds the snapshot by no sha256")


def check_bin(name: str, payload: Targets) -> None:
    """Rule 6, for hash bins: they hold tags alone."""
    if payload.delegations is not None:
        raise TamperedError(f"the hash bin {name} delegates: expected tags alone")
