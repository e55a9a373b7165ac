"""A YAML document as a tree whose texts know where they stand; :mod:`trust.gate.scan.yaml` makes it.

A scalar stays the text that is written (``on`` is no boolean, ``1.10`` no number), an alias is the
node that it names, and merge keys (``<<``) are resolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trust.gate.found import Place
    from trust.gate.scan.source import Source

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STRING_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text; ``literal`` where the file has it at ``offset`` just as it is."""

    source: Source = field(repr=False)
    value: str
    offset: int
    literal: bool
    plain: bool
    tag: str | None = None

    @property
    def place(self) -> Place:
        """Where the text stands, with its span where it can be rewritten."""
        return self.source.place(self.offset, self.value if self.literal else None)

    @property
    def is_null(self) -> bool:
        """Whether nothing is written, or one of YAML's words for it."""
        return self.plain and self.tag is None and self.value in _NULLS

    @property
    def is_string(self) -> bool:
        """Whether the text is what it means; another tag has its own meaning."""
        return self.tag in _STRING_TAGS


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A sequence."""

    source: Source = field(repr=False)
    items: tuple[Node, ...]
    offset: int
    tag: str | None = None

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.source.place(self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A mapping, with what it merges."""

    source: Source = field(repr=False)
    entries: dict[str, Node]
    offset: int
    tag: str | None = None
    keys: dict[str, int] = field(default_factory=dict)
    """Where each key of its own stands; merged ones stand elsewhere."""

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.source.place(self.offset)

    def get(self, *keys: str) -> Node | None:
        """What stands at the end of these keys; None where nothing, or null, does."""
        node: Node | None = self
        for key in keys:
            node = node.entries.get(key) if isinstance(node, Table) else None
        return None if isinstance(node, Scalar) and node.is_null else node

    def table(self, *keys: str) -> Table | None:
        """Like :meth:`get`, where it is a mapping."""
        node = self.get(*keys)
        return node if isinstance(node, Table) else None

    def items(self, *keys: str) -> tuple[Node, ...]:
        """The items of the sequence there; none where there is no sequence."""
        node = self.get(*keys)
        return node.items if isinstance(node, Array) else ()

    def tables(self, *keys: str) -> Iterator[Table]:
        """Those items of the sequence there that are mappings."""
        return (item for item in self.items(*keys) if isinstance(item, Table))

    def text(self, *keys: str) -> str:
        """The text there, or an empty one."""
        node = self.get(*keys)
        return node.value if isinstance(node, Scalar) else ""


Node = Scalar | Array | Table
