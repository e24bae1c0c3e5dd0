"""Which training cells set INT8 ranges and which compare them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from toy_cells import toy_recipe, write_split

from calibration.int8 import draw
from calibration.recipe import Int8, Recipe
from edgecell.errors import SettingsError


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return toy_recipe(tmp_path / "toy.toml", write_split([], tmp_path / "toy.tsv"))


def test_no_cell_both_sets_and_compares(recipe: Recipe) -> None:
    setting, comparing = draw(recipe, 1000)
    assert (len(setting), len(comparing)) == (24, 512)
    assert not set(setting) & set(comparing)
    again, _ = draw(recipe, 1000)
    assert np.array_equal(setting, again)


@pytest.mark.parametrize("count", [2, 7, 30])
def test_a_small_training_set_is_halved(recipe: Recipe, count: int) -> None:
    setting, comparing = draw(recipe, count)
    assert sorted([*setting, *comparing]) == list(range(count))
    assert 0 <= len(setting) - len(comparing) <= 1


def test_one_cell_is_too_few(recipe: Recipe) -> None:
    with pytest.raises(SettingsError, match="two training cells"):
        draw(recipe, 1)


@pytest.mark.parametrize("method", ["mean", "percentile", "percentile 40", "percentile 100.5", "percentile 99,9"])
def test_a_recipe_names_methods_that_exist(method: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"methods": [method]}, Int8)


def test_a_recipe_compares_at_least_one_method() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"methods": []}, Int8)
