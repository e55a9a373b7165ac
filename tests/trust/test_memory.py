from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.trust.builders import REPOSITORY, Delegate, a_state, a_target, a_team, checked, verified
from tests.trust.mutations import Mutation, bent_bytes, mutations
from trust.digest import Digest
from trust.errors import RollbackError, UsageError
from trust.memory import Memory, Seen, known_repositories

if TYPE_CHECKING:
    from pathlib import Path

ANCHOR = "sha256:anchor"
TEAM = a_team()
FIRST = a_state(team=TEAM)
SECOND = TEAM.put(FIRST, a_target("v1", b"2"))


def memory(tmp_path: Path, repository: str = REPOSITORY) -> Memory:
    return Memory(tmp_path, repository)


def seen_file(tmp_path: Path) -> Path:
    (path,) = tmp_path.glob("trust/*/seen.json")
    return path


def test_nothing_was_seen_at_first(tmp_path: Path) -> None:
    assert memory(tmp_path).seen() is None
    assert memory(tmp_path).file(Digest.of(FIRST.root)) is None
    memory(tmp_path).check(verified(FIRST), ANCHOR)
    assert list(tmp_path.iterdir()) == []


def test_what_was_seen_is_kept_by_repository(tmp_path: Path) -> None:
    found = verified(FIRST)
    memory(tmp_path).keep(found, ANCHOR)
    seen = memory(tmp_path).seen()
    assert seen is not None
    assert seen == Seen(ANCHOR, found.identity, seen.content, Digest.of(FIRST.root), found.versions)
    assert all(memory(tmp_path).file(Digest.of(data)) == data for data in FIRST.files.values())
    assert memory(tmp_path, "localhost:5000/other").seen() is None
    assert seen_file(tmp_path).parent.name == "localhost%3A5000%2Fapp"


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    folder = seen_file(tmp_path).parent
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "files")} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_only_the_files_of_the_last_state_are_kept(tmp_path: Path) -> None:
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    files = seen_file(tmp_path).parent / "files"
    (files / "README").write_text("not ours")
    memory(tmp_path).keep(verified(SECOND), ANCHOR)
    kept = {path.name for path in files.iterdir()}
    assert kept == {"README", *(Digest.of(data).hex for data in SECOND.files.values())}


def test_a_damaged_file_in_the_cache_is_not_used_and_is_written_anew(tmp_path: Path) -> None:
    digest = Digest.of(FIRST.root)
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    (seen_file(tmp_path).parent / "files" / digest.hex).write_bytes(b"damaged")
    assert memory(tmp_path).file(digest) is None
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    assert memory(tmp_path).file(digest) == FIRST.root


def test_the_same_state_may_be_seen_again(tmp_path: Path) -> None:
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    memory(tmp_path).keep(verified(SECOND), ANCHOR)
    seen = memory(tmp_path).seen()
    assert seen is not None
    assert seen.versions["timestamp"] == 2


def test_versions_never_fall(tmp_path: Path) -> None:
    """Also where another process has seen more between check and keep."""
    memory(tmp_path).keep(verified(SECOND), ANCHOR)
    with pytest.raises(RollbackError, match="was rolled back: "):
        memory(tmp_path).keep(verified(FIRST), ANCHOR)
    seen = memory(tmp_path).seen()
    assert seen is not None
    assert seen.identity == verified(SECOND).identity


def test_a_role_that_was_removed_keeps_its_version(tmp_path: Path) -> None:
    team = a_team()
    state = a_state(team=team)
    with_role = team.with_delegates(state, Delegate("release", version=5))
    memory(tmp_path).keep(checked(with_role), ANCHOR)
    without = team.remake(
        state, {role: lambda body: body.update(version=3) for role in ("targets", "snapshot")}, bump=True
    )
    without = team.remake(without, {"timestamp": lambda body: body.update(version=3)})
    with pytest.raises(RollbackError, match="release has vanished from the trust data: version 5 was seen before"):
        memory(tmp_path).check(verified(without), ANCHOR)


