from __future__ import annotations

import base64
import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.exceptions import UnverifiedSignatureError

from tests.keys.conftest import EXAMPLE, EXAMPLE_PASSPHRASE, Answers
from trust.errors import DocksealError, KeyUnavailableError, UsageError
from trust.files import write_atomically
from trust.keys import container
from trust.keys.ids import public_key_of
from trust.keys.signers import GuardedSigner
from trust.keys.store import KeyStore, Kind, load_public

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: list[Kind] = ["ed25519", "ecdsa", "rsa"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestMaking:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.usefixtures("cheap")
    def test_a_new_key_signs_in_a_later_run(self, open_store: Callable[[], KeyStore], kind: Kind) -> None:
        made = open_store().generate("release", kind=kind)
        later = open_store()
        key = later.find("release")
        assert key == made
        key.public.verify_signature(later.signer(key).sign(b"payload"), b"payload")
        with pytest.raises(UnverifiedSignatureError):
            key.public.verify_signature(later.signer(key).sign(b"other"), b"payload")

    @pytest.mark.usefixtures("cheap")
    def test_what_a_key_says_of_itself(self, store: KeyStore) -> None:
        key = store.generate("root", purpose="root")
        assert (key.label, key.purpose, key.created) == ("root", "root", "2026-11-24T08:00:00Z")
        assert key.short == key.key_id[:7]
        assert key.public.keyid == key.key_id

    @pytest.mark.usefixtures("cheap")
    def test_without_a_clock_the_present_is_noted(self, folder: Path, answers: Answers) -> None:
        assert KeyStore(folder, answers).generate("a").created.startswith("20")

    def test_guessing_costs_24_rounds_of_bcrypt_and_a_change_of_that_is_seen_here(
        self, store: KeyStore, folder: Path
    ) -> None:
        store.generate("release")
        header = container.read_header((folder / "release.key").read_bytes(), "the file")
        assert (header.cipher, header.kdf, header.rounds) == (b"aes256-ctr", b"bcrypt", 16)

    def test_a_file_of_16_rounds_is_used_and_one_of_15_is_not(self) -> None:
        header = container.read_header((EXAMPLE / "keys" / "root.key").read_bytes(), "the file")
        for rounds in (16, 1024):
            container.check_cost(container.Header(header.cipher, header.kdf, rounds, header.public), "the file")
        for rounds in (15, 1025):
            with pytest.raises(KeyUnavailableError, match=f"{rounds} bcrypt rounds: expected 16 to 1024"):
                container.check_cost(container.Header(header.cipher, header.kdf, rounds, header.public), "the file")

    def test_another_derivation_is_refused(self) -> None:
        with pytest.raises(KeyUnavailableError, match="expected bcrypt"):
            container.check_cost(container.Header(b"aes256-ctr", b"md5", 16, b""), "the file")

    @pytest.mark.usefixtures("cheap")
    def test_the_files_are_for_the_owner_alone_whatever_the_umask(self, store: KeyStore, folder: Path) -> None:
        before = os.umask(0)
        try:
            store.generate("release")
        finally:
            os.umask(before)
        assert mode(folder) == 0o700
        assert {path.name: mode(path) for path in folder.iterdir()} == {"release.key": 0o600, "release.json": 0o600}

    @pytest.mark.usefixtures("cheap")
    def test_no_secret_is_readable_in_the_folder(self, store: KeyStore, folder: Path, answers: Answers) -> None:
        store.generate("release")
        everything = b"".join(snapshot(folder).values())
        assert answers.fresh not in everything
        assert container.read_header((folder / "release.key").read_bytes(), "it").is_encrypted

    def test_making_a_store_touches_nothing(self, folder: Path, answers: Answers) -> None:
        store = KeyStore(folder, answers)
        assert store.keys() == ()
        assert store.get("0" * 64) is None
        assert not folder.parent.exists()
        assert answers.asked == []

    @pytest.mark.parametrize(
        "label", ["", ".hidden", "-a", "a/b", "../a", "a b", "ä", "a\n", "a" * 65, "a\0"], ids=repr
    )
    def test_a_malformed_label_is_refused(self, store: KeyStore, answers: Answers, folder: Path, label: str) -> None:
        with pytest.raises(UsageError, match="invalid key name"):
            store.generate(label)
        assert answers.asked == []
        assert not folder.exists()

    @pytest.mark.usefixtures("cheap")
    @pytest.mark.parametrize("label", ["a", "7", "A.b_c-d", "a" * 64, "a.key", "a.json"])
    def test_a_label_may_be(self, store: KeyStore, label: str) -> None:
        store.generate("other")
        made = store.generate(label)
        assert store.find(label) == made

    @pytest.mark.usefixtures("cheap")
    def test_a_label_is_taken_once(self, store: KeyStore, folder: Path, answers: Answers) -> None:
        store.generate("release")
        before = snapshot(folder)
        answers.asked.clear()
        with pytest.raises(UsageError, match="there is a key 'release' already"):
            store.generate("release")
        assert snapshot(folder) == before
        assert answers.asked == []

    @pytest.mark.parametrize(
        ("passphrase", "message"),
        [
            (b"", "has 0 characters, expected at least 8"),
            (b"1234567", "has 7 characters"),
            ("ü2345ß7".encode(), "has 7 characters"),
            (b"\xff" * 12, "is not UTF-8"),
        ],
    )
    def test_a_poor_passphrase_is_refused_before_anything_is_written(
        self, store: KeyStore, folder: Path, answers: Answers, passphrase: bytes, message: str
    ) -> None:
        answers.fresh = passphrase
        with pytest.raises(KeyUnavailableError, match=message):
            store.generate("release")
        assert not folder.exists()

    @pytest.mark.usefixtures("cheap")
    @pytest.mark.parametrize("passphrase", ["ü2345ß78", "x" * 500, "with\0zero byte", "12345678\n"])
    def test_any_passphrase_of_8_characters_serves(
        self, open_store: Callable[[], KeyStore], answers: Answers, passphrase: str
    ) -> None:
        answers.old = answers.fresh = passphrase.encode()
        key = open_store().generate("release")
        open_store().signer(key).sign(b"payload")

    def test_an_unknown_kind_is_refused(self, store: KeyStore) -> None:
        kind: Kind = "dsa"  # type: ignore[assignment] # what a caller without a type checker may pass
        with pytest.raises(UsageError, match="expected ed25519, ecdsa, rsa"):
            store.generate("release", kind=kind)

    @pytest.mark.usefixtures("cheap")
    def test_a_lone_private_file_is_not_overwritten(self, store: KeyStore, folder: Path) -> None:
        store.generate("release")
        (folder / "release.json").unlink()
        before = snapshot(folder)
        with pytest.raises(UsageError, match="without its description") as caught:
            store.generate("release")
        assert "dockseal key load" in str(caught.value.hint)
        assert snapshot(folder) == before
        assert store.keys() == ()

    def test_of_many_processes_that_make_one_label_at_once_one_wins(self, folder: Path) -> None:
        program = """
import sys
from pathlib import Path
from trust.errors import UsageError
from trust.keys.store import KeyStore
class Answers:
    def existing(self, label, purpose): return b"correct horse"
    def new(self, label, purpose):
        print("ready", flush=True)
        sys.stdin.readline()  # all have seen that the label is free
        return b"correct horse"
try:
    print(KeyStore(Path(sys.argv[1]), Answers()).generate("release").key_id)
except UsageError as error:
    print("taken:", error)
"""
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for run in runs:
            assert run.stdout is not None
            assert run.stdout.readline() == "ready\n"
        results = [run.communicate("go\n", timeout=60)[0].strip() for run in runs]
        winners = [result for result in results if not result.startswith("taken:")]
        assert len(winners) == 1
        assert len(results) == 4
        assert set(snapshot(folder)) == {"release.key", "release.json"}
        store = KeyStore(folder, Answers())
        assert store.find("release").key_id == winners[0]
        store.signer(store.find("release")).sign(b"payload")

    @pytest.mark.usefixtures("cheap")
    @pytest.mark.parametrize("suffix", [".key", ".json"])
    def test_a_file_that_appears_meanwhile_is_left_alone_and_nothing_is_added(
        self, folder: Path, answers: Answers, suffix: str
    ) -> None:
        class Slow(Answers):
            def new(self, label: str, purpose: str) -> bytes:
                folder.mkdir(parents=True)
                (folder / f"release{suffix}").write_text("another's")
                return answers.fresh

        with pytest.raises(UsageError, match="another process was first"):
            KeyStore(folder, Slow()).generate("release")
        assert snapshot(folder) == {f"release{suffix}": b"another's"}


class TestFinding:
    @pytest.fixture(autouse=True)
    def _two_keys(self, cheap: None, store: KeyStore) -> None:
        store.generate("root", purpose="root")
        store.generate("release")

    def test_keys_are_listed_by_label_without_a_passphrase(
        self, open_store: Callable[[], KeyStore], answers: Answers
    ) -> None:
        answers.asked.clear()
        release, root = open_store().keys()
        assert (release.label, release.purpose, root.label, root.purpose) == ("release", "repository", "root", "root")
        assert answers.asked == []

    def test_a_key_is_found_by_label_id_and_digits(self, store: KeyStore) -> None:
        key = store.find("root")
        assert store.find(key.key_id) == store.find(key.key_id[:7]) == store.find(key.key_id[:20]) == key
        assert store.get(key.key_id) == key

    @pytest.mark.parametrize("name", ["nothing", "", "../root", "0" * 64, "f" * 65])
    def test_an_unknown_name_says_what_is_there(self, store: KeyStore, name: str) -> None:
        release, root = store.keys()
        with pytest.raises(KeyUnavailableError, match="there is no key") as caught:
            store.find(name)
        assert f"keys here: release ({release.short}), root ({root.short})" in str(caught.value)
        assert caught.value.hint == "dockseal key generate NAME, or dockseal key load FILE"

    def test_six_digits_are_too_few(self, store: KeyStore) -> None:
        with pytest.raises(KeyUnavailableError, match="there is no key"):
            store.find(store.find("root").key_id[:6])

    def test_a_label_goes_before_the_digits_of_another_key(self, store: KeyStore) -> None:
        digits = store.find("root").short
        named = store.generate(digits)
        assert store.find(digits) == named

    def test_digits_that_fit_two_keys_are_refused(
        self, store: KeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("trust.keys.store._ID_PREFIX", re.compile(r"[0-9a-f]*\Z"))
        with pytest.raises(KeyUnavailableError, match="several keys begin with ''"):
            store.find("")

    def test_the_same_key_under_two_labels_is_one_match(self, store: KeyStore, folder: Path) -> None:
        for suffix in (".key", ".json"):
            (folder / f"copy{suffix}").write_bytes((folder / f"root{suffix}").read_bytes())
            (folder / f"copy{suffix}").chmod(0o600)
        assert store.find(store.find("root").short).key_id == store.find("copy").key_id

    def test_other_files_in_the_folder_are_no_keys(self, store: KeyStore, folder: Path) -> None:
        for name in (".new-abc", ".DS_Store", "notes.txt", "with space.json", ".hidden.json"):
            (folder / name).write_text("{}")
        release, root = store.keys()
        assert (release.label, root.label) == ("release", "root")


DAMAGE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not strict JSON"),
    "cut off": (b'{"schema": 1, "purp', "not strict JSON"),
    "not UTF-8": (b"\xff\xfe", "not strict JSON"),
    "a list": (b"[]", "not a JSON object"),
    "a twofold name": (b'{"schema": 1, "schema": 1}', "occurs twice"),
    "a later schema": (b'{"schema": 2}', "schema 2: expected 1"),
    "no fields": (b'{"schema": 1}', "expected purpose, created and public"),
    "an unknown purpose": (b'{"schema": 1, "purpose": "x", "created": "", "public": {}}', "expected purpose"),
    "no key": (b'{"schema": 1, "purpose": "root", "created": "", "public": {}}', "expected keytype"),
    "too large": (b" " * (64 * 1024 + 1), "larger than 65536 bytes"),
}


class TestDamage:
    @pytest.fixture(autouse=True)
    def _keys(self, cheap: None, store: KeyStore) -> None:
        store.generate("root", purpose="root")
        store.generate("release")

    @pytest.mark.parametrize("case", DAMAGE)
    def test_a_damaged_description_is_named_and_stops_no_other_key(
        self, store: KeyStore, folder: Path, case: str
    ) -> None:
        root = store.find("root")
        data, message = DAMAGE[case]
        (folder / "release.json").write_bytes(data)
        for attempt in (store.keys, lambda: store.find("release"), lambda: store.find("absent")):
            with pytest.raises(KeyUnavailableError, match=message):
                attempt()
        assert store.find("root") == store.get(root.key_id) == store.find(root.short) == root

    @pytest.mark.parametrize("case", ["empty", "cut off", "not UTF-8", "too large", "another file", "one byte"])
    def test_a_damaged_private_file_is_told_from_a_wrong_passphrase(
        self, open_store: Callable[[], KeyStore], folder: Path, answers: Answers, case: str
    ) -> None:
        path = folder / "release.key"
        data = path.read_bytes()
        broken = {
            "empty": b"",
            "cut off": data[: len(data) // 2],
            "not UTF-8": b"\xff" * 100,
            "too large": data + b"\n" * 65536,
            "another file": (folder / "release.json").read_bytes(),
            "one byte": data.replace(b"b3BlbnNza", b"b3BlbnNzb"),
        }
        path.write_bytes(broken[case])
        before = snapshot(folder)
        store = open_store()
        key = store.find("release")
        answers.asked.clear()
        for attempt in (store.signer, store.export_private, store.change_passphrase):
            with pytest.raises(KeyUnavailableError, match=r"is damaged|larger than 65536"):
                attempt(key)
        assert answers.asked == []
        assert snapshot(folder) == before

    def test_a_wrong_passphrase(self, open_store: Callable[[], KeyStore], folder: Path, answers: Answers) -> None:
        answers.old = b"wrong horse"
        store, before = open_store(), snapshot(folder)
        key = store.find("release")
        for attempt in (store.signer, store.change_passphrase):
            with pytest.raises(KeyUnavailableError, match="wrong passphrase for the key 'release'") as caught:
                attempt(key)
            assert "horse" not in f"{caught.value} {caught.value.hint}"
        assert snapshot(folder) == before
        answers.old = b"correct horse"
        store.signer(key).sign(b"the next try may succeed")

    def test_an_empty_passphrase(self, open_store: Callable[[], KeyStore], answers: Answers) -> None:
        answers.old = b""
        store = open_store()
        with pytest.raises(KeyUnavailableError, match="is empty"):
            store.signer(store.find("release"))

    def test_a_changed_secret_is_noticed(self, open_store: Callable[[], KeyStore], folder: Path) -> None:
        """AES-CTR is not authenticated: the check numbers hold, and the key is another one."""
        path = folder / "release.key"
        lines = path.read_bytes().split(b"\n")
        body = bytearray(base64.b64decode(b"".join(lines[1:-2])))
        body[-60] ^= 1
        text = b"\n".join([lines[0], base64.b64encode(body), *lines[-2:]])
        path.write_bytes(text)
        store = open_store()
        with pytest.raises(KeyUnavailableError, match="do not belong together"):
            store.signer(store.find("release"))

    @pytest.mark.parametrize("suffix", [".key", ".json"])
    def test_a_swapped_part_is_noticed_before_a_passphrase_is_asked_for(
        self, open_store: Callable[[], KeyStore], folder: Path, answers: Answers, suffix: str
    ) -> None:
        (folder / f"release{suffix}").write_bytes((folder / f"root{suffix}").read_bytes())
        store = open_store()
        key = store.find("release")
        answers.asked.clear()
        for attempt in (store.signer, store.export_private, store.change_passphrase):
            with pytest.raises(KeyUnavailableError, match="do not belong together"):
                attempt(key)
        assert answers.asked == []

    def test_a_header_that_lies_about_the_public_key_is_noticed(
        self, open_store: Callable[[], KeyStore], folder: Path
    ) -> None:
        store = open_store()
        release, root = store.find("release"), store.find("root")
        old = container.ssh_public_blob(public_key_of(release.public))
        new = container.ssh_public_blob(public_key_of(root.public))
        path = folder / "release.key"
        body = base64.b64decode(b"".join(path.read_bytes().split(b"\n")[1:-2]))
        path.write_bytes(
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
            + base64.b64encode(body.replace(old, new))
            + b"\n-----END OPENSSH PRIVATE KEY-----\n"
        )
        (folder / "release.json").write_bytes((folder / "root.json").read_bytes())
        with pytest.raises(KeyUnavailableError, match="encrypted part is not intact"):
            store.signer(store.find("release"))

    @pytest.mark.peer("ssh-keygen")
    def test_an_unencrypted_file_is_refused(self, open_store: Callable[[], KeyStore], folder: Path) -> None:
        path = folder / "release.key"
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "correct horse", "-N", "", "-f", path], check=True, capture_output=True
        )
        store = open_store()
        with pytest.raises(KeyUnavailableError, match="is not encrypted"):
            store.signer(store.find("release"))

    @pytest.mark.parametrize("access", [0o640, 0o604, 0o660, 0o644])
    def test_a_file_that_others_may_read_is_refused(self, store: KeyStore, folder: Path, access: int) -> None:
        path = folder / "release.key"
        path.chmod(access)
        with pytest.raises(KeyUnavailableError, match=f"mode is {access:04o}, expected 0600") as caught:
            store.export_private(store.find("release"))
        assert caught.value.hint == f"chmod 600 {path}"

    def test_a_missing_private_file(self, open_store: Callable[[], KeyStore], folder: Path) -> None:
        (folder / "release.key").unlink()
        store = open_store()
        with pytest.raises(KeyUnavailableError, match=r"cannot read .*No such file"):
            store.signer(store.find("release"))
        store.remove(store.find("release"))
        (left,) = store.keys()
        assert left.label == "root"

    def test_a_pipe_in_place_of_a_file_does_not_hang(self, store: KeyStore, folder: Path) -> None:
        key = store.find("release")
        (folder / "release.key").unlink()
        os.mkfifo(folder / "release.key", 0o600)
        with pytest.raises(KeyUnavailableError, match="not a regular file"):
            store.export_private(key)

    def test_a_file_in_place_of_the_folder(self, tmp_path: Path, answers: Answers) -> None:
        (tmp_path / "keys").write_text("")
        store = KeyStore(tmp_path / "keys", answers)
        for attempt in (store.keys, lambda: store.generate("release")):
            with pytest.raises(KeyUnavailableError, match="Not a directory"):
                attempt()

    def test_a_full_disk_leaves_nothing_half_written(
        self, store: KeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(temporary: Path, path: Path) -> None:
            if temporary.suffix == ".json":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.link(path, temporary)

        before = snapshot(folder)
        monkeypatch.setattr(Path, "hardlink_to", full)
        with pytest.raises(KeyUnavailableError, match="No space left"):
            store.generate("another")
        assert snapshot(folder) == before

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path, answers: Answers) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(KeyUnavailableError, match="cannot write"):
            write_atomically(tmp_path / "file" / "a.key", b"data", error=KeyUnavailableError)


