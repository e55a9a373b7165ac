"""One blob on its way up: session, one PUT, and what to do when it breaks.

The whole blob goes in one PUT with its length (distribution-spec, "POST then PUT"), which every registry
takes; chunks are dropped or doubled by some (registry:2 appends a repeated chunk). After a break the
session is asked what it has, and only the rest is sent where it can tell; else a new session starts.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from trust.digest import CHUNK_BYTES
from trust.errors import DocksealError, TamperedError
from trust.oci import wire
from trust.oci.retry import TransientError
from trust.oci.wire import Body, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trust.oci.manifest import Descriptor
    from trust.oci.store import BlobReader
    from trust.oci.transport import Answer, Transport

STORE_BYTES_PER_SECOND = 10 << 20
"""A registry hashes and moves a blob before it answers the PUT: it gets the time for that."""
_OCTETS = ("Content-Type", "application/octet-stream")
_NO_CONTENT = 204
_STORED = frozenset({201, _NO_CONTENT})
_LOST = frozenset({400, 404, 409, 416})
"""The session is gone, or what it holds is not what was sent."""


class _SessionLostError(TransientError):
    """Nothing of this upload can be used; a new session may do."""


@dataclass(slots=True)
class Upload:
    """Sends one blob.

    Attributes:
        start: the path that a session is started at, ``/v2/NAME/blobs/uploads/``.
        location: a session that a mount has already started.
        failed: makes an error of an answer that is none of ours to handle.
        is_there: whether the registry has the blob, asked when an answer may have been lost.
    """

    transport: Transport
    start: str
    scopes: tuple[str, ...]
    descriptor: Descriptor
    open_: BlobReader
    sent: Callable[[int], None]
    failed: Callable[[Answer], DocksealError]
    is_there: Callable[[], bool]
    location: str | None = None
    _offset: int = field(default=0, init=False)

    def run(self) -> None:
        """Send it, starting again as often as the retry policy allows.

        Raises:
            UnreachableError: it did not get through.
            DeniedError: we may not push here.
            TamperedError: the bytes are not what the descriptor says.
        """
        backoff = self.transport.backoff()
        while True:
            try:
                self._finish(self.location or self._new_session())
            except TransientError as problem:
                backoff.wait(problem, self._offset)
                self._resume(lost=isinstance(problem, _SessionLostError))
                if self.location is None and self.is_there():
                    return
            else:
                return

    def _new_session(self) -> str:
        self._offset = 0
        answer = self.transport.send(Call("POST", self.start, self.scopes))
        if not answer.ok:
            raise self.failed(answer)
        self.location = self._located(answer)
        return self.location

    def _finish(self, location: str) -> None:
        """Send what is not there yet, and close the session with the digest."""
        size, digest = self.descriptor.size, self.descriptor.digest
        url = wire.with_parameter(location, "digest", str(digest))
        headers: tuple[tuple[str, str], ...] = (_OCTETS,)
        if self._offset:
            headers += (("Content-Range", f"{self._offset}-{size - 1}"),)
        body = Body(size - self._offset, self._open)
        patience = size / STORE_BYTES_PER_SECOND
        call = Call("PUT", url, self.scopes, headers, body, retry=False, answer_seconds=patience)
        answer = self.transport.send(call)
        if answer.status in _LOST:
            raise _SessionLostError(self.failed(answer).message)
        if not answer.ok:
            raise self.failed(answer)
        check_digest_header(answer, str(digest))
        if answer.status not in _STORED and not self.is_there():
            where = wire.redact(answer.url)
            raise _SessionLostError(f"{where} answered {answer.status} without storing the blob: expected 201")

    def _resume(self, *, lost: bool) -> None:
        """Ask the session how far it came; forget it where it cannot say, or is no further than before."""
        location, self.location = self.location, None
        if location is None or lost:
            return
        try:
            answer = self.transport.send(Call("GET", location, self.scopes, retry=False))
        except TransientError:
            return
        received = wire.received_bytes(answer.headers.get("Range"))
        if answer.status == _NO_CONTENT and self._offset < received <= self.descriptor.size:
            self.location = self._located(answer) if "Location" in answer.headers else location
            self._offset = received

    def _located(self, answer: Answer) -> str:
        return wire.upload_url(answer.headers.get("Location"), answer.url, self.transport.url)

    @contextmanager
    def _open(self) -> Iterator[CheckedReader]:
        self.sent(self._offset)
        try:
            file = self.open_()
        except OSError as error:
            raise _unreadable(self.descriptor, error) from error
        with file:
            reader = CheckedReader(file, self.descriptor, self.sent)
            reader.skip(self._offset)
            yield reader


class CheckedReader:
    """A blob's bytes, hashed while they are read; the last ones are only given out when all are right."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor, sent: Callable[[int], None]) -> None:
        self._file = file
        self._descriptor = descriptor
        self._sent = sent
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, amount: int, /) -> bytes:
        """The next bytes.

        Raises:
            TamperedError: size or digest is wrong.
            DocksealError: the source cannot be read.
        """
        try:
            data = self._file.read(amount)
        except OSError as error:
            raise _unreadable(self._descriptor, error) from error
        self._hash.update(data)
        self._size += len(data)
        expected = self._descriptor
        wrong = self._size > expected.size or (not data and self._size < expected.size)
        if wrong or (self._size == expected.size and self._file.read(1)):
            raise TamperedError(f"blob {expected.digest.short} has another size: expected {expected.size} bytes")
        if self._size == expected.size and self._hash.hexdigest() != expected.digest.hex:
            raise TamperedError(
                f"blob {expected.digest}: the bytes to send have the digest sha256:{self._hash.hexdigest()}"
            )
        self._sent(self._size)
        return data

    def skip(self, amount: int) -> None:
        """Hash what the registry has already."""
        while self._size < amount:
            self.read(min(CHUNK_BYTES, amount - self._size))


def check_digest_header(answer: Answer, digest: str) -> None:
    """Compare ``Docker-Content-Digest``, where it is given, with what was sent or asked for.

    Raises:
        TamperedError: it differs.
    """
    found = answer.headers.get("Docker-Content-Digest")
    if found and found.startswith("sha256:") and found != digest:
        raise TamperedError(
            f"{wire.redact(answer.url)} answered with the digest {wire.clean(found, 80)}: expected {digest}"
        )


def _unreadable(descriptor: Descriptor, error: OSError) -> DocksealError:
    return DocksealError(f"blob {descriptor.digest.short} cannot be read: {error.strerror or error}")
