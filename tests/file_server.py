"""A server on loopback that hands out one file, and misbehaves as it is told, request by request."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One request; what a scripted answer may do with it."""

    server: "FileServer"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The next answer of the script, the plain one when the script is at its end."""
        self.close_connection = True
        self.server.asked.append({name: self.headers[name] for name in ("Range", "If-Range") if self.headers[name]})
        answer, *self.server.script = self.server.script or [plain]
        answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Quiet."""

    def head(self, status: int, **headers: object) -> None:
        """Status line and headers; `_` in a name stands for `-`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class FileServer(ThreadingHTTPServer):
    """content: the file. tag: its ETag, "" for none. script: answers of the next requests. asked: headers of each request."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag = content, '"one"'
        self.script: Sequence[Callable[[Handler], None]] = []
        self.asked: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"

    @property
    def md5(self) -> str:
        return f"md5:{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """The server, in a thread of its own."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def plain(handler: Handler) -> None:
    """As a good server answers: the rest of the file where the client has the same version, else all of it."""
    cut_after(None)(handler)


def cut_after(count: int | None) -> Callable[[Handler], None]:
    """A good server whose connection breaks after `count` bytes of the body."""

    def answer(handler: Handler) -> None:
        content, tag = handler.server.content, handler.server.tag
        tags = {"ETag": tag} if tag else {}
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
        start = int(match[1]) if match and handler.headers["If-Range"] in (None, tag) else None
        if start is not None and start >= len(content):
            handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
            return
        body = content[start or 0 :]
        if start is not None:
            handler.head(
                206, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}", Content_Length=len(body), **tags
            )
        else:
            handler.head(200, Content_Length=len(body), **tags)
        handler.wfile.write(body[:count])

    return answer


def whole(handler: Handler) -> None:
    """A server that knows no ranges."""
    handler.head(200, Content_Length=len(handler.server.content), ETag=handler.server.tag)
    handler.wfile.write(handler.server.content)


def refusing(status: int, **headers: object) -> Callable[[Handler], None]:
    """An answer without a body."""
    return lambda handler: handler.head(status, Content_Length=0, **headers)
