"""GitLab CI files: the images and services that jobs run in.

A job's image is its own, that of what it ``extends``, that of ``default``, or the file's; its variables
are put into whichever it is. Variables that the file does not set come from the environment, as they
would in a pipeline; one that a rule or a matrix sets has no value of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.scan.collect import Collector
from trust.gate.scan.tree import Array, Node, Scalar, Table
from trust.gate.scan.variables import GITLAB, expand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = ".gitlab-ci.yml"
KEYWORDS = {"default", "include", "stages", "types", "variables", "workflow", "spec"}
KEYWORDS |= {"image", "services", "cache", "before_script", "after_script"}
_JOB_KEYS = frozenset({"script", "trigger", "extends", "stage", "run"})
_HINT = "only GitLab knows it: give it in the environment, or name the image on the command line"
INCLUDE_HINT = "give GitLab's merged configuration in its place (pipeline editor, or the API's ci/lint)"
_MAX_NESTING = 20
_REFERENCE = "!reference"
_NO_TABLE = KEYWORDS - {"default", "variables", "workflow"}
"""Where a reference is no problem, or is found where it is used."""


def is_pipeline(document: Table) -> bool:
    """By ``stages``, or a job with a script."""
    jobs = [node for key, node in document.entries.items() if key not in KEYWORDS and isinstance(node, Table)]
    staged = isinstance(document.get("stages"), Array) and any(_JOB_KEYS & job.entries.keys() for job in jobs)
    return staged or any("script" in job.entries for job in jobs)


def read_pipeline(document: Table, env: Mapping[str, str], path: Path | None, collector: Collector) -> None:
    """The images of the jobs, and those that the file has for jobs of other files."""
    reader = _Reader(document, env, collector)
    _read_includes(document, path, collector)
    for name, node in document.entries.items():
        if name not in _NO_TABLE and node.tag is not None:
            collector.problem(node.place, f"{name} is what the tag {node.tag[:100]} names", INCLUDE_HINT)
    jobs = {name: node for name, node in document.entries.items() if name not in KEYWORDS and isinstance(node, Table)}
    for name in jobs:
        if not name.startswith("."):
            reader.read_job(name, reader.with_extended(jobs, (name,)))
    reader.read_defaults()
    for name in jobs:
        if name.startswith(".") and name not in reader.extended:
            _read_template(name, jobs, reader)


def _read_template(name: str, jobs: Mapping[str, Table], reader: _Reader) -> None:
    """What other files may extend; that it does not stand on its own is no problem."""
    inner = _Reader(reader.document, reader.env, Collector())
    inner.read_job(name, inner.with_extended(jobs, (name,)))
    for found in inner.collector.found:
        reader.collector.image(found.text, found.place, found.context)
    for problem in inner.collector.problems:
        reader.collector.leave_out(problem.place, f"no job here extends it: {problem.message}")


@dataclass(slots=True)
class _Reader:
    document: Table
    env: Mapping[str, str]
    collector: Collector
    inherited: set[str] = field(default_factory=set)
    """The keys of ``default`` that a job has taken, with its own variables."""
    extended: set[str] = field(default_factory=set)
    """The jobs and templates that others extend."""
    complete: dict[str, dict[str, Node]] = field(default_factory=dict)
    """Jobs with what they extend, each made once: they may extend each other many times."""

    def with_extended(self, jobs: Mapping[str, Table], path: tuple[str, ...]) -> dict[str, Node]:
        """The keys of the last job of ``path`` over those of what it extends, mappings merged (GitLab, "extends")."""
        name = path[-1]
        if name not in self.complete:
            self.complete[name] = self._over_extended(jobs[name], jobs, path)
        return self.complete[name]

    def _over_extended(self, job: Table, jobs: Mapping[str, Table], path: tuple[str, ...]) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        extends = job.get("extends")
        if extends is not None and extends.tag is not None:
            self.collector.text(extends, f"job {path[0]} extends")
            extends = None
        for item in extends.items if isinstance(extends, Array) else () if extends is None else (extends,):
            base = self.collector.text(item, f"job {path[0]} extends")
            if base in path or len(path) > _MAX_NESTING:
                self.collector.problem(item.place, f"job {path[0]} extends itself, or {_MAX_NESTING} others in a row")
            elif base in jobs:
                self.extended.add(base)
                merged = _over(merged, self.with_extended(jobs, (*path, base)))
            elif base:
                message = f"job {path[0]} extends {base[:100]!r}, which is not in this file"
                self.collector.problem(item.place, message, INCLUDE_HINT)
        return _over(merged, job.entries)

    def read_job(self, name: str, keys: Mapping[str, Node]) -> None:
        own = Table(self.document.source, dict(keys), self.document.offset)
        variables = _Variables(self.env, self.document)
        variables.take(self.document.get("variables"))
        variables.vary(self.document.get("workflow", "rules"))
        variables.take(own.get("variables"))
        variables.vary(own.get("rules"))
        variables.matrix(own.get("parallel"))
        label = f"template {name}" if name.startswith(".") else f"job {name}"
        for key in ("image", "services"):
            node = own.get(key)
            if node is not None or name.startswith(".") or "trigger" in keys:
                self._read(key, node, label, variables)
            else:
                self._read(key, self._default(key), "default", variables)
                self.inherited.add(key)

    def read_defaults(self) -> None:
        variables = _Variables(self.env, self.document)
        variables.take(self.document.get("variables"))
        for key in ("image", "services"):
            if key not in self.inherited:
                self._read(key, self._default(key), "default", variables)

    def _default(self, key: str) -> Node | None:
        return self.document.get("default", key) or self.document.get(key)

    def _read(self, key: str, node: Node | None, label: str, variables: _Variables) -> None:
        if key == "image" or (node is not None and not isinstance(node, Array)):
            self._read_image(node, label, variables)
            return
        if node is not None and node.tag is not None:
            self.collector.text(node, f"{label} services")
            return
        for item in node.items if isinstance(node, Array) else ():
            self._read_image(item, f"{label} service", variables)

    def _read_image(self, node: Node | None, label: str, variables: _Variables) -> None:
        image = node.get("name") if isinstance(node, Table) and node.tag is None else node
        self.collector.node(image, label, expanded=variables.expanded, hint=_HINT)


@dataclass(slots=True)
class _Variables:
    """A job's variables: the file's own over the environment's."""

    env: Mapping[str, str]
    document: Table
    values: dict[str, str] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    unknown: bool = False
    """Whether any of them may have a value that this file does not tell."""
    resolved: dict[str, str] = field(default_factory=dict)
    """Values with others put in, each once: they may stand in each other many times."""

    def take(self, node: Node | None) -> None:
        """A mapping of names to texts, or to mappings with ``value``."""
        self.unknown |= node is not None and (node.tag is not None or not isinstance(node, Table))
        for name, item in node.entries.items() if isinstance(node, Table) else ():
            value = item.get("value") if isinstance(item, Table) else item
            if isinstance(value, Scalar):
                self.values[name] = value.value
                self.varying.discard(name)
            elif value is not None:
                self.varying.add(name)

    def vary(self, rules: Node | None) -> None:
        """Rules that set variables, here or where a reference leads."""
        waiting, seen = [rules], set[int]()
        while waiting:
            rule = waiting.pop()
            if id(rule) in seen:
                continue
            seen.add(id(rule))
            if isinstance(rule, Table):
                variables = rule.get("variables")
                self.unknown |= variables is not None and not isinstance(variables, Table)
                self.varying.update(variables.entries if isinstance(variables, Table) else ())
            elif isinstance(rule, Array) and rule.tag is None:
                waiting.extend(rule.items)
            elif isinstance(rule, Array):
                target = self.document.get(*(item.value for item in rule.items if isinstance(item, Scalar)))
                self.unknown |= rule.tag != _REFERENCE or target is None
                waiting.append(target)

    def matrix(self, parallel: Node | None) -> None:
        """``parallel: matrix``: one job for each value."""
        if parallel is None or isinstance(parallel, Scalar):
            return
        rows = parallel.get("matrix") if isinstance(parallel, Table) else parallel
        self.unknown |= not isinstance(rows, Array) or rows.tag is not None
        for row in rows.items if isinstance(rows, Array) else ():
            self.unknown |= not isinstance(row, Table)
            self.varying.update(row.entries if isinstance(row, Table) else ())

    def expanded(self, text: str, path: tuple[str, ...] = ()) -> str:
        """With values in the place of variables, which may hold others."""
        if "$[[" in text:
            raise UsageError(f"{text[:200]!r} holds an input of the pipeline")

        def value_of(name: str) -> str | None:
            if name in path or len(path) > _MAX_NESTING:
                raise UsageError(f"the variable {name} is defined by itself")
            if self.unknown:
                raise UsageError(f"the variable {name} may be set where {_REFERENCE} leads")
            if name in self.varying:
                raise UsageError(f"the variable {name} has several values: rules or a matrix set it")
            if name not in self.values:
                return self.env.get(name)
            if name not in self.resolved:
                self.resolved[name] = self.expanded(self.values[name], (*path, name))
            return self.resolved[name]

        return expand(text, value_of, GITLAB)


