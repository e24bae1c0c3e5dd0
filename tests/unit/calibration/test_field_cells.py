"""White cells of whole fields: who matches whom, who counts, and what the hold-back does."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from tiny_bundle import certified, make_tiny_bundle, tiny_manifest

from calibration import field_cells
from calibration.commands import cli
from calibration.field_cells import Cells, Decisions, compared
from calibration.fields import KINDS, Boxes, Field
from edgecell.bundle import Bundle, CellClass
from edgecell.domain import LEAST
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Cell, Classification, Exclusion, FrameReport, Verdict
from edgecell.segmenters.stain import StainSegmenter
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import truth_of

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "txl_pbc.tar"
DRAWN = Options(width=640, height=480)
MANIFEST = msgspec.structs.replace(
    tiny_manifest(),
    classes=(
        *tiny_manifest().classes,
        CellClass(name="platelet", abbreviation="PLT", group="platelet"),
        CellClass(name="erythroblast", abbreviation="ERB", group="erythroid"),
    ),
)
GROUPS = {each.name: each.group for each in MANIFEST.classes}


def cell(index: int, x: int, y: int, side: int = 10, *, kind: str = NUCLEATED, excluded: Exclusion | None = None) -> Cell:
    """A square cell with its upper left corner at (x, y)."""
    return Cell(
        frame_index=0,
        cell_index=index,
        kind=kind,
        box_px=(x, y, x + side, y + side),
        centre_px=(x + side / 2, y + side / 2),
        excluded=excluded,
    )


def answer(index: int, label: str, confidence: float = 0.99, *, decided: bool = True) -> Classification:
    return Classification(cell_index=index, label=label, confidence=confidence, decided=decided)


def reported(cells: Sequence[Cell], answers: Sequence[Classification]) -> FrameReport:
    return FrameReport(
        frame_index=0,
        captured_ns=0,
        label="",
        verdict=Verdict(accepted=True, reason="", focus=1, mean_level=0.5, saturated_fraction=0),
        cells=tuple(cells),
        classifications=tuple(answers),
        pixel_um=0.1,
        pixel_um_source="settings",
        stage_us={},
    )


def labelled(corners: Sequence[tuple[int, int]], kinds: Sequence[str]) -> Field:
    """Boxes of 10 px at these upper left corners."""
    boxes = np.array([(x, y, x + 10, y + 10) for x, y in corners], np.float64).reshape(-1, 4)
    numbers = np.array([KINDS.index(kind) for kind in kinds], np.int64)
    return Field(name="f", split="val", image=np.zeros((100, 100, 3), np.uint8), boxes=boxes, kinds=numbers)


def test_one_label_vouches_for_one_found_cell_that_overlaps_by_half() -> None:
    field = labelled([(0, 0), (40, 40)], [NUCLEATED, NUCLEATED])
    found = [cell(0, 1, 1, 9), cell(1, 0, 0), cell(2, 46, 40)]  # the second fits better, the third overlaps by a quarter
    answers = [answer(0, "lymphocyte"), answer(1, "neutrophil"), answer(2, "lymphocyte")]
    slide = compared([field], [reported(found, answers)], MANIFEST)
    assert (slide.labelled, slide.found, slide.beside) == (2, 1, 1)
    assert slide.network.white.labels == {"neutrophil": 1}
    assert slide.network.others.labels == {"lymphocyte": 2}


def test_what_is_excluded_is_found_and_does_not_count() -> None:
    field = labelled([(0, 0), (40, 40)], [NUCLEATED, NUCLEATED])
    found = [cell(0, 0, 0, excluded="edge"), cell(1, 80, 80, excluded="edge"), cell(2, 40, 40)]
    slide = compared([field], [reported(found, [answer(2, "neutrophil")])], MANIFEST)
    assert (slide.labelled, slide.found) == (2, 2)
    assert (slide.network.white.n, slide.network.others.n) == (1, 0)


def test_labels_and_finds_of_other_kinds_are_no_white_cells() -> None:
    field = labelled([(0, 0), (40, 40), (80, 80)], [PLATELET, NUCLEATED, RED_BLOOD_CELL])
    found = [cell(0, 0, 0), cell(1, 40, 40, kind=PLATELET), cell(2, 80, 80, kind=RED_BLOOD_CELL)]
    answers = [answer(0, "neutrophil"), answer(1, PLATELET), answer(2, RED_BLOOD_CELL)]
    slide = compared([field], [reported(found, answers)], MANIFEST)
    assert (slide.labelled, slide.found, slide.network.white.n) == (1, 0, 0)
    assert slide.network.others.labels == {"neutrophil": 1}
    assert slide.beside == 0


def test_shares_tell_leukocytes_from_what_a_white_cell_cannot_be() -> None:
    corners = [(x, 0) for x in range(0, 100, 20)]
    labels = ["neutrophil", "erythroblast", "platelet", "artefact", "lymphocyte"]
    answers = [answer(at, label, decided=label != "lymphocyte") for at, label in enumerate(labels)]
    found = [cell(at, x, y) for at, (x, y) in enumerate(corners)]
    slide = compared([labelled(corners, [NUCLEATED] * 5)], [reported(found, answers)], MANIFEST)
    white = slide.network.white
    assert (white.decided.count, white.decided.n) == (3, 5), "no cell is no class, and unsure is unsure"
    assert (white.leukocytes.count, white.leukocytes.n) == (1, 5)
    assert (white.impossible.count, white.impossible.n) == (1, 5)
    assert white.impossible.summary()["interval"] == white.impossible.interval


def test_a_foreign_slide_is_held_back_whole_and_the_network_s_answers_stay() -> None:
    manifest = msgspec.structs.replace(MANIFEST, confidence=msgspec.structs.replace(MANIFEST.confidence, foreign_below=0.8))
    field = labelled([(0, 0)], [NUCLEATED])

    def slide(fields: int, confidence: float) -> field_cells.Slide:
        made = reported([cell(0, 0, 0), cell(1, 50, 50)], [answer(0, "neutrophil", confidence), answer(1, "lymphocyte", 0.75)])
        return compared([field] * fields, [made] * fields, manifest)

    foreign, known, short = slide(LEAST, 0.8), slide(LEAST, 0.9), slide(LEAST // 2 - 1, 0.8)
    assert foreign.domain is not None
    assert (foreign.domain.state, foreign.domain.cells) == ("foreign", 2 * LEAST)
    assert foreign.network.white.decided.count == LEAST
    assert (foreign.held.white.decided.count, foreign.held.white.n) == (0, LEAST)
    assert (foreign.held.others.decided.count, foreign.held.others.n) == (0, LEAST)
    assert known.held == known.network
    assert short.held == short.network, "too few cells say nothing against it"
    assert "with hold-back" in str(foreign)
    assert "with hold-back" not in str(known)
    both = foreign + known
    assert (both.labelled, both.held.white.decided.count, both.held.white.n) == (2 * LEAST, LEAST, 2 * LEAST)
    assert both.domain is None


def test_false_leukocytes_are_given_per_hundred_white_cells_with_poisson_s_limits() -> None:
    others = Decisions(n=9, labels={"lymphocyte": 4, "neutrophil": 1, "erythroblast": 2}, groups=GROUPS)
    rate, limits = Cells(white=Decisions(n=50, labels={}, groups=GROUPS), others=others).false_leukocytes
    assert rate == 10.0
    assert limits == pytest.approx((2 * 1.6235, 2 * 11.6683), rel=1e-4), "limits of 5: Garwood's table"
    rate, _ = Cells(white=Decisions(n=0, labels={}, groups=GROUPS), others=others).false_leukocytes
    assert np.isnan(rate)


def drawn(count: int) -> list[tuple[NDArray[np.uint8], Boxes]]:
    """Fields of the phantom with the boxes of their nucleated cells."""
    with PhantomSource(msgspec.structs.replace(DRAWN, frames=count)) as source:
        frames = [frame for _ in range(count) if (frame := source.read(1.0))]
    truths = [[each.box_px for each in truth_of(DRAWN, frame.index) if each.kind == NUCLEATED] for frame in frames]
    return [(frame.image, np.array(boxes, np.float64)) for frame, boxes in zip(frames, truths, strict=True)]


@pytest.fixture(scope="module")
def fields() -> list[Field]:
    return [
        Field(name=f"f{at}", split="val", image=image, boxes=boxes, kinds=np.zeros(len(boxes), np.int64))
        for at, (image, boxes) in enumerate(drawn(4))
    ]


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, every class of it a leukocyte, sure of every cell and a stranger to every slide."""
    made = make_tiny_bundle(tmp_path_factory.mktemp("field-cells") / "tiny")
    confidence = msgspec.structs.replace(made.manifest.confidence, unsure_below=0.0, foreign_below=1.0)
    classes = tuple(msgspec.structs.replace(each, group="leukocyte") for each in made.manifest.classes)
    return certified(made.path, msgspec.structs.replace(made.manifest, classes=classes, confidence=confidence))


