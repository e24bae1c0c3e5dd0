"""A run that is killed with its counts in the journal goes on as if nothing had happened."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from command_line import PATIENCE_S, called, finished, started

from edgecell import clock
from edgecell.errors import JournalError
from edgecell.journal.chain import SIGNED
from edgecell.journal.export import CellRow, cells
from edgecell.journal.reader import Reader
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify
from edgecell.signature import new_keys, read_public, signed_by

FRAMES = 48
SETTINGS = f"""
device_id = "bench-3"
sample_id = "17"

[source]
part = "phantom"
width = 480
height = 360
frames = {FRAMES}

[publisher]
endpoint = "tcp://127.0.0.1:*"

[run]
window_s = 0.1
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "box.toml"
    path.write_text(SETTINGS)
    return path


def windows(folder: Path) -> int:
    """In the journal so far."""
    try:
        reader = Reader.open(folder)
    except JournalError as error:
        if re.search("there is no journal|is empty", error.what):
            return 0
        raise
    with reader:
        return sum(reader.run(run_id).windows for run_id in reader.run_ids())


def cells_of(folder: Path) -> list[tuple[Any, ...]]:
    """All of them, but for what differs from run to run: its id, windows and times."""
    left_out = {"run_id", "window", "utc"}
    kept = [field for field in CellRow._fields if field not in left_out]
    with Reader.open(folder) as reader:
        return [tuple(getattr(row, field) for field in kept) for row in cells(reader, reader.run_ids())]


def killed(settings: Path, folder: Path, after: int) -> None:
    """A run, killed as soon as so many windows are in its journal."""
    with started("run", settings, "--journal", folder, "--json", folder=settings.parent) as run:
        deadline = clock.monotonic_ns() + PATIENCE_S * 1e9
        while windows(folder) < after:
            assert run.process.poll() is None, run.ended()
            assert clock.monotonic_ns() < deadline
        run.process.kill()
        assert run.ended().code == -9


def test_a_run_killed_goes_on_as_if_nothing_had_happened(settings: Path, tmp_path: Path) -> None:
    whole = finished("run", settings, "--journal", tmp_path / "whole", folder=tmp_path)
    assert whole.code == 0, whole.err
    folder = tmp_path / "killed"
    killed(settings, folder, after=3)
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
        before = list(reader.messages(run_id, "counts/1"))
        assert reader.run(run_id).ended is None
    assert 0 < json.loads(before[-1].payload or b"")["frames"]["captured"] < FRAMES

    again = finished("run", settings, "--resume", "--journal", folder, "--json", folder=tmp_path)
    assert again.code == 0, again.err
    messages = [message for message in again.documents if message["schema"] == "counts/1"]
    assert {message["run_id"] for message in messages} == {run_id}
    assert [message["sequence"] for message in messages] == list(range(len(before), len(before) + len(messages)))
    assert messages[-1]["frames"] == {
        "captured": FRAMES,
        "processed": FRAMES,
        "dropped": 0,
        "gated": 0,
        "failed": 0,
        "in_flight": 0,
    }

    assert cells_of(folder) == cells_of(tmp_path / "whole")
    assert verify(folder, published=messages[-1]["chain_head"]).broken == ""
    with Reader.open(folder) as reader:
        found = replay(reader, run_id)
        assert (found.differs, found.frames) == ("", FRAMES)
        assert [json.loads(each.payload or b"") for each in reader.messages(run_id, "counts/1", len(before) - 1)] == [
            {**message, "sample_id": "17"} for message in messages
        ]
        frames = [fate for _, window in reader.windows(run_id) if window for fate in window.frames]
    settled = [index for fate in frames for index in range(fate.first, fate.first + fate.count)]
    assert settled == list(range(FRAMES))

    over = called("run", settings, "--resume", run_id, "--journal", folder)
    assert (over.code, "came to its end" in over.err) == (8, True)


def test_a_run_is_resumed_only_as_it_was_begun(settings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    killed(settings, folder, after=1)
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
    text = settings.read_text()
    for change, told in (
        (("height = 360", "height = 480"), "source.height: 360 then, 480 now"),
        (('"17"', '"18"'), "sample_id: '17' then, '18' now"),
        (("[run]", '[models]\nnucleated = "bloodmnist28"\n[run]'), "models.nucleated.name: 'pbc8' then, 'bloodmnist28' now"),
    ):
        settings.write_text(text.replace(*change))
        ended = called("run", settings, "--resume", run_id, "--journal", folder)
        assert (ended.code, told in ended.err) == (8, True), ended.err
    settings.write_text(text)
    ended = called("run", settings, "--resume", "no-such-run", "--journal", folder)
    assert (ended.code, "no run 'no-such-run'" in ended.err) == (8, True)
    ended = called("run", settings, "--resume", "--no-journal")
    assert (ended.code, "none is kept" in ended.err) == (2, True)


def test_a_run_that_is_going_on_is_not_resumed(settings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    settings.write_text(SETTINGS.replace(f"frames = {FRAMES}", "fps = 20"))
    with started("run", settings, "--journal", folder, folder=tmp_path) as run:
        while not windows(folder):
            assert run.process.poll() is None, run.ended()
        second = called("run", settings, "--resume", "--journal", folder)
        assert (second.code, "going on in another process" in second.err) == (8, True), second.err
        run.process.terminate()
        assert run.ended().code == 0
    with Reader.open(folder) as reader:
        [run_id] = reader.run_ids()
        ended = reader.run(run_id).ended
        assert ended
        assert (ended.state, ended.complete) == ("stopped", False)


def test_pictures_and_signatures_of_a_real_run(settings: Path, tmp_path: Path) -> None:
    private, public = new_keys("device", tmp_path / "keys")
    with settings.open("a") as file:
        file.write(f'\n[journal]\npath = "kept"\nkey = "{private}"\ncrops = true\n')
    ended = called("run", settings, "--json", "--max-frames", 6)
    assert ended.code == 0, ended.err
    last = [message for message in ended.documents if message["schema"] == "counts/1"][-1]
    folder = tmp_path / "kept"
    checked = called("journal", "verify", folder, "--key", public, "--head", last["chain_head"], "--json").documents[0]
    assert (checked["whole"], checked["unchecked"], checked["signed"]) == (True, 0, checked["events"])
    assert signed_by(read_public(public), bytes.fromhex(last["chain_signature"]), SIGNED + bytes.fromhex(last["chain_head"]))
    exported = called("journal", "export", folder, "--format", "jsonl", "--crops", tmp_path / "crops")
    assert exported.code == 0, exported.err
    rows = {row["crop"]: row for row in exported.documents if row["crop"]}
    assert rows
    assert {row["kind"] for row in rows.values()} == {"nucleated"}
    for path in (tmp_path / "crops").iterdir():
        row, picture = rows.pop(path.stem), cv2.imread(str(path))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["crop"]
        assert picture is not None
        height, width = picture.shape[:2]
        assert width >= row["x1"] - row["x0"]
        assert height >= row["y1"] - row["y0"]
        assert picture.min() < 150  # a stained nucleus, no background
    assert not rows
    assert called("journal", "erase", folder, "--sample", "17", "--yes").code == 8
    assert called("journal", "erase", folder, "--sample", "17", "--yes", "--key", private).code == 0
    assert called("journal", "verify", folder, "--key", public).code == 0
