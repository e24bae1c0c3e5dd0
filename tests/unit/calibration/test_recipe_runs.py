"""The committed recipes of cell classifiers run their whole path, from split to bundle, on small made sets.

Layouts and class names are the published ones, pictures are drawn; the schedule and the network are made tiny. What such a
bundle answers means nothing: that it opens, answers its golden cells and has the recipe's classes is all that is asked.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import made_datasets
import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import structs
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the workshop's torch is not installed")

from calibration import bundling, cells, golden_cells, leaks, recipe, train  # noqa: E402
from calibration.commands import cli  # noqa: E402
from calibration.datasets import bmc_fgcd  # noqa: E402
from calibration.evaluate import run  # noqa: E402
from calibration.fit import Job  # noqa: E402
from calibration.recipe import Recipe  # noqa: E402
from edgecell.engines.onnxrt import OnnxRuntimeEngine  # noqa: E402
from edgecell.golden import replay  # noqa: E402
from edgecell.preprocess import Preprocess  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FOLDERS = [each.folder for each in bmc_fgcd.FACTS.classes]
MADE: dict[str, Callable[[Path], object]] = {
    "bloodmnist28": lambda root: made_datasets.make_bloodmnist(root, 9),
    "marrow7": lambda root: made_datasets.make_mll(root, 10, [*recipe.load(recipe.FOLDER / "marrow7.toml")[0].class_names]),
    "marrow21": lambda root: made_datasets.make_mll(root, 8),
    "bmc_fgcd40": lambda root: made_datasets.make_bmc(root, 8, FOLDERS),
    "balf_cells": lambda root: made_datasets.make_balf(root, 24),
}
TINY = {
    "widths": "[16, 32]",
    "blocks": "[1, 1]",
    "size_px": "32",
    "epochs": "12",
    "batch": "16",
    "rate": "1e-2",
    "average": "0.9",
}
"""In place of what the recipe says, so that it is quick."""


def tiny(name: str, root: Path) -> tuple[Recipe, Path]:
    """The committed recipe with a small network, few steps, its own split file and no limits, and where it is written."""
    text = (recipe.FOLDER / f"{name}.toml").read_text()
    how, _ = recipe.load(recipe.FOLDER / f"{name}.toml")
    [data] = how.data
    text = text.replace(f'split = "{data.split}"', f'split = "{(root / "split.tsv").as_posix()}"')
    for key, value in TINY.items():
        at = text.index(f"\n{key} = ") + 1
        text = text[:at] + f"{key} = {value}" + text[text.index("\n", at) :]
    (root / f"{name}.toml").write_text(text)
    made, _ = recipe.load(root / f"{name}.toml")
    fresh = structs.replace(made.training, start="")  # no bundle has so small a network
    return structs.replace(made, acceptance=recipe.Acceptance(), training=fresh), root / f"{name}.toml"


def clearest(root: Path, how: Recipe, spec: Preprocess) -> NDArray[np.uint8]:
    """In place of the phantom's cells, of which so short a training decides none clearly: the made ones it is surest of."""
    crops = cells.scored(spec, how.class_names, how.data[0], "train", root).seen(spec)
    logits = np.sort(run(root / "bundle", "float", crops, spec)["logits"], axis=1)
    return crops[np.argsort(logits[:, -2] - logits[:, -1])[:8]]


@pytest.mark.parametrize("name", MADE)
def test_a_committed_recipe_runs_from_split_to_bundle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MADE[name](tmp_path)
    how, file = tiny(name, tmp_path)
    made = CliRunner().invoke(cli, ["split", str(file), "--data", str(tmp_path), "--seed", "1"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    leaks.check(how, tmp_path, tmp_path / "work")
    chosen = cells.training(how, tmp_path, tmp_path / "work")
    assert set(chosen.truth.tolist()) == set(range(len(how.classes))), "every class has cells to train on"
    monkeypatch.setattr(golden_cells, "draw", partial(clearest, tmp_path, how))
    model = train.train(how, chosen, {}, Job(name=name, work=tmp_path / "work", workers=0))
    bundle = bundling.bundle(how, "0" * 64, model, chosen, tmp_path, tmp_path / "bundle")
    assert bundle.class_names == how.class_names
    assert bundle.manifest.specimen == how.specimen
    assert "assumed" in bundle.manifest.provenance.datasets[0].pixel_um_source
    with OnnxRuntimeEngine(bundle.file("u8s8.onnx"), manifest=bundle.manifest) as engine:
        assert replay(bundle, engine, "u8s8").cells > 0
