"""When to try again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RETRY_AFTER_SECONDS = 60
PROGRESS_BYTES = 16 << 20
"""A large blob on a bad line may break more often than we try one thing, if it gets this far in between."""


class TransientError(UnreachableError):
    """A failure that may pass: a broken connection, 429 or 5xx.

    It only leaves this package for ``Call(retry=False)``. ``retry_after`` is in seconds;
    ``connected`` says whether there was somebody to talk to at all, ``silent`` whether a time limit ended it.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        connected: bool = True,
        silent: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.connected = connected
        self.silent = silent


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try: waits double from ``first_seconds``, times a jitter of 0.5 to 1."""

    attempts: int = 5
    connect_attempts: int = 3
    """Where no connection stands: a wrong name should not take long to notice."""
    silent_attempts: int = 2
    """Where a time limit was reached: each one more costs that time again."""
    first_seconds: float = 0.5
    max_seconds: float = 16

    def attempts_at(self, problem: TransientError) -> int:
        """How often something is tried that fails like this."""
        if not problem.connected:
            return min(self.attempts, self.connect_attempts)
        return min(self.attempts, self.silent_attempts) if problem.silent else self.attempts


class Backoff:
    """The waits between the attempts at one thing."""

    def __init__(self, policy: RetryPolicy, sleep: Callable[[float], None]) -> None:
        self._policy = policy
        self._sleep = sleep
        self._failures = 0
        self._done = 0

    def wait(self, problem: TransientError, done: int = 0, *, last: bool = False) -> None:
        """Sleep until the next attempt.

        Args:
            problem: why the last one failed.
            done: bytes transferred for good; attempts that get ahead do not count as failures.
            last: there is no time for another.

        Raises:
            UnreachableError: that was the last one.
        """
        if done - self._done >= PROGRESS_BYTES:
            self._failures, self._done = 0, done
        self._failures += 1
        if last or self._failures >= self._policy.attempts_at(problem):
            tries = f" ({self._failures} attempts)" if self._failures > 1 else ""
            raise UnreachableError(f"{problem.message}{tries}", hint=problem.hint) from problem
        seconds = min(self._policy.first_seconds * 2 ** (self._failures - 1), self._policy.max_seconds)
        seconds *= random.uniform(0.5, 1)  # noqa: S311 - spreads clients out; nothing secret
        if problem.retry_after is not None:
            seconds = max(seconds, min(problem.retry_after, MAX_RETRY_AFTER_SECONDS))
        self._sleep(seconds)
