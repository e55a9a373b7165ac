"""A repository in a registry, as a :class:`~trust.oci.store.Store` (OCI distribution-spec v1.1.1).

Every request counts: no ping, a manifest is one request, a tag's digest one HEAD; what this process
has seen or sent is not asked for again. docs/registries.md lists what registries do differently.
"""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TypeGuard
from urllib.parse import quote

from trust import strictjson
from trust.digest import Digest
from trust.errors import DeniedError, DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.oci import wire
from trust.oci.auth import login_hint
from trust.oci.download import BlobStream
from trust.oci.manifest import MANIFEST_TYPES, MAX_MANIFEST_BYTES, Manifest
from trust.oci.reference import DEFAULT_REGISTRY, check_tag
from trust.oci.store import Outcome, Placed, read_whole
from trust.oci.transport import READ_BYTES
from trust.oci.upload import Upload, check_digest_header
from trust.oci.wire import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trust.oci.manifest import Descriptor
    from trust.oci.reference import Repository
    from trust.oci.store import BlobReader, Tag
    from trust.oci.transport import Answer, Transport

MAX_TAG_PAGES = 200
MAX_TAGS_BYTES = 32 << 20
"""All pages together; registry:2 ignores ``n`` and sends every tag at once."""
TAGS_PER_PAGE = 1000
"""ECR refuses more."""
MAX_MOUNT_SOURCES = 4

_ACCEPT = (("Accept", ", ".join((*MANIFEST_TYPES, "*/*;q=0.1"))),)
_DENIED = frozenset({401, 403})
_NO_DELETE = frozenset({400, 401, 403, 405, 501})
_NOT_FOUND = 404
_CREATED = 201
_ACCEPTED = 202
_CLASH = frozenset({409, 412})
_PART_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
"""A manifest came before what it refers to; with status 400 or 404. Some registries give it the code of a blob."""


