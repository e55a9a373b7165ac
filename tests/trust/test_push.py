"""Pushing: what is refused before the first byte, what is sent once, and what registries take away meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.doubles.faulty_registry import Status
from tests.oci.samples import sample
from tests.peers.proxy import RecordingProxy
from tests.trust.builders import Delegate
from tests.trust.writing import (
    Person,
    add_signer,
    final_image,
    ignore,
    index_image,
    live,
    opens,
    plain_image,
    remote,
    roles,
    state_of,
    then,
)
from trust.errors import DocksealError, KeyUnavailableError, MissingError, UnsignedError, UsageError
from trust.push import push, push_unsigned
from trust.sign import sign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People
    from trust.oci.image import Image
    from trust.oci.store import Store


@dataclass(frozen=True, slots=True)
class Refusal:
    """A push that cannot be signed. ``who`` has these keys; the repository is ann's, and signed."""

    keys: tuple[str, ...]
    says: str
    error: type[DocksealError] = UnsignedError
    tag: str = "v1"
    signers: tuple[str, ...] = ()
    passphrase: bytes | None = None
    days_later: float = 0
    delegates: bool = False
    expiries: dict[str, int] = field(default_factory=dict)
    first: bool = False


ALL = ("root", "targets", "publish")
REFUSALS = {
    "no key of targets here": Refusal(("publish",), "cannot sign as targets"),
    "a wrong passphrase": Refusal(ALL, "passphrase", KeyUnavailableError, passphrase=b"not this one"),
    "a wrong passphrase, and a new repository": Refusal(
        ALL, "passphrase", KeyUnavailableError, passphrase=b"not this one", first=True
    ),
    "root has expired, and its key is elsewhere": Refusal(
        ("targets", "publish"), "root expired 2027-11-24T09:30:00Z", days_later=366
    ),
    "targets has expired, and a signer cannot renew it": Refusal(
        ("release", "publish"), "targets expired", days_later=40, delegates=True, expiries={"targets": 30}
    ),
    "nobody has heard of the signer": Refusal(ALL, "nobody may not sign the tag 'v1'", signers=("nobody",)),
    "a signer may not sign this tag": Refusal(
        (*ALL, "release"), "release may not sign the tag 'latest'", tag="latest", signers=("release",), delegates=True
    ),
    "no key of a signer of this tag is here": Refusal(
        ALL, "no key on this machine may sign the tag 'v1': its signers are release", delegates=True
    ),
    "a signer, and a new repository": Refusal(ALL, "no trust data yet", signers=("release",), first=True),
    "a tag of the trust data": Refusal(ALL, "reserved", UsageError, tag="_trust.1"),
    "a tag that reads like a digest": Refusal(ALL, "reads like a digest", UsageError, tag=f"sha256-{'ab' * 32}"),
    "a clock that is behind the last signature": Refusal(ALL, "at most 5 minutes", UsageError, days_later=-0.004),
}


@pytest.fixture
def proxy(registry: str) -> Iterator[RecordingProxy]:
    """A real registry, and what it is asked."""
    with RecordingProxy(registry) as recording:
        yield recording


def contents(store: Store) -> dict[str, str]:
    """Every tag and its digest."""
    return {tag: str(store.resolve(tag)) for tag in store.tags(1000)}


