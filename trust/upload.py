"""An image's blobs and manifests on their way into a store: each layer once, several at a time.

Per layer: what the cache knows is looked for first (there, or to be mounted); else one pass reads, hashes
and compresses it into a spool file, which is sent. Manifests go by digest, children before their index;
no tag moves here.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import DocksealError, TamperedError
from trust.files import private_folder
from trust.oci.layer import compress_layer
from trust.oci.manifest import OCI_CONFIG, Descriptor, Manifest, image_manifest
from trust.oci.store import Outcome, Placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from trust.oci.codec import Codec
    from trust.oci.image import Image, SourceLayer
    from trust.oci.layercache import LayerCache
    from trust.oci.store import Store

DEFAULT_UPLOADS = 5
WAKE_SECONDS = 0.2
"""How often the thread that waits for the uploads looks whether an interrupt came."""
GRACE_SECONDS = 1.0
"""How long an interrupt waits for uploads to notice it; the program ends whatever they do."""


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One change of one layer, in docker's words; ``current`` of ``total`` bytes while it is sent."""

    layer: str
    status: str
    current: int = 0
    total: int = 0


def _silent(event: LayerProgress) -> None:
    del event


@dataclass(frozen=True, slots=True)
class Uploads:
    """How images are uploaded.

    Args:
        cache: what earlier uploads learnt.
        spool: the folder for compressed layers on their way.
        codec: how plain layers are compressed.
        registry: the registry and who is logged in there, as the cache tells registries apart.
        max_concurrent: layers at a time.
        report: told of every change of a layer, from several threads.
    """

    cache: LayerCache
    spool: Path
    codec: Codec
    registry: str
    max_concurrent: int = DEFAULT_UPLOADS
    report: Callable[[LayerProgress], None] = field(default=_silent)


class _StoppedError(DocksealError):
    """Another layer failed, or an interrupt came: this one need not go on."""


def known_manifest(image: Image, uploads: Uploads) -> Manifest | None:
    """The manifest that the image will have, where that is known before a layer is read."""
    if image.manifest is not None:
        return image.manifest
    descriptors = [_known_layer(layer, uploads) for layer in image.layers]
    known = [descriptor for descriptor in descriptors if descriptor is not None]
    return _manifest_of(image, known) if len(known) == len(descriptors) else None


def upload_image(store: Store, image: Image, uploads: Uploads) -> Manifest:
    """Bring an image there by digest, complete; no tag is touched.

    Raises:
        TamperedError: a layer is not what the image's config or manifest says.
        UnreachableError: the store did not answer.
    """
    with begun_upload(store, image, uploads) as upload:
        return upload.finish()


@contextmanager
def begun_upload(store: Store, image: Image, uploads: Uploads) -> Iterator[BegunUpload]:
    """Begin to read and compress an image's layers; nothing is asked of the store before ``finish``.

    So the work for the processor goes on while it is found out whether the push may be made at all. What
    was begun is dropped where the block ends without ``finish``.
    """
    with tempfile.TemporaryDirectory(prefix="push-", dir=private_folder(uploads.spool)) as spool:
        layers = _LayerUploads(store, uploads, Path(spool), _layers_of(image))
        try:
            yield BegunUpload(store, image, layers)
        finally:
            layers.stop()


@dataclass(frozen=True, slots=True)
class BegunUpload:
    """An upload whose layers are being compressed; made by :func:`begun_upload`."""

    store: Store
    image: Image
    layers: _LayerUploads

    def finish(self) -> Manifest:
        """Send what is missing: layers, configs, and manifests by digest.

        Raises:
            TamperedError: a layer is not what the image's config or manifest says.
            UnreachableError: the store did not answer.
        """
        return _put_manifests(self.store, self.image, self.layers.place())


