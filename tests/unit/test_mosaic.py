"""Mosaics: where fields land, what is counted, and that the committed list is what the rule gives."""

import os
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mosaic import LIST, PROJECT, SIZE_PX, SOURCES, Mosaic, Mosaics, arrange, as_toml, build, grid, lay, main
from calibration.fields import Field, read_fields
from edgecell.errors import SettingsError
from edgecell.messages import NUCLEATED, PLATELET, RED_BLOOD_CELL

TILE = (40, 30)
SIZE = (100, 60)
DATA = os.environ.get("EDGECELL_TXL_PBC", "")


def field(name: str, level: int, tile_px: tuple[int, int] = TILE) -> Field:
    """One flat colour, a nucleated cell in the middle and a red cell in the top left corner."""
    width, height = tile_px
    image: NDArray[np.uint8] = np.full((height, width, 3), level, np.uint8)
    middle = [width / 2 - 4, height / 2 - 4, width / 2 + 4, height / 2 + 4]
    return Field(name=name, split="val", image=image, boxes=np.array([middle, [0, 0, 4, 4]]), kinds=np.array([0, 1]))


def six() -> dict[str, Field]:
    return {str(number): field(str(number), 10 + number) for number in range(6)}


def test_the_grid_starts_at_the_top_left() -> None:
    assert grid(TILE, SIZE) == [(0, 0), (40, 0), (80, 0), (0, 30), (40, 30), (80, 30)]


@pytest.mark.parametrize("source", SOURCES)
def test_every_pixel_is_covered_at_the_real_sizes(source: str) -> None:
    width, height = (int(side) for side in source.split("x"))
    covered = np.zeros((SIZE_PX[1], SIZE_PX[0]), np.uint8)
    for x, y in grid((width, height), SIZE_PX):
        covered[y : y + height, x : x + width] += 1
    assert (covered == 1).all()


def test_fields_land_at_native_scale_and_their_cells_are_counted() -> None:
    picture, counts = lay(Mosaic(name="a/0", tile_px=TILE, fields=tuple("012345")), six(), SIZE)
    assert picture.shape == (60, 100, 3)
    assert [int(picture[y, x, 0]) for y in (0, 30) for x in (0, 39, 40, 79, 80, 99)] == [
        *(10, 10, 11, 11, 12, 12),
        *(13, 13, 14, 14, 15, 15),
    ]
    # The middles of the right column lie just outside the frame.
    assert counts == {NUCLEATED: 4, RED_BLOOD_CELL: 6, PLATELET: 0}


def test_sources_are_not_mixed_and_the_order_of_the_data_does_not_matter() -> None:
    fields = [*six().values(), *(field(f"other{number}", 99, (50, 60)) for number in range(5))]
    mosaics = arrange(fields, ("40x30", "50x60"), SIZE)
    assert [(each.name, each.tile_px, each.fields) for each in mosaics.mosaic] == [
        ("40x30/0", (40, 30), tuple("012345")),
        ("50x60/0", (50, 60), ("other0", "other1")),
        ("50x60/1", (50, 60), ("other2", "other3")),
    ]
    assert arrange(fields[::-1], ("40x30", "50x60"), SIZE) == mosaics
    assert msgspec.toml.decode(as_toml(mosaics), type=Mosaics) == mosaics


def test_pictures_are_written_lossless_and_counted(tmp_path: Path) -> None:
    mosaics = arrange(list(six().values()), ("40x30",), SIZE)
    lines = list(build(mosaics, six(), tmp_path / "out"))
    assert lines[0] == "40x30/0: 4 nucleated, 6 red_blood_cell, 0 platelet"
    assert lines[-1] == "1 mosaics, nucleated a frame: 4 to 4, mean 4.0"
    written = cv2.imread(str(tmp_path / "out/40x30/0.png"))
    np.testing.assert_array_equal(written, lay(mosaics.mosaic[0], six(), SIZE)[0][..., ::-1])


def test_no_picture_is_written_into_the_project() -> None:
    with pytest.raises(SettingsError, match="holds no pictures"):
        list(build(Mosaics(size_px=SIZE, mosaic=()), {}, PROJECT / "out"))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="wants field 7"):
        lay(Mosaic(name="a/0", tile_px=TILE, fields=tuple("712345")), six(), SIZE)


def test_the_command_says_what_is_wrong_with_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_committed_list_is_whole() -> None:
    mosaics = msgspec.toml.decode(LIST.read_bytes(), type=Mosaics)
    assert mosaics.size_px == SIZE_PX
    for mosaic in mosaics.mosaic:
        assert mosaic.name.startswith(f"{mosaic.tile_px[0]}x{mosaic.tile_px[1]}/")
        assert len(mosaic.fields) == len(grid(mosaic.tile_px, SIZE_PX))
    names = [name for mosaic in mosaics.mosaic for name in mosaic.fields]
    assert len(names) == len(set(names))


@pytest.mark.skipif(not DATA, reason="EDGECELL_TXL_PBC does not name TXL-PBC's folder or tar")
def test_the_committed_list_is_what_the_data_gives() -> None:
    assert as_toml(arrange(list(read_fields(Path(DATA), "val")))) == LIST.read_text(encoding="utf-8")
