"""The annotated picture: what is drawn where, in which colour, and that nothing of the legend is lost."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.messages import Cell, Classification, Exclusion, FrameReport, Verdict
from edgecell.report import overlay
from edgecell.report.overlay import GREY, LEGEND_PX, PALETTE, PLATE, RED, UNSURE, Colour, draw

LABELS = ("neutrophil", "lymphocyte", "red_blood_cell", "platelet")
BACKGROUND = (231, 232, 233)
Picture = NDArray[np.uint8]


def cell(index: int, kind: str, box: tuple[int, int, int, int], excluded: Exclusion | None = None) -> Cell:
    x0, y0, x1, y1 = box
    centre = (x0 + x1) / 2, (y0 + y1) / 2
    return Cell(frame_index=0, cell_index=index, kind=kind, box_px=box, centre_px=centre, excluded=excluded)


def answer(index: int, label: str, confidence: float | None = 0.97, *, decided: bool = True) -> Classification:
    return Classification(cell_index=index, label=label, confidence=confidence, decided=decided)


def report(*pairs: tuple[Cell, Classification | None]) -> FrameReport:
    return FrameReport(
        frame_index=0,
        captured_ns=0,
        label="field.png",
        verdict=Verdict(accepted=True, reason="", focus=1.0, mean_level=0.9, saturated_fraction=0.0),
        cells=tuple(each for each, _ in pairs),
        classifications=tuple(each for _, each in pairs if each is not None),
        pixel_um=0.1,
        pixel_um_source="estimated",
        stage_us={},
    )


def blank(height: int = 720, width: int = 1280) -> Picture:
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def coloured(picture: Picture, colour: Colour) -> tuple[int, int, int, int] | None:
    """The box around all pixels of exactly that colour."""
    rows, columns = np.nonzero((picture == np.array(colour, np.uint8)).all(axis=2))
    if not rows.size:
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written into the picture, in order."""
    written: list[str] = []
    real = cv2.putText

    def put(image: Picture, text: str, place: tuple[int, int], *more: object) -> object:
        written.append(text)
        assert 0 <= place[0] < image.shape[1]
        assert 0 < place[1] <= image.shape[0], f"{text} is written outside the picture"
        return real(image, text, place, *more)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "putText", put)
    return written


BOX = (400, 300, 500, 420)


@pytest.mark.parametrize(
    ("kind", "said", "colour"),
    [
        ("nucleated", answer(0, "neutrophil"), PALETTE[0]),
        ("nucleated", answer(0, "lymphocyte"), PALETTE[1]),
        ("red_blood_cell", answer(0, "red_blood_cell", None), RED),
        ("platelet", answer(0, "platelet", None), PLATE),
        ("nucleated", answer(0, "neutrophil", 0.4, decided=False), UNSURE),
        ("nucleated", answer(0, "artefact"), UNSURE),
        ("nucleated", answer(0, "nucleated", None, decided=False), UNSURE),
        ("nucleated", None, GREY),
    ],
)
def test_a_box_is_drawn_where_the_cell_is_in_the_colour_of_its_fate(
    kind: str, said: Classification | None, colour: Colour
) -> None:
    found = cell(0, kind, BOX, None if said else "edge")
    image = blank()
    drawn = draw(image, report((found, said)), LABELS)[:, :1280]
    outline = coloured(drawn, colour)
    assert outline is not None
    x0, y0, x1, y1 = BOX
    assert x0 - 2 <= outline[0] <= x0
    assert y1 - 1 <= outline[3] <= y1 + 2
    assert (drawn[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5] == BACKGROUND).all()  # the cell itself stays to be looked at
    assert (drawn[500:] == BACKGROUND).all()
    assert (image == BACKGROUND).all()  # the caller's picture is left alone


