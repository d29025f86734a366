"""Plug-ins: a literal table of lazy imports first, then entry points of third parties.

Example:
    >>> stores = {"file": "agent.trust.keys:FileKey"}
    >>> store = load_plugin(stores, "file", "vigil.key_stores")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


def load_plugin(table: Mapping[str, str], name: str, group: str) -> Any:
    """Return the object that `table`, or an entry point of `group`, has under `name`.

    Args:
        table: Name to `module:attribute`; wins over entry points of the same name.
        name: What the caller asked for.
        group: Entry-point group in which third parties register theirs.

    Raises:
        ConfigError: Unknown name (`plugin.unknown`, naming the known ones) or one whose module cannot be
            imported here (`plugin.unavailable`).
    """
    if name in table:
        return _load(table[name], name, group)
    # Only then: it stays in memory with 3 MiB, and reads a file of every distribution.
    from importlib.metadata import entry_points

    others = {point.name: point.value for point in entry_points(group=group)}
    if name not in others:
        known = ", ".join(sorted({*table, *others})) or "none"
        message = f"{group}: expected one of {known}, found {name!r}"
        raise ConfigError(message, code="plugin.unknown", hint=f"choose one of: {known}")
    return _load(others[name], name, group)


def _load(place: str, name: str, group: str) -> Any:
    module_name, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        message = f"{group}: {name!r} ({place}) cannot be loaded: {error}"
        hint = "install the package it needs"
        raise ConfigError(message, code="plugin.unavailable", hint=hint) from error
