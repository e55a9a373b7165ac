"""A Docker engine: a real one as source and target, and one that misbehaves."""

from __future__ import annotations

import io
import json
import os
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.oci.samples import tar_of
from trust.digest import Digest
from trust.errors import (
    DeniedError,
    DocksealError,
    MissingError,
    TamperedError,
    UnreachableError,
    UsageError,
)
from trust.oci import engine as engines
from trust.oci.build import Settings, build_image
from trust.oci.codec import Codec
from trust.oci.engine import DEFAULT_HOST, Engine, EngineImage, engine_image
from trust.oci.layer import compress_layer
from trust.oci.layercache import LayerCache
from trust.oci.reference import Reference
from trust.oci.save import write_docker_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.engine import DockerEngine
    from trust.oci.image import Image

CODEC = Codec()


def built(folder: Path, *texts: str) -> Image:
    """An image with one layer per text."""
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.tar")
        paths[-1].write_bytes(tar_of([(f"file{number}", text.encode())]))
    (folder / "spool").mkdir(exist_ok=True)
    return build_image(tuple(paths), codec=CODEC, spool_dir=folder / "spool", settings=Settings(("/hello",)))


def archive_of(folder: Path, image: Image, name: str) -> BinaryIO:
    out = io.BytesIO()
    write_docker_archive([(Reference.parse(name), image)], out, folder / "archive", spool_dir=folder)
    out.seek(0)
    return out


def read(image: Image) -> list[bytes]:
    result = []
    for layer in image.layers:
        with layer.open() as file:
            result.append(file.read())
    return result


@contextmanager
def listening(serve: Serve) -> Iterator[Engine]:
    """An engine at a Unix socket, whose connections ``serve`` gets."""
    with tempfile.TemporaryDirectory(prefix="engine-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/sock")
        listener.listen()
        threading.Thread(target=accept_all, args=(listener, serve), daemon=True).start()
        try:
            yield Engine(f"unix://{folder}/sock")
        finally:
            listener.shutdown(socket.SHUT_RDWR)


class Serve:
    """What to do with a connection."""

    def __call__(self, connection: socket.socket) -> None:
        raise NotImplementedError


def accept_all(listener: socket.socket, serve: Serve) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            serve(connection)


def answers(head: str, body: bytes = b"", *, length: int | None = None) -> Serve:
    """Answers everything with this, without reading more than the request's beginning."""

    class Answers(Serve):
        def __call__(self, connection: socket.socket) -> None:
            connection.recv(65536)
            size = len(body) if length is None else length
            connection.sendall(
                f"HTTP/1.1 {head}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body
            )

    return Answers()


