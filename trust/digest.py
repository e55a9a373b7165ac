"""Content digests (OCI image-spec, descriptor.md, "Digests"): sha256 only."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO, Self

from trust.errors import UsageError

CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A ``sha256:<64 lower-case hex>`` digest, checked when it is made.

    Raises:
        UsageError: the text is no sha256 digest.
    """

    text: str

    def __post_init__(self) -> None:
        if not _SHA256.match(self.text):
            algorithm = self.text.partition(":")[0]
            supported = "" if algorithm == "sha256" else "; sha256 is the only supported algorithm"
            raise UsageError(
                f"invalid digest {self.text[:100]!r}: expected sha256: and 64 lower-case hex digits{supported}"
            )

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        """The digest of these bytes."""
        return cls.from_hex(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, file: BinaryIO) -> Self:
        """The digest of what is left to read in ``file``."""
        hasher = hashlib.sha256()
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
        return cls.from_hex(hasher.hexdigest())

    @classmethod
    def from_hex(cls, hex_digits: str) -> Self:
        """From 64 hex digits, as hashlib's ``hexdigest`` gives them."""
        return cls(f"sha256:{hex_digits}")

    @property
    def hex(self) -> str:
        """The 64 hex digits without the algorithm."""
        return self.text[len("sha256:") :]

    @property
    def short(self) -> str:
        """The first 12 hex digits, as docker shows a layer."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.text
