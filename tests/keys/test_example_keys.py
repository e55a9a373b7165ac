from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.keys.conftest import EXAMPLE, EXAMPLE_PASSPHRASE, Answers
from trust.keys.ids import EXAMPLE_KEY_IDS
from trust.keys.store import KeyStore

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_of_the_folder_is_a_home_whose_keys_sign(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(EXAMPLE, home)
    for file in (home / "keys").iterdir():
        file.chmod(0o600)
    store = KeyStore(home / "keys", Answers(old=EXAMPLE_PASSPHRASE))
    keys = store.keys()
    assert {key.label: key.purpose for key in keys} == {
        "root": "root",
        "targets": "repository",
        "publish": "repository",
    }
    for key in keys:
        key.public.verify_signature(store.signer(key).sign(b"payload"), b"payload")


def test_the_ids_that_are_refused_are_those_of_the_folder() -> None:
    keys = KeyStore(EXAMPLE / "keys", Answers()).keys()
    assert {key.key_id for key in keys} == EXAMPLE_KEY_IDS


def test_the_readme_names_passphrase_and_ids() -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert EXAMPLE_PASSPHRASE.decode() in text
    assert all(key_id in text for key_id in EXAMPLE_KEY_IDS)
