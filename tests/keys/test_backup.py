"""All keys in one archive, there and back; tries of a passphrase."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.keys.conftest import EXAMPLE, EXAMPLE_PASSPHRASE, Answers
from trust.errors import DocksealError, KeyUnavailableError, TamperedError, UsageError, WrongPassphraseError
from trust.keys import backup
from trust.keys.store import KeyStore, StoredKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.keys.description import Purpose

VECTOR = Path(__file__).parent / "vectors" / "backup.jwe"
"""The example keys, encrypted by another implementation of RFC 7516 (jwcrypto 1.6)."""
BACKED_UP = "2026-11-24T08:00:00Z"


@pytest.fixture(autouse=True)
def _fast(cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One PBKDF2 round, for tests that are not about the cost."""
    monkeypatch.setattr(backup, "ITERATIONS", 1)
    monkeypatch.setattr(backup, "MIN_ITERATIONS", 1)


@pytest.fixture
def elsewhere(tmp_path: Path, answers: Answers) -> KeyStore:
    """Another machine."""
    return KeyStore(tmp_path / "elsewhere", answers)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def header(**change: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps({"alg": "x", **change}).encode()).rstrip(b"=")


def archive_of(**content: bytes) -> bytes:
    return backup.seal({name.replace("_", "."): data for name, data in content.items()}, b"correct horse")


def test_all_keys_go_to_another_machine(store: KeyStore, answers: Answers, elsewhere: KeyStore, folder: Path) -> None:
    keys = (store.generate("release"), store.generate("root", purpose="root", kind="ecdsa"))
    answers.asked.clear()
    data = store.export_all()
    assert answers.asked == [("new", "backup archive", "root")]
    assert backup.is_archive(data)
    for name, content in files(folder).items():
        assert content not in data
        assert name.encode() not in data
    restored = elsewhere.restore(data)
    assert [(each.key, each.was_here) for each in restored] == [
        (replace(key, backed_up=BACKED_UP), False) for key in keys
    ]
    for key in keys:
        key.public.verify_signature(elsewhere.signer(key).sign(b"payload"), b"payload")
    assert (elsewhere._folder / "root.key").read_bytes() == (folder / "root.key").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in elsewhere._folder.iterdir()} == {0o600}


def test_a_key_that_is_elsewhere_is_restored_with_its_uri(store: KeyStore, elsewhere: KeyStore, folder: Path) -> None:
    key = store.generate("token")
    (folder / "token.key").unlink()
    path = folder / "token.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"uri": "hsm:2?label=release"}))
    (restored,) = elsewhere.restore(store.export_all())
    assert restored.key == replace(key, uri="hsm:2?label=release", backed_up=BACKED_UP)


def test_what_is_here_is_left_alone_and_told(store: KeyStore, folder: Path) -> None:
    store.generate("release")
    data = store.export_all()
    store.generate("second")
    before = files(folder)
    (told,) = store.restore(data)
    assert (told.key.label, told.was_here) == ("release", True)
    assert files(folder) == before


@pytest.mark.parametrize("label", ["release", "l" * 64])
def test_a_label_that_another_key_has_gets_longer(store: KeyStore, elsewhere: KeyStore, label: str) -> None:
    key, other = store.generate(label), elsewhere.generate(label)
    (told,) = elsewhere.restore(store.export_all())
    assert told.key.label == f"{label[:48]}-{key.short}"
    assert elsewhere.get(key.key_id) == told.key
    assert elsewhere.get(other.key_id) == other


def test_another_implementation_of_the_standard_made_this(elsewhere: KeyStore, answers: Answers) -> None:
    answers.old = EXAMPLE_PASSPHRASE
    restored = elsewhere.restore(VECTOR.read_bytes())
    assert [each.key.label for each in restored] == ["publish", "root", "targets"]
    for name in ("root.key", "root.json"):
        stored = elsewhere._folder / name
        assert stored.suffix == ".json" or stored.read_bytes() == (EXAMPLE / "keys" / name).read_bytes()
    elsewhere.signer(elsewhere.find("root"))


def test_the_header_is_as_the_standard_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    first, _, rest = backup.seal({}, b"correct horse").partition(b".")
    said = json.loads(base64.urlsafe_b64decode(first + b"=="))
    assert said.pop("p2s")
    assert said == {"alg": "PBES2-HS512+A256KW", "cty": "json", "enc": "A256GCM", "p2c": 600_000}
    assert rest.count(b".") == 3


