"""Proposals that go on by themselves.

They are completed where nobody has to decide any more, and kept alive where the state moves on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Targets

from trust.errors import ConflictError, TamperedError
from trust.proposals import Proposal, discard, store_proposal
from trust.tuf.merge import merge_targets
from trust.tuf.proposed import Proposed, judge, sign_with
from trust.tuf.rules import terms_of
from trust.tuf.state import CLOCK_SLACK_DAYS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer
    from tuf.api.metadata import TargetFile

    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.signing import KeySigning
    from trust.tuf.proposed import RoleDraft
    from trust.tuf.roles import Target
    from trust.tuf.verified import Verified


@dataclass(frozen=True, slots=True)
class Led:
    """An open proposal, and the state that it leads to."""

    proposal: Proposal
    state: Trusted


def decided(proposal: Proposal, base: Verified, signing: KeySigning, now: datetime) -> Proposed | None:
    """The proposal with all its signatures, where it waits for nobody's decision; else None.

    It may lack the first role file of a new signer whose key is here: that signer has nothing to decide,
    since those who delegate have signed. What such a file says is nobody's word yet, and anybody who may push can
    have put it there; so it is signed only if it says what follows from what the others signed.

    Raises:
        KeyUnavailableError: the new signer's key cannot be used.
        ConflictError, TamperedError: it does not go with ``base``.
    """
    if proposal.problem is not None:
        return None
    if not all(_follows(draft, proposal.proposed, base, now) for draft, _ in proposal.proposed.lacking()):
        return None
    proposed = sign_with(proposal.proposed, base, signing.some)
    return proposed if proposed.is_complete else None


def _follows(draft: RoleDraft, proposed: Proposed, base: Verified, now: datetime) -> bool:
    """Whether a file is a new signer's first and holds what that adopts from ``targets``, and nothing else."""
    first, top = draft.metadata.signed, proposed.targets
    delegations = None if top is None else top.delegations
    delegation = ((delegations.roles if delegations is not None else None) or {}).get(draft.role)
    if draft.role in base.targets or not isinstance(first, Targets) or top is None or delegation is None:
        return False
    before = base.targets[Targets.type].targets
    adopted = {tag for tag in before if tag not in top.targets and delegation.is_delegated_path(tag)}
    latest = now + timedelta(days=terms_of(proposed.root or base.root).period(draft.role).expires_days)
    return (
        first.targets == {tag: before[tag] for tag in adopted}
        and first.delegations is None
        and not first.unrecognized_fields
        and first.expires <= latest + timedelta(days=CLOCK_SLACK_DAYS)
    )


def proposes(proposal: Proposal, base: Verified, target: Target, roles: Sequence[str]) -> bool:
    """Whether it proposes this tag already, in these roles: a pipeline that runs again proposes nothing new."""
    files = {base.owner(draft.role): draft.metadata.signed for draft in proposal.proposed.drafts}
    if files.keys() != set(roles) or not files.keys() <= base.targets.keys():
        return False
    wanted = _undated(target.to_file())
    found = [file.targets.get(target.tag) for file in files.values() if isinstance(file, Targets)]
    return all(item is not None and _undated(item) == wanted for item in found)


def waiting_tags(proposal: Proposal, base: Verified, roles: Sequence[str]) -> list[TargetFile]:
    """The tags of a proposal that waits for nothing but a publisher; none where it does more than sign in these roles.

    Whoever may sign and not publish signs tag after tag; each proposal has those before it, or only one would count.
    """
    files = [draft.metadata.signed for draft in proposal.proposed.drafts]
    names = {base.owner(draft.role) for draft in proposal.proposed.drafts}
    if not files or not proposal.proposed.is_complete or not names == set(roles) <= base.targets.keys():
        return []
    found: dict[str, TargetFile] = {}
    for role, file in zip((draft.role for draft in proposal.proposed.drafts), files, strict=True):
        old = base.payload(role)
        if (
            not isinstance(file, Targets)
            or file.delegations != old.delegations
            or not old.targets.keys() <= file.targets.keys()
        ):
            return []
        found |= {tag: item for tag, item in file.targets.items() if old.targets.get(tag) != item}
    return list(found.values())


def includes(proposed: Proposed, older: Proposal, base: Verified) -> bool:
    """Whether a proposal has every tag of an older one that waits for nothing but a publisher."""
    roles = [base.owner(draft.role) for draft in proposed.drafts]
    tags = waiting_tags(older, base, roles)
    files = [draft.metadata.signed for draft in proposed.drafts]
    listed = {tag for file in files if isinstance(file, Targets) for tag in file.targets}
    return bool(tags) and all(item.path in listed for item in tags)


def _undated(target: TargetFile) -> dict[str, object]:
    body: dict[str, object] = target.to_dict()
    if isinstance(target.custom, dict):
        body["custom"] = {name: item for name, item in target.custom.items() if name != "signedAt"}
    return body


def keep_alive(
    store: Store, proposals: tuple[Proposal, ...], before: Verified, after: Verified, signing: KeySigning
) -> None:
    """Bring proposals that a new state overtook up to it, with the signatures of keys of this machine.

    Tags that were signed meanwhile are merged into the proposed file, which gets the next version; a key that
    signed the proposal signs it again, and no other key does: nobody approves by pushing. Signatures on other
    files stay. A root that was overtaken must be proposed again, and so must what only others signed.

    Raises:
        KeyUnavailableError: a key cannot be used.
        UnreachableError: the store did not answer.
    """
    for proposal in proposals:
        if proposal.problem is not None:
            continue
        overtaken = {
            draft.role: draft
            for draft in proposal.proposed.drafts
            if after.versions.get(draft.role) != before.versions.get(draft.role)
        }
        if not overtaken or not overtaken.keys() <= {*before.names} & {*after.names}:
            continue
        files = {draft.role: draft.metadata for draft in proposal.proposed.drafts}
        for role in overtaken:
            mine = files[role].signed
            assert isinstance(mine, Targets)  # noqa: S101 - root was left out
            merged = merge_targets(before.payload(role), after.payload(role), mine)
            merged.version = after.versions[role] + 1
            files[role] = Metadata(merged)
        again = {key_id for draft in overtaken.values() for need in draft.needs for key_id in need.signed}

        def those(key_ids: Sequence[str], most: int, again: set[str] = again) -> Sequence[Signer]:
            return signing.some([key_id for key_id in key_ids if key_id in again], most)

        try:
            proposed = sign_with(judge(after, files), after, those)
        except (ConflictError, TamperedError):
            continue
        if all(draft.metadata.signatures for draft in proposed.drafts if draft.role in overtaken):
            store_proposal(store, proposed, after.identity)
            discard(store, proposal.tags)