class _LayerUploads:
    """The layers of one upload; the same layer never goes twice."""

    def __init__(self, store: Store, uploads: Uploads, spool: Path, layers: Iterable[SourceLayer]) -> None:
        self._store = store
        self._uploads = uploads
        self._spool = spool
        self._go = threading.Event()
        self._stop = threading.Event()
        self._compressors = threading.Semaphore(os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(uploads.max_concurrent, thread_name_prefix="upload")
        unique = {_key(layer): layer for layer in layers}
        self._layers = dict(sorted(unique.items(), key=lambda item: item[1].size, reverse=True))  # largest first
        self._futures = {key: self._pool.submit(self._place, layer) for key, layer in self._layers.items()}

    def place(self) -> dict[str, Descriptor]:
        """Bring every layer there; its descriptor by :func:`_key`."""
        futures = self._futures.values()
        for layer in self._layers.values():
            self._uploads.report(LayerProgress(_key(layer)[:12], "Preparing"))
        self._go.set()
        for layer in list(self._layers.values())[self._uploads.max_concurrent :]:
            self._tell(layer, "Waiting")
        _wait(futures, FIRST_EXCEPTION)
        self._stop_where_failed(futures)
        _wait(futures, ALL_COMPLETED)
        self._pool.shutdown()
        _raise_first(futures)
        return {key: future.result() for key, future in self._futures.items()}

    def stop(self) -> None:
        """End what still runs: who writes a spool file notices; a registry may hold up the others, for a while."""
        self._stop.set()
        self._go.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(self._futures.values(), GRACE_SECONDS)

    def _stop_where_failed(self, futures: Iterable[Future[Descriptor]]) -> None:
        """After the first failure the others end at their next chunk."""
        if all(future.done() and not future.cancelled() and future.exception() is None for future in futures):
            return
        self._stop.set()
        for future in futures:
            future.cancel()

    def _place(self, layer: SourceLayer) -> Descriptor:
        cache, registry = self._uploads.cache, self._uploads.registry
        known = _known_layer(layer, self._uploads)
        placed = None
        if known is not None:
            self._wait_for_go()
            if known.is_foreign:
                self._tell(layer, "Skipped foreign layer")
                return known
            placed = self._store.mount_blob(known, cache.repositories(known.digest, registry))
        if placed is None or known is None:
            known, placed = self._send(layer)
        if layer.diff_id is not None and layer.descriptor is None:
            cache.put(layer.diff_id, self._uploads.codec, known)
        cache.remember(known.digest, registry, self._store.repository.partition("/")[2])
        mounted = f" {placed.mounted_from}" if placed.outcome is Outcome.MOUNTED else ""
        self._tell(layer, f"{placed.outcome.value}{mounted}")
        return known

    def _send(self, layer: SourceLayer) -> tuple[Descriptor, Placed]:
        if layer.descriptor is not None:
            placed = self._store.put_blob(layer.descriptor, layer.open, sent=self._sent(layer, layer.descriptor.size))
            return layer.descriptor, placed
        with self._compressors:
            self._go_on()
            spooled = compress_layer(
                layer.open,
                self._uploads.codec,
                self._spool,
                expected_diff_id=layer.diff_id,
                progress=lambda done: self._tell(layer, "Compressing", done, layer.size),
            )
        with spooled:
            self._wait_for_go()
            size = spooled.descriptor.size
            mount_from = self._uploads.cache.repositories(spooled.descriptor.digest, self._uploads.registry)
            placed = self._store.put_blob(
                spooled.descriptor, spooled.open, mount_from=mount_from, sent=self._sent(layer, size)
            )
        return spooled.descriptor, placed

    def _sent(self, layer: SourceLayer, total: int) -> Callable[[int], None]:
        return lambda done: self._tell(layer, "Pushing", done, total)

    def _tell(self, layer: SourceLayer, status: str, current: int = 0, total: int = 0) -> None:
        self._go_on()
        if self._go.is_set():  # before that a passphrase may be asked for
            self._uploads.report(LayerProgress(_key(layer)[:12], status, current, total))

    def _wait_for_go(self) -> None:
        self._go.wait()
        self._go_on()

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _StoppedError("the upload was stopped")


def _wait(futures: Iterable[Future[Descriptor]], until: str) -> None:
    """Wait as :func:`concurrent.futures.wait` does, but wake up now and then.

    Python handles a signal when its main thread runs; one that another thread has taken does not wake it.
    """
    while True:
        done, running = wait(futures, WAKE_SECONDS, until)
        failed = any(not future.cancelled() and future.exception() is not None for future in done)
        if not running or (failed and until == FIRST_EXCEPTION):
            return


def _raise_first(futures: Iterable[Future[Descriptor]]) -> None:
    """The failure that stopped the others, not their echo."""
    failures = [future.exception() for future in futures if future.done() and not future.cancelled()]
    real = [failure for failure in failures if failure is not None and not isinstance(failure, _StoppedError)]
    if real:
        raise real[0]


def _key(layer: SourceLayer) -> str:
    """How a layer is told apart and shown: docker shows the diff id; a final layer has its own digest."""
    digest = layer.diff_id or (layer.descriptor.digest if layer.descriptor is not None else None)
    return f"unnamed-{id(layer):x}" if digest is None else digest.hex


def _known_layer(layer: SourceLayer, uploads: Uploads) -> Descriptor | None:
    if layer.descriptor is not None:
        return layer.descriptor
    return None if layer.diff_id is None else uploads.cache.get(layer.diff_id, uploads.codec)


def _layers_of(image: Image) -> Iterable[SourceLayer]:
    yield from image.layers
    for child in image.images:
        yield from _layers_of(child)


def _put_manifests(store: Store, image: Image, placed: dict[str, Descriptor]) -> Manifest:
    for child in image.images:
        _put_manifests(store, child, placed)
    manifest = image.manifest or _manifest_of(image, [placed[_key(layer)] for layer in image.layers])
    if manifest.config is not None:
        if manifest.config.digest != Descriptor.of(image.config, OCI_CONFIG).digest:
            raise TamperedError(f"the image's config is not the one that its manifest names: {manifest.config.digest}")
        store.put_blob(manifest.config, lambda: io.BytesIO(image.config))
    if not store.has_manifest(manifest.digest):
        store.put_manifest(manifest)
    return manifest


def _manifest_of(image: Image, layers: list[Descriptor]) -> Manifest:
    return image_manifest(Descriptor.of(image.config, OCI_CONFIG), tuple(layers))
