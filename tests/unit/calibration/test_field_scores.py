"""Scoring a segmenter on labelled fields: what counts as found, with and without border cells, and masks."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from pictures import encoded

from calibration import field_scores
from calibration.commands import cli
from calibration.field_scores import Figures, Tallied
from calibration.fields import Field, read_fields
from calibration.yolo import Outline
from edgecell.errors import SettingsError
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Cell, Frame, Segmentation
from edgecell.segmenters.stain import StainSegmenter

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "txl_pbc.tar"
Box = tuple[int, int, int, int]


def labelled(boxes: list[Box], kinds: list[int], outlines: tuple[Outline | None, ...] = ()) -> Field:
    return Field(
        name="f",
        split="val",
        image=np.zeros((100, 100, 3), np.uint8),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        kinds=np.array(kinds, np.int64),
        outlines=outlines,
    )


def cell(box: Box, kind: str = RED_BLOOD_CELL) -> Cell:
    x0, y0, x1, y1 = box
    return Cell(frame_index=0, cell_index=0, kind=kind, box_px=box, centre_px=((x0 + x1) / 2, (y0 + y1) / 2))


def test_a_box_of_another_kind_matches_nothing() -> None:
    field = labelled([(10, 10, 20, 20)], [1])
    right, wrong = (field_scores.tally(field, [cell((10, 10, 20, 20), kind)]) for kind in (RED_BLOOD_CELL, NUCLEATED))
    assert right.boxes.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert wrong.boxes.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_border_cells_and_what_is_found_there_can_be_left_out() -> None:
    """Inside: one found, one whose found box reaches the border, one missed. At the border: one found from afar, one missed.
    For nothing: one found inside and one at the border."""
    boxes: list[Box] = [(10, 10, 20, 20), (2, 30, 20, 50), (40, 40, 50, 50), (0, 60, 10, 70), (90, 90, 100, 100)]
    found = [(10, 10, 20, 20), (0, 30, 20, 50), (3, 60, 10, 70), (70, 10, 80, 20), (70, 90, 80, 99)]
    seen = field_scores.tally(labelled(boxes, [1] * 5), [cell(box) for box in found])
    assert seen.boxes[1].tolist() == [3, 5, 5]
    assert seen.inner[1].tolist() == [2, 3, 3]


def test_masks_are_compared_with_polygons() -> None:
    square = np.array([[10, 10], [19, 10], [19, 19], [10, 19]], np.float64)
    half = np.array([[30, 30], [39, 30], [39, 39], [30, 39]], np.float64)
    field = labelled([(10, 10, 20, 20), (30, 30, 40, 40), (60, 60, 70, 70)], [1, 1, 1], (square, half, None))
    cells = [cell((10, 10, 20, 20)), cell((30, 30, 40, 36)), cell((60, 60, 70, 70))]
    seen = field_scores.tally(field, cells)
    assert seen.masks[1].tolist() == pytest.approx([1.6, 2])
    shown = field_scores.report([seen])["all"].kinds
    assert (shown[NUCLEATED].mask_iou, shown[PLATELET].mask_iou) == (None, None)
    masks = shown[RED_BLOOD_CELL].mask_iou
    assert masks is not None
    assert masks.value == pytest.approx(0.8)
    assert masks.n == 2


def test_a_mask_may_lie_over_the_border_of_its_polygon() -> None:
    triangle = np.array([[-3.0, 0], [20, 0], [20, 20]])
    assert 0.3 < field_scores.mask_overlap(cell((0, 0, 20, 20)), triangle) < 0.6


def tallied(source: str, counts: list[list[int]]) -> Tallied:
    boxes = np.array(counts, np.int64)
    return Tallied(source=source, labelled=True, boxes=boxes, inner=boxes, masks=np.zeros((3, 2)))


def test_figures_by_source() -> None:
    both = [tallied("b", [[1, 1, 1], [8, 10, 8], [0, 0, 0]]), tallied("a", [[0, 1, 1], [5, 5, 9], [0, 1, 0]])]
    figures = field_scores.report(both)
    assert list(figures) == ["all", "a", "b"]
    red = figures["all"].kinds[RED_BLOOD_CELL]
    assert red.boxes.f1 == pytest.approx(2 * 13 / 32)
    assert red.boxes.interval == pytest.approx((10 / 14, 16 / 18))
    assert red.boxes.precision == pytest.approx(13 / 15)
    assert red.boxes.recall == pytest.approx(13 / 17)
    assert red.boxes.recall_interval == pytest.approx((5 / 9, 1))
    assert (red.count_error.value, red.count_error.interval, red.count_error.n) == (3.0, (2.0, 4.0), 2)
    assert figures["all"].kinds[PLATELET].count_error.value == 0.5
    assert figures["a"].kinds[NUCLEATED].boxes.f1 == 0.0


class Nothing(StainSegmenter):
    """A stand-in that finds nothing, to test the figures without a segmenter's mistakes. made: instances so far."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1

    def segment(self, frame: Frame) -> Segmentation:
        assert not frame.image.flags.writeable
        return Segmentation(cells=(), pixel_um=None, pixel_um_source="unknown")


