"""Variables as docker, compose and GitLab put in their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import UsageError
from trust.gate.scan.variables import COMPOSE, GITLAB, MAX_EXPANDED, MAX_NESTING, Dialect, expand

VALUES = {"A": "a", "EMPTY": "", "LONG": "x" * 1000, "DOLLAR": "$A"}
DOCKER = Dialect(quotes=True, escape="\\")


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        (COMPOSE, "$A/${A}", "a/a"),
        (COMPOSE, "${A:-b}${A-b}${A:+c}${A+c}${A:?no}${A?no}", "aaccaa"),
        (COMPOSE, "${EMPTY:-b}${EMPTY-b}${EMPTY:+c}${EMPTY+c}${EMPTY?no}", "bc"),
        (COMPOSE, "${NONE:-b}${NONE-b}${NONE:+c}${NONE+c}", "bb"),
        (COMPOSE, "${NONE:-${EMPTY:-$A}}", "a"),
        (COMPOSE, "${A:-$NONE}${NONE:+${NEVER}}", "a"),
        (COMPOSE, "$$A $${A}", "$A ${A}"),
        (COMPOSE, "$DOLLAR", "$A"),
        (COMPOSE, "'$A' \"$A\" \\$A", "'a' \"a\" \\a"),
        (GITLAB, "$A-${A}-$$A-$-$1", "a-a-$A-$-$1"),
        (DOCKER, "\"$A\"'$A'$A", "a$Aa"),
        (DOCKER, r"\$A \" \\", '$A " \\'),
        (DOCKER, r'"\$A \" \\ \n"', '$A " \\ \\n'),
        (DOCKER, "a'b\"c'\"d'e\"", "ab\"cd'e"),
        (DOCKER, "$-$$A", "$-$a"),
        (DOCKER, "${NONE:-'$A'}${NONE:-\"$A\"}", "$Aa"),
        (Dialect(escape="`"), "`$A\\", "$A\\"),
        (DOCKER, "x\\", "x"),
    ],
)
def test_values_take_the_place_of_variables(dialect: Dialect, text: str, expected: str) -> None:
    assert expand(text, VALUES.get, dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "text", "message"),
    [
        (COMPOSE, "$NONE", "the variable NONE is not set, and has no default"),
        (COMPOSE, "${A:-${NONE}}${EMPTY:-$NONE}", "NONE is not set"),
        (COMPOSE, "${NONE:?say it}", "NONE is not set: say it"),
        (COMPOSE, "${EMPTY:?}", "EMPTY is not set: it is required"),
        (COMPOSE, "a$", "has a lone [$]"),
        (COMPOSE, "$1", "has a lone [$]"),
        (COMPOSE, "${}", "no variable's name after"),
        (COMPOSE, "${A", "a form of [$]{A…}"),
        (COMPOSE, "${A:-b", "lacks a closing }"),
        (COMPOSE, "${A/a/b}", "a form of [$]{A…}"),
        (GITLAB, "${A:-b}", "a form of [$]{A…}"),
        (DOCKER, "'a", "lacks a closing '"),
        (DOCKER, '"a', 'lacks a closing "'),
        (DOCKER, "${A##*/}", "a form of [$]{A…}"),
        (COMPOSE, "${A:-" * (MAX_NESTING + 1), "nested deeper"),
        (COMPOSE, "$LONG" * (MAX_EXPANDED // 1000 + 1), "more than 65536 characters"),
    ],
)
def test_what_cannot_be_known_is_an_error(dialect: Dialect, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand(text, VALUES.get, dialect)


@given(st.text(alphabet="$A{}:-+?'\"\\ b", max_size=40), st.sampled_from([COMPOSE, GITLAB, DOCKER]))
def test_no_text_makes_it_stumble(text: str, dialect: Dialect) -> None:
    try:
        result = expand(text, VALUES.get, dialect)
    except UsageError:
        return
    if not set(text) & set("$\\'\""):
        assert result == text
