"""Files that hold keys: written for their owner from the first byte on, and not taken when others could have read them."""

import os
import re
import stat
from pathlib import Path

from edgecell.errors import SettingsError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a key may be called: a plain file name."""

MAX_BYTES = 64 << 10
"""Longest file that is read as a key. The longest of ours has 120 bytes."""

OWNER_ONLY, PUBLIC = 0o600, 0o644


def check_name(name: str) -> str:
    """The name. Raises SettingsError for one that is no plain file name."""
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name for a key", fix="use letters, digits and _.- in it, 64 at most")
    return name


def write_pair(private: Path, secret: bytes, public: Path, shared: bytes) -> None:
    """Write both halves of a new key. Never over a file, and at no moment is the private one readable for others.

    A folder that is missing is made for the owner alone (mode 0700). Raises SettingsError.
    """
    for path in (private, public):
        if path.exists():
            raise SettingsError(f"{path} is there already", fix="give another NAME or --out; remove a key by hand if you must")
    _write_new(private, secret, OWNER_ONLY)
    _write_new(public, shared, PUBLIC)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}", fix="give another --out") from None


def read_private(path: Path, *, fix: str) -> bytes:
    """A private key that nobody but its owner may read. fix: how one gets such a file. Raises SettingsError."""
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"cannot read private key {path}: {error.strerror}", fix=fix) from None
    if mode & 0o077:
        raise SettingsError(f"private key {path} is open to others (mode {mode:04o})", fix=f"chmod 600 {path}")
    return content


def read_public(path: Path, *, fix: str) -> bytes:
    """The content of a file with a public key. Raises SettingsError."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except OSError as error:
        raise SettingsError(f"cannot read public key {path}: {error.strerror}", fix=fix) from None
