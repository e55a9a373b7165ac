"""key rotate: keys and thresholds of every role, now and in time, in one repository and in all."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME
from tests.cli.homes import AS, Homes
from tests.cli.program import Dockseal, Terminal
from tests.peers.proxy import RecordingProxy
from trust.oci.folder import OWN_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed


@pytest.fixture
def homes(signed: Signed, tmp_path: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> Homes:
    found = Homes(signed, tmp_path, dockseal, monkeypatch)
    found.at("ann")
    return found


def roles(homes: Homes) -> dict[str, dict[str, object]]:
    return {role["role"]: role for role in homes.json("repo", "status", homes.repo)["roles"]}


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_without_options_the_keys_that_are_here_are_replaced_by_a_new_one(homes: Homes, role: str) -> None:
    before = roles(homes)[role]["keys"]
    made = homes.run("key", "rotate", homes.repo, role)
    label = "root-2" if role == "root" else f"registry.example-team-app.{role}-2"
    assert f"Made the key {label} (" in made.err
    assert re.search(rf"{role}: key {re.escape(label)} \([0-9a-f]{{7}}\) comes", made.out)
    assert f"{role}: key " in made.out
    assert " leaves" in made.out
    assert made.lines[-1] == f"Published: {homes.repo} is at state 2"
    assert roles(homes)[role]["keys"] != before
    homes.trusts("v1")
    homes.push("v2")
    assert f"{label[:-2]}-3" in homes.run("key", "rotate", homes.repo, role).err


def test_a_signers_key(homes: Homes) -> None:
    homes.dockseal("key", "generate", "own")
    homes.run("signer", "add", "own", homes.repo, "--key", "own", "--adopt")
    made = homes.run("key", "rotate", homes.repo, "own")
    assert "own: key own (" in made.out
    assert "Published: " in made.out
    homes.trusts("v1")


def test_new_and_old_keys_by_name_and_file(homes: Homes) -> None:
    public = homes.key("bob", "bob-root", "--root-key")
    homes.at("ann")
    found = homes.json("key", "rotate", homes.repo, "root", "--new-key", public, "--threshold", "2")
    assert (found["result"], found["lacking"]) == ("proposed", ["1 of the new root"])
    homes.at("bob")
    assert "root: threshold 1 -> 2" in homes.run("approve", "--list", homes.repo).out
    homes.run("approve", "-y", homes.repo)
    homes.at("ann")
    homes.run("repo", "refresh", homes.repo)
    assert roles(homes)["root"]["threshold"] == 2
    homes.at("stranger")
    homes.trusts("v1")
    homes.at("ann")
    lowered = homes.json("key", "rotate", homes.repo, "root", "--threshold", "1", "--remove-key", "root")
    assert lowered["lacking"] == ["1 of the root so far", "1 of the new root"]


def test_the_same_thresholds_and_fewer_keys_can_never_be_met(homes: Homes) -> None:
    for arguments, says in (
        (("--threshold", "2"), "root would need 2 signature(s) of 1 key(s)"),
        (("--remove-key", "root"), "root would need 1 signature(s) of 0 key(s)"),
        (("--remove-key", "nobody"), "the role has no key 'nobody'"),
        (("--remove-key", "ab"), "the role has no key 'ab'"),
        (("--new-key", "nobody"), "nobody"),
    ):
        refused = homes.run("key", "rotate", homes.repo, "root", *arguments, code=4 if "--new-key" in arguments else 2)
        assert says in refused.err
    assert roles(homes)["root"]["version"] == 1


def test_what_is_no_role(homes: Homes) -> None:
    assert (
        "there is no role 'nobody': roles are root, snapshot, targets"
        in homes.run("key", "rotate", homes.repo, "nobody", code=2).err
    )
    assert "expected a repository and a role" in homes.dockseal("key", "rotate", homes.repo, code=2).err
    assert "a dry run makes no key" in homes.run("key", "rotate", homes.repo, "root", "--dry-run", code=2).err
    homes.at("bob")
    assert "no key of root is on this machine" in homes.run("key", "rotate", homes.repo, "root", code=2).err


def test_a_dry_run_shows_and_writes_nothing(homes: Homes) -> None:
    homes.dockseal("key", "generate", "new")
    shown = homes.json("key", "rotate", homes.repo, "targets", "--new-key", "new", "--dry-run")
    assert shown["result"] == "dry-run"
    assert {role["role"] for role in shown["changes"]["roles"]} == {"root", "targets"}
    assert roles(homes)["root"]["version"] == 1


def test_a_removed_key_is_asked_about_on_a_terminal(homes: Homes) -> None:
    homes.dockseal("key", "generate", "new")
    command = ("key", "rotate", homes.repo, "targets", "--new-key", "new", *AS)
    with Terminal(*command) as terminal:
        assert terminal.finish() == 0, "nothing is removed"
    with Terminal(*command[:4], "--remove-key", "new", *AS) as terminal:
        terminal.expect("Go on? [y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
    assert "Nothing was changed." in terminal.shown


def test_a_compromised_key_leaves(homes: Homes) -> None:
    """The leaked key signs nothing any more; its tags, which were shown, live on under the new one."""
    homes.key("ci")
    homes.at("ann")
    public = homes.folder / "ci.pub"
    homes.run("signer", "add", "ci", homes.repo, "--key", public, "--adopt")
    homes.at("ci")
    homes.push("v2")
    homes.at("ann")
    homes.dockseal("key", "generate", "ci2")
    leaked = homes.json("signer", "list", homes.repo)["signers"][0]["keys"][0]
    out = homes.run("key", "rotate", homes.repo, "ci", "--remove-key", leaked[:7], "--new-key", "ci2")
    assert f"ci: key {leaked[:7]} leaves" in out.out
    assert f"timestamp: key {leaked[:7]} leaves" in out.out
    homes.trusts("v2")
    homes.at("ci")
    homes.push("v3", code=10)


# Time


def test_roots_that_were_rotated_while_nobody_looked(homes: Homes) -> None:
    """Years later, a machine that pinned root 1 follows; and what has expired is said first."""
    with freeze_time("2027-06-01"):
        homes.run("repo", "refresh", homes.repo)
        homes.run("key", "rotate", homes.repo, "root")
    with freeze_time("2028-05-01"):
        refused = homes.trusts("v1", code=13)
        assert "has expired" in refused.err
        homes.run("repo", "refresh", homes.repo)
        homes.run("key", "rotate", homes.repo, "root")
        homes.run("key", "rotate", homes.repo, "targets")
        homes.trusts("v1")
        homes.at("stranger")
        homes.trusts("v1")
    with freeze_time("2028-06-01"):
        homes.trusts("v1", code=13)


def test_a_rotation_does_not_wait_for_what_has_expired(homes: Homes) -> None:
    """Only whoever holds the expired role can renew it, and that may be another machine."""
    with freeze_time("2028-06-01"):
        homes.run("key", "rotate", homes.repo, "root")
        homes.trusts("v1", code=13)
        homes.run("repo", "refresh", homes.repo)
        homes.trusts("v1")


# Everywhere


@pytest.fixture
def three(homes: Homes) -> list[str]:
    """Three more folders that ann began, with the root key that they share."""
    names = [f"oci:{homes.folder}/{name}" for name in ("one", "two", "three")]
    for name in names:
        homes.dockseal("push", "-q", "--from", f"{homes.repo}:v1", f"{name}:v1")
    homes.dockseal("key", "generate", "root-2027", "--root-key")
    return names


ROTATE = ("key", "rotate", "--all-repos", "--remove-key", "root", "--new-key", "root-2027")


def test_all_repositories_are_listed_and_asked_about_first(homes: Homes, three: list[str]) -> None:
    refused = homes.dockseal(*ROTATE, code=2)
    for name in three:
        assert f"{name}: root" in refused.err
    assert re.search(r"Replace root \([0-9a-f]{7}\) in 3 repositories\? Nobody can be asked here", refused.err)
    for name in three:
        homes.dockseal("verify", f"{name}:v1")


def test_all_repositories_and_again_after_an_interruption(homes: Homes, three: list[str]) -> None:
    """One cannot be reached: the others are done, and the next run does what is left."""
    gone, aside = homes.folder / "two", homes.folder / "aside"
    shutil.move(gone, aside)
    first = homes.dockseal(*ROTATE, "-y", code=1)
    assert f"{three[1]} is left out: " in first.err
    assert "run the same command again" in first.err
    assert first.out.count("Published: ") == 2
    shutil.move(aside, gone)
    second = homes.dockseal(*ROTATE, "-y", "-o", "json", code=1)
    assert [item["repository"] for item in second.json] == [str(gone)]
    assert f"{NAME} is left out" in second.err, "the folder that bears a name of the network is not looked for there"
    for name in three:
        homes.dockseal("verify", f"{name}:v1")


def test_one_that_cannot_be_written_does_not_hold_up_the_others(homes: Homes, three: list[str]) -> None:
    lock = homes.folder / "three" / f"{OWN_PREFIX}lock"
    lock.unlink()
    lock.mkdir()
    done = homes.dockseal(*ROTATE, "-y", code=1)
    assert f"{three[2]}: " in done.err
    assert done.out.count("Published: ") == 2
    lock.rmdir()
    assert homes.dockseal(*ROTATE, "-y", code=1).out.count("Published: ") == 1


def test_a_wrong_passphrase_changes_nothing_anywhere(
    homes: Homes, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", "not this one")
    assert "passphrase" in homes.dockseal(*ROTATE, "-y", code=4).err
    for name in three:
        (root,) = [
            role
            for role in homes.dockseal("repo", "status", name, "-o", "json").json["roles"]
            if role["role"] == "root"
        ]
        assert root["version"] == 1


def test_all_repositories_in_a_dry_run(homes: Homes, three: list[str]) -> None:
    shown = homes.dockseal(*ROTATE, "--dry-run", "-o", "json", code=1)
    assert [item["result"] for item in shown.json] == ["dry-run"] * 3


def test_no_repository_uses_it(keys: Path, dockseal: Dockseal) -> None:
    dockseal("key", "generate", "root-2027", "--root-key")
    assert dockseal(*ROTATE, "-y").out.startswith("No known repository uses root (")
    assert dockseal(*ROTATE, "-y", "-o", "json").json == []
    assert keys.exists()


def test_a_lost_publishing_key_is_replaced_in_both_its_roles(homes: Homes) -> None:
    """One role after the other could not be: each change would need the lost key for the other role."""
    name = f"oci:{homes.folder}/lost"
    homes.at("ann")
    homes.dockseal("repo", "init", name)
    status = homes.dockseal("repo", "status", name, "-o", "json").json["roles"]
    lost, root = (next(item["keys"][0] for item in status if item["role"] == role) for role in ("snapshot", "root"))
    homes.dockseal("key", "remove", "-y", lost)
    homes.dockseal("key", "generate", "publish-2")
    assert "cannot sign as snapshot" in homes.dockseal("repo", "refresh", name, code=10).err
    rotate = ("key", "rotate", "--all-repos", "--new-key", "publish-2", "-y", "--remove-key")
    done = homes.dockseal(*rotate, lost[:7], code=1)
    assert f"{name}: snapshot, timestamp" in done.err
    assert "Published: " in done.out
    homes.dockseal("repo", "refresh", name)
    assert f"No known repository uses {lost[:7]}" in homes.dockseal(*rotate, lost[:7], code=1).out
    assert f"{name}: root" in homes.dockseal(*rotate[:-2], "--dry-run", "--remove-key", root, code=1).err
    assert "there is no key 'lost'" in homes.dockseal(*rotate, "lost", code=4).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--remove-key", "root"),
        ("--new-key", "root"),
        ("--remove-key", "a", "--remove-key", "b", "--new-key", "c"),
        ("oci:x", "root", "--remove-key", "a", "--new-key", "b"),
        ("--remove-key", "a", "--new-key", "b", "--threshold", "2"),
    ],
)
def test_all_repositories_takes_one_key_to_replace(dockseal: Dockseal, arguments: tuple[str, ...]) -> None:
    assert "--all-repos takes one --remove-key" in dockseal("key", "rotate", "--all-repos", *arguments, code=2).err


def test_on_a_terminal(homes: Homes, three: list[str]) -> None:
    with Terminal(*ROTATE) as terminal:
        terminal.expect("in 3 repositories? [y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
    assert "Nothing was changed." in terminal.shown


@pytest.mark.peer("docker-registry")
def test_a_rotation_on_a_registry(
    registry: str, unique_name: str, keys: Path, rootfs: Path, dockseal: Dockseal
) -> None:
    """However many roots there are, they come with the state."""
    with RecordingProxy(registry) as proxy:
        name = f"{proxy.address}/{unique_name}"
        dockseal("build", "-q", "-t", f"{name}:v1", rootfs)
        dockseal("push", "-q", f"{name}:v1")
        for _ in range(3):
            dockseal("key", "rotate", name, "root")
        proxy.clear()
        dockseal("verify", f"{name}:v1")
        assert proxy.writes == ()
        assert len([request for request in proxy.requests if request.status == 200]) <= 3
    assert keys.exists()
