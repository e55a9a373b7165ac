"""Passphrases: where they come from, what a new one must be, and how often a person may try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from trust.errors import KeyUnavailableError, WrongPassphraseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.keys.description import Purpose

BACKUP = "backup archive"
"""What an archive of all keys is called in place of a label; no label has a blank."""
MIN_PASSPHRASE_CHARACTERS = 8
MAX_TRIES = 3
"""How often a person is asked for one passphrase."""
T = TypeVar("T")


class Passphrases(Protocol):
    """Where passphrases come from: a file, the environment, a prompt. UTF-8, without a line end."""

    def existing(self, label: str, purpose: Purpose) -> bytes:
        """The passphrase that a key file has."""
        ...

    def new(self, label: str, purpose: Purpose) -> bytes:
        """A passphrase to give to a key file."""
        ...


class Asking:
    """Asks, and checks the answers.

    Args:
        passphrases: who answers.
        can_ask_again: whether a wrong passphrase for this purpose came from a person, who may try again.
    """

    def __init__(self, passphrases: Passphrases, can_ask_again: Callable[[Purpose], bool]) -> None:
        self._passphrases = passphrases
        self._can_ask_again = can_ask_again

    def is_answered_by_a_person(self, purpose: Purpose) -> bool:
        """Whether passphrases for this purpose are asked for at a prompt, one after the other."""
        return self._can_ask_again(purpose)

    def existing(self, label: str, purpose: Purpose) -> bytes:
        """The passphrase that a file has.

        Raises:
            KeyUnavailableError: it is empty, or nobody can be asked.
        """
        passphrase = self._passphrases.existing(label, purpose)
        if not passphrase:
            raise KeyUnavailableError(f"the passphrase for {_name(label)} is empty")
        return passphrase

    def new(self, label: str, purpose: Purpose) -> bytes:
        """A passphrase for a file that will be written.

        Raises:
            KeyUnavailableError: it is too short or not UTF-8, or nobody can be asked.
        """
        passphrase = self._passphrases.new(label, purpose)
        try:
            characters = len(passphrase.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise KeyUnavailableError(f"the new passphrase for {_name(label)} is not UTF-8") from error
        if characters < MIN_PASSPHRASE_CHARACTERS:
            raise KeyUnavailableError(
                f"the new passphrase for {_name(label)} is too short: it has {characters} characters, "
                f"expected at least {MIN_PASSPHRASE_CHARACTERS}"
            )
        return passphrase

    def with_tries(self, purpose: Purpose, action: Callable[[], T]) -> T:
        """Do what needs an existing passphrase; again after a wrong one, where a person answers.

        Raises:
            WrongPassphraseError: the last one was wrong too.
        """
        for _ in range(MAX_TRIES - 1):
            try:
                return action()
            except WrongPassphraseError:
                if not self._can_ask_again(purpose):
                    raise
        return action()


def _name(label: str) -> str:
    return f"the {BACKUP}" if label == BACKUP else f"the key {label!r}"