@contextmanager
def recorded(engine: DockerEngine) -> Iterator[tuple[Engine, list[str]]]:
    """The engine behind a TCP port, and the requests that came through."""
    requests: list[str] = []

    def relay(connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(engine.host.removeprefix("unix://"))
            data = connection.recv(65536)
            requests.append(data.partition(b"\r\n")[0].decode())
            upstream.sendall(data)
            while data := upstream.recv(1 << 20):
                connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=relay, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield Engine(f"tcp://127.0.0.1:{listener.getsockname()[1]}"), requests
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.peer("dockerd", "docker")
class TestRealEngine:
    @pytest.fixture
    def engine(self, docker_engine: DockerEngine) -> Engine:
        return Engine(docker_engine.host)

    @pytest.fixture
    def name(self, unique_name: str) -> str:
        return f"{unique_name}:v1"

    def test_tells_its_version(self, engine: Engine) -> None:
        major, minor = engine.ping().split(".")
        assert (int(major), int(minor)) >= (1, 41)

    def test_loads_what_was_built_and_says_what_it_has(
        self, engine: Engine, docker_engine: DockerEngine, name: str, tmp_path: Path
    ) -> None:
        image = built(tmp_path, name, "two")
        assert engine.load(archive_of(tmp_path, image, name)) == (name,)
        info = engine.inspect(name)
        assert info.id == Digest.of(image.config)
        assert info.diff_ids == tuple(layer.diff_id for layer in image.layers)
        assert info.tags == (name,)
        assert info.size > 0
        assert docker_engine.docker("image", "ls", "--quiet", "--no-trunc", name).stdout.strip() == str(info.id)
        (shown,) = json.loads(docker_engine.docker("image", "inspect", name).stdout)
        assert shown["Config"]["Entrypoint"] == ["/hello"]

    def test_runs_into_nothing_when_the_image_is_absent(self, engine: Engine, tmp_path: Path) -> None:
        for ask in (
            lambda: engine.inspect("absent:v1"),
            lambda: engine.export("absent:v1", tmp_path),
            lambda: engine.tag("absent:v1", "app", "v1"),
        ):
            with pytest.raises(MissingError, match="absent"):
                ask()
        assert list(tmp_path.iterdir()) == []

    def test_gives_an_image_one_more_name(self, engine: Engine, name: str, tmp_path: Path) -> None:
        engine.load(archive_of(tmp_path, built(tmp_path, name), name))
        engine.tag(name, "localhost:5000/team/app", "v2")
        assert engine.inspect("localhost:5000/team/app:v2") == engine.inspect(name)
        with pytest.raises(DocksealError, match="must be lowercase"):
            engine.tag(name, "UPPER", "v1")

    def test_exports_a_file_that_loads_again(
        self, engine: Engine, docker_engine: DockerEngine, name: str, tmp_path: Path
    ) -> None:
        engine.load(archive_of(tmp_path, built(tmp_path, name), name))
        info = engine.inspect(name)
        path = engine.export(name, tmp_path)
        assert path.stat().st_mode & 0o777 == 0o600
        docker_engine.docker("image", "rm", name)
        with path.open("rb") as file:
            assert engine.load(file) == (name,)
        assert engine.inspect(name) == info

    def test_an_image_of_it_is_the_one_that_was_loaded(self, engine: Engine, name: str, tmp_path: Path) -> None:
        image = built(tmp_path, name, "two")
        engine.load(archive_of(tmp_path, image, name))
        spool = tmp_path / "exports"
        spool.mkdir()
        found = engine_image(engine, name, LayerCache(tmp_path / "cache"), CODEC, spool)
        assert found.config == image.config
        assert [Digest.of(data) for data in read(found)] == [layer.diff_id for layer in image.layers]
        assert list(spool.iterdir()) == []

    def test_a_second_push_of_it_needs_no_export(self, docker_engine: DockerEngine, name: str, tmp_path: Path) -> None:
        cache = LayerCache(tmp_path / "cache")
        with recorded(docker_engine) as (engine, requests):
            Engine(docker_engine.host).load(archive_of(tmp_path, built(tmp_path, name, "two"), name))
            first = engine_image(engine, name, cache, CODEC, tmp_path)
            for layer in first.layers:
                assert layer.diff_id is not None
                with compress_layer(layer.open, CODEC, tmp_path, expected_diff_id=layer.diff_id) as spooled:
                    cache.put(layer.diff_id, CODEC, spooled.descriptor)
            assert len([line for line in requests if line.endswith("/get HTTP/1.1")]) == 1
            requests.clear()
            second = engine_image(engine, name, cache, CODEC, tmp_path)
            assert second.config == first.config
            assert [layer.diff_id for layer in second.layers] == [layer.diff_id for layer in first.layers]
            assert requests == [f"GET /images/{name}/json HTTP/1.1"]

            assert read(second) == read(first)  # a registry that lost them gets them, by one export
            assert len(requests) == 2
            requests.clear()
            engine_image(engine, name, cache, Codec("zstd", 3), tmp_path)
            assert len(requests) == 2  # compressed otherwise: the layers must be read

    def test_threads_share_one_export(self, docker_engine: DockerEngine, name: str, tmp_path: Path) -> None:
        image = built(tmp_path, name, "two", "three")
        Engine(docker_engine.host).load(archive_of(tmp_path, image, name))
        cache = LayerCache(tmp_path / "cache")
        cache.put_config(image.config)
        for layer in image.layers:
            assert layer.diff_id is not None
            assert layer.descriptor is not None
            cache.put(layer.diff_id, CODEC, layer.descriptor)
        with recorded(docker_engine) as (engine, requests):
            lazy = engine_image(engine, name, cache, CODEC, tmp_path)
            threads = [threading.Thread(target=layer.open) for layer in lazy.layers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(requests) == 2

    def test_says_why_it_could_not_load(self, engine: Engine, tmp_path: Path) -> None:
        image = built(tmp_path, "one")
        diff_id = str(image.layers[0].diff_id).encode()
        archive = archive_of(tmp_path, image, "app:v1").read().replace(diff_id, b"sha256:" + b"0" * 64)
        with pytest.raises(DocksealError, match="the Docker engine could not load the image: invalid diffID"):
            engine.load(io.BytesIO(archive))

    def test_our_own_failure_to_read_the_archive_is_said_as_such(self, engine: Engine) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell():
                    raise OSError(5, "Input/output error")
                return super().read(1)

        with pytest.raises(DocksealError, match=r"the archive cannot be read: .*Input/output error"):
            engine.load(Broken(b"xyz"))


class TestNoEngine:
    def test_at_the_socket_is_said_with_a_hint(self, tmp_path: Path) -> None:
        with pytest.raises(UnreachableError, match="could not be reached: No such file") as caught:
            Engine(f"unix://{tmp_path}/absent").ping()
        assert "DOCKER_HOST" in str(caught.value.hint)

    def test_at_the_port_is_said(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(UnreachableError, match="refused"):
            Engine(f"tcp://127.0.0.1:{port}").ping()

    def test_that_may_be_used_is_denied(self) -> None:
        with listening(answers("200 OK")) as engine, as_nobody(engine), pytest.raises(DeniedError) as caught:
            engine.ping()
        assert "group docker" in str(caught.value.hint)


class TestHost:
    @pytest.mark.parametrize(
        ("environ", "host"),
        [
            ({}, DEFAULT_HOST),
            ({"DOCKER_HOST": ""}, DEFAULT_HOST),
            ({"DOCKER_HOST": "unix:///x/y"}, "unix:///x/y"),
            ({"DOCKER_HOST": "tcp://[::1]:1"}, "tcp://[::1]:1"),
            ({"DOCKER_HOST": "tcp://engine"}, "tcp://engine"),
            ({"DOCKER_HOST": "unix:///x", "DOCKER_TLS_VERIFY": "1"}, "unix:///x"),
        ],
    )
    def test_is_taken_from_the_environment(self, environ: dict[str, str], host: str) -> None:
        assert Engine.from_environment(environ) == Engine(host)

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "/run/sock",
            "unix://relative",
            "ssh://host",
            "npipe:////./x",
            "tcp://",
            "tcp://h:x",
            "tcp://h:0",
            "tcp://[x",
        ],
    )
    def test_that_is_not_spoken_to_is_refused(self, host: str) -> None:
        with pytest.raises(UsageError, match="unsupported DOCKER_HOST"):
            Engine(host)

    def test_that_wants_tls_is_not_spoken_to_without(self) -> None:
        with pytest.raises(UsageError, match="DOCKER_TLS_VERIFY"):
            Engine.from_environment({"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1"})


@contextmanager
def as_nobody(engine: Engine) -> Iterator[None]:
    """Without permission to use the engine's socket."""
    Path(engine.host.removeprefix("unix://")).chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)


