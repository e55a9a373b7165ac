"""Digests: sha256 only, checked when they are made."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import CHUNK_BYTES, Digest
from trust.errors import UsageError

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_of_nothing_is_the_known_one() -> None:
    assert str(Digest.of(b"")) == EMPTY
    assert Digest.of_file(io.BytesIO()) == Digest(EMPTY)
    assert Digest(EMPTY).hex == EMPTY[7:]
    assert Digest(EMPTY).short == "e3b0c44298fc"
    assert Digest.from_hex(EMPTY[7:]) == Digest(EMPTY)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_is_hashed_from_where_it_is_to_its_end(size: int) -> None:
    file = io.BytesIO(b"x" + bytes(size))
    file.seek(1)
    assert Digest.of_file(file).hex == hashlib.sha256(bytes(size)).hexdigest()


def test_any_bytes_like_object_will_do() -> None:
    assert Digest.of(bytearray(b"abc")) == Digest.of(memoryview(b"abc")) == Digest.of(b"abc")


def test_digests_sort_by_their_digits() -> None:
    assert min(Digest.from_hex("b" * 64), Digest.from_hex("a" * 64)).hex[0] == "a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256",
        EMPTY[7:],
        EMPTY.upper(),
        EMPTY[:-1],
        f"{EMPTY}0",
        f"{EMPTY}\n",
        f" {EMPTY}",
        EMPTY.replace(":", "-"),
        "sha256:" + "g" * 64,
        "sha256:" + "\N{FULLWIDTH DIGIT ONE}" * 64,
        "sha256:../../../../etc/passwd",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected sha256: and 64 lower-case hex digits"):
        Digest(text)


def test_another_algorithm_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="sha256 is the only supported algorithm"):
        Digest("sha512:" + "0" * 128)
    with pytest.raises(UsageError) as caught:
        Digest("sha256:" + "0" * 10_000)
    assert len(caught.value.message) < 300


@given(st.text())
def test_only_usage_errors_leave_it(text: str) -> None:
    with suppress(UsageError):
        assert str(Digest(text)) == text
