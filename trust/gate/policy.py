"""What a policy says: rules from repository pattern to requirement. docs/policy.md is its reference.

The most specific rule that matches a repository decides alone; where none matches, the image is refused. So an
empty policy refuses everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.oci.reference import DEFAULT_REGISTRY
from trust.patterns import matches, specificity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, timedelta

    from trust.digest import Digest

FILE_NAMES = ("dockseal-policy.toml", "dockseal-policy.yaml", "dockseal-policy.yml")
EXCUSABLE = ("unsigned", "expired", "unauthorized", "disallowed")
"""What an exception excuses unless it names verdicts: what was not done yet, and nothing that an attack makes."""
_PATTERN = re.compile(r"[A-Za-z0-9._:/*\[\]-]+\Z")


class Mode(Enum):
    """Whether a rule refuses, only says that it would, or does not look at all."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SignersWanted:
    """Who must have signed the digest. With nothing set, ``any``: whoever the repository lets sign the tag.

    ``all`` names signers that must all have; ``threshold`` of those in ``of`` must have.
    """

    all: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    threshold: int = 0

    def __str__(self) -> str:
        if self.of:
            return f"{self.threshold} of {', '.join(self.of)}"
        return " and ".join(self.all) if self.all else "any signer"


@dataclass(frozen=True, slots=True)
class Exemption:
    """An exception: images that may fail for these verdicts, why, and until when (that day included, UTC)."""

    repository: str
    tag: str | None
    reason: str
    until: date
    verdicts: tuple[str, ...]
    line: int = 0

    def covers(self, repository: str, tag: str | None) -> bool:
        """Whether it is for this image."""
        return matches(self.repository, repository) and (
            self.tag is None or (tag is not None and tag_matches(self.tag, tag))
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``[[rule]]``. ``pattern`` is normalised as docker reads names; ``line`` is where it stands, from 1.

    ``signers`` is None with mode ``off`` alone.
    """

    pattern: str
    signers: SignersWanted | None = None
    root: Digest | None = None
    root_keys: tuple[str, ...] = ()
    root_threshold: int = 0
    tags: tuple[str, ...] = ()
    no_latest: bool = False
    require_digest: bool = False
    max_age: timedelta | None = None
    max_metadata_age: timedelta | None = None
    min_version: int = 0
    platforms: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = Mode.ENFORCE
    exceptions: tuple[Exemption, ...] = ()
    line: int = 0

    @property
    def has_root(self) -> bool:
        """Whether the rule pins a root itself."""
        return self.root is not None or bool(self.root_keys)


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules, in the order of the file; ``name`` is the file's."""

    rules: tuple[Rule, ...] = ()
    name: str = FILE_NAMES[0]

    def matching(self, repository: str) -> tuple[Rule, ...]:
        """The rules that match ``registry/path``, the one that decides first.

        Of equal specificity the one that stands first in the file goes first.
        """
        found = [rule for rule in self.rules if matches(rule.pattern, repository)]
        return tuple(sorted(found, key=lambda rule: specificity(rule.pattern), reverse=True))

    def rule_for(self, repository: str) -> Rule | None:
        """The rule that decides, or None: then the image is refused."""
        return next(iter(self.matching(repository)), None)


def tag_matches(pattern: str, tag: str) -> bool:
    """Whether a tag matches; ``*`` is any number of characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag) is not None


def has_platform(wanted: str, there: str) -> bool:
    """Whether a platform is the one wanted: ``linux/arm64`` is also there as ``linux/arm64/v8``."""
    return there == wanted or there.startswith(f"{wanted}/")


def normal_pattern(text: str) -> str:
    """A pattern as it is compared with ``registry/path``: ``nginx`` is ``docker.io/library/nginx``.

    The first part is a registry where docker takes it for one (it has a dot or a colon, or is ``localhost``), or where
    it begins with ``**``.

    Raises:
        UsageError: no repository can match it.
    """
    first, slash, rest = text.partition("/")
    if not _PATTERN.match(text) or "***" in text or "//" in text or text.startswith("/") or text.endswith("/"):
        raise UsageError(f"{text!r} is no pattern of repository names")
    if ":" in text.rpartition("/")[2] or (not slash and ":" in text):
        raise UsageError(f"the pattern {text!r} has a tag: expected a repository", hint="tags = [...] says which tags")
    if first.startswith("**"):
        return text
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = DEFAULT_REGISTRY, text
    if registry in {"index.docker.io", "registry-1.docker.io"}:
        registry = DEFAULT_REGISTRY
    if path != path.lower():
        raise UsageError(f"the pattern {text!r} matches nothing: repository names are lower-case")
    if registry == DEFAULT_REGISTRY and "/" not in path and not path.startswith("**"):
        path = f"library/{path}"
    return f"{registry}/{path}"


def split_image_pattern(text: str) -> tuple[str, str | None]:
    """``PATTERN[:TAG-PATTERN]`` as normalised pattern and tag pattern.

    Raises:
        UsageError: it is malformed.
    """
    head, colon, tail = text.rpartition(":")
    if colon and "/" not in tail:
        if not re.fullmatch(r"[A-Za-z0-9_.*-]+", tail):
            raise UsageError(f"{text!r} has no tag that could match: {tail!r}")
        return normal_pattern(head), tail
    return normal_pattern(text), None
