"""Cells as a table: the same rows in every format, each with its notice."""

import csv
import io
import json
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from journal_windows import filled, started, window

from edgecell.errors import JournalError, MissingDependency
from edgecell.journal.events import FrameFate, RecordedCell, Window, pack, unpack
from edgecell.journal.export import CellRow, Format, cells, write
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


@pytest.fixture
def placed_rows(tmp_path: Path) -> list[CellRow]:
    """Of a run whose frames were placed on the slide."""
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(placed(), state=State(body=b""))
        return list(cells(journal.reader, ["run-a"]))


def placed() -> Window:
    found = [msgspec.structs.replace(cell, slide=(1, 12.25, -3.5)) for cell in window(0).cells]
    return msgspec.structs.replace(window(0), cells=tuple(found))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_places_on_the_slide_are_in_every_format(placed_rows: list[CellRow], kind: Format) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    out = io.BytesIO()
    assert write(placed_rows, kind, out) == 6
    assert [tuple(map(float, place)) for place in read_places(out.getvalue(), kind)] == [(1, 12.25, -3.5)] * 6


def read_places(table: bytes, kind: Format) -> list[tuple[Any, Any, Any]]:
    read: Iterable[dict[str, Any]]
    if kind == "csv":
        read = csv.DictReader(io.StringIO(table.decode()))
    elif kind == "jsonl":
        read = map(json.loads, table.splitlines())
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        read = parquet.read_table(io.BytesIO(table)).to_pylist()
    return [(row["region"], row["slide_x_um"], row["slide_y_um"]) for row in read]


def test_cells_written_down_before_places_were_are_read(rows: list[CellRow]) -> None:
    """The contents of a journal are never rewritten: each may be of another edgecell."""
    made = window(0)
    old = msgspec.json.decode(msgspec.json.encode(made))
    old["cells"] = [row[:9] for row in old["cells"]]
    read = unpack(zlib.compress(msgspec.json.encode(old)))
    assert isinstance(read, Window)
    assert read.cells == made.cells
    assert {(row.region, row.slide_x_um, row.slide_y_um) for row in rows} == {(None, None, None)}


def test_an_edgecell_that_knows_no_places_reads_the_cells_that_have_them() -> None:
    """So that a journal can be read after going back to an earlier version."""
    knows = [(name, kind) for name, kind in get_type_hints(RecordedCell).items() if name != "slide"]
    earlier = msgspec.defstruct("Earlier", knows, array_like=True)
    content = msgspec.json.decode(zlib.decompress(pack(placed())))
    assert len(content["cells"][0]) == len(knows) + 1
    read = msgspec.convert(content["cells"], list[earlier])  # type: ignore[valid-type]  # made here
    assert [list(msgspec.structs.astuple(cell)) for cell in read] == [
        list(msgspec.structs.astuple(cell))[:-1] for cell in placed().cells
    ]
