"""Approving: one more signature under a proposal, in the registry or in a file for a machine with no network."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trust import strictjson
from trust.errors import ConflictError, TamperedError, UnsignedError
from trust.invitations import answered
from trust.proposals import Proposal, contents, decode, discard, read_proposals
from trust.states import StoredState, encode
from trust.team import Outcome, settle
from trust.tuf.differences import Differences, differences
from trust.tuf.proposed import Proposed, is_live, merged, sign_with
from trust.tuf.state import State

if TYPE_CHECKING:
    from datetime import datetime

    from trust.tuf.verified import Verified
    from trust.writer import Writer

KIND = "dockseal proposal"
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Opened:
    """A proposal out of a file, and the state in it, which verified under this machine's pin."""

    proposed: Proposed
    base: Verified

    @property
    def id(self) -> str:
        """What people call it."""
        return self.proposed.identity[:12]


def open_proposals(writer: Writer, now: datetime) -> tuple[Proposal, ...]:
    """Every proposal beside the state, answered invitations among them.

    Raises:
        UnreachableError: the store did not answer.
    """
    return (*read_proposals(writer.store, writer.standing()), *answered(writer, now))


def approve(writer: Writer, proposal: Proposal) -> Outcome:
    """Add this machine's signatures to a proposal; the last one that is needed publishes it.

    Of several who approve at once each sees the others' signatures after its own is there, so that at least one
    publishes; where several do, whichever state wins says the same.

    Raises:
        UnsignedError: it waits for no key of this machine.
        ConflictError: it was overtaken.
        TamperedError: it is malformed, or bears a forged signature.
    """
    if proposal.problem is not None:
        raise proposal.problem
    found = differences(writer.standing(), proposal.proposed)
    try:
        writer.look_again()  # people take their time to look at it
        proposal = replace(proposal, proposed=decode(contents(proposal.proposed).items(), writer.standing()))
        outcome = _completed(writer, proposal) or _sign(writer, proposal)
        if outcome.state is None:
            writer.look_again()
            outcome = _completed(writer, proposal) or outcome
    except ConflictError:
        writer.look_again()
        if not is_live(proposal.proposed, writer.standing()):
            raise
        outcome = Outcome(proposal.proposed, found, state=writer.settle())
        discard(writer.store, proposal.tags)
    return replace(outcome, differences=found)


def _completed(writer: Writer, proposal: Proposal) -> Outcome | None:
    """Publish what waits for nobody's decision; what came of the proposal, where that was among it."""
    led = next((item for item in writer.ahead if item.proposal.id == proposal.id), None)
    writer.catch_up()
    return None if led is None else Outcome(proposal.proposed, Differences((), ()), state=led.state)


def _sign(writer: Writer, proposal: Proposal) -> Outcome:
    base = writer.standing()
    signed = sign_with(proposal.proposed, base, writer.signing.some)
    if signed.files() == proposal.proposed.files() and not (signed.is_complete and writer.can_publish(signed)):
        raise _nothing_to_add(signed)
    return settle(writer, signed, base, proposal.tags)


def reject(writer: Writer, proposal: Proposal) -> None:
    """Remove a proposal, all copies of it.

    Raises:
        UnreachableError: the store did not answer.
    """
    discard(writer.store, proposal.tags)


def export_file(writer: Writer, proposal: Proposal) -> bytes:
    """A proposal and the state that it stands on, as JSON, for a machine with no network.

    Raises:
        DocksealError: the proposal's problem, where it has one.
    """
    if proposal.problem is not None:
        raise proposal.problem
    return _encode(Opened(proposal.proposed, writer.standing()))


def open_file(writer: Writer, data: bytes) -> Opened:
    """Read such a file; its state must verify under this machine's pin.

    Raises:
        TamperedError: it is malformed, or bears a forged signature.
        UntrustedRootError, RollbackError: its state is not acceptable.
        UnsignedError: the repository is a copy.
    """
    body = _body(data)
    state = State.of(_files(body, "state"))
    trusted = writer.trust(StoredState(state, encode(state).digest))
    trusted.pin.check_own(writer.store.repository)
    return Opened(decode(_files(body, "files"), trusted.verified), trusted.verified)


def sign_file(writer: Writer, opened: Opened) -> bytes:
    """The file with this machine's signatures.

    Raises:
        UnsignedError: it waits for no key of this machine.
        KeyUnavailableError: a key that is here cannot be used.
    """
    signed = sign_with(opened.proposed, opened.base, writer.signing.some)
    if signed.files() == opened.proposed.files():
        raise _nothing_to_add(signed)
    return _encode(Opened(signed, opened.base))


def import_file(writer: Writer, data: bytes) -> Outcome:
    """Bring the signatures of a file to the proposal in the store; the last one that is needed publishes it.

    Raises:
        ConflictError: the state went on meanwhile, and overtook it.
        TamperedError: the file is malformed, or bears a forged signature.
    """
    body = _body(data)  # what state it was made from no longer matters
    writer.catch_up()
    base = writer.standing()
    proposed = decode(_files(body, "files"), base)
    tags: tuple[str, ...] = ()
    for proposal in read_proposals(writer.store, base):
        if proposal.problem is None and proposal.id == proposed.identity[:12]:
            proposed, tags = merged(proposal.proposed, proposed, base), proposal.tags
    return settle(writer, proposed, base, tags)


def _nothing_to_add(proposed: Proposed) -> UnsignedError:
    waiting = "; ".join(f"{need.lacking} of {need.who}" for _, need in proposed.lacking())
    return UnsignedError(
        f"proposal {proposed.identity[:12]} needs no signature that can be made here: it waits for "
        f"{waiting or 'a publisher'}",
        hint="`dockseal key list` shows the keys that are here",
    )


def _encode(opened: Opened) -> bytes:
    body = {
        "schema": 1,
        "kind": KIND,
        "repository": opened.base.terms.repository,
        "files": {name: data.decode() for name, data in contents(opened.proposed).items()},
        "state": {name: data.decode() for name, data in opened.base.state.files.items()},
    }
    return json.dumps(body, indent=1).encode()


def _body(data: bytes) -> dict[str, object]:
    if len(data) > MAX_FILE_BYTES:
        raise TamperedError(f"the file is {len(data)} bytes: expected at most {MAX_FILE_BYTES}")
    body = strictjson.loads_object(data, "the file")
    if body.get("kind") != KIND or body.get("schema") != 1:
        raise TamperedError("the file is no proposal that `dockseal approve --export` wrote")
    return body


def _files(body: dict[str, object], name: str) -> list[tuple[str, bytes]]:
    files = body.get(name)
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise TamperedError(f"the file's {name!r} is no map of role files")
    return [(str(file), str(text).encode()) for file, text in files.items()]
