"""Patterns for repository names: ``*`` stays inside a path component, ``**`` does not."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` (``registry/path``) matches the whole pattern."""
    return _compiled(pattern).fullmatch(name) is not None


def specificity(pattern: str) -> tuple[int, bool, int, int]:
    """Sorts patterns: the longest literal prefix wins, then an exact name, then more literals, then fewer ``**``."""
    prefix = len(pattern.partition("*")[0])
    return prefix, "*" not in pattern, len(pattern.replace("*", "")), -pattern.count("**")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))
