"""The release gate's eyes: what the registries say of the images that a release would run.

Each repository is refreshed once, however many of its images are asked for; what a tag is signed to mean is then a
pure question. A tag costs one HEAD more, since the registry's tag must still be the signed digest; an image that is
pinned by digest costs none. Registries do not wait for each other, and what one has not answered in time is its own
images' loss. :mod:`trust.gate.judge` decides.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from trust import strictjson
from trust.digest import Digest
from trust.errors import DocksealError, TamperedError, UnreachableError, UsageError
from trust.gate.facts import Facts, Image, Signature, SignedTag, StateFacts
from trust.gate.found import Found, Problem
from trust.gate.policy import Mode, has_platform
from trust.oci.manifest import MAX_CONFIG_BYTES
from trust.oci.reference import DEFAULT_TAG, check_image_tag
from trust.oci.source import StoreName
from trust.pins import Pin
from trust.tuf.roles import Target, signed_at
from trust.verify import current_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from trust.gate.policy import Policy, Rule
    from trust.machine import Machine
    from trust.oci.store import Store
    from trust.tuf.verified import Verified

    OpenStore = Callable[[StoreName], Store]

WORKERS = 8
"""Threads for each registry."""


def images_of(
    found: Iterable[Found], machine: Machine, open_store: OpenStore, *, ignore_pins: bool = False
) -> tuple[tuple[Image, ...], tuple[Problem, ...]]:
    """Each image once, with all places that name it; and names that are none.

    Args:
        found: what the release's files name.
        machine: its pins say what a folder's trust data is called.
        open_store: opens what a name means; nothing is read.
        ignore_pins: take ``NAME:TAG@DIGEST`` for ``NAME:TAG``, whose digest is to be pinned anew.
    """
    places: dict[StoreName, list[Found]] = defaultdict(list)
    problems: list[Problem] = []
    for item in found:
        try:
            asked = _asked(item.text)
            places[replace(asked, digest=None) if ignore_pins and asked.tag else asked].append(item)
        except UsageError as error:
            problems.append(Problem(item.place, error.message, error.hint or ""))
    images = [Image(asked, _policy_name(asked, machine, open_store), tuple(some)) for asked, some in places.items()]
    return tuple(images), tuple(problems)


def gather(
    images: Iterable[Image], policy: Policy, machine: Machine, open_store: OpenStore, *, timeout_seconds: float
) -> dict[Image, Facts]:
    """The facts of every image that a rule wants judged.

    Args:
        images: each once.
        policy: which root a repository must have, and whether platforms matter.
        machine: the standpoint; ``now`` is the real time, whatever moment is judged later.
        open_store: opens a repository's store; raises what makes it unreachable.
        timeout_seconds: how long all registries together may take; what is not answered by then is unreachable.

    Raises:
        Exception: whatever a thread ran into that is none of our errors: a defect, never a verdict.
    """
    groups: dict[StoreName, list[Image]] = defaultdict(list)
    rules = {image: policy.rule_for(image.repository) for image in images}
    for image, rule in rules.items():
        if rule is not None and rule.mode is not Mode.OFF:
            groups[replace(image.asked, tag=None, digest=None)].append(image)
    crew = _Crew()
    for place, some in groups.items():
        rule = rules[some[0]]
        assert rule is not None  # noqa: S101 - only images with a rule are in a group
        work = _Repository(crew, open_store, machine, rule, place, tuple(some))
        crew.add(work.host, work.look)
    known = crew.finish(timeout_seconds)
    late = UnreachableError(
        f"the registry did not answer within {timeout_seconds:g} seconds",
        hint="nothing was judged: run the gate again, or give it more time with --timeout",
    )
    asked = {image for some in groups.values() for image in some}
    return {image: known.get(image, Facts(error=late)) if image in asked else Facts() for image in rules}


def _asked(text: str) -> StoreName:
    """A name with docker's default tag.

    Raises:
        UsageError: it is malformed, or reserved for trust data.
    """
    asked = StoreName.parse(text)
    if asked.tag is not None:
        check_image_tag(asked.tag)
    return replace(asked, tag=DEFAULT_TAG) if asked.tag is None and asked.digest is None else asked


def _policy_name(asked: StoreName, machine: Machine, open_store: OpenStore) -> str:
    if asked.repository is not None:
        return str(asked.repository)
    repository = open_store(asked).repository
    pin = machine.pin(repository)
    return repository if pin is None else pin.signed_name(repository)


class _Crew:
    """Threads for each registry, and what they found out. They are daemons: one that hangs holds nobody up."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[Callable[[], None] | None]] = {}
        self._threads: dict[str, int] = defaultdict(int)
        self._changed = threading.Condition()
        self._open = 0
        self._over = False
        self._facts: dict[Image, Facts] = {}
        self._defect: Exception | None = None

    def add(self, host: str, task: Callable[[], None]) -> None:
        """Have a task done beside the others of this registry."""
        with self._changed:
            if self._over:
                return
            self._open += 1
            queue = self._queues.setdefault(host, SimpleQueue())
            queue.put(task)
            if self._threads[host] < WORKERS:
                self._threads[host] += 1
                threading.Thread(target=self._work, args=(queue,), daemon=True).start()

    def tell(self, image: Image, facts: Facts) -> None:
        """Keep what was found out."""
        with self._changed:
            self._facts[image] = facts

    def finish(self, timeout_seconds: float) -> dict[Image, Facts]:
        """Wait until everything is done, or the time is over; what is known by then."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._defect, timeout_seconds)
            self._over = True
            for host, queue in self._queues.items():
                for _ in range(self._threads[host]):
                    queue.put(None)
            if self._defect is not None:
                raise self._defect
            return dict(self._facts)

    def _work(self, queue: SimpleQueue[Callable[[], None] | None]) -> None:
        while (task := queue.get()) is not None:
            try:
                if not self._over:  # nobody waits for it any more
                    task()
            except Exception as error:  # noqa: BLE001 - raised again by finish(), in the thread that waits
                with self._changed:
                    self._defect = error
            finally:
                with self._changed:
                    self._open -= 1
                    self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _Repository:
    """One repository's images, to be looked at by a crew."""

    crew: _Crew
    open_store: OpenStore
    machine: Machine
    rule: Rule
    place: StoreName
    images: tuple[Image, ...]

    @property
    def host(self) -> str:
        return "" if self.place.repository is None else self.place.repository.registry

    def look(self) -> None:
        """Refresh once, then see to every image."""
        try:
            store = self.open_store(self.place)
            trusted = current_state(store, _standpoint(self.machine, self.rule, store.repository))
        except DocksealError as error:
            for image in self.images:
                self.crew.tell(image, Facts(error=error))
            return
        answers = _Answers(trusted.verified)
        for image in self.images:
            facts = Facts(state=answers.state, signed=answers.of(image))
            if image.digest is not None and not self.rule.platforms:
                self.crew.tell(image, facts)
            else:
                self.crew.add(self.host, partial(self._ask, store, image, facts))

    def _ask(self, store: Store, image: Image, facts: Facts) -> None:
        """What only the registry can tell of an image."""
        try:
            if image.digest is None and image.tag is not None:
                found = store.resolve(image.tag)
                facts = replace(facts, registry_digest=found, tag_exists=found is not None)
            if self.rule.platforms and facts.signed and facts.tag_exists:
                facts = replace(facts, platforms=_platforms(store, facts.signed[0].digest, self.rule.platforms))
        except DocksealError as error:
            facts = replace(facts, problem=error)
        self.crew.tell(image, facts)


