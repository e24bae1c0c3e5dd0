"""The ablation table: what a change may change, and which cells a row sees."""

from pathlib import Path

import numpy as np
import pytest
from toy_cells import toy_recipe, write_split

from calibration import ablation
from calibration.ablation import Ablation, Change
from calibration.cells import TrainingCells
from calibration.recipe import Recipe
from edgecell.errors import SettingsError

TABLE = """
recipe = "toy.toml"
epochs = 1
cells_per_class = 5
seeds = [1, 2]
train = ["pbc"]
foreign = ["mll_marrow"]
classes = ["neutrophil"]

[[changes]]
name = "the recipe"
"""


def written(folder: Path, more: str = "") -> Path:
    toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"), epochs=7)
    path = folder / "toy.ablation.toml"
    path.write_text(TABLE + more)
    return path


def loaded(folder: Path, more: str = "") -> tuple[Ablation, Recipe]:
    return ablation.load(written(folder, more))


def test_a_row_changes_its_fields_and_nothing_else(tmp_path: Path) -> None:
    table, base = loaded(tmp_path)
    change = Change(name="grey", set={"training.augment.grey": 0.5, "network.dropout": 0.3})
    made = ablation.changed(base, table, change, seed=2)
    assert made.training.augment.grey == 0.5
    assert made.network.dropout == 0.3
    assert (made.training.epochs, made.training.seed) == (1, 2)
    assert made.training.augment.scale == base.training.augment.scale
    assert made.classes == base.classes


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("set = { 'training.augment.gray' = 1.0 }", "has no field training.augment.gray"),
        ("set = { 'training.augment.grey' = 'much' }", "Expected `float`, got `str`"),
        ("add = ['nowhere']", "has no dataset nowhere"),
        ("sets = {}", "unknown field `sets`"),
    ],
)
def test_a_wrong_change_is_named_before_anything_is_trained(tmp_path: Path, more: str, words: str) -> None:
    path = written(tmp_path, more)
    with pytest.raises(SettingsError, match=words):
        ablation.load(path)


def test_fewer_takes_as_many_of_every_label_and_the_same_ones_again() -> None:
    allowed = np.zeros((40, 3), bool)
    allowed[:25, 0] = allowed[25:38, 1] = True
    allowed[38:] = True
    every = TrainingCells(
        names=tuple(f"toy/{n}" for n in range(40)),
        allowed=allowed,
        windows=np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8),
        masks=np.zeros((40, 2, 2), np.uint8),
        repeats=np.arange(40),
    )
    made, again = ablation.fewer(every, 10), ablation.fewer(every, 10)
    assert made.allowed.sum(axis=0).tolist() == [12, 12, 2]
    assert made.names == again.names
    places = [int(name.split("/")[1]) for name in made.names]
    assert made.windows[:, 0, 0, 0].tolist() == places == made.repeats.tolist()


def test_the_committed_table_fits_its_recipe() -> None:
    table, _ = ablation.load(Path(ablation.__file__).parent / "ablations" / "pbc8.toml")
    assert len({change.name for change in table.changes}) == len(table.changes) > 5
