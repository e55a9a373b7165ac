"""The lock file: what was verified once, so that a machine without memory sees what is older or other.

::

    {"schema": 1, "images": [{"reference": "ghcr.io/acme/app:v1", "digest": "sha256:…",
                              "root": "sha256:…", "state": 12}]}

``reference`` is the name in full with its tag (its digest where it has no tag), ``digest`` what is signed, ``root``
the newest root file and ``state`` the state's version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trust import strictjson
from trust.digest import Digest
from trust.errors import DocksealError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trust.gate.facts import Image
    from trust.gate.judge import Decision


MAX_BYTES = 16 << 20
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Locked:
    """What was verified of one image."""

    reference: str
    digest: Digest
    root: Digest
    state: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file; ``name`` is the file's."""

    name: str = "dockseal.lock"
    images: Mapping[str, Locked] = field(default_factory=dict)

    def get(self, image: Image) -> Locked | None:
        """What is recorded of an image."""
        return self.images.get(reference_of(image))

    @classmethod
    def parse(cls, data: bytes, name: str) -> Lock:
        """Read a lock file.

        Raises:
            UsageError: it is none: what cannot be read locks nothing, so nothing passes.
        """
        if len(data) > MAX_BYTES:
            raise UsageError(f"{name} has {len(data)} bytes: expected at most {MAX_BYTES}")
        try:
            found = [_locked(item) for item in _items(strictjson.loads_object(data, name))]
        except (ValueError, DocksealError) as error:
            raise UsageError(f"{name} is no lock file: {error}", hint="`dockseal gate --lock` writes one") from error
        images = {item.reference: item for item in found}
        if len(images) != len(found):
            raise UsageError(f"{name} names an image twice", hint="`dockseal gate --lock` writes it anew")
        return cls(name, images)


def reference_of(image: Image) -> str:
    """The name of an image in a lock file: a pinned digest changes with every ``--write``, the tag stays."""
    return str(replace(image.asked, digest=None)) if image.tag is not None else image.name


def write(decisions: Iterable[Decision]) -> bytes:
    """A lock file of what passed; the same decisions give the same bytes."""
    images = {}
    for item in decisions:
        if not item.findings and item.state is not None and item.digest is not None:
            reference = reference_of(item.image)
            images[reference] = {
                "reference": reference,
                "digest": str(item.digest),
                "root": str(item.state.root),
                "state": item.state.version,
            }
    body = {"schema": _SCHEMA, "images": [images[name] for name in sorted(images)]}
    return (json.dumps(body, indent=2) + "\n").encode()


def _items(body: Mapping[str, object]) -> list[object]:
    items = body.get("images")
    if body.get("schema") != _SCHEMA or set(body) != {"schema", "images"} or not isinstance(items, list):
        raise ValueError(f"expected schema {_SCHEMA} and a list of images")
    return items


def _locked(item: object) -> Locked:
    if not isinstance(item, dict) or set(item) != {"reference", "digest", "root", "state"}:
        raise ValueError("an image has reference, digest, root and state")
    if type(item["state"]) is not int or not isinstance(item["reference"], str):
        raise ValueError("reference is text, and state a number")
    return Locked(item["reference"], Digest(str(item["digest"])), Digest(str(item["root"])), item["state"])
