"""Verifying a name: which digest its tag is signed to mean, and whether the registry agrees.

``verify_name`` raises, so that ignoring a result is impossible; ``judge`` returns the detailed
judgement for reports, with the verdict of what was raised.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trust.client import check_fresh
from trust.errors import DocksealError, ExpiredError, MismatchError, MissingError, UnsignedError
from trust.read import Reader
from trust.tuf.roles import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trust.digest import Digest
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.tuf.verified import Verified

TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found out about a name.

    ``digest`` and ``size`` are the signed ones (bytes of the manifest), ``registry_digest`` where the
    registry's tag points; both None where it did not get that far. ``expires`` is the earliest expiry
    of what the answer stands on, UTC. ``error`` is None if, and only if, the verdict is ``trusted``.
    """

    repository: str
    tag: str | None
    digest: Digest | None = None
    size: int | None = None
    registry_digest: Digest | None = None
    signers: tuple[str, ...] = ()
    expires: datetime | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    error: DocksealError | None = None

    @property
    def verdict(self) -> str:
        """One of the verdicts of docs/verdicts.md."""
        return TRUSTED if self.error is None else self.error.verdict or "error"


def verify_name(store: Store, machine: Machine, tag: str | None, digest: Digest | None = None) -> Judgement:
    """Verify ``NAME:TAG``, ``NAME:TAG@DIGEST`` or ``NAME@DIGEST``.

    A digest is trusted when a tag lookup yields it: that tag's, or, where no tag is given, some
    current tag's (rule 8). Where a digest is given, the registry's tag does not matter.

    Raises:
        DocksealError: the verdict, as an error of :mod:`trust.errors`.
    """
    judgement = judge(store, machine, tag, digest)
    if judgement.error is not None:
        raise judgement.error
    return judgement


def judge(store: Store, machine: Machine, tag: str | None, digest: Digest | None = None) -> Judgement:
    """Like :func:`verify_name`, but the verdict is returned.

    Raises:
        DocksealError: one without a verdict, such as a damaged configuration: nothing was judged.
    """
    reader = Reader(store, machine)
    try:
        trusted = reader.read(tag)
    except ExpiredError as error:
        return _refused(_past_expiry(reader, store.repository, tag, machine.now), error)
    except DocksealError as error:
        return _refused(Judgement(store.repository, tag), error)
    found = _judged(trusted.verified, store, machine.now, tag, digest)
    if not isinstance(found.error, UnsignedError | MismatchError):
        return found
    newer = reader.look_past_pointer(tag, above=trusted.verified.version)  # the pointer may lag behind, or not move
    if newer is None:
        return found
    reader.remember(newer)
    return _judged(newer.verified, store, machine.now, tag, digest)


def _past_expiry(reader: Reader, repository: str, tag: str | None, now: datetime) -> Judgement:
    """What a state said that has expired: what people look for next is the digest, and since when."""
    facts = Judgement(repository, tag)
    try:
        trusted = reader.read_past_expiry()
    except DocksealError:  # it went away since
        return facts
    return facts if trusted is None else _signed_facts(facts, trusted.verified, tag, now)


def _judged(verified: Verified, store: Store, now: datetime, tag: str | None, digest: Digest | None) -> Judgement:
    """What one state says of a name."""
    facts = Judgement(store.repository, tag)
    try:
        if tag is None:
            tag = _tag_of(verified, digest, now)
        facts = _signed_facts(facts, verified, tag, now)
        if digest is not None:
            _check_digest(facts, digest)
            return facts
        found = store.resolve(tag) if tag is not None else None
        facts = replace(facts, registry_digest=found)
        _check_tag(facts, found, store.name)
    except DocksealError as error:
        return _refused(facts, error)
    return facts


def current_state(store: Store, machine: Machine) -> Trusted:
    """A repository's state, verified but for its age, for one who asks it about many names: one refresh.

    Announced states are looked at like for one name (rule 10). It is remembered if it is fresh now. Whoever asks
    judges the age of what the answer stands on.

    Raises:
        DocksealError: the verdict, where there is no state to ask.
    """
    reader = Reader(store, machine)
    try:
        return reader.read()
    except ExpiredError:
        trusted = reader.read_past_expiry()
        if trusted is None:
            raise
        return trusted


def _refused(facts: Judgement, error: DocksealError) -> Judgement:
    if error.verdict is None:
        raise error
    return replace(facts, error=error)


def _signed_facts(facts: Judgement, verified: Verified, tag: str | None, now: datetime) -> Judgement:
    target = None if tag is None else verified.lookup(tag)
    facts = replace(facts, expires=min(verified.expiry_of(tag).values()))
    if target is None or tag is None:
        return facts
    signed = Target.of(target)
    return replace(
        facts,
        digest=signed.digest,
        size=signed.length,
        signers=tuple(role for role in verified.signers_of(tag) if now < verified.targets[role].expires),
        annotations=signed.annotations,
    )


def _tag_of(verified: Verified, digest: Digest | None, now: datetime) -> str | None:
    """Some current tag whose lookup yields the digest (rule 8).

    Raises:
        ExpiredError: one does, but what its lookup stands on has expired.
    """
    expired: ExpiredError | None = None
    for tag in verified.tags if digest is not None else ():
        found = verified.lookup(tag)
        if found is not None and digest is not None and found.hashes["sha256"] == digest.hex:
            try:
                check_fresh(verified, now, tag)
            except ExpiredError as error:
                expired = expired or error
            else:
                return tag
    if expired is not None:
        raise expired
    return None


def _check_digest(facts: Judgement, asked: Digest) -> None:
    if facts.digest is None:
        what = "no signed tag yields it" if facts.tag is None else f"the tag {facts.tag!r} is not signed"
        raise UnsignedError(
            f"{facts.repository}@{asked} is not signed: {what}",
            hint="`dockseal inspect NAME` lists the signed tags with their digests",
        )
    if facts.digest != asked:
        raise MismatchError(f"{facts.repository}:{facts.tag} is signed to mean {facts.digest}: expected {asked}")


def _check_tag(facts: Judgement, found: Digest | None, store: str) -> None:
    name = f"{facts.repository}:{facts.tag}"
    if found is None:
        if facts.digest is None:
            hint = f"`dockseal inspect {store}` lists the tags that are there"
            raise MissingError(f"{name} does not exist in the registry", hint=hint)
        raise MissingError(
            f"{name} does not exist in the registry; it is signed to mean {facts.digest}",
            hint=f"was its push cut short? run it again; `dockseal pull {store}@{facts.digest}` gets what was signed",
        )
    if facts.digest is None:
        raise UnsignedError(
            f"{name} is not signed; the registry's tag points at {found}",
            hint="`dockseal sign` signs what the registry has, once you know that it is what you mean",
        )
    if found != facts.digest:
        raise MismatchError(
            f"{name} is signed to mean {facts.digest}: the registry's tag points at {found}",
            hint=f"moved without signing; `dockseal pull {store}@{facts.digest}` gets what was signed",
        )
