"""The part `stain` on drawn fields: kinds, boxes, scale, edges, odd images."""

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL, Frame, Segmentation
from edgecell.segmenters.stain import StainOptions, StainSegmenter

PINK = {"background": (245, 225, 215), "red": (205, 160, 155), "cytoplasm": (195, 175, 215), "nucleus": (90, 55, 140)}
GREY = {"background": (200, 205, 195), "red": (172, 158, 152), "cytoplasm": (165, 155, 190), "nucleus": (95, 75, 165)}
Palette = dict[str, tuple[int, int, int]]


def field(palette: Palette, scale: float = 1.0, shade: float = 0.0) -> NDArray[np.uint8]:
    """400x520 px at 0.1 um per pixel: 8 red cells (2 overlap, 2 touch, 1 cut by the border), 1 nucleated, 1 platelet."""
    image = np.full((400, 520, 3), palette["background"], np.uint8)
    pale = tuple((3 * b + r) // 4 for b, r in zip(palette["background"], palette["red"], strict=True))
    for x, y in ((60, 60), (160, 60), (60, 200), (108, 210), (60, 330), (132, 332), (460, 60), (518, 200)):
        layer = np.full_like(image, 255)
        cv2.circle(layer, (x, y), 36, palette["red"], -1, cv2.LINE_AA)
        cv2.circle(layer, (x, y), 13, pale, -1, cv2.LINE_AA)
        inside = (layer < 255).any(axis=2)
        ratio = layer[inside].astype(float) / palette["background"]
        image[inside] = np.clip(image[inside] * ratio, 0, 255).astype(np.uint8)
    cv2.circle(image, (330, 200), 60, palette["cytoplasm"], -1, cv2.LINE_AA)
    cv2.circle(image, (315, 200), 34, palette["nucleus"], -1, cv2.LINE_AA)
    cv2.circle(image, (330, 60), 11, palette["nucleus"], -1, cv2.LINE_AA)
    light = 1.0 - shade * np.linspace(0, 1, 520)[None, :, None]
    noisy = image * light + np.random.default_rng(1).normal(0, 1.5, image.shape)
    grown = cv2.resize(cv2.GaussianBlur(noisy, (0, 0), 1.5), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.clip(grown, 0, 255).astype(np.uint8)


def frame(image: NDArray[np.uint8], index: int = 0, pixel_um: float | None = None) -> Frame:
    image.flags.writeable = False
    return Frame(source_id="drawn", index=index, captured_ns=0, image=image, pixel_um=pixel_um)


def kinds(found: Segmentation) -> dict[str, int]:
    return {kind: sum(cell.kind == kind for cell in found.cells) for kind in (NUCLEATED, RED_BLOOD_CELL, PLATELET)}


@pytest.mark.parametrize("palette", [PINK, GREY])
@pytest.mark.parametrize("shade", [0.0, 0.25])
def test_finds_every_kind_under_other_light(palette: Palette, shade: float) -> None:
    found = StainSegmenter(StainOptions(pixel_um=0.1)).segment(frame(field(palette, shade=shade)))
    assert kinds(found) == {NUCLEATED: 1, RED_BLOOD_CELL: 8, PLATELET: 1}


def test_the_box_of_a_nucleated_cell_holds_its_cytoplasm() -> None:
    found = StainSegmenter(StainOptions(pixel_um=0.1)).segment(frame(field(PINK)))
    (cell,) = (c for c in found.cells if c.kind == NUCLEATED)
    assert np.abs(np.array(cell.box_px) - (270, 140, 391, 261)).max() <= 8
    assert cell.area_um2 == pytest.approx(np.pi * 36, rel=0.15)
    assert cell.centre_px == pytest.approx((330, 200), abs=5)


def test_masks_fit_their_boxes_inside_the_frame() -> None:
    for cell in StainSegmenter().segment(frame(field(PINK))).cells:
        x0, y0, x1, y1 = cell.box_px
        assert 0 <= x0 < x1 <= 520
        assert 0 <= y0 < y1 <= 400
        assert cell.mask.shape == (y1 - y0, x1 - x0)
        assert cell.mask.dtype == np.uint8
        assert set(np.unique(cell.mask).tolist()) <= {0, 1}
        assert cell.mask.any()


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.0])
def test_measures_its_scale_on_red_cells(scale: float) -> None:
    found = StainSegmenter().segment(frame(field(PINK, scale)))
    assert found.pixel_um_source == "estimated"
    assert found.pixel_um == pytest.approx(0.1 / scale, rel=0.12)
    assert kinds(found) == {NUCLEATED: 1, RED_BLOOD_CELL: 8, PLATELET: 1}


