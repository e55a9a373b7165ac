"""Take in a key file, whatever its dialect: ours, OpenSSH's, PEM, docker's and notary's, or a backup of many."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.keys import backup, formats
from trust.keys.files import MAX_KEY_FILE_BYTES
from trust.notary import keys as notary

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from trust.keys.store import KeyStore, Purpose, Restored, StoredKey
    from trust.notary.keys import Labels

_NOTARY_NAME = re.compile(r"[0-9a-f]{64}\Z")
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A key that was taken in, and what its file said of it."""

    key: StoredKey
    labels: Labels


def is_backup(data: bytes) -> bool:
    """Whether the file holds many keys: what :func:`load_backup` takes."""
    return backup.is_archive(data)


def load_backup(store: KeyStore, data: bytes) -> tuple[Restored, ...]:
    """Take in a backup; see :meth:`trust.keys.store.KeyStore.restore`."""
    return store.restore(data)


def load_key(
    store: KeyStore, data: bytes, file_name: str, *, label: str | None = None, purpose: Purpose | None = None
) -> Loaded:
    """Take in one private key.

    Args:
        store: where it goes.
        data: the file.
        file_name: what the file is called, without its folder.
        label: what to call the key; by default the file's name, or ``ROLE-1234567`` for a file of docker's.
        purpose: what it is for; by default what the file says.

    Raises:
        UsageError: the label is malformed or taken, the key is here already, or it is none that is used here.
        KeyUnavailableError: a passphrase is wrong or too short, or the file is damaged.
    """
    labels = notary.read_labels(data)
    purpose = purpose or ("root" if labels.role == "root" else "repository")
    key = store.load(data, label or _label(file_name, labels), purpose=purpose, read=_read)
    return Loaded(key, labels)


def _read(data: bytes, what: str, passphrase: Callable[[], bytes]) -> PrivateKeyTypes:
    if len(data) <= MAX_KEY_FILE_BYTES:
        private = notary.read_private(data, what, passphrase)
        if private is not None:
            formats.tuf_key(private.public_key(), what)
            return private
    return formats.load_private(data, what, passphrase)


def _label(file_name: str, labels: Labels) -> str:
    stem = file_name.partition(".")[0]
    if labels.role is None or not _NOTARY_NAME.match(stem):
        return stem
    return f"{_NOT_IN_LABELS.sub('-', labels.role)[:48].strip('-.') or 'key'}-{stem[:7]}"
