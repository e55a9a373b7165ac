"""verify, inspect, pull, copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options, terminal
from cli.desk import Desk, TrustOptions
from cli.signers import signer_rows, signer_table
from trust.errors import UsageError

if TYPE_CHECKING:
    from trust.inspect import Inspection
    from trust.oci.source import StoreName
    from trust.oci.store import Store
    from trust.pull import Found
    from trust.verify import Judgement

AnyName = Annotated[str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="registry/name:tag, or oci:FOLDER:TAG.")]
LOCAL = "local"
DAEMON = "docker-daemon:"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    options.explained(app)(pull)
    options.explained(app)(verify)
    options.explained(app)(inspect)
    options.explained(app)(copy)


def verify(
    name: AnyName,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Say whether a tag is signed, by whom, and whether the registry's tag is still the signed digest.

    Examples:
      dockseal verify ghcr.io/acme/app:v1
      dockseal verify -o json ghcr.io/acme/app:v1@sha256:…
    """
    from trust.oci.source import StoreName
    from trust.verify import judge

    desk = Desk()
    asked = _tagged(StoreName.parse(name))
    store = desk.store(asked, as_name)
    judgement = judge(store, desk.machine(TrustOptions(trust_on_first_use, root, as_name)), asked.tag, asked.digest)
    if output is options.Output.JSON:
        terminal.say_json(judgement_json(str(asked), judgement))
    if judgement.error is not None:
        if output is options.Output.JSON:
            raise typer.Exit(judgement.error.exit_code)
        terminal.note(f"{judgement.verdict}: {asked}")
        raise judgement.error
    if output is options.Output.TEXT:
        terminal.say(f"trusted: {asked}")
        terminal.say(f"  digest   {judgement.digest}")
        terminal.say(f"  signers  {', '.join(judgement.signers)}")
        if judgement.expires is not None:
            terminal.say(
                f"  expires  {terminal.moment(judgement.expires)} ({terminal.in_days(judgement.expires, desk.now)})"
            )
        for key, value in judgement.annotations.items():
            terminal.say(f"  {terminal.one_line(f'{key}={value}')}")


def judgement_json(reference: str, judgement: Judgement) -> dict[str, object]:
    """A judgement as ``verify -o json`` prints it."""
    return {
        "reference": reference,
        "repository": judgement.repository,
        "tag": judgement.tag,
        "digest": _text(judgement.digest),
        "registryDigest": _text(judgement.registry_digest),
        "verdict": judgement.verdict,
        "signers": list(judgement.signers),
        "expires": terminal.moment(judgement.expires),
        "annotations": dict(judgement.annotations),
        "reason": None if judgement.error is None else judgement.error.message,
    }


