"""The only place that reads a clock.

Order and durations come from the monotonic clock; the wall clock is for people, since an offline box boots with a wrong one.
"""

import ctypes
import time
from datetime import datetime, timezone
from pathlib import Path

_SYNCED = Path("/run/systemd/timesync/synchronized")
_TIMEX_BYTES = 512
"""More than `struct timex` has (208). All zero: nothing is to be set."""
_TIME_ERROR = 5
"""What adjtimex returns while the clock is not synchronized; less where it is, -1 where it may not be asked."""


def monotonic_ns() -> int:
    """Nanoseconds on the monotonic clock (origin undefined)."""
    return time.monotonic_ns()


def utc_now() -> str:
    """Wall clock as ISO 8601 UTC with milliseconds, e.g. `2026-01-31T12:00:00.000Z`."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_ns() -> int:
    """Wall clock as nanoseconds since 1970 in UTC."""
    return time.time_ns()


def sleep(seconds: float) -> None:
    """Wait `seconds` (pacing of simulated cameras)."""
    if seconds > 0:
        time.sleep(seconds)


def synced() -> bool:
    """Whether the system says that its clock follows a time server: by the marker file of systemd-timesyncd, or by the kernel,
    which chrony, ntpd and others tell. A container sees the kernel's word only."""
    return _SYNCED.exists() or kernel_synced()


def kernel_synced() -> bool:
    """What adjtimex(2) says when it is asked and told nothing. False also where it must not be asked."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return adjtimex is not None and 0 <= adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) < _TIME_ERROR
