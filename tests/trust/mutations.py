"""Bytes and JSON bent at random, for parsers that let only our errors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Mutation = Callable[[Any], None]
MISSING = object()
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, 2, -1, 3, 10**6, 2**53 - 1, "", "x", "targets", "root", "2099-01-01T00:00:00Z", "0" * 64]
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["version", "a", "keys"]), SCALARS)


def flip(data: bytes, position: int, mask: int) -> bytes:
    """One byte changed."""
    changed = bytearray(data)
    changed[position % len(data)] ^= mask
    return bytes(changed)


def bent(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes changed, cut off or doubled."""
    kind = draw(st.sampled_from(["flip", "cut", "double", "insert"]))
    position = draw(st.integers(0, len(data) - 1))
    if kind == "flip":
        return flip(data, position, draw(st.integers(1, 255)))
    if kind == "cut":
        return data[:position]
    if kind == "double":
        return data[:position] + data[max(0, position - 20) :]
    return data[:position] + draw(st.sampled_from([b"0", b'"', b"{", b"null", b"1.5", b"\xff"])) + data[position:]


bent_bytes = st.composite(bent)


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """A change of a JSON object in place: at some depth a field goes, or gets another value or name."""
    steps = draw(st.lists(st.integers(0, 30), min_size=1, max_size=6))
    value = draw(VALUES | st.just(MISSING))

    def mutate(body: Any) -> None:
        here = body
        for number, step in enumerate(steps):
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                return
            key = keys[step % len(keys)]
            below = here[key]
            if number + 1 < len(steps) and isinstance(below, dict | list) and below:
                here = below
            elif value is MISSING:
                del here[key]
                return
            else:
                here[key] = value
                return

    return mutate
