"""Several people at one keyboard: each has a home of their own, and one signed folder in the middle."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cli.conftest import NAME

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Signed
    from tests.cli.program import Dockseal, Result

AS = ("--as", NAME)


@dataclass(slots=True)
class Homes:
    """``signed.home`` is ann's, with every key of the folder; others have the pin and the image, and no key."""

    signed: Signed
    folder: Path
    dockseal: Dockseal
    patch: pytest.MonkeyPatch

    @property
    def repo(self) -> str:
        return self.signed.name

    def at(self, name: str) -> Path:
        """Go to somebody's home."""
        home = self.signed.home if name == "ann" else self.folder / name
        if not home.exists():
            home.mkdir(mode=0o700)
            shutil.copy2(self.signed.home / "config.toml", home)
            shutil.copytree(self.signed.home / "images", home / "images")
        self.patch.setenv("DOCKSEAL_HOME", str(home))
        return home

    def key(self, owner: str, label: str | None = None, *options: str) -> Path:
        """Make a key in somebody's home; the file with its public half."""
        self.at(owner)
        label = label or owner
        self.dockseal("key", "generate", label, *options)
        public = self.folder / f"{label}.pub"
        public.write_text(self.dockseal("key", "export", "--public", label).out)
        return public

    def run(self, *arguments: str | Path, code: int = 0) -> Result:
        """A command on the folder, by its name."""
        return self.dockseal(*arguments, *AS, code=code)

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        return self.dockseal(*arguments, *AS, "-o", "json", code=code).json

    def push(self, tag: str, *options: str, code: int = 0) -> Result:
        self.dockseal("tag", f"{NAME}:v1", f"{NAME}:{tag}")
        return self.run("push", f"{self.repo}:{tag}", *options, code=code)

    def trusts(self, tag: str, *, code: int = 0) -> Result:
        """Verify a tag; it is trusted, or ends in this code."""
        return self.run("verify", f"{self.repo}:{tag}", code=code)
