"""dockseal gate, as people run it."""

from __future__ import annotations

import json
import shutil
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NAME
from tests.cli.program import process
from tests.doubles.faulty_registry import FaultyRegistry, Hang, Status
from tests.gate.world import ANY, World
from tests.trust.builders import an_image, put_state, target_of
from trust.digest import Digest
from trust.oci.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal
    from tests.trust.builders import Team
    from trust.tuf.state import State

POLICY = "dockseal-policy.toml"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, where the program runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass
class Shop:
    """A registry with ``app``: ``v1`` and ``v2`` are signed and there; this machine has its pin."""

    world: World
    team: Team
    state: State

    def name(self, rest: str) -> str:
        return self.world.name(rest)

    def digest(self, tag: str) -> str:
        return self.world.server.tags["app"][tag]

    def move(self, tag: str) -> None:
        """Move a tag without signing."""
        self.world.server.add_manifest("app", an_image(b"evil")[0], tag)


@pytest.fixture
def shop(tmp_path: Path, home: Path, project: Path) -> Iterator[Shop]:
    with FaultyRegistry() as server:
        now = datetime.now(UTC)
        world = World(server, tmp_path)
        team, targets = world.team(), []
        for tag in ("v1", "v2"):
            manifest, _ = an_image(tag.encode())
            server.add_manifest("app", manifest, tag)
            targets.append(target_of(manifest, tag, now=now))
        state = world.publish(team.first(*targets, now=now), team)
        (home / "dockseal").mkdir()
        pin = f'[[pin]]\nrepository = "{team.repository}"\nroot = "{world.pins[0].root}"\n'
        (home / "dockseal" / "config.toml").write_text(pin)
        (project / POLICY).write_text(ANY)
        server.clear()
        yield Shop(world, team, state)


def test_what_passes(shop: Shop, dockseal: Dockseal) -> None:
    told = dockseal("gate", shop.name("app:v1"), shop.name("app:v2"))
    assert told.lines[0].startswith(f"trusted         {shop.name('app:v1')}  {shop.digest('v1')[:19]}  until ")
    assert told.lines[-1] == "summary         2 images: 2 passed"
    assert told.err == ""


