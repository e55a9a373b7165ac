"""A Docker engine as a source of images, and as a place to load them into.

Docker Engine API over its Unix socket or plain TCP. Paths carry no API version: engines of 2026
refuse the versions that those of 2023 end with, and all of them take none for their newest. Docker
contexts are not read, only ``DOCKER_HOST``. TLS to a remote engine is refused rather than left out.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Self
from urllib.parse import quote, urlencode, urlsplit

from trust import strictjson
from trust.digest import CHUNK_BYTES, Digest
from trust.errors import DeniedError, DocksealError, MissingError, TamperedError, UnreachableError, UsageError
from trust.oci.archive import diff_ids_of, read_docker_archive
from trust.oci.folder import mapped_errors
from trust.oci.image import Image, SourceLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trust.oci.codec import Codec
    from trust.oci.layercache import LayerCache

DEFAULT_HOST = "unix:///var/run/docker.sock"
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 60
TRANSFER_TIMEOUT_S = 900
"""For one read or write of an export or load: engines write the whole archive to disk before they send it."""
MAX_ANSWER_BYTES = 8 << 20
MAX_EXPORT_BYTES = 1 << 40
_DEFAULT_TCP_PORT = 2375
_MAX_SHOWN = 300


@dataclass(frozen=True, slots=True)
class EngineImage:
    """What the engine says of an image. ``size`` in bytes, uncompressed.

    ``id`` is the config's digest; with containerd's image store, the manifest's.
    """

    id: Digest
    diff_ids: tuple[Digest, ...]
    tags: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker engine. Nothing is sent before a method is called.

    Args:
        host: ``unix:///PATH`` or ``tcp://HOST[:PORT]``.
        answer_timeout_s: for one read of an answer that is no archive.

    Raises:
        UsageError: it is neither.
        UnreachableError: (every method) there is no engine, or it failed.
    """

    host: str = DEFAULT_HOST
    answer_timeout_s: float = ANSWER_TIMEOUT_S

    def __post_init__(self) -> None:
        scheme, _, rest = self.host.partition("://")
        if scheme == "unix" and rest.startswith("/"):
            return
        try:
            if scheme == "tcp" and urlsplit(self.host).hostname and urlsplit(self.host).port != 0:
                return
        except ValueError:
            pass
        raise UsageError(f"unsupported DOCKER_HOST {self.host[:100]!r}: expected unix:///PATH or tcp://HOST:PORT")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """The engine that ``DOCKER_HOST`` names, or the one of this machine.

        Raises:
            UsageError: it cannot be used, or shall be spoken to with TLS.
        """
        host = environ.get("DOCKER_HOST") or DEFAULT_HOST
        if environ.get("DOCKER_TLS_VERIFY") and not host.startswith("unix:"):
            raise UsageError(
                "DOCKER_TLS_VERIFY is set, but an engine is not spoken to with TLS yet",
                hint="use docker save and push --from docker-archive:FILE",
            )
        return cls(host)

    def ping(self) -> str:
        """Whether it is there; its newest API version."""
        with self._ask("GET", "/_ping") as answer:
            return answer.response.getheader("API-Version", "")

    def inspect(self, name: str) -> EngineImage:
        """What it says of an image.

        Raises:
            MissingError: it has no such image.
            TamperedError: the answer makes no sense.
        """
        with self._ask("GET", _image_path(name, "json"), image=name) as answer:
            body = strictjson.loads_object(answer.read_all(), "the Docker engine's answer")
        rootfs = body.get("RootFS")
        diff_ids = rootfs.get("Layers") if isinstance(rootfs, dict) else None
        match body:
            case {"Id": str(image_id), "Size": int(size)}:
                tags = _strings(body.get("RepoTags"), "RepoTags")
                return EngineImage(
                    Digest(image_id), tuple(map(Digest, _strings(diff_ids, "RootFS.Layers"))), tags, size
                )
        raise TamperedError("the Docker engine's answer lacks Id or Size")

    def export(self, name: str, folder: Path) -> Path:
        """``docker save`` of one image into a new file in ``folder``, mode 0600; a failure leaves none.

        Raises:
            MissingError: it has no such image.
            DocksealError: the disk is full.
        """
        with mapped_errors(folder):
            handle, file_name = tempfile.mkstemp(dir=folder, prefix="export-", suffix=".tar")
        path = Path(file_name)
        try:
            with (
                os.fdopen(handle, "wb", buffering=0) as file,
                self._ask("GET", _image_path(name, "get"), image=name, timeout_s=TRANSFER_TIMEOUT_S) as answer,
            ):
                for chunk in answer.chunks(MAX_EXPORT_BYTES):
                    with mapped_errors(path):
                        file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def load(self, archive: BinaryIO) -> tuple[str, ...]:
        """``docker load`` of an archive; the names or ids of what was loaded.

        Raises:
            DocksealError: the engine refused it, or the archive cannot be read.
        """
        with self._ask("POST", "/images/load?quiet=1", body=_chunks(archive), timeout_s=TRANSFER_TIMEOUT_S) as answer:
            lines = answer.read_all().splitlines()
        messages = [strictjson.loads_object(line, "the Docker engine's answer") for line in lines if line.strip()]
        for message in messages:
            if "error" in message:
                raise DocksealError(f"the Docker engine could not load the image: {_shown(message['error'])}")
        told = "".join(str(message.get("stream", "")) for message in messages).splitlines()
        return tuple(line.partition(": ")[2] for line in told if line.startswith("Loaded image"))

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name.

        Raises:
            MissingError: it has no such image.
        """
        query = urlencode({"repo": repository, "tag": tag})
        with self._ask("POST", f"{_image_path(name, 'tag')}?{query}", image=name):
            pass

    def _ask(
        self,
        method: str,
        path: str,
        *,
        image: str | None = None,
        body: Iterator[bytes] | None = None,
        timeout_s: float | None = None,
    ) -> _Answer:
        connection = self._connection()
        headers = {} if body is None else {"Transfer-Encoding": "chunked", "Content-Type": "application/x-tar"}
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s or self.answer_timeout_s)
            with suppress(BrokenPipeError, ConnectionResetError):  # it stopped listening: its answer says why
                connection.request(method, path, body, headers, encode_chunked=True)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise
        answer = _Answer(self, connection, response)
        if response.status >= 400:  # noqa: PLR2004 - where HTTP's errors begin
            with answer:
                _refuse(response.status, answer.read_all(), image)
        return answer

    def _connection(self) -> HTTPConnection:
        if self.host.startswith("unix:"):
            return _UnixConnection(self.host.removeprefix("unix://"))
        url = urlsplit(self.host)
        return HTTPConnection(url.hostname or "", url.port or _DEFAULT_TCP_PORT, timeout=CONNECT_TIMEOUT_S)

    def _unreachable(self, error: OSError | HTTPException) -> UnreachableError:
        if isinstance(error, PermissionError):
            return DeniedError(
                f"access to the Docker engine at {self.host} was denied",
                hint="become a member of the group docker, or use docker save and push --from docker-archive:FILE",
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return UnreachableError(
            f"the Docker engine at {self.host} could not be reached: {reason}",
            hint="start it, or set DOCKER_HOST to where it listens",
        )


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=CONNECT_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response that is read with our errors and caps, and closed with its connection."""

    engine: Engine
    connection: HTTPConnection
    response: HTTPResponse

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        left = max_bytes
        while True:
            try:
                chunk = self.response.read(CHUNK_BYTES)
            except (OSError, HTTPException) as error:
                raise self.engine._unreachable(error) from error  # noqa: SLF001 - its own answer
            if not chunk and self.response.length:  # http.client takes a short body for a whole one
                raise self.engine._unreachable(HTTPException(f"{self.response.length} bytes are missing"))  # noqa: SLF001
            if not chunk:
                return
            left -= len(chunk)
            if left < 0:
                raise TamperedError(f"the Docker engine's answer is longer than {max_bytes} bytes")
            yield chunk

    def read_all(self) -> bytes:
        return b"".join(self.chunks(MAX_ANSWER_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()


def engine_image(engine: Engine, name: str, cache: LayerCache, codec: Codec, spool_dir: Path) -> Image:
    """An image of the engine, exported when something of it must be read, which may be never.

    Where ``cache`` knows the config and every layer's compressed form, nothing is exported: whoever
    then finds all layers at the registry has pushed without reading one. Else the export is made at once.

    Args:
        engine: where the image is.
        name: its name or id.
        cache: what earlier pushes learnt; the config is added to it.
        codec: how layers are compressed.
        spool_dir: takes the exported archive, which has no name once it is open.

    Raises:
        MissingError: it has no such image.
        UnreachableError: there is no engine, or it failed.
        TamperedError: the export is not the image that was named.
    """
    info = engine.inspect(name)
    export = _Export(engine, info, cache, spool_dir)
    config = cache.config(info.id)
    known = [cache.get(diff_id, codec) for diff_id in info.diff_ids]
    sizes = [descriptor.size for descriptor in known if descriptor is not None]
    if config is None or len(sizes) < len(known) or diff_ids_of(config) != info.diff_ids:
        return export.image()
    layers = (
        SourceLayer(partial(export.open, number), size, diff_id)
        for number, (size, diff_id) in enumerate(zip(sizes, info.diff_ids, strict=True))
    )
    return Image(config, tuple(layers))


@dataclass(slots=True)
class _Export:
    """An image's archive, fetched once, by the first who needs it."""

    engine: Engine
    info: EngineImage
    cache: LayerCache
    spool_dir: Path
    _lock: Lock = field(default_factory=Lock)
    _image: Image | None = None

    def image(self) -> Image:
        with self._lock:
            if self._image is None:
                self._image = self._fetch()
            return self._image

    def open(self, number: int) -> BinaryIO:
        return self.image().layers[number].open()

    def _fetch(self) -> Image:
        path = self.engine.export(str(self.info.id), self.spool_dir)  # by id: the name may move meanwhile
        try:
            image = read_docker_archive(path, spool_dir=self.spool_dir)
        finally:
            path.unlink()  # the image reads from the open file
        if diff_ids_of(image.config) != self.info.diff_ids:
            raise TamperedError(f"the Docker engine exported another image than {self.info.id}: its layers differ")
        self.cache.put_config(image.config, self.info.id)
        return image


def _chunks(archive: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            chunk = archive.read(CHUNK_BYTES)
        except OSError as error:
            raise DocksealError(f"the archive cannot be read: {error}") from error
        if not chunk:
            return
        yield chunk


def _image_path(name: str, action: str) -> str:
    return f"/images/{quote(name, safe='/:@')}/{action}"


def _refuse(status: int, body: bytes, image: str | None) -> NoReturn:
    """Raise what an error status means; the engine says more in ``message``."""
    message = f"the Docker engine answered {status}"
    with suppress(TamperedError, KeyError):
        message = f"the Docker engine: {_shown(strictjson.loads_object(body, 'the answer')['message'])}"
    if status == 404 and image is not None:  # noqa: PLR2004 - Not Found
        raise MissingError(f"the Docker engine has no image {image!r}", hint="docker images shows what it has")
    if status in {400, 409}:
        raise UsageError(message)
    if status in {401, 403}:
        raise DeniedError(message)
    raise UnreachableError(message)


def _shown(value: object) -> str:
    return str(value)[:_MAX_SHOWN].strip()


def _strings(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TamperedError(f"the Docker engine's answer is malformed: {where} is no list of strings")
    return tuple(value)
