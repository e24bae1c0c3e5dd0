"""Label lines: what they mean, and what is said of broken ones."""

import numpy as np
import pytest

from calibration import yolo
from edgecell.errors import SettingsError

SIZE = (200, 100)


def parsed(text: str, meaning: yolo.Classes = yolo.BLOOD) -> list[yolo.Object]:
    return list(yolo.parse(text, "labels/a.txt", SIZE, meaning))


def test_boxes_and_polygons_come_out_in_pixels() -> None:
    box, polygon = parsed("1 0.5 0.5 0.25 0.5\n\n0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n")
    assert (box.kind, box.box, box.outline) == (1, (75, 25, 125, 75), None)
    assert polygon.kind == 0
    assert polygon.box == pytest.approx((20, 20, 60, 60))
    assert polygon.outline is not None
    assert np.allclose(polygon.outline, [[20, 20], [60, 20], [60, 60], [20, 60]])


def test_numbers_mean_what_the_user_says() -> None:
    meaning = yolo.classes("4=platelet, 0=nucleated,1=nucleated,7=-")
    assert meaning.kinds == ("platelet", "nucleated")
    found = parsed("".join(f"{number} 0.5 0.5 0.1 0.1\n" for number in (0, 1, 4, 7)), meaning)
    assert [meaning.kinds[each.kind] for each in found] == ["nucleated", "nucleated", "platelet"]


@pytest.mark.parametrize("text", ["", "nucleated", "0=", "0=Nucleated", "0=a,0=b", "0=-", "-1=a", "0=a,,1=b"])
def test_a_broken_list_of_kinds_says_how_to_write_one(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--kinds .* is not a list of NUMBER=KIND\. Fix: write .*0=nucleated"):
        yolo.classes(text)


BROKEN = {
    "1 0.5 0.5 0.25": r"line 2: 4 values are neither",
    "1 0.5 0.5 0.25 0.5 0.9": r"line 2: 6 values are neither",
    "1 0.1 0.1 0.2 0.2 0.3 0.3 0.4": r"line 2: 8 values are neither",
    "red 0.5 0.5 0.25 0.5": r"line 2: class 'red' is not a whole number",
    "1.0 0.5 0.5 0.25 0.5": r"line 2: class '1.0' is not",
    "-1 0.5 0.5 0.25 0.5": r"line 2: class '-1' is not",
    "9 0.5 0.5 0.25 0.5": r"line 2: class 9 is none of 0, 1, 2\. Fix: name it in --kinds, as 9=KIND or, .* 9=-",
    "1 0.5 x 0.25 0.5": r"line 2: y is x, not between",
    "1 0.5 0.5 0.25 nan": r"line 2: height is nan, not between",
    "1 100 50 50 50": r"line 2: x is 100, not between 0 and 1\. Fix: .* not pixels",
    "1 0.5 0.5 0.25 0": r"line 2: height is 0, so the box is empty",
    "1 0.0 0.5 0.25 0.5": r"line 2: width 0.25 reaches out of the image from the centre at 0\.",
    "1 0.1 0.1 0.2 1.5 0.3 0.3": r"line 2: y2 is 1.5, not between",
    "1 0.1 0.1 0.2 0.2 0.3 0.3": r"line 2: the polygon has no area",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_is_named_with_file_line_and_field(line: str) -> None:
    with pytest.raises(SettingsError, match=rf"^labels/a\.txt, {BROKEN[line]}"):
        parsed(f"0 0.5 0.5 0.1 0.1\n{line}\n")


def test_a_broken_line_of_a_class_that_is_left_out_is_broken_all_the_same() -> None:
    with pytest.raises(SettingsError, match="2 values"):
        parsed("1 0.5\n", yolo.classes("0=nucleated,1=-"))


def test_labels_may_reach_a_little_over_the_border() -> None:
    [cell] = parsed("1 0.05 0.5 0.11 0.5")
    assert cell.box[0] == pytest.approx(-1)
