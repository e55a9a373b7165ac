"""Proposals in a store: changes that lack a signature, beside the state and never readable as trust.

One OCI manifest each, ``artifactType`` ``application/vnd.dockseal.trust.proposal.v1``: the role files with the
signatures so far, and the identity of the state that they stand on. Each set of signatures has a tag of its own
(``_trust-proposal.<12 hex>``), so that two who approve at once both count: readers put together all that
propose the same. Where a registry cannot delete, a rejected or published one is overwritten by an empty one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from trust.errors import (
    ConflictError,
    DeniedError,
    DocksealError,
    MissingError,
    TamperedError,
    UnreachableError,
    UsageError,
)
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.rolefiles import encode_files, put_files, read_files
from trust.states import MAX_TAGS
from trust.tuf.proposed import Proposed, identity_of, judge, merged
from trust.tuf.rules import check_file
from trust.tuf.state import parse_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.tuf.proposed import RoleFile
    from trust.tuf.verified import Verified

PROPOSAL_TYPE = "application/vnd.dockseal.trust.proposal.v1"
BASE = "vnd.dockseal.trust.base"
MAX_PROPOSALS = 100
MAX_FILES = 64
MAX_BYTES = 64 << 20
_TAG = re.compile(rf"{TRUST_TAG_PREFIX}-proposal\.[0-9a-f]{{12}}\Z")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it stands. ``id``: 12 hex digits over what is proposed, which people call it by.

    ``base`` is the identity that it names, ``tags`` those under which it was found. ``problem`` says why it
    can no longer be published; it has no files then. What is malformed goes by its tag, so that nobody can
    take away the id of another.
    """

    id: str
    proposed: Proposed
    base: str
    tags: tuple[str, ...] = ()
    problem: DocksealError | None = None


def encode(proposed: Proposed, base: str) -> Manifest:
    """The manifest that holds a proposal; the same proposal with the same signatures gives the same bytes."""
    return encode_files(contents(proposed), PROPOSAL_TYPE, annotations={BASE: base})


def decode(files: Iterable[tuple[str, bytes]], current: Verified) -> Proposed:
    """Read a proposal's files and judge them against the current state.

    Args:
        files: name and bytes, unverified.
        current: the state.

    Raises:
        TamperedError: one is malformed, or has a signature that does not verify.
        UntrustedRootError: the root is another repository's.
        ConflictError: they were overtaken by the state.
    """
    return _judged(_parse(files, current), current)


def _parse(files: Iterable[tuple[str, bytes]], current: Verified) -> dict[str, RoleFile]:
    """Role files by role, each well-formed; what they say is not judged yet."""
    roles: dict[str, RoleFile] = {}
    for name, data in files:
        check_file(name, data, current.terms.repository)
        role, _ = parse_file_name(name)
        if role in {"snapshot", "timestamp"} or role in roles:
            raise TamperedError(f"the proposal holds {name}: expected one file of root, targets or a signer each")
        roles[role] = parse_role_file(name, data)
    return roles


def _judged(roles: dict[str, RoleFile], current: Verified) -> Proposed:
    proposed = judge(current, roles)
    for draft in proposed.drafts:
        if forged := set(roles[draft.role].signatures) - set(draft.metadata.signatures):
            keys = ", ".join(sorted(key[:7] for key in forged))
            raise TamperedError(f"a signature on {draft.name} does not verify, or is of a key that has no say: {keys}")
    return proposed


def tags_of(tags: Sequence[str]) -> tuple[str, ...]:
    """Those of the tags that hold proposals."""
    return tuple(tag for tag in tags if _TAG.match(tag))


def read_proposals(store: Store, current: Verified, tags: Sequence[str] | None = None) -> tuple[Proposal, ...]:
    """Every proposal, the signatures of its copies put together; what is malformed has a ``problem``.

    At most ``MAX_PROPOSALS`` tags are looked at: who floods a repository with junk hides proposals, and keeps
    nobody from pushing.

    Args:
        store: scoped to the repository.
        current: the state that they are judged against.
        tags: the store's tags, where they were listed already.

    Raises:
        UnreachableError: the store did not answer.
    """
    together: dict[str, Proposal] = {}
    for tag in sorted(tags_of(store.tags(MAX_TAGS) if tags is None else tags))[:MAX_PROPOSALS]:
        proposal = _read(store, tag, current)
        if proposal is None:
            continue
        known = together.get(proposal.id)
        if known is not None:
            both = known.proposed if known.problem else merged(known.proposed, proposal.proposed, current)
            proposal = replace(proposal, proposed=both, tags=(*known.tags, tag))
        together[proposal.id] = proposal
    return tuple(together.values())


def store_proposal(store: Store, proposed: Proposed, base: str) -> str:
    """Put a proposal beside the state, under a tag that nothing else has; its tag."""
    manifest = encode(proposed, base)
    tag = f"{TRUST_TAG_PREFIX}-proposal.{manifest.digest.hex[:12]}"
    put_files(store, manifest, contents(proposed), tag)
    return tag


def discard(store: Store, tags: Iterable[str]) -> None:
    """Remove proposals; where the store cannot delete, an empty one takes their place."""
    for tag in tags:
        try:
            store.untag(tag)
        except (DeniedError, UnreachableError):
            put_files(store, encode_files({}, PROPOSAL_TYPE), {}, tag)
        except MissingError:
            continue


def find(proposals: Sequence[Proposal], name: str | None) -> Proposal:
    """The proposal that people mean: by the beginning of its id, or the only one.

    Raises:
        UsageError: there is none, or the choice is open.
    """
    fitting = [item for item in proposals if name is None or item.id.startswith(name.lower())]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(item.id for item in proposals) or "none"
    what = "there is no proposal" if not fitting else "there are several proposals"
    raise UsageError(
        f"{what}{'' if name is None else f' {name!r}'}: open are {there}", hint="dockseal approve --list NAME"
    )


def _read(store: Store, tag: str, current: Verified) -> Proposal | None:
    """One copy of a proposal; None where it was discarded."""
    name, base = tag, ""
    try:
        manifest = store.get_manifest(tag)
        if manifest.artifact_type != PROPOSAL_TYPE:
            raise TamperedError(f"it is no proposal but {manifest.artifact_type!r}")
        if not manifest.layers:
            return None
        roles = _parse(read_files(store, manifest, max_files=MAX_FILES, max_bytes=MAX_BYTES), current)
        payloads = {role: item.signed for role, item in roles.items()}
        name = identity_of({f"{signed.version}.{role}.json": signed.to_dict() for role, signed in payloads.items()})
        base = dict(manifest.annotations).get(BASE, "")
        return Proposal(name[:12], _judged(roles, current), base, (tag,))
    except MissingError:
        return None
    except UnreachableError:
        raise
    except ConflictError as error:
        return Proposal(name[:12], Proposed(()), base, (tag,), error)
    except DocksealError as error:
        known_as = tag if name == tag else f"{name[:12]} ({tag})"
        problem = type(error)(f"proposal {known_as}: {error.message}", hint=error.hint)
        return Proposal(tag, Proposed(()), base, (tag,), problem)


def contents(proposed: Proposed) -> dict[str, bytes]:
    """Its files, bytes by name."""
    return {draft.name: draft.data for draft in proposed.drafts}


def parse_role_file(name: str, data: bytes) -> RoleFile:
    """A role file as python-tuf reads it; unverified.

    Raises:
        TamperedError: it is malformed.
    """
    try:
        return Metadata.from_bytes(data)
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TamperedError(f"{name} is malformed: {error}") from error
