"""What a past state says of itself, vouched for by its identity alone.

A verified state lists its ancestors by identity, the hash of their timestamp, which binds their snapshot and
newest root by hash (docs/format.md). So what those say needs no signature to be believed, once the identity is one
that a verified state lists; an ancestor may stand on a root that this machine's pin is too new for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from trust import strictjson
from trust.digest import Digest
from trust.errors import TamperedError
from trust.tuf.rules import links_of, terms_of
from trust.tuf.state import TIMESTAMP_FILE, identity_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tuf.api.metadata import MetaFile

    from trust.tuf.state import Links, State

Payload = TypeVar("Payload", Root, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True)
class Past:
    """A state's place in the graph. ``made``: when it was signed, UTC: its timestamp's expiry less its period."""

    identity: str
    version: int
    made: datetime
    links: Links
    meta: Mapping[str, MetaFile]


def past_of(state: State) -> Past:
    """Read a state whose identity the caller then compares with one that is vouched for.

    Raises:
        TamperedError: it is malformed, or its files are not those that its timestamp binds.
    """
    strictjson.loads_object(state.role("timestamp"), TIMESTAMP_FILE)
    timestamp = _payload(state.role("timestamp"), Timestamp)
    snapshot = _payload(state.role("snapshot"), Snapshot)
    links = links_of(timestamp)
    bound = (timestamp.snapshot_meta.hashes or {}).get("sha256"), links.root_sha256
    if bound != (Digest.of(state.role("snapshot")).hex, Digest.of(state.root).hex):
        raise TamperedError("the state's snapshot or root is not the one that its timestamp binds")
    return Past(
        identity_of(timestamp.to_dict()),
        int(timestamp.version),
        timestamp.expires - timedelta(days=terms_of(_payload(state.root, Root)).period("timestamp").expires_days),
        links,
        snapshot.meta,
    )


def _payload(data: bytes, kind: type[Payload]) -> Payload:
    try:
        payload = Metadata[Payload].from_bytes(data).signed
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"a file of the state is malformed: {error}") from error
    if not isinstance(payload, kind):
        raise TamperedError(f"a file of the state is no {kind.type}")
    return payload
