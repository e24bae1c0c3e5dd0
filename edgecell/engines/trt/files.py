"""Files that are there whole or not at all, also after a power cut."""

import os
from pathlib import Path


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
