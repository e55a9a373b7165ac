"""As much of DER (ITU-T X.690) as notary's private keys need: definite lengths, tags of one byte."""

from __future__ import annotations

from dataclasses import dataclass

INTEGER = 0x02
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
_LONG_FORM = 0x80
_MAX_LENGTH_BYTES = 3


@dataclass(frozen=True, slots=True)
class Value:
    """A tag and its content."""

    tag: int
    content: bytes


def read(data: bytes) -> Value:
    """The one value that ``data`` is.

    Raises:
        ValueError: it is cut off, or more follows.
    """
    value, rest = _split(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes follow a DER value")
    return value


def sequence(data: bytes, *tags: int) -> tuple[bytes, ...]:
    """The content of the first elements of a SEQUENCE.

    Args:
        data: the SEQUENCE, with its tag.
        tags: what its first elements must be; more may follow.

    Raises:
        ValueError: it is none, or holds others.
    """
    outer = read(data)
    if outer.tag != SEQUENCE:
        raise ValueError(f"a DER value has the tag {outer.tag:#04x}: expected a SEQUENCE")
    found, rest = [], outer.content
    for tag in tags:
        value, rest = _split(rest)
        if value.tag != tag:
            raise ValueError(f"a DER value has the tag {value.tag:#04x}: expected {tag:#04x}")
        found.append(value.content)
    return tuple(found)


def wrap(tag: int, content: bytes) -> bytes:
    """A value of which :func:`sequence` gave the content, with its tag again."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG_FORM | len(length)]) + length + content


def _split(data: bytes) -> tuple[Value, bytes]:
    if len(data) < 2:  # noqa: PLR2004 - a tag and a length
        raise ValueError("a DER value is cut off")
    tag, length, start = data[0], data[1], 2
    if length >= _LONG_FORM:
        size = length - _LONG_FORM
        if not 0 < size <= _MAX_LENGTH_BYTES or len(data) < start + size:
            raise ValueError("a DER length is cut off or too long")
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if len(data) < start + length:
        raise ValueError("a DER value is cut off")
    return Value(tag, data[start : start + length]), data[start + length :]
