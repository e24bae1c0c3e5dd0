"""The chain of reviews: it is verified, counted again, exported and erased with the journal that it belongs to."""

import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, PATIENCE_S, called
from journal_windows import filled
from reviewed_runs import said, signed

from edgecell.errors import JournalError
from edgecell.journal import chain, erase, events
from edgecell.journal.cells import RunCells
from edgecell.journal.events import SampleErased
from edgecell.journal.export import cells
from edgecell.journal.journal import Journal
from edgecell.journal.reader import Reader
from edgecell.journal.recording import device_key
from edgecell.journal.replay import replay
from edgecell.journal.reviews import FILE, ReviewReader, Reviews, standing
from edgecell.journal.verify import Verified, verify
from edgecell.signature import new_keys, read_public, signed_by


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of which run-a is reviewed in five events."""
    path = tmp_path_factory.mktemp("reviewed") / "journal"
    with Journal.open(path) as journal:
        filled(journal, windows=2)
        filled(journal, windows=1, run_id="run-b", sample_id="other-18")
    said(path, "relabel", (0, 0), (0, 1), label="lymphocyte", by="anna")
    said(path, "reject", (1, 0), by="ben")
    said(path, "undo", (0, 1), by="ben")
    signed(path, by="anna")
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "journal"))


def change(folder: Path, how: str, *values: object, file: str = FILE) -> None:
    connection = sqlite3.connect(folder / file)
    with connection:
        connection.execute(how, values)
    connection.close()


def of_reviews(folder: Path) -> Verified:
    found = verify(folder).reviews
    assert found is not None
    return found


def test_both_chains_are_verified(folder: Path) -> None:
    found = verify(folder)
    assert (found.whole, found.events, found.reviews and found.reviews.events) == (True, 7, 5)
    with ReviewReader.open(folder) as reader:
        _, head = reader.last()
    assert of_reviews(folder).head == head.hex()
    assert verify(folder, published=head.hex()).broken == ""
    assert "no event has the head" in verify(folder, published="ab" * 32).broken
    assert verify(folder / "journal.sqlite").reviews == found.reviews


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("UPDATE contents SET body = (SELECT body FROM contents WHERE position = 2) WHERE position = 1", "event 1 is not what"),
        ("UPDATE events SET head = zeroblob(32) WHERE position = 3", "event 3"),
        ("UPDATE events SET run_id = 'run-b' WHERE position = 2", "event 2"),
        ("DELETE FROM events WHERE position = 2", "event 2 is missing"),
        ("DELETE FROM contents WHERE position = 2", "event 2 has lost its content"),
        ("INSERT INTO contents VALUES (77, x'00')", "content 77"),
    ],
)
def test_the_first_review_that_was_changed_is_named(folder: Path, how: str, told: str) -> None:
    change(folder, how)
    assert told in of_reviews(folder).broken
    ended = called("journal", "verify", folder, "--json")
    assert (ended.code, ended.documents[0]["whole"], ended.documents[0]["broken"]) == (8, False, "")
    assert "the chain of reviews is broken: " in ended.err


def test_reviews_of_another_journal_are_found_out(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with Journal.open(other) as journal:
        filled(journal, windows=2, run_id="run-x")
    (other / FILE).write_bytes((folder / FILE).read_bytes())
    assert "is of run run-a, which the journal does not have" in of_reviews(other).broken
    twin = tmp_path / "twin"
    with Journal.open(twin) as journal:
        filled(journal, windows=2)
    (twin / FILE).write_bytes((folder / FILE).read_bytes())
    assert "event 5 of the reviews signs off what is not in the journal" in of_reviews(twin).broken


def test_replay_counts_what_was_signed_off_again(folder: Path) -> None:
    with Reader.open(folder) as reader, ReviewReader.open(folder) as reviews:
        found = replay(reader, "run-a", reviews)
        assert (found.differs, found.reviews, replay(reader, "run-b", reviews).reviews) == ("", 5, 0)
    ended = called("journal", "replay", folder)
    assert (ended.code, "run-a: 2 windows, 6 frames, 12 cells, 5 reviews: as published" in ended.out) == (0, True), ended


def made_anew(folder: Path, old: str, new: str) -> None:
    """The reviews with a text in another's place, in a chain that holds: as somebody would who may write the file."""
    with ReviewReader.open(folder) as reader:
        rows, head = list(reader.rows()), chain.START
    for row in rows:
        event = events.unpack(row.content or b"")
        altered = json.loads(events._ENCODER.encode(event).decode().replace(old, new))
        content = events.pack(events._DECODER.decode(json.dumps(altered)))
        body = row.body.replace(row.entry.content.encode(), chain.sha256(content).encode())
        head = chain.advance(head, body)
        change(folder, "UPDATE events SET body = ?, head = ? WHERE position = ?", body, head, row.entry.position)
        change(folder, "UPDATE contents SET body = ? WHERE position = ?", content, row.entry.position)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"unsure":4', '"unsure":3', "event 5 of the reviews signs off other counts"),
        ('"windows":2', '"windows":9', "event 5 of the reviews signs off what cannot be counted"),
        ('"machine_label":"neutrophil"', '"machine_label":"lymphocyte"', "event 1 of the reviews is of another cell than 0:0"),
        ('"frame":1', '"frame":77', "event 3 of the reviews is of another cell than 77:0"),
    ],
)
def test_replay_finds_reviews_that_do_not_go_with_the_cells(folder: Path, old: str, new: str, told: str) -> None:
    made_anew(folder, old, new)
    assert verify(folder).whole
    ended = called("journal", "replay", folder)
    assert (ended.code, told in ended.err) == (8, True), ended.err
    if "another cell" in told:
        assert told in RunCells.open(folder, "run-a").differs


