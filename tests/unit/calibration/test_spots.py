"""A segmenter from labelled fields to counted cells, and what it is taught on the way."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import called
from made_datasets import make_balf

from calibration.fields import Field
from calibration.spots import recipe as recipes
from calibration.spots.recipe import FOLDER
from calibration.spots.sheet import BASE_UM, IGNORED, owned, sheet_of
from calibration.spots.sheets import is_held, measured, read
from calibration.spots.view import view
from edgecell.errors import SettingsError

BALF = FOLDER / "balf.toml"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_committed_recipes_can_be_read(path: Path) -> None:
    cooked, _ = recipes.load(path)
    assert cooked.name == path.stem
    assert cooked.preprocess.size_px % 16 == 0
    assert set(cooked.acceptance.f1_at_least) <= {each.name for each in cooked.classes}


def field(outlines: tuple[np.ndarray, ...] = ()) -> Field:
    """Two cells at BASE_UM: a large one, and a small one on top of it."""
    boxes = np.array([[10, 10, 50, 50], [34, 18, 44, 28]], np.float64)
    image = np.full((64, 80, 3), 230, np.uint8)
    return Field(name="drawn", split="", image=image, boxes=boxes, kinds=np.array([0, 1]), outlines=outlines)


def test_a_small_cell_owns_what_it_covers_of_a_large_one() -> None:
    square = np.array([[10, 10], [50, 10], [50, 50], [10, 50]], np.float64)
    owners = sheet_of(field((square, square * 0.25 + 22.5)), BASE_UM).owners
    assert (owners[11:49, 11:24] == 1).all()
    assert (owners[27:33, 27:33] == 2).all()
    assert not owners[:, 55:].any()


def test_a_box_is_an_ellipse_where_the_stain_says_nothing() -> None:
    owners = owned(np.array([[10.0, 10, 50, 50]]), np.zeros((64, 80), np.uint8))
    assert (owners == 1).sum() == pytest.approx(np.pi * 400, rel=0.02)


def test_stained_matter_without_a_label_is_nobody_s_fault() -> None:
    stained = np.zeros((64, 80), np.uint8)
    stained[20:40, 60:75] = 1
    owners = owned(np.array([[10.0, 10, 50, 50]]), stained)
    assert (owners[20:40, 65:75] == IGNORED).all()


def test_the_scale_comes_from_labelled_red_cells() -> None:
    boxes = np.array([[0, 0, 72, 72], [0, 0, 70, 74], [5, 5, 77, 77], [0, 0, 5, 5]], np.float64)
    drawn = Field(name="f", split="", image=np.zeros((99, 99, 3), np.uint8), boxes=boxes, kinds=np.array([1, 1, 1, 2]))
    assert measured(drawn, ("nucleated", "red_blood_cell", "platelet")) == pytest.approx(0.1, rel=0.01)
    assert measured(drawn, ("nucleated", "platelet", "other")) is None


def test_holding_back_is_by_name_alone() -> None:
    names = [f"field{number}" for number in range(2000)]
    held = {name for name in names if is_held(name, 0.12)}
    assert 0.09 < len(held) / len(names) < 0.15
    assert {name for name in names if is_held(name, 0.05)} < held


@pytest.mark.parametrize("turn", [0.0, 1.0])
def test_a_view_asks_for_each_cell_at_its_middle(turn: float) -> None:
    cooked, _ = recipes.load(BALF)
    how = msgspec.structs.replace(cooked.training.view, side_px=96, turn=turn, scale=0.0, wide_share=0.0, squash=0.0)
    cooked = msgspec.structs.replace(cooked, training=msgspec.structs.replace(cooked.training, view=how))
    seen = view(np.random.default_rng(0), sheet_of(field(), BASE_UM), cooked, np.array([1.0, 2.0, 1, 1, 1, 1, 1]))
    size = 40 * BASE_UM / cooked.work_um / 4  # of the large cell, in grid cells
    for kind, expected in ((0, size), (1, size / 4)):
        ((y, x),) = np.argwhere(seen.heat[kind] > 0.999).tolist()
        assert seen.inside[y, x] == 1
        across, down = seen.reach[0, y, x] + seen.reach[2, y, x], seen.reach[1, y, x] + seen.reach[3, y, x]
        assert (across, down) == (pytest.approx(expected, rel=0.05, abs=0.3), pytest.approx(expected, rel=0.05, abs=0.3))
    assert seen.whole.sum() == pytest.approx(3.0, rel=0.01), "a cell of gain 1 and one of gain 2"


def test_a_dataset_without_fields_is_named(tmp_path: Path) -> None:
    cooked, _ = recipes.load(BALF)
    other = msgspec.structs.replace(cooked, data=msgspec.structs.replace(cooked.data, name="pbc"))
    with pytest.raises(SettingsError, match="dataset pbc has classes that the recipe lacks"):
        read(other, tmp_path)


# torch calls its TorchScript exporter deprecated, whose successor writes no opset 17; and it forks beside threads of others.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_lavage_recipe_goes_all_the_way_to_counted_cells(tmp_path: Path) -> None:
    """On a small drawn set in the published layout: the path works, whatever the few steps have taught."""
    pytest.importorskip("torch", reason="training needs the workshop's torch")
    from calibration.spots import bundling, train

    make_balf(tmp_path, 8)
    cooked, sha256 = recipes.load(BALF)
    seen = msgspec.structs.replace(cooked.training.view, side_px=128, scale=0.0, wide_share=0.0)
    short = msgspec.structs.replace(cooked.training, epochs=25, batch=3, rate=5e-3, average=0.8, view=seen)
    cooked = msgspec.structs.replace(cooked, training=short, data=msgspec.structs.replace(cooked.data, held=0.25))
    sheets = read(cooked, tmp_path)
    model = train.train(cooked, sheets, tmp_path / "balf.pt")
    made = bundling.bundle(cooked, sha256, model, sheets, tmp_path / "bundle")
    assert (made.manifest.task, made.manifest.specimen) == ("segment", "balf")
    pictures = sorted((tmp_path / "balf" / "Images" / "train").glob("*.jpg"))[:4]
    ended = called("count", *pictures, "--segmenter", f"network:{made.path}", "--pixel-um", "0.3", "--json")
    assert ended.code == 0, ended
    *lines, total = ended.documents
    cells = [cell for line in lines for cell in line["cells"]]
    names = [each.name for each in cooked.classes]
    assert cells
    for cell in cells:
        if cell["excluded"] is None:
            assert cell["label"] == cell["kind"]
            assert cell["label"] in names
            assert 0 <= cell["confidence"] <= 1
    assert set(total["counts"]) == set(names)
    assert sum(total["counts"].values()) + total["unsure"] + sum(total["excluded"].values()) == len(cells)
