"""The desk where a listener asks for the messages that it missed, and nothing else: no request changes anything on the device.

A request is one frame of JSON (`wire.Replay`), its answer another (`wire.Replayed`) with a page of messages, oldest first, as
they were on the bus. A page is bounded in bytes, messages and time, and so is one visit to the desk, for frames are waiting.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec
import zmq

from edgecell import clock, wire
from edgecell.bus.endpoint import bind_error
from edgecell.bus.gatekeeper import Gatekeeper
from edgecell.errors import JournalError
from edgecell.protocols import Replayable
from edgecell.wire import Message, Replay, Replayed

MAX_REQUEST_BYTES = 1024
"""Longest request: a topic, a run id and two numbers have some 150 bytes."""
PAGE_BYTES = 256 << 10
"""A page is closed when it holds so much."""
CHUNK = 32
"""Messages that are read from the record at a time."""
PAGE_S = 0.004
"""A page is closed, and the desk left, after so much time: a tenth of a frame's at 25 a second."""
REFUSALS = 100
"""Requests that one visit refuses; refusing costs microseconds."""
RATE, BURST = 100.0, 200.0
"""Requests a second for each listener in the long run, and at once."""
LISTENERS = 256
"""Listeners whose rate is remembered."""
PENDING = 4
"""Pages that wait for one listener; the next is not sent, and it asks again."""


class ReplayDesk:
    """Answers from a record. Used by one thread. dress: what of a message may be on the bus.

    served: pages given. refused: requests that were none, came too fast, or whose answer found no room.
    """

    def __init__(self, record: Replayable, dress: Callable[[Message], Message]) -> None:
        self._record, self._dress = record, dress
        self._rates: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self.served = self.refused = 0
        self.socket: zmq.Socket[bytes] | None = None

    def open(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, gatekeeper: Gatekeeper | None) -> str:
        """Where it listens, with the port that was chosen. Raises PublishError."""
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an answer without room is an error, not lost in silence
        self.socket.setsockopt(zmq.SNDHWM, PENDING)
        self.socket.setsockopt(zmq.RCVHWM, PENDING)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self.socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        if gatekeeper is not None:
            gatekeeper.guard(self.socket)
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise bind_error(endpoint, error, "replay") from None
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close(linger=0)
        self.socket = None

    def answer(self) -> None:
        """Answer who has asked, for PAGE_S and a page's time at most. Never blocks."""
        start = clock.monotonic_ns()
        for _ in range(REFUSALS):
            if self.socket is None or clock.monotonic_ns() - start > PAGE_S * 1e9:
                return
            try:
                *envelope, request = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            who = _who(envelope[0], request)
            self._send([frame.bytes for frame in envelope], self._judge(who, request.bytes))

    def _judge(self, who: bytes, request: bytes) -> Replayed:
        asked = read(request)
        if asked is None:
            self.refused += 1
            return Replayed(id=0, error="not a replay request; this socket answers nothing else")
        wait_s = self._wait_s(who)
        if wait_s > 0:
            self.refused += 1
            return Replayed(id=asked.id, error="asked too often", retry_s=wait_s)
        try:
            return self._page(asked)
        except JournalError as error:
            self.refused += 1
            return Replayed(id=asked.id, error=f"the journal cannot be read: {error.what}", retry_s=1.0)

    def _page(self, asked: Replay) -> Replayed:
        """At least one message if there is one; more while there is room and time."""
        start, after, size, more = clock.monotonic_ns(), asked.after, 0, True
        payloads: list[msgspec.Raw] = []
        while more:
            more = False
            for number, message in enumerate(self._record.messages(asked.run_id, asked.topic, after, CHUNK), 1):
                payload = wire.to_wire(self._dress(message))[1]
                late = clock.monotonic_ns() - start > PAGE_S * 1e9
                if payloads and (late or size + len(payload) > PAGE_BYTES):
                    more = False
                    break
                payloads.append(msgspec.Raw(payload))
                size, after, more = size + len(payload), message.sequence, number == CHUNK
        self.served += 1
        following = "" if payloads else self._record.next_run(asked.run_id) or ""
        return Replayed(id=asked.id, messages=tuple(payloads), next_run=following)

    def _wait_s(self, who: bytes) -> float:
        """Seconds until this listener may ask, 0 for now (a token bucket each)."""
        now = clock.monotonic_ns()
        tokens, at = self._rates.pop(who, (BURST, now))
        tokens = min(BURST, tokens + (now - at) / 1e9 * RATE)
        allowed = tokens >= 1
        self._rates[who] = tokens - allowed, now
        if len(self._rates) > LISTENERS:
            self._rates.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / RATE

    def _send(self, envelope: list[bytes], answer: Replayed) -> None:
        try:
            if self.socket is not None:
                self.socket.send_multipart([*envelope, msgspec.json.encode(answer)], zmq.NOBLOCK)
        except zmq.ZMQError:  # no room, or the listener has gone
            self.refused += 1


def read(request: bytes) -> Replay | None:
    """The request in a frame, None if it is none."""
    try:
        return msgspec.json.decode(request, type=Replay)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _who(identity: zmq.Frame, request: zmq.Frame) -> bytes:
    """Whose rate counts: the name that the key was allowed under, else the connection."""
    try:
        return str(request.get("User-Id")).encode()
    except zmq.ZMQError:
        return identity.bytes
