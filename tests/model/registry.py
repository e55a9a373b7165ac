"""A model of a registry's repository: every request is one atomic step, and a scheduler decides who makes the next.

What it assumes of a real registry stands in docs/registry-model.md. What can happen to a request is its
:class:`Fate`: it is answered; the writer is killed before it or when it was carried out; it fails before it is
carried out; its answer is lost; or it is answered with what was there before the last write (``STALE``, which
the model's registry does only where a story asks for it).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from trust.errors import DeniedError, MissingError, TamperedError, UnreachableError
from trust.oci.store import Outcome, Placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trust.digest import Digest
    from trust.oci.manifest import Descriptor, Manifest
    from trust.oci.store import BlobReader

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone; nothing in the program may catch it."""


class Fate(Enum):
    """What happens to one request, as a schedule writes it."""

    ANSWERED = ""
    KILLED_BEFORE = "!"
    KILLED_AFTER = "?"
    FAILED = "-"
    ANSWER_LOST = "~"
    STALE = "<"


CUT_OFF = (Fate.KILLED_BEFORE, Fate.KILLED_AFTER, Fate.FAILED, Fate.ANSWER_LOST)
"""What ends a writer's run."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an actor wants next: ``put``, ``get``, ``list``, ``blob``, ``delete`` or ``pause``, and of what."""

    verb: str
    what: str = ""

    @property
    def is_write(self) -> bool:
        """Whether others can see that it was carried out."""
        return self.verb in {"put", "delete"} and not self.what.startswith("sha256:")

    @property
    def is_visible(self) -> bool:
        """Whether its place among the requests of others matters.

        Content that is named by its digest is always the same, and so is what a state's own tag names.
        """
        return self.verb in {"list", "delete", "put"} or (
            self.verb == "get" and not self.what.startswith(("sha256:", "_trust."))
        )


@dataclass(frozen=True, slots=True)
class Put:
    """A manifest that was stored under a tag: when (the step's number), by whom."""

    step: int
    actor: str
    tag: str
    manifest: Manifest


@dataclass(slots=True)
class Registry:
    """One repository.

    ``page``: how many tags one request lists (0: all); a longer list takes several, and is no picture of one moment.
    ``frozen``: no tag moves that is there. ``last``: the tags as they were before the last write.
    """

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    puts: list[Put] = field(default_factory=list)
    step: int = 0
    page: int = 0
    frozen: bool = False
    last: dict[str, Digest] = field(default_factory=dict)

    def copy(self) -> Registry:
        """Another one with the same content, whose history begins here."""
        return Registry(
            dict(self.manifests),
            dict(self.tags),
            dict(self.blobs),
            page=self.page,
            frozen=self.frozen,
            last=dict(self.tags),
        )

    def set_tag(self, tag: str, digest: Digest | None) -> None:
        """Let a tag point there; None: nowhere."""
        self.last = dict(self.tags)
        if digest is None:
            self.tags.pop(tag, None)
        else:
            self.tags[tag] = digest


def at_once(request: Request) -> Fate:
    """No scheduler: every request is answered."""
    del request
    return Fate.ANSWERED


