"""Keys of the bus: Curve25519 pairs, one for the device and one for each listener (CurveZMQ, https://rfc.zeromq.org/spec/26).

A file holds one key in Z85, 40 characters and a line feed, so that a program in any language can read it: NAME.bus.key,
private, mode 0600; NAME.bus.pub, which the other side gets. The device's folder of allowed listeners holds their .bus.pub
files. Whoever is revoked has a NAME.bus.revoked there instead: it allows nothing and shows who it was.
"""

import hashlib
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils import z85

from edgecell.errors import SettingsError
from edgecell.keyfile import check_name, read_private, read_public, write_pair

PRIVATE, PUBLIC, REVOKED = ".bus.key", ".bus.pub", ".bus.revoked"
LENGTH = 40
"""Characters of a key in Z85: 32 bytes."""
MAX_LISTENERS = 1000
"""Keys that a folder may hold: more of them are somebody's mistake, and all are looked at when one joins."""


def new_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a pair in `folder`: the private file, mode 0600, and the public one. Raises SettingsError, also rather than write
    over a key."""
    check_name(name)
    public, secret = zmq.curve_keypair()
    paths = folder / f"{name}{PRIVATE}", folder / f"{name}{PUBLIC}"
    write_pair(paths[0], secret + b"\n", paths[1], public + b"\n")
    return paths


def private_key(path: Path) -> bytes:
    """The private key in Z85. Raises SettingsError for a file that others can read, or that
    holds none."""
    fix = f"give the file that ends with {PRIVATE}; make one: edgecell keys new NAME --kind bus"
    _check_half(path, PUBLIC, fix)
    return _key(read_private(path, fix=fix), path, fix)


def public_key(path: Path) -> bytes:
    """A public key in Z85. Raises SettingsError."""
    fix = f"give the file that ends with {PUBLIC}"
    _check_half(path, PRIVATE, fix)
    return _key(read_public(path, fix=fix), path, fix)


def public_of(private: bytes) -> bytes:
    """The public half of a private key, both in Z85."""
    public: bytes = zmq.curve_public(private)
    return public


def fingerprint(public: bytes) -> str:
    """What a public key is called where people compare: the first 16 hex digits of the sha256 of its 32 bytes."""
    return hashlib.sha256(z85.decode(public)).hexdigest()[:16]


def check_folder(folder: Path) -> None:
    """Raises SettingsError for a folder of allowed listeners that is not there, or that others may put a key into."""
    if not folder.is_dir():
        fix = f"mkdir -m 700 {folder}, and copy into it the {PUBLIC} file of each listener"
        raise SettingsError(f"{folder}, who may listen, is no folder", fix=fix)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        raise SettingsError(f"folder {folder} can be written by others (mode {mode:04o})", fix=f"chmod 700 {folder}")


def listeners(folder: Path) -> Iterator[Path]:
    """The files of the listeners that are allowed, by name. Raises SettingsError for more than MAX_LISTENERS."""
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(PUBLIC))
    if len(paths) > MAX_LISTENERS:
        raise SettingsError(f"{folder} holds {len(paths)} keys, more than {MAX_LISTENERS}", fix="remove those not in use")
    yield from paths


def listener_key(path: Path) -> bytes:
    """The key of an allowed listener in Z85. Raises SettingsError, also for a file that others may write."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
    if mode & 0o022:
        raise SettingsError(f"public key {path} can be written by others (mode {mode:04o})", fix=f"chmod 644 {path}")
    return public_key(path)


def revoke(name: str, folder: Path) -> Path:
    """From now on `name` may not listen. Returns the file that remembers it. Raises SettingsError for one that is not there."""
    path, revoked = folder / f"{check_name(name)}{PUBLIC}", folder / f"{name}{REVOKED}"
    try:
        path.replace(revoked)
    except FileNotFoundError:
        known = ", ".join(each.name.removesuffix(PUBLIC) for each in listeners(folder)) if folder.is_dir() else ""
        what = f"{name} is revoked already" if revoked.exists() else f"{folder} holds no {name}{PUBLIC}"
        raise SettingsError(what, fix=f"allowed in {folder}: {known or 'nobody'}") from None
    except OSError as error:
        raise SettingsError(f"cannot revoke {path}: {error.strerror}", fix="run it as the owner of the folder") from None
    return revoked


def _check_half(path: Path, other: str, fix: str) -> None:
    """The two halves look alike; only the names of their files tell them apart."""
    if path.name.endswith(other):
        raise SettingsError(f"{path} is the other half of that pair of keys", fix=fix)


def _key(content: bytes, path: Path, fix: str) -> bytes:
    key = content.strip()
    try:
        if len(key) == LENGTH and len(z85.decode(key)) == 32:
            return key
    except (KeyError, ValueError, struct.error):
        pass
    raise SettingsError(f"{path} holds no key of the bus", fix=fix) from None
