"""A TUF client in another language verifies our role files, exported to a folder and served over HTTP."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner

from trust.client import verify_state
from trust.digest import Digest
from trust.tuf.draft import Change, first_state, next_state
from trust.tuf.roles import TOP_LEVEL_ROLES, RoleKeys, Target
from trust.tuf.state import State, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Role

pytestmark = pytest.mark.peer("node", "tuf-js")

VERIFY = Path(__file__).parent / "tuf-js" / "verify.mjs"
NOW = datetime.now(UTC).replace(microsecond=0)
SIGNERS = {
    "root": CryptoSigner.generate_ed25519(),
    "targets": CryptoSigner.generate_ecdsa(),
    "snapshot": CryptoSigner.generate_ed25519(),
    "timestamp": CryptoSigner.generate_ed25519(),
}
TARGET = Target("v1", Digest.of(b"manifest"), 8, "application/vnd.oci.image.manifest.v1+json", NOW, {"team": "ünï"})


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing on stderr."""


def signing(role_name: str, role: Role) -> Sequence[Signer]:
    assert role.threshold == 1
    return [SIGNERS[role_name]]


def first(now: datetime = NOW) -> State:
    keys = {name: RoleKeys((SIGNERS[name].public_key,)) for name in TOP_LEVEL_ROLES}
    return first_state(Terms.make("localhost:5000/app", {}), keys, [TARGET], signing, now)


@pytest.fixture
def verify(tmp_path: Path) -> Iterator[Callable[[State, str], subprocess.CompletedProcess[str]]]:
    """Exports a state and lets tuf-js look a target up, knowing root 1 only."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

        def run(state: State, target: str) -> subprocess.CompletedProcess[str]:
            for name, data in state.files.items():
                (tmp_path / name).write_bytes(data)
            command = [
                "node",
                str(VERIFY),
                f"http://127.0.0.1:{server.server_port}",
                str(tmp_path / "1.root.json"),
                target,
            ]
            scratch = tmp_path / "client"
            scratch.mkdir(exist_ok=True)
            environment = {**os.environ, "TMPDIR": str(scratch)}  # where it keeps what it trusts
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        yield run
        server.shutdown()


def test_the_first_state(verify: Callable[[State, str], subprocess.CompletedProcess[str]]) -> None:
    done = verify(first(), "v1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "length": 8,
        "hashes": {"sha256": TARGET.digest.hex},
        "custom": {
            "mediaType": TARGET.media_type,
            "signedAt": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
            "annotations": {"team": "ünï"},
        },
    }


def test_a_state_with_a_second_root_and_a_moved_tag(
    verify: Callable[[State, str], subprocess.CompletedProcess[str]],
) -> None:
    state = first()
    moved = Target("v1", Digest.of(b"other"), 5, TARGET.media_type, NOW + timedelta(seconds=1))
    change = Change(put={"targets": (moved,)}, renew=frozenset({"root"}))
    done = verify(next_state(verify_state(state, state.root), change, signing=signing, now=NOW), "v1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hashes"] == {"sha256": moved.digest.hex}


@pytest.mark.parametrize(
    ("target", "days_ago", "reason"),
    [("v2", 0, "v2 is no signed target"), ("v1", 20, "timestamp.json is expired")],
    ids=["a tag that is not signed", "an expired timestamp"],
)
def test_is_refused(
    verify: Callable[[State, str], subprocess.CompletedProcess[str]], target: str, days_ago: int, reason: str
) -> None:
    done = verify(first(NOW - timedelta(days=days_ago)), target)
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_a_changed_byte_is_refused(verify: Callable[[State, str], subprocess.CompletedProcess[str]]) -> None:
    state = first()
    files = dict(state.files)
    files["1.targets.json"] = files["1.targets.json"].replace(b'"v1"', b'"v2"')
    done = verify(State.of(files.items()), "v2")
    assert done.returncode == 1
    assert "1.targets.json" in done.stderr or "hash" in done.stderr.lower()
