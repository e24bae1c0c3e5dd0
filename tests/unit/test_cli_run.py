"""How `edgecell run` shows itself on a terminal; what it prints for machines is in tests/system/test_run.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bus_messages import counts_message, heartbeat
from command_line import called

from edgecell import app, clock
from edgecell.cli.run import JsonLines, PlainLines, Screen
from edgecell.errors import SettingsError
from edgecell.messages import NOTICE
from edgecell.protocols import Progress
from edgecell.selftest import MARK, Outcome
from edgecell.settings import Settings

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
LAST = Progress(counts=counts_message(9), state="stopped", fps=31.4)
OUTCOME = Outcome(
    frames=40,
    counted={"neutrophil": 61},
    true={"neutrophil": 64, "basophil": 1},
    unsure=7,
    red_error=0.031,
    nucleated_found=0.97,
    labelled_right=None,
    decided=0.5,
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What a terminal would have got since the last look."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "50")
    return lambda: capsys.readouterr().out


def running() -> Progress:
    return Progress(counts=counts_message(3), state="running", fps=30.0)


def test_the_screen_shows_the_state_and_ends_with_the_truth_beside_it(terminal: Callable[[], str]) -> None:
    with Screen() as screen:
        screen.settled(None, running)
        live = terminal()
    screen.end(LAST, OUTCOME)
    for words in ("running, 30.0 frames/s", "slide-17", "40 frames", "unsure 7"):
        assert words in live
    end = terminal()
    for words in (
        "stopped, 31.4 frames/s",
        "Counted beside drawn, 40 frames",
        "3.1 %",
        "97.0 %",
        "labelled right: -",
        MARK,
        NOTICE,
    ):
        assert words in end


def test_the_screen_is_drawn_now_and_then_only(terminal: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    looks = []

    def progress() -> Progress:
        looks.append(now[0])
        return running()

    with Screen() as screen:
        for now[0] in range(1, 1_000_000_000, 10_000_000):  # 100 frames in a second
            screen.settled(None, progress)
    assert len(looks) == 4


def test_whatever_ends_a_run_gives_the_terminal_its_cursor_back(terminal: Callable[[], str]) -> None:
    screen = Screen()
    with screen:
        screen.settled(None, running)
        assert HIDE_CURSOR in terminal()
    assert SHOW_CURSOR in terminal()


def test_json_lines_hold_counts_and_the_outcome_only(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines() as lines:
        lines.settled(None, running)
        lines.sent(heartbeat())
        lines.sent(counts_message(4))
    lines.end(LAST, OUTCOME)
    counts, self_test = capsys.readouterr().out.splitlines()
    assert '"sequence":4' in counts
    assert '"schema":"self_test/1"' in self_test


def test_plain_lines_tell_the_state_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1]
    monkeypatch.setattr(clock, "monotonic_ns", lambda: now[0])
    with PlainLines() as lines:
        for now[0] in range(1, 12_000_000_000, 100_000_000):
            lines.settled(None, running)
    shown = capsys.readouterr()
    assert shown.err.count("30.0 frames/s | #3 bench-3 slide-17") == 3
    assert shown.out == ""


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ((), False),
        (("--source", "phantom:seed=4"), False),
        (("--source", "phantom:seed=4", "--resume"), True),
        (("--source", "images:slides"), True),
        (("box.toml",), True),
        (("off.toml",), False),
        (("off.toml", "--journal", "here"), True),
        (("box.toml", "--no-journal"), False),
        (("--journal", "here"), True),
    ],
)
def test_a_journal_is_kept_of_all_but_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], kept: bool
) -> None:
    (tmp_path / "box.toml").write_text("[source]\npart = 'phantom'\n")
    (tmp_path / "off.toml").write_text("[journal]\nenabled = false\n")
    (tmp_path / "slides").mkdir()
    monkeypatch.chdir(tmp_path)
    planned: list[Settings] = []

    def remember(settings: Settings) -> app.Plan:
        planned.append(settings)
        raise SettingsError("far enough")

    monkeypatch.setattr(app, "plan", remember)
    assert called("run", *line).code == 2
    journal = planned[0].journal
    assert (journal is not None and journal.enabled) == kept
    if "here" in line:
        assert journal
        assert journal.folder == Path("here")


def test_settings_are_not_taken_for_the_id_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ended = called("run", "--resume", "bench.toml")
    assert (ended.code, "write edgecell run bench.toml --resume" in ended.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_cannot_be_both_kept_and_not() -> None:
    ended = called("run", "--journal", "here", "--no-journal")
    assert (ended.code, "exclude each other" in ended.err) == (2, True)
