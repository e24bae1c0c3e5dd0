"""Files of the kernel, which may be missing, busy or asleep at any time."""

from pathlib import Path


def text_of(path: Path) -> str:
    """Content of a file of the system, without the NUL that ends device-tree strings; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def number_of(path: Path, base: int = 10) -> int | None:
    """The whole number that a file holds, or None."""
    try:
        return int(text_of(path), base)
    except ValueError:
        return None
