"""Copy: images and their trust data from store to store, byte for byte.

The state is carried as it is, so the copy verifies under the same root; where the names differ, its
pin says what it is a copy of (``signed_as``). Images go first, then the state, then the tags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import ConflictError, MissingError, UnsignedError
from trust.heads import continues
from trust.oci.final import image_of
from trust.oci.reference import check_new_tag
from trust.pins import Pin
from trust.publish import move_pointer
from trust.read import Reader
from trust.states import POINTER_TAG, announce, read_pointer
from trust.tuf.roles import signed_digest
from trust.upload import upload_image

if TYPE_CHECKING:
    from trust.machine import Machine
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.tuf.verified import Verified
    from trust.upload import Uploads


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied: tag and manifest digest of each image, and the copy's pin.

    ``missing`` are signed tags whose image the source lacks.
    """

    tags: tuple[tuple[str, Digest], ...]
    missing: tuple[str, ...]
    pin: Pin
    state_version: int


def copy(source: Store, target: Store, tag: str | None, machine: Machine, uploads: Uploads) -> Copied:
    """Copy one signed tag, or all of them where ``tag`` is None, with the whole trust state.

    Raises:
        UnsignedError: the tag is not signed, or nothing is.
        UsageError: a tag may not be made.
        ConflictError: the target has trust data of its own that the source's does not continue.
        DocksealError: the source's trust data is not trusted: the verdict.
    """
    trusted = Reader(source, machine).read(tag)
    for name in trusted.verified.tags if tag is None else (tag,):
        check_new_tag(name)
    pin = _pin_of_copy(target, trusted)
    standing = _standing(target, machine, pin, trusted.verified)
    images, missing = _images(source, trusted.verified, tag, target, uploads)
    if not standing:
        manifest = announce(target, trusted.verified.state, trusted.verified.version)
        if machine.moves_tags(target.repository) and not move_pointer(target, manifest):
            machine.warn(
                f"{target.name} does not let the tag {POINTER_TAG} move: the state stands under its own tag alone"
            )
    for name, image in images:
        target.put_manifest(image, name)
    Reader(target, replace(machine, pins=(*machine.pins, pin))).remember(replace(trusted, pin=pin))
    if machine.pin(target.repository) is None:
        machine.save_pin(pin)
    return Copied(tuple((name, image.digest) for name, image in images), missing, pin, trusted.verified.version)


def _pin_of_copy(target: Store, trusted: Trusted) -> Pin:
    signed_name = trusted.verified.terms.repository
    return Pin(
        target.repository,
        root=Digest.of(trusted.verified.state.roots[0]),
        signed_as=None if signed_name == target.repository else signed_name,
    )


def _standing(target: Store, machine: Machine, pin: Pin, new: Verified) -> bool:
    """Whether the target's state is this one already; raises where this one does not continue it."""
    reader = Reader(target, machine)
    stored = read_pointer(target, reader.cached)
    if stored is None:
        return False
    old = reader.trust(stored, pin).verified
    if old.identity == new.identity:
        return True
    if not continues(new, old):
        raise ConflictError(
            f"{target.name} has trust data that {new.terms.repository} does not continue: version {old.version} there, "
            f"version {new.version} here",
            hint="copy in the other direction first, or copy into an empty repository",
        )
    return False


def _images(
    source: Store, verified: Verified, tag: str | None, target: Store, uploads: Uploads
) -> tuple[list[tuple[str, Manifest]], tuple[str, ...]]:
    images: list[tuple[str, Manifest]] = []
    missing: list[str] = []
    for name in verified.tags if tag is None else (tag,):
        found = verified.lookup(name)
        if found is None:
            raise UnsignedError(f"{source.name} has no signed tag {name!r}: an unsigned image is not copied")
        try:
            image = image_of(source, signed_digest(found))
        except MissingError:
            if tag is not None:
                raise
            missing.append(name)
            continue
        images.append((name, upload_image(target, image, uploads)))
    return images, tuple(missing)
