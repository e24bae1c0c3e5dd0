"""`edgecell review`: a person's word of cells from the command line."""

from pathlib import Path
from typing import Any

import pytest
from command_line import Ended, called
from journal_windows import filled

from edgecell.journal.journal import Journal
from edgecell.journal.reviews import FILE, ReviewReader
from edgecell.journal.verify import verify
from edgecell.messages import NOTICE
from edgecell.signature import new_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    with Journal.open(path) as journal:
        filled(journal, windows=2, sample_id="slide\x1b[2J")
    return path


def reviewed(folder: Path, *more: object) -> Ended:
    return called("review", "run-a", "--journal", folder, *more)


def document(folder: Path, *more: object) -> dict[str, Any]:
    [found] = reviewed(folder, "--json", *more).documents
    return found


def test_without_a_cell_the_doubtful_ones_are_listed_and_nothing_is_changed(folder: Path) -> None:
    shown = reviewed(folder, "--show", "5")
    assert (shown.code, shown.err) == (0, "")
    assert "0 cells reviewed" in shown.out
    assert "100.0 %" in shown.out
    listed = shown.out.splitlines()[-6:-1]
    assert listed[:2] == ["  0:1  lymphocyte 0.875, unsure", "  1:1  lymphocyte 0.875, unsure"]
    assert listed[4] == "  0:0  neutrophil 0.875"
    assert shown.out.endswith(NOTICE + "\n")
    assert "\x1b" not in shown.out
    assert not (folder / FILE).exists()


def test_a_review_shows_both_counts(folder: Path) -> None:
    told = document(folder, "--cell", "0:0", "--cell", "0:1", "--label", "lymphocyte", "--operator", "anna")
    assert (told["machine"]["counts"], told["machine"]["unsure"]) == ({"neutrophil": 4}, 4)
    assert (told["reviewed"]["counts"], told["reviewed"]["unsure"]) == ({"neutrophil": 3, "lymphocyte": 2}, 3)
    assert told["reviewed"]["differential"]["n"] == 5
    assert [(each["frame"], each["cell"], each["review"]["label"]) for each in told["cells"]] == [
        (0, 0, "lymphocyte"),
        (0, 1, "lymphocyte"),
    ]
    assert (told["review"], told["reconciles"], told["notice"]) == (
        {"cells": 2, "operators": ["anna"], "signed_off": None},
        True,
        NOTICE,
    )
    shown = reviewed(folder, "--cell", "0:0", "--reject", "--operator", "ben").out
    assert "  0:0  neutrophil 0.875; rejected (ben)" in shown
    assert "by anna, ben" in shown
    undone = document(folder, "--cell", "0:0", "--undo", "--operator", "ben")
    assert undone["reviewed"]["counts"] == {"neutrophil": 3, "lymphocyte": 2}
    confirmed = document(folder, "--cell", "0:0", "--confirm", "--operator", "ben")
    assert confirmed["reviewed"]["counts"] == {"neutrophil": 4, "lymphocyte": 1}


def test_signing_off_in_the_same_call_or_alone(folder: Path) -> None:
    told = document(folder, "--cell", "0:1", "--confirm", "--sign-off", "--operator", "anna")
    assert told["review"]["signed_off"]["operator"] == "anna"
    assert document(folder)["review"] == told["review"]
    assert document(folder, "--cell", "0:1", "--undo", "--operator", "ben")["review"]["signed_off"] is None
    assert "; signed off by ben" in reviewed(folder, "--sign-off", "--operator", "ben").out


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--cell", "0:0"), 2, "give --cell F:C with one of"),
        (("--label", "lymphocyte"), 2, "give --cell F:C with one of"),
        (("--cell", "0", "--confirm"), 2, "--cell '0' is no cell"),
        (("--cell", "0:0", "--label", "lymphocyte", "--reject"), 2, "--label and --reject cannot both be said"),
        (
            ("--cell", "0:0", "--label", "martian", "--operator", "anna"),
            2,
            "give one of neutrophil, lymphocyte, erythroblast, unsure",
        ),
        (("--cell", "0:0", "--confirm"), 2, "say who reviews"),
        (("--cell", "8:8", "--confirm", "--operator", "anna"), 8, "has no cell 8:8"),
        (("--cell", "0:2", "--confirm", "--operator", "anna"), 8, "was not counted (edge)"),
        (("--sign-off",), 2, "say who reviews"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_fix(folder: Path, more: tuple[str, ...], code: int, told: str) -> None:
    ended = reviewed(folder, *more)
    assert (ended.code, ended.out, told in ended.err, ended.err.count("\n")) == (code, "", True, 1), ended.err


def test_a_run_or_a_journal_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    assert "has no run 'run-z'" in called("review", "run-z", "--journal", folder).err
    missing = called("review", "run-a", "--journal", tmp_path / "none")
    assert (missing.code, "there is no journal" in missing.err) == (8, True)
    assert not (tmp_path / "none").exists()


def test_a_device_s_key_signs_what_is_said(folder: Path, tmp_path: Path) -> None:
    private, _ = new_keys("device", tmp_path / "keys")
    assert reviewed(folder, "--cell", "0:0", "--confirm", "--operator", "anna", "--key", private).code == 0
    with ReviewReader.open(folder) as reader:
        [row] = reader.rows()
    assert (row.entry.key != "", row.signature is not None) == (True, True)
    assert verify(folder).whole
