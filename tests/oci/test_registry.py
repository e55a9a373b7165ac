"""A repository in a registry that misbehaves in every way we know of."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.faulty_registry import (
    HTML,
    Alter,
    CutBody,
    Drop,
    Endless,
    FaultyRegistry,
    Hang,
    LoseAnswer,
    Response,
    Status,
    redirect,
    with_headers,
    without_header,
    wrong_body,
)
from trust.digest import Digest
from trust.errors import DeniedError, DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.oci.auth import Credentials
from trust.oci.manifest import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    image_manifest,
)
from trust.oci.reference import Repository
from trust.oci.registry import MAX_TAG_PAGES, Registry
from trust.oci.retry import RetryPolicy
from trust.oci.store import Outcome, Placed, Store
from trust.oci.transport import Timeouts, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOB = bytes(range(256)) * 4096  # 1 MiB
LAYER = Descriptor.of(BLOB, OCI_LAYER)
CONFIG = Descriptor.of(b"{}", OCI_CONFIG)
MANIFEST = image_manifest(CONFIG, (LAYER,))
UPLOADS = "/blobs/uploads/"


@dataclass(frozen=True, slots=True)
class As:
    """Credentials for every host."""

    credentials: Credentials

    def get(self, host: str, path: str = "") -> Credentials:
        return self.credentials


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


def connect(server: FaultyRegistry, path: str = "app") -> Registry:
    """A new client: it knows nothing of what another has sent. It does not sleep, but gives up a silence soon."""
    transport = Transport(
        server.host,
        As(Credentials("alice", "secret")),
        sleep=lambda _seconds: None,
        timeouts=Timeouts(2, 0.5),
        policy=RetryPolicy(attempts=4),
    )
    return Registry(Repository.parse(f"{server.host}/{path}"), transport)


@pytest.fixture
def app(server: FaultyRegistry) -> Registry:
    return connect(server)


def fill(server: FaultyRegistry, *tags: str) -> None:
    for data in (BLOB, b"{}"):
        server.add_blob("app", data)
    server.add_manifest("app", MANIFEST)
    for tag in tags:
        server.add_manifest("app", MANIFEST, tag)


def methods(server: FaultyRegistry) -> list[str]:
    return [request.method for request in server.requests]


def put(app: Registry, data: bytes = BLOB) -> Placed:
    return app.put_blob(Descriptor.of(data, OCI_LAYER), partial(io.BytesIO, data))


def never() -> BinaryIO:
    raise AssertionError("the bytes were asked for")


def test_a_registry_is_a_store_named_as_people_name_it(server: FaultyRegistry) -> None:
    store: Store = connect(server)
    assert (store.name, store.repository) == (f"{server.host}/app", f"{server.host}/app")
    hub = Registry(Repository.parse("nginx"), Transport("docker.io"))
    assert (hub.name, hub.repository) == ("nginx", "docker.io/library/nginx")
    assert server.requests == ()


def test_another_registrys_transport_is_refused() -> None:
    with pytest.raises(UsageError, match="is not on"):
        Registry(Repository.parse("ghcr.io/a/b"), Transport("docker.io"))


# Manifests


def test_a_manifest_is_one_request(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    assert app.get_manifest("v1") == MANIFEST
    assert app.get_manifest(MANIFEST.digest) == MANIFEST
    assert [request.path for request in server.requests] == [
        f"/v2/app/manifests/{name}" for name in ("v1", MANIFEST.digest)
    ]
    accepted = server.requests[0].headers["accept"]
    assert all(
        kind in accepted for kind in (OCI_MANIFEST, DOCKER_MANIFEST, "image.index.v1+json", "manifest.list.v2+json")
    )


def test_a_manifest_behind_a_token_is_one_request_more(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.bearer = True
    app.get_manifest("v1")
    app.get_manifest("v1")
    assert [request.status for request in server.requests] == [401, 200, 200]
    assert len(server.token_requests) == 1


def test_a_manifest_without_a_digest_header_is_hashed(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.sends_digest = False
    assert app.get_manifest("v1").digest == MANIFEST.digest
    assert app.get_manifest(MANIFEST.digest) == MANIFEST


@pytest.mark.parametrize("reference", ["v2", MANIFEST.digest])
def test_a_missing_manifest_is_missing(server: FaultyRegistry, app: Registry, reference: str | Digest) -> None:
    with pytest.raises(MissingError, match="does not exist") as caught:
        app.get_manifest(reference)
    assert caught.value.hint == f"check the name; `dockseal inspect {app.name}` lists the tags that are signed"


OTHER = image_manifest(CONFIG, ())


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (MANIFEST.digest, wrong_body(OTHER.raw)),
        (MANIFEST.digest, wrong_body(b"")),
        (MANIFEST.digest, wrong_body(MANIFEST.raw + b" ")),
        ("v1", wrong_body(OTHER.raw)),
        ("v1", with_headers(Docker_Content_Digest=f"sha256:{'0' * 64}")),
        ("v1", with_headers(Docker_Content_Digest="sha256:short")),
        ("v1", with_headers(Content_Type=DOCKER_MANIFEST)),
        ("v1", Status(200, b"{", {"Content-Type": OCI_MANIFEST})),
        ("v1", Status(200, b"x" * (8 << 20) + b"x", {"Content-Type": OCI_MANIFEST})),
        ("v1", Endless()),
        ("v1", Status(200, b"<html>", {"Content-Type": "text/html", "Docker-Distribution-Api-Version": "2.0"})),
    ],
    ids=[
        "another manifest", "nothing", "one byte more", "another manifest at the tag", "another digest",
        "no digest", "another type", "no JSON", "oversize", "endless", "a web page from a registry",
    ],
)  # fmt: skip
def test_a_manifest_that_is_not_what_it_should_be_is_tampered_with(
    server: FaultyRegistry, app: Registry, reference: str | Digest, fault: Alter | Endless | Status
) -> None:
    fill(server, "v1")
    server.fail("GET", "/manifests/", fault)
    with pytest.raises(TamperedError) as caught:
        app.get_manifest(reference)
    if isinstance(reference, Digest):
        assert "push it again from where it was made" in (caught.value.hint or "")


@pytest.mark.parametrize("call", ["manifest", "resolve", "tags"])
def test_a_web_page_where_json_is_expected_is_no_registry(server: FaultyRegistry, app: Registry, call: str) -> None:
    server.fail("*", "/v2/", HTML, times=None)
    actions: dict[str, Callable[[], object]] = {
        "manifest": lambda: app.get_manifest("v1"),
        "resolve": lambda: app.resolve("v1"),
        "tags": lambda: app.tags(5),
    }
    with pytest.raises(UnreachableError, match="a web page") as caught:
        actions[call]()
    assert caught.value.hint == f"is {server.host} the right host?"


def test_schema_1_is_refused_by_name(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    old = Response(
        200, {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, b'{"schemaVersion":1}'
    )
    server.fail("GET", "/manifests/", Alter(lambda _: old))
    with pytest.raises(UsageError, match="schema 1"):
        app.get_manifest("v1")


def test_a_tag_that_is_just_being_moved_is_asked_again(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.fail("GET", "/manifests/v1", Status(500), times=2)
    assert app.get_manifest("v1") == MANIFEST


def test_a_manifest_cut_off_is_asked_again(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.fail("GET", "/manifests/", CutBody(10), times=2)
    assert app.get_manifest("v1") == MANIFEST


def test_a_malformed_tag_is_never_sent(server: FaultyRegistry, app: Registry) -> None:
    for action in (app.get_manifest, app.resolve, app.untag, lambda tag: app.put_manifest(MANIFEST, tag)):
        with pytest.raises(UsageError, match="invalid tag"):
            action("../../blobs")
    assert server.requests == ()


def test_a_tag_is_resolved_by_one_head(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    assert app.resolve("v1") == MANIFEST.digest
    assert app.resolve("v2") is None
    assert methods(server) == ["HEAD", "HEAD"]


@pytest.mark.parametrize(
    "fault",
    [
        without_header("Docker-Content-Digest"),
        with_headers(Docker_Content_Digest="sha512:" + "0" * 128),
        Status(405),
        Status(400),
    ],
    ids=["no digest", "another algorithm", "no HEAD", "a bad HEAD"],
)
def test_where_a_head_does_not_tell_the_digest_the_manifest_is_hashed(
    server: FaultyRegistry, app: Registry, fault: Alter | Status
) -> None:
    fill(server, "v1")
    server.fail("HEAD", "/manifests/", fault)
    assert app.resolve("v1") == MANIFEST.digest
    assert methods(server) == ["HEAD", "GET"]


def test_a_tag_that_vanishes_between_head_and_get_is_none(server: FaultyRegistry, app: Registry) -> None:
    server.fail("HEAD", "/manifests/", Status(405))
    assert app.resolve("v1") is None


def test_a_malformed_digest_of_a_tag_is_tampered_with(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.fail("HEAD", "/manifests/", with_headers(Docker_Content_Digest="sha256:../x"))
    with pytest.raises(TamperedError, match="malformed digest"):
        app.resolve("v1")


def test_a_denied_head_is_explained_by_a_get(server: FaultyRegistry, app: Registry) -> None:
    server.fail("*", "/manifests/", Status(403, b'{"errors":[{"code":"DENIED","message":"by policy"}]}'), times=None)
    for action in (lambda: app.resolve("v1"), lambda: app.has_manifest(MANIFEST.digest)):
        with pytest.raises(DeniedError, match=r"403 \(DENIED: by policy\)") as caught:
            action()
        assert caught.value.hint == f"dockseal login {server.host}"


def test_whether_a_manifest_is_there_is_one_head(server: FaultyRegistry, app: Registry) -> None:
    assert not app.has_manifest(MANIFEST.digest)
    fill(server)
    assert app.has_manifest(MANIFEST.digest)
    assert methods(server) == ["HEAD", "HEAD"]
    server.fail("HEAD", "/manifests/", Status(405), times=2)
    assert app.has_manifest(MANIFEST.digest)
    assert not app.has_manifest(OTHER.digest)


def test_a_manifest_whose_digest_the_registry_does_not_tell_is_read(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.sends_digest = False
    assert app.has_manifest(MANIFEST.digest)
    assert methods(server) == ["HEAD", "GET"]


def test_a_manifest_is_put_by_digest_or_tag_with_its_exact_bytes(server: FaultyRegistry, app: Registry) -> None:
    server.checks_references = False
    app.put_manifest(MANIFEST)
    app.put_manifest(MANIFEST, "v1")
    assert server.tags["app"] == {"v1": str(MANIFEST.digest)}
    assert [(request.path, request.body) for request in server.writes] == [
        (f"/v2/app/manifests/{MANIFEST.digest}", MANIFEST.raw),
        ("/v2/app/manifests/v1", MANIFEST.raw),
    ]
    assert server.writes[0].headers["content-type"] == OCI_MANIFEST


def test_a_put_whose_answer_is_lost_is_sent_again(server: FaultyRegistry, app: Registry) -> None:
    server.checks_references = False
    server.fail("PUT", "/manifests/", LoseAnswer())
    app.put_manifest(MANIFEST, "v1")
    assert methods(server) == ["PUT", "PUT"]


def test_a_registry_that_stored_something_else_is_noticed(server: FaultyRegistry, app: Registry) -> None:
    server.checks_references = False
    server.fail("PUT", "/manifests/", with_headers(Docker_Content_Digest=f"sha256:{'0' * 64}"))
    with pytest.raises(TamperedError, match="answered with the digest"):
        app.put_manifest(MANIFEST, "v1")


@pytest.mark.parametrize("status", [409, 412])
def test_an_immutable_tag_is_denied_with_a_hint(server: FaultyRegistry, app: Registry, status: int) -> None:
    fill(server, "v1")
    server.immutable_tags = True
    server.fail("PUT", "/manifests/", Alter(lambda response: replace(response, status=status)))
    with pytest.raises(DeniedError, match="immutable") as caught:
        app.put_manifest(OTHER, "v1")
    assert "immutable tag" in str(caught.value.hint)


def test_a_denied_push_to_docker_hubs_library_names_the_way_out() -> None:
    registry = Registry(Repository.parse("nginx"), Transport("docker.io"))
    assert (
        registry._denied_hint()
        == "docker.io/library belongs to Docker: dockseal tag nginx YOU/nginx, then push YOU/nginx"
    )
    assert Registry(Repository.parse("me/nginx"), Transport("docker.io"))._denied_hint() == "dockseal login"


@pytest.mark.parametrize(
    ("fault", "kind", "hint"),
    [
        (Status(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'), MissingError, "create the repository"),
        (Status(404), MissingError, None),
        (Status(400, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'), MissingError, "run the command again"),
        (Status(404, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}'), MissingError, "run the command again"),
        (Status(413, b"<html>"), UnreachableError, "client_max_body_size"),
        (Status(400, b'{"errors":[{"code":"MANIFEST_INVALID","message":"bad"}]}'), UnreachableError, None),
        (Status(401), DeniedError, "dockseal login"),
    ],
)
def test_other_refusals_are_told_with_what_helps(
    server: FaultyRegistry, app: Registry, fault: Status, kind: type[DocksealError], hint: str | None
) -> None:
    server.fail("PUT", "/manifests/", fault, times=None)
    with pytest.raises(kind, match=str(fault.status)) as caught:
        app.put_manifest(MANIFEST, "v1")
    assert type(caught.value) is kind
    assert (hint or "") in (caught.value.hint or "")


@pytest.mark.parametrize("fault", [Status(200), Status(204), HTML], ids=["empty", "no content", "a web page"])
@pytest.mark.parametrize("tag", ["v1", None])
def test_a_manifest_that_was_not_stored_is_no_success(
    server: FaultyRegistry, app: Registry, fault: Status, tag: str | None
) -> None:
    server.fail("PUT", "/manifests/", fault, times=None)
    with pytest.raises(UnreachableError, match="without storing it: expected 201"):
        app.put_manifest(MANIFEST, tag)


def test_a_tag_that_was_not_moved_is_no_success(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.fail("PUT", "/manifests/", Status(200), times=None)
    with pytest.raises(UnreachableError, match="without storing it"):
        app.put_manifest(image_manifest(CONFIG, (LAYER, LAYER)), "v1")


def test_a_manifest_that_was_stored_may_be_answered_with_another_success(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.fail("PUT", "/manifests/", Alter(lambda response: replace(response, status=202)))
    app.put_manifest(MANIFEST, "v1")
    assert server.tags["app"]["v1"] == str(MANIFEST.digest)


def test_a_manifest_is_deleted_with_its_tags_and_a_tag_alone(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1", "v2")
    app.untag("v1")
    assert list(server.tags["app"]) == ["v2"]
    app.delete_manifest(MANIFEST.digest)
    assert app.tags(5) == ()
    with pytest.raises(MissingError):
        app.delete_manifest(MANIFEST.digest)


def test_where_nothing_is_deleted_it_is_denied(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    server.can_delete = False
    with pytest.raises(DeniedError, match=r"does not let us delete tags.*UNSUPPORTED"):
        app.untag("v1")
    with pytest.raises(DeniedError, match="does not let us delete manifests"):
        app.delete_manifest(MANIFEST.digest)


# Tags


def tags_of(server: FaultyRegistry, count: int) -> list[str]:
    names = [f"t{number:04}" for number in range(count)]
    server.tags["app"] = dict.fromkeys(names, "sha256:0")
    return names


@pytest.mark.parametrize(
    ("count", "limit", "page"), [(0, 5, None), (7, 10, 2), (7, 7, 3), (7, 3, 2), (7, 6, None), (25, 100, 10)]
)
def test_tags_come_in_pages_up_to_one_more_than_asked_for(
    server: FaultyRegistry, app: Registry, count: int, limit: int, page: int | None
) -> None:
    names = tags_of(server, count)
    server.page_size = page
    assert app.tags(limit) == tuple(names[: limit + 1])


def test_no_page_is_asked_for_in_vain(server: FaultyRegistry, app: Registry) -> None:
    tags_of(server, 7)
    server.page_size = 2
    app.tags(3)
    app.tags(10_000)
    targets = [request.target for request in server.requests]
    assert targets[:2] == ["/v2/app/tags/list?n=4", "/v2/app/tags/list?n=2&last=t0001"]
    assert targets[2] == "/v2/app/tags/list?n=1000"
    assert len(targets) == 6


def test_a_missing_repository_has_no_tags(app: Registry) -> None:
    assert app.tags(5) == ()


def test_a_registry_that_ignores_the_page_size_sends_all(server: FaultyRegistry, app: Registry) -> None:
    names = tags_of(server, 50)
    server.ignores_n = True
    assert app.tags(5) == tuple(names[:6])
    assert app.tags(50) == tuple(names)


def test_nexus_gives_no_link(server: FaultyRegistry, app: Registry) -> None:
    names = tags_of(server, 2500)
    server.sends_link = False
    assert app.tags(5000) == tuple(names)


def test_a_link_with_a_wrong_path_or_host_is_read_for_its_query_alone(server: FaultyRegistry, app: Registry) -> None:
    names = tags_of(server, 4)
    server.page_size = 2
    server.fail(
        "GET", "/tags/", with_headers(Link="<https://other.example/api/docker/tags/list?last=t0001&n=2>; rel=next")
    )
    assert app.tags(10) == tuple(names)
    assert {request.path for request in server.requests} == {"/v2/app/tags/list"}


@pytest.mark.parametrize("link", ["</v2/app/tags/list?n=11>; rel=next", "</v2/app/tags/list?again>; rel=next"])
def test_a_link_in_a_circle_ends(server: FaultyRegistry, app: Registry, link: str) -> None:
    names = tags_of(server, 3)
    server.fail("GET", "/tags/", with_headers(Link=link), times=None)
    assert app.tags(10) == tuple(names)
    assert len(server.requests) <= 2


def test_pages_without_end_are_refused(server: FaultyRegistry, app: Registry) -> None:
    tags_of(server, 1)
    server.fail(
        "GET", "/tags/", Alter(lambda r: r.with_headers(Link=f"<?page={len(server.requests)}>; rel=next")), times=None
    )
    with pytest.raises(TamperedError, match="does not end"):
        app.tags(10)
    assert len(server.requests) == MAX_TAG_PAGES


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (b'{"name":"app","tags":null}', ()),
        (b'{"name":"app"}', ()),
        (b'{"tags":["v1",null,7,"sha256:0123","-bad","v1","v2"]}', ("v1", "v2")),
    ],
)
def test_what_is_no_tag_is_left_out(server: FaultyRegistry, app: Registry, body: bytes, tags: tuple[str, ...]) -> None:
    server.fail("GET", "/tags/", Status(200, body))
    assert app.tags(10) == tags


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"tags":{}}', b'{"tags":"v1"}', b'{"tags":[],"tags":[]}'])
def test_a_malformed_list_is_tampered_with(server: FaultyRegistry, app: Registry, body: bytes) -> None:
    server.fail("GET", "/tags/", Status(200, body))
    with pytest.raises(TamperedError, match="tag list"):
        app.tags(10)


def test_an_endless_list_is_cut_off(server: FaultyRegistry, app: Registry) -> None:
    tags_of(server, 1)
    server.fail("GET", "/tags/", Endless())
    with pytest.raises(TamperedError, match="expected at most"):
        app.tags(10)


def test_a_denied_list_is_denied(server: FaultyRegistry, app: Registry) -> None:
    server.fail("GET", "/tags/", Status(403))
    with pytest.raises(DeniedError):
        app.tags(10)


# Blobs, down


def read(app: Registry, descriptor: Descriptor = LAYER, size: int = -1) -> bytes:
    with app.open_blob(descriptor) as file:
        return file.read(size)


def test_a_blob_is_read_in_pieces_or_whole(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    assert read(app) == BLOB
    with app.open_blob(LAYER) as file:
        assert b"".join(iter(partial(file.read, 1000), b"")) == BLOB
    assert methods(server) == ["GET", "GET"]
    assert app.read_blob(CONFIG, 2) == b"{}"


def test_an_empty_blob_is_checked_too(server: FaultyRegistry, app: Registry) -> None:
    empty = Descriptor.of(b"", OCI_LAYER)
    server.add_blob("app", b"")
    assert read(app, empty) == b""
    server.add_blob("app", BLOB)
    with pytest.raises(TamperedError):
        read(app, replace(LAYER, size=0))


def test_a_missing_blob_is_missing_when_it_is_opened(app: Registry) -> None:
    with pytest.raises(MissingError, match="404"), app.open_blob(LAYER):
        pytest.fail("it was opened")


def test_inlined_data_needs_no_request_and_is_checked(server: FaultyRegistry, app: Registry) -> None:
    assert app.read_blob(replace(CONFIG, data=b"{}"), 2) == b"{}"
    for data in (b"[]", b"{} "):
        with pytest.raises(TamperedError, match="inlined data"):
            app.read_blob(replace(CONFIG, data=data), 2)
    assert server.requests == ()


def test_a_blob_over_the_cap_is_not_even_asked_for(server: FaultyRegistry, app: Registry) -> None:
    with pytest.raises(TamperedError, match="expected at most 10"):
        app.read_blob(LAYER, 10)
    assert server.requests == ()


@pytest.mark.parametrize(
    "fault",
    [
        wrong_body(b"x" * len(BLOB)),
        wrong_body(BLOB + b"x"),
        wrong_body(BLOB[:-1]),
        wrong_body(b""),
        Endless(),
        Endless(b"x" * 1000),
        HTML,
        with_headers(Content_Length=str(len(BLOB) + 1)),
    ],
    ids=[
        "wrong bytes",
        "too long",
        "too short",
        "empty",
        "endless",
        "endless in odd pieces",
        "a web page",
        "wrong length",
    ],
)
def test_a_blob_that_is_not_what_it_should_be_is_tampered_with(
    server: FaultyRegistry, app: Registry, fault: Alter | Endless | Status
) -> None:
    fill(server)
    server.fail("GET", "/blobs/", fault)
    with pytest.raises(TamperedError):
        read(app)


def test_the_last_bytes_are_not_given_out_when_the_digest_is_wrong(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.fail("GET", "/blobs/", wrong_body(b"x" * len(BLOB)))
    got = bytearray()

    def read_exactly(file: BinaryIO) -> None:
        """As one who knows the size, and so never sees the end."""
        while len(got) < len(BLOB):
            got.extend(file.read(min(4096, len(BLOB) - len(got))))

    with app.open_blob(LAYER) as file, pytest.raises(TamperedError):
        read_exactly(file)
    assert len(got) < len(BLOB)


def test_a_chunked_blob_that_goes_on_is_noticed(server: FaultyRegistry, app: Registry) -> None:
    server.add_blob("app", b"x")
    small = Descriptor.of(b"x", OCI_LAYER)
    server.fail("GET", "/blobs/", Endless(b"x"))
    with pytest.raises(TamperedError, match="longer than 1 bytes"):
        read(app, small)


@pytest.mark.parametrize("can_resume", [True, False])
def test_a_broken_blob_goes_on_where_it_broke(server: FaultyRegistry, app: Registry, can_resume: bool) -> None:
    fill(server)
    server.can_resume = can_resume
    server.fail("GET", "/blobs/", CutBody(300_000), times=2)
    assert read(app) == BLOB
    ranges = [request.headers.get("range") for request in server.requests]
    assert ranges[0] is None
    assert ranges[1] == "bytes=300000-"
    assert ranges[2] == ("bytes=600000-" if can_resume else "bytes=300000-")


def test_a_blob_that_always_breaks_is_given_up(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.fail("GET", "/blobs/", CutBody(10), times=None)
    with pytest.raises(UnreachableError, match=r"broke off.*\(4 attempts\)"):
        read(app)


def test_a_chunked_blob_that_ends_early_goes_on(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    early = Response(200, {"Transfer-Encoding": "chunked"}, b"3\r\n" + BLOB[:3] + b"\r\n0\r\n\r\n")
    server.fail("GET", "/blobs/", Alter(lambda _: early))
    assert read(app) == BLOB
    assert server.requests[1].headers["range"] == "bytes=3-"


def test_a_blob_that_is_complete_needs_no_proper_end(server: FaultyRegistry, app: Registry) -> None:
    server.add_blob("app", b"abc")
    endless = Response(200, {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n")
    server.fail("GET", "/blobs/", Alter(lambda _: endless))
    assert read(app, Descriptor.of(b"abc", OCI_LAYER)) == b"abc"
    assert methods(server) == ["GET"]


def test_much_that_was_read_before_is_skipped(server: FaultyRegistry, app: Registry) -> None:
    data = bytes(64 << 20)
    server.can_resume = False
    server.add_blob("app", data)
    server.fail("GET", "/blobs/", CutBody(len(data) - 1))
    with app.open_blob(Descriptor.of(data, OCI_LAYER)) as file:
        assert sum(len(chunk) for chunk in iter(partial(file.read, 1 << 20), b"")) == len(data)


def test_a_chunked_blob_that_always_ends_early_is_given_up(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    early = Response(200, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")
    server.fail("GET", "/blobs/", Alter(lambda _: early), times=None)
    with pytest.raises(UnreachableError, match="ended after 0 of 1048576 bytes"):
        read(app)


@pytest.mark.parametrize(
    "headers",
    [{"Content_Range": "bytes 400000-1048575/1048576"}, {"Content_Range": "nonsense"}, {"Content_Length": "5"}],
    ids=["another part", "no part", "another length"],
)
def test_a_wrong_part_is_tampered_with(server: FaultyRegistry, app: Registry, headers: dict[str, str]) -> None:
    fill(server)
    server.fail("GET", "/blobs/", with_headers(**headers))
    server.fail("GET", "/blobs/", CutBody(300_000))
    with pytest.raises(TamperedError, match="comes as"):
        read(app)


def test_a_blob_comes_from_a_blob_store_without_our_credentials(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.bearer = True
    with FaultyRegistry() as cdn:
        cdn.add_blob("app", BLOB)
        server.fail("GET", "/blobs/", redirect(f"http://{cdn.host}/v2/app/blobs/{LAYER.digest}?sig=x"), times=None)
        cdn.fail("GET", "/blobs/", CutBody(1000))
        server.fail(
            "GET", "/blobs/", Status(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token"'})
        )
        assert read(app) == BLOB
        assert [request.headers.get("range") for request in cdn.requests] == [None, "bytes=1000-"]
        assert {request.authorization for request in cdn.requests} == {None}


def test_a_reader_that_stops_early_leaves_a_usable_registry(server: FaultyRegistry, app: Registry) -> None:
    fill(server, "v1")
    assert read(app, size=10) == BLOB[:10]
    assert app.get_manifest("v1") == MANIFEST


# Blobs, up


def test_a_blob_is_looked_for_then_sent_in_one_put(server: FaultyRegistry, app: Registry) -> None:
    told: list[int] = []
    assert app.put_blob(LAYER, partial(io.BytesIO, BLOB), sent=told.append) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT"]
    assert server.blobs["app"] == {str(LAYER.digest): BLOB}
    last = server.requests[-1]
    assert last.headers["content-length"] == str(len(BLOB))
    assert last.headers["content-type"] == "application/octet-stream"
    assert "_state=a%2Fb%3D0&digest=sha256:" in last.target
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] == len(BLOB)


def test_an_empty_blob_is_sent(server: FaultyRegistry, app: Registry) -> None:
    assert put(app, b"") == Placed(Outcome.PUSHED)
    assert server.blobs["app"] == {str(Digest.of(b"")): b""}


def test_a_blob_that_exists_is_not_read(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    assert app.put_blob(LAYER, never) == Placed(Outcome.EXISTS)
    assert app.put_blob(LAYER, never) == Placed(Outcome.EXISTS)
    assert methods(server) == ["HEAD"]


def test_the_same_blob_goes_once(server: FaultyRegistry, app: Registry) -> None:
    assert put(app) == Placed(Outcome.PUSHED)
    server.clear()
    assert put(app) == app.mount_blob(LAYER, ("x",)) == Placed(Outcome.EXISTS)
    assert server.requests == ()


def test_a_blob_that_the_registry_has_lost_is_sent_again(server: FaultyRegistry, app: Registry) -> None:
    put(app)
    server.blobs.clear()
    assert not app.has_blob(LAYER.digest)
    assert put(app) == Placed(Outcome.PUSHED)
    assert app.has_blob(LAYER.digest)
    put(app, b"{}")
    server.blobs.clear()
    with pytest.raises(MissingError, match="MANIFEST_BLOB_UNKNOWN"):
        app.put_manifest(MANIFEST)
    assert put(app) == put(app, b"{}") == Placed(Outcome.PUSHED)
    app.put_manifest(MANIFEST)


def test_the_same_blob_from_many_threads_goes_once(server: FaultyRegistry, app: Registry) -> None:
    server.bearer = True
    outcomes: list[Placed] = []
    barrier = threading.Barrier(5)

    def run() -> None:
        barrier.wait()
        outcomes.append(put(app))

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(placed.outcome.name for placed in outcomes) == ["EXISTS"] * 4 + ["PUSHED"]
    assert [request.method for request in server.writes] == ["POST", "PUT"]


def test_many_blobs_go_at_once(server: FaultyRegistry, app: Registry) -> None:
    server.bearer = True
    barrier = threading.Barrier(5)
    blobs = [bytes([number]) * 200_000 for number in range(5)]

    def run(data: bytes) -> None:
        barrier.wait()
        put(app, data)

    threads = [threading.Thread(target=run, args=(data,)) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.blobs["app"].values()) == blobs
    assert len(server.token_requests) == 1


def test_a_refusal_comes_before_the_bytes(server: FaultyRegistry, app: Registry) -> None:
    server.fail("*", "/blobs/", Status(403, b'{"errors":[{"code":"DENIED"}]}'), times=None)
    with pytest.raises(DeniedError, match="DENIED"):
        app.put_blob(LAYER, never)
    assert server.writes == ()


def test_a_head_that_is_refused_is_settled_by_a_get(server: FaultyRegistry, app: Registry) -> None:
    fill(server)
    server.fail("HEAD", "/blobs/", Status(403), times=None)
    assert app.has_blob(LAYER.digest)
    assert not app.has_blob(Digest.of(b"other"))


@pytest.mark.parametrize("method", ["HEAD", "*"])
def test_a_web_page_does_not_mean_that_a_blob_or_manifest_is_there(
    server: FaultyRegistry, app: Registry, method: str
) -> None:
    """A captive portal or a proxy answers 200 to everything."""
    fill(server)
    server.fail(method, "/(blobs|manifests)/sha256", HTML, times=None)
    with pytest.raises(UnreachableError, match="answered with a web page"):
        app.put_blob(LAYER, never)
    if method == "*":
        with pytest.raises(UnreachableError, match="answered with a web page"):
            app.has_manifest(MANIFEST.digest)
    else:
        assert app.has_manifest(MANIFEST.digest), "the GET told"
    assert server.writes == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "7"},
        {"Transfer-Encoding": "chunked"},
        {"Content-Length": "0", "Docker-Content-Digest": str(LAYER.digest)},
    ],
    ids=["another length", "neither length nor digest", "the digest with another length"],
)
def test_a_success_that_is_not_about_the_blob_does_not_spare_the_upload(
    server: FaultyRegistry, app: Registry, headers: dict[str, str]
) -> None:
    fill(server)
    server.fail("HEAD", "/blobs/", Alter(lambda _: Response(200, headers)))
    assert put(app) == Placed(Outcome.PUSHED)


@pytest.mark.parametrize("kept", ["Content-Length", "Docker-Content-Digest"])
def test_length_or_digest_alone_tell_that_a_blob_is_there(server: FaultyRegistry, app: Registry, kept: str) -> None:
    fill(server)
    headers = {"Content-Length": str(LAYER.size), "Docker-Content-Digest": str(LAYER.digest)}
    others = {} if kept == "Content-Length" else {"Transfer-Encoding": "chunked"}
    server.fail("HEAD", "/blobs/", Alter(lambda _: Response(200, {kept: headers[kept], **others})))
    assert app.put_blob(LAYER, never) == Placed(Outcome.EXISTS)


def test_another_digest_than_the_one_that_was_looked_for_is_tampered_with(
    server: FaultyRegistry, app: Registry
) -> None:
    fill(server)
    wrong = with_headers(Docker_Content_Digest=str(Digest.of(b"other")))
    server.fail("HEAD", "/(blobs|manifests)/", wrong, times=None)
    for look in (lambda: app.put_blob(LAYER, never), lambda: app.has_manifest(MANIFEST.digest)):
        with pytest.raises(TamperedError, match="answered with the digest"):
            look()


def test_a_blob_that_was_not_stored_is_no_success_whatever_the_answer(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Status(200), times=1)
    assert put(app) == Placed(Outcome.PUSHED), "sent again"
    assert server.blobs["app"] == {str(LAYER.digest): BLOB}
    server.fail("PUT", UPLOADS, Status(200), times=None)
    with pytest.raises(UnreachableError, match="200 without storing the blob: expected 201"):
        put(app, b"other")


def test_a_blob_that_was_stored_may_be_answered_with_another_success(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Alter(lambda response: replace(response, status=202)))
    assert put(app) == Placed(Outcome.PUSHED)
    assert len(server.writes) == 2


def test_a_refused_session_is_told(server: FaultyRegistry, app: Registry) -> None:
    server.fail("POST", UPLOADS, Status(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"create it"}]}'))
    with pytest.raises(MissingError, match="create it") as caught:
        app.put_blob(LAYER, never)
    assert caught.value.hint == "create the repository in the registry first"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_ends_an_upload(server: FaultyRegistry, app: Registry, status: int) -> None:
    server.fail("PUT", UPLOADS, Alter(lambda response: replace(response, status=status)))
    assert put(app) == Placed(Outcome.PUSHED)


@pytest.mark.parametrize(
    "location",
    [
        "/v2/app/blobs/uploads/session-1",
        "session-1",
        "http://localhost/v2/app/blobs/uploads/session-1",
        "https://localhost:443/v2/app/blobs/uploads/session-1",
        "http://127.0.0.1/v2/app/blobs/uploads/session-1?_state=x",
    ],
)
def test_every_form_of_location_is_understood(server: FaultyRegistry, app: Registry, location: str) -> None:
    server.fail("POST", UPLOADS, with_headers(Location=location))
    assert put(app) == Placed(Outcome.PUSHED)


def test_an_upload_does_not_go_to_another_host(server: FaultyRegistry, app: Registry) -> None:
    server.fail("POST", UPLOADS, with_headers(Location="http://other.example/v2/app/blobs/uploads/session-1"))
    with pytest.raises(UnreachableError, match=r"sends the upload to http://other\.example"):
        put(app)


def test_a_session_without_location_is_an_error(server: FaultyRegistry, app: Registry) -> None:
    server.fail("POST", UPLOADS, without_header("Location"))
    with pytest.raises(UnreachableError, match="without a Location"):
        put(app)


@pytest.mark.parametrize("location", [True, False])
def test_a_broken_upload_goes_on_where_it_broke(server: FaultyRegistry, app: Registry, location: bool) -> None:
    told: list[int] = []
    server.fail("PUT", UPLOADS, Drop(after=300_000))
    if not location:
        server.fail("GET", UPLOADS, without_header("Location"))
    assert app.put_blob(LAYER, partial(io.BytesIO, BLOB), sent=told.append) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT", "GET", "PUT"]
    assert server.requests[-1].headers["content-range"] == f"300000-{len(BLOB) - 1}"
    assert server.requests[-1].body == BLOB[300_000:]
    assert 300_000 in told


def test_where_uploads_do_not_resume_a_new_one_starts(server: FaultyRegistry, app: Registry) -> None:
    told: list[int] = []
    server.can_resume = False
    server.fail("PUT", UPLOADS, Drop(after=300_000))
    app.put_blob(LAYER, partial(io.BytesIO, BLOB), sent=told.append)
    assert methods(server) == ["HEAD", "POST", "PUT", "GET", "HEAD", "POST", "PUT"]
    assert told.count(0) == 2
    assert server.blobs["app"] == {str(LAYER.digest): BLOB}


def test_an_upload_that_got_nowhere_starts_anew(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Drop(), times=2)
    put(app)
    assert methods(server).count("POST") == 3


def test_an_upload_whose_answer_was_lost_is_not_sent_again(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, LoseAnswer())
    assert put(app) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT", "GET", "HEAD"]


def test_a_registry_that_cannot_be_asked_how_far_it_came_gets_a_new_upload(
    server: FaultyRegistry, app: Registry
) -> None:
    server.fail("PUT", UPLOADS, Drop(after=300_000))
    server.fail("GET", UPLOADS, Drop())
    assert put(app) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT", "GET", "HEAD", "POST", "PUT"]


@pytest.mark.parametrize(
    "fault",
    [
        Status(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'),
        Status(416),
        Status(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}'),
        Status(500),
        Status(503, headers={"Retry-After": "1"}),
        Hang(),
    ],
    ids=["lost", "out of range", "digest", "error", "busy", "silent"],
)
def test_an_upload_that_fails_is_sent_again(server: FaultyRegistry, app: Registry, fault: Status | Hang) -> None:
    server.fail("PUT", UPLOADS, fault)
    assert put(app) == Placed(Outcome.PUSHED)
    assert server.blobs["app"] == {str(LAYER.digest): BLOB}


def test_a_registry_that_lies_about_what_it_has_ends_in_the_right_blob(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Drop(after=300_000))
    server.fail("GET", UPLOADS, with_headers(Range="0-399999"))
    assert put(app) == Placed(Outcome.PUSHED)
    assert server.blobs["app"] == {str(LAYER.digest): BLOB}


def test_a_registry_that_says_it_has_more_than_all_gets_a_new_upload(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Drop(after=300_000))
    server.fail("GET", UPLOADS, with_headers(Range="0-99999999"))
    assert put(app) == Placed(Outcome.PUSHED)


def test_an_upload_that_always_fails_is_given_up(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Status(500, b"disk full"), times=None)
    with pytest.raises(UnreachableError, match=r"500 \(disk full\) \(4 attempts\)"):
        put(app)
    assert methods(server).count("PUT") == 4


def test_a_denied_upload_is_not_repeated(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, Status(403, b'{"errors":[{"code":"DENIED"}]}'))
    with pytest.raises(DeniedError):
        put(app)
    assert methods(server).count("PUT") == 1


def test_a_token_that_expires_in_mid_upload_is_renewed_and_the_bytes_sent_again(
    server: FaultyRegistry, app: Registry
) -> None:
    server.bearer = True

    def expire(response: Response) -> Response:
        server.expire_tokens()
        return response

    server.fail("POST", UPLOADS, Alter(expire))
    assert put(app) == Placed(Outcome.PUSHED)
    assert [(request.method, request.status) for request in server.writes] == [
        ("POST", 202),
        ("PUT", 401),
        ("PUT", 201),
    ]
    assert len(server.token_requests) == 2


def test_a_registry_that_stored_another_blob_is_noticed(server: FaultyRegistry, app: Registry) -> None:
    server.fail("PUT", UPLOADS, with_headers(Docker_Content_Digest=f"sha256:{'0' * 64}"))
    with pytest.raises(TamperedError, match="answered with the digest"):
        put(app)


@pytest.mark.parametrize(
    "data", [BLOB[:-1], BLOB + b"x", BLOB[:-1] + b"x", b""], ids=["short", "long", "wrong", "empty"]
)
def test_bytes_that_changed_under_us_are_not_completed(server: FaultyRegistry, app: Registry, data: bytes) -> None:
    with pytest.raises(TamperedError):
        app.put_blob(LAYER, partial(io.BytesIO, data))
    assert server.blobs["app"] == {}


class Broken(io.BytesIO):
    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_source_that_cannot_be_read_is_no_network_error(server: FaultyRegistry, app: Registry) -> None:
    def missing() -> BinaryIO:
        raise FileNotFoundError(2, "No such file or directory")

    for open_, reason in ((missing, "No such file"), (Broken, "Input/output error")):
        with pytest.raises(DocksealError, match=f"cannot be read: {reason}") as caught:
            app.put_blob(LAYER, open_)
        assert type(caught.value) is DocksealError
    assert methods(server).count("PUT") <= 1


def test_an_interrupt_passes_through_an_upload(app: Registry) -> None:
    def interrupt(size: int) -> None:
        if size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.put_blob(LAYER, partial(io.BytesIO, BLOB), sent=interrupt)
    assert put(app) == Placed(Outcome.PUSHED)


# Mounts


def test_a_blob_is_mounted_from_another_repository(server: FaultyRegistry, app: Registry) -> None:
    server.bearer = True
    server.add_blob("base", BLOB)
    assert app.put_blob(LAYER, never, mount_from=("app", "none", "base", "base")) == Placed(Outcome.MOUNTED, "base")
    mounts = [request.query for request in server.writes]
    assert mounts == [{"mount": [str(LAYER.digest)], "from": [source]} for source in ("none", "base")]
    scopes = [request.query["scope"] for request in server.token_requests]
    assert scopes[-1] == ["repository:app:pull,push", "repository:base:pull"]
    assert app.mount_blob(LAYER) == Placed(Outcome.EXISTS)


def test_a_mount_that_did_not_work_has_started_the_upload(server: FaultyRegistry, app: Registry) -> None:
    server.can_mount = False
    assert app.put_blob(LAYER, partial(io.BytesIO, BLOB), mount_from=("base",)) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT"]


def test_looking_and_sending_later_looks_once(server: FaultyRegistry, app: Registry) -> None:
    server.can_mount = False
    assert app.mount_blob(LAYER, ("base",)) is None
    assert put(app) == Placed(Outcome.PUSHED)
    assert methods(server) == ["HEAD", "POST", "PUT"]


def test_a_session_that_a_mount_started_long_ago_is_replaced(server: FaultyRegistry, app: Registry) -> None:
    server.can_mount = False
    assert app.mount_blob(LAYER, ("base",)) is None
    server.uploads.clear()
    assert put(app) == Placed(Outcome.PUSHED)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_mount_that_is_refused_is_an_ordinary_upload(server: FaultyRegistry, app: Registry, status: int) -> None:
    server.fail("POST", "mount=", Status(status), times=None)
    assert app.put_blob(LAYER, partial(io.BytesIO, BLOB), mount_from=("secret",)) == Placed(Outcome.PUSHED)


def test_a_token_for_an_unknown_source_that_is_refused_is_an_ordinary_upload(
    server: FaultyRegistry, app: Registry
) -> None:
    server.bearer = True
    server.fail("GET", "/token.*secret", Status(403), times=None)
    assert app.put_blob(LAYER, partial(io.BytesIO, BLOB), mount_from=("secret",)) == Placed(Outcome.PUSHED)


def test_not_every_source_is_tried(server: FaultyRegistry, app: Registry) -> None:
    assert app.mount_blob(LAYER, tuple(f"base{number}" for number in range(20))) is None
    assert len(server.writes) == 4


def test_a_mount_of_another_blob_is_noticed(server: FaultyRegistry, app: Registry) -> None:
    server.add_blob("base", BLOB)
    server.fail("POST", "mount=", with_headers(Docker_Content_Digest=f"sha256:{'0' * 64}"))
    with pytest.raises(TamperedError):
        app.mount_blob(LAYER, ("base",))


def test_a_mount_that_starts_an_upload_elsewhere_is_refused(server: FaultyRegistry, app: Registry) -> None:
    server.can_mount = False
    server.fail("POST", "mount=", with_headers(Location="http://other.example/u"))
    with pytest.raises(UnreachableError, match="sends the upload to"):
        app.mount_blob(LAYER, ("base",))


# Everything at once


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "HEAD", "POST", "PUT", "*"]),
            st.one_of(
                st.builds(
                    Status,
                    st.sampled_from([200, 201, 202, 204, 206, 301, 307, 400, 401, 403, 404, 416, 429, 500]),
                    st.binary(max_size=20),
                ),
                st.builds(CutBody, st.integers(0, 10)),
                st.builds(Drop, st.integers(0, 1000)),
                st.builds(LoseAnswer),
                st.builds(wrong_body, st.binary(max_size=20)),
                st.sampled_from(
                    ["Content-Type", "Link", "Range", "Docker-Content-Digest", "Content-Range", "Location"]
                ).flatmap(
                    lambda name: st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(
                        lambda value: with_headers(**{name.replace("-", "_"): value})
                    )
                ),
            ),
            st.integers(1, 6),
        ),
        max_size=4,
    )
)
def test_only_our_errors_leave_and_nothing_wrong_is_believed(faults: list[tuple[str, Alter, int]]) -> None:
    data = b"some bytes of a layer"
    layer = Descriptor.of(data, OCI_LAYER)
    manifest = image_manifest(CONFIG, (layer,))
    with FaultyRegistry() as server:
        server.add_blob("full", data)
        server.add_manifest("full", manifest, "v1")
        for method, fault, times in faults:
            server.fail(method, "", fault, times=times)
        empty, full = connect(server), connect(server, "full")
        actions: list[Callable[[], bool]] = [
            lambda: full.get_manifest(manifest.digest) == manifest,
            lambda: isinstance(full.get_manifest("v1"), Manifest),
            lambda: full.tags(3) is not None,
            lambda: full.read_blob(layer, 100) == data,
            lambda: empty.put_blob(layer, partial(io.BytesIO, data), mount_from=("full",)) is not None,
            lambda: isinstance(full.resolve("v1"), Digest | None),
        ]
        for action in actions:
            try:
                assert action()
            except DocksealError:
                continue


def test_the_double_itself_hashes_as_we_do() -> None:
    with FaultyRegistry() as server:
        assert server.add_blob("app", b"x") == f"sha256:{hashlib.sha256(b'x').hexdigest()}"
