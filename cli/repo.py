"""repo init, status, refresh, log, rebin, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import changes, options, terminal
from cli.changes import key_names, say
from cli.desk import Desk, TrustOptions
from trust.errors import DeniedError, ExpiredError, UnsignedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from trust.history import Entry
    from trust.proposals import Proposal
    from trust.repo import RoleStatus
    from trust.writer import Writer

app = typer.Typer(no_args_is_help=True, help="A repository's trust data: begin, watch, keep fresh, read")
RepositoryArgument = Annotated[str, typer.Argument(metavar="NAME", help="registry/name, or oci:FOLDER.")]
KeyOption = list[str] | None
EXPIRED_SOON = 13


@options.explained(app)
def init(
    name: RepositoryArgument,
    root_key: Annotated[
        KeyOption, typer.Option("--root-key", metavar="KEY", help="A key for roots; may be given again.")
    ] = None,
    root_threshold: Annotated[
        int, typer.Option("--root-threshold", min=1, metavar="N", help="How many of them must sign.")
    ] = 1,
    targets_key: Annotated[
        KeyOption, typer.Option("--targets-key", metavar="KEY", help="A key that signs tags.")
    ] = None,
    targets_threshold: Annotated[int, typer.Option("--targets-threshold", min=1, metavar="N")] = 1,
    snapshot_key: Annotated[KeyOption, typer.Option("--snapshot-key", metavar="KEY", help="A publishing key.")] = None,
    snapshot_threshold: Annotated[int, typer.Option("--snapshot-threshold", min=1, metavar="N")] = 1,
    timestamp_key: Annotated[
        KeyOption, typer.Option("--timestamp-key", metavar="KEY", help="A publishing key.")
    ] = None,
    timestamp_threshold: Annotated[int, typer.Option("--timestamp-threshold", min=1, metavar="N")] = 1,
    expires: Annotated[
        list[str] | None,
        typer.Option(
            "--expires", metavar="ROLE=DAYS", help="root and targets 365, snapshot 90, timestamp 14 by default."
        ),
    ] = None,
    bins: options.Bins = 0,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Begin a repository's trust data; the first push does it by itself with the defaults.

    Keys that are not named are made: one root key for all your repositories, a targets key and a publishing
    key for this one.

    Examples:
      dockseal repo init --expires timestamp=7 ghcr.io/acme/app
      dockseal repo init --root-threshold 2 --root-key a --root-key b ghcr.io/me/x
    """
    from cli.send import announce_keys, explain_root
    from trust.repo import Roles, lay_foundation
    from trust.repo import init as begin
    from trust.tuf.bins import check_count

    desk = Desk(passphrase_file=passphrase_file)
    store = changes.store_of(desk, name, as_name)
    writer = desk.writer(store, desk.machine(TrustOptions(root=root, as_name=as_name)))
    named = {"root": root_key, "targets": targets_key, "snapshot": snapshot_key, "timestamp": timestamp_key}
    thresholds = {
        "root": root_threshold,
        "targets": targets_threshold,
        "snapshot": snapshot_threshold,
        "timestamp": timestamp_threshold,
    }
    labels = {role: tuple(chosen) for role, chosen in named.items() if chosen}
    roles = Roles(labels, thresholds, _days(expires), check_count(bins))
    state = begin(writer, lambda: lay_foundation(desk.keys, store.repository, roles, before_new=announce_keys))
    terminal.say(f"Initialized {store.name}")
    explain_root(desk, store, state)


