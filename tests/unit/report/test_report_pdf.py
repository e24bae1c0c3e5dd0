"""The PDF is read back: its text has every figure, its pages the notice, its gallery the pictures that were kept."""

import io
from pathlib import Path

import msgspec
import pypdf
import pytest
from journal_windows import started, window
from report_run import ADA, ODD, RUN, collected, reviewed_run

from edgecell.journal.crops import Crops
from edgecell.journal.journal import Journal
from edgecell.journal.reader import State
from edgecell.messages import NOTICE
from edgecell.report import form
from edgecell.report.gallery import LONGEST_PX, PICTURES, gallery
from edgecell.report.lines import lines
from edgecell.report.pdf.style import shown


def read(pdf: bytes) -> list[list[str]]:
    """Lines of text, page by page."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return [[line.strip() for line in page.extract_text().splitlines()] for page in pages]


def flat(pdf: bytes) -> str:
    return " ".join(line for page in read(pdf) for line in page)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    path = tmp_path_factory.mktemp("reviewed")
    reviewed_run(path)
    return path


@pytest.fixture(scope="module")
def pdf(folder: Path) -> bytes:
    return form.pdf(folder, *collected(folder))


def test_every_figure_stands_in_its_row(folder: Path, pdf: bytes) -> None:
    report, _ = collected(folder)
    text = read(pdf)[0]
    for line in lines(report):
        at = text.index(line.name.replace("_", " "))
        if line.part == "differential":
            expected = [
                told
                for each in (line.machine, line.reviewed)
                for told in (str(each.cells), f"{each.percent:.1f}", f"{each.low:.1f}-{each.high:.1f}")
            ]
            assert text[at + 1 : at + 7] == expected
        else:
            per_100 = ["" if each.per_100 is None else f" ({each.per_100:.1f})" for each in (line.machine, line.reviewed)]
            assert text[at + 2 : at + 4] == [f"{line.machine.cells}{per_100[0]}", f"{line.reviewed.cells}{per_100[1]}"]
    at = text.index("in flight")
    assert text[at + 1 : at + 7] == [str(n) for n in msgspec.structs.astuple(report.frames)]


def test_every_page_says_what_it_is_and_may_not_be_used_for(pdf: bytes) -> None:
    pages = read(pdf)
    assert len(pages) > 1
    for number, page in enumerate(pages, 1):
        assert f"PRELIMINARY. {NOTICE}" in page
        assert f"Page {number} of {len(pages)}" in page
        assert {"Sample slide-17", f"Run {RUN}"} <= {*page}
    assert pypdf.PdfReader(io.BytesIO(pdf)).metadata["/Subject"] == NOTICE  # type: ignore[index]


def test_who_reviewed_the_models_the_check_and_the_chain_are_in_it(folder: Path, pdf: bytes) -> None:
    report, text = collected(folder)[0], flat(pdf)
    assert f"3 of 300 cells reviewed by {ADA}; signed off by {ADA}" in text
    assert report.models[0].sha256 in text
    assert "NOT PASSED: slide QC-3, 40 fields" in text
    assert "red cell diameter 7.25 6.5 8 passed" in text
    assert "focus - 0.5 2 NOT PASSED" in text
    assert report.journal.head in text
    assert report.reviews is not None
    assert report.reviews.head in text
    assert "Warning: a cell was counted in every frame that shows it." in text


def test_the_gallery_shows_each_class_as_reviewed(folder: Path, pdf: bytes) -> None:
    report, said = collected(folder)
    groups = {group.label: group for group in gallery(folder, report, said)}
    assert [*groups] == ["neutrophil", "lymphocyte", "erythroblast", "unsure"]
    for label in ("neutrophil", "lymphocyte", "erythroblast"):
        assert groups[label].kept == report.reviewed.counts[label]
    assert groups["unsure"].kept == report.reviewed.unsure
    for label, group in groups.items():
        assert len(group.shown) == min(PICTURES, group.kept)
        assert [(each.frame, each.cell) for each in group.shown] == sorted({(each.frame, each.cell) for each in group.shown})
        assert f"{label}: {len(group.shown)} of {group.kept} pictures" in flat(pdf)
    pictures = {each.name: each.image for page in pypdf.PdfReader(io.BytesIO(pdf)).pages for each in page.images}
    assert len(pictures) == len({each.jpeg for group in groups.values() for each in group.shown})
    assert max(max(each.size) for each in pictures.values() if each) <= LONGEST_PX


def test_where_a_picture_is_gone_a_neighbour_is_shown(tmp_path: Path) -> None:
    reviewed_run(tmp_path)
    report, said = collected(tmp_path)
    before = {group.label: group for group in gallery(tmp_path, report, said)}["neutrophil"]
    with Crops.open(tmp_path) as crops:
        crops._connection.execute("DELETE FROM crops WHERE frame = ? AND cell = ?", before.shown[5][:2])
        crops._connection.commit()
    after = {group.label: group for group in gallery(tmp_path, report, said)}["neutrophil"]
    assert len(after.shown) == PICTURES
    assert {each[:2] for each in before.shown} - {each[:2] for each in after.shown} == {before.shown[5][:2]}


def test_a_run_without_pictures_says_how_they_are_kept(tmp_path: Path) -> None:
    with Journal.open(tmp_path) as journal:
        journal.append(started())
        journal.append(window(0), state=State(body=b""))
    text = flat(form.pdf(tmp_path, *collected(tmp_path)))
    assert "they are with crops = true in [journal]" in text
    assert "nobody has reviewed a cell" in text
    assert "1 gated: blurred" in text
    assert "Warning: the run has not ended." in text


def test_the_same_journal_gives_the_same_file(folder: Path, pdf: bytes) -> None:
    assert form.pdf(folder, *collected(folder)) == pdf


def test_a_report_opens_nothing_for_writing(folder: Path, pdf: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal may lie on a medium that cannot be written."""
    monkeypatch.setattr("edgecell.journal.store.connect_to", lambda path: pytest.fail(f"{path} is opened for writing"))
    assert form.pdf(folder, *collected(folder)) == pdf


def test_any_name_is_shown_and_none_is_markup(tmp_path: Path) -> None:
    reviewed_run(tmp_path, sample_id=ODD, cells=20)
    pages = read(form.pdf(tmp_path, *collected(tmp_path)))
    assert shown(ODD) == "=1+1|\\u03a3^17&<b>~\\ \\u8840 \\u202e\\u000d\\u000aOBX|"
    assert f"Sample {shown(ODD)}" in pages[0]
    assert shown(ODD) in " ".join(pages[0][pages[0].index("Sample") :])


def test_a_name_of_the_longest_kind_fits(tmp_path: Path) -> None:
    reviewed_run(tmp_path, sample_id="W" * 128, cells=20)
    text = "".join(read(form.pdf(tmp_path, *collected(tmp_path)))[0])
    assert "W" * 128 in text
