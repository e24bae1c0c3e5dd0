"""What `benchmarks.browsers` makes of its turns; the browser itself is tried by tests/system/test_browser_*.py."""

from typing import get_args

from benchmarks.browsers import Crowd, Load, Outcome, Turn, compared, table
from edgecell.messages import NOTICE


def turn(cpu_ms: float, p50_ms: float, dropped: int = 0) -> Turn:
    return Turn(cpu_ms=cpu_ms, p50_ms=p50_ms, fps=8.0, dropped=dropped)


def test_ratios_are_to_nobody_of_the_same_round() -> None:
    slow: dict[Crowd, Turn] = {"nobody": turn(40, 200), "readers": turn(40, 220), "browsers": turn(44, 400, dropped=3)}
    quick: dict[Crowd, Turn] = {"nobody": turn(20, 100), "readers": turn(21, 110), "browsers": turn(20, 150)}
    nobody, readers, browsers = compared([slow, quick, quick])
    assert [each.crowd for each in (nobody, readers, browsers)] == list(get_args(Crowd))
    assert nobody.cpu_ratio == nobody.p50_ratio == (1.0, 1.0, 1.0)
    assert readers.cpu_ratio == (1.05, 1.0, 1.05)
    assert (browsers.p50_ratio, browsers.dropped) == ((1.5, 1.5, 2.0), 3)
    loads = tuple(Load(files=22, bytes=100 << 10, picture_bytes=30 << 10, picture_ms=ms) for ms in (300.0, 100.0, 200.0))
    found = Outcome(size_px=(640, 480), fps=8.0, lookers=5, results=(nobody, readers, browsers), loads=loads)
    text = table(found)
    assert "| browsers | 20.0 | 1.00 (1.00 - 1.10) | 150 | 1.50 (1.50 - 2.00) | 8.0 | 3 |" in text
    assert "22 files, 100 KiB over the wire; its first picture 30 KiB" in text
    assert "after 200 ms (100 - 300 ms in 3 loads)" in text
    assert found.notice == NOTICE
