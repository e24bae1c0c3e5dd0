"""The journal: what is written can be read, whole, in order, and beside a writer."""

import hashlib
import json
import os
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from journal_windows import ended, filled, started, window

from edgecell import clock
from edgecell.errors import JournalBlocked, JournalError
from edgecell.journal import chain, store
from edgecell.journal.erase import erase
from edgecell.journal.events import RunStarted, Window
from edgecell.journal.journal import Journal, Recorder, held
from edgecell.journal.reader import Reader, State
from edgecell.journal.verify import verify

VERSION_1 = """
PRAGMA application_id = 1701077861;
CREATE TABLE events (
    position INTEGER PRIMARY KEY, run_id TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL, head BLOB NOT NULL,
    signature BLOB
);
CREATE TABLE contents (position INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE states (run_id TEXT PRIMARY KEY, position INTEGER NOT NULL, body BLOB NOT NULL);
PRAGMA user_version = 1;
"""


class Disturbed(sqlite3.Connection):
    """Before its statement number `after`, another connection makes the journal."""

    after = 0
    seen = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if self.seen == self.after:
            store.open_for_writing(Path(super().execute("PRAGMA database_list").fetchone()[2]).parent).close()
        self.seen += 1
        return super().execute(*arguments)


@pytest.mark.parametrize("after", range(6))
def test_a_journal_that_is_being_made_is_empty_or_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Whichever of the questions that opening asks another process comes between: it is never taken for another file."""
    store.connect_to(tmp_path / store.FILE).close()

    def disturbed(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, factory=Disturbed, isolation_level=None)
        connection.after = after
        return connection

    monkeypatch.setattr(store, "readable", disturbed)
    try:
        store.open_for_reading(tmp_path).close()
    except JournalError as error:
        assert "is empty" in error.what  # noqa: PT017 either answer is right


def test_a_run_that_failed_leaves_no_lock_behind(tmp_path: Path) -> None:
    """A service whose camera is missing begins a new run every few seconds."""
    with pytest.raises(JournalError, match="the camera is gone"), held(tmp_path, "run-a"):
        raise JournalError("the camera is gone")
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path, "run-a"), pytest.raises(JournalError, match="going on in another process"), held(tmp_path, "run-a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_hardly_waits_for_who_keeps_the_journal_locked(tmp_path: Path) -> None:
    """Its frames wait meanwhile, and after a SIGTERM it has two seconds."""
    with Journal.open(tmp_path) as journal, closing(sqlite3.connect(tmp_path / store.FILE, isolation_level=None)) as other:
        recorder = Recorder(journal, started())
        recorder.start()
        other.execute("BEGIN IMMEDIATE")
        start_ns = clock.monotonic_ns()
        with pytest.raises(JournalBlocked, match="kept locked by another program"):
            recorder.commit(window(0), State(body=b""))
        assert clock.monotonic_ns() - start_ns < 2e9
        other.execute("ROLLBACK")
        assert recorder.commit(window(0), State(body=b"")).position == 2


def test_a_window_comes_back_as_it_was_written(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=3)
    with Reader.open(tmp_path) as reader:
        [run_id] = reader.run_ids()
        run = reader.run(run_id)
        assert (run.windows, run.started and run.started.sample_id, run.ended and run.ended.state) == (3, "slide-17", "stopped")
        events = [event for _, event in reader.windows(run_id)]
        assert [event and event.cells for event in events] == [window(n).cells for n in range(3)]
        assert [event and event.frames for event in events] == [window(n).frames for n in range(3)]
        assert reader.state(run_id) is None  # it is over


def test_each_head_is_the_hash_of_the_one_before_and_its_entry(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
        head = bytes(32)
        for number, row in enumerate(journal.reader.rows(), 1):
            assert row.entry.position == number
            head = hashlib.sha256(head + row.body).digest()
            assert row.head == head
            assert row.content is not None
            assert json.loads(row.body)["content"] == hashlib.sha256(row.content).hexdigest()
        assert journal.reader.last() == (5, head)


def test_messages_come_back_byte_for_byte_with_their_place(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        receipts = [journal.append(window(n), state=State(body=b"")) for n in range(5)]
        messages = list(journal.reader.messages("run-a", "counts/1", after_sequence=1, limit=2))
    assert [message.sequence for message in messages] == [2, 3]
    for message, receipt in zip(messages, receipts[2:4], strict=True):
        assert message.payload is not None
        fields = json.loads(message.payload)
        assert (fields["journal_position"], fields["chain_head"]) == (receipt.position, receipt.head.hex())
        original = bytes(window(message.sequence).message)
        stamped = original.replace(b'"journal_position":null', f'"journal_position":{receipt.position}'.encode())
        assert message.payload == stamped.replace(b'"chain_head":""', f'"chain_head":"{receipt.head.hex()}"'.encode())


def test_a_window_is_never_there_twice(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        same = window(0)
        first = journal.append(same, state=State(body=b"a"))
        assert journal.append(same, state=State(body=b"a")) == first
        with pytest.raises(JournalError, match="another window 0"):
            journal.append(window(0), state=State(body=b"b"))
        assert journal.reader.last()[0] == 2


def test_a_reader_looks_on_while_another_connection_writes(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        with Reader.open(tmp_path) as reader:
            for number in range(20):
                journal.append(window(number), state=State(body=b""))
                assert reader.last()[0] == number + 2
                assert len(list(reader.messages("run-a", "counts/1"))) == number + 1


def test_two_writers_share_one_chain(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as one, Journal.open(tmp_path) as other:
        one.append(started("run-a"))
        other.append(started("run-b"))
        one.append(window(0, "run-a"), state=State(body=b""))
        other.append(window(0, "run-b"), state=State(body=b""))
        assert [row.entry.run_id for row in one.reader.rows()] == ["run-a", "run-b", "run-a", "run-b"]


def test_an_error_inside_a_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        before = journal.reader.last()
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.append(ended(), window(0), window(0))
        assert journal.reader.last() == before


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "journal"
    with Journal.open(folder) as journal:
        journal.append(started())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
        assert {file.name for file in folder.iterdir()} >= {"journal.sqlite", "journal.sqlite-wal"}


def test_one_process_holds_a_run(tmp_path: Path) -> None:
    with held(tmp_path, "run-a"):
        with held(tmp_path, "run-b"):
            pass
        with pytest.raises(JournalError, match="going on in another process"), held(tmp_path, "run-a"):
            pass
    with held(tmp_path, "run-a"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(JournalError, match="no run's id"), held(tmp_path, "../run"):
        pass


@pytest.mark.parametrize("name", [store.FILE, "copy.sqlite"])
def test_a_file_of_version_1_is_brought_up_to_date(tmp_path: Path, name: str) -> None:
    with Journal.open(tmp_path / "new") as journal:
        filled(journal)
        rows = list(journal.reader.rows())
    path = tmp_path / name
    old = sqlite3.connect(path)
    old.executescript(VERSION_1)
    for row in rows:
        place = row.entry.position, row.entry.run_id, row.entry.type, row.body, row.head, row.signature
        old.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", place)
        old.execute("INSERT INTO contents VALUES (?, ?)", (row.entry.position, row.content))
    old.commit()
    old.close()
    path.chmod(0o644)
    with Reader.open(path) as reader:
        assert list(reader.rows()) == rows
        assert [each.sequence for each in reader.messages("run-a", "counts/1")] == [0, 1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {file.name for file in tmp_path.iterdir() if file.suffix == ".sqlite"} == {name}
    path.rename(tmp_path / store.FILE)
    with Journal.open(tmp_path) as journal:
        assert journal.append(started("run-b")).position == len(rows) + 1
    with sqlite3.connect(tmp_path / store.FILE) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (store.VERSION,)
    file.close()


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path).__exit__(None, None, None)
    with sqlite3.connect(tmp_path / store.FILE) as file:
        file.execute(f"PRAGMA user_version = {store.VERSION + 1}")
    file.close()
    with pytest.raises(JournalError, match="schema version"):
        Journal.open(tmp_path)
    with pytest.raises(JournalError, match="schema version"):
        Reader.open(tmp_path)


@pytest.mark.parametrize("content", [b"no journal at all", b"SQLite format 3\0" + bytes(200), b"\xff" * 5000])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / store.FILE).write_bytes(content)
    with pytest.raises(JournalError, match=r"no journal|damaged"):
        Reader.open(tmp_path)
    with pytest.raises(JournalError, match=r"no journal|damaged"):
        Journal.open(tmp_path)
    assert (tmp_path / store.FILE).read_bytes() == content


def test_another_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / store.FILE) as file:
        file.execute("CREATE TABLE mine (x)")
    file.close()
    with pytest.raises(JournalError, match="is no journal of edgecell"):
        Journal.open(tmp_path)


def test_a_view_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path).__exit__(None, None, None)
    with sqlite3.connect(tmp_path / store.FILE) as file:
        file.execute("DROP TABLE states")
        file.execute("CREATE VIEW states AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n")
    file.close()
    with pytest.raises(JournalError, match="other tables"):
        Reader.open(tmp_path)


def test_no_journal_is_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        Reader.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_content_that_was_altered_is_an_error_and_no_event(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
    with sqlite3.connect(tmp_path / store.FILE) as file:
        file.execute("UPDATE contents SET body = CAST(body || x'00' AS BLOB) WHERE position = 3")
    file.close()
    with Reader.open(tmp_path) as reader, pytest.raises(JournalError, match="event 3 is not what its entry says"):
        list(reader.windows("run-a"))


def test_a_content_for_another_event_is_an_error(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal)
        rows = list(journal.reader.rows())
    entry = chain.from_bytes(rows[2].body)
    swapped = rows[1]
    forged = chain.to_bytes(
        type(entry)(**{**{name: getattr(entry, name) for name in entry.__struct_fields__}, "content": swapped.entry.content})
    )
    with sqlite3.connect(tmp_path / store.FILE) as file:
        file.execute("UPDATE contents SET body = ? WHERE position = 3", (swapped.content,))
        file.execute("UPDATE events SET body = ? WHERE position = 3", (forged,))
    file.close()
    with Reader.open(tmp_path) as reader, pytest.raises(JournalError, match="another type, run or window"):
        list(reader.windows("run-a"))


def test_an_unknown_run_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal, pytest.raises(JournalError, match="no run 'nobody'"):
        journal.reader.run("nobody")


def test_kinds_of_events(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=1)
        kinds = [type(journal.reader.event(row)) for row in journal.reader.rows()]
    assert kinds[:2] == [RunStarted, Window]


def test_a_journal_on_a_disk_that_may_not_be_written_is_read(tmp_path: Path) -> None:
    """A file that was closed well needs nothing beside it; without root's rights, or else on a disk that refuses root too."""
    folder = tmp_path / "journal"
    with Journal.open(folder) as journal:
        filled(journal)
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True, check=False).returncode == 0
    folder.chmod(0o500) if not mounted else None
    try:
        if not mounted and os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere, and mount nothing")
        assert verify(folder).broken == ""
        with Reader.open(folder) as reader:
            assert reader.run("run-a").windows == 3
        with pytest.raises(JournalError, match="cannot"):
            Journal.open(folder)
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)
        folder.chmod(0o700)


def test_what_was_erased_makes_room_in_the_file_for_what_comes_next(tmp_path: Path) -> None:
    def size() -> int:
        with Journal.open(tmp_path) as journal:
            assert journal.fold()
        return (tmp_path / store.FILE).stat().st_size

    with Journal.open(tmp_path) as journal:
        filled(journal, windows=60)
    before = size()
    erase(tmp_path, "slide-17")
    assert size() == before
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=30, run_id="run-b", sample_id="next")
    assert before <= size() < before * 1.2