def test_what_is_refused_says_why_and_where(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    shop.move("v1")
    (project / "images").write_text(f"# ours\n{shop.name('app:v1')}\n")
    told = dockseal("gate", "--images-from", "images", shop.name("app:v2"), code=1)
    assert f"mismatch        {shop.name('app:v1')}\n  at            images:2:1" in told.out
    assert told.lines[-1] == "summary         2 images: 1 passed, 1 refused"


def test_a_warning_rule_stops_nobody(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    shop.move("v1")
    (project / POLICY).write_text(ANY + 'mode = "warn"\n')
    assert "(warned)" in dockseal("gate", shop.name("app:v1")).out


def test_a_registry_that_is_down_ends_in_3_unless_something_was_refused(shop: Shop, dockseal: Dockseal) -> None:
    shop.world.server.fail("*", "/app/", Status(503), times=None)
    assert "unreachable" in dockseal("gate", shop.name("app:v1"), code=3).out
    dockseal("gate", shop.name("app:v1"), shop.name("other:v1"), code=1)


def test_without_a_policy_nothing_is_judged(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    (project / POLICY).unlink()
    told = dockseal("gate", shop.name("app:v1"), code=2)
    assert "there is no policy" in told.err
    assert "dockseal policy init" in told.err
    told = dockseal("gate", "--policy", "nope.toml", shop.name("app:v1"), code=2)
    assert "nope.toml cannot be read" in told.err
    (project / POLICY).write_text("[[rule]]\nx = 1\n")
    told = dockseal("gate", shop.name("app:v1"), code=2)
    assert "dockseal-policy.toml:1: [[rule]] has no 'pattern'" in told.err
    assert "dockseal-policy.toml:2: unknown name 'x'" in told.err
    (project / POLICY).write_text("")
    assert "no rule of dockseal-policy.toml" in dockseal("gate", shop.name("app:v1"), code=1).out
    assert shop.world.server.requests == ()


def test_a_policy_in_yaml_is_found_too(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    (project / POLICY).unlink()
    (project / "dockseal-policy.yaml").write_text("rule:\n  - pattern: '**'\n    signers: any\n")
    dockseal("gate", shop.name("app:v1"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to judge"),
        (["--report", "html", "x"], "--report html: expected text, json"),
        (["--report", "json=", "x"], "--report json=: expected"),
        (["--report", "json", "--report", "sarif", "x"], "cannot share stdout"),
        (["--report", "text", "-o", "json", "x"], "cannot share stdout"),
        (["--write", "--check", "x"], "expected one of them"),
        (["--write", "--locked", "x"], "expected one of them"),
        (["--locked", "x"], "dockseal.lock cannot be read"),
        (["--effective-time", "2026-01-01", "x"], "expected RFC 3339"),
        (["--effective-time", "9999-12-31T23:59:59Z", "--valid-in", "2d", "x"], "expected RFC 3339"),
        (["--valid-in", "14", "x"], "no length of time"),
        (["--store", "x", "x"], "expected KEY=VALUE"),
        (["--store", "x=y", "x"], "expected NAME=oci:FOLDER"),
        (["--store", "x=oci:y:v1", "x"], "expected NAME=oci:FOLDER"),
        (["--images-from", "-", "-"], "can be read once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(arguments: list[str], words: str, shop: Shop, dockseal: Dockseal) -> None:
    assert words in dockseal("gate", *arguments, code=2).err
    assert shop.world.server.requests == ()


def test_a_name_that_is_none_is_an_input_that_cannot_be_used(shop: Shop, dockseal: Dockseal) -> None:
    told = dockseal("gate", shop.name("app:v1"), "Bad:v1", f"{shop.name('app')}:_trust", code=2)
    assert told.out.count("input           at") == 2
    assert "repository name must be lowercase" in told.out
    assert "reserved" in told.out
    assert "1 passed" in told.out


def test_a_list_on_stdin(shop: Shop, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(f"{shop.name('app:v1')}\n".encode())))
    assert dockseal("gate", "-", "-o", "json").json["images"][0]["places"][0]["path"] == "-"


def test_several_reports_at_once(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    shop.move("v1")
    reports = [f"--report={form}=out/{form}" for form in ("json", "sarif", "junit", "markdown")]
    told = dockseal("gate", *reports, shop.name("app:v1"), code=1)
    assert told.out.startswith("mismatch")  # a pipeline's log says it too
    body = json.loads((project / "out/json").read_bytes())
    assert (body["schema"], body["exitCode"]) == (1, 1)
    log = json.loads((project / "out/sarif").read_bytes())
    assert log["runs"][0]["results"][0]["ruleId"] == "dockseal/mismatch"
    assert ET.parse(project / "out/junit").getroot().tag == "testsuites"  # noqa: S314 - our own bytes
    assert (project / "out/markdown").read_text().startswith("### dockseal gate: the release stops here")
    assert (project / "out/json").stat().st_mode & 0o777 == 0o644
    assert dockseal("gate", "-o", "json", shop.name("app:v1"), code=1).json["images"][0]["verdict"] == "mismatch"
    assert dockseal("gate", "--report", "markdown", shop.name("app:v1"), code=1).out.startswith("### dockseal gate")


def test_another_day(shop: Shop, dockseal: Dockseal) -> None:
    name = shop.name("app:v1")
    dockseal("gate", "--valid-in", "13d", name)
    assert "expired" in dockseal("gate", "--valid-in", "15d", name, code=1).out
    later = (datetime.now(UTC) + timedelta(days=15)).strftime("%Y-%m-%dT%H:%M:%S+01:00")
    dockseal("gate", "--effective-time", later, name, code=1)
    dockseal("gate", "--effective-time", "2026-01-01T00:00:00Z", name)
    for option in ("--write", "--lock"):  # what has expired since would pass
        told = dockseal("gate", option, "--effective-time", "2026-01-01T00:00:00Z", name, code=2)
        assert "expected no moment in the past" in told.err


def test_the_lock_file(shop: Shop, dockseal: Dockseal, project: Path, home: Path) -> None:
    name = shop.name("app:v1")
    assert "Recorded in dockseal.lock" in dockseal("gate", "--lock", name).err
    recorded = (project / "dockseal.lock").read_bytes()
    assert json.loads(recorded)["images"][0]["digest"] == shop.digest("v1")
    dockseal("gate", "--locked", name)
    dockseal("gate", "--lock=other.lock", name)
    dockseal("gate", "--locked=other.lock", name)
    assert "is not in other.lock" in dockseal("gate", "--locked=other.lock", shop.name("app:v2"), code=1).out
    newer = shop.team.next(shop.state, now=datetime.now(UTC))
    put_state(shop.world.store(), newer)
    dockseal("gate", "--lock", name)
    put_state(shop.world.store(), shop.state)
    shutil.rmtree(home / "dockseal" / "cache")  # a machine without memory
    dockseal("gate", name)
    told = dockseal("gate", "--locked", name, code=1)
    assert "rollback" in told.out
    shop.move("v1")
    dockseal("gate", "--lock", name, code=1)  # nothing is recorded of what is refused
    assert json.loads((project / "dockseal.lock").read_bytes())["images"][0]["state"] == 2
    assert "--lock" in dockseal("gate", "--", "--lock", code=2).out  # it is an image's name after --


def test_write_and_check(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    name = shop.name("app:v1")
    text = f"services:\r\n  web: # ours\r\n    image: '{name}'\r\n  db:\r\n    image: {shop.name('app:v2')}   # end"
    path = project / "compose.yaml"
    path.write_bytes(text.encode())
    path.chmod(0o640)
    assert "is not pinned" in dockseal("gate", "--check", "-f", "compose.yaml", code=1).out
    assert path.read_bytes() == text.encode()
    told = dockseal("gate", "--write", "-f", "compose.yaml")
    assert "Pinned in compose.yaml: 2 image(s)" in told.err
    one, two = (f"{shop.name(f'app:{tag}')}@{shop.digest(tag)}" for tag in ("v1", "v2"))
    assert path.read_bytes() == text.replace(name, one).replace(shop.name("app:v2"), two).encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert dockseal("gate", "--write", "-f", "compose.yaml").err == ""
    dockseal("gate", "--check", "-f", "compose.yaml")


def test_a_file_that_has_changed_meanwhile_is_left_alone(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    (project / "images").write_text(f"{shop.name('app:v1')}\n")
    told = dockseal("gate", "--write", "--images-from", "images", "--report", "json=images", code=2)
    assert f"images has changed since it was read: expected {shop.name('app:v1')}" in told.err
    assert json.loads((project / "images").read_bytes())["exitCode"] == 0  # the report, which was written first


def test_write_renews_old_pins_and_check_refuses_them(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    old = f"{shop.name('app:v1')}@{Digest.of(b'old')}"
    (project / "images").write_text(f"{old}\n")
    assert "signed to mean" in dockseal("gate", "--check", "--images-from", "images", code=1).out
    dockseal("gate", "--write", "--images-from", "images")
    assert (project / "images").read_text() == f"{shop.name('app:v1')}@{shop.digest('v1')}\n"


def test_nothing_is_written_where_something_is_refused(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    text = f"{shop.name('app:v1')}\n{shop.name('app:v3')}\n"
    (project / "images").write_text(text)
    dockseal("gate", "--write", "--images-from", "images", code=1)
    assert (project / "images").read_text() == text


def test_what_cannot_be_written_is_said(shop: Shop, dockseal: Dockseal, project: Path) -> None:
    (project / "compose.yaml").write_text(f"services:\n  web:\n    image: {shop.name('app')}:${{TAG:-v1}}\n")
    told = dockseal("gate", "--write", "-f", "compose.yaml")
    assert "is made of variables" in told.err
    assert "${TAG:-v1}" in (project / "compose.yaml").read_text()


def test_an_image_that_is_called_oci_is_no_folder(dockseal: Dockseal, project: Path) -> None:
    """Whoever deploys the file pulls docker.io/library/oci, whatever folder is there."""
    (project / POLICY).write_text('[[rule]]\npattern = "docker.io/**"\nsigners = "any"\n')
    (project / "compose.yaml").write_text("services:\n  web:\n    image: oci:good\n")
    told = dockseal("gate", "--offline", "-f", "compose.yaml", code=3)
    assert "docker.io/library/oci:good" in told.out


def test_variables_come_from_the_environment_and_the_command_line(
    shop: Shop, dockseal: Dockseal, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "compose.yaml").write_text(f"services:\n  web:\n    image: {shop.name('app')}:${{SHOP_TAG}}\n")
    dockseal("gate", "-f", "compose.yaml", code=2)
    monkeypatch.setenv("SHOP_TAG", "v1")
    assert "app:v1" in dockseal("gate", "-f", "compose.yaml").out
    assert "app:v2" in dockseal("gate", "-f", "compose.yaml", "--env", "SHOP_TAG=v2").out


# Offline


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport that refuses: no request is made, by nobody."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a request was made")

    monkeypatch.setattr(Transport, "send", refuse)
    monkeypatch.setattr(Transport, "__init__", refuse)


@pytest.mark.usefixtures("no_network")
def test_offline_a_copied_folder_is_judged_without_a_request(
    signed: Signed, dockseal: Dockseal, project: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "stick"
    dockseal("copy", "--as", NAME, f"{signed.name}:v1", f"oci:{copied}")
    (project / POLICY).write_text('[[rule]]\npattern = "registry.example/team/*"\nsigners = { all = ["targets"] }\n')
    told = dockseal("gate", "--offline", f"oci:{copied}:v1")
    assert told.out.startswith(f"trusted         oci:{copied}:v1")
    (project / "k8s.yaml").write_text(f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - image: {NAME}:v1\n")
    told = dockseal("gate", "--offline", "-f", "k8s.yaml", code=3)
    assert "--offline makes no request" in told.out
    assert f"--store {NAME}=oci:FOLDER" in told.out
    told = dockseal("gate", "--offline", "-f", "k8s.yaml", "--store", f"{NAME}=oci:{copied}")
    assert told.out.startswith(f"trusted         {NAME}:v1")


@pytest.mark.usefixtures("no_network")
def test_offline_on_a_machine_that_knows_the_policy_alone(
    signed: Signed, dockseal: Dockseal, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKSEAL_HOME", str(project / "nobody"))
    (project / POLICY).write_text(
        f'[[rule]]\npattern = "registry.example/**"\nsigners = "any"\nroot = "{signed.root}"\n'
    )
    dockseal("gate", "--offline", f"{signed.name}:v1", "--as", NAME)
    (project / POLICY).write_text('[[rule]]\npattern = "registry.example/**"\nsigners = "any"\n')
    assert "untrusted-root" in dockseal("gate", "--offline", f"{signed.name}:v1", "--as", NAME, code=1).out


def test_first_use(
    signed: Signed, dockseal: Dockseal, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / POLICY).write_text(ANY)
    monkeypatch.setenv("DOCKSEAL_HOME", str(tmp_path / "other"))
    told = dockseal("gate", "--trust-on-first-use", f"{signed.name}:v1", "--as", NAME)
    assert "trusted on first use" in told.err
    dockseal("gate", f"{signed.name}:v1", "--as", NAME)


def test_a_registry_that_hangs_holds_nobody_up(shop: Shop, project: Path) -> None:
    """As a process of its own: its end waits for no thread."""
    shop.world.server.fail("*", "/slow/", Hang(), times=None)
    begin = time.monotonic()
    names = (shop.name("slow:v1"), shop.name("app:v1"))
    told = process("gate", "--policy", project / POLICY, "--timeout", "1.5", *names, code=3)
    assert time.monotonic() - begin < 12
    assert "did not answer within 1.5 seconds" in told.out
    assert "summary         2 images: 1 passed, 1 unreachable" in told.out


@pytest.mark.usefixtures("keys")
@pytest.mark.peer("docker-registry")
def test_from_an_empty_registry_to_pinned_files(
    registry: str, unique_name: str, rootfs: Path, dockseal: Dockseal, project: Path
) -> None:
    """On a real one: push, draft the policy, pin the files, move the tag, refuse."""
    name = f"{registry}/{unique_name}:v1"
    dockseal("build", "-t", name, rootfs)
    dockseal("push", name)
    (project / "Dockerfile").write_text(f"FROM {name} AS base\nFROM base\nRUN true\n")
    dockseal("policy", "init", "-f", "Dockerfile")
    dockseal("gate", "-f", "Dockerfile", "--write", "--lock")
    assert (project / "Dockerfile").read_text().startswith(f"FROM {name}@sha256:")
    dockseal("gate", "-f", "Dockerfile", "--check", "--locked")
    (rootfs / "more").write_text("more")
    dockseal("build", "-t", name, rootfs)
    (rootfs / "more").unlink()
    dockseal("push", "--disable-content-trust", name)
    dockseal("gate", "-f", "Dockerfile", "--check", "--locked")  # what is pinned does not move
    assert "mismatch" in dockseal("gate", name, code=1).out
