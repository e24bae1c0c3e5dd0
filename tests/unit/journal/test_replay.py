"""The cells alone give the counts that were published; if not, the window is named."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from journal_windows import filled, started, window

from edgecell.journal.erase import erase
from edgecell.journal.events import FrameFate, Window
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.journal.replay import replay


def replaced(original: Window, **changes: Any) -> Window:
    """A window whose message says something else."""
    message = {**json.loads(bytes(original.message)), **changes}
    return msgspec.structs.replace(original, message=msgspec.Raw(json.dumps(message).encode()))


def test_counts_from_cells_are_those_published(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=300)
        found = replay(journal.reader, "run-a")
    assert (found.differs, found.windows, found.frames, found.cells, found.erased) == ("", 300, 900, 1800, False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"cumulative": {"neutrophil": 5}},
            "window 1: cumulative was published as {'neutrophil': 5}, and is {'neutrophil': 4}",
        ),
        ({"counts": {"lymphocyte": 2}}, "window 1: counts"),
        ({"unsure": 0}, "window 1: unsure"),
        ({"excluded": {}}, "window 1: excluded"),
        ({"cells_total": 13}, "window 1: cells_total"),
        ({"gated_reasons": {"dark": 2}}, "window 1: gated_reasons"),
        ({"dropped_reasons": {"source: lost": 1}}, "window 1: dropped_reasons"),
        ({"frames": {"captured": 99}}, "window 1: frames"),
        ({"frames": 3}, "window 1 of run run-a cannot be counted"),
    ],
)
def test_what_was_published_otherwise_is_named(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        for each in (window(0), replaced(window(1), **changes), window(2)):
            journal.append(each, state=State(body=b""))
        assert told in replay(journal.reader, "run-a").differs


def test_a_cell_more_or_less_is_found(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        short = msgspec.structs.replace(window(0), cells=window(0).cells[1:])
        journal.append(short, state=State(body=b""))
        assert "window 0: counts" in replay(journal.reader, "run-a").differs


def test_a_cell_of_no_frame_is_found(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(msgspec.structs.replace(window(0), frames=window(0).frames[1:]), state=State(body=b""))
        assert "cells of frame 0, which was not processed" in replay(journal.reader, "run-a").differs


def test_a_made_up_number_of_frames_takes_no_time(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(msgspec.structs.replace(window(0), frames=(FrameFate(0, 10**15, "processed"),)), state=State(body=b""))
        assert "more than 1000000 frames" in replay(journal.reader, "run-a").differs


def test_an_erased_run_has_nothing_to_count(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
    erase(tmp_path, "slide-17")
    with Journal.open(tmp_path) as journal:
        found = replay(journal.reader, "run-a")
    assert (found.erased, found.differs, found.windows) == (True, "", 3)
