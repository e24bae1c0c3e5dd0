"""Outlines of single white cells against drawn masks."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import encoded

from calibration import mask_scores
from calibration.commands import cli
from edgecell.errors import SettingsError
from edgecell.messages import NUCLEATED, RED_BLOOD_CELL, Cell, Frame, Segmentation
from edgecell.segmenters.stain import StainSegmenter

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "wbc_masks.tar"


def write(folder: Path, name: str, *, size: int = 40, cell: tuple[int, int] = (10, 30)) -> None:
    """A picture with a square cell: nucleus in its upper half, cytoplasm in the lower."""
    mask = np.zeros((size, size), np.uint8)
    first, last = cell
    mask[first:last, first:last] = 128
    mask[first : (first + last) // 2, first:last] = 255
    for part, pixels in (("images", np.full((40, 40, 3), 230, np.uint8)), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / f"{name}.png").write_bytes(encoded(".png", pixels))


def square(first: int, last: int, kind: str = NUCLEATED) -> Cell:
    middle = (first + last) / 2
    box = first, first, last, last
    return Cell(frame_index=0, cell_index=0, kind=kind, box_px=box, centre_px=(middle, middle))


class Script(StainSegmenter):
    """A stand-in that finds what it is told to, picture by picture."""

    cells: tuple[tuple[Cell, ...], ...] = ()

    def segment(self, frame: Frame) -> Segmentation:
        assert not frame.image.flags.writeable
        return Segmentation(cells=self.cells[frame.index], pixel_um=frame.pixel_um, pixel_um_source="unknown")


def test_the_nucleated_cell_that_overlaps_most_counts_and_a_missed_one_counts_as_nothing(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path, name)
    Script.cells = (
        (square(0, 12), square(10, 30), square(10, 30, RED_BLOOD_CELL)),
        (square(10, 30, RED_BLOOD_CELL),),
        (square(10, 20),),
    )
    found = mask_scores.score(mask_scores.read_drawn(tmp_path), Script, 0.2)
    assert found.ious == pytest.approx((1, 0, 0.25))
    assert found.mean == pytest.approx(1.25 / 3)
    assert (found.found.count, found.found.n, found.pixel_um) == (1, 3, 0.2)
    low, high = found.interval
    assert 0 <= low < found.mean < high <= 1
    assert "n=3; found at IoU 0.5: 33.33 % (1/3" in str(found)


def test_the_command_reads_a_folder_or_a_tar(tmp_path: Path) -> None:
    write(tmp_path / "set", "1")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "set", "set")
    for data in ("set", "set.tar"):
        arguments = ["evaluate-masks", "--data", str(tmp_path / data), "--segmenter", "stain", "--pixel-um", "0.2"]
        plain, as_json = (CliRunner().invoke(cli, [*arguments, *more]) for more in ([], ["--json"]))
        assert (plain.exit_code, as_json.exit_code) == (0, 0), plain.output + as_json.output
        assert "mask IoU 0.000" in plain.stdout
        figures = json.loads(as_json.stdout)
        assert (figures["segmenter"], figures["told_pixel_um"], figures["n"]) == ("stain", 0.2, 1)
        assert figures["mask_iou_of_found"] is None


def test_a_set_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    def problem() -> str:
        with pytest.raises(SettingsError) as raised:
            list(mask_scores.read_drawn(tmp_path))
        return str(raised.value)

    assert "has no images/* with masks/*" in problem()
    write(tmp_path, "a", size=20)
    assert "masks/a.png has not the size" in problem()
    write(tmp_path, "a", cell=(0, 0))
    assert "masks/a.png shows no cell" in problem()
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    assert "masks/a.png is not an image" in problem()
    write(tmp_path, "a")
    write(tmp_path, "b")
    (tmp_path / "masks" / "b.png").unlink()
    assert "b has an image or a mask, not both" in problem()


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED.name} in shared/data beside the project")
def test_real_cells_are_outlined_as_well_as_promised() -> None:
    some = [drawn for number, drawn in enumerate(mask_scores.read_drawn(SHARED)) if number % 15 == 0]
    found = mask_scores.score(some, StainSegmenter, 0.18)
    assert found.found.count >= 17
    assert found.mean >= 0.7