IMAGE_ID = f"sha256:{'a' * 64}"


class TestBadEngine:
    @pytest.mark.parametrize(
        ("serve", "error", "message"),
        [
            (answers("200 OK", b"<html>"), TamperedError, "not strict JSON"),
            (answers("200 OK", b"[]"), TamperedError, "not a JSON object"),
            (answers("200 OK", b"{}"), TamperedError, "lacks Id or Size"),
            (answers("200 OK", b'{"Id":"x","Size":1}'), UsageError, "invalid digest"),
            (answers("200 OK", b'{"Id":"%s","Size":1,"RepoTags":[1]}' % IMAGE_ID.encode()), TamperedError, "RepoTags"),
            (answers("200 OK", b"{", length=100), UnreachableError, "could not be reached"),
            (answers("404 Not Found", b'{"message":"No such image: x"}'), MissingError, "has no image 'x'"),
            (answers("200 OK\r\nTransfer-Encoding: chunked", b"zz\r\n"), UnreachableError, "could not be reached"),
            (answers("500 Oops", b"{}"), UnreachableError, "answered 500"),
            (answers("500 Oops", b"<html>"), UnreachableError, "answered 500"),
            (answers("500 Oops", b'{"message":"disk"}'), UnreachableError, "the Docker engine: disk"),
            (answers("409 Conflict", b'{"message":"no"}'), UsageError, "no"),
            (answers("403 Forbidden", b'{"message":"no"}'), DeniedError, "no"),
        ],
    )  # fmt: skip
    def test_whose_answer_makes_no_sense_is_not_believed(
        self, serve: Serve, error: type[DocksealError], message: str
    ) -> None:
        with listening(serve) as engine, pytest.raises(error, match=message):
            engine.inspect("x")

    def test_may_leave_out_lists_that_are_empty(self) -> None:
        body = json.dumps({"Id": IMAGE_ID, "Size": 1, "RepoTags": None, "RootFS": {"Type": "layers"}}).encode()
        with listening(answers("200 OK", body)) as engine:
            assert engine.inspect("x") == EngineImage(Digest(IMAGE_ID), (), (), 1)

    def test_that_speaks_no_http_is_unreachable(self) -> None:
        class Speaks(Serve):
            def __call__(self, connection: socket.socket) -> None:
                connection.sendall(b"220 mail ready\r\n")
                connection.recv(1000)

        with listening(Speaks()) as engine, pytest.raises(UnreachableError, match="could not be reached"):
            engine.ping()

    def test_that_hangs_is_given_up(self) -> None:
        class Hangs(Serve):
            def __call__(self, connection: socket.socket) -> None:
                connection.recv(1000)
                time.sleep(3)

        start = time.monotonic()
        with listening(Hangs()) as engine, pytest.raises(UnreachableError, match="timed out"):
            replace(engine, answer_timeout_s=0.2).ping()
        assert time.monotonic() - start < 3

    def test_with_an_endless_answer_is_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engines, "MAX_ANSWER_BYTES", 1000)
        with (
            listening(answers("200 OK", bytes(2000))) as engine,
            pytest.raises(TamperedError, match="longer than 1000"),
        ):
            engine.inspect("x")

    def test_that_breaks_off_leaves_no_export(self, tmp_path: Path) -> None:
        with listening(answers("200 OK", bytes(3 << 20), length=4 << 20)) as engine:
            with pytest.raises(UnreachableError):
                engine.export("x", tmp_path)
            assert list(tmp_path.iterdir()) == []

    def test_that_stops_listening_is_still_heard(self) -> None:
        with (
            listening(answers("500 Oops", b'{"message":"no space left on device"}')) as engine,
            pytest.raises(UnreachableError, match="no space left on device"),
        ):
            engine.load(io.BytesIO(bytes(64 << 20)))

    def test_that_names_an_error_in_its_progress_failed(self) -> None:
        body = b'{"stream":"Loading"}\r\n\r\n{"errorDetail":{"message":"x"},"error":"unexpected EOF"}\r\n'
        with (
            listening(answers("200 OK", body)) as engine,
            pytest.raises(DocksealError, match="could not load the image: unexpected EOF"),
        ):
            engine.load(io.BytesIO())

    def test_that_exports_another_image_is_not_believed(self, tmp_path: Path) -> None:
        other = archive_of(tmp_path, built(tmp_path, "other"), "x:v1").read()
        body = json.dumps({"Id": IMAGE_ID, "Size": 1, "RootFS": {"Layers": [IMAGE_ID]}}).encode()

        class Lies(Serve):
            def __call__(self, connection: socket.socket) -> None:
                exporting = b"/get " in connection.recv(1000)
                answer = other if exporting else body
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

        spool = tmp_path / "exports"
        spool.mkdir()
        with listening(Lies()) as engine, pytest.raises(TamperedError, match="exported another image"):
            engine_image(engine, "x", LayerCache(tmp_path / "cache"), CODEC, spool)
        assert list(spool.iterdir()) == []

    def test_a_folder_that_takes_no_export_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(MissingError, match="does not exist"):
            Engine().export("x", tmp_path / "absent")