@pytest.mark.peer("docker-registry")
class TestRefusal:
    """A push that cannot be signed sends nothing; shown in front of a real registry."""

    @pytest.mark.parametrize("case", REFUSALS)
    def test_not_one_write_is_sent(self, proxy: RecordingProxy, unique_name: str, people: People, case: str) -> None:
        refusal = REFUSALS[case]
        ann, store = people("ann"), remote(proxy.address, unique_name)
        if not refusal.first:
            ann.roles = roles(days=refusal.expiries)
            ann.push(store, "v1", plain_image("old"))
            if refusal.delegates:
                add_signer(people.all, store, Delegate("release", paths=("v*",)))
        bob = people("bob", *refusal.keys, passphrase=refusal.passphrase)
        bob.now += timedelta(days=refusal.days_later)
        bob.pins[:] = ann.pins
        before, image = contents(store), plain_image("new", "newer")
        proxy.clear()
        with pytest.raises(refusal.error, match=refusal.says) as caught:
            bob.push(remote(proxy.address, unique_name), refusal.tag, image, signers=refusal.signers)
        assert proxy.writes == ()
        assert caught.value.exit_code == {UnsignedError: 10, KeyUnavailableError: 4, UsageError: 2}[refusal.error]
        assert contents(store) == before
        assert not bob.spool.exists() or list(bob.spool.iterdir()) == []

    def test_nothing_to_sign(self, proxy: RecordingProxy, unique_name: str, people: People) -> None:
        ann, store = people("ann"), remote(proxy.address, unique_name)
        with pytest.raises(MissingError):
            sign(store, "v1", "v1", ann.signer(store))
        assert proxy.writes == ()


class TestProposal:
    """A push that lacks a signature of somebody else leaves a proposal, and the tag stays."""

    @pytest.mark.parametrize("labels", [("targets",), ("targets", "root")], ids=["targets alone", "targets and root"])
    def test_without_a_publishing_key(self, server: FaultyRegistry, people: People, labels: tuple[str, ...]) -> None:
        ann, store = people("ann"), remote(server.host)
        old = ann.push(store, "v1", plain_image("old"))
        bob = people("bob", *labels)
        bob.pins[:] = ann.pins
        signed = bob.push(remote(server.host), "v1", plain_image("new"))
        assert signed.state is None
        assert signed.proposal is not None
        assert [tag for tag in server.tags["app"] if tag.startswith("_trust-proposal.")]
        assert store.resolve("v1") == old.digest
        assert ann.trusted_digest(store, "v1") == old.digest
        ann.push(remote(server.host), "v2", plain_image("other"))
        assert ann.trusted_digest(store, "v1") == signed.digest, "the next publisher completes it, and moves the tag"


class TestUnsigned:
    """``--disable-content-trust``"""

    def test_over_a_signed_tag_it_touches_no_trust_data_and_verify_says_mismatch(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("old"))
        trust = {tag: digest for tag, digest in server.tags["app"].items() if tag.startswith("_trust")}
        server.clear()
        manifest = push_unsigned(store, "v1", plain_image("new"), ann.uploads(store), on_pushed=ignore)
        assert [request.target for request in server.requests if "_trust" in request.target] == []
        assert {tag: digest for tag, digest in server.tags["app"].items() if tag.startswith("_trust")} == trust
        assert store.resolve("v1") == manifest.digest
        assert ann.verdict(store, "v1") == "mismatch"

    def test_it_needs_no_key(self, server: FaultyRegistry, people: People) -> None:
        store, nobody = remote(server.host), people.onlooker("nobody")
        push_unsigned(store, "v1", plain_image("new"), nobody.uploads(store), on_pushed=ignore)
        assert nobody.verdict(store, "v1") == "unsigned"

    def test_tags_of_the_trust_data_are_refused(self, server: FaultyRegistry, people: People) -> None:
        store, nobody = remote(server.host), people.onlooker("nobody")
        with pytest.raises(UsageError):
            push_unsigned(store, "_trust", plain_image("new"), nobody.uploads(store), on_pushed=ignore)
        assert server.requests == ()


