"""Make an image out of folders and tar files, one layer each, on an optional base.

Nothing is run and nothing is downloaded, and the result depends on the input alone: the same
files, options and ``created`` give the same digests, on another day too. Config: OCI image-spec
v1.1, config.md; what a base hands down follows docker's rules.
"""

from __future__ import annotations

import json
import platform as machine
import posixpath
import re
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from trust import strictjson
from trust.digest import Digest
from trust.errors import TamperedError, UsageError
from trust.oci.foldertar import open_folder, reading
from trust.oci.image import Image, SourceLayer
from trust.oci.layer import SpooledLayer, compress_layer
from trust.oci.manifest import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    Descriptor,
    image_manifest,
)
from trust.oci.tarcheck import TarCheck

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trust.oci.codec import Codec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CREATED_BY = "dockseal build"
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
    "i686": "386",
    "i386": "386",
    "loongarch64": "loong64",
}
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}
_PLATFORM = re.compile(r"[a-z0-9._-]+/[a-z0-9._-]+(?:/[a-z0-9._-]+)?")
_OCI_TYPES = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the config says about running the image; None and empty leave what the base says.

    ``env`` and ``labels`` are merged into the base's by name. An ``entrypoint`` drops the base's
    ``cmd``, which was meant for another. ``workdir`` is absolute, or relative to the base's.

    Raises:
        UsageError: a variable or label without a name, or with ``=`` in it.
    """

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    workdir: str | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        for what, pairs in (("environment variable", self.env), ("label", self.labels)):
            for name, value in pairs:
                if not name or "=" in name or "\0" in name + value:
                    raise UsageError(f"invalid {what} {name[:100]!r}: expected NAME=VALUE with a name")


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a new image takes over from the config of its base."""

    platform: str | None = None
    system: tuple[tuple[str, object], ...] = ()
    settings: dict[str, object] = field(default_factory=dict)
    history: tuple[object, ...] = ()
    diff_ids: tuple[Digest, ...] = ()


def this_platform() -> str:
    """``linux/ARCH[/VARIANT]`` of this machine, in OCI's words."""
    name = machine.machine().lower()
    return f"linux/{_ARCHITECTURES.get(name, name)}"


def created_at(source_date_epoch: str | None) -> datetime:
    """The time of ``SOURCE_DATE_EPOCH``; where it is unset, the start of 1970.

    Raises:
        UsageError: it is no number of seconds.
    """
    try:
        return datetime.fromtimestamp(int(source_date_epoch or "0"), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"invalid SOURCE_DATE_EPOCH {source_date_epoch!r:.60}: expected seconds since 1970") from error


def build_image(
    paths: tuple[Path, ...],
    *,
    codec: Codec,
    spool_dir: Path,
    base: Image | None = None,
    platform: str | None = None,
    settings: Settings | None = None,
    created: datetime = EPOCH,
    progress: Callable[[Path, int], None] | None = None,
) -> Image:
    """Build a final image: its manifest is made, and its layers can be opened.

    Args:
        paths: folders and tar files (plain, gzip or zstd), one layer each, the lowest first.
        codec: how layers that are not compressed already are compressed.
        spool_dir: holds the new layers; they can be read until the caller removes the folder.
        base: what the layers go on: an image, or an index that has one for ``platform``.
        platform: ``os/arch[/variant]``; by default the base's, else this machine's.
        settings: entrypoint and the like.
        created: goes into the config, and becomes the modification time of a folder's entries.
        progress: told how many bytes of a path were read so far.

    Raises:
        UsageError: a path that cannot be a layer, or a base for another platform.
        TamperedError: a tar file, or the base, is damaged.
        DocksealError: the disk is full.
    """
    if not paths and base is None:
        raise UsageError("nothing to build from: expected a folder or a tar file", hint="dockseal build -t NAME FOLDER")
    if platform is not None and not _PLATFORM.fullmatch(platform):
        raise UsageError(f"invalid platform {platform[:60]!r}: expected OS/ARCH or OS/ARCH/VARIANT")
    base = None if base is None else _for_platform(base, platform)
    inherited = _Inherited() if base is None else _inherited(base)
    target = _target_platform(inherited, platform)
    with ExitStack() as undo:
        below = () if base is None else _base_layers(base, inherited, codec, spool_dir, undo)
        new = tuple(undo.enter_context(_layer(path, codec, spool_dir, created, progress)) for path in paths)
        undo.pop_all()
    config = _config(inherited, settings or Settings(), target, created, tuple(layer.diff_id for layer in new))
    layers = below + tuple(map(_final, new))
    descriptors = tuple(layer.descriptor for layer in layers if layer.descriptor is not None)
    return Image(config, layers, image_manifest(Descriptor.of(config, OCI_CONFIG), descriptors))


# Layers


def _layer(
    path: Path, codec: Codec, spool_dir: Path, created: datetime, progress: Callable[[Path, int], None] | None
) -> SpooledLayer:
    told = None if progress is None else lambda done: progress(path, done)
    with reading(str(path)):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        mtime = int(created.timestamp())
        return compress_layer(lambda: open_folder(path, mtime), codec, spool_dir, expected_diff_id=None, progress=told)
    if not stat.S_ISREG(mode):  # a FIFO or a device would not give the same bytes twice
        raise UsageError(f"{path} is no folder or tar file")
    check = TarCheck(str(path))
    layer = compress_layer(
        lambda: _open_file(path), codec, spool_dir, expected_diff_id=None, progress=told, tap=check.feed
    )
    with ExitStack() as undo:
        undo.enter_context(layer)
        check.finish()
        undo.pop_all()
    return layer


