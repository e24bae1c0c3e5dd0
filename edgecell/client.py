"""Listen to the bus: a small subscriber that decodes messages, each once and in order, and fetches what it missed.

with Subscriber("tcp://127.0.0.1:5556") as bus:
    while message := bus.receive(timeout_s=10):
        print(message)

async with AsyncSubscriber("tcp://127.0.0.1:5556") as bus:
    async for message in bus:
        print(message)

A program that stops keeps `Position` of the last message it dealt with, and gives it as `after` when it starts again.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType

import zmq
import zmq.asyncio
from typing_extensions import Self

from edgecell import clock, wire
from edgecell.bus import curve
from edgecell.bus.endpoint import DEFAULT_ENDPOINT, EXAMPLES, connectable, seen_from
from edgecell.bus.follow import HEARTBEAT, Follower, Position
from edgecell.errors import PublishError, SettingsError
from edgecell.wire import Message, Preview

__all__ = ["DEFAULT_ENDPOINT", "AsyncPreviews", "AsyncSubscriber", "Position", "Subscriber"]

HIGH_WATER, PREVIEWS = 1000, 2
"""Messages, and previews, that wait here for `receive`; when it is full the sender drops new ones for this listener."""
MAX_ANSWER_BYTES = 2 * wire.MAX_BYTES
"""Longest answer that is read: a page has 256 KiB, or one message if that is longer."""
BEAT_MS, SILENCE_MS = 2_000, 10_000
"""How often a connection without traffic is tried, and after how much silence it is made anew: a cut cable says nothing."""

AGAIN_S = 15.0
"""Silence after which the connection is made anew. libzmq does that by itself when one breaks, but never after it was refused
(a key that is not allowed yet) or after rubbish on the line."""


class _Listener:
    """Sockets and what they bring; who derives from it waits in his own way.

    key, server_key: files with the own private key and the device's public one, for a bus that is encrypted. after: the last
    message that was dealt with before; without it the first message that comes is the beginning. replay: where the device is
    asked for what was missed, if not where it says (a tunnel).
    gaps: counts messages that were lost for good. What came before the first message is not lost but missed. replayed: those
    that were fetched. unreadable: messages that could not be decoded or do not add up; last_problem says why the latest.
    After a message of more than wire.MAX_BYTES, which no edgecell sends, the connection is over: what follows are time-outs.
    Raises SettingsError for a malformed endpoint, or keys that cannot be used.
    """

    _waiting = HIGH_WATER

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        topics: Iterable[str] = tuple(wire.TYPES),
        *,
        key: Path | None = None,
        server_key: Path | None = None,
        after: Position | None = None,
        replay: str = "",
    ) -> None:
        self.endpoint = connectable(endpoint)
        if (key is None) != (server_key is None):
            fix = "give both: the own .bus.key and the device's .bus.pub"
            raise SettingsError("an encrypted bus needs the own private key and the device's public key", fix=fix)
        self._curve = None if key is None or server_key is None else (curve.private_key(key), curve.public_key(server_key))
        self._follower = Follower(topics, after, connectable(replay) if replay else "")
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._bus: zmq.Socket[bytes] | None = None
        self._desk: zmq.Socket[bytes] | None = None
        self._desk_at = ""
        self._heard_ns = 0

    @property
    def topics(self) -> tuple[str, ...]:
        return self._follower.topics

    @property
    def _wanted(self) -> set[str]:
        """What the bus is asked for."""
        return {*self.topics, HEARTBEAT}  # a heartbeat says where to ask for what was missed

    @property
    def gaps(self) -> int:
        return self._follower.gaps

    @property
    def replayed(self) -> int:
        return self._follower.replayed

    @property
    def unreadable(self) -> int:
        return self._follower.unreadable

    @property
    def last_problem(self) -> str:
        return self._follower.last_problem

    @property
    def catching_up(self) -> bool:
        """Whether messages that were missed are being fetched."""
        return self._follower.catching_up

    def _open(self) -> None:
        self._context = zmq.Context()
        try:
            self._connect()
        except SettingsError:
            self._close()
            raise

    def _close(self) -> None:
        for each in (self._bus, self._desk):
            if each is not None:
                each.close(linger=0)
        if self._context is not None:
            self._context.term()
        self._bus = self._desk = self._context = None

    def _connect(self) -> None:
        if self._bus is not None:
            self._bus.close(linger=0)
        self._bus = self._connected(zmq.SUB, self.endpoint)
        self._heard_ns = clock.monotonic_ns()

    def _connected(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        """A socket that connects in the background: the publisher may start later. Raises SettingsError."""
        if self._context is None:
            raise PublishError(f"subscriber of {self.endpoint} is not open", fix="use it in a with block")
        made = self._context.socket(kind)
        try:
            self._set_up(made, kind)
            made.connect(endpoint)
        except zmq.ZMQError as error:
            made.close(linger=0)
            raise SettingsError(f"cannot connect to {endpoint}: {error.strerror}", fix=f"write e.g. {EXAMPLES}") from None
        return made

    def _set_up(self, made: "zmq.Socket[bytes]", kind: int) -> None:
        made.setsockopt(zmq.RCVHWM, self._waiting)
        made.setsockopt(zmq.MAXMSGSIZE, wire.MAX_BYTES if kind == zmq.SUB else MAX_ANSWER_BYTES)
        made.setsockopt(zmq.IPV6, int("[" in self.endpoint))
        made.setsockopt(zmq.HEARTBEAT_IVL, BEAT_MS)
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
        if self._curve is not None:
            secret, server = self._curve
            made.setsockopt(zmq.CURVE_SECRETKEY, secret)
            made.setsockopt(zmq.CURVE_PUBLICKEY, curve.public_of(secret))
            made.setsockopt(zmq.CURVE_SERVERKEY, server)
        if kind == zmq.SUB:
            for topic in self._wanted:
                made.setsockopt_string(zmq.SUBSCRIBE, topic)

    def _take(self) -> None:
        """What has come, until there is something to hand out."""
        if self._bus is None:
            raise PublishError(f"subscriber of {self.endpoint} is not open", fix="use it in a with block")
        for made, hear in ((self._desk, self._follower.answer), (self._bus, self._follower.live)):
            while made is not None and not self._follower.ready:
                try:
                    parts = made.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._heard_ns = clock.monotonic_ns()
                hear(parts[-1], self._heard_ns)
        if clock.monotonic_ns() - self._heard_ns > AGAIN_S * 1e9:
            self._connect()
        self._ask()

    def _ask(self) -> None:
        """Ask for what was missed, if it is time to; on a new connection where the last answer did not come."""
        request = self._follower.request(clock.monotonic_ns())
        if request is None:
            return
        at = self._follower.replay or ""
        if self._desk is not None and (self._follower.stale or at != self._desk_at):
            self._desk.close(linger=0)
            self._desk = None
        try:
            self._desk = self._desk or self._connected(zmq.DEALER, seen_from(self.endpoint, at))
            self._desk_at = at
            self._desk.send(request, zmq.NOBLOCK)
        except zmq.Again:
            pass  # asked again when the answer is overdue
        except SettingsError as error:
            self._follower.cannot_ask(str(error))

    def _sockets(self) -> "list[zmq.Socket[bytes]]":
        return [each for each in (self._bus, self._desk) if each is not None]

    def _next(self) -> Message | None:
        return self._follower.ready.popleft() if self._follower.ready else None

    def _left_ms(self, deadline_ns: int) -> int:
        """How long to wait at most; rounded up: never back before the time."""
        now = clock.monotonic_ns()
        left = -(min(0, now - deadline_ns) // 1_000_000)
        due = self._follower.wait_ms(now)
        return min(left, 1000 if due is None else max(1, due))  # the silence is looked at every second


class Subscriber(_Listener):
    """Messages of some topics, in order, each once. What it takes and counts: see `_Listener`."""

    def __enter__(self) -> Self:
        """Connect, in the background. Raises SettingsError for an endpoint libzmq refuses."""
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def receive(self, timeout_s: float) -> Message | None:
        """The next new message, or None when none came within timeout_s. None says nothing about cells.

        Raises PublishError when the subscriber is not open.
        """
        deadline_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            self._take()
            if (message := self._next()) is not None:
                return message
            left_ms = self._left_ms(deadline_ns)
            if not left_ms:
                return None
            zmq.select(self._sockets(), [], [], left_ms / 1e3)


class AsyncSubscriber(_Listener):
    """The same for asyncio."""

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def receive(self, timeout_s: float) -> Message | None:
        """See `Subscriber.receive`."""
        deadline_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            self._take()
            if (message := self._next()) is not None:
                return message
            left_ms = self._left_ms(deadline_ns)
            if not left_ms:
                return None
            poller = zmq.asyncio.Poller()
            for each in self._sockets():
                poller.register(each, zmq.POLLIN)
            await poller.poll(left_ms)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Messages without end."""
        while True:
            if (message := await self.receive(3600.0)) is not None:
                yield message


