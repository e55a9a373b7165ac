"""Pull: what the tag is signed to mean, fetched by digest, every byte checked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trust.files import private_folder
from trust.oci.final import image_of
from trust.oci.save import write_docker_archive
from trust.upload import upload_image
from trust.verify import verify_name

if TYPE_CHECKING:
    from trust.digest import Digest
    from trust.machine import Machine
    from trust.oci.engine import Engine
    from trust.oci.image import Image
    from trust.oci.manifest import Manifest
    from trust.oci.reference import Reference
    from trust.oci.store import Store
    from trust.upload import Uploads
    from trust.verify import Judgement


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. ``platform`` is ``os/arch[/variant]``; None takes all that an index lists."""

    tag: str | None
    digest: Digest | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An image that may be fetched; ``judgement`` is None where trust was switched off."""

    image: Image
    judgement: Judgement | None


def find_trusted(store: Store, machine: Machine, wanted: Wanted) -> Found:
    """Resolve a name through the signed targets, and read its manifest by the signed digest.

    Raises:
        DocksealError: the verdict, as :func:`trust.verify.verify_name` raises it.
    """
    judgement = verify_name(store, machine, wanted.tag, wanted.digest)
    assert judgement.digest is not None  # noqa: S101 - trusted means that a digest was signed
    return Found(image_of(store, judgement.digest, platform=wanted.platform), judgement)


def find_untrusted(store: Store, wanted: Wanted) -> Found:
    """Take the registry's word for what a tag means.

    Raises:
        MissingError: there is no such image.
    """
    reference = wanted.digest or wanted.tag
    assert reference is not None  # noqa: S101 - a name has a tag by default
    return Found(image_of(store, reference, platform=wanted.platform), None)


def fetch(found: Found, destination: Store, tag: str | None, uploads: Uploads) -> Manifest:
    """Bring the image into another store, and name it there last.

    Raises:
        TamperedError: a blob is not what its digest or length says; no name was moved.
    """
    manifest = upload_image(destination, found.image, uploads)
    if tag is not None:
        destination.put_manifest(manifest, tag)
    return manifest


def load_into_engine(found: Found, engine: Engine, name: Reference, spool: Path) -> Manifest:
    """Hand the image to a Docker engine, under ``name``.

    Raises:
        UsageError: an index; choose a platform.
        UnreachableError: the engine does not answer, or refuses it.
    """
    assert found.image.manifest is not None  # noqa: S101 - what a store has is final
    with tempfile.TemporaryFile(dir=private_folder(spool)) as file:
        write_docker_archive([(name, found.image)], file, Path("the archive"), spool_dir=spool)
        file.seek(0)
        engine.load(file)
    return found.image.manifest
