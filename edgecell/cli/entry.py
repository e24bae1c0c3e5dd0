"""What `edgecell doctor` tells of one thing, and how files of the system are read."""

from pathlib import Path

import msgspec

GIB = 2**30


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked for; has and lacks are "" where there is nothing to say.

    has: what is there. lacks: what is missing and how to get it. needed: edgecell cannot do its work without it.
    """

    subject: str
    has: str = ""
    lacks: str = ""
    needed: bool = False


def read(path: Path) -> str:
    """Text of a file of the system, without the NUL that ends device-tree strings; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
