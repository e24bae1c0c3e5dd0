"""From a dataset on disk to the arrays of training and of scoring."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from toy_cells import PIXEL_UM, RADII_UM, encoded, pbc_files, toy_recipe, write_folder, write_split

from calibration import cells, split
from calibration.augment import BASE_PX, BASE_UM
from calibration.recipe import Data, Recipe
from calibration.sample import decode
from edgecell.errors import SettingsError
from edgecell.preprocess import cut


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    files = pbc_files(8)
    write_folder(files, folder / "pbc")
    write_split(list(files), folder / "toy.tsv")
    return folder


@pytest.fixture(scope="module")
def recipe(root: Path) -> Recipe:
    return toy_recipe(root / "toy.toml", root / "toy.tsv")


@pytest.fixture(scope="module")
def trained(recipe: Recipe, root: Path) -> cells.TrainingCells:
    return cells.training(recipe, root, root / "work")


def names_of(part: split.Part, root: Path) -> set[str]:
    return {f"pbc/{name}" for name, where in split.load(str(root / "toy.tsv")).items() if where == part}


def labels_of(some: cells.Cells, classes: Sequence[str]) -> list[str]:
    return [classes[number] for number in some.truth]


def test_training_holds_the_training_part_only(trained: cells.TrainingCells, recipe: Recipe, root: Path) -> None:
    assert set(trained.names) == names_of("train", root)
    assert trained.windows.shape == (len(trained.names), BASE_PX, BASE_PX, 3)
    assert [name.split("/")[1] for name in trained.names] == labels_of(trained, recipe.class_names)


def test_a_mask_is_the_cell(trained: cells.TrainingCells, recipe: Recipe) -> None:
    assert trained.masks.shape == trained.windows.shape[:3]
    assert set(np.unique(trained.masks)) == {0, 255}
    for mask, label in zip(trained.masks, labels_of(trained, recipe.class_names), strict=True):
        if label in {"neutrophil", "lymphocyte"}:
            radius_um = np.sqrt((mask > 0).sum() / np.pi) * BASE_UM / BASE_PX
            assert radius_um == pytest.approx(RADII_UM[label], rel=0.2)


def test_windows_are_kept_for_the_next_time(trained: cells.TrainingCells, recipe: Recipe, root: Path) -> None:
    kept = sorted((root / "work").iterdir())
    before = [path.stat().st_mtime_ns for path in kept]
    again = cells.training(recipe, root, root / "work")
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert sorted((root / "work").iterdir()) == kept
    assert np.array_equal(again.windows, trained.windows)
    assert np.array_equal(again.masks, trained.masks)


def test_other_pixels_under_the_same_names_get_their_own_windows(
    trained: cells.TrainingCells, recipe: Recipe, root: Path, tmp_path: Path
) -> None:
    """As when originals take the place of copies."""
    inverted = {name: encoded(255 - decode(content, name)) for name, content in pbc_files(8).items()}
    write_folder(inverted, tmp_path / "pbc")
    other = cells.training(recipe, tmp_path, root / "work")
    assert sorted(other.names) == sorted(trained.names)
    assert other.windows.mean() < 128 < trained.windows.mean()


@pytest.mark.parametrize("part", ["val", "test"])
def test_scored_cells_are_cut_as_on_the_device(part: split.Part, recipe: Recipe, root: Path) -> None:
    [data] = recipe.data
    scored = cells.scored(recipe.preprocess, recipe.class_names, data, part, root)
    assert set(scored.names) == names_of(part, root)
    sample = next(cells.samples(data, part, root, recipe.class_names))
    image = sample.image()
    middle = image.shape[1] / 2, image.shape[0] / 2
    assert np.array_equal(scored.crops[0], cut(image, middle, PIXEL_UM, 20.0, recipe.preprocess.size_px))


def test_truth_is_open_where_the_annotation_is() -> None:
    allowed = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    assert cells.Cells(names=("a", "b", "c", "d"), allowed=allowed).truth.tolist() == [0, 2, -1, -1]


def test_classes_that_the_recipe_does_not_know_are_passed_over(recipe: Recipe, root: Path) -> None:
    data = Data(dataset="pbc", split=str(root / "toy.tsv"))
    scored = cells.scored(recipe.preprocess, ("basophil", "lymphocyte"), data, "train", root)
    assert set(scored.names) == {name for name in names_of("train", root) if "lymphocyte" in name}
    assert set(scored.truth) == {1}


def test_a_table_says_what_the_classes_of_the_dataset_are_here(recipe: Recipe, root: Path) -> None:
    """Those that it does not name are passed over, whatever their own names are."""
    table = {"neutrophil": "white", "lymphocyte": "white", "platelet": "small"}
    data = Data(dataset="pbc", split=str(root / "toy.tsv"), classes=table)
    scored = cells.scored(recipe.preprocess, ("small", "white"), data, "train", root)
    assert {name: int(truth) for name, truth in zip(scored.names, scored.truth, strict=True)} == {
        name: 0 if "platelet" in name else 1 for name in names_of("train", root)
    }
    fewer = Data(dataset="pbc", split=str(root / "toy.tsv"), classes={"platelet": "small"})
    kept = cells.scored(recipe.preprocess, ("small", "neutrophil"), fewer, "train", root)
    assert set(kept.names) == {name for name in names_of("train", root) if "platelet" in name}


def test_a_cell_that_may_be_of_a_class_without_a_place_is_passed_over() -> None:
    data = Data(dataset="txl_white", split="txl_pbc.tsv", classes={"lymphocyte": "white", "monocyte": "other"})
    assert data.labels(("lymphocyte", "monocyte"), ("white", "other")) == ("white", "other")
    assert data.labels(("lymphocyte", "neutrophil"), ("white", "other")) is None
    plain = Data(dataset="txl_white", split="txl_pbc.tsv")
    assert plain.labels(("lymphocyte", "neutrophil"), ("neutrophil", "lymphocyte")) == ("lymphocyte", "neutrophil")
    assert plain.labels(("lymphocyte", "neutrophil"), ("neutrophil",)) is None


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"lymfocyte": "lymphocyte"}, "dataset pbc has no class lymfocyte"),
        ({"lymphocyte": "lymfocyte"}, "recipe has no class lymfocyte"),
    ],
)
def test_a_misspelt_class_is_named(table: dict[str, str], named: str, recipe: Recipe, root: Path) -> None:
    data = Data(dataset="pbc", split=str(root / "toy.tsv"), classes=table)
    with pytest.raises(SettingsError, match=named):
        next(cells.samples(data, "train", root, recipe.class_names))


def test_a_recipe_may_say_how_large_a_pixel_is(recipe: Recipe, root: Path) -> None:
    data = Data(dataset="pbc", split=str(root / "toy.tsv"), pixel_um=0.2)
    sample = next(cells.samples(data, "train", root, recipe.class_names))
    assert sample.scale() == 0.2
    with pytest.raises(SettingsError, match=r"how large a pixel of .*pixel_um"):
        replace(sample, pixel_um=None).scale()


def test_a_dataset_without_training_cells_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    write_folder({"neutrophil/NOT_LISTED.jpg": next(iter(pbc_files(1).values()))}, tmp_path / "pbc")
    with pytest.raises(SettingsError, match="no training cell"):
        cells.training(recipe, tmp_path, tmp_path / "work")


def smear(red: float) -> bytes:
    """A cell among four red cells whose densities are `red` times (0.20, 0.30, 0.18), as a PNG."""
    density = np.zeros((224, 224, 3))
    y, x = np.mgrid[:224, :224] - 111.5
    for across, down in ((-75, -75), (-75, 75), (75, -75), (75, 75)):
        density[np.hypot(x - across, y - down) < 34] = np.array((0.20, 0.30, 0.18)) * red
    density[np.hypot(x, y) < 38] = (1.3, 2.2, 0.4)
    noise = np.random.default_rng(0).normal(0, 1, density.shape)
    return encoded(np.clip(np.array((250, 230, 210)) * np.exp(-density) + noise, 0, 255).astype(np.uint8), ".png")


@pytest.mark.parametrize("red", [1.0, 0.5])
def test_a_slide_with_pale_red_cells_is_trained_on_as_the_device_will_show_it(
    red: float, recipe: Recipe, tmp_path: Path
) -> None:
    files = {f"neutrophil/N_{number}.png": smear(red) for number in range(8)}
    write_folder(files, tmp_path / "pbc")
    split.save(dict.fromkeys(files, "train"), tmp_path / "all.tsv")
    spec = msgspec.structs.replace(recipe.preprocess, red_density=(0.20, 0.30, 0.18))
    how = msgspec.structs.replace(recipe, preprocess=spec, data=(Data(dataset="pbc", split=str(tmp_path / "all.tsv")),))
    trained = cells.training(how, tmp_path, tmp_path / "work")
    shown = cells.scored(spec, how.class_names, how.data[0], "train", tmp_path).seen(spec)
    plain = cells.plain_crops(trained.windows, spec)
    assert np.abs(plain.astype(int) - shown).mean() < 2.0
    asked_for_nothing = cells.training(msgspec.structs.replace(how, preprocess=recipe.preprocess), tmp_path, tmp_path / "work")
    moved = np.abs(trained.windows.astype(int) - asked_for_nothing.windows).mean()
    assert moved < 1.0 if red == 1.0 else moved > 3.0
