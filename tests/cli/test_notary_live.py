"""With a real Notary server, docker's engine and command line, and notary's client."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import PASSPHRASE, Dockseal, process

if TYPE_CHECKING:
    from pathlib import Path

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
