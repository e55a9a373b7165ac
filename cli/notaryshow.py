"""How a Notary repository and its takeover are shown, to people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import changes, terminal

if TYPE_CHECKING:
    from pathlib import Path

    from cli.notarydesk import Notary
    from trust.digest import Digest
    from trust.notary.chain import Found, Repository
    from trust.notary.publish import Change, Published
    from trust.oci.store import Store
    from trust.takeover import TakenOver, Takeover


def say_published(notary: Notary, change: Change, done: Published) -> None:
    """What is signed on a Notary server now, and, after the first time, with which root."""
    from trust.notary.reader import describe_root

    for tag in sorted(change.put):
        how = "Successfully signed" if done.roles else "Already signed"
        terminal.say(f"{how} {notary.gun}:{tag} at {notary.url.text}")
    for tag in sorted(change.drop):
        terminal.say(f"Withdrawn {notary.gun}:{tag} at {notary.url.text}")
    if done.initialised:
        terminal.note(f"This began a Notary repository; its root: {describe_root(done.repository.root)}")
        terminal.note("Its root key is notary-root; back it up: dockseal key export --all > keys.backup")


def digest(found: Found) -> Digest:
    """The digest that a tag is signed to mean."""
    from trust.digest import Digest

    return Digest.from_hex(found.meta.sha256.hex())


def found_json(repository: Repository, found: Found) -> dict[str, object]:
    """A signed tag as JSON has it; ``expires`` is the earliest expiry of what the answer stands on."""
    asked = {"root", "timestamp", "snapshot", "targets", found.role}
    expires = min(when for role, when in repository.expiry.items() if role in asked)
    return {
        "digest": str(digest(found)),
        "role": found.role,
        "signers": list(repository.signers_of(found.tag)),
        "expires": terminal.moment(expires),
    }


def root_json(repository: Repository) -> dict[str, object]:
    """The root as JSON has it; ``keys`` by the ids that docker shows."""
    payload = repository.root.payload
    keys = [payload.keys[key_id] for key_id in payload.roles["root"].key_ids if key_id in payload.keys]
    return {
        "version": payload.version,
        "sha256": repository.root.meta().sha256.hex(),
        "keys": [key.canonical_id for key in keys],
        "certificates": [key.key_id for key in keys],
        "certificatesExpire": [terminal.moment(key.certificate().not_valid_after_utc) for key in keys],
        "expires": terminal.moment(repository.root.expires),
    }


def roles_json(repository: Repository, notary: Notary) -> list[dict[str, object]]:
    """Who signs what, delegations included."""
    from trust.notary.model import BASE_ROLES

    payload = repository.root.payload
    keys = {**payload.keys, **repository.keys}
    expiry = repository.expiry
    roles = {
        **{name: payload.roles[name] for name in BASE_ROLES},
        **{name: item.role for name, item in repository.delegations.items()},
    }
    found: list[dict[str, object]] = []
    for name, role in roles.items():
        problem, delegation = repository.skipped.get(name), repository.delegations.get(name)
        found.append(
            {
                "role": name,
                "version": repository.versions.get(name),
                "threshold": role.threshold,
                "keys": [keys[key_id].canonical_id for key_id in role.key_ids if key_id in keys],
                "keysHere": [stored.label for _, stored in notary.signing.held(role, keys)],
                "prefixes": [] if delegation is None else list(delegation.paths),
                "expires": terminal.moment(expiry.get(name)),
                "problem": None if problem is None else problem.message,
            }
        )
    return found


def say_root(repository: Repository) -> None:
    """The root, as people compare it."""
    root = root_json(repository)
    terminal.say(f"  root         version {root['version']}, sha256:{root['sha256']}")
    for key, until in zip(changes.texts(root["keys"]), changes.texts(root["certificatesExpire"]), strict=True):
        terminal.say(f"  root key     {key}, its certificate until {until}")


def say_tags(repository: Repository) -> None:
    """The signed tags."""
    rows = [
        (found.tag, digest(found).short, str(found.meta.length), ", ".join(repository.signers_of(found.tag)))
        for found in repository.tags()
    ]
    if rows:
        terminal.say(terminal.table(("SIGNED TAG", "DIGEST", "SIZE", "SIGNERS"), rows))
    else:
        terminal.say("No tag is signed.")


def say_takeover(plan: Takeover, files: tuple[Path, ...], source: str) -> None:
    """What a takeover would keep, and what not."""
    terminal.say(f"{plan.notary.gun} from {source}")
    say_root(plan.notary)
    if plan.begins:
        terminal.say(f"  {_kept('root key', plan.root_here)}; {_kept('targets key', plan.targets_here)}")
    for path in files:
        terminal.say(f"  loads        {path}")
    terminal.say("")
    rows = [
        (item.tag, item.digest.short, ", ".join(item.signers), item.reason or "will be signed here")
        for item in plan.tags
    ]
    terminal.say(
        terminal.table(("TAG", "DIGEST", "SIGNERS THERE", "HERE"), rows) if rows else "No tag is signed there."
    )
    if plan.signers:
        terminal.say("")
        signers = [
            (
                item.role,
                item.reason or "" if item.signer is None else f"signer {item.signer.name}",
                "" if item.signer is None else " ".join(item.signer.patterns),
                "" if item.signer is None else "at once" if item.key_here else "with its first signature",
            )
            for item in plan.signers
        ]
        terminal.say(terminal.table(("DELEGATION", "HERE", "TAGS", "LIVE"), signers))


def _kept(what: str, labels: tuple[str, ...]) -> str:
    return f"the {what} stays ({', '.join(labels)})" if labels else f"the {what} is not here: a new one is made"


def takeover_json(plan: Takeover, files: tuple[Path, ...], source: str) -> dict[str, object]:
    """The same as JSON has it."""
    return {
        "repository": plan.notary.gun,
        "source": source,
        "root": root_json(plan.notary),
        "tags": [
            {
                "tag": item.tag,
                "digest": str(item.digest),
                "size": item.size,
                "signers": list(item.signers),
                "kept": item.target is not None,
                "reason": item.reason,
            }
            for item in plan.tags
        ],
        "signers": [
            {
                "delegation": item.role,
                "signer": None if item.signer is None else item.signer.name,
                "tags": [] if item.signer is None else list(item.signer.patterns),
                "keyHere": item.key_here,
                "reason": item.reason,
            }
            for item in plan.signers
        ],
        "keyFiles": [str(path) for path in files],
    }


def say_taken_over(done: TakenOver | None, loaded: list[str], store: Store) -> None:
    """What came of a takeover."""
    for label in loaded:
        terminal.say(f"Loaded the key {label}")
    if done is None:
        return
    terminal.say(f"Took over {len(done.tags)} tag(s) and {len(done.signers)} signer(s): state {done.version}")
    if done.by_targets:
        terminal.note(
            f"Hint: targets signs {', '.join(done.by_targets)}, which goes before every signer; before one signs it "
            f"anew: dockseal signer add SIGNER {store.name} --adopt"
        )
    for item in done.proposals:
        waits = ", ".join(item.proposed.lacking_words()) or "a publisher"
        terminal.say(f"Proposed: {item.proposal}; it waits for {waits}")
    if done.proposals:
        terminal.note(f"Hint: signers come in with their first signature: dockseal approve {store.name}")
