"""What the browsers are told as it happens: the newest of each kind of event.

A browser that is slow gets fewer events, never old ones, and costs nobody anything: there is room for one of each kind.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from edgecell.web.answers import Refused

MOST_BROWSERS = 32
STILL_S = 15.0
"""After so much silence a line without meaning, so that a connection that broke is noticed."""
PICTURES = 8
"""That are kept for browsers that have heard of one and not fetched it yet: four seconds."""


class Hub:
    """Used on the server's one thread."""

    def __init__(self) -> None:
        self._latest: dict[str, bytes] = {}
        self._browsers: set[Browser] = set()
        self._pictures: OrderedDict[int, bytes] = OrderedDict()
        self._shown = 0
        self._over = False

    def tell(self, event: str, data: bytes) -> None:
        """data: one line of JSON."""
        self._latest[event] = data
        for each in self._browsers:
            each.tell(event, data)

    def forget(self, event: str) -> None:
        """Tell newcomers no more of it."""
        self._latest.pop(event, None)

    def show(self, jpeg: bytes) -> int:
        """Keep a picture; its number."""
        self._shown += 1
        self._pictures[self._shown] = jpeg
        if len(self._pictures) > PICTURES:
            self._pictures.popitem(last=False)
        return self._shown

    def picture(self, number: int) -> bytes | None:
        """None where it is gone, or never was."""
        return self._pictures.get(number)

    def join(self) -> "Browser":
        """A new one, which gets the last of each kind first. Raises Refused (503) where there is no room."""
        if len(self._browsers) >= MOST_BROWSERS:
            raise Refused(503, f"{MOST_BROWSERS} browsers look on already", fix="close the page in one of them")
        made = Browser()
        for event, data in self._latest.items():
            made.tell(event, data)
        if self._over:
            made.leave()
        self._browsers.add(made)
        return made

    def part(self, browser: "Browser") -> None:
        self._browsers.discard(browser)

    def close(self) -> None:
        """Everybody leaves, or the server would wait for them."""
        self._over = True
        for each in self._browsers:
            each.leave()


class Browser:
    """One that looks on, and what it has not been sent yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._something = asyncio.Event()
        self._left = False

    def tell(self, event: str, data: bytes) -> None:
        self._waiting[event] = data
        self._something.set()

    def leave(self) -> None:
        self._left = True
        self._something.set()

    async def events(self) -> AsyncIterator[bytes]:
        """As text/event-stream has them, until the hub is closed."""
        while not self._left:
            try:
                await asyncio.wait_for(self._something.wait(), STILL_S)
            except asyncio.TimeoutError:
                yield b": still here\n\n"
                continue
            self._something.clear()
            told, self._waiting = self._waiting, {}
            for event, data in told.items():
                yield b"event: %s\ndata: %s\n\n" % (event.encode(), data)
