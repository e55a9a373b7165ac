"""What tests of the command line share: keys that were made once, images, signed folders to copy."""

from __future__ import annotations

import contextlib
import io
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cli.main import run
from tests.cli.program import PASSPHRASE, Dockseal
from trust.keys import container
from trust.oci.retry import RetryPolicy
from trust.oci.transport import Transport

if TYPE_CHECKING:
    from pathlib import Path

NAME = "registry.example/team/app"
"""What the signed folder's trust data is for."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A folder with a signed image ``v1``, and its name for the program."""

    folder: Path
    home: Path
    root: str

    @property
    def name(self) -> str:
        return f"oci:{self.folder}"


@pytest.fixture
def dockseal(capsys: pytest.CaptureFixture[str]) -> Dockseal:
    return Dockseal(capsys)


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bcrypt round instead of 16, in this process: these tests are not about what a key costs."""
    monkeypatch.setattr(container, "KDF_ROUNDS", 1)
    monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, without the long waits between them."""
    defaults = Transport.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "policy", RetryPolicy(first_seconds=0.001))


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKSEAL_PASSPHRASE", PASSPHRASE)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to make images of."""
    folder = tmp_path_factory.mktemp("rootfs")
    (folder / "bin").mkdir()
    (folder / "bin" / "app").write_text("#!/bin/sh\necho hello\n")
    return folder


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Path:
    """``home``: keys and a local image; ``store``: a folder with that image, signed, ``v1`` of NAME."""
    folder = tmp_path_factory.mktemp("made-once")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(container, "KDF_ROUNDS", 1)
        patch.setattr(container, "MIN_KDF_ROUNDS", 1)
        patch.setenv("DOCKSEAL_HOME", str(folder / "home"))
        patch.setenv("DOCKSEAL_PASSPHRASE", PASSPHRASE)
        patch.setenv("DOCKER_HOST", f"unix://{folder}/no-engine")
        for command in (
            ["key", "generate", "root", "--root-key"],
            ["build", "-t", f"{NAME}:v1", str(rootfs)],
            ["push", "--as", NAME, f"oci:{folder}/store:v1"],
        ):
            assert run(command) == 0
    return folder


@pytest.fixture
def keys(_made_once: Path, home: Path) -> Path:
    """This test's DOCKSEAL_HOME, with the root key alone."""
    (home / "dockseal" / "keys").mkdir(mode=0o700, parents=True)
    for name in ("root.key", "root.json"):
        shutil.copy2(_made_once / "home" / "keys" / name, home / "dockseal" / "keys" / name)
    return home / "dockseal"


@pytest.fixture
def signed(_made_once: Path, home: Path, tmp_path: Path) -> Signed:
    """A signed folder; this test's DOCKSEAL_HOME has its keys, its pin and its image."""
    shutil.copytree(_made_once / "home", home / "dockseal")
    shutil.copytree(_made_once / "store", tmp_path / "store")
    lines = (home / "dockseal" / "config.toml").read_text().splitlines()
    root = next(line.split('"')[1] for line in lines if line.startswith("root = "))
    return Signed(tmp_path / "store", home / "dockseal", root)


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Docker engine answers, whatever runs on this machine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