class TestChanging:
    @pytest.fixture(autouse=True)
    def _key(self, cheap: None, store: KeyStore) -> None:
        store.generate("release")

    def test_a_key_is_decrypted_once_in_a_run(self, open_store: Callable[[], KeyStore], answers: Answers) -> None:
        store = open_store()
        key = store.find("release")
        answers.asked.clear()
        assert store.signer(key) is store.signer(key)
        assert answers.asked == [("existing", "release", "repository")]

    def test_a_new_key_signs_without_being_asked_for_its_passphrase_again(
        self, store: KeyStore, answers: Answers
    ) -> None:
        store.signer(store.find("release")).sign(b"payload")
        assert answers.asked == [("new", "release", "repository")]

    def test_the_passphrase_is_changed(
        self, open_store: Callable[[], KeyStore], folder: Path, answers: Answers
    ) -> None:
        store = open_store()
        answers.fresh = b"battery staple"
        before = snapshot(folder)
        store.change_passphrase(store.find("release"))
        after = snapshot(folder)
        assert after["release.json"] == before["release.json"]
        assert after["release.key"] != before["release.key"]
        assert mode(folder / "release.key") == 0o600
        with pytest.raises(KeyUnavailableError, match="wrong passphrase"):
            open_store().signer(store.find("release"))
        answers.old = b"battery staple"
        open_store().signer(store.find("release")).sign(b"payload")

    def test_a_poor_new_passphrase_changes_nothing(
        self, open_store: Callable[[], KeyStore], folder: Path, answers: Answers
    ) -> None:
        answers.fresh = b"short"
        before, store = snapshot(folder), open_store()
        with pytest.raises(KeyUnavailableError, match="too short"):
            store.change_passphrase(store.find("release"))
        assert snapshot(folder) == before

    def test_a_removed_key_is_gone_with_both_parts(self, store: KeyStore, folder: Path) -> None:
        key = store.find("release")
        store.remove(key)
        assert snapshot(folder) == {}
        for attempt in (store.signer, store.remove, store.export_private):
            with pytest.raises(KeyUnavailableError):
                attempt(key)

    def test_a_key_that_was_replaced_meanwhile_is_not_removed(self, open_store: Callable[[], KeyStore]) -> None:
        mine, other = open_store(), open_store()
        key = mine.find("release")
        other.remove(other.find("release"))
        other.generate("release")
        with pytest.raises(KeyUnavailableError, match="another one by now"):
            mine.remove(key)
        assert other.find("release").key_id != key.key_id

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_exported_private_key_is_a_backup(self, tmp_path: Path, answers: Answers, kind: Kind) -> None:
        here = KeyStore(tmp_path / "here", answers)
        there = KeyStore(tmp_path / "there", answers)
        key = here.generate("release", kind=kind)
        data = here.export_private(key)
        assert b"BEGIN OPENSSH PRIVATE KEY" in data
        loaded = there.load(data, "again", purpose="root")
        assert (loaded.key_id, loaded.public, loaded.purpose) == (key.key_id, key.public, "root")

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_exported_public_key_is_what_others_load(self, store: KeyStore, kind: Kind) -> None:
        key = store.generate(f"my-{kind}", kind=kind)
        data = store.export_public(key)
        assert data.startswith(b"-----BEGIN PUBLIC KEY-----\n")
        assert load_public(data) == key.public

    @pytest.mark.peer("ssh-keygen")
    def test_ssh_keygen_reads_the_file(self, folder: Path) -> None:
        command = ["ssh-keygen", "-y", "-f", str(folder / "release.key"), "-P"]
        right = subprocess.run([*command, "correct horse"], capture_output=True, check=True)
        wrong = subprocess.run([*command, "wrong horse"], capture_output=True, check=False)
        assert right.stdout.startswith(b"ssh-ed25519 ")
        assert wrong.returncode != 0


