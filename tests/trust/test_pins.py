from __future__ import annotations

from typing import Any

import pytest

from tests.trust.builders import REPOSITORY, a_state, a_team, sign_raw, signed_of, verified
from trust.digest import Digest
from trust.errors import RollbackError, UntrustedRootError
from trust.pins import Pin, pin_for
from trust.tuf.roles import RoleKeys

TEAM = a_team(thresholds={"root": 2})
STATE = TEAM.rotate_root(a_state(team=TEAM))
KEYS = tuple(key.keyid for key in TEAM.keys["root"].keys)
STRANGER = "0" * 64


def test_a_pin_of_a_root_starts_there() -> None:
    for data in STATE.roots:
        assert Pin(REPOSITORY, root=Digest.of(data)).starting_root(STATE) == data
    with pytest.raises(UntrustedRootError, match=r"none of the state's 2 roots is \(its first is sha256:"):
        Pin(REPOSITORY, root=Digest.of(b"another")).starting_root(STATE)


@pytest.mark.parametrize(
    ("keys", "threshold", "accepted"),
    [
        (KEYS, 2, True),
        (KEYS, 1, True),
        (KEYS[:1], 1, True),
        ((*KEYS, STRANGER), 2, True),
        ((STRANGER,), 1, False),
        ((KEYS[0], STRANGER), 2, False),
        ((*KEYS, STRANGER), 3, False),
    ],
    ids=[
        "all of its keys",
        "one of its keys",
        "the only one pinned",
        "two of three pinned",
        "a stranger's",
        "one of two that must sign",
        "a threshold above its own",
    ],
)
def test_a_pin_of_keys_counts_signatures_of_pinned_keys(keys: tuple[str, ...], threshold: int, accepted: bool) -> None:
    pin = Pin(REPOSITORY, root_keys=keys, threshold=threshold)
    if accepted:
        assert pin.starting_root(STATE) == STATE.roots[0]
    else:
        with pytest.raises(UntrustedRootError, match=f"expected {threshold} of "):
            pin.starting_root(STATE)


def test_the_own_threshold_of_a_root_may_not_be_lower_than_the_pins() -> None:
    """Else one of the pinned keys alone could sign what comes after it."""
    team = a_team(thresholds={"root": 2})

    def one_is_enough(body: dict[str, Any]) -> None:
        body["roles"]["root"]["threshold"] = 1

    weak = team.remake(a_state(team=team), {"root": one_is_enough})
    keys = tuple(key.keyid for key in team.keys["root"].keys)
    with pytest.raises(UntrustedRootError):
        Pin(REPOSITORY, root_keys=keys, threshold=2).starting_root(weak)
    assert Pin(REPOSITORY, root_keys=keys, threshold=1).starting_root(weak) == weak.root


def test_a_root_that_lists_a_pinned_key_without_its_signature_is_not_accepted() -> None:
    team, owner = a_team(), TEAM.keys["root"].keys[0]
    state = a_state(team=team)
    body = signed_of(state.root)
    body["keys"][owner.keyid] = owner.to_dict()
    body["roles"]["root"]["keyids"].append(owner.keyid)
    forged = team.remake(state, roots=[sign_raw(body, team.signers("root"))])
    with pytest.raises(UntrustedRootError):
        Pin(REPOSITORY, root_keys=(owner.keyid,), threshold=1).starting_root(forged)


def test_a_pin_of_keys_starts_at_the_oldest_root_that_they_signed() -> None:
    team = a_team()
    state = a_state(team=team)
    new = team.ring.key()
    state = team.rotate_root(state, keys={"root": RoleKeys((new,))})
    assert Pin(REPOSITORY, root_keys=(new.keyid,), threshold=1).starting_root(state) == state.roots[1]


def test_floors() -> None:
    found = verified(STATE)
    Pin(REPOSITORY, min_root=2, min_version=2).check_floors(found)
    with pytest.raises(RollbackError, match="the root is version 2: the pin asks for at least 3"):
        Pin(REPOSITORY, min_root=3).check_floors(found)
    with pytest.raises(RollbackError, match="the state is version 2: the pin asks for at least 3"):
        Pin(REPOSITORY, min_version=3).check_floors(found)


def test_anchors_say_what_is_trusted() -> None:
    root = Digest.of(b"root")
    assert Pin("a", root=root).anchor == str(root)
    assert Pin("a", root_keys=("b", "a"), threshold=1).anchor == Pin("x", root_keys=("a", "b"), threshold=1).anchor
    assert Pin("a", root_keys=("a", "b"), threshold=2).anchor == "2 of a,b"


def test_the_name_that_trust_data_must_bear() -> None:
    assert Pin("a/*").signed_name("a/b") == "a/b"
    assert Pin("a/*", signed_as="c/d").signed_name("a/b") == "c/d"


def test_the_most_specific_pin_holds() -> None:
    pins = [Pin(text) for text in ("**", "ghcr.io/**", "ghcr.io/acme/*", "ghcr.io/acme/app", "ghcr.io/*/app")]
    chosen = {
        "ghcr.io/acme/app": "ghcr.io/acme/app",
        "ghcr.io/acme/web": "ghcr.io/acme/*",
        "ghcr.io/other/app": "ghcr.io/*/app",
        "ghcr.io/a/b/c": "ghcr.io/**",
        "docker.io/library/nginx": "**",
    }
    for name, pattern in chosen.items():
        for order in (pins, pins[::-1]):
            found = pin_for(order, name)
            assert found is not None
            assert found.repository == pattern, name
    assert pin_for(pins[2:], "docker.io/library/nginx") is None
    assert pin_for([], "a/b") is None
