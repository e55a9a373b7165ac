"""``policy test``: cases beside a policy, each with facts written down and the verdict that they must get.

::

    [[case]]
    image = "ghcr.io/acme/app:v1"
    signers = ["ci", "release"]        # or { ci = "key-a", release = "key-a" }: who signs with which key
    expect = "trusted"

No registry is asked; :mod:`trust.gate.judge` decides as it would in a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from trust import errors
from trust.digest import Digest
from trust.gate.facts import Facts, Image, Signature, SignedTag, StateFacts
from trust.gate.fields import Mistakes, parse_duration
from trust.gate.judge import Decision, Standpoint, judge
from trust.gate.positions import Mistake, MistakeError, read_document
from trust.gate.words import DISALLOWED, TRUSTED, VERDICTS
from trust.oci.source import StoreName

if TYPE_CHECKING:
    from datetime import datetime

    from trust.gate.fields import Table
    from trust.gate.policy import Policy

_NAMES = (
    *("image", "expect", "outcome", "name", "signers", "verdict", "signed_age", "metadata_age", "state"),
    *("platforms", "annotations"),
)
_OUTCOMES = ("passed", "excused", "warned", "off", "refused", "unreachable")
_ERRORS = {
    kind.verdict: kind
    for kind in (
        *(errors.UnreachableError, errors.UnsignedError, errors.MissingError, errors.MismatchError),
        *(errors.ExpiredError, errors.RollbackError, errors.TamperedError, errors.UntrustedRootError),
    )
}
_SIGNED = Digest.of(b"what the case's tag is signed to mean")
_ROOT = Digest.of(b"the root of the case")
_NEW_STATE = 2**31
_LIFE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``line`` is where it stands; ``outcome`` None where only the verdict is asked for."""

    line: int
    name: str
    image: Image
    facts: Facts
    expect: str
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """A case and what was decided about it."""

    case: Case
    decision: Decision

    @property
    def passed(self) -> bool:
        """Whether it came out as expected."""
        outcome = self.case.outcome
        return self.decision.verdict == self.case.expect and outcome in {None, self.decision.outcome.value}


def parse_cases(data: bytes, name: str, now: datetime) -> tuple[tuple[Case, ...], tuple[Mistake, ...]]:
    """Read a file of cases; with mistakes, they are not to be run.

    Args:
        data: the file's bytes.
        name: the file's.
        now: what ages are counted from, UTC.

    Raises:
        UsageError: it is larger than a policy may be.
    """
    try:
        document = read_document(data, name)
    except MistakeError as error:
        return (), (error.mistake,)
    mistakes = Mistakes(document)
    mistakes.table(document.body, (), "the file", ("case",))
    tables = mistakes.tables(document.body.get("case", []), ("case",), "[[case]]", _NAMES)
    cases = [_case(table, now) for table in tables]
    found = tuple(sorted(mistakes.found, key=lambda item: item.line))
    return tuple(case for case in cases if case is not None), found


def run(cases: tuple[Case, ...], policy: Policy, now: datetime) -> tuple[Result, ...]:
    """Judge every case."""
    return tuple(Result(case, judge(case.image, case.facts, policy, Standpoint(now))) for case in cases)


def _case(table: Table, now: datetime) -> Case | None:
    table.need("image")
    table.need("expect")
    asked = table.parsed("image", StoreName.parse)
    expect = _word(table, "expect", (TRUSTED, "off", *VERDICTS))
    outcome = _word(table, "outcome", _OUTCOMES)
    verdict = _word(table, "verdict", (TRUSTED, *_ERRORS))
    state = _state(table, now)
    signed = _signed(table, asked, state, now)
    if asked is None:
        return None
    if asked.repository is None:
        table.wrong("image", "image is a folder: expected a name with a registry")
        return None
    if asked.tag is None and asked.digest is None:
        table.wrong("image", "image names neither tag nor digest")
    error = None if verdict in {None, TRUSTED} else _ERRORS[str(verdict)](f"the case says {verdict}")
    facts = Facts(
        error=error,
        state=None if error is not None else state,
        signed=() if error is not None or signed is None else (signed,),
        registry_digest=None if asked.digest is not None or signed is None else signed.digest,
        platforms=frozenset(table.texts("platforms")),
    )
    name = table.text("name") or str(asked)
    return Case(table.line, name, Image(asked, str(asked.repository)), facts, expect or DISALLOWED, outcome)


def _word(table: Table, name: str, known: tuple[str, ...]) -> str | None:
    value = table.text(name)
    if value is not None and value not in known:
        table.wrong(name, f"{name} is {value!r}: expected one of {', '.join(known)}")
        return None
    return value


def _state(table: Table, now: datetime) -> StateFacts:
    made = now - (table.parsed("metadata_age", parse_duration) or timedelta())
    return StateFacts(table.number("state") or _NEW_STATE, (_ROOT,), made, now + _LIFE, "timestamp")


def _signed(table: Table, asked: StoreName | None, state: StateFacts, now: datetime) -> SignedTag | None:
    keys = _keys(table)
    annotations = table.values.get("annotations", {})
    if not isinstance(annotations, dict):
        table.wrong("annotations", f"annotations is no table: got {annotations!r}")
        annotations = {}
    if not keys or asked is None:
        return None
    return SignedTag(
        tag=asked.tag or "v1",
        digest=asked.digest or _SIGNED,
        size=1,
        signatures=tuple(Signature(name, frozenset({key}), state.expires) for name, key in keys.items()),
        signed_at=now - (table.parsed("signed_age", parse_duration) or timedelta()),
        annotations={str(key): str(value) for key, value in annotations.items()},
        expires=state.expires,
        expiring=state.expiring,
    )


def _keys(table: Table) -> dict[str, str]:
    """Signer to key; a list means a key of its own for each."""
    value = table.values.get("signers", [])
    if isinstance(value, dict):
        return {str(name): str(key) for name, key in value.items()}
    return {name: name for name in table.texts("signers")} if value else {}
