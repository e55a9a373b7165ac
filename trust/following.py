"""Proposals that go on by themselves.

They are completed where nobody has to decide any more, and kept alive where the state moves on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Root, Targets

from trust.errors import ConflictError
from trust.proposals import Proposal, discard, store_proposal
from trust.tuf.differences import effective_tags
from trust.tuf.merge import merge_targets
from trust.tuf.proposed import Proposed, judge, sign_with

if TYPE_CHECKING:
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.signing import KeySigning
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Led:
    """An open proposal, and the state that it leads to."""

    proposal: Proposal
    state: Trusted


def decided(proposal: Proposal, base: Verified, signing: KeySigning) -> Proposed | None:
    """The proposal with all its signatures, where it waits for nobody's decision; else None.

    It may lack the first role file of a new signer whose key is here: that signer has nothing to decide,
    since those who delegate have signed.

    Raises:
        KeyUnavailableError: the new signer's key cannot be used.
    """
    if proposal.problem is not None:
        return None
    waits_for = {draft.role for draft, _ in proposal.proposed.lacking()}
    new_signers = {draft.role for draft in proposal.proposed.drafts} - set(base.targets) - {Root.type}
    if not waits_for <= new_signers:
        return None
    proposed = sign_with(proposal.proposed, base, signing.some)
    return proposed if proposed.is_complete else None


def move_tags(store: Store, before: Verified, after: Verified) -> tuple[str, ...]:
    """Move each image tag whose signature is new, last of all; tags whose image is not there stay."""
    old = effective_tags(before.targets)
    moved = []
    for tag, digest in effective_tags(after.targets).items():
        if old.get(tag) != digest and store.has_manifest(digest) and store.resolve(tag) != digest:
            store.put_manifest(store.get_manifest(digest), tag)
            moved.append(tag)
    return tuple(moved)


def keep_alive(
    store: Store, proposals: tuple[Proposal, ...], before: Verified, after: Verified, signing: KeySigning
) -> None:
    """Bring proposals that a new state overtook up to it, where this machine signs for the roles in question.

    Tags that were signed meanwhile are merged into the proposed file, which gets the next version; the
    signatures on other files stay. A root that was overtaken must be proposed again.
    """
    for proposal in proposals:
        if proposal.problem is not None:
            continue
        overtaken = {
            draft.role
            for draft in proposal.proposed.drafts
            if after.versions.get(draft.role) != before.versions.get(draft.role)
        }
        if not overtaken or Root.type in overtaken:
            continue
        files = {draft.role: draft.metadata for draft in proposal.proposed.drafts}
        for role in overtaken:
            mine = files[role].signed
            assert isinstance(mine, Targets)  # noqa: S101 - root was left out
            merged = merge_targets(before.targets[role], after.targets[role], mine)
            merged.version = after.versions[role] + 1
            files[role] = Metadata(merged)
        try:
            proposed = sign_with(judge(after, files, proposal.proposed.removed), after, signing.some)
        except ConflictError:
            continue
        if all(draft.metadata.signatures for draft in proposed.drafts if draft.role in overtaken):
            store_proposal(store, proposed, after.identity)
            discard(store, proposal.tags)