def _over(below: Mapping[str, Node], above: Mapping[str, Node]) -> dict[str, Node]:
    """The keys of both; where both are mappings, merged in turn."""
    merged = dict(below)
    for key, node in above.items():
        other = below.get(key)
        if isinstance(node, Table) and isinstance(other, Table) and node.tag is None and other.tag is None:
            merged[key] = Table(node.source, _over(other.entries, node.entries), node.offset)
        elif key == "variables" and isinstance(node, Table) and other is not None and other.tag is not None:
            merged[key] = Table(node.source, node.entries, node.offset, other.tag)  # more is in it than is known
        else:
            merged[key] = node
    return merged


def _read_includes(document: Table, path: Path | None, collector: Collector) -> None:
    node = document.get("include")
    for item in node.items if isinstance(node, Array) else () if node is None else (node,):
        local = item.get("local") if isinstance(item, Table) else item
        text = local.value if isinstance(local, Scalar) else ""
        if text and "://" not in text and "$" not in text and "*" not in text:
            paths = tuple(root / text.lstrip("/") for root in (path.parents if path is not None else ()))
            collector.need(
                item.place,
                paths,
                f"include {text[:200]!r}, which is not among the inputs, or holds no job",
                f"name it as well, or {INCLUDE_HINT}",
                pipeline=True,
            )
        else:
            what = ", ".join(item.entries) if isinstance(item, Table) else re.sub(r"\s+", " ", text)[:200]
            collector.problem(item.place, f"include ({what[:200]}): its jobs are not in this file", INCLUDE_HINT)
