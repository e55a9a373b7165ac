"""GitHub Actions: job and service containers of workflows, ``docker://`` actions, and ``action.yml``.

What an action of another repository runs is that repository's to say; it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.scan.tree import Node, Scalar, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trust.gate.scan.collect import Collector

DOCKER = "docker://"
_HINT = "an expression is known when the workflow runs: write the image out, or name what it can be on the command line"


def is_workflow(document: Table) -> bool:
    """By ``on`` and ``jobs``."""
    return "on" in document.entries and document.table("jobs") is not None


def is_action(document: Table) -> bool:
    """By ``runs.using``."""
    return bool(document.text("runs", "using"))


def read_workflow(document: Table, path: Path | None, collector: Collector) -> None:
    """All images of all jobs."""
    jobs = document.table("jobs")
    for name, job in jobs.entries.items() if jobs is not None else ():
        if not isinstance(job, Table):
            continue
        _read_container(job.get("container"), f"job {name}", collector)
        services = job.get("services")
        if isinstance(services, Table):
            for service, node in services.entries.items():
                _read_container(node, f"job {name} service {service}", collector)
        else:
            collector.text(services, f"job {name} services", expanded=_written_out, hint=_HINT)
        _read_uses(job.get("uses"), f"job {name}", path, collector)
        for step in job.tables("steps"):
            _read_uses(step.get("uses"), f"job {name} step", path, collector)


def read_action(document: Table, path: Path | None, collector: Collector) -> None:
    """The image that an action is, or those of the steps that it is composed of."""
    image = document.get("runs", "image")
    if isinstance(image, Scalar) and not image.value.lower().startswith(DOCKER):
        paths = () if path is None else (path.parent / image.value,)
        collector.need(
            image.place, paths, f"the action is built from {image.value[:200]!r}, which is not among the inputs"
        )
    else:
        _read_uses(image, "action", path, collector)
    for step in document.tables("runs", "steps"):
        _read_uses(step.get("uses"), "action step", path, collector)


def _read_container(node: Node | None, context: str, collector: Collector) -> None:
    image = node.get("image") if isinstance(node, Table) else node
    collector.node(image, context, expanded=_written_out, hint=_HINT)


def _written_out(text: str) -> str:
    if "${{" in text:
        raise UsageError(f"{text[:200]!r} holds an expression")
    return text


def _read_uses(node: Node | None, context: str, path: Path | None, collector: Collector) -> None:
    text = collector.text(node, context)
    if not text or not isinstance(node, Scalar):
        return
    if text.lower().startswith(DOCKER):
        offset = node.offset + (len(DOCKER) if node.literal else 0)
        image = text[len(DOCKER) :]
        place = node.source.place(offset, image if node.literal else None)
        collector.image(image, place, context)
    elif text.startswith("./"):
        collector.need(
            node.place, tuple(_local(text, path)), f"{context} uses {text[:200]!r}, which is not among the inputs"
        )
    elif ".github/workflows/" in text:
        collector.leave_out(node.place, f"{context} calls {text[:200]!r}, a workflow of another repository")


def _local(text: str, path: Path | None) -> Iterator[Path]:
    """Where a path below the repository's root may lead: the folder of ``.github``, else some folder above the file."""
    above = path.absolute().parents if path is not None else ()
    for root in [folder.parent for folder in above if folder.name == ".github"] or above:
        target = root / text
        yield from (target, target / "action.yml", target / "action.yaml", target / "Dockerfile")
