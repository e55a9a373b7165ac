"""push, sign, revoke."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Self

import typer

from cli import options, terminal
from cli.desk import Desk, TrustOptions
from trust.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.alsonotary import AlsoNotary
    from trust.machine import Machine
    from trust.oci.image import Image
    from trust.oci.manifest import Manifest
    from trust.oci.reference import Reference
    from trust.oci.source import StoreName
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.sign import Signed, TagSigner
    from trust.upload import Uploads
    from trust.writer import Foundation, Writer

SIGNING = "Signing and pushing trust metadata"
NameArgument = Annotated[str, typer.Argument(metavar="NAME[:TAG]", help="registry/name:tag, or oci:FOLDER:TAG.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    options.explained(app)(push)
    options.explained(app)(sign)
    options.explained(app)(revoke)


def push(
    name: NameArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="docker-daemon:NAME, docker-archive:FILE, oci:DIR[:TAG], oci-archive:FILE; else the local store, "
            "then the Docker engine.",
        ),
    ] = None,
    all_tags: Annotated[bool, typer.Option("-a", "--all-tags", help="Push every local tag of NAME.")] = False,
    quiet: options.Quiet = False,
    max_concurrent_uploads: options.Uploads = None,
    disable_content_trust: options.Untrusted = False,
    signer: options.Signers = None,
    annotation: options.Annotations = None,
    compression: options.Compression = None,
    also_notary: options.AlsoNotary = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Upload an image and sign what its tag means; refuse what cannot be signed.

    The first push of a repository makes its keys and its root of trust. Layers, image and signed metadata go
    into the same registry; the tag moves last.

    Examples:
      dockseal push localhost:5000/app:v1
      dockseal push --from docker-archive:app.tar ghcr.io/acme/app:v1
      dockseal push --disable-content-trust localhost:5000/scratch:dev
    """
    from trust.oci.reference import check_new_tag
    from trust.oci.source import StoreName

    desk = Desk(passphrase_file=passphrase_file)
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: expected NAME or NAME:TAG, a push makes the digest")
    if disable_content_trust and (signer or annotation):
        raise UsageError("--signer and --annotation need content trust, which --disable-content-trust switches off")
    if disable_content_trust and also_notary:
        raise UsageError("--also-notary signs, which --disable-content-trust switches off")
    tags = _all_tags(desk, asked, source) if all_tags else [check_new_tag(asked.tag or "latest")]
    store = desk.store(asked, as_name)
    trust = TrustOptions(trust_on_first_use, root, as_name)
    job = _Push(
        desk, store, trust, source, compression, max_concurrent_uploads, silent=quiet or output is options.Output.JSON
    )
    job.also_sign_at(also_notary)
    results = [
        job.unsigned(tag)
        if disable_content_trust
        else job.signed(tag, signer or (), options.pairs(annotation, "--annotation"))
        for tag in tags
    ]
    if output is options.Output.JSON:
        terminal.say_json(results if all_tags else results[0])
    elif quiet:
        for result in results:
            terminal.say(f"{store.name}@{result['digest']}")


def sign(
    name: Annotated[str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="What the registry already has.")],
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="TAG", help="Sign it under this tag, which then moves there.")
    ] = None,
    signer: options.Signers = None,
    annotation: options.Annotations = None,
    output: options.OutputOption = options.Output.TEXT,
    trust_on_first_use: options.FirstUse = False,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Sign what the registry already has, multi-platform indexes included.

    Examples:
      dockseal sign ghcr.io/acme/app:v1
      dockseal sign ghcr.io/acme/app@sha256:… --tag v1
    """
    from trust.oci.source import StoreName
    from trust.sign import sign as sign_there

    desk = Desk(passphrase_file=passphrase_file)
    asked = StoreName.parse(name)
    if asked.digest is not None and asked.tag is None and tag is None:
        raise UsageError(f"{name} has no tag to sign", hint=f"dockseal sign {name} --tag TAG")
    store = desk.store(asked, as_name)
    machine = desk.machine(TrustOptions(trust_on_first_use, root, as_name))
    target = tag or asked.tag or "latest"
    signing = Signing(desk, store, machine)
    tag_signer = signing.signer(tuple(signer or ()), options.pairs(annotation, "--annotation"))
    signed = sign_there(store, asked.digest or asked.tag or "latest", target, tag_signer)
    if output is options.Output.JSON:
        terminal.say_json(_as_json(store, target, signed))
        return
    terminal.say(f"{target}: digest: {signed.digest} size: {signed.size}")
    terminal.say(SIGNING)
    signing.report(target, signed)


def revoke(
    name: NameArgument,
    yes: options.Yes = False,
    also_notary: options.AlsoNotary = None,
    output: options.OutputOption = options.Output.TEXT,
    root: options.RootFile = None,
    as_name: options.AsName = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Withdraw the signature of a tag, or of all tags where NAME has none. The image stays, unsigned.

    Example:
      dockseal revoke localhost:5000/app:v1
    """
    from cli.alsonotary import AlsoNotary
    from trust.oci.source import StoreName
    from trust.revoke import plan_revocation
    from trust.revoke import revoke as publish_revocation

    desk = Desk(passphrase_file=passphrase_file)
    asked = StoreName.parse(name)
    if asked.digest is not None:
        raise UsageError(f"{name} names a digest: expected NAME or NAME:TAG, a tag is what is signed")
    store = desk.store(asked, as_name)
    writer = desk.writer(store, desk.machine(TrustOptions(root=root, as_name=as_name)))
    revocation = plan_revocation(writer, asked.tag)
    what = ", ".join(revocation.tags)
    also = None if also_notary is None else AlsoNotary(desk, store, also_notary, first_use=False)
    if also is not None:
        also.check_withdrawal(revocation.tags)
    if not terminal.confirm(f"Revoke the signature of {store.name}: {what}?", yes=yes):
        terminal.note("Nothing was revoked.")
        raise typer.Exit(1)
    state = publish_revocation(writer, revocation)
    if also is not None:
        also.withdraw(revocation.tags, silent=output is options.Output.JSON)
    if output is options.Output.JSON:
        terminal.say_json(
            {"repository": store.repository, "revoked": list(revocation.tags), "state": state.verified.version}
        )
        return
    for tag in revocation.tags:
        terminal.say(f"Successfully revoked the signature of {store.name}:{tag}")


