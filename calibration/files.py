"""Files that are whole or not there: what a kill or a power cut in the middle of writing must not spoil."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file's content in one go: whoever opens it finds the old content or the new."""
    half = path.with_name(path.name + ".half")
    with half.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
