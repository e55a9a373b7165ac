"""Role files on their way to enough signatures: what a proposal holds, and what it still needs.

A root needs the threshold of the root before it and of its own (TUF spec 5.3.4); every other file
that of its delegator, which may be proposed with it. Signatures that do not verify never count.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from trust.errors import ConflictError, TamperedError
from trust.tuf.roles import add_signature, delegated_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

    from trust.tuf.edits import Edit
    from trust.tuf.verified import Verified

    Available = Callable[[Sequence[str], int], Sequence[Signer]]
    RoleFile = Metadata[Root] | Metadata[Targets]


@dataclass(frozen=True, slots=True)
class Need:
    """Whose signatures a file needs: ``who`` in words, the keys, how many, and those that signed already."""

    who: str
    key_ids: tuple[str, ...]
    threshold: int
    signed: frozenset[str] = frozenset()

    @property
    def lacking(self) -> int:
        """How many signatures are missing."""
        return max(0, self.threshold - len(self.signed))


@dataclass(frozen=True, slots=True)
class RoleDraft:
    """One role file with the signatures so far."""

    role: str
    metadata: RoleFile
    needs: tuple[Need, ...]

    @property
    def version(self) -> int:
        """The file's version."""
        return int(self.metadata.signed.version)

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.version}.{self.role}.json"

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.metadata.to_bytes(JSONSerializer(compact=True))

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not any(need.lacking for need in self.needs)


@dataclass(frozen=True, slots=True)
class Proposed:
    """A change in the making: the new role files, and the signers to which nobody delegates any more then."""

    drafts: tuple[RoleDraft, ...]
    removed: frozenset[str] = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether every file has its signatures; only snapshot and timestamp are still to be made."""
        return all(draft.is_complete for draft in self.drafts)

    @property
    def root(self) -> Root | None:
        """The new root, where there is one."""
        found = (draft.metadata.signed for draft in self.drafts)
        return next((payload for payload in found if isinstance(payload, Root)), None)

    @property
    def targets(self) -> Targets | None:
        """The new file of ``targets``, where there is one."""
        found = (draft.metadata.signed for draft in self.drafts if draft.role == Targets.type)
        return next((payload for payload in found if isinstance(payload, Targets)), None)

    @property
    def identity(self) -> str:
        """64 hex digits over what is proposed, whatever signatures it has."""
        parts = {draft.name: draft.metadata.signed.to_dict() for draft in self.drafts}
        return identity_of(parts)

    def lacking(self) -> tuple[tuple[RoleDraft, Need], ...]:
        """What is missing, file by file."""
        return tuple((draft, need) for draft in self.drafts for need in draft.needs if need.lacking)

    def lacking_words(self) -> tuple[str, ...]:
        """What is missing, in words: ``1 of ci``."""
        return tuple(f"{need.lacking} of {need.who}" for _, need in self.lacking())

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Version and bytes by role."""
        return {draft.role: (draft.version, draft.data) for draft in self.drafts}


def propose(base: Verified, edit: Edit) -> Proposed:
    """The files of an edit, with no signature yet."""
    payloads: dict[str, RoleFile] = {role: Metadata(payload) for role, payload in edit.targets.items()}
    if edit.root is not None:
        payloads = {Root.type: Metadata(edit.root), **payloads}
    return judge(base, payloads)


def identity_of(payloads: Mapping[str, dict[str, object]]) -> str:
    """64 hex digits over what is proposed: signed parts by file name."""
    return hashlib.sha256(str(encode_canonical({"files": dict(payloads)})).encode()).hexdigest()


def is_live(proposed: Proposed, base: Verified) -> bool:
    """Whether the state says already what is proposed, whoever published it."""
    return all(_live(base, draft.role) == draft.metadata.signed.to_dict() for draft in proposed.drafts)


def _live(base: Verified, role: str) -> dict[str, object] | None:
    if role == Root.type:
        return base.root.to_dict()
    return base.payload(role).to_dict() if role in base.names else None