@dataclass(frozen=True, slots=True)
class ModelStore:
    """One actor's connection to the registry (trust.oci.store.Store)."""

    registry: Registry
    actor: str = ""
    turn: Callable[[Request], Fate] = at_once
    repository: str = "localhost:5000/app"

    @property
    def name(self) -> str:
        return self.repository

    def get_manifest(self, reference: str | Digest) -> Manifest:
        return self._ask(
            "get",
            str(reference),
            lambda: self._manifest(reference, self.registry.tags),
            lambda: self._manifest(reference, self.registry.last),
        )

    def resolve(self, tag: str) -> Digest | None:
        return self._ask("get", tag, lambda: self.registry.tags.get(tag), lambda: self.registry.last.get(tag))

    def has_manifest(self, digest: Digest) -> bool:
        return self._ask("get", str(digest), lambda: digest in self.registry.manifests)

    def put_manifest(self, manifest: Manifest, tag: str | None = None) -> None:
        self._ask("put", tag or str(manifest.digest), lambda: self._store(manifest, tag))

    def tags(self, limit: int) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        more = True
        while more and len(found) <= limit:
            page = self._list(found[-1] if found else "")
            found += page
            more = bool(self.registry.page) and len(page) == self.registry.page
        return found[: limit + 1]

    def _list(self, after: str) -> tuple[str, ...]:
        return self._ask(
            "list",
            after,
            lambda: self._page(self.registry.tags, after),
            lambda: self._page(self.registry.last, after),
        )

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        return self._ask("blob", str(descriptor.digest), lambda: self._blob(descriptor, max_bytes))

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        yield BytesIO(self.read_blob(descriptor, descriptor.size))

    def has_blob(self, digest: Digest) -> bool:
        return self._ask("blob", str(digest), lambda: digest in self.registry.blobs)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_: BlobReader,
        *,
        mount_from: tuple[str, ...] = (),
        sent: Callable[[int], None] | None = None,
    ) -> Placed:
        with open_() as file:
            data = file.read()
        assert len(data) == descriptor.size
        self._ask("blob", str(descriptor.digest), lambda: self.registry.blobs.setdefault(descriptor.digest, data))
        return Placed(Outcome.PUSHED)

    def mount_blob(self, descriptor: Descriptor, mount_from: tuple[str, ...] = ()) -> Placed | None:
        return Placed(Outcome.EXISTS) if self.has_blob(descriptor.digest) else None

    def delete_manifest(self, digest: Digest) -> None:
        self._ask("delete", str(digest), lambda: self._delete(digest))

    def untag(self, tag: str) -> None:
        self._ask("delete", tag, lambda: self.registry.set_tag(tag, None))

    def _ask(self, verb: str, what: str, action: Callable[[], T], before: Callable[[], T] | None = None) -> T:
        fate = self.turn(Request(verb, what))
        if fate is Fate.KILLED_BEFORE:
            raise Killed
        if fate is Fate.FAILED:
            raise UnreachableError(f"the model drops the request {verb} {what}")
        result = before() if before is not None and fate is Fate.STALE else action()
        if fate is Fate.KILLED_AFTER:
            raise Killed
        if fate is Fate.ANSWER_LOST:
            raise UnreachableError(f"the model loses the answer to {verb} {what}")
        return result

    def _page(self, tags: Mapping[str, Digest], after: str) -> tuple[str, ...]:
        more = tuple(sorted(tag for tag in tags if tag > after))
        return more[: self.registry.page] if self.registry.page else more

    def _manifest(self, reference: str | Digest, tags: Mapping[str, Digest]) -> Manifest:
        digest = tags.get(reference) if isinstance(reference, str) else reference
        if digest not in self.registry.manifests:
            raise MissingError(f"there is no {reference}")
        return self.registry.manifests[digest]

    def _store(self, manifest: Manifest, tag: str | None) -> None:
        parts = [*manifest.layers, *([manifest.config] if manifest.config else [])]
        if any(part.digest not in self.registry.blobs for part in parts):
            raise MissingError(f"a blob of {manifest.digest} is missing")
        if any(item.digest not in self.registry.manifests for item in manifest.manifests):
            raise MissingError(f"a manifest of {manifest.digest} is missing")
        if self.registry.frozen and tag is not None and self.registry.tags.get(tag) not in {None, manifest.digest}:
            raise DeniedError(f"the tag {tag} is immutable")
        self.registry.manifests[manifest.digest] = manifest
        if tag is not None:
            self.registry.set_tag(tag, manifest.digest)
            self.registry.puts.append(Put(self.registry.step, self.actor, tag, manifest))

    def _blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        data = self.registry.blobs.get(descriptor.digest)
        if data is None:
            raise MissingError(f"there is no {descriptor.digest}")
        if len(data) != descriptor.size or len(data) > max_bytes:
            raise TamperedError(f"{descriptor.digest} is of another size")
        return data

    def _delete(self, digest: Digest) -> None:
        self.registry.manifests.pop(digest, None)
        for tag in [tag for tag, found in self.registry.tags.items() if found == digest]:
            self.registry.set_tag(tag, None)
