"""YAML and JSON files into trees.

ruamel.yaml gives the events and their marks; the tree is made here. Its own composer and
constructors are not used: they resolve types, forget where texts stand, and follow any tag and any
number of aliases. What two programs could read differently is refused here: duplicate keys, keys
that are no text, aliases inside what they name, merge keys behind a key that they bring, too (kubectl and
GitLab take what is merged then, others what is written).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trust.gate.found import Problem
from trust.gate.scan.collect import RENDER_HINT
from trust.gate.scan.tree import Array, Node, Scalar, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.events import Event

    from trust.gate.scan.source import Source

MAX_DEPTH = 100
MAX_NODES = 1_000_000
"""With every alias counted as a copy of its node, so that whoever walks a tree may enter aliases freely."""
_MERGE_KEY = "<<"
_BINARY = "tag:yaml.org,2002:binary"
_DIFFERENT = re.compile("[\x85\u2028\u2029\ufeff]")
"""Line ends of YAML 1.1 that are none in YAML 1.2, and a byte order mark past the file's beginning, which some skip."""
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def documents(source: Source) -> tuple[Node, ...] | Problem:
    """The documents of a file, empty ones left out, or why it cannot be read."""
    text = source.text
    if (found := _DIFFERENT.search(text)) is not None:
        message = f"holds the character U+{ord(found[0]):04X}: a line may end or begin there for one program alone"
        return Problem(source.place(found.start()), message)
    if text.lstrip()[:1] in {"{", "["}:
        text = text.replace("\t", " ")  # JSON's own blank, which this parser refuses; no JSON string may hold one
    try:
        return _Composer(source, YAML(typ="safe", pure=True).parse(text)).documents()
    except _RefusedError as error:
        return Problem(source.place(error.offset), error.message, RENDER_HINT if "{{" in source.text else "")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unreadable(source, mark.index if mark else 0, error.problem or error.context or "")
    except (YAMLError, ArithmeticError, LookupError, ValueError) as error:  # the builtin ones: of bad escapes
        return _unreadable(source, 0, str(error).partition("\n")[0])


def _unreadable(source: Source, offset: int, reason: str) -> Problem:
    place = source.place(min(offset, len(source.text)))
    if "{{" in source.text:
        return Problem(place, "is no YAML, but looks like a template of it", RENDER_HINT)
    return Problem(place, f"is no YAML: {reason[:200]}")


