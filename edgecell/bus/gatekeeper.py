"""Who may listen: encryption (CURVE), and an allow-list that is asked for every connection (ZAP, rfc.zeromq.org/spec/27).

libzmq asks over a socket inside the process and lets nobody in before it is answered. The answers are given by the publisher's
own thread when it serves. libzmq asks once, when a connection is made: whoever is revoked later would stay until he leaves. So
the folder is looked at twice a second, and `cut` says when somebody is inside who may no longer be.
"""

import logging
from pathlib import Path

import zmq
from zmq.utils import z85

from edgecell import clock
from edgecell.bus import curve
from edgecell.errors import SettingsError

LOG = logging.getLogger(__name__)

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"edgecell"
LOOK_S = 0.5
"""Seconds between two looks at the folder: how long a revoked listener may go on at most, besides the time of one frame."""
HANDSHAKE_MS = 10_000
"""Time in which a connection must have shown its key. The publisher answers between two frames."""
TELL_S = 10.0
"""Seconds between two lines in the log about refused connections, which anybody can cause."""
QUESTIONS = 100
"""Connections that one call answers."""

State = tuple[tuple[str, int, int, int], ...]


class Gatekeeper:
    """Guards the sockets of one publisher. Used by one thread. refused: connections turned away.

    server_key: file with the device's private key. allow: folder with the public keys of those who may listen. Raises
    SettingsError for files that are not there, hold no key, or are open to others.
    """

    def __init__(self, server_key: Path, allow: Path) -> None:
        self._secret = curve.private_key(server_key)
        self._allow = allow
        self.refused = 0
        curve.check_folder(allow)
        for path in curve.listeners(allow):
            curve.listener_key(path)
        self._state: State | None = None
        self._allowed: dict[bytes, str] = {}
        self._inside: set[bytes] = set()
        self._looked_ns = 0
        self._told_ns: int | None = None
        self.socket: zmq.Socket[bytes] | None = None

    def open(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Ready for questions, before any guarded socket listens."""
        self._inside.clear()
        self._look()
        self.socket = context.socket(zmq.REP)
        self.socket.bind(ZAP)
        own = curve.fingerprint(curve.public_of(self._secret))
        LOG.info("the bus is encrypted with key %s; listeners allowed: %d", own, len(self._allowed))

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close(linger=0)
        self.socket = None

    def guard(self, bus: "zmq.Socket[bytes]") -> None:
        """Whoever connects to this socket must show an allowed key. Before it listens."""
        bus.setsockopt(zmq.CURVE_SERVER, 1)
        bus.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        bus.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        bus.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without it nobody who answers would mean that all are let in
        bus.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)

    def answer(self) -> None:
        """Let in or turn away who waits. Never blocks."""
        if self.socket is None:
            return
        for _ in range(QUESTIONS):
            try:
                question = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._judge(question))

    def cut(self) -> bool:
        """Whether somebody is inside who may no longer be. Looks at the folder twice a second."""
        now = clock.monotonic_ns()
        if now - self._looked_ns < LOOK_S * 1e9:
            return False
        self._look()
        return not self._inside <= self._allowed.keys()

    def _judge(self, question: list[bytes]) -> list[bytes]:
        """The answer to a question: version, request id, domain, address, identity, mechanism, credentials."""
        version, number, domain, address, _, mechanism, *credentials = [*question, *[b""] * (6 - len(question))]
        if version != b"1.0" or domain != DOMAIN or mechanism != b"CURVE" or len(credentials) != 1:
            return [b"1.0", number, b"400", b"not a question of this bus", b"", b""]
        self._look()
        name = self._allowed.get(credentials[0])
        if name is None:
            self._refuse(credentials[0], address)
            return [b"1.0", number, b"400", b"key not allowed", b"", b""]
        self._inside.add(credentials[0])
        LOG.info("%s listens from %s", name, address.decode(errors="replace"))
        return [b"1.0", number, b"200", b"", name.encode(), b""]

    def _refuse(self, key: bytes, address: bytes) -> None:
        self.refused += 1
        now = clock.monotonic_ns()
        if self._told_ns is None or now - self._told_ns >= TELL_S * 1e9:
            self._told_ns = now
            LOG.warning(
                "refused %s: key %s is not allowed in %s (%d connections refused so far)",
                address.decode(errors="replace"),
                curve.fingerprint(z85.encode(key)),
                self._allow,
                self.refused,
            )

    def _look(self) -> None:
        """Read the folder again if it has changed. What cannot be trusted allows nobody."""
        self._looked_ns = clock.monotonic_ns()
        try:
            curve.check_folder(self._allow)
            state = tuple(_stamp(path) for path in curve.listeners(self._allow))
        except (SettingsError, OSError) as error:
            if self._state != ():
                LOG.error("nobody may listen: %s", error)  # noqa: TRY400 one line says it
            self._state, self._allowed = (), {}
            return
        if state != self._state:
            self._state, self._allowed = state, self._read()

    def _read(self) -> dict[bytes, str]:
        allowed: dict[bytes, str] = {}
        for path in curve.listeners(self._allow):
            if key := _key_or_none(path):
                allowed[z85.decode(key)] = path.name.removesuffix(curve.PUBLIC)
        return allowed


def _key_or_none(path: Path) -> bytes | None:
    try:
        return curve.listener_key(path)
    except SettingsError as error:
        LOG.warning("a listener is left out: %s", error)
        return None


def _stamp(path: Path) -> tuple[str, int, int, int]:
    """What changes when a file does."""
    at = path.stat()
    return path.name, at.st_ino, at.st_mtime_ns, at.st_mode
