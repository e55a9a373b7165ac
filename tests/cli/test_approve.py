"""approve: what is proposed, shown in words, and one's signature after a yes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.homes import AS, Homes
from tests.cli.program import Dockseal, Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed


@pytest.fixture
def plain(signed: Signed, tmp_path: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> Homes:
    return Homes(signed, tmp_path, dockseal, monkeypatch)


@pytest.fixture
def homes(plain: Homes) -> Homes:
    """A signer ``release`` of three keys, two of which must sign: ci's, bob's and carol's."""
    keys = [plain.key(name) for name in ("ci", "bob", "carol")]
    plain.at("ann")
    options = [option for key in keys for option in ("--key", key)]
    plain.run("signer", "add", "release", plain.repo, *options, "--threshold", "2", "--adopt", "--expires", "60d")
    for name in ("bob", "carol"):
        plain.at(name)
        plain.run("approve", "-y", plain.repo)
    return plain


def proposed(homes: Homes, tag: str) -> str:
    """A pipeline proposes a release; the proposal's id."""
    homes.at("ci")
    pushed = homes.push(tag)
    match = re.search(rf"Proposed {re.escape(homes.repo)}:{tag} as ([0-9a-f]{{12}})", pushed.out)
    assert match, pushed.out
    return match[1]


def test_a_pipeline_proposes_and_somebody_approves(homes: Homes) -> None:
    name = proposed(homes, "v2")
    homes.trusts("v2", code=11)
    homes.at("bob")
    listed = homes.run("approve", "--list", homes.repo)
    assert listed.lines[0] == f"proposal {name}:"
    assert re.search(r"tag v2: not trusted -> [0-9a-f]{12}", listed.out)
    assert re.search(r"release: signed anew, valid until \d{4}-\d\d-\d\dT", listed.out)
    assert re.search(r"release: 1 of 2 signed \([0-9a-f]{7}\)", listed.out)
    approved = homes.run("approve", "-y", homes.repo)
    assert approved.lines[-1] == f"Published: {homes.repo} is at state 3"
    homes.trusts("v2")
    assert homes.run("approve", "--list", homes.repo).out == "No proposal is open\n"


def test_json(homes: Homes) -> None:
    homes.at("ci")
    pushed = homes.json("push", "--from", f"{homes.repo}:v1", f"{homes.repo}:v2")
    assert (pushed["signed"], pushed["state"]) == (False, None)
    homes.at("carol")
    (item,) = homes.json("approve", "--list", homes.repo)
    assert item["schema"] == 1
    assert (item["proposal"], item["problem"], item["lacking"]) == (pushed["proposal"], None, ["1 of release"])
    assert item["changes"]["tags"] == [{"tag": "v2", "before": None, "after": pushed["digest"]}]
    done = homes.json("approve", "-y", homes.repo, item["proposal"][:4])
    assert (done["result"], done["state"]) == ("published", 3)
    assert homes.json("approve", "--list", homes.repo) == []


def test_one_who_approves_twice_adds_nothing(homes: Homes) -> None:
    proposed(homes, "v2")
    refused = homes.run("approve", "-y", homes.repo, code=10)
    assert "needs no signature that can be made here: it waits for 1 of release" in refused.err


def test_no_without_being_asked(homes: Homes) -> None:
    proposed(homes, "v2")
    homes.at("bob")
    assert "Nobody can be asked here" in homes.run("approve", homes.repo, code=2).err
    with Terminal("approve", homes.repo, *AS) as terminal:
        terminal.expect("[y/N]")
        assert "tag v2: not trusted" in terminal.shown, "it was shown before it is asked about"
        terminal.type("n\n")
        assert terminal.finish() == 1
    assert "Nothing was signed." in terminal.shown
    with Terminal("approve", homes.repo, *AS) as terminal:
        terminal.expect("[y/N]")
        terminal.type("y\n")
        assert terminal.finish() == 0
    homes.trusts("v2")


