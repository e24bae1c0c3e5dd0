"""Whatever is changed in a journal is found, and the first event that was is named."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from journal_windows import filled, started, window

from edgecell.errors import JournalError
from edgecell.journal import chain, store
from edgecell.journal.erase import erase
from edgecell.journal.events import SampleErased
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader, State
from edgecell.journal.recording import device_key
from edgecell.journal.verify import verify
from edgecell.signature import new_keys, read_public, signed_by

Change = Callable[[sqlite3.Connection], object]


def change(folder: Path, how: str, *values: object) -> None:
    file = sqlite3.connect(folder / store.FILE)
    with file:
        file.execute(how, values)
    file.close()


def test_a_whole_journal(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=4)
        filled(journal, windows=2, run_id="run-b")
        _, head = journal.reader.last()
    found = verify(tmp_path)
    assert (found.broken, found.events, found.head, found.erased, found.unchecked) == ("", 10, head.hex(), 0, 0)


def test_an_empty_journal_is_whole(tmp_path: Path) -> None:
    Journal.open(tmp_path).__exit__(None, None, None)
    found = verify(tmp_path)
    assert (found.broken, found.events, found.head) == ("", 0, "00" * 32)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (
            "UPDATE contents SET body = CAST(substr(body, 1, 20) || x'2a' || substr(body, 22) AS BLOB) WHERE position = 3",
            "event 3",
        ),
        ("UPDATE contents SET body = (SELECT body FROM contents WHERE position = 2) WHERE position = 4", "event 4"),
        ("UPDATE contents SET body = 'text' WHERE position = 2", "event 2"),
        ("UPDATE contents SET body = zeroblob(100000000) WHERE position = 2", "event 2"),
        ("UPDATE events SET head = zeroblob(32) WHERE position = 3", "event 3"),
        ("UPDATE events SET head = zeroblob(31) WHERE position = 3", "event 3"),
        ("UPDATE events SET body = CAST(replace(body, '2026', '2025') AS BLOB) WHERE position = 4", "event 4"),
        ("UPDATE events SET body = x'7b7d' WHERE position = 4", "event 4"),
        ("UPDATE events SET run_id = 'run-x' WHERE position = 3", "event 3"),
        ("UPDATE events SET type = 'run_ended' WHERE position = 3", "event 3"),
        ("UPDATE events SET sequence = 9 WHERE position = 4", "event 4"),
        ("UPDATE events SET position = 99 WHERE position = 4", "event 99"),
        ("DELETE FROM events WHERE position = 3", "event 3 is missing"),
        ("DELETE FROM events WHERE position = 1", "event 1 is missing"),
        ("DELETE FROM contents WHERE position = 3", "event 3 has lost its content"),
        ("INSERT INTO contents VALUES (77, x'00')", "content 77"),
        ("UPDATE states SET body = x'00'", "state of run run-a"),
        ("UPDATE states SET position = 3", "state of run run-a"),
        ("INSERT INTO memories VALUES ('run-a', 7, x'00')", "state of run run-a"),
    ],
)
def test_the_first_event_that_was_changed_is_named(tmp_path: Path, how: str, told: str) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=3, complete=False)
    change(tmp_path, how)
    assert told in verify(tmp_path).broken


def test_events_cut_off_at_the_end_show_only_against_a_head_that_was_published(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        heads = [journal.append(window(n), state=State(body=b"")).head.hex() for n in range(3)]
    assert verify(tmp_path, published=heads[2]).broken == ""
    change(tmp_path, "DELETE FROM events WHERE position = 4")
    change(tmp_path, "DELETE FROM contents WHERE position = 4")
    change(tmp_path, "DELETE FROM states")
    assert verify(tmp_path).broken == ""
    assert verify(tmp_path, published=heads[1]).broken == ""
    assert "published" in verify(tmp_path, published=heads[2]).broken


def test_a_chain_made_anew_is_whole_and_shows_only_by_its_signature(tmp_path: Path) -> None:
    keys = {name: new_keys(name, tmp_path / "keys") for name in ("device", "stranger")}
    folder = tmp_path / "journal"
    with Journal.open(folder, device_key(str(keys["device"][0]))) as journal:
        journal.append(started())
        journal.append(window(0), state=State(body=b""))
    with Reader.open(folder) as reader:
        rows = list(reader.rows())
    checks = partial(signed_by, read_public(keys["device"][1]))
    found = verify(folder, checks=checks)
    assert (found.broken, found.signed, found.unchecked) == ("", 2, 0)
    assert (verify(folder).broken, verify(folder).unchecked) == ("", 2)

    head, stranger = chain.START, device_key(str(keys["stranger"][0]))
    for row in rows:
        body = row.body.replace(b'"utc":"20', b'"utc":"19')
        head = chain.advance(head, body)
        values = body, head, chain.sign(head, stranger), row.entry.position
        change(folder, "UPDATE events SET body = ?, head = ?, signature = ? WHERE position = ?", *values)
    assert verify(folder).broken == ""
    assert "event 1 is not signed by the key" in verify(folder, checks=checks).broken
    change(folder, "UPDATE events SET signature = NULL")
    assert "event 1 has lost its signature" in verify(folder, checks=checks).broken


def test_erasing_a_sample_leaves_the_chain_and_no_trace_of_the_sample(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=3, run_id="run-a", sample_id="Mueller-17")
        filled(journal, windows=3, run_id="run-b", sample_id="other-18")
        heads = [row.head for row in journal.reader.rows()]
    gone = erase(tmp_path, "Mueller-17")
    assert (gone.runs, gone.events, gone.complete) == (("run-a",), 5, True)
    found = verify(tmp_path, published=heads[-1].hex())
    assert (found.broken, found.erased, found.events) == ("", 5, 11)
    with Reader.open(tmp_path) as reader:
        assert [row.head for row in reader.rows()][:-1] == heads
        assert reader.run("run-a").started is None
        assert reader.run("run-b").started is not None
        assert [message.payload for message in reader.messages("run-a", "counts/1")] == [None] * 3
        assert reader.state("run-a") is None
    for file in tmp_path.iterdir():
        assert b"Mueller" not in file.read_bytes()
    with pytest.raises(JournalError, match="no run of sample 'Mueller-17'"):
        erase(tmp_path, "Mueller-17")


def test_content_of_an_erased_run_leaves_no_compressed_trace(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=3)
        contents = [row.content for row in journal.reader.rows()]
    erase(tmp_path, "slide-17")
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert all(content and content[10:60] not in left for content in contents)


def test_erasing_says_when_a_reader_keeps_the_log(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal, Reader.open(tmp_path) as reader:
        filled(journal)
        rows = reader.rows()
        connection = reader._connection
        connection.execute("BEGIN")
        next(rows)
        assert not erase(tmp_path, "slide-17").complete
        connection.execute("ROLLBACK")
        with pytest.raises(JournalError, match="no run of sample"):
            erase(tmp_path, "slide-17")
        assert not (tmp_path / f"{store.FILE}-wal").read_bytes()


def test_a_run_that_is_going_on_is_not_erased(tmp_path: Path) -> None:
    from edgecell.journal.journal import held

    with Journal.open(tmp_path) as journal:
        filled(journal)
        with held(tmp_path, "run-a"), pytest.raises(JournalError, match="going on"):
            erase(tmp_path, "slide-17")
        assert journal.reader.run("run-a").started is not None


def test_a_signed_sample_is_erased_with_the_key_only(tmp_path: Path) -> None:
    private, public = new_keys("device", tmp_path / "keys")
    folder = tmp_path / "journal"
    with Journal.open(folder, device_key(str(private))) as journal:
        filled(journal)
    with pytest.raises(JournalError, match=r"was signed with key [0-9a-f]{16}, and its erasure must be"):
        erase(folder, "slide-17")
    with Journal.open(folder) as journal:  # as someone would who may write the file and has no key
        journal.erase(["run-a"], SampleErased(run_ids=("run-a",), utc="", events=0, crops=0))
    assert "event 6 says that runs were erased that are signed" in verify(folder).broken
    whole = tmp_path / "whole"
    with Journal.open(whole, device_key(str(private))) as journal:
        filled(journal)
    erase(whole, "slide-17", device_key(str(private)))
    found = verify(whole, checks=partial(signed_by, read_public(public)))
    assert (found.broken, found.signed, found.erased) == ("", 6, 5)
