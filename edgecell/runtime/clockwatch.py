"""Notices that somebody set the device's clock."""

import logging

from edgecell import clock

LOG = logging.getLogger(__name__)
STEP_S = 1.0
"""A clock that is disciplined is slewed by milliseconds; what jumps by more was set."""


class ClockWatch:
    """Compares the wall clock with the monotonic one, which alone times the run: a step changes what messages say of the time
    of day and nothing else. A machine that slept looks the same, since the monotonic clock sleeps too."""

    def __init__(self) -> None:
        self._offset_ns = _offset_ns()

    def stepped(self) -> str:
        """What to say of a step since the last call, "" without one."""
        offset_ns = _offset_ns()
        step_s = (offset_ns - self._offset_ns) / 1e9
        self._offset_ns = offset_ns
        if abs(step_s) < STEP_S:
            return ""
        text = f"the device's clock was set by {step_s:+.0f} s"
        LOG.warning("%s", text)
        return text


def _offset_ns() -> int:
    return clock.utc_ns() - clock.monotonic_ns()