class _RefusedError(Exception):
    """Never leaves this module."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


@dataclass(frozen=True, slots=True)
class _Sized:
    """A node, with how many nodes it stands for and how deep they go, aliases counted as copies."""

    node: Node
    nodes: int = 1
    depth: int = 1


@dataclass(slots=True)
class _Composer:
    """Makes trees of the parser's events."""

    source: Source
    events: Iterator[Event]
    anchors: dict[str, _Sized | None] = field(default_factory=dict)

    def documents(self) -> tuple[Node, ...]:
        found = []
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                self.anchors.clear()
                found.append(self._node(self._next(), 1).node)
        return tuple(node for node in found if not (isinstance(node, Scalar) and node.is_null))

    def _next(self) -> NodeEvent:
        return cast("NodeEvent", next(self.events))  # what opens a document or collection is followed by one

    def _node(self, event: NodeEvent, level: int) -> _Sized:
        if isinstance(event, AliasEvent):
            return self._named(event)
        if level > MAX_DEPTH:
            raise _RefusedError(event.start_mark.index, _TOO_DEEP)
        if event.anchor:
            self.anchors[event.anchor] = None  # until it is complete
        if isinstance(event, ScalarEvent):
            sized = _Sized(self._scalar(event))
        elif isinstance(event, SequenceStartEvent):
            sized = self._array(event, level)
        else:
            sized = self._table(cast("CollectionStartEvent", event), level)
        if event.anchor:
            self.anchors[event.anchor] = sized
        return sized

    def _named(self, event: NodeEvent) -> _Sized:
        if (sized := self.anchors.get(event.anchor)) is None:
            known = "is used inside what it names" if event.anchor in self.anchors else "is not defined before it"
            raise _RefusedError(event.start_mark.index, f"the alias *{event.anchor[:80]} {known}")
        return sized

    def _scalar(self, event: ScalarEvent) -> Scalar:
        """With its place: the text ends where the mark ends, while tags and anchors stand at the mark's beginning."""
        if event.tag == _BINARY:
            raise _RefusedError(event.start_mark.index, "a text is in base64 (!!binary), which hides what it says")
        quotes = 1 if event.style in {"'", '"'} else 0
        begin = event.end_mark.index - quotes - len(event.value)
        literal = (
            event.style not in {"|", ">"}
            and begin >= event.start_mark.index + quotes
            and self.source.text.startswith(event.value, begin)
            and (not quotes or self.source.text[begin - 1] == event.style)
        )
        offset = begin if literal else event.start_mark.index
        value = event.value if literal else self._paired(event)
        return Scalar(self.source, value, offset, literal, event.style is None, _tag(event))

    def _paired(self, event: ScalarEvent) -> str:
        r"""JSON escapes what is past U+FFFF as two halves (``"\ud83d\ude00"``); this parser leaves them so."""
        try:
            return str(event.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise _RefusedError(event.start_mark.index, "a text holds half a character (a lone surrogate)") from error

    def _array(self, event: SequenceStartEvent, level: int) -> _Sized:
        items = []
        while not isinstance(item := self._next(), SequenceEndEvent):
            items.append(self._node(item, level + 1))
        node = Array(self.source, tuple(item.node for item in items), event.start_mark.index, _tag(event))
        return self._sized(node, items, level)

    def _table(self, event: CollectionStartEvent, level: int) -> _Sized:
        own: dict[str, _Sized] = {}
        keys: dict[str, int] = {}
        merged: dict[str, Node] = {}
        while not isinstance(key := self._next(), MappingEndEvent):
            name, offset = self._key(key), key.start_mark.index
            if name in own:
                raise _RefusedError(offset, f"the key {name[:80]!r} occurs twice in one mapping")
            keys[name] = offset
            own[name] = self._node(self._next(), level + 1)
            if name == _MERGE_KEY:
                if not isinstance(key, ScalarEvent) or key.style is not None or key.tag is not None:
                    raise _RefusedError(offset, "<< is written so that only some programs merge what it names")
                merged = _merged(own[name].node, offset)
                if (both := next((known for known in own if known in merged), None)) is not None:
                    message = f"<< brings {both[:80]!r}, which stands before it: programs differ in which one counts"
                    raise _RefusedError(offset, message)
        entries = merged | {name: sized.node for name, sized in own.items() if name != _MERGE_KEY}
        node = Table(self.source, entries, event.start_mark.index, _tag(event), keys)
        return self._sized(node, list(own.values()), level, extra=len(own))

    def _key(self, event: NodeEvent) -> str:
        node = None if isinstance(event, CollectionStartEvent) else self._node(event, 1).node
        if not isinstance(node, Scalar):
            raise _RefusedError(event.start_mark.index, "a key is a list or mapping: expected a text")
        if not node.is_string:
            raise _RefusedError(event.start_mark.index, f"a key has the tag {str(node.tag)[:80]}: expected a text")
        return node.value

    def _sized(self, node: Array | Table, below: list[_Sized], level: int, extra: int = 0) -> _Sized:
        nodes = 1 + extra + sum(sized.nodes for sized in below)
        depth = 1 + max((sized.depth for sized in below), default=0)
        if nodes > MAX_NODES:
            raise _RefusedError(node.offset, f"aliases expand it to more than {MAX_NODES} nodes")
        if level + depth - 1 > MAX_DEPTH:
            raise _RefusedError(node.offset, _TOO_DEEP)
        return _Sized(node, nodes, depth)


def _tag(event: ScalarEvent | CollectionStartEvent) -> str | None:
    return event.tag


def _merged(node: Node, offset: int) -> dict[str, Node]:
    """What ``<<`` brings: of several mappings the first has the say (YAML's merge key type)."""
    merged: dict[str, Node] = {}
    for item in node.items if isinstance(node, Array) else (node,):
        if not isinstance(item, Table):
            raise _RefusedError(offset, "<< merges something that is no mapping")
        merged = item.entries | merged
    return merged
