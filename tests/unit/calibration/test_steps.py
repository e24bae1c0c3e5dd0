"""The batches of a schedule: the same whoever makes them, in whatever parts."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest
from toy_cells import toy_recipe, write_split
from toy_training import training_cells

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration.cells import TrainingCells  # noqa: E402
from calibration.recipe import Augment, Recipe  # noqa: E402
from calibration.steps import Batch, Part, Steps, load  # noqa: E402
from edgecell.bundle import CellClass  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402

# Python 3.12 warns of a fork beside threads; the loader's child never touches torch's or OpenCV's.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("steps")
    return toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"))


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return training_cells()


def same(one: Batch, two: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_step_is_the_same_whoever_asks_and_when(cells: TrainingCells, recipe: Recipe) -> None:
    one, other = Steps(cells, recipe), Steps(cells, recipe)
    assert len(one) == 20
    forwards = [one.part(Part(number)) for number in range(len(one))]
    backwards = [other.part(Part(number)) for number in reversed(range(len(other)))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])


def test_an_epoch_shows_every_cell_once(cells: TrainingCells, recipe: Recipe) -> None:
    """Cells told apart by their place in the order: allowed rows are made unique."""
    marked = np.array([[bool(n >> bit & 1) for bit in range(6)] for n in range(40)])
    classes = tuple(CellClass(name=f"c{n}", abbreviation=f"C{n}", group="other") for n in range(6))
    six = msgspec.structs.replace(recipe, classes=classes)
    told = TrainingCells(names=cells.names, allowed=marked, windows=cells.windows, masks=cells.masks, repeats=cells.repeats)
    steps = Steps(told, six)
    orders = []
    for epoch in range(2):
        rows = np.concatenate([steps.part(Part(epoch * steps.per_epoch + n))[1].numpy() for n in range(steps.per_epoch)])
        orders.append((rows * 2 ** np.arange(6)).sum(axis=1).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert orders[0] != orders[1]


def test_an_epoch_shows_a_repeated_cell_that_often(cells: TrainingCells, recipe: Recipe) -> None:
    steps = Steps(replace(cells, repeats=np.arange(40) % 3), recipe)
    assert np.bincount(steps.shown, minlength=40).tolist() == (np.arange(40) % 3).tolist()
    assert steps.per_epoch == len(steps.shown) // recipe.training.batch


def test_every_epoch_shows_a_cell_otherwise(cells: TrainingCells, recipe: Recipe) -> None:
    """40 times the same cell: two batches differ by their augmentation alone."""
    alike = TrainingCells(
        names=cells.names,
        allowed=np.repeat(cells.allowed[:1], 40, axis=0),
        windows=np.repeat(cells.windows[:1], 40, axis=0),
        masks=np.repeat(cells.masks[:1], 40, axis=0),
        repeats=cells.repeats,
    )
    steps = Steps(alike, recipe)
    assert not same(steps.part(Part(0)), steps.part(Part(steps.per_epoch)))
    assert not same(steps.part(Part(0)), steps.part(Part(1)))
    first = steps.part(Part(0))[0]
    assert not torch.equal(first[0], first[1])


def test_the_seed_changes_the_steps(cells: TrainingCells, recipe: Recipe) -> None:
    other = msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, seed=2))
    assert not same(Steps(cells, recipe).part(Part(0)), Steps(cells, other).part(Part(0)))


def test_backgrounds_come_from_the_reject_class_alone(cells: TrainingCells, recipe: Recipe) -> None:
    """Without a reject class there is nothing to lay a cell on; with one, its cells are the grounds and keep their own."""
    reject = (*recipe.classes[:2], CellClass(name="not_a_cell", abbreviation="NAC", group="reject"))
    always = msgspec.structs.replace(recipe.training, augment=Augment(background=1.0))
    plain, mixed = (msgspec.structs.replace(recipe, training=always, classes=each) for each in (recipe.classes, reject))
    assert not Steps(cells, plain).is_empty.any()
    steps = Steps(cells, mixed)
    assert steps.empty.tolist() == [number for number in range(30) if number % 3 == 2], "single labels only"
    assert steps._base(2).mask is None
    assert steps._base(0).mask is not None
    assert not same(steps.part(Part(0)), Steps(cells, plain).part(Part(0)))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_parts_of_a_batch_are_the_batch(cells: TrainingCells, recipe: Recipe, size: int) -> None:
    """However many share it, a sample is the same to the bit."""
    steps = Steps(cells, recipe)
    for step in (0, 13):
        parts = [steps.part(Part(step, rank, size)) for rank in range(size)]
        together = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
        assert same(together, steps.part(Part(step)))
        assert {len(part[0]) for part in parts} <= {4 // size, -(-4 // size)}, "in shares as equal as can be"


def test_any_number_of_workers_makes_the_same_batches_in_order(cells: TrainingCells, recipe: Recipe) -> None:
    steps = Steps(cells, recipe)
    parts = [Part(3), Part(4, 1, 2), Part(7), Part(12, 0, 2), Part(19)]
    by_hand = [steps.part(part) for part in parts]
    for workers in (0, 1, 2):
        made = list(load(steps, parts, workers))
        assert len(made) == len(parts)
        assert all(same(a, b) for a, b in zip(made, by_hand, strict=True)), workers


def test_workers_do_not_hang_on_opencv_s_threads(cells: TrainingCells, recipe: Recipe, opencv_threads: None) -> None:
    """A fork of a process whose OpenCV has a thread pool at work: only with one thread set does the child live."""
    picture = np.zeros((600, 600, 3), np.uint8)
    cv2.GaussianBlur(cv2.resize(picture, (2400, 2400)), (0, 0), 3.0)
    assert len(list(load(Steps(cells, recipe), [Part(0), Part(1)], 1))) == 2


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    yield
    cv2.setNumThreads(before)


def test_fewer_cells_than_a_batch_are_refused(cells: TrainingCells, recipe: Recipe) -> None:
    large = msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, batch=41))
    with pytest.raises(SettingsError, match=r"40 training cells are no batch of 41\. Fix: lower training\.batch"):
        Steps(cells, large)
