"""notary verify, inspect, import, publish, and --also-notary, against a server that can misbehave."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.program import PASSPHRASE, Dockseal, Terminal
from tests.doubles.notary_server import NotaryDouble, Reply
from tests.notary.repos import NOW, Repo, key, plain, root_certificate_expiry
from trust.notary.keys import canonical_id, read_labels, read_private
from trust.notary.model import RELEASES, ROOT, TARGETS, TIMESTAMP, Delegation, Meta, Role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.peer("docker-registry")


@pytest.fixture
def double() -> Iterator[NotaryDouble]:
    with NotaryDouble() as running:
        yield running


@pytest.fixture
def name(registry: str, unique_name: str) -> str:
    return f"{registry}/{unique_name}"


@pytest.fixture
def images(name: str, dockseal: Dockseal, rootfs: Path) -> dict[str, Meta]:
    """``v1`` and ``v2`` in the registry, not signed; what a Notary server would say of them."""
    found = {}
    for tag in ("v1", "v2"):
        dockseal("build", "-t", f"{name}:{tag}", "--label", f"tag={tag}", rootfs)
        pushed = dockseal("push", "--disable-content-trust", "-o", "json", f"{name}:{tag}").json
        found[tag] = Meta(pushed["size"], {"sha256": bytes.fromhex(pushed["digest"].removeprefix("sha256:"))})
    return found


def repo_of(name: str, images: dict[str, Meta], **changes: Any) -> Repo:
    """As docker makes it: alice signs ``v1`` in two roles; ``v2`` was signed by targets, before there were signers."""
    changes = {"top": {"v2": images["v2"]}, "releases": {"v1": images["v1"]}, "alice": {"v1": images["v1"]}} | changes
    return Repo(gun=name).but(**changes)


def serve(double: NotaryDouble, repo: Repo) -> None:
    made = repo.build()
    double.files[repo.gun] = {**made.files, **{f"{version}.root": data for version, data in made.roots.items()}}


@pytest.fixture
def at(double: NotaryDouble, name: str, images: dict[str, Meta]) -> tuple[str, str]:
    serve(double, repo_of(name, images))
    return "--server", double.url


FIRST_USE = "--trust-on-first-use"


def test_verify_says_what_a_tag_means_there(
    at: tuple[str, str], name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    said = dockseal("notary", "verify", *at, FIRST_USE, f"{name}:v1")
    assert said.lines[0] == f"trusted: {name}:v1"
    assert f"  digest   sha256:{images['v1'].sha256.hex()}" in said.lines
    assert "  signers  targets/releases, targets/alice" in said.lines
    assert "trusted on first use: the root of" in said.err
    result = dockseal("notary", "verify", *at, "-o", "json", f"{name}:v2").json
    assert (result["verdict"], result["role"], result["signers"]) == ("trusted", "targets", ["targets"])
    assert result["digest"] == result["registryDigest"]


def test_verify_without_a_known_root_shows_it(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    said = dockseal("notary", "verify", *at, f"{name}:v1", code=16)
    assert said.err.startswith(f"untrusted-root: {name}:v1")
    assert Repo(gun=name).root_certificate.canonical_id in said.err
    result = dockseal("notary", "verify", *at, "-o", "json", f"{name}:v1", code=16).json
    assert (result["verdict"], result["digest"]) == ("untrusted-root", None)


def test_verify_with_a_root_that_is_named(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    (tmp_path / "root.json").write_bytes(double.files[name][ROOT])
    dockseal("notary", "verify", *at, "--root", tmp_path / "root.json", f"{name}:v1")
    (tmp_path / "other.json").write_bytes(Repo(gun=name, root_key="other").build().files[ROOT])
    dockseal("notary", "verify", *at, "--root", tmp_path / "other.json", f"{name}:v1", code=15)
    dockseal("notary", "verify", *at, "--root", tmp_path / "none.json", f"{name}:v1", code=2)


def test_a_repository_that_was_begun_anew_needs_its_new_root(
    name: str, images: dict[str, Meta], double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    at = ("--server", double.url)
    serve(double, repo_of(name, images))
    dockseal("notary", "verify", *at, FIRST_USE, f"{name}:v1")
    anew = repo_of(name, images, root_key="anew", version=1)
    serve(double, anew)
    (tmp_path / "new.json").write_bytes(double.files[name][ROOT])
    dockseal("notary", "verify", *at, f"{name}:v1", code=15)
    dockseal("notary", "verify", *at, "--root", tmp_path / "new.json", f"{name}:v1")
    dockseal("notary", "verify", *at, f"{name}:v1")


def test_an_old_root_that_is_named_does_not_forget_what_was_seen(
    name: str, images: dict[str, Meta], double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    at = ("--server", double.url)
    serve(double, repo_of(name, images))
    (tmp_path / "root.json").write_bytes(double.files[name][ROOT])
    dockseal("notary", "verify", *at, FIRST_USE, f"{name}:v1")
    serve(double, repo_of(name, images, version=2))
    dockseal("notary", "verify", *at, "--root", tmp_path / "root.json", f"{name}:v1", code=14)


def test_verify_compares_with_the_registry(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    dockseal("tag", f"{name}:v2", f"{name}:v1")
    dockseal("push", "--disable-content-trust", f"{name}:v1")
    result = dockseal("notary", "verify", *at, FIRST_USE, "-o", "json", f"{name}:v1", code=12).json
    assert result["verdict"] == "mismatch"
    assert result["digest"] != result["registryDigest"]


@pytest.mark.parametrize(("tag", "code"), [("v1@sha256:" + "0" * 64, 2), ("none", 10)])
def test_verify_refuses(at: tuple[str, str], name: str, dockseal: Dockseal, tag: str, code: int) -> None:
    dockseal("notary", "verify", *at, FIRST_USE, f"{name}:{tag}", code=code)


def test_a_tag_that_the_registry_has_lost(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    serve(double, repo_of(name, images, releases={"gone": images["v1"]}))
    dockseal("notary", "verify", "--server", double.url, FIRST_USE, f"{name}:gone", code=11)


def test_a_stale_cache_is_never_an_answer(
    at: tuple[str, str], name: str, images: dict[str, Meta], double: NotaryDouble, dockseal: Dockseal
) -> None:
    """docker went on with what it had, and a warning."""
    verify = ("notary", "verify", *at, f"{name}:v1")
    dockseal(*verify, FIRST_USE)
    dockseal(*verify)
    double.fault = lambda *_: Reply(503)
    assert "answered 503" in dockseal(*verify, code=3).err
    double.fault = lambda *_: Reply(404)
    assert "holds no trust data" in dockseal(*verify, code=14).err
    double.fault = None
    serve(double, repo_of(name, images, version=2))
    dockseal(*verify, code=14)
    serve(double, repo_of(name, images, expires={TIMESTAMP: NOW.replace(year=2020)}))
    dockseal(*verify, code=13)


def test_the_server_s_address(
    at: tuple[str, str], name: str, dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_SERVER", at[1])
    dockseal("notary", "verify", FIRST_USE, f"{name}:v1")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_SERVER", "http://notary.example")
    assert "expected https://HOST" in dockseal("notary", "verify", f"{name}:v1", code=2).err
    assert "is a folder" in dockseal("notary", "inspect", "oci:/nowhere", code=2).err


def test_docker_s_root_is_where_trust_starts(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, home: Path
) -> None:
    folder = home / ".docker" / "trust" / "tuf" / name / "metadata"
    folder.mkdir(parents=True)
    (folder / "root.json").write_bytes(double.files[name][ROOT])
    dockseal("notary", "verify", *at, f"{name}:v1")


def test_inspect_shows_roles_keys_and_tags(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    result = dockseal("notary", "inspect", *at, FIRST_USE, "-o", "json", name).json
    roles = {item["role"]: item for item in result["roles"]}
    assert list(roles) == ["root", "targets", "snapshot", "timestamp", "targets/releases", "targets/alice"]
    assert roles["targets/alice"]["keys"] == [canonical_id(key("alice").public_key())]
    assert roles["targets/alice"]["prefixes"] == [""]
    assert [(item["tag"], item["role"]) for item in result["tags"]] == [("v1", RELEASES), ("v2", TARGETS)]
    assert result["root"]["certificatesExpire"] == [root_certificate_expiry(name)]
    text = dockseal("notary", "inspect", *at, name)
    assert f"{name} at {at[1]}" in text.lines
    assert any(line.split()[:2] == ["v1", result["tags"][0]["digest"][7:19]] for line in text.lines)


def test_inspect_shows_what_does_not_count(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    serve(double, repo_of(name, images, expires={"targets/alice": NOW.replace(year=2020)}, top={}, releases={}))
    text = dockseal("notary", "inspect", "--server", double.url, FIRST_USE, name)
    assert "targets/alice.json expired 2020" in text.out
    assert "No tag is signed." in text.lines


def docker_folder(folder: Path, double: NotaryDouble, name: str, *keys: str) -> Path:
    """What docker keeps: role files, and private keys named by their ids."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    for role, data in double.files[name].items():
        path = folder / "tuf" / name / "metadata" / f"{role}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "private").mkdir()
    for label in keys:
        pem = key(label).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        lines = pem.splitlines()
        role = {"root": "root", "targets": "targets"}.get(label, label)
        text = "\n".join([lines[0], f"role: {role}", "", *lines[1:], ""])
        (folder / "private" / f"{canonical_id(key(label).public_key())}.key").write_text(text)
    return folder


