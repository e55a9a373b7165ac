"""Image names, as docker reads them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.digest import Digest
from trust.errors import UsageError
from trust.oci.reference import Reference, Repository, check_image_tag, check_new_tag, check_tag

DIGEST = Digest.of(b"image")
HEX = "a" * 64

READ = {
    "app": ("docker.io", "library/app", None, None),
    "app:v1": ("docker.io", "library/app", "v1", None),
    "acme/app": ("docker.io", "acme/app", None, None),
    "docker.io/app": ("docker.io", "library/app", None, None),
    "docker.io/library/app": ("docker.io", "library/app", None, None),
    "index.docker.io/app:v1": ("docker.io", "library/app", "v1", None),
    "registry-1.docker.io/acme/app": ("docker.io", "acme/app", None, None),
    "localhost/app": ("localhost", "app", None, None),
    "localhost:5000/app:v1": ("localhost:5000", "app", "v1", None),
    "localhost:5000": ("docker.io", "library/localhost", "5000", None),
    "ghcr.io/acme/app": ("ghcr.io", "acme/app", None, None),
    "reg.io:65535/app": ("reg.io:65535", "app", None, None),
    "UPPER/app": ("UPPER", "app", None, None),
    "127.0.0.1:5000/a/b/c:1.0": ("127.0.0.1:5000", "a/b/c", "1.0", None),
    "[::1]:5000/app:v1": ("[::1]:5000", "app", "v1", None),
    "[2001:db8::1]/app": ("[2001:db8::1]", "app", None, None),
    f"app@{DIGEST}": ("docker.io", "library/app", None, DIGEST),
    f"app:v1@{DIGEST}": ("docker.io", "library/app", "v1", DIGEST),
    f"reg.io:443/app:v1@{DIGEST}": ("reg.io:443", "app", "v1", DIGEST),
    "a__b/c--d/e.f_g": ("docker.io", "a__b/c--d/e.f_g", None, None),
    "app:_hidden": ("docker.io", "library/app", "_hidden", None),
    f"app:{'t' * 128}": ("docker.io", "library/app", "t" * 128, None),
    f"acme/{HEX}": ("docker.io", f"acme/{HEX}", None, None),
    f"docker.io/{HEX}": ("docker.io", f"library/{HEX}", None, None),
}


@pytest.mark.parametrize("text", READ)
def test_a_name_is_read_as_docker_reads_it(text: str) -> None:
    registry, path, tag, digest = READ[text]
    reference = Reference.parse(text)
    assert reference == Reference(Repository(registry, path), tag, digest)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


REFUSED = {
    "": "invalid name",
    "App": "must be lowercase",
    "ghcr.io/Acme/app": "must be lowercase",
    "app:": "invalid tag",
    "app:-v1": "invalid tag",
    "app:.v1": "invalid tag",
    f"app:{'t' * 129}": "invalid tag",
    "app:v1\n": "invalid tag",
    "app:ü": "invalid tag",
    "app@": "invalid digest",
    "app@sha256:abc": "invalid digest",
    "app@sha512:abc": "sha256 is the only supported algorithm",
    "app@latest": "invalid digest",
    f"@{DIGEST}": "invalid name",
    ":v1": "invalid name",
    "/app": "invalid name",
    "app/": "invalid name",
    "acme//app": "invalid name",
    "acme/../app": "invalid name",
    "a___b": "invalid name",
    "a..b": "invalid name",
    "-app": "invalid name",
    "app-": "invalid name",
    "app\n": "invalid name",
    "a b": "invalid name",
    "https://ghcr.io/app": "invalid name",
    "-bad-.io/app": "is no registry host",
    "re_g.io/app": "is no registry host",
    "reg.io:port/app": "is no registry host",
    "reg.io:123456/app": "is no registry host",
    "reg.io:/app": "is no registry host",
    "localhost:99999/app": "99999 is no port, expected 1 to 65535",
    "[::1]:65536/app": "65536 is no port",
    "reg.io:0/app": "0 is no port",
    "[::g]/app.": "is no registry host",
    "[fe80::1%25eth0]:5000/app": "is no registry host",
    "user@reg.io/app": "invalid digest",
    HEX: "64 hex digits are an image id",
    f"{HEX}:v1": "64 hex digits are an image id",
    f"reg.io/{'a' * 249}": "longer than 255",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_malformed_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[text]) as caught:
        Reference.parse(text)
    assert len(caught.value.message) < 600


def test_upper_case_gets_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse("ghcr.io/Acme/App")
    assert caught.value.hint == "use 'ghcr.io/acme/app'"
    with pytest.raises(UsageError) as caught:
        Reference.parse("ghcr.io/" + "A" * 400)
    assert caught.value.hint is None


def test_the_longest_name_is_taken() -> None:
    assert len(str(Repository.parse(f"reg.io/{'a' * 248}"))) == 255


def test_the_default_tag_is_latest_where_nothing_is_given() -> None:
    assert str(Reference.parse("app").with_default_tag()) == "docker.io/library/app:latest"
    assert Reference.parse("app:v1").with_default_tag().tag == "v1"
    assert Reference.parse(f"app@{DIGEST}").with_default_tag().tag is None


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/app", "app"),
        ("docker.io/acme/app", "acme/app"),
        ("docker.io/library/acme/app", "library/acme/app"),
        ("ghcr.io/library/app", "ghcr.io/library/app"),
        ("docker.io/localhost/app", "docker.io/localhost/app"),
        ("docker.io/acme.io/app", "docker.io/acme.io/app"),
        (f"docker.io/library/{HEX}", f"docker.io/library/{HEX}"),
        ("docker.io/library/localhost", "localhost"),
    ],
)
def test_a_short_name_is_shown_where_it_means_the_same(text: str, familiar: str) -> None:
    assert Repository.parse(text).familiar == familiar
    assert Reference.parse(f"{text}:v1").familiar == f"{familiar}:v1"
    assert Repository.parse(familiar) == Repository.parse(text)


def test_a_repository_has_neither_tag_nor_digest() -> None:
    for text in ("app:v1", f"app@{DIGEST}", "localhost:5000"):
        with pytest.raises(UsageError, match="expected a repository, without tag and digest"):
            Repository.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("reg.localhost:5000", True),
        ("127.0.0.1", True),
        ("127.8.8.8:5000", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("ghcr.io", False),
        ("10.0.0.1:5000", False),
        ("[2001:db8::1]:5000", False),
        ("localhost.evil.com", False),
        ("127.0.0.1.evil.com", False),
        ("notlocalhost:5000", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert Repository.parse(f"{host}/app").is_loopback is loopback


def test_tags_that_hold_trust_data_are_reserved() -> None:
    for tag in ("_trust", "_trust.1-abc", "_trust-proposal.abc", "_trusty"):
        assert check_tag(tag) == tag
        with pytest.raises(UsageError, match="is reserved"):
            check_image_tag(tag)
    assert check_image_tag("v1") == "v1"
    with pytest.raises(UsageError, match="invalid tag"):
        check_image_tag("a/b")


def test_a_tag_that_reads_like_a_digest_may_be_read_and_not_made() -> None:
    tag = f"sha256-{HEX}"
    assert check_image_tag(tag) == tag
    with pytest.raises(UsageError, match="reads like a digest"):
        check_new_tag(tag)
    for other in ("sha256-abc", f"{tag}.sig", f"{tag}0", "v1"):
        assert check_new_tag(other) == other
    with pytest.raises(UsageError, match="is reserved"):
        check_new_tag("_trust")


@given(st.text() | st.from_regex(r"[a-zA-Z.:\-\[\]]{0,9}/[a-z0-9._\-]{1,9}(:[\w.\-]{0,5})?(@sha256:[a-f0-9]*)?"))
def test_only_usage_errors_leave_the_parser_and_what_it_takes_comes_back(text: str) -> None:
    with suppress(UsageError):
        reference = Reference.parse(text)
        assert Reference.parse(str(reference)) == reference
        assert Reference.parse(reference.familiar) == reference


COMPONENT = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-+)[a-z0-9]{1,3}){0,2}", fullmatch=True)


@given(st.lists(COMPONENT, min_size=1, max_size=4), st.sampled_from(["docker.io", "localhost", "ghcr.io", "h:5000"]))
def test_every_valid_path_is_taken(path: list[str], host: str) -> None:
    repository = Repository.parse("/".join([host, *path]))
    assert repository.registry == host
    assert repository.path.removeprefix("library/") == "/".join(path).removeprefix("library/")
    assert Repository.parse(repository.familiar) == repository
