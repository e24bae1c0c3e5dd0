"""Small files that somebody else wrote: none of them is a reason to run out of memory."""

import errno
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
