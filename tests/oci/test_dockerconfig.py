"""docker's config.json and credential helpers."""

from __future__ import annotations

import base64
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trust.errors import DocksealError, UsageError
from trust.oci.auth import Credentials, DockerConfig

if TYPE_CHECKING:
    from pathlib import Path

HELPER = """#!/usr/bin/env python3
import json, os, pathlib, sys
store = pathlib.Path({folder!r}) / "secrets.json"
log = pathlib.Path({folder!r}) / "log"
log.open("a").write(sys.argv[1] + "\\n")
data = json.loads(store.read_text()) if store.exists() else {{}}
text = sys.stdin.read()
if sys.argv[1] == "store":
    login = json.loads(text)
    data[login["ServerURL"]] = login
    store.write_text(json.dumps(data))
elif text not in data:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "get":
    print(json.dumps(data[text]))
else:
    del data[text]
    store.write_text(json.dumps(data))
"""


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    folder = tmp_path / "docker"
    folder.mkdir()
    return folder


@pytest.fixture
def config(docker: Path) -> DockerConfig:
    return DockerConfig({"DOCKER_CONFIG": str(docker)})


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``docker-credential-box``, which keeps its secrets in a folder."""
    folder = tmp_path / "box"
    folder.mkdir()
    install(folder, "box", HELPER.format(folder=str(folder)), monkeypatch)
    return folder


def install(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def write(folder: Path, content: object) -> None:
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.example", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("https://registry.example", "registry.example"),
        ("https://registry.example/v1/", "registry.example"),
        ("http://registry.example:5000/v2/", "registry.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_every_form_of_a_key_is_found(docker: Path, config: DockerConfig, key: str, host: str) -> None:
    write(docker, {"auths": {key: {"auth": encode("alice:a:b")}}})
    assert config.get(host) == Credentials("alice", "a:b")
    assert config.get("other.example") is None
    assert config.get(f"{host}0") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encode("alice:secret")}, Credentials("alice", "secret")),
        ({"auth": encode("alice:secret\0\0")}, Credentials("alice", "secret")),
        ({"username": "alice", "password": "secret"}, Credentials("alice", "secret")),
        ({"auth": encode("alice:"), "identitytoken": "id"}, Credentials("alice", "", "id")),
        ({"identitytoken": "id"}, Credentials(identity_token="id")),
        ({"registrytoken": "reg"}, Credentials(registry_token="reg")),
        ({"auth": encode("<token>:id")}, Credentials(identity_token="id")),
        ({"auth": "", "email": "x"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_every_kind_of_entry_is_read(
    docker: Path, config: DockerConfig, entry: object, expected: Credentials | None
) -> None:
    write(docker, {"auths": {"h.example": entry}})
    assert config.get("h.example") == expected


def test_the_longest_key_that_covers_the_repository_wins(docker: Path, config: DockerConfig) -> None:
    keys = {"h.example": "host", "h.example/team": "team", "h.example/team/app": "app"}
    write(docker, {"auths": {key: {"auth": encode(f"{user}:x")} for key, user in keys.items()}})
    found = {
        path: config.get("h.example", path) for path in ("other", "team/tool", "team/app", "team/app/sub", "teams/x")
    }
    users = {path: credentials.user for path, credentials in found.items() if credentials}
    assert users == {"other": "host", "team/tool": "team", "team/app": "app", "team/app/sub": "app", "teams/x": "host"}


def test_a_key_of_a_host_is_no_prefix_of_another(docker: Path, config: DockerConfig) -> None:
    write(docker, {"auths": {"h.example/team": {"auth": encode("a:b")}}})
    assert config.get("h.example") is None
    assert config.get("h.example", "teamwork") is None


def test_files_are_asked_in_order(tmp_path: Path) -> None:
    home, explicit, runtime = tmp_path / "home", tmp_path / "auth.json", tmp_path / "run"
    for number, path in enumerate([explicit, home / ".docker/config.json", runtime / "containers/auth.json"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        users = {f"h{later}.example": {"auth": encode(f"file{number}:x")} for later in range(number, 3)}
        path.write_text(json.dumps({"auths": users}))
    inline = json.dumps(
        {"auths": {"h9.example": {"auth": encode("inline:x")}, "h0.example": {"auth": encode("inline:x")}}}
    )
    env = {"REGISTRY_AUTH_FILE": str(explicit), "XDG_RUNTIME_DIR": str(runtime)}

    def user(env: dict[str, str], host: str) -> str | None:
        credentials = DockerConfig(env, home).get(host)
        return credentials.user if credentials else None

    assert [user(env, f"h{n}.example") for n in range(4)] == ["file0", "file0", "file0", None]
    assert [user({"XDG_RUNTIME_DIR": str(runtime)}, f"h{n}.example") for n in range(3)] == [None, "file1", "file1"]
    assert user({"HOME": str(tmp_path / "nobody"), "XDG_RUNTIME_DIR": str(runtime)}, "h2.example") == "file1"
    env["DOCKER_AUTH_CONFIG"] = inline
    assert [user(env, f"h{n}.example") for n in (0, 1, 9)] == ["inline", "file0", "inline"]


def test_home_is_that_of_the_environment_where_none_is_given(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    write(tmp_path / ".docker", {"auths": {"h.example": {"auth": encode("a:b")}}})
    assert DockerConfig({"HOME": str(tmp_path)}).get("h.example") == Credentials("a", "b")
    assert DockerConfig().get("h.example") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"auths": {"h.example": {"auth": "c2VjcmV0-no-base64"}}}', "no base64"),
        ('{"auths": {"h.example": {"auth": "/w=="}}}', "no base64"),
        ('{"auths": {"h.example": {"auth": "\\u00fc"}}}', "no base64"),
        ('{"auths": {"h.example": {"registrytoken": "secret\\ud800"}}}', "no valid text"),
        (json.dumps({"auths": {"h.example": {"auth": encode("nocolon")}}}), "does not hold user:password"),
        ('{"auths": {"h.example": {"auth": 7}}}', "expected strings"),
        ('{"auths": {"h.example": ["x"]}}', "expected an object"),
        ('{"auths": ["x"]}', "expected an object"),
        ('["x"]', "expected an object"),
        ('{"secret-broken', "no valid JSON"),
        ('{"credsStore": "../evil"}', "no name of a credential helper"),
        ('{"credHelpers": {"h.example": 7}}', "no name of a credential helper"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_a_malformed_file_is_named_and_not_quoted(
    docker: Path, config: DockerConfig, content: str, message: str
) -> None:
    (docker / "config.json").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        config.get("h.example")
    assert "secret" not in caught.value.message


def test_an_empty_file_holds_nothing_and_a_folder_in_its_place_is_an_error(docker: Path, config: DockerConfig) -> None:
    (docker / "config.json").write_text("")
    assert config.get("h.example") is None
    (docker / "config.json").unlink()
    (docker / "config.json").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        config.get("h.example")


def test_an_oversize_file_is_refused(docker: Path, config: DockerConfig) -> None:
    with (docker / "config.json").open("wb") as file:
        file.truncate(5 << 20)
    with pytest.raises(UsageError, match="longer than"):
        config.get("h.example")


def test_a_login_keeps_what_it_does_not_know(docker: Path, config: DockerConfig) -> None:
    write(docker, {"HttpHeaders": {"x": "ü"}, "auths": {"o.example": {"auth": encode("o:o")}}, "psFormat": 1.5})
    assert config.store("h.example", "alice", "secret") == docker / "config.json"
    content = json.loads((docker / "config.json").read_text())
    assert content == {
        "HttpHeaders": {"x": "ü"},
        "auths": {"o.example": {"auth": encode("o:o")}, "h.example": {"auth": encode("alice:secret")}},
        "psFormat": 1.5,
    }
    assert stat.S_IMODE((docker / "config.json").stat().st_mode) == 0o600
    assert [path.name for path in docker.iterdir()] == ["config.json"]
    assert config.get("h.example") == Credentials("alice", "secret")


def test_a_login_makes_the_folder_for_its_owner_alone(tmp_path: Path) -> None:
    config = DockerConfig({"DOCKER_CONFIG": str(tmp_path / "new")})
    config.store("docker.io", "alice", "secret")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert list(json.loads((tmp_path / "new/config.json").read_text())["auths"]) == ["https://index.docker.io/v1/"]
    assert config.get("docker.io") == Credentials("alice", "secret")


def test_a_login_replaces_older_forms_of_the_key(docker: Path, config: DockerConfig) -> None:
    write(docker, {"auths": {"https://h.example/v1/": {"auth": encode("old:x")}}})
    config.store("h.example", "new", "y")
    assert list(json.loads((docker / "config.json").read_text())["auths"]) == ["h.example"]


def test_an_identity_token_is_stored_as_one(config: DockerConfig) -> None:
    config.store("h.example", "<token>", "refresh")
    assert config.get("h.example") == Credentials(identity_token="refresh")


def test_a_linked_file_stays_a_link(tmp_path: Path, docker: Path, config: DockerConfig) -> None:
    (docker / "config.json").symlink_to(tmp_path / "real.json")
    config.store("h.example", "alice", "secret")
    assert (docker / "config.json").is_symlink()
    assert "h.example" in (tmp_path / "real.json").read_text()


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = DockerConfig({"REGISTRY_AUTH_FILE": str(tmp_path / "file" / "auth.json")})
    with pytest.raises(UsageError, match="cannot be read"):
        config.store("h.example", "a", "b")
    config = DockerConfig({"DOCKER_CONFIG": "/proc/none"})
    with pytest.raises(UsageError, match="cannot write"):
        config.store("h.example", "a", "b")


def test_a_logout_removes_every_form_of_the_key(docker: Path, config: DockerConfig) -> None:
    auths = {"h.example": {"auth": encode("a:b")}, "https://h.example/v1/": {}, "o.example": {"auth": encode("o:o")}}
    write(docker, {"auths": auths})
    assert config.erase("h.example")
    assert not config.erase("h.example")
    assert list(json.loads((docker / "config.json").read_text())["auths"]) == ["o.example"]


@pytest.mark.parametrize("content", [{"credsStore": "box"}, {"credHelpers": {"h.example": "box"}}])
def test_a_helper_keeps_a_login(docker: Path, config: DockerConfig, helper: Path, content: object) -> None:
    write(docker, content)
    assert config.get("h.example") is None
    assert config.store("h.example", "alice", "secret") is None
    assert config.get("h.example") == Credentials("alice", "secret")
    assert json.loads((docker / "config.json").read_text())["auths"] == {"h.example": {}}
    assert config.erase("h.example")
    assert not config.erase("h.example")
    assert config.get("h.example") is None
    assert json.loads((helper / "secrets.json").read_text()) == {}


def test_a_helper_is_asked_once(docker: Path, config: DockerConfig, helper: Path) -> None:
    write(docker, {"credsStore": "box"})
    assert [config.get("h.example", path) for path in "abc"] == [None, None, None]
    assert (helper / "log").read_text() == "get\n"


def test_a_helper_knows_docker_hub_by_its_old_name_and_gives_identity_tokens(
    docker: Path, config: DockerConfig, helper: Path
) -> None:
    key = "https://index.docker.io/v1/"
    login = {"ServerURL": key, "Username": "<token>", "Secret": "refresh"}
    (helper / "secrets.json").write_text(json.dumps({key: login}))
    write(docker, {"credsStore": "box"})
    assert config.get("docker.io") == Credentials(identity_token="refresh")


def test_the_hosts_own_helper_comes_before_the_general_one_and_files_last(
    docker: Path, config: DockerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own", "general"):
        install(tmp_path, name, f'#!/bin/sh\necho \'{{"Username":"{name}","Secret":"x"}}\'\n', monkeypatch)
    own = {"https://h.example": "own"}
    auths = {"h.example": {"auth": encode("file:x")}}
    for content, user in (
        ({"credHelpers": own, "credsStore": "general", "auths": auths}, "own"),
        ({"credHelpers": {"o.example": "own"}, "credsStore": "general", "auths": auths}, "general"),
        ({"credHelpers": {"o.example": "own"}, "credsStore": "", "auths": auths}, "file"),
        ({"credsStore": "absent", "auths": auths}, "file"),
    ):
        write(docker, content)
        credentials = DockerConfig({"DOCKER_CONFIG": str(docker)}).get("h.example")
        assert credentials is not None
        assert credentials.user == user


def test_a_missing_helper_means_anonymous_but_cannot_keep_a_login(docker: Path, config: DockerConfig) -> None:
    write(docker, {"credsStore": "absent"})
    assert config.get("h.example") is None
    assert not config.erase("h.example")
    with pytest.raises(UsageError, match="docker-credential-absent is not installed"):
        config.store("h.example", "a", "b")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no keyring: locked'; exit 1", "get failed: no keyring: locked"),
        ("echo trouble >&2; exit 3", "get failed: trouble"),
        ("exit 3", "exit code 3"),
        ("echo '{}'", "expected Username and Secret"),
        ("echo nonsense", "expected Username and Secret"),
        ("head -c 2000000 /dev/zero", "get failed"),
    ],
)
def test_a_helper_that_fails_is_an_error(
    docker: Path, config: DockerConfig, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    install(docker, "bad", f"#!/bin/sh\n{script}\n", monkeypatch)
    write(docker, {"credsStore": "bad"})
    with pytest.raises(UsageError, match=message):
        config.get("h.example")


def test_a_helper_that_hangs_or_cannot_run_is_an_error(
    docker: Path, config: DockerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trust.oci.dockerconfig.HELPER_SECONDS", 0.1)
    install(tmp_path, "slow", "#!/bin/sh\nexec sleep 30\n", monkeypatch)
    install(tmp_path, "odd", "#!/nowhere\n\0", monkeypatch)
    (tmp_path / "docker-credential-odd").write_bytes(b"\x7fELF nonsense")
    write(docker, {"credHelpers": {"h.example": "slow", "o.example": "odd"}})
    with pytest.raises(UsageError, match="no answer within"):
        config.get("h.example")
    with pytest.raises(UsageError, match="get failed"):
        config.get("o.example")


def test_a_helper_that_gives_no_user_means_anonymous(
    docker: Path, config: DockerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "empty", '#!/bin/sh\necho \'{"Username":"","Secret":""}\'\n', monkeypatch)
    write(docker, {"credsStore": "empty"})
    assert config.get("h.example") is None


def test_secrets_do_not_show() -> None:
    assert "s3cret" not in repr(Credentials("a", "s3cret", "s3cret", "s3cret"))


texts = st.text() | st.sampled_from(["auths", "credHelpers", "credsStore", "auth", "h.example", "https://", "YTpi"])
values = st.recursive(
    st.none() | st.booleans() | st.floats() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values
    | st.fixed_dictionaries({"auths": values})
    | st.fixed_dictionaries({"auths": st.fixed_dictionaries({"h.example": values})})
)
def test_only_our_errors_leave_the_reader(docker: Path, config: DockerConfig, content: object) -> None:
    write(docker, content)
    try:
        config.get("h.example", "a")
    except DocksealError:
        return


def test_which_helpers_are_asked_whether_installed_or_not(docker: Path, config: DockerConfig) -> None:
    (docker / "config.json").write_text(json.dumps({"credsStore": "all", "credHelpers": {"r.example": "own"}}))
    assert config.helpers("r.example") == ("own", "all")
    assert config.helpers("other.example") == ("all",)


def test_no_file_has_no_helpers_and_no_secrets(config: DockerConfig) -> None:
    assert (config.helpers("r.example"), config.plain_files()) == ((), ())


@pytest.mark.parametrize(
    ("auths", "plain"),
    [({"r.example": {"auth": encode("ann:secret")}}, True), ({"r.example": {}}, False), ({}, False)],
    ids=["a password", "an entry that a helper fills", "nobody"],
)
def test_which_files_hold_secrets(docker: Path, config: DockerConfig, auths: dict[str, object], plain: bool) -> None:
    path = docker / "config.json"
    path.write_text(json.dumps({"auths": auths}))
    assert config.plain_files() == ((path,) if plain else ())
