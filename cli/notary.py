"""notary verify, inspect, import, publish, export-keys: docker's content trust, while there is a Notary server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, notaryshow, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import DocksealError, MismatchError, MissingError, UsageError

if TYPE_CHECKING:
    from cli.notarydesk import Notary
    from trust.digest import Digest
    from trust.machine import Machine
    from trust.notary.publish import Change
    from trust.oci.store import Store
    from trust.takeover import TakenOver, Takeover

app = typer.Typer(no_args_is_help=True, help="Docker Content Trust: read it, take it over, sign for it.")
NOTHING_DONE = 1
ImageArgument = Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="registry/name:tag.")]
RepositoryArgument = Annotated[str, typer.Argument(metavar="NAME", help="registry/name.")]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="The Notary server; else DOCKER_CONTENT_TRUST_SERVER, else docker's default."
    ),
]
NotaryRoot = Annotated[
    Path | None, typer.Option("--root", metavar="FILE", help="The root.json to trust, of the Notary repository.")
]
FirstUse = Annotated[
    bool,
    typer.Option("--trust-on-first-use", help="Where no root is known here, trust the one that is there; say which."),
]


@options.explained(app)
def verify(
    name: ImageArgument,
    server: ServerOption = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: FirstUse = False,
    root: NotaryRoot = None,
) -> None:
    """Say what a tag is signed to mean on a Notary server, and whether the registry's tag is still that.

    Example:
      dockseal notary verify --server https://notary.example ghcr.io/acme/app:v1
    """
    from trust.oci.source import StoreName

    desk = Desk()
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: a tag is what a Notary server signs")
    tag = asked.tag or "latest"
    store = desk.store(asked)
    notary = notary_of(desk, store, server, root, first_use=trust_on_first_use)
    result: dict[str, object] = {
        "reference": f"{store.name}:{tag}",
        "repository": notary.gun,
        "server": notary.url.text,
        "tag": tag,
        "digest": None,
        "registryDigest": None,
        "verdict": "trusted",
        "role": None,
        "signers": [],
        "expires": None,
        "reason": None,
    }
    try:
        repository = notary.read()
        found = repository.trusted_tag(tag)
        result |= notaryshow.found_json(repository, found)
        digest = notaryshow.digest(found)
        there = store.resolve(tag)
        result["registryDigest"] = None if there is None else str(there)
        _check_registry(f"{store.name}:{tag}", digest, there)
    except DocksealError as error:
        if error.verdict is None:
            raise
        if output is options.Output.JSON:
            terminal.say_json(result | {"verdict": error.verdict, "reason": error.message})
            raise typer.Exit(error.exit_code) from error
        terminal.note(f"{error.verdict}: {store.name}:{tag}")
        raise
    if output is options.Output.JSON:
        terminal.say_json(result)
        return
    terminal.say(f"trusted: {store.name}:{tag}")
    terminal.say(f"  digest   {digest}")
    terminal.say(f"  role     {found.role}")
    terminal.say(f"  signers  {', '.join(repository.signers_of(tag))}")
    terminal.say(f"  expires  {result['expires']}")


@options.explained(app)
def inspect(
    name: RepositoryArgument,
    server: ServerOption = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: FirstUse = False,
    root: NotaryRoot = None,
) -> None:
    """Show the roles, keys, expiries and signed tags that a Notary server has of a repository.

    Keys are shown by the ids that docker and notary call them.

    Example:
      dockseal notary inspect --server https://notary.example ghcr.io/acme/app
    """
    desk = Desk()
    notary = notary_of(desk, changes.store_of(desk, name, None), server, root, first_use=trust_on_first_use)
    repository = notary.read()
    roles = notaryshow.roles_json(repository, notary)
    if output is options.Output.JSON:
        terminal.say_json(
            {
                "repository": notary.gun,
                "server": notary.url.text,
                "root": notaryshow.root_json(repository),
                "roles": roles,
                "tags": [
                    {"tag": found.tag, **notaryshow.found_json(repository, found), "size": found.meta.length}
                    for found in repository.tags()
                ],
            }
        )
        return
    terminal.say(f"{notary.gun} at {notary.url.text}")
    notaryshow.say_root(repository)
    terminal.say("")
    rows = [
        (
            str(role["role"]),
            str(role["version"] or "-"),
            f"{role['threshold']} of {', '.join(str(key)[:12] for key in changes.texts(role['keys']))}",
            ", ".join(changes.texts(role["keysHere"])),
            " ".join(f"{path}*" for path in changes.texts(role["prefixes"])),
            str(role["problem"] or role["expires"] or "not signed yet"),
        )
        for role in roles
    ]
    terminal.say(terminal.table(("ROLE", "VERSION", "KEYS", "HERE", "TAGS", "EXPIRES"), rows))
    terminal.say("")
    notaryshow.say_tags(repository)


@options.explained(app, "import")
def import_(
    name: RepositoryArgument,
    server: ServerOption = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Docker's trust folder, or role files from a server."),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="DIR", help="Take the repository's private keys in, too.")
    ] = None,
    allow_expired: Annotated[
        bool, typer.Option("--allow-expired", help="With --from: take trust data that has expired.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Also take tags that mean something else here, where the registry agrees, or are not signed here.",
        ),
    ] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: FirstUse = False,
    root: NotaryRoot = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Take a repository over from Docker Content Trust: tags, signers and keys, into the registry itself.

    The trust data is verified up to a root that is known here, or is shown first. What can be kept and what cannot is
    listed, and published after a yes. It can be run again: what is here already is left alone.

    Examples:
      dockseal notary import --dry-run ghcr.io/acme/app
      dockseal notary import --keys ~/.docker/trust ghcr.io/acme/app
      dockseal notary import --from ~/.docker/trust ghcr.io/acme/app
    """
    from trust.notary.sources import key_files
    from trust.takeover import plan_takeover

    if folder is not None and server is not None:
        raise UsageError("--server and --from: expected one of them")
    if allow_expired and folder is None:
        raise UsageError("--allow-expired is for --from: what a server has must be fresh")
    desk = Desk(passphrase_file=passphrase_file)
    store = changes.store_of(desk, name, None)
    asks = terminal.is_interactive() and not yes
    notary = notary_of(desk, store, server, root, first_use=trust_on_first_use, shown=dry_run or asks)
    if folder is None:
        repository = notary.read(remember=False)
    else:
        repository = notary.read_folder(folder, allow_expired=allow_expired)
    writer = desk.writer(store, desk.machine(TrustOptions()))
    wanted = {key.canonical_id for _, key in repository.signing_keys() if notary.signing.find(key) is None}
    files = () if keys is None else tuple(key_files(keys, wanted))
    coming = {path.name[:64] for path in files}  # files are called after their keys
    plan = plan_takeover(repository, store, writer, notary.signing, desk.now, coming=coming, update=update)
    text = output is options.Output.TEXT
    if text:
        notaryshow.say_takeover(plan, files, str(folder or notary.url.text))
    result = notaryshow.takeover_json(plan, files, str(folder or notary.url.text))
    if dry_run or not (plan.changes or files):
        if text and not dry_run:
            terminal.say("Nothing to do.")
        elif not text:
            terminal.say_json(result | {"result": "dry-run" if dry_run else "unchanged"})
        return
    if not terminal.confirm("Take it over?", yes=yes):
        terminal.note("Nothing was changed.")
        raise typer.Exit(NOTHING_DONE)
    loaded = _load_keys(desk, files)
    done = None
    if plan.changes:
        plan = plan_takeover(repository, store, writer, notary.signing, desk.now, update=update)  # with the new keys
        done = _take_over(desk, store, writer_machine=desk.machine(TrustOptions()), plan=plan)
    if folder is None:
        notary.remember(repository)
    if text:
        notaryshow.say_taken_over(done, loaded, store)
    else:
        state = None if done is None else done.version
        proposals = [item.proposal for item in done.proposals] if done is not None else []
        terminal.say_json(result | {"result": "imported", "state": state, "loaded": loaded, "proposals": proposals})


