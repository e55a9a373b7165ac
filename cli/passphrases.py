"""Where passphrases come from: ``--passphrase-file``, the environment, a prompt; never a prompt off a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cli import terminal
from trust.errors import KeyUnavailableError
from trust.keys.asking import BACKUP

if TYPE_CHECKING:
    from pathlib import Path

    from trust.keys.store import Purpose

ANY_VARIABLE = "DOCKSEAL_PASSPHRASE"
VARIABLES: dict[str, str] = {
    "root": "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE",
    "repository": "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
}
PIN_VARIABLE = "DOCKSEAL_PIN"
NEW_VARIABLE = "DOCKSEAL_NEW_PASSPHRASE"
"""For ``key passwd`` off a terminal, where the old and the new one differ."""


class TerminalPassphrases:
    """Asks for each key, and again where a person mistyped."""

    def __init__(self, file: Path | None, *, replacing: bool = False) -> None:
        self._file = file
        self._replacing = replacing
        self._typed: set[str] = set()

    def can_ask_again(self, purpose: Purpose) -> bool:
        """Whether a wrong passphrase was typed by a person."""
        return terminal.is_interactive() and self._given(purpose) is None

    def existing(self, label: str, purpose: Purpose) -> bytes:
        """The passphrase that a key file has.

        Raises:
            KeyUnavailableError: none is at hand, and nobody can be asked.
        """
        given = self._given(purpose)
        if given is not None:
            return given
        if label in self._typed:
            terminal.note("Wrong passphrase, try again.")
        self._typed.add(label)
        name = _name(label, purpose)
        return self._prompt(f"Passphrase for the {name}: ", f"the {name} needs its passphrase", purpose)

    def new(self, label: str, purpose: Purpose) -> bytes:
        """A passphrase to give to a key file; asked for twice on a terminal.

        Raises:
            KeyUnavailableError: none is at hand and nobody can be asked, or what was typed was unfit three times.
        """
        if replacement := os.environ.get(NEW_VARIABLE):
            return replacement.encode()
        given = None if self._replacing and terminal.is_interactive() else self._given(purpose)
        if given is not None:
            return given
        from trust.keys.asking import MAX_TRIES, MIN_PASSPHRASE_CHARACTERS

        name = _name(label, purpose)
        needs = f"the {name} needs a passphrase"
        wrong = ""
        for left in reversed(range(MAX_TRIES)):
            first = self._prompt(f"New passphrase for the {name}: ", needs, purpose)
            if len(first.decode(errors="replace")) < MIN_PASSPHRASE_CHARACTERS:  # before it is typed again
                wrong = f"the passphrase is too short: expected at least {MIN_PASSPHRASE_CHARACTERS} characters"
            elif first != self._prompt(f"Repeat passphrase for the {name}: ", needs, purpose):
                wrong = "the two passphrases differ"
            else:
                return first
            if left:  # what is typed after the program has ended goes into the shell's history
                terminal.note(f"{wrong[0].upper()}{wrong[1:]}. Try again.")
        raise KeyUnavailableError(f"{wrong}: nothing was changed", hint="run the command again")

    def pin(self, token: str) -> str:
        """The PIN of a token.

        Raises:
            KeyUnavailableError: none is at hand, and nobody can be asked.
        """
        if given := os.environ.get(PIN_VARIABLE):
            return given
        return _ask(f"PIN for {token}: ", f"{token} needs its PIN", f"set {PIN_VARIABLE}").decode()

    def _given(self, purpose: Purpose) -> bytes | None:
        if self._file is not None:
            return _first_line(self._file)
        value = os.environ.get(VARIABLES[purpose]) or os.environ.get(ANY_VARIABLE)
        return value.encode() if value else None

    def _prompt(self, question: str, needs: str, purpose: Purpose) -> bytes:
        return _ask(question, needs, f"set {VARIABLES[purpose]} or {ANY_VARIABLE}, or pass --passphrase-file FILE")


def _name(label: str, purpose: Purpose) -> str:
    return label if label == BACKUP else f"{purpose} key {label}"


def _ask(question: str, needs: str, otherwise: str) -> bytes:
    if not terminal.is_interactive():
        raise KeyUnavailableError(f"{needs}, and nobody can be asked here", hint=otherwise)
    import getpass

    return getpass.getpass(question).encode()


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            line = file.readline(4096).rstrip(b"\r\n")
    except OSError as error:
        raise KeyUnavailableError(f"the passphrase file {path} cannot be read: {error.strerror or error}") from error
    if not line:
        raise KeyUnavailableError(f"the passphrase file {path} is empty: expected the passphrase in its first line")
    return line
