"""From what people wrote to an image: the local store, a Docker engine, a folder or an archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import MissingError, UnreachableError

if TYPE_CHECKING:
    from cli.desk import Desk
    from trust.oci.engine import Engine
    from trust.oci.image import Image
    from trust.oci.reference import Reference


def image_from(desk: Desk, source: str, codec: str | None = None) -> Image:
    """The image of a SOURCE; without a prefix it is a name of the local store.

    Raises:
        MissingError: it is not there.
        UsageError, TamperedError: it cannot be read.
    """
    from trust.oci.source import Source, SourceKind

    chosen = Source.parse(source)
    if chosen.kind is SourceKind.DOCKER_DAEMON:
        return _from_engine(desk, engine(), str(chosen.name), codec)
    if chosen.kind is SourceKind.LOCAL:
        return desk.images.image(str(chosen.name))
    path = chosen.path or Path()
    if chosen.kind is SourceKind.DOCKER_ARCHIVE:
        from trust.oci.archive import read_docker_archive

        return read_docker_archive(path, chosen.name, spool_dir=desk.spool)
    if chosen.kind is SourceKind.OCI_ARCHIVE:
        from trust.oci.archive import read_oci_archive

        return read_oci_archive(path, chosen.name, spool_dir=desk.spool)
    from trust.oci.archive import read_layout
    from trust.oci.layout import Layout

    return read_layout(Layout(path.absolute()), chosen.name)


def engine() -> Engine:
    """The Docker engine that ``DOCKER_HOST`` names, or the one on its usual socket."""
    from trust.oci.engine import Engine

    return Engine.from_environment(os.environ)


def image_here(desk: Desk, name: Reference, codec: str | None = None) -> Image:
    """What the local store, or else the Docker engine, has under a name.

    Raises:
        MissingError: neither has it.
    """
    if desk.images.find(name) is not None:
        return desk.images.image(name)
    try:
        return _from_engine(desk, engine(), name.familiar, codec)
    except (MissingError, UnreachableError) as error:
        asked = "the Docker engine does not have it" if isinstance(error, MissingError) else "no Docker engine answers"
        raise MissingError(
            f"there is no image {name.familiar} here: the local store does not have it, and {asked}",
            hint=f"dockseal build -t {name.familiar} FOLDER; or say where it is: --from docker-archive:FILE",
        ) from error


def _from_engine(desk: Desk, docker: Engine, name: str, codec: str | None) -> Image:
    from trust.oci.engine import engine_image

    return engine_image(docker, name, desk.layer_cache, desk.codec(codec), desk.spool)
