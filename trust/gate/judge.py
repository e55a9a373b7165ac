"""Facts and a policy in, a decision out. No I/O, no clock: the same facts always give the same decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from trust.gate.policy import Mode, has_platform, tag_matches
from trust.gate.words import ADVICE, DISALLOWED, TRUSTED, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from trust.digest import Digest
    from trust.errors import DocksealError
    from trust.gate.facts import Facts, Image, Signature, SignedTag, StateFacts
    from trust.gate.found import Problem
    from trust.gate.lock import Lock
    from trust.gate.policy import Exemption, Policy, Rule, SignersWanted

_LATEST = "latest"


class Outcome(Enum):
    """What becomes of an image."""

    PASSED = "passed"
    EXCUSED = "excused"
    WARNED = "warned"
    OFF = "off"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason against an image: the verdict, what was expected and found, and what to do, each one line."""

    verdict: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about an image, and all that it stands on.

    ``findings`` are all reasons against it, the one that decides first. ``digest`` is the signed one; ``notes`` is
    what people should know though it decides nothing.
    """

    image: Image
    outcome: Outcome
    rule: Rule | None = None
    findings: tuple[Finding, ...] = ()
    digest: Digest | None = None
    signers: tuple[str, ...] = ()
    expires: datetime | None = None
    state: StateFacts | None = None
    exemption: Exemption | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """One of docs/verdicts.md, ``disallowed``, or ``off`` where a rule says not to look."""
        if self.outcome is Outcome.OFF:
            return Outcome.OFF.value
        return self.findings[0].verdict if self.findings else TRUSTED


@dataclass(frozen=True, slots=True)
class Standpoint:
    """How a run judges.

    Args:
        at: the moment that everything must still hold at; UTC.
        lock: what was verified before, where the run is held to it.
        check_pinned: whether files must name the digest that is signed today (``--check``).
        pinning: whether the digest is about to be written into the files, so that it need not stand there yet.
    """

    at: datetime
    lock: Lock | None = None
    check_pinned: bool = False
    pinning: bool = False


def judge(image: Image, facts: Facts, policy: Policy, standpoint: Standpoint) -> Decision:
    """Decide about one image."""
    rule = policy.rule_for(image.repository)
    if rule is None:
        message = f"no rule of {policy.name} matches {image.repository}: what no rule allows is refused"
        advice = "add a [[rule]] for it; `dockseal policy init` drafts one"
        return Decision(image, Outcome.REFUSED, findings=(Finding(DISALLOWED, message, advice),))
    if rule.mode is Mode.OFF:
        return Decision(image, Outcome.OFF, rule)
    chosen, of_tag = _best(image, facts, rule, standpoint)
    findings = [*_of_name(image, rule, standpoint), *_of_state(image, facts, rule, standpoint), *of_tag]
    return _settled(image, facts, rule, chosen=chosen, findings=_in_order(findings), here=standpoint)


def exit_code(decisions: Iterable[Decision], problems: Sequence[Problem] = ()) -> int:
    """The gate's exit code: 1 refused, 2 an input that could not be used, 3 not reached, 0 go on."""
    outcomes = {decision.outcome for decision in decisions}
    if Outcome.REFUSED in outcomes:
        return 1
    if problems:
        return 2
    return 3 if Outcome.UNREACHABLE in outcomes else 0


def counted_signers(signatures: Iterable[Signature]) -> int:
    """How many signers can be told apart, each by a key of its own.

    One key under two names is one signer, and two keys under one name are one, too. So this is the largest matching of
    names and keys (augmenting paths; a handful of each).
    """
    keys = {signature.name: sorted(signature.key_ids) for signature in signatures}
    owner: dict[str, str] = {}

    def finds_key(name: str, tried: set[str]) -> bool:
        for key in keys[name]:
            if key not in tried:
                tried.add(key)
                if key not in owner or finds_key(owner[key], tried):
                    owner[key] = name
                    return True
        return False

    return sum(finds_key(name, set()) for name in keys)


def _settled(
    image: Image,
    facts: Facts,
    rule: Rule,
    *,
    chosen: SignedTag | None,
    findings: tuple[Finding, ...],
    here: Standpoint,
) -> Decision:
    exemption, notes = _exemption(image, rule, chosen, findings, here)
    if not findings:
        outcome = Outcome.PASSED
    elif exemption is not None:
        outcome = Outcome.EXCUSED
    elif rule.mode is Mode.WARN:
        outcome = Outcome.WARNED
    else:
        outcome = Outcome.UNREACHABLE if findings[0].verdict == "unreachable" else Outcome.REFUSED
    expires = facts.state.expires if facts.state is not None else None
    return Decision(
        image,
        outcome,
        rule,
        findings,
        digest=None if chosen is None else chosen.digest,
        signers=() if chosen is None else tuple(item.name for item in _valid(chosen, here)),
        expires=expires if chosen is None else chosen.expires,
        state=facts.state,
        exemption=exemption,
        notes=notes,
    )