def test_import_with_all_keys(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    folder = docker_folder(tmp_path / "trust", double, name, "root", "targets", "alice", "stranger")
    run = ("notary", "import", *at, FIRST_USE, "--keys", folder)
    shown = dockseal(*run, "--dry-run", name)
    assert "will be signed here" in shown.out
    assert "stranger" not in shown.out
    root, targets = (canonical_id(key(label).public_key())[:7] for label in ("root", "targets"))
    assert f"the root key stays ({root}, to be loaded); the targets key stays ({targets}, to be loaded)" in shown.out
    assert "at once" in shown.out
    dockseal("verify", f"{name}:v1", code=10)
    done = dockseal(*run, "-y", name)
    assert "Took over 2 tag(s) and 1 signer(s)" in done.out
    assert "Hint: targets signs v2, which goes before every signer" in done.err
    assert "This made the root of trust of" in done.err
    for tag, signer in (("v1", "alice"), ("v2", "targets")):
        assert dockseal("verify", "-o", "json", f"{name}:{tag}").json["signers"] == [signer]
    labels = {item["label"].split("-")[0] for item in dockseal("key", "list", "-o", "json").json}
    assert {"root", "targets", "alice"} <= labels
    nothing = dockseal(*run, "-y", name).out
    assert "Nothing to do" in nothing
    assert "root key stays" not in nothing
    again = dockseal(*run, "-o", "json", name).json
    assert again["result"] == "unchanged"
    assert {item["reason"] for item in again["tags"]} == {"signed here already"}
    assert {item["reason"] for item in again["signers"]} == {"a signer here already"}


def test_import_again_does_not_bring_a_removed_signer_back(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    folder = docker_folder(tmp_path / "trust", double, name, "root", "targets", "alice")
    run = ("notary", "import", *at, FIRST_USE, "--keys", folder, "-y", "-o", "json")
    dockseal(*run, name)
    dockseal("signer", "remove", "-y", "alice", name)
    again = dockseal(*run, name).json
    assert [item["reason"] for item in again["signers"]] == ["removed here; `dockseal signer add` takes it back"]


def test_import_without_keys_makes_new_ones_and_proposes_the_signers(
    at: tuple[str, str], name: str, dockseal: Dockseal
) -> None:
    run = ("notary", "import", *at, FIRST_USE, "-y", "-o", "json")
    done = dockseal(*run, name).json
    assert (done["result"], len(done["proposals"]), done["loaded"]) == ("imported", 1, [])
    assert [(item["signer"], item["keyHere"]) for item in done["signers"]] == [("alice", False)]
    for tag in ("v1", "v2"):
        assert dockseal("verify", "-o", "json", f"{name}:{tag}").json["signers"] == ["targets"]
    again = dockseal(*run, name).json
    assert again["result"] == "unchanged"
    assert again["signers"][0]["reason"] == "proposed here already"


def test_import_of_two_delegations_that_would_be_one_signer(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    def renamed(payload: Any) -> Any:
        more = [replace(payload.delegations[1], name=f"targets/{role}") for role in ("rel-ci", "rel_ci", "9x")]
        return replace(payload, delegations=(*payload.delegations, *more))

    serve(double, repo_of(name, images, payload={TARGETS: renamed}))
    plan = dockseal("notary", "import", "--server", double.url, "--dry-run", "-o", "json", name).json["signers"]
    assert [(item["delegation"], item["signer"]) for item in plan] == [
        ("targets/alice", "alice"),
        ("targets/rel-ci", "rel_ci"),
        ("targets/rel_ci", None),
        ("targets/9x", None),
    ]
    assert plan[2]["reason"] == "another delegation is called rel_ci here"
    assert "invalid signer name" in plan[3]["reason"]


def test_import_lists_delegations_that_can_be_no_signers(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    bob = plain("bob")
    role = Role((bob.key_id,))
    below = Delegation("targets/alice/bob", role, ("v",))
    nothing = Delegation("targets/nothing", role, ("*", "a/b"))

    def with_more(payload: Any) -> Any:
        return replace(payload, keys={**payload.keys, bob.key_id: bob}, delegations=(*payload.delegations, nothing))

    def with_child(payload: Any) -> Any:
        return replace(payload, keys={bob.key_id: bob}, delegations=(below,))

    serve(double, repo_of(name, images, payload={TARGETS: with_more, "targets/alice": with_child}))
    at = ("--server", double.url)
    plan = dockseal("notary", "import", *at, "--dry-run", "-o", "json", name).json["signers"]
    assert {item["delegation"]: item["reason"] for item in plan} == {
        "targets/alice": None,
        "targets/alice/bob": "a delegation of targets/alice: signers are delegated by targets alone",
        "targets/nothing": "it may sign no tag",
    }
    shown = dockseal("notary", "import", *at, "--dry-run", name).out
    assert "it may sign no tag" in shown


def test_import_of_a_repository_in_which_nothing_is_signed(double: NotaryDouble, name: str, dockseal: Dockseal) -> None:
    serve(double, Repo(gun=name, delegations=False))
    done = dockseal("notary", "import", "--server", double.url, FIRST_USE, "-y", name)
    assert "No tag is signed there." in done.out
    assert "Nothing to do" in done.out


def test_import_says_in_words_who_comes_later(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    done = dockseal("notary", "import", *at, FIRST_USE, "-y", name)
    assert "the root key is not here: a new one is made" in done.out
    assert "with its first signature" in done.out
    assert "it waits for" in done.out
    assert f"dockseal approve {name}" in done.err


def test_import_leaves_out_what_cannot_be_kept(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    gone = Meta(9, {"sha256": bytes(32)})
    wrong_size = Meta(images["v1"].length + 1, images["v1"].hashes)
    releases = {"v1": images["v1"], "gone": gone, "size": wrong_size, "bad tag": images["v1"], "_trust": images["v1"]}
    releases[f"sha256-{'0' * 64}"] = images["v1"]
    serve(double, repo_of(name, images, releases=releases, paths=("v", "gone", "size", "bad", "_", "sha")))
    result = dockseal("notary", "import", "--server", double.url, "--dry-run", "-o", "json", name).json
    reasons = {item["tag"]: item["reason"] for item in result["tags"]}
    assert reasons["v1"] is None
    assert reasons["gone"] == "the registry does not have its image any more"
    assert f"{images['v1'].length + 1} are signed" in reasons["size"]
    assert "bad tag" in reasons["bad tag"]
    assert "_trust" in reasons["_trust"]
    assert reasons[f"sha256-{'0' * 64}"] is not None
    assert result["signers"][0]["tags"] == ["v*", "gone*", "size*", "bad*", "_*", "sha*"]


def test_import_does_not_overwrite_what_was_signed_here_since(
    at: tuple[str, str], name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    dockseal("tag", f"{name}:v2", f"{name}:v1")
    dockseal("push", f"{name}:v1")
    done = dockseal("notary", "import", *at, FIRST_USE, "--update", "-y", "-o", "json", name).json
    reasons = {item["tag"]: item["reason"] for item in done["tags"]}
    assert reasons["v1"].endswith("here, and the registry's tag does not agree with this one")
    assert reasons["v2"] is None
    assert dockseal("verify", "-o", "json", f"{name}:v1").json["digest"] == f"sha256:{images['v2'].sha256.hex()}"
    dockseal("verify", f"{name}:v2")


@pytest.fixture(params=[(), ("alice",)], ids=["no key", "alice's key"])
def trust_folder(
    request: pytest.FixtureRequest, double: NotaryDouble, name: str, images: dict[str, Meta], tmp_path: Path
) -> Path:
    serve(double, repo_of(name, images))
    return docker_folder(tmp_path / "trust", double, name, *request.param)


def test_import_again_takes_what_docker_has_pushed_since_where_it_is_asked_for(
    trust_folder: Path, double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal
) -> None:
    run = ("notary", "import", "--server", double.url, FIRST_USE, "--keys", trust_folder, "-y", "-o", "json")
    dockseal(*run, name)
    signers = dockseal("verify", "-o", "json", f"{name}:v1").json["signers"]
    dockseal("tag", f"{name}:v2", f"{name}:v1")
    dockseal("push", "--disable-content-trust", f"{name}:v1")
    moved = {"releases": {"v1": images["v2"]}, "alice": {"v1": images["v2"]}}
    serve(double, repo_of(name, images, version=4, **moved))
    left = dockseal(*run, name).json
    assert left["result"] == "unchanged"
    assert "--update takes this one" in left["tags"][0]["reason"]
    dockseal("verify", f"{name}:v1", code=12)
    assert dockseal(*run, "--update", name).json["result"] == "imported"
    now = dockseal("verify", "-o", "json", f"{name}:v1").json
    assert (now["digest"], now["signers"]) == (f"sha256:{images['v2'].sha256.hex()}", signers)
    assert dockseal(*run, "--update", name).json["result"] == "unchanged"


def test_import_again_does_not_bring_a_revoked_tag_back(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    run = ("notary", "import", *at, FIRST_USE, "-y", "-o", "json")
    dockseal(*run, name)
    dockseal("revoke", "-y", f"{name}:v2")
    again = dockseal(*run, name).json
    assert again["result"] == "unchanged"
    (left,) = [tag["reason"] for tag in again["tags"] if tag["tag"] == "v2"]
    assert left == "is not signed here: withdrawn here, or new there; --update signs it"
    dockseal("verify", f"{name}:v2", code=10)
    assert dockseal(*run, "--update", name).json["result"] == "imported"
    dockseal("verify", f"{name}:v2")


def test_import_can_be_declined(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    with Terminal("notary", "import", *at, name) as terminal:
        terminal.expect("Take it over? [y/N]")
        assert f"no root of {name} was known here; it offers: version 1" in " ".join(terminal.shown.split())
        terminal.type("n\n")
        assert terminal.finish() == 1
    dockseal("notary", "verify", *at, f"{name}:v1", code=16)
    dockseal("verify", f"{name}:v1", code=10)


def test_import_off_a_terminal_needs_yes_and_a_root(at: tuple[str, str], name: str, dockseal: Dockseal) -> None:
    dockseal("notary", "import", *at, "-y", name, code=16)
    assert "pass -y" in dockseal("notary", "import", *at, FIRST_USE, name, code=2).err


def test_import_from_docker_s_folder_when_the_server_is_gone(
    double: NotaryDouble, name: str, images: dict[str, Meta], dockseal: Dockseal, tmp_path: Path
) -> None:
    serve(double, repo_of(name, images, expires={TIMESTAMP: NOW.replace(year=2020)}))
    folder = docker_folder(tmp_path / "trust", double, name)
    unknown = dockseal("notary", "import", "--from", folder, "-y", "--allow-expired", name, code=16)
    assert "no root of" in unknown.err
    run = ("notary", "import", "--from", folder, "-y", FIRST_USE)
    assert "timestamp.json expired 2020" in dockseal(*run, name, code=13).err
    done = dockseal(*run, "--allow-expired", name)
    assert "Took over 2 tag(s)" in done.out
    dockseal("verify", f"{name}:v1")


def test_import_options_that_do_not_go_together(name: str, dockseal: Dockseal) -> None:
    dockseal("notary", "import", "--server", "https://x", "--from", "/x", name, code=2)
    dockseal("notary", "import", "--allow-expired", name, code=2)
    dockseal("notary", "publish", "--prune", f"{name}:v1", code=2)
    dockseal("notary", "publish", f"{name}@sha256:{'0' * 64}", code=2)
    dockseal("push", "--also-notary", "https://x", "--disable-content-trust", f"{name}:v1", code=2)
    folder = ("push", "--also-notary", "https://x", "--as", name, "oci:/nowhere:v1")
    assert "is a folder" in dockseal(*folder, code=2).err


def test_a_wrong_passphrase_takes_nothing_over(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    folder = docker_folder(tmp_path / "trust", double, name, "root")
    path = next((folder / "private").glob("*.key"))
    path.write_text(path.read_text().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
    refused = dockseal("notary", "import", *at, FIRST_USE, "--keys", folder, "-y", name, code=4)
    assert f"Loading {path}" in refused.err
    dockseal("verify", f"{name}:v1", code=10)


def test_keys_alone_can_come_later(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    dockseal("notary", "import", *at, FIRST_USE, "-y", name)
    folder = docker_folder(tmp_path / "trust", double, name, "alice")
    done = dockseal("notary", "import", *at, "--keys", folder, "-y", name)
    assert "Loaded the key alice-" in done.out
    assert "Took over" not in done.out


@pytest.fixture
def pushed(name: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path) -> str:
    dockseal("build", "-t", f"{name}:v1", rootfs)
    said = dockseal("push", "--also-notary", double.url, f"{name}:v1")
    assert f"Successfully signed {name}:v1 at {double.url}" in said.out
    assert "This began a Notary repository" in said.err
    return name


def test_publish_signs_there_what_is_signed_here(pushed: str, double: NotaryDouble, dockseal: Dockseal) -> None:
    at = ("--server", double.url)
    dockseal("sign", f"{pushed}:v1", "--tag", "v2")
    before = dict(double.files)
    dry = dockseal("notary", "publish", *at, "--dry-run", pushed)
    assert f"Would sign at {double.url}: v1, v2" in dry.lines
    assert double.files == before
    done = dockseal("notary", "publish", *at, "-o", "json", pushed).json
    assert (done["result"], done["signed"], done["initialised"]) == ("published", ["v1", "v2"], False)
    assert f"Already signed {pushed}:v2" in dockseal("notary", "publish", *at, f"{pushed}:v2").out
    assert "is not signed" in dockseal("notary", "publish", *at, f"{pushed}:v9", code=10).err


def test_publish_prune_withdraws_what_is_not_signed_here(pushed: str, double: NotaryDouble, dockseal: Dockseal) -> None:
    at = ("--server", double.url)
    dockseal("sign", f"{pushed}:v1", "--tag", "v2")
    dockseal("notary", "publish", *at, pushed)
    dockseal("revoke", "-y", f"{pushed}:v1")
    assert dockseal("notary", "publish", *at, "-o", "json", pushed).json["result"] == "unchanged"
    dry = dockseal("notary", "publish", *at, "--prune", "--dry-run", "-o", "json", pushed).json
    assert (dry["result"], dry["withdrawn"]) == ("dry-run", ["v1"])
    assert f"Withdrawn {pushed}:v1 at {double.url}" in dockseal("notary", "publish", *at, "--prune", pushed).out
    tags = dockseal("notary", "inspect", *at, "-o", "json", pushed).json["tags"]
    assert [item["tag"] for item in tags] == ["v2"]


def test_publish_prune_begins_a_repository_too(
    name: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path
) -> None:
    dockseal("build", "-t", f"{name}:v1", rootfs)
    dockseal("push", f"{name}:v1")
    done = dockseal("notary", "publish", "--server", double.url, "--prune", "-o", "json", name).json
    assert (done["initialised"], done["signed"], done["withdrawn"]) == (True, ["v1"], [])


def test_a_server_that_is_away_is_noticed_before_anything_is_sent(
    name: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path
) -> None:
    dockseal("build", "-t", f"{name}:v1", rootfs)
    double.fault = lambda *_: Reply(503)
    refused = dockseal("push", "--also-notary", double.url, f"{name}:v1", code=3)
    assert "The push refers to" not in refused.out
    dockseal("verify", f"{name}:v1", code=10)


def test_what_docker_knows_is_not_begun_anew_where_the_server_has_lost_it(
    name: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path, home: Path
) -> None:
    """Docker's readers would refuse another root."""
    folder = home / ".docker" / "trust" / "tuf" / name / "metadata"
    folder.mkdir(parents=True)
    (folder / "root.json").write_bytes(Repo(gun=name).build().files[ROOT])
    dockseal("build", "-t", f"{name}:v1", rootfs)
    refused = dockseal("push", "--also-notary", double.url, f"{name}:v1", code=14)
    assert "knows a root of it" in refused.err
    assert double.files == {}
    dockseal("verify", f"{name}:v1", code=10)


def test_a_server_that_goes_away_in_between(
    pushed: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path
) -> None:
    """Here all is done; there the old signature stands, and one command finishes it."""
    dockseal("build", "-t", f"{pushed}:v1", "--label", "a=b", rootfs)
    double.fault = lambda method, _: Reply(500) if method == "POST" else None
    refused = dockseal("push", "--also-notary", double.url, f"{pushed}:v1", code=3)
    assert "Successfully signed" in refused.out
    dockseal("verify", f"{pushed}:v1")
    again = refused.err[refused.err.index("dockseal notary publish") :].splitlines()[0]
    double.fault = None
    dockseal("notary", "verify", "--server", double.url, f"{pushed}:v1", code=12)
    dockseal(*again.split()[1:])
    dockseal("notary", "verify", "--server", double.url, f"{pushed}:v1")


def test_revoke_withdraws_there_too(pushed: str, double: NotaryDouble, dockseal: Dockseal) -> None:
    dockseal("revoke", "-y", "--also-notary", double.url, f"{pushed}:v1")
    dockseal("notary", "verify", "--server", double.url, f"{pushed}:v1", code=10)


def test_revoke_is_refused_where_nothing_is_signed_there(
    name: str, double: NotaryDouble, dockseal: Dockseal, rootfs: Path
) -> None:
    dockseal("build", "-t", f"{name}:v1", rootfs)
    dockseal("push", f"{name}:v1")
    assert "nothing to withdraw" in dockseal("revoke", "-y", "--also-notary", double.url, f"{name}:v1", code=10).err
    dockseal("verify", f"{name}:v1")


def test_a_revocation_that_fails_there_says_how_to_finish_it(
    pushed: str, double: NotaryDouble, dockseal: Dockseal
) -> None:
    double.fault = lambda method, _: Reply(500) if method == "POST" else None
    refused = dockseal("revoke", "-y", "--also-notary", double.url, f"{pushed}:v1", code=3)
    assert f"dockseal notary publish --server {double.url} --prune {pushed}" in refused.err
    double.fault = None
    dockseal("notary", "publish", "--server", double.url, "--prune", pushed)
    dockseal("notary", "verify", "--server", double.url, f"{pushed}:v1", code=10)


def test_our_own_root_is_known_where_its_key_is(
    pushed: str, double: NotaryDouble, dockseal: Dockseal, home: Path
) -> None:
    for path in (home / "dockseal" / "cache" / "notary").glob("*.json"):
        path.unlink()
    dockseal("notary", "verify", "--server", double.url, f"{pushed}:v1")


def test_the_keys_made_for_it_are_kept_like_any_other(pushed: str, dockseal: Dockseal) -> None:
    found = {item["label"]: item for item in dockseal("key", "list", "-o", "json").json}
    assert found["notary-root"]["purpose"] == "root"
    assert any(label.endswith(".notary") for label in found)
    assert json.dumps(found).count(PASSPHRASE) == 0


def test_keys_are_exported_for_docker_with_its_labels(
    at: tuple[str, str], name: str, double: NotaryDouble, dockseal: Dockseal, tmp_path: Path
) -> None:
    there = docker_folder(tmp_path / "trust", double, name, "root", "targets", "alice")
    dockseal("notary", "import", *at, FIRST_USE, "--keys", there, "-y", name)
    said = dockseal("notary", "export-keys", *at, "--to", tmp_path / "other", name)
    assert len([line for line in said.lines if line.startswith("Wrote the key of")]) == 3
    labels = {}
    for path in (tmp_path / "other" / "private").glob("*.key"):
        data = path.read_bytes()
        private = read_private(data, "it", PASSPHRASE.encode)
        assert private is not None
        assert path.stem == canonical_id(private.public_key())
        assert path.stat().st_mode & 0o777 == 0o600
        found = read_labels(data)
        labels[found.role] = found.gun
    assert labels == {"root": None, "targets": name, "alice": None}
    again = dockseal("notary", "export-keys", *at, "--to", tmp_path / "other", name)
    assert again.out.startswith("Nothing was written")
