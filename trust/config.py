"""``config.toml``: pins, registries and defaults.

::

    [[pin]]
    repository = "ghcr.io/acme/*"
    root = "sha256:…"                 # or: root_keys = ["…"], threshold = 1
    # signed_as, min_root, min_version

    [registry."registry.lan:5000"]
    insecure = true                   # plain HTTP
    immutable_tags = true             # tags cannot move, _trust neither

    [defaults]
    compression = "gzip:1"
    max_concurrent_uploads = 5

What is not known is refused: a mistyped name would be a pin that nobody checks.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trust.digest import Digest
from trust.errors import UsageError
from trust.files import locked, write_atomically
from trust.pins import Pin

if TYPE_CHECKING:
    from pathlib import Path

_PIN_NAMES = {"repository", "root", "root_keys", "threshold", "signed_as", "min_root", "min_version"}
_REGISTRY_NAMES = {"insecure", "immutable_tags"}
_DEFAULT_NAMES = {"compression", "max_concurrent_uploads"}
_KEY_ID_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Config:
    """What config.toml says; the defaults where it says nothing or is not there."""

    pins: tuple[Pin, ...] = ()
    insecure: frozenset[str] = frozenset()
    immutable_tags: frozenset[str] = frozenset()
    compression: str = "gzip"
    max_concurrent_uploads: int = 5


def load(path: Path) -> Config:
    """Read the file.

    Raises:
        UsageError: it is no TOML, or a name or value in it is not known.
    """
    try:
        body = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    _refuse_unknown(body, {"pin", "registry", "defaults"}, path, "at the top")
    defaults = _table(body.get("defaults", {}), path, "[defaults]")
    _refuse_unknown(defaults, _DEFAULT_NAMES, path, "in [defaults]")
    pins = body.get("pin", [])
    if not isinstance(pins, list):
        raise UsageError(f"{path}: pin is no list: write [[pin]]")
    return Config(
        pins=tuple(_pin(item, path, f"[[pin]] number {number}") for number, item in enumerate(pins, start=1)),
        insecure=_registries(body, "insecure", path),
        immutable_tags=_registries(body, "immutable_tags", path),
        compression=_text(defaults.get("compression", "gzip"), path, "compression"),
        max_concurrent_uploads=_number(defaults.get("max_concurrent_uploads", 5), path, "max_concurrent_uploads"),
    )


def add_pin(path: Path, pin: Pin) -> None:
    """Add a pin, or replace the one of the same repository; comments and the rest stay as they are.

    Raises:
        UsageError: the file is damaged.
        DocksealError: it cannot be written.
    """
    import tomlkit
    import tomlkit.items

    with locked(path.with_name(".config.lock")):
        load(path)
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else "")
        pins = document.get("pin")
        if not isinstance(pins, tomlkit.items.AoT):  # none yet, or a list in one line, which takes no tables
            given = document.pop("pin").unwrap() if pins is not None else []
            pins = tomlkit.aot()
            for item in given:
                pins.append(tomlkit.item(item))
            document["pin"] = pins
        for index in reversed(range(len(pins))):
            if pins[index].get("repository") == pin.repository:
                del pins[index]
        pins.append(tomlkit.item(_pin_table(pin)))
        write_atomically(path, tomlkit.dumps(document).encode())


def pin_lines(pin: Pin) -> str:
    """The pin as it is given to others, for their config.toml."""
    import tomlkit

    return "[[pin]]\n" + tomlkit.dumps(_pin_table(pin)).strip()


def _pin_table(pin: Pin) -> dict[str, object]:
    table: dict[str, object] = {
        "repository": pin.repository,
        "signed_as": pin.signed_as,
        "root": None if pin.root is None else str(pin.root),
        "root_keys": list(pin.root_keys) or None,
        "threshold": pin.threshold or None,
        "min_root": pin.min_root or None,
        "min_version": pin.min_version or None,
    }
    return {name: value for name, value in table.items() if value is not None}


def _pin(item: object, path: Path, where: str) -> Pin:
    table = _table(item, path, where)
    _refuse_unknown(table, _PIN_NAMES, path, f"in {where}")
    if "repository" not in table:
        raise UsageError(f"{path}: {where} names no repository")
    keys = table.get("root_keys", [])
    if not isinstance(keys, list) or not all(_is_key_id(key) for key in keys):
        raise UsageError(f"{path}: {where}: root_keys is no list of key ids (64 hex digits each)")
    if ("root" in table) == bool(keys):
        raise UsageError(f"{path}: {where} needs exactly one of root and root_keys")
    if "threshold" in table and not keys:
        raise UsageError(f"{path}: {where}: threshold belongs to root_keys")
    threshold = _number(table.get("threshold", len(keys)), path, "threshold") if keys else 0
    if threshold > len(set(keys)):
        raise UsageError(f"{path}: {where}: a threshold of {threshold} cannot be met by {len(set(keys))} keys")
    repository = _text(table["repository"], path, "repository")
    if "signed_as" in table and "*" in repository:
        raise UsageError(
            f"{path}: {where}: signed_as belongs to one copy, and {repository} is a pattern: any of its repositories "
            "could be put in the place of any other"
        )
    return Pin(
        repository=repository,
        root=Digest(_text(table["root"], path, "root")) if "root" in table else None,
        root_keys=tuple(keys),
        threshold=threshold,
        signed_as=_text(table["signed_as"], path, "signed_as") if "signed_as" in table else None,
        min_root=_number(table["min_root"], path, "min_root") if "min_root" in table else 0,
        min_version=_number(table["min_version"], path, "min_version") if "min_version" in table else 0,
    )


def _registries(body: dict[str, object], setting: str, path: Path) -> frozenset[str]:
    """The registries for which a setting is true."""
    found = set()
    for host, item in _table(body.get("registry", {}), path, "[registry]").items():
        table = _table(item, path, f'[registry."{host}"]')
        _refuse_unknown(table, _REGISTRY_NAMES, path, f'in [registry."{host}"]')
        if not isinstance(table.get(setting, False), bool):
            raise UsageError(f'{path}: [registry."{host}"]: {setting} is neither true nor false')
        if table.get(setting):
            found.add(host)
    return frozenset(found)


def _refuse_unknown(table: dict[str, object], known: set[str], path: Path, where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise UsageError(f"{path}: unknown name {unknown[0]!r} {where}: expected one of {', '.join(sorted(known))}")


def _table(value: object, path: Path, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {where} is no table")
    return value


def _text(value: object, path: Path, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{path}: {name} is no text: got {value!r}")
    return value


def _number(value: object, path: Path, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{path}: {name} is no positive number: got {value!r}")
    return value


def _is_key_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == _KEY_ID_DIGITS and set(value) <= set("0123456789abcdef")
