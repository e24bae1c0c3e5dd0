"""The hub: each browser is told the newest, and none of them holds up another."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from edgecell.web import hub as hub_module
from edgecell.web.answers import Refused
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
        hub.check_room()
    assert refused.value.status == 503
    hub.part(browsers[0])
    hub.check_room()


def test_the_last_pictures_are_kept() -> None:
    hub = Hub()
    numbers = [hub.show(b"%d" % each) for each in range(100)]
    assert len(set(numbers)) == 100
    assert [hub.picture(each) for each in numbers[-PICTURES:]] == [b"%d" % each for each in range(100 - PICTURES, 100)]
    assert hub.picture(numbers[0]) is None
    assert len(hub._pictures) == PICTURES
