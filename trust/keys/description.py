"""The description of a key, ``LABEL.json`` in the key folder: everything about it but the secret.

::

    {"schema": 1, "purpose": "root", "created": "2026-11-24T08:00:00Z",
     "public": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "…"}},
     "uri": "hsm:2?label=release",               only where the private key is elsewhere
     "backedUp": "2026-11-25T09:00:00Z"}         only once it has been exported
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trust import strictjson
from trust.errors import TamperedError, UsageError
from trust.keys import formats
from trust.keys.ids import KeyId, key_id, short_id

if TYPE_CHECKING:
    from securesystemslib.signer import Key

Purpose = Literal["root", "repository"]

SCHEMA = 1
MAX_URI_CHARACTERS = 1024
_PURPOSES: dict[str, Purpose] = {"root": "root", "repository": "repository"}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of the folder. Times are RFC 3339 UTC; ``public`` bears ``key_id`` as its id.

    ``uri`` says where the private key is, if not in the folder (:mod:`trust.keys.remote`);
    ``backed_up`` when it was last exported, if ever.
    """

    label: str
    key_id: KeyId
    public: Key
    purpose: Purpose
    created: str
    uri: str | None = None
    backed_up: str | None = None

    @property
    def short(self) -> str:
        """The first 7 hex digits of the id."""
        return short_id(self.key_id)


def is_label(text: str) -> bool:
    """Whether a key may be called that: it is also a file's name."""
    return _LABEL.match(text) is not None


def check_label(label: str) -> None:
    """Refuse what cannot be a label.

    Raises:
        UsageError: it is malformed.
    """
    if not is_label(label):
        raise UsageError(
            f"invalid key name {label[:80]!r}: expected letters, digits, '.', '_' and '-', at most 64, "
            "beginning with a letter or a digit"
        )


def dump(key: StoredKey) -> bytes:
    """The description as bytes."""
    body = {"schema": SCHEMA, "purpose": key.purpose, "created": key.created, "public": formats.key_to_json(key.public)}
    extra = {"uri": key.uri, "backedUp": key.backed_up}
    body |= {name: value for name, value in extra.items() if value is not None}
    return json.dumps(body, indent=1).encode("utf-8") + b"\n"


def parse(data: bytes, label: str, what: str) -> StoredKey:
    """Read a description.

    Args:
        data: the bytes.
        label: the key's name, which is that of the file.
        what: names it in errors.

    Raises:
        TamperedError: it is damaged.
        UsageError: it holds a kind of key that is not used here.
    """
    body = strictjson.loads_object(data, what)
    if body.get("schema") != SCHEMA:
        raise TamperedError(f"{what} has the schema {str(body.get('schema'))[:20]}: expected {SCHEMA}")
    purpose = _PURPOSES.get(str(body.get("purpose")))
    created, public = body.get("created"), body.get("public")
    if purpose is None or not isinstance(created, str) or not isinstance(public, dict):
        raise TamperedError(f"{what} is damaged: expected purpose, created and public")
    uri, backed_up = (_text(body, name, what) for name in ("uri", "backedUp"))
    key = formats.key_from_json(public, what)
    return StoredKey(label, key_id(key), key, purpose, created, uri, backed_up)


def _text(body: dict[str, object], name: str, what: str) -> str | None:
    value = body.get(name)
    if value is None or (isinstance(value, str) and value.isprintable() and 0 < len(value) <= MAX_URI_CHARACTERS):
        return value
    raise TamperedError(f"{what} is damaged: {name} is no text of at most {MAX_URI_CHARACTERS} characters")
