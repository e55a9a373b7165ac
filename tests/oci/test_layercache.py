"""The memory of earlier pushes: what is damaged is a miss, and nothing that fails stops a push."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.oci import layercache
from trust.oci.codec import Codec
from trust.oci.layercache import MAX_REPOSITORIES, LayerCache
from trust.oci.manifest import OCI_LAYER_GZIP, Descriptor

GZIP = Codec()
HUB = "docker.io as me"


def digest(name: object) -> Digest:
    return Digest.of(str(name).encode())


def descriptor(name: object, size: int = 7) -> Descriptor:
    return Descriptor(OCI_LAYER_GZIP, digest(name), size)


@pytest.fixture
def cache(tmp_path: Path) -> LayerCache:
    return LayerCache(tmp_path / "cache" / "layers")


def files(cache: LayerCache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


class TestLayers:
    def test_are_remembered_by_diff_id_and_codec(self, cache: LayerCache) -> None:
        codecs = [Codec(), Codec("gzip", 2), Codec("zlib", 1), Codec("zstd", 1), Codec("none", 0)]
        for codec in codecs:
            cache.put(digest("layer"), codec, descriptor(codec))
        assert [cache.get(digest("layer"), codec) for codec in codecs] == [descriptor(codec) for codec in codecs]
        assert cache.get(digest("other"), GZIP) is None
        assert cache.get(digest("layer"), Codec("zstd", 2)) is None

    def test_of_another_library_version_are_not_meant(self, cache: LayerCache, monkeypatch: pytest.MonkeyPatch) -> None:
        cache.put(digest("layer"), GZIP, descriptor("x"))
        monkeypatch.setattr("isal.__version__", "99.0")
        assert cache.get(digest("layer"), GZIP) is None

    def test_are_remembered_for_the_next_process_and_for_nobody_else(self, cache: LayerCache) -> None:
        cache.put(digest("layer"), GZIP, descriptor("old"))
        cache.put(digest("layer"), GZIP, Descriptor(OCI_LAYER_GZIP, digest("new"), 9, (("a", "b"),), b"inline"))
        assert LayerCache(cache.folder).get(digest("layer"), GZIP) == descriptor("new", 9)
        assert [path.stat().st_mode & 0o777 for path in files(cache)] == [0o600]
        assert files(cache)[0].parent.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"\xff",
            b"{}",
            b'{"mediaType":"x","digest":"sha256:12","size":1}',
            b'{"mediaType":"x","digest":"sha256:%s","size":-1}' % (b"a" * 64),
            b'{"mediaType":"x","digest":"sha256:%s","size":"1"}' % (b"a" * 64),
            b'{"mediaType":1,"digest":"sha256:%s","size":1}' % (b"a" * 64),
            b'{"mediaType":"%s","digest":"sha256:%s","size":1}' % (b"x" * 5000, b"a" * 64),
        ],
    )
    def test_that_are_damaged_are_a_miss(self, content: bytes, cache: LayerCache) -> None:
        cache.put(digest("layer"), GZIP, descriptor("x"))
        files(cache)[0].write_bytes(content)
        assert cache.get(digest("layer"), GZIP) is None
        cache.put(digest("layer"), GZIP, descriptor("x"))
        assert cache.get(digest("layer"), GZIP) == descriptor("x")

    def test_that_are_no_files_are_a_miss(self, cache: LayerCache) -> None:
        cache.put(digest("layer"), GZIP, descriptor("x"))
        (path,) = files(cache)
        path.unlink()
        path.mkdir()
        cache.put(digest("layer"), GZIP, descriptor("x"))  # cannot be written, and no matter
        assert cache.get(digest("layer"), GZIP) is None
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    @given(content=st.binary(max_size=300))
    def test_no_content_of_a_file_raises(self, content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        cache = LayerCache(tmp_path_factory.mktemp("cache"))
        cache.put(digest("layer"), GZIP, descriptor("x"))
        cache.remember(digest("layer"), HUB, "app")
        cache.put_config(b"{}", digest("id"))
        for path in files(cache):
            path.write_bytes(content)
        assert cache.get(digest("layer"), GZIP) is None
        assert cache.repositories(digest("layer"), HUB) == ()
        assert cache.config(digest("id")) is None


class TestRepositories:
    def test_come_back_with_the_latest_first_and_once(self, cache: LayerCache) -> None:
        for path in ("a", "b", "a"):
            cache.remember(digest("layer"), HUB, path)
        assert cache.repositories(digest("layer"), HUB) == ("a", "b")

    def test_of_another_registry_or_account_are_not_told(self, cache: LayerCache) -> None:
        cache.remember(digest("layer"), HUB, "a")
        for registry in ("docker.io as you", "ghcr.io as me", ""):
            assert cache.repositories(digest("layer"), registry) == ()
        assert all("docker.io" not in path.name for path in files(cache))

    def test_are_few(self, cache: LayerCache) -> None:
        for number in range(20):
            cache.remember(digest("layer"), HUB, f"app{number}")
        assert cache.repositories(digest("layer"), HUB) == ("app19", "app18", "app17", "app16")
        assert MAX_REPOSITORIES == 4

    @pytest.mark.parametrize("content", [b'{"repositories":"app"}', b'{"repositories":[1]}', b"{}"])
    def test_that_are_damaged_are_none(self, content: bytes, cache: LayerCache) -> None:
        cache.remember(digest("layer"), HUB, "a")
        files(cache)[0].write_bytes(content)
        assert cache.repositories(digest("layer"), HUB) == ()


class TestConfigs:
    def test_are_found_by_digest(self, cache: LayerCache) -> None:
        cache.put_config(b'{"a":1}')
        assert cache.config(Digest.of(b'{"a":1}')) == b'{"a":1}'
        assert cache.config(digest("other")) is None

    def test_are_found_by_the_id_that_an_engine_gives_them(self, cache: LayerCache) -> None:
        cache.put_config(b"config", digest("manifest"))
        cache.put_config(b"same", Digest.of(b"same"))
        assert cache.config(digest("manifest")) == cache.config(Digest.of(b"config")) == b"config"
        assert cache.config(Digest.of(b"same")) == b"same"
        assert len(files(cache)) == 3

    def test_with_other_bytes_are_a_miss(self, cache: LayerCache) -> None:
        cache.put_config(b"config")
        files(cache)[0].write_bytes(b"confiG")
        assert cache.config(Digest.of(b"config")) is None


class TestFolder:
    def test_that_cannot_be_made_or_written_changes_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
            cache = LayerCache(folder)
            cache.put(digest("layer"), GZIP, descriptor("x"))
            cache.remember(digest("layer"), HUB, "a")
            cache.put_config(b"config")
            assert cache.get(digest("layer"), GZIP) is None
            assert cache.repositories(digest("layer"), HUB) == ()
            assert cache.config(Digest.of(b"config")) is None

    def test_stays_small_and_keeps_what_is_used(self, cache: LayerCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(layercache.MAX_ENTRIES, "layers", 8)
        for number in range(8):
            cache.put(digest(number), GZIP, descriptor(number))
        for path in files(cache):
            os.utime(path, (1000, 1000))
        assert cache.get(digest(0), GZIP) is not None
        cache.put(digest("new"), GZIP, descriptor("new"))
        assert len(files(cache)) == 7
        assert cache.get(digest(0), GZIP) is not None
        assert cache.get(digest("new"), GZIP) is not None

    def test_holds_no_scratch_file_after_an_interrupt(self, cache: LayerCache, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(_self: Path, _target: Path) -> None:
            raise KeyboardInterrupt

        cache.put(digest("layer"), GZIP, descriptor("x"))
        monkeypatch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cache.put(digest("layer"), GZIP, descriptor("y"))
        assert len(files(cache)) == 1
        assert cache.get(digest("layer"), GZIP) == descriptor("x")

    def test_is_shared_by_many_at_once(self, cache: LayerCache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(layercache.MAX_ENTRIES, "layers", 20)
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            barrier.wait()
            for step in range(40):
                cache.put(digest((number + step) % 30), GZIP, descriptor((number + step) % 30))
                found = cache.get(digest(step % 30), GZIP)
                assert found in {None, descriptor(step % 30)}

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert 0 < len(files(cache)) <= 30
