"""Writing verified digests back: ``app:v1`` becomes ``app:v1@sha256:…``, and no other byte changes.

Files are patched where their readers say that a reference stands, and never written anew from what was
parsed: no YAML library's round trip is exact to the byte (ruamel.yaml's, the best of them, normalises
indentation, folds long lines, drops a byte order mark and the white space before comments, and does
not know Dockerfiles), while a reader's span is the reference itself. A reference whose text is not in the file as it
stands (it is made of variables, or folded over lines) has no span, and :func:`unwritable` says so.

A reference without a tag is written with ``:latest``, which is what was verified: a digest alone would
be judged by whichever tag yields it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.found import Problem
from trust.oci.reference import DEFAULT_TAG, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trust.digest import Digest
    from trust.gate.found import Found, Span


def pinned(data: bytes, digests: Mapping[Span, Digest]) -> bytes:
    """The file with each reference pinned; pinned ones get the new digest, or stay where it is the same.

    Args:
        data: the file as it was when it was read.
        digests: for the span of a reference, what it was verified to mean.

    Raises:
        UsageError: a span does not hold a reference, or two overlap: the file has changed since.
    """
    spans = sorted(digests)
    if any(first[1] > second[0] for first, second in pairwise(spans)):
        raise UsageError("two references overlap: expected each to stand for itself", hint=_CHANGED)
    parts, end = [], 0
    for span in spans:
        parts += [data[end : span[0]], _pinned(data[slice(*span)], digests[span])]
        end = span[1]
    return b"".join([*parts, data[end:]])


def unwritable(found: Iterable[Found]) -> tuple[Problem, ...]:
    """A problem for each image in a text file that no digest can be written for, since it is not there as it stands."""
    return tuple(
        Problem(
            item.place,
            f"cannot be written: {item.text[:300]} is made of variables or spread over lines",
            f"pin it at {item.place}",
        )
        for item in found
        if item.place.span is None and item.place.line and "@" not in item.text
    )


_CHANGED = "the file has changed since it was read: run again"


def _pinned(text: bytes, digest: Digest) -> bytes:
    try:
        reference = Reference.parse(text.decode("utf-8"))
    except (UnicodeDecodeError, UsageError) as error:
        raise UsageError(f"{text[:200]!r} is no reference", hint=_CHANGED) from error
    if reference.digest == digest:
        return text
    name = text.partition(b"@")[0]
    if reference.tag is None and reference.digest is None:
        name += f":{DEFAULT_TAG}".encode()
    return name + f"@{digest}".encode()
