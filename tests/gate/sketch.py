"""Facts by hand: an image that is signed and current, until a test says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from trust.digest import Digest
from trust.gate.facts import Facts, Image, Signature, SignedTag, StateFacts
from trust.gate.found import Found, Place
from trust.gate.judge import Standpoint, judge
from trust.gate.policyfile import load
from trust.oci.source import StoreName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.gate.judge import Decision

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
DIGEST = Digest.of(b"image")
ROOT = Digest.of(b"root")
HERE = Standpoint(NOW)
NAME = "ghcr.io/acme/app:v1"


def an_image(name: str = NAME, *places: Place, context: str = "") -> Image:
    asked = StoreName.parse(name)
    return Image(asked, str(asked.repository), tuple(Found(name, place, context) for place in places))


def a_state(**changes: Any) -> StateFacts:
    values: dict[str, Any] = {
        "version": 12,
        "roots": (ROOT,),
        "made": NOW,
        "expires": NOW + timedelta(days=14),
        "expiring": "timestamp",
    }
    return StateFacts(**values | changes)


def a_signature(
    signers: Mapping[str, str] | tuple[str, ...] = ("ci",), *, roles_end: datetime | None = None, **changes: Any
) -> SignedTag:
    """``signers`` by name, each with a key of its own or the one named."""
    keys = signers if not isinstance(signers, tuple) else {name: name for name in signers}
    end = roles_end or NOW + timedelta(days=300)
    values: dict[str, Any] = {
        "tag": "v1",
        "digest": DIGEST,
        "size": 1,
        "signatures": tuple(Signature(name, frozenset(key.split("+")), end) for name, key in keys.items()),
        "signed_at": NOW,
        "annotations": {},
        "expires": NOW + timedelta(days=14),
        "expiring": "timestamp",
    }
    return SignedTag(**values | changes)


def some_facts(*signed: SignedTag, **changes: Any) -> Facts:
    values: dict[str, Any] = {"state": a_state(), "signed": signed or (a_signature(),), "registry_digest": DIGEST}
    return Facts(**values | changes)


def decided(
    more: str = "",
    facts: Facts | None = None,
    *,
    name: str = NAME,
    signers: str = '"any"',
    here: Standpoint = HERE,
    places: tuple[Place, ...] = (),
    context: str = "",
) -> Decision:
    """What one rule, with ``more`` lines, decides about these facts."""
    text = f'[[rule]]\npattern = "**"\nsigners = {signers}\n{more}\n'
    policy = load(text.encode(), "dockseal-policy.toml")
    return judge(an_image(name, *places, context=context), facts or some_facts(), policy, here)
