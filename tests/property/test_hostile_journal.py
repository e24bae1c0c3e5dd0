"""A damaged journal is read, or one error says what is wrong with it. Nothing that is damaged passes for whole."""

import functools
import io
import shutil
import sqlite3
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hostile import ODD, damaged, fuzz, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from journal_windows import filled, started, window

from edgecell.errors import EdgecellError, JournalError
from edgecell.journal import chain, events, export, store
from edgecell.journal.events import Event
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader
from edgecell.journal.replay import replay
from edgecell.journal.verify import verify

TOKENS = [
    b"SQLite format 3\0",
    b"\xff" * 8,
    b"\0" * 8,
    b"\x7f\xff\xff\xff",
    b"CREATE TABLE x(y);",
    b"'run_started'",
    b"{}",
    b"[" * 99,
]
EVENTS: tuple[Event, ...] = (started(), window(0))
KINDS: tuple[export.Format, ...] = ("csv", "jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of some windows, folded into one file."""
    folder = tmp_path_factory.mktemp("hostile-journal") / "whole"
    with Journal.open(folder) as journal:
        filled(journal, windows=4)
        filled(journal, windows=2, run_id="run-b", sample_id="slide-18")
        journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


def looked_through(folder: Path) -> list[bytes]:
    """Everything that reading does. Returns the heads of a chain that held."""
    found = verify(folder)
    if found.broken:
        raise JournalError(found.broken)
    with Reader.open(folder) as reader:
        heads = [row.head for row in reader.rows()]
        assert (len(heads), heads[-1].hex() if heads else bytes(32).hex()) == (found.events, found.head)
        for run_id in reader.run_ids():
            list(reader.messages(run_id, "counts/1"))
            reader.totals(run_id)
            reader.state(run_id)
            replay(reader, run_id)
        for kind in KINDS:
            export.write(export.cells(reader, reader.run_ids()), kind, io.BytesIO())
    return heads


def test_a_whole_journal_is_read(whole: Path) -> None:
    assert len(looked_through(whole)) == 10


@given(data=st.data())
@fuzz
def test_damaged_files(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    raw = data.draw(damaged((whole / store.FILE).read_bytes(), TOKENS))
    (tmp_path / store.FILE).write_bytes(raw)
    for name in ("-wal", "-shm"):
        (tmp_path / (store.FILE + name)).unlink(missing_ok=True)
    seen = read_or_refused(lambda: looked_through(tmp_path))
    if isinstance(seen, list):  # a fault where nothing lies, or the end of the file is gone with the last events
        assert seen == looked_through(whole)[: len(seen)]


@given(data=st.data())
@fuzz
def test_damaged_pages(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    """One field of a page's head or one cell pointer is another number: where SQLite itself must not go astray."""
    raw = bytearray((whole / store.FILE).read_bytes())
    page = data.draw(st.integers(0, len(raw) // 4096 - 1))
    at = 4096 * page + (100 if page == 0 else 0) + data.draw(st.integers(0, 40))
    raw[at : at + 2] = struct.pack(">H", data.draw(st.sampled_from([0, 1, 2, 5, 10, 13, 255, 4095, 4096, 0x7FFF, 0xFFFF])))
    (tmp_path / store.FILE).write_bytes(raw)
    read_or_refused(lambda: looked_through(tmp_path))


@given(data=st.data())
@fuzz
def test_damaged_logs(tmp_path: Path, data: st.DataObject) -> None:
    """The writer's log beside the file: what its check sums do not hold is as if it had not been written."""
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_with_log(), folder)
    log = folder / (store.FILE + "-wal")
    log.write_bytes(data.draw(damaged(log.read_bytes(), TOKENS)))
    seen = read_or_refused(lambda: looked_through(folder))
    if isinstance(seen, list):
        assert seen == looked_through(_with_log())[: len(seen)]


@functools.cache
def _with_log() -> Path:
    """A copy of a journal that is open, so that its log is not folded into the file."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-journal-"))
    with Journal.open(folder / "open") as journal:
        filled(journal, windows=3)
        shutil.copytree(folder / "open", folder / "copy")
    (folder / f"copy/{store.FILE}-shm").unlink()
    return folder / "copy"


@given(
    table=st.sampled_from(["events", "contents", "states"]),
    column=st.sampled_from(["position", "run_id", "type", "body", "head", "signature", "sequence"]),
    value=ODD,
    row=st.integers(1, 10),
)
@fuzz
def test_odd_values_in_the_tables(whole: Path, tmp_path: Path, table: str, column: str, value: Any, row: int) -> None:
    """By somebody who has SQLite at hand, so the file itself is in order."""
    shutil.copyfile(whole / store.FILE, tmp_path / store.FILE)
    for name in ("-wal", "-shm"):
        (tmp_path / (store.FILE + name)).unlink(missing_ok=True)
    connection = sqlite3.connect(tmp_path / store.FILE)
    try:
        value = value if isinstance(value, int | float | str) else b"[]" if value else None
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))  # noqa: S608 names of our own
        connection.commit()
    except (sqlite3.Error, OverflowError, UnicodeEncodeError):
        return  # no such column, or a value that SQLite itself does not take
    finally:
        connection.close()
    seen = read_or_refused(lambda: looked_through(tmp_path))
    assert isinstance(seen, EdgecellError | list)


@given(data=st.data())
@fuzz
def test_damaged_contents(data: st.DataObject) -> None:
    packed = events.pack(data.draw(st.sampled_from(EVENTS)))
    raw = data.draw(damaged(packed, TOKENS))

    def unpacked() -> None:
        try:
            events.unpack(raw)
        except ValueError as error:
            raise JournalError(str(error)) from None

    read_or_refused(unpacked)


@given(data=st.data())
@fuzz
def test_damaged_entries(whole: Path, data: st.DataObject) -> None:
    with Reader.open(whole) as reader:
        bodies = [row.body for row in reader.rows()]
    raw = data.draw(damaged(data.draw(st.sampled_from(bodies)), TOKENS))

    def read() -> None:
        try:
            chain.from_bytes(raw)
        except ValueError as error:
            raise JournalError(str(error)) from None

    read_or_refused(read)