class Registry:
    """One repository of a registry. Thread-safe, and best shared: it knows what was uploaded.

    Raises:
        UsageError: the transport is another registry's.
    """

    def __init__(self, repository: Repository, transport: Transport) -> None:
        if transport.registry != repository.registry:
            raise UsageError(f"{repository} is not on {transport.registry}")
        self._repository = repository
        self._transport = transport
        self._path = f"/v2/{repository.path}"
        self._pull = (f"repository:{repository.path}:pull",)
        self._push = (f"repository:{repository.path}:pull,push",)
        self._delete = (f"repository:{repository.path}:pull,push,delete",)
        self._lock = threading.Lock()
        self._blob_locks: dict[Digest, threading.Lock] = {}
        self._here: set[Digest] = set()
        self._absent: dict[Digest, str | None] = {}  # looked for in vain; the session that a mount has started

    @property
    def name(self) -> str:
        """How people name it: ``localhost:5000/app``."""
        return self._repository.familiar

    @property
    def repository(self) -> str:
        """The trust repository's name: ``registry/name``."""
        return str(self._repository)

    def get_manifest(self, reference: Tag | Digest) -> Manifest:
        """The manifest at a tag or digest; one request.

        Raises:
            MissingError: there is none.
        """
        answer = self._get_manifest(reference)
        if answer is None:
            raise MissingError(
                f"{self._named(reference)} does not exist",
                hint=f"check the name; `dockseal inspect {self.name}` lists the tags that are signed",
            )
        if _is_html(answer):
            raise self._web_page(answer)
        expected = str(reference) if isinstance(reference, Digest) else str(Digest.of(answer.body))
        if isinstance(reference, Digest) and (found := Digest.of(answer.body)) != reference:
            raise TamperedError(
                f"{self._named(reference)}: the registry sent a manifest with the digest {found}",
                hint="the registry, or something on the way, changed the image: push it again from where it was made",
            )
        check_digest_header(answer, expected)
        return Manifest.parse(answer.body, answer.headers.get("Content-Type"))

    def resolve(self, tag: Tag) -> Digest | None:
        """The digest that the tag points at now, or None; one HEAD where the registry tells the digest."""
        answer = self._transport.send(self._manifest_call("HEAD", tag))
        if answer.status == _NOT_FOUND:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if answer.ok and digest.startswith("sha256:"):
            try:
                return Digest(digest)
            except UsageError as error:
                raise TamperedError(
                    f"{self._named(tag)}: the registry gave a malformed digest: {error.message}"
                ) from error
        # no digest (ECR), or a refusal, which a HEAD does not explain
        body = self._get_manifest(tag)
        if body is not None and _is_html(body):
            raise self._web_page(body)
        return None if body is None else Digest.of(body.body)

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is there."""
        answer = self._transport.send(self._manifest_call("HEAD", digest))
        if answer.status == _NOT_FOUND:
            return False
        if answer.ok and answer.headers.get("Docker-Content-Digest"):
            check_digest_header(answer, str(digest))
            return True
        # no digest (ECR), a refusal, which a HEAD does not explain, or no registry at all
        try:
            return bool(self.get_manifest(digest))
        except MissingError:
            return False

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store it by digest, or under a tag. What it refers to must be there.

        Always sent: a registry may have collected what was there a moment ago.

        Raises:
            DeniedError: we may not push, or the tag must not be overwritten.
            UnreachableError: it was not stored, whatever the answer says: portals answer 200 to everything.
        """
        reference = manifest.digest if tag is None else tag
        kind = (("Content-Type", manifest.media_type),)
        answer = self._transport.send(Call("PUT", self._manifest_url(reference), self._push, kind, manifest.raw))
        if not answer.ok:
            with self._lock:
                self._here.clear()  # a blob may be what is missing: look again the next time
            raise self._error(answer, self._named(reference), storing=True)
        check_digest_header(answer, str(manifest.digest))
        if answer.status != _CREATED and not self._is_at(manifest, reference):
            raise UnreachableError(
                f"{self._repository.registry} answered {answer.status} for {self._named(reference)} without storing "
                "it: expected 201",
                hint=f"is {self._repository.registry} the right host?",
            )

    def tags(self, limit: int) -> tuple[Tag, ...]:
        """The tags, at most ``limit`` + 1 of them; none where the repository does not exist.

        Raises:
            TamperedError: the list is malformed or longer than ``MAX_TAGS_BYTES``.
        """
        found: dict[Tag, None] = {}
        size = min(limit + 1, TAGS_PER_PAGE)
        left, query, asked = MAX_TAGS_BYTES, f"n={size}", set[str]()
        while query not in asked and len(found) <= limit:
            asked.add(query)
            if len(asked) > MAX_TAG_PAGES:
                raise TamperedError(f"the tag list of {self.name} does not end: expected at most {MAX_TAG_PAGES} pages")
            answer = self._transport.send(Call("GET", f"{self._path}/tags/list?{query}", self._pull, max_bytes=left))
            if answer.status == _NOT_FOUND:
                break
            if not answer.ok:
                raise self._error(answer, self.name)
            left -= len(answer.body)
            page, known = self._read_tags(answer), len(found)
            found.update(dict.fromkeys(tag for tag in page if _is_tag(tag)))
            following = wire.next_query(answer.all("Link"))
            if following is None and len(page) == size and len(found) > known:  # Nexus gives no Link
                following = f"n={size}&last={quote(list(found)[-1], safe='')}"
            query = following or query
        return tuple(found)[: limit + 1]

    def read_blob(self, descriptor: Descriptor, max_bytes: int) -> bytes:
        """A small blob, whole; from the descriptor itself where its ``data`` is inlined.

        Raises:
            MissingError: it is not there.
            TamperedError: it is longer than ``max_bytes``, or not what its digest says.
        """
        if descriptor.data is None or descriptor.size > max_bytes:
            return read_whole(self.open_blob, descriptor, max_bytes)
        if len(descriptor.data) != descriptor.size or Digest.of(descriptor.data) != descriptor.digest:
            raise TamperedError(f"the inlined data of blob {descriptor.digest} does not have this digest and size")
        return descriptor.data

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob as a stream; reading to its end raises TamperedError where size or digest is wrong.

        A connection that breaks is taken up where it broke, a bounded number of times.
        """
        what = f"{self.name}@{descriptor.digest}"
        url = f"{self._path}/blobs/{descriptor.digest}"
        stream = BlobStream(self._transport, url, self._pull, descriptor, lambda answer: self._error(answer, what))
        with io.BufferedReader(stream, READ_BYTES) as reader:
            yield reader

    def has_blob(self, digest: Digest) -> bool:
        """Whether the blob is there; asks the registry each time."""
        return self._look(digest, None, self._pull)

    def put_blob(
        self,
        descriptor: Descriptor,
        open_: BlobReader,
        *,
        mount_from: tuple[str, ...] = (),
        sent: Callable[[int], None] | None = None,
    ) -> Placed:
        """Bring a blob there: look, else mount, else upload. The same blob goes once, from several threads too."""
        digest = descriptor.digest
        with self._blob_lock(digest):
            with self._lock:
                looked = digest in self._absent
                session = self._absent.pop(digest, None)
            if not looked:
                if placed := self._find(descriptor, mount_from):
                    return placed
                with self._lock:
                    session = self._absent.pop(digest, None)
            self._upload(descriptor, open_, sent or (lambda _size: None), session)
            with self._lock:
                self._here.add(digest)
            return Placed(Outcome.PUSHED)

    def mount_blob(self, descriptor: Descriptor, mount_from: tuple[str, ...] = ()) -> Placed | None:
        """The cheap half of :meth:`put_blob`: EXISTS, MOUNTED or None, without the bytes."""
        with self._blob_lock(descriptor.digest):
            return self._find(descriptor, mount_from)

    def delete_manifest(self, digest: Digest) -> None:
        """Remove a manifest and the tags on it.

        Raises:
            DeniedError: this registry does not delete.
            MissingError: there is no such manifest.
        """
        self._remove(digest)

    def untag(self, tag: Tag) -> None:
        """Remove one tag, where the registry can.

        Raises:
            DeniedError: this registry does not delete tags.
            MissingError: there is no such tag.
        """
        self._remove(tag)

    def _remove(self, reference: Tag | Digest) -> None:
        answer = self._transport.send(Call("DELETE", self._manifest_url(reference), self._delete))
        if answer.ok:
            return
        error = self._error(answer, self._named(reference))
        if answer.status in _NO_DELETE:
            what = "tags" if isinstance(reference, str) else "manifests"
            raise DeniedError(
                f"{self._repository.registry} does not let us delete {what}: {error.message}",
                hint="deletion is often off, or needs rights of its own; see the registry's settings",
            )
        raise error

    def _find(self, descriptor: Descriptor, mount_from: tuple[str, ...]) -> Placed | None:
        """Look, then mount; remembers both what is there and what is not."""
        digest, session = descriptor.digest, None
        with self._lock:
            if digest in self._here:
                return Placed(Outcome.EXISTS)
        # The right to push is asked for here, so that a refusal comes before the bytes.
        if self._look(digest, descriptor.size, self._push):
            return Placed(Outcome.EXISTS)
        sources = [source for source in dict.fromkeys(mount_from) if source != self._repository.path]
        for source in sources[:MAX_MOUNT_SOURCES]:
            mounted, location = self._mount(digest, source)
            if mounted:
                with self._lock:
                    self._here.add(digest)
                return Placed(Outcome.MOUNTED, source)
            session = location or session
        with self._lock:
            self._absent[digest] = session
        return None

    def _upload(
        self, descriptor: Descriptor, open_: BlobReader, sent: Callable[[int], None], session: str | None
    ) -> None:
        Upload(
            transport=self._transport,
            start=f"{self._path}/blobs/uploads/",
            scopes=self._push,
            descriptor=descriptor,
            open_=open_,
            sent=sent,
            failed=lambda answer: self._error(answer, self.name),
            is_there=lambda: self._look(descriptor.digest, descriptor.size, self._push),
            location=session,
        ).run()

    def _mount(self, digest: Digest, source: str) -> tuple[bool, str | None]:
        """Try one source: whether it worked, and else the session that was started instead.

        A source that we may not read, or that is not there, is no error: registries answer with any 4xx.
        """
        url = f"{self._path}/blobs/uploads/?mount={digest}&from={quote(source, safe='/')}"
        scopes = (*self._push, f"repository:{source}:pull")
        try:
            answer = self._transport.send(Call("POST", url, scopes))
        except DeniedError:
            return False, None
        if answer.status == _CREATED:
            check_digest_header(answer, str(digest))
            return True, None
        if answer.status == _ACCEPTED:
            return False, wire.upload_url(answer.headers.get("Location"), answer.url, self._transport.url)
        return False, None

    def _look(self, digest: Digest, size: int | None, scopes: tuple[str, ...]) -> bool:
        """Whether the blob is there, as far as an answer without its bytes can tell; ``size`` where it is known."""
        answer = self._transport.send(self._blob_call("HEAD", digest, scopes))
        if not answer.ok and answer.status != _NOT_FOUND:  # a HEAD does not say why
            with self._transport.send(self._blob_call("GET", digest, scopes, stream=True)) as answer:
                if not answer.ok and answer.status != _NOT_FOUND:
                    raise self._error(answer, f"{self.name}@{digest}")
        found = answer.ok and self._is_about(answer, digest, size)
        with self._lock:
            (self._here.add if found else self._here.discard)(digest)
            self._absent.pop(digest, None)
        return found

    def _is_about(self, answer: Answer, digest: Digest, size: int | None) -> bool:
        """Whether a success is about this blob: portals and proxies answer 200 to everything."""
        if _is_html(answer):
            raise self._web_page(answer)
        check_digest_header(answer, str(digest))
        length = answer.headers.get("Content-Length")
        if size is None or length is None:
            return size is None or "Docker-Content-Digest" in answer.headers
        return length.strip() == str(size)

    def _blob_lock(self, digest: Digest) -> threading.Lock:
        with self._lock:
            return self._blob_locks.setdefault(digest, threading.Lock())

    def _blob_call(self, method: str, digest: Digest, scopes: tuple[str, ...] = (), *, stream: bool = False) -> Call:
        return Call(method, f"{self._path}/blobs/{digest}", scopes or self._pull, stream=stream)

    def _manifest_url(self, reference: Tag | Digest) -> str:
        return f"{self._path}/manifests/{check_tag(reference) if isinstance(reference, str) else reference}"

    def _manifest_call(self, method: str, reference: Tag | Digest) -> Call:
        return Call(method, self._manifest_url(reference), self._pull, _ACCEPT, max_bytes=MAX_MANIFEST_BYTES)

    def _get_manifest(self, reference: Tag | Digest) -> Answer | None:
        answer = self._transport.send(self._manifest_call("GET", reference))
        if answer.status == _NOT_FOUND:
            return None
        if not answer.ok:
            raise self._error(answer, self._named(reference))
        return answer

    def _is_at(self, manifest: Manifest, reference: Tag | Digest) -> bool:
        try:
            return self.get_manifest(reference).digest == manifest.digest
        except MissingError:
            return False

    def _read_tags(self, answer: Answer) -> list[object]:
        if _is_html(answer):
            raise self._web_page(answer)
        page = strictjson.loads_object(answer.body, f"the tag list of {self.name}").get("tags")
        if page is None:  # registry:2, when the last tag is gone
            return []
        if not isinstance(page, list):
            raise TamperedError(f"the tag list of {self.name} is no list: got {type(page).__name__}")
        return page

    def _named(self, reference: Tag | Digest) -> str:
        return f"{self.name}@{reference}" if isinstance(reference, Digest) else f"{self.name}:{reference}"

    def _web_page(self, answer: Answer) -> DocksealError:
        """HTML with status 200: a login page, a portal, or no registry at all."""
        message = f"{wire.redact(answer.url)} answered with a web page: expected a registry's JSON"
        if "Docker-Distribution-Api-Version" in answer.headers:
            return TamperedError(message)
        return UnreachableError(message, hint=f"is {self._repository.registry} the right host?")

    def _error(self, answer: Answer, what: str, *, storing: bool = False) -> DocksealError:
        """Our error for an answer that is neither a success nor worth a retry; ``storing`` a manifest."""
        problem = wire.problem_of(answer.body, answer.headers)
        said = f" ({problem.text})" if problem.text else ""
        registry = self._repository.registry
        if answer.status in _DENIED:
            return DeniedError(f"{registry} denies access to {what}: {answer.status}{said}", hint=self._denied_hint())
        if answer.status in _CLASH:
            return DeniedError(
                f"{registry} refuses {what}: {answer.status}{said}",
                hint="an immutable tag cannot be moved: use another, or change the registry's settings",
            )
        if storing and _PART_MISSING.intersection(problem.codes):
            return MissingError(
                f"{registry} lacks what {what} refers to: {answer.status}{said}",
                hint="it may have collected it meanwhile: run the command again, which sends what is missing",
            )
        if answer.status == _NOT_FOUND:
            return MissingError(
                f"{registry} has no {what}: {answer.status}{said}",
                hint="create the repository in the registry first" if "NAME_UNKNOWN" in problem.codes else None,
            )
        too_large = answer.status == 413  # noqa: PLR2004 - HTTP's number says it best
        hint = "a proxy limits the size of bodies (nginx: client_max_body_size 0)" if too_large else None
        return UnreachableError(f"{registry} answered {answer.status} for {what}{said}", hint=hint)

    def _denied_hint(self) -> str:
        registry, path = self._repository.registry, self._repository.path
        if registry == DEFAULT_REGISTRY and path.startswith("library/"):
            name = path.removeprefix("library/")
            return f"docker.io/library belongs to Docker: dockseal tag {name} YOU/{name}, then push YOU/{name}"
        return login_hint(registry)


def _is_html(answer: Answer) -> bool:
    return "html" in answer.headers.get("Content-Type", "").lower()


def _is_tag(entry: object) -> TypeGuard[Tag]:
    """Nexus lists nulls, Artifactory digests: neither is a tag."""
    try:
        return isinstance(entry, str) and bool(check_tag(entry))
    except UsageError:
        return False
