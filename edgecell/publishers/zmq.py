"""The bus: ZeroMQ publish-subscribe, two frames a message (topic, payload).

Never blocks and never waits for a listener. Each listener has its own queue of `high_water` messages; what a slow one has no
room for is dropped for that one alone, inside libzmq, and shows as a jump of `sequence` on its side: it may ask for what it
missed, at a socket of its own, if there is a record. The last message of every topic is kept and sent again when someone
subscribes, so that a late joiner does not look at an empty screen. XPUB has no way to answer one listener alone: the others get
that message twice and know it by its sequence.

On this machine (loopback TCP, or a local socket, ipc, which only its owner may open) it may be open; any other interface needs
keys: then it is encrypted, and only listeners whose key is in the folder `allow` hear a byte.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec
import zmq
from typing_extensions import Self

from edgecell import wire
from edgecell.bus.endpoint import DEFAULT_ENDPOINT, EXAMPLES, KEYS_FIX, beside, bind_error, bindable, check_ipc, file_of, local
from edgecell.bus.gatekeeper import Gatekeeper
from edgecell.bus.replay import ReplayDesk
from edgecell.errors import PublishError, SettingsError
from edgecell.protocols import Probe, Replayable
from edgecell.wire import CountsMessage, Message

MAX_REQUEST_BYTES = 1024
"""Longest subscription that a listener may send; the longest that makes sense is a topic, some ten characters."""

MAX_REQUESTS = 1000
"""Subscriptions that one `serve` takes in, so that a flood of them cannot keep the frame path waiting."""


BEAT_MS, SILENCE_MS = 2_000, 10_000
"""With previews: how often a listener that says nothing is asked whether it is there, and after how much silence it is left."""


class ZmqOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """endpoint: tcp://ADDRESS:PORT (* for any free port) or ipc://PATH. high_water: messages queued for each listener.

    linger_ms: milliseconds that closing waits for the last messages to leave. With 0 they are lost: of 200 sent right before
    closing, 3 to 200 arrived (measured); with 500 all.
    server_key: file with the device's private key, allow: folder with the public keys of those who may listen; with both the
    bus is encrypted, without it stays on this machine. replay: where missed messages are asked for, "" for the next port, or
    the path with `.replay`; it listens only where there is a record. sample_ids: messages name the sample. preview: what the
    camera sees is published too, on this machine only.
    """

    endpoint: str = DEFAULT_ENDPOINT
    high_water: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    linger_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 500
    server_key: Path | None = None
    allow: Path | None = None
    replay: str = ""
    sample_ids: bool = False
    preview: bool = False


class ZmqPublisher:
    """See `edgecell.protocols.Publisher`. endpoint, replay_endpoint: where it listens, after `__enter__` with the port that was
    chosen; replay_endpoint is "" where there is no record.

    unsent: messages that the socket would not take. Raises SettingsError for an endpoint that is malformed, or neither local
    nor encrypted.
    """

    Options = ZmqOptions

    def __init__(self, options: ZmqOptions | None = None) -> None:
        self._options = options or ZmqOptions()
        if (self._options.server_key is None) != (self._options.allow is None):
            lacks = "allow" if self._options.allow is None else "server_key"
            raise SettingsError(f"[publisher] {lacks} is missing: an encrypted bus needs both keys", fix=KEYS_FIX)
        encrypted = self._options.server_key is not None
        self.endpoint = bindable(self._options.endpoint, encrypted=encrypted)
        if self._options.preview and not local(self.endpoint):
            what = f"endpoint {self.endpoint!r} can be reached from outside this machine, and previews stay on it"
            raise SettingsError(what, fix=f"leave out preview = true and --preview, or stay on this machine: {EXAMPLES}")
        self._replay_at = bindable(self._options.replay, encrypted=encrypted) if self._options.replay else ""
        self.replay_endpoint = ""
        self.unsent = 0
        self._last: dict[bytes, bytes] = {}
        self._latest = ("", -1)
        self._files: dict[str, int | None] = {}
        self._sample = ""
        self._gatekeeper: Gatekeeper | None = None
        self._desk: ReplayDesk | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None

    @classmethod
    def probe(cls) -> Probe:
        """pyzmq is a base dependency: always there."""
        return Probe(usable=True, version=f"pyzmq {zmq.pyzmq_version()}, libzmq {zmq.zmq_version()}")

    @property
    def refused(self) -> int:
        """Connections that showed no allowed key, and requests that were no replay request or came too fast."""
        return sum(each.refused for each in (self._gatekeeper, self._desk) if each is not None)

    def replay_from(self, record: Replayable) -> None:
        """Answer listeners that missed something, once it is entered. Raises SettingsError where there is no next port."""
        self._replay_at = self._replay_at or beside(self.endpoint)
        self._desk = ReplayDesk(record, self._named)

    def conceal(self, sample_id: str) -> None:
        """What no reason of a heartbeat names. It is not in a heartbeat itself, and the first ones come before any counts."""
        self._sample = sample_id

    def __enter__(self) -> Self:
        """Listen. Raises PublishError for an endpoint that is taken or cannot be made, SettingsError for keys of no use."""
        check_ipc(self.endpoint)
        if self._desk is not None:
            check_ipc(self._replay_at, "replay")
        if self._gatekeeper is None and self._options.server_key is not None and self._options.allow is not None:
            self._gatekeeper = Gatekeeper(self._options.server_key, self._options.allow)
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; waits at most linger_ms for the last messages to leave."""
        self._close(self._options.linger_ms)

    def outgoing(self, message: Message) -> Message:
        """The message as it goes on the bus: without the sample's id unless that is allowed; a heartbeat with where replays are
        asked for and the latest counts, so that who lost those finds out."""
        if isinstance(message, CountsMessage):
            self._latest = message.run_id, message.sequence
            return self._named(message)
        run_id, sequence = self._latest
        known = {"counts_sequence": sequence} if run_id == message.run_id else {}
        told = {
            "replay": self.replay_endpoint,
            "unsent": message.unsent + self.unsent,
            "reason": self._unnamed(message.reason, self._sample),
        }
        return msgspec.structs.replace(message, **told, **known)

    def _named(self, message: Message) -> Message:
        """Counts with the sample's id if that is allowed, else without it."""
        if self._options.sample_ids or not isinstance(message, CountsMessage):
            return message
        sample = message.sample_id  # of a message that was missed it may be that of an earlier run
        return msgspec.structs.replace(
            message,
            sample_id="",
            invalid_reason=self._unnamed(message.invalid_reason, sample),
            remarks=tuple(self._unnamed(remark, sample) for remark in message.remarks),
        )

    def _unnamed(self, text: str, sample: str) -> str:
        """A text without the sample's id: files are often named after it."""
        if self._options.sample_ids or not sample:
            return text
        return re.sub(rf"(?<![^\W_]){re.escape(sample)}(?![^\W_])", "(sample)", text)

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand a message to every listener's queue. Never blocks.

        Raises PublishError when the publisher is not open, or for a payload over wire.MAX_BYTES: libzmq would end the
        connection of every listener with that limit, and never make it again.
        """
        if len(payload) > wire.MAX_BYTES:
            raise PublishError(
                f"message {topic} of {len(payload)} bytes, more than {wire.MAX_BYTES}", fix="send less in one message"
            )
        self._last[topic.encode()] = payload
        self._send(topic.encode(), payload)

    def serve(self, timeout_s: float) -> None:
        """Wait at most timeout_s for somebody to ask something: to be let in, to subscribe, to be given what was missed.

        Raises PublishError when the endpoint is lost: a local socket whose file somebody removed, or while a revoked listener
        is cut off.
        """
        bus = self._open()
        self._check_files()
        if self._gatekeeper is not None and self._gatekeeper.cut():
            self._begin_again()
            bus = self._open()
        sockets = [each.socket for each in (self._gatekeeper, self._desk) if each is not None and each.socket is not None]
        ready, _, _ = zmq.select([bus, *sockets], [], [], max(0.0, timeout_s))
        if self._gatekeeper is not None:
            self._gatekeeper.answer()
        if bus in ready:
            self._subscribe(bus)
        if self._desk is not None:
            self._desk.answer()

    def _check_files(self) -> None:
        """libzmq goes on as if nothing had happened, but nobody can connect any more."""
        for endpoint, file in self._files.items():
            if file_of(endpoint) != file:
                what = f"nobody can connect to {endpoint} any more: its socket was removed, or replaced by another"
                raise PublishError(what, fix="leave it alone while edgecell runs; it is made again")

    def _subscribe(self, bus: "zmq.Socket[bytes]") -> None:
        """Send the last message of what was asked for, once however many asked."""
        wanted = set()
        for _ in range(MAX_REQUESTS):
            try:
                request = bus.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if request[:1] == b"\x01":  # 1: subscribe, 0: unsubscribe; what follows is the start of a topic
                wanted.add(request[1:])
        for topic, payload in self._last.items():
            if any(topic.startswith(start) for start in wanted):
                self._send(topic, payload)

    def _begin_again(self) -> None:
        """Nobody can be put out alone: all connections end, and who may still listen is back in a moment and asks for what it
        missed. What waits for a listener is not sent any more."""
        self._close(0)
        self._listen()

    def _listen(self) -> None:
        self._context = zmq.Context()
        try:
            if self._gatekeeper is not None:
                self._gatekeeper.open(self._context)
            self._socket = self._context.socket(zmq.XPUB)
            self._set_up(self._socket)
            self.endpoint = _bound(self._socket, self.endpoint)
            if self._desk is not None:
                self.replay_endpoint = self._replay_at = self._desk.open(self._context, self._replay_at, self._gatekeeper)
        except PublishError:
            self._close(0)
            raise
        self._files = {each: file_of(each) for each in (self.endpoint, self.replay_endpoint)}

    def _close(self, linger_ms: int) -> None:
        if self._socket is not None:
            self._socket.close(linger=linger_ms)
        for each in (self._desk, self._gatekeeper):
            if each is not None:
                each.close()
        if self._context is not None:
            self._context.term()
        self._socket = self._context = None

    def _open(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            raise PublishError(f"publisher on {self.endpoint} is not open", fix="use it in a with block")
        return self._socket

    def _send(self, topic: bytes, payload: bytes) -> None:
        try:
            self._open().send_multipart([topic, payload], zmq.NOBLOCK)
        except zmq.Again:
            self.unsent += 1
        except zmq.ZMQError as error:
            raise PublishError(f"the bus on {self.endpoint} is lost: {error.strerror}") from None

    def _set_up(self, bus: "zmq.Socket[bytes]") -> None:
        bus.setsockopt(zmq.XPUB_VERBOSE, 1)  # without it a second listener of the same topic is not announced
        bus.setsockopt(zmq.SNDHWM, self._options.high_water)
        bus.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        bus.setsockopt(zmq.IPV6, int("[" in self.endpoint))
        if self._options.preview:  # they are large: what waits for a listener that hangs must not grow for long
            bus.setsockopt(zmq.HEARTBEAT_IVL, BEAT_MS)
            bus.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
        if self._gatekeeper is not None:
            self._gatekeeper.guard(bus)


def _bound(bus: "zmq.Socket[bytes]", endpoint: str) -> str:
    """Listen there. Returns the endpoint with the port that was chosen. Raises PublishError."""
    try:
        bus.bind(endpoint)
    except zmq.ZMQError as error:
        raise bind_error(endpoint, error) from None
    return bus.getsockopt_string(zmq.LAST_ENDPOINT)