def write(folder: Path, name: str, text: str, width: int = 320) -> None:
    for place, content in ((f"images/{name}.png", encoded(".png", disc(width))), (f"labels/{name}.txt", text.encode())):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)


def disc(width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = np.full((240, width, 3), 235, np.uint8)
    cv2.circle(image, (100, 100), 18, (150, 150, 210), -1)
    return image


def test_each_source_gets_a_segmenter_of_its_own(tmp_path: Path) -> None:
    Nothing.made = 0
    for name, width in (("a", 320), ("b", 300), ("c", 320)):
        write(tmp_path, name, "1 0.5 0.5 0.25 0.5\n", width)
    found = field_scores.score(read_fields(tmp_path, None), Nothing)
    assert Nothing.made == 2
    assert {name: each.fields for name, each in found.by_source.items()} == {"all": 3, "300x240": 1, "320x240": 2}
    figures = json.loads(json.dumps(found.summary()))
    assert (figures["iou"], figures["without_labels"]) == (0.5, 0)
    red = figures["by_source"]["all"]["kinds"][RED_BLOOD_CELL]
    assert (red["boxes"]["recall"], red["count_error"]["value"], red["boxes"]["labelled"]) == (0.0, 1.0, 3)


def test_a_kind_that_the_segmenter_does_not_know_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a", "")
    with pytest.raises(SettingsError, match=r"finds no macrophage, but nucleated, red_blood_cell, platelet\. Fix: .*--kinds"):
        field_scores.score(read_fields(tmp_path, None), Nothing, ["nucleated", "macrophage"])


def test_a_field_without_labels_is_said_to_be_one(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path, name, "1 0.5 0.5 0.25 0.5\n")
    (tmp_path / "labels" / "b.txt").unlink()
    found = field_scores.score(read_fields(tmp_path, None), Nothing)
    assert found.without_labels == 1
    assert "1 fields without a label file count as fields without cells" in str(found)


def run(*arguments: object) -> str:
    ended = CliRunner().invoke(cli, ["evaluate-fields", *map(str, arguments)])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    write(tmp_path, "a", "5 0.3 0.4 0.12 0.16\n0 0.2 0.35 0.4 0.35 0.4 0.5\n")
    kinds = "5=red_blood_cell,0=nucleated"
    plain = run("--data", tmp_path, "--kinds", kinds, "--segmenter", "stain")
    assert plain.startswith("segmenter stain on ")
    assert [line.split()[:3] for line in plain.splitlines()[2:4]] == [["all", "1", "red_blood_cell"], ["all", "1", "nucleated"]]
    found = json.loads(run("--data", tmp_path, "--kinds", kinds, "--segmenter", "stain", "--json"))
    assert (found["segmenter"], list(found["by_source"])) == ("stain", ["all", "320x240"])
    settings = tmp_path / "mine.toml"
    settings.write_text('[segmenter]\npart = "stain"\npixel_um = 0.2\n')
    assert json.loads(run("--data", tmp_path, "--kinds", kinds, "--settings", settings, "--json"))["segmenter"] == "stain"


def test_a_segmenter_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a", "")
    ended = CliRunner().invoke(cli, ["evaluate-fields", "--data", str(tmp_path), "--segmenter", "magic"])
    assert "unknown segmenter 'magic'. Fix: use one of: " in str(ended.exception)


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED.name} in shared/data beside the project")
def test_real_fields_are_segmented_as_well_as_promised() -> None:
    chosen = (field for number, field in enumerate(read_fields(SHARED, "train")) if number % 46 == 0)
    found: Figures = field_scores.score(chosen, StainSegmenter)
    kinds = found.by_source["all"].kinds
    assert kinds[NUCLEATED].boxes.f1 >= 0.85
    assert kinds[RED_BLOOD_CELL].boxes.f1 >= 0.8
    assert kinds[RED_BLOOD_CELL].count_error.value <= 3.0
