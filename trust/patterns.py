"""Patterns for repository names: ``*`` stays inside a path component, ``**`` does not."""

from __future__ import annotations

import re


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` (``registry/path``) matches the whole pattern."""
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), name) is not None


def specificity(pattern: str) -> tuple[int, bool, int]:
    """Sorts patterns: the longest literal prefix wins, then an exact name, then the longer pattern."""
    prefix = len(pattern.partition("*")[0])
    return prefix, "*" not in pattern, len(pattern)
