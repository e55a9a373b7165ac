"""Try whether a registry keeps what dockseal's publishing assumes of it (docs/registry-model.md).

    python -m bench.assumptions NAME [--seconds 20]

NAME is a repository that may be written to and thrown away, such as ``ghcr.io/me/scratch``; credentials are docker's.
It is left with a few hundred small manifests, and tags that begin with ``try-``.
"""

from __future__ import annotations

import argparse
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from trust.errors import DocksealError
from trust.oci.manifest import OCI_CONFIG, Descriptor, image_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.digest import Digest
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store

    Connect = Callable[[], Store]
    """A connection of its own for whoever asks."""

WRITERS = 4
MAX_TAGS = 100_000
CONFIG = b"{}"


@dataclass(slots=True)
class Finding:
    """How often an assumption was tried, and what spoke against it."""

    assumption: str
    tried: int = 0
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, *, kept: bool, what: str) -> None:
        """Count one try."""
        with self._lock:
            self.tried += 1
            if not kept:
                self.broken.append(what)

    def __str__(self) -> str:
        return f"{self.assumption}: tried {self.tried} times, broken {len(self.broken)} times {self.broken[:3] or ''}"


@dataclass(frozen=True, slots=True)
class Trial:
    """Writers and readers on one repository, until ``end`` (monotonic seconds)."""

    connect: Connect
    end: float

    def manifest(self, text: str) -> Manifest:
        """A small one of its own."""
        return image_manifest(Descriptor.of(CONFIG, OCI_CONFIG), (), annotations={"try": text})

    def tag_is_read(self) -> Finding:
        """Several writers, each with a tag of its own, which another connection reads at once."""
        found = Finding("who reads a tag after a put was answered gets what was put")

        def work(number: int) -> None:
            writer, reader, count = self.connect(), self.connect(), 0
            while monotonic() < self.end:
                manifest, count = self.manifest(f"read {number} {count}"), count + 1
                writer.put_manifest(manifest, f"try-read-{number}")
                got = reader.resolve(f"try-read-{number}")
                found.note(kept=got == manifest.digest, what=f"put {manifest.digest}, got {got}")

        return self._all(work, found)

    def tag_is_listed(self) -> Finding:
        """Several writers put tag after tag; each then lists on another connection."""
        found = Finding("who lists the tags after a put was answered finds the tag, and all that were answered before")
        answered: list[str] = []

        def work(number: int) -> None:
            writer, reader, count = self.connect(), self.connect(), 0
            while monotonic() < self.end:
                tag, count = f"try-list-{number}-{count}", count + 1
                writer.put_manifest(self.manifest(tag), tag)
                answered.append(tag)
                expected = set(answered)
                missing = expected - set(reader.tags(MAX_TAGS))
                found.note(kept=not missing, what=f"without {sorted(missing)[:3]}")

        return self._all(work, found)

    def put_is_whole(self) -> Finding:
        """Several writers put one tag over and over; each reads in between. In the end it stays as somebody left it."""
        found = Finding("a tag that several put at once always names a whole manifest of one of them, and then stays")
        last: dict[int, Digest] = {}
        written: set[Digest] = set()

        def work(number: int) -> None:
            store, count = self.connect(), 0
            while monotonic() < self.end:
                manifest, count = self.manifest(f"whole {number} {count}"), count + 1
                written.add(manifest.digest)
                store.put_manifest(manifest, "try-whole")
                last[number] = manifest.digest
                try:
                    got: object = store.get_manifest("try-whole").digest
                except DocksealError as error:
                    got = error
                found.note(kept=got in written, what=str(got))

        self._all(work, found)
        ends = {self.connect().resolve("try-whole") for _ in range(10)}
        found.note(kept=len(ends) == 1 and ends <= set(last.values()), what=f"ended on {ends}")
        return found

    def _all(self, work: Callable[[int], None], found: Finding) -> Finding:
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(work, range(WRITERS)))
        return found


def findings(connect: Connect, seconds: float) -> tuple[Finding, ...]:
    """Try each assumption for a third of the time."""
    store = connect()
    store.put_blob(Descriptor.of(CONFIG, OCI_CONFIG), partial(io.BytesIO, CONFIG))
    trials = (Trial.tag_is_read, Trial.tag_is_listed, Trial.put_is_whole)
    return tuple(trial(Trial(connect, monotonic() + seconds / len(trials))) for trial in trials)


def main() -> None:
    """Try a registry, and say what was found."""
    from cli.desk import Desk
    from trust.oci.source import StoreName

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    found = findings(lambda: Desk().store(StoreName.parse(options.name)), options.seconds)
    print("\n".join(map(str, found)))
    if any(item.broken for item in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
