"""Where the readers of all kinds of files put what they find."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trust.errors import UsageError
from trust.gate.found import Found, LeftOut, Place, Problem, Scan
from trust.gate.scan.tree import Scalar
from trust.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trust.gate.scan.tree import Node

RENDER_HINT = "it is a template: render it first, as in `helm template CHART | dockseal gate -f -`"

_VARIABLE_HINT = "nothing here knows the variable: give the file as it is once that is put in (envsubst, oc process, …)"


@dataclass(frozen=True, slots=True)
class Need:
    """Another file that may name images: a problem unless it is one of the inputs.

    Attributes:
        place: where it is named.
        paths: where it may be; empty where nobody can tell.
        message: what needs it.
        pipeline: whether it must be read as a GitLab CI file.
    """

    place: Place
    paths: tuple[Path, ...]
    message: str
    hint: str = ""
    pipeline: bool = False


@dataclass(slots=True)
class Collector:
    """Grows while files are read; the same finding at the same place counts once."""

    found: dict[Found, None] = field(default_factory=dict)
    problems: dict[Problem, None] = field(default_factory=dict)
    left_out: dict[LeftOut, None] = field(default_factory=dict)
    needs: dict[Need, None] = field(default_factory=dict)

    def image(self, text: str, place: Place, context: str = "") -> None:
        """Note an image; what no reference can be is a problem."""
        if "{{" in text:
            return self.problem(place, f"{text[:200]!r} is no reference yet", RENDER_HINT)
        try:
            Reference.parse(text)
        except UsageError as error:
            return self.problem(place, error.message, _VARIABLE_HINT if "$" in text else error.hint or "")
        if text.startswith("oci:"):  # whoever runs the file takes it for the image oci of the hub, and for no folder
            text = f"docker.io/library/{text}"
        self.found[Found(text, place, context)] = None
        return None

    def layout_tag(self, name: str, place: Place) -> None:
        """Note a tag of an image layout folder, ``oci:FOLDER:TAG``."""
        self.found[Found(name, place, "tag of the layout")] = None

    def node(
        self, node: Node | None, context: str, *, expanded: Callable[[str], str] | None = None, hint: str = ""
    ) -> None:
        """Note the image that a YAML node names, if any.

        Args:
            node: where an image may stand; None, null and an empty text name none.
            context: what the image is for.
            expanded: puts values in the place of variables, and may raise UsageError.
            hint: what to do where that fails.
        """
        text = self.text(node, context, expanded=expanded, hint=hint)
        if text and isinstance(node, Scalar):
            self.image(text, node.place if text == node.value else replace(node.place, span=None), context)

    def text(
        self, node: Node | None, context: str, *, expanded: Callable[[str], str] | None = None, hint: str = ""
    ) -> str:
        """The text of a YAML node with variables resolved; empty for none, and where there is a problem."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return ""
        if not isinstance(node, Scalar) or not node.is_string:
            what = f"the tag {node.tag}" if node.tag else "a list or mapping"
            self.problem(node.place, f"{context}: expected a text, got {what[:100]}")
            return ""
        try:
            return node.value if expanded is None else expanded(node.value)
        except UsageError as error:
            self.problem(node.place, f"{context}: {error.message}", error.hint or hint)
            return ""

    def problem(self, place: Place, message: str, hint: str = "") -> None:
        """Note what could not be read."""
        self.problems[Problem(replace(place, span=None), message, hint)] = None

    def leave_out(self, place: Place, reason: str) -> None:
        """Note what yields no image on purpose."""
        self.left_out[LeftOut(replace(place, span=None), reason)] = None

    def need(
        self, place: Place, paths: tuple[Path, ...], message: str, hint: str = "", *, pipeline: bool = False
    ) -> None:
        """Note a file that must be among the inputs."""
        self.needs[Need(place, paths, message, hint, pipeline)] = None

    def result(self) -> Scan:
        """What was found, without the needs, which the caller has met or turned into problems."""
        paths: dict[str, int] = {}
        findings: tuple[Found | Problem | LeftOut, ...] = (*self.found, *self.problems, *self.left_out)
        for item in findings:
            paths.setdefault(item.place.path, len(paths))

        def position(item: Found | Problem | LeftOut) -> tuple[int, int, int]:
            return paths[item.place.path], item.place.line, item.place.column

        return Scan(
            tuple(sorted(self.found, key=position)),
            tuple(sorted(self.problems, key=position)),
            tuple(sorted(self.left_out, key=position)),
        )
