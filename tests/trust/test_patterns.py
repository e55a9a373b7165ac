from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.patterns import matches, specificity


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("ghcr.io/acme/app", "ghcr.io/acme/app", True),
        ("ghcr.io/acme/app", "ghcr.io/acme/app2", False),
        ("ghcr.io/acme/app", "xghcr.io/acme/app", False),
        ("ghcr.io/acme/*", "ghcr.io/acme/app", True),
        ("ghcr.io/acme/*", "ghcr.io/acme/a/b", False),
        ("ghcr.io/acme/**", "ghcr.io/acme/a/b", True),
        ("ghcr.io/*/app", "ghcr.io/acme/app", True),
        ("ghcr.io/*/app", "ghcr.io/a/b/app", False),
        ("ghcr.io/acme/app-*", "ghcr.io/acme/app-prod", True),
        ("ghcr.io/acme/app-*", "ghcr.io/acme/app", False),
        ("**", "anything/at/all", True),
        ("*", "a/b", False),
        ("ghcr.io/acme/*", "ghcrxio/acme/app", False),
        ("ghcr.io/acme/a+b", "ghcr.io/acme/aab", False),
        ("ghcr.io/acme/[a-z]", "ghcr.io/acme/x", False),
        ("ghcr.io/acme/app", "ghcr.io/acme/app\n", False),
    ],
)
def test_a_pattern_matches_whole_names(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_the_order_of_patterns() -> None:
    order = ["**", "*", "a/**", "a/*", "a/b*", "a/bc", "a/bcd*"]
    assert sorted(order, key=specificity) == order


@given(st.text(), st.text())
def test_without_a_star_a_pattern_is_a_name(pattern: str, name: str) -> None:
    if "*" not in pattern:
        assert matches(pattern, name) == (pattern == name)
    assert matches(name, name) or "*" in name
