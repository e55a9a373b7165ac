from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trust.mutations import bent_bytes
from trust.config import Config, add_pin, load, pin_lines
from trust.digest import Digest
from trust.errors import UsageError
from trust.pins import Pin

if TYPE_CHECKING:
    from pathlib import Path

ROOT = f"sha256:{'ab' * 32}"
KEY = "cd" * 32
OTHER_KEY = "ef" * 32
WHOLE = f"""# ours
[[pin]]
repository = "ghcr.io/acme/*"  # the team
root = "{ROOT}"
min_root = 2
min_version = 7

[[pin]]
repository = "mirror.lan/app"
root_keys = ["{KEY}", "{OTHER_KEY}"]
threshold = 1
signed_as = "ghcr.io/acme/app"

[registry."registry.lan:5000"]
insecure = true
immutable_tags = true

[registry."other.lan"]
insecure = false

[registry."third.lan"]

[defaults]
compression = "zstd:3"
max_concurrent_uploads = 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "config.toml"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    assert load(path) == Config()
    assert load(write(path, "")) == Config()


def test_a_whole_file(path: Path) -> None:
    assert load(write(path, WHOLE)) == Config(
        pins=(
            Pin("ghcr.io/acme/*", root=Digest(ROOT), min_root=2, min_version=7),
            Pin("mirror.lan/app", root_keys=(KEY, OTHER_KEY), threshold=1, signed_as="ghcr.io/acme/app"),
        ),
        insecure=frozenset({"registry.lan:5000"}),
        immutable_tags=frozenset({"registry.lan:5000"}),
        compression="zstd:3",
        max_concurrent_uploads=2,
    )


def test_all_pinned_keys_must_sign_unless_a_threshold_is_given(path: Path) -> None:
    (pin,) = load(write(path, f'[[pin]]\nrepository = "a/b"\nroot_keys = ["{KEY}", "{OTHER_KEY}"]')).pins
    assert pin.threshold == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pin = 1", "pin is no list"),
        ("pin = [1]", "number 1 is no table"),
        ("[pins]", "unknown name 'pins' at the top"),
        ("[[pin]]", "names no repository"),
        (f'[[pin]]\nrepository = ""\nroot = "{ROOT}"', "repository is no text"),
        ('[[pin]]\nrepository = "a/b"', "exactly one of root and root_keys"),
        (f'[[pin]]\nrepository = "a/b"\nroot = "{ROOT}"\nroot_keys = ["{KEY}"]', "exactly one of"),
        ('[[pin]]\nrepository = "a/b"\nroot_keys = []', "exactly one of"),
        ('[[pin]]\nrepository = "a/b"\nroot = 1', "root is no text"),
        ('[[pin]]\nrepository = "a/b"\nroot = "sha256:00"', "invalid digest"),
        ('[[pin]]\nrepository = "a/b"\nroot_keys = ["CD"]', "no list of key ids"),
        (f'[[pin]]\nrepository = "a/b"\nroot_keys = "{KEY}"', "no list of key ids"),
        (f'[[pin]]\nrepository = "a/b"\nroot_keys = ["{KEY}"]\nthreshold = 2', "cannot be met by 1 keys"),
        (f'[[pin]]\nrepository = "a/b"\nroot_keys = ["{KEY}", "{KEY}"]', "cannot be met by 1 keys"),
        (f'[[pin]]\nrepository = "a/b"\nroot_keys = ["{KEY}"]\nthreshold = 0', "threshold is no positive number"),
        (f'[[pin]]\nrepository = "a/b"\nroot = "{ROOT}"\nmin_root = -1', "min_root is no positive number"),
        (f'[[pin]]\nrepository = "a/b"\nroot = "{ROOT}"\nmin_version = true', "min_version is no positive number"),
        (f'[[pin]]\nrepository = "a/b"\nroot = "{ROOT}"\nsigned_as = ""', "signed_as is no text"),
        (f'[[pin]]\nrepository = "a/*"\nroot = "{ROOT}"\nsigned_as = "c/d"', "signed_as belongs to one copy"),
        (f'[[pin]]\nrepositry = "a/b"\nroot = "{ROOT}"', "unknown name 'repositry' in [[pin]] number 1"),
        (f'[[pin]]\nrepository = "a/b"\nroot = "{ROOT}"\nthreshold = 2', "threshold belongs to root_keys"),
        ("registry = 1", "[registry] is no table"),
        ('registry."a" = 1', '[registry."a"] is no table'),
        ('[registry."a"]\ninsecure = 1', "neither true nor false"),
        ('[registry."a"]\nimmutable_tags = "yes"', "neither true nor false"),
        ('[registry."a"]\nsecure = true', "unknown name 'secure'"),
        ("defaults = 1", "[defaults] is no table"),
        ("[defaults]\nx = 1", "unknown name 'x' in [defaults]"),
        ("[defaults]\ncompression = 1", "compression is no text"),
        ("[defaults]\nmax_concurrent_uploads = 0", "max_concurrent_uploads is no positive number"),
        ("not toml", "cannot be read"),
        ("x = " + "[" * 5000, "cannot be read"),
    ],
)
def test_what_is_not_known_is_refused(path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write(path, text))
    assert reason in caught.value.message
    assert caught.value.exit_code == 2


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="cannot be read"):
        load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        load(path)


PINS = [
    Pin("a/b", root=Digest(ROOT)),
    Pin("a/b", root_keys=(KEY, OTHER_KEY), threshold=1, signed_as="c/d", min_root=3, min_version=4),
    Pin('odd "name"', root=Digest(ROOT)),
]


@pytest.mark.parametrize("pin", PINS)
def test_a_pin_is_read_as_it_was_written(path: Path, pin: Pin) -> None:
    add_pin(path, pin)
    assert load(path).pins == (pin,)
    assert load(write(path, pin_lines(pin))).pins == (pin,)
    assert path.stat().st_mode & 0o777 == 0o600 or path.exists()


def test_adding_a_pin_keeps_the_rest_with_its_comments(path: Path) -> None:
    add_pin(write(path, WHOLE), PINS[0])
    text = path.read_text("utf-8")
    assert "# ours" in text
    assert "# the team" in text
    assert load(path).pins == (*load(write(path, WHOLE)).pins, PINS[0])


def test_adding_a_pin_replaces_the_one_of_the_same_repository(path: Path) -> None:
    for pin in (PINS[0], PINS[2], Pin("a/b", root_keys=(KEY,), threshold=1)):
        add_pin(path, pin)
    assert load(path).pins == (PINS[2], Pin("a/b", root_keys=(KEY,), threshold=1))


@pytest.mark.parametrize(
    "text",
    [
        f'pin = [{{repository = "x/y", root = "{ROOT}"}}]\n',
        "pin = []\n",
        f'[defaults]\ncompression = "gzip"\n[[pin]]\nrepository = "x/y"\nroot = "{ROOT}"\n[registry."a"]\n',
        "[registry.a]\ninsecure = true",
        f'[[pin]]\nrepository = "x/y"\nroot = "{ROOT}"\n\n[defaults]\n\n[[pin]]\nrepository = "z"\nroot = "{ROOT}"\n',
    ],
    ids=["pins in one line", "an empty list of pins", "in the middle", "no newline at the end", "pins apart"],
)
def test_a_pin_is_added_however_the_file_is_written(path: Path, text: str) -> None:
    before = load(write(path, text))
    add_pin(path, PINS[0])
    after = load(path)
    assert set(after.pins) == {*before.pins, PINS[0]}
    assert (after.insecure, after.compression) == (before.insecure, before.compression)


def test_a_damaged_file_is_not_overwritten(path: Path) -> None:
    write(path, "[[pin]]\nrepository = 1\n")
    with pytest.raises(UsageError):
        add_pin(path, PINS[0])
    assert path.read_text("utf-8") == "[[pin]]\nrepository = 1\n"


def test_pins_that_are_added_at_once_are_all_there(path: Path) -> None:
    pins = [Pin(f"a/{number}", root=Digest(ROOT)) for number in range(8)]
    threads = [threading.Thread(target=add_pin, args=(path, pin)) for pin in pins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load(path).pins) == set(pins)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bent_bytes(WHOLE.encode()) | st.binary(max_size=40))
def test_fuzz_only_our_errors_leave_a_configuration(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with suppress(UsageError):
        config = load(path)
        add_pin(path, PINS[0])
        assert {*load(path).pins} == {pin for pin in config.pins if pin.repository != "a/b"} | {PINS[0]}
