"""The publisher, kept at work: what goes wrong with it never ends a run."""

from typing import Final

from edgecell import clock
from edgecell.condition import Trouble, Troubles
from edgecell.errors import PublishError
from edgecell.protocols import Publisher
from edgecell.runtime.backoff import Backoff
from edgecell.wire import Message, Preview, to_wire

TOLD_FOR_S: Final = 10.0
"""How long messages still say that the bus was lost, once it is open again. Listeners come back one by one, by
trying again: libzmq's own pause between two tries is 0.1 s, and a busy machine makes it longer."""


class Bus:
    """A publisher that was entered on this thread. After an error it is closed and opened again, with ever longer waits.

    sample_id: of the run, for what the publisher keeps off the bus.
    unsent: messages that were not sent. They are missed by their sequence, and the next one has all totals.
    """

    def __init__(self, publisher: Publisher, sample_id: str) -> None:
        self._publisher = publisher
        publisher.conceal(sample_id)
        self._backoff = Backoff()
        self._lost = self._back = ""
        self._back_ns = 0
        self.unsent = 0

    @property
    def troubles(self) -> Troubles:
        """They spoil no count. What went wrong is still said for `TOLD_FOR_S` after it: nobody heard the messages before."""
        if self._lost:
            return {"bus": Trouble(f"{self._lost}; tried again {self._backoff.words}", spoils=False)}
        if self._back and clock.monotonic_ns() - self._back_ns < TOLD_FOR_S * 1e9:
            return {"bus": Trouble(f"{self._back}; open again", spoils=False, degrades=False)}
        return {}

    def publish(self, message: Message) -> None:
        if self._lost:
            self.unsent += 1
            return
        try:
            self._publisher.publish(*to_wire(self._publisher.outgoing(message)))
            self._backoff.reset()
        except PublishError as error:
            self.unsent += 1
            self._lose(error)

    def show(self, preview: Preview) -> None:
        """A preview, if the bus is there: nobody misses one, so it counts for nothing."""
        if self._lost:
            return
        try:
            self._publisher.publish(*to_wire(preview))
        except PublishError as error:
            self._lose(error)

    def serve(self) -> None:
        """Answer listeners, or, while it is lost, open it again when it is time. Never waits for a listener."""
        try:
            if self._lost and self._backoff.wait_s == 0:
                self._publisher.__enter__()
                self._back, self._lost = self._lost, ""
                self._back_ns = clock.monotonic_ns()
            if not self._lost:
                self._publisher.serve(0)
        except PublishError as error:
            self._lose(error)

    def _lose(self, error: PublishError) -> None:
        self._publisher.__exit__(None, None, None)
        self._lost = error.what
        self._backoff.failed()
