"""A repository with a hundred thousand signed tags in hash bins, beside one with a hundred.

    python -m bench.tags NAME COUNT

signs so many tags of NAME in one state, in the environment of a user who has begun it: what years of pushes leave.
"""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from bench import measure, peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.measure import Run

FEW = 100
MANY = 100_000
BINS = 1024
LISTINGS_A_PUSH = 5
"""How often a push lists the tags: before it uploads, signs and points, after that, and when the tag has moved."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One of the two, and the home of who signs it."""

    registry: peers.Registry
    name: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return peers.dockseal_environment(self.home)

    @property
    def full_name(self) -> str:
        return f"{self.registry.address}/{self.name}"

    def dockseal(self, *arguments: str, home: Path | None = None) -> Run:
        environment = peers.dockseal_environment(home) if home else self.environment
        return measure.run([peers.DOCKSEAL, *arguments], environment)

    def fill(self, source: str, count: int, bins: int) -> None:
        """Begin it, and sign so many tags of one image, which are in the registry, too."""
        self.dockseal("repo", "init", "--bins", str(bins), self.full_name)
        self.dockseal("push", "-q", "--from", source, f"{self.full_name}:v1")
        measure.run([sys.executable, "-m", "bench.tags", self.full_name, str(count)], self.environment)
        manifests = self.registry.root / "docker" / "registry" / "v2" / "repositories" / self.name / "_manifests"
        link = (manifests / "tags" / "v1" / "current" / "link").read_text()
        for tag in _tags(count):  # as the registry itself writes them, and a thousand times as fast
            folder = manifests / "tags" / tag
            for path in (folder / "current", folder / "index" / "sha256" / link.partition(":")[2]):
                path.mkdir(parents=True)
                (path / "link").write_text(link)

    def listing_s(self) -> float:
        """How long the registry takes for the list of all tags."""
        begin = perf_counter()
        with urllib.request.urlopen(f"http://{self.full_name.replace('/', '/v2/', 1)}/tags/list") as answer:
            answer.read()
        return perf_counter() - begin


def _tags(count: int) -> Iterator[str]:
    return (f"build-{number:06}" for number in range(count))


def sign_all(name: str, count: int) -> None:
    from cli.desk import Desk, TrustOptions
    from trust.oci.source import StoreName
    from trust.tuf.draft import Change
    from trust.tuf.roles import Target

    desk = Desk()
    store = desk.store(StoreName.parse(name))
    writer = desk.writer(store, desk.machine(TrustOptions()))
    image = store.get_manifest("v1")
    targets = tuple(Target(tag, image.digest, image.size, image.media_type, desk.now) for tag in _tags(count))
    writer.publish(writer.plan(Change(put={"targets": targets})))


if __name__ == "__main__":
    sign_all(sys.argv[1], int(sys.argv[2]))