class Signing:
    """Signing in one repository, and what is said after it."""

    def __init__(self, desk: Desk, store: Store, machine: Machine) -> None:
        self._desk = desk
        self._store = store
        self._writer: Writer = desk.writer(store, machine)

    def signer(self, signers: tuple[str, ...], annotations: dict[str, str]) -> TagSigner:
        """Signs tags; makes the keys of a new repository when it comes to that."""
        from trust.sign import TagSigner

        return TagSigner(self._writer, self._desk.now, self._found, signers=signers, annotations=annotations)

    def report(self, tag: str, signed: Signed) -> None:
        """What was signed, and, after the first time, what to keep and what to give to others."""
        name = f"{self._store.name}:{tag}"
        if signed.state is None:
            waits = (
                f"it waits for signatures: {', '.join(signed.lacking)}"
                if signed.lacking
                else "it waits for a publisher"
            )
            terminal.say(f"Proposed {name} as {signed.proposal}; {waits}. The tag has not moved")
            terminal.note(f"Hint: whoever holds such a key runs: dockseal approve {self._store.name} {signed.proposal}")
            return
        how = "Already signed" if signed.unchanged else "Successfully signed"
        terminal.say(f"{how} {name}")
        if signed.initialised:
            explain_root(self._desk, self._store, signed.state)
        self._advise_bins(signed.state)

    def _advise_bins(self, state: Trusted) -> None:
        from trust.tuf.bins import advised

        for role, payload in state.verified.targets.items():
            if bins := advised(payload):
                whose = "" if role == "targets" else f" {role}"
                terminal.note(
                    f"Hint: {role} signs {len(payload.targets)} tags in one file, and each push sends all of them; "
                    f"faster: dockseal repo rebin {self._store.name}{whose} --bins {bins}"
                )

    def _found(self) -> Foundation:
        from trust.repo import Roles, lay_foundation

        return lay_foundation(self._desk.keys, self._store.repository, Roles(), before_new=announce_keys)


def announce_keys(labels: Sequence[str]) -> None:
    """Before the passphrases of new keys are asked for: which keys these are."""
    if terminal.is_interactive():
        terminal.note(f"This begins the repository's trust data, and makes its keys: {', '.join(labels)}.")
        terminal.note("Each has a passphrase of its own, without which it cannot be used.")


def explain_root(desk: Desk, store: Store, state: Trusted) -> None:
    """After the first state: where the keys are, how to back them up, and the pin for others."""
    from trust.config import pin_lines

    root = state.verified.root.roles["root"]
    terminal.note("")
    terminal.note(f"This made the root of trust of {store.name}: {state.pin.anchor}")
    if any(key.uri is None and key.backed_up is None for key in desk.signing.held(root)):
        terminal.note(f"Keys are in {desk.home / 'keys'}. Whoever loses the root key cannot change who signs:")
        terminal.note("  dockseal key export --all > keys.backup")
    terminal.note(f"Give this to those who verify, for their config.toml (yours is {desk.config_path}):")
    terminal.note("")
    for line in pin_lines(state.pin).splitlines():
        terminal.note(f"  {line}")


