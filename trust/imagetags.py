"""Image tags: they move last of all, to what the live state says; also where several writers sign one at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.errors import ConflictError, DeniedError, MissingError
from trust.tuf.differences import moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trust.digest import Digest
    from trust.oci.store import Store
    from trust.read import Trusted
    from trust.tuf.verified import Verified

MAX_LOOKS = 24
"""How often a tag is moved on to what was signed since."""


@dataclass(frozen=True, slots=True)
class ImageTags:
    """The image tags of one repository. ``newer`` gives the state that has taken a live one's place meanwhile."""

    store: Store
    newer: Callable[[Trusted], Trusted | None]

    def check_won(self, tag: str, digest: Digest, live: Trusted) -> None:
        """Tell the loser where two signed one tag at once; the image tag goes to what the state says.

        Raises:
            ConflictError: the tag means something else.
        """
        meaning = live.verified.meaning(tag)
        if meaning == digest:
            return
        if meaning is not None and self._put(tag, meaning):
            meaning = self.keep({tag: meaning}, live)[tag]
        raise self._lost(tag, digest, meaning)

    def check_stays(self, tag: str, digest: Digest, live: Trusted) -> None:
        """Likewise once the image tag has moved, where another writer signed it later but moved it earlier.

        Raises:
            ConflictError: the tag means something else by now, and has moved there.
        """
        meaning = self.keep({tag: digest}, live)[tag]
        if meaning != digest:
            raise self._lost(tag, digest, meaning)

    def move(self, before: Iterable[Verified], live: Trusted) -> None:
        """Move each whose signature is new in a state that has just become live; one whose image is not there stays.

        Args:
            before: the states that it stands on: several, where it joins them.
            live: the state.
        """
        found = {tag: digest for state in before for tag, digest in moved(state, live.verified).items()}
        done = {tag: digest for tag, digest in found.items() if digest is not None and self._put(tag, digest)}
        if done:
            self.keep(done, live)

    def keep(self, done: Mapping[str, Digest], live: Trusted) -> Mapping[str, Digest | None]:
        """Look again after tags have moved, and move them on to what was signed since.

        Whoever signs a tag announces that before it moves the tag. So one whose move came before ours is seen here,
        and one that is not seen here moves the tag after us.

        Args:
            done: tags and where they have moved.
            live: the state that says so.

        Returns:
            What they mean now; None where that was revoked.
        """
        meanings: dict[str, Digest | None] = dict(done)
        for _ in range(MAX_LOOKS):
            newer = self.newer(live)
            if newer is None:
                break
            live, before = newer, meanings
            meanings = {tag: live.verified.meaning(tag) for tag in done}
            changed = {tag: digest for tag, digest in meanings.items() if digest and digest != before[tag]}
            if not [tag for tag, digest in changed.items() if self._put(tag, digest)]:
                break
        return meanings

    def _put(self, tag: str, digest: Digest) -> bool:
        """Whether a tag has moved; it stays where it cannot, or where its image is not there."""
        try:
            if self.store.resolve(tag) == digest:
                return False
            self.store.put_manifest(self.store.get_manifest(digest), tag)
        except (DeniedError, MissingError):
            return False
        return True

    def _lost(self, tag: str, mine: Digest, meaning: Digest | None) -> ConflictError:
        name = f"{self.store.name}:{tag}"
        again = "run the same command again if yours is the one that should count"
        if meaning is None:
            return ConflictError(f"another writer revoked {name} at the same time: it is not signed", hint=again)
        return ConflictError(
            f"another writer signed {name} at the same time, and goes first: it is {meaning}, not {mine}", hint=again
        )
