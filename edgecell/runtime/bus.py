"""The publisher, kept at work: what goes wrong with it never ends a run."""

from edgecell.condition import Trouble, Troubles
from edgecell.errors import PublishError
from edgecell.protocols import Publisher
from edgecell.runtime.backoff import Backoff
from edgecell.wire import Message, to_wire


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
        self.unsent = 0

    @property
    def troubles(self) -> Troubles:
        """They spoil no count. What went wrong is still said by the first message that can be sent again: nobody heard those
        before it."""
        if self._lost:
            return {"bus": Trouble(f"{self._lost}; tried again {self._backoff.words}", spoils=False)}
        return {"bus": Trouble(f"{self._back}; open again", spoils=False)} if self._back else {}

    def publish(self, message: Message) -> None:
        if self._lost:
            self.unsent += 1
            return
        try:
            self._publisher.publish(*to_wire(self._publisher.outgoing(message)))
            self._backoff.reset()
            self._back = ""
        except PublishError as error:
            self.unsent += 1
            self._lose(error)

    def serve(self) -> None:
        """Answer listeners, or, while it is lost, open it again when it is time. Never waits for a listener."""
        try:
            if self._lost and self._backoff.wait_s == 0:
                self._publisher.__enter__()
                self._back, self._lost = self._lost, ""
            if not self._lost:
                self._publisher.serve(0)
        except PublishError as error:
            self._lose(error)

    def _lose(self, error: PublishError) -> None:
        self._publisher.__exit__(None, None, None)
        self._lost = error.what
        self._backoff.failed()
