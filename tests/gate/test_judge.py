"""Facts and a policy in, a decision out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.sketch import (
    DIGEST,
    HERE,
    NAME,
    NOW,
    ROOT,
    a_signature,
    a_state,
    an_image,
    decided,
    some_facts,
)
from trust.digest import Digest
from trust.errors import (
    ExpiredError,
    MissingError,
    TamperedError,
    UnreachableError,
    UnsignedError,
    UntrustedRootError,
    UsageError,
)
from trust.gate.facts import Facts, Signature
from trust.gate.found import Place, Problem
from trust.gate.judge import Outcome, counted_signers, exit_code, judge
from trust.gate.lock import MAX_BYTES, Lock, Locked, write
from trust.gate.policy import Policy, Rule, SignersWanted, normal_pattern, split_image_pattern, tag_matches
from trust.gate.words import ADVICE, MEANING, VERDICTS

if TYPE_CHECKING:
    from trust.gate.judge import Decision

OTHER = Digest.of(b"other")


def signed(**changes: Any) -> dict[str, Any]:
    """One signature that is not as usual."""
    return {"signed": (a_signature(**changes),)}


def verdicts(decision: Decision) -> list[str]:
    return [finding.verdict for finding in decision.findings]


# Which rule


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("acme/app", "docker.io/acme/app"),
        ("acme/*", "docker.io/acme/*"),
        ("*", "docker.io/library/*"),
        ("*/app", "docker.io/*/app"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("docker.io/**", "docker.io/**"),
        ("index.docker.io/acme/**", "docker.io/acme/**"),
        ("ghcr.io/acme/**", "ghcr.io/acme/**"),
        ("*.example.com/app", "*.example.com/app"),
        ("localhost/app", "localhost/app"),
        ("localhost:*/app", "localhost:*/app"),
        ("[::1]:5000/app", "[::1]:5000/app"),
        ("**", "**"),
        ("**/app", "**/app"),
    ],
)
def test_a_pattern_is_read_as_docker_reads_names(pattern: str, expected: str) -> None:
    assert normal_pattern(pattern) == expected


@pytest.mark.parametrize(
    "pattern", ["", "a b", "***", "a//b", "/a", "a/", "a:1", "ghcr.io/a:1", "a@b", "App", "a\n", "é"]
)
def test_a_pattern_that_no_repository_can_match(pattern: str) -> None:
    with pytest.raises(UsageError):
        normal_pattern(pattern)


def test_the_image_of_an_exception() -> None:
    assert split_image_pattern("nginx:1.*") == ("docker.io/library/nginx", "1.*")
    assert split_image_pattern("localhost:5000/app") == ("localhost:5000/app", None)
    assert split_image_pattern("localhost:5000/app:v*") == ("localhost:5000/app", "v*")


SPECIFIC = [
    "ghcr.io/acme/app",
    "ghcr.io/acme/app*",
    "ghcr.io/acme/*pp",
    "ghcr.io/acme/*",
    "ghcr.io/acme/**",
    "ghcr.io/**",
    "**",
]


@pytest.mark.parametrize("order", [SPECIFIC, SPECIFIC[::-1], *list(permutations(SPECIFIC))[100:110]])
def test_the_most_specific_rule_decides_wherever_it_stands(order: list[str]) -> None:
    policy = Policy(tuple(Rule(pattern) for pattern in order))
    assert [rule.pattern for rule in policy.matching("ghcr.io/acme/app")] == SPECIFIC


def test_of_two_as_specific_the_first_in_the_file_decides() -> None:
    for order in (["a.io/*b/*", "a.io/*/b*"], ["a.io/*/b*", "a.io/*b/*"]):
        rule = Policy(tuple(Rule(pattern) for pattern in order)).rule_for("a.io/b/b")
        assert rule is not None
        assert rule.pattern == order[0]


def test_an_empty_policy_refuses_everything() -> None:
    decision = judge(an_image(), some_facts(), Policy(), HERE)
    assert (decision.outcome, decision.verdict, decision.rule) == (Outcome.REFUSED, "disallowed", None)
    assert "no rule of dockseal-policy.toml matches ghcr.io/acme/app" in decision.findings[0].message


@pytest.mark.parametrize(
    ("pattern", "tag", "matched"),
    [
        ("v*", "v1", True),
        ("v*", "1", False),
        ("*", "x", True),
        ("v1", "v1", True),
        ("v.", "v1", False),
        ("*-r*", "1-r2", True),
    ],
)
def test_tags(pattern: str, tag: str, matched: bool) -> None:
    assert tag_matches(pattern, tag) is matched


# Requirements: name of the case, lines of the rule, facts, what is found


def test_what_meets_every_requirement_passes() -> None:
    more = """\
