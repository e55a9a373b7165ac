"""What kind a file is of, and which reader it therefore goes to."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.found import Place, Problem
from trust.gate.scan import archives, compose, files, github, gitlab, kubernetes, kustomize
from trust.gate.scan.collect import Collector
from trust.gate.scan.dockerfile import looks_like_dockerfile, read_dockerfile
from trust.gate.scan.dotenv import read_dotenv
from trust.gate.scan.lists import looks_like_list, read_list
from trust.gate.scan.source import Source
from trust.gate.scan.tree import Array, Node, Scalar, Table
from trust.gate.scan.yaml import documents

if TYPE_CHECKING:
    from trust.gate.scan.options import ScanOptions

EMPTY_HINT = "leave it out, or allow files without images with --allow-empty"
_ESCAPE = re.compile(r"\\(?:u00|U0000|x|\r?\n)")
"""Those of JSON and YAML that can hide a letter."""
_PROFILES, _FILES, _SEPARATOR = "COMPOSE_PROFILES", "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR"
"""Docker, "Set or change pre-defined environment variables": what a project's ``.env`` may turn on, too."""
_UNKNOWN = "is of no kind that is read here"
_EXPECTED = (
    "expected a list of images, a Dockerfile, a compose file, Kubernetes manifests, a workflow of GitHub Actions, "
    "or a GitLab CI file"
)


