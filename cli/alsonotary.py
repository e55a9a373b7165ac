"""``--also-notary URL``: what was signed here is signed on a Notary server, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import notaryshow, terminal
from cli.notarydesk import Notary
from trust.errors import DocksealError, UsageError

if TYPE_CHECKING:
    from cli.desk import Desk
    from trust.digest import Digest
    from trust.notary.publish import Change
    from trust.oci.store import Store


class AlsoNotary:
    """``push --also-notary URL``: the same tag on a Notary server, after it is signed and has moved here."""

    def __init__(self, desk: Desk, store: Store, url: str, *, first_use: bool) -> None:
        if store.name.startswith("oci:"):
            raise UsageError(
                f"--also-notary signs what docker pulls: {store.name} is a folder", hint="push to the registry itself"
            )
        self._notary = Notary(desk, store.repository, url, root=None, first_use=first_use)

    def check(self, tag: str) -> None:
        """Refuse before anything is sent: the server cannot be read, or no key here may sign for it."""
        from trust.notary.model import Meta
        from trust.notary.publish import Change

        placeholder = Meta(1, {"sha256": bytes(32)})
        self._notary.publisher().prepare(Change({tag: placeholder}))

    def check_withdrawal(self, tags: tuple[str, ...]) -> None:
        """Refuse before anything is withdrawn: the server cannot be read, or a key that signs there is not here."""
        from trust.notary.publish import Change

        self._notary.publisher().check(Change(drop=frozenset(tags)))

    def publish(self, tag: str, digest: Digest, size: int, *, silent: bool) -> None:
        """Sign the tag there.

        Raises:
            DocksealError: it could not be signed there; here it is.
        """
        from trust.notary.model import Meta
        from trust.notary.publish import Change

        self._run(Change({tag: Meta(size, {"sha256": bytes.fromhex(digest.hex)})}), tag, silent=silent)

    def withdraw(self, tags: tuple[str, ...], *, silent: bool) -> None:
        """Withdraw tags there.

        Raises:
            DocksealError: they could not be withdrawn there; here they are.
        """
        from trust.notary.publish import Change

        self._run(Change(drop=frozenset(tags)), None, silent=silent)

    def _run(self, change: Change, tag: str | None, *, silent: bool) -> None:
        notary = self._notary
        try:
            done = notary.publisher().publish(change)
        except DocksealError as error:
            again = f"{notary.gun}:{tag}" if tag else f"--prune {notary.gun}"
            terminal.note(
                f"Here it is done; at {notary.url.text} it is not. "
                f"Finish it with: dockseal notary publish --server {notary.url.text} {again}"
            )
            raise error from None
        if not silent:
            notaryshow.say_published(notary, change, done)
