"""The verdicts of the gate, in the order in which they decide, and what to do about each (docs/gate.md).

They are those of :mod:`trust.errors`, and one that only a policy can give: ``disallowed``.
"""

from __future__ import annotations

TRUSTED = "trusted"
DISALLOWED = "disallowed"

ADVICE = {
    "unreachable": "nothing was judged: check the name, `dockseal login` and the network, then run the gate again",
    "untrusted-root": "do not run it: ask the repository's owner on another way whether its root of trust was replaced",
    "tampered": "do not run it: the registry or somebody on the way has changed bytes; look at the registry",
    "rollback": "do not run it: somebody brought back an older state; the newest one must be published again",
    "expired": "whoever publishes runs `dockseal repo refresh`; until then a frozen registry cannot be ruled out",
    "missing": "push the image, or correct its name",
    "unsigned": "`dockseal sign` signs what the registry has, once you know that it is what you mean",
    "mismatch": "do not run the tag: it was moved without signing; deploy the signed digest, or sign the new one",
    "unauthorized": "the signers that lack sign it with `dockseal sign --signer NAME`",
    DISALLOWED: "change the file or the policy; `dockseal policy explain NAME` shows the rule",
}
"""By verdict but ``trusted``. The order is that of docs/verdicts.md: the first that applies decides."""

VERDICTS = tuple(ADVICE)
MEANING = {
    "unreachable": "The registry could not be reached or denied access; nothing was judged",
    "untrusted-root": "The root of trust is not the pinned one, or nothing is pinned",
    "tampered": "A signature, hash, length or format is wrong",
    "rollback": "The trust data is older than what was seen, locked or asked for",
    "expired": "The trust data has expired, or is older than the policy allows",
    "missing": "There is no such repository, tag or digest",
    "unsigned": "The image is not signed",
    "mismatch": "The tag points at another digest than the signed or expected one",
    "unauthorized": "The image is signed, but not by the signers that the policy asks for",
    DISALLOWED: "The policy does not allow the image, whoever signed it",
}
"""One line each, for the rules of a SARIF report."""
