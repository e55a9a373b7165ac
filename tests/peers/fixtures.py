"""Registries for tests: one of each kind a session (a worker), started when first asked for.

A test that uses them is marked ``@pytest.mark.peer("docker-registry")`` and chooses a repository
name of its own: ``unique_name`` makes one.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.peers.registry import PASSWORD, USER, Htpasswd, TokenServer, start_registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class TokenRegistry:
    """A registry with token auth, and its token server."""

    host: str
    tokens: TokenServer
    user: str = USER
    password: str = PASSWORD


@dataclass(frozen=True, slots=True)
class HtpasswdRegistry:
    """A registry with basic auth."""

    host: str
    user: str = USER
    password: str = PASSWORD


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``localhost:PORT`` of a real registry that lets everybody do everything, deletion included."""
    with start_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def registry_htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HtpasswdRegistry]:
    """A real registry with basic auth."""
    with start_registry(tmp_path_factory.mktemp("registry-htpasswd"), auth=Htpasswd()) as host:
        yield HtpasswdRegistry(host)


@pytest.fixture(scope="session")
def registry_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenRegistry]:
    """A real registry with token auth: anonymous pulls of ``public/…``, everything else for the user."""
    with (
        TokenServer() as tokens,
        start_registry(tmp_path_factory.mktemp("registry-token"), auth=tokens) as host,
    ):
        yield TokenRegistry(host, tokens)


@pytest.fixture
def unique_name() -> str:
    """A repository path that no other test uses."""
    return f"test/{uuid.uuid4().hex[:12]}"
