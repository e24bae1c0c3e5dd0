"""Resolves a part by its name in a folder's TABLE. A TABLE maps names to `module:Class`; the module loads only when used."""

import importlib
from collections.abc import Mapping
from typing import Any

from edgecell.errors import SettingsError


def load(role: str, table: Mapping[str, str], name: str) -> type[Any]:
    """The class of part `name`. Raises SettingsError that lists the known names."""
    if name not in table:
        known = ", ".join(sorted(table))
        raise SettingsError(f"unknown {role} {name!r}", fix=f"use one of: {known}")
    module, _, attribute = table[name].partition(":")
    part: type[Any] = getattr(importlib.import_module(module), attribute)
    return part