@dataclass(slots=True)
class Reading:
    """Reads inputs one by one; compose files that belong together wait until the end."""

    options: ScanOptions
    collector: Collector = field(default_factory=Collector)
    seen: set[Path] = field(default_factory=set)
    pipelines: dict[Path, bool] = field(default_factory=dict)
    """GitLab CI files, and whether they may set variables: of all jobs, or of one that an included file defines."""
    projects: dict[Path | None, list[tuple[str, compose.Layer]]] = field(default_factory=dict)

    def read_path(self, path: Path) -> None:
        """A file, or all of a folder."""
        place = Place(str(path))
        before = self._count()
        is_folder = False
        try:
            is_folder = path.is_dir()
            for candidate in files.candidates(path, self.options.exclude):
                if (resolved := candidate.path.resolve()) not in self.seen:
                    self.seen.add(resolved)
                    self._read_candidate(candidate)
                elif candidate.named:
                    return
        except (OSError, UsageError) as error:
            self._fail(place, error)
        if is_folder and self._count() == before:
            self._empty(place, "holds no file that names an image", named=True)

    def read_stdin(self, data: bytes) -> None:
        """Lists, manifests, Dockerfiles: by what they say alone."""
        if len(data) > files.MAX_FILE_BYTES:
            self.collector.problem(Place("-"), files.TOO_LARGE)
        else:
            self._read_data("-", None, data, named=True)

    def finish(self) -> None:
        """Read the compose projects, and see that nothing that was asked for is missing."""
        for layers in self.projects.values():
            self._read_project([layer for _, layer in layers], layers[0][0], named=True)
        for need in self.collector.needs:
            known = self.pipelines.keys() if need.pipeline else self.seen
            met = {resolved for path in need.paths if (resolved := _resolved(path)) in known}
            if not met:
                self.collector.problem(need.place, need.message, need.hint)
            elif need.pipeline:
                self._check_included(met)

    def _check_included(self, paths: set[Path | None]) -> None:
        """An included file's own variables do not count where the pipeline's other files set them."""
        if not any(sets for path, sets in self.pipelines.items() if path not in paths):
            return
        for found in self.collector.found:
            if found.place.span is None and _resolved(Path(found.place.path)) in paths:
                message = f"{found.context} is made of variables, which files that include this one may set"
                self.collector.problem(found.place, message, gitlab.INCLUDE_HINT)

    def _read_pipeline(self, node: Table, path: Path | None) -> None:
        gitlab.read_pipeline(node, self.options.env, path, self.collector)
        if path is not None and (resolved := _resolved(path)) is not None:
            self.pipelines[resolved] = "variables" in node.source.text or "\\" in node.source.text

    def _read_candidate(self, candidate: files.Candidate) -> None:
        path, name = candidate.path, candidate.name
        place = Place(name)
        before = self._count()
        if candidate.is_layout:
            archives.read_layout(path, name, self.collector)
        elif not candidate.named and files.is_archive_name(path.name):
            self.collector.leave_out(place, "archives in folders are not opened: name it to have it read")
            return
        elif archives.looks_like_archive(files.head(path, archives.HEAD_BYTES)):
            spool_dir = self.options.spool_dir or Path(tempfile.gettempdir())
            archives.read_archive(path, name, spool_dir, self.collector)
        else:
            self._read_file(candidate)
            return
        self._check_empty(place, before, named=candidate.named)

    def _read_file(self, candidate: files.Candidate) -> None:
        place = Place(candidate.name)
        try:
            self._read_data(candidate.name, candidate.path, files.read(candidate.path), named=candidate.named)
        except UsageError as error:
            self._fail(place, error)

    def _read_data(self, name: str, path: Path | None, data: bytes, *, named: bool) -> None:
        try:
            source = Source.decode(name, data)
        except UsageError as error:
            self._fail(Place(name), error)
            return
        before = self._count()
        base = "" if path is None else path.name
        if files.is_dockerfile_name(base) or looks_like_dockerfile(source):
            read_dockerfile(source, self.options.build_args, self.collector)
        elif named and looks_like_list(source):
            read_list(source, self.collector)
        else:
            if named or not base.endswith(".json") or _may_be_manifest(source):
                self._read_yaml(source, path, named=named)
            return
        self._check_empty(Place(name), before, named=named)

    def _read_yaml(self, source: Source, path: Path | None, *, named: bool) -> None:
        found = documents(source)
        if isinstance(found, Problem):
            self.collector.problem(found.place, found.message, found.hint)
            return
        place = Place(source.name)
        before = self._count()
        unknown = [node for node in found if not self._read_document(node, source, path, named=named)]
        if self._count() == before and unknown and len(unknown) == len(found):
            self._empty(place, _UNKNOWN + (f": {_EXPECTED}" if named else ""), named=named)
        elif unknown:
            for node in unknown:
                self.collector.leave_out(node.place, _UNKNOWN)
        elif not self._waits(path, source.name):
            self._check_empty(place, before, named=named)

    def _read_document(self, node: Node, source: Source, path: Path | None, *, named: bool) -> bool:
        """Whether it is of a kind that is known.

        What a program tolerates beside its own keys decides the order: no file that one program runs may
        pass here for another's.
        """
        base = "" if path is None else path.name.lower()
        if isinstance(node, Array):
            return named and self._read_json_list(node)
        if not isinstance(node, Table):
            return False
        is_resource = kubernetes.is_resource(node)
        if kustomize.is_kustomization(node) or (base in kustomize.NAMES and not is_resource):
            kustomize.read_kustomization(node, path, self.collector)
        elif base.endswith(gitlab.NAME):  # before the others: any word may be the name of a job
            self._read_pipeline(node, path)
        elif is_resource:
            kubernetes.read_resource(node, self.options.crd_paths, self.collector)
        elif github.is_workflow(node):
            github.read_workflow(node, path, self.collector)
        elif github.is_action(node):
            github.read_action(node, path, self.collector)
        elif compose.is_compose(node) or _is_compose_name(base):
            self._take_compose(node, source, path, named=named)
        elif gitlab.is_pipeline(node):
            self._read_pipeline(node, path)
        else:
            return False
        return True

    def _read_json_list(self, node: Array) -> bool:
        if not node.source.text.lstrip().startswith("[") or not all(isinstance(item, Scalar) for item in node.items):
            return False
        for item in node.items:
            self.collector.node(item, "list")
        return True

    # Compose

    def _take_compose(self, node: Table, source: Source, path: Path | None, *, named: bool) -> None:
        """Files that the user named are one project with the others of their folder; those of a walk stand alone."""
        layer = compose.Layer(node, None if path is None else path.parent)
        if named:
            self.projects.setdefault(layer.folder, []).append((source.name, layer))
        else:
            self._read_project([layer], source.name, named=False)

    def _waits(self, path: Path | None, name: str) -> bool:
        layers = self.projects.get(None if path is None else path.parent, ())
        return any(name == other for other, _ in layers)

    def _read_project(self, layers: list[compose.Layer], name: str, *, named: bool) -> None:
        before = self._count()
        folder = layers[0].folder
        dotenv = self._dotenv(folder, name)
        variables = {**dotenv, **self.options.env}
        profiles = (*self.options.profiles, *(text.strip() for text in variables.get(_PROFILES, "").split(",")))
        if folder is not None:
            for text in filter(None, dotenv.get(_FILES, "").split(variables.get(_SEPARATOR) or ":")):
                message = f"{_FILES} names {text[:200]!r}, which is not among the inputs"
                self.collector.need(Place(_env_name(name)), (folder / text,), message, "name it as well")
        around = compose.Surroundings(variables, profiles, self.options.build_args)
        compose.read_project(layers, around, self.collector)
        if named:
            self._check_empty(Place(name), before, named=True)

    def _dotenv(self, folder: Path | None, name: str) -> dict[str, str]:
        if folder is None or not (folder / ".env").is_file():
            return {}
        shown = _env_name(name)
        try:
            source = Source.decode(shown, files.read(folder / ".env"))
        except UsageError as error:
            self._fail(Place(shown), error)
            return {}
        return read_dotenv(source, self.options.env, self.collector)

    # Nothing found

    def _count(self) -> int:
        return len(self.collector.found) + len(self.collector.problems) + len(self.collector.needs)

    def _check_empty(self, place: Place, before: int, *, named: bool) -> None:
        if self._count() == before:
            self._empty(place, "holds no image", named=named)

    def _empty(self, place: Place, message: str, *, named: bool) -> None:
        if named and not self.options.allow_empty:
            self.collector.problem(place, message, EMPTY_HINT)
        else:
            self.collector.leave_out(place, message)

    def _fail(self, place: Place, error: OSError | UsageError) -> None:
        message = error.message if isinstance(error, UsageError) else f"cannot be read: {error.strerror or error}"
        self.collector.problem(place, message, (isinstance(error, UsageError) and error.hint) or "")


def _resolved(path: Path) -> Path | None:
    """Where a path leads that a file names; None where it is no path."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a NUL character
        return None


def _env_name(name: str) -> str:
    return str(PurePosixPath(name).parent / ".env")


def _is_compose_name(base: str) -> bool:
    return base.endswith((".yaml", ".yml")) and base.startswith(("compose.", "docker-compose."))


def _may_be_manifest(source: Source) -> bool:
    """Of the JSON files in a folder, settings and packages mostly, those that say so, or could say it in escapes.

    Without quotes, since kubectl reads YAML under this name, too.
    """
    return _ESCAPE.search(source.text) is not None or ("apiVersion" in source.text and "kind" in source.text)
