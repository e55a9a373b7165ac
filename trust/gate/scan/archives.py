"""Images in files and folders: OCI layouts, their archives, and what ``docker save`` writes.

An entry with a full name counts as that name with the digest of the manifest that is in there, so
that a signed name does not vouch for other content. A tag alone names no repository: in a folder it
is ``oci:FOLDER:TAG``, whose trust data is in the folder. Older docker save files hold no manifests, and
so no digests: there only the names are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import DocksealError
from trust.gate.found import Place
from trust.oci.archive import DOCKER_MANIFEST_FILE, IMAGE_NAME, OciArchive, docker_images
from trust.oci.codec import GZIP_MAGIC, ZSTD_MAGIC
from trust.oci.layout import REF_NAME, Layout
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.oci.tarball import Tarball

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from trust.gate.scan.collect import Collector
    from trust.oci.manifest import Descriptor

HEAD_BYTES = 262
"""As many as tell an archive: POSIX tar has its magic at 257."""
_USTAR = slice(257, HEAD_BYTES)


def looks_like_archive(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive, or compressed."""
    return head[_USTAR] == b"ustar" or head.startswith((GZIP_MAGIC, ZSTD_MAGIC))


def read_layout(path: Path, name: str, collector: Collector) -> None:
    """The tags of an image layout folder."""
    place = Place(name)
    try:
        entries = Layout(path).entries()
    except DocksealError as error:
        collector.problem(place, error.message, error.hint or "")
        return
    _read_entries(entries, place, f"oci:{name}", collector)


def read_archive(path: Path, name: str, spool_dir: Path, collector: Collector) -> None:
    """The names in an archive."""
    place = Place(name)
    try:
        archive = Tarball.open(path, spool_dir)
        entries = OciArchive(archive).entries if "index.json" in archive else ()
        images = docker_images(archive) if DOCKER_MANIFEST_FILE in archive or not entries else ()
    except DocksealError as error:
        collector.problem(place, error.message, error.hint or "")
        return
    known = {full for entry in entries if (full := _full_name(entry))}
    _read_entries(entries, place, None, collector)
    for image in images:
        for text in image.names:
            if text not in known and not any(full.endswith(f"/{text}") for full in known):
                collector.image(text, place, "a name without a digest in a docker save file")
        if not image.names and not entries:
            collector.problem(place, f"holds an image without a name: {image.config[:100]}")


def _read_entries(entries: Iterable[Descriptor], place: Place, folder: str | None, collector: Collector) -> None:
    for entry in entries:
        full, tag = _full_name(entry), entry.annotation(REF_NAME)
        if full:
            if not full.rpartition(":")[2].startswith(TRUST_TAG_PREFIX):
                collector.image(f"{full.partition('@')[0]}@{entry.digest}", place, "image in it")
        elif tag is None:
            collector.problem(place, f"holds an image without a name: {entry.digest}")
        elif tag.startswith(TRUST_TAG_PREFIX):
            continue
        elif folder is None:
            collector.problem(place, f"holds an image with the tag {tag[:128]!r} alone: expected a full name")
        else:
            collector.layout_tag(f"{folder}:{tag}", place)


def _full_name(entry: Descriptor) -> str | None:
    name, tag = entry.annotation(IMAGE_NAME), entry.annotation(REF_NAME)
    return name or (tag if tag and ("/" in tag or ":" in tag) else None)
