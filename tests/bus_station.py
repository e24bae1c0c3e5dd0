"""A device that publishes on a thread of its own, as fast or as long as a test wants, and records what it publishes."""

import threading
import time
from typing import Any

from bus_messages import counts_message, heartbeat
from bus_record import MemoryRecord

from edgecell.publishers.zmq import ZmqPublisher
from edgecell.wire import CountsMessage, to_wire


def message(number: int, run_id: str) -> CountsMessage:
    """Totals that tell their number, and add up."""
    plain = counts_message(number, run_id=run_id)
    cumulative = {**plain.cumulative, "red_blood_cell": 2210 + number}
    return counts_message(number, run_id=run_id, cumulative=cumulative, cells_total=plain.cells_total + number)


class Station:
    """Publishes messages of a run, numbered from 0, one every `pause_s`, until `last` is reached; then only heartbeats.

    slowest_s: the longest that one turn of publishing and serving took. Use it in a with block.
    """

    def __init__(
        self, *, run_id: str = "run-a", pause_s: float = 0.005, record: MemoryRecord | None = None, **options: Any
    ) -> None:
        self.run_id, self.pause_s, self.last = run_id, pause_s, 10**9
        self.record = MemoryRecord() if record is None else record
        self.sent = -1
        self.slowest_s = 0.0
        self.publisher = ZmqPublisher(ZmqPublisher.Options(**{"endpoint": "tcp://127.0.0.1:*", **options}))
        self.publisher.replay_from(self.record)
        self._open, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> "Station":
        self._thread.start()
        assert self._open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def endpoint(self) -> str:
        return self.publisher.endpoint

    def until(self, number: int) -> None:
        """Wait until this message has been sent."""
        deadline = time.monotonic() + 30
        while self.sent < number:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def stop(self) -> int:
        """Send no more counts after the next one, and say which that is."""
        self.last = self.sent + 1
        return self.last

    def _live(self) -> None:
        beats = 0
        with self.publisher:
            self._open.set()
            while not self._over.is_set():
                start = time.monotonic()
                if self.sent < self.last:
                    made = message(self.sent + 1, self.run_id)
                    self.record.add(made)
                    self.publisher.publish(*to_wire(self.publisher.outgoing(made)))
                    self.sent += 1
                if beats % 10 == 0 or self.sent >= self.last:
                    self.publisher.publish(*to_wire(self.publisher.outgoing(heartbeat(beats, run_id=self.run_id))))
                beats += 1
                self.publisher.serve(0)
                self.slowest_s = max(self.slowest_s, time.monotonic() - start)
                self.publisher.serve(self.pause_s)
