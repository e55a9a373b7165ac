"""The order of a publication, what a crash leaves at each point of it, and what happens when two writers meet."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.doubles.faulty_registry import Drop, FaultyRegistry, LoseAnswer
from tests.oci.samples import sample
from tests.trust.writing import Person, index_image, live, plain_image, remote, state_of, then
from trust.digest import Digest
from trust.errors import ConflictError, DocksealError, UnreachableError, UntrustedRootError
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.pins import Pin
from trust.repo import lay_foundation
from trust.states import MAX_CANDIDATES, POINTER_TAG, own_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.doubles.faulty_registry import Recorded
    from tests.trust.writing import People
    from trust.oci.store import Store
    from trust.sign import Signed

BLOB = "blob"
"""What a write was for, in :func:`steps`."""


def steps(server: FaultyRegistry) -> list[str]:
    """What the writes so far were for, in order, each kind once in a row."""
    found: list[str] = []
    for request in server.writes:
        step = _step(request)
        if not found or found[-1] != step:
            found.append(step)
    return found


def _step(request: Recorded) -> str:
    if "/blobs/" in request.path:
        return BLOB
    reference = request.path.rpartition("/")[2]
    return "manifest by digest" if reference.startswith("sha256:") else reference


def bodies(requests: Iterable[Recorded]) -> list[str]:
    """What was sent, except the pointer and image tags, which may move to where they are: blobs and manifests."""
    sent = []
    for request in requests:
        if request.method == "PUT" and "/blobs/" in request.path:
            sent.append(request.query["digest"][0])
        elif request.method == "PUT":
            sent.append(request.path)
    return sorted(sent)


class TestOrder:
    def test_blobs_then_the_manifest_by_digest_then_the_state_then_the_pointer_then_the_tag(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        for text in ("one", "two"):
            server.clear()
            ann.push(store, "v1", plain_image(text))
            state = live(store)
            own = own_tag(state.version, state.identity)
            assert steps(server) == [BLOB, "manifest by digest", BLOB, own, POINTER_TAG, "v1"]

    def test_the_index_follows_its_images(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = index_image("amd64", "arm64")
        signed = ann.push(store, "v1", image)
        puts = [request.path.rpartition("/")[2] for request in server.writes if "/manifests/sha256" in request.path]
        assert image.manifest is not None
        assert puts == [*(str(entry.digest) for entry in image.manifest.manifests), str(image.manifest.digest)]
        assert signed.digest == image.manifest.digest
        assert ann.trusted_digest(store, "v1") == image.manifest.digest


class Scene:
    """A repository before a push, kept so that every crash starts from the same."""

    def __init__(self, server: FaultyRegistry, people: People, *, earlier: bool) -> None:
        self.server = server
        self.ann = people("ann")
        self.old: Digest | None = None
        if earlier:
            self.old = self.ann.push(remote(server.host), "v1", plain_image("old")).digest
        self._pins = list(self.ann.pins)
        self._tables = [{repo: dict(held) for repo, held in table.items()} for table in self._server_tables()]
        shutil.copytree(self.ann.folder, people.folder / "before")
        self._kept = people.folder / "before"
        # the same keys and time give the same root, and so the same pin
        self.server.clear()
        signed = self.push()
        self.new = signed.digest
        self.requests = server.requests
        self.pin = Pin(remote(server.host).repository, root=Digest.of(state_of(signed).verified.state.roots[0]))
        self.people = people
        self._runs = 0

    def push(self) -> Signed:
        return self.ann.push(remote(self.server.host), "v1", plain_image("new"))

    def check(self, reader: Person, where: str) -> None:
        """The reader sees the old trust or the new, and never an unsigned tag."""
        store = remote(self.server.host)
        verdict, tag = reader.verdict(store, "v1"), store.resolve("v1")
        assert tag in {self.old, self.new}, where
        if verdict == "trusted":
            assert reader.trusted_digest(store, "v1") == tag, where
        elif verdict == "mismatch":
            assert (live(store).lookup("v1").hashes["sha256"], tag) == (self.new.hex, self.old), where  # type: ignore[union-attr]
        else:
            assert tag is None, where
            begun = any(name.startswith(TRUST_TAG_PREFIX) for name in store.tags(1000))
            assert verdict in ({"missing", "unsigned"} if begun else {"unsigned"}), where  # unpinned, pinned

    def start_again(self) -> Person:
        """Everything as it was before the push; gives another machine, which has the pin and no memory."""
        self.server.clear()
        for table, kept in zip(self._server_tables(), self._tables, strict=True):
            table.clear()
            table.update({repo: dict(held) for repo, held in kept.items()})
        shutil.rmtree(self.ann.folder)
        shutil.copytree(self._kept, self.ann.folder)
        self.ann.pins[:] = self._pins
        self._runs += 1
        return self.people.onlooker(f"other{self._runs}", self.pin)

    def _server_tables(self) -> list[dict[str, dict[str, Any]]]:
        return [self.server.manifests, self.server.blobs, self.server.tags]


def cut(server: FaultyRegistry, number: int) -> None:
    """Only so many requests get through."""
    server.fail("*", "", Drop(), times=None, skip=number)


def lose(server: FaultyRegistry, number: int) -> None:
    """Likewise, and the one after them is carried out, but not answered."""
    cut(server, number)
    server.fail("*", "", LoseAnswer(), skip=number)


class TestCrash:
    """Cut at any point, a push leaves the old trust or the new one, and running it again completes it."""

    @pytest.mark.parametrize("fault", [cut, lose], ids=["cut off", "answer lost"])
    @pytest.mark.parametrize("earlier", [False, True], ids=["first push", "later push"])
    def test_at_every_request(
        self, server: FaultyRegistry, people: People, fault: Callable[[FaultyRegistry, int], None], *, earlier: bool
    ) -> None:
        scene = Scene(server, people, earlier=earlier)
        lost = fault is lose
        for number, request in enumerate(scene.requests):
            changes = request.method == "PUT"
            if not changes and (lost or "/blobs/" in request.path):
                continue  # the same as a cut at the next request: nothing was changed, there or here
            other = scene.start_again()
            fault(server, number)
            with pytest.raises(UnreachableError):
                scene.push()
            done = [one for one in server.requests if one.status or (lost and one is server.requests[number])]
            server.clear()
            where = f"after {number} requests, at {request.method} {request.target}"
            for reader in (scene.ann, other):
                scene.check(reader, where)
            server.clear()
            scene.push()
            again = server.requests
            for reader in (scene.ann, other):
                assert reader.trusted_digest(remote(server.host), "v1") == scene.new, where
            assert bodies([*done, *again]) == sorted(set(bodies([*done, *again]))), where


ANNOUNCE = r"/manifests/_trust\."
POINT = r"/manifests/_trust$"
LOOK = r"/tags/list"
LOOKS_BEFORE = 2
"""Lists of tags that a push reads before it announces."""
MOMENTS = {
    "the first has announced": ("PUT", ANNOUNCE, 0),
    "the first has looked": ("GET", LOOK, LOOKS_BEFORE),
    "the first has pointed": ("PUT", POINT, 0),
    "the first has looked again": ("GET", LOOK, LOOKS_BEFORE + 1),
}
"""When the second begins and ends; the answer that the first waits for was made before."""


class TestMeeting:
    """Writers cannot lock, and nobody wins: who finds others joins what they announced, and all are told success."""

    @pytest.mark.parametrize("moment", [("PUT", ANNOUNCE, 0), ("GET", LOOK, LOOKS_BEFORE), ("PUT", POINT, 0)])
    def test_another_publishes_in_between(
        self, server: FaultyRegistry, people: People, moment: tuple[str, str, int]
    ) -> None:
        ann, bob, store = people("ann"), people("bob"), remote(server.host)
        ann.push(store, "v1", plain_image("old"))
        bob.pins[:] = ann.pins
        method, pattern, skip = moment
        server.fail(method, pattern, then(lambda: bob.push(remote(server.host), "b", plain_image("b"))), skip=skip)
        ann.push(remote(server.host), "a", plain_image("a"))
        for reader in (ann, bob, people.onlooker("carl", *ann.pins)):
            assert [reader.verdict(store, tag) for tag in ("a", "b", "v1")] == ["trusted"] * 3

    def test_both_sign_one_tag_and_the_later_counts(self, server: FaultyRegistry, people: People) -> None:
        ann, bob, store = people("ann"), people("bob"), remote(server.host)
        ann.push(store, "v1", plain_image("old"))
        bob.pins[:] = ann.pins
        bob.now += timedelta(seconds=30)
        signed: list[Digest] = []

        def bob_pushes() -> None:
            signed.append(bob.push(remote(server.host), "v1", plain_image("of bob")).digest)

        server.fail("PUT", ANNOUNCE, then(bob_pushes))
        with pytest.raises(ConflictError, match=r"another writer signed .* at the same time, and goes first") as caught:
            ann.push(remote(server.host), "v1", plain_image("of ann"))
        assert "run the same command again" in (caught.value.hint or "")
        assert store.resolve("v1") == signed[0]
        assert [reader.trusted_digest(store, "v1") for reader in (ann, bob)] == signed * 2

    def test_the_pointer_moves_between_the_last_look_and_the_last_read(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("old"))
        before = server.tags["app"][POINTER_TAG]

        def move_back() -> None:
            server.tags["app"][POINTER_TAG] = before

        server.fail("GET", LOOK, then(move_back), skip=LOOKS_BEFORE + 1)
        signed = ann.push(remote(server.host), "v1", plain_image("new"))
        assert server.tags["app"][POINTER_TAG] != before
        assert ann.trusted_digest(store, "v1") == signed.digest

    @pytest.mark.parametrize("first", ["smaller", "larger"])
    @pytest.mark.parametrize("moment", MOMENTS)
    def test_two_machines_begin_a_repository_at_once(
        self, server: FaultyRegistry, people: People, moment: str, first: str
    ) -> None:
        store = remote(server.host)
        by_root = sorted([people("ann"), people("eve", prefix="other-")], key=lambda one: first_root(one, store))
        one, two = by_root if first == "smaller" else reversed(by_root)
        outcomes: dict[str, DocksealError | None] = {}

        def push(who: Person) -> None:
            try:
                who.push(remote(server.host), "v1", plain_image(who.folder.name))
                outcomes[who.folder.name] = None
            except (ConflictError, UntrustedRootError) as error:
                outcomes[who.folder.name] = error

        method, pattern, skip = MOMENTS[moment]
        server.fail(method, pattern, then(lambda: push(two)), skip=skip)
        push(one)
        (winner,) = [who for who in (one, two) if outcomes[who.folder.name] is None]
        (loser,) = [who for who in (one, two) if who is not winner]
        assert outcomes[loser.folder.name] is not None
        assert winner.verdict(store, "v1") == "trusted"
        winner.push(remote(server.host), "v2", plain_image("more"))
        assert [winner.verdict(store, tag) for tag in ("v1", "v2")] == ["trusted"] * 2
        with pytest.raises(UntrustedRootError):
            loser.push(remote(server.host), "v3", plain_image("other"))

    def test_what_a_killed_beginner_left_does_not_pass_for_the_own(
        self, server: FaultyRegistry, people: People
    ) -> None:
        store = remote(server.host)
        small, large = sorted([people("ann"), people("eve", prefix="other-")], key=lambda one: first_root(one, store))
        server.fail("*", POINT, Drop(), times=None, skip=2)  # both reads before the state is announced pass
        with pytest.raises(UnreachableError):
            large.push(remote(server.host), "v1", plain_image("one"))
        server.clear()
        with pytest.raises(ConflictError, match=r"began to sign .* at the same time") as caught:
            small.push(remote(server.host), "v1", plain_image("two"))
        (left,) = [tag for tag in server.tags["app"] if tag in str(caught.value.hint)]
        assert POINTER_TAG not in server.tags["app"]
        del server.tags["app"][left]
        small.push(remote(server.host), "v1", plain_image("two"))
        assert small.verdict(store, "v1") == "trusted"

    def test_the_next_writer_completes_what_a_killed_one_announced(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, bob, store = people("ann"), people("bob"), remote(server.host)
        ann.push(store, "v1", plain_image("old"))
        bob.pins[:] = ann.pins
        server.fail("PUT", POINT, Drop(), times=None)
        with pytest.raises(UnreachableError):
            ann.push(remote(server.host), "a", plain_image("a"))
        server.clear()
        assert live(store).lookup("a") is None
        bob.push(remote(server.host), "b", plain_image("b"))
        assert live(store).lookup("a") is not None
        assert bob.verdict(store, "a") == "missing", "its image tag is ann's to move"
        assert ann.push(remote(server.host), "a", plain_image("a")).unchanged
        assert [bob.verdict(store, tag) for tag in ("a", "b", "v1")] == ["trusted"] * 3


def first_root(person: Person, store: Store) -> Digest:
    """The root that this machine would begin the repository with."""
    foundation = lay_foundation(person.keys, store.repository, person.roles)
    return Digest.of(person.writer(store).plan_first(foundation).verified.state.roots[0])


class TestStrangers:
    """What others put under ``_trust…``."""

    def test_a_junk_tag_is_ignored_with_a_warning(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        junk = own_tag(7, "0" * 64)
        server.add_manifest("app", sample("junk").manifest, junk)
        for text in ("one", "two"):
            ann.push(remote(server.host), "v1", plain_image(text))
            assert ann.verdict(store, "v1") == "trusted"
        assert [text for text in ann.warnings if junk in text]

    def test_with_too_many_junk_tags_writers_stop(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        manifest = sample("junk").manifest
        for number in range(MAX_CANDIDATES + 1):
            server.add_manifest("app", manifest, own_tag(1, f"{number:064x}"[::-1]))
        with pytest.raises(ConflictError, match="more than 500 announced states") as caught:
            ann.push(remote(server.host), "v1", plain_image("one"))
        assert "_trust.*" in (caught.value.hint or "")
        assert server.writes == ()

    def test_the_pointer_of_another_tool_is_left_alone(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        server.add_manifest("app", sample("theirs").manifest, POINTER_TAG)
        with pytest.raises(UntrustedRootError, match="no trust data that is known") as caught:
            ann.push(remote(server.host), "v1", plain_image("one"))
        assert "another tool" in (caught.value.hint or "")
        assert server.writes == ()
