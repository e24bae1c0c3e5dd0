"""`edgecell report`: what it writes, and what it says when something is wrong."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
from command_line import called, finished
from journal_windows import started, window
from report_run import ADA, RUN, collected, reviewed_run

from edgecell.journal import store
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import NOTICE
from edgecell.report import fhir, hl7, table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    path = tmp_path_factory.mktemp("reviewed")
    reviewed_run(path)
    return path


def test_all_forms_at_once_for_their_owner_alone(folder: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"17.{name}" for name in ("pdf", "csv", "fhir", "hl7")}
    ended = called("report", RUN, "--journal", folder, *(part for name, file in files.items() for part in (f"--{name}", file)))
    assert (ended.code, ended.err) == (0, "")
    report, _ = collected(folder)
    assert files["csv"].read_bytes() == table.write(report)
    assert files["fhir"].read_bytes() == fhir.write(report)
    assert files["hl7"].read_bytes() == hl7.write(report)
    assert files["pdf"].read_bytes().startswith(b"%PDF")
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


def test_text_has_both_counts_side_by_side(folder: Path) -> None:
    ended = called("report", "latest", "--journal", folder)
    assert (ended.code, ended.err, ended.out.splitlines()[-1]) == (0, "", NOTICE)
    lines = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines() if line}
    report, _ = collected(folder)
    assert lines["unsure"] == [str(report.machine.unsure), str(report.reviewed.unsure)]
    assert lines["rejected"] == ["0", "1"]
    assert lines["neutrophil"][0] == str(report.machine.counts["neutrophil"])
    assert f"3 of 300 cells reviewed by {ADA}" in ended.out
    assert "WARNING: the differential" not in ended.out
    assert "WARNING: a cell was counted in every frame" in ended.out


def test_json_is_all_of_it(folder: Path) -> None:
    ended = called("report", RUN, "--journal", folder, "--json")
    assert (ended.code, ended.err) == (0, NOTICE + "\n")
    assert ended.documents == [json.loads(msgspec.json.encode(collected(folder)[0]))]


def test_no_report_of_totals_that_do_not_reconcile(tmp_path: Path) -> None:
    broken = window(0)
    message = msgspec.Raw(bytes(broken.message).replace(b'"unsure":2', b'"unsure":1'))
    with Journal.open(tmp_path / "journal") as journal:
        journal.append(started())
        journal.append(msgspec.structs.replace(broken, message=message), state=State(body=b""))
    ended = called("report", RUN, "--journal", tmp_path / "journal", "--csv", tmp_path / "17.csv")
    assert (ended.code, ended.out) == (8, "")
    assert "do not reconcile: window 0: unsure was published as 1, and is 2 by the cells. Fix: edgecell journal" in ended.err
    assert not (tmp_path / "17.csv").exists()


def test_a_correction_that_cannot_be_made_writes_nothing(folder: Path, tmp_path: Path) -> None:
    """The run's bundle is made up."""
    ended = called("report", RUN, "--journal", folder, "--correct", "--csv", tmp_path / "17.csv")
    assert (ended.code, ended.out, [*tmp_path.iterdir()]) == (4, "", [])
    assert "was made with another bundle pbc8 1.0.0 than is here now. Fix: report without --correct" in ended.err


def test_a_run_that_is_not_there_and_a_journal_without_one(folder: Path, tmp_path: Path) -> None:
    missing = called("report", "nowhere", "--journal", folder)
    assert (missing.code, "has no run 'nowhere'" in missing.err, "Fix:" in missing.err) == (8, True, True)
    Journal.open(tmp_path)._connection.close()
    empty = called("report", "latest", "--journal", tmp_path)
    assert (empty.code, "has no run. Fix: run edgecell first" in empty.err) == (8, True)


def test_the_journals_own_files_are_not_written_over(folder: Path) -> None:
    before = (folder / store.FILE).read_bytes()
    ended = called("report", RUN, "--journal", folder, "--fhir", folder / store.FILE)
    assert (ended.code, "is one of the journal's own files. Fix: give another --fhir" in ended.err) == (8, True)
    assert (folder / store.FILE).read_bytes() == before


def test_a_pdf_without_reportlab_names_the_extra(folder: Path, tmp_path: Path) -> None:
    line = ("report", RUN, "--journal", folder)
    prelude = "import sys; sys.modules['reportlab'] = None"
    refused = finished(*line, "--pdf", "17.pdf", folder=tmp_path, prelude=prelude)
    assert (refused.code, "pip install 'edgecell[pdf]'" in refused.err, [*tmp_path.iterdir()]) == (3, True, [])
    assert finished(*line, "--csv", "17.csv", folder=tmp_path, prelude=prelude).code == 0
