"""kill -9 at drawn moments of a real run, which is resumed and killed again: nothing recorded is lost, nothing is twice.

The phantom slide gives the same frames in every run, so the truth is a run that nobody kills. EDGECELL_KILLS: how many, 20 by
default; EDGECELL_KILLS_SEED: other moments.
"""

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from command_line import PATIENCE_S, Running, started
from tiny_bundle import certified, make_tiny_bundle

from edgecell.bundle import Confidence
from edgecell.journal.events import RecordedCell
from edgecell.journal.reader import Reader
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify

KILLS = int(os.environ.get("EDGECELL_KILLS", "20"))
SEED = int(os.environ.get("EDGECELL_KILLS_SEED", "1"))
SETTINGS = """
models = {nucleated = "./tiny"}
source = {part = "phantom", width = 320, height = 240, seed = 3}
segmenter = {part = "stain"}
engine = {part = "onnxrt", threads = 1}
publisher = {endpoint = "ipc://bus"}
run = {window_s = 0.05, heartbeat_s = 0.5}
"""
START_S = 2.0
"""About what it takes until the first counts. Some are killed before them."""
WORK_S = 0.6
REJECT = "artefact"
"""The tiny bundle's class that is no cell."""
Document = dict[str, Any]


class Record(NamedTuple):
    """All that a journal says of a run. fates: frame -> fate and reason. cells: frame -> its cells. messages: by sequence."""

    fates: dict[int, tuple[str, str]]
    cells: dict[int, list[RecordedCell]]
    messages: list[Document]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder with settings and a bundle that is always sure, so that its labels are counted."""
    bundle = make_tiny_bundle(tmp_path / "tiny")
    certified(bundle.path, msgspec.structs.replace(bundle.manifest, confidence=Confidence(temperature=1.5, unsure_below=0.0)))
    (tmp_path / "box.toml").write_text(SETTINGS)
    return tmp_path


def killed(running: Running, out: Path, draw: random.Random) -> list[Document]:
    """Kill it at a drawn moment: while it starts, or after its first counts. Returns what it had published."""
    early, start_s, work_s = draw.random() < 0.2, draw.uniform(0.0, START_S), draw.uniform(0.0, WORK_S)
    begun = time.monotonic()
    while not early and b"\n" not in out.read_bytes():
        assert running.process.poll() is None, running.ended()
        assert time.monotonic() - begun < PATIENCE_S
        time.sleep(0.005)
    time.sleep(start_s if early else work_s)
    assert running.process.poll() is None, running.ended()
    running.process.kill()
    running.process.wait()
    return published(out)


def published(out: Path) -> list[Document]:
    """The counts on stdout; a line may have been cut short."""
    lines = out.read_bytes().split(b"\n")[:-1]
    return [document for document in map(json.loads, lines) if document["schema"] == "counts/1"]


def recorded(folder: Path) -> Record:
    """The one run in the journal, once the chain holds and replay equals what was published. No frame is there twice."""
    assert not verify(folder).broken
    record = Record({}, {}, [])
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
        again = replay(reader, run_id)
        assert not again.differs
        for number, (_, window) in enumerate(reader.windows(run_id)):
            assert window is not None
            assert window.sequence == number
            for fate in window.frames:
                for frame in range(fate.first, fate.first + fate.count):
                    assert frame not in record.fates
                    record.fates[frame] = fate.fate, fate.reason
            for cell in window.cells:
                record.cells.setdefault(cell.frame, []).append(cell)
        record.messages.extend(json.loads(each.payload or b"") for each in reader.messages(run_id, "counts/1", limit=1 << 30))
    assert sorted(record.fates) == list(range(len(record.fates)))
    assert set(record.cells) <= set(record.fates)
    assert (again.frames, again.windows) == (len(record.fates), len(record.messages))
    return record


def totals(cells: list[RecordedCell]) -> Document:
    """What must have been published of these cells: a count of its own, without edgecell.tally."""
    excluded = Counter(cell.excluded for cell in cells if cell.excluded)
    counted = Counter(cell.label for cell in cells if not cell.excluded and cell.decided and cell.label != REJECT)
    unsure = len(cells) - excluded.total() - counted.total()
    return {"cumulative": dict(counted), "unsure": unsure, "excluded": dict(excluded), "cells_total": len(cells)}


def settled(message: Document) -> int:
    return int(message["frames"]["captured"] - message["frames"]["in_flight"])


def check_against_truth(record: Record, truth: Record) -> None:
    """Every frame and cell, and every message, is what an uninterrupted run says of the same frames."""
    cells: list[RecordedCell] = []
    after = 0
    for message in record.messages:
        for frame in range(after, settled(message)):
            assert record.fates[frame] == truth.fates[frame], frame
            assert record.cells.get(frame, []) == truth.cells.get(frame, []), frame
            cells.extend(truth.cells.get(frame, []))
        after = settled(message)
        expected = totals(cells)
        assert {key: message[key] for key in expected} == expected
    assert after == len(record.fates)


def test_nothing_is_lost_or_twice_however_often_it_is_killed(box: Path) -> None:
    draw = random.Random(SEED)
    journal, heard = box / "journal", dict[int, Document]()
    windows = []
    for _ in range(KILLS):
        with started("run", "box.toml", "--journal", "journal", "--resume", "--json", folder=box) as running:
            messages = killed(running, box / "out", draw)
        heard.update((message["sequence"], message) for message in messages)
        if (journal / "journal.sqlite").exists() and heard:
            record = recorded(journal)
            assert all(record.messages[sequence] == message for sequence, message in heard.items())
            windows.append(len(record.messages))
    with started("run", "box.toml", "--journal", "journal", "--resume", "--json", folder=box) as running:
        killed_by_nobody = stopped(running, box / "out")
    heard.update((message["sequence"], message) for message in killed_by_nobody)
    record = recorded(journal)
    assert all(record.messages[sequence] == message for sequence, message in heard.items())
    frames = len(record.fates)
    with started("run", "box.toml", "--journal", "truth", "--json", "--max-frames", frames, folder=box) as running:
        assert running.process.wait(PATIENCE_S + frames) == 0
    check_against_truth(record, recorded(box / "truth"))
    assert len({message["run_id"] for message in record.messages}) == 1
    assert windows == sorted(windows)
    assert windows[-1] > KILLS / 2
    cells, windows_there = sum(map(len, record.cells.values())), len(record.messages)
    print(f"{KILLS} kills, seed {SEED}: {windows_there} windows, {frames} frames, {cells} cells")
    print(f"{windows_there - len(heard)} of the windows were recorded before the kill and heard of after it")


def stopped(running: Running, out: Path) -> list[Document]:
    """Let it go on for a while, then ask it to stop."""
    begun = time.monotonic()
    while b"\n" not in out.read_bytes() and time.monotonic() - begun < PATIENCE_S:
        time.sleep(0.05)
    running.process.terminate()
    ended = running.ended()
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    return published(out)