@pytest.mark.parametrize("kept", [True, False], ids=["with its files", "with its files lost"])
def test_another_pin_of_the_same_chain_forgets_nothing(tmp_path: Path, kept: bool) -> None:
    team = a_team()
    first = a_state(team=team)
    memory(tmp_path).keep(verified(team.put(first, a_target("v2"))), ANCHOR)
    if not kept:
        for path in tmp_path.rglob("files/*"):
            path.unlink()
    with pytest.raises(RollbackError):
        memory(tmp_path).check(verified(first), "another anchor")


def test_another_pin_of_another_chain_begins_anew(tmp_path: Path) -> None:
    memory(tmp_path).keep(verified(SECOND), ANCHOR)
    fresh = verified(a_state())
    with pytest.raises(RollbackError):
        memory(tmp_path).check(fresh, ANCHOR)
    memory(tmp_path).keep(fresh, "another anchor")
    seen = memory(tmp_path).seen()
    assert seen is not None
    assert (seen.anchor, seen.identity) == ("another anchor", fresh.identity)


def test_a_long_name_has_a_folder_too(tmp_path: Path) -> None:
    long = "/very/long/folder" * 40
    memory(tmp_path, long).keep(verified(FIRST), ANCHOR)
    assert memory(tmp_path, long).seen() is not None
    assert memory(tmp_path, long + "x").seen() is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema":2,"anchor":"a","identity":"i","root":"sha256:%s","versions":{"root":1,"timestamp":1}}'
        % (b"0" * 64),
        b'{"schema":1,"anchor":"a","identity":"i","root":"sha256:00","versions":{"root":1,"timestamp":1}}',
        b'{"schema":1,"anchor":"a","identity":"i","root":"sha256:%s","versions":{"root":1}}' % (b"0" * 64),
        b'{"schema":1,"anchor":"a","identity":"i","root":"sha256:%s","versions":{"root":1,"timestamp":true}}'
        % (b"0" * 64),
        b'{"schema":1,"anchor":"a","identity":"i","root":"sha256:%s","versions":[]}' % (b"0" * 64),
    ],
)
def test_a_damaged_memory_is_not_forgotten_in_silence(tmp_path: Path, data: bytes) -> None:
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    seen_file(tmp_path).write_bytes(data)
    with pytest.raises(UsageError, match=f"the memory of {REPOSITORY} cannot be read") as caught:
        memory(tmp_path).check(verified(FIRST), ANCHOR)
    assert "forgets what was seen" in str(caught.value.hint)


def test_a_memory_that_cannot_be_read_is_not_forgotten_in_silence(tmp_path: Path) -> None:
    memory(tmp_path).keep(verified(FIRST), ANCHOR)
    path = seen_file(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        memory(tmp_path).seen()


HONEST = json.dumps(
    {
        "schema": 1,
        "repository": REPOSITORY,
        "anchor": ANCHOR,
        "identity": "0" * 64,
        "root": f"sha256:{'0' * 64}",
        "versions": {"root": 1, "timestamp": 9, "targets": 2},
    }
).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bent_bytes(HONEST))
def test_fuzz_only_our_errors_leave_a_memory_of_bent_bytes(tmp_path: Path, data: bytes) -> None:
    _look(tmp_path, data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations())
def test_fuzz_only_our_errors_leave_a_memory_of_bent_json(tmp_path: Path, mutate: Mutation) -> None:
    body = json.loads(HONEST)
    mutate(body)
    _look(tmp_path, json.dumps(body).encode())


def _look(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "trust" / "localhost%3A5000%2Fapp"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seen.json").write_bytes(data)
    with suppress(UsageError, RollbackError):
        memory(tmp_path).check(verified(FIRST), ANCHOR)


def test_the_repositories_that_were_seen(tmp_path: Path) -> None:
    assert known_repositories(tmp_path) == ()
    for repository in (REPOSITORY, "/very/long/folder" * 40):
        memory(tmp_path, repository).keep(verified(FIRST), ANCHOR)
    damaged = tmp_path / "trust" / "x" / "seen.json"
    damaged.parent.mkdir()
    damaged.write_text("x")
    assert known_repositories(tmp_path) == tuple(sorted([REPOSITORY, "/very/long/folder" * 40]))
