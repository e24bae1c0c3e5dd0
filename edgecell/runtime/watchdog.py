"""Finds the stage that hangs.

A stage hangs when one piece of work (a read, a frame, a batch) takes longer than `[run] hang_s`. Waiting at a mailbox is no
work: who waits for a hanging neighbour is not the one that hangs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgecell import clock
from edgecell.condition import Trouble, Troubles


class Pulse:
    """What a thread is at, and since when. Written by that thread, read by the watchdog; replaced as a whole, so that it is
    never read half written."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._at: tuple[str, int] | None = None

    @contextmanager
    def at(self, work: str) -> Iterator[None]:
        """While a piece of work is done."""
        self._at = work, clock.monotonic_ns()
        try:
            yield
        finally:
            self._at = None

    def hanging(self, limit_s: float) -> Trouble | None:
        """What to say when the work at hand takes longer than limit_s."""
        at = self._at
        if at is None:
            return None
        work, since_ns = at
        busy_s = (clock.monotonic_ns() - since_ns) / 1e9
        return Trouble(f"{self.stage} hangs: {busy_s:.0f} s at {work}") if busy_s > limit_s else None


class Watchdog:
    """Looks at all stages from the thread that runs the loop."""

    def __init__(self, pulses: Sequence[Pulse], limit_s: float) -> None:
        self._pulses, self._limit_s = pulses, limit_s

    def troubles(self) -> Troubles:
        """By stage; none while all live."""
        found = {f"{pulse.stage} hangs": pulse.hanging(self._limit_s) for pulse in self._pulses}
        return {topic: trouble for topic, trouble in found.items() if trouble is not None}
