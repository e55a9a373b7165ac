"""Reading a policy file. Every mistake is named with its line; a policy with one is no policy.

The format is in docs/policy.md, its JSON Schema in ``policy.schema.json`` beside this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import UsageError
from trust.gate.fields import Mistakes, parse_duration
from trust.gate.policy import (
    EXCUSABLE,
    Exemption,
    Mode,
    Policy,
    Rule,
    SignersWanted,
    normal_pattern,
    split_image_pattern,
)
from trust.gate.positions import Document, Mistake, MistakeError, read_document
from trust.gate.words import VERDICTS

if TYPE_CHECKING:
    from trust.gate.fields import Table

_RULE_NAMES = (
    *("pattern", "signers", "root", "tags", "no_latest", "require_digest", "max_age", "max_metadata_age"),
    *("min_version", "platforms", "annotations", "mode", "exception"),
)
_EXCEPTION_NAMES = ("image", "reason", "until", "verdicts")
_SIGNER = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_KEY_ID = re.compile(r"[0-9a-f]{64}\Z")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?\Z")
_TAG_PATTERN = re.compile(r"[A-Za-z0-9_.*-]{1,128}\Z")
_ANY = "any"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's policy, what is wrong in it, and what should be looked at; mistakes stand in the order of lines."""

    policy: Policy
    mistakes: tuple[Mistake, ...]


def parse(data: bytes, name: str) -> Parsed:
    """Read a policy; with mistakes, its policy is not to be used.

    Args:
        data: the file's bytes.
        name: the file's, for messages; its suffix says the format.

    Raises:
        UsageError: it is larger than a policy may be.
    """
    try:
        document = read_document(data, name)
    except MistakeError as error:
        return Parsed(Policy(name=name), (error.mistake,))
    mistakes = Mistakes(document)
    policy = _policy(document, mistakes, name)
    return Parsed(policy, tuple(sorted(mistakes.found, key=lambda item: item.line)))


def load(data: bytes, name: str) -> Policy:
    """Read a policy.

    Raises:
        UsageError: it has mistakes; each is named with its line.
    """
    parsed = parse(data, name)
    if parsed.mistakes:
        lines = "\n".join(f"{name}:{item.line}: {item.message}" for item in parsed.mistakes)
        raise UsageError(f"the policy cannot be used:\n{lines}", hint="docs/policy.md lists all names")
    return parsed.policy


def stale_exceptions(policy: Policy, today: date) -> tuple[Mistake, ...]:
    """Exceptions that are over: not wrong, but of no use any more."""
    return tuple(
        Mistake(item.line, f"this exception ended on {item.until}: {item.reason}")
        for rule in policy.rules
        for item in rule.exceptions
        if item.until < today
    )


def _policy(document: Document, mistakes: Mistakes, name: str) -> Policy:
    top = mistakes.table(document.body, (), "the policy", ("schema", "rule"))
    assert top is not None  # noqa: S101 - a document's body is a table
    if "schema" in top and top.values["schema"] != 1:
        top.wrong("schema", f"schema {top.values['schema']!r} is not known: expected 1")
    tables = mistakes.tables(document.body.get("rule", []), ("rule",), "[[rule]]", _RULE_NAMES)
    rules = tuple(_rule(table) for table in tables)
    seen: dict[str, int] = {}
    for table, rule in zip(tables, rules, strict=True):
        if rule.pattern in seen:
            table.wrong("pattern", f"the pattern {rule.pattern!r} has a rule already, in line {seen[rule.pattern]}")
        elif rule.pattern:
            seen[rule.pattern] = rule.line
    return Policy(rules, name)


def _rule(table: Table) -> Rule:
    mode = table.parsed("mode", _mode) or Mode.ENFORCE
    table.need("pattern")
    if mode is not Mode.OFF:
        table.need("signers")
    root, keys, threshold = _root(table)
    return Rule(
        pattern=table.parsed("pattern", normal_pattern) or "",
        signers=_signers(table),
        root=root,
        root_keys=keys,
        root_threshold=threshold,
        tags=_matching(table, "tags", _TAG_PATTERN, "a tag, where * is any number of characters"),
        no_latest=table.flag("no_latest"),
        require_digest=table.flag("require_digest"),
        max_age=table.parsed("max_age", parse_duration),
        max_metadata_age=table.parsed("max_metadata_age", parse_duration),
        min_version=table.number("min_version"),
        platforms=_matching(table, "platforms", _PLATFORM, "OS/ARCH[/VARIANT]"),
        annotations=_annotations(table),
        mode=mode,
        exceptions=_exceptions(table),
        line=table.line,
    )


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise UsageError(f"{text!r} is not known: expected enforce, warn or off") from None


