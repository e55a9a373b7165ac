"""The encrypted form of a private key: OpenSSH's key format with bcrypt (docs/adr/0002-key-files.md).

Format: openssh-portable, ``PROTOCOL.key``. Around the encrypted part stands a header in clear:
cipher, key derivation with its cost, and the public key. It is read before a passphrase is
asked for, so that a damaged file, a swapped one and a wrong passphrase are told apart.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from trust.errors import KeyUnavailableError, WrongPassphraseError
from trust.keys.ids import public_key_of, short_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes
    from securesystemslib.signer import Key

KDF_ROUNDS = 16
"""bcrypt-pbkdf rounds of a new file: 119 ms a guess where it was measured (docs/keys.md)."""
MIN_KDF_ROUNDS = 16
"""119 ms there; a file that is cheaper to guess is refused."""
MAX_KDF_ROUNDS = 1024
"""About 8 s; a damaged or hostile count must not hang us."""

RESTORE_HINT = "restore the key's .key and .json files from the backup"

_PEM = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----\s(?P<body>[A-Za-z0-9+/=\s]+)-----END OPENSSH PRIVATE KEY-----")
_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says in clear. ``rounds`` is 0 without a key derivation; ``public`` is the SSH wire form."""

    cipher: bytes
    kdf: bytes
    rounds: int
    public: bytes

    @property
    def is_encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self.cipher != b"none"


def seal(private: PrivateKeyTypes, passphrase: bytes) -> bytes:
    """Encrypt a private key of one of the kinds that :mod:`trust.keys.formats` accepts.

    Returns:
        PEM, as ``ssh-keygen`` reads it.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(KDF_ROUNDS).build(passphrase)
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)


def read_header(data: bytes, what: str) -> Header:
    """Read the part in clear.

    Args:
        data: the PEM file.
        what: names the file in errors.

    Raises:
        KeyUnavailableError: the file is no OpenSSH private key, is cut off, or holds several keys.
    """
    match = _PEM.search(data)
    if match is None:
        raise KeyUnavailableError(f"{what} is damaged: it is no complete OpenSSH private key", hint=RESTORE_HINT)
    try:
        return _parse_header(base64.b64decode(b"".join(match["body"].split()), validate=True))
    except (ValueError, struct.error) as error:
        raise KeyUnavailableError(f"{what} is damaged: {error}", hint=RESTORE_HINT) from error


def check_cost(header: Header, what: str) -> None:
    """See that the file costs whoever guesses, and not us, too much.

    Raises:
        KeyUnavailableError: it is not encrypted, or its derivation is too cheap, too dear or unknown.
    """
    if not header.is_encrypted:
        raise KeyUnavailableError(
            f"{what} is not encrypted: key files are used with a passphrase only",
            hint="move it elsewhere, take it in with 'dockseal key load FILE', and delete the unencrypted file",
        )
    if header.kdf != b"bcrypt":
        raise KeyUnavailableError(f"{what} uses the key derivation {header.kdf[:40]!r}: expected bcrypt")
    if not MIN_KDF_ROUNDS <= header.rounds <= MAX_KDF_ROUNDS:
        raise KeyUnavailableError(
            f"{what} uses {header.rounds} bcrypt rounds: expected {MIN_KDF_ROUNDS} to {MAX_KDF_ROUNDS}",
            hint=f"ssh-keygen -p -a {KDF_ROUNDS} -f FILE writes it anew",
        )


def check_belongs(data: bytes, public: Key, what: str) -> None:
    """See, without its passphrase, that this is the encrypted private key that belongs to ``public``.

    Raises:
        KeyUnavailableError: it is damaged, its cost is not as :func:`check_cost` wants it, or it is another key's.
    """
    header = read_header(data, what)
    check_cost(header, what)
    if header.public != ssh_public_blob(public_key_of(public)):
        raise not_together(public.keyid, what)


def not_together(key_id: str, what: str) -> KeyUnavailableError:
    """What to say of a private key that is not the one described."""
    return KeyUnavailableError(
        f"{what} and its description do not belong together: expected the private key of {short_id(key_id)}",
        hint=RESTORE_HINT,
    )


def unseal(data: bytes, passphrase: bytes | None, what: str) -> SSHPrivateKeyTypes:
    """Decrypt a file whose header was read. One derivation: this is the slow step.

    Raises:
        WrongPassphraseError: the passphrase is wrong.
        KeyUnavailableError: the encrypted part is damaged.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        return load_ssh_private_key(data, passphrase)
    except ValueError as error:
        if "checksum" in str(error):  # two equal numbers begin the encrypted part, and did not come out equal
            raise WrongPassphraseError(
                f"wrong passphrase for {what}", hint="try again; 'dockseal key list' shows which keys are here"
            ) from error
        raise KeyUnavailableError(f"{what} is damaged: its encrypted part is not intact", hint=RESTORE_HINT) from error
    except (TypeError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise KeyUnavailableError(f"{what} cannot be read: {error}", hint=RESTORE_HINT) from error


def ssh_public_blob(public: object) -> bytes:
    """A public key of cryptography's in SSH wire form (RFC 4253, 6.6), as the header holds it."""
    from cryptography.hazmat.primitives.serialization.ssh import SSHPublicKeyTypes, serialize_ssh_public_key

    line = serialize_ssh_public_key(cast("SSHPublicKeyTypes", public))
    return base64.b64decode(line.split()[1])


def _parse_header(body: bytes) -> Header:
    if not body.startswith(_MAGIC):
        raise ValueError("it does not begin as an OpenSSH key does")
    rest = body[len(_MAGIC) :]
    cipher, rest = _string(rest)
    kdf, rest = _string(rest)
    options, rest = _string(rest)
    if rest[:4] != b"\0\0\0\1":
        raise ValueError("it does not hold exactly one key")
    public, rest = _string(rest[4:])
    _string(rest)
    rounds = struct.unpack(">I", _string(options)[1])[0] if options else 0
    return Header(cipher, kdf, rounds, public)


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split off an SSH string: four bytes of length, then as many bytes (RFC 4251, 5)."""
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise ValueError("it is cut off")
    return data[4 : 4 + length], data[4 + length :]