@options.explained(app)
def status(
    name: RepositoryArgument,
    within: Annotated[
        str | None,
        typer.Option("--within", metavar="DAYS", help="Exit 13 where a role expires within these days: 30d."),
    ] = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Show who must sign what by when, whether this machine can, and the command that does it.

    A role is to be signed again from the day its signing period begins, and at the latest when it expires.
    The command is for whoever holds the keys; a role that needs several becomes a proposal.

    Example (a scheduled job):
      dockseal repo status --within 5d ghcr.io/acme/app
    """
    from trust.proposals import read_proposals
    from trust.read import Reader
    from trust.repo import status as roles_of

    desk = Desk()
    limit = None if within is None else options.number_of_days(within)
    store = changes.store_of(desk, name, as_name)
    reader = Reader(store, desk.machine(TrustOptions(trust_on_first_use, root, as_name)))
    trusted = reader.read_past_expiry()
    if trusted is None:
        raise reader.nothing_there()
    roles = roles_of(trusted.verified, desk.signing)
    soon = [item for item in roles if _days_left(item, desk.now) < (0 if limit is None else limit)]
    pending = trusted.verified.links.pending
    waiting = read_proposals(store, trusted.verified)
    steps = {item.role: _next(item, desk.now, name, waiting) for item in roles}
    if output is options.Output.JSON:
        terminal.say_json(
            {
                "repository": store.repository,
                "state": trusted.verified.version,
                "pending": list(pending),
                "proposals": [_proposal_json(item, name) for item in waiting],
                "roles": [_status_json(item, desk, steps[item.role]) for item in roles],
            }
        )
    else:
        terminal.say(f"{store.name}: state {trusted.verified.version}")
        head = ("ROLE", "VERSION", "SIGN FROM", "SIGN BY", "", "WHO", "HERE", "NEXT")
        terminal.say(terminal.table(head, [_row(item, desk, steps[item.role]) for item in roles]))
        for identity in pending:
            terminal.say(
                f"pending: {identity[:12]}, another writer's change that is not part of this state; "
                f"next, where its key is: dockseal repo refresh {name}"
            )
        for item in waiting:
            what = item.problem.message if item.problem is not None else f"waits for {_waits_for(item)}"
            terminal.say(f"proposal {item.id}: {what}; next: {_next_of(item, name)}")
    if soon:
        names = ", ".join(f"{item.role} ({terminal.in_days(item.expires, desk.now)})" for item in soon)
        terminal.note(f"Expires: {names}. Next: dockseal repo refresh {name}")
        raise typer.Exit(EXPIRED_SOON)


@options.explained(app)
def refresh(
    name: RepositoryArgument,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Sign a new snapshot and timestamp, and every other role that is due and whose key is here.

    What several writers announced at once is joined, and what is pending as far as its keys are here.
    What is due and needs keys of others as well, or a publisher, is proposed: `dockseal approve` adds theirs.
    Where a role has expired whose key is elsewhere, the rest is signed, and the exit code is 13.

    Example (a scheduled job):
      DOCKSEAL_PASSPHRASE=… dockseal repo refresh ghcr.io/acme/app
    """
    from trust.repo import propose_renewal
    from trust.repo import refresh as renew

    desk = Desk(passphrase_file=passphrase_file)
    store = changes.store_of(desk, name, as_name)
    writer = desk.writer(store, desk.machine(TrustOptions(root=root, as_name=as_name)))
    text = output is options.Output.TEXT
    result: dict[str, object] = {"repository": store.repository, "state": None, "expires": None}
    expired: list[str] = []
    try:
        state = renew(writer)
    except UnsignedError:  # who may not publish can still propose what is due
        outcome = propose_renewal(writer, desk.now)
        if outcome is None:
            _say_proposed_already(writer, name)
            raise
    else:
        expires = min(state.verified.expiry().values())
        expired = sorted(role for role, when in state.verified.expiry().items() if desk.now >= when)
        result |= {"state": state.verified.version, "expires": terminal.moment(expires), "expired": expired}
        if text:
            until = (
                "" if expired else f", valid until {terminal.moment(expires)} ({terminal.in_days(expires, desk.now)})"
            )
            terminal.say(f"Refreshed {store.name}: state {state.verified.version}{until}")
        outcome = propose_renewal(writer, desk.now)
    result["proposed"] = None if outcome is None else say(outcome, writer, name, text=text)
    if not text:
        terminal.say_json(result)
    if expired:
        raise ExpiredError(
            f"expired, and not to be renewed with the keys of this machine: {', '.join(expired)}; readers refuse the "
            "repository until that is done",
            hint=f"whoever holds the other keys runs: dockseal repo refresh {name}",
        )


@options.explained(app)
def log(
    name: RepositoryArgument,
    limit: Annotated[int, typer.Option("-n", "--max-count", min=1, max=500, help="How many states.")] = 20,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Show the states, newest first: what each changed, and who signed it.

    Example:
      dockseal repo log -n 5 ghcr.io/acme/app
    """
    from trust.history import history
    from trust.read import Reader

    desk = Desk()
    store = changes.store_of(desk, name, as_name)
    machine = desk.machine(TrustOptions(trust_on_first_use, root, as_name))
    entries = history(store, Reader(store, machine), machine, limit)
    if output is options.Output.JSON:
        terminal.say_json([_entry_json(entry) for entry in entries])
        return
    labels = {str(key.key_id): key.label for key in desk.keys.keys()}  # noqa: SIM118 - a KeyStore is no dict
    for entry in entries:
        current = "  (current)" if entry.current else ""
        terminal.say(f"state {entry.version}  {entry.identity[:12]}{current}")
        for role, version in entry.roles.items():
            signers = ", ".join(labels.get(key, key[:7]) for key in entry.signed_by.get(role, ()))
            terminal.say(f"  {role} {version}" + (f"  signed by {signers}" if signers else ""))
        for identity in entry.pending:
            terminal.say(f"  pending {identity[:12]}; next, where its key is: dockseal repo refresh {name}")
        for change in entry.changes:
            before, after = (change.before or "")[:12], (change.after or "")[:12]
            sign = "+" if not before else "-" if not after else "~"
            terminal.say(
                f"  {sign} {change.tag}  {' -> '.join(part for part in (before, after) if part)}  ({change.role})"
            )


@options.explained(app)
def rebin(
    name: RepositoryArgument,
    signer: Annotated[
        str, typer.Argument(metavar="[SIGNER]", help="Whose tags; those of targets where there are no signers.")
    ] = "targets",
    bins: options.Bins = 0,
    dry_run: options.DryRun = False,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Put a signer's tags into another number of hash bins; what they mean stays as it is.

    With thousands of tags a push is faster when it signs and sends the file of one bin, and not all tags again.
    The signer's key must be on this machine, since it signs every bin.

    Example:
      dockseal repo rebin ghcr.io/acme/app ci --bins 1024
    """
    from trust.team import plan_bins

    desk = Desk(passphrase_file=passphrase_file)
    writer = changes.writer_of(desk, name, TrustOptions(root=root, as_name=as_name))
    edit = plan_bins(writer, signer, bins, desk.now)
    result = changes.settle(desk, writer, name, edit, dry_run=dry_run, output=output)
    changes.say_results([result | {"signer": signer, "bins": bins}], output)


@options.explained(app)
def prune(
    name: RepositoryArgument,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=0, metavar="DAYS", help="Keep states that are younger.")
    ] = 30,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Remove old states that newer ones cover, and proposals that were overtaken with them.

    The last 64 versions stay, whatever their age, and so does what is pending, announced and not covered, or
    current. The registry must let you delete; the space comes back with its next garbage collection.

    Example (a scheduled job):
      dockseal repo prune -y --keep-days 90 ghcr.io/acme/app
    """
    from trust.prune import plan_prune
    from trust.prune import prune as remove
    from trust.read import Reader

    desk = Desk()
    store = changes.store_of(desk, name, as_name)
    machine = desk.machine(TrustOptions(root=root, as_name=as_name))
    plan = plan_prune(store, Reader(store, machine), machine, keep_days)
    text = output is options.Output.TEXT
    if text:
        for state in plan.states:
            terminal.say(f"{state.tag}  {terminal.moment(state.made)}")
        for tag in plan.proposals:
            terminal.say(tag)
    if plan.unknown:
        terminal.warn(f"{len(plan.unknown)} old states are left, since nothing shows that they are covered")
    removed: tuple[str, ...] = ()
    denied = None
    if plan.tags and not dry_run:
        if not terminal.confirm(f"Remove {_count(plan.tags)} from {store.name}?", yes=yes):
            terminal.note("Nothing was removed.")
            raise typer.Exit(1)
        done = remove(store, plan)
        removed, denied = done.removed, done.denied
    if output is options.Output.JSON:
        terminal.say_json(
            {
                "repository": store.repository,
                "found": list(plan.tags),
                "removed": list(removed),
                "kept": plan.kept,
                "uncovered": list(plan.unknown),
            }
        )
    else:
        stay = plan.kept + (0 if dry_run else len([state for state in plan.states if state.tag not in removed]))
        what = f"Would remove {_count(plan.tags)}" if dry_run else f"Removed {_count(removed)}"
        terminal.say(f"{what}; {stay} states stay")
    if denied is not None:
        raise DeniedError(
            f"{store.name}: {_count(plan.tags[len(removed) :])} could not be removed, and do no harm but take "
            f"room: {denied.message}",
            hint="switch deletion on (registry:2: REGISTRY_STORAGE_DELETE_ENABLED=true), or log in as somebody who "
            "may delete; then run this again",
        )


def _say_proposed_already(writer: Writer, name: str) -> None:
    for item in writer.proposals:
        if item.problem is None:
            terminal.note(f"Proposed already: {item.id}, waits for {_waits_for(item)}; next: {_next_of(item, name)}")


def _count(tags: Sequence[str]) -> str:
    return f"{len(tags)} tag{'s' * (len(tags) != 1)}"


def _days(values: list[str] | None) -> dict[str, int]:
    from trust.tuf.roles import TOP_LEVEL_ROLES

    chosen = {role: options.number_of_days(text) for role, text in options.pairs(values, "--expires").items()}
    if unknown := set(chosen) - set(TOP_LEVEL_ROLES):
        raise UsageError(f"--expires: unknown role {min(unknown)!r}: expected one of {', '.join(TOP_LEVEL_ROLES)}")
    return chosen


def _days_left(item: RoleStatus, now: datetime) -> float:
    return (item.expires - now).total_seconds() / 86_400


def _row(item: RoleStatus, desk: Desk, next_command: str | None) -> tuple[str, ...]:
    some = f"{len(item.held)} of {item.threshold}" if item.held else "no"
    return (
        item.role,
        str(item.version),
        "now" if item.is_due(desk.now) else f"{terminal.moment(item.sign_from)}",
        f"{terminal.moment(item.expires)}",
        terminal.in_days(item.expires, desk.now),
        f"{item.threshold} of {', '.join(key_names(desk, item.key_ids))}",
        "yes" if item.can_sign else some,
        next_command or "",
    )


def _next(item: RoleStatus, now: datetime, name: str, waiting: Sequence[Proposal]) -> str | None:
    """What those who hold the role's keys are to run; None before its signing period."""
    if not item.is_due(now):
        return None
    for proposal in waiting:
        if any(draft.role == item.role for draft in proposal.proposed.drafts):
            return _next_of(proposal, name)
    return f"dockseal repo refresh {name}"


def _status_json(item: RoleStatus, desk: Desk, next_command: str | None) -> dict[str, object]:
    return {
        "role": item.role,
        "version": item.version,
        "expires": terminal.moment(item.expires),
        "expired": item.expires <= desk.now,
        "signFrom": terminal.moment(item.sign_from),
        "signBy": terminal.moment(item.expires),
        "threshold": item.threshold,
        "keys": list(item.key_ids),
        "who": key_names(desk, item.key_ids),
        "keysHere": [key.label for key in item.held],
        "canSign": item.can_sign,
        "next": next_command,
    }


def _proposal_json(item: Proposal, name: str) -> dict[str, object]:
    return {
        "proposal": item.id,
        "problem": None if item.problem is None else item.problem.message,
        "lacking": list(item.proposed.lacking_words()),
        "signatures": sum(need.lacking for _, need in item.proposed.lacking()),
        "next": _next_of(item, name),
    }


def _waits_for(item: Proposal) -> str:
    return ", ".join(item.proposed.lacking_words()) or "a publisher"


def _next_of(item: Proposal, name: str) -> str:
    """What ends a proposal: a signature, a publisher, or its rejection."""
    if item.problem is not None:
        return f"dockseal approve {name} {item.id} --reject"
    return f"dockseal approve {name} {item.id}" if item.proposed.lacking() else f"dockseal repo refresh {name}"


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "version": entry.version,
        "identity": entry.identity,
        "tag": entry.tag,
        "current": entry.current,
        "parents": list(entry.parents),
        "pending": list(entry.pending),
        "roles": dict(entry.roles),
        "signedBy": {role: list(keys) for role, keys in entry.signed_by.items()},
        "changes": [
            {"role": change.role, "tag": change.tag, "before": change.before, "after": change.after}
            for change in entry.changes
        ],
    }
