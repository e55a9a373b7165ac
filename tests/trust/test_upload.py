"""An image's layers on their way: each once, from the cache where it is known, and nothing left behind."""

from __future__ import annotations

import io
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from tests.doubles.faulty_registry import FaultyRegistry, Hang, Status
from tests.oci.samples import config_of, layer_tar, sample
from tests.trust.writing import CODEC, Opened, Person, final_image, folder, index_image, opens, plain_image, remote
from trust.digest import Digest
from trust.errors import DeniedError, DocksealError, TamperedError, UnsignedError
from trust.oci.codec import Codec
from trust.oci.image import Image, SourceLayer
from trust.oci.manifest import DOCKER_LAYER_GZIP, FOREIGN_LAYERS, OCI_CONFIG, Descriptor, image_manifest
from trust.upload import LayerProgress, begun_upload, known_manifest, upload_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from tests.trust.writing import People

DENIED = Status(403, b'{"errors": [{"code": "DENIED", "message": "not you"}]}')


def statuses(person: Person) -> dict[str, list[str]]:
    """What was told of each layer, without the numbers on the way."""
    told: dict[str, list[str]] = {}
    for event in person.events:
        found = told.setdefault(event.layer, [])
        if event.status not in found:
            found.append(event.status)
    return told


def sent_blobs(server: FaultyRegistry) -> list[str]:
    return [request.query["digest"][0] for request in server.writes if "/blobs/uploads/session" in request.path]


