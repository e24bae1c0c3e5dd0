"""A bad line between publisher and subscriber: it delays, cuts, falls silent, spoils. Nothing wrong shows, nothing is lost."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bus_keys import Keys
from bus_proxy import Proxy
from bus_station import Station, message

from edgecell import client
from edgecell.bus import follow
from edgecell.client import Subscriber
from edgecell.wire import CountsMessage

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait as long as in earnest: for a silent line 15 s, for an answer 3 s, four times."""
    monkeypatch.setattr(client, "AGAIN_S", 0.3)
    monkeypatch.setattr(follow, "PATIENCE_S", 0.3)
    monkeypatch.setattr(follow, "ATTEMPTS", 100)


@pytest.fixture(params=["open", "curve"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["Line"]:
    keys = Keys(tmp_path) if request.param == "curve" else None
    with opened(keys) as line:
        yield line


class Line:
    """A station, a proxy before each of its two sockets, and a subscriber behind them."""

    def __init__(self, station: Station, proxies: list[Proxy], bus: Subscriber) -> None:
        self.station, self.proxies, self.bus = station, proxies, bus
        self.numbers: list[int] = []

    def listen(self, until: Callable[[], bool]) -> None:
        """Every message that is shown is one that was sent, to the figure."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            received = self.bus.receive(0.02)
            if isinstance(received, CountsMessage):
                made = message(received.sequence, "run-a")
                assert (received.cumulative, received.unsure, received.excluded, received.frames, received.differential) == (
                    made.cumulative,
                    made.unsure,
                    made.excluded,
                    made.frames,
                    made.differential,
                )
                self.numbers.append(received.sequence)
            assert time.monotonic() < deadline, f"nothing within {PATIENCE_S} s: {self.bus.last_problem}"

    def listen_for(self, messages: int) -> None:
        end = self.station.sent + messages
        self.listen(lambda: self.station.sent >= end)

    def finish(self) -> None:
        """The line is good again: after that nothing is missing."""
        for proxy in self.proxies:
            proxy.spoil, proxy.delay_s = lambda piece: piece, 0.0
            proxy.flow()
        last = self.station.stop()
        self.listen(lambda: bool(self.numbers) and self.numbers[-1] >= last)
        assert self.numbers == list(range(self.numbers[0], last + 1))
        assert self.bus.gaps == 0


@contextmanager
def opened(keys: Keys | None) -> Iterator[Line]:
    options: dict[str, Any] = {} if keys is None else {"server_key": keys.device, "allow": keys.allow}
    own: dict[str, Any] = {} if keys is None else {"key": keys.listener("reader"), "server_key": keys.device_public}
    with ExitStack() as stack:
        station = stack.enter_context(Station(pause_s=0.002, **options))
        proxies = [stack.enter_context(Proxy(each)) for each in (station.endpoint, station.publisher.replay_endpoint)]
        bus = stack.enter_context(Subscriber(proxies[0].endpoint, replay=proxies[1].endpoint, **own))
        line = Line(station, proxies, bus)
        line.listen(lambda: len(line.numbers) > 5)
        yield line


def test_a_line_that_delays_changes_nothing(line: Line) -> None:
    for proxy in line.proxies:
        proxy.delay_s = 0.02
    line.listen_for(200)
    line.finish()


def test_a_line_that_is_cut_again_and_again_loses_nothing(line: Line) -> None:
    chance = random.Random(7)
    for _ in range(5):
        line.listen_for(chance.randrange(5, 60))
        before = line.proxies[0].connections
        for proxy in line.proxies:
            proxy.cut()
        line.station.until(line.station.sent + chance.randrange(5, 60))
        line.listen(lambda before=before: line.proxies[0].connections > before)  # type: ignore[misc]
    line.finish()
    assert line.proxies[0].connections > 5


def test_a_line_that_falls_silent_is_left_for_a_new_one(line: Line) -> None:
    """The cable is out and neither end is told: what was on the way never comes."""
    for proxy in line.proxies:
        proxy.stop()
    line.listen_for(300)
    for proxy in line.proxies:
        proxy.cut()
    line.finish()


def spoiler(chance: random.Random) -> Callable[[bytes], bytes]:
    """One piece in six has a byte that is another one: not a letter any more, for no checksum guards an open line."""

    def spoil(piece: bytes) -> bytes:
        at = chance.randrange(6 * len(piece))
        return piece if at >= len(piece) else piece[:at] + bytes([piece[at] ^ 0x80]) + piece[at + 1 :]

    return spoil


def test_a_line_that_spoils_shows_nothing_wrong_and_loses_nothing(line: Line) -> None:
    """On an open line a message cannot be read, or the connection breaks; with CURVE not a byte passes that was touched."""
    for seed, proxy in enumerate(line.proxies):
        proxy.spoil = spoiler(random.Random(seed))
    before = line.proxies[0].connections
    line.listen_for(600)
    trouble = line.bus.unreadable + line.proxies[0].connections - before
    line.finish()
    assert trouble
    assert line.bus.replayed


def test_a_figure_that_changed_on_an_open_line_is_not_shown() -> None:
    """It is still JSON, and of the right type; but the totals do not add up any more."""
    with opened(None) as line:
        line.proxies[0].spoil = lambda piece: piece.replace(b'"unsure":7', b'"unsure":9')
        line.listen_for(100)
        assert line.bus.unreadable
        line.finish()


def test_with_curve_a_touched_byte_ends_the_connection(tmp_path: Path) -> None:
    with opened(Keys(tmp_path)) as line:
        before = line.proxies[0].connections
        line.proxies[0].spoil = lambda piece: piece[:-1] + bytes([piece[-1] ^ 1])
        line.listen(lambda: line.proxies[0].connections > before + 1)
        assert line.bus.unreadable == 0
        line.finish()
