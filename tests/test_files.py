"""Files appear whole and for nobody else; the folders on the way to them too."""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING

import pytest

from trust.errors import DocksealError, UsageError
from trust.files import create_once, locked, private_folder, write_atomically
from trust.oci.codec import Codec
from trust.oci.layercache import LayerCache
from trust.oci.localstore import LocalStore
from trust.oci.manifest import OCI_LAYER, Descriptor
from trust.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOB = Descriptor.of(b"blob", OCI_LAYER)


@pytest.fixture
def _generous() -> Iterator[None]:
    """A umask that lets everybody do everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def _lock(home: Path) -> None:
    with locked(home / "cache/trust/x/lock"):
        pass


def _put_image(home: Path) -> None:
    LocalStore(home / "images").store(Repository.parse("app")).put_blob(BLOB, lambda: io.BytesIO(b"blob"))


MAKERS: dict[str, Callable[[Path], object]] = {
    "a file that is replaced": lambda home: write_atomically(home / "keys/a", b"x"),
    "a file that is new": lambda home: create_once(home / "keys/b", b"x"),
    "a lock": _lock,
    "a spool": lambda home: private_folder(home / "cache/spool"),
    "the cache of layers": lambda home: LayerCache(home / "cache/layers").put(BLOB.digest, Codec(), BLOB),
    "the local store": _put_image,
}


@pytest.mark.usefixtures("_generous")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_folder_on_the_way_is_private_whatever_the_umask(make: Callable[[Path], object], tmp_path: Path) -> None:
    home = tmp_path / "share/dockseal"
    make(home)
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(folders) >= 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    private_folder(tmp_path / "home/cache")
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755
    assert private_folder(tmp_path / "home/cache") == tmp_path / "home/cache"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(DocksealError, match=rf"cannot make the folder {folder}: (File exists|Not a directory)"):
            private_folder(folder)
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(tmp_path / "file/below/it", b"x", error=UsageError)
