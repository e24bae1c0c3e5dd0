"""`edgecell journal`: what it shows, and what it says when something is wrong."""

import csv
import hashlib
import io
import os
import sqlite3
import stat
import sys
from pathlib import Path

import msgspec
import pytest
from command_line import called
from journal_windows import filled, started, window

from edgecell.journal import store
from edgecell.journal.crops import Crop, Crops
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import NOTICE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs: one that is over, and one that was cut."""
    path = tmp_path / "journal"
    with Journal.open(path) as journal:
        filled(journal, windows=2)
        journal.append(started("run-b", sample_id="other\x1b[2J"))
        journal.append(window(0, "run-b"), state=State(body=b""))
    return path


def damage(folder: Path) -> None:
    with sqlite3.connect(folder / store.FILE) as file:
        file.execute("UPDATE contents SET body = zeroblob(20) WHERE position = 3")
    file.close()


def test_show_lists_runs_with_their_totals(folder: Path) -> None:
    shown = called("journal", "show", folder)
    assert (shown.code, shown.err) == (0, "")
    assert "run-a  bench-3, sample slide-17" in shown.out
    assert "2 windows; frames: 7 captured, 4 processed, 2 gated, 1 in_flight" in shown.out
    assert "neutrophil 4; 4 unsure, 4 excluded" in shown.out
    assert "unfinished, can be resumed" in shown.out
    assert "\x1b" not in shown.out
    assert shown.out.endswith(NOTICE + "\n")


def test_show_as_json(folder: Path) -> None:
    shown = called("journal", "show", folder, "--run", "run-b", "--json")
    [document] = shown.documents
    assert (document["run_id"], document["state"], document["windows"], document["counts"]) == (
        "run-b",
        "unfinished",
        1,
        {"neutrophil": 2},
    )
    assert document["notice"] == NOTICE
    assert shown.err == NOTICE + "\n"


def test_verify_and_replay_of_a_whole_journal(folder: Path) -> None:
    verified = called("journal", "verify", folder)
    assert (verified.code, verified.out.splitlines()[-1]) == (0, NOTICE)
    assert "6 events follow from each other" in verified.out
    [document] = called("journal", "verify", folder, "--json").documents
    assert (document["whole"], document["broken"], document["events"], document["notice"]) == (True, "", 6, NOTICE)
    assert called("journal", "verify", folder, "--head", document["head"].upper()).code == 0
    replayed = called("journal", "replay", folder, "--json")
    assert [(each["run_id"], each["equal"], each["cells"]) for each in replayed.documents] == [
        ("run-a", True, 12),
        ("run-b", True, 6),
    ]


def test_what_is_wrong_is_named_with_exit_code_8(folder: Path) -> None:
    other = called("journal", "verify", folder, "--head", "ab" * 32)
    assert (other.code, "no event has the head abab" in other.err) == (8, True)
    mistyped = called("journal", "verify", folder, "--head", "abab")
    assert (mistyped.code, mistyped.out, "'abab' is no head" in mistyped.err) == (2, "", True)
    damage(folder)
    verified = called("journal", "verify", folder, "--json")
    assert (verified.code, "event 3 is not what its entry says" in verified.err) == (8, True)
    assert verified.documents[0]["whole"] is False
    for command in ("replay", "export"):
        ended = called("journal", command, folder)
        assert (ended.code, "event 3 is not what its entry says" in ended.err, "Fix:" in ended.err) == (8, True, True)


def test_export_to_a_file_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells.csv"
    ended = called("journal", "export", folder, "--out", out, "--sample", "slide-17")
    assert (ended.code, ended.out) == (0, "")
    assert f"12 cells of 1 runs. {NOTICE}" in ended.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert {row["run_id"] for row in rows} == {"run-a"}
    assert called("journal", "export", folder, "--sample", "nobody").code == 8
    assert called("journal", "export", folder, "--out", tmp_path).code == 2


def test_an_export_that_fails_leaves_the_file_as_it_was(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "cells"
    out.write_text("of yesterday")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        missing = called("journal", "export", folder, "--format", "parquet", "--out", out)
    assert (missing.code, "pip install 'edgecell[parquet]'" in missing.err) == (3, True)
    damage(folder)
    broken = called("journal", "export", folder, "--out", out)
    assert (broken.code, "event 3" in broken.err) == (8, True)
    assert out.read_text() == "of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "journal"]


def test_an_export_takes_the_place_of_an_older_one_also_behind_a_link(folder: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "cells.csv", tmp_path / "latest.csv"
    out.write_text("of yesterday")
    out.chmod(0o644)
    link.symlink_to(out)
    assert called("journal", "export", folder, "--out", link).code == 0
    assert out.read_text().startswith("device_id,")
    assert (link.is_symlink(), stat.S_IMODE(out.stat().st_mode)) == (True, 0o600)


@pytest.mark.parametrize(
    "name",
    ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "crops.sqlite", "reviews.sqlite", "run-b.lock", "link"],
)
def test_no_export_over_the_journal_s_own_files(folder: Path, name: str) -> None:
    (folder / "link").symlink_to(folder / store.FILE)
    before = (folder / store.FILE).read_bytes()
    for journal in (folder, folder / store.FILE):
        ended = called("journal", "export", journal, "--out", folder / name)
        assert (ended.code, f"{name} is one of the journal's own files" in ended.err) == (8, True)
    assert (folder / store.FILE).read_bytes() == before
    assert called("journal", "verify", folder).code == 0


def test_an_export_takes_no_pipe_s_place(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ended = called("journal", "export", folder, "--out", tmp_path / "pipe")
    assert (ended.code, "is no plain file" in ended.err) == (8, True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_export_to_stdout(folder: Path) -> None:
    ended = called("journal", "export", folder, "--format", "jsonl")
    assert [document["run_id"] for document in ended.documents] == ["run-a"] * 12 + ["run-b"] * 6


def test_export_of_the_pictures_that_were_kept(folder: Path, tmp_path: Path) -> None:
    with Journal.open(folder) as journal, Crops.open(folder) as crops:
        journal.append(started("run-c"))
        whole = window(0, "run-c")
        cells = (msgspec.structs.replace(whole.cells[0], crop=hashlib.sha256(b"picture").hexdigest()), *whole.cells[1:])
        crops.add("run-c", [Crop(0, 0, b"picture")])
        journal.append(msgspec.structs.replace(whole, cells=cells), state=State(body=b""))
    ended = called("journal", "export", folder, "--run", "run-c", "--crops", tmp_path / "pictures")
    assert (ended.code, "1 pictures" in ended.err) == (0, True)
    [picture] = (tmp_path / "pictures").iterdir()
    assert (picture.read_bytes(), stat.S_IMODE(picture.stat().st_mode)) == (b"picture", 0o600)
    assert picture.stem in ended.out


def test_erase_asks_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = called("journal", "show", folder).out
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = called("journal", "erase", folder, "--sample", "slide-17")
    assert asked.code != 0
    assert called("journal", "show", folder).out == before
    erased = called("journal", "erase", folder, "--sample", "slide-17", "--yes", "--json")
    assert erased.code == 0
    [document] = erased.documents
    assert (document["runs"], document["events"], document["complete"], document["notice"]) == (["run-a"], 4, True, NOTICE)
    shown = called("journal", "show", folder)
    assert "run-a  erased, 2 windows" in shown.out
    assert "slide-17" not in shown.out
    assert called("journal", "verify", folder).code == 0
    again = called("journal", "erase", folder, "--sample", "slide-17", "--yes")
    assert (again.code, "no run of sample 'slide-17'" in again.err) == (8, True)


@pytest.mark.parametrize("command", [("show",), ("verify",), ("replay",), ("export",), ("erase", "--sample", "1", "--yes")])
def test_no_journal_is_said_and_none_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    ended = called("journal", command[0], tmp_path / "none", *command[1:])
    assert (ended.code, "there is no journal" in ended.err) == (8, True)
    assert not (tmp_path / "none").exists()


def test_the_default_folder_is_the_user_s_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "edgecell").mkdir(parents=True)
    folder.rename(tmp_path / "state" / "edgecell" / "journal")
    assert "run-a" in called("journal", "show").out
