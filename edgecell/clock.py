"""The only place that reads a clock.

Order and durations come from the monotonic clock; the wall clock is for people, since an offline box boots with a wrong one.
"""

import time
from datetime import datetime, timezone
from pathlib import Path

_SYNCED = Path("/run/systemd/timesync/synchronized")


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
    """Whether the system says that its clock follows a time server (systemd-timesyncd's marker file)."""
    return _SYNCED.exists()
