"""Certificates for registries: certs.d folders, as docker and podman have them (containers-certs.d(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trust.errors import UsageError

if TYPE_CHECKING:
    import ssl

FOLDERS = ("~/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")


def files(registry: str, folders: tuple[str, ...]) -> list[Path]:
    """What the first folder ``FOLDER/HOST[:PORT]`` that exists holds.

    Raises:
        UsageError: it cannot be read.
    """
    for name in folders:
        folder = Path(name).expanduser() / registry
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    return []


def tls_context(registry: str, folders: tuple[str, ...], bundle: str) -> ssl.SSLContext:
    """The system's authorities (``SSL_CERT_FILE``), those of ``bundle``, and the registry's own.

    ``*.crt`` are authorities, ``*.cert`` with ``*.key`` who we are. ``REQUESTS_CA_BUNDLE`` replaces ``bundle``.

    Raises:
        UsageError: a file cannot be loaded.
    """
    import ssl

    context = ssl.create_default_context()
    path = Path(os.environ.get("REQUESTS_CA_BUNDLE") or bundle)
    try:
        context.load_verify_locations(path)
        for path in files(registry, folders):
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"{path} cannot be loaded: {error.strerror or error}") from error
    return context
