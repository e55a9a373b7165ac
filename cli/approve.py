"""approve: what was proposed, shown in words, and one's signature after a yes."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import UsageError

if TYPE_CHECKING:
    from trust.proposals import Proposal
    from trust.writer import Writer


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    options.explained(app)(approve)


def approve(
    repository: Annotated[str, typer.Argument(metavar="REPO", help="registry/name, or oci:FOLDER.")],
    proposal: Annotated[str | None, typer.Argument(metavar="[PROPOSAL]", help="The beginning of its id.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Show the open proposals.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Remove the proposal.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write it to a file, for a machine with no network.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Approve what is in the file, and write it back there."),
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Bring the signatures in the file to the proposal.")
    ] = None,
    yes: options.Yes = False,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Show what was proposed, and add your signature after a yes; the last one that is needed publishes it.

    Examples:
      dockseal approve ghcr.io/acme/app
      dockseal approve ghcr.io/acme/app 3f9a --export release.json
    """
    from trust import approval

    if sum(bool(choice) for choice in (list_only, reject, export, file, import_)) > 1:
        raise UsageError("--list, --reject, --export, --file and --import exclude each other")
    desk = Desk(passphrase_file=passphrase_file)
    writer = changes.writer_of(desk, repository, TrustOptions(trust_on_first_use, root, as_name))
    text = output is options.Output.TEXT
    if file is not None:
        _approve_file(desk, writer, repository, file, yes=yes)
        return
    proposals = approval.open_proposals(writer, desk.now)
    if list_only:
        _list(desk, writer, proposals, output)
        return
    if import_ is not None:
        outcome = approval.import_file(writer, options.read_file(import_))
        changes.say_results([changes.say(outcome, writer, repository, text=text)], output)
        return
    from trust.proposals import find

    chosen = find(proposals, proposal)
    if text:
        _show(desk, writer, chosen)
    if reject:
        if not terminal.confirm(f"Reject proposal {chosen.id}?", yes=yes):
            raise typer.Exit(changes.NOTHING_DONE)
        approval.reject(writer, chosen)
        terminal.say(f"Rejected proposal {chosen.id}")
        return
    if chosen.problem is not None:
        raise chosen.problem
    if export is not None:
        from trust.files import write_atomically

        write_atomically(export, approval.export_file(writer, chosen), mode=0o644)
        terminal.say(
            f"Wrote proposal {chosen.id} to {export}; next, where the key is: "
            f"dockseal approve {repository} --file {export.name}"
        )
        return
    if not terminal.confirm(f"Approve proposal {chosen.id}?", yes=yes):
        terminal.note("Nothing was signed.")
        raise typer.Exit(changes.NOTHING_DONE)
    outcome = approval.approve(writer, chosen)
    changes.say_results([changes.say(outcome, writer, repository, text=text)], output)


def _list(desk: Desk, writer: Writer, proposals: tuple[Proposal, ...], output: options.Output) -> None:
    from trust.tuf.differences import differences

    if output is options.Output.JSON:
        terminal.say_json(
            [
                {
                    "schema": terminal.SCHEMA,
                    "proposal": item.id,
                    "base": item.base,
                    "problem": None if item.problem is None else item.problem.message,
                    "lacking": [f"{need.lacking} of {need.who}" for _, need in item.proposed.lacking()],
                    "changes": changes.as_json(differences(writer.standing(), item.proposed)),
                }
                for item in proposals
            ]
        )
        return
    if not proposals:
        terminal.say("No proposal is open")
    for item in proposals:
        _show(desk, writer, item)


def _show(desk: Desk, writer: Writer, proposal: Proposal) -> None:
    from trust.tuf.differences import differences

    if proposal.problem is not None:
        terminal.say(f"proposal {proposal.id}: {proposal.problem.message}")
        return
    changes.show(differences(writer.standing(), proposal.proposed), desk, f"proposal {proposal.id}:")
    for draft in proposal.proposed.drafts:
        for need in draft.needs:
            signed = ", ".join(changes.key_names(desk, sorted(need.signed))) or "nobody"
            terminal.say(f"  {need.who}: {len(need.signed)} of {need.threshold} signed ({signed})")


def _approve_file(desk: Desk, writer: Writer, repository: str, path: Path, *, yes: bool) -> None:
    from trust import approval
    from trust.files import write_atomically
    from trust.tuf.differences import differences

    opened = approval.open_file(writer, options.read_file(path))
    changes.show(differences(opened.base, opened.proposed), desk, f"proposal {opened.id} for {repository}:")
    if not terminal.confirm(f"Approve proposal {opened.id}?", yes=yes):
        terminal.note("Nothing was signed.")
        raise typer.Exit(changes.NOTHING_DONE)
    write_atomically(path, approval.sign_file(writer, opened), mode=0o644)
    terminal.say(f"Signed proposal {opened.id}; next, with network: dockseal approve {repository} --import {path.name}")