def test_drawn_white_cells_are_found_and_one_without_a_label_is_another(fields: list[Field], sure: Bundle) -> None:
    whole = field_cells.evaluate(fields, sure, StainSegmenter)
    assert list(whole) == [field_cells.EVERY, "640x480"]
    slide = whole["640x480"]
    assert slide.labelled == sum(len(each.boxes) for each in fields)
    assert slide.found >= 0.8 * slide.labelled
    assert 0 < slide.network.white.n <= slide.found
    assert slide.network.others.n == 0
    bare = [Field(name=each.name, split="val", image=each.image, boxes=each.boxes[:0], kinds=each.kinds[:0]) for each in fields]
    other = field_cells.evaluate(bare, sure, StainSegmenter)["640x480"]
    assert (other.labelled, other.network.white.n, other.network.others.n) == (0, 0, slide.network.white.n)
    assert other.network.others.labels == slide.network.white.labels
    assert slide.network.white.leukocytes.count == slide.network.white.n


def test_the_network_alone_is_not_held_back(fields: list[Field], sure: Bundle) -> None:
    often = [fields[at % len(fields)] for at in range(40)]
    slide = field_cells.evaluate(often, sure, StainSegmenter)[field_cells.EVERY]
    assert slide.network.white.decided.count > LEAST
    assert slide.held.white.decided.count == 0
    with field_cells.opened(sure) as classifier:
        confidence = classifier.manifest.confidence
    assert confidence == msgspec.structs.replace(sure.manifest.confidence, foreign_below=0.0), "else a field of many cells is"


