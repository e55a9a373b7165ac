"""signer: who may sign which tags, as people meet it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.homes import AS, Homes
from tests.cli.program import Dockseal, Terminal
from tests.peers.proxy import RecordingProxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed


@pytest.fixture
def homes(signed: Signed, tmp_path: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> Homes:
    return Homes(signed, tmp_path, dockseal, monkeypatch)


@pytest.fixture
def ci(homes: Homes) -> Path:
    """ci's public key; ann is at the keyboard."""
    public = homes.key("ci")
    homes.at("ann")
    return public


def test_a_signer_comes_and_signs(homes: Homes, ci: Path) -> None:
    """The way of the manual: a public key, a proposal, and the signer's own push completes it."""
    added = homes.run("signer", "add", "ci", homes.repo, "--key", ci, "--tags", "v*", "--adopt", "--expires", "90d")
    assert added.lines[0] == f"{homes.repo}:"
    assert re.search(r"new signer ci: 1 of [0-9a-f]{7} may sign v\*", added.out)
    assert re.search(r"Proposed: [0-9a-f]{12}; it waits for signatures: 1 of ci", added.out)
    assert f"Hint: whoever holds such a key runs: dockseal approve {homes.repo}" in added.err
    homes.at("ci")
    pushed = homes.push("v2")
    assert "completed proposal" in pushed.err
    (row,) = homes.json("signer", "list", homes.repo)["signers"]
    assert (row["signer"], row["threshold"], row["tags"], row["publishes"]) == ("ci", 1, ["v*"], True)
    table = homes.run("signer", "list", homes.repo)
    assert table.lines[0].split() == ["SIGNER", "KEYS", "WHO", "MAY", "SIGN", "PUBLISHES", "EXPIRES"]
    assert table.lines[1].split()[:5] == ["ci", "1", "of", "1", "ci"]
    assert "ci" in homes.trusts("v1").out
    refused = homes.push("nightly", code=10)
    assert "no signer's patterns cover it" in refused.err


def test_json(homes: Homes, ci: Path) -> None:
    found = homes.json("signer", "add", "ci", homes.repo, "--key", ci, "--no-publish")
    assert found["schema"] == 1
    assert (found["result"], found["lacking"], found["repository"]) == (
        "proposed",
        ["1 of ci"],
        "registry.example/team/app",
    )
    assert re.fullmatch("[0-9a-f]{12}", found["proposal"])
    assert found["changes"]["tags"] == []
    roles = {item["role"]: item for item in found["changes"]["roles"]}
    assert set(roles) == {"targets", "ci"}
    assert (roles["ci"]["threshold"], roles["ci"]["patterns"]) == ([None, 1], [[], ["*"]])
    homes.key("ann", "own")
    live = homes.json("signer", "add", "own", homes.repo, "--key", "own")
    assert (live["result"], live["state"]) == ("published", 2)


def test_there_are_no_signers_yet(homes: Homes) -> None:
    assert homes.run("signer", "list", homes.repo).out.endswith("has no signers: targets signs its tags\n")
    assert homes.json("signer", "list", homes.repo)["signers"] == []


def test_several_repositories_at_once(homes: Homes, ci: Path) -> None:
    one, other = f"oci:{homes.folder}/one", f"oci:{homes.folder}/other"
    for name in (one, other):
        homes.dockseal("push", "-q", "--from", f"{homes.repo}:v1", f"{name}:v1")
    command = ("signer", "add", "ci", one, other, "--key", ci, "-o", "json")
    found = homes.dockseal(*command).json
    assert [item["result"] for item in found] == ["proposed", "proposed"]
    assert all(item["schema"] == 1 for item in found)
    gone = homes.dockseal("signer", "remove", "-y", "ci", one, other, code=2)
    assert "there is no signer 'ci': signers are none" in gone.err, "it is not live yet"


def test_what_targets_signs_shadows_it(homes: Homes, ci: Path) -> None:
    homes.run("signer", "add", "ci", homes.repo, "--key", ci)
    homes.at("ci")
    homes.dockseal("build", "-q", "-t", "registry.example/team/app:v1", homes.folder / "ci", "--label", "a=b")
    refused = homes.run("push", f"{homes.repo}:v1", code=10)
    assert "would still resolve to" in refused.err
    assert "--adopt" in refused.err
    homes.push("v2")
    homes.at("ann")
    homes.run("signer", "add", "ci", homes.repo, "--adopt")
    homes.at("ci")
    assert "Published: " in homes.run("approve", "-y", homes.repo).out
    homes.run("push", f"{homes.repo}:v1")
    assert homes.trusts("v1").lines[0] == f"trusted: {homes.repo}:v1"


def test_leaving(homes: Homes) -> None:
    homes.key("ann", "own")
    homes.run("signer", "add", "own", homes.repo, "--key", "own", "--adopt")
    assert "Nobody can be asked here" in homes.run("signer", "remove", "own", homes.repo, code=2).err
    dry = homes.run("signer", "remove", "own", homes.repo, "--dry-run")
    assert "tag v1: " in dry.out
    assert "NOT TRUSTED ANY MORE" in dry.out
    assert re.search(r"signer own leaves; its keys were own \([0-9a-f]{7}\)", dry.out)
    homes.trusts("v1")
    gone = homes.run("signer", "remove", "-y", "own", homes.repo)
    assert gone.lines[-1] == f"Published: {homes.repo} is at state 3"
    homes.trusts("v1", code=10)


