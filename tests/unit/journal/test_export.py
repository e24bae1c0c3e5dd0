"""Cells as a table: the same rows in every format, each with its notice."""

import csv
import io
import json
import sys
from pathlib import Path

import msgspec
import pytest
from journal_windows import filled, started, window

from edgecell.errors import JournalError, MissingDependency
from edgecell.journal.events import FrameFate
from edgecell.journal.export import CellRow, cells, write
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import NOTICE


@pytest.fixture
def rows(tmp_path: Path) -> list[CellRow]:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=2, sample_id="=1+1")
        return list(cells(journal.reader, ["run-a"]))


def test_every_cell_is_there_once_with_its_window(rows: list[CellRow]) -> None:
    assert [(row.window, row.frame, row.cell) for row in rows] == [
        (window, frame, cell) for window in (0, 1) for frame in (3 * window, 3 * window + 1) for cell in range(3)
    ]
    assert {(row.label, row.excluded, row.decided, row.confidence) for row in rows} == {
        ("neutrophil", None, True, 0.875),
        ("lymphocyte", None, False, 0.875),
        ("", "edge", False, None),
    }
    assert {row.notice for row in rows} == {NOTICE}


def test_json_lines(rows: list[CellRow]) -> None:
    out = io.BytesIO()
    assert write(rows, "jsonl", out) == 12
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [row._asdict() for row in rows]


def test_csv_with_no_text_that_a_spreadsheet_would_run(rows: list[CellRow]) -> None:
    out = io.BytesIO()
    assert write(rows, "csv", out) == 12
    read = list(csv.DictReader(io.StringIO(out.getvalue().decode())))
    assert len(read) == 12
    assert (read[0]["label"], read[0]["confidence"], read[2]["confidence"], read[2]["excluded"]) == (
        "neutrophil",
        "0.875",
        "",
        "edge",
    )
    assert {row["sample_id"] for row in read} == {"'=1+1"}
    assert {row["notice"] for row in read} == {NOTICE}


def test_parquet(rows: list[CellRow]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    assert write(iter(rows), "parquet", out) == 12
    table = parquet.read_table(io.BytesIO(out.getvalue()))
    assert table.to_pylist() == [row._asdict() for row in rows]
    assert table.schema.metadata[b"notice"].decode() == NOTICE


def test_parquet_without_pyarrow_names_the_extra(rows: list[CellRow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"edgecell\[parquet\]"):
        write(rows, "parquet", io.BytesIO())


def test_a_full_disk_is_said(rows: list[CellRow]) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(JournalError, match="cannot be written: No space"):
        write(rows, "jsonl", full)


def test_frames_keep_their_names(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        frames = (FrameFate(0, 1, "processed", "", "a/1.png"), *window(0).frames[1:])
        named = msgspec.structs.replace(window(0), frames=frames)
        journal.append(named, state=State(body=b""))
        assert [row.frame_name for row in cells(journal.reader, ["run-a"])] == ["a/1.png"] * 3 + [""] * 3