def judge(base: Verified, files: Mapping[str, RoleFile]) -> Proposed:
    """What each file needs, and which of its signatures are valid; those that are not are left out.

    Which signers leave is what the files say: anybody can strip a file from a proposal, or rename one.

    Raises:
        ConflictError: a file does not follow the state's: it was overtaken.
        TamperedError: a file is of a role that nobody delegates to, or one of a role that is delegated to is not there.
    """
    root = files[Root.type].signed if Root.type in files else base.root
    assert isinstance(root, Root)  # noqa: S101 - parsed as one
    targets = {
        **base.targets,
        **{name: item.signed for name, item in files.items() if isinstance(item.signed, Targets)},
    }
    delegators = _delegators(targets)
    drafts = []
    for role, metadata in files.items():
        if role not in {Root.type, Targets.type, *delegators}:
            raise TamperedError(f"the proposal has a file of {role!r}, to which nobody delegates")
        _check_follows(base, role, int(metadata.signed.version))
        if role == Root.type:
            needs = [_need("the root so far", base.root, role, metadata), _need("the new root", root, role, metadata)]
        else:
            needs = [_need(role, delegators.get(role, root), role, metadata)]
        drafts.append(_draft(role, metadata, needs))
    if absent := delegators.keys() - targets.keys() - base.bins.keys():
        raise TamperedError(f"the proposal delegates to {', '.join(sorted(absent))}, and has no role file of it")
    return Proposed(tuple(drafts), frozenset(base.names) - delegators.keys() - {Targets.type})


def sign_with(proposed: Proposed, base: Verified, available: Available) -> Proposed:
    """Add the signatures that can be made here, as many as are missing.

    Args:
        proposed: by :func:`propose` or :func:`judge`.
        base: what it stands on.
        available: gives signers for some of these keys, at most as many as asked for.

    Raises:
        KeyUnavailableError: a key that is here cannot be used.
    """
    files = {}
    for draft in proposed.drafts:
        metadata = _copy(draft.metadata)
        for need in draft.needs:
            done = {key_id for key_id in need.key_ids if key_id in metadata.signatures}
            open_keys = [key_id for key_id in need.key_ids if key_id not in done]
            for signer in available(open_keys, max(0, need.threshold - len(done))):
                add_signature(metadata, signer)
        files[draft.role] = metadata
    return judge(base, files)


def merged(first: Proposed, second: Proposed, base: Verified) -> Proposed:
    """The same proposal with the signatures of both."""
    others = {draft.role: draft.metadata for draft in second.drafts}
    files = {}
    for draft in first.drafts:
        files[draft.role] = metadata = _copy(draft.metadata)
        metadata.signatures.update(others[draft.role].signatures)
    return judge(base, files)


def _copy(metadata: RoleFile) -> RoleFile:
    return Metadata.from_dict(metadata.to_dict())


def _draft(role: str, metadata: RoleFile, needs: Sequence[Need]) -> RoleDraft:
    """Keeps the valid signatures alone."""
    valid = {key_id for need in needs for key_id in need.signed}
    kept = _copy(metadata)
    kept.signatures = {key_id: item for key_id, item in kept.signatures.items() if key_id in valid}
    return RoleDraft(role, kept, tuple(needs))


def _need(who: str, delegator: Root | Targets, role: str, metadata: RoleFile) -> Need:
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    keys: Role = delegator.get_delegated_role(role)
    return Need(who, tuple(keys.keyids), keys.threshold, frozenset(result.signed))


def _delegators(targets: Mapping[str, Targets]) -> dict[str, Targets]:
    """Who delegates to each role that can be reached from ``targets``.

    Raises:
        TamperedError: two do, or there are more than a state can hold.
    """
    found: dict[str, Targets] = {}
    waiting = [targets[Targets.type]]
    while waiting:
        payload = waiting.pop()
        for name in delegated_names(payload):
            if name in found or name == Targets.type:
                raise TamperedError(f"the role {name!r} is delegated twice: expected one place for a name")
            found[name] = payload
            if name in targets:
                waiting.append(targets[name])
    return found


def _check_follows(base: Verified, role: str, version: int) -> None:
    entry = base.snapshot.meta.get(f"{role}.json")
    now = int(base.root.version) if role == Root.type else 0 if entry is None else int(entry.version)
    if version != now + 1:
        raise ConflictError(
            f"the proposal was overtaken: it has {role} {version}, and the state has {role} {now} already",
            hint="reject it, and propose the change again",
        )
