"""A file that a command writes: whole or not at all, for its owner alone, and never in place of the journal's own."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgecell.errors import JournalError
from edgecell.journal.journal import owns


@contextmanager
def whole(out: Path, folder: Path, option: str) -> Iterator[IO[bytes]]:
    """A file beside `out` that takes its place in the end; without an end nothing is left of it. folder: the journal's.

    option: what `out` was given with, for errors. Raises JournalError.
    """
    target = out.resolve()
    if owns(folder, target):
        raise JournalError(f"{out} is one of the journal's own files", fix=f"give another {option}")
    if target.exists() and not target.is_file():  # a device or a pipe, whose place no file may take
        raise JournalError(f"{out} is no plain file", fix=f"give another {option}")
    try:
        descriptor, name = tempfile.mkstemp(prefix=".export-", dir=target.parent)  # mode 0600
    except OSError as error:
        raise _unwritable(out, option, error) from None
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            try:
                file.flush()
                os.fsync(descriptor)
                beside.replace(target)
            except OSError as error:
                raise _unwritable(out, option, error) from None
    finally:
        beside.unlink(missing_ok=True)


def _unwritable(out: Path, option: str, error: OSError) -> JournalError:
    return JournalError(f"cannot write {out}: {error.strerror}", fix=f"free space, or give another {option}")
