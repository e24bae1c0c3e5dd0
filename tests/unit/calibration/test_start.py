"""Starting a training from a bundle: the same answers, and batch norm that trains like a fresh network's."""

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import recipe as recipes  # noqa: E402
from calibration import start, train  # noqa: E402
from calibration.evaluate import run  # noqa: E402
from calibration.export import FEATURES  # noqa: E402
from calibration.golden_cells import draw  # noqa: E402
from calibration.steps import Batch, Part  # noqa: E402
from edgecell.bundle import open_bundle  # noqa: E402
from edgecell.errors import SettingsError  # noqa: E402
from edgecell.preprocess import to_batch  # noqa: E402


class Shown:
    """A schedule of one batch."""

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self.batch, self.per_epoch, self.shown = len(batch), 1, torch.from_numpy(batch)

    def __len__(self) -> int:
        return 1

    def part(self, part: Part) -> Batch:
        return self.shown, torch.ones(self.batch, 1)


@pytest.fixture(scope="module")
def recipe() -> recipes.Recipe:
    return recipes.load(recipes.FOLDER / "pbc8.toml")[0]


def test_the_network_sees_cells_as_the_bundle_does(recipe: recipes.Recipe) -> None:
    few = msgspec.structs.replace(recipe, classes=recipe.classes[:3])
    model = train.network(few)
    crops = draw(recipe.preprocess)
    batch = torch.from_numpy(to_batch(crops, recipe.preprocess))
    start.from_bundle(model, "pbc8", batch)
    asked = run(open_bundle("pbc8").path, "float", crops, recipe.preprocess)[FEATURES]
    with torch.no_grad():
        logits, features = model.eval()(batch)
        trained_alike = model.train()(batch)[1]
    assert logits.shape == (len(crops), 3)
    np.testing.assert_allclose(features.numpy(), asked, atol=1e-3 * float(np.abs(asked).max()))
    # with batch norm in training, on the batch that it was measured on, nothing is rescaled
    np.testing.assert_allclose(trained_alike.numpy(), asked, atol=0.02 * float(np.abs(asked).max()))


def test_a_network_of_another_shape_is_refused(recipe: recipes.Recipe) -> None:
    narrow = msgspec.structs.replace(recipe.network, widths=(16, 32, 48))
    model = train.network(msgspec.structs.replace(recipe, network=narrow))
    size = recipe.preprocess.size_px
    with pytest.raises(SettingsError, match="another network"):
        start.from_bundle(model, "pbc8", torch.zeros(2, 3, size, size))


def test_a_recipe_may_ask_for_it(recipe: recipes.Recipe) -> None:
    """And what comes of it is another network than a fresh one."""
    shown = Shown(to_batch(draw(recipe.preprocess), recipe.preprocess))
    asking = msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, start="pbc8"))
    fresh, started = train.started(recipe, shown), train.started(asking, shown)
    alike = train.started(asking, shown)
    kernels = [next(iter(each.parameters())) for each in (fresh, started, alike)]
    assert not torch.equal(kernels[0], kernels[1])
    assert torch.equal(kernels[1], kernels[2])
