"""Reviews: what stands of what people said, and that it is kept, whoever says it and whatever happens meanwhile."""

import sqlite3
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from bus_messages import CLASSES
from journal_windows import filled, started, window
from reviewed_runs import said

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.errors import JournalError, SettingsError
from edgecell.journal import replay, store
from edgecell.journal.cells import RunCells
from edgecell.journal.events import Action, Reviewed, SampleErased, Window
from edgecell.journal.journal import Journal, held
from edgecell.journal.reader import State
from edgecell.journal.reviewing import review, sign_off
from edgecell.journal.reviews import FILE, ReviewReader, Reviews, reviews_of, standing
from edgecell.journal.verify import verify
from edgecell.messages import Tally

NEUTROPHIL, UNSURE_CELL, EDGE = (0, 0), (0, 1), (0, 2)
"""Of every frame of the made runs: decided, undecided lymphocyte, excluded."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    with Journal.open(path) as journal:
        filled(journal, windows=2)
    return path


def test_a_run_without_reviews_is_as_the_machine_counted_it(folder: Path) -> None:
    cells = RunCells.open(folder, "run-a")
    assert (cells.reviewed(), cells.standing.cells, reviews_of(folder), cells.differs) == (cells.machine, 0, None, "")
    assert cells.views() == {"neutrophil": 4, "lymphocyte": 0, "erythroblast": 0, "unsure": 4, "excluded": 4, "reviewed": 0}
    assert not (folder / FILE).exists()


@pytest.mark.parametrize(
    ("action", "label", "place", "counts", "unsure", "excluded"),
    [
        ("relabel", "erythroblast", NEUTROPHIL, {"neutrophil": 3, "erythroblast": 1}, 4, {"edge": 4}),
        ("relabel", "erythroblast", UNSURE_CELL, {"neutrophil": 4, "erythroblast": 1}, 3, {"edge": 4}),
        ("relabel", "unsure", NEUTROPHIL, {"neutrophil": 3}, 5, {"edge": 4}),
        ("confirm", "", NEUTROPHIL, {"neutrophil": 4}, 4, {"edge": 4}),
        ("confirm", "", UNSURE_CELL, {"neutrophil": 4, "lymphocyte": 1}, 3, {"edge": 4}),
        ("reject", "", NEUTROPHIL, {"neutrophil": 3}, 4, {"edge": 4, "rejected": 1}),
        ("reject", "", UNSURE_CELL, {"neutrophil": 4}, 3, {"edge": 4, "rejected": 1}),
    ],
)
def test_a_cell_moves_to_where_the_person_counts_it(
    folder: Path,
    action: Action,
    label: str,
    place: tuple[int, int],
    counts: dict[str, int],
    unsure: int,
    excluded: dict[str, int],
) -> None:
    cells = said(folder, action, place, label=label)
    after = cells.reviewed()
    assert (dict(after.counts), after.unsure, dict(after.excluded)) == (counts, unsure, excluded)
    assert after.cells_total == cells.machine.cells_total == 12
    assert after.frames == cells.machine.frames
    assert dict(cells.machine.counts) == {"neutrophil": 4}
    undone = said(folder, "undo", place, by="ben")
    assert undone.reviewed() == undone.machine
    assert undone.standing.of(place) is None


def test_of_two_operators_the_later_one_stands_and_undo_brings_the_earlier_one_back(folder: Path) -> None:
    said(folder, "relabel", NEUTROPHIL, label="erythroblast", by="anna")
    cells = said(folder, "reject", NEUTROPHIL, by="ben")
    assert (cells.bin(NEUTROPHIL), cells.standing.operators) == (("excluded", "rejected"), ("anna", "ben"))
    cells = said(folder, "undo", NEUTROPHIL, by="anna")
    assert cells.bin(NEUTROPHIL) == ("counts", "erythroblast")
    latest = cells.standing.of(NEUTROPHIL)
    assert latest is not None
    assert (latest.operator, latest.machine_label, latest.machine_decided) == ("anna", "neutrophil", True)


def test_two_operators_who_undo_the_same_word_undo_it_once(folder: Path) -> None:
    said(folder, "relabel", NEUTROPHIL, label="erythroblast")
    both = [said(folder, "confirm", NEUTROPHIL), RunCells.open(folder, "run-a")]
    for cells in both:  # each looked at the run before the other's word
        with Reviews.open(folder) as reviews:
            review(reviews, cells, [NEUTROPHIL], "undo", "", "ben")
    assert RunCells.open(folder, "run-a").bin(NEUTROPHIL) == ("counts", "erythroblast")


@pytest.mark.parametrize(
    ("action", "label", "place", "told"),
    [
        ("relabel", "martian", NEUTROPHIL, "'martian' is no label of this run"),
        ("relabel", "", NEUTROPHIL, "'' is no label of this run"),
        ("confirm", "erythroblast", NEUTROPHIL, "a confirm takes no label"),
        ("confirm", "", (7, 7), "no cell 7:7 that can be reviewed"),
        ("relabel", "erythroblast", EDGE, "cell 0:2 was not counted \\(edge\\)"),
        ("undo", "", NEUTROPHIL, "nothing was said of cell 0:0"),
    ],
)
def test_what_cannot_be_said_is_refused_and_nothing_is_kept(
    folder: Path, action: Action, label: str, place: tuple[int, int], told: str
) -> None:
    with pytest.raises((JournalError, SettingsError), match=told):
        said(folder, action, place, label=label)
    with ReviewReader.open(folder) as reader:
        assert reader.last()[0] == 0


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "anna\x1b[2J", "an\nna"])
def test_a_review_names_somebody(folder: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="1 to 64 printable characters"):
        said(folder, "confirm", NEUTROPHIL, by=name)


def test_all_cells_of_one_word_or_none(folder: Path) -> None:
    cells = said(folder, "relabel", (0, 0), (1, 0), (3, 1), (0, 0), label="lymphocyte")
    assert (cells.views()["lymphocyte"], cells.views()["reviewed"]) == (3, 3)
    with pytest.raises(JournalError, match="no cell 9:9"):
        said(folder, "reject", (0, 0), (9, 9))
    assert RunCells.open(folder, "run-a").views()["lymphocyte"] == 3


def test_the_file_is_its_owner_s_and_durable(folder: Path) -> None:
    said(folder, "confirm", NEUTROPHIL)
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    with Reviews.open(folder) as reviews:
        assert reviews._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert reviews._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert reviews._connection.execute("PRAGMA secure_delete").fetchone() == (1,)
        assert reviews._connection.execute("PRAGMA user_version").fetchone() == (store.REVIEWS.version,)


@pytest.mark.parametrize("header", [False, True])
def test_a_file_that_a_full_disk_or_a_power_cut_left_empty_is_as_none(folder: Path, header: bool) -> None:
    path = folder / FILE
    path.touch()
    if header:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size
    assert reviews_of(folder) is None
    assert verify(folder).whole
    cells = RunCells.open(folder, "run-a")
    with Reviews.open(folder) as reviews:
        review(reviews, cells, cells.view("all")[:1], "confirm", "", "anna")
    assert reviews_of(folder) == path
    assert standing(folder, "run-a").cells == 1
    assert verify(folder).whole


@pytest.mark.parametrize("name", [store.FILE, FILE])
def test_one_kind_of_file_is_not_taken_for_the_other(folder: Path, name: str) -> None:
    said(folder, "confirm", NEUTROPHIL)
    swapped = folder / "swapped"
    swapped.mkdir()
    (swapped / (FILE if name == store.FILE else store.FILE)).write_bytes((folder / name).read_bytes())
    with pytest.raises(JournalError, match=r"is no .* of edgecell"):
        (ReviewReader.open(swapped) if name == store.FILE else Journal.open(swapped)).__enter__()


def test_a_run_can_be_reviewed_while_it_goes_on(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal, held(tmp_path, "run-a"):
        journal.append(started())
        journal.append(window(0), state=State(body=b""))
        cells = said(tmp_path, "relabel", NEUTROPHIL, label="erythroblast")
        assert (cells.machine.cells_total, cells.reviewed().counts) == (6, {"neutrophil": 1, "erythroblast": 1})
        journal.append(window(1), state=State(body=b""))
        cells.refresh(tmp_path)
        assert (cells.machine.cells_total, cells.reviewed().counts) == (12, {"neutrophil": 3, "erythroblast": 1})
        with pytest.raises(JournalError, match="going on in another process"), Reviews.open(tmp_path) as reviews:
            sign_off(reviews, cells, "anna")


def test_a_second_look_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = list[int]()

    def spy(total: Tally, window: Window, classes: Mapping[str, CellClass]) -> Tally:
        counted.append(window.sequence)
        return replay_counted(total, window, classes)

    replay_counted = replay.counted
    monkeypatch.setattr(replay, "counted", spy)
    with Journal.open(tmp_path) as journal:
        filled(journal, windows=3, complete=False)
        cells = RunCells.open(tmp_path, "run-a")
        assert counted == [0, 1, 2]
        pages = cells.view("all"), cells.view("unsure")
        cells.refresh(tmp_path)
        assert (cells.view("all") is pages[0], cells.view("unsure") is pages[1], counted) == (True, True, [0, 1, 2])
        said(tmp_path, "confirm", NEUTROPHIL)
        counted.clear()
        cells.refresh(tmp_path)
        assert (cells.view("all") is pages[0], cells.view("unsure") is pages[1], counted) == (True, False, [])
        journal.append(window(3), state=State(body=b""))
        cells.refresh(tmp_path)
        assert (len(cells.view("all")), counted) == (24, [3])


def test_red_cells_are_counted_and_not_listed(tmp_path: Path) -> None:
    """There are a hundred of them to each white cell, and nothing to see of them."""
    whole = window(0)
    kinds = [msgspec.structs.replace(cell, kind="red", label=cell.label and "red") for cell in whole.cells[:3]]
    red = [msgspec.structs.replace(kinds[0], decided=True), msgspec.structs.replace(kinds[1], decided=True), kinds[2]]
    message = msgspec.json.decode(whole.message)
    message |= {"counts": {"neutrophil": 1, "red": 2}, "cumulative": {"neutrophil": 1, "red": 2}, "unsure": 1}
    message["differential"] = tally.differential(Tally(counts={"neutrophil": 1, "red": 2}), CLASSES)
    changed = msgspec.structs.replace(whole, cells=(*red, *whole.cells[3:]), message=msgspec.Raw(msgspec.json.encode(message)))
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(changed, state=State(body=b""))
    cells = RunCells.open(tmp_path, "run-a")
    assert (cells.differs, cells.machine.counts) == ("", {"neutrophil": 1, "red": 2})
    assert cells.view("all", "time") == [(1, 0), (1, 1), (1, 2)]
    assert cells.labels == ["neutrophil", "lymphocyte", "erythroblast", "red"]
    assert said(tmp_path, "relabel", (1, 0), label="red").reviewed().counts == {"red": 3}
    with pytest.raises(JournalError, match="no cell 0:0"):
        said(tmp_path, "confirm", (0, 0))


def test_a_sign_off_holds_what_was_signed_until_something_is_said_after_it(folder: Path) -> None:
    cells = said(folder, "relabel", NEUTROPHIL, label="erythroblast")
    with Reviews.open(folder) as reviews, Journal.open(folder) as journal:
        receipt = sign_off(reviews, cells, " Dr. Öz ")
        with pytest.raises(JournalError, match="reviewed by somebody else just now"):
            sign_off(reviews, cells, "ben")
        assert receipt.position == 2
        head = journal.reader.latest("run-a")
    signed = standing(folder, "run-a").signed_off
    assert signed is not None
    assert (signed.operator, signed.counts, signed.unsure, signed.excluded) == (
        "Dr. Öz",
        {"neutrophil": 3, "erythroblast": 1},
        4,
        {"edge": 4},
    )
    assert (signed.windows, signed.journal_position, signed.chain_head) == (2, head[0], head[1].hex())
    said(folder, "undo", NEUTROPHIL)
    assert standing(folder, "run-a").signed_off is None


def test_a_run_that_went_on_is_not_signed_off_as_it_was(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(window(0), state=State(body=b""))
        cells = RunCells.open(tmp_path, "run-a")
        journal.append(window(1), state=State(body=b""))
    with Reviews.open(tmp_path) as reviews, pytest.raises(JournalError, match="went on in the meantime"):
        sign_off(reviews, cells, "anna")


def test_an_erased_run_takes_no_review(folder: Path) -> None:
    cells = RunCells.open(folder, "run-a")
    with Journal.open(folder) as journal:
        journal.erase(["run-a"], SampleErased(run_ids=("run-a",), utc="", events=0, crops=0))
    with Reviews.open(folder) as reviews:
        with pytest.raises(JournalError, match="the sample of run run-a was erased"):
            review(reviews, cells, [NEUTROPHIL], "confirm", "", "anna")
        assert reviews.reader.last()[0] == 0
    with pytest.raises(JournalError, match="was erased"):
        cells.refresh(folder)
    with pytest.raises(JournalError, match="was erased"):
        RunCells.open(folder, "run-a")


def test_doubtful_cells_come_first_and_stay_where_they_are(folder: Path) -> None:
    cells = RunCells.open(folder, "run-a")
    assert cells.view("all")[:5] == [(0, 1), (1, 1), (3, 1), (4, 1), (0, 0)]
    assert cells.view("all", "time")[:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert (len(cells.view("all")), cells.view("all")[-1]) == (12, (4, 2))
    before = cells.view("all")
    cells = said(folder, "relabel", (0, 1), label="neutrophil")
    assert cells.view("all") == before
    assert cells.view("label:neutrophil") == [(0, 1), (0, 0), (1, 0), (3, 0), (4, 0)]
    assert cells.view("unsure") == [(1, 1), (3, 1), (4, 1)]
    assert (cells.view("reviewed"), cells.view("excluded")) == ([(0, 1)], [(0, 2), (1, 2), (3, 2), (4, 2)])
    assert (cells.view("label:martian"), cells.view("martian")) == ([], [])


def test_views_add_up_to_the_reviewed_counts(folder: Path) -> None:
    cells = said(folder, "reject", (0, 0), (0, 1))
    after, views = cells.reviewed(), cells.views()
    assert views.pop("reviewed") == 2
    assert views.pop("unsure") == after.unsure
    assert views.pop("excluded") == sum(after.excluded.values())
    assert {label: count for label, count in views.items() if count} == after.counts


def test_what_a_review_says_can_be_read_back(folder: Path) -> None:
    said(folder, "relabel", NEUTROPHIL, label="erythroblast")
    with ReviewReader.open(folder) as reader:
        [(position, event)] = reader.of("run-a")
        assert (position, reader.run_ids(), list(reader.of("run-b"))) == (1, ["run-a"], [])
    assert isinstance(event, Reviewed)
    assert (event.frame, event.cell, event.action, event.label, event.operator) == (0, 0, "relabel", "erythroblast", "anna")
    assert event.utc.endswith("Z")
