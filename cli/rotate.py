"""key rotate: change the keys and the threshold of a role."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, signers, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import DocksealError, KeyUnavailableError, UsageError

if TYPE_CHECKING:
    from trust.tuf.edits import KeyChange
    from trust.writer import Writer


def rotate(
    repository: Annotated[str | None, typer.Argument(metavar="REPO", help="registry/name, or oci:FOLDER.")] = None,
    role: Annotated[
        str | None, typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp, or a signer.")
    ] = None,
    new_key: Annotated[
        list[str] | None,
        typer.Option(
            "--new-key", metavar="KEY", help="A key of this machine or a public key file; may be given again."
        ),
    ] = None,
    remove_key: Annotated[
        list[str] | None,
        typer.Option("--remove-key", metavar="KEY", help="Label or id; need not be here; may be given again."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, help="How many keys must sign from now on.")
    ] = None,
    all_repos: Annotated[
        bool, typer.Option("--all-repos", help="In every repository this machine knows that uses --remove-key.")
    ] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Change who signs a role. What a removed key signed is signed anew, after it was shown.

    Without options every key of the role that is on this machine is replaced by one new key. Those who pinned
    an earlier root follow by themselves. What lacks signatures becomes a proposal.

    Examples:
      dockseal key rotate ghcr.io/acme/app root --new-key carol.pub --threshold 2
      dockseal key rotate ghcr.io/acme/app ci --remove-key ci1 --new-key ci2
      dockseal key rotate --all-repos --remove-key root --new-key root-2027
    """
    desk = Desk(passphrase_file=passphrase_file)
    trust = TrustOptions(root=root, as_name=as_name)
    if all_repos:
        if repository is not None or not remove_key or len(remove_key) != 1 or not new_key or threshold is not None:
            raise UsageError("--all-repos takes one --remove-key and at least one --new-key, and neither REPO nor ROLE")
        _rotate_everywhere(desk, remove_key[0], new_key, yes=yes, dry_run=dry_run, output=output)
        return
    if repository is None or role is None:
        raise UsageError("expected a repository and a role", hint="dockseal key rotate REPO ROLE, or --all-repos")
    from trust.team import plan_rotation

    writer = changes.writer_of(desk, repository, trust)
    change = _change(desk, writer, role, new_key or [], remove_key or [], threshold, dry_run=dry_run)
    edit = plan_rotation(writer, role, change, desk.now)
    ask = bool(change.remove) and not yes and terminal.is_interactive()
    result = changes.settle(desk, writer, repository, edit, dry_run=dry_run, output=output, ask=ask)
    changes.say_results([result], output)


def _change(
    desk: Desk,
    writer: Writer,
    role: str,
    new: list[str],
    removed: list[str],
    threshold: int | None,
    *,
    dry_run: bool,
) -> KeyChange:
    from trust.repo import label_for
    from trust.tuf.edits import KeyChange

    base = writer.base()
    try:
        current = base.role(role)
    except KeyError as error:
        known = ", ".join(sorted({*base.root.roles, *base.targets}))
        raise UsageError(f"there is no role {role!r}: roles are {known}") from error
    if new or removed or threshold is not None:
        return KeyChange(
            tuple(signers.public_key(desk, text) for text in new),
            tuple(_key_id(desk, text, current.keyids) for text in removed),
            threshold,
        )
    held = writer.signing.held(current)
    if not held:
        raise UsageError(f"no key of {role} is on this machine: expected --new-key and --remove-key")
    if dry_run:
        raise UsageError("a dry run makes no key: expected --new-key", hint="dockseal key generate NAME")
    label = _free_label(desk, label_for(writer.store.repository, role) if role != "root" else "root")
    key = desk.keys.generate(label, purpose="root" if role == "root" else "repository")
    terminal.note(f"Made the key {key.label} ({key.short})")
    return KeyChange(
        (key.public,), tuple(item.key_id for item in held), min(current.threshold, len(current.keyids) - len(held) + 1)
    )


