"""gate: whether every image of a release may run, by a policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import inputs, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from trust.digest import Digest
    from trust.gate.found import Span
    from trust.gate.judge import Decision, Standpoint
    from trust.gate.lock import Lock
    from trust.gate.policy import Policy
    from trust.gate.report import Report
    from trust.machine import Machine
    from trust.oci.source import StoreName
    from trust.oci.store import Store


class Format(StrEnum):
    """The forms of a report."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"
    MARKDOWN = "markdown"


PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="By default dockseal-policy.toml, .yaml or .yml, here."),
]
LOCK_FILE = "dockseal.lock"
OPTIONAL_FILES = ("--lock", "--locked")
"""Their FILE may be left out, and needs an equals sign, so that an image after them is none."""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    options.explained(app)(gate)


def with_lock_files(arguments: Sequence[str]) -> list[str]:
    """The gate's ``--lock`` and ``--locked`` without a file mean the usual one."""
    if list(arguments[:1]) != ["gate"]:
        return list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    filled = (f"{item}={LOCK_FILE}" if item in OPTIONAL_FILES else item for item in arguments[:end])
    return [*filled, *arguments[end:]]


def gate(
    references: inputs.References = None,
    files: inputs.Files = None,
    images_from: inputs.ImagesFrom = None,
    policy: PolicyFile = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report", metavar="FORMAT[=FILE]", help="text, json, sarif, junit or markdown; may be given again."
        ),
    ] = None,
    output: options.OutputOption = options.Output.TEXT,
    write: Annotated[
        bool, typer.Option("--write", help="If everything passes, put the verified digests into the files.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Refuse what a file does not pin to the digest that is signed today.")
    ] = False,
    lock: Annotated[
        Path | None,
        typer.Option("--lock", metavar="[=FILE]", help="If everything passes, record it; by default in dockseal.lock."),
    ] = None,
    locked: Annotated[
        Path | None,
        typer.Option("--locked", metavar="[=FILE]", help="Refuse what is older or other than recorded."),
    ] = None,
    effective_time: Annotated[
        str | None, typer.Option("--effective-time", metavar="RFC3339", help="Judge as of another moment.")
    ] = None,
    valid_in: Annotated[
        str | None, typer.Option("--valid-in", metavar="14d", help="Refuse what will not be valid any more by then.")
    ] = None,
    offline: inputs.Offline = False,
    store: inputs.Stores = None,
    timeout: inputs.Timeout = inputs.DEFAULT_TIMEOUT_SECONDS,
    build_arg: inputs.BuildArgs = None,
    env: inputs.Variables = None,
    profile: inputs.Profiles = None,
    crd_path: inputs.CrdPaths = None,
    allow_empty: inputs.AllowEmpty = False,
    exclude: inputs.Exclude = None,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
) -> None:
    """Judge every image that a release would run by a policy, and say of each why it passes or not.

    Exit 1 where one is refused, 2 where an input or the policy cannot be used, 3 where a registry could not be
    reached and nothing was refused.

    Examples:
      dockseal gate -f k8s/ -f compose.yaml -f Dockerfile app:v1
      helm template . | dockseal gate -f - --report sarif=gate.sarif
      dockseal gate -f k8s/ --write
    """
    desk = Desk()
    given = inputs.Inputs(
        references, files, images_from, build_arg, env, profile, crd_path, allow_empty=allow_empty, exclude=exclude
    )
    targets = _targets(report, output)
    terminal.expect_json(wanted=(Format.JSON, None) in targets)
    if write and (check or locked is not None):
        raise UsageError("--write changes what --check and --locked hold to: expected one of them")
    at = _moment(desk, effective_time, valid_in)
    if at < desk.now and (write or lock is not None):
        raise UsageError("--write and --lock hold on to what is valid today: expected no moment in the past")
    asked = _Asked(
        environment=desk.environment,
        policy=load_policy(policy),
        machine=desk.machine(TrustOptions(trust_on_first_use, root, as_name)),
        open_store=inputs.opener(desk, store, offline=offline, as_name=as_name),
        timeout_seconds=timeout,
        here=_standpoint(at, None if locked is None else read_lock(locked), check=check, write=write),
    )
    result = _run(given, asked)
    for form, path in targets:
        _deliver(form, path, result)
    if result.exit_code == 0 and lock is not None:
        _write_lock(lock, result.decisions)
    if result.exit_code == 0 and write:
        _write_pins(result.decisions)
    raise typer.Exit(result.exit_code)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a run needs beside its inputs."""

    environment: Mapping[str, str]
    policy: Policy
    machine: Machine
    open_store: Callable[[StoreName], Store]
    timeout_seconds: float
    here: Standpoint


def _run(given: inputs.Inputs, asked: _Asked) -> Report:
    from importlib.metadata import version

    from trust.gate.judge import judge
    from trust.gate.report import Report
    from trust.release import gather, images_of

    scan = given.scan(asked.environment)
    images, problems = images_of(scan.found, asked.machine, asked.open_store, ignore_pins=asked.here.pinning)
    facts = gather(images, asked.policy, asked.machine, asked.open_store, timeout_seconds=asked.timeout_seconds)
    return Report(
        decisions=tuple(judge(image, facts[image], asked.policy, asked.here) for image in images),
        problems=(*scan.problems, *problems),
        left_out=scan.left_out,
        policy=asked.policy.name,
        at=asked.here.at,
        folder=Path.cwd().as_posix(),
        version=version("dockseal"),
    )


def policy_path(path: Path | None) -> Path:
    """The policy's file: the one named, or the usual one here.

    Raises:
        UsageError: there is none; without a policy nothing may pass.
    """
    from trust.gate.policy import FILE_NAMES

    found = path or next((Path(name) for name in FILE_NAMES if Path(name).exists()), None)
    if found is None:
        raise UsageError(
            f"there is no policy: expected {FILE_NAMES[0]} here, or --policy FILE",
            hint="`dockseal policy init` drafts one from what you use today",
        )
    return found


def load_policy(path: Path | None) -> Policy:
    """Read it.

    Raises:
        UsageError: there is none, or it has mistakes.
    """
    from trust.gate.policyfile import load

    found = policy_path(path)
    return load(options.read_file(found), str(found))


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        UsageError: there is none, or it is damaged.
    """
    from trust.gate.lock import Lock

    return Lock.parse(options.read_file(path), str(path))


