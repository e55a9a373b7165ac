"""What a release would run, as the command line names it: images, files, lists; for gate and policy init."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli import options
from trust.errors import UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cli.desk import Desk
    from trust.gate.found import Found, Scan
    from trust.oci.source import StoreName
    from trust.oci.store import Store

STDIN: Literal["-"] = "-"
References = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REF..]", help="Images: registry/name:tag or oci:FOLDER:TAG; - reads a list on stdin."),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "-f",
        "--file",
        metavar="FILE",
        help="Dockerfile, compose, Kubernetes or CI file, OCI layout, save file, or a folder of them; - is stdin.",
    ),
]
ImagesFrom = Annotated[
    list[Path] | None,
    typer.Option("--images-from", metavar="FILE", help="A list of images, one a line, or JSON; - is stdin."),
]
BuildArgs = Annotated[
    list[str] | None, typer.Option("--build-arg", metavar="KEY=VALUE", help="An ARG of the Dockerfiles.")
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="KEY=VALUE", help="A variable of compose and CI files; goes before the environment."),
]
Profiles = Annotated[
    list[str] | None, typer.Option("--profile", metavar="NAME", help="An active compose profile; * is all.")
]
CrdPaths = Annotated[
    list[str] | None,
    typer.Option("--crd-path", metavar="[KIND:]PATH", help="Where custom resources keep images, as spec.image."),
]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="A file without an image is no mistake.")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Pass over these in folders.")]
Stores = Annotated[
    list[str] | None,
    typer.Option(
        "--store", metavar="NAME=oci:FOLDER", help="Read this repository from a folder that it was copied to."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Make no request: folders alone are read.")]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", min=0.1, max=86_400, metavar="SECONDS", help="For all registries; the rest is unreachable."
    ),
]
DEFAULT_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments that name images, as typer gives them."""

    references: list[str] | None = None
    files: list[Path] | None = None
    images_from: list[Path] | None = None
    build_args: list[str] | None = None
    variables: list[str] | None = None
    profiles: list[str] | None = None
    crd_paths: list[str] | None = None
    allow_empty: bool = False
    exclude: list[str] | None = None

    def scan(self, environment: Mapping[str, str]) -> Scan:
        """Everything that they name.

        Raises:
            UsageError: they name nothing, or standard input twice.
        """
        from trust.gate.found import Scan
        from trust.gate.scan import ScanOptions, scan
        from trust.gate.scan.files import MAX_FILE_BYTES

        given = [*(self.files or ()), *(self.images_from or ())]
        paths: list[Path | Literal["-"]] = [STDIN if str(path) == STDIN else path for path in given]
        paths += [STDIN for text in self.references or () if text == STDIN]
        if not paths and not self.references:
            raise UsageError("nothing to judge: name images, or files with -f", hint="dockseal gate -f . app:v1")
        if paths.count(STDIN) > 1:
            raise UsageError("standard input can be read once: expected one -")
        found = scan(
            paths,
            options=ScanOptions(
                build_args=options.pairs(self.build_args, "--build-arg"),
                env={**environment, **options.pairs(self.variables, "--env")},
                profiles=tuple(self.profiles or ()),
                crd_paths=tuple(self.crd_paths or ()),
                allow_empty=self.allow_empty,
                exclude=tuple(self.exclude or ()),
            ),
            stdin=sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if STDIN in paths else None,
        )
        return Scan((*self._named(), *found.found), found.problems, found.left_out)

    def _named(self) -> tuple[Found, ...]:
        from trust.gate.found import Found, Place

        return tuple(Found(text, Place("")) for text in self.references or () if text != STDIN)


def opener(desk: Desk, stores: list[str] | None, *, offline: bool, as_name: str | None) -> Callable[[StoreName], Store]:
    """Opens the store that a name means; threads may call it.

    Raises:
        UsageError: a ``--store`` is malformed.
    """
    from trust.oci.layout import Layout
    from trust.oci.reference import Repository
    from trust.oci.source import StoreName

    folders: dict[str, Path] = {}
    for name, text in options.pairs(stores, "--store").items():
        folder = StoreName.parse(text)
        if folder.folder is None or folder.tag is not None or folder.digest is not None:
            raise UsageError(f"--store {name}={text}: expected NAME=oci:FOLDER")
        folders[str(Repository.parse(name))] = folder.folder.absolute()
    lock = threading.Lock()

    def open_store(asked: StoreName) -> Store:
        if asked.repository is None:
            return desk.store(asked, as_name)
        name = str(asked.repository)
        if name in folders:
            return Layout(folders[name], repository=name)
        if offline:
            raise UnreachableError(
                f"{name} is in a registry, and --offline makes no request",
                hint=f"--store {name}=oci:FOLDER names the folder that it was copied to",
            )
        with lock:
            return desk.store(asked)

    return open_store