def _signers(table: Table) -> SignersWanted | None:
    value = table.values.get("signers")
    if "signers" not in table:
        return None
    if not isinstance(value, dict):
        if value != _ANY:
            table.wrong("signers", f'signers is {value!r}: expected "any", {{ all = [..] }} or {{ threshold, of }}')
        return SignersWanted()
    inner = table.mistakes.table(value, (*table.path, "signers"), "signers", ("all", "of", "threshold"))
    assert inner is not None  # noqa: S101 - it is a dict
    everyone, some = _names(inner, "all"), _names(inner, "of")
    if ("all" in inner) == ("of" in inner or "threshold" in inner):
        inner.wrong(None, "signers has either all, or threshold and of")
        return SignersWanted()
    threshold = 0
    if "all" not in inner and inner.need("of") and inner.need("threshold"):
        threshold = inner.number("threshold")
        if some and threshold > len(some):
            inner.wrong("threshold", f"{len(some)} signers cannot meet a threshold of {threshold}")
    return SignersWanted(everyone, some, threshold)


def _names(table: Table, name: str) -> tuple[str, ...]:
    return _matching(table, name, _SIGNER, "a signer's name: a-z, 0-9 and _, at most 32, beginning with a letter")


def _matching(table: Table, name: str, form: re.Pattern[str], expected: str) -> tuple[str, ...]:
    values = table.texts(name)
    for number, value in enumerate(values):
        if not form.match(value):
            table.mistakes.add((*table.path, name, number), f"{name}: {value!r} is not {expected}")
    return values


def _root(table: Table) -> tuple[Digest | None, tuple[str, ...], int]:
    if not isinstance(table.values.get("root"), dict):
        return table.parsed("root", Digest), (), 0
    inner = table.mistakes.table(table.values["root"], (*table.path, "root"), "root", ("keys", "threshold"))
    assert inner is not None  # noqa: S101 - it is a dict
    inner.need("keys")
    keys = _matching(inner, "keys", _KEY_ID, "a key id of 64 hex digits")
    threshold = inner.number("threshold") or len(keys)
    if keys and threshold > len(keys):
        inner.wrong("threshold", f"{len(keys)} keys cannot meet a threshold of {threshold}")
    return None, keys, threshold


def _annotations(table: Table) -> dict[str, str]:
    value = table.values.get("annotations", {})
    if not isinstance(value, dict):
        table.wrong("annotations", f"annotations is no table: got {value!r}")
        return {}
    for key, text in value.items():
        if not isinstance(text, str) or not text:
            path = (*table.path, "annotations", key)
            table.mistakes.add(path, f"the annotation {key!r} is no text: got {text!r}; * is any value")
    return {str(key): str(text) for key, text in value.items()}


def _exceptions(table: Table) -> tuple[Exemption, ...]:
    path = (*table.path, "exception")
    items = table.mistakes.tables(table.values.get("exception", []), path, "[[rule.exception]]", _EXCEPTION_NAMES)
    return tuple(_exception(item) for item in items)


def _exception(table: Table) -> Exemption:
    for name in ("image", "reason", "until"):
        table.need(name)
    repository, tag = table.parsed("image", split_image_pattern) or ("", None)
    verdicts = table.texts("verdicts") if "verdicts" in table else EXCUSABLE
    for number, verdict in enumerate(verdicts):
        if verdict not in VERDICTS:
            expected = f"expected one of {', '.join(VERDICTS)}"
            table.mistakes.add((*table.path, "verdicts", number), f"{verdict!r} is no verdict: {expected}")
    until = table.day("until") or date.min
    return Exemption(repository, tag, table.text("reason") or "", until, verdicts, table.line)
