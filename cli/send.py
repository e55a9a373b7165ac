"""push, sign, revoke."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import UnsignedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trust.machine import Machine
    from trust.oci.manifest import Manifest
    from trust.oci.source import StoreName
    from trust.oci.store import Store
    from trust.sign import Signed, TagSigner
    from trust.writer import Foundation, Writer

NameArgument = Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="registry/name:tag, or oci:FOLDER:TAG.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(push)
    app.command()(sign)
    app.command()(revoke)


def push(
    name: NameArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="docker-daemon:NAME, docker-archive:FILE, oci:DIR[:TAG], oci-archive:FILE; else the local store, "
            "then the Docker engine.",
        ),
    ] = None,
    all_tags: Annotated[bool, typer.Option("-a", "--all-tags", help="Push every local tag of NAME.")] = False,
    quiet: options.Quiet = False,
    max_concurrent_uploads: options.Uploads = None,
    disable_content_trust: options.Untrusted = False,
    signer: options.Signers = None,
    annotation: options.Annotations = None,
    compression: options.Compression = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Upload an image and sign what its tag means; refuse what cannot be signed.

    The first push of a repository makes its keys and its root of trust. Layers, image and signed metadata go
    into the same registry; the tag moves last.

    Examples:

      dockseal push localhost:5000/app:v1

      dockseal push --from docker-archive:app.tar ghcr.io/acme/app:v1

      dockseal push --disable-content-trust localhost:5000/scratch:dev
    """
    from trust.oci.source import StoreName

    desk = Desk(passphrase_file=passphrase_file)
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: expected NAME or NAME:TAG, a push makes the digest")
    if disable_content_trust and (signer or annotation):
        raise UsageError("--signer and --annotation need content trust, which --disable-content-trust switches off")
    tags = _all_tags(desk, asked, source) if all_tags else [asked.tag or "latest"]
    store = desk.store(asked, as_name)
    trust = TrustOptions(trust_on_first_use, root, as_name)
    job = _Push(desk, store, trust, source, compression, max_concurrent_uploads, quiet or output is options.Output.JSON)
    results = [
        job.unsigned(tag) if disable_content_trust else job.signed(tag, signer or (), options.pairs(annotation, "--annotation"))
        for tag in tags
    ]
    if output is options.Output.JSON:
        terminal.say_json(results if all_tags else results[0])
    elif quiet:
        for result in results:
            terminal.say(f"{store_name(store)}@{result['digest']}")
