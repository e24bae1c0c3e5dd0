"""How the device is: looked at on a thread of its own, since a sensor may take its time, or never answer."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from typing_extensions import Self

from edgecell import clock
from edgecell.wire import Device

LOG = logging.getLogger(__name__)
LOOK_S: Final = 5.0
"""Between two looks."""
OLD_S: Final = 30.0
"""A look older than this says nothing any more: the next one hangs."""
LEAVE_S: Final = 0.1
"""Longest that the thread is waited for. It holds nothing that must be closed, and is a daemon."""


class Vitals:
    """look: what to ask, None for a run without. Entered on the thread that runs the loop."""

    def __init__(self, look: Callable[[], Device] | None) -> None:
        self._look = look
        self._over = threading.Event()
        self._latest: tuple[Device, int] | None = None

    def __enter__(self) -> Self:
        if self._look is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._look,), name="edgecell-vitals", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._over.set()
        if self._look is not None:
            self._thread.join(LEAVE_S)

    @property
    def latest(self) -> Device | None:
        """What the latest look saw; None before the first one, and when it is too old."""
        latest = self._latest
        if latest is None or clock.monotonic_ns() - latest[1] > OLD_S * 1e9:
            return None
        return latest[0]

    def _watch(self, look: Callable[[], Device]) -> None:
        """A sensor that is unplugged during a look costs that look only."""
        before: tuple[str, ...] = ()
        while not self._over.is_set():
            try:
                seen = look()
            except OSError as error:
                LOG.debug("the device could not be looked at: %s", error)
            else:
                self._latest = seen, clock.monotonic_ns()
                _tell(before, seen.throttled or ())
                before = seen.throttled or ()
            self._over.wait(LOOK_S)


def _tell(before: tuple[str, ...], now: tuple[str, ...]) -> None:
    """What changed goes to the log."""
    if now and now != before:
        LOG.warning("the device is slowed down: %s", ", ".join(now))
    elif before and not now:
        LOG.info("the device is slowed down no more")
