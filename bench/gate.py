"""The gate beside a thousand images: one repository by digest, by tag, and a hundred repositories."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench import measure, peers
from bench.measure import MB
from tests.trust.builders import a_team, put_state, target_of
from trust.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, Descriptor, image_manifest
from trust.oci.reference import Repository
from trust.oci.registry import Registry
from trust.oci.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measure import Run
    from trust.digest import Digest
    from trust.tuf.roles import Target

IMAGES = 1_000
REPOSITORIES = 100
ROUNDS = 3
_CONFIG = Descriptor.of(b"{}", OCI_CONFIG)
_LAYER = Descriptor.of(b"layer", OCI_LAYER_GZIP)


def bench_gate(scratch: Path, add: Callable[[str, float, float, str], None]) -> None:
    """Add the gate's rows to a report."""
    with peers.registry(scratch) as registry, tempfile.TemporaryDirectory(dir=scratch) as folder:
        home = Path(folder, "home", "dockseal")
        home.mkdir(parents=True)
        pins: list[str] = []
        transport = Transport(registry.address)
        one = _publish(transport, registry.address, "one", IMAGES, pins)
        many = [
            name
            for number in range(REPOSITORIES)
            for name in _publish(transport, registry.address, f"r{number}", IMAGES // REPOSITORIES, pins)
        ]
        (home / "config.toml").write_text("\n".join(pins))
        Path(folder, "policy.toml").write_text('[[rule]]\npattern = "**"\nsigners = "any"\n')
        pinned = [f"{name.rpartition(':')[0]}@{digest}" for name, digest in one.items()]
        runs = _runs(Path(folder), pinned)
        add("gate: 1,000 references pinned by digest, 1 repository, cold", runs[0].wall_s, 2, " s")
        add("the same, warm", median(run.wall_s for run in runs[1:]), 2, " s")
        add("gate: 1,000 tags, 1 repository", median(run.wall_s for run in _runs(Path(folder), list(one))), 6, " s")
        runs = _runs(Path(folder), many)
        add("gate: 1,000 tags, 100 repositories, cold", runs[0].wall_s, 15, " s")
        add("the same, warm", median(run.wall_s for run in runs[1:]), 15, " s")
        add("peak memory of that", max(run.peak_bytes for run in runs) / MB, 100, " MB")


def _runs(folder: Path, names: list[str]) -> list[Run]:
    (folder / "images").write_text("\n".join(names))
    command = [peers.DOCKSEAL, "gate", "--policy", str(folder / "policy.toml"), "--images-from", str(folder / "images")]
    return [measure.run(command, peers.dockseal_environment(folder / "home")) for _ in range(1 + ROUNDS)]


def _publish(transport: Transport, host: str, path: str, count: int, pins: list[str]) -> dict[str, Digest]:
    """A repository with so many different signed images; their names and digests, and its pin."""
    store = Registry(Repository(host, path), transport)
    targets: list[Target] = []
    for descriptor, data in ((_CONFIG, b"{}"), (_LAYER, b"layer")):
        store.put_blob(descriptor, partial(BytesIO, data))
    for number in range(count):
        manifest = image_manifest(_CONFIG, (_LAYER,), annotations={"number": str(number)})
        store.put_manifest(manifest, f"v{number}")
        targets.append(target_of(manifest, f"v{number}"))
    team = a_team(store.repository)
    state = team.first(*targets, now=datetime.now(UTC))
    put_state(store, state)
    pins.append(f'[[pin]]\nrepository = "{store.repository}"\nroot = "{team.pin(state).root}"\n')
    return {f"{store.repository}:{target.tag}": target.digest for target in targets}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        bench_gate(Path(place), lambda *row: print(*row, flush=True))
