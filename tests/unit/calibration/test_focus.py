"""The gate's figures: how fields are blurred, at which scale, and who counts as wrong."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from calibration.commands import cli
from calibration.fields import Field
from calibration.focus import BLURS, SHARP, blurred, run, scales
from edgecell.segmenters.stain import StainSegmenter


def field(name: str, side: int, red_px: float | None) -> Field:
    """A white field with one dark red cell, labelled with a box of red_px."""
    image = np.full((side, side, 3), 230, np.uint8)
    image[20:60, 20:60] = (200, 120, 130)
    boxes = np.zeros((0, 4)) if red_px is None else np.array([[0, 0, red_px, red_px]], np.float64)
    return Field(name=name, split="train", image=image, boxes=boxes, kinds=np.ones(len(boxes), np.int64))


def test_each_source_has_the_scale_of_its_own_red_cells() -> None:
    found = scales([field("a", 100, 72), field("b", 100, 72), field("c", 200, 36), field("d", 300, None)])
    assert found == pytest.approx({"100x100": 0.1, "200x200": 0.2, "300x300": 0.1})


@pytest.mark.parametrize("blur", BLURS)
def test_blur_has_the_spread_that_its_name_says(blur: str) -> None:
    image = np.zeros((161, 161, 3), np.uint8)
    image[80] = 255
    seen = blurred(image, blur, 0.1)[:, 80, 0].astype(float)
    shape, size = blur.split()
    sigma_px = float(size) * 10 / (1 if shape == "gaussian" else 2)
    place = np.arange(161) - 80
    assert np.sqrt((seen * place**2).sum() / seen.sum()) == pytest.approx(sigma_px, rel=0.1)


def test_sharp_is_left_alone() -> None:
    image = field("a", 100, 72).image
    assert blurred(image, SHARP, 0.1) is image


def test_a_group_of_near_copies_counts_once() -> None:
    fields = [field(name, 100, 72) for name in "abc"]
    sharp = run(fields, np.array([0, 0, 1]), SHARP, StainSegmenter)
    assert (sharp.wrong.count, sharp.wrong.n, sharp.wrong_groups.n) == (0, 3, 2)
    soft = run(fields, np.array([0, 0, 1]), BLURS[0], StainSegmenter)
    assert (soft.wrong.count, soft.wrong_groups.count) == (0, 0)
    assert "let through 0.00 % (0/3" in str(soft)


def test_the_command_prints_a_row_for_each_blur_or_json(tmp_path: Path) -> None:
    (tmp_path / "images" / "val").mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(tmp_path / "images" / "val" / f"{name}.jpg"), field(name, 100, 72).image)
    (tmp_path / "labels" / "val").mkdir(parents=True)
    (tmp_path / "labels" / "val" / "a.txt").write_text("1 0.4 0.4 0.4 0.4\n")
    arguments = ["evaluate-gate", "--data", str(tmp_path)]
    plain, as_json = (CliRunner().invoke(cli, [*arguments, *more]) for more in ([], ["--every", "2", "--json"]))
    assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
    assert [line.split("  ")[0] for line in plain.stdout.splitlines()] == [SHARP, *BLURS]
    found = json.loads(as_json.stdout)
    assert (found["split"], [each["blur"] for each in found["runs"]]) == ("val", [SHARP, *BLURS])
    assert {each["wrong"]["n"] for each in found["runs"]} == {1}
