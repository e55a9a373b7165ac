"""What the model assumes of a registry, tried on distribution 2.8 itself (docs/registry-model.md)."""

from __future__ import annotations

import pytest

from bench.assumptions import findings
from trust.oci.reference import Repository
from trust.oci.registry import Registry
from trust.oci.transport import Transport


@pytest.mark.peer("docker-registry")
def test_registry_2_keeps_what_publishing_assumes(registry: str, unique_name: str) -> None:
    def connect() -> Registry:
        return Registry(Repository.parse(f"{registry}/{unique_name}"), Transport(registry))

    found = findings(connect, seconds=1.5)
    assert [item.broken for item in found] == [[], [], []]
    assert all(item.tried for item in found)
