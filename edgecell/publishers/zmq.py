"""The bus: ZeroMQ publish-subscribe, two frames a message (topic, payload).

Never blocks and never waits for a listener. Each listener has its own queue of `high_water` messages; what a slow one has no
room for is dropped for that one alone, inside libzmq, and shows as a jump of `sequence` on its side. The last message of every
topic is kept and sent again when someone subscribes, so that a late joiner does not look at an empty screen. XPUB has no way to
answer one listener alone: the others get that message twice and know it by its sequence.

Until the bus is encrypted it stays on this machine: loopback TCP, or a local socket (ipc), which only its owner may open.
"""

import errno
import ipaddress
import socket
from pathlib import Path
from types import TracebackType
from typing import Annotated

import msgspec
import zmq
from typing_extensions import Self

from edgecell import wire
from edgecell.errors import PublishError, SettingsError
from edgecell.protocols import Probe

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5556"
EXAMPLES = f"{DEFAULT_ENDPOINT} or ipc:///tmp/edgecell.sock"

MAX_REQUEST_BYTES = 1024
"""Longest subscription that a listener may send; the longest that makes sense is a topic, some ten characters."""

MAX_REQUESTS = 1000
"""Subscriptions that one `serve` takes in, so that a flood of them cannot keep the frame path waiting."""


class ZmqOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """endpoint: tcp://127.0.0.1:PORT (* for any free port) or ipc://PATH. high_water: messages queued for each listener.

    linger_ms: milliseconds that closing waits for the last messages to leave. With 0 they are lost: of 200 sent right before
    closing, 3 to 200 arrived (measured); with 500 all.
    """

    endpoint: str = DEFAULT_ENDPOINT
    high_water: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    linger_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 500


class ZmqPublisher:
    """See `edgecell.protocols.Publisher`. endpoint: where it listens, after `__enter__` with the port that was chosen.

    unsent: messages that the socket would not take. Raises SettingsError for an endpoint that is malformed or not local.
    """

    Options = ZmqOptions

    def __init__(self, options: ZmqOptions | None = None) -> None:
        self._options = options or ZmqOptions()
        self.endpoint = bindable(self._options.endpoint)
        self.unsent = 0
        self._last: dict[bytes, bytes] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None

    @classmethod
    def probe(cls) -> Probe:
        """pyzmq is a base dependency: always there."""
        return Probe(usable=True, version=f"pyzmq {zmq.pyzmq_version()}, libzmq {zmq.zmq_version()}")

    def __enter__(self) -> Self:
        """Listen. Raises PublishError when the endpoint is taken or cannot be made."""
        if self.endpoint.startswith("ipc://"):
            _check_ipc(self.endpoint)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        try:
            self._set_up(self._socket)
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self.__exit__(None, None, None)
            raise _bind_error(self.endpoint, error) from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; waits at most linger_ms for the last messages to leave."""
        if self._socket and self._context:
            self._socket.close(linger=self._options.linger_ms)
            self._context.term()
        self._socket = self._context = None

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
        """Wait at most timeout_s for subscriptions; send the last message of what was asked for, once however many asked."""
        bus = self._open()
        if not bus.poll(max(0, round(timeout_s * 1000))):
            return
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

    def _open(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            raise PublishError(f"publisher on {self.endpoint} is not open", fix="use it in a with block")
        return self._socket

    def _send(self, topic: bytes, payload: bytes) -> None:
        try:
            self._open().send_multipart([topic, payload], zmq.NOBLOCK)
        except zmq.Again:
            self.unsent += 1

    def _set_up(self, bus: "zmq.Socket[bytes]") -> None:
        bus.setsockopt(zmq.XPUB_VERBOSE, 1)  # without it a second listener of the same topic is not announced
        bus.setsockopt(zmq.SNDHWM, self._options.high_water)
        bus.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        bus.setsockopt(zmq.IPV6, int("[" in self.endpoint))


def bindable(endpoint: str) -> str:
    """The endpoint as libzmq wants it. Raises SettingsError unless it is well formed and on this machine only."""
    if endpoint.startswith("ipc://") and endpoint != "ipc://":
        return endpoint
    host, port = split_tcp(endpoint)
    host = "127.0.0.1" if host == "localhost" else host  # libzmq binds to addresses, not to names
    try:
        local = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        local = False
    if not local:
        what = f"endpoint {endpoint!r} can be reached from outside this machine, and the bus is not encrypted yet"
        raise SettingsError(what, fix=f"use {EXAMPLES}, and a tunnel (ssh -L) to read it from elsewhere")
    return f"tcp://{host}:{port}"


def split_tcp(endpoint: str) -> tuple[str, str]:
    """Host and port of tcp://HOST:PORT, where PORT is 1 to 65535 or *. Raises SettingsError."""
    transport, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if transport != "tcp" or not host or any(each.isspace() for each in host) or not (port == "*" or 1 <= number <= 65535):
        raise SettingsError(f"endpoint {endpoint!r} is not tcp://HOST:PORT or ipc://PATH", fix=f"write e.g. {EXAMPLES}")
    return host, port


def _check_ipc(endpoint: str) -> None:
    """libzmq deletes whatever lies at the path before it binds: a file, or the socket of a publisher that is running."""
    name = endpoint.removeprefix("ipc://")
    if name == "*" or name.startswith("@"):  # libzmq chooses a path, or there is none (abstract socket)
        return
    path = Path(name)
    if not path.parent.is_dir():
        raise PublishError(f"cannot listen on {endpoint}: no folder {path.parent}", fix=f"mkdir -p {path.parent}")
    if path.exists() and not path.is_socket():
        raise PublishError(f"cannot listen on {endpoint}: {path} is there and is no socket", fix="choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return  # nobody listens: not there, or left behind
    raise _in_use(endpoint)


def _in_use(endpoint: str) -> PublishError:
    find = f"ss -ltnp 'sport = :{endpoint.rpartition(':')[2]}'" if endpoint.startswith("tcp") else "ss -lxp"
    fix = f"choose another endpoint (tcp://127.0.0.1:* takes any free port), or find who has it: {find}"
    return PublishError(f"cannot listen on {endpoint}: it is in use", fix=fix)


def _bind_error(endpoint: str, error: zmq.ZMQError) -> PublishError:
    if error.errno == errno.EADDRINUSE:
        return _in_use(endpoint)
    return PublishError(f"cannot listen on {endpoint}: {error.strerror}", fix=f"use another endpoint, e.g. {EXAMPLES}")
