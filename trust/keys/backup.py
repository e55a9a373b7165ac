"""All keys in one encrypted file (docs/adr/0004-keys-from-and-to-elsewhere.md).

The file is a JSON Web Encryption in compact form (RFC 7516): the passphrase wraps a fresh key with
``PBES2-HS512+A256KW`` (RFC 7518, 4.8), which encrypts and authenticates the content with ``A256GCM``
(5.3). JOSE tools open it, some only with their limit of rounds raised. The content is JSON, the files
of the key folder by name::

    {"schema": 1, "files": {"root.json": "…", "root.key": "-----BEGIN OPENSSH PRIVATE KEY-----…"}}

The private keys in it are encrypted with their own passphrases, as they are in the folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING

from trust import strictjson
from trust.errors import KeyUnavailableError, TamperedError, WrongPassphraseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ARCHIVE_BYTES = 16 << 20
ITERATIONS = 600_000
"""PBKDF2-HMAC-SHA512 rounds; see docs/keys.md for what a guess costs."""
MIN_ITERATIONS = 200_000
MAX_ITERATIONS = 20_000_000
"""About 10 s; a damaged or hostile count must not hang us."""

_ALGORITHM = "PBES2-HS512+A256KW"
_ENCRYPTION = "A256GCM"
_SALT_BYTES = 16
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SCHEMA = 1
_COMPACT = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){4}\Z")
_HINT = "expected what 'dockseal key export --all' wrote; take another copy of the backup"


def is_archive(data: bytes) -> bool:
    """Whether this looks like one: the compact form's five parts, of which the first is a JSON object."""
    return data.startswith(b"eyJ") and data.count(b".") == 4  # noqa: PLR2004 - RFC 7516, 7.1: five parts


def seal(files: Mapping[str, bytes], passphrase: bytes) -> bytes:
    """Encrypt files.

    Args:
        files: content by name; UTF-8.
        passphrase: of the archive.

    Returns:
        One line of ASCII, with its line end.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    salt, key, nonce = (secrets.token_bytes(size) for size in (_SALT_BYTES, _KEY_BYTES, _NONCE_BYTES))
    header = {"alg": _ALGORITHM, "cty": "json", "enc": _ENCRYPTION, "p2c": ITERATIONS, "p2s": _encode(salt).decode()}
    protected = _encode(json.dumps(header, separators=(",", ":")).encode())
    body = {"schema": _SCHEMA, "files": {name: data.decode("utf-8") for name, data in files.items()}}
    sealed = AESGCM(key).encrypt(nonce, json.dumps(body).encode("utf-8"), protected)
    wrapped = aes_key_wrap(_derive(passphrase, salt, ITERATIONS), key)
    parts = [wrapped, nonce, sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]]
    return b".".join([protected, *map(_encode, parts)]) + b"\n"


def unseal(data: bytes, passphrase: Callable[[], bytes]) -> dict[str, bytes]:
    """Decrypt an archive.

    Args:
        data: the file, at most 16 MiB.
        passphrase: asked once, when the file is seen to be whole as far as can be told without it.

    Returns:
        The files by name, unchecked but authentic.

    Raises:
        WrongPassphraseError: the passphrase is wrong.
        KeyUnavailableError: it is no such archive, or damaged.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    if len(data) > MAX_ARCHIVE_BYTES:
        raise KeyUnavailableError(f"the backup is larger than {MAX_ARCHIVE_BYTES} bytes", hint=_HINT)
    if not _COMPACT.match(data.strip()):
        raise _damaged("it is cut off, or not in the form of RFC 7516")
    protected = data.strip().partition(b".")[0]
    try:
        wrapped, nonce, sealed, tag = map(_decode, data.strip().split(b".")[1:])
        salt, iterations = _parse_header(_decode(protected))
        key = aes_key_unwrap(_derive(passphrase(), salt, iterations), wrapped)
        content = AESGCM(key).decrypt(nonce, sealed + tag, protected)
        return _parse_files(content)
    except InvalidUnwrap as error:
        raise WrongPassphraseError("wrong passphrase for the backup, or it is damaged", hint="try again") from error
    except (InvalidTag, TamperedError, ValueError) as error:
        raise _damaged("its content is not what was written") from error


def _parse_header(data: bytes) -> tuple[bytes, int]:
    header = strictjson.loads_object(data, "the backup's header")
    if (header.get("alg"), header.get("enc")) != (_ALGORITHM, _ENCRYPTION) or {"zip", "crit"} & set(header):
        raise _damaged(f"it is encrypted otherwise than with {_ALGORITHM} and {_ENCRYPTION}")
    salt, iterations = header.get("p2s"), header.get("p2c")
    if not isinstance(salt, str) or not isinstance(iterations, int):
        raise _damaged("its header has no salt or count")
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise KeyUnavailableError(
            f"the backup derives its key with {iterations} rounds: expected {MIN_ITERATIONS} to {MAX_ITERATIONS}"
        )
    return _decode(salt.encode()), iterations


def _parse_files(content: bytes) -> dict[str, bytes]:
    body = strictjson.loads_object(content, "the backup")
    files = body.get("files")
    if body.get("schema") != _SCHEMA or not isinstance(files, dict):
        raise TamperedError("the backup has another schema")
    if not all(isinstance(text, str) for text in files.values()):
        raise TamperedError("the backup holds something other than text")
    return {name: text.encode("utf-8") for name, text in files.items()}


def _derive(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    """RFC 7518, 4.8.1.1: the salt is the algorithm's name, a zero byte and the salt input."""
    return hashlib.pbkdf2_hmac("sha512", passphrase, _ALGORITHM.encode() + b"\0" + salt, iterations, _KEY_BYTES)


def _damaged(why: str) -> KeyUnavailableError:
    return KeyUnavailableError(f"the backup is damaged: {why}", hint=_HINT)


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
