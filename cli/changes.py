"""What the commands that change who may sign share: showing a change, asking, and saying what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli import options, terminal
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cli.desk import Desk, TrustOptions
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.team import Outcome
    from trust.tuf.differences import Differences, RoleDifference
    from trust.tuf.edits import Edit
    from trust.writer import Writer

NOTHING_DONE = 1


def store_of(desk: Desk, repository: str, as_name: str | None) -> Store:
    """The store of a repository argument.

    Raises:
        UsageError: it names an image.
    """
    from trust.oci.source import StoreName

    asked = StoreName.parse(repository)
    if asked.tag is not None or asked.digest is not None:
        raise UsageError(f"{repository} names an image: expected a repository, without tag and digest")
    return desk.store(asked, as_name)


def writer_of(desk: Desk, repository: str, trust: TrustOptions) -> Writer:
    """Writes a repository's trust data."""
    return desk.writer(store_of(desk, repository, trust.as_name), desk.machine(trust))


def read(desk: Desk, store: Store, trust: TrustOptions) -> Trusted:
    """The current state, verified but for its age.

    Raises:
        DocksealError: the verdict.
    """
    from trust.read import Reader

    reader = Reader(store, desk.machine(trust))
    trusted = reader.read_past_expiry()
    if trusted is None:
        raise reader.nothing_there()
    return trusted


def settle(
    desk: Desk,
    writer: Writer,
    repository: str,
    edit: Edit,
    *,
    dry_run: bool,
    output: options.Output,
    ask: bool = False,
) -> dict[str, object]:
    """Show a change, and carry it out unless it is a dry run; the result as JSON has it."""
    from trust.team import carry_out, preview

    found = preview(writer, edit)
    text = output is options.Output.TEXT
    if text:
        show(found, desk, f"{repository}:")
    if dry_run:
        return {"repository": writer.store.repository, "result": "dry-run", "changes": as_json(found)}
    if ask and not terminal.confirm("Go on?", yes=False):
        terminal.note("Nothing was changed.")
        raise typer.Exit(NOTHING_DONE)
    return say(carry_out(writer, edit), writer, repository, text=text)


def say(outcome: Outcome, writer: Writer, repository: str, *, text: bool) -> dict[str, object]:
    """What came of a change."""
    result: dict[str, object] = {"repository": writer.store.repository, "changes": as_json(outcome.differences)}
    if outcome.state is not None:
        if text:
            terminal.say(f"Published: {repository} is at state {outcome.state.verified.version}")
        return result | {"result": "published", "state": outcome.state.verified.version}
    lacking = [f"{need.lacking} of {need.who}" for _, need in outcome.proposed.lacking()]
    if text:
        waits = f"it waits for signatures: {', '.join(lacking)}" if lacking else "the next publisher completes it"
        terminal.say(f"Proposed: {outcome.proposal}; {waits}")
        if lacking:
            terminal.note(f"Hint: whoever holds such a key runs: dockseal approve {repository} {outcome.proposal}")
    return result | {"result": "proposed", "proposal": outcome.proposal, "lacking": lacking}


def say_results(results: list[dict[str, object]], output: options.Output) -> None:
    """The results of several repositories as JSON: one object, or a list."""
    if output is options.Output.JSON:
        terminal.say_json(
            results[0] if len(results) == 1 else [{"schema": terminal.SCHEMA, **item} for item in results]
        )


def show(found: Differences, desk: Desk, head: str) -> None:
    """A change in words."""
    terminal.say(head)
    for role in found.roles:
        for line in _role_lines(role, desk):
            terminal.say(f"  {line}")
    for tag in found.tags:
        before = "not trusted" if tag.before is None else tag.before.short
        after = "NOT TRUSTED ANY MORE" if tag.after is None else tag.after.short
        terminal.say(f"  tag {tag.tag}: {before} -> {after}")
    for term in found.terms:
        terminal.say(f"  {term.term}: {term.before or 'none'} -> {term.after or 'none'}")
    if not found.roles and not found.tags:
        terminal.say("  nothing changes")


def as_json(found: Differences) -> dict[str, object]:
    """A change as JSON has it."""
    return {
        "tags": [{"tag": item.tag, "before": _text(item.before), "after": _text(item.after)} for item in found.tags],
        "roles": [
            {
                "role": item.role,
                "addedKeys": list(item.added_keys),
                "removedKeys": list(item.removed_keys),
                "threshold": list(item.threshold),
                "patterns": [list(item.patterns[0]), list(item.patterns[1])],
                "expires": terminal.moment(item.expires),
            }
            for item in found.roles
        ],
        "terms": [{"term": item.term, "before": item.before, "after": item.after} for item in found.terms],
    }


def key_names(desk: Desk, key_ids: Iterable[str]) -> list[str]:
    """Label and the first 7 digits of each id; the keys of others have no label here."""
    labels = {str(key.key_id): key.label for key in desk.keys.keys()}  # noqa: SIM118 - a KeyStore is no dict
    return [f"{labels[key_id]} ({key_id[:7]})" if key_id in labels else key_id[:7] for key_id in key_ids]


def texts(value: object) -> Sequence[str]:
    """A JSON list of strings, as such."""
    return [str(item) for item in value] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _role_lines(item: RoleDifference, desk: Desk) -> list[str]:
    if item.leaves:
        return [f"signer {item.role} leaves; its keys were {', '.join(key_names(desk, item.removed_keys))}"]
    lines = []
    before, after = item.threshold
    if item.is_new:
        names = ", ".join(key_names(desk, item.added_keys))
        return [f"new signer {item.role}: {after} of {names} may sign {' '.join(item.patterns[1])}"]
    lines += [f"{item.role}: key {name} comes" for name in key_names(desk, item.added_keys)]
    lines += [f"{item.role}: key {name} leaves" for name in key_names(desk, item.removed_keys)]
    if before != after:
        lines.append(f"{item.role}: threshold {before} -> {after}")
    if item.patterns[0] != item.patterns[1]:
        lines.append(f"{item.role}: may sign {' '.join(item.patterns[0])} -> {' '.join(item.patterns[1])}")
    if item.expires is not None:
        lines.append(f"{item.role}: signed anew, valid until {terminal.moment(item.expires)}")
    return lines