def _standpoint(machine: Machine, rule: Rule, repository: str) -> Machine:
    """The machine, with the rule's root in place of its pin; ``--root`` goes before both."""
    if machine.root is not None or not rule.has_root:
        return machine
    saved = machine.pin(repository) or Pin(repository)
    pin = replace(saved, repository=repository, root=rule.root, root_keys=rule.root_keys, threshold=rule.root_threshold)
    return replace(machine, pins=(pin,))


@dataclass(slots=True)
class _Answers:
    """What a verified state says of names; each role's signatures are looked at once."""

    verified: Verified
    _keys: dict[str, frozenset[str]] = field(default_factory=dict)
    _by_digest: dict[Digest, list[SignedTag]] | None = None

    @property
    def state(self) -> StateFacts:
        verified = self.verified
        expiring, expires = self._earliest(None)
        return StateFacts(
            version=verified.version,
            roots=tuple(Digest.of(data) for data in verified.state.roots),
            made=verified.timestamp.expires - timedelta(days=verified.terms.period("timestamp").expires_days),
            expires=expires,
            expiring=expiring,
        )

    def of(self, image: Image) -> tuple[SignedTag, ...]:
        """The signature of the image's tag, or those of all current tags that yield its digest (rule 8)."""
        if image.tag is not None:
            found = self._signed(image.tag)
            return () if found is None else (found,)
        if self._by_digest is None:
            self._by_digest = defaultdict(list)
            for tag in self.verified.tags:
                if (found := self._signed(tag)) is not None:
                    self._by_digest[found.digest].append(found)
        assert image.digest is not None  # noqa: S101 - a name has one of the two
        return tuple(self._by_digest.get(image.digest, ()))

    def _signed(self, tag: str) -> SignedTag | None:
        verified = self.verified
        target = verified.lookup(tag)
        if target is None:
            return None
        signed = Target.of(target)
        expiring, expires = self._earliest(tag)
        return SignedTag(
            tag=tag,
            digest=signed.digest,
            size=signed.length,
            signatures=tuple(self._signature(name, tag) for name in verified.signers_of(tag)),
            signed_at=signed_at(target),
            annotations={str(key): str(value) for key, value in signed.annotations.items()},
            expires=expires,
            expiring=expiring,
        )

    def _signature(self, name: str, tag: str) -> Signature:
        payload = self.verified.targets[name]
        holder = name if tag in payload.targets else self.verified.holder(name, tag)
        if holder not in self._keys:
            self._keys[holder] = self.verified.keys_that_signed(holder)
        return Signature(name, self._keys[holder], payload.expires)

    def _earliest(self, tag: str | None) -> tuple[str, datetime]:
        """The role that expires first of those that a lookup stands on, and when."""
        return min(self.verified.expiry_of(tag).items(), key=lambda item: item[1])


def _platforms(store: Store, digest: Digest, wanted: Sequence[str]) -> frozenset[str]:
    """The platforms of an image. The manifests of those wanted are read: a registry that swaps one is found out.

    Raises:
        MissingError, TamperedError, UnreachableError: a manifest is not there, or has other bytes than its digest says.
    """
    manifest = store.get_manifest(digest)
    if manifest.is_index:
        for item in manifest.manifests:
            if item.platform is not None and any(has_platform(name, item.platform) for name in wanted):
                store.get_manifest(item.digest)
        return frozenset(item.platform for item in manifest.manifests if item.platform)
    if manifest.config is None:
        raise TamperedError(f"{store.name}@{digest} has no config: its platform is not known")
    config = strictjson.loads_object(store.read_blob(manifest.config, MAX_CONFIG_BYTES), "the image's config")
    parts = (config.get("os"), config.get("architecture"), config.get("variant"))
    return frozenset({"/".join(str(part) for part in parts if part)})
