"""Whether tally, journal and wire cost as much after a million frames as after the first: the first tenth beside the last.

python -m benchmarks.growth --frames 1000000
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import msgspec

from benchmarks.catch_up import CLASSES, RUN, counts, started
from benchmarks.soak import process
from edgecell import tally
from edgecell.journal.events import FrameFate, RecordedCell, Window
from edgecell.journal.journal import Journal
from edgecell.messages import NOTICE, Cell, Classification, FrameReport, Tally, Verdict
from edgecell.wire import to_wire

WINDOW = 60
"""Frames of a window: a camera's second."""
CELLS = 4
"""Of a frame. Frames are many here, cells are counted elsewhere."""
TENTHS = 10


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """us: microseconds a frame, of the first and the last tenth. rss_mib: greatest, of the same. ratio: of the times."""

    what: str
    frames: int
    us: tuple[float, float]
    ratio: float
    rss_mib: tuple[float, float]


def of_tally(frames: int) -> Growth:
    """`tally.add`, frame by frame."""
    report, total = _report(), Tally()

    def step() -> None:
        nonlocal total
        total = tally.add(tally.capture(total), report, CLASSES)

    return _growth("tally", frames, step, 1)


def of_journal(frames: int, folder: Path) -> Growth:
    """One transaction a window of WINDOW frames with CELLS cells each, on the disk of `folder`."""
    with Journal.open(folder) as journal:
        journal.append(started())
        windows = _windows()
        return _growth("journal", frames // WINDOW, lambda: journal.append(next(windows)), WINDOW)


def of_wire(frames: int) -> Growth:
    """One counts message a window of WINDOW frames, made and encoded."""
    number = count()
    return _growth("wire", frames // WINDOW, lambda: to_wire(counts(next(number))), WINDOW)


def _growth(what: str, steps: int, step: Callable[[], object], frames: int) -> Growth:
    """frames: of a step."""
    taken, held = [], []
    for _ in range(TENTHS):
        start = time.perf_counter()
        for _ in range(steps // TENTHS):
            step()
        taken.append((time.perf_counter() - start) * 1e6 / (steps // TENTHS) / frames)
        held.append(process()[0])
    return Growth(
        what=what,
        frames=steps * frames,
        us=(taken[0], taken[-1]),
        ratio=taken[-1] / taken[0],
        rss_mib=(held[0], held[-1]),
    )


def _report() -> FrameReport:
    labels = sorted(CLASSES)[:CELLS]
    return FrameReport(
        frame_index=0,
        captured_ns=0,
        label="",
        verdict=Verdict(accepted=True, reason="", focus=20.0, mean_level=0.7, saturated_fraction=0.0),
        cells=tuple(
            Cell(frame_index=0, cell_index=index, kind="nucleated", box_px=(0, 0, 9, 9), centre_px=(4.0, 4.0))
            for index in range(CELLS)
        ),
        classifications=tuple(
            Classification(cell_index=index, label=label, confidence=0.99, decided=True) for index, label in enumerate(labels)
        ),
        pixel_um=0.1,
        pixel_um_source="settings",
        stage_us={},
    )


def _windows() -> Iterator[Window]:
    number = 0
    while True:
        first = number * WINDOW
        cells = tuple(
            RecordedCell(first + frame, index, "nucleated", "neutrophil", 0.99, True, None, (index, 8, index + 26, 41))
            for frame in range(WINDOW)
            for index in range(CELLS)
        )
        topic, payload = to_wire(counts(number))
        fates = (FrameFate(first, WINDOW, "processed"),)
        yield Window(run_id=RUN, sequence=number, frames=fates, cells=cells, topic=topic, message=msgspec.Raw(payload))
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        found = [of_tally(asked.frames), of_journal(asked.frames, Path(folder)), of_wire(asked.frames)]
    print(json.dumps({"growth": msgspec.to_builtins(found), "notice": NOTICE}, indent=2))


if __name__ == "__main__":
    main()
