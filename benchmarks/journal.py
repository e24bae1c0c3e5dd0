"""What the journal costs: the same phantom slide with and without one, in turns, in one process.

    python -m benchmarks.journal [--pairs 5] [--frames 150] [--folder DIR]

Frame path: seconds a frame, and latency from capture to counts; each pair's ratio is with / without, so what else the machine
does weighs on both. Commit: what the calling thread spends on a window, which the stages go on beside.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from edgecell import app
from edgecell.journal.chainfile import Receipt
from edgecell.journal.events import RunEnded, Window
from edgecell.journal.journal import Recorder
from edgecell.journal.reader import State
from edgecell.messages import FrameReport
from edgecell.protocols import Progress
from edgecell.settings import JournalSettings, PartSettings, RunSettings, Settings
from edgecell.wire import CountsMessage, Message


class Onlooker:
    """Counts messages and cells."""

    def __init__(self) -> None:
        self.messages: list[CountsMessage] = []

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        pass

    def sent(self, message: Message) -> None:
        if isinstance(message, CountsMessage):
            self.messages.append(message)


def run(frames: int, journal: JournalSettings | None) -> dict[str, float]:
    """One run: seconds a frame, median latency over its windows (ms), cells."""
    settings = Settings(
        source=PartSettings(part="phantom", options={"width": 640, "height": 480, "frames": frames}),
        publisher=PartSettings(part="zmq", options={"endpoint": "tcp://127.0.0.1:*"}),
        run=RunSettings(window_s=1.0),
        journal=journal,
    )
    onlooker = Onlooker()
    with app.plan(settings).runtime(onlooker) as runtime:
        last = runtime.run()
    latencies = [message.latency_ms.p50 for message in onlooker.messages if message.latency_ms]
    return {"frame_s": 1 / last.fps, "latency_ms": statistics.median(latencies), "cells": float(last.counts.cells_total)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        print(json.dumps(measure(asked.pairs, asked.frames, Path(made)), indent=2))


def measure(pairs: int, frames: int, folder: Path) -> dict[str, Any]:
    """All figures. folder: on the disk that is measured."""
    commits: list[float] = []
    commit = Recorder.commit

    def timed(self: Recorder, window: Window, state: State, end: RunEnded | None = None) -> Receipt:
        start = perf_counter()
        receipt = commit(self, window, state, end)
        commits.append(1000 * (perf_counter() - start))
        return receipt

    run(frames // 3, None)
    without, kept = list[dict[str, float]](), list[dict[str, float]]()
    with patch.object(Recorder, "commit", timed):
        for number in range(pairs):
            for journal in (None, JournalSettings(path=str(folder / str(number)))):
                (kept if journal else without).append(run(frames, journal))
    size = sum(file.stat().st_size for file in folder.rglob("journal.sqlite"))
    cells = sum(each["cells"] for each in kept)
    return {
        "frames": pairs * frames,
        "cells": int(cells),
        "frame_s_ratio": _ratio("frame_s", kept, without),
        "latency_ratio": _ratio("latency_ms", kept, without),
        "frame_ms_without": round(1000 * statistics.median(each["frame_s"] for each in without), 2),
        "commit_ms": {
            "median": round(statistics.median(commits), 2),
            "largest": round(max(commits), 2),
            "windows": len(commits),
        },
        "bytes_per_1000_cells": round(1000 * size / cells),
    }


def _ratio(what: str, kept: list[dict[str, float]], without: list[dict[str, float]]) -> dict[str, float]:
    ratios = sorted(one[what] / other[what] for one, other in zip(kept, without, strict=True))
    return {"median": round(statistics.median(ratios), 3), "least": round(ratios[0], 3), "most": round(ratios[-1], 3)}


if __name__ == "__main__":
    main()