def test_a_told_scale_is_kept() -> None:
    assert StainSegmenter(StainOptions(pixel_um=0.11)).segment(frame(field(PINK), pixel_um=0.1)).pixel_um_source == "settings"
    found = StainSegmenter().segment(frame(field(PINK), pixel_um=0.1))
    assert (found.pixel_um, found.pixel_um_source) == (0.1, "optics")


def test_cells_near_the_border_are_found_but_not_counted() -> None:
    found = StainSegmenter(StainOptions(pixel_um=0.1)).segment(frame(field(PINK)))
    excluded = [cell for cell in found.cells if cell.excluded == "edge"]
    assert len(excluded) == 1
    assert excluded[0].centre_px[0] > 475
    close = StainSegmenter(StainOptions(pixel_um=0.1)).segment(frame(field(PINK)[:, 240:].copy()))
    (cell,) = (c for c in close.cells if c.kind == NUCLEATED)
    assert cell.box_px[0] > 0, "whole, but its centre is less than 10 um from the border"
    assert cell.excluded == "edge"


def test_without_red_cells_the_scale_is_unknown_and_no_area_is_made_up() -> None:
    image = np.full((300, 300, 3), PINK["background"], np.uint8)
    cv2.circle(image, (150, 150), 50, PINK["cytoplasm"], -1)
    cv2.circle(image, (140, 150), 34, PINK["nucleus"], -1)
    found = StainSegmenter().segment(frame(image))
    assert (found.pixel_um, found.pixel_um_source) == (None, "unknown")
    assert found.cells
    assert all(cell.area_um2 is None and cell.excluded is None for cell in found.cells)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (200, 200, 3)])
def test_empty_images_have_no_cells(shape: tuple[int, int, int], level: int) -> None:
    found = StainSegmenter().segment(frame(np.full(shape, level, np.uint8)))
    assert found.cells == ()
    assert found.pixel_um is None


@pytest.mark.parametrize("nonsense", [-1.0, 0.0, 1e-9, float("nan"), 5.0])
def test_a_nonsensical_scale_is_refused(nonsense: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"pixel_um": nonsense}, StainOptions)


@pytest.mark.parametrize("side", range(4))
def test_a_cell_that_the_border_cuts_does_not_join_its_whole_neighbour(side: int) -> None:
    image = np.rot90(field(PINK)[:, :240]).copy()
    image[0:150, 100:260] = PINK["background"]
    for x, y in ((180, 50), (183, -14)):
        inside = cv2.circle(np.zeros(image.shape[:2], np.uint8), (x, y), 36, 1, -1) > 0
        image[inside] = image[inside].astype(np.uint16) * PINK["red"] // PINK["background"]
    image = np.ascontiguousarray(np.rot90(cv2.GaussianBlur(image, (0, 0), 1.5), side))
    found = StainSegmenter(StainOptions(pixel_um=0.1)).segment(frame(image))
    height, width = image.shape[:2]
    x, y = [(180, 50), (50, height - 181), (width - 181, height - 51), (width - 51, 180)][side]
    (cell,) = (c for c in found.cells if abs(c.centre_px[0] - x) < 30 and abs(c.centre_px[1] - y) < 30)
    assert cell.area_um2 == pytest.approx(np.pi * 3.6**2, rel=0.15)
