"""`edgecell watch` on a real pseudo-terminal: what stands on the screen."""

import sys
from collections.abc import Iterator

import pytest
from bus_station import Station
from terminal_screen import terminal

from edgecell.messages import NOTICE

LINE = (sys.executable, "-m", "edgecell", "watch")


@pytest.fixture
def station() -> Iterator[Station]:
    with Station(pause_s=0.05) as station:
        yield station


def whole(text: str) -> bool:
    """The last line of a dashboard with counts is there, and so is all above it."""
    return "bench-3 is running" in text and "neutrophil" in text and "Ctrl-C" in text


def test_80_by_24_has_it_all(station: Station) -> None:
    with terminal([*LINE, station.endpoint], 80, 24) as seen:
        seen.until(whole)
        assert seen.second
        assert not seen.cursor
        assert seen.colours
        assert len(seen.lines) == 24
        assert seen.lines[0] == "bench-3 is running  run run-a"
        for words in (NOTICE, "56.3 - 79.1", "├", "●", "3 gated", "focus", "exposure", "slowed down: under-voltage", "Ctrl-C"):
            assert words in seen.text
        old = seen.text
        seen.until(lambda text: text != old)  # it goes on


def test_a_window_made_smaller_and_larger_is_drawn_anew(station: Station) -> None:
    with terminal([*LINE, station.endpoint], 80, 24) as seen:
        seen.until(whole)
        seen.resize(60, 12)
        seen.until(lambda text: "make the window taller" in text)
        assert NOTICE in seen.text
        seen.resize(120, 40)
        seen.until(lambda text: "lymphocyte" in text and max(map(len, text.splitlines())) > 100)


def test_a_terminal_without_colours_and_utf_8_can_be_read(station: Station) -> None:
    plain = {"NO_COLOR": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    with terminal([*LINE, station.endpoint], 80, 24, **plain) as seen:
        seen.until(whole)
        assert not seen.colours
        assert seen.text.isascii()
        (bar,) = (line for line in seen.lines if line.startswith("neutrophil"))
        assert "[---" in bar
        assert "exposure + good" in seen.text


def test_the_last_counts_stay_on_the_first_screen(station: Station) -> None:
    with terminal([*LINE, station.endpoint, "--once", "--timeout", "60"], 100, 40) as seen:
        assert seen.to_the_end() == 0
        assert not seen.second
        assert seen.cursor
        assert "neutrophil" in seen.text
        assert NOTICE in seen.text


def test_what_is_no_screen_gets_lines(station: Station) -> None:
    for options, term in ((("--plain",), "xterm-256color"), ((), "dumb")):
        with terminal([*LINE, station.endpoint, "--once", "--timeout", "60", *options], 200, 24, TERM=term) as seen:
            assert seen.to_the_end() == 0
            assert "neutrophil 61 (68.5 %" in seen.text
            assert not seen.colours


def test_a_device_that_falls_silent_is_said(station: Station) -> None:
    with terminal([*LINE, station.endpoint], 80, 24) as seen:
        seen.until(whole)
        station.__exit__()
        seen.until(lambda text: "! nothing received for" in text and whole(text))  # old counts stay, and it says so
