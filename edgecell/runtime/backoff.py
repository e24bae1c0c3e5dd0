"""How long to wait before something that failed is tried again."""

from edgecell import clock

FIRST_S, LONGEST_S = 0.5, 30.0
"""A cable that is plugged in again is noticed within half a minute, however long it was out."""


class Backoff:
    """Waits of FIRST_S, twice that, ... LONGEST_S, from one failure to the next. Without jitter: one device tries one part, so
    there is no crowd to spread."""

    def __init__(self) -> None:
        self.failures = 0
        self._due_ns = 0

    @property
    def wait_s(self) -> float:
        """Seconds until the next try, 0 when it is due."""
        return max(0.0, (self._due_ns - clock.monotonic_ns()) / 1e9)

    @property
    def words(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures} times"
        return f"in {self.wait_s:.1f} s, failed {times}"

    def failed(self) -> None:
        self.failures += 1
        pause_s = min(LONGEST_S, FIRST_S * 2 ** min(self.failures - 1, 16))
        self._due_ns = clock.monotonic_ns() + round(pause_s * 1e9)

    def reset(self) -> None:
        self.failures = self._due_ns = 0
