"""What each kind of YAML file is read for, beyond the corpus; and that no file passes for another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trust.gate.scan import ScanOptions, scan
from trust.gate.scan.reading import Reading

POD = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: pod}]}\n"


def read(text: str, name: str = "x.yaml", **options: Any) -> tuple[list[str], list[str], list[str]]:
    """Images, problems and what is left out, without places."""
    reading = Reading(ScanOptions(**options))
    reading._read_data(name, Path("/nowhere") / name, text.encode(), named=True)
    reading.finish()
    result = reading.collector.result()
    return (
        [found.text for found in result.found],
        [problem.message for problem in result.problems],
        [left.reason for left in result.left_out],
    )


@pytest.mark.parametrize(
    ("name", "text", "images"),
    [
        ("kustomization.yaml", POD, ["pod"]),
        ("compose.yaml", POD, ["pod"]),
        ("x.yaml", POD + "on: x\njobs: {}\nservices: {}\nruns: {using: x}\nj: {script: x}", ["pod"]),
        ("x.yaml", "x-a: {script: x}\nservices: {a: {image: composed}}", ["composed"]),
        (".gitlab-ci.yml", "on: {script: x, image: one}\njobs: {script: x, image: two}", ["one", "two"]),
        ("a.gitlab-ci.yml", "kind: {script: x, image: one}\napiVersion: {script: x}", ["one"]),
        (".gitlab-ci.yml", "spec: {inputs: {a: {}}}\n---\na: {script: x, image: one}", ["one"]),
        ("x.yaml", "on: x\njobs: {a: {container: worked}}\nservices: {a: {image: no}}", ["worked"]),
    ],
)
def test_no_file_passes_for_another_kind(name: str, text: str, images: list[str]) -> None:
    assert read(text, name)[0] == images


# Kubernetes


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{image: {repository: a, tag: b}}", "spec.image"),
        ("{image: a}", "spec.image"),
        ("{list: [{image: a}]}", "spec.list.image"),
        ("{containers: {a: {image: b}}}", "spec.containers.a.image"),
        ("{image: '', other: {image: ~, x: {image: [a]}}, images: [{image: {size: 1}}]}", None),
    ],
)
def test_an_image_that_nothing_covers_is_listed(spec: str, expected: str | None) -> None:
    images, _, left_out = read(f"apiVersion: x/v1\nkind: Thing\nmetadata: {{name: n}}\nspec: {spec}", allow_empty=True)
    assert images == []
    hint = f"where it is one that runs, a path like Thing:{expected} makes it count"
    listed = [f"Thing/n: {expected} is no container's image; {hint}"] if expected else []
    assert left_out == ["holds no image", *listed]


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("spec.image", ["a"]),
        ("Thing:spec.image", ["a"]),
        ("Other:spec.image", []),
        ("spec.list.image", ["b", "c"]),
        ("spec.list[].image", ["b", "c"]),
        ("spec.list[*].image", ["b", "c"]),
        ("spec.names", ["d", "e"]),
        ("spec.*.image", ["b", "c", "f"]),
        ("spec.image.deeper", []),
        ("spec.gone.image", []),
        ("spec.null", []),
    ],
)
def test_a_path_leads_to_images(path: str, images: list[str]) -> None:
    text = (
        "apiVersion: x/v1\nkind: Thing\n"
        "spec: {image: a, list: [{image: b}, {image: c}], names: [d, e], deep: {image: f}, 'null': ~}"
    )
    assert read(text, crd_paths=(path,))[0] == images


def test_a_path_to_something_else_is_a_problem() -> None:
    text = "apiVersion: x/v1\nkind: Thing\nspec: {image: {repository: a}}"
    assert read(text, crd_paths=("spec.image",)) == (
        [],
        ["Thing spec.image: expected a text, got a list or mapping"],
        [],
    )


def test_objects_inside_objects_are_read_as_what_they_are() -> None:
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "i"}, "spec": {"containers": [{"image": "a:1"}]}}
    outer = {"apiVersion": "w/v1", "kind": "Work", "spec": {"manifests": [inner, {"deep": inner}], "image": "b"}}
    images, problems, left_out = read(json.dumps(outer), "x.json")
    assert (images, problems) == (["a:1", "a:1"], [])
    assert len(left_out) == 1


def test_a_name_in_two_halves_is_put_together() -> None:
    text = '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "\\ud83d\\ude00", "image": "a"}]}}'
    reading = Reading(ScanOptions())
    reading._read_data("x.json", None, text.encode(), named=True)
    assert [found.context for found in reading.collector.found] == ["Pod container 😀"]
    assert read(text.replace("\\ude00", ""))[1] == ["a text holds half a character (a lone surrogate)"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("resources: [a.yaml]", ["resources names 'a.yaml', which is not among the inputs"]),
        ("images: []\nresources: [~]", ["holds no image"]),
        ("patches: [{path: a.yaml}]", ["patches changes resources: the files alone do not tell which images run"]),
        ("helmCharts: [{name: x}]", ["helmCharts renders charts: the files alone do not tell which images run"]),
        ("resources: ['git@github.com:a/b']", ["resources names 'git@github.com:a/b', which is not on this disk"]),
        (
            "components: [[x], github.com/a/b]",
            [
                "components: expected a text, got a list or mapping",
                "components names 'github.com/a/b', which is not on this disk",
            ],
        ),
    ],
)
def test_what_kustomize_makes_of_files_is_not_guessed(text: str, problems: list[str]) -> None:
    assert read(text, "kustomization.yml")[1] == problems
    assert read(f"kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1\n{text}")[1] == problems


def test_what_a_kustomization_stands_on_must_be_among_the_inputs(tmp_path: Path) -> None:
    for name, text in {"base": "resources: [pod.yaml]", "over": "resources: [../base, pod.yaml]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "kustomization.yaml").write_text(text)
        (tmp_path / name / "pod.yaml").write_text(POD)
    alone = scan([tmp_path / "over"])
    assert [problem.message for problem in alone.problems] == [
        "resources names '../base', which is not among the inputs"
    ]
    assert scan([tmp_path / "over", tmp_path / "base"]).problems == ()


# Compose


@pytest.mark.parametrize(
    ("services", "images", "problems"),
    [
        ("{a: {image: ~}, b: {image: ''}, c: ~, d: x}", [], ["holds no image"]),
        ("{a: {image: x, build: .}}", ["x"], []),
        ("{a: {extends: {service: b}}, b: {image: x}}", ["x", "x"], []),
        ("{a: {image: y, extends: b}, b: {build: .}}", ["y"], ["service b is built from ./Dockerfile"]),
        ("{a: {extends: b}, b: {extends: c}, c: {image: x}}", ["x", "x", "x"], []),
        ("{a: {image: x, profiles: [$NONE]}}", ["x"], ["service a: the variable NONE is not set"]),
        ("{a: {extends: ~}, b: {extends: {service: ''}}, c: {extends: {file: ''}}}", [], ["holds no image"]),
        ("{a: {extends: {file: 'x\\0', service: b}}}", [], ["service a extends a service of 'x"]),
        ('{a: {extends: {file: "x\\0", service: b}}}', [], ["service a extends a service of 'x\\x00'"]),
        ("{a: {build: {dockerfile_inline: 'FROM x'}}}", ["x"], []),
        ("{a: {build: {dockerfile_inline: 'FROM $$V', args: [V=1]}}}", [], ["line 1 of it: the variable V is not set"]),
        ("{a: {build: {context: 'git@x:y'}}}", [], ["service a is built from git@x:y/Dockerfile"]),
        ("{a: {image: x, pull_policy: build, build: {dockerfile_inline: FROM y}}}", ["x", "y"], []),
        (
            "{a: {extends: b, pull_policy: build}, b: {image: x, build: {dockerfile_inline: FROM y}}}",
            ["x", "x", "y"],
            [],
        ),
        (
            "{a: {extends: b, image: x, build: {dockerfile_inline: FROM y}}, b: {extends: c}, c: {pull_policy: build}}",
            ["x", "y"],
            [],
        ),
        ("{a: {image: x, pull_policy: build, build: b}}", ["x"], ["service a is built from b/Dockerfile"]),
        ("{a: {image: x, build: {additional_contexts: [b=../c, 'd=docker-image://y']}}}", ["x", "y"], []),
        ("{a: {image: x, volumes: [a:/b, {type: image, source: y}, {type: bind, source: z}]}}", ["x", "y"], []),
        ("{a: {image: x, volumes: ~, profiles: ~, build: ~}}", ["x"], []),
        ("{a: {image: !x y}}", [], ["service a: expected a text, got the tag !x"]),
    ],
)
def test_the_services_of_a_compose_file(services: str, images: list[str], problems: list[str]) -> None:
    found = read(f"services: {services}")
    assert found[0] == images
    assert [known for known in problems if not any(problem.startswith(known) for problem in found[1])] == []
    assert len(found[1]) == len(problems)


def test_profiles_choose_services() -> None:
    text = "services: {a: {image: x, profiles: [p, $Q]}, b: {image: y, profiles: r}}"
    assert read(text, env={"Q": "q"})[0] == []
    assert read(text, env={"Q": "q"}, profiles=("q",))[0] == ["x"]
    assert read(text, env={"Q": "q"}, profiles=("r", "p"))[0] == ["x", "y"]
    assert read(text, env={"Q": "q"}, profiles=("*",))[0] == ["x", "y"]


def test_later_documents_change_earlier_ones() -> None:
    text = (
        "services: {a: {image: x, build: ., profiles: [p]}, b: {image: y}}\n---\n"
        "services: {a: {build: !reset ~, profiles: !override []}, b: !override {build: .}, c: {image: z}}\n---\n"
        "services: {a: {image: !reset ~}, c: {volumes: [{type: image, source: v}]}}\n---\n"
        "services: {a: {image: w}, c: !reset ~}\n"
    )
    assert read(text)[0] == ["w"]
    assert read("services: {a: {image: x}}\n---\nservices: !override {b: {image: y}}")[0] == ["y"]


def test_services_that_extend_each_other_end() -> None:
    chain = ", ".join(f"s{n}: {{extends: s{n + 1}}}" for n in range(1000))
    problems = read(f"services: {{{chain}}}")[1]
    assert "service s0 extends itself, or 20 others in a row" in problems


# GitHub


@pytest.mark.parametrize(
    ("jobs", "images", "problems"),
    [
        ("{a: x, b: {steps: x}, c: {container: {options: x}}}", [], 1),
        ("{a: {container: ~, services: ~, steps: [{uses: ~}, {uses: 'DOCKER://x'}]}}", ["x"], 0),
        ("{a: {container: {image: 'a/${{ x }}'}, services: {b: '${{ x }}'}}}", [], 2),
        ('{a: {steps: [{uses: "docker:\\x2f/x"}]}}', ["x"], 0),
        ("{a: {steps: [{uses: 'docker://'}]}}", [], 1),
        ("{a: {steps: [{uses: [x]}]}}", [], 1),
        ("{a: {steps: [{uses: 'docker://${{ x }}'}]}}", [], 1),
    ],
)
def test_the_jobs_of_a_workflow(jobs: str, images: list[str], problems: int) -> None:
    found = read(f"on: x\njobs: {jobs}")
    assert found[0] == images
    assert len(found[1]) == problems


def test_an_action_on_standard_input_is_told_by_its_words() -> None:
    reading = Reading(ScanOptions())
    reading.read_stdin(b"runs: {using: docker, image: Dockerfile}")
    reading.finish()
    assert [problem.message for problem in reading.collector.result().problems] == [
        "the action is built from 'Dockerfile', which is not among the inputs"
    ]
    assert read("runs: {using: node20, main: x.js}")[1] == ["holds no image"]


# GitLab


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("a: {script: x, image: $A}\nvariables: {A: $B, B: one}", ["one"]),
        ("a: {script: x, image: $A, variables: {A: {value: two}}}\nvariables: {A: one}", ["two"]),
        ("a: {script: x, image: $A}", ["env"]),
        ("a: {script: x, image: $A}\nvariables: {A: one}\nworkflow: {rules: [{variables: {C: x}}, x]}", ["one"]),
        ("a: {script: x, image: $A, variables: {A: one}}\nworkflow: {rules: [{variables: {A: x}}]}", ["one"]),
        (".t: {image: {name: one, entrypoint: ['']}}\na: {script: x, extends: .t, image: {name: two}}", ["two"]),
        (
            ".t: {services: [one]}\na: {script: x, extends: [.t], services: [two, {name: three}]}",
            ["two", "three"],
        ),
        ("default: {services: [one], image: two}\na: {script: x}\nimage: no", ["one", "two"]),
        ("image: one\na: {trigger: x}\nb: {script: x, image: two}", ["one", "two"]),
        ("image: one\na: {script: x, image: two, services: []}", ["one", "two"]),
        ("a: {script: x, image: ~, services: ~}\nimage: one", ["one"]),
        ("a: {script: x, image: $A, rules: [!reference [.r, rules]]}\n.r: {rules: [[{if: $X}]]}", ["env"]),
        (
            "a: {script: x, image: one, rules: [!reference [.r, x]], parallel: 2}\nbefore_script: !reference [.b]",
            ["one"],
        ),
    ],
)
def test_the_jobs_of_a_pipeline(text: str, images: list[str]) -> None:
    assert read(text, ".gitlab-ci.yml", env={"A": "env"})[:2] == (images, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {script: x, services: !reference [.b, c]}", "job a services: expected a text, got the tag !reference"),
        ("a: {script: x, services: [!reference [.b, c]]}", "job a service: expected a text, got the tag !reference"),
        ("a: {script: x, image: b, extends: .t}", "job a extends '.t', which is not in this file"),
        ("a: !reference [.b, c]", "a is what the tag !reference names"),
        ("default: !reference [.b]\na: {script: x, image: b}", "default is what the tag !reference names"),
        ("a: {script: x, image: b, extends: !reference [.b, c]}", "job a extends: expected a text, got the tag !ref"),
        ("a: {script: x, image: $A, variables: !reference [.b, c]}", "job a: the variable A may be set where !ref"),
        ("a: {script: x, image: $A, variables: {A: !reference [.b, c]}}", "job a: the variable A has several values"),
        ("a: {script: x, image: $A, rules: !reference [.b, c]}", "job a: the variable A may be set where !reference"),
        ("a: {script: x, image: $A, rules: [{variables: !reference [.b]}]}", "job a: the variable A may be set where"),
        ("a: {script: x, image: $A, parallel: !reference [.b, c]}", "job a: the variable A may be set where !referen"),
        ("a: {script: x, image: $A, parallel: {matrix: [!reference [.b]]}}", "job a: the variable A may be set where"),
        (
            "a: {script: x, image: $A, rules: [!reference [.r, rules]]}\n.r: {rules: [{variables: {A: c}}]}",
            "job a: the variable A has several values",
        ),
        (
            ".b: {variables: !reference [.v]}\na: {script: x, image: $A, extends: .b, variables: {C: x}}",
            "job a: the variable A may be set where !reference",
        ),
        ("a: {script: x, image: !reference {name: b}}", "job a: expected a text, got the tag !reference"),
        ("a: {script: x, services: one two}", "invalid name 'one two'"),
        (
            "include: [{project: a/b, file: c}]\na: {script: x, image: b}",
            "include (project, file): its jobs are not in this file",
        ),
        ("include: {component: x}\na: {script: x, image: b}", "include (component): its jobs are not in this file"),
        ("include: 'ci/*.yml'\na: {script: x, image: b}", "include (ci/*.yml): its jobs are not in this file"),
        ("include: $X\na: {script: x, image: b}", "include ($X): its jobs are not in this file"),
        ("include: [[x]]\na: {script: x, image: b}", "include (): its jobs are not in this file"),
        ("a: {script: x, extends: [b], image: c}\nb: {extends: a}", "job a extends itself, or 20 others in a row"),
    ],
)
def test_what_a_pipeline_does_not_tell_is_a_problem(text: str, problem: str) -> None:
    problems = read(text, ".gitlab-ci.yml")[1]
    assert problems
    assert problems[0].startswith(problem)


def test_templates_and_variables_that_stand_in_each_other_many_times_are_read_once() -> None:
    templates = "\n".join(f".t{n}: {{extends: [.t{n + 1}, .t{n + 1}, .t{n + 1}, .t{n + 1}]}}" for n in range(15))
    values = ", ".join(f"V{n}: $V{n + 1}$V{n + 1}$V{n + 1}$V{n + 1}" for n in range(18))
    text = f"{templates}\n.t15: {{image: 'a:1$V0'}}\nvariables: {{{values}, V18: ''}}\na: {{extends: .t0, script: x}}"
    assert read(text, ".gitlab-ci.yml")[:2] == (["a:1"], [])
