"""The real programs that tests talk to: which there are, where they come from, what they say they are.

Standard library only: ``make test`` runs this file, before there is a virtual environment, with
``--install``. As root on Debian it installs what is missing; elsewhere it says which tests will be
skipped. Tests ask for a program with ``@pytest.mark.peer("skopeo")``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TUF_JS = Path(__file__).parent / "tuf-js"
VERSION_TIMEOUT_S = 20
_SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Program:
    """A peer. ``package`` is Debian's; ``version`` the arguments that make it name its version, if it can."""

    name: str
    package: str
    version: tuple[str, ...] = ("--version",)
    needs_root: bool = False

    def path(self) -> str | None:
        """Where it is, or None."""
        return shutil.which(self.name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATHS}")

    def reason_absent(self) -> str | None:
        """Why tests cannot use it, or None where they can."""
        if self.path() is None:
            return f"{self.name} is not installed (Debian package {self.package})"
        if self.needs_root and os.geteuid() != 0:
            return f"{self.name} needs root"
        return None

    def version_line(self) -> str:
        """What it says it is, in one line."""
        path = self.path()
        if path is None or not self.version:
            return "absent" if path is None else "present"
        done = subprocess.run(
            [path, *self.version], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
        return ((done.stdout + done.stderr).strip().splitlines() or ["no version told"])[0]


@dataclass(frozen=True, slots=True)
class NodeModule(Program):
    """tuf-js, installed by npm beside its lock file; runs with Debian's node 18."""

    def path(self) -> str | None:
        folder = TUF_JS / "node_modules" / self.name
        return str(folder) if (folder / "package.json").is_file() and shutil.which("node") else None

    def version_line(self) -> str:
        import json

        path = self.path()
        return "absent" if path is None else str(json.loads(Path(path, "package.json").read_bytes())["version"])


PROGRAMS = (
    Program("docker-registry", "docker-registry"),
    Program("dockerd", "docker.io", needs_root=True),
    Program("docker", "docker.io"),
    Program("notary-server", "notary", version=()),
    Program("notary", "notary", version=()),
    Program("skopeo", "skopeo"),
    Program("umoci", "umoci"),
    Program("htpasswd", "apache2-utils", version=()),
    Program("openssl", "openssl", version=("version",)),
    Program("ssh-keygen", "openssh-client", version=()),
    Program("gpg", "gnupg"),
    Program("softhsm2-util", "softhsm2"),
    Program("pkcs11-tool", "opensc", version=()),
    Program("node", "nodejs"),
    Program("npm", "npm"),
    NodeModule("tuf-js", "npm"),
)
BY_NAME = {program.name: program for program in PROGRAMS}


@cache
def reason_absent(name: str) -> str | None:
    """Why tests cannot use the program of this name, or None where they can."""
    return BY_NAME[name].reason_absent()


def version_lines() -> list[str]:
    """One line per program, for the head of a test run."""
    return [f"peer {program.name}: {program.version_line()}" for program in PROGRAMS]


def install() -> None:
    """Install what is missing, where this is Debian and we are root; tell what stays missing."""
    packages = sorted({p.package for p in PROGRAMS if p.path() is None and not isinstance(p, NodeModule)})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing the peers that are missing: {' '.join(packages)}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    _install_tuf_js()
    for program in PROGRAMS:
        if (reason := program.reason_absent()) is not None:
            print(f"tests that need {program.name} will be skipped: {reason}")


def _install_tuf_js() -> None:
    installed, wanted = TUF_JS / "node_modules" / ".package-lock.json", TUF_JS / "package-lock.json"
    if shutil.which("npm") and not (installed.is_file() and installed.stat().st_mtime >= wanted.stat().st_mtime):
        options = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "ci", *options], cwd=TUF_JS, check=False)


if __name__ == "__main__":
    if sys.argv[1:] == ["--install"]:
        install()
    else:
        print("\n".join(version_lines()))
