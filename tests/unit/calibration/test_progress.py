"""How far it is and how long it takes, on a terminal and off it."""

import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from calibration import progress
from calibration.progress import duration, meter


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (7620, "2 h 07 min")])
def test_durations_are_read_at_a_glance(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_where_nobody_sees_a_bar_a_line_comes_now_and_then(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """2 s a step: a line each 30 s, so after steps 15, 30 and 45 of 50."""
    with caplog.at_level(logging.INFO, "edgecell"), meter("training toy", 50) as bar:
        for step in range(50):
            clock.now_s += 2.0
            bar.step(f"loss {step / 100:.2f}")
    assert caplog.messages == [
        "training toy: 15 of 50, 1 min 10 s to go  loss 0.14",
        "training toy: 30 of 50, 40 s to go  loss 0.29",
        "training toy: 45 of 50, 10 s to go  loss 0.44",
    ]


def test_what_was_done_before_does_not_flatter_the_time_to_go(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "edgecell"), meter("training toy", 100, 90) as bar:
        bar.say("")
        clock.now_s += 60.0
        bar.step()
    assert "90 of 100, ? to go" in caplog.messages[0]
    assert "91 of 100, 9 min 00 s to go" in caplog.messages[1]


def test_on_a_terminal_it_is_a_bar() -> None:
    program = "from calibration.progress import meter\nwith meter('toy', 4) as bar:\n  for _ in range(4): bar.step('loss 1')"
    ours, theirs = pty.openpty()
    root = Path(progress.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "TERM": "xterm", "COLUMNS": "100"}
    ended = subprocess.run([sys.executable, "-c", program], stderr=theirs, env=environment, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert ended.returncode == 0
    assert "━" in shown
    assert "4/4" in shown
    assert "0 s to go" in shown
