"""Whether memory is short."""

from pathlib import Path

from edgecell import clock
from edgecell.condition import Trouble, Troubles

LEAST_FREE_MIB = 64
"""Below this the kernel is about to end a process, and which one is not ours to say."""
LOOK_S = 0.5


class Memory:
    """Looks at most every LOOK_S. limit_mib: most that this process may hold, None for no limit of its own.

    proc: the kernel's process files; where they are not there or do not tell, nothing is known and memory is not short.
    """

    def __init__(self, limit_mib: int | None, proc: Path = Path("/proc")) -> None:
        self._limit_mib, self._proc = limit_mib, proc
        self._due_ns = 0
        self._short = ""

    @property
    def short(self) -> bool:
        now = clock.monotonic_ns()
        if now >= self._due_ns:
            self._due_ns = now + round(LOOK_S * 1e9)
            self._short = self._looked()
        return bool(self._short)

    @property
    def troubles(self) -> Troubles:
        return {"memory": Trouble(self._short)} if self._short else {}

    def _looked(self) -> str:
        held = None if self._limit_mib is None else _mib(self._proc / "self" / "status", "VmRSS:")
        if held is not None and held > (self._limit_mib or 0):
            return f"memory is short: {held:.0f} MiB held, more than the {self._limit_mib} of memory_mib"
        free = _mib(self._proc / "meminfo", "MemAvailable:")
        return f"memory is short: {free:.0f} MiB left on this machine" if free is not None and free < LEAST_FREE_MIB else ""


def _mib(file: Path, name: str) -> float | None:
    try:
        return int(file.read_text(encoding="ascii").partition(name)[2].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        return None
