"""The hub: each browser is told the newest, and none of them holds up another."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from web_requests import station

from edgecell.web import hub as hub_module
from edgecell.web.answers import Refused
from edgecell.web.app import application
from edgecell.web.hub import MOST_BROWSERS, PICTURES, Browser, Hub

PATIENCE_S = 60.0


def within(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE_S))


async def next_of(browser: Browser, number: int = 1) -> list[bytes]:
    events = browser.events()
    return [await anext(events) for _ in range(number)]


def test_a_newcomer_is_told_the_last_of_each() -> None:
    async def work() -> None:
        hub = Hub()
        for event, data in [("counts", b"1"), ("run", b"2"), ("counts", b"3")]:
            hub.tell(event, data)
        assert await next_of(hub.join(), 2) == [b"event: counts\ndata: 3\n\n", b"event: run\ndata: 2\n\n"]
        hub.forget("counts")
        assert await next_of(hub.join()) == [b"event: run\ndata: 2\n\n"]

    within(work())


def test_a_slow_browser_gets_the_newest_of_each_and_no_more() -> None:
    async def work() -> None:
        hub = Hub()
        slow, events = hub.join(), []
        for number in range(10_000):
            hub.tell("counts", b"%d" % number)
            hub.tell("preview", b"%d" % number)
        assert len(slow._waiting) == 2
        events = await next_of(slow, 2)
        assert events == [b"event: counts\ndata: 9999\n\n", b"event: preview\ndata: 9999\n\n"]

    within(work())


def test_silence_is_broken_by_a_line_without_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "STILL_S", 0.01)

    async def work() -> None:
        assert await next_of(Hub().join(), 3) == [b": still here\n\n"] * 3

    within(work())


def test_everybody_leaves_when_it_is_closed_and_who_comes_later_too() -> None:
    async def work() -> None:
        hub = Hub()
        early = hub.join()
        reading = asyncio.create_task(next_of(early))
        await asyncio.sleep(0)
        hub.close()
        with pytest.raises(StopAsyncIteration):
            await reading
        with pytest.raises(StopAsyncIteration):
            await next_of(hub.join())

    within(work())


def test_there_is_room_for_so_many() -> None:
    hub = Hub()
    browsers = [hub.join() for _ in range(MOST_BROWSERS)]
    with pytest.raises(Refused, match=f"{MOST_BROWSERS} browsers look on already") as refused:
        hub.join()
    assert refused.value.status == 503
    hub.part(browsers[0])
    hub.join()


def test_many_that_come_at_once_find_no_more_room_and_leave_it_again(tmp_path: Path) -> None:
    at = station(tmp_path)
    app, began = application(at), 0

    async def one() -> int:
        """The status of the answer; who gets events looks on until all have come, and goes."""
        status = 0
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], began + 1
                if began == len(all_of_them):
                    everybody.set()

        looking = asyncio.create_task(app(live_scope(), receive, send))
        await everybody.wait()
        gone.set()
        await looking
        return status

    async def work() -> None:
        all_of_them.extend(asyncio.create_task(one()) for _ in range(MOST_BROWSERS + 9))
        found = Counter(await asyncio.gather(*all_of_them))
        assert found == {200: MOST_BROWSERS, 503: 9}
        for _ in range(MOST_BROWSERS):
            at.hub.join()

    all_of_them: list[asyncio.Task[int]] = []
    everybody = asyncio.Event()
    within(work())


def live_scope() -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8470")]
    path = {"path": "/api/live", "raw_path": b"/api/live", "query_string": b"", "root_path": ""}
    return {"type": "http", "method": "GET", "scheme": "http", "http_version": "1.1", "headers": headers, **path}


def test_the_last_pictures_are_kept() -> None:
    hub = Hub()
    numbers = [hub.show(b"%d" % each) for each in range(100)]
    assert len(set(numbers)) == 100
    assert [hub.picture(each) for each in numbers[-PICTURES:]] == [b"%d" % each for each in range(100 - PICTURES, 100)]
    assert hub.picture(numbers[0]) is None
    assert len(hub._pictures) == PICTURES
