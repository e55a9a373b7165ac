"""Revoking a tag: no role signs it any more; the image stays where it is, unsigned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import UnsignedError
from trust.tuf.draft import Change

if TYPE_CHECKING:
    from trust.read import Trusted
    from trust.writer import Writer


@dataclass(frozen=True, slots=True)
class Revocation:
    """What is to be removed: tags by role, as :func:`plan_revocation` found them."""

    tags: tuple[str, ...]
    change: Change


def plan_revocation(writer: Writer, tag: str | None) -> Revocation:
    """Find every role that signs the tag, or all tags where ``tag`` is None.

    Raises:
        UnsignedError: nothing signs it, or the key of a role that does is not here.
    """
    base = writer.base()
    if tag is None:
        drop = {role: tuple(base.listing(role)) for role in base.targets}
    else:
        drop = {role: (tag,) for role in base.targets if base.listed(role, tag) is not None}
    drop = {role: tags for role, tags in drop.items() if tags}
    if not drop:
        raise UnsignedError(
            "no tag of this repository is signed" if tag is None else f"the tag {tag!r} is not signed",
            hint="`dockseal inspect NAME` lists the signed tags",
        )
    for role in drop:
        if not writer.signing.can_sign(base.role(role)):
            raise UnsignedError(
                f"{role} signs it, and the keys of {role} are not on this machine; nothing was revoked",
                hint=f"whoever holds the key of {role} runs the same command",
            )
    return Revocation(tuple(sorted({name for tags in drop.values() for name in tags})), Change(drop=drop))


def revoke(writer: Writer, revocation: Revocation) -> Trusted:
    """Publish a state in which none of the tags resolves.

    Raises:
        UnsignedError, KeyUnavailableError, ConflictError: and everything is as it was.
    """
    planned = writer.plan(revocation.change, expected=dict.fromkeys(revocation.tags))
    return writer.publish(planned)