def _exemption(
    image: Image, rule: Rule, chosen: SignedTag | None, findings: tuple[Finding, ...], here: Standpoint
) -> tuple[Exemption | None, tuple[str, ...]]:
    """The exception that excuses every finding, and what to say about those that no longer do."""
    notes = []
    tag = image.tag if image.tag is not None or chosen is None else chosen.tag
    for item in rule.exceptions:
        if not item.covers(image.repository, tag):
            continue
        if here.at.date() > item.until:
            notes.append(f"the exception of line {item.line} ended on {item.until}: {item.reason}")
        elif findings and all(finding.verdict in item.verdicts for finding in findings):
            return item, (f"excused until {item.until}: {item.reason}",)
    return None, tuple(notes)


def _in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The one that decides first; but where something else refuses the image, that it was not reached comes last."""
    ordered = sorted(findings, key=lambda finding: VERDICTS.index(finding.verdict))
    judged = [finding for finding in ordered if finding.verdict != "unreachable"]
    return (*judged, *(finding for finding in ordered if finding.verdict == "unreachable"))


def _finding(verdict: str, message: str, advice: str | None = None) -> Finding:
    return Finding(verdict, " ".join(message.split()), (advice or ADVICE[verdict]).partition("\n")[0])


def _of_error(error: DocksealError) -> Finding:
    return _finding(error.verdict or "unreachable", error.message, error.hint)


# What the name alone tells


def _of_name(image: Image, rule: Rule, here: Standpoint) -> Iterator[Finding]:
    pinned = image.digest is not None or here.pinning
    if rule.require_digest and not pinned:
        advice = "pin it: `dockseal gate --write` puts the verified digest into the file"
        yield _finding(DISALLOWED, f"{image.name} names no digest, and the rule requires one", advice)
    if image.tag is None:
        return
    if rule.no_latest and image.tag == _LATEST:
        yield _finding(DISALLOWED, f"{image.name} is the tag latest, which the rule does not allow", "name a version")
    if rule.tags and not any(tag_matches(pattern, image.tag) for pattern in rule.tags):
        allowed = ", ".join(rule.tags)
        yield _finding(DISALLOWED, f"the tag {image.tag!r} is not allowed: the rule allows {allowed}")


# What the repository's state tells


def _of_state(image: Image, facts: Facts, rule: Rule, here: Standpoint) -> Iterator[Finding]:
    if facts.error is not None:
        yield _of_error(facts.error)
    state = facts.state
    if state is None:
        return
    if state.version < rule.min_version:
        yield _finding(
            "rollback", f"the state is version {state.version}: the rule asks for {rule.min_version} at least"
        )
    age = here.at - state.made
    if rule.max_metadata_age is not None and age > rule.max_metadata_age:
        yield _finding("expired", f"the trust data is {_days(age)} old: the rule allows {_days(rule.max_metadata_age)}")
    if here.lock is not None:
        yield from _of_lock(image, state, here.lock)


def _of_lock(image: Image, state: StateFacts, lock: Lock) -> Iterator[Finding]:
    held = lock.get(image)
    if held is None:
        advice = f"record it: `dockseal gate --lock={lock.name}` with the same images"
        yield _finding(DISALLOWED, f"{image.name} is not in {lock.name}", advice)
    elif state.version < held.state:
        message = f"the state is version {state.version}: version {held.state} was seen when {lock.name} was written"
        yield _finding("rollback", message)
    elif held.root not in state.roots:
        yield _finding(
            "untrusted-root", f"the roots of trust do not go on from {held.root}, which {lock.name} has recorded"
        )


# What the signature of the tag tells


def _best(image: Image, facts: Facts, rule: Rule, here: Standpoint) -> tuple[SignedTag | None, list[Finding]]:
    """The signature that the image is judged by, and what stands against it.

    ``NAME@DIGEST`` may be what several tags mean: it is as good as the best of them.
    """
    if facts.state is None:
        return None, []
    if not facts.signed:
        return None, list(_of_unsigned(image, facts, facts.state, here))
    judged = [(item, list(_of_signed(image, item, facts, rule, here))) for item in facts.signed]
    return min(judged, key=lambda pair: len(pair[1]))


def _of_unsigned(image: Image, facts: Facts, state: StateFacts, here: Standpoint) -> Iterator[Finding]:
    yield from _of_expiry(state.expires, state.expiring, here)
    if facts.problem is not None:
        yield _of_error(facts.problem)
    elif not facts.tag_exists:
        yield _finding("missing", f"{image.name} does not exist in the registry")
    elif image.tag is None:
        advice = "deploy a digest that a tag is signed to mean; `dockseal inspect NAME` lists them"
        yield _finding("unsigned", f"{image.name} is not signed: no signed tag yields this digest", advice)
    else:
        points = "" if facts.registry_digest is None else f"; the registry's tag points at {facts.registry_digest}"
        yield _finding("unsigned", f"{image.name} is not signed{points}")


def _of_signed(image: Image, item: SignedTag, facts: Facts, rule: Rule, here: Standpoint) -> Iterator[Finding]:
    yield from _of_expiry(item.expires, item.expiring, here)
    if facts.problem is not None:
        yield _of_error(facts.problem)
    elif not facts.tag_exists:
        yield _finding("missing", f"{image.name} does not exist in the registry; it is signed to mean {item.digest}")
    yield from _of_digest(image, item, facts, here)
    yield from _of_signers(item, rule.signers, here)
    if image.tag is None and rule.tags and not any(tag_matches(pattern, item.tag) for pattern in rule.tags):
        yield _finding(DISALLOWED, f"this digest is the tag {item.tag!r}: the rule allows {', '.join(rule.tags)}")
    yield from _of_content(item, facts, rule, here)


def _of_digest(image: Image, item: SignedTag, facts: Facts, here: Standpoint) -> Iterator[Finding]:
    asked = image.digest
    if asked is not None and asked != item.digest and not here.pinning:
        advice = "`dockseal gate --write` pins what is signed today, once you know that it is what you mean"
        yield _finding("mismatch", f"{image.name}: the tag is signed to mean {item.digest} now", advice)
    if facts.registry_digest is not None and facts.registry_digest != item.digest:
        message = f"{image.name} is signed to mean {item.digest}: the registry's tag points at {facts.registry_digest}"
        yield _finding("mismatch", message)
    if here.check_pinned and asked is None and any(found.place.path for found in image.found):
        advice = "`dockseal gate --write` pins it"
        yield _finding(DISALLOWED, f"{image.name} is not pinned: expected @{item.digest}", advice)
    held = here.lock.get(image) if here.lock is not None else None
    if here.lock is not None and held is not None and held.digest != item.digest:
        advice = f"`dockseal gate --lock={here.lock.name}` records what is signed today, once you know that it is right"
        yield _finding("mismatch", f"{image.name} is signed to mean {item.digest}: locked is {held.digest}", advice)


def _of_signers(item: SignedTag, wanted: SignersWanted | None, here: Standpoint) -> Iterator[Finding]:
    signatures = _valid(item, here)
    names = [signature.name for signature in signatures]
    said = f"signed by {', '.join(names) or 'nobody whose role is valid'}"
    if wanted is None:
        return
    needed, allowed = (wanted.threshold, wanted.of) if wanted.of else (len(wanted.all), wanted.all)
    counting = [signature for signature in signatures if signature.name in allowed]
    counted = counted_signers(counting)
    if counted >= max(needed, 1) or (not needed and counted_signers(signatures)):
        return
    lacking = [name for name in allowed if name not in names]
    if len(counting) > counted and len(counting) >= needed:
        advice = "give each signer a key of its own: `dockseal signer remove`, then `dockseal signer add`"
        message = f"{' and '.join(signature.name for signature in counting)} signed with the same key: that counts once"
        yield _finding("unauthorized", f"{message}; the rule asks for {wanted}", advice)
        return
    sign = f"{' or '.join(lacking)} signs it: `dockseal sign --signer {lacking[0]} NAME`" if lacking else None
    yield _finding("unauthorized", f"{item.tag} is {said}: the rule asks for {wanted}", sign)


def _of_content(item: SignedTag, facts: Facts, rule: Rule, here: Standpoint) -> Iterator[Finding]:
    if rule.max_age is not None:
        if item.signed_at is None:
            yield _finding("expired", f"the signature of {item.tag} does not say when it was made")
        elif here.at - item.signed_at > rule.max_age:
            age = _days(here.at - item.signed_at)
            advice = "build it anew, and push and sign it"
            yield _finding("expired", f"{item.tag} was signed {age} ago: the rule allows {_days(rule.max_age)}", advice)
    lacking = [name for name in rule.platforms if not any(has_platform(name, there) for there in facts.platforms)]
    if lacking and facts.problem is None and facts.tag_exists:
        there = ", ".join(sorted(facts.platforms)) or "none"
        yield _finding(DISALLOWED, f"{item.tag} lacks the platform {', '.join(lacking)}: it has {there}")
    for key, pattern in rule.annotations.items():
        value = item.annotations.get(key)
        if value is None or not tag_matches(pattern, value):
            found = "it is missing" if value is None else f"got {value!r}"
            advice = f"sign it with `dockseal sign --annotation {key}=VALUE`"
            yield _finding(DISALLOWED, f"the signed annotation {key!r} must be {pattern!r}: {found}", advice)


def _of_expiry(expires: datetime, role: str, here: Standpoint) -> Iterator[Finding]:
    if here.at >= expires:
        yield _finding(
            "expired",
            f"the trust data has expired: {role} is valid until {expires:%Y-%m-%dT%H:%M:%SZ}, and the moment that "
            f"counts is {here.at:%Y-%m-%dT%H:%M:%SZ}",
        )


def _valid(item: SignedTag, here: Standpoint) -> tuple[Signature, ...]:
    """The signatures of roles that have not expired."""
    return tuple(signature for signature in item.signatures if here.at < signature.expires)


def _days(span: timedelta) -> str:
    """``3 days``, or hours below two days."""
    hours = int(span.total_seconds() // 3600)
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"  # noqa: PLR2004 - two days
