"""signer add, remove, list: who may sign which tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from trust.tuf.verified import Verified

app = typer.Typer(no_args_is_help=True, help="Signers of a repository: who may sign which tags.")
SignerName = Annotated[str, typer.Argument(metavar="NAME", help="The signer: a-z, 0-9 and _.")]
Repositories = Annotated[list[str], typer.Argument(metavar="REPO..", help="registry/name, or oci:FOLDER.")]


@options.explained(app)
def add(
    name: SignerName,
    repositories: Repositories,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUB", help="A public key file, or a key of this machine; may be given again."),
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tags", metavar="PATTERN", help="Tags it may sign: 'v*'; all by default.")
    ] = None,
    threshold: Annotated[int, typer.Option("--threshold", min=1, help="How many of its keys must sign.")] = 1,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DAYS", help="How long its signatures live: 90d.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Whether it publishes with its own key alone.")
    ] = True,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Move the tags that targets signs now to this signer.")
    ] = False,
    bins: options.Bins = 0,
    dry_run: options.DryRun = False,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Let somebody sign tags with a key of their own.

    The signer goes live with its first signature: at once where its key is on this machine, else with its own
    push or sign. Once there are signers, pushes sign as them, and no longer as targets.

    Example:
      dockseal signer add ci ghcr.io/acme/app --key ci.pub --tags 'v*'
    """
    from trust.team import plan_signer
    from trust.tuf.edits import ALL_TAGS, NewSigner

    desk = Desk(passphrase_file=passphrase_file)
    keys = tuple(public_key(desk, text) for text in key or ())
    if not keys and not adopt:
        raise UsageError(
            f"the signer {name} needs a public key",
            hint=f"dockseal signer add {name} REPO --key FILE; or signer invite",
        )
    days = None if expires is None else options.number_of_days(expires)
    results = []
    for repository in repositories:
        writer = changes.writer_of(desk, repository, TrustOptions(root=root, as_name=as_name))
        publishes = publish and bool(keys)
        if publishes and not writer.signing.can_sign(writer.base().root.roles["root"]):
            terminal.warn(
                f"the root key of {repository} is not here: {name} will sign, and the next publisher publishes it"
            )
            publishes = False
        signer = NewSigner(name, keys, threshold, tuple(tags or ALL_TAGS), days, publishes, bins)
        edit = plan_signer(writer, signer, desk.now, adopt=adopt)
        results.append(changes.settle(desk, writer, repository, edit, dry_run=dry_run, output=output))
    changes.say_results(results, output)


