"""Invitations: the invited person makes the key on a machine of their own, and answers with its public half.

Both stand beside the state, under ``_trust-invitation.<12 hex>``, and are trusted by nobody: an invitation
is words, an answer is words, a public key and the signer's first role file, signed with that key. Who may
sign is decided when the answer is approved, by those who hold targets and root.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization.json import JSONSerializer

from trust import strictjson
from trust.errors import DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.keys.ids import key_id
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.proposals import Proposal, parse_role_file
from trust.rolefiles import encode_files, put_files, read_files
from trust.states import MAX_TAGS
from trust.team import check_signer_name
from trust.tuf.edits import ALL_TAGS, NewSigner, add_signer, first_file
from trust.tuf.proposed import judge, propose
from trust.tuf.roles import add_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from securesystemslib.signer import Signer

    from trust.oci.store import Store
    from trust.tuf.verified import Verified
    from trust.writer import Writer

INVITATION_TYPE = "application/vnd.dockseal.trust.invitation.v1"
WORDS = "vnd.dockseal.trust.invitation"
KEY = "vnd.dockseal.trust.key"
MAX_INVITATIONS = 100
_MAX_BYTES = 1 << 20
_TAG = re.compile(rf"{TRUST_TAG_PREFIX}-invitation\.[0-9a-f]{{12}}\Z")


@dataclass(frozen=True, slots=True)
class Invitation:
    """What somebody is invited to: a signer's name, the tags it may sign, how long its files live (days)."""

    name: str
    patterns: tuple[str, ...] = ALL_TAGS
    expires_days: int | None = None
    publishes: bool = True

    def to_text(self) -> str:
        """As it stands in an annotation."""
        body = {
            "name": self.name,
            "patterns": list(self.patterns),
            "expires": self.expires_days,
            "publishes": self.publishes,
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read it; nothing in it is trusted.

        Raises:
            TamperedError: it is malformed.
            UsageError: it invites to a name that no signer may have.
        """
        body = strictjson.loads_object(text.encode(), "the invitation")
        match body:
            case {"name": str(name), "patterns": list(patterns), "publishes": bool(publishes)} if all(
                isinstance(pattern, str) for pattern in patterns
            ):
                days = body.get("expires")
                if days is None or (isinstance(days, int) and not isinstance(days, bool) and days > 0):
                    return cls(check_signer_name(name), tuple(patterns), days, publishes)
        raise TamperedError("the invitation is malformed")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered invitation: the key, and the first role file that it signed."""

    invitation: Invitation
    key: Key
    file: Metadata[Targets]


def invite(writer: Writer, invitation: Invitation) -> str:
    """Leave an invitation beside the state; its tag.

    Raises:
        UsageError: the name is malformed, or there is such a signer already.
    """
    check_signer_name(invitation.name)
    if invitation.name in writer.standing().targets:
        raise UsageError(f"there is a signer {invitation.name!r} already", hint="dockseal signer list REPO")
    return _leave(writer.store, invitation, {}, {})


def open_invitations(store: Store) -> tuple[Invitation, ...]:
    """The invitations that are there, answered or not.

    Raises:
        UnreachableError: the store did not answer.
    """
    found = [_read(store, tag)[0] for tag in _tags(store)]
    return tuple(dict.fromkeys(invitation for invitation in found if invitation is not None))


def accept(writer: Writer, invitation: Invitation, signer: Signer, now: datetime) -> str:
    """Answer an invitation with a key: sign the first role file with it; the answer's tag.

    Raises:
        KeyUnavailableError: the key cannot be used.
    """
    base = writer.standing()
    metadata: Metadata[Targets] = Metadata(first_file(base, invitation.name, invitation.expires_days, now))
    add_signature(metadata, signer)
    name = f"{metadata.signed.version}.{invitation.name}.json"
    public = json.dumps({"id": signer.public_key.keyid, **signer.public_key.to_dict()}, sort_keys=True)
    files = {name: metadata.to_bytes(JSONSerializer(compact=True))}
    return _leave(writer.store, invitation, files, {KEY: public})


def answered(writer: Writer, now: datetime) -> tuple[Proposal, ...]:
    """The answers as proposals, to be approved like any other; what is malformed is left out.

    Raises:
        UnreachableError: the store did not answer.
    """
    base = writer.standing()
    found = []
    for tag in _tags(writer.store):
        invitation, answer = _read(writer.store, tag)
        if invitation is None or answer is None or invitation.name in base.targets:
            continue
        found.append(_proposal(base, answer, tag, now))
    return tuple(found)


def _proposal(base: Verified, answer: Answer, tag: str, now: datetime) -> Proposal:
    invitation = answer.invitation
    signer = NewSigner(
        invitation.name,
        (answer.key,),
        patterns=invitation.patterns,
        expires_days=invitation.expires_days,
        publishes=invitation.publishes,
    )
    drafts = propose(base, add_signer(base, signer, now)).drafts
    files = {draft.role: draft.metadata for draft in drafts} | {invitation.name: answer.file}
    name = tag.rpartition(".")[2]
    try:
        return Proposal(name, judge(base, files), base.identity, (tag,))
    except DocksealError as problem:
        return Proposal(name, judge(base, {}), base.identity, (tag,), problem)


def _leave(store: Store, invitation: Invitation, files: dict[str, bytes], more: dict[str, str]) -> str:
    manifest = encode_files(files, INVITATION_TYPE, annotations={WORDS: invitation.to_text(), **more})
    tag = f"{TRUST_TAG_PREFIX}-invitation.{manifest.digest.hex[:12]}"
    put_files(store, manifest, files, tag)
    return tag


def _tags(store: Store) -> Sequence[str]:
    tags = [tag for tag in store.tags(MAX_TAGS) if _TAG.match(tag)]
    return sorted(tags)[:MAX_INVITATIONS]


def _read(store: Store, tag: str) -> tuple[Invitation | None, Answer | None]:
    """What stands under a tag: anybody who may push can have put it there."""
    try:
        manifest = store.get_manifest(tag)
        annotations = dict(manifest.annotations)
        if manifest.artifact_type != INVITATION_TYPE or WORDS not in annotations:
            return None, None
        invitation = Invitation.parse(annotations[WORDS])
        files = list(read_files(store, manifest, max_files=1, max_bytes=_MAX_BYTES))
        if not files or KEY not in annotations:
            return invitation, None
        key = _parse_key(annotations[KEY])
        metadata = parse_role_file(*files[0])
        if not isinstance(metadata.signed, Targets):
            return invitation, None
        return invitation, Answer(invitation, key, metadata)
    except UnreachableError:
        raise
    except (MissingError, DocksealError):
        return None, None


def _parse_key(text: str) -> Key:
    body = strictjson.loads_object(text.encode(), "the invited key")
    label = str(body.pop("id", ""))
    try:
        key = Key.from_dict(label, body)
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"the invited key is malformed: {error}") from error
    if key_id(key) != label:
        raise TamperedError("the invited key's id is forged")
    return key