def test_what_is_written_says_what_was_counted(texts: list[str]) -> None:
    pairs = [
        (cell(0, "nucleated", BOX), answer(0, "neutrophil")),
        (cell(1, "nucleated", (100, 100, 180, 180)), answer(1, "artefact", 0.99)),
        (cell(2, "nucleated", (600, 100, 680, 180)), answer(2, "lymphocyte", 0.41, decided=False)),
        (cell(3, "nucleated", (700, 400, 780, 480)), answer(3, "nucleated", None, decided=False)),
        (cell(4, "red_blood_cell", (10, 600, 60, 650)), answer(4, "red_blood_cell", None)),
        (cell(5, "red_blood_cell", (0, 0, 30, 30), "edge"), None),
    ]
    draw(blank(), report(*pairs), LABELS)
    tags, legend = texts[:4], texts[4:]
    assert tags == ["neutrophil 97%", "? artefact 99%", "? lymphocyte 41%", "?"]
    assert legend == [
        "neutrophil: 1",
        "lymphocyte: 0",
        "red_blood_cell: 1",
        "platelet: 0",
        "unsure: 3",
        "not counted (edge): 1",
        "0.1000 um/px (estimated)",
        "For research use only.",
        "Not for use in diagnostic procedures.",
    ]


def test_the_notice_is_in_the_picture() -> None:
    """Ink in the last line of the legend."""
    drawn = draw(blank(), report(), LABELS)
    legend = drawn[:, 1280:]
    assert legend.shape == (720, LEGEND_PX, 3)
    dark = np.nonzero(legend.max(axis=2).min(axis=1) < 100)[0]
    assert dark.size
    lines = len(LABELS) + 2 + 3
    assert dark.max() > (lines - 1) * overlay.LINE_PX


def test_many_classes_make_the_picture_higher_and_lose_no_line(texts: list[str]) -> None:
    labels = tuple(f"class_{number}" for number in range(60))
    drawn = draw(blank(), report(), labels)
    assert drawn.shape[0] > 720
    assert texts[-1] == "Not for use in diagnostic procedures."
    assert len(texts) == 60 + 2 + 3


def test_a_gated_field_says_so(texts: list[str]) -> None:
    gated = replace(report(), verdict=replace(report().verdict, accepted=False, reason="dark"), pixel_um=None)
    draw(blank(), gated, LABELS)
    assert "gated: dark" in texts
    assert "scale unknown" in texts


@pytest.mark.parametrize(("size", "zoom"), [((480, 640), 2), ((16, 16), 45), ((720, 1280), 1), ((2160, 3840), 1)])
def test_small_fields_are_magnified_by_whole_pixels(size: tuple[int, int], zoom: int) -> None:
    drawn = draw(blank(*size), report(), LABELS)
    assert drawn.shape[0] == size[0] * zoom
    assert drawn.shape[1] > size[1] * zoom


def test_boxes_are_magnified_with_their_field() -> None:
    drawn = draw(
        blank(360, 480), report((cell(0, "red_blood_cell", (100, 60, 160, 130)), answer(0, "red_blood_cell", None))), LABELS
    )
    outline = coloured(drawn[:, :960], RED)
    assert outline == pytest.approx((200, 120, 320, 260), abs=2)


@pytest.mark.parametrize("size", [(720, 1280), (2160, 3840), (3000, 4000)])
def test_lines_are_as_thick_in_any_picture_shrunk_to_a_screen(size: tuple[int, int]) -> None:
    height, width = size
    box = width // 4, height // 4, width // 2, height // 2
    drawn = draw(blank(*size), report((cell(0, "nucleated", box), answer(0, "neutrophil"))), LABELS)
    row = (drawn[box[3] - 20, :width] == np.array(PALETTE[0], np.uint8)).all(axis=1)
    left = int(row[: width * 3 // 8].sum())
    assert 2 * width / 1280 <= left <= 1.5 * 2 * width / 1280 + 1
    assert drawn.shape[1] - width == pytest.approx(LEGEND_PX * width / 1280, rel=0.01)


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (1240, 0, 1280, 40), (0, 680, 40, 720), (1240, 680, 1280, 720)])
def test_tags_stay_inside(box: tuple[int, int, int, int], texts: list[str]) -> None:
    drawn = draw(blank(), report((cell(0, "nucleated", box), answer(0, "lymphocyte"))), LABELS)
    outline = coloured(drawn[:, :1280], PALETTE[1])
    assert outline is not None
    assert outline[2] - outline[0] > 60  # its tag, whole
