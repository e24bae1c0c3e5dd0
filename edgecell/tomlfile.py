"""A TOML file that a person wrote, read into a typed struct: every error names file, field and fix."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from edgecell.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20
"""Largest file that is read. The longest sensible one has some ten kilobytes."""

MAX_DOTS = 100
"""In a line. A key of n parts costs the reader of TOML memory by the square of n: one of 50,000 takes 10 GB."""

DecHook = Callable[[type[Any], Any], Any] | None
Struct = TypeVar("Struct", bound=msgspec.Struct)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a file. what: how an error calls it, such as `settings`. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        fix = "give the path of a TOML file that exists and may be read"
        raise SettingsError(f"{what} file {path} cannot be read: {error.strerror}", fix=fix) from None
    if len(raw) > MAX_BYTES:
        raise SettingsError(
            f"{what} file {path} is larger than {MAX_BYTES} bytes", fix="give a file that a person can read"
        ) from None
    for number, line in enumerate(raw.split(b"\n"), 1):
        if line.count(b".") > MAX_DOTS:
            raise SettingsError(f"{path}: more than {MAX_DOTS} dots in line {number}", fix="correct that line")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text at byte {error.start}", fix="save the file as UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, and Python's own for a number of more than 4300 digits
        raise SettingsError(
            f"{path}: not valid TOML: {error}", fix='correct that line; text needs quotes: key = "text"'
        ) from None
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply", fix="write plain tables and values") from None


def converted(
    table: Mapping[str, Any], struct: type[Struct], *, where: str, strict: bool = True, dec_hook: DecHook = None
) -> Struct:
    """`table` as `struct`. where: what an error calls the table. Raises SettingsError."""
    try:
        return msgspec.convert(table, struct, strict=strict, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        keys = [key for key in re.split(r"[.\[\]]+", place.rstrip("`").replace("[...]", "")) if key]
        raise _settings_error(text, keys, struct, where) from None


def written(value: Any) -> str:
    """A text, number or list as TOML has it: as JSON does, but for the character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _settings_error(text: str, keys: list[str], struct: type[Any], where: str) -> SettingsError:
    """msgspec's sentence about the value at `keys`, with the field's name and what to write instead."""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    missing = re.fullmatch(r"Object missing required field `(.*)`", text)
    if unknown:
        name, known = unknown[1], sorted(_fields(struct, keys))
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return SettingsError(
            f"{where}: unknown key {'.'.join([*keys, name])}", fix=f"{hint}known keys: {', '.join(known) or 'none'}"
        )
    if missing:
        name = ".".join([*keys, missing[1]])
        return SettingsError(f"{where}: {name} is missing", fix=f"add {name} = ...")
    field = _fields(struct, keys[:-1]).get(keys[-1]) if keys else None
    example = (
        f", e.g. {keys[-1]} = {json.dumps(field.default)}" if field and isinstance(field.default, str | int | float) else ""
    )
    return SettingsError(f"{where}: {'.'.join(keys)}: {text[0].lower()}{text[1:]}", fix=f"correct that value{example}")


def _fields(struct: type[Any], keys: list[str]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of the struct found by following `keys` from `struct`; empty where that is no struct."""
    for key in keys:
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}.get(key)
        inner = [each for each in (kind, *get_args(kind)) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
        if not inner:
            return {}
        struct = inner[0]
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}
