"""The registry client against distribution 2.8 itself: plain, with basic auth and with tokens; skopeo reads along."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.peers.proxy import Fault, RecordingProxy, Request
from tests.peers.registry import TokenServer, start_registry
from trust.errors import DeniedError, MissingError
from trust.oci.auth import Credentials, DockerConfig, check_login
from trust.oci.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, image_manifest
from trust.oci.reference import Repository
from trust.oci.registry import Registry
from trust.oci.retry import RetryPolicy
from trust.oci.store import Outcome, Placed
from trust.oci.transport import Transport

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.fixtures import HtpasswdRegistry, TokenRegistry
    from trust.oci.auth import CredentialSource
    from trust.oci.manifest import Manifest

pytestmark = pytest.mark.peer("docker-registry")

CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
).encode()


@dataclass(frozen=True, slots=True)
class As:
    """Credentials for every host."""

    credentials: Credentials

    def get(self, host: str, path: str = "") -> Credentials:
        return self.credentials


def connect(host: str, path: str, who: CredentialSource | None = None) -> Registry:
    return Registry(Repository.parse(f"{host}/{path}"), Transport(host, who, policy=RetryPolicy(first_seconds=0.01)))


def push(store: Registry, tag: str, text: bytes = b"layer") -> tuple[Manifest, Descriptor]:
    """An image whose layer holds ``text``."""
    config, layer = Descriptor.of(CONFIG, OCI_CONFIG), Descriptor.of(text, OCI_LAYER)
    store.put_blob(layer, partial(io.BytesIO, text))
    store.put_blob(config, partial(io.BytesIO, CONFIG))
    manifest = image_manifest(config, (layer,))
    store.put_manifest(manifest)
    store.put_manifest(manifest, tag)
    return manifest, layer


def assert_round_trip(store: Registry) -> None:
    manifest, layer = push(store, "v1", store.repository.encode())
    assert store.get_manifest("v1") == store.get_manifest(manifest.digest) == manifest
    assert store.resolve("v1") == manifest.digest
    assert store.has_manifest(manifest.digest)
    assert store.has_blob(layer.digest)
    assert store.read_blob(layer, 1000) == store.repository.encode()
    assert store.tags(10) == ("v1",)


def test_an_image_goes_there_and_back(registry: str, unique_name: str) -> None:
    assert_round_trip(connect(registry, unique_name))


def test_what_is_not_there_is_missing(registry: str, unique_name: str) -> None:
    store = connect(registry, unique_name)
    layer = Descriptor.of(unique_name.encode(), OCI_LAYER)
    assert store.tags(5) == ()
    assert store.resolve("v1") is None
    assert not store.has_blob(layer.digest)
    assert not store.has_manifest(layer.digest)
    with pytest.raises(MissingError):
        store.get_manifest("v1")
    with pytest.raises(MissingError):
        store.read_blob(layer, 1000)


def test_a_blob_of_another_repository_is_mounted(registry: str, unique_name: str) -> None:
    _, layer = push(connect(registry, f"{unique_name}/base"), "v1")
    placed = connect(registry, f"{unique_name}/app").mount_blob(layer, (f"{unique_name}/none", f"{unique_name}/base"))
    assert placed == Placed(Outcome.MOUNTED, f"{unique_name}/base")


def test_a_blob_that_could_not_be_mounted_goes_through_the_session_it_started(registry: str, unique_name: str) -> None:
    data = unique_name.encode()
    with RecordingProxy(registry) as proxy:
        store = connect(proxy.address, unique_name)
        placed = store.put_blob(Descriptor.of(data, OCI_LAYER), partial(io.BytesIO, data), mount_from=("none",))
        assert placed == Placed(Outcome.PUSHED)
        assert [request.method for request in proxy.requests] == ["HEAD", "POST", "PUT"]


def test_an_empty_blob_goes_there_and_back(registry: str, unique_name: str) -> None:
    store, empty = connect(registry, unique_name), Descriptor.of(b"", OCI_LAYER)
    store.put_blob(empty, io.BytesIO)
    assert store.read_blob(empty, 0) == b""


def test_a_large_blob_streams(registry: str, unique_name: str, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(unique_name.encode() * (1 << 19))
    layer = Descriptor.of(path.read_bytes(), OCI_LAYER)
    store = connect(registry, unique_name)
    assert store.put_blob(layer, partial(path.open, "rb")) == Placed(Outcome.PUSHED)
    with store.open_blob(layer) as file:
        assert Descriptor.of(file.read(), OCI_LAYER) == layer


def test_tags_come_up_to_one_more_than_asked_for(registry: str, unique_name: str) -> None:
    store = connect(registry, unique_name)
    manifest, _ = push(store, "t0")
    for number in range(1, 6):
        store.put_manifest(manifest, f"t{number}")
    everything = {f"t{number}" for number in range(6)}
    some = set(store.tags(3))  # distribution 2.8 ignores n, and gives no order
    assert len(some) == 4
    assert some < everything
    assert set(store.tags(6)) == everything


def test_a_deleted_manifest_takes_its_tags_along(registry: str, unique_name: str) -> None:
    store = connect(registry, unique_name)
    manifest, _ = push(store, "v1")
    with pytest.raises(DeniedError, match="does not let us delete tags"):  # distribution 2.8 knows digests only
        store.untag("v1")
    store.delete_manifest(manifest.digest)
    assert store.resolve("v1") is None
    assert store.tags(5) == ()


def test_a_registry_without_deletion_says_so(tmp_path: Path, unique_name: str) -> None:
    with start_registry(tmp_path, delete=False) as host:
        store = connect(host, unique_name)
        manifest, _ = push(store, "v1")
        with pytest.raises(DeniedError, match="UNSUPPORTED"):
            store.delete_manifest(manifest.digest)


def test_a_broken_upload_starts_again(registry: str, unique_name: str) -> None:
    lost: list[Request] = []

    def lose_first_put(request: Request) -> Fault | None:
        if request.method != "PUT" or lost:
            return None
        lost.append(request)
        return Fault(drop=True)

    data = unique_name.encode() * 100_000
    with RecordingProxy(registry, lose_first_put) as proxy:
        store = connect(proxy.address, unique_name)
        store.put_blob(Descriptor.of(data, OCI_LAYER), partial(io.BytesIO, data))
        assert store.read_blob(Descriptor.of(data, OCI_LAYER), len(data)) == data
    assert lost


def test_an_upload_whose_answer_is_lost_is_found_done(registry: str, unique_name: str) -> None:
    def lose_put(request: Request) -> Fault | None:
        return Fault(lose_response=True) if request.method == "PUT" else None

    data = unique_name.encode()
    with RecordingProxy(registry, lose_put) as proxy:
        store = connect(proxy.address, unique_name)
        assert store.put_blob(Descriptor.of(data, OCI_LAYER), partial(io.BytesIO, data)) == Placed(Outcome.PUSHED)
        assert [request.method for request in proxy.writes] == ["POST", "PUT"]


def test_five_uploads_at_once_share_a_registry(registry_token: TokenRegistry, unique_name: str) -> None:
    store = connect(registry_token.host, unique_name, As(Credentials(registry_token.user, registry_token.password)))
    registry_token.tokens.requests.clear()
    blobs = [f"{unique_name} {number}".encode() * 50_000 for number in range(5)]
    outcomes: list[Placed] = []

    def run(data: bytes) -> None:
        outcomes.append(store.put_blob(Descriptor.of(data, OCI_LAYER), partial(io.BytesIO, data)))

    threads = [threading.Thread(target=run, args=(data,)) for data in blobs * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(placed.outcome.name for placed in outcomes) == ["EXISTS"] * 5 + ["PUSHED"] * 5
    assert len(registry_token.tokens.requests) == 1


@pytest.mark.peer("htpasswd")
def test_basic_auth_goes_all_the_way(registry_htpasswd: HtpasswdRegistry, unique_name: str) -> None:
    good = Credentials(registry_htpasswd.user, registry_htpasswd.password)
    assert_round_trip(connect(registry_htpasswd.host, unique_name, As(good)))
    check_login(Transport(registry_htpasswd.host), good)
    bad = Credentials(registry_htpasswd.user, "wrong")
    with pytest.raises(DeniedError):
        check_login(Transport(registry_htpasswd.host), bad)
    for who in (None, As(bad)):
        with pytest.raises(DeniedError, match="401") as caught:
            connect(registry_htpasswd.host, unique_name, who).get_manifest("v1")
        assert caught.value.hint == f"dockseal login {registry_htpasswd.host}"


@pytest.mark.parametrize(
    "credentials",
    [Credentials("alice", "correct horse"), Credentials(identity_token=TokenServer.REFRESH)],
    ids=["user and password", "identity token"],
)
def test_tokens_go_all_the_way(registry_token: TokenRegistry, unique_name: str, credentials: Credentials) -> None:
    assert_round_trip(connect(registry_token.host, unique_name, As(credentials)))
    check_login(Transport(registry_token.host), credentials)


def test_a_ready_token_goes_all_the_way(registry_token: TokenRegistry, unique_name: str) -> None:
    token = registry_token.tokens.token([f"repository:{unique_name}:pull,push"], known=True)
    assert_round_trip(connect(registry_token.host, unique_name, As(Credentials(registry_token=token))))


def test_mounts_need_a_token_for_both_repositories(registry_token: TokenRegistry, unique_name: str) -> None:
    who = As(Credentials(registry_token.user, registry_token.password))
    _, layer = push(connect(registry_token.host, f"{unique_name}/base", who), "v1")
    placed = connect(registry_token.host, f"{unique_name}/app", who).mount_blob(layer, (f"{unique_name}/base",))
    assert placed == Placed(Outcome.MOUNTED, f"{unique_name}/base")


def test_anonymous_pulls_work_where_they_are_allowed_and_pushes_do_not(
    registry_token: TokenRegistry, unique_name: str
) -> None:
    who = As(Credentials(registry_token.user, registry_token.password))
    manifest, _ = push(connect(registry_token.host, f"public/{unique_name}", who), "v1")
    push(connect(registry_token.host, f"private/{unique_name}", who), "v1")
    nobody = connect(registry_token.host, f"public/{unique_name}")
    assert nobody.get_manifest("v1") == manifest
    assert nobody.tags(5) == ("v1",)
    other = b"other " + unique_name.encode()
    with pytest.raises(DeniedError, match="UNAUTHORIZED"):
        nobody.put_blob(Descriptor.of(other, OCI_LAYER), partial(io.BytesIO, other))
    with pytest.raises(DeniedError, match="UNAUTHORIZED"):
        nobody.put_manifest(manifest, "v2")
    with pytest.raises(DeniedError):
        connect(registry_token.host, f"private/{unique_name}").get_manifest("v1")


def test_a_manifest_costs_one_request_once_the_token_is_there(registry_token: TokenRegistry, unique_name: str) -> None:
    who = As(Credentials(registry_token.user, registry_token.password))
    push(connect(registry_token.host, unique_name, who), "v1")
    with RecordingProxy(registry_token.host) as proxy:
        store = connect(proxy.address, unique_name, who)
        store.get_manifest("v1")
        assert [request.status for request in proxy.requests] == [401, 200]
        proxy.clear()
        store.get_manifest("v1")
        store.resolve("v1")
        assert [request.method for request in proxy.requests] == ["GET", "HEAD"]


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_we_pushed_with_the_login_that_we_stored(
    registry_htpasswd: HtpasswdRegistry, unique_name: str, home: Path
) -> None:
    config = DockerConfig()
    stored = config.store(registry_htpasswd.host, registry_htpasswd.user, registry_htpasswd.password)
    manifest, _ = push(connect(registry_htpasswd.host, unique_name, config), "v1")
    command = [
        "skopeo",
        "inspect",
        "--raw",
        "--tls-verify=false",
        f"docker://{registry_htpasswd.host}/{unique_name}:v1",
    ]
    assert subprocess.run(command, capture_output=True, check=True).stdout == manifest.raw
    assert stored == home / ".docker" / "config.json"


@pytest.mark.peer("skopeo")
def test_we_read_the_login_that_skopeo_stored(registry_htpasswd: HtpasswdRegistry, tmp_path: Path) -> None:
    host, path = registry_htpasswd.host, tmp_path / "auth.json"
    command = ["skopeo", "login", "--tls-verify=false", "--authfile", str(path), "-u", registry_htpasswd.user]
    subprocess.run(
        [*command, "--password-stdin", host], input=registry_htpasswd.password.encode(), capture_output=True, check=True
    )
    found = DockerConfig({"REGISTRY_AUTH_FILE": str(path)}).get(host)
    assert found == Credentials(registry_htpasswd.user, registry_htpasswd.password)
