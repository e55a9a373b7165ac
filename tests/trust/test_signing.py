"""From a role's key ids to those who sign for it on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Role

from tests.trust.writing import example_keys
from trust.errors import KeyUnavailableError, UnsignedError
from trust.signing import KeySigning

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trust.writing import People


def role_of(people: People, *labels: str, threshold: int = 1) -> Role:
    return Role([people.all.find(label).key_id for label in labels], threshold)


@pytest.mark.parametrize(
    ("here", "threshold", "signs"),
    [
        (("root",), 1, True),
        (("targets",), 1, False),
        (("root",), 2, False),
        (("root", "root-b"), 2, True),
        (("root", "root-b", "targets"), 1, True),
    ],
    ids=["its key", "another key", "one of two", "both", "more than needed"],
)
def test_as_many_as_the_threshold_asks_for(
    people: People, here: tuple[str, ...], threshold: int, *, signs: bool
) -> None:
    signing = people("somebody", *here).signing
    role = role_of(people, "root", "root-b", threshold=threshold)
    assert signing.can_sign(role) is signs
    if signs:
        used = [signer.public_key.keyid for signer in signing("root", role)]
        assert used == role.keyids[:threshold]
    else:
        with pytest.raises(UnsignedError, match=f"cannot sign as root: {threshold} of the keys"):
            signing("root", role)


def test_all_of_several_keys_or_not(people: People) -> None:
    signing = people("somebody", "root", "targets").signing
    ids = {label: people.all.find(label).key_id for label in ("root", "targets", "release")}
    assert signing.holds_all({ids["root"], ids["targets"]})
    assert not signing.holds_all({ids["root"], ids["release"]})


def test_a_wrong_passphrase_is_no_missing_signature(people: People) -> None:
    signing = people("somebody", "root", passphrase=b"not this one").signing
    role = role_of(people, "root")
    assert signing.can_sign(role), "whether it can be unlocked shows when it is"
    with pytest.raises(KeyUnavailableError):
        signing("root", role)


@pytest.mark.parametrize("allowed", [True, False])
def test_published_keys_sign_only_where_that_is_allowed(tmp_path: Path, *, allowed: bool) -> None:
    keys = example_keys(tmp_path)
    role = Role([keys.find("targets").key_id], 1)
    signing = KeySigning(keys, allow_example_keys=allowed)
    if allowed:
        assert len(signing("targets", role)) == 1
    else:
        with pytest.raises(KeyUnavailableError, match="anybody can sign with it") as caught:
            signing("targets", role)
        assert "DOCKSEAL_ALLOW_EXAMPLE_KEYS=1" in (caught.value.hint or "")
