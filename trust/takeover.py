"""Taking a repository over from a Notary server: what can be kept, and the trust state that says the same.

Kept are the tags whose image the registry still has, signers with their public keys and the prefixes that they may
sign, and (where their private halves are here) root and targets keys. A takeover can be run again: what is there
already is left alone, and a tag that means something else here stays as it is, unless it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import MissingError, UnsignedError, UsageError
from trust.keys.formats import tuf_key
from trust.notary.model import RELEASES, TARGETS, parent_of
from trust.oci.reference import check_new_tag
from trust.repo import Roles, lay_foundation
from trust.team import carry_out, check_signer_name, plan_signer
from trust.tuf.draft import Change
from trust.tuf.edits import ALL_TAGS, NewSigner
from trust.tuf.roles import Target, signed_at, signed_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key

    from trust.keys.store import KeyStore
    from trust.notary.chain import Found, Repository
    from trust.notary.model import Delegation, Role
    from trust.notary.publickeys import PublicKey
    from trust.notary.signing import NotarySigning
    from trust.oci.store import Store
    from trust.team import Outcome
    from trust.tuf.verified import Verified
    from trust.writer import Foundation, Writer

_WILD = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, slots=True)
class TagPlan:
    """A tag that is signed there. ``target`` is what will be signed here; None where ``reason`` says why it is not."""

    tag: str
    digest: Digest
    size: int
    signers: tuple[str, ...]
    target: Target | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SignerPlan:
    """A delegation there, and the signer it becomes; None where ``reason`` says why it does not."""

    role: str
    signer: NewSigner | None = None
    reason: str | None = None
    key_here: bool = False


@dataclass(frozen=True, slots=True)
class Takeover:
    """What would be taken over; ``root_here`` and ``targets_here`` are labels of keys that go on signing.

    ``begins``: there is no trust data here yet.
    """

    begins: bool
    notary: Repository
    tags: tuple[TagPlan, ...]
    signers: tuple[SignerPlan, ...]
    root_here: tuple[str, ...] = ()
    targets_here: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything is left to do."""
        return any(item.target for item in self.tags) or any(item.signer for item in self.signers)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What came of it: the version of the state that is live, the tags and signers that are new in it.

    ``by_targets`` are tags that ``targets`` signs though there are signers (or will be), ``proposals`` what waits for
    signatures.
    """

    version: int
    tags: tuple[str, ...]
    signers: tuple[str, ...]
    by_targets: tuple[str, ...]
    proposals: tuple[Outcome, ...]
    initialised: bool


def plan_takeover(
    notary: Repository,
    store: Store,
    writer: Writer,
    signing: NotarySigning,
    now: datetime,
    *,
    coming: Collection[str] = (),
    update: bool = False,
) -> Takeover:
    """Compare what is signed there with what the registry has and what is signed here.

    Args:
        notary: verified.
        store: the image repository of the same name.
        writer: of its trust state; there may be none yet.
        signing: finds the private keys that are here.
        now: UTC, when the tags are signed anew.
        coming: ids (canonical) of keys that will be loaded before it is carried out.
        update: take what a tag means there where it means something else here, and the registry's tag agrees; or
            where there is trust data, in which it is not signed.

    Raises:
        DocksealError: the registry, or the trust data that is there, cannot be read or is not to be trusted.
    """
    base = None if writer.heads is None else writer.base()
    payload = notary.root.payload
    keys = {**payload.keys, **notary.keys}

    def here(role: Role) -> tuple[str, ...]:
        held = {key.canonical_id: stored.label for key, stored in signing.held(role, keys)}
        ids = [keys[key_id].canonical_id for key_id in role.key_ids if key_id in keys]
        return tuple(held.get(name, f"{name[:7]}, to be loaded") for name in ids if name in held or name in coming)

    signers: list[SignerPlan] = []
    for item in notary.delegations.values():
        if item.name != RELEASES:
            plan = _signer_plan(item, keys, base, writer, key_here=len(here(item.role)) >= item.role.threshold)
            if plan.signer is not None and any(plan.signer.name == other.name for other in _new(signers)):
                plan = SignerPlan(item.name, None, f"another delegation is called {plan.signer.name} here")
            signers.append(plan)
    return Takeover(
        base is None,
        notary,
        tuple(_tag_plan(notary, found, store, base, now, update=update) for found in notary.tags()),
        tuple(signers),
        here(payload.roles["root"]),
        here(payload.roles[TARGETS]),
    )


def foundation_of(
    takeover: Takeover, keys: KeyStore, repository: str, *, before_new: Callable[[Sequence[str]], None]
) -> Foundation:
    """The keys of the new trust state: root and targets keep theirs where those are here, the rest is made.

    Raises:
        KeyUnavailableError, UsageError: see :func:`trust.repo.lay_foundation`.
    """
    kept = {"root": takeover.root_here, TARGETS: takeover.targets_here}
    labels = {role: found for role, found in kept.items() if found}
    return lay_foundation(keys, repository, Roles(labels), before_new=before_new)


def take_over(writer: Writer, takeover: Takeover, found: Callable[[], Foundation], now: datetime) -> TakenOver:
    """Publish a state that says what was signed there.

    Tags of signers whose key is here are signed by them; the others by ``targets``, until a signer adopts them.

    Raises:
        UnsignedError, KeyUnavailableError: it cannot be signed here.
        ConflictError: another writer was faster; running it again goes on.
    """
    targets = [(item, item.target) for item in takeover.tags if item.target is not None]
    initialised = writer.heads is None
    new = {item.role: item.signer for item in takeover.signers if item.signer is not None}
    theirs = {role for role in new if _is_held(takeover, role)}
    if initialised:
        first = tuple(target for item, target in targets if not theirs & set(item.signers))
        writer.publish(writer.plan_first(found(), first))
        writer.look_again()
    outcomes = []
    for signer in new.values():
        outcomes.append(carry_out(writer, plan_signer(writer, _publishing(writer, signer), now, adopt=False)))
        writer.look_again()
    put = _put(writer, targets)
    if put:
        tags = {target.tag: target.digest for role in put.values() for target in role}
        writer.publish(writer.plan(Change(put=put), expected=dict(tags)))
        writer.look_again()
    state = writer.standing()
    return TakenOver(
        state.version,
        tuple(target.tag for _, target in targets),
        tuple(signer.name for signer in new.values()),
        tuple(sorted(state.targets[TARGETS].targets)) if takeover.signers else (),
        tuple(item for item in outcomes if item.proposal is not None),
        initialised,
    )


def signer_name(role: str) -> str:
    """What a delegation is called here: ``targets/release-ci`` becomes ``release_ci``.

    Raises:
        UsageError: no name can be made of it.
    """
    return check_signer_name(role.removeprefix(f"{TARGETS}/").replace("-", "_"))


def patterns_of(paths: Sequence[str]) -> tuple[str, ...]:
    """Prefixes as TUF path patterns. A prefix that no tag can begin with is left out."""
    if "" in paths:
        return ALL_TAGS
    return tuple(f"{path}*" for path in paths if not _WILD.search(path) and "/" not in path)


def _tag_plan(
    notary: Repository, found: Found, store: Store, base: Verified | None, now: datetime, *, update: bool
) -> TagPlan:
    digest = Digest.from_hex(found.meta.sha256.hex())
    plan = TagPlan(found.tag, digest, found.meta.length, notary.signers_of(found.tag))
    try:
        target = _target(found, digest, store, base, now, update=update)
    except (UsageError, MissingError, UnsignedError) as error:
        return replace(plan, reason=error.message)
    return replace(plan, target=target, reason="signed here already" if target is None else None)


def _target(
    found: Found, digest: Digest, store: Store, base: Verified | None, now: datetime, *, update: bool
) -> Target | None:
    """What is to be signed; None where it is signed here already.

    Raises:
        UsageError, MissingError, UnsignedError: it cannot be kept.
    """
    check_new_tag(found.tag)
    moment = now.replace(microsecond=0)
    signed = None if base is None else base.lookup(found.tag)
    if signed is not None:
        here = signed_digest(signed)
        if here == digest:
            return None
        if store.resolve(found.tag) != digest:
            raise UnsignedError(f"means {here.short} here, and the registry's tag does not agree with this one")
        if not update:
            raise UnsignedError(f"means {here.short} here; --update takes this one, as the registry's tag does")
        before = signed_at(signed)
        moment = moment if before is None else max(moment, before + timedelta(seconds=1))
    elif base is not None and not update:  # a signature that was withdrawn here must not come back by itself
        raise UnsignedError("is not signed here: withdrawn here, or new there; --update signs it")
    try:
        manifest = store.get_manifest(digest)
    except MissingError as error:
        raise MissingError("the registry does not have its image any more") from error
    if manifest.size != found.meta.length:
        raise MissingError(f"its image has {manifest.size} bytes: {found.meta.length} are signed")
    return Target(found.tag, digest, manifest.size, manifest.media_type, moment)


def _signer_plan(
    item: Delegation, keys: Mapping[str, PublicKey], base: Verified | None, writer: Writer, *, key_here: bool
) -> SignerPlan:
    patterns = patterns_of(item.paths)
    if parent_of(item.name) != TARGETS:
        reason = f"a delegation of {parent_of(item.name)}: signers are delegated by targets alone"
        return SignerPlan(item.name, None, reason, key_here)
    if not patterns:
        return SignerPlan(item.name, None, "it may sign no tag", key_here)
    try:
        name = signer_name(item.name)
        public = tuple(_tuf_key(keys[key_id], item.name) for key_id in item.role.key_ids if key_id in keys)
    except UsageError as error:
        return SignerPlan(item.name, None, error.message, key_here)
    if base is not None and name in base.targets:
        same = {key.keyid for key in public} == set(base.role(name).keyids)
        return SignerPlan(item.name, None, f"a signer here already{'' if same else ', with other keys'}", key_here)
    if base is not None and name in base.versions:  # the snapshot goes on listing those
        return SignerPlan(item.name, None, "removed here; `dockseal signer add` takes it back", key_here)
    if base is not None and any(draft.role == name for open_ in writer.proposals for draft in open_.proposed.drafts):
        return SignerPlan(item.name, None, "proposed here already", key_here)
    return SignerPlan(item.name, NewSigner(name, public, item.role.threshold, patterns), None, key_here)


def _tuf_key(key: PublicKey, what: str) -> Key:
    return tuf_key(key.material, f"the delegation {what}")


def _new(plans: Iterable[SignerPlan]) -> Iterator[NewSigner]:
    return (item.signer for item in plans if item.signer is not None)


def _is_held(takeover: Takeover, role: str) -> bool:
    return any(item.role == role and item.key_here for item in takeover.signers)


def _publishing(writer: Writer, signer: NewSigner) -> NewSigner:
    """A signer publishes with its own key, where the root key that says so is here."""
    return replace(signer, publishes=writer.signing.can_sign(writer.base().root.roles["root"]))


def _put(writer: Writer, targets: list[tuple[TagPlan, Target]]) -> dict[str, tuple[Target, ...]]:
    """The tags that are not signed yet, by the roles that sign them: those that sign a tag already go on doing so.

    Raises:
        UnsignedError: no key here may sign one of them.
    """
    base = writer.base()
    put: dict[str, tuple[Target, ...]] = {}
    for item, target in targets:
        current = base.lookup(target.tag)
        if current is not None and current.hashes["sha256"] == target.digest.hex:
            continue
        allowed = base.roles_for(target.tag)
        names = [_name_or_none(role) for role in item.signers]
        mine = tuple(name for name in names if name in allowed and writer.signing.can_sign(base.role(name)))
        so_far = tuple(name for name in base.signers_of(target.tag) if writer.signing.can_sign(base.role(name)))
        for role in so_far or mine or writer.roles_for(target.tag, ()):
            put[role] = (*put.get(role, ()), target)
    return put


def _name_or_none(role: str) -> str | None:
    try:
        return signer_name(role)
    except UsageError:
        return None
