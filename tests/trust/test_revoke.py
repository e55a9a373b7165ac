"""Revoking: afterwards no role yields a digest for the tag, and the image is where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.trust.builders import Delegate
from tests.trust.writing import add_signer, folder, live, plain_image
from trust.digest import Digest
from trust.errors import KeyUnavailableError, UnsignedError
from trust.pins import Pin
from trust.revoke import plan_revocation, revoke

if TYPE_CHECKING:
    from tests.trust.writing import People, Person
    from trust.oci.store import Store


def run(person: Person, store: Store, tag: str | None) -> tuple[str, ...]:
    writer = person.writer(store)
    revocation = plan_revocation(writer, tag)
    revoke(writer, revocation)
    return revocation.tags


class TestRevoke:
    def test_one_tag_of_two(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        digests = [ann.push(store, tag, plain_image(tag)).digest for tag in ("v1", "v2")]
        assert run(ann, store, "v1") == ("v1",)
        assert [ann.verdict(store, tag) for tag in ("v1", "v2")] == ["unsigned", "trusted"]
        assert [store.resolve(tag) for tag in ("v1", "v2")] == digests

    def test_all_tags(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        for tag in ("v2", "v1"):
            ann.push(store, tag, plain_image(tag))
        assert run(ann, store, None) == ("v1", "v2")
        assert live(store).tags == ()
        assert [ann.verdict(store, tag) for tag in ("v1", "v2")] == ["unsigned"] * 2

    def test_a_revoked_tag_can_be_signed_again(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        run(ann, store, "v1")
        assert not ann.push(store, "v1", plain_image("a")).unchanged
        assert ann.verdict(store, "v1") == "trusted"

    @pytest.mark.parametrize(("tag", "says"), [("v3", "the tag 'v3' is not signed"), (None, "no tag of this")])
    def test_what_is_not_signed(self, people: People, tag: str | None, says: str) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        if tag is None:
            run(ann, store, None)
        version = live(store).version
        with pytest.raises(UnsignedError, match=says):
            run(ann, store, tag)
        assert live(store).version == version

    def test_where_there_is_no_trust_data(self, people: People) -> None:
        with pytest.raises(UnsignedError, match="holds no trust data"):
            run(people("ann"), folder(people), "v1")

    def test_every_role_that_signs_it_must_be_signed_here(self, people: People) -> None:
        owner, store = people("owner", "root", "targets", "publish", "release"), folder(people)
        owner.push(store, "v1", plain_image("a"))
        add_signer(people.all, store, Delegate("release", paths=("v*",)))
        release = people("release", "release", "publish")
        release.pin(Pin(store.repository, root=Digest.of(live(store).state.roots[0])))
        release.push(store, "v2", plain_image("b"))
        assert run(release, store, "v2") == ("v2",)
        with pytest.raises(UnsignedError, match="targets signs it, and the keys of targets are not on this machine"):
            run(release, store, "v1")
        assert run(owner, store, None) == ("v1",)
        assert live(store).tags == ()

    def test_a_wrong_passphrase_leaves_everything_as_it_was(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        ann.push(store, "v1", plain_image("a"))
        bob = people("bob", passphrase=b"not this one")
        bob.pins[:] = ann.pins
        with pytest.raises(KeyUnavailableError):
            run(bob, store, "v1")
        assert ann.verdict(store, "v1") == "trusted"