@pytest.mark.peer("docker-registry")
def test_a_dry_run_writes_nothing(
    registry: str, unique_name: str, keys: Path, rootfs: Path, dockseal: Dockseal
) -> None:
    with RecordingProxy(registry) as proxy:
        name = f"{proxy.address}/{unique_name}"
        dockseal("build", "-q", "-t", f"{name}:v1", rootfs)
        dockseal("push", "-q", f"{name}:v1")
        dockseal("key", "generate", "ci")
        proxy.clear()
        dry = dockseal("signer", "add", "ci", name, "--key", "ci", "--adopt", "--dry-run", "-o", "json").json
        assert (dry["result"], dry["changes"]["tags"]) == ("dry-run", [])
        dockseal("signer", "add", "ci", name, "--key", "ci", "--adopt", "--dry-run")
        dockseal("key", "rotate", name, "root", "--new-key", "ci", "--dry-run")
        assert proxy.requests
        assert proxy.writes == ()
    assert list(keys.glob("keys/*.key"))


def test_without_the_root_key_it_signs_and_does_not_publish(homes: Homes, ci: Path) -> None:
    for ending in ("key", "json"):
        (homes.signed.home / "keys" / f"root.{ending}").unlink()
    added = homes.run("signer", "add", "ci", homes.repo, "--key", ci)
    assert "the root key of" in added.err
    assert "ci will sign, and the next publisher publishes it" in added.err
    homes.at("ci")
    refused = homes.push("v2", code=10)
    proposal = homes.json("approve", "--list", homes.repo)[0]["proposal"]
    assert f"Hint: dockseal approve {homes.repo} {proposal} adds this machine's signature" in refused.err
    assert "the next publisher completes it" in homes.run("approve", "-y", homes.repo).out
    homes.at("ann")
    homes.run("repo", "refresh", homes.repo)
    homes.at("ci")
    proposed = homes.push("v2")
    assert "it waits for a publisher. The tag has not moved" in proposed.out
    homes.trusts("v2", code=11)
    homes.at("ann")
    homes.run("repo", "refresh", homes.repo)
    homes.trusts("v2")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("add", "ci"), 2, "the signer ci needs a public key"),
        (("add", "releases", "--key", "root"), 2, "invalid signer name 'releases'"),
        (("add", "ci", "--key", "nobody"), 4, "nobody"),
        (("add", "ci", "--key", "root", "--threshold", "2"), 2, "a threshold of 2 cannot be met by 1 key"),
        (("add", "ci", "--key", "root", "--expires", "soon"), 2, "soon"),
        (("add", "ci", "--adopt"), 2, "cannot be met by 0 key"),
        (("remove", "ci", "-y"), 2, "there is no signer 'ci'"),
    ],
)
def test_what_cannot_be(homes: Homes, arguments: tuple[str, ...], code: int, says: str) -> None:
    command, name, *options = arguments
    assert says in homes.run("signer", command, name, homes.repo, *options, code=code).err


def test_an_image_is_no_repository(homes: Homes) -> None:
    assert "names an image" in homes.run("signer", "list", f"{homes.repo}:v1", code=2).err


def test_a_folder_without_trust(dockseal: Dockseal, tmp_path: Path) -> None:
    assert "holds no trust data" in dockseal("signer", "list", f"oci:{tmp_path}/nothing", code=10).err


def test_asked_on_a_terminal(homes: Homes) -> None:
    homes.key("ann", "own")
    homes.run("signer", "add", "own", homes.repo, "--key", "own")
    for answer, code in (("n", 1), ("y", 0)):
        with Terminal("signer", "remove", "own", homes.repo, *AS) as terminal:
            terminal.expect("Go on? [y/N]")
            terminal.type(f"{answer}\n")
            assert terminal.finish() == code
        assert ("Nothing was changed." in terminal.shown) == (answer == "n")


def test_an_invitation(homes: Homes) -> None:
    """Carol makes the key herself; ann approves it."""
    homes.at("ann")
    invited = homes.run("signer", "invite", "carol", homes.repo, "--tags", "c-*", "--expires", "30d")
    assert f"Invited carol to sign c-* in {homes.repo}" in invited.out
    homes.at("carol")
    accepted = homes.run("signer", "accept", homes.repo)
    assert "Accepted: carol will sign c-* with the key carol" in accepted.out
    assert homes.run("signer", "accept", homes.repo, "dave", code=2).err
    homes.at("ann")
    assert "new signer carol" in homes.run("approve", "--list", homes.repo).out
    assert "Published: " in homes.run("approve", "-y", homes.repo).out
    homes.at("carol")
    homes.push("c-1")
    homes.trusts("c-1")


def test_an_invitation_from_word_to_signature(homes: Homes) -> None:
    homes.at("ann")
    invited = homes.run("signer", "invite", "carol", homes.repo, "--tags", "v*", "--expires", "90d")
    assert invited.lines == [f"Invited carol to sign v* in {homes.repo}"]
    homes.at("carol")
    accepted = homes.run("signer", "accept", homes.repo)
    assert re.match(r"Accepted: carol will sign v\* with the key carol \([0-9a-f]{7}\)", accepted.out)
    assert "tell those who approve it your key's id" in accepted.err
    again = homes.run("signer", "accept", homes.repo, "dave", code=2)
    assert "expected one invitation as dave" in again.err
    homes.at("ann")
    approved = homes.run("approve", homes.repo, "-y")
    assert re.search(r"new signer carol: 1 of [0-9a-f]{7} may sign v\*", approved.out)
    assert "Published:" in approved.out
    homes.at("carol")
    assert "Successfully signed" in homes.push("v2").out
