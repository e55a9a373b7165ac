"""Pulling: by the signed digest, every byte checked, and the local name last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.oci.samples import layer_tar, sample
from tests.oci.test_engine import answers, listening
from tests.trust.writing import final_image, folder, index_image, plain_image, put_sample, remote
from trust.digest import Digest
from trust.errors import MismatchError, MissingError, TamperedError, UnsignedError, UsageError
from trust.oci.engine import Engine
from trust.oci.reference import Reference
from trust.pull import Wanted, fetch, find_trusted, find_untrusted, load_into_engine

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.peers.engine import DockerEngine
    from tests.trust.writing import People
    from trust.oci.image import Image


class TestTrusted:
    @pytest.mark.parametrize("image", [plain_image("a", "b"), final_image(sample("a")), index_image("amd64", "arm64")])
    def test_what_was_pushed_comes_back_byte_for_byte(
        self, server: FaultyRegistry, people: People, image: Image
    ) -> None:
        ann, store, here = people("ann"), remote(server.host), folder(people)
        signed = ann.push(store, "v1", image)
        other = people.onlooker("other", *ann.pins)
        found = find_trusted(store, other.machine(), Wanted("v1"))
        assert found.judgement is not None
        assert (found.judgement.verdict, found.judgement.digest) == ("trusted", signed.digest)
        manifest = fetch(found, here, "v1", other.uploads(here))
        assert manifest.digest == signed.digest == here.resolve("v1")
        assert here.get_manifest("v1").raw == store.get_manifest("v1").raw
        for descriptor in manifest.layers:
            with here.open_blob(descriptor) as file:
                assert Digest.of(file.read()) == descriptor.digest

    def test_without_a_local_name(self, server: FaultyRegistry, people: People) -> None:
        ann, store, here = people("ann"), remote(server.host), folder(people)
        signed = ann.push(store, "v1", plain_image("a"))
        found = find_trusted(store, ann.machine(), Wanted("v1"))
        fetch(found, here, None, ann.uploads(here))
        assert here.has_manifest(signed.digest)
        assert here.tags(10) == ()

    def test_a_tag_that_was_moved_is_refused_and_its_signed_digest_is_not(
        self, server: FaultyRegistry, people: People
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        signed = ann.push(store, "v1", plain_image("a"))
        moved = put_sample(store, "v1", "moved")
        with pytest.raises(MismatchError) as caught:
            find_trusted(store, ann.machine(), Wanted("v1"))
        assert str(signed.digest) in (caught.value.hint or "")
        for wanted in (Wanted(None, signed.digest), Wanted("v1", signed.digest)):
            image = find_trusted(store, ann.machine(), wanted).image
            assert image.manifest is not None
            assert image.manifest.digest == signed.digest
        for wanted, error in ((Wanted(None, moved.digest), UnsignedError), (Wanted("v1", moved.digest), MismatchError)):
            with pytest.raises(error):
                find_trusted(store, ann.machine(), wanted)

    def test_a_signed_image_that_is_gone(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        signed = ann.push(store, "v1", plain_image("a"))
        del server.manifests["app"][str(signed.digest)]
        with pytest.raises(MissingError):
            find_trusted(store, ann.machine(), Wanted("v1"))

    @pytest.mark.parametrize("part", ["layer", "config", "manifest"])
    def test_other_bytes_than_were_signed(self, server: FaultyRegistry, people: People, part: str) -> None:
        ann, store, here = people("ann"), remote(server.host), folder(people)
        signed = ann.push(store, "v1", plain_image("a", "b"))
        manifest = store.get_manifest(signed.digest)
        assert manifest.config is not None
        if part == "manifest":
            stored = server.manifests["app"][str(signed.digest)]
            server.manifests["app"][str(signed.digest)] = type(stored)(stored.media_type, stored.data + b" ")
        else:
            blob = str(manifest.config.digest if part == "config" else manifest.layers[1].digest)
            server.blobs["app"][blob] = bytes(len(server.blobs["app"][blob]))
        with pytest.raises(TamperedError):
            fetch(find_trusted(store, ann.machine(), Wanted("v1")), here, "v1", ann.uploads(here))
        assert here.tags(10) == ()
        assert not here.has_manifest(signed.digest)


class TestPlatform:
    def test_chooses_one_image_of_an_index(self, server: FaultyRegistry, people: People) -> None:
        ann, store, here = people("ann"), remote(server.host), folder(people)
        index = index_image("amd64", "arm64")
        ann.push(store, "v1", index)
        found = find_trusted(store, ann.machine(), Wanted("v1", platform="linux/arm64"))
        manifest = fetch(found, here, "v1", ann.uploads(here))
        assert index.images[1].manifest is not None
        assert manifest.digest == index.images[1].manifest.digest
        assert here.resolve("v1") == manifest.digest

    def test_that_there_is_not(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", index_image("amd64"))
        with pytest.raises(MissingError, match="no image for linux/s390x: it has linux/amd64"):
            find_trusted(store, ann.machine(), Wanted("v1", platform="linux/s390x"))


class TestUntrusted:
    """``--disable-content-trust``: the registry's word for it."""

    def test_takes_what_the_tag_points_at(self, server: FaultyRegistry, people: People) -> None:
        ann, store, here = people("ann"), remote(server.host), folder(people)
        signed = ann.push(store, "v1", plain_image("a"))
        moved = put_sample(store, "v1", "moved")
        found = find_untrusted(store, Wanted("v1"))
        assert found.judgement is None
        assert fetch(found, here, "v1", ann.uploads(here)) == moved
        by_digest = find_untrusted(store, Wanted("v1", signed.digest)).image
        assert by_digest.manifest is not None
        assert by_digest.manifest.digest == signed.digest, "a digest goes before a tag"

    def test_finds_nothing(self, server: FaultyRegistry) -> None:
        with pytest.raises(MissingError):
            find_untrusted(remote(server.host), Wanted("v1"))


class TestEngine:
    NAME = Reference.parse("localhost:5000/app:v1")

    def test_an_index_needs_a_platform(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", index_image("amd64", "arm64"))
        found = find_trusted(store, ann.machine(), Wanted("v1"))
        with pytest.raises(UsageError, match="platform"):
            load_into_engine(found, Engine("unix:///nowhere"), self.NAME, ann.spool)

    def test_an_image_is_handed_over_whole(self, server: FaultyRegistry, people: People) -> None:
        ann, store = people("ann"), remote(server.host)
        signed = ann.push(store, "v1", plain_image("a"))
        found = find_trusted(store, ann.machine(), Wanted("v1"))
        with listening(answers("200 OK", b'{"stream":"Loaded image: localhost:5000/app:v1\\n"}')) as engine:
            assert load_into_engine(found, engine, self.NAME, ann.spool).digest == signed.digest
        assert list(ann.spool.iterdir()) == []

    @pytest.mark.peer("dockerd", "docker")
    def test_a_real_engine_has_it(
        self, server: FaultyRegistry, people: People, docker_engine: DockerEngine, unique_name: str
    ) -> None:
        ann, store = people("ann"), remote(server.host)
        ann.push(store, "v1", plain_image("a", "b"))
        name = Reference.parse(f"localhost:5000/{unique_name}:v1")
        engine = Engine(docker_engine.host)
        load_into_engine(find_trusted(store, ann.machine(), Wanted("v1")), engine, name, ann.spool)
        assert engine.inspect(str(name)).diff_ids == tuple(Digest.of(layer_tar(text)) for text in ("a", "b"))
