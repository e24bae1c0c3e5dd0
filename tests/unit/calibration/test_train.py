"""Training: what the loss is, that steps and runs can be repeated, and that averaged weights follow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from toy_cells import PIXEL_UM, toy_cell, toy_recipe, write_split

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import train  # noqa: E402
from calibration.augment import base_window  # noqa: E402
from calibration.cells import ScoredCells, TrainingCells  # noqa: E402
from calibration.models.resnet_int8 import MixStyle, ResNetInt8  # noqa: E402
from calibration.recipe import Augment, Recipe  # noqa: E402
from edgecell.bundle import CellClass  # noqa: E402
from edgecell.preprocess import cut  # noqa: E402

# Python 3.12 warns of a fork beside threads; the loader's child never touches torch's or OpenCV's.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A network this small only waits for a second thread, tenfold on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LABELS = ("neutrophil", "lymphocyte", "platelet")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("train")
    return toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"))


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    """40 cells of three classes in turn; the last ten allow all three."""
    labels = [LABELS[number % 3] for number in range(40)]
    windows = np.stack([base_window(toy_cell(label, n), (112.0, 112.0), PIXEL_UM) for n, label in enumerate(labels)])
    allowed = np.array([[name == label for name in LABELS] for label in labels])
    allowed[30:] = True
    masks = np.where(windows[:, :, :, 1] < 200, 255, 0).astype(np.uint8)
    return TrainingCells(
        names=tuple(f"toy/{n}" for n in range(40)), allowed=allowed, windows=windows, masks=masks, repeats=np.ones(40, np.int64)
    )


@pytest.fixture(scope="module")
def scored(recipe: Recipe) -> ScoredCells:
    labels = [LABELS[number % 3] for number in range(12)]
    size = recipe.preprocess.size_px
    crops = np.stack([cut(toy_cell(label, 100 + n), (112, 112), PIXEL_UM, 20.0, size) for n, label in enumerate(labels)])
    allowed = np.array([[name == label for name in LABELS] for label in labels])
    return ScoredCells(names=tuple(f"toy/{n}" for n in range(12)), allowed=allowed, crops=crops, slides=("toy/",) * 12)


# The loss


def test_loss_of_single_labels_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(20, 4) * 3, torch.randint(0, 4, (20,))
    allowed = torch.nn.functional.one_hot(truth, 4).bool()
    expected = torch.nn.functional.cross_entropy(logits, truth)
    assert train.loss_of(logits, allowed).item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_of_several_labels_is_that_of_their_sum() -> None:
    torch.manual_seed(1)
    logits = torch.randn(20, 4) * 3
    allowed = torch.tensor([[True, False, True, False]]).repeat(20, 1)
    p = torch.softmax(logits.double(), dim=1)
    expected = -(p[:, 0] + p[:, 2]).log().mean()
    assert train.loss_of(logits, allowed).item() == pytest.approx(expected.item(), rel=1e-5)
    everything = torch.ones_like(allowed)
    assert train.loss_of(logits, everything).item() == pytest.approx(0.0, abs=1e-6)


def test_loss_pulls_towards_what_is_allowed() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    train.loss_of(logits, torch.tensor([[True, True, False]])).backward()
    gradient = logits.grad[0]
    assert gradient[0] == gradient[1] < 0 < gradient[2]


# The steps


def same(one: tuple[object, object], two: tuple[object, object]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_step_is_the_same_whoever_asks_and_when(cells: TrainingCells, recipe: Recipe) -> None:
    one, other = train.Steps(cells, recipe), train.Steps(cells, recipe)
    assert len(one) == 20
    forwards = [one[number] for number in range(len(one))]
    backwards = [other[number] for number in reversed(range(len(other)))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])


def test_an_epoch_shows_every_cell_once(cells: TrainingCells, recipe: Recipe) -> None:
    """Cells told apart by their place in the order: allowed rows are made unique."""
    marked = np.array([[bool(n >> bit & 1) for bit in range(6)] for n in range(40)])
    classes = tuple(CellClass(name=f"c{n}", abbreviation=f"C{n}", group="other") for n in range(6))
    six = msgspec.structs.replace(recipe, classes=classes)
    told = TrainingCells(names=cells.names, allowed=marked, windows=cells.windows, masks=cells.masks, repeats=cells.repeats)
    steps = train.Steps(told, six)
    orders = []
    for epoch in range(2):
        rows = np.concatenate([steps[epoch * steps.per_epoch + n][1].numpy() for n in range(steps.per_epoch)])
        orders.append((rows * 2 ** np.arange(6)).sum(axis=1).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert orders[0] != orders[1]


def test_an_epoch_shows_a_repeated_cell_that_often(cells: TrainingCells, recipe: Recipe) -> None:
    steps = train.Steps(replace(cells, repeats=np.arange(40) % 3), recipe)
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
    steps = train.Steps(alike, recipe)
    assert not same(steps[0], steps[steps.per_epoch])
    assert not same(steps[0], steps[1])
    first = steps[0][0]
    assert not torch.equal(first[0], first[1])


def test_the_seed_changes_the_steps(cells: TrainingCells, recipe: Recipe) -> None:
    other = msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, seed=2))
    assert not same(train.Steps(cells, recipe)[0], train.Steps(cells, other)[0])


def test_backgrounds_come_from_the_reject_class_alone(cells: TrainingCells, recipe: Recipe) -> None:
    """Without a reject class there is nothing to lay a cell on; with one, its cells are the grounds and keep their own."""
    reject = (*recipe.classes[:2], CellClass(name="not_a_cell", abbreviation="NAC", group="reject"))
    always = msgspec.structs.replace(recipe.training, augment=Augment(background=1.0))
    plain, mixed = (msgspec.structs.replace(recipe, training=always, classes=each) for each in (recipe.classes, reject))
    assert not train.Steps(cells, plain).is_empty.any()
    steps = train.Steps(cells, mixed)
    assert steps.empty.tolist() == [number for number in range(30) if number % 3 == 2], "single labels only"
    assert steps._base(2).mask is None
    assert steps._base(0).mask is not None
    assert not same(steps[0], train.Steps(cells, plain)[0])


# The weights


def test_averaged_weights_follow() -> None:
    average, model = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(8.0)
        model.num_batches_tracked.fill_(7)
    train.follow(average, model, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [2.0, 2.0]
    assert average.num_batches_tracked.item() == 7, "a counter has no average"
    assert model.weight.tolist() == [3.0, 3.0]
    train.follow(average, model, 0.0)
    assert average.weight.tolist() == [3.0, 3.0]


def test_accuracy_takes_any_label_that_is_allowed(recipe: Recipe, scored: ScoredCells) -> None:
    torch.manual_seed(4)
    model = train.network(recipe)
    logits, features = train.infer(model, recipe, scored.crops)
    assert (logits.shape, features.shape) == ((12, 3), (12, 32))
    allowed = np.zeros((12, 3), bool)
    allowed[np.arange(12), logits.argmax(axis=1)] = True
    right = replace(scored, allowed=allowed)
    wrong = replace(scored, allowed=~allowed)
    assert (train.accuracy(model, recipe, right), train.accuracy(model, recipe, wrong)) == (1.0, 0.0)


def test_a_run_can_be_repeated_bit_for_bit(recipe: Recipe, cells: TrainingCells, scored: ScoredCells, tmp_path: Path) -> None:
    one = train.train(recipe, cells, {"toy": scored}, tmp_path / "one.pt").state_dict()
    torch.randn(100)
    two = train.train(recipe, cells, {}, tmp_path / "two.pt").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one), "whether it was watched or not"
    saved = torch.load(tmp_path / "one.pt", weights_only=True)
    assert all(torch.equal(one[name], saved[name]) for name in one)
    torch.manual_seed(recipe.training.seed)
    fresh = train.network(recipe).state_dict()
    assert not torch.equal(fresh["head.weight"], one["head.weight"])
    seed = msgspec.structs.replace(recipe.training, seed=2)
    other = train.train(msgspec.structs.replace(recipe, training=seed), cells, {}, tmp_path / "other.pt").state_dict()
    assert not torch.equal(other["head.weight"], one["head.weight"])


def test_mixstyle_exchanges_style_in_training_only() -> None:
    torch.manual_seed(0)
    mix = MixStyle(1.0)
    x = (
        torch.randn(64, 3, 8, 8) * torch.linspace(0.5, 2, 64)[:, None, None, None]
        + torch.linspace(-3, 3, 64)[:, None, None, None]
    )
    mixed = mix(x)

    patterns = [(each - each.mean((2, 3), keepdim=True)) / each.std((2, 3), keepdim=True) for each in (mixed, x)]
    assert torch.allclose(*patterns, atol=1e-3), "what is left of a cell is its pattern"
    assert (mixed.mean((2, 3)) - x.mean((2, 3))).abs().mean() > 0.3, "and its style is another's"
    assert torch.equal(mix.eval()(x), x)
    assert torch.equal(MixStyle(0.0)(x), x)


def test_a_network_with_mixstyle_is_the_same_network_to_whoever_runs_it() -> None:
    x = torch.randn(4, 3, 32, 32)
    torch.manual_seed(0)
    plain = ResNetInt8(3, (16, 32), (1, 1), 0.0).eval()
    torch.manual_seed(0)
    mixing = ResNetInt8(3, (16, 32), (1, 1), 0.0, 0.5).eval()
    assert torch.equal(plain(x)[0], mixing(x)[0])


def test_a_longer_stem_halves_the_sides_once_more() -> None:
    short, long = (ResNetInt8(3, (32, 48), (1, 1), 0.0, stem=stem) for stem in (1, 2))
    assert [tuple(module.body(torch.zeros(1, 3, 64, 64)).shape[1:]) for module in (short, long)] == [(48, 16, 16), (48, 8, 8)]
    assert long.body[0][0].out_channels == 16, "the first convolution works on the most pixels, so it is the thinnest"
