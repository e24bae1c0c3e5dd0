"""What systemd is told: READY=1, STATUS=, WATCHDOG=1, STOPPING=1 (sd_notify(3)), by datagrams to the socket that it names."""

import logging
import socket
from collections.abc import Mapping

from edgecell import clock

LOG = logging.getLogger(__name__)


class Notifier:
    """Says nothing where nobody listens. Never waits, and never ends a run: a message that cannot be sent is left out.

    environment: NOTIFY_SOCKET, a path or an abstract address (@name); WATCHDOG_USEC, after which systemd restarts a service
    that is silent: it hears from us twice as often.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address, microseconds = environment.get("NOTIFY_SOCKET", ""), environment.get("WATCHDOG_USEC", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_ns = int(microseconds) * 500 if microseconds.isdecimal() else 0
        self._due_ns = 0
        self._status = ""

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; sent when it changes."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """To be called often, while all stages live and only then."""
        now = clock.monotonic_ns()
        if self._every_ns and now >= self._due_ns:
            self._due_ns = now + self._every_ns
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto(text.replace("\n", " ").encode(), self._address)
        except OSError as error:
            LOG.warning("systemd cannot be told %s: %s", text, error.strerror)
