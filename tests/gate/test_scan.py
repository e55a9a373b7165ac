"""Files, folders and standard input: what each is known by, and that nothing is skipped in silence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gate.corpora import told
from trust.errors import UsageError
from trust.gate.scan import ScanOptions, files, scan

if TYPE_CHECKING:
    from collections.abc import Mapping

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nginx:1}]}\n"
EMPTY = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
NOWHERE = Path("/nowhere")
KINDS = (
    "expected a list of images, a Dockerfile, a compose file, Kubernetes manifests, a workflow of GitHub Actions, "
    "or a GitLab CI file"
)
UNKNOWN = "is of no kind that is read here"


def write(folder: Path, contents: Mapping[str, str | bytes]) -> Path:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path, *names: str, **options: Any) -> dict[str, list[str]]:
    return told(scan([folder / name for name in names], options=ScanOptions(**options)), folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx:1\n", ["-:1:1 nginx:1"]),
        ("  nginx:1 # c\r\n\r\n#c\nredis", ["-:1:3 nginx:1", "-:4:1 redis"]),
        ("localhost:5000/a:1\n", ["-:1:1 localhost:5000/a:1"]),
        ('["nginx:1",\n "redis"]', ["-:1:3 nginx:1 (list)", "-:2:3 redis (list)"]),
        ("FROM nginx:1\nFROM redis AS x\n", ["-:1:6 nginx:1 (stage 0)", "-:2:6 redis (stage x)"]),
        (POD, ["-:4:38 nginx:1 (Pod/p container c)"]),
        (EMPTY + "---\n" + POD, ["-:8:38 nginx:1 (Pod/p container c)"]),
        ("services: {a: {image: nginx:1}}", ["-:1:23 nginx:1 (service a)"]),
        ("on: push\njobs: {j: {container: nginx:1}}", ["-:2:23 nginx:1 (job j)"]),
        ("runs: {using: docker, image: 'docker://nginx:1'}", ["-:1:40 nginx:1 (action)"]),
        ("j: {script: x, image: nginx:1}", ["-:1:23 nginx:1 (job j)"]),
        ("stages: [a]\nj: {stage: a}\nimage: nginx:1", ["-:3:8 nginx:1 (default)"]),
        ("image: nginx:1\nbuild:\n  script: x", ["-:1:8 nginx:1 (default)"]),
    ],
)
def test_standard_input_is_known_by_what_it_says(text: str, expected: list[str]) -> None:
    found = told(scan(["-"], stdin=text.encode()), NOWHERE)
    assert found == {"images": expected, "problems": [], "left_out": []}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "- holds no image"),
        (b"# nothing\n", "- holds no image"),
        (EMPTY.encode(), "- holds no image"),
        (b"- nginx\n- redis\n", f"- {UNKNOWN}: {KINDS}"),
        (b"a: b", f"- {UNKNOWN}: {KINDS}"),
        (b"some text\n", f"- {UNKNOWN}: {KINDS}"),
        (b'[["nginx"]]', f"- {UNKNOWN}: {KINDS}"),
        (b"kind: Pod\nspec: {containers: [{image: nginx}]}", f"- {UNKNOWN}: {KINDS}"),
        (b"\xff\xfen\0", "- is no UTF-8 text: byte 0 is 0xff"),
        (b"\xef\xbb\xbfa\xff", "- is no UTF-8 text: byte 4 is 0xff"),
        (b"a\0", "- is no text: it holds NUL characters"),
        (b" " * (files.MAX_FILE_BYTES + 1), "- is too large: at most 4 MiB are read"),
        (b"services: {a: {build: .}}", "-:1:23 service a is built from ./Dockerfile, which is not among the inputs"),
    ],
)
def test_what_holds_no_image_is_a_problem(data: bytes, problem: str) -> None:
    result = scan(["-"], stdin=data)
    assert told(result, NOWHERE) == {"images": [], "problems": [problem], "left_out": []}
    assert result.problems[0].hint or "text" in problem or "too large" in problem


def test_files_without_images_may_be_allowed() -> None:
    result = scan(["-"], stdin=EMPTY.encode(), options=ScanOptions(allow_empty=True))
    assert told(result, NOWHERE) == {"images": [], "problems": [], "left_out": ["- holds no image"]}


def test_documents_of_an_unknown_kind_beside_known_ones_are_listed() -> None:
    result = scan(["-"], stdin=f"{POD}---\na: b\n".encode())
    assert [str(item.place) for item in result.left_out] == ["-:6:1"]
    assert not result.problems


def test_nothing_to_read_gives_nothing() -> None:
    assert told(scan([]), NOWHERE) == {"images": [], "problems": [], "left_out": []}


@pytest.mark.parametrize("path", ["spec..image", "", ":spec.image", "Kind:", "spec."])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="invalid path"):
        ScanOptions(crd_paths=(path,))


# Folders


def test_a_folder_is_walked_in_order_and_known_names_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "b/Dockerfile": "FROM b",
            "a/web.dockerfile": "FROM a",
            "a/x.txt": "not-read",
            "a/tsconfig.json": "// not JSON",
            "a/plain.json": "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: p}]}\n",
            "a/escaped.json": '{"\\u0061piVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "e"}]}}',
            "z.yml": POD,
            ".github/workflows/w.yml": "on: x\njobs: {j: {container: w}}",
            ".git/Dockerfile": "FROM not-read",
            "node_modules/x/Dockerfile": "FROM not-read",
            "c/values.yaml": "image: not-read",
        },
    )
    assert read(tmp_path, ".") == {
        "images": [
            "z.yml:4:38 nginx:1 (Pod/p container c)",
            ".github/workflows/w.yml:2:23 w (job j)",
            "a/escaped.json:1:77 e (Pod container)",
            "a/plain.json:3:29 p (Pod container)",
            "a/web.dockerfile:1:6 a (stage 0)",
            "b/Dockerfile:1:6 b (stage 0)",
        ],
        "problems": [],
        "left_out": [f"c/values.yaml {UNKNOWN}"],
    }


def test_a_folder_that_names_no_image_is_a_problem_unless_allowed(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "a: b", "x.txt": "x"})
    assert read(tmp_path, ".")["problems"] == [". holds no file that names an image"]
    assert read(tmp_path, ".", allow_empty=True)["left_out"] == [
        f"a.yaml {UNKNOWN}",
        ". holds no file that names an image",
    ]


@pytest.mark.parametrize("pattern", ["bad", "bad/", "b*", "x/bad", "x/*", "x", "bad.yaml"])
def test_what_is_excluded_is_not_read(tmp_path: Path, pattern: str) -> None:
    write(tmp_path, {"pod.yaml": POD, "x/bad/bad.yaml": "["})
    assert read(tmp_path, ".")["problems"] != []
    assert read(tmp_path, ".", exclude=(pattern,))["problems"] == []


def test_a_file_is_read_once_however_often_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"x/pod.yaml": POD, "x/empty.yaml": EMPTY})
    found = read(tmp_path, "x", "x/pod.yaml", "x/../x/pod.yaml", "x/empty.yaml", "x")
    assert found["images"] == ["x/pod.yaml:4:38 nginx:1 (Pod/p container c)"]
    assert found["left_out"] == ["x/empty.yaml holds no image"]


def test_links_to_folders_are_not_followed_and_links_to_files_are(tmp_path: Path) -> None:
    write(tmp_path, {"x/Dockerfile": "FROM a", "y/Dockerfile": "FROM b"})
    (tmp_path / "x/loop").symlink_to(tmp_path / "x")
    (tmp_path / "x/out").symlink_to(tmp_path / "y")
    (tmp_path / "x/Containerfile").symlink_to(tmp_path / "y/Dockerfile")
    (tmp_path / "x/gone.yaml").symlink_to(tmp_path / "gone")
    found = read(tmp_path, "x")
    assert found["images"] == ["x/Containerfile:1:6 b (stage 0)", "x/Dockerfile:1:6 a (stage 0)"]
    assert found["problems"] == ["x/gone.yaml cannot be read: No such file or directory"]


def test_what_cannot_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_WALKED", 2)
    write(tmp_path, {"large": b" " * (files.MAX_FILE_BYTES + 1), "many/a": "", "many/b": "", "many/c": ""})
    assert read(tmp_path, "gone", "large", "many")["problems"] == [
        "gone cannot be read: No such file or directory",
        "large is too large: at most 4 MiB are read",
        "many holds more than 2 files",
    ]


def test_a_folder_that_cannot_be_listed_is_our_error() -> None:  # root, who may run this, can list any
    with pytest.raises(UsageError, match="cannot be listed: x: No such file"):
        files._cannot_list(FileNotFoundError(2, "No such file or directory", "x"))


def test_a_folder_that_may_not_be_asked_for_is_a_problem(tmp_path: Path) -> None:
    assert files.head(tmp_path / ("x" * 5000), 1) == b""
    found = read(tmp_path, "x" * 5000)
    assert found["problems"][0].endswith("cannot be read: File name too long")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, POD.encode())
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")
    result = scan([path])
    os.close(reading)
    assert [(found.text, found.place.path) for found in result.found] == [("nginx:1", str(path))]


# Compose projects


def test_files_of_one_folder_are_one_project_and_those_of_others_are_not(tmp_path: Path) -> None:
    override = "services: {a: {image: later}}"
    write(tmp_path, {"x/compose.yaml": "services: {a: {image: first}}", "x/o.yaml": override, "y/o.yaml": override})
    assert read(tmp_path, "x/compose.yaml", "x/o.yaml")["images"] == ["x/o.yaml:1:23 later (service a)"]
    assert [line.split()[1] for line in read(tmp_path, "x/compose.yaml", "y/o.yaml")["images"]] == ["first", "later"]
    assert [line.split()[1] for line in read(tmp_path, "x")["images"]] == ["first", "later"]


def test_a_project_without_images_is_a_problem_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, {"compose.yaml": "volumes: {}", "o.yaml": "services: {a: {command: x}}"})
    assert read(tmp_path, "compose.yaml", "o.yaml")["problems"] == ["compose.yaml holds no image"]


def test_what_a_project_needs_may_be_among_the_inputs_in_any_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "compose.yaml": "include: [x/more.yaml]\nservices: {a: {build: {context: app, dockerfile: D}}}",
            "x/more.yaml": "services: {b: {extends: {file: ../y/base.yaml, service: b}}}",
            "y/base.yaml": "services: {b: {image: base}}",
            "app/D": "FROM a",
        },
    )
    found = read(tmp_path, "compose.yaml", "app/D", "x/more.yaml", "y/base.yaml")
    assert [line.split()[1] for line in found["images"]] == ["a", "base"]
    assert found["problems"] == []
    assert len(read(tmp_path, "compose.yaml")["problems"]) == 2


def test_the_variables_of_env_files(tmp_path: Path) -> None:
    lines = [
        "# comment", "", "PLAIN=a # comment", "HASH=a#b", "SINGLE='s $PLAIN'", 'DOUBLE="d-${PLAIN}\\n" # c',
        "  export EXPORTED = e", "COLON: c", "BARE", "EMPTY=", "OVER=file", "UNSET=$NONE", "MULTI='x", "y'",
        "=x", 'OPEN="x', "LAST=l",
    ]  # fmt: skip
    names = ["PLAIN", "HASH", "SINGLE", "DOUBLE", "EXPORTED", "COLON", "EMPTY", "OVER", "MULTI", "LAST"]
    services = ", ".join(f'{name}: {{image: "x", volumes: [{{type: image, source: "v:${name}"}}]}}' for name in names)
    write(tmp_path, {".env": "\n".join(lines), "compose.yaml": f"services: {{{services}}}"})
    found = read(tmp_path, "compose.yaml", env={"OVER": "env"})
    assert [problem for problem in found["problems"] if ".env" in problem] == [
        ".env:15:1 is no line of the form NAME=VALUE",
        ".env:16:1 is no line of the form NAME=VALUE",
    ]
    values = {line.split("v:")[1].split(" *")[0] for line in found["images"] if "v:" in line}
    assert values == {"a", "e", "c", "env", "l"}
    refused = " ".join(found["problems"])
    assert all(text in refused for text in ("'a#b'", "'s $PLAIN'", r"'d-a\n'", r"'x\ny'", "invalid tag ''"))


@pytest.mark.parametrize("data", [b"\xff", b" " * (files.MAX_FILE_BYTES + 1)])
def test_an_env_file_that_cannot_be_read_is_a_problem(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, {".env": data, "compose.yaml": "services: {a: {image: x}}"})
    assert read(tmp_path, "compose.yaml")["problems"][0].startswith(".env is ")


# What files need


def test_an_env_file_turns_profiles_and_files_on(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "compose.yaml": "services: {a: {image: a}, b: {image: b, profiles: [p]}, c: {image: c, profiles: [q]}}",
            ".env": "COMPOSE_PROFILES=x, p\nCOMPOSE_FILE=compose.yaml:more.txt\n",
        },
    )
    found = read(tmp_path, "compose.yaml")
    assert [line.split()[1] for line in found["images"]] == ["a", "b"]
    assert found["problems"] == [".env COMPOSE_FILE names 'more.txt', which is not among the inputs"]


def test_a_workflow_needs_its_own_actions_and_workflows(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".github/workflows/w.yml": "on: x\njobs:\n  a: {steps: [{uses: ./act}]}\n"
            "  b: {uses: ./.github/workflows/o.yml}",
            ".github/workflows/o.yml": "on: x\njobs: {a: {container: o}}",
            "act/action.yml": "runs: {using: composite, steps: [{uses: 'docker://a'}, {uses: ./gone}]}",
        },
    )
    assert [line.split()[1] for line in read(tmp_path, ".")["images"]] == ["o", "a"]
    assert read(tmp_path, ".")["problems"] == [
        "act/action.yml:1:63 action step uses './gone', which is not among the inputs"
    ]
    assert len(read(tmp_path, ".github/workflows/w.yml")["problems"]) == 2


def test_a_folder_that_lies_nearer_is_not_the_action_that_is_used(tmp_path: Path) -> None:
    action = "runs: {using: docker, image: docker://a}"
    write(
        tmp_path,
        {
            ".github/workflows/w.yml": "on: x\njobs: {j: {steps: [{uses: ./action}]}}",
            ".github/workflows/action/action.yml": action,
            "action/action.yml": action,
        },
    )
    assert read(tmp_path, ".")["problems"] == []
    assert read(tmp_path, ".github")["problems"] == [
        ".github/workflows/w.yml:2:27 job j step uses './action', which is not among the inputs"
    ]


def test_a_pipeline_needs_what_it_includes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".gitlab-ci.yml": "include: /ci/a.yml\na: {script: x, image: b}",
            "ci/a.yml": "a: {script: x, image: a}",
        },
    )
    missing = ".gitlab-ci.yml:1:10 include '/ci/a.yml', which is not among the inputs, or holds no job"
    assert read(tmp_path, ".")["problems"] == []
    assert read(tmp_path, ".gitlab-ci.yml")["problems"] == [missing]
    write(tmp_path, {"ci/a.yml": "default: {image: hidden}"})
    assert read(tmp_path, ".")["problems"] == [missing]


def test_a_pipeline_sets_the_variables_of_what_it_includes(tmp_path: Path) -> None:
    included = "variables: {A: a}\na: {script: x, image: $A}"
    write(tmp_path, {".gitlab-ci.yml": "include: ci/a.yml\nb: {script: x, image: b}", "ci/a.yml": included})
    assert read(tmp_path, ".")["problems"] == []
    write(tmp_path, {".gitlab-ci.yml": "include: ci/a.yml\na: {variables: {A: evil}}\nb: {script: x, image: b}"})
    assert read(tmp_path, ".")["problems"] == [
        "ci/a.yml:2:23 job a is made of variables, which files that include this one may set"
    ]