def test_rejecting(homes: Homes) -> None:
    name = proposed(homes, "v2")
    homes.at("bob")
    assert "Nobody can be asked here" in homes.run("approve", "--reject", homes.repo, code=2).err
    with Terminal("approve", "--reject", homes.repo, *AS) as terminal:
        terminal.expect(f"Reject proposal {name}? [y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
    assert homes.run("approve", "--reject", "-y", homes.repo, name).lines[-1] == f"Rejected proposal {name}"
    assert f"there is no proposal '{name}': open are none" in homes.run("approve", "-y", homes.repo, name, code=2).err
    homes.trusts("v2", code=11)


def test_an_outdated_one(homes: Homes) -> None:
    """Approving one release overtakes another that waits for a key elsewhere."""
    first, second = proposed(homes, "v2"), proposed(homes, "v3")
    homes.at("bob")
    homes.run("approve", "-y", homes.repo, second)
    homes.trusts("v3")
    refused = homes.run("approve", "-y", homes.repo, first, code=1)
    assert "the proposal was overtaken: it has release 2, and the state has release 2 already" in refused.err
    assert "propose the change again" in refused.err
    assert "was overtaken" in homes.run("approve", "--list", homes.repo).out
    homes.run("approve", "--reject", "-y", homes.repo, first)
    again = proposed(homes, "v2")
    homes.at("carol")
    homes.run("approve", "-y", homes.repo, again)
    homes.trusts("v2")
    homes.trusts("v3")


def test_by_file(homes: Homes) -> None:
    """Carol's machine has no network: a file goes there and comes back."""
    name = proposed(homes, "v2")
    path = homes.folder / "release.json"
    exported = homes.run("approve", "--export", path, homes.repo)
    assert f"Wrote proposal {name} to {path}" in exported.out
    homes.at("carol")
    assert "Nobody can be asked here" in homes.run("approve", "--file", path, homes.repo, code=2).err
    signed = homes.run("approve", "-y", "--file", path, homes.repo)
    assert "tag v2: not trusted" in signed.out
    assert f"Signed proposal {name}" in signed.out
    again = homes.run("approve", "-y", "--file", path, homes.repo, code=10)
    assert "needs no signature that can be made here" in again.err
    with Terminal("approve", "--file", str(path), homes.repo, *AS) as terminal:
        terminal.expect("[y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
    homes.at("ci")
    assert "Published: " in homes.run("approve", "--import", path, homes.repo).out
    homes.trusts("v2")
    assert homes.run("approve", "--list", homes.repo).out == "No proposal is open\n", "ci does not propose it again"
    assert "the proposal was overtaken" in homes.run("approve", "--import", path, homes.repo, code=1).err
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"files": {}}))
    homes.at("stranger")
    assert "nothing changes" in homes.run("approve", "-y", "--file", path, homes.repo, code=10).out
    path.write_text("{}")
    assert "the file is no proposal" in homes.run("approve", "--file", path, homes.repo, code=15).err


def test_a_file_that_is_not_there(homes: Homes) -> None:
    for option in ("--file", "--import"):
        refused = homes.run("approve", option, homes.folder / "nothing.json", homes.repo, code=2)
        assert "nothing.json" in refused.err


def test_choices_that_exclude_each_other(homes: Homes) -> None:
    refused = homes.run("approve", "--list", "--reject", homes.repo, code=2)
    assert "exclude each other" in refused.err


def test_one_that_was_tampered_with_is_refused_by_name(homes: Homes) -> None:
    """And says so with every command that writes, until it is rejected."""
    proposed(homes, "v2")
    index = homes.signed.folder / "index.json"
    body = json.loads(index.read_text())
    (entry,) = [item for item in body["manifests"] if "_trust-proposal." in json.dumps(item)]
    tag = next(value for value in entry["annotations"].values() if "_trust-proposal." in value).rpartition(":")[2]
    digest = entry["digest"].partition(":")[2]
    manifest = json.loads((homes.signed.folder / "blobs" / "sha256" / digest).read_text())
    manifest["layers"][0]["annotations"]["tuf.io/filename"] = "9.release.json"
    data = json.dumps(manifest).encode()
    changed = hashlib.sha256(data).hexdigest()
    (homes.signed.folder / "blobs" / "sha256" / changed).write_bytes(data)
    entry.update(digest=f"sha256:{changed}", size=len(data))
    index.write_text(json.dumps(body))
    homes.at("bob")
    listed = homes.run("approve", "--list", homes.repo)
    assert f"proposal {tag}" in listed.out
    assert "9.release.json holds version 2: expected 9" in listed.out
    assert tag in homes.run("approve", "-y", homes.repo, tag, code=15).err
    assert tag in homes.run("approve", "--export", homes.folder / "f", homes.repo, code=15).err
    assert homes.run("repo", "refresh", homes.repo).err.count(tag) == 1
    homes.run("approve", "--reject", "-y", homes.repo, tag)
    assert tag not in homes.run("repo", "refresh", homes.repo).err


@pytest.mark.peer("docker-registry")
def test_two_of_three_on_a_registry(registry: str, unique_name: str, rootfs: Path, plain: Homes) -> None:
    """The way of the manual, with three homes: propose, approve, and only then the tag moves."""
    homes, dockseal = plain, plain.dockseal
    name = f"{registry}/{unique_name}"
    keys = [homes.key(who, None, "--root-key") for who in ("bob", "carol")]
    homes.at("ann")
    dockseal("build", "-q", "-t", f"{name}:v1", rootfs)
    dockseal("push", "-q", f"{name}:v1")
    options = [option for key in keys for option in ("--new-key", key)]
    raised = dockseal("key", "rotate", name, "root", *options, "--threshold", "2", "-o", "json").json
    assert raised["lacking"] == ["1 of the new root"]
    for who in ("bob", "carol"):
        homes.at(who)
        dockseal("approve", "--trust-on-first-use", "-y", name, code=0 if who == "bob" else 10)
    homes.at("ann")
    dockseal("repo", "refresh", name)
    lowered = dockseal("key", "rotate", name, "root", "--threshold", "1", "-o", "json").json
    assert lowered["lacking"] == ["1 of the root so far"]
    homes.at("carol")
    assert "the next publisher completes it" in dockseal("approve", "-y", name).out
    homes.at("ann")
    dockseal("repo", "refresh", name)
    assert dockseal("verify", f"{name}:v1").lines[0] == f"trusted: {name}:v1"
    (root,) = [role for role in dockseal("repo", "status", name, "-o", "json").json["roles"] if role["role"] == "root"]
    assert (root["version"], root["threshold"]) == (3, 1)