@options.explained(app)
def publish(
    name: ImageArgument,
    server: ServerOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Withdraw there what is not signed here (any more).")] = False,
    dry_run: options.DryRun = False,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Sign on a Notary server what is signed here: one tag, or all, so that docker's clients accept it.

    A repository is begun there where there is none. Its keys are ECDSA keys of their own: `notary-root`, and one for
    its tags. Where docker has signers, a signer's key must be here (dockseal key load).

    Examples:
      dockseal notary publish --server https://notary.example ghcr.io/acme/app
      dockseal notary publish --prune ghcr.io/acme/app
    """
    from trust.oci.source import StoreName

    desk = Desk(passphrase_file=passphrase_file)
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: expected NAME or NAME:TAG, a tag is what is signed")
    if prune and asked.tag is not None:
        raise UsageError("--prune is for a whole repository: expected no tag")
    store = desk.store(asked)
    notary = notary_of(desk, store, server, None, first_use=trust_on_first_use)
    machine = desk.machine(TrustOptions(trust_on_first_use, root))
    change = _change(store, machine, asked.tag, notary if prune else None)
    if dry_run:
        notary.publisher().check(change)
        done = None
    else:
        done = notary.publisher().publish(change)
    if output is options.Output.JSON:
        terminal.say_json(
            {
                "repository": notary.gun,
                "server": notary.url.text,
                "result": "dry-run" if done is None else "published" if done.roles else "unchanged",
                "signed": sorted(change.put),
                "withdrawn": sorted(change.drop),
                "initialised": done is not None and done.initialised,
                "versions": None if done is None else done.repository.versions,
            }
        )
    elif done is None:
        terminal.say(f"Would sign at {notary.url.text}: {', '.join(sorted(change.put)) or 'nothing'}")
        terminal.say(f"Would withdraw there: {', '.join(sorted(change.drop)) or 'nothing'}")
    else:
        notaryshow.say_published(notary, change, done)


@options.explained(app)
def export_keys(
    name: RepositoryArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Docker's trust folder, such as ~/.docker/trust.")],
    server: ServerOption = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: FirstUse = False,
    root: NotaryRoot = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Write the keys of a Notary repository that are here for docker and notary, into their folder.

    With them `docker trust` and `notary` can sign what `notary publish` began. Files that are there stay.

    Example:
      dockseal notary export-keys --to ~/.docker/trust ghcr.io/acme/app
    """
    from trust.files import create_once
    from trust.notary.keys import Labels

    desk = Desk(passphrase_file=passphrase_file)
    notary = notary_of(desk, changes.store_of(desk, name, None), server, root, first_use=trust_on_first_use)
    repository = notary.read()
    written = []
    for role, key in repository.signing_keys():
        path = to.expanduser() / "private" / f"{key.canonical_id}.key"
        if path.exists():
            continue
        gun = notary.gun if role == "targets" else None
        data = notary.signing.exported(key, Labels(role.removeprefix("targets/"), gun))
        if data is not None and create_once(path, data, error=UsageError):
            written.append({"role": role, "file": str(path)})
    if output is options.Output.JSON:
        terminal.say_json({"repository": notary.gun, "written": written})
        return
    for item in written:
        terminal.say(f"Wrote the key of {item['role']}: {item['file']}")
    if not written:
        terminal.say("Nothing was written: no key of this repository is here that is not there already.")


def notary_of(
    desk: Desk, store: Store, server: str | None, root: Path | None, *, first_use: bool, shown: bool = False
) -> Notary:
    """The Notary repository of the same name as a store's."""
    from cli.notarydesk import Notary

    return Notary(desk, store.repository, server, root=root, first_use=first_use, shown=shown)


def _change(store: Store, machine: Machine, tag: str | None, prune: Notary | None) -> Change:
    """What is signed here, as a change there."""
    from trust.errors import UnsignedError
    from trust.notary.model import Meta
    from trust.notary.publish import Change
    from trust.read import Reader

    verified = Reader(store, machine).read(tag).verified
    put = {}
    for name in verified.tags if tag is None else (tag,):
        target = verified.lookup(name)
        if target is not None:
            put[name] = Meta(int(target.length), {"sha256": bytes.fromhex(str(target.hashes["sha256"]))})
    if tag is not None and not put:
        raise UnsignedError(f"the tag {tag!r} is not signed here", hint=f"dockseal sign {store.name}:{tag}")
    there = None if prune is None else prune.read_to_write()
    files = () if there is None else there.targets.values()
    return Change(put, frozenset(name for item in files for name in item.payload.targets) - set(put))


def _check_registry(name: str, digest: Digest, there: Digest | None) -> None:
    if there is None:
        raise MissingError(f"{name} does not exist in the registry; it is signed to mean {digest}")
    if there != digest:
        raise MismatchError(
            f"{name} is signed to mean {digest}: the registry's tag points at {there}",
            hint="docker pulls the signed digest; whoever owns the tag signs what it means now, or moves it back",
        )


def _load_keys(desk: Desk, files: tuple[Path, ...]) -> list[str]:
    from trust.loadkeys import load_key

    loaded = []
    for path in files:
        terminal.note(f"Loading {path}")  # whose passphrase is asked for, or wrong
        loaded.append(load_key(desk.keys, path.read_bytes(), path.name).key.label)
    return loaded


def _take_over(desk: Desk, store: Store, writer_machine: Machine, plan: Takeover) -> TakenOver:
    from cli.send import announce_keys, explain_root
    from trust.takeover import foundation_of, take_over

    writer = desk.writer(store, writer_machine)
    done = take_over(
        writer, plan, lambda: foundation_of(plan, desk.keys, store.repository, before_new=announce_keys), desk.now
    )
    if done.initialised:
        assert writer.heads is not None  # noqa: S101 - it has just been published
        explain_root(desk, store, writer.heads.base)
    return done
