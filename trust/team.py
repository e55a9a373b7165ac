"""Who may sign what: signers come and go, keys are rotated, and changes wait for those who must agree.

Each use case makes an edit, signs it with the keys that are here, and either publishes it or leaves a
proposal beside the state for those whose signatures are missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import UnsignedError, UsageError
from trust.proposals import discard
from trust.tuf.differences import Differences, differences
from trust.tuf.edits import (
    KeyChange,
    NewSigner,
    add_signer,
    adopt_tags,
    change_keys,
    rebin,
    remove_signer,
    replace_key,
)
from trust.tuf.proposed import Proposed, propose, sign_with

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from securesystemslib.signer import Key

    from trust.read import Trusted
    from trust.tuf.edits import Edit
    from trust.tuf.verified import Verified
    from trust.writer import Writer

RESERVED_NAMES = frozenset({"root", "targets", "snapshot", "timestamp", "releases"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a change: ``state`` is live now, or ``proposal`` waits for signatures."""

    proposed: Proposed
    differences: Differences
    state: Trusted | None = None
    proposal: str | None = None


def check_signer_name(name: str) -> str:
    """Return ``name`` if a signer may have it.

    Raises:
        UsageError: it is malformed, or a word of TUF or docker.
    """
    if not _NAME.match(name) or name in RESERVED_NAMES:
        raise UsageError(
            f"invalid signer name {name[:40]!r}: expected a-z, 0-9 and _, beginning with a letter, at most 32, "
            f"and none of {', '.join(sorted(RESERVED_NAMES))}"
        )
    return name


def plan_signer(writer: Writer, signer: NewSigner, now: datetime, *, adopt: bool) -> Edit:
    """Add a signer, or, without keys, let one that is there adopt the tags that ``targets`` signs.

    Where the root key is not here, the signer does not publish by itself.

    Raises:
        UsageError: the name is taken or malformed, or a threshold cannot be met.
    """
    check_signer_name(signer.name)
    base = writer.base()
    if signer.name in base.targets and adopt and not signer.keys:
        return adopt_tags(base, signer.name, now)
    if (
        signer.bins
        and len(writer.signing.some([key.keyid for key in signer.keys], signer.threshold)) < signer.threshold
    ):
        raise UnsignedError(
            f"the key of {signer.name} is not on this machine, and every bin is signed with it",
            hint=f"add the signer without --bins; {signer.name} then runs: dockseal repo rebin REPO {signer.name} "
            f"--bins {signer.bins}",
        )
    return add_signer(base, signer, now, adopt=adopt)


def plan_removal(writer: Writer, name: str, now: datetime) -> Edit:
    """Remove a signer: what it alone signed is trusted no more.

    Raises:
        UsageError: there is no such signer.
    """
    return remove_signer(writer.base(), name, now)


def plan_rotation(writer: Writer, role: str, change: KeyChange, now: datetime) -> Edit:
    """Change the keys or the threshold of a role.

    Raises:
        UsageError: no such role or key, or a threshold that cannot be met.
    """
    return change_keys(writer.base(), role, change, now)


def plan_bins(writer: Writer, role: str, count: int, now: datetime) -> Edit:
    """Put the tags of a signer, or of ``targets``, into another number of hash bins; spoiled ones may stay as many.

    Raises:
        UsageError: no such role, or it cannot have so many.
        UnsignedError: its keys are not here, which must sign every bin.
    """
    base = writer.base()
    edit = rebin(base, role, count, now, again=writer.is_spoiled(role))
    if not writer.signing.can_sign(base.role(role)):
        raise UnsignedError(
            f"the keys of {role} are not on this machine, and every bin is signed with them",
            hint=f"whoever holds the key of {role} runs the same command",
        )
    return edit


def plan_replacement(writer: Writer, roles: Sequence[str], old: str, new: tuple[Key, ...], now: datetime) -> Edit:
    """Replace one key by others in several roles at once: a key that leaked leaves them all in one state.

    Raises:
        UsageError: a role has no such key.
    """
    return replace_key(writer.base(), roles, old, new, now)


def preview(writer: Writer, edit: Edit) -> Differences:
    """What a change would make trusted and untrusted, and who could sign what."""
    base = writer.base()
    return differences(base, propose(base, edit))


def carry_out(writer: Writer, edit: Edit) -> Outcome:
    """Sign an edit with what is here; publish it, or leave it as a proposal.

    Raises:
        UnsignedError: no key that has a say in it is here.
        KeyUnavailableError: a key that is here cannot be used.
        ConflictError: it was overtaken, or others publish all the time.
    """
    writer.catch_up()
    base = writer.base()
    proposed = sign_with(propose(base, edit), base, writer.signing.some)
    if not any(draft.metadata.signatures for draft in proposed.drafts):
        keys = ", ".join(sorted({key[:7] for draft in proposed.drafts for need in draft.needs for key in need.key_ids}))
        raise UnsignedError(
            f"no key that has a say in this is on this machine: expected one of {keys}",
            hint="`dockseal key list` shows the keys that are here",
        )
    return settle(writer, proposed, base, ())


def settle(writer: Writer, proposed: Proposed, base: Verified, tags: tuple[str, ...]) -> Outcome:
    """Publish a proposal that has all its signatures, or store it for those whose are missing.

    Args:
        writer: of the repository.
        proposed: signed with what is here.
        base: the state that it stands on.
        tags: those under which it was stored so far.
    """
    found = differences(base, proposed)
    if proposed.is_complete and writer.can_publish(proposed):
        planned = writer.plan_proposed(proposed)
        live = writer.publish(planned)
        writer.image_tags.move([base], live)
        discard(writer.store, tags)
        return Outcome(proposed, found, state=live)
    return Outcome(proposed, found, proposal=writer.leave(proposed))
