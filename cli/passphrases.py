"""Where passphrases come from: ``--passphrase-file``, the environment, a prompt; never a prompt off a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cli import terminal
from trust.errors import KeyUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from trust.keys.store import Purpose

ANY_VARIABLE = "DOCKSEAL_PASSPHRASE"
VARIABLES: dict[str, str] = {
    "root": "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE",
    "repository": "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE",
}
NEW_VARIABLE = "DOCKSEAL_NEW_PASSPHRASE"
"""For ``key passwd`` off a terminal, where the old and the new one differ."""


class TerminalPassphrases:
    """Asks once for each key."""

    def __init__(self, file: Path | None, *, replacing: bool = False) -> None:
        self._file = file
        self._replacing = replacing

    def existing(self, label: str, purpose: Purpose) -> bytes:
        """The passphrase that a key file has.

        Raises:
            KeyUnavailableError: none is at hand, and nobody can be asked.
        """
        return self._given(purpose) or self._prompt(f"Passphrase for the {purpose} key {label}: ", label, purpose)

    def new(self, label: str, purpose: Purpose) -> bytes:
        """A passphrase to give to a key file; asked for twice on a terminal.

        Raises:
            KeyUnavailableError: none is at hand and nobody can be asked, or the two differ.
        """
        if replacement := os.environ.get(NEW_VARIABLE):
            return replacement.encode()
        given = None if self._replacing and terminal.is_interactive() else self._given(purpose)
        if given is not None:
            return given
        first = self._prompt(f"New passphrase for the {purpose} key {label}: ", label, purpose)
        if first != self._prompt(f"Repeat passphrase for the {purpose} key {label}: ", label, purpose):
            raise KeyUnavailableError("the two passphrases differ: nothing was changed", hint="run the command again")
        return first

    def _given(self, purpose: Purpose) -> bytes | None:
        if self._file is not None:
            return _first_line(self._file)
        value = os.environ.get(VARIABLES[purpose]) or os.environ.get(ANY_VARIABLE)
        return value.encode() if value else None

    def _prompt(self, question: str, label: str, purpose: Purpose) -> bytes:
        if not terminal.is_interactive():
            raise KeyUnavailableError(
                f"the {purpose} key {label} needs its passphrase, and nobody can be asked here",
                hint=f"set {VARIABLES[purpose]} or {ANY_VARIABLE}, or pass --passphrase-file FILE",
            )
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