def test_an_export_is_noted(store: KeyStore, open_store: Callable[[], KeyStore]) -> None:
    first, second = store.generate("first"), store.generate("second")
    assert first.backed_up is None
    store.note_backup([first])
    assert open_store().keys() == (replace(first, backed_up=BACKED_UP), second)
    store.signer(store.find("first")).sign(b"payload")


def test_without_a_key_there_is_nothing_to_export(store: KeyStore, answers: Answers) -> None:
    with pytest.raises(UsageError, match="there is no key to export"):
        store.export_all()
    assert answers.asked == []


def test_a_damaged_or_open_key_file_is_not_left_out_silently(store: KeyStore, folder: Path) -> None:
    store.generate("good")
    store.generate("open")
    (folder / "open.key").chmod(0o644)
    with pytest.raises(KeyUnavailableError, match="open to others"):
        store.export_all()
    (folder / "open.key").chmod(0o600)
    (folder / "open.key").write_bytes(b"damaged")
    with pytest.raises(KeyUnavailableError, match="is damaged"):
        store.export_all()


def test_a_poor_passphrase_for_the_archive(store: KeyStore, answers: Answers) -> None:
    store.generate("release")
    answers.fresh = b"short"
    with pytest.raises(KeyUnavailableError, match="passphrase for the backup archive is too short"):
        store.export_all()


def test_a_wrong_passphrase(store: KeyStore, elsewhere: KeyStore, answers: Answers) -> None:
    store.generate("release")
    data = store.export_all()
    answers.old = b"wrong horse"
    with pytest.raises(WrongPassphraseError, match="wrong passphrase for the backup"):
        elsewhere.restore(data)
    answers.old = b""
    with pytest.raises(KeyUnavailableError, match="passphrase for the backup archive is empty"):
        elsewhere.restore(data)
    assert files(elsewhere._folder) == {}


@pytest.mark.parametrize("part", range(5))
def test_a_change_anywhere_is_noticed(store: KeyStore, elsewhere: KeyStore, part: int) -> None:
    store.generate("release")
    parts = store.export_all().strip().split(b".")
    middle = len(parts[part]) // 2
    letter = parts[part][middle : middle + 1]
    parts[part] = parts[part][:middle] + (b"B" if letter == b"A" else b"A") + parts[part][middle + 1 :]
    with pytest.raises(KeyUnavailableError):
        elsewhere.restore(b".".join(parts))
    assert files(elsewhere._folder) == {}


