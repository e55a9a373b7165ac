"""Files appear whole and for nobody else; the folders on the way to them too."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trust.errors import DocksealError, UsageError
from trust.files import LEFTOVER_SECONDS, create_once, enter_spool, locked, private_folder, write_atomically
from trust.oci.codec import Codec
from trust.oci.layercache import LayerCache
from trust.oci.localstore import LocalStore
from trust.oci.manifest import OCI_LAYER, Descriptor
from trust.oci.reference import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
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


NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool with what killed processes left: two files and a folder of two days ago, and one file of this morning."""
    folder = private_folder(tmp_path / "spool")
    private_folder(folder / "push-old")
    for name in ("push-old/layer-1", "export-old.tar", "layer-old", "layer-young"):
        (folder / name).write_bytes(b"x")
    for path in folder.rglob("*old*"):
        then = NOW.timestamp() - 2 * LEFTOVER_SECONDS
        os.utime(path, (then, then))
    os.utime(folder / "layer-young", (NOW.timestamp() - 3600,) * 2)
    return folder


def test_what_killed_processes_left_in_a_spool_is_swept_after_a_day(spool: Path) -> None:
    os.close(enter_spool(spool, NOW))
    assert [path.name for path in spool.iterdir()] == ["layer-young"]


def test_nothing_is_swept_while_another_process_spools(spool: Path) -> None:
    script = (
        "import sys; from datetime import *; from pathlib import Path; from trust.files import enter_spool\n"
        "enter_spool(Path(sys.argv[1]), datetime.fromtimestamp(0, UTC)); print('here', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(spool)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"here\n"
        os.close(enter_spool(spool, NOW))
        assert len(list(spool.iterdir())) == 4
        other.kill()
    os.close(enter_spool(spool, NOW))
    assert [path.name for path in spool.iterdir()] == ["layer-young"]


def test_a_link_in_a_spool_is_removed_and_not_followed(spool: Path, tmp_path: Path) -> None:
    kept = private_folder(tmp_path / "kept") / "file"
    kept.write_bytes(b"x")
    then = NOW.timestamp() - 2 * LEFTOVER_SECONDS
    for path in (kept, kept.parent):
        os.utime(path, (then, then))
    (spool / "link").symlink_to(kept.parent)
    os.utime(spool / "link", (then, then), follow_symlinks=False)
    os.close(enter_spool(spool, NOW))
    assert kept.exists()
    assert not (spool / "link").is_symlink()
