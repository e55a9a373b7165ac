"""A stream that is made by saying what its ``read`` gives."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ReadStream(io.RawIOBase):
    """What io.BufferedReader and others ask of a raw stream, on top of :meth:`read`."""

    def readable(self) -> bool:
        """Yes."""
        return True

    @abstractmethod
    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, none at the end; all that are left where it is negative or None."""

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill ``buffer`` as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
