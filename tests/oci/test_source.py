"""Where an image comes from, and which store a name means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.errors import UsageError
from trust.oci.reference import Repository
from trust.oci.source import Source, SourceKind, StoreName

DIGEST = Digest.of(b"image")
DAEMON, DOCKER, OCI, ARCHIVE, LOCAL = SourceKind

SOURCES = {
    "docker-daemon:app:v1": Source(DAEMON, None, "app:v1"),
    "docker-daemon:app": Source(DAEMON, None, "app"),
    "docker-archive:a.tar": Source(DOCKER, Path("a.tar")),
    "docker-archive:/x/a.tar:app:v1": Source(DOCKER, Path("/x/a.tar"), "app:v1"),
    "docker-archive:a.tar:@1": Source(DOCKER, Path("a.tar"), "@1"),
    "oci:dir": Source(OCI, Path("dir")),
    "oci:dir:v1": Source(OCI, Path("dir"), "v1"),
    "oci:dir:docker.io/library/app:v1": Source(OCI, Path("dir"), "docker.io/library/app:v1"),
    "oci-archive:a.tar": Source(ARCHIVE, Path("a.tar")),
    "oci-archive:a.tar:v1": Source(ARCHIVE, Path("a.tar"), "v1"),
    "app": Source(LOCAL, None, "app"),
    "app:v1": Source(LOCAL, None, "app:v1"),
    "localhost:5000/app:v1": Source(LOCAL, None, "localhost:5000/app:v1"),
    "oci": Source(LOCAL, None, "oci"),
    "oci-archive": Source(LOCAL, None, "oci-archive"),
    "3f2a9c": Source(LOCAL, None, "3f2a9c"),
    ":v1": Source(LOCAL, None, ":v1"),
}


@pytest.mark.parametrize("text", SOURCES)
def test_a_source_is_read_as_skopeo_reads_it(text: str) -> None:
    assert Source.parse(text) == SOURCES[text]


@pytest.mark.parametrize("text", [text for text in SOURCES if text != ":v1"])
def test_a_source_is_written_as_it_is_read(text: str) -> None:
    assert str(Source.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name is empty"),
        ("docker-daemon:", "lacks the image's name"),
        ("docker-archive:", "lacks the path"),
        ("oci:", "lacks the path"),
        ("oci::v1", "lacks the path"),
        ("oci:a\0b:v1", "lacks the path"),
        ("oci:dir:", "ends with a colon"),
        ("oci-archive:a.tar:", "ends with a colon"),
    ],
)
def test_a_source_without_a_part_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Source.parse(text)


NAMES = {
    "oci:dir": StoreName(folder=Path("dir")),
    "oci:dir:v1": StoreName(folder=Path("dir"), tag="v1"),
    "oci:/x/dir:v1": StoreName(folder=Path("/x/dir"), tag="v1"),
    f"oci:dir@{DIGEST}": StoreName(folder=Path("dir"), digest=DIGEST),
    f"oci:dir:v1@{DIGEST}": StoreName(folder=Path("dir"), tag="v1", digest=DIGEST),
    "docker.io/library/app:v1": StoreName(repository=Repository.parse("app"), tag="v1"),
    f"localhost:5000/app@{DIGEST}": StoreName(repository=Repository.parse("localhost:5000/app"), digest=DIGEST),
    "localhost:5000/app": StoreName(repository=Repository.parse("localhost:5000/app")),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_means_a_folder_or_a_repository(text: str) -> None:
    assert StoreName.parse(text) == NAMES[text]
    assert str(NAMES[text]) == text


def test_an_at_sign_may_be_part_of_a_path() -> None:
    assert StoreName.parse("oci:me@home/dir:v1") == StoreName(folder=Path("me@home/dir"), tag="v1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oci:", "lacks the path"),
        ("oci:dir:", "ends with a colon"),
        ("oci:dir:a/b", "invalid tag"),
        ("oci:dir:v1:v2", "invalid tag"),
        ("oci:dir:v1@sha256:abc", "invalid digest"),
        (f"oci:@{DIGEST}", "lacks the path"),
        ("oci:dir\udcff:v1", "is no UTF-8"),
        ("App:v1", "must be lowercase"),
        ("", "invalid name"),
    ],
)
def test_a_malformed_name_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StoreName.parse(text)


@given(st.text() | st.from_regex(r"(oci|docker-archive|docker-daemon|oci-archive):[ -~]*"))
def test_only_usage_errors_leave_the_parsers(text: str) -> None:
    for parser in (Source, StoreName):
        try:
            parsed = parser.parse(text)
        except UsageError:
            continue
        assert parser.parse(str(parsed)) == parsed or ":" not in text
