"""login, logout, and what a denied push or pull says."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME
from tests.cli.program import Terminal
from tests.doubles.faulty_registry import FaultyRegistry, Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal
    from tests.peers.fixtures import HtpasswdRegistry, TokenRegistry


def _type(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.peer("docker-registry")
@pytest.mark.parametrize("kind", ["registry_htpasswd", "registry_token"])
def test_login_shares_dockers_file(
    kind: str, request: pytest.FixtureRequest, home: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: HtpasswdRegistry | TokenRegistry = request.getfixturevalue(kind)
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"psFormat": "table"}')
    _type(monkeypatch, "wrong\n")
    told = dockseal("login", "-u", server.user, "--password-stdin", server.host, code=3)
    assert "check user name and password" in told.err
    assert json.loads(config.read_text()) == {"psFormat": "table"}
    _type(monkeypatch, f"{server.password}\n")
    told = dockseal("login", "-u", server.user, "--password-stdin", server.host)
    assert told.out == "Login Succeeded\n"
    assert "unencrypted" in told.err
    assert server.password not in told.out + told.err
    stored = json.loads(config.read_text())
    assert stored["psFormat"] == "table"
    secret = base64.b64decode(stored["auths"][server.host]["auth"]).decode()
    assert secret == f"{server.user}:{server.password}"
    assert config.stat().st_mode & 0o777 == 0o600
    dockseal("logout", server.host)
    assert json.loads(config.read_text()).get("auths", {}) == {}
    assert dockseal("logout", server.host).out == f"Not logged in to {server.host}\n"


@pytest.mark.peer("docker-registry")
def test_login_asks_on_a_terminal(registry_htpasswd: HtpasswdRegistry, home: Path) -> None:
    with Terminal("login", registry_htpasswd.host) as terminal:
        terminal.expect("Username: ")
        terminal.type(f"{registry_htpasswd.user}\n")
        terminal.expect("Password: ")
        terminal.type(f"{registry_htpasswd.password}\n")
        assert terminal.finish() == 0
    assert "Login Succeeded" in terminal.shown
    assert registry_htpasswd.password not in terminal.shown


@pytest.mark.parametrize(
    "options", [[], ["-u", "me"], ["-u", "", "--password-stdin"], ["-u", "me", "--password-stdin"]]
)
def test_login_needs_both(options: list[str], dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, "")
    dockseal("login", *options, "localhost:1", code=2)


@pytest.mark.peer("docker-registry")
def test_a_push_without_login_says_how_to_log_in(
    registry_htpasswd: HtpasswdRegistry, signed: Signed, dockseal: Dockseal
) -> None:
    told = dockseal("push", "--from", f"{NAME}:v1", f"{registry_htpasswd.host}/app:v1", code=3)
    assert f"Hint: dockseal login {registry_htpasswd.host}" in told.err
    told = dockseal("pull", f"{registry_htpasswd.host}/app:v1", code=3)
    assert f"dockseal login {registry_htpasswd.host}" in told.err


def test_a_denied_push_to_dockers_library_says_whose_it_is(
    signed: Signed, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyRegistry() as server:
        monkeypatch.setattr("trust.oci.transport._HUB_URL", f"http://{server.host}")
        server.fail("POST", "/blobs/uploads/", Status(403, b'{"errors":[{"code":"DENIED","message":"no"}]}'))
        dockseal("tag", f"{NAME}:v1", "nginx:v1")
        told = dockseal("push", "nginx:v1", code=3)
    assert told.lines[0] == "The push refers to repository [docker.io/library/nginx]"
    assert "dockseal tag nginx YOU/nginx" in told.err