class TestGuardedSigner:
    @pytest.mark.usefixtures("cheap")
    def test_what_goes_wrong_in_a_signer_is_our_error(self, store: KeyStore) -> None:
        key = store.generate("release")
        signer = GuardedSigner(store.signer(key), "release")
        assert signer.public_key == key.public
        with pytest.raises(KeyUnavailableError, match=f"'release' \\({key.short}\\) could not sign"):
            signer.sign("no bytes")  # type: ignore[arg-type] # a failure that every signer has

    def test_it_is_not_made_from_a_uri(self, store: KeyStore) -> None:
        key = KeyStore(EXAMPLE / "keys", Answers()).find("root")
        with pytest.raises(NotImplementedError):
            GuardedSigner.from_priv_key_uri("file2:x", key.public)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.usefixtures("cheap")
def test_only_our_errors_leave_a_folder_of_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(exist_ok=True)
    for name in ("root.key", "root.json"):
        body = bytearray((EXAMPLE / "keys" / name).read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(body) - 1))
            kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
            piece = data.draw(st.binary(min_size=1, max_size=8))
            body = {
                "set": body[:at] + piece + body[at + len(piece) :],
                "cut": body[:at] + b"-",
                "insert": body[:at] + piece + body[at:],
            }[kind]
        (folder / name).write_bytes(body)
        (folder / name).chmod(0o600)
    store = KeyStore(folder, Answers(old=data.draw(st.sampled_from([EXAMPLE_PASSPHRASE, b"wrong"]))))
    try:
        keys = store.keys()
        for key in keys:
            key.public.verify_signature(store.signer(key).sign(b"payload"), b"payload")
    except DocksealError:
        return


class TestTogether:
    @pytest.fixture(autouse=True)
    def _keys(self, cheap: None, store: KeyStore) -> None:
        for label in ("one", "two"):
            store.generate(label)

    def test_several_keys_are_opened_side_by_side(self, open_store: Callable[[], KeyStore], answers: Answers) -> None:
        store = open_store()
        keys = [store.find("one"), store.find("two")]
        answers.asked.clear()
        store.open_together(keys)
        assert sorted(answers.asked) == [("existing", label, "repository") for label in ("one", "two")]
        assert [store.signer(key).public_key.keyid for key in keys] == [key.key_id for key in keys]
        assert len(answers.asked) == 2

    def test_a_single_key_waits_until_it_is_needed(self, open_store: Callable[[], KeyStore], answers: Answers) -> None:
        store = open_store()
        answers.asked.clear()
        store.open_together([store.find("one")])
        assert answers.asked == []

    def test_a_wrong_passphrase_opens_none(self, open_store: Callable[[], KeyStore], answers: Answers) -> None:
        store = open_store()
        answers.old = b"not this one"
        with pytest.raises(KeyUnavailableError, match="wrong passphrase"):
            store.open_together([store.find("one"), store.find("two")])
