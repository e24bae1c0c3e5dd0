"""`edgecell count`: what it prints for machines and for people, and the pictures it writes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import called
from pictures import HEIGHT, PIXEL_UM, WIDTH, encoded, field, write_fields
from tiny_bundle import CLASSES, make_tiny_bundle

from edgecell.messages import NOTICE, NUCLEATED, PLATELET, RED_BLOOD_CELL
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

COUNTED = ["neutrophil", "lymphocyte", RED_BLOOD_CELL, PLATELET]
Line = dict[str, Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("count") / "tiny").path


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slide")
    write_fields(folder, 3)
    return folder


@pytest.fixture(scope="module")
def lines(slide: Path, tiny: Path) -> list[Line]:
    """The JSON lines of the three fields, and the total."""
    ended = called("count", slide, "--bundle", tiny, "--json", "--pixel-um", PIXEL_UM)
    assert (ended.code, ended.err) == (0, "")
    return ended.documents


def test_every_image_has_a_line_and_the_last_one_is_the_total(lines: list[Line], slide: Path) -> None:
    assert [line.get("image") for line in lines] == [*(str(slide / f"field{index}.png") for index in range(3)), None]
    assert lines[-1]["total"] is True


def test_a_line_has_the_documented_form(lines: list[Line]) -> None:
    for line in lines[:-1]:
        assert list(line) == [
            "image",
            "counts",
            "unsure",
            "excluded",
            "gated",
            "pixel_um",
            "pixel_um_source",
            "domain",
            "region",
            "cells",
        ]
        assert line["region"] is None
        assert sorted(line["counts"]) == sorted(COUNTED)  # classes without a cell too, reject classes never
        assert (line["pixel_um"], line["pixel_um_source"], line["gated"]) == (PIXEL_UM, "settings", None)
        for cell in line["cells"]:
            assert list(cell) == ["kind", "label", "confidence", "decided", "excluded", "box_px", "slide_um"]
            assert cell["slide_um"] is None
            assert cell["kind"] in (NUCLEATED, RED_BLOOD_CELL, PLATELET)
            x0, y0, x1, y1 = cell["box_px"]
            assert 0 <= x0 < x1 <= WIDTH
            assert 0 <= y0 < y1 <= HEIGHT


def test_the_cells_of_a_line_add_up_to_its_counts(lines: list[Line]) -> None:
    for line in lines[:-1]:
        cells = line["cells"]
        assert sum(line["counts"].values()) + line["unsure"] + sum(line["excluded"].values()) == len(cells)
        for label, count in line["counts"].items():
            assert count == sum(each["decided"] and each["label"] == label for each in cells)
        assert line["excluded"].get("edge", 0) == sum(each["excluded"] == "edge" for each in cells)
        inside = [each for each in cells if each["excluded"] is None]
        assert line["unsure"] == sum(not each["decided"] or each["label"] == "artefact" for each in inside)


def test_cells_at_the_edge_are_listed_and_not_decided(lines: list[Line]) -> None:
    edge = [cell for line in lines[:-1] for cell in line["cells"] if cell["excluded"] == "edge"]
    assert len(edge) > 10
    assert all((cell["decided"], cell["confidence"]) == (False, None) for cell in edge)


def test_cells_carry_the_confidence_of_what_named_them(lines: list[Line]) -> None:
    cells = [cell for line in lines[:-1] for cell in line["cells"] if cell["excluded"] is None]
    white = [cell for cell in cells if cell["kind"] == NUCLEATED]
    assert white
    assert all(0 < cell["confidence"] <= 1 and cell["label"] in CLASSES for cell in white)
    red = [cell for cell in cells if cell["kind"] == RED_BLOOD_CELL]
    assert len(red) > 50
    assert all((cell["label"], cell["decided"]) == (RED_BLOOD_CELL, True) for cell in red)
    assert all(0 < cell["confidence"] <= 1 for cell in red), "the segmenter's own score"


def test_the_total_is_the_sum_of_the_lines(lines: list[Line]) -> None:
    *fields, total = lines
    for label in COUNTED:
        assert total["counts"][label] == sum(line["counts"][label] for line in fields)
    assert total["unsure"] == sum(line["unsure"] for line in fields)
    assert total["cells_total"] == sum(len(line["cells"]) for line in fields)
    assert (total["images"], total["processed"], total["failed"], total["gated"]) == (3, 3, 0, {})
    assert total["differential"]["n"] == total["counts"]["neutrophil"] + total["counts"]["lymphocyte"]
    assert [(model["role"], model["name"]) for model in total["models"]] == [("nucleated", "tiny"), ("segmenter", "cells3")]
    assert total["notice"] == NOTICE


def test_the_scale_is_measured_where_none_is_given(slide: Path, tiny: Path) -> None:
    *fields, _ = called("count", slide, "--bundle", tiny, "--json").documents
    for line in fields:
        assert line["pixel_um_source"] == "estimated"
        assert line["pixel_um"] == pytest.approx(PIXEL_UM, rel=0.1)


def test_a_field_that_nobody_could_count_says_why(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "dark.png").write_bytes(encoded(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    ended = called("count", tmp_path, "--bundle", tiny, "--json")
    line, total = ended.documents
    assert ended.code == 0
    assert (line["gated"], line["cells"], total["gated"], total["processed"]) == ("dark", [], {"dark": 1}, 0)
    assert "not counted, the frame is dark" in ended.err


def test_an_unknown_scale_is_said_and_never_guessed(tmp_path: Path, tiny: Path) -> None:
    image = np.full((HEIGHT, WIDTH, 3), 235, np.uint8)
    cv2.circle(image, (320, 240), 45, (140, 40, 110), -1)
    (tmp_path / "lonely.png").write_bytes(encoded(".png", image))
    ended = called("count", tmp_path, "--bundle", tiny, "--json")
    line, _ = ended.documents
    assert (line["pixel_um"], line["pixel_um_source"]) == (None, "unknown")
    assert sum(line["counts"].values()) == 0
    assert line["unsure"] == len(line["cells"]) > 0
    assert "scale unknown" in ended.err
    assert "--pixel-um" in ended.err


def test_an_image_named_twice_is_counted_once(slide: Path, tiny: Path) -> None:
    ended = called("count", slide / "field0.png", slide, slide / "field1.png", "--bundle", tiny, "--json")
    assert [Path(line["image"]).name for line in ended.documents[:-1]] == ["field0.png", "field1.png", "field2.png"]


def test_people_get_a_table_the_differential_and_the_notice(slide: Path, tiny: Path, lines: list[Line]) -> None:
    ended = called("count", slide, "--bundle", tiny, "--pixel-um", PIXEL_UM)
    total = lines[-1]
    assert ended.code == 0
    shown = ended.out
    for words in ("Cells by field", "field2.png", "0.100", "3 images: 3 counted, 0 gated, 0 failed", NOTICE):
        assert words in shown
    assert f"Differential of {total['differential']['n']} decided leukocytes" in shown
    assert f"red_blood_cell {total['counts'][RED_BLOOD_CELL]}" in shown
    assert f"unsure {total['unsure']} | edge {total['excluded']['edge']}" in shown
    with pytest.raises(json.JSONDecodeError):
        _ = ended.documents


# Pictures


def test_overlays_are_whole_pictures_with_a_legend(tmp_path: Path, slide: Path, tiny: Path) -> None:
    ended = called("count", slide, "--bundle", tiny, "--overlay", tmp_path / "new" / "out")
    assert ended.code == 0
    names = sorted(each.name for each in (tmp_path / "new" / "out").iterdir())
    assert names == [f"field{index}.overlay.png" for index in range(3)]
    picture = cv2.imread(str(tmp_path / "new" / "out" / "field0.overlay.png"))
    assert picture is not None
    assert picture.shape[0] == 2 * HEIGHT
    assert picture.shape[1] > 2 * WIDTH
    field_part = picture[:, : 2 * WIDTH, ::-1]
    same = (field_part[::2, ::2] == field(0)).all(axis=2)
    assert 0.85 < same.mean() < 1  # the field itself in its own colours, with lines over it


def test_images_of_one_name_get_pictures_of_their_own(tmp_path: Path, tiny: Path) -> None:
    for folder in ("a", "b", "c"):
        write_fields(tmp_path / folder, 1)
    (tmp_path / "c" / "field0.png").rename(tmp_path / "c" / "field0-2.png")
    out = tmp_path / "out"
    assert called("count", tmp_path, "--bundle", tiny, "--overlay", out).code == 0
    assert len(list(out.iterdir())) == 3


def test_pictures_overwrite_no_field_and_are_never_counted(tmp_path: Path, tiny: Path) -> None:
    (file,) = write_fields(tmp_path, 1)
    before = file.read_bytes()
    first = called("count", tmp_path, "--bundle", tiny, "--json", "--overlay", tmp_path)
    again = called("count", tmp_path, "--bundle", tiny, "--json", "--overlay", tmp_path)
    assert (tmp_path / "field0.overlay.png").is_file()
    assert file.read_bytes() == before
    assert first.documents == again.documents
    file.unlink()
    ended = called("count", tmp_path, "--bundle", tiny)
    assert ended.code == 5
    assert "annotated pictures only" in ended.err


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images that share half a field, the first one again, and one of elsewhere."""
    folder = tmp_path_factory.mktemp("pushed")
    with PhantomSource(Options(width=WIDTH, height=HEIGHT, stage="overlapping", overlap=0.5, frames=9)) as source:
        images = [frame.image for _ in range(9) if (frame := source.read(1.0))]
    for at, index in enumerate((0, 1, 2, 0, 8)):
        (folder / f"{at}.png").write_bytes(encoded(".png", images[index][..., ::-1]))
    return folder


def test_images_of_a_pushed_slide_count_each_cell_once(pushed: Path, tiny: Path) -> None:
    given = "count", pushed, "--bundle", tiny, "--json", "--pixel-um", PIXEL_UM
    once, every = called(*given, "--counting", "new_area"), called(*given)
    *lines, total = once.documents
    assert (total["counting"], every.documents[-1]["counting"]) == ("new_area", "every_frame")
    assert [line["gated"] for line in lines] == [None, None, None, "nothing new", None]
    assert [line["region"] for line in lines] == [0, 0, 0, 0, 1]
    assert [line["excluded"].get("duplicate", 0) > 5 for line in lines] == [False, True, True, False, False]
    assert "4.png: lies beside no image before it" in once.err
    middles = [(cell["slide_um"][0], PIXEL_UM * (cell["box_px"][0] + cell["box_px"][2]) / 2) for cell in lines[2]["cells"]]
    assert [x for x, _ in middles] == pytest.approx([WIDTH * PIXEL_UM + x for _, x in middles], abs=0.3)  # two halves further
    again = every.documents
    assert sum(total["counts"].values()) < 0.7 * sum(again[-1]["counts"].values())
    assert again[0]["counts"] == lines[0]["counts"]
