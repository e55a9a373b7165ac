"""build, images, tag, rmi, load, save: the local store."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from cli import options, terminal
from cli.desk import Desk
from trust.errors import DocksealError, UsageError
from trust.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    options.explained(app)(build)
    options.explained(app)(images)
    options.explained(app)(tag)
    options.explained(app)(rmi)
    options.explained(app)(load)
    options.explained(app)(save)


def build(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders and tar files, one layer each.")],
    name: Annotated[str, typer.Option("-t", "--tag", metavar="NAME[:TAG]", help="What to call the image.")],
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME", help="The image underneath: local, or any SOURCE.")
    ] = None,
    platform: options.Platform = None,
    entrypoint: Annotated[
        str | None, typer.Option("--entrypoint", metavar="JSON", help='What runs: ["/bin/app"]')
    ] = None,
    cmd: Annotated[str | None, typer.Option("--cmd", metavar="JSON", help='Its arguments: ["--serve"]')] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="KEY=VALUE", help="An environment variable; may be given again."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be given again.")
    ] = None,
    workdir: Annotated[str | None, typer.Option("--workdir", metavar="DIR", help="Where it runs.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Who runs it: NAME or UID[:GID].")] = None,
    compression: options.Compression = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print the digest only.")] = False,
    output: options.OutputOption = options.Output.TEXT,
) -> None:
    """Make an image out of folders and tar files. The same input gives the same digest, on another day too.

    Files get owner 0:0 and the time of SOURCE_DATE_EPOCH (else 1970). Nothing is run.

    Examples:
      dockseal build -t localhost:5000/app:v1 ./rootfs
      dockseal build -t app:v2 --base app:v1 --cmd '["/bin/app"]' ./overlay
    """
    from cli.sources import image_from
    from trust.oci.build import Settings, build_image, created_at
    from trust.oci.final import put_image
    from trust.oci.localstore import checked_name
    from trust.oci.reference import Reference

    desk = Desk()
    reference = checked_name(Reference.parse(name).with_default_tag())
    settings = Settings(
        entrypoint=_command(entrypoint, "--entrypoint"),
        cmd=_command(cmd, "--cmd"),
        env=tuple(options.pairs(env, "--env").items()),
        labels=tuple(options.pairs(label, "--label").items()),
        workdir=workdir,
        user=user,
    )
    below = None if base is None else image_from(desk, base)
    with tempfile.TemporaryDirectory(prefix="build-", dir=desk.spool) as spool:
        image = build_image(
            tuple(paths),
            codec=desk.codec(compression),
            spool_dir=Path(spool),
            base=below,
            platform=platform,
            settings=settings,
            created=created_at(options.source_date_epoch()),
        )
        put_image(image, desk.images.store(reference.repository), reference.tag)
    local = desk.images.lookup(str(reference))
    if output is options.Output.JSON:
        terminal.say_json(
            {"reference": str(reference), "digest": str(local.digest), "id": str(local.id), "size": local.size}
        )
    elif quiet:
        terminal.say(str(local.digest))
    else:
        terminal.say(f"Built {reference.familiar}: {local.digest} ({terminal.size(local.size)})")


def images(output: options.OutputOption = options.Output.TEXT) -> None:
    """List the images of the local store.

    Example:
      dockseal images
    """
    desk = Desk()
    found = desk.images.images()
    if output is options.Output.JSON:
        terminal.say_json(
            [
                {
                    "reference": str(item.reference),
                    "digest": str(item.digest),
                    "id": str(item.id),
                    "created": terminal.moment(item.created),
                    "size": item.size,
                }
                for item in found
            ]
        )
        return
    rows = [
        (
            item.reference.repository.familiar,
            item.reference.tag or "<none>",
            item.digest.short,
            item.id.short,
            terminal.moment(item.created) or "",
            terminal.size(item.size),
        )
        for item in found
    ]
    terminal.say(terminal.table(("REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"), rows))


def tag(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A local image, by name or id.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="Its further name.")],
) -> None:
    """Give a local image one more name.

    Example:
      dockseal tag app:v1 localhost:5000/app:v1
    """
    from trust.oci.reference import Reference

    Desk().images.tag(source, Reference.parse(target).with_default_tag())


def rmi(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Local images, by name or id.")],
    yes: options.Yes = False,
) -> None:
    """Remove names from the local store, and images with their last name.

    Example:
      dockseal rmi localhost:5000/app:v1
    """
    desk = Desk()
    several = len(names) > 1
    for name in names:
        desk.images.lookup(name)
    if several and not terminal.confirm(f"Remove {len(names)} images: {', '.join(names)}?", yes=yes):
        terminal.note("Nothing was removed.")
        raise typer.Exit(1)
    for name in names:
        removal = desk.images.remove(name)
        terminal.say(f"Untagged: {removal.untagged.familiar}")
        if removal.deleted is not None:
            terminal.say(f"Deleted: {removal.deleted}")


def load(
    file: Annotated[Path, typer.Option("-i", "--input", metavar="FILE", help="As docker save or skopeo writes it.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME[:TAG]", help="For an archive whose image has no name.")
    ] = None,
    compression: options.Compression = None,
) -> None:
    """Bring the images of a docker or OCI archive into the local store.

    Example:
      docker save app:v1 -o app.tar && dockseal load -i app.tar
    """
    from trust.oci.load import load_archive
    from trust.oci.reference import Reference

    desk = Desk()
    wanted = None if name is None else Reference.parse(name).with_default_tag()
    loaded = load_archive(file, desk.images, desk.codec(compression), spool_dir=desk.spool, name=wanted)
    for reference in loaded:
        terminal.say(f"Loaded image: {reference.familiar}")


def save(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Local images, by name.")],
    file: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to; - for standard output.")],
    archive_format: Annotated[
        str, typer.Option("--format", metavar="docker|oci", help="docker (docker load reads it) or oci.")
    ] = "docker",
) -> None:
    """Write local images to an archive that docker load, or any OCI tool, reads.

    Example:
      dockseal save -o app.tar app:v1
    """
    from trust.oci.save import write_docker_archive, write_oci_archive

    if archive_format not in {"docker", "oci"}:
        raise UsageError(f"--format {archive_format}: expected docker or oci")
    desk = Desk()
    chosen = [(desk.images.lookup(name).reference, desk.images.image(name)) for name in names]

    def write(out: BinaryIO) -> None:
        if archive_format == "docker":
            write_docker_archive(chosen, out, file, spool_dir=desk.spool)
        else:
            write_oci_archive(chosen, out, file)

    if str(file) != "-":
        with whole_file(file) as out:
            write(out)
    elif sys.stdout.isatty():
        raise UsageError("an archive is not written to a terminal", hint="dockseal save -o FILE NAME")
    else:
        with _closed_pipe_is_silent():
            write(sys.stdout.buffer)


@contextmanager
def _closed_pipe_is_silent() -> Iterator[None]:
    """Whoever reads an archive from us may stop early, as with any filter."""
    try:
        yield
    except DocksealError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise error.__cause__ from None
        raise


def _command(text: str | None, option: str) -> tuple[str, ...] | None:
    """A JSON list of strings, as the config has them."""
    from trust import strictjson
    from trust.errors import TamperedError

    if text is None:
        return None
    try:
        value = strictjson.loads(text.encode(), option)
    except TamperedError as error:
        raise UsageError(f"{option} {text[:80]!r}: expected a JSON list of strings") from error
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{option} {text[:80]!r}: expected a JSON list of strings", hint=f"{option} '[\"/bin/app\"]'")
    return tuple(value)
