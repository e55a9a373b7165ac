"""What a repository's trust data says: keys, roles, signed tags, and where the registry's tags drifted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trust.client import check_fresh
from trust.errors import DocksealError
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.repo import RoleStatus, status
from trust.states import MAX_TAGS
from trust.tuf.roles import signed_digest

if TYPE_CHECKING:
    from trust.digest import Digest
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Reader, Trusted
    from trust.signing import KeySigning


@dataclass(frozen=True, slots=True)
class SignedTag:
    """A tag, its signed digest and where the registry's tag points; None where there is no such tag."""

    tag: str
    digest: Digest
    size: int
    signed_at: str
    signers: tuple[str, ...]
    registry_digest: Digest | None

    @property
    def drift(self) -> str | None:
        """What is wrong between the signature and the registry."""
        if self.registry_digest is None:
            return "missing"
        return None if self.registry_digest == self.digest else "mismatch"


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that ``inspect`` shows. ``error`` says why readers would refuse the state, where they would."""

    trusted: Trusted
    roles: tuple[RoleStatus, ...]
    tags: tuple[SignedTag, ...]
    unsigned: tuple[str, ...]
    error: DocksealError | None

    def only(self, tag: str) -> Inspection:
        """The same, of one tag."""
        return replace(
            self,
            tags=tuple(item for item in self.tags if item.tag == tag),
            unsigned=tuple(name for name in self.unsigned if name == tag),
        )


def inspect(store: Store, reader: Reader, machine: Machine, signing: KeySigning) -> Inspection:
    """Look at everything; an expired state is shown too, with its verdict.

    Raises:
        DocksealError: there is no trust data, or it does not verify: the verdict.
    """
    trusted = reader.read_past_expiry()
    if trusted is None:
        raise reader.nothing_there()
    verified = trusted.verified
    error = None
    try:
        check_fresh(verified, machine.now)
        reader.remember(trusted)
    except DocksealError as problem:
        error = problem
    there = [tag for tag in store.tags(MAX_TAGS) if not tag.startswith(TRUST_TAG_PREFIX)]
    tags = []
    for tag in verified.tags:
        target = verified.lookup(tag)
        if target is not None:
            custom = target.custom if isinstance(target.custom, dict) else {}
            tags.append(
                SignedTag(
                    tag,
                    signed_digest(target),
                    int(target.length),
                    str(custom.get("signedAt", "")),
                    verified.signers_of(tag),
                    store.resolve(tag),
                )
            )
    signed = {item.tag for item in tags}
    return Inspection(
        trusted, status(verified, signing), tuple(tags), tuple(tag for tag in there if tag not in signed), error
    )
