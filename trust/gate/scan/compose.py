"""Compose files: the images of the services that would run.

Several files are one project, in which a later file has the last word (compose specification, "Merge").
An image that is built (``build`` without ``image``) comes from a Dockerfile; that file, and those that
``include`` and ``extends`` name, must be among the inputs, since the images in them run as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trust.gate.scan.collect import Collector
from trust.gate.scan.dockerfile import read_dockerfile
from trust.gate.scan.source import Source
from trust.gate.scan.tree import Array, Node, Scalar, Table
from trust.gate.scan.variables import COMPOSE, expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

ALL_PROFILES = "*"
MAX_EXTENDED = 20
DOCKER_IMAGE = "docker-image://"
_PULL_POLICY = "pull_policy"
_RESET = "!reset"
_OVERRIDE = "!override"
_HINT = "set it in the environment, or in the file .env beside the compose file"
_GATHERED = ("build", "volumes", "profiles")
"""Lists and mappings that files add to; of the rest a later file's value takes the place of an earlier one's."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One document of a compose file, and the folder that its paths start from (None for standard input)."""

    document: Table
    folder: Path | None


@dataclass(slots=True)
class _Service:
    """What the files together say of a service."""

    nodes: dict[str, Node] = field(default_factory=dict)
    gathered: dict[str, list[Node]] = field(default_factory=lambda: {key: [] for key in _GATHERED})
    folder: Path | None = None

    def take(self, table: Table, folder: Path | None) -> None:
        """Put a later file's words over what is there."""
        if table.tag == _OVERRIDE:
            self.nodes.clear()
            self.gathered = {key: [] for key in _GATHERED}
        self.folder = folder
        for key, node in table.entries.items():
            if key in _GATHERED and node.tag in {_RESET, _OVERRIDE}:
                self.gathered[key] = []
            if node.tag == _RESET:
                self.nodes.pop(key, None)
            elif isinstance(node, Scalar) and node.is_null:
                continue
            elif key in _GATHERED:
                self.gathered[key] = [*self.gathered[key], node]
            else:
                self.nodes[key] = node


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the user says beside the files: values of variables, active profiles, build arguments."""

    variables: Mapping[str, str]
    profiles: Sequence[str]
    build_args: Mapping[str, str]


def is_compose(document: Table) -> bool:
    """By ``services``, a mapping of mappings."""
    return document.table("services") is not None and "jobs" not in document.entries


def read_project(layers: Iterable[Layer], around: Surroundings, collector: Collector) -> None:
    """The images of one project's services."""
    reader = _Reader(around, collector)
    services: dict[str, _Service] = {}
    for layer in layers:
        reader.read_include(layer)
        _merge(services, layer)
    for name, service in services.items():
        reader.read_service(name, service, services)


def _merge(services: dict[str, _Service], layer: Layer) -> None:
    table = layer.document.table("services")
    if table is None:
        return
    if table.tag == _OVERRIDE:
        services.clear()
    for name, node in table.entries.items():
        if node.tag == _RESET:
            services.pop(name, None)
        elif isinstance(node, Table):
            services.setdefault(name, _Service()).take(node, layer.folder)