def pull(
    name: AnyName,
    to: Annotated[
        str,
        typer.Option("--to", metavar="STORE", help="local, oci:DIR[:TAG], or docker-daemon: for the Docker engine."),
    ] = LOCAL,
    platform: options.Platform = None,
    quiet: options.Quiet = False,
    disable_content_trust: options.Untrusted = False,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Fetch what a tag is signed to mean, by digest, checking every byte.

    Examples:
      dockseal pull ghcr.io/acme/app:v1
      dockseal pull --to oci:./app:v1 --platform linux/arm64 ghcr.io/acme/app:v1
    """
    from trust.oci.source import StoreName
    from trust.pull import Wanted, find_trusted, find_untrusted

    desk = Desk()
    asked = _tagged(StoreName.parse(name))
    store = desk.store(asked, as_name)
    silent = quiet or output is options.Output.JSON
    if not platform and to.startswith(DAEMON):
        from trust.oci.build import this_platform

        platform = this_platform()
    wanted = Wanted(asked.tag, asked.digest, platform)
    if disable_content_trust:
        terminal.warn(f"content trust is switched off: what {asked} means is the registry's word alone")
        found = find_untrusted(store, wanted)
    else:
        found = find_trusted(store, desk.machine(TrustOptions(trust_on_first_use, root, as_name)), wanted)
    if not silent:
        place = store.name if asked.repository is None else asked.repository.path
        terminal.say(f"{asked.tag or asked.digest}: Pulling from {place}")
    digest, is_new = _deliver(desk, store, found, asked, to, silent=silent)
    verdict = "unverified" if found.judgement is None else found.judgement.verdict
    if output is options.Output.JSON:
        terminal.say_json(
            {"reference": str(asked), "repository": store.repository, "digest": digest, "verdict": verdict, "to": to}
        )
    elif quiet:
        terminal.say(f"{store.name}@{digest}")
    else:
        terminal.say(f"Digest: {digest}")
        terminal.say(f"Status: {'Downloaded newer image' if is_new else 'Image is up to date'} for {asked}")
        if found.judgement is not None:
            terminal.say(f"trusted: signed by {', '.join(found.judgement.signers)}")


def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="NAME[:TAG] or oci:FOLDER[:TAG]; no tag: all signed.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="NAME or oci:FOLDER; the tags keep their names.")],
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    max_concurrent_uploads: options.Uploads = None,
) -> None:
    """Carry images and their trust data from store to store, byte for byte; also through an air gap.

    The copy verifies under the same root. Where its name differs, its pin says what it is a copy of.

    Examples:
      dockseal copy ghcr.io/acme/app:v1 oci:/media/stick/app
      dockseal copy oci:/media/stick/app registry.lan:5000/acme/app
    """
    from cli.progress import PULL_WORDS, layer_rows
    from trust.config import pin_lines
    from trust.copy import copy as carry
    from trust.oci.source import StoreName

    desk = Desk()
    here, there = StoreName.parse(source), StoreName.parse(destination)
    if here.digest is not None or there.digest is not None:
        raise UsageError("copy carries signed tags: expected no digest in SRC and DST")
    if there.tag is not None and there.tag != here.tag:
        raise UsageError(
            f"the copy of {source} cannot be called {there.tag!r}: the tag is what is signed",
            hint=f"sign it there under that tag first: dockseal sign --tag {there.tag} {source}; then copy that",
        )
    from_store, to_store = desk.store(here, as_name if here.folder else None), desk.store(there)
    machine = desk.machine(TrustOptions(trust_on_first_use, root, as_name))
    silent = output is options.Output.JSON
    with layer_rows(quiet=silent, words=PULL_WORDS) as rows:
        done = carry(
            from_store, to_store, here.tag, machine, desk.uploads(to_store, rows, max_concurrent=max_concurrent_uploads)
        )
    for tag in done.missing:
        terminal.warn(f"{from_store.name}:{tag} is signed, but its image is not there: only its signature was copied")
    if silent:
        terminal.say_json(
            {
                "source": from_store.name,
                "destination": to_store.name,
                "tags": {tag: str(digest) for tag, digest in done.tags},
                "missing": list(done.missing),
                "state": done.state_version,
                "pin": pin_lines(done.pin),
            }
        )
        return
    for tag, digest in done.tags:
        terminal.say(f"{to_store.name}:{tag}@{digest}")
    terminal.say(f"Copied {len(done.tags)} image(s) and the trust state, version {done.state_version}")
    terminal.note("The copy's pin:\n")
    for line in pin_lines(done.pin).splitlines():
        terminal.note(f"  {line}")


def inspect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="registry/name, or oci:FOLDER.")],
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Show keys, roles, thresholds and expiries, the signed tags, and where the registry's tags drifted.

    Example:
      dockseal inspect ghcr.io/acme/app
    """
    from trust.inspect import inspect as look
    from trust.oci.source import StoreName
    from trust.read import Reader

    desk = Desk()
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: expected a repository")
    store = desk.store(asked, as_name)
    machine = desk.machine(TrustOptions(trust_on_first_use, root, as_name))
    found = look(store, Reader(store, machine), machine, desk.signing)
    if asked.tag is not None:
        found = found.only(asked.tag)
    if output is options.Output.JSON:
        terminal.say_json(_inspection_json(found, store))
    else:
        _show_inspection(found, store, desk)
    if found.error is not None:
        raise found.error


def _tagged(asked: StoreName) -> StoreName:
    """With docker's default tag; what is reserved for trust data is no image."""
    from dataclasses import replace

    from trust.oci.reference import DEFAULT_TAG, check_image_tag

    if asked.tag is not None:
        check_image_tag(asked.tag)
    return replace(asked, tag=DEFAULT_TAG) if asked.tag is None and asked.digest is None else asked


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _deliver(desk: Desk, store: Store, found: Found, asked: StoreName, to: str, *, silent: bool) -> tuple[str, bool]:
    """Bring the image to where it shall go; its digest, and whether the name meant another there before."""
    from cli.progress import PULL_WORDS, layer_rows
    from trust.oci.source import StoreName
    from trust.pull import fetch

    if to.startswith(DAEMON):
        return _to_engine(desk, store, found, asked, to.removeprefix(DAEMON)), True
    if to == LOCAL:
        from trust.oci.localstore import digest_tag
        from trust.oci.reference import Repository

        if store.repository.startswith("/"):
            raise UsageError(f"{asked} has no name for the local store", hint="give it one with --as NAME")
        destination, tag = desk.images.store(Repository.parse(store.repository)), asked.tag
        tag = tag or digest_tag(found.image.manifest.digest) if found.image.manifest else tag
    else:
        target = StoreName.parse(to)
        if target.folder is None:
            raise UsageError(f"--to {to}: expected local, oci:DIR[:TAG] or docker-daemon:", hint="dockseal copy")
        destination, tag = desk.store(target), target.tag or asked.tag
    before = None if tag is None else destination.resolve(tag)
    with layer_rows(quiet=silent, words=PULL_WORDS) as rows:
        manifest = fetch(found, destination, tag, desk.uploads(destination, rows))
    return str(manifest.digest), before != manifest.digest


def _to_engine(desk: Desk, store: Store, found: Found, asked: StoreName, name: str) -> str:
    from cli.send import local_reference
    from cli.sources import engine
    from trust.oci.reference import Reference
    from trust.pull import load_into_engine

    reference = Reference.parse(name).with_default_tag() if name else local_reference(store, asked.tag or "latest")
    return str(load_into_engine(found, engine(), reference, desk.spool).digest)


def _inspection_json(found: Inspection, store: Store) -> dict[str, object]:
    verified = found.trusted.verified
    return {
        "repository": store.repository,
        "signedAs": verified.terms.repository,
        "verdict": "trusted" if found.error is None else found.error.verdict,
        "reason": None if found.error is None else found.error.message,
        "state": {
            "version": verified.version,
            "identity": verified.identity,
            "digest": str(found.trusted.digest),
            "pending": list(verified.links.pending),
        },
        "root": {"version": int(verified.root.version), "sha256": verified.root_sha256},
        "pin": found.trusted.pin.anchor,
        "roles": [
            {
                "role": item.role,
                "version": item.version,
                "threshold": item.threshold,
                "keys": list(item.key_ids),
                "keysHere": [key.label for key in item.held],
                "expires": terminal.moment(item.expires),
            }
            for item in found.roles
        ],
        "signers": signer_rows(verified),
        "tags": [
            {
                "tag": item.tag,
                "digest": str(item.digest),
                "size": item.size,
                "signers": list(item.signers),
                "signedAt": item.signed_at,
                "registryDigest": _text(item.registry_digest),
                "drift": item.drift,
            }
            for item in found.tags
        ],
        "unsigned": list(found.unsigned),
    }


def _show_inspection(found: Inspection, store: Store, desk: Desk) -> None:
    verified = found.trusted.verified
    terminal.say(f"{store.name}")
    if verified.terms.repository != store.repository:
        terminal.say(f"  copy of   {verified.terms.repository}")
    terminal.say(f"  state     version {verified.version}, {verified.identity[:12]}")
    terminal.say(f"  root      version {verified.root.version}, sha256:{verified.root_sha256}")
    terminal.say(f"  pin       {found.trusted.pin.anchor}")
    for identity in verified.links.pending:
        terminal.say(
            f"  pending   {identity[:12]}: another writer's change that is not part of this state; "
            f"next, where its key is: dockseal repo refresh {store.name}"
        )
    terminal.say("")
    rows = [
        (
            item.role,
            str(item.version),
            f"{item.threshold} of {len(item.key_ids)}",
            ", ".join(_key_names(item.key_ids, {key.key_id: key.label for key in item.held})),
            f"{terminal.moment(item.expires)} ({terminal.in_days(item.expires, desk.now)})",
        )
        for item in found.roles
    ]
    terminal.say(terminal.table(("ROLE", "VERSION", "KEYS", "WHO", "EXPIRES"), rows))
    if signers := signer_rows(verified):
        terminal.say("")
        terminal.say(signer_table(signers, desk))
    terminal.say("")
    tags = [
        (item.tag, item.digest.short, ", ".join(item.signers), item.signed_at, item.drift or "ok")
        for item in found.tags
    ]
    if tags:
        terminal.say(terminal.table(("SIGNED TAG", "DIGEST", "SIGNERS", "SIGNED AT", "REGISTRY"), tags))
    else:
        terminal.say("No tag is signed.")
    if found.unsigned:
        terminal.say("")
        terminal.say(f"Not signed: {', '.join(found.unsigned)}")


def _key_names(key_ids: tuple[str, ...], labels: dict[str, str]) -> list[str]:
    """Label and the first 7 digits of the id; keys of others have no label here."""
    return [f"{labels[key_id]} ({key_id[:7]})" if key_id in labels else key_id[:7] for key_id in key_ids]
