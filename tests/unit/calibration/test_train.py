"""Training: what the loss is, that steps and runs can be repeated, and that averaged weights follow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from toy_cells import toy_recipe, write_split
from toy_training import scored_cells, training_cells

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import train  # noqa: E402
from calibration.cells import ScoredCells, TrainingCells  # noqa: E402
from calibration.fit import Job, follow  # noqa: E402
from calibration.models.resnet_int8 import MixStyle, ResNetInt8  # noqa: E402
from calibration.recipe import Recipe  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402

# Python 3.12 warns of a fork beside threads; the loader's child never touches torch's or OpenCV's.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A network this small only waits for a second thread, tenfold on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("train")
    return toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"))


@pytest.fixture(scope="module")
def cells() -> TrainingCells:
    return training_cells()


@pytest.fixture(scope="module")
def scored(recipe: Recipe) -> ScoredCells:
    return scored_cells(recipe)


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


# The weights


def test_averaged_weights_follow() -> None:
    average, model = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(8.0)
        model.num_batches_tracked.fill_(7)
    follow(average, model, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [2.0, 2.0]
    assert average.num_batches_tracked.item() == 7, "a counter has no average"
    assert model.weight.tolist() == [3.0, 3.0]
    follow(average, model, 0.0)
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
    one = train.train(recipe, cells, {"toy": scored}, Job(name="one", work=tmp_path)).state_dict()
    torch.randn(100)
    two = train.train(recipe, cells, {}, Job(name="two", work=tmp_path, workers=2)).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one), "whether it was watched or not, by however many workers"
    saved = torch.load(tmp_path / "one.pt", weights_only=True)
    assert all(torch.equal(one[name], saved[name]) for name in one)
    torch.manual_seed(recipe.training.seed)
    fresh = train.network(recipe).state_dict()
    assert not torch.equal(fresh["head.weight"], one["head.weight"])
    seed = msgspec.structs.replace(recipe.training, seed=2)
    changed = msgspec.structs.replace(recipe, training=seed)
    other = train.train(changed, cells, {}, Job(name="other", work=tmp_path)).state_dict()
    assert not torch.equal(other["head.weight"], one["head.weight"])


def test_a_loss_that_is_no_number_ends_the_training(
    recipe: Recipe, cells: TrainingCells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "loss_of", lambda logits, allowed: logits.sum() * float("nan"))
    with pytest.raises(SettingsError, match=r"training toy: the loss is nan at step 1\. Fix: lower training\.rate"):
        train.train(recipe, cells, {}, Job(name="toy", work=tmp_path, workers=0))
    assert not list(tmp_path.iterdir())


def test_a_schedule_may_be_short_but_not_shorter(recipe: Recipe, cells: TrainingCells, tmp_path: Path) -> None:
    """40 cells, in batches of 10: four steps an epoch; of 20: two."""
    once = msgspec.structs.replace(recipe.training, epochs=1, batch=10)
    train.train(msgspec.structs.replace(recipe, training=once), cells, {}, Job(name="four", work=tmp_path, workers=0))
    once = msgspec.structs.replace(once, batch=20)
    with pytest.raises(SettingsError, match=r"a training of 2 steps has no schedule\. Fix: raise training\.epochs"):
        train.train(msgspec.structs.replace(recipe, training=once), cells, {}, Job(name="two", work=tmp_path, workers=0))


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
