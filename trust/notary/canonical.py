"""The JSON that Notary v1 signs and sends (docker/go's ``canonical/json``, and Go's ``encoding/json`` around it).

What is signed and what is sent differ: signatures are over :func:`canonical`, while lengths and hashes are over
:func:`file_bytes`, in which Go has escaped ``<``, ``>``, ``&`` and two line separators for the sake of browsers.
"""

from __future__ import annotations

import re

from trust import strictjson
from trust.errors import UsageError

_CONTROLS = re.compile(r"[\x00-\x1f]")
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_UNSAFE = re.compile("[<>&\u2028\u2029]")


def canonical(value: object) -> bytes:
    r"""The bytes that are signed: sorted names, no spaces, no floats, UTF-8; ``\`` and ``"`` alone are escaped.

    Args:
        value: str, int, bool, None, or lists and dicts of these.

    Raises:
        UsageError: it holds what this form cannot say: a float, an integer of 2^53 or more, a control character.
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError("half a character (a lone surrogate) cannot be signed") from error


def file_bytes(signed: bytes, signatures: bytes) -> bytes:
    """A whole file from its two canonical halves, escaped as Go does when it embeds them."""
    text = (b'{"signed":' + signed + b',"signatures":' + signatures + b"}").decode()
    return _UNSAFE.sub(lambda found: _HTML[found[0]], text).encode()


def _text(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > strictjson.MAX_INTEGER:
            raise UsageError(f"{value} cannot be signed: an integer of 2^53 or more is read differently by others")
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_string(name)}:{_text(value[name])}" for name in sorted(value)) + "}"
    raise UsageError(f"a {type(value).__name__} cannot be signed: expected texts, integers, lists and objects")


def _string(value: str) -> str:
    if _CONTROLS.search(value):
        raise UsageError(f"{value[:60]!r} holds a control character, which this form of JSON cannot say")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
