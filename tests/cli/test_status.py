"""repo status and refresh: who must sign what by when, and the command that does it."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from tests.cli.conftest import NAME
from tests.cli.homes import Homes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

WHEN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture
def plain(signed: Signed, tmp_path: Path, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> Homes:
    homes = Homes(signed, tmp_path, dockseal, monkeypatch)
    homes.at("ann")
    return homes


@pytest.fixture
def homes(plain: Homes) -> Homes:
    """A signer ``release`` of two keys, ann's and bob's, both of which must sign; its files live for 60 days."""
    bob, own = plain.key("bob"), plain.key("ann", "own")
    options = ("--key", bob, "--key", own, "--threshold", "2", "--adopt", "--expires", "60d")
    plain.run("signer", "add", "release", plain.repo, *options)
    plain.at("bob")
    plain.run("approve", "-y", plain.repo)
    plain.at("ann")
    return plain


def role(homes: Homes, name: str, *, code: int = 0) -> dict[str, object]:
    (found,) = [item for item in homes.json("repo", "status", homes.repo, code=code)["roles"] if item["role"] == name]
    return dict(found)


def test_nothing_is_due(plain: Homes) -> None:
    told = plain.run("repo", "status", plain.repo)
    assert told.lines[0] == f"{plain.repo}: state 1"
    assert told.lines[1].split("   ")[0].strip() == "ROLE"
    rows = [line.split() for line in told.lines[2:]]
    assert [row[0] for row in rows] == ["timestamp", "snapshot", "root", "targets"]
    for row in rows:
        assert re.fullmatch(f"{WHEN} {WHEN}", " ".join(row[2:4])), "sign from, and sign by"
        assert row[-1] == "yes", "and no next command"
    root = role(plain, "root")
    assert re.fullmatch(r"root \([0-9a-f]{7}\)", str(root["who"])[2:-2])
    assert (root["keysHere"], root["canSign"], root["next"]) == (["root"], True, None)
    assert root["signBy"] == root["expires"]


def test_what_is_due_names_the_command(plain: Homes) -> None:
    with freeze_time(later(8)):
        told = plain.run("repo", "status", plain.repo)
        (row,) = [line for line in told.lines if line.startswith("timestamp")]
        assert re.search(rf"timestamp +1 +now +{WHEN} +in 5 days .* yes +dockseal repo refresh {plain.repo}$", row)
        assert role(plain, "timestamp")["next"] == f"dockseal repo refresh {plain.repo}"
        plain.run("repo", "refresh", plain.repo)
        assert role(plain, "timestamp")["next"] is None


def test_without_the_keys_it_says_who_has_them(homes: Homes) -> None:
    homes.at("carol")
    told = homes.run("repo", "status", homes.repo)
    (row,) = [line for line in told.lines if line.startswith("release")]
    assert re.search(r"2 of [0-9a-f]{7}, [0-9a-f]{7} +no$", row)
    homes.at("bob")
    (row,) = [line for line in homes.run("repo", "status", homes.repo).lines if line.startswith("release")]
    assert re.search(r"2 of bob \([0-9a-f]{7}\), [0-9a-f]{7} +1 of 2$", row)
    found = role(homes, "release")
    assert (found["keysHere"], found["canSign"], found["threshold"]) == (["bob"], False, 2)


def test_a_due_role_with_a_threshold_is_proposed_by_refresh_and_approved(homes: Homes) -> None:
    with freeze_time(later(45)):
        homes.run("repo", "refresh", homes.repo)
        homes.run("approve", "--reject", "-y", homes.repo)
        assert role(homes, "release")["next"] == f"dockseal repo refresh {homes.repo}"
        refreshed = homes.json("repo", "refresh", homes.repo)
        assert (refreshed["proposed"]["result"], refreshed["proposed"]["lacking"]) == ("proposed", ["1 of release"])
        proposal = refreshed["proposed"]["proposal"]
        assert homes.json("repo", "refresh", homes.repo)["proposed"] is None, "it is proposed once"
        status = homes.json("repo", "status", homes.repo)
        command = f"dockseal approve {homes.repo} {proposal}"
        assert status["proposals"] == [
            {
                "proposal": proposal,
                "problem": None,
                "lacking": ["1 of release"],
                "signatures": 1,
                "next": command,
            }
        ]
        assert role(homes, "release")["next"] == command
        told = homes.run("repo", "status", homes.repo)
        assert told.lines[-1] == f"proposal {proposal}: waits for 1 of release; next: {command}"
        homes.at("bob")
        homes.run("approve", "-y", homes.repo)
        assert homes.json("repo", "status", homes.repo)["proposals"] == []
        assert (role(homes, "release")["version"], role(homes, "release")["next"]) == (2, None)
        homes.trusts("v1")


def test_who_may_not_publish_proposes_what_is_due(plain: Homes) -> None:
    """The root key is on a machine of its own, which has no publishing key."""
    safe = plain.at("safe") / "keys"
    safe.mkdir(mode=0o700)
    for name in ("root.key", "root.json"):
        (plain.signed.home / "keys" / name).rename(safe / name)
    refused = plain.run("repo", "refresh", plain.repo, code=10)
    assert "cannot sign as snapshot" in refused.err
    with freeze_time(later(330)):
        told = plain.run("repo", "refresh", plain.repo)
        assert re.match(r"Proposed: [0-9a-f]{12}; the next publisher completes it\n", told.out)
        again = plain.run("repo", "refresh", plain.repo, code=10)
        assert re.match(r"Proposed already: [0-9a-f]{12}, waits for a publisher; next: dockseal repo ref", again.err)
        assert "cannot sign as snapshot" in again.err
        told = plain.run("repo", "status", plain.repo, code=13)
        assert "waits for a publisher; next: dockseal repo refresh" in told.out
        plain.at("ann")
        assert "completed proposal" in plain.run("repo", "refresh", plain.repo).err
        assert (role(plain, "root")["version"], role(plain, "root")["next"]) == (2, None)
        plain.trusts("v1")


def test_an_overtaken_proposal_is_to_be_rejected(homes: Homes) -> None:
    for tag in ("v2", "v3"):
        homes.push(tag)
    first, second = (item["proposal"] for item in homes.json("repo", "status", homes.repo)["proposals"])
    homes.at("bob")
    homes.run("approve", "-y", homes.repo, first)
    (left,) = homes.json("repo", "status", homes.repo)["proposals"]
    assert "was overtaken" in left["problem"]
    assert left["next"] == f"dockseal approve {homes.repo} {second} --reject"
    assert f"proposal {second}: {left['problem']}; next: {left['next']}" in homes.run("repo", "status", homes.repo).out


def test_refresh_of_nothing(dockseal: Dockseal, tmp_path: Path) -> None:
    assert "holds no trust data" in dockseal("repo", "refresh", f"oci:{tmp_path}/nothing", code=10).err


class TestTwoAtOnce:
    """Two machines published at once, and the announcement of one comes to light later."""

    @pytest.fixture(autouse=True)
    def _announced(self, plain: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere, other = plain.folder / "elsewhere", plain.folder / "other"
        shutil.copytree(plain.signed.folder, elsewhere)
        shutil.copytree(plain.signed.home, other)
        plain.push("v2")
        monkeypatch.setenv("DOCKSEAL_HOME", str(other))
        plain.dockseal("tag", f"{NAME}:v1", f"{NAME}:v3")
        plain.run("push", f"oci:{elsewhere}:v3")
        shutil.copytree(elsewhere / "blobs", plain.signed.folder / "blobs", dirs_exist_ok=True)
        here, there = (json.loads((folder / "index.json").read_text()) for folder in (plain.signed.folder, elsewhere))
        here["manifests"] += [item for item in there["manifests"] if "_trust.0000000000000002-" in json.dumps(item)]
        (plain.signed.folder / "index.json").write_text(json.dumps(here))
        plain.at("ann")

    def test_a_refresh_joins_them(self, plain: Homes) -> None:
        plain.run("repo", "refresh", plain.repo)
        assert plain.json("repo", "status", plain.repo)["pending"] == []
        signed = {item["tag"]: item["signers"] for item in plain.json("inspect", plain.repo)["tags"]}
        assert signed == {"v1": ["targets"], "v2": ["targets"], "v3": ["targets"]}
        plain.trusts("v2")
        plain.trusts("v3")

    def test_what_it_has_no_key_for_is_pending_and_every_command_says_who_merges_it(self, plain: Homes) -> None:
        clerk = plain.folder / "clerk"
        shutil.copytree(plain.signed.home, clerk)
        plain.at("clerk")
        (key,) = [
            item["label"] for item in plain.dockseal("key", "list", "-o", "json").json if "targets" in item["label"]
        ]
        plain.dockseal("key", "remove", "-y", key)
        plain.run("repo", "refresh", plain.repo)
        (pending,) = plain.json("repo", "status", plain.repo)["pending"]
        next_step = f"next, where its key is: dockseal repo refresh {plain.repo}"
        told = plain.run("repo", "status", plain.repo)
        assert (
            told.lines[-1]
            == f"pending: {pending[:12]}, another writer's change that is not part of this state; {next_step}"
        )
        assert f"pending {pending[:12]}; {next_step}" in plain.run("repo", "log", plain.repo).out
        assert next_step in plain.run("inspect", plain.repo).out
        plain.at("ann")
        plain.run("repo", "refresh", plain.repo)
        assert plain.json("repo", "status", plain.repo)["pending"] == []
        plain.trusts("v2")
        plain.trusts("v3")


def test_a_refresh_that_leaves_something_expired_signs_the_rest_and_ends_in_13(plain: Homes) -> None:
    plain.dockseal("key", "remove", "-y", "registry.example-team-app.targets")
    with freeze_time(later(400)):
        told = plain.run("repo", "refresh", plain.repo, code=13)
        assert told.out == f"Refreshed {plain.repo}: state 2\n"
        assert "not to be renewed with the keys of this machine: targets" in told.err
        assert f"whoever holds the other keys runs: dockseal repo refresh {plain.repo}" in told.err
        result = plain.json("repo", "refresh", plain.repo, code=13)
        assert (result["state"], result["expired"]) == (3, ["targets"])
        assert role(plain, "root", code=13)["expired"] is False