def test_export_has_the_person_s_label_beside_the_machine_s(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells.csv"
    assert called("journal", "export", folder, "--out", out).code == 0
    rows = {(row["run_id"], row["frame"], row["cell"]): row for row in csv.DictReader(io.StringIO(out.read_text()))}
    names = ("label", "review", "reviewed_label", "reviewer")
    assert [rows["run-a", "0", "0"][name] for name in names] == ["neutrophil", "relabel", "lymphocyte", "anna"]
    assert [rows["run-a", "1", "0"][name] for name in names] == ["neutrophil", "reject", "", "ben"]
    for key in (("run-a", "0", "1"), ("run-b", "0", "0")):
        assert [rows[key][name] for name in names[1:]] == ["", "", ""]
    with Reader.open(folder) as reader:
        assert {row.reviewer for row in cells(reader, ["run-a"])} == {None}


def test_show_says_who_reviewed_and_signed_off(folder: Path) -> None:
    shown = called("journal", "show", folder)
    assert "reviewed: 2 cells by anna, ben; signed off by anna, 20" in shown.out
    documents = {each["run_id"]: each["review"] for each in called("journal", "show", folder, "--json").documents}
    assert documents["run-a"]["cells"] == 2
    assert documents["run-a"]["signed_off"]["operator"] == "anna"
    assert documents["run-b"] == {"cells": 0, "operators": [], "signed_off": None}


def test_erasing_a_sample_takes_its_reviews_and_leaves_both_chains_whole(folder: Path) -> None:
    said(folder, "relabel", (0, 0), label="lymphocyte", by="carla", run_id="run-b")
    with ReviewReader.open(folder) as reader:
        contents = [row.content for row in reader.rows() if row.entry.run_id == "run-a"]
        head = reader.last()[1]
    gone = erase.erase(folder, "slide-17")
    assert (gone.runs, gone.reviews, gone.complete) == (("run-a",), 5, True)
    found = verify(folder, published=head.hex())
    assert (found.whole, found.reviews and (found.reviews.events, found.reviews.erased)) == (True, (7, 5))
    assert standing(folder, "run-a").cells == 0
    assert standing(folder, "run-b").operators == ("carla",)
    left = b"".join(path.read_bytes() for path in folder.iterdir())
    assert all(content and content[10:60] not in left for content in contents)
    assert "run-a: 2 windows, 0 frames, 0 cells: erased" in called("journal", "replay", folder).out


def test_what_is_said_while_a_sample_is_being_erased_goes_with_the_next_call(folder: Path) -> None:
    """The journal's part was erased, and the program ended there."""
    with Journal.open(folder) as journal:
        journal.erase(["run-a"], SampleErased(run_ids=("run-a",), utc="", events=0, crops=0))
    assert "whose sample was erased: erase it again" in of_reviews(folder).broken
    with pytest.raises(JournalError, match="no run of sample 'slide-17'"):
        erase.erase(folder, "slide-17")
    assert verify(folder).whole
    assert of_reviews(folder).erased == 5


def test_reviews_are_signed_and_erased_with_the_key_only(tmp_path: Path) -> None:
    private, public = new_keys("device", tmp_path / "keys")
    key, folder = device_key(str(private)), tmp_path / "journal"
    with Journal.open(folder) as journal:
        filled(journal)
    said(folder, "reject", (0, 0), key=key)
    checks = partial(signed_by, read_public(public))
    found = verify(folder, checks=checks)
    assert (found.whole, found.signed, found.reviews and found.reviews.signed) == (True, 0, 1)
    with pytest.raises(JournalError, match="was signed with key"):
        erase.erase(folder, "slide-17")
    erase.erase(folder, "slide-17", key)
    assert verify(folder, checks=checks).whole
    with Reviews.open(folder) as reviews:  # as someone would who may write the file and has no key
        reviews.erase(["run-a"], SampleErased(run_ids=("run-a",), utc="", events=0, crops=0))
    assert "says that runs were erased that are signed" in of_reviews(folder).broken


WRITER = """
import sys
from pathlib import Path
from edgecell.journal.cells import RunCells
from edgecell.journal.reviewing import review
from edgecell.journal.reviews import Reviews
folder = Path(sys.argv[1])
cells = RunCells.open(folder, "run-a")
with Reviews.open(folder) as reviews:
    for _ in range(int(sys.argv[2])):
        for action, label in (("relabel", "lymphocyte"), ("reject", ""), ("confirm", "")):
            review(reviews, cells, [(0, 0), (0, 1), (1, 0)], action, label, sys.argv[3])
            print(flush=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_between_events_leaves_whole_words_and_all_that_were_told(folder: Path, seed: int) -> None:
    """Each word is of three cells: it is there for all of them or for none, and once it was told it is there."""
    line = [sys.executable, "-c", WRITER, str(folder), "1000000", "anna"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=ENVIRONMENT) as writer:
        assert writer.stdout is not None
        told = sum(writer.stdout.readline() == b"\n" for _ in range(random.Random(seed).randint(2, 12)))
        os.kill(writer.pid, signal.SIGKILL)
        told += sum(line == b"\n" for line in writer.stdout)
        writer.wait(PATIENCE_S)
    with ReviewReader.open(folder) as reader:
        added = [event for position, event in reader.of("run-a") if position > 5]
    assert verify(folder).whole
    assert len(added) % 3 == 0
    assert told <= len(added) // 3 <= told + 1
    with Reader.open(folder) as journal, ReviewReader.open(folder) as reader:
        assert replay(journal, "run-a", reader).differs == ""
    assert RunCells.open(folder, "run-a").reviewed().cells_total == 12


def test_two_people_at_once_lose_nothing_of_each_other(folder: Path) -> None:
    lines = [[sys.executable, "-c", WRITER, str(folder), "3", name] for name in ("carla", "dora")]
    both = [subprocess.Popen(line, stdout=subprocess.DEVNULL, env=ENVIRONMENT) for line in lines]
    assert [each.wait(PATIENCE_S) for each in both] == [0, 0]
    with ReviewReader.open(folder) as reader:
        words = [event.operator for position, event in reader.of("run-a") if position > 5]
    assert {name: words.count(name) for name in ("carla", "dora")} == {"carla": 27, "dora": 27}
    assert verify(folder).whole
    assert {*standing(folder, "run-a").operators} == {"anna", "ben", "carla", "dora"}


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_is_said_to_be_and_nothing_else_happens(folder: Path, seed: int) -> None:
    change(folder, "PRAGMA wal_checkpoint(TRUNCATE)")
    raw, chance = bytearray((folder / FILE).read_bytes()), random.Random(seed)
    for _ in range(12):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    (folder / FILE).write_bytes(raw)
    with suppress(JournalError):
        RunCells.open(folder, "run-a")
    with suppress(JournalError):
        said(folder, "confirm", (3, 0))
    with suppress(JournalError):
        verify(folder)
