"""plugin install: `docker seal …`, with docker's own command line."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import ROOT
from tests.peers.programs import BY_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.program import Dockseal


def plugin(home: Path) -> Path:
    return home / ".docker" / "cli-plugins" / "docker-seal"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(each) for each in command], env=environment, cwd="/", capture_output=True, text=True, check=False
    )


@pytest.mark.peer("docker")
def test_docker_runs_it(dockseal: Dockseal, home: Path) -> None:
    assert str(plugin(home)) in dockseal("plugin", "install").out
    docker = BY_NAME["docker"].path() or ""
    assert "Usage: dockseal push" in run(docker, "seal", "push", "--help").stdout
    assert "dockseal 0." in run(docker, "seal", "--version").stdout
    assert run(docker, "seal", "verify", "@").returncode == 2
    assert "seal" in run(docker, "--help").stdout
    done = run(docker, "--log-level", "error", "seal", "images")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_describes_itself(dockseal: Dockseal, home: Path) -> None:
    dockseal("plugin", "install")
    about = json.loads(run(plugin(home), "docker-cli-plugin-metadata").stdout)
    assert (about["SchemaVersion"], about["Vendor"]) == ("0.1.0", "dockseal")
    assert plugin(home).stat().st_mode & 0o777 == 0o755


def test_a_module_in_the_current_folder_is_none_of_ours(dockseal: Dockseal, home: Path, tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "main.py").write_text("raise SystemExit('not ours')")
    dockseal("plugin", "install")
    done = subprocess.run(
        [plugin(home), "seal", "--version"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("dockseal ")


def test_the_program_s_own_script_is_what_it_runs(
    dockseal: Dockseal, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin with a space" / "dockseal"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "ran: $@"\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(script), "plugin", "install"])
    dockseal("plugin", "install")
    assert run(plugin(home), "seal", "push", "a b").stdout == "ran: push a b\n"


def test_it_can_be_installed_again_elsewhere_and_removed(dockseal: Dockseal, home: Path, tmp_path: Path) -> None:
    for _ in range(2):
        dockseal("plugin", "install")
    dockseal("plugin", "install", "--folder", tmp_path)
    assert (tmp_path / "docker-seal").is_file()
    dockseal("plugin", "remove")
    assert not plugin(home).exists()
    assert "is not there" in dockseal("plugin", "remove", code=2).err


def test_what_somebody_else_put_there_stays(dockseal: Dockseal, home: Path) -> None:
    plugin(home).parent.mkdir(parents=True)
    plugin(home).write_text("#!/bin/sh\n")
    for word in ("install", "remove"):
        assert "is not dockseal's" in dockseal("plugin", word, code=2).err
    assert plugin(home).read_text() == "#!/bin/sh\n"
    plugin(home).unlink()
    plugin(home).mkdir()
    assert "cannot be read" in dockseal("plugin", "install", code=2).err
