"""A TCP proxy between a publisher and its listeners: passes on, delays, spoils, holds back or cuts what the publisher sends."""

import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK = 4096


class Proxy:
    """In front of 127.0.0.1:port; it listens on `port` of its own.

    spoil: what is done to the bytes that come from the publisher. delay_s: how long they lie. seen: all bytes that went by,
    both ways. Use it in a with block.
    """

    def __init__(self, endpoint: str) -> None:
        self._to = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.spoil: Callable[[bytes], bytes] = lambda piece: piece
        self.seen = bytearray()
        self.connections = 0
        self._flowing, self._over = threading.Event(), threading.Event()
        self._flowing.set()
        self.delay_s = 0.0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Proxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._flowing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive()

    def cut(self) -> None:
        """End all connections, as a cable does that is pulled and put back: new ones are accepted."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Pass nothing on any more, and keep the connections: a cable that is pulled."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(self._to)
                except OSError:  # the publisher is not there
                    near.close()
                    continue
                self.connections += 1
                self._sockets += [near, far]
                for one, other, down in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pass, args=(one, other, down))
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, one: socket.socket, other: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(CHUNK):
                self._over.wait(self.delay_s if down else 0)
                self._flowing.wait()
                self.seen += piece
                other.sendall(self.spoil(piece) if down else piece)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            if each is one:
                each.close()
