"""key generate, list, load, export, passwd, remove."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from cli import options, terminal
from cli.desk import Desk
from trust.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Keys of this machine: make, back up, load, protect")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Label, id, or the first 7 digits of an id.")]
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
                }
                for key in keys
            ]
        )
        return
    rows = [(key.label, key.short, key.public.keytype, key.purpose, key.created) for key in keys]
    terminal.say(terminal.table(("LABEL", "ID", "TYPE", "FOR", "CREATED"), rows))


@options.explained(app)
def load(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private key: PEM or OpenSSH, encrypted or not.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it; else the file's name.")
    ] = None,
    root_key: RootKey = False,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Take in a private key that was made elsewhere, or a backup.

    Example:
      dockseal key load backup.pem --name root --root-key
    """
    desk = Desk(passphrase_file=passphrase_file)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    key = desk.keys.load(data, name or file.name.partition(".")[0], purpose="root" if root_key else "repository")
    terminal.say(f"Loaded the {key.public.keytype} key {key.label} ({key.short})")


@options.explained(app)
def export(
    name: KeyName,
    public: Annotated[bool, typer.Option("--public", help="The public key, to hand to others.")] = False,
) -> None:
    """Write a key to standard output: encrypted as it is stored, a backup; or its public half.

    Example:
      dockseal key export root > root.backup.pem
    """
    desk = Desk()
    key = desk.keys.find(name)
    sys.stdout.buffer.write(desk.keys.export_public(key) if public else desk.keys.export_private(key))


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
    question = f"Remove the {key.purpose} key {key.label} ({key.short})? Without a backup it is gone."
    if not terminal.confirm(question, yes=yes):
        terminal.note("Nothing was removed.")
        raise typer.Exit(1)
    desk.keys.remove(key)
    terminal.say(f"Removed the key {key.label} ({key.short})")
