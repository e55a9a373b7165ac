"""With a real Notary server, docker's engine and command line, and notary's client."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import DEADLINE_S, ROOT, WITH_CHEAP_KEYS, Dockseal
from tests.peers.notary import start_notary

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.fixtures import TokenRegistry
    from tests.peers.notary import Clients, NotaryServer

pytestmark = pytest.mark.peer("notary-server", "notary", "docker", "dockerd", "docker-registry")


def load_image(clients: Clients, folder: Path, name: str, content: str) -> None:
    """Give the engine an image."""
    layer = folder / f"{content}.tar"
    data = content.encode()
    with tarfile.open(layer, "w") as tar:
        info = tarfile.TarInfo("content")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    clients.docker("import", layer, name)


@pytest.fixture
def repository(registry: str, unique_name: str) -> str:
    return f"{registry}/{unique_name}"


@pytest.fixture
def by_docker(clients: Clients, repository: str, tmp_path: Path) -> str:
    """Two tags signed by docker: ``v1`` by itself, ``v2`` by a signer; then notary rotates the root key."""
    for tag in ("v1", "v2"):
        load_image(clients, tmp_path, f"{repository}:{tag}", tag)
    clients.docker("push", f"{repository}:v1")
    (tmp_path / "keys").mkdir()
    clients.docker("trust", "key", "generate", "alice", "--dir", tmp_path / "keys")
    clients.docker("trust", "signer", "add", "--key", tmp_path / "keys" / "alice.pub", "alice", repository)
    clients.docker("push", f"{repository}:v2")
    clients.notary("key", "rotate", repository, "root", answer="yes\n")
    return repository


def test_a_repository_of_dockers_is_taken_over_with_its_keys(
    by_docker: str, clients: Clients, trusted_server: NotaryServer, dockseal: Dockseal
) -> None:
    at = ("--server", trusted_server.url)
    for tag in ("v1", "v2"):
        dockseal("notary", "verify", *at, "--trust-on-first-use", f"{by_docker}:{tag}")
    keys = ("--keys", clients.docker_folder / "trust")
    dry = dockseal("notary", "import", *at, *keys, "--dry-run", "-o", "json", by_docker).json
    assert [(item["tag"], item["kept"]) for item in dry["tags"]] == [("v1", True), ("v2", True)]
    assert [(item["signer"], item["tags"]) for item in dry["signers"]] == [("alice", ["*"])]
    assert dry["root"]["version"] == 2
    assert dockseal("key", "list", "-o", "json").json == []
    done = dockseal("notary", "import", *at, *keys, "-y", "-o", "json", by_docker).json
    assert done["result"] == "imported"
    assert done["proposals"] == []
    for tag, signers in (("v1", ["targets"]), ("v2", ["alice"])):
        assert dockseal("verify", "-o", "json", f"{by_docker}:{tag}").json["signers"] == signers
    labels = {item["label"] for item in dockseal("key", "list", "-o", "json").json}
    assert len([label for label in labels if label.startswith(("root-", "targets-", "alice-"))]) == 3
    again = dockseal("notary", "import", *at, *keys, "-y", "-o", "json", by_docker).json
    assert again["result"] == "unchanged"
    state = dockseal("inspect", "-o", "json", by_docker).json["state"]
    assert state["version"] == done["state"]


def signed_for_docker(dockseal: Dockseal, server: NotaryServer, rootfs: Path, name: str, *options: str) -> str:
    """Push an image that docker's clients accept, too; its digest."""
    dockseal("build", "-t", name, rootfs)
    done = dockseal("push", "-o", "json", "--also-notary", server.url, *options, name)
    return str(done.json["digest"])


def test_docker_accepts_what_is_signed_for_it_until_it_is_revoked(
    repository: str, clients: Clients, trusted_server: NotaryServer, dockseal: Dockseal, rootfs: Path
) -> None:
    digest = signed_for_docker(dockseal, trusted_server, rootfs, f"{repository}:v1")
    assert digest in clients.docker("pull", f"{repository}:v1")
    shown = json.loads(clients.docker("trust", "inspect", repository))[0]
    assert [(item["SignedTag"], item["Digest"]) for item in shown["SignedTags"]] == [
        ("v1", digest.removeprefix("sha256:"))
    ]
    assert digest.removeprefix("sha256:") in clients.notary("list", repository)
    inspected = dockseal("notary", "inspect", "--server", trusted_server.url, "-o", "json", repository).json
    root_keys = [key["ID"] for item in shown["AdministrativeKeys"] if item["Name"] == "Root" for key in item["Keys"]]
    assert inspected["root"]["certificates"] == root_keys

    dockseal("revoke", "-y", "--also-notary", trusted_server.url, f"{repository}:v1")
    assert "No valid trust data for v1" in clients.docker("pull", f"{repository}:v1", check=False)
    assert digest.removeprefix("sha256:") not in clients.notary("list", repository)
    dockseal("notary", "verify", "--server", trusted_server.url, f"{repository}:v1", code=10)


def test_a_second_push_of_the_same_changes_nothing_there(
    repository: str, trusted_server: NotaryServer, dockseal: Dockseal, rootfs: Path
) -> None:
    at = ("--server", trusted_server.url)
    signed_for_docker(dockseal, trusted_server, rootfs, f"{repository}:v1")
    before = dockseal("notary", "inspect", *at, "-o", "json", repository).json
    said = dockseal("push", "--also-notary", trusted_server.url, f"{repository}:v1").out
    assert f"Already signed {repository}:v1 at {trusted_server.url}" in said
    assert dockseal("notary", "inspect", *at, "-o", "json", repository).json == before
    assert dockseal("notary", "publish", *at, "-o", "json", repository).json["result"] == "unchanged"


