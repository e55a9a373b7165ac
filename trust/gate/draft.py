"""``policy init``: a policy drafted from what a project uses today."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from trust.gate.report import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trust.gate.facts import Facts, Image

_HEAD = """\
# Which images a release may run; docs/policy.md explains every name. Drafted from what is in use: read it before you
# rely on it. An image that no rule matches is refused.
"""


def draft(facts: Mapping[Image, Facts]) -> str:
    """A policy in TOML: a rule for each repository, with the signers that all of its images have today.

    What is not signed today gets ``mode = "warn"``, so that it is seen and blocks nobody yet.
    """
    repositories: dict[str, list[Facts]] = defaultdict(list)
    for image, found in facts.items():
        repositories[image.repository].append(found)
    rules = ["\n".join(_rule(name, repositories[name])) for name in sorted(repositories)]
    return "\n\n".join([_HEAD.rstrip(), *rules]) + "\n"


def _rule(repository: str, found: list[Facts]) -> Iterator[str]:
    errors = [item.error for item in found if item.error is not None]
    unsigned = [item for item in found if not item.signed]
    if errors:
        yield f"# {one_line(errors[0].message)}"
    elif unsigned:
        yield f"# {len(unsigned)} of the {len(found)} images in use are not signed"
    yield "[[rule]]"
    yield f"pattern = {json.dumps(repository, ensure_ascii=False)}"
    common = frozenset.intersection(
        *(frozenset(mark.name for item in facts.signed for mark in item.signatures) for facts in found)
    )
    if unsigned or not common:
        yield 'signers = "any"'
    else:
        yield f"signers = {{ all = {json.dumps(sorted(common))} }}"
    if unsigned:
        yield 'mode = "warn" # remove this once they are signed'