SALT = {"p2s": "AAAA", "p2c": 5}
KNOWN = {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM"}
REST = b".AA.AA.AA.AA"
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is damaged: it is cut off"),
    "four parts": (header(**KNOWN, **SALT) + b".AA.AA.AA", "is damaged: it is cut off"),
    "too large": (header(**KNOWN, **SALT) + REST + b"A" * (16 << 20), "larger than"),
    "another algorithm": (header(**SALT) + REST, "is encrypted otherwise"),
    "compressed": (header(**KNOWN, zip="DEF", **SALT) + REST, "is encrypted otherwise"),
    "no salt": (header(**KNOWN) + REST, "no salt or count"),
    "endless rounds": (header(**KNOWN, p2s="AAAA", p2c=20_000_001) + REST, "20000001 rounds: expected"),
    "a header that is no JSON": (b"eyJB" + REST, "is damaged"),
    "a wrapped key of another size": (header(**KNOWN, **SALT) + REST, "wrong passphrase for the backup, or it is dam"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_is_refused(elsewhere: KeyStore, case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(KeyUnavailableError, match=message):
        elsewhere.restore(data)
    assert files(elsewhere._folder) == {}


def test_an_archive_that_is_cut_off(store: KeyStore, elsewhere: KeyStore) -> None:
    store.generate("release")
    data = store.export_all()
    for length in range(0, len(data) - 1, 97):
        with pytest.raises(KeyUnavailableError):
            elsewhere.restore(data[:length])
    assert files(elsewhere._folder) == {}


def test_too_few_rounds_are_refused(monkeypatch: pytest.MonkeyPatch, elsewhere: KeyStore) -> None:
    monkeypatch.setattr(backup, "MIN_ITERATIONS", 200_000)
    with pytest.raises(KeyUnavailableError, match="1 rounds: expected 200000 to"):
        elsewhere.restore(archive_of())


INSIDE: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "a path as a label": (lambda files: files.update({"../evil.json": files["a.json"]}), "invalid key name"),
    "a description of nothing": (lambda files: files.update({"a.json": b"{}"}), "has the schema"),
    "no private key": (lambda files: files.pop("a.key"), "is incomplete"),
    "another private key": (lambda files: files.update({"a.key": files["b.key"]}), "do not belong together"),
    "an unencrypted private key": (
        lambda files: files.update({"a.key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}),
        "is damaged",
    ),
}


@pytest.mark.parametrize("case", INSIDE)
def test_content_that_is_refused_before_anything_is_written(
    store: KeyStore, elsewhere: KeyStore, folder: Path, case: str
) -> None:
    store.generate("a")
    store.generate("b")
    content = files(folder)
    change, message = INSIDE[case]
    change(content)
    with pytest.raises(KeyUnavailableError, match=message):
        elsewhere.restore(backup.seal(content, b"correct horse"))
    assert files(elsewhere._folder) == {}


@pytest.mark.parametrize("body", [{"schema": 2, "files": {}}, {"schema": 1}, {"schema": 1, "files": {"a": 1}}], ids=str)
def test_content_of_another_schema(body: object) -> None:
    with pytest.raises(TamperedError):
        backup._parse_files(json.dumps(body).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.one_of(st.binary(max_size=300), st.from_regex(rb"eyJ[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){4}")))
def test_only_our_errors_leave_an_archive(elsewhere: KeyStore, data: bytes) -> None:
    with pytest.raises(DocksealError):
        elsewhere.restore(data)


class TestTries:
    """Of a person, and of a file or a variable, which would say the same again."""

    @pytest.fixture
    def key(self, store: KeyStore) -> StoredKey:
        return store.generate("release")

    @staticmethod
    def opened(folder: Path, answers: Answers, *, again: bool) -> KeyStore:
        def can_ask_again(purpose: Purpose) -> bool:
            assert purpose in {"repository", "root"}
            return again

        return KeyStore(folder, answers, can_ask_again=can_ask_again, clock=lambda: datetime.now(UTC))

    def test_a_person_has_three(self, key: StoredKey, folder: Path, answers: Answers) -> None:
        before = files(folder)
        answers.old = b"wrong horse"
        answers.asked.clear()
        with pytest.raises(WrongPassphraseError, match="wrong passphrase for the key 'release'") as caught:
            self.opened(folder, answers, again=True).signer(key)
        assert answers.asked == [("existing", "release", "repository")] * 3
        assert caught.value.exit_code == 4
        assert caught.value.hint
        assert files(folder) == before

    def test_a_variable_has_one(self, key: StoredKey, folder: Path, answers: Answers) -> None:
        answers.old = b"wrong horse"
        answers.asked.clear()
        with pytest.raises(WrongPassphraseError):
            self.opened(folder, answers, again=False).signer(key)
        assert answers.asked == [("existing", "release", "repository")]

    @pytest.mark.parametrize("right", [2, 3])
    def test_a_later_answer_may_be_right(self, key: StoredKey, folder: Path, right: int) -> None:
        class Mistyping(Answers):
            def existing(self, label: str, purpose: Purpose) -> bytes:
                super().existing(label, purpose)
                return b"correct horse" if len(self.asked) == right else b"wrong horse"

        self.opened(folder, Mistyping(), again=True).signer(key).sign(b"payload")

    def test_three_for_a_file_to_load_and_for_a_backup(
        self, key: StoredKey, folder: Path, answers: Answers, store: KeyStore, tmp_path: Path
    ) -> None:
        single, archive = store.export_private(key), store.export_all()
        answers.old = b"wrong horse"
        other = self.opened(tmp_path / "other", answers, again=True)
        answers.asked.clear()
        with pytest.raises(WrongPassphraseError):
            other.load(single, "again", purpose="repository")
        assert len(answers.asked) == 3
        with pytest.raises(WrongPassphraseError):
            other.restore(archive)
        assert len(answers.asked) == 6
        assert not (tmp_path / "other").exists()

    def test_damage_is_not_asked_about_again(self, key: StoredKey, folder: Path, answers: Answers) -> None:
        (folder / "release.key").write_bytes(b"damaged")
        answers.asked.clear()
        with pytest.raises(KeyUnavailableError, match="is damaged"):
            self.opened(folder, answers, again=True).signer(key)
        assert answers.asked == []
