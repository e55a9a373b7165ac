"""kustomization.yaml: what it makes of the files it names is known once it is rendered, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.gate.scan.tree import Array

if TYPE_CHECKING:
    from pathlib import Path

    from trust.gate.scan.collect import Collector
    from trust.gate.scan.tree import Table

NAMES = frozenset({"kustomization.yaml", "kustomization.yml", "kustomization"})
_HINT = "render it: `kustomize build FOLDER | dockseal gate -f -`"
_RENDERED = {
    "images": "changes names, tags and digests of images",
    "helmCharts": "renders charts",
    "helmChartInflationGenerator": "renders charts",
    "generators": "generates resources",
    "transformers": "transforms resources",
    "patches": "changes resources",
    "patchesStrategicMerge": "changes resources",
    "patchesJson6902": "changes resources",
    "replacements": "changes resources",
    "vars": "changes resources",
}
_REMOTE = ("://", "git@", "github.com/")


def is_kustomization(document: Table) -> bool:
    """By its group; Flux has a kind of the same name."""
    return document.text("kind") in {"Kustomization", "Component"} and document.text("apiVersion").startswith(
        "kustomize.config.k8s.io/"
    )


def read_kustomization(document: Table, path: Path | None, collector: Collector) -> None:
    """Note what keeps the other files from telling the images that would run."""
    for key, what in _RENDERED.items():
        if (node := document.get(key)) is not None and not (isinstance(node, Array) and not node.items):
            collector.problem(node.place, f"{key} {what}: the files alone do not tell which images run", _HINT)
    for key in ("resources", "components", "bases"):
        for item in document.items(key):
            text = collector.text(item, key)
            if any(mark in text for mark in _REMOTE):
                collector.problem(item.place, f"{key} names {text[:200]!r}, which is not on this disk", _HINT)
            elif text:
                target = None if path is None else path.parent / text
                paths = () if target is None else (target, *(target / name for name in sorted(NAMES)))
                collector.need(item.place, paths, f"{key} names {text[:200]!r}, which is not among the inputs", _HINT)
