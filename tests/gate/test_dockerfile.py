"""Dockerfiles, as BuildKit reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.corpora import digest_of
from trust.gate.pin import pinned
from trust.gate.scan.collect import Collector
from trust.gate.scan.dockerfile import looks_like_dockerfile, read_dockerfile
from trust.gate.scan.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.gate.found import Scan


def read(text: str | bytes, **build_args: str) -> Scan:
    collector = Collector()
    data = text.encode() if isinstance(text, str) else text
    read_dockerfile(Source.decode("Dockerfile", data), build_args, collector)
    return collector.result()


def images(text: str, **build_args: str) -> list[str]:
    result = read(text, **build_args)
    assert [problem.message for problem in result.problems] == []
    return [found.text for found in result.found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", ["a"]),
        ("\n \n# c\n  FROM   a   AS  b  \nFROM b", ["a"]),
        ("FROM a AS b\nFROM B AS c\nFROM C", ["a"]),
        ("FROM later\nFROM x AS later", ["later", "x"]),
        ("FROM b AS b", ["b"]),
        ("FROM SCRATCH-x\n".lower() + "FROM scratch", ["scratch-x"]),
        ("FROM --platform=linux/amd64 --x='y z' a", ["a"]),
        ("FROM a\nCOPY --from=b --chown=1:1 / /", ["a", "b"]),
        ("FROM a\nCOPY --chown=1:1 --from=b / /", ["a", "b"]),
        ("FROM a\nCOPY --chown=1:1 / --from=b", ["a"]),
        ('FROM a\nCOPY --from="b" / /', ["a", "b"]),
        ("FROM a\nCOPY --from= / /\nCOPY -- --from=b /", ["a"]),
        ("FROM a\nCOPY --fr\\om=b / /", ["a", "b"]),
        ("FROM a\nADD --from=b / /", ["a"]),
        ("FROM a\nCOPY --from=later / /\nFROM b AS LATER", ["a", "b"]),
        ("FROM a\nCOPY --from=scratch / /", ["a"]),
        ("FROM a\nRUN --mount=from=b,target=/x --network=none --mount=FROM=c true", ["a", "b", "c"]),
        ("FROM a\nRUN --mount=from=0,target=/x true", ["a", "0"]),
        ("FROM a\nRUN --mount=type=cache,from= true", ["a"]),
        ("FROM a\nRUN true --mount=from=b", ["a"]),
        ("FROM a\nRUN echo \\\n--mount=from=b", ["a"]),
        ("FROM a\nRUN \\\n  --mount=from=b \\\n  true", ["a", "b"]),
        ("FROM a\nONBUILD RUN --mount=from=b true\nONBUILD FROM c\nONBUILD", ["a", "b"]),
        ("FROM a\nRUN x \\\\\nFROM b", ["a", "b"]),
        ("FROM a\nRUN x \\  \t\nFROM b", ["a"]),
        ("FROM a\nRUN x \\", ["a"]),
        ("FROM a\n\\", ["a"]),
        ("# syntax=s", ["s"]),
        ("# escape=`\nFROM a`\nb\nRUN x \\\nFROM c", ["ab", "c"]),
        ("# Escape = `\n# syntax=s\nFROM a", ["s", "a"]),
        ("# unknown=1\n# syntax=s\n# escape=`\nFROM a\\\n:1", ["a:1"]),
        ("# check=skip=all\n# syntax=s\nFROM a", ["s", "a"]),
        ("  # syntax=s\n  # escape=`\nFROM a`\n:1", ["a:1"]),
        ("#!/bin/x\n# escape=`\nFROM a\\\n:1", ["a:1"]),
        ("# comment\n# syntax=s\nFROM a", ["a"]),
        ("\n# syntax=s\nFROM a", ["a"]),
        ("#!/usr/bin/x\n# syntax=s:1 and arguments\nFROM a", ["s:1", "a"]),
        ("# escape=x\nFROM a", ["a"]),
        ("FROM a\nRUN <<A <<-B\nFROM x\nA\nFROM y\n\tB\nFROM c", ["a", "c"]),
        ("FROM a\nRUN 3<<'A.b-c' cat\nFROM x\nA.b-c\nFROM c", ["a", "c"]),
        ("FROM a\nRUN cat << A > ${DIR}/$x\r\nFROM x\r\nA\r\nFROM c", ["a", "c"]),
        ("FROM a\nRUN cat <<  <<A\nFROM c", ["a", "c"]),
        ("FROM a\nRUN cat <<A\nFROM x\nA\r\r\nFROM c", ["a", "c"]),
        ("FROM a\nRUN x \\\r\r\nFROM c", ["a"]),
        ("FROM a\nCOPY <<A /x\nA \nFROM x\nA\nFROM c", ["a", "c"]),
        ("FROM a\nONBUILD COPY <<A /x\nFROM x\nA\nFROM c", ["a", "c"]),
        ("FROM a\nRUN it's <<A\nFROM c", ["a", "c"]),
        ('FROM a\nRUN ["<<A"]\nCOPY ["<<A", "b"]\nFROM c', ["a", "c"]),
        ("FROM a\nRUN [ -f x ] <<A\nFROM x\nA\nFROM c", ["a", "c"]),
        ("FROM a\nRUN x <<\nLABEL x=<<A\nCMD <<A\nFROM c", ["a", "c"]),
        ("ARG A=x B=$A-y\nARG A\nFROM a:$B-$A", ["a:x-y-x"]),
        ("ARG A='q'\nFROM \"a:${A}\"", ["a:q"]),
        ("FROM a\nARG B=x\nFROM ${B:-b}", ["a", "b"]),
        ("ARG V\nFROM a:${V:-1}", ["a:1"]),
    ],
)
def test_the_images_of(text: str, expected: list[str]) -> None:
    assert images(text) == expected


def test_build_arguments_take_the_place_of_defaults() -> None:
    text = "ARG A=1\nARG B\nFROM a:$A\nFROM b:$B\nFROM c:$TARGETARCH\n"
    assert images(text, A="2", B="3", TARGETARCH="arm64") == ["a:2", "b:3", "c:arm64"]


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("FROM a:$X", "1:6 the variable X is not set, and has no default", "give its value: --build-arg X=VALUE"),
        (
            "ARG X\nFROM a:$X",
            "2:6 the variable X is not set, and has no default",
            "give its value: --build-arg X=VALUE",
        ),
        (
            "FROM a:$B",
            "1:6 the variable B is not set, and has no default",
            "docker takes --build-arg B only where `ARG B`",
        ),
        ("ARG X=$Y\nARG Z=$X\nFROM $Z", "3:6 the variable Y is not set, and has no default", "--build-arg Y=VALUE"),
        ("FROM ${X", "1:6 '${X' uses a form of ${X…} that is not read here", ""),
        ("ARG A=aa\n" + "ARG A=$A$A\n" * 20 + "FROM $A", "22:6 variables expand it to more than 65536 characters", ""),
        ("FROM", "1:1 FROM has neither the form IMAGE nor IMAGE AS NAME", ""),
        ("FROM a b", "1:1 FROM has neither the form IMAGE nor IMAGE AS NAME", ""),
        ("FROM a AS 1x", "1:1 FROM has neither the form IMAGE nor IMAGE AS NAME", ""),
        ("FROM {{ a }}", "1:1 FROM has neither the form IMAGE nor IMAGE AS NAME", "render it first"),
        ("FROM {{a}}", "1:6 '{{a}}' is no reference yet", "render it first"),
        ("FROM A", "1:6 invalid name 'A': a repository name must be lowercase", "use 'a'"),
        ("FROM a\nFRM b", "2:1 'FRM' is no instruction of a Dockerfile", ""),
        ("FROM a\nCOPY --from=1 / /", "2:13 there is no stage 1", ""),
        ("FROM a\nCOPY --from=-1 / /", "2:13 there is no stage -1", ""),
        ("FROM a\nCOPY --from=99999999999999999999 / /", "2:13 there is no stage 99999999999999999999", ""),
        ("FROM a\nCOPY --from=$b / /", "2:13 docker puts no variable into COPY --from: '$b'", "FROM $IMAGE AS NAME"),
        ("FROM a\nRUN --mount=from=$b x", "2:18 docker puts no variable into RUN --mount: '$b'", "FROM $IMAGE AS NAME"),
        ('FROM a\nRUN --mount="\\"from"=b x', "2:15 --mount cannot be read: unexpected end of data", ""),
        ("// syntax=s\nFROM a", "1:1 '//' is no instruction of a Dockerfile", ""),
        ("FROM a\nRUN x \\\n\x1c# y\nFROM b", "3:1 holds the control character '\\x1c'", ""),
        ("FROM a\nRUN <<'LABEL a=b'\nFROM b\nLABEL a=b", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN << ENTRYPOINT\nFROM b\nENTRYPOINT", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN <<\\A\nFROM b\nA", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN ${X:- <<A}\nFROM b\nA}", "2:1 versions of docker differ", "plain word"),
        ('FROM a\nRUN ["x"] <<A\nFROM b\nA', "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN [NaN] <<A\nFROM b\nA", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN " + "[" * 100000 + " <<A\nFROM b\nA", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN it's ${X:-<<A}", "2:1 versions of docker differ", "plain word"),
        ("FROM a\nRUN <<A\nFROM b", "2:1 the heredoc A has no end", ""),
        ("# syntax=$X\nFROM a", "1:10 invalid name '$X'", "nothing here knows the variable"),
    ],
)
def test_what_is_not_known_is_a_problem(text: str, problem: str, hint: str) -> None:
    (found,) = read(text, B="given").problems
    assert f"{found.place} {found.message}".startswith(f"Dockerfile:{problem}")
    assert hint in found.hint
    assert bool(hint) == bool(found.hint)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("FROM a:1", b"a:1"),
        ("FROM 'a:1'", b"a:1"),
        ("FROM a:\\\n1", None),
        ("ARG A=a:1\nFROM $A", None),
        ("ARG E=\nFROM a:1$E", None),
        ("FROM a\\:1", None),
        ('FROM "a":1', None),
        ("FROM x AS y\nCOPY --from='a:1' / /", b"a:1"),
        ("FROM x AS y\nCOPY --from='a':1 / /", None),
        ("FROM x AS y\nRUN --mount=from=a:1,target=/ x", b"a:1"),
        ('FROM x AS y\nRUN --mount=target=/,"from=a:1" x', b"a:1"),
        ('FROM x AS y\nRUN --mount=target=/,from=\\"a:1 x', None),
    ],
)
def test_only_what_is_literally_there_can_be_rewritten(text: str, span: bytes | None) -> None:
    found = [item for item in read(text).found if item.text == "a:1"]
    spans = [text.encode()[slice(*item.place.span)] if item.place.span else None for item in found]
    assert spans == ([span] if found else [])
    assert found or '\\"a' in text


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("FROM a", True),
        ("# c\n\n  from a", True),
        ("ARG A=1\r\nFROM a\r\n", True),
        ("ARG A=1\n", False),
        ("from: a\n", False),
        ("FROM : a\n", False),
        ("a\nFROM b", False),
    ],
)
def test_a_dockerfile_is_known_by_its_first_instruction(text: str, is_one: bool) -> None:
    assert looks_like_dockerfile(Source.decode("-", text.encode())) is is_one


NAMES = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,5})?(:v[0-9]{1,2})?", fullmatch=True)


@st.composite
def dockerfiles(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[bytes, list[str]]:
    """A Dockerfile in some style, and the images in it, in order; all can be rewritten."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines, expected = [], []
    blank = st.sampled_from(["", "# FROM no:1", "  "])
    join = st.sampled_from([" ", "  ", f" \\{end}    ", f" \\{end}# c{end}{end} ", "\t"])
    for number in range(draw(st.integers(1, 4))):
        name = draw(NAMES)
        quote = draw(st.sampled_from(["", "'", '"']))
        word = draw(st.sampled_from(["FROM", "from", "From"]))
        lines.append(f"{word}{draw(join)}{quote}{name}{quote}{draw(join)}AS{draw(join)}s{number}-")
        expected.append(name)
        for _ in range(draw(st.integers(0, 3))):
            other = draw(NAMES)
            part, counts = draw(
                st.sampled_from(
                    [
                        (f"COPY --link{draw(join)}--from={other} /a /b", True),
                        (f"RUN --mount=type=bind,from={other},target=/x{draw(join)}make", True),
                        (f"RUN <<-EOF{end}FROM no:1{end}\tEOF", False),
                        (f"COPY --from=s{number}- /a /b", False),
                        (f"LABEL a=b{draw(join)}FROM=no:1", False),
                        ("ENV X=$Y ü=🚢", False),
                    ]
                )
            )
            lines.append(part)
            expected += [other] if counts else []
        lines.append(draw(blank))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode(), expected


@given(dockerfiles())
def test_pinning_changes_the_references_of_any_dockerfile_and_nothing_else(case: tuple[bytes, list[str]]) -> None:
    data, expected = case
    before = read(data)
    assert [problem.message for problem in before.problems] == []
    assert [found.text for found in before.found] == expected
    result = pinned(data, {found.place.span: digest_of(found.text) for found in before.found if found.place.span})
    after = [found.text for found in read(result).found]
    assert [text.partition("@")[0].removesuffix(":latest") for text in after] == expected
    assert all(text.endswith(f"@{digest_of(name)}") for text, name in zip(after, expected, strict=True))
    for text, name in zip(after, expected, strict=True):
        result = result.replace(text.encode(), name.encode(), 1)
    assert result == data