class TestAgain:
    """The same push once more."""

    @pytest.mark.parametrize("image", [plain_image("a", "b"), final_image(sample("a", "b")), index_image("amd64")])
    def test_writes_nothing(self, server: FaultyRegistry, people: People, image: Image) -> None:
        ann, store = people("ann"), remote(server.host)
        first = ann.push(store, "v1", image)
        assert (first.initialised, first.unchanged) == (True, False)
        server.clear()
        before = opens(image)
        again = ann.push(remote(server.host), "v1", image)
        assert (again.initialised, again.unchanged, again.roles) == (False, True, ("targets",))
        assert state_of(again).verified.identity == state_of(first).verified.identity
        assert server.writes == ()
        assert opens(image) == before

    def test_writes_only_what_is_missing(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("a"))
        del server.tags["app"]["v1"]
        server.clear()
        assert ann.push(remote(server.host), "v1", plain_image("a")).unchanged
        assert [request.path for request in server.writes] == ["/v2/app/manifests/v1"]

    def test_under_a_second_tag_layers_exist(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("a"))
        ann.events.clear()
        image = plain_image("a")
        ann.push(remote(server.host), "v2", image)
        assert [event.status for event in ann.events] == ["Preparing", "Layer already exists"]
        assert opens(image) == 0
        assert [ann.verdict(store, tag) for tag in ("v1", "v2")] == ["trusted"] * 2

    def test_is_signed_anew_when_a_role_is_due(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        first = ann.push(store, "v1", plain_image("a"))
        again = ann.later(days=8).push(remote(server.host), "v1", plain_image("a"))
        assert not again.unchanged
        assert state_of(again).verified.version == state_of(first).verified.version + 1

    def test_annotations_are_signed_and_make_a_difference(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("a"))
        for unchanged in (False, True):
            signer = ann.signer(store, annotations={"build": "7"})
            signed = push(store, "v1", plain_image("a"), signer, ann.uploads(store), on_pushed=ignore)
            assert signed.unchanged is unchanged
        target = live(store).lookup("v1")
        assert target is not None
        assert target.custom["annotations"] == {"build": "7"}


class TestCollected:
    """Some registries collect a manifest that has no tag, at any moment."""

    def test_the_manifest_vanishes_before_it_is_signed(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)

        def collect() -> None:
            server.manifests["app"].clear()

        server.fail("PUT", r"/manifests/sha256:", then(collect))
        signed = ann.push(store, "v1", plain_image("a"))
        sent = [request for request in server.writes if request.path.endswith(f"/manifests/{signed.digest}")]
        assert len(sent) == 2
        assert ann.trusted_digest(store, "v1") == signed.digest

    def test_manifest_and_blobs_vanish_before_the_tag_moves(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a")

        def collect() -> None:
            state = {layer.digest.text for layer in store.get_manifest("_trust").layers}
            for table in (server.manifests["app"], server.blobs["app"]):
                for digest in set(table) - state - set(server.tags["app"].values()):
                    del table[digest]

        server.fail("PUT", r"/manifests/_trust$", then(collect))
        signed = ann.push(store, "v1", image)
        assert ann.trusted_digest(store, "v1") == signed.digest
        manifest = store.get_manifest("v1")
        assert all(store.has_blob(layer.digest) for layer in manifest.layers)

    @pytest.mark.parametrize("status", [400, 404])
    def test_it_is_sent_again_once(self, server: FaultyRegistry, people: People, status: int) -> None:
        ann, store = people("ann"), remote(server.host)
        refusal = b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
        server.fail("PUT", r"/manifests/v1$", Status(status, refusal), times=None)
        with pytest.raises(MissingError, match="blob unknown to registry"):
            ann.push(store, "v1", plain_image("a"))
        assert [request.status for request in server.writes if request.path.endswith("/v1")] == [status] * 2
        assert ann.verdict(store, "v1") == "missing", "the new trust is live, and its tag has not moved"


def test_keys_are_made_only_when_nothing_speaks_against_it(server: FaultyRegistry, people: People) -> None:
    person = Person(people.folder / "new", people.onlooker("new").keys)
    server.add_manifest("app", sample("theirs").manifest, "_trust")
    with pytest.raises(DocksealError, match="no trust data that is known"):
        person.push(remote(server.host), "v1", plain_image("a"))
    assert person.keys.keys() == ()
