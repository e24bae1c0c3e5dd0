"""Small files that somebody else wrote: none of them is a reason to run out of memory. And our own ones: there whole or not at
all, also after a power cut."""

import errno
import os
from pathlib import Path

MOST_BYTES = 4 << 20
"""Of a manifest, a certificate or a signature. The longest that ship have 12 kB."""


def read_limited(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a file. Raises OSError, also for a file of more than `most` bytes."""
    with path.open("rb") as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return raw


def partial(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f"{path.name}.part")


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` at once, on the disk before it gets its name: a reader meets the old file or the new. Raises OSError."""
    with partial(path).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial(path).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