class _Push:
    """One run of ``push``, for one tag or several."""

    def __init__(
        self,
        desk: Desk,
        store: Store,
        trust: TrustOptions,
        source: str | None,
        compression: str | None,
        max_concurrent: int | None,
        *,
        silent: bool,
    ) -> None:
        self._desk = desk
        self._store = store
        self._source = source
        self._compression = compression
        desk.codec(compression)  # a bad one is refused before anything else
        self._max_concurrent = max_concurrent
        self._silent = silent
        self._machine = desk.machine(trust)
        self._also: AlsoNotary | None = None

    def also_sign_at(self, notary: str | None) -> None:
        """Sign on a Notary server, too (``--also-notary``)."""
        from cli.alsonotary import AlsoNotary

        if notary is not None:
            self._also = AlsoNotary(self._desk, self._store, notary, first_use=self._machine.trust_on_first_use)

    def signed(self, tag: str, signers: Sequence[str], annotations: dict[str, str]) -> dict[str, object]:
        """Upload and sign one tag."""
        from trust.push import push as push_signed

        image = self._image(tag)
        if self._also is not None:
            self._also.check(tag)  # what can be refused there is refused before anything is sent
        signing = Signing(self._desk, self._store, self._machine)
        signer = signing.signer(tuple(signers), annotations)
        with _Shown(self._store, tag, silent=self._silent, signs=True) as shown:
            signed = push_signed(self._store, tag, image, signer, self._uploads(shown), on_pushed=shown.pushed)
        if not self._silent:
            signing.report(tag, signed)
        if self._also is not None and signed.state is not None:  # a proposal is signed nowhere yet
            self._also.publish(tag, signed.digest, signed.size, silent=self._silent)
        return _as_json(self._store, tag, signed)

    def unsigned(self, tag: str) -> dict[str, object]:
        """Upload one tag without signing it."""
        from trust.push import push_unsigned

        image = self._image(tag)
        terminal.warn(f"content trust is switched off: {self._store.name}:{tag} is pushed UNSIGNED")
        with _Shown(self._store, tag, silent=self._silent) as shown:
            manifest = push_unsigned(self._store, tag, image, self._uploads(shown), on_pushed=shown.pushed)
        return {
            "reference": f"{self._store.name}:{tag}",
            "digest": str(manifest.digest),
            "size": manifest.size,
            "signed": False,
        }

    def _image(self, tag: str) -> Image:
        from cli.sources import image_from, image_here

        if self._source is not None:
            return image_from(self._desk, self._source, self._compression)
        return image_here(self._desk, local_reference(self._store, tag), self._compression)

    def _uploads(self, shown: _Shown) -> Uploads:
        return self._desk.uploads(self._store, shown.rows, codec=self._compression, max_concurrent=self._max_concurrent)


class _Shown:
    """What a push shows: the repository, its layers, then the digest line."""

    def __init__(self, store: Store, tag: str, *, silent: bool, signs: bool = False) -> None:
        from cli.progress import layer_rows

        self._stack = ExitStack()
        self._tag = tag
        self._silent = silent
        self._signs = signs
        if not silent:
            terminal.say(f"The push refers to repository [{full_name(store)}]")
        self.rows = self._stack.enter_context(layer_rows(quiet=silent))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pushed(self, manifest: Manifest) -> None:
        """The image is there by digest; the rows are done."""
        self._stack.close()
        if not self._silent:
            terminal.say(f"{self._tag}: digest: {manifest.digest} size: {manifest.size}")
            if self._signs:
                terminal.say(SIGNING)


def full_name(store: Store) -> str:
    """A repository with its registry, as docker shows it; a folder as ``oci:FOLDER``."""
    return store.name if store.name.startswith("oci:") else store.repository


def local_reference(store: Store, tag: str) -> Reference:
    """The name under which the local store or the engine has what goes to a store."""
    from trust.oci.reference import Reference, Repository

    if store.repository.startswith("/"):
        raise UsageError(
            f"{store.name} is a folder, which has no name to look for here",
            hint="say what to push with --from SOURCE, or the folder's repository with --as NAME",
        )
    return Reference(Repository.parse(store.repository), tag)


def _all_tags(desk: Desk, asked: StoreName, source: str | None) -> list[str]:
    from trust.oci.localstore import digest_tag

    if asked.tag is not None or source is not None or asked.repository is None:
        raise UsageError("--all-tags pushes the local tags of a NAME: expected no tag, no --from and no folder")
    here = [item for item in desk.images.images() if item.reference.repository == asked.repository]
    tags = [tag for item in here if (tag := item.reference.tag) is not None and tag != digest_tag(item.digest)]
    if not tags:
        raise MissingError(f"the local store has no tag of {asked.repository.familiar}")
    return tags


def _as_json(store: Store, tag: str, signed: Signed) -> dict[str, object]:
    return {
        "reference": f"{store.name}:{tag}",
        "digest": str(signed.digest),
        "size": signed.size,
        "signed": signed.state is not None,
        "signers": list(signed.roles),
        "state": None if signed.state is None else signed.state.verified.version,
        "root": None if signed.state is None or signed.state.pin.root is None else str(signed.state.pin.root),
        "proposal": signed.proposal,
        "initialised": signed.initialised,
        "unchanged": signed.unchanged,
    }