def _open_file(path: Path) -> BinaryIO:
    with reading(str(path)):
        return path.open("rb")


def _base_layers(
    base: Image, inherited: _Inherited, codec: Codec, spool_dir: Path, undo: ExitStack
) -> tuple[SourceLayer, ...]:
    """The base's layers as they are; where they are not final yet, they become so."""
    if len(base.layers) != len(inherited.diff_ids):
        raise TamperedError(f"the base has {len(base.layers)} layers, but its config names {len(inherited.diff_ids)}")
    return tuple(
        _final(undo.enter_context(compress_layer(layer.open, codec, spool_dir, expected_diff_id=diff_id)))
        if layer.descriptor is None
        else replace(layer, descriptor=_oci_descriptor(layer.descriptor), diff_id=diff_id)
        for layer, diff_id in zip(base.layers, inherited.diff_ids, strict=True)
    )


def _oci_descriptor(descriptor: Descriptor) -> Descriptor:
    """The same bytes, named as an OCI manifest does."""
    if descriptor.is_foreign:
        raise UsageError(
            f"the base has a layer that lives elsewhere ({descriptor.media_type}): an image on it could not be pushed"
        )
    return replace(descriptor, media_type=_OCI_TYPES.get(descriptor.media_type, descriptor.media_type))


def _final(layer: SpooledLayer) -> SourceLayer:
    return SourceLayer(layer.open, layer.descriptor.size, layer.diff_id, layer.descriptor)


# Platforms


def _for_platform(base: Image, platform: str | None) -> Image:
    """The one image of an index that is meant."""
    if base.manifest is None or not base.manifest.is_index:
        return base
    wanted = platform or this_platform()
    offered = {entry.digest: entry.platform for entry in base.manifest.manifests if entry.platform is not None}
    for image in base.images:
        if image.manifest is not None and _matches(offered.get(image.manifest.digest), wanted):
            return image
    known = ", ".join(sorted(offered.values())) or "none that says its platform"
    raise UsageError(f"the base has no image for {wanted}: it has {known}")


def _target_platform(inherited: _Inherited, platform: str | None) -> str:
    if inherited.platform is None:
        return platform or this_platform()
    if platform is not None and not _matches(inherited.platform, platform):
        raise UsageError(f"the base is for {inherited.platform}: expected {platform}")
    return inherited.platform


def _matches(offered: str | None, wanted: str) -> bool:
    """Whether a platform is the one asked for; who names no variant takes any."""
    if offered is None:
        return False
    (system, architecture, variant), asked = _parts(offered), _parts(wanted)
    default = _DEFAULT_VARIANTS.get(architecture, "")
    return (system, architecture) == asked[:2] and asked[2] in {"", variant or default}


def _parts(platform: str) -> tuple[str, str, str]:
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    return system, architecture, variant


# Config


def _inherited(base: Image) -> _Inherited:
    """Read the base's config; what is not understood inside ``config`` is handed down as it is."""
    body = strictjson.loads_object(base.config, "the base's config")
    rootfs = body.get("rootfs")
    settings = body.get("config") or {}
    history = body.get("history") or []
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(settings, dict) or not isinstance(history, list):
        raise TamperedError("the base's config is malformed: config is no map, or history is no list")
    names = [_text(body, name) for name in ("os", "architecture", "variant")]
    return _Inherited(
        "/".join(filter(None, names)) if names[0] and names[1] else None,
        tuple((name, body[name]) for name in ("os.version", "os.features") if name in body),
        {name: value for name, value in settings.items() if name != "OnBuild"},
        tuple(history),
        tuple(map(Digest, _strings(diff_ids, "rootfs.diff_ids"))),
    )


def _config(
    inherited: _Inherited, settings: Settings, platform: str, created: datetime, diff_ids: tuple[Digest, ...]
) -> bytes:
    """The image's config: sorted names, no whitespace."""
    system, architecture, variant = _parts(platform)
    stamp = created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    step: dict[str, object] = {"created": stamp, "created_by": CREATED_BY}
    steps = [step] * len(diff_ids) or [{**step, "empty_layer": True}]
    body: dict[str, object] = {
        **dict(inherited.system),
        "architecture": architecture,
        "os": system,
        "created": stamp,
        "config": _settings(inherited.settings, settings),
        "history": [*inherited.history, *steps],
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in inherited.diff_ids + diff_ids]},
    }
    if variant:
        body["variant"] = variant
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _settings(base: dict[str, object], settings: Settings) -> dict[str, object]:
    result = dict(base)
    if settings.entrypoint is not None:
        result["Entrypoint"] = list(settings.entrypoint)
        result.pop("Cmd", None)
    if settings.cmd is not None:
        result["Cmd"] = list(settings.cmd)
    if settings.user is not None:
        result["User"] = settings.user
    if settings.workdir is not None:
        result["WorkingDir"] = posixpath.normpath(posixpath.join("/", _text(base, "WorkingDir"), settings.workdir))
    if settings.env:
        known = (text.partition("=") for text in _strings(base.get("Env") or [], "config.Env"))
        merged = {name: value for name, _, value in known} | dict(settings.env)
        result["Env"] = [f"{name}={value}" for name, value in merged.items()]
    if settings.labels:
        labels = base.get("Labels") or {}
        if not isinstance(labels, dict):
            raise TamperedError("the base's config is malformed: config.Labels is no map")
        result["Labels"] = labels | dict(settings.labels)
    return result


def _text(body: dict[str, object], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise TamperedError(f"the base's config is malformed: {name} is no string")
    return value


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TamperedError(f"the base's config is malformed: {where} is no list of strings")
    return value
