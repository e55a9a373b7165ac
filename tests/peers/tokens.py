"""A PKCS#11 token in software, and GnuPG with a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN = "123456"
_MODULES = ("softhsm/libsofthsm2.so", "*/softhsm/libsofthsm2.so")


def run(*arguments: str | Path) -> str:
    done = subprocess.run([str(each) for each in arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Token:
    """A SoftHSM token called ``release``. ``environment`` makes SoftHSM and securesystemslib find it."""

    folder: Path
    module: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Token:
        module = next(path for pattern in _MODULES for path in Path("/usr/lib").glob(pattern))
        (folder / "tokens").mkdir(parents=True)
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        token = cls(folder, module, {"SOFTHSM2_CONF": str(config), "PYKCS11LIB": str(module)})
        token._run(
            "softhsm2-util", "--init-token", "--free", "--label", "release", "--pin", PIN, "--so-pin", "12345678"
        )
        return token

    def make_key(self, number: int, curve: str) -> str:
        """Make a key pair; its URI."""
        self._tool("--keypairgen", "--key-type", f"EC:{curve}", "--id", f"{number:02x}", "--label", f"key{number}")
        return f"hsm:{number}"

    def delete_key(self, number: int) -> None:
        for kind in ("privkey", "pubkey"):
            self._tool("--delete-object", "--type", kind, "--id", f"{number:02x}")

    def _tool(self, *arguments: str) -> None:
        common = ("--module", str(self.module), "--token-label", "release", "--login", "--pin", PIN)
        self._run("pkcs11-tool", *common, *arguments)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(arguments, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class GnuPG:
    """A folder of GnuPG's with secret keys that need no passphrase."""

    homedir: Path

    def make_key(self, kind: str, name: str) -> str:
        """Make a signing key; its fingerprint."""
        address = f"{name}@example.org"
        self("--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key", address, kind, "sign", "never")
        return self.fingerprints(address)[0]

    def add_subkey(self, fingerprint: str, kind: str = "rsa2048") -> str:
        """Add a subkey that signs; its fingerprint."""
        self("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", fingerprint, kind, "sign", "never")
        return self.fingerprints(fingerprint)[-1]

    def fingerprints(self, name: str) -> list[str]:
        listed = self("--with-colons", "--list-secret-keys", name)
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]

    def uri(self, fingerprint: str) -> str:
        return f"gnupg:{fingerprint}?homedir={self.homedir}"

    def __call__(self, *arguments: str) -> str:
        return run("gpg", "--homedir", self.homedir, "--batch", "--quiet", *arguments)


@pytest.fixture(scope="session")
def _token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """One for the session (a worker): a PKCS#11 library is loaded once in a process, and its configuration with it."""
    return Token.make(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(_token: Token, monkeypatch: pytest.MonkeyPatch) -> Token:
    for name, value in _token.environment.items():
        monkeypatch.setenv(name, value)
    return _token


@pytest.fixture(scope="session")
def gnupg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GnuPG]:
    homedir = tmp_path_factory.mktemp("gpg")
    homedir.chmod(0o700)
    try:
        yield GnuPG(homedir)
    finally:
        run("gpgconf", "--homedir", homedir, "--kill", "gpg-agent")
        shutil.rmtree(homedir, ignore_errors=True)
