"""Where role files come from: a server that may lie, hang or say too much, and docker's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.doubles.notary_server import NotaryDouble, Reply, rejection
from tests.notary.repos import GUN, NOW, V1, Repo, key, plain, vectors
from trust.errors import (
    DeniedError,
    DocksealError,
    ExpiredError,
    RollbackError,
    TamperedError,
    UnreachableError,
    UnsignedError,
    UntrustedRootError,
    UsageError,
)
from trust.notary import reader, sources
from trust.notary.memory import Memory
from trust.notary.model import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from trust.notary.reader import Seen
from trust.notary.sources import Folder, RejectedError, Server, ServerUrl
from trust.oci.retry import RetryPolicy
from trust.oci.transport import Timeouts, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def files_of(repo: Repo) -> dict[str, bytes]:
    made = repo.build()
    return {**made.files, **{f"{version}.root": data for version, data in made.roots.items()}}


@pytest.fixture
def double() -> Iterator[NotaryDouble]:
    with NotaryDouble({GUN: files_of(Repo(root_version=2))}) as running:
        yield running


def server(double: NotaryDouble, gun: str = GUN) -> Server:
    url = ServerUrl(double.url)
    quick = {"policy": RetryPolicy(attempts=2, first_seconds=0.01), "timeouts": Timeouts(read=0.3)}
    return Server(Transport(url.host, None, scheme=url.scheme, **quick), url, gun)  # type: ignore[arg-type]


def read(double: NotaryDouble, seen: Seen | None = None) -> Any:
    return reader.read(server(double), GUN, seen, lambda _: seen is None, NOW)


def seen(double: NotaryDouble) -> Seen:
    found = read(double)
    return Seen(found.root, found.versions)


def test_an_honest_server(double: NotaryDouble) -> None:
    assert read(double).trusted_tag("v1").meta == V1
    paths = [request.rpartition("/tuf/")[2] for request in double.requests]
    assert paths[:2] == ["root.json", "timestamp.json"]
    assert all(len(path) > 64 for path in paths[2:]), "everything else is asked for by its hash"


def fault(at: str, reply: Reply) -> Any:
    return lambda _method, path: reply if f"/{at}" in path else None


LIES: list[tuple[str, str, Reply, type[DocksealError], str]] = [
    ("hangs at once", "root.json", Reply(hang_s=9), UnreachableError, "no answer within 0.3 s"),
    ("hangs later", "targets.", Reply(hang_s=9), UnreachableError, "no answer within 0.3 s"),
    ("is overloaded", "timestamp.json", Reply(503), UnreachableError, "answered 503"),
    ("is denied", "root.json", Reply(401), DeniedError, "refused GET root.json"),
    ("forbids", "root.json", Reply(403, b'{"errors":[{"code":"DENIED"}]}'), DeniedError, "DENIED"),
    ("has moved", "root.json", Reply(418, b"<html>"), UnreachableError, "answered 418"),
    (
        "has lost a file",
        "snapshot.",
        Reply(404),
        TamperedError,
        "snapshot.json of registry.example:5000/team/app is missing",
    ),
    ("has lost everything", "root.json", Reply(404), RollbackError, "no trust data"),
    ("says nothing", "root.json", Reply(), TamperedError, "is not strict JSON"),
    (
        "says too much",
        "timestamp.json",
        Reply(body=b" " * ((1 << 20) + 1)),
        TamperedError,
        "expected at most 1048576 bytes",
    ),
    ("says more than is signed", "targets.", Reply(body=b" " * 5000), TamperedError, "expected at most"),
    ("says something else", "targets.", Reply(body=b"{}"), TamperedError, "bytes"),
]


@pytest.mark.parametrize(("at", "reply", "error", "said"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_server_that(double: NotaryDouble, at: str, reply: Reply, error: type[DocksealError], said: str) -> None:
    """What was seen before is never an answer."""
    known = seen(double)
    double.fault = fault(at, reply)
    with pytest.raises(error) as caught:
        read(double, known)
    assert type(caught.value) is error
    assert said in caught.value.message


SERVED: list[tuple[str, Repo, type[DocksealError]]] = [
    ("an old root", Repo(root_version=1), RollbackError),
    ("old tags", Repo(root_version=2, version=2), RollbackError),
    ("an expired timestamp", Repo(root_version=2, expires={TIMESTAMP: NOW}), ExpiredError),
    ("another repository", Repo(root_version=2, gun=f"{GUN}-dev"), TamperedError),
    ("another repository's next root", Repo(root_version=3, gun=f"{GUN}-dev", root_key="other"), UntrustedRootError),
    ("a root of its own", Repo(root_version=3, root_key="mallory"), UntrustedRootError),
]


@pytest.mark.parametrize(("repo", "error"), [case[1:] for case in SERVED], ids=[case[0] for case in SERVED])
def test_a_server_that_serves(double: NotaryDouble, repo: Repo, error: type[DocksealError]) -> None:
    known = seen(double)
    double.files[GUN] = files_of(repo)
    with pytest.raises(error) as caught:
        read(double, known)
    assert type(caught.value) is error


def test_another_repository_s_data_is_not_trusted_on_first_use_either(double: NotaryDouble) -> None:
    double.files[GUN] = files_of(Repo(gun=f"{GUN}-dev"))
    with pytest.raises(UntrustedRootError):
        read(double)


def test_a_server_that_is_not_there() -> None:
    with NotaryDouble() as gone:
        pass
    with pytest.raises(UnreachableError):
        read(gone)


def test_a_repository_that_is_not_there() -> None:
    with NotaryDouble() as double, pytest.raises(UnsignedError):
        read(double)


def test_the_server_s_keys(double: NotaryDouble) -> None:
    assert server(double).key(SNAPSHOT) == plain(SNAPSHOT)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", TamperedError),
        (b"[]", TamperedError),
        (b'{"keytype":"ecdsa","keyval":{}}', TamperedError),
        (b'{"keytype":"ecdsa","keyval":{"public":"%"}}', TamperedError),
        (b'{"keytype":"ecdsa","keyval":{"public":"aa=="}}', TamperedError),
        (b'{"keytype":"dsa","keyval":{"public":"aaaa"}}', TamperedError),
        (b" " * (65 << 10), TamperedError),
    ],
)
def test_a_key_that_is_none(double: NotaryDouble, body: bytes, error: type[DocksealError]) -> None:
    double.fault = fault("snapshot.key", Reply(body=body))
    with pytest.raises(error):
        server(double).key(SNAPSHOT)


def test_an_update_that_is_refused_says_why(double: NotaryDouble) -> None:
    double.fault = lambda method, _: (
        Reply(400, rejection("ErrBadTargets", "wrong signature")) if method == "POST" else None
    )
    with pytest.raises(RejectedError) as caught:
        server(double).publish({TARGETS: b"{}"})
    assert "INVALID_UPDATE: wrong signature" in caught.value.message
    double.fault = lambda *_: Reply(400, b"")
    with pytest.raises(RejectedError) as caught:
        server(double).publish({TARGETS: b"{}"})
    assert "status 400" in caught.value.message


def test_an_update_that_is_denied(double: NotaryDouble) -> None:
    double.fault = lambda *_: Reply(401)
    with pytest.raises(DeniedError) as caught:
        server(double).publish({TARGETS: b"{}"})
    assert "dockseal login registry.example:5000" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    ["", "notary.example", "http://notary.example", "ftp://x", "https://", "https://u@x", "https://x?y", "https://x:y"],
)
def test_what_is_no_address_of_a_server(text: str) -> None:
    with pytest.raises(UsageError):
        ServerUrl(text)


def test_addresses() -> None:
    url = ServerUrl("https://notary.example:4443/under/")
    assert (url.scheme, url.host, url.path) == ("https", "notary.example:4443", "/under")
    assert sources.default_server("docker.io") == "https://notary.docker.io"
    assert sources.default_server("localhost:5000") == "https://localhost:5000"


def docker_folder(folder: Path, repo: Repo) -> Path:
    inner = folder / "tuf" / GUN / "metadata"
    for name, data in repo.build().files.items():
        path = inner / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_docker_s_folder(tmp_path: Path) -> None:
    folder = docker_folder(tmp_path, Repo())
    found = reader.read(Folder(folder, GUN), GUN, None, lambda _: True, NOW)
    assert [item.tag for item in found.tags()] == ["v1", "v2"]
    assert sources.cached_root((tmp_path / "none", folder), GUN) == found.root.raw
    assert sources.cached_root((folder,), "another/repository") is None


def test_a_folder_of_role_files(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    for name, data in vectors().files.items():
        (tmp_path / f"{name}.json").write_bytes(data)
    (tmp_path / "2.root.json").write_bytes(b"two")
    folder = Folder(tmp_path, "docker.io/acme/app")
    assert folder.get(ROOT) == vectors().files[ROOT]
    assert folder.get(ROOT, version=2) == b"two"
    assert folder.get(ROOT, version=9) is None
    assert folder.name == str(tmp_path)


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root.json").mkdir()
    with pytest.raises(UsageError):
        Folder(tmp_path, GUN).get(ROOT)
    (tmp_path / "targets.json").write_bytes(b"1234")
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 3)
    with pytest.raises(TamperedError):
        Folder(tmp_path, GUN).get(TARGETS)


def test_key_files_of_every_age(tmp_path: Path) -> None:
    one, two, other = "1" * 64, "2" * 64, "3" * 64
    for name in (
        f"private/{one}.key",
        f"root_keys/{one}_root.key",
        f"tuf_keys/docker.io/x/{two}.key",
        f"private/{other}.key",
        "x.key",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in sources.key_files(tmp_path, {one, two})]
    assert found == [f"private/{one}.key", f"tuf_keys/docker.io/x/{two}.key"]
    with pytest.raises(UsageError):
        list(sources.key_files(tmp_path / "none", set()))


def memory_of(cache: Path) -> Memory:
    return Memory(cache, "https://notary.example", GUN)


def in_memory(repo: Repo) -> Any:
    return reader.read(repo.build(), GUN, None, lambda _: True, NOW)


def test_the_memory_keeps_the_newest_root_and_the_highest_versions(tmp_path: Path) -> None:
    memory = memory_of(tmp_path)
    assert memory.seen() is None
    newer, older = in_memory(Repo(root_version=2, version=5)), in_memory(Repo(version=4))
    memory.keep(newer)
    memory.keep(older)
    known = memory.seen()
    assert known is not None
    assert (known.root, known.versions) == (newer.root, newer.versions)
    assert memory_of(tmp_path).seen() == known
    assert Memory(tmp_path, "https://other.example", GUN).seen() is None


def test_the_memory_forgets_a_delegation_that_was_removed_and_no_other(tmp_path: Path) -> None:
    memory = memory_of(tmp_path)
    memory.keep(in_memory(Repo(version=5)))
    skipped = Repo(version=6, signers={"targets/alice": ((plain("mallory"), key("mallory")),)})
    memory.keep(in_memory(skipped))
    known = memory.seen()
    assert known is not None
    assert known.versions["targets/alice"] == 5
    memory.keep(in_memory(Repo(version=7, delegations=False)))
    known = memory.seen()
    assert known is not None
    assert "targets/alice" not in known.versions


@pytest.mark.parametrize(
    "data", ["", "{}", '{"root":"e30=","versions":{}}', '{"root":"%","versions":{}}', '{"root":"e30=","versions":[]}']
)
def test_a_damaged_memory_is_no_empty_one(tmp_path: Path, data: str) -> None:
    memory = memory_of(tmp_path)
    memory.keep(in_memory(Repo()))
    next((tmp_path / "notary").glob("*.json")).write_text(data)
    with pytest.raises(UsageError) as caught:
        memory.seen()
    assert "is damaged" in caught.value.message


def test_a_memory_that_cannot_be_read(tmp_path: Path) -> None:
    memory = memory_of(tmp_path)
    memory.keep(in_memory(Repo()))
    path = next((tmp_path / "notary").glob("*.json"))
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError):
        memory.seen()