@options.explained(app)
def remove(
    name: SignerName,
    repositories: Repositories,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Take a signer away: tags that it alone signed are trusted no more.

    Example:
      dockseal signer remove ci ghcr.io/acme/app
    """
    from trust.team import plan_removal

    desk = Desk(passphrase_file=passphrase_file)
    results = []
    for repository in repositories:
        writer = changes.writer_of(desk, repository, TrustOptions(root=root, as_name=as_name))
        edit = plan_removal(writer, name, desk.now)
        results.append(changes.settle(desk, writer, repository, edit, dry_run=dry_run, output=output, ask=not yes))
    changes.say_results(results, output)


@options.explained(app, "list")
def list_signers(
    repository: Annotated[str, typer.Argument(metavar="REPO", help="registry/name, or oci:FOLDER.")],
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Show who can sign what.

    Example:
      dockseal signer list ghcr.io/acme/app
    """
    desk = Desk()
    store = changes.store_of(desk, repository, as_name)
    trusted = changes.read(desk, store, TrustOptions(trust_on_first_use, root, as_name))
    rows = signer_rows(trusted.verified)
    if output is options.Output.JSON:
        terminal.say_json({"repository": store.repository, "signers": rows})
    elif rows:
        terminal.say(signer_table(rows, desk))
    else:
        terminal.say(f"{store.name} has no signers: targets signs its tags")


def signer_rows(verified: Verified) -> list[dict[str, object]]:
    """Who can sign what, as ``signer list`` and ``inspect`` give it."""
    delegations = verified.targets["targets"].delegations
    publishers = set(verified.root.roles["timestamp"].keyids) & set(verified.root.roles["snapshot"].keyids)
    return [
        {
            "signer": name,
            "threshold": role.threshold,
            "keys": list(role.keyids),
            "tags": list(role.paths or ()),
            "publishes": bool(set(role.keyids) & publishers),
            "expires": terminal.moment(verified.targets[name].expires),
        }
        for name, role in ((delegations.roles if delegations is not None else None) or {}).items()
    ]


def signer_table(rows: list[dict[str, object]], desk: Desk) -> str:
    """The same for people."""
    cells = [
        (
            str(row["signer"]),
            f"{row['threshold']} of {len(changes.texts(row['keys']))}",
            ", ".join(changes.key_names(desk, changes.texts(row["keys"]))),
            " ".join(changes.texts(row["tags"])),
            "yes" if row["publishes"] else "no",
            str(row["expires"]),
        )
        for row in rows
    ]
    return terminal.table(("SIGNER", "KEYS", "WHO", "MAY SIGN", "PUBLISHES", "EXPIRES"), cells)


def public_key(desk: Desk, text: str) -> Key:
    """A public key by file name, or by the label or id of a key that is here.

    Raises:
        UsageError: it is neither.
    """
    from trust.keys.store import load_public

    path = Path(text)
    if path.is_file():
        return load_public(path.read_bytes())
    return desk.keys.find(text).public


@options.explained(app)
def invite(
    name: SignerName,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="registry/name, or oci:FOLDER.")],
    tags: Annotated[
        list[str] | None, typer.Option("--tags", metavar="PATTERN", help="Tags it may sign: 'v*'; all by default.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DAYS", help="How long its signatures live: 90d.")
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Whether it publishes with its own key alone.")
    ] = True,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Invite somebody to sign: they make the key on their own machine, and you approve it.

    Example:
      dockseal signer invite carol ghcr.io/acme/app --tags 'v*'
    """
    from trust.invitations import Invitation
    from trust.invitations import invite as leave
    from trust.tuf.edits import ALL_TAGS

    desk = Desk()
    writer = changes.writer_of(desk, repository, TrustOptions(root=root, as_name=as_name))
    days = None if expires is None else options.number_of_days(expires)
    leave(writer, Invitation(name, tuple(tags or ALL_TAGS), days, publish))
    terminal.say(f"Invited {name} to sign {' '.join(tags or ALL_TAGS)} in {repository}")
    terminal.note(
        f"Hint: {name} runs: dockseal signer accept {repository} {name}; then you: dockseal approve {repository}"
    )


@options.explained(app)
def accept(
    repository: Annotated[str, typer.Argument(metavar="REPO", help="registry/name, or oci:FOLDER.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The signer that you were invited as.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="A key of this machine; else one is made.")
    ] = None,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Answer an invitation with the public half of a key of yours; it signs once it was approved.

    Example:
      dockseal signer accept ghcr.io/acme/app carol
    """
    from trust.invitations import accept as answer
    from trust.invitations import open_invitations

    desk = Desk(passphrase_file=passphrase_file)
    writer = changes.writer_of(desk, repository, TrustOptions(trust_on_first_use, root, as_name))
    found = [item for item in open_invitations(writer.store) if name in (None, item.name)]
    if len({item.name for item in found}) != 1:
        there = ", ".join(sorted({item.name for item in found})) or "none"
        raise UsageError(
            f"expected one invitation{'' if name is None else f' as {name}'} to {repository}: there are {there}",
            hint="dockseal signer accept REPO NAME; or ask for one: dockseal signer invite NAME REPO",
        )
    invitation = found[-1]
    writer.standing()  # a repository that is not trusted here gets no key of ours
    labels = {item.label for item in desk.keys.keys()}  # noqa: SIM118 - a KeyStore is no dict
    label = key or invitation.name
    stored = desk.keys.find(label) if key is not None or label in labels else desk.keys.generate(label)
    answer(writer, invitation, desk.keys.signer(stored), desk.now)
    tags = " ".join(invitation.patterns)
    terminal.say(f"Accepted: {invitation.name} will sign {tags} with the key {stored.label} ({stored.short})")
    terminal.note(f"Hint: tell those who approve it your key's id, {stored.key_id}")
    terminal.note(f"Hint: they run `dockseal approve {repository}`")
