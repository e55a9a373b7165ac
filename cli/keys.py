"""key generate, add, list, load, export, passwd, remove."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options, terminal
from cli.desk import Desk
from trust.errors import UsageError

if TYPE_CHECKING:
    from trust.keys.store import Restored

app = typer.Typer(no_args_is_help=True, help="Keys of this machine: make, back up, load, protect")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Label, id, or the first 7 digits of an id.")]
MAX_FILE_BYTES = 16 << 20
"""Of a backup; a single key is smaller."""
RootKey = Annotated[bool, typer.Option("--root-key", help="It signs roots: follows the root passphrase variable.")]


class Kind(StrEnum):
    """Kinds of key."""

    ED25519 = "ed25519"
    ECDSA = "ecdsa"
    RSA = "rsa"


@options.explained(app)
def generate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    kind: Annotated[Kind, typer.Option("--kind", help="ed25519, ecdsa (P-256) or rsa (3072).")] = Kind.ED25519,
    root_key: RootKey = False,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Make a key, encrypted with a passphrase.

    Example:
      dockseal key generate release
    """
    desk = Desk(passphrase_file=passphrase_file)
    key = desk.keys.generate(name, kind=kind.value, purpose="root" if root_key else "repository")
    terminal.say(f"Made the key {key.label} ({key.short})")


@options.explained(app)
def add(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="hsm:, gnupg:, awskms:, gcpkms:, azurekms: or hv: and what follows.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it; else the kind and its id.")
    ] = None,
    root_key: RootKey = False,
) -> None:
    """Use a key that stays where it is: on a token (PKCS#11), in GnuPG, in a cloud's KMS, in Vault.

    Its public key is fetched now; it signs like any other key. A token's PIN comes from DOCKSEAL_PIN or a prompt.

    Example:
      dockseal key add "hsm:2?label=release" --name release
    """
    key = Desk().keys.add(uri, name, purpose="root" if root_key else "repository")
    terminal.say(f"Added the {key.public.keytype} key {key.label} ({key.short}), which stays in {key.uri}")


@options.explained(app, "list")
def list_keys(output: options.OutputOption = options.Output.TEXT) -> None:
    """List the keys of this machine.

    Example:
      dockseal key list
    """
    keys = Desk().keys.keys()
    if output is options.Output.JSON:
        terminal.say_json(
            [
                {
                    "label": key.label,
                    "id": str(key.key_id),
                    "type": key.public.keytype,
                    "purpose": key.purpose,
                    "created": key.created,
                    "uri": key.uri,
                    "backedUp": key.backed_up,
                }
                for key in keys
            ]
        )
        return
    rows = [
        (
            key.label,
            key.short,
            key.public.keytype,
            key.purpose,
            key.created,
            key.uri or "here",
            key.backed_up or ("never" if key.uri is None else "-"),
        )
        for key in keys
    ]
    terminal.say(terminal.table(("LABEL", "ID", "TYPE", "FOR", "CREATED", "WHERE", "EXPORTED"), rows))


@options.explained(app)
def load(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A private key (PEM, OpenSSH, docker's or notary's), or a backup of all."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it; else the file's name.")
    ] = None,
    root_key: RootKey = False,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Take in a private key that was made elsewhere, or a backup.

    A file of docker's or notary's says itself whether it is a root key.

    Example:
      dockseal key load ~/.docker/trust/private/1f0a....key
    """
    from trust import loadkeys

    desk = Desk(passphrase_file=passphrase_file)
    data = _read(file)
    if loadkeys.is_backup(data):
        if name is not None or root_key:
            raise UsageError("a backup brings its names and purposes along: leave --name and --root-key out")
        _say_restored(loadkeys.load_backup(desk.keys, data))
        return
    done = loadkeys.load_key(desk.keys, data, file.name, label=name, purpose="root" if root_key else None)
    said = [f"{what} {value!r}" for what, value in (("role", done.labels.role), ("GUN", done.labels.gun)) if value]
    origin = f"; its file says {', '.join(said)}" if said else ""
    key = done.key
    terminal.say(f"Loaded the {key.public.keytype} {key.purpose} key {key.label} ({key.short}){origin}")


@options.explained(app)
def export(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Label, id, or the first 7 digits of an id.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="The public key, to hand to others.")] = False,
    every: Annotated[bool, typer.Option("--all", help="All keys, in one encrypted archive.")] = False,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Write a key to standard output: encrypted as it is stored, a backup; or its public half; or all keys.

    The archive of all keys has a passphrase of its own; the keys in it keep theirs.

    Example:
      dockseal key export --all > keys.backup
    """
    if every == (name is not None) or (every and public):
        raise UsageError("expected the NAME of a key, perhaps with --public, or --all")
    desk = Desk(passphrase_file=passphrase_file)
    keys = desk.keys.keys() if name is None else (desk.keys.find(name),)
    if every:
        data = desk.keys.export_all()
    else:
        data = desk.keys.export_public(keys[0]) if public else desk.keys.export_private(keys[0])
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    if not public:
        desk.keys.note_backup(keys)
    if every:
        terminal.note(f"Wrote {len(keys)} key{'s' * (len(keys) != 1)}; keep this away from the machine")


@options.explained(app)
def passwd(name: KeyName, passphrase_file: options.PassphraseFile = None) -> None:
    """Change a key's passphrase. Backups keep the old one.

    Off a terminal the old passphrase comes as always, the new one from DOCKSEAL_NEW_PASSPHRASE.

    Example:
      dockseal key passwd root
    """
    desk = Desk(passphrase_file=passphrase_file, replacing_passphrase=True)
    key = desk.keys.find(name)
    desk.keys.change_passphrase(key)
    terminal.say(f"Changed the passphrase of {key.label} ({key.short})")


@options.explained(app)
def remove(name: KeyName, yes: options.Yes = False) -> None:
    """Remove a key from this machine. Without a backup it is gone.

    Example:
      dockseal key remove release
    """
    desk = Desk()
    key = desk.keys.find(name)
    fate = "Without a backup it is gone." if key.uri is None else f"The key itself stays in {key.uri}."
    question = f"Remove the {key.purpose} key {key.label} ({key.short})? {fate}"
    if not terminal.confirm(question, yes=yes):
        terminal.note("Nothing was removed.")
        raise typer.Exit(1)
    desk.keys.remove(key)
    terminal.say(f"Removed the key {key.label} ({key.short})")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{file} is no key and no backup: it is larger than {MAX_FILE_BYTES} bytes")
    return data


def _say_restored(found: tuple[Restored, ...]) -> None:
    for each in found:
        what = f"the {each.key.public.keytype} {each.key.purpose} key {each.key.label} ({each.key.short})"
        terminal.say(f"{'Left as it is' if each.was_here else 'Restored'}: {what}")
