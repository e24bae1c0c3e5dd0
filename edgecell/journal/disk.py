"""Room on the disk: a nearly full one is warned of, then no crops are stored, then no new run begins."""

import shutil
from pathlib import Path
from typing import Literal

from edgecell.errors import JournalError

MIB = 1 << 20
WARN_MIB, CROPS_MIB, RUN_MIB = 2048, 1024, 128
"""Free MiB below which each of them happens. A window of 500 cells takes 11 KB: 128 MiB last three hours of one a second."""

Room = Literal["enough", "little", "no_crops", "no_run"]


def room(folder: Path) -> tuple[Room, int]:
    """What may be written to the disk of an existing folder, and its free MiB."""
    try:
        free = shutil.disk_usage(folder).free // MIB
    except OSError as error:
        raise JournalError(f"cannot tell how full the disk of {folder} is: {error.strerror}", fix="check the disk") from None
    if free < RUN_MIB:
        return "no_run", free
    if free < CROPS_MIB:
        return "no_crops", free
    return ("little" if free < WARN_MIB else "enough"), free


def check_run(folder: Path) -> None:
    """Raises JournalError where a new run should not begin."""
    kind, free = room(folder)
    if kind == "no_run":
        fix = f"free space (erasing samples gives none back), or keep the journal elsewhere: --journal DIR; df -h {folder}"
        raise JournalError(f"the disk of the journal {folder} has {free} MiB left, and a run needs {RUN_MIB}", fix=fix)


def warning(folder: Path) -> str:
    """One line about a disk that is nearly full, "" while there is enough."""
    kind, free = room(folder)
    if kind == "enough":
        return ""
    return f"journal: {free} MiB left on its disk" + ("" if kind == "little" else ", so no crops are stored")
