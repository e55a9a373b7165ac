"""Signing a tag: what it shall mean, in which roles, and the state in which that stands.

``sign`` signs what the registry already has, multi-platform indexes included; push signs what it has
just brought there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import DeniedError, UnsignedError, UsageError
from trust.oci.manifest import OCI_MANIFEST
from trust.oci.reference import check_new_tag
from trust.tuf.draft import Change
from trust.tuf.proposed import Proposed
from trust.tuf.roles import Target, rfc3339, signed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tuf.api.metadata import TargetFile

    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.writer import Foundation, Writer

MAX_CLOCK_LEAD = timedelta(minutes=5)
"""How far the time of an earlier signature may lie ahead of this machine's clock."""
_PLACEHOLDER = Digest.of(b"dockseal: a push that is being planned")


@dataclass(frozen=True, slots=True)
class Signed:
    """What came of signing one tag.

    ``state`` is live now; None where ``proposal`` still waits for signatures, ``lacking`` in words.
    ``initialised``: it is the repository's first. ``unchanged``: the tag was signed to mean this digest
    already, and nothing was written.
    """

    digest: Digest
    size: int
    roles: tuple[str, ...]
    state: Trusted | None
    initialised: bool = False
    unchanged: bool = False
    proposal: str | None = None
    lacking: tuple[str, ...] = ()


