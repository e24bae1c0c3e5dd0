"""The rapid-stain cells: read from both layouts, and barred from training."""

from pathlib import Path

import pytest
from toy_cells import encoded, toy_cell, toy_recipe, write_folder, write_split, write_tar

from calibration import cells
from calibration.adapter import Fault
from calibration.datasets.wbc_masks import WbcMasks
from calibration.recipe import Data
from edgecell.errors import SettingsError

LABELS = {"001.png": "lymphocyte", "002.png": "neutrophil", "010.png": "neutrophil"}


def files(labels: dict[str, str]) -> dict[str, bytes]:
    table = "image,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items())
    images = {f"images/{name}": encoded(toy_cell(label, 1, 120), ".png") for name, label in LABELS.items()}
    masks = {f"masks/{name}": encoded(toy_cell(label, 2, 120), ".png") for name, label in LABELS.items()}
    return {**images, **masks, "labels.csv": table.encode()}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar"])
def test_images_come_with_their_labels_and_masks_do_not(packed: bool, tmp_path: Path) -> None:
    if packed:
        write_tar(files(LABELS), tmp_path / "wbc_masks.tar", "wbc_masks")
    else:
        write_folder(files(LABELS), tmp_path / "wbc_masks")
    found = list(WbcMasks().read(tmp_path))
    assert {each.name: each.labels for each in found} == {name: (label,) for name, label in LABELS.items()}
    assert {(each.pixel_um, each.image().shape) for each in found} == {(0.18, (120, 120, 3))}


def test_an_image_without_a_known_label_is_a_fault(tmp_path: Path) -> None:
    write_folder(files({**LABELS, "002.png": "neutrophyl"}), tmp_path / "wbc_masks")
    [fault] = [each for each in WbcMasks().scan(tmp_path) if isinstance(each, Fault)]
    assert (fault.kind, fault.name, fault.what) == ("unknown class", "002.png", "labels.csv calls it 'neutrophyl'")
    assert [each.name for each in WbcMasks().read(tmp_path)] == ["001.png", "010.png"]


def test_without_labels_nothing_is_guessed(tmp_path: Path) -> None:
    write_folder({"images/001.png": encoded(toy_cell("neutrophil", 1), ".png")}, tmp_path / "wbc_masks")
    with pytest.raises(SettingsError, match=r"no labels\.csv"):
        list(WbcMasks().read(tmp_path))


def test_no_recipe_can_train_on_them(tmp_path: Path) -> None:
    write_folder(files(LABELS), tmp_path / "wbc_masks")
    split_file = write_split(list(LABELS), tmp_path / "toy.tsv")
    toy_recipe(tmp_path / "toy.toml", split_file)
    barred = (tmp_path / "toy.toml").read_text().replace('dataset = "pbc"', 'dataset = "wbc_masks"')
    (tmp_path / "toy.toml").write_text(barred)
    from calibration import recipe

    how, _ = recipe.load(tmp_path / "toy.toml")
    assert how.data == (Data(dataset="wbc_masks", split=split_file.as_posix()),)
    with pytest.raises(SettingsError, match="wbc_masks, which is for evaluation only"):
        cells.training(how, tmp_path, tmp_path / "work")
