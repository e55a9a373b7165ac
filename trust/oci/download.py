"""One blob on its way down: hashed and capped while it streams, taken up again where a connection broke."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING

from trust.errors import TamperedError
from trust.oci import wire
from trust.oci.retry import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from trust.errors import DocksealError
    from trust.oci.manifest import Descriptor
    from trust.oci.transport import Answer, Transport

_PARTIAL = 206


class BlobStream(io.RawIOBase):
    """A blob's bytes. The last ones are only given out when size and digest are right.

    Args:
        url: its path on the registry.
        failed: makes an error of an answer that is no success.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        scopes: tuple[str, ...],
        descriptor: Descriptor,
        failed: Callable[[Answer], DocksealError],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._url = url
        self._scopes = scopes
        self._descriptor = descriptor
        self._failed = failed
        self._backoff = transport.backoff()
        self._hash = hashlib.sha256()
        self._size = 0
        self._skip = 0
        self._pending = memoryview(b"")
        self._answer = self._request()
        self._finished = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes; io.BufferedReader calls it."""
        target = memoryview(buffer)
        if not self._pending and not self._finished:
            self._pending = memoryview(self._next())
        count = min(len(target), len(self._pending))
        target[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        self._answer.close()
        super().close()

    def _next(self) -> bytes:
        """The next bytes of the body, from a new request where the old one broke."""
        while True:
            try:
                data = self._take(self._answer.read_some())
                if data or self._finished:
                    return data
            except TransientError as problem:
                self._answer.close()
                self._backoff.wait(problem, self._size)
                self._answer = self._request()

    def _request(self) -> Answer:
        """Ask for what is still to come, by ``Range`` where something came before."""
        headers = (("Range", f"bytes={self._size}-"),) if self._size else ()
        answer = self._transport.send(wire.Call("GET", self._url, self._scopes, headers, stream=True))
        try:
            self._check_headers(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check_headers(self, answer: Answer) -> None:
        if not answer.ok:
            raise self._failed(answer)
        start = 0
        if answer.status == _PARTIAL:
            start = wire.range_start(answer.headers.get("Content-Range")) or 0
        self._skip = self._size - start  # a registry may ignore the range and begin anew
        length, expected = answer.headers.get("Content-Length"), self._descriptor.size - start
        if self._skip < 0 or (length is not None and length.strip() != str(expected)):
            came = f"{wire.clean(str(length), 40)} bytes from byte {start}"
            raise TamperedError(
                f"blob {self._descriptor.digest.short} comes as {came}: expected {expected} from byte {self._size}"
            )

    def _take(self, data: bytes) -> bytes:
        """Count and hash what came; nothing means the end."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        fresh = data[skipped:]
        self._hash.update(fresh)
        self._size += len(fresh)
        expected = self._descriptor
        if self._size > expected.size:
            raise TamperedError(f"blob {expected.digest.short} is longer than {expected.size} bytes")
        if self._size == expected.size:
            self._check_end()
        elif not data:
            raise TransientError(f"blob {expected.digest.short} ended after {self._size} of {expected.size} bytes")
        return fresh

    def _check_end(self) -> None:
        expected = self._descriptor
        if self._hash.hexdigest() != expected.digest.hex:
            raise TamperedError(f"blob {expected.digest} has the digest sha256:{self._hash.hexdigest()}")
        with suppress(TransientError):  # all is here and right: how the connection ends does not matter
            if self._answer.read_some():
                raise TamperedError(f"blob {expected.digest.short} is longer than {expected.size} bytes")
        self._finished = True
