"""What pipelines are given, run as far as it goes without the service: the steps in a shell, with no package index."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from tests.cli.conftest import NAME
from tests.cli.program import ROOT

if TYPE_CHECKING:
    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal

POLICY = '[[rule]]\npattern = "registry.example/**"\nsigners = "any"\n'
MANIFEST = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n    - image: {NAME}:v1\n"
PYTHON3 = f"""\
#!/bin/sh
# "python3 -m venv DIR": what it makes logs what is installed, and runs this checkout's program.
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@" >> "$LOG"\\n' > "$3/bin/python"
run='exec {sys.executable} -c "from cli.main import main; main()" "$@"'
printf '#!/bin/sh\\nexport PYTHONPATH={ROOT}\\n%s\\n' "$run" > "$3/bin/dockseal"
chmod +x "$3/bin/python" "$3/bin/dockseal"
"""
GIT = '#!/bin/sh\necho "git $@" >> "$LOG"\n'


def load(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text("utf-8"))


@pytest.fixture
def job(tmp_path: Path, signed: Signed) -> dict[str, str]:
    """A job's environment, and its folder with a release and its policy; ``python3`` and ``git`` log what they do."""
    folder = tmp_path / "checkout"
    (folder / "k8s files").mkdir(parents=True)
    (folder / "k8s files" / "app.yaml").write_text(MANIFEST)
    (folder / "dockseal-policy.toml").write_text(POLICY)
    text = (signed.home / "config.toml").read_text()
    (folder / "pins.toml").write_text(text)
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, script in (("python3", PYTHON3), ("git", GIT)):
        (shims / name).write_text(script)
        (shims / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{shims}:{os.environ['PATH']}",
        "HERE": str(folder),
        "LOG": str(tmp_path / "log"),
        "STORE": f"--store={NAME}=oci:{signed.folder}",
    }


def shell(script: str, environment: dict[str, str], code: int = 0) -> str:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]  # as GitHub runs a step
    done = subprocess.run(
        command, cwd=environment["HERE"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def github(job: dict[str, str], code: int = 0, **inputs: str) -> str:
    """Run the action's steps with these inputs."""
    action = load("action.yml")
    known = {name: item["default"] for name, item in action["inputs"].items()}
    assert set(inputs) <= set(known)
    values = {f"inputs.{name}": value for name, value in {**known, **inputs}.items()}
    values |= {"github.action_path": str(ROOT), "runner.temp": f"{job['HERE']}/../temp"}
    out = ""
    *first, last = action["runs"]["steps"]
    for step in (*first, last):
        assert "${{" not in step["run"]  # an input in a script would be run
        environment = dict(step["env"])
        for name, value in values.items():
            environment = {key: text.replace(f"${{{{ {name} }}}}", value) for key, text in environment.items()}
        assert not any("${{" in text for text in environment.values())
        summary = {"GITHUB_STEP_SUMMARY": f"{job['HERE']}/../summary.md"}
        out += shell(step["run"], {**job, **environment, **summary}, code if step is last else 0)
    return out


def test_the_action_installs_by_hash_and_judges(job: dict[str, str]) -> None:
    told = github(job, files="k8s files", config="pins.toml", sarif="out.sarif", arguments=f"--offline\n{job['STORE']}")
    assert told.startswith(f"trusted         {NAME}:v1")
    hashed, own = Path(job["LOG"]).read_text().splitlines()
    assert "--require-hashes" in hashed
    assert hashed.endswith(f"--requirement {ROOT}/constraints.txt")
    assert "--no-deps --no-build-isolation" in own
    assert "may go on" in Path(job["HERE"], "../summary.md").read_text()
    assert Path(job["HERE"], "out.sarif").exists()


def test_the_action_fails_where_an_image_is_refused(job: dict[str, str]) -> None:
    told = github(job, code=1, images="nginx:1\n--help", junit="gate.xml", arguments="--offline")
    assert "disallowed" in told
    assert "input           at" in told  # an image that is called like an option is no option
    assert "stops here" in Path(job["HERE"], "../summary.md").read_text()
    assert Path(job["HERE"], "gate.xml").exists()
    assert "there is no policy" not in told


def test_an_input_is_never_run(job: dict[str, str]) -> None:
    github(job, code=2, files='$(touch hacked)\n"; touch hacked; "', policy="`touch hacked`")
    assert not Path(job["HERE"], "hacked").exists()


def test_the_gitlab_job(job: dict[str, str]) -> None:
    template = load("docs/gate.gitlab-ci.yml")[".dockseal-gate"]
    variables = {**template["variables"], "DOCKSEAL_COMMIT": "abc", "DOCKSEAL_CONFIG": "pins.toml"}
    variables["GATE_ARGUMENTS"] = f"--offline {job['STORE']} -f k8s?files"
    variables["DOCKSEAL_HOME"] = variables["DOCKSEAL_HOME"].replace("$CI_PROJECT_DIR", job["HERE"])
    told = shell("\n".join(template["script"]), {**job, **variables})
    assert told.startswith(f"trusted         {NAME}:v1")
    assert Path(job["HERE"], template["artifacts"]["reports"]["junit"]).exists()
    log = Path(job["LOG"]).read_text()
    assert "git -C .dockseal-source checkout --quiet --detach abc" in log
    assert "--require-hashes" in log


def test_the_hooks_of_pre_commit(job: dict[str, str], dockseal: Dockseal, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, policy = load(".pre-commit-hooks.yaml")
    assert {key for hook in (gate, policy) for key in hook} <= {
        *("id", "name", "description", "entry", "args", "language", "pass_filenames", "files", "require_serial"),
    }
    monkeypatch.chdir(job["HERE"])
    words = [*shlex.split(gate["entry"])[1:], *gate["args"], "--offline", job["STORE"], "--allow-empty"]
    assert "is not pinned" in dockseal(*words, code=1).out
    dockseal(*[word for word in words if word != "--check"], "--write")
    dockseal(*words)
    dockseal(*shlex.split(policy["entry"])[1:], "dockseal-policy.toml")
