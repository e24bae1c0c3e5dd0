"""What every request must pass, and every answer carries.

The Host header must be a name that is served: a page elsewhere whose name was bent to this address (DNS rebinding) has another.
What changes something must come from our own page. Everything under /api but signing in needs a session. A body has a limit.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecell.web.answers import Refused, refusal
from edgecell.web.session import COOKIE, Door

MOST_BODY = 1 << 20
"""Bytes. The longest that makes sense names 20,000 cells in some 240 kB."""
OPEN = frozenset({"/api/me", "/api/login"})
SAFE = frozenset({"GET", "HEAD"})
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """names: hosts that are served, lower case, without port. numbers: whether any address of numbers is one too; a browser
    that shows one has asked that very address."""

    def __init__(self, app: ASGIApp, door: Door, names: Collection[str], *, numbers: bool) -> None:
        self._app, self._door, self._names, self._numbers = app, door, frozenset(names), numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(Request(scope))
        except Refused as error:
            await refusal(Request(scope), error)(scope, receive, _dressed(scope, send))
            return
        await self._app(scope, _limited(receive), _dressed(scope, send))

    def _check(self, request: Request) -> None:
        """Raises Refused."""
        host = request.headers.get("host", "")
        if not self._serves(host):
            what = f"this server is not called {host[:200]!r}"
            raise Refused(421, what, fix="use the address that it printed, or start it with --name")
        if request.method not in SAFE:
            _check_origin(request.headers, f"{request.url.scheme}://{host}")
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            raise _too_long()
        path = request.url.path
        if path.startswith("/api/") and path not in OPEN and not self._door.admits(request.cookies.get(COOKIE)):
            raise Refused(401, "not signed in", fix="sign in with the token that the server printed when it began")

    def _serves(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._numbers


def _check_origin(headers: Headers, own: str) -> None:
    """A browser says where a request comes from; what says nothing is no browser. Raises Refused."""
    origin, site = headers.get("origin", own), headers.get("sec-fetch-site", "same-origin")
    if origin.lower() != own.lower() or site not in ("same-origin", "none"):
        raise Refused(403, f"the request comes from another page, {origin[:200]!r}", fix="use the page that this server shows")


def _limited(receive: Receive) -> Receive:
    """A body that is announced shorter than it is, or not at all, is cut off too."""
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > MOST_BODY:
            raise _too_long()
        return message

    return counted


def _too_long() -> Refused:
    return Refused(413, f"the body has more than {MOST_BODY} bytes", fix="send less at once")


def _dressed(scope: Scope, send: Send) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    """The answer with what tells a browser to be careful. What the API says is not kept, unless a route says so."""

    async def dressing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
        await send(message)

    return dressing