tags = ["v*"]
no_latest = true
require_digest = true
max_age = "1d"
max_metadata_age = "1d"
min_version = 12
platforms = ["linux/amd64", "linux/arm64"]
annotations = { commit = "*", stage = "prod" }
"""
    both = a_signature(("ci", "release"), annotations={"commit": "abc", "stage": "prod"})
    facts = some_facts(both, registry_digest=None, platforms=frozenset({"linux/amd64", "linux/arm64/v8", "x/y"}))
    decision = decided(more, facts, name=f"{NAME}@{DIGEST}", signers='{ all = ["ci", "release"] }')
    assert decision.findings == ()
    assert (decision.outcome, decision.signers, decision.digest) == (Outcome.PASSED, ("ci", "release"), DIGEST)


MONTH = timedelta(days=31)
GONE: dict[str, Any] = {"registry_digest": None, "tag_exists": False}
REQUIREMENTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "another tag": ('tags = ["r*", "stable"]', {}, "disallowed", "the rule allows r*, stable"),
    "no digest": ("require_digest = true", {}, "disallowed", "names no digest"),
    "signed long ago": ('max_age = "30d"', signed(signed_at=NOW - MONTH), "expired", "31 days ago"),
    "signed who knows when": ('max_age = "30d"', signed(signed_at=None), "expired", "does not say when"),
    "an old state": ('max_metadata_age = "30d"', {"state": a_state(made=NOW - MONTH)}, "expired", "31 days old"),
    "below the floor": ("min_version = 13", {}, "rollback", "version 12"),
    "a platform lacks": ('platforms = ["linux/arm64"]', {}, "disallowed", "lacks the platform linux/arm64"),
    "an annotation lacks": ('annotations = { a = "*" }', {}, "disallowed", "it is missing"),
    "another annotation": ('annotations = { a = "x*" }', signed(annotations={"a": "y"}), "disallowed", "got 'y'"),
    "the tag moved": ("", {"registry_digest": OTHER}, "mismatch", f"points at {OTHER}"),
    "the tag is gone": ("", GONE, "missing", "does not exist"),
    "gone and unsigned": ("", {"signed": (), **GONE}, "missing", "does not exist"),
    "unsigned": ("", {"signed": ()}, "unsigned", "points at"),
    "frozen": ("", signed(expires=NOW, expiring="snapshot"), "expired", "snapshot is valid until 2026-11-24"),
    "frozen and unsigned": ("", {"signed": (), "state": a_state(expires=NOW), **GONE}, "expired", "timestamp"),
    "signers that have expired": ("", signed(roles_end=NOW), "unauthorized", "nobody whose role is valid"),
    "an error of the image": ("", {"problem": TamperedError("bad bytes")}, "tampered", "bad bytes"),
    "an unsigned image with an error": ("", {"signed": (), "problem": MissingError("gone")}, "missing", "gone"),
}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_each_requirement_has_its_verdict(name: str) -> None:
    more, changes, verdict, words = REQUIREMENTS[name]
    decision = decided(more, some_facts(**changes))
    assert decision.verdict == verdict
    assert words in decision.findings[0].message
    assert all(finding.advice for finding in decision.findings)


def test_latest_is_refused_where_the_rule_says_so() -> None:
    for name in ("ghcr.io/acme/app:latest", f"ghcr.io/acme/app:latest@{DIGEST}"):
        assert verdicts(decided("no_latest = true", name=name)) == ["disallowed"]
    assert decided("no_latest = true", name=f"ghcr.io/acme/app@{DIGEST}").outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "error",
    [UnreachableError("x"), UnsignedError("x"), UntrustedRootError("x"), TamperedError("x"), ExpiredError("x")],
    ids=lambda error: str(error.verdict),
)
def test_what_ended_it_early_is_the_verdict(error: UnsignedError) -> None:
    decision = decided("min_version = 99", Facts(error=error))
    assert verdicts(decision) == [error.verdict]
    assert decision.findings[0].advice == ADVICE[str(error.verdict)]


def test_an_error_without_a_verdict_is_not_fine() -> None:
    decision = decided("", Facts(error=UsageError("the memory is damaged", hint="look\nhere")))
    assert (decision.outcome, verdicts(decision)) == (Outcome.UNREACHABLE, ["unreachable"])
    assert decision.findings[0].advice == "look"


def test_all_reasons_are_told_the_one_that_decides_first() -> None:
    more = 'tags = ["r*"]\nmin_version = 13\nmax_age = "1d"\nplatforms = ["linux/amd64"]\nrequire_digest = true'
    facts = some_facts(a_signature(roles_end=NOW, expires=NOW, digest=OTHER, signed_at=None))
    decision = decided(more, facts, signers='{ all = ["ci"] }')
    found = verdicts(decision)
    assert found == sorted(found, key=VERDICTS.index)
    assert set(found) == {"rollback", "expired", "mismatch", "unauthorized", "disallowed"}
    assert decision.verdict == "rollback"


def test_the_words_cover_every_verdict() -> None:
    assert set(MEANING) == set(ADVICE) == set(VERDICTS)


# Signers


@pytest.mark.parametrize(
    ("signers", "by", "passes"),
    [
        ('"any"', ("targets",), True),
        ('{ all = ["ci"] }', ("ci", "x"), True),
        ('{ all = ["ci", "release"] }', ("ci",), False),
        ('{ all = ["ci", "release"] }', {"ci": "a", "release": "b"}, True),
        ('{ all = ["ci", "release"] }', {"ci": "a", "release": "a"}, False),
        ('{ all = ["ci", "release"] }', {"ci": "a+b", "release": "a"}, True),
        ('{ all = ["ci", "release"] }', {"ci": "a", "release": "a", "x": "b"}, False),
        ('{ threshold = 2, of = ["ci", "release", "x"] }', ("release", "x"), True),
        ('{ threshold = 2, of = ["ci", "release", "x"] }', ("release", "y"), False),
        ('{ threshold = 2, of = ["ci", "release", "x"] }', {"ci": "a", "release": "a", "x": "a"}, False),
        ('{ threshold = 2, of = ["ci", "release", "x"] }', {"ci": "a", "release": "a", "x": "b"}, True),
        ('{ threshold = 1, of = ["ci"] }', ("release",), False),
    ],
)
def test_who_must_have_signed(signers: str, by: dict[str, str] | tuple[str, ...], passes: bool) -> None:
    decision = decided("", some_facts(a_signature(by)), signers=signers)
    assert verdicts(decision) == ([] if passes else ["unauthorized"])


def test_a_signer_whose_role_has_expired_does_not_count() -> None:
    signatures = (Signature("ci", frozenset("a"), NOW), Signature("x", frozenset("b"), NOW + timedelta(1)))
    decision = decided("", some_facts(a_signature(signatures=signatures)), signers='{ all = ["ci"] }')
    assert (verdicts(decision), decision.signers) == (["unauthorized"], ("x",))


def test_how_people_read_what_is_wanted() -> None:
    assert str(SignersWanted()) == "any signer"
    assert str(SignersWanted(all=("a", "b"))) == "a and b"
    assert str(SignersWanted(of=("a", "b"), threshold=1)) == "1 of a, b"


@given(st.dictionaries(st.sampled_from("abcde"), st.frozensets(st.sampled_from("1234"), max_size=3)))
def test_signers_are_counted_by_keys_of_their_own(keys: dict[str, frozenset[str]]) -> None:
    """As many as any choice of one key each, no key twice, can tell apart."""
    signatures = [Signature(name, some, NOW) for name, some in keys.items()]

    def most(names: list[str], used: frozenset[str]) -> int:
        if not names:
            return 0
        taken = [1 + most(names[1:], used | {key}) for key in keys[names[0]] - used]
        return max([most(names[1:], used), *taken])

    assert counted_signers(signatures) == most(list(keys), frozenset())


# Modes and exceptions

EXCEPTION = """\
[[rule.exception]]
image = "ghcr.io/acme/*:v*"
reason = "OPS-1"
until = 2026-11-24
"""


def test_a_rule_that_only_warns() -> None:
    decision = decided('mode = "warn"', some_facts(registry_digest=OTHER))
    assert (decision.outcome, decision.verdict) == (Outcome.WARNED, "mismatch")
    assert exit_code([decision]) == 0


def test_an_exception_excuses_until_its_last_day() -> None:
    unsigned = Facts(error=UnsignedError("nothing is signed"))
    decision = decided(EXCEPTION, unsigned)
    assert (decision.outcome, decision.verdict) == (Outcome.EXCUSED, "unsigned")
    assert decision.notes == ("excused until 2026-11-24: OPS-1",)
    over = decided(EXCEPTION, unsigned, here=replace(HERE, at=NOW + timedelta(hours=15)))
    assert over.outcome is Outcome.REFUSED
    assert over.notes == ("the exception of line 4 ended on 2026-11-24: OPS-1",)


def test_an_exception_that_is_not_needed_is_not_used() -> None:
    decision = decided(EXCEPTION)
    assert (decision.outcome, decision.exemption, decision.notes) == (Outcome.PASSED, None, ())


def test_an_exception_is_for_its_images_and_verdicts_alone() -> None:
    unsigned = Facts(error=UnsignedError("nothing is signed"))
    assert decided(EXCEPTION, unsigned, name="ghcr.io/acme/app:r1").outcome is Outcome.REFUSED
    assert decided(EXCEPTION, unsigned, name="ghcr.io/other/app:v1").outcome is Outcome.REFUSED
    assert decided(EXCEPTION, unsigned, name=f"ghcr.io/acme/app@{DIGEST}").outcome is Outcome.REFUSED
    for attack in (some_facts(registry_digest=OTHER), Facts(error=TamperedError("x"))):
        assert decided(EXCEPTION, attack).outcome is Outcome.REFUSED
        assert decided(f'{EXCEPTION}verdicts = ["mismatch", "tampered"]', attack).outcome is Outcome.EXCUSED
    both = some_facts(registry_digest=OTHER)
    assert decided(f'min_version = 99\n{EXCEPTION}verdicts = ["mismatch"]', both).outcome is Outcome.REFUSED


def test_a_digest_is_excused_by_the_tag_that_it_is() -> None:
    decision = decided(EXCEPTION, name=f"ghcr.io/acme/app@{DIGEST}", signers='{ all = ["x"] }')
    assert decision.outcome is Outcome.EXCUSED


# Locks


def locked(**changes: Any) -> Lock:
    return Lock("dockseal.lock", {NAME: replace(Locked(NAME, DIGEST, ROOT, 12), **changes)})


@pytest.mark.parametrize(
    ("lock", "found"),
    [
        (locked(), []),
        (locked(state=11), []),
        (locked(state=13), ["rollback"]),
        (locked(root=OTHER), ["untrusted-root"]),
        (locked(root=OTHER, state=13), ["rollback"]),
        (locked(digest=OTHER), ["mismatch"]),
        (Lock(), ["disallowed"]),
    ],
    ids=["the same", "an older lock", "a newer lock", "another root", "both", "another digest", "not in it"],
)
def test_held_to_a_lock(lock: Lock, found: list[str]) -> None:
    decision = decided(here=replace(HERE, lock=lock))
    assert verdicts(decision) == found


def test_a_root_that_was_rotated_since_is_no_other_root() -> None:
    facts = some_facts(state=a_state(roots=(ROOT, OTHER)))
    assert decided("", facts, here=replace(HERE, lock=locked())).outcome is Outcome.PASSED


def test_a_lock_file_goes_there_and_back() -> None:
    decision = decided(name=f"{NAME}@{DIGEST}")
    data = write([decision, decided("", some_facts(registry_digest=OTHER), name="ghcr.io/acme/bad:v1")])
    lock = Lock.parse(data, "dockseal.lock")
    assert lock == locked()
    assert lock.get(an_image()) == lock.get(an_image(f"{NAME}@{OTHER}")) == Locked(NAME, DIGEST, ROOT, 12)
    assert lock.get(an_image(f"ghcr.io/acme/app@{DIGEST}")) is None
    assert write([decision]) == data


ENTRY = {"reference": NAME, "digest": str(DIGEST), "root": str(ROOT), "state": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" " * (MAX_BYTES + 1),
        b"[]",
        b"{}",
        b'{"schema": 2, "images": []}',
        b'{"schema": 1, "images": [], "x": 1}',
        b'{"schema": 1, "images": {}}',
        b'{"schema": 1, "images": [1]}',
        b'{"schema": 1, "images": [{"reference": "a", "digest": "x", "root": "y", "state": 1}]}',
        b'{"schema": 1, "images": [{"reference": "a", "digest": "x", "root": "y", "state": true}]}',
        write([decided()]).replace(b'"state": 12', b'"state": 12.0'),
        write([decided()]).replace(b"  ]", b"  ,%s]" % json.dumps(ENTRY).encode()),
    ],
)
def test_what_is_no_lock_file_locks_everything(data: bytes) -> None:
    with pytest.raises(UsageError):
        Lock.parse(data, "dockseal.lock")


# Pins in files


def test_files_must_name_the_digest_of_today() -> None:
    check = replace(HERE, check_pinned=True)
    place = Place("k8s.yaml", 3, 5, (20, 30))
    assert verdicts(decided(here=check, places=(place,))) == ["disallowed"]
    assert "not pinned: expected @sha256:" in decided(here=check, places=(place,)).findings[0].message
    assert verdicts(decided(here=check, places=(Place(""),))) == []  # the command line is no file
    assert verdicts(decided(here=check, places=(place,), name=f"{NAME}@{DIGEST}")) == []
    assert verdicts(decided(here=check, places=(place,), name=f"{NAME}@{OTHER}")) == ["mismatch"]


def test_what_is_about_to_be_pinned_need_not_be_pinned_yet() -> None:
    decision = decided("require_digest = true", here=replace(HERE, pinning=True))
    assert decision.outcome is Outcome.PASSED


# Exit codes


def test_exit_codes() -> None:
    passed, warned = decided(), decided('mode = "warn"', some_facts(registry_digest=OTHER))
    refused = decided("", some_facts(registry_digest=OTHER))
    unreachable = decided("", Facts(error=UnreachableError("x")))
    problem = Problem(Place("x"), "is unreadable")
    assert exit_code([]) == exit_code([passed, warned]) == 0
    assert exit_code([passed, unreachable]) == 3
    assert exit_code([unreachable, refused]) == 1
    assert exit_code([passed], [problem]) == exit_code([unreachable], [problem]) == 2
    assert exit_code([refused], [problem]) == 1
