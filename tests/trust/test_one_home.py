"""Two processes that share one DOCKSEAL_HOME: the second runs whole between any two requests of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import Status
from tests.trust.writing import live, plain_image, remote, then

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person

PUSH_REQUESTS = (*range(2, 11), *range(13, 20))
"""Before which the other runs. While Writer.heads is read (0, 1, 11 and 12) it cannot in the same process: until
Python 3.12 all cached properties of a class share one lock."""
VERIFY_REQUESTS = range(2)


@pytest.fixture
def ann(server: FaultyRegistry, people: People) -> Person:
    """She has pushed ``v1``."""
    ann = people("ann")
    ann.push(remote(server.host), "v1", plain_image("one"))
    return ann


def meanwhile(server: FaultyRegistry, action: Callable[[], object], number: int) -> list[bool]:
    """Let a second process run before the request of this number; whether it has."""
    done: list[bool] = []

    def once() -> None:
        action()
        done.append(True)

    server.fail("*", "", then(once), skip=number)
    return done


@pytest.mark.parametrize("number", PUSH_REQUESTS)
@pytest.mark.parametrize("what", ["another tag", "the same image under the same tag"])
def test_two_pushes_with_one_key_both_succeed(server: FaultyRegistry, ann: Person, what: str, number: int) -> None:
    tag, image = ("b", "b") if what == "another tag" else ("a", "a")
    store = remote(server.host)
    done = meanwhile(server, lambda: ann.push(remote(server.host), tag, plain_image(image)), number)
    ann.push(remote(server.host), "a", plain_image("a"))
    assert done, "a push makes so many requests"
    assert {ann.verdict(store, name) for name in ("v1", "a", tag)} == {"trusted"}
    assert live(store).links.pending == ()


@pytest.mark.parametrize("number", VERIFY_REQUESTS)
def test_a_push_while_another_process_verifies_is_no_rollback(server: FaultyRegistry, ann: Person, number: int) -> None:
    done = meanwhile(server, lambda: ann.push(remote(server.host), "v2", plain_image("two")), number)
    assert ann.verdict(remote(server.host), "v1") == "trusted"
    assert done, "a verification makes so many requests"
    assert ann.verdict(remote(server.host), "v2") == "trusted"


def test_a_registry_that_has_lost_a_blob_between_upload_and_announcement_gets_it_again(
    server: FaultyRegistry, ann: Person
) -> None:
    refusal = b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
    server.fail("PUT", r"/manifests/_trust\.", Status(400, body=refusal), times=1)
    ann.push(remote(server.host), "v2", plain_image("two"))
    assert ann.verdict(remote(server.host), "v2") == "trusted"
