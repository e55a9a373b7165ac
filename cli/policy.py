"""policy: draft, check, test and explain the policy of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import gate, inputs, options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trust.gate.cases import Result
    from trust.gate.policy import Policy, Rule
    from trust.gate.positions import Mistake

MISTAKES = 2
FAILED = 1
STDOUT = Path("-")

app = typer.Typer(help="Draft, check, test and explain the policy of the gate.", no_args_is_help=True)
PolicyArgument = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="By default dockseal-policy.toml, .yaml or .yml, here.")
]


@options.explained(app)
def init(
    references: inputs.References = None,
    files: inputs.Files = None,
    policy: Annotated[
        Path, typer.Option("--policy", metavar="FILE", help="Where it goes, unless something is there; - is stdout.")
    ] = Path("dockseal-policy.toml"),
    images_from: inputs.ImagesFrom = None,
    offline: inputs.Offline = False,
    store: inputs.Stores = None,
    timeout: inputs.Timeout = inputs.DEFAULT_TIMEOUT_SECONDS,
    build_arg: inputs.BuildArgs = None,
    env: inputs.Variables = None,
    profile: inputs.Profiles = None,
    crd_path: inputs.CrdPaths = None,
    exclude: inputs.Exclude = None,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
) -> None:
    """Draft a policy from the images that a project uses and from who signs them today.

    What is not signed today gets the mode warn, so that it is seen and blocks nobody yet.

    Example:
      dockseal policy init -f k8s/ -f compose.yaml
    """
    from trust.files import SHARED_FILE, write_atomically
    from trust.gate.draft import draft
    from trust.gate.policy import Policy, Rule
    from trust.release import gather, images_of

    if policy != STDOUT and policy.exists():
        raise UsageError(f"{policy} is there already", hint="--policy FILE writes another, --policy - shows the draft")
    given = inputs.Inputs(
        references, files, images_from, build_arg, env, profile, crd_path, allow_empty=True, exclude=exclude
    )
    desk = Desk()
    machine = desk.machine(TrustOptions(trust_on_first_use, root))
    open_store = inputs.opener(desk, store, offline=offline, as_name=None)
    scan = given.scan(desk.environment)
    images, problems = images_of(scan.found, machine, open_store, ignore_pins=True)
    for problem in (*scan.problems, *problems):
        terminal.warn(f"{problem.place}: {problem.message}")
    facts = gather(images, Policy((Rule("**"),)), machine, open_store, timeout_seconds=timeout)
    text = draft(facts)
    if policy == STDOUT:
        terminal.say(text.removesuffix("\n"))
        return
    write_atomically(policy, text.encode(), mode=SHARED_FILE, error=UsageError)
    terminal.say(f"{policy}: {len({image.repository for image in images})} rule(s) drafted; read it, then try:")
    terminal.say("  dockseal policy check")


@options.explained(app)
def check(
    policy: PolicyArgument = None,
    output: options.OutputOption = options.Output.TEXT,
) -> None:
    """Name every mistake of a policy with its line, and exceptions that are over.

    Exit 2 where there is a mistake.

    Example:
      dockseal policy check dockseal-policy.toml
    """
    from trust.gate.policyfile import parse, stale_exceptions

    path = gate.policy_path(policy)
    parsed = parse(options.read_file(path), str(path))
    over = stale_exceptions(parsed.policy, Desk().now.date()) if not parsed.mistakes else ()
    if output is options.Output.JSON:
        terminal.say_json({"policy": str(path), "mistakes": _lines(parsed.mistakes), "over": _lines(over)})
    else:
        for item in (*parsed.mistakes, *over):
            terminal.say(f"{path}:{item.line}: {terminal.one_line(item.message)}")
        if not parsed.mistakes:
            terminal.say(f"{path}: {len(parsed.policy.rules)} rule(s), no mistake")
        if not parsed.policy.rules and not parsed.mistakes:
            terminal.warn("a policy without a rule refuses every image")
    if parsed.mistakes:
        raise typer.Exit(MISTAKES)


@options.explained(app, "test")
def run_cases(
    policy: PolicyArgument = None,
    cases: Annotated[
        Path | None,
        typer.Option("--cases", metavar="FILE", help="By default the policy's name with .test before .toml."),
    ] = None,
    output: options.OutputOption = options.Output.TEXT,
) -> None:
    """Run the cases that are written beside a policy; no registry is asked.

    Exit 1 where one comes out otherwise than expected.

    Example:
      dockseal policy test
    """
    from trust.gate.cases import parse_cases, run

    path = gate.policy_path(policy)
    loaded = gate.load_policy(path)
    beside = cases or path.with_suffix(f".test{path.suffix}")
    now = Desk().now
    found, mistakes = parse_cases(options.read_file(beside), str(beside), now)
    if mistakes:
        lines = "\n".join(f"{beside}:{item.line}: {item.message}" for item in mistakes)
        raise UsageError(f"the cases cannot be used:\n{lines}", hint="docs/policy.md lists all names")
    if not found:
        raise UsageError(f"{beside} has no [[case]]")
    results = run(found, loaded, now)
    if output is options.Output.JSON:
        terminal.say_json({"policy": str(path), "cases": [_result(item) for item in results]})
    else:
        _show_results(results, beside)
    if not all(item.passed for item in results):
        raise typer.Exit(FAILED)


@options.explained(app)
def explain(
    reference: Annotated[str, typer.Argument(metavar="REF", help="registry/name[:tag].")],
    policy: gate.PolicyFile = None,
    output: options.OutputOption = options.Output.TEXT,
) -> None:
    """Show the rule that applies to an image, what it asks for, and the rules that it goes before.

    Exit 1 where no rule matches.

    Example:
      dockseal policy explain ghcr.io/acme/app:v1
    """
    from trust.oci.reference import Reference

    loaded = gate.load_policy(policy)
    repository = str(Reference.parse(reference).repository)
    matching = loaded.matching(repository)
    if output is options.Output.JSON:
        rules = [{"pattern": rule.pattern, "line": rule.line, "asks": _asks(rule)} for rule in matching]
        terminal.say_json({"repository": repository, "policy": loaded.name, "rules": rules})
    else:
        _show_rules(repository, matching, loaded)
    if not matching:
        raise typer.Exit(FAILED)


@options.explained(app)
def schema() -> None:
    """Print the JSON Schema of a policy, for editors that check and complete TOML and YAML.

    Example:
      dockseal policy schema > dockseal-policy.schema.json
    """
    from importlib.resources import files

    terminal.say(files("trust.gate").joinpath("policy.schema.json").read_text("utf-8").removesuffix("\n"))


def _lines(mistakes: Sequence[Mistake]) -> list[dict[str, object]]:
    return [{"line": item.line, "message": item.message} for item in mistakes]


def _result(item: Result) -> dict[str, object]:
    return {
        "name": item.case.name,
        "line": item.case.line,
        "passed": item.passed,
        "expected": item.case.expect,
        "verdict": item.decision.verdict,
        "outcome": item.decision.outcome.value,
        "findings": [finding.message for finding in item.decision.findings],
    }


def _show_results(results: Sequence[Result], beside: Path) -> None:
    for item in results:
        if item.passed:
            terminal.say(f"ok      {terminal.one_line(item.case.name)}: {item.decision.verdict}")
            continue
        wanted = item.case.expect + (f", {item.case.outcome}" if item.case.outcome else "")
        terminal.say(f"FAILED  {terminal.one_line(item.case.name)} ({beside}:{item.case.line})")
        terminal.say(f"        expected {wanted}, got {item.decision.verdict}, {item.decision.outcome.value}")
        for finding in item.decision.findings:
            terminal.say(f"        {finding.verdict}: {terminal.one_line(finding.message)}")
    terminal.say(f"{len(results)} case(s), {sum(not item.passed for item in results)} failed")


def _show_rules(repository: str, matching: Sequence[Rule], policy: Policy) -> None:
    if not matching:
        terminal.say(f"{repository}: no rule of {policy.name} matches, so it is refused")
        return
    first = matching[0]
    terminal.say(f"{repository}: {policy.name}:{first.line}")
    terminal.say(f"  pattern           {first.pattern}")
    for name, value in _asks(first).items():
        terminal.say(f"  {name:17} {terminal.one_line(value)}")
    for other in matching[1:]:
        terminal.say(f"  goes before       {other.pattern} (line {other.line})")


def _asks(rule: Rule) -> dict[str, str]:
    """What a rule asks for, as people read it."""
    root = str(rule.root) if rule.root else f"{rule.root_threshold} of {', '.join(rule.root_keys)}"
    asked = {
        "mode": rule.mode.value,
        "signers": str(rule.signers or ""),
        "root": root if rule.has_root else "the pin of config.toml",
        "tags": ", ".join(rule.tags),
        "no_latest": "the tag latest is refused" if rule.no_latest else "",
        "require_digest": "the name must have a digest" if rule.require_digest else "",
        "max_age": str(rule.max_age or ""),
        "max_metadata_age": str(rule.max_metadata_age or ""),
        "min_version": str(rule.min_version or ""),
        "platforms": ", ".join(rule.platforms),
        "annotations": ", ".join(f"{key} = {value}" for key, value in rule.annotations.items()),
        "exceptions": "; ".join(
            f"{item.repository}{f':{item.tag}' if item.tag else ''} until {item.until}: {item.reason}"
            for item in rule.exceptions
        ),
    }
    return {name: value for name, value in asked.items() if value}