class TestOnce:
    def test_a_layer_that_stands_twice_in_an_image(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a", "b", "a")
        manifest = upload_image(store, image, ann.uploads(store))
        digests = [layer.digest for layer in manifest.layers]
        assert (len(digests), len(set(digests)), digests[0] == digests[2]) == (3, 2, True)
        assert len(sent_blobs(server)) == 3, "two layers and the config"
        assert opens(image) == 2

    def test_a_layer_that_several_images_of_an_index_share(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        one = final_image(sample("a"))
        other = final_image(sample("a", architecture="arm64"))
        index = replace(index_image("amd64"), images=(one, other))
        assert index.manifest is not None
        server.checks_references = False
        upload_image(store, index, ann.uploads(store))
        assert len(sent_blobs(server)) == 3, "one layer and two configs"

    def test_a_layer_is_known_by_its_diff_id_and_told_of_in_dockers_words(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a")
        upload_image(store, image, ann.uploads(store))
        layer = image.layers[0]
        assert layer.diff_id is not None
        told = statuses(ann)
        assert list(told) == [layer.diff_id.short]
        words = [
            word for word in told[layer.diff_id.short] if word != "Compressing"
        ]  # that may be done before it begins
        assert words == ["Preparing", "Pushing", "Pushed"]
        last = [event for event in ann.events if event.status == "Pushing"][-1]
        assert last.current == last.total == len(server.blobs["app"][sent_blobs(server)[0]])

    def test_waiting_is_told_where_there_are_more_layers_than_uploads(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        upload_image(store, plain_image("a", "b", "c"), replace(ann.uploads(store), max_concurrent=1))
        assert len([told for told in statuses(ann).values() if "Waiting" in told]) == 2

    def test_a_layer_without_a_diff_id(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a", "b")
        nameless = replace(image, layers=tuple(replace(layer, diff_id=None) for layer in image.layers))
        assert known_manifest(nameless, ann.uploads(store)) is None
        assert upload_image(store, nameless, ann.uploads(store)) == upload_image(store, image, ann.uploads(store))

    def test_nobody_needs_to_be_told(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        uploads = ann.uploads(store)
        quiet = type(uploads)(uploads.cache, uploads.spool, uploads.codec, uploads.registry)
        assert upload_image(store, plain_image("a"), quiet).layers
        assert ann.events == []


class TestCache:
    def test_what_was_uploaded_is_known_without_a_look(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a", "b")
        assert known_manifest(image, ann.uploads(store)) is None
        manifest = upload_image(store, image, ann.uploads(store))
        server.clear()
        again = plain_image("a", "b")
        assert known_manifest(again, ann.uploads(store)) == manifest
        assert upload_image(remote(server.host), again, ann.uploads(store)) == manifest
        assert opens(again) == 0
        assert server.writes == ()

    def test_it_is_of_one_codec(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        upload_image(store, plain_image("a"), ann.uploads(store))
        assert known_manifest(plain_image("a"), ann.uploads(store, codec=Codec.parse("zstd"))) is None

    def test_cached_but_gone_from_the_registry(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        manifest = upload_image(store, plain_image("a"), ann.uploads(store))
        server.blobs["app"].clear()
        server.manifests["app"].clear()
        image = plain_image("a")
        assert upload_image(remote(server.host), image, ann.uploads(store)) == manifest
        assert opens(image) == 1
        assert set(server.blobs["app"]) == {str(manifest.config and manifest.config.digest), *map(str, layers(image))}

    @pytest.mark.parametrize("final", [False, True], ids=["plain", "final"])
    def test_mounted_from_another_repository(self, server: FaultyRegistry, people: People, *, final: bool) -> None:
        ann = people("ann")

        def image() -> Image:
            return final_image(sample("a")) if final else plain_image("a")

        upload_image(remote(server.host), image(), ann.uploads(remote(server.host)))
        other = remote(server.host, "team/other")
        ann.events.clear()
        server.clear()
        again = image()
        upload_image(other, again, ann.uploads(other))
        assert list(statuses(ann).values()) == [["Preparing", "Mounted from app"]]
        assert len(sent_blobs(server)) == 1, "the config"
        assert opens(again) == 0

    def test_not_mounted_across_registries(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        upload_image(remote(server.host), plain_image("a"), ann.uploads(remote(server.host)))
        with FaultyRegistry() as second:
            upload_image(remote(second.host), plain_image("a"), ann.uploads(remote(second.host)))
            assert [request.query for request in second.writes if "mount" in request.query] == []


def layers(image: Image) -> list[Digest]:
    """The digests that the layers have when they are compressed as everywhere here."""
    found = []
    for layer in image.layers:
        with layer.open() as file:
            found.append(Digest.of(b"".join(CODEC.compressed([file.read()]))))
    return found


class TestForeign:
    @pytest.mark.parametrize("media_type", sorted(FOREIGN_LAYERS))
    def test_a_layer_that_lives_elsewhere_stays_there(
        self, server: FaultyRegistry, people: People, media_type: str
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        one = sample("a", "b")
        foreign = replace(one.manifest.layers[0], media_type=media_type)
        manifest = image_manifest(Descriptor.of(one.config, OCI_CONFIG), (foreign, one.manifest.layers[1]))
        image = final_image(replace(one, manifest=manifest, blobs=(one.blobs[0], (foreign, b"no"), one.blobs[2])))
        server.checks_references = False
        assert upload_image(store, image, ann.uploads(store)) == manifest
        assert str(foreign.digest) not in server.blobs["app"]
        assert statuses(ann)[foreign.digest.short] == ["Preparing", "Skipped foreign layer"]
        assert opens(image) == 1


class TestWrongBytes:
    def test_another_diff_id_than_the_config_says(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        tars = [layer_tar("a"), layer_tar("b")]
        wrong = SourceLayer(Opened(layer_tar("not b")), len(tars[1]), Digest.of(tars[1]))
        image = Image(config_of(tars), (SourceLayer(Opened(tars[0]), len(tars[0]), Digest.of(tars[0])), wrong))
        with pytest.raises(TamperedError, match="not the one that the image's config names"):
            ann.push(remote(server.host), "v1", image)
        assert server.tags["app"] == {}
        assert list(ann.spool.iterdir()) == []

    def test_other_bytes_than_the_manifest_says(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        one = sample("a")
        image = final_image(replace(one, blobs=(one.blobs[0], (one.blobs[1][0], b"x" * one.blobs[1][0].size))))
        with pytest.raises(TamperedError):
            ann.push(remote(server.host), "v1", image)
        assert server.tags["app"] == {}

    def test_another_config_than_the_manifest_says(self, server: FaultyRegistry, people: People) -> None:
        ann = people("ann")
        image = replace(final_image(sample("a")), config=b'{"architecture": "other"}')
        with pytest.raises(TamperedError, match="config is not the one that its manifest names"):
            ann.push(remote(server.host), "v1", image)
        assert server.tags["app"] == {}

    def test_dockers_own_types_are_carried_as_they_are(self, people: People) -> None:
        ann, store = people("ann"), folder(people)
        one = sample("a")
        layer = replace(one.manifest.layers[0], media_type=DOCKER_LAYER_GZIP)
        manifest = image_manifest(Descriptor.of(one.config, OCI_CONFIG), (layer,))
        assert upload_image(store, final_image(replace(one, manifest=manifest)), ann.uploads(store)).raw == manifest.raw


class Slow(io.RawIOBase):
    """A layer of many small reads, each of which takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 6000

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        time.sleep(0.02)
        self.left -= 1
        view = memoryview(buffer).cast("B")
        view[:512] = bytes(512)
        return 512 if self.left else 0


def slow_image(count: int) -> Image:
    """Layers that take two minutes each."""

    def open_() -> BinaryIO:
        return cast("BinaryIO", Slow())

    slow = [SourceLayer(open_, 1 << 20, Digest.of(str(number).encode())) for number in range(count)]
    return Image(b"{}", tuple(slow))


class TestFailure:
    """One upload that fails ends the others soon, and leaves nothing behind."""

    def test_of_one_in_five(self, server: FaultyRegistry, people: People) -> None:
        ann, slow = people("ann"), slow_image(4)
        image = replace(slow, layers=(*slow.layers, *final_image(sample("a")).layers))
        server.fail("POST", "/blobs/uploads/", DENIED)
        begin = time.monotonic()
        with pytest.raises(DeniedError, match="not you"):
            ann.push(remote(server.host), "v1", image)
        assert time.monotonic() - begin < 60
        assert list(ann.spool.iterdir()) == []
        assert server.tags["app"] == {}
        assert [thread for thread in threading.enumerate() if thread.name.startswith("upload")] == []

    def test_while_others_are_sent(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        server.fail("PUT", "/blobs/uploads/", Hang(0.3), times=4)
        server.fail("PUT", "/blobs/uploads/", DENIED)
        with pytest.raises(DeniedError, match="not you"):
            upload_image(store, plain_image("a", "b", "c", "d", "e", "f", "g"), ann.uploads(store))
        assert list(ann.spool.iterdir()) == []

    def test_no_room_for_the_spool(self, people: People, tmp_path: Path) -> None:
        ann, store = people("ann"), folder(people)
        (tmp_path / "file").write_bytes(b"")
        uploads = replace(ann.uploads(store), spool=tmp_path / "file" / "spool")
        with pytest.raises(DocksealError, match=r"cannot make the folder .*spool: Not a directory"):
            upload_image(store, plain_image("a"), uploads)


class TestInterrupt:
    """Ctrl-C, at any moment."""

    @pytest.fixture(autouse=True)
    def _handler(self) -> Iterator[None]:
        """As in a foreground program: a shell starts what runs in the background without."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.parametrize("moment", ["Compressing", "Pushing", "Pushed"])
    def test_leaves_no_spool_file_no_state_and_no_tag(
        self, server: FaultyRegistry, people: People, moment: str
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        main, pressed = threading.get_ident(), threading.Event()

        def press(event: LayerProgress) -> None:
            if event.status == moment and not pressed.is_set():
                pressed.set()
                signal.pthread_kill(main, signal.SIGINT)
                time.sleep(0.05)

        slow = slow_image(1)
        image = replace(slow, layers=(*slow.layers, *plain_image("a").layers))
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            upload_image(store, image, ann.uploads(store, report=press))
        assert time.monotonic() - begin < 60
        assert pressed.is_set()
        assert list(ann.spool.iterdir()) == []
        assert server.tags["app"] == {}

    def test_that_another_thread_takes_while_the_main_one_waits(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        released = threading.Event()

        def press(event: LayerProgress) -> None:
            if event.status == "Pushing" and not released.is_set():
                time.sleep(0.1)
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
                released.wait(10)

        begin = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                upload_image(store, plain_image("a"), ann.uploads(store, report=press))
            assert time.monotonic() - begin < 8
        finally:
            released.set()

    def test_before_the_first_layer(self, people: People) -> None:
        ann, store = people("ann"), folder(people)

        def press(event: LayerProgress) -> None:
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            upload_image(store, plain_image("a"), ann.uploads(store, report=press))
        assert list(ann.spool.iterdir()) == []


class TestBegun:
    """Layers are compressed while it is found out whether the push may be made; nothing is asked of the store."""

    def test_nothing_is_sent_before_it_is_finished(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        image = plain_image("a", "b")
        with begun_upload(store, image, ann.uploads(store)) as upload:
            while opens(image) < 2:
                time.sleep(0.01)
            assert server.requests == ()
            assert ann.events == []
            manifest = upload.finish()
        assert store.has_manifest(manifest.digest)
        assert list(ann.spool.iterdir()) == []

    def test_what_was_begun_in_vain_leaves_nothing(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        with pytest.raises(UnsignedError), begun_upload(store, plain_image("a", "b"), ann.uploads(store)):
            raise UnsignedError("it may not be signed")
        assert server.requests == ()
        assert list(ann.spool.iterdir()) == []