def _targets(reports: list[str] | None, output: options.Output) -> list[tuple[Format, Path | None]]:
    """Forms and files; where none goes to stdout, text does (JSON with ``-o json``)."""
    found: list[tuple[Format, Path | None]] = []
    for text in reports or ():
        name, equals, path = text.partition("=")
        if name not in set(Format) or (equals and not path):
            raise UsageError(f"--report {text}: expected {', '.join(Format)}, alone or with =FILE")
        found.append((Format(name), Path(path) if equals else None))
    if output is options.Output.JSON:
        found.append((Format.JSON, None))
    on_stdout = [form for form, path in found if path is None]
    if len(on_stdout) > 1:
        raise UsageError(f"{' and '.join(on_stdout)} cannot share stdout", hint=f"--report {on_stdout[-1]}=FILE")
    return found if on_stdout else [(Format.TEXT, None), *found]


def _moment(desk: Desk, effective_time: str | None, valid_in: str | None) -> datetime:
    """The moment that everything must hold at."""
    from datetime import UTC, datetime, timedelta

    from trust.gate.fields import parse_duration

    ahead = timedelta() if valid_in is None else parse_duration(valid_in)
    if effective_time is None:
        return desk.now + ahead
    form = "%Y-%m-%dT%H:%M:%S%z"  # asks for a time zone
    try:
        return datetime.strptime(effective_time, form).astimezone(UTC) + ahead
    except (ValueError, OverflowError) as error:
        expected = "expected RFC 3339, such as 2026-12-24T18:00:00Z"
        raise UsageError(f"--effective-time {effective_time}: {expected}") from error


def _standpoint(at: datetime, lock: Lock | None, *, check: bool, write: bool) -> Standpoint:
    from trust.gate.judge import Standpoint

    return Standpoint(at, lock=lock, check_pinned=check, pinning=write)


def _deliver(form: Format, path: Path | None, report: Report) -> None:
    from trust.files import SHARED_FILE, write_atomically
    from trust.gate.report import junit, markdown, objects, sarif, text

    renderers = {
        Format.TEXT: text.render,
        Format.JSON: objects.render,
        Format.SARIF: sarif.render,
        Format.JUNIT: junit.render,
        Format.MARKDOWN: markdown.render,
    }
    body = renderers[form](report)
    if path is None:
        terminal.expect_json(wanted=False)  # here it is
        terminal.say(body.removesuffix("\n"))
    else:
        write_atomically(path, body.encode("utf-8", "replace"), mode=SHARED_FILE)


def _write_lock(path: Path, decisions: Sequence[Decision]) -> None:
    from trust.files import SHARED_FILE, write_atomically
    from trust.gate.lock import write

    write_atomically(path, write(decisions), mode=SHARED_FILE)
    terminal.note(f"Recorded in {path}")


def _write_pins(decisions: Sequence[Decision]) -> None:
    """Put the verified digests where the images are named, file by file, and nothing else."""
    from collections import defaultdict

    from trust.files import write_atomically
    from trust.gate.judge import Outcome
    from trust.gate.pin import pinned, unwritable

    digests: dict[str, dict[Span, Digest]] = defaultdict(dict)
    texts: dict[tuple[str, Span], str] = {}
    for item in decisions:
        if item.outcome is not Outcome.PASSED or item.image.tag is None or item.digest is None:
            continue
        for found in item.image.found:
            if found.place.span is not None and found.place.path not in {"", inputs.STDIN}:
                digests[found.place.path][found.place.span] = item.digest
                texts[found.place.path, found.place.span] = found.text
        for problem in unwritable(item.image.found):
            terminal.note(f"Not pinned: {problem.place} {problem.message}")
    for path, spans in digests.items():
        old = options.read_file(Path(path))
        for span in spans:  # in a name like oci:v1 the text begins earlier
            if not texts[path, span].encode().endswith(old[slice(*span)]):
                raise UsageError(
                    f"{path} has changed since it was read: expected {texts[path, span]}", hint="run again"
                )
        new = pinned(old, spans)
        if new != old:
            write_atomically(Path(path).resolve(), new, mode=Path(path).stat().st_mode, error=UsageError)
            terminal.note(f"Pinned in {path}: {len(spans)} image(s)")
