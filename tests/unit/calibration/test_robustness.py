"""Each change does what its unit says, and the table is the same every time."""

from collections import Counter
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from tiny_bundle import make_tiny_bundle
from toy_cells import PIXEL_UM, pbc_files, toy_cell, write_folder

from calibration import robustness
from calibration.labelled import Question
from calibration.recipe import Data
from calibration.robustness import CHANGES, Change
from calibration.sample import decode

MIDDLE = (112.0, 112.0)
CELL = toy_cell("neutrophil", 1)


def change(kind: str, strength: float) -> Change:
    return next(each for each in CHANGES if (each.kind, each.strength) == (kind, strength))


@pytest.mark.parametrize("factor", [0.6, 1.2])
def test_brightness_multiplies_and_clips(factor: float) -> None:
    image, pixel_um = change("brightness", factor).apply(CELL, MIDDLE, PIXEL_UM)
    assert np.abs(image - np.minimum(CELL * factor, 255)).max() <= 0.5 + 1e-3
    assert pixel_um == PIXEL_UM


def test_a_colour_cast_moves_red_against_blue() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    image, _ = change("colour cast", 0.2).apply(grey, (4, 4), PIXEL_UM)
    assert image[0, 0].tolist() == [120, 100, 80]


def test_blur_is_in_micrometres() -> None:
    """The spread of a blurred line, squared, is that of the Gaussian, at any scale."""
    for pixel_um in (0.1, 0.05):
        line = np.zeros((101, 101, 3), np.uint8)
        line[:, 50] = 255
        image, _ = change("blur", 0.4).apply(line, (50, 50), pixel_um)
        row = image[50, :, 0].astype(np.float64)
        spread_um = np.sqrt((row * (np.arange(101) - 50) ** 2).sum() / row.sum()) * pixel_um
        assert spread_um == pytest.approx(0.4, rel=0.03)


def test_jpeg_is_what_opencv_writes_at_that_quality() -> None:
    image, _ = change("JPEG", 20).apply(CELL, MIDDLE, PIXEL_UM)
    _, file = cv2.imencode(".jpg", CELL[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, 20))
    assert np.array_equal(image, decode(file.tobytes(), "written"))
    better, _ = change("JPEG", 80).apply(CELL, MIDDLE, PIXEL_UM)
    assert np.abs(better.astype(int) - CELL).mean() < np.abs(image.astype(int) - CELL).mean()


def test_scale_tells_the_device_a_wrong_measure() -> None:
    image, pixel_um = change("scale", 1.25).apply(CELL, MIDDLE, 0.1)
    assert image is CELL
    assert pixel_um == pytest.approx(0.125), "a window of 20 um is 160 px instead of 200: the cell fills more of it"


def test_rotation_is_around_the_cell_and_exact_at_right_angles() -> None:
    assert np.array_equal(change("rotation", 180).apply(CELL, MIDDLE, PIXEL_UM)[0], CELL[::-1, ::-1])
    assert np.array_equal(change("rotation", 90).apply(CELL, MIDDLE, PIXEL_UM)[0], np.rot90(CELL))
    aside = np.zeros((60, 60, 3), np.uint8)
    aside[18:22, 38:42] = 200
    turned, _ = change("rotation", 45).apply(aside, (40, 20), PIXEL_UM)
    assert turned[19:21, 39:41].min() == 200


def test_every_kind_is_there_at_several_strengths_once() -> None:
    named = [(each.kind, each.strength) for each in CHANGES]
    assert len(set(named)) == len(named)
    assert str(CHANGES[0]) == "as it is"
    counts = Counter(each.kind for each in CHANGES[1:])
    assert counts == dict.fromkeys(("brightness", "colour cast", "blur", "JPEG", "scale", "rotation"), 4)


def test_the_table_scores_every_change_on_the_same_cells(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    write_folder(pbc_files(5), tmp_path / "data" / "pbc")
    data = Data(dataset="pbc", split="none.tsv")
    question = Question(root=tmp_path / "data", data=data, part="all", classes=bundle.class_names)
    some = [CHANGES[0], change("brightness", 0.6), change("blur", 0.8)]
    rows = list(robustness.table(bundle, question, some))
    assert [row.change for row in rows] == some
    assert {row.accuracy.n for row in rows} == {10}, "5 neutrophils and 5 lymphocytes: the bundle knows no platelets"
    first, again = (
        msgspec.json.encode([row.summary() for row in each]) for each in (rows, robustness.table(bundle, question, some))
    )
    assert first == again
    assert rows[0].device.slides.keys() == {"pbc/"}
    assert "blur, sigma, um 0.8" in str(rows[2])