def test_a_signer_of_dockers_signs_with_its_key_from_here(
    by_docker: str, clients: Clients, trusted_server: NotaryServer, dockseal: Dockseal, rootfs: Path
) -> None:
    """Its repository has signers, so that the key of targets alone may not sign: docker would not heed it."""
    first_use = ("--trust-on-first-use",)
    dockseal("build", "-t", f"{by_docker}:v3", rootfs)
    push = ("push", "--also-notary", trusted_server.url, *first_use, f"{by_docker}:v3")
    refused = dockseal(*push, code=10)
    assert "they heed targets/releases" in refused.err
    assert "The push refers to" not in refused.out, "nothing was sent"
    for key in (clients.docker_folder / "trust" / "private").glob("*.key"):
        if "role: alice" in key.read_text():
            dockseal("key", "load", key)
    dockseal(*push)
    assert "v3" in clients.docker("trust", "inspect", "--pretty", by_docker)
    shown = dockseal("notary", "verify", "--server", trusted_server.url, "-o", "json", f"{by_docker}:v3").json
    assert sorted(shown["signers"]) == ["targets/alice", "targets/releases"]
    assert shown["role"] == "targets/releases"
    clients.docker("pull", f"{by_docker}:v3")
    dockseal("revoke", "-y", "--also-notary", trusted_server.url, f"{by_docker}:v3")
    assert "No valid trust data" in clients.docker("pull", f"{by_docker}:v3", check=False)


def test_docker_s_own_root_is_trusted_on_its_machine(
    by_docker: str, clients: Clients, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker trusted it at the first push; the rotation by notary was stored in the same folder."""
    monkeypatch.setenv("DOCKER_CONFIG", str(clients.docker_folder))
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_SERVER", clients.server.url)
    assert dockseal("notary", "verify", "-o", "json", f"{by_docker}:v2").json["role"] == "targets/releases"


def test_eight_publishers_at_once_all_succeed(
    repository: str, trusted_server: NotaryServer, clients: Clients, dockseal: Dockseal, rootfs: Path
) -> None:
    """docker's own client gives up where another was first: of eight, five failed."""
    at = ("--server", trusted_server.url)
    dockseal("build", "-t", f"{repository}:t0", rootfs)
    dockseal("push", f"{repository}:t0")
    tags = [f"t{number}" for number in range(8)]
    for tag in tags[1:]:
        dockseal("sign", f"{repository}:t0", "--tag", tag)
    running = [
        subprocess.Popen(
            [*WITH_CHEAP_KEYS, "notary", "publish", *at, f"{repository}:{tag}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for tag in tags
    ]
    said = [each.communicate(timeout=DEADLINE_S * 3)[0] for each in running]
    assert [each.returncode for each in running] == [0] * 8, said
    listed = clients.notary("list", repository)
    assert sorted(line.split()[0] for line in listed.splitlines()[2:]) == tags
    for tag in tags:
        dockseal("notary", "verify", *at, f"{repository}:{tag}")


def test_a_server_whose_certificate_is_not_known_is_not_asked(
    repository: str, notary_server: NotaryServer, dockseal: Dockseal
) -> None:
    refused = dockseal("notary", "verify", "--server", notary_server.url, f"{repository}:v1", code=3)
    assert "TLS failed" in refused.err
    assert f"tls/{notary_server.host}/ca.crt" in refused.err


@pytest.fixture
def login(registry_token: TokenRegistry, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody types it."""
    monkeypatch.setattr("sys.stdin", io.StringIO(registry_token.password))
    return registry_token.user


def test_a_server_that_asks_who_you_are(
    registry_token: TokenRegistry, login: str, tmp_path: Path, dockseal: Dockseal, rootfs: Path
) -> None:
    """docker sends the registry's login to the token server that the Notary server names, with the whole GUN."""
    name = f"{registry_token.host}/team/app:v1"
    with start_notary(tmp_path / "with-tokens", tokens=registry_token.tokens) as server:
        dockseal("notary", "verify", "--server", server.url, name, code=3)
        dockseal("login", "-u", login, "--password-stdin", registry_token.host)
        signed_for_docker(dockseal, server, rootfs, name)
        dockseal("notary", "verify", "--server", server.url, name)
        scopes = [scope for query in registry_token.tokens.requests for scope in query.get("scope", [])]
        assert f"repository:{name.removesuffix(':v1')}:push,pull" in scopes


def test_docker_goes_on_with_keys_that_were_made_here(
    repository: str, clients: Clients, trusted_server: NotaryServer, dockseal: Dockseal, rootfs: Path
) -> None:
    """The keys of a repository that was begun here, in docker's folder: docker signs, notary rotates the root."""
    signed_for_docker(dockseal, trusted_server, rootfs, f"{repository}:v1")
    trust = clients.docker_folder / "trust"
    run = ("notary", "export-keys", "--server", trusted_server.url, "--to", trust, "-o", "json", repository)
    assert [item["role"] for item in dockseal(*run).json["written"]] == ["root", "targets"]
    assert dockseal(*run).json["written"] == []
    load_image(clients, clients.home, f"{repository}:v2", "v2")
    clients.docker("push", f"{repository}:v2")
    clients.notary("key", "rotate", repository, "root", answer="yes\n")
    for tag in ("v1", "v2"):
        dockseal("notary", "verify", "--server", trusted_server.url, f"{repository}:{tag}")
    root = dockseal("notary", "inspect", "--server", trusted_server.url, "-o", "json", repository).json["root"]
    assert root["version"] == 2
