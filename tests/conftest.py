"""What holds for every test.

- The network ends at loopback: pytest-socket guards this process (see pyproject.toml), and a proxy
  that is not there keeps child processes in.
- Home, docker's and dockseal's folders are empty and the test's own.
- ``@pytest.mark.peer("skopeo")`` skips with a reason where a real peer is absent. With ``CI`` set
  a skipped test, for whatever reason, fails the run.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.peers import programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["tests.peers.fixtures", "tests.peers.engine", "tests.peers.notary", "tests.peers.tokens"]

IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
NOWHERE = "http://127.0.0.1:9"
LOOPBACK = "localhost,.localhost,127.0.0.1,::1"
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in os.environ}
FOREIGN_PREFIXES = (
    "DOCKER_",
    "DOCKSEAL_",
    "NOTARY_",
    "XDG_",
    "REGISTRY_AUTH",
    "SOURCE_DATE_EPOCH",
    "NETRC",
    "SSL_CERT_",
    "PYKCS11LIB",
    "SOFTHSM2_CONF",
    "GNUPG",
    "REQUESTS_CA",
)

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of home folders, one a test."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an environment that names no other."""
    folder = next(_homes)
    folder.mkdir()
    for name in os.environ:
        if name.startswith(FOREIGN_PREFIXES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / ".docker"))
    monkeypatch.setenv("DOCKSEAL_HOME", str(folder / "dockseal"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("NO_PROXY", LOOPBACK)
    return folder


def pytest_report_header() -> list[str]:
    return programs.version_lines()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        for name in marker.args:
            if (reason := programs.reason_absent(name)) is not None:
                pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IN_CI and (skipped := len(terminalreporter.stats.get("skipped", []))):
        terminalreporter.write_line(f"FAILED: {skipped} skipped; in CI every test must run (reasons: -rs)", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
