"""JSON from strangers, read strictly.

What two parsers could read differently is refused: duplicate names, floats and exponents,
``NaN``, integers of 2^53 and more, lone surrogates, deep nesting, anything that is not UTF-8.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import NoReturn

from trust.errors import TamperedError

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_MAX_DIGITS = len(str(-MAX_INTEGER))
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def loads(data: bytes, what: str) -> object:
    """Parse ``data``, which ``what`` names in errors.

    Returns:
        str, int, bool, None, or a list or dict of these.

    Raises:
        TamperedError: the bytes are not strict JSON.
    """
    try:
        _check_depth(data)
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_safe_integer,
        )
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except (ValueError, RecursionError) as error:
        raise TamperedError(f"{what} is not strict JSON: {error}") from error
    return value


def loads_object(data: bytes, what: str) -> dict[str, object]:
    """Like :func:`loads`, for bytes that must hold an object.

    Raises:
        TamperedError: the bytes are not strict JSON, or no object.
    """
    value = loads(data, what)
    if not isinstance(value, dict):
        raise TamperedError(f"{what} is not a JSON object: got {type(value).__name__}")
    return value


def _check_depth(data: bytes) -> None:
    """Bound the nesting before the recursive parser sees it."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRUCTURE.finditer(data):
        token = match.group()
        if token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        elif token in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:100]!r} occurs twice in one object")
    return result


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no integer")


def _safe_integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{text[:40]} is 2^53 or more")
    return int(text)