def _free_label(desk: Desk, label: str) -> str:
    taken = {key.label for key in desk.keys.keys()}  # noqa: SIM118 - a KeyStore is no dict
    number = 2
    while f"{label}-{number}" in taken:
        number += 1
    return f"{label}-{number}"


def _key_id(desk: Desk, text: str, of_role: list[str]) -> str:
    """A key of the role, by label of this machine, id or the beginning of an id."""
    labels = {key.label: str(key.key_id) for key in desk.keys.keys()}  # noqa: SIM118 - a KeyStore is no dict
    wanted = labels.get(text, text)
    fitting = [key_id for key_id in of_role if key_id.startswith(wanted)]
    if len(fitting) != 1 or len(wanted) < 7:  # noqa: PLR2004 - the digits that are shown
        raise UsageError(f"the role has no key {text!r}: it has {', '.join(changes.key_names(desk, of_role))}")
    return fitting[0]


def _rotate_everywhere(
    desk: Desk, old: str, new: list[str], *, yes: bool, dry_run: bool, output: options.Output
) -> None:
    """In every repository that uses the key; those that do no longer are passed over, so it can be run again."""
    from trust.team import plan_replacement

    wanted = _wanted(desk, old)
    replacements = tuple(signers.public_key(desk, text) for text in new)
    found, failed = _uses(desk, wanted)
    if len({key_id for _, key_id, _ in found}) > 1:
        raise UsageError(f"several keys begin with {old}: expected more digits")
    called = changes.key_names(desk, [found[0][1] if found else wanted])[0]
    for name, _, roles in found:
        terminal.note(f"{name}: {', '.join(roles)}")
    results: list[dict[str, object]] = []
    if not found and output is options.Output.TEXT:
        terminal.say(f"No known repository uses {called}")
    elif found and not dry_run and not terminal.confirm(f"Replace {called} in {len(found)} repositories?", yes=yes):
        terminal.note("Nothing was changed.")
        raise typer.Exit(changes.NOTHING_DONE)
    for name, key_id, roles in found:
        try:
            writer = changes.writer_of(desk, name, TrustOptions())
            edit = plan_replacement(writer, roles, key_id, replacements, desk.now)
            results.append(changes.settle(desk, writer, name, edit, dry_run=dry_run, output=output))
        except KeyUnavailableError:
            raise  # the next repository needs it as well
        except DocksealError as error:
            terminal.warn(f"{name}: {error}")
            failed = True
    if output is options.Output.JSON:
        terminal.say_json([{"schema": terminal.SCHEMA, **item} for item in results])
    if failed:
        terminal.note("Hint: run the same command again for what is left; it passes over what is done")
        raise typer.Exit(changes.NOTHING_DONE)


def _wanted(desk: Desk, text: str) -> str:
    """The id of a key of this machine, or the beginning of the id of one that was lost, or that others have."""
    try:
        return desk.keys.find(text).key_id
    except KeyUnavailableError:
        if re.fullmatch(r"[0-9a-f]{7,64}", text) is None:
            raise
        return text


def _uses(desk: Desk, wanted: str) -> tuple[list[tuple[str, str, list[str]]], bool]:
    """The known repositories with the key's id and the roles that it is in; whether one could not be looked at."""
    from trust.memory import known_repositories

    found: list[tuple[str, str, list[str]]] = []
    failed = False
    for repository in known_repositories(desk.home / "cache"):
        name = f"oci:{repository}" if repository.startswith("/") else repository
        try:
            base = changes.writer_of(desk, name, TrustOptions()).base()
        except DocksealError as error:
            terminal.warn(f"{name} is left out: {error}")
            failed = True
            continue
        keys = {role: base.role(role).keyids for role in (*base.root.roles, *base.targets)}
        for key_id in sorted({key_id for of_role in keys.values() for key_id in of_role if key_id.startswith(wanted)}):
            found += [(name, key_id, [role for role, of_role in keys.items() if key_id in of_role])]
    return found, failed
