"""A listener that was away while a journal grew: the benchmark of it, small, with a real journal and a device of its own."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import catch_up
from edgecell.errors import EdgecellError, JournalError

MESSAGES = 2000


@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "curve"])
def test_everything_comes_once_and_as_it_was_recorded(tmp_path: Path, with_keys: bool) -> None:
    told = catch_up.run(tmp_path / "day", MESSAGES, 5, with_keys)
    assert (told["listener"]["gaps"], told["listener"]["fetched"]) == (0, MESSAGES - 1)
    assert told["device"]["longest_turn_ms"] < 500  # 15 when nothing else runs here


def test_a_window_that_is_gone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above could not fail."""
    catch_up.record(tmp_path / "day", 50, 1)
    with closing(sqlite3.connect(tmp_path / "day" / "journal.sqlite")) as journal, journal:
        journal.execute("DELETE FROM events WHERE sequence = 20")
    with pytest.raises(JournalError, match="holds 49 windows"):
        catch_up.record(tmp_path / "day", 50, 1)
    monkeypatch.setattr(catch_up, "record", lambda *_: None)
    with pytest.raises(EdgecellError, match="message 20 did not come as it was recorded"):
        catch_up.run(tmp_path / "day", 50, 1, False)
