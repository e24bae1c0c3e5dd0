"""An engine that failed is opened again, a few times."""

import logging
from collections.abc import Callable

from edgecell.condition import Trouble, Troubles
from edgecell.errors import InferenceError

LOG = logging.getLogger(__name__)
MOST = 3
"""Openings in a row that did not help. An engine that needs more is broken, and another one is never put in its place: its
answers would not be those of the run so far."""


class Mending:
    """One stage's engines, on its thread. reopen: closes and opens them, golden cells included."""

    def __init__(self, stage: str, reopen: Callable[[], None]) -> None:
        self._stage, self._reopen = stage, reopen
        self._openings = 0
        self._what = ""

    @property
    def troubles(self) -> Troubles:
        """From a failure until the next success. Read by another thread."""
        if not self._what:
            return {}
        return {
            f"{self._stage} engine": Trouble(
                f"{self._stage}: {self._what}; the engine was opened again, {self._openings} of {MOST} times"
            )
        }

    def failed(self, error: InferenceError) -> None:
        """After a frame failed. Raises the error after MOST openings in vain, and what opening raises."""
        self._what = error.what
        if self._openings == MOST:
            raise error
        self._openings += 1
        LOG.error("%s: the engine failed and is opened again, %d of %d times: %s", self._stage, self._openings, MOST, error)
        self._reopen()

    def worked(self) -> None:
        self._openings, self._what = 0, ""