@dataclass(frozen=True, slots=True)
class _Reader:
    around: Surroundings
    collector: Collector

    def read_include(self, layer: Layer) -> None:
        node = layer.document.get("include")
        for item in node.items if isinstance(node, Array) else ():
            paths = item.get("path") if isinstance(item, Table) else item
            for path in paths.items if isinstance(paths, Array) else (paths,):
                self._need(path, layer.folder, "include")

    def read_service(self, name: str, service: _Service, services: Mapping[str, _Service]) -> None:
        context = f"service {name}"
        profiles = {self._text(item, context) for node in service.gathered["profiles"] for item in _items(node)} - {""}
        if profiles and ALL_PROFILES not in self.around.profiles and not profiles & set(self.around.profiles):
            place = service.gathered["profiles"][0].place
            self.collector.leave_out(place, f"{context} is in no active profile, but in {', '.join(sorted(profiles))}")
            return
        self._read_images(service, services, (name,))

    def _read_images(self, service: _Service, services: Mapping[str, _Service], path: tuple[str, ...]) -> None:
        """Its own images, and those that it takes over from a service that it extends."""
        context = f"service {path[0]}"
        extends = service.nodes.get("extends")
        if extends is not None:
            self._read_extended(extends, service, services, path)
        if "image" in service.nodes:
            self.collector.node(service.nodes["image"], context, expanded=self._expanded, hint=_HINT)
        if service.gathered["build"] and self._is_built(service, context):
            self._read_dockerfile(service.gathered["build"], service.folder, context)
        for build in service.gathered["build"]:
            self._read_contexts(build, context)
        for volumes in service.gathered["volumes"]:
            for volume in _items(volumes):
                if isinstance(volume, Table) and volume.text("type") == "image":
                    what = f"{context} volume {volume.text('target')}"
                    self.collector.node(volume.get("source"), what, expanded=self._expanded, hint=_HINT)

    def _is_built(self, service: _Service, context: str) -> bool:
        """A service that has an image, too, is built where it cannot be pulled, or must not."""
        return "image" not in service.nodes or self._text(service.nodes.get(_PULL_POLICY), context) == "build"

    def _read_extended(
        self, extends: Node, service: _Service, services: Mapping[str, _Service], path: tuple[str, ...]
    ) -> None:
        file = extends.get("file") if isinstance(extends, Table) else None
        if file is not None:
            self._need(file, service.folder, f"service {path[0]} extends a service of")
            return
        base = self._text(
            extends.get("service") if isinstance(extends, Table) else extends, f"service {path[0]} extends"
        )
        if base in path or len(path) > MAX_EXTENDED:
            self.collector.problem(
                extends.place, f"service {path[0]} extends itself, or {MAX_EXTENDED} others in a row"
            )
        elif base in services:
            inherited = _Service(dict(services[base].nodes), dict(services[base].gathered), services[base].folder)
            if "image" in service.nodes:
                inherited.nodes.pop("image", None)
                inherited.gathered["build"] = []
            inherited.nodes |= {key: node for key, node in service.nodes.items() if key == _PULL_POLICY}
            self._read_images(inherited, services, (*path, base))
            service.nodes |= {key: node for key, node in inherited.nodes.items() if key == _PULL_POLICY}
        elif base:
            self.collector.problem(extends.place, f"service {path[0]} extends {base!r}, which is not there")

    def _read_dockerfile(self, builds: list[Node], folder: Path | None, context: str) -> None:
        entries: dict[str, Node] = {}
        for build in builds:
            entries |= build.entries if isinstance(build, Table) else {"context": build}
        inline = entries.get("dockerfile_inline")
        if isinstance(inline, Scalar):
            self._read_inline(inline, entries.get("args"), context)
            return
        build_folder = self._text(entries.get("context"), context) or "."
        dockerfile = self._text(entries.get("dockerfile"), context) or "Dockerfile"
        remote = "://" in build_folder or build_folder.startswith("git@") or folder is None
        paths = () if remote or folder is None else (folder / build_folder / dockerfile,)
        message = f"{context} is built from {build_folder}/{dockerfile}, which is not among the inputs"
        self.collector.need(builds[-1].place, paths, message, "name that file as well")

    def _read_inline(self, inline: Scalar, args: Node | None, context: str) -> None:
        text = self._text(inline, context)
        own = {key: self._text(node, context) for key, node in args.entries.items()} if isinstance(args, Table) else {}
        inner = Collector()
        read_dockerfile(Source.decode("", text.encode(errors="replace")), {**own, **self.around.build_args}, inner)
        place = replace(inline.place, span=None)
        for found in inner.found:
            self.collector.image(found.text, place, f"{context} {found.context}")
        for problem in inner.problems:
            self.collector.problem(place, f"line {problem.place.line} of it: {problem.message}", problem.hint)

    def _read_contexts(self, build: Node, context: str) -> None:
        """``additional_contexts`` that are images; a mapping, or a list of NAME=VALUE."""
        contexts = build.get("additional_contexts") if isinstance(build, Table) else None
        for node in contexts.entries.values() if isinstance(contexts, Table) else _items(contexts):
            text = self._text(node, context)
            value = text if isinstance(contexts, Table) else text.partition("=")[2]
            if value.startswith(DOCKER_IMAGE):
                image = value[len(DOCKER_IMAGE) :]
                offset = text.rindex(image)
                literal = isinstance(node, Scalar) and node.literal and node.value == text
                place = node.source.place(node.offset + offset, image) if literal else node.source.place(node.offset)
                self.collector.image(image, place, f"{context} build context")

    def _need(self, node: Node | None, folder: Path | None, what: str) -> None:
        text = self._text(node, what)
        if node is not None and text:
            paths = () if folder is None or "://" in text else (folder / text,)
            self.collector.need(
                node.place, paths, f"{what} {text[:200]!r}, which is not among the inputs", "name it as well"
            )

    def _text(self, node: Node | None, context: str) -> str:
        return self.collector.text(node, context, expanded=self._expanded, hint=_HINT)

    def _expanded(self, text: str) -> str:
        return expand(text, self.around.variables.get, COMPOSE)


def _items(node: Node | None) -> Iterator[Node]:
    yield from node.items if isinstance(node, Array) else () if node is None else (node,)
