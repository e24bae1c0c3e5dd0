"""Listen to the bus: a small subscriber that decodes messages, drops repeats and notices what was lost.

with Subscriber("tcp://127.0.0.1:5556") as bus:
    while message := bus.receive(timeout_s=10):
        print(message)
"""

from collections.abc import Iterable
from types import TracebackType

import zmq
from typing_extensions import Self

from edgecell import clock, wire
from edgecell.errors import PublishError, SettingsError
from edgecell.publishers.zmq import DEFAULT_ENDPOINT, EXAMPLES, split_tcp
from edgecell.wire import Message

HIGH_WATER = 1000
"""Messages that wait here for `receive`; when it is full the sender drops new ones for this listener."""


class Subscriber:
    """Messages of some topics, in order, each once.

    gaps: messages that were lost, by the jumps of `sequence`. What came before the first message is not lost but missed.
    unreadable: messages that could not be decoded; last_problem says why the latest one could not. After a message of more than
    wire.MAX_BYTES, which no edgecell sends, the connection is over: what follows are time-outs.
    Raises SettingsError for a malformed endpoint.
    """

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, topics: Iterable[str] = tuple(wire.TYPES)) -> None:
        self.endpoint = connectable(endpoint)
        self.topics = tuple(topics)
        self.gaps = 0
        self.unreadable = 0
        self.last_problem = ""
        self._seen: dict[tuple[str, str], tuple[str, int]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None

    def __enter__(self) -> Self:
        """Connect, in the background: the publisher may start later. Raises SettingsError for an endpoint libzmq refuses."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        try:
            self._set_up(self._socket)
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.__exit__(None, None, None)
            raise SettingsError(f"cannot connect to {self.endpoint}: {error.strerror}", fix=f"write e.g. {EXAMPLES}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._socket and self._context:
            self._socket.close(linger=0)
            self._context.term()
        self._socket = self._context = None

    def receive(self, timeout_s: float) -> Message | None:
        """The next new message, or None when none came within timeout_s. None says nothing about cells.

        Raises PublishError when the subscriber is not open.
        """
        if self._socket is None:
            raise PublishError(f"subscriber of {self.endpoint} is not open", fix="use it in a with block")
        deadline_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            left_ms = -(min(0, clock.monotonic_ns() - deadline_ns) // 1_000_000)  # rounded up: never back before the time
            if not self._socket.poll(left_ms):
                return None
            message = self._decode(self._socket.recv_multipart())
            if message is not None and self._is_new(message):
                return message
            if not left_ms:  # repeats must not keep the caller longer than it asked for
                return None

    def _decode(self, parts: list[bytes]) -> Message | None:
        try:
            return wire.from_wire(parts[-1])
        except PublishError as error:
            self.unreadable += 1
            self.last_problem = str(error)
            return None

    def _is_new(self, message: Message) -> bool:
        """Whether it is no repeat; counts what was lost before it."""
        key = wire.topic_of(message), message.device_id
        run_id, last = self._seen.get(key, ("", -1))
        if message.run_id == run_id and message.sequence <= last:
            return False
        if message.run_id == run_id:
            self.gaps += message.sequence - last - 1
        self._seen[key] = message.run_id, message.sequence
        return True

    def _set_up(self, bus: "zmq.Socket[bytes]") -> None:
        bus.setsockopt(zmq.RCVHWM, HIGH_WATER)
        bus.setsockopt(zmq.MAXMSGSIZE, wire.MAX_BYTES)
        bus.setsockopt(zmq.IPV6, int("[" in self.endpoint))
        for topic in self.topics:
            bus.setsockopt_string(zmq.SUBSCRIBE, topic)


def connectable(endpoint: str) -> str:
    """The endpoint if one can connect to it: tcp://HOST:PORT or ipc://PATH, without wildcards. Raises SettingsError."""
    if endpoint.startswith("ipc://") and endpoint not in ("ipc://", "ipc://*"):
        return endpoint
    host, port = split_tcp(endpoint)
    if "*" in (host, port):
        raise SettingsError(f"endpoint {endpoint!r} has a wildcard", fix=f"name host and port, e.g. {DEFAULT_ENDPOINT}")
    return endpoint
