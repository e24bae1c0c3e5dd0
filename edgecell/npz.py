"""Arrays in a .npz file that somebody else wrote."""

import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import BundleCorrupt

MOST_BYTES = 256 << 20
"""Unpacked. The largest that ships has 2.4 MB."""
_UNREADABLE = (
    *(
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SyntaxError,
        MemoryError,
        OverflowError,
    ),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError, UserWarning),
)
"""What numpy, zipfile and the decompressors raise for files that were damaged (found by trying)."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays by name. Raises BundleCorrupt."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > MOST_BYTES:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than {MOST_BYTES}")
        with path.open("rb") as stream, warnings.catch_warnings(), np.load(stream, allow_pickle=False) as stored:
            warnings.simplefilter("error", UserWarning)  # a header as Python 2 wrote it, or a damaged one
            return {name: np.asarray(stored[name]) for name in stored.files}
    except _UNREADABLE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise BundleCorrupt(f"{path} cannot be used: {what}", fix="copy the bundle again") from None