class AsyncPreviews(_Listener):
    """What the device sees, for asyncio: the newest preview, where it publishes any. unreadable: as in _Listener."""

    _waiting = PREVIEWS

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, *, key: Path | None = None, server_key: Path | None = None) -> None:
        super().__init__(endpoint, (), key=key, server_key=server_key)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def _wanted(self) -> set[str]:
        return {wire.PREVIEW}

    async def receive(self, timeout_s: float) -> Preview | None:
        """The newest one that came within timeout_s, or None."""
        deadline_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            if (preview := self._newest()) is not None:
                return preview
            if not (left_ms := self._left_ms(deadline_ns)):
                return None
            poller = zmq.asyncio.Poller()
            for each in self._sockets():
                poller.register(each, zmq.POLLIN)
            await poller.poll(left_ms)

    def _newest(self) -> Preview | None:
        """Of what has come."""
        if self._bus is None:
            raise PublishError(f"subscriber of {self.endpoint} is not open", fix="use it in a with block")
        newest = None
        while True:
            try:
                parts = self._bus.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._heard_ns = clock.monotonic_ns()
            try:
                newest = wire.preview_from_wire(parts[-1])
            except PublishError as error:
                self._follower.spoilt(str(error))
        if clock.monotonic_ns() - self._heard_ns > AGAIN_S * 1e9:
            self._connect()
        return newest

    async def __aiter__(self) -> AsyncIterator[Preview]:
        """Previews without end."""
        while True:
            if (preview := await self.receive(3600.0)) is not None:
                yield preview
