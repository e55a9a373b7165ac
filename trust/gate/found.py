"""What reading a release's files yields: the images that it names, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int]
"""Byte offsets ``[start, end)`` in a file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands.

    Attributes:
        path: the file as the user gave it; ``-`` for standard input, empty for the command line.
        line: from 1; 0 where there is none.
        column: from 1, in characters; 0 where there is none.
        span: where the reference's own text stands in the file; None where no such text can be
            rewritten, since it is made of variables or spread over lines.
    """

    path: str
    line: int = 0
    column: int = 0
    span: Span | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.path, self.line, self.column) if part)


@dataclass(frozen=True, slots=True)
class Found:
    """An image that the release would run.

    Attributes:
        text: the reference as it takes effect, with variables resolved. It always parses as a
            :class:`trust.oci.reference.Reference`, or begins with ``oci:`` (``oci:DIR:TAG``).
        place: where it stands.
        context: what it is for, like ``stage build``, ``service web`` or ``Deployment/web container app``.
    """

    text: str
    place: Place
    context: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be read or resolved: a gate that passes over it would say more than it knows."""

    place: Place
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was looked at and yields no image, which is no mistake: reports count and list it."""

    place: Place
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything that reading the inputs gave, in the order of the inputs."""

    found: tuple[Found, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[LeftOut, ...] = ()
