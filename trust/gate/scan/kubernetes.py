"""Kubernetes manifests: every pod specification in them, whatever the kind around it.

A pod's images are known by their shape (Kubernetes API, core/v1 PodSpec): ``containers``,
``initContainers`` and ``ephemeralContainers`` are lists of mappings with ``image``; a volume's
``image.reference`` is one, too. So custom resources with a pod template need no list of kinds.
Where a resource keeps images elsewhere, a path says so; a key ``image`` that nothing covers is listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.gate.scan.tree import Array, Node, Scalar, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.gate.scan.collect import Collector

_CONTAINERS = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}


def is_resource(node: Node) -> bool:
    """Whether it is a Kubernetes object, by its ``apiVersion`` and ``kind``."""
    return isinstance(node, Table) and bool(node.text("apiVersion")) and bool(node.text("kind"))


def read_resource(resource: Table, crd_paths: tuple[str, ...], collector: Collector) -> None:
    """All images of an object, and of the objects in it (lists, templates)."""
    kind, name = resource.text("kind"), resource.text("metadata", "name")
    label = f"{kind}/{name}" if name else kind
    taken: set[int] = set()
    for node, context in [*_by_path(resource, kind, crd_paths), *_by_shape(resource)]:
        taken.add(id(node))
        collector.node(node, f"{label} {context}")
    for key, node in _images(resource):
        if id(node) not in taken:
            hint = f"where it is one that runs, a path like {kind}:{key} makes it count"
            collector.leave_out(node.place, f"{label}: {key} is no container's image; {hint}")
    for inner in _inner(resource):
        read_resource(inner, crd_paths, collector)


def _below(node: Node) -> Iterator[Node]:
    """What stands in a node, without objects of their own."""
    below = node.entries.values() if isinstance(node, Table) else node.items if isinstance(node, Array) else ()
    return (item for item in below if not is_resource(item))


def _inner(node: Node) -> Iterator[Table]:
    below = node.entries.values() if isinstance(node, Table) else node.items if isinstance(node, Array) else ()
    for item in below:
        if is_resource(item) and isinstance(item, Table):
            yield item
        else:
            yield from _inner(item)


def _by_shape(node: Node) -> Iterator[tuple[Node, str]]:
    if isinstance(node, Table):
        for key, what in _CONTAINERS.items():
            for container in node.tables(key):
                if (image := container.get("image")) is not None:
                    yield image, f"{what} {container.text('name')}".rstrip()
        for volume in node.tables("volumes"):
            if (image := volume.get("image", "reference")) is not None:
                yield image, f"volume {volume.text('name')}".rstrip()
    for item in _below(node):
        yield from _by_shape(item)


def _by_path(resource: Table, kind: str, crd_paths: tuple[str, ...]) -> Iterator[tuple[Node, str]]:
    for path in crd_paths:
        wanted, _, keys = path.rpartition(":")
        if wanted in {"", kind}:
            for node in _at(resource, keys.split(".")):
                yield node, keys


def _at(node: Node, keys: list[str]) -> Iterator[Node]:
    if isinstance(node, Array):
        for item in node.items:
            yield from _at(item, keys)
    elif not keys:
        yield node
    elif isinstance(node, Table):
        key = keys[0].removesuffix("[]").removesuffix("[*]")
        found = tuple(node.entries.values()) if key == "*" else (node.get(key),)
        for below in found:
            if below is not None:
                yield from _at(below, keys[1:])


def _images(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every key ``image`` with a text, or with a mapping that has a ``repository``; its path."""
    if isinstance(node, Table):
        for key, item in node.entries.items():
            here = f"{path}.{key}" if path else key
            names = isinstance(item, Scalar) and bool(item.value) and not item.is_null
            if key == "image" and (names or (isinstance(item, Table) and item.text("repository"))):
                yield here, item
            elif not is_resource(item):
                yield from _images(item, here)
    elif isinstance(node, Array):
        for item in node.items:
            if not is_resource(item):
                yield from _images(item, path)
