"""All errors that dockseal raises, in one tree.

::

    DocksealError                 exit 1   an error without a verdict
     ├── UsageError               exit 2   usage, bad input, an invalid configuration file
     ├── ConflictError            exit 1   others were at work; nothing was lost
     ├── UnreachableError         exit 3   the store could not be reached or denied access
     │    └── DeniedError         exit 3   401 or 403: who you are may not do this
     ├── KeyUnavailableError      exit 4   key not found, damaged key file, HSM or KMS failure
     │    └── WrongPassphraseError exit 4  the passphrase is wrong: a person may try again
     └── VerificationError        (base)   the judgement itself; never raised bare
          ├── UnsignedError       exit 10  no trust data, or the tag is not signed
          ├── MissingError        exit 11  no such repository, tag, digest or blob
          ├── MismatchError       exit 12  the registry's tag is not the signed digest
          ├── ExpiredError        exit 13  a role file has expired (freeze)
          ├── RollbackError       exit 14  older than what was seen before
          ├── TamperedError       exit 15  a signature, hash, length or format is wrong
          ├── UntrustedRootError  exit 16  the root is not the pinned one, or nothing is pinned
          └── UnauthorizedError   exit 17  signed, but not by the signers asked for

A message says what happened, what was expected and what was found; ``hint`` is the next
command to run. Foreign exceptions are mapped in the one module that imports their library,
always ``raise … from``.
"""

from __future__ import annotations

from typing import ClassVar


class DocksealError(Exception):
    """Base of every error of this library.

    Args:
        message: what, expected, got; one sentence or two, no trailing newline.
        hint: what to do next, preferably a command.
    """

    exit_code: ClassVar[int] = 1
    verdict: ClassVar[str | None] = None
    usual_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


class UsageError(DocksealError):
    """A name, file, flag or configuration that cannot be used as it is."""

    exit_code = 2


class ConflictError(DocksealError):
    """Another writer published first. Nothing was lost; running again is safe."""


class UnreachableError(DocksealError):
    """The store could not be reached: nothing was judged."""

    exit_code = 3
    verdict = "unreachable"


class DeniedError(UnreachableError):
    """The store answered 401 or 403: nothing was judged."""


class KeyUnavailableError(DocksealError):
    """A private key that is needed cannot be used."""

    exit_code = 4


class WrongPassphraseError(KeyUnavailableError):
    """The passphrase of a key file is wrong, or (where a format cannot tell) the file is damaged."""


class VerificationError(DocksealError):
    """Base of the verdicts other than ``trusted``."""


class UnsignedError(VerificationError):
    """There is no trust data, or the tag is not signed."""

    exit_code = 10
    verdict = "unsigned"


class MissingError(VerificationError):
    """No such repository, tag, manifest or blob."""

    exit_code = 11
    verdict = "missing"


class MismatchError(VerificationError):
    """The registry's tag points at another digest than the signed one."""

    exit_code = 12
    verdict = "mismatch"


class ExpiredError(VerificationError):
    """A role file has expired: the state may be frozen."""

    exit_code = 13
    verdict = "expired"


class RollbackError(VerificationError):
    """The state is older than one that was seen before."""

    exit_code = 14
    verdict = "rollback"
    usual_hint = "somebody may serve what is no longer true: ask whoever publishes before you go on"


class TamperedError(VerificationError):
    """A signature, hash, length or format is wrong."""

    exit_code = 15
    verdict = "tampered"


class UntrustedRootError(VerificationError):
    """The root of trust is not the pinned one, or nothing is pinned."""

    exit_code = 16
    verdict = "untrusted-root"


class UnauthorizedError(VerificationError):
    """Signed, but not by the signers that were asked for."""

    exit_code = 17
    verdict = "unauthorized"
