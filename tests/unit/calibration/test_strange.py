"""Made-up slides: one look for all cells of a slide, and the mean confidence below which labels are held back."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from toy_cells import PIXEL_UM, toy_cell, toy_recipe, write_split

from calibration import strange
from calibration.cells import ScoredCells
from calibration.recipe import Augment, Recipe
from calibration.strange import NEIGHBOURS, Seen, foreign_below
from edgecell.preprocess import cut

HOW = Augment(stain=0.1, density=0.25, channels=0.1, blur_um=0.4, light=0.5, noise=0.0, grey=1.0)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    plain = toy_recipe(tmp_path / "toy.toml", write_split([], tmp_path / "toy.tsv"))
    return msgspec.structs.replace(plain, training=msgspec.structs.replace(plain.training, augment=HOW))


def same_cells(recipe: Recipe, count: int = 12) -> ScoredCells:
    """One cell, many times; the last is not labelled."""
    crop = cut(toy_cell("neutrophil", 1), (112.0, 112.0), PIXEL_UM, 20.0, recipe.preprocess.size_px)
    allowed = np.zeros((count, 3), bool)
    allowed[:, 0] = True
    allowed[-1] = True
    names = tuple(str(n) for n in range(count))
    return ScoredCells(names=names, allowed=allowed, crops=np.stack([crop] * count), slides=("toy/",) * count)


def test_all_cells_of_a_slide_change_alike_and_slides_differ(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strange, "SLIDES", 6)
    cells = same_cells(recipe)
    made = list(strange.slides(recipe, [cells]))
    for slide in made:
        assert len(slide.truth) == 11
        assert (slide.truth == 0).all()
        assert (slide.crops == slide.crops[0]).all()
    away = [np.abs(slide.crops[0].astype(int) - cells.crops[0]).mean() for slide in made]
    assert len({round(float(each), 3) for each in away}) == 6
    assert max(away) > 5
    again = list(strange.slides(recipe, [cells]))
    assert all(np.array_equal(one.crops, other.crops) for one, other in zip(made, again, strict=True))


def test_a_stronger_slide_keeps_its_colours_but_may_be_lit_anew() -> None:
    how = strange.stronger(HOW, 2.0, lit=True)
    assert (how.stain, how.density, how.blur_um) == pytest.approx((0.2, 0.5, 0.8))
    assert (how.light, how.grey) == (1.0, 0.0)
    assert strange.stronger(HOW, 0.0, lit=False).light == 0.0


def looks(confidences: list[float], wrong_below: float) -> list[Seen]:
    """Slides of 100 cells with 50 decided; one is wrong above a mean confidence, ten below it."""
    return [Seen(mean_confidence=c, cells=100, decided=50, wrong=10 if c < wrong_below else 1) for c in confidences]


def test_the_limit_lies_where_slides_alike_begin_to_err() -> None:
    confidences = np.linspace(0.5, 1.0, 201).tolist()
    limit = foreign_below(looks(confidences, 0.8), 0.05)
    assert limit == pytest.approx(0.8, abs=NEIGHBOURS * 0.0025)
    assert foreign_below(looks(confidences[::-1], 0.8), 0.05) == limit, "whatever their order"
    assert foreign_below(looks(confidences, 0.8), 0.01) > 0.9, "one of fifty is too many then"


def test_where_no_slide_errs_what_is_stranger_than_all_of_them_is_foreign() -> None:
    confidences = np.linspace(0.5, 1.0, 50).tolist()
    assert foreign_below(looks(confidences, 0.0), 0.05) == confidences[NEIGHBOURS // 2 - 1]
    assert foreign_below(looks(confidences[: NEIGHBOURS - 1], 0.0), 0.05) == 0.0, "too few say nothing"


def test_slides_on_which_nothing_is_decided_do_not_err() -> None:
    seen = [Seen(mean_confidence=0.3, cells=100, decided=0, wrong=0)] * 40
    assert foreign_below(seen, 0.05) == 0.3
