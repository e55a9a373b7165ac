"""Copies carry images and trust byte for byte, and verify under the same root."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.doubles.faulty_registry import Drop, FaultyRegistry
from tests.oci.samples import sample
from tests.trust.builders import Delegate, a_state, a_team, put_state
from tests.trust.teams import Crew
from tests.trust.writing import (
    add_signer,
    final_image,
    folder,
    index_image,
    live,
    plain_image,
    remote,
    state_of,
)
from trust.approval import approve, export_file, import_file, open_file
from trust.copy import Copied, copy
from trust.digest import Digest
from trust.errors import (
    ConflictError,
    ExpiredError,
    MismatchError,
    MissingError,
    RollbackError,
    UnreachableError,
    UnsignedError,
    UntrustedRootError,
    UsageError,
)
from trust.pins import Pin
from trust.proposals import store_proposal
from trust.read import Reader
from trust.repo import refresh
from trust.revoke import plan_revocation
from trust.sign import sign
from trust.states import POINTER_TAG, own_tag
from trust.team import plan_rotation, plan_signer
from trust.tuf.edits import KeyChange, NewSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trust.writing import People, Person
    from trust.oci.layout import Layout
    from trust.oci.registry import Registry
    from trust.oci.store import Store

TAGS = ("v1", "v2")


@pytest.fixture
def ann(people: People) -> Person:
    return people("ann")


@pytest.fixture
def source(people: People, ann: Person) -> Layout:
    """A repository with two signed tags, an index among them."""
    store = folder(people, "source")
    ann.push(store, "v1", plain_image("a", "b"))
    ann.push(store, "v2", index_image("amd64", "arm64"))
    return store


def run(person: Person, source: Store, target: Store, tag: str | None = None) -> Copied:
    return copy(source, target, tag, person.machine(), person.uploads(target))


def state_tags(store: Store) -> dict[str, Digest | None]:
    return {tag: store.resolve(tag) for tag in store.tags(100) if tag.startswith("_trust")}


class TestCopy:
    def test_makes_no_tag_that_reads_like_a_digest(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people, "target")
        with pytest.raises(UsageError, match="reads like a digest"):
            run(ann, source, target, f"sha256-{'ab' * 32}")
        assert target.tags(10) == ()

    def test_from_registry_to_folder_to_registry(self, server: FaultyRegistry, people: People, ann: Person) -> None:
        first, between = remote(server.host, "team/app"), folder(people, repository=None)
        root = None
        digests = [ann.push(first, tag, plain_image(tag, "shared")).digest for tag in TAGS]
        with FaultyRegistry() as second:
            last = remote(second.host, "mirror/app")
            for source, target in ((first, between), (between, last)):
                copied = run(ann, source, target)
                root = copied.pin.root
                assert copied.tags == tuple(zip(TAGS, digests, strict=True))
                assert copied.missing == ()
                assert copied.pin.signed_as == first.repository
                assert target.get_manifest(POINTER_TAG).raw == first.get_manifest(POINTER_TAG).raw
                state = live(first)
                assert target.resolve(own_tag(state.version, state.identity)) == target.resolve(POINTER_TAG)
                assert [ann.trusted_digest(target, tag) for tag in TAGS] == digests
            for store in (between, last):
                other = people.onlooker(store.repository.replace("/", "_"), Pin(store.repository, root=root))
                assert other.verdict(store, "v1") == "untrusted-root", "a pin must say what it is a copy of"
                other.pin(Pin(store.repository, root=root, signed_as=first.repository))
                assert other.verdict(store, "v1") == "trusted"

    def test_of_one_tag_carries_the_whole_trust(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        copied = run(ann, source, target, "v1")
        assert [tag for tag, _ in copied.tags] == ["v1"]
        assert target.get_manifest(POINTER_TAG).raw == source.get_manifest(POINTER_TAG).raw
        assert [ann.verdict(target, tag) for tag in TAGS] == ["trusted", "missing"]

    def test_onto_itself_changes_nothing(self, server: FaultyRegistry, people: People, source: Layout) -> None:
        ann = people("mirror")
        ann.pin(Pin(source.repository, root=Digest.of(live(source).state.roots[0])))
        run(ann, source, remote(server.host))
        server.clear()
        run(ann, source, remote(server.host))
        assert [request.path for request in server.writes] == [f"/v2/app/manifests/{tag}" for tag in TAGS]
        run(ann, remote(server.host), remote(server.host))
        assert ann.verdict(remote(server.host), "v1") == "trusted"

    def test_under_the_same_name_needs_no_signed_as(self, people: People, ann: Person, source: Layout) -> None:
        copied = run(ann, source, folder(people, "usb stick"))
        assert copied.pin.signed_as is None
        assert len(ann.pins) == 1

    def test_layers_that_are_there_are_not_read(self, server: FaultyRegistry, ann: Person, source: Layout) -> None:
        run(ann, source, remote(server.host), "v1")
        server.clear()
        run(ann, source, remote(server.host), "v1")
        assert [request for request in server.writes if "/blobs/" in request.path] == []

    def test_tags_move_after_the_state(
        self, server: FaultyRegistry, people: People, ann: Person, source: Layout
    ) -> None:
        server.fail("PUT", f"/manifests/{POINTER_TAG}$", Drop(), times=None)
        with pytest.raises(UnreachableError):
            run(ann, source, remote(server.host))
        assert [tag for tag in TAGS if tag in server.tags["app"]] == []
        server.clear()
        run(ann, source, remote(server.host))
        assert ann.verdict(remote(server.host), "v1") == "trusted"


class TestWhatIsNotCopied:
    def test_an_unsigned_tag(self, people: People, ann: Person, source: Layout) -> None:
        sample("u").put(source, "unsigned")
        with pytest.raises(UnsignedError, match="no signed tag 'unsigned'"):
            run(ann, source, folder(people), "unsigned")
        run(ann, source, folder(people))
        assert folder(people).resolve("unsigned") is None

    def test_an_image_that_the_source_lacks_is_reported(self, people: People, ann: Person, source: Layout) -> None:
        digest = source.resolve("v1")
        assert digest is not None
        (source.path / "blobs" / "sha256" / digest.hex).unlink()
        copied = run(ann, source, folder(people))
        assert (copied.missing, [tag for tag, _ in copied.tags]) == (("v1",), ["v2"])
        with pytest.raises(MissingError):
            run(ann, source, folder(people, "other"), "v1")
        assert folder(people, "other").tags(10) == ()

    def test_what_does_not_verify(self, people: People, ann: Person, source: Layout) -> None:
        with pytest.raises(ExpiredError):
            run(ann.later(days=20), source, folder(people))
        with pytest.raises(UntrustedRootError, match="no root of trust is pinned"):
            run(people.onlooker("stranger"), source, folder(people))
        assert not folder(people).path.exists()

    def test_what_the_tag_points_at_without_a_signature(self, people: People, ann: Person, source: Layout) -> None:
        signed = source.resolve("v1")
        sample("moved").put(source, "v1")
        copied = run(ann, source, folder(people), "v1")
        assert copied.tags == (("v1", signed),), "the signed digest is what is copied"
        assert ann.verdict(folder(people), "v1") == "trusted"


class TestOnto:
    def test_an_older_copy_advances_it(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        run(ann, source, target)
        state = state_of(ann.push(source, "v1", plain_image("new")))
        run(ann, source, target)
        assert live(target).identity == state.verified.identity
        assert ann.verdict(target, "v1") == "trusted"

    @pytest.mark.parametrize("versions", [64, 65, 80])
    def test_a_copy_however_old(self, people: People, versions: int) -> None:
        """``covers`` reaches back 64 versions; a copy that is older is history."""
        team = a_team()
        old = a_state(team=team)
        new = old
        for _ in range(versions):
            new = team.next(new)
        source, target = folder(people, "source"), folder(people)
        for store, state in ((source, new), (target, old)):
            put_state(store, state)
        mirror = people.onlooker("mirror", team.pin(old))
        mirror.now = mirror.now.replace(hour=9, minute=0)
        assert run(mirror, source, target).missing == ("v1",)
        assert live(target).version == versions + 1

    def test_one_of_the_same_root_that_has_gone_another_way(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        run(ann, source, target)
        for who, store in ((ann, source), (people("bob"), target)):
            who.push(store, "v1", plain_image(store.name))
        before = state_tags(target)
        other = people.onlooker("mirror", *ann.pins)
        with pytest.raises(ConflictError, match=r"that .* does not continue: version 3 there, version 3"):
            run(other, source, target)
        assert state_tags(target) == before

    def test_a_newer_one(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        run(ann, source, target)
        refresh(ann.writer(source))
        run(ann, source, folder(people, "newer"))
        with pytest.raises(ConflictError, match="version 3 there, version 2 here"):
            run(people.onlooker("mirror", *ann.pins), target, folder(people, "newer"))

    def test_an_unrelated_one(self, people: People, ann: Person, source: Layout) -> None:
        target, eve = folder(people), people("eve", prefix="other-")
        eve.push(target, "v1", plain_image("theirs"))
        before = state_tags(target)
        with pytest.raises((ConflictError, UntrustedRootError)):
            run(ann, source, target)
        assert state_tags(target) == before
        assert eve.verdict(target, "v1") == "trusted"

    def test_one_of_another_tool(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        theirs = sample("theirs").put(target, POINTER_TAG)
        with pytest.raises(UntrustedRootError):
            run(ann, source, target)
        assert target.resolve(POINTER_TAG) == theirs.digest


class TestLifeOfACopy:
    def test_signers_and_their_order_are_kept(self, people: People, ann: Person, source: Layout) -> None:
        add_signer(people.all, source, Delegate("release", paths=("r*",)))
        release = people("release", "release", "publish")
        release.pins[:] = ann.pins
        release.push(source, "r1", final_image(sample("r")))
        target = folder(people, repository="mirror.lan/app")
        run(release, source, target)
        assert live(target).signers_of("r1") == ("release",)
        assert release.verdict(target, "r1") == "trusted"

    def test_a_tag_that_was_moved_in_the_copy_is_a_mismatch(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people)
        run(ann, source, target)
        sample("moved").put(target, "v1")
        assert ann.verdict(target, "v1") == MismatchError.verdict

    def test_what_was_copied_is_remembered(self, people: People, ann: Person, source: Layout) -> None:
        target = folder(people, repository="mirror.lan/app")
        run(ann, source, target)
        old = target.get_manifest(POINTER_TAG)
        refresh(ann.writer(source))
        run(ann, source, target)
        newer = live(target)
        target.untag(own_tag(newer.version, newer.identity))
        target.put_manifest(old, POINTER_TAG)
        with pytest.raises(RollbackError):
            Reader(target, ann.machine()).read()


class TestNothingIsSignedInACopy:
    """It would bear the original's name: whoever may write to the registry could carry it over to the original."""

    @pytest.fixture
    def staging(self, server: FaultyRegistry, ann: Person, source: Layout) -> Registry:
        """A copy under a name of its own, in the hands of somebody who has every key of the original."""
        target = remote(server.host, "staging")
        run(ann, source, target)
        server.clear()
        return target

    WRITES: ClassVar[dict[str, Callable[[Person, Store], object]]] = {
        "push": lambda ann, store: ann.push(store, "v1", plain_image("not for production")),
        "push of what is signed already": lambda ann, store: ann.push(store, "v1", plain_image("a", "b")),
        "sign": lambda ann, store: sign(store, "v2", "v1", ann.signer(store)),
        "revoke": lambda ann, store: plan_revocation(ann.writer(store), "v1"),
        "refresh": lambda ann, store: refresh(ann.writer(store)),
        "signer add": lambda ann, store: plan_signer(
            ann.writer(store), NewSigner("ci", (ann.keys.find("root").public,)), ann.now, adopt=False
        ),
        "key rotate": lambda ann, store: plan_rotation(
            ann.writer(store), "root", KeyChange((ann.keys.find("targets").public,)), ann.now
        ),
        "the end of an interrupted write": lambda ann, store: ann.writer(store).settle(),
    }

    @pytest.mark.parametrize("name", WRITES)
    def test_so_what_was_signed_for_staging_cannot_be_carried_over_to_production(
        self, server: FaultyRegistry, ann: Person, source: Layout, staging: Registry, name: str
    ) -> None:
        with pytest.raises(UnsignedError, match=f"is a copy of {source.repository}") as caught:
            self.WRITES[name](ann, staging)
        assert "copy it again" in str(caught.value.hint)
        assert not server.writes

    def test_nor_by_approving_what_waits_in_the_original(
        self, server: FaultyRegistry, people: People, ann: Person, source: Layout, staging: Registry
    ) -> None:
        crew = Crew(people, source, {"ann": ann})
        crew.rotate(ann, "root", add=("root-b",), threshold=2)
        [proposal] = crew.proposals(ann)
        exported = export_file(ann.writer(source), proposal)
        run(ann, source, staging)
        store_proposal(staging, proposal.proposed, proposal.base)  # as whoever may write there can
        bob = crew("bob", "root-b")
        server.clear()
        with pytest.raises(UnsignedError, match="is a copy of"):
            approve(bob.writer(staging), proposal)
        with pytest.raises(UnsignedError, match="is a copy of"):
            open_file(bob.writer(staging), exported)
        with pytest.raises(UnsignedError, match="is a copy of"):
            import_file(bob.writer(staging), exported)
        assert not server.writes

    def test_the_original_is_signed_and_copied_again(self, ann: Person, source: Layout, staging: Registry) -> None:
        ann.push(source, "v3", plain_image("c"))
        run(ann, source, staging)
        assert ann.verdict(staging, "v3") == "trusted"
