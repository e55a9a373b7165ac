"""What holds manifests and blobs: a registry's repository, or an OCI layout folder.

One interface with both behind it, so that signing, verifying, pulling and copying work the same
with no server. A store is scoped to one repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO, Protocol

from trust.errors import TamperedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from trust.digest import Digest
    from trust.oci.manifest import Descriptor, Manifest

Tag = str
"""A tag that :func:`trust.oci.reference.check_tag` accepted."""


class Outcome(Enum):
    """How a blob got to where it is now."""

    EXISTS = "Layer already exists"
    MOUNTED = "Mounted from"
    PUSHED = "Pushed"


@dataclass(frozen=True, slots=True)
class Placed:
    """The outcome of :meth:`Store.put_blob`; ``mounted_from`` is a repository path, for ``MOUNTED``."""

    outcome: Outcome
    mounted_from: str | None = None


class BlobReader(Protocol):
    """Opens the same bytes as often as it is called (a retry reads again)."""

    def __call__(self) -> BinaryIO:
        """The bytes from their beginning; the caller closes it."""
        ...


class Store(Protocol):
    """One repository's manifests, tags and blobs. Every read is capped, hashed and checked.

    Common errors: UnreachableError and DeniedError (nothing was judged), MissingError,
    TamperedError (bytes that are not what their digest or length says).
    """

    @property
    def name(self) -> str:
        """How people name it: ``localhost:5000/app`` or ``oci:/folder``."""
        ...

    @property
    def repository(self) -> str:
        """The trust repository's name: ``registry/name``, or the folder's absolute path."""
        ...

    def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The manifest at a tag or digest.

        Raises:
            MissingError: there is none.
        """
        ...

    def resolve(self, tag: Tag) -> Digest | None:
        """The digest that the tag points at now, or None: one request, no body where possible."""
        ...

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""
        ...

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store it by digest, or under a tag. What it refers to must be there."""
        ...

    def tags(self, limit: int) -> tuple[Tag, ...]:
        """The tags, at most ``limit`` + 1 of them (one more than asked for says: there are more).

        A repository that does not exist has none.
        """
        ...

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob, whole.

        Raises:
            MissingError: it is not there.
        """
        ...

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        """A blob as a stream; reading to its end raises TamperedError where size or digest is wrong."""
        ...

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        ...

    def put_blob(
        self,
        descriptor: Descriptor,
        open_: BlobReader,
        *,
        mount_from: tuple[str, ...] = (),
        sent: Callable[[int], None] | None = None,
    ) -> Placed:
        """Bring a blob there: look, else mount, else upload.

        Args:
            descriptor: digest and size that the bytes must have.
            open_: opens the bytes; not called when the blob exists or could be mounted.
            mount_from: repository paths of the same registry that hold the blob.
            sent: told how many bytes went out so far; falls back to 0 when an upload starts again.
        """
        ...

    def mount_blob(self, descriptor: Descriptor, mount_from: tuple[str, ...] = ()) -> Placed | None:
        """The cheap half of :meth:`put_blob`: EXISTS, MOUNTED or None, without the bytes."""
        ...

    def delete_manifest(self, digest: Digest) -> None:
        """Remove a manifest and the tags on it.

        Raises:
            DeniedError: this store does not delete.
        """
        ...

    def untag(self, tag: Tag) -> None:
        """Remove one tag, where the store can.

        Raises:
            DeniedError: this store does not delete.
        """
        ...


def read_whole(
    open_: Callable[[Descriptor], AbstractContextManager[BinaryIO]], descriptor: Descriptor, max_bytes: int
) -> bytes:
    """A small blob, whole: :meth:`Store.read_blob` by :meth:`Store.open_blob`.

    Raises:
        TamperedError: it is longer than ``max_bytes``, or as ``open_`` does.
    """
    if descriptor.size > max_bytes:
        raise TamperedError(f"the blob {descriptor.digest} has {descriptor.size} bytes: expected at most {max_bytes}")
    with open_(descriptor) as blob:
        return blob.read()