class TagSigner:
    """Signs tags of one repository."""

    def __init__(
        self,
        writer: Writer,
        now: datetime,
        found: Callable[[], Foundation],
        *,
        signers: tuple[str, ...] = (),
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Make a signer.

        Args:
            writer: of the repository.
            now: UTC.
            found: makes the foundation of a new repository, its keys included.
            signers: the delegated roles that were asked for; none means all whose key is here.
            annotations: signed with the digest.
        """
        self._writer = writer
        self._now = now.replace(microsecond=0)  # as signedAt is written: the next one must be later
        self._found = found
        self._signers = signers
        self._annotations = dict(annotations or {})
        self._before: dict[str, TargetFile] = {}

    def check(self, tag: str, manifest: Manifest | None) -> None:
        """Find out whether signing will succeed: the whole plan is made, with a placeholder for what is unknown.

        Raises:
            UnsignedError: it cannot be signed here.
            KeyUnavailableError: a key cannot be used.
        """
        if manifest is not None:
            self._check_moves(tag, manifest.digest)
        if manifest is None:
            self._plan(tag, _PLACEHOLDER, 1, OCI_MANIFEST)
        elif not self._is_signed(tag, manifest):
            self._plan(tag, manifest.digest, manifest.size, manifest.media_type)

    def sign(self, tag: str, manifest: Manifest) -> Signed:
        """Sign that ``tag`` means this manifest; publish the state, or leave a proposal where signatures are missing.

        Raises:
            UnsignedError, KeyUnavailableError: see :meth:`check`.
            ConflictError: another writer signed the tag at the same time, or others publish all the time.
        """
        writer = self._writer
        self._before = {}
        self._check_moves(tag, manifest.digest)
        writer.look_again()
        writer.catch_up()
        heads = writer.heads
        if heads is not None and self._is_signed(tag, manifest):
            roles = heads.base.verified.signers_of(tag)
            return Signed(manifest.digest, manifest.size, roles, writer.settle(), unchanged=True)
        roles, plan = self._plan(tag, manifest.digest, manifest.size, manifest.media_type)
        if isinstance(plan, Proposed):
            name = writer.leave(plan)
            return Signed(manifest.digest, manifest.size, roles, None, proposal=name, lacking=plan.lacking_words())
        self._before = self._meaning(tag)
        live = writer.publish(plan)
        writer.image_tags.check_won(tag, manifest.digest, live)
        return Signed(manifest.digest, manifest.size, roles, live, initialised=heads is None)

    def move_tag(self, tag: str, manifest: Manifest, live: Trusted) -> None:
        """Move the image's tag to what was just signed, last of all.

        Where the registry does not let it move, the state would say for ever what the registry does not: what the
        tag meant before is signed again.

        Args:
            tag: of the image.
            manifest: that was signed.
            live: the state that says so.

        Raises:
            DeniedError: it does not move; nothing is signed that was not before.
            MissingError: the image is not there any more.
            ConflictError: another writer has signed something else meanwhile, and the tag went there.
        """
        store = self._writer.store
        try:
            store.put_manifest(manifest, tag)
        except DeniedError as refused:
            if store.resolve(tag) in {None, manifest.digest}:
                raise  # it is no immutable tag: the same push again goes on from here
            self._take_back(tag, manifest.digest)
            raise DeniedError(
                f"{refused.message}; the tag {tag!r} is signed to mean what it meant before", hint=refused.hint
            ) from refused
        self._writer.image_tags.check_stays(tag, manifest.digest, live)

    def _take_back(self, tag: str, digest: Digest) -> None:
        """Sign what the tag meant before, or nothing; unless somebody has signed something else meanwhile."""
        writer = self._writer
        writer.look_again()
        base = writer.base()
        found = base.lookup(tag)
        if found is None or found.hashes["sha256"] != digest.hex:
            return
        moment = self._signed_at(tag)
        mine = [role for role in base.signers_of(tag) if writer.signing.can_sign(base.role(role))]
        put = {
            role: (replace(Target.of(self._before[role]), signed_at=moment),) for role in mine if role in self._before
        }
        drop = {role: (tag,) for role in mine if role not in self._before}
        writer.publish(writer.plan(Change(put, drop)))

    def _meaning(self, tag: str) -> dict[str, TargetFile]:
        """What each role says of the tag now."""
        if self._writer.heads is None:
            return {}
        base = self._writer.base()
        said = {role: base.listed(role, tag) for role in base.targets}
        return {role: file for role, file in said.items() if file is not None}

    def _check_moves(self, tag: str, digest: Digest) -> None:
        """Where config.toml says that tags cannot move, find out before anything is sent or signed.

        Raises:
            DeniedError: the tag is there, and points elsewhere.
        """
        if self._writer.moves_tags:
            return
        found = self._writer.store.resolve(tag)
        if found not in {None, digest}:
            raise DeniedError(
                f"{self._writer.store.name}:{tag} is {found}, and by config.toml its registry's tags cannot move",
                hint="push under another tag",
            )

    @cached_property
    def _foundation(self) -> Foundation:
        return self._found()

    def _plan(
        self, tag: str, digest: Digest, length: int, media_type: str
    ) -> tuple[tuple[str, ...], Trusted | Proposed]:
        if self._writer.heads is None:
            if self._signers:
                raise UnsignedError(
                    f"the repository has no trust data yet, and so no signer {', '.join(self._signers)}",
                    hint="dockseal repo init NAME, then dockseal signer add",
                )
            target = Target(tag, digest, length, media_type, self._now, self._annotations)
            return ("targets",), self._writer.plan_first(self._foundation, (target,))
        roles = self._writer.roles_for(tag, self._signers)
        target = Target(tag, digest, length, media_type, self._signed_at(tag), self._annotations)
        return roles, self._writer.plan_tag(target, roles)

    def _is_signed(self, tag: str, manifest: Manifest) -> bool:
        """Whether the state says so already, for the same roles, and nothing of it is due to be signed again."""
        if self._writer.heads is None:
            return False
        base = self._writer.base()
        found = base.lookup(tag)
        return (
            found is not None
            and found.hashes == {"sha256": manifest.digest.hex}
            and (found.custom or {}).get("annotations") == self._annotations
            and set(self._writer.roles_for(tag, self._signers)) <= set(base.signers_of(tag))
            and not self._writer.duties.due() - {"root"}
        )

    def _signed_at(self, tag: str) -> datetime:
        """Now, or a second after the last signature of this tag where that is later (clocks differ)."""
        times = [signed_at(file) for file in self._meaning(tag).values()]
        latest = max((time for time in times if time is not None), default=None)
        if latest is None or latest < self._now:
            return self._now
        if latest > self._now + MAX_CLOCK_LEAD:
            raise UsageError(
                f"the tag {tag!r} was last signed at {rfc3339(latest)}, and this machine's clock says "
                f"{rfc3339(self._now)}: at most {MAX_CLOCK_LEAD.seconds // 60} minutes ahead are accepted",
                hint="check this machine's clock; else revoke the tag and sign it again",
            )
        return latest + timedelta(seconds=1)


def sign(store: Store, reference: str | Digest, tag: str, signer: TagSigner) -> Signed:
    """Sign that ``tag`` means what the store already has at ``reference``.

    Where the tag is another than the reference, or has moved meanwhile, it moves there last; with a proposal it stays.

    Raises:
        MissingError: the store has no such manifest.
        UnsignedError, KeyUnavailableError, ConflictError: see :meth:`TagSigner.sign`.
    """
    check_new_tag(tag)
    manifest = store.get_manifest(reference)
    signed = signer.sign(tag, manifest)
    if signed.state is not None and store.resolve(tag) != manifest.digest:
        signer.move_tag(tag, manifest, signed.state)
    return signed