def test_each_image_size_is_a_slide_and_all_is_their_sum(fields: list[Field], sure: Bundle) -> None:
    small = [
        Field(name=each.name, split="val", image=each.image[:, :560], boxes=each.boxes, kinds=each.kinds) for each in fields
    ]
    slides = field_cells.evaluate([*small, *fields], sure, StainSegmenter)
    assert list(slides) == [field_cells.EVERY, "560x480", "640x480"]
    every, first, second = slides.values()
    assert every.fields == 8
    assert every.network.white.n == first.network.white.n + second.network.white.n
    assert second.network == field_cells.evaluate(fields, sure, StainSegmenter)["640x480"].network


def test_a_field_that_the_gate_would_refuse_is_looked_at(fields: list[Field], sure: Bundle) -> None:
    blurred = [cv2.GaussianBlur(each.image, (0, 0), 12).astype(np.uint8, copy=False) for each in fields]
    soft = Field(name="soft", split="val", image=blurred[0], boxes=fields[0].boxes, kinds=fields[0].kinds)
    with field_cells.opened(sure) as classifier, StainSegmenter() as segmenter:
        made = list(field_cells.reports_of([*fields, soft], segmenter, classifier))
    assert len(made) == len(fields) + 1
    assert all(each.verdict.accepted for each in made)


def write(folder: Path) -> None:
    """Four drawn fields in the layout of TXL-PBC."""
    for part in ("images", "labels"):
        (folder / part / "val").mkdir(parents=True)
    for at, (image, boxes) in enumerate(drawn(4)):
        cv2.imwrite(str(folder / "images" / "val" / f"{at}.jpg"), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        rows = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]]) / [640, 480, 640, 480]
        lines = [" ".join(["0", *(f"{value:.6f}" for value in row)]) for row in rows.tolist()]
        (folder / "labels" / "val" / f"{at}.txt").write_text("\n".join(lines))


def test_the_command_prints_text_or_json(tmp_path: Path, sure: Bundle) -> None:
    write(tmp_path / "txl")
    arguments = ["evaluate-cells", "--bundle", str(sure.path), "--data", str(tmp_path / "txl")]
    plain, as_json = (CliRunner().invoke(cli, [*arguments, *more]) for more in ([], ["--json"]))
    assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
    assert field_cells.NOTE in plain.stdout
    figures = msgspec.json.decode(as_json.stdout)
    assert (figures["split"], figures["version"], figures["iou"]) == ("val", "1.0.0", 0.5)
    every = figures["by_source"][field_cells.EVERY]
    counting = every["network"]["white"]["decided"]["n"]
    assert counting > 0
    assert f"{every['labelled']} labelled, {every['found']} found, {counting} found and counting" in plain.stdout


def every_nth(source: Path, split: str, n: int, target: Path) -> None:
    """A tar with every nth field of `split`."""
    with tarfile.open(source) as whole, tarfile.open(target, "w") as part:
        members = {Path(member.name): member for member in whole if Path(member.name).parent.name == split}
        chosen = sorted({path.stem for path in members})[::n]
        for path, member in members.items():
            if path.stem in chosen:
                part.addfile(member, whole.extractfile(member))


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED.name} in shared/data beside the project")
def test_real_white_cells_are_decided_and_hardly_any_is_made_up(tmp_path: Path) -> None:
    every_nth(SHARED, "train", 16, tmp_path / "some.tar")
    arguments = ["evaluate-cells", "--data", str(tmp_path / "some.tar"), "--split", "train", "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    found = msgspec.json.decode(result.stdout)["by_source"][field_cells.EVERY]
    assert found["found"] >= 0.9 * found["labelled"] >= 40
    assert found["network"]["white"]["leukocytes"]["value"] >= 0.7
    assert found["network"]["white"]["impossible"]["value"] <= 0.05
    assert found["network"]["false_leukocytes_per_100"]["value"] <= 5
