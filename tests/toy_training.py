"""Cells in memory for tests of training, and a training as a process of its own, to be killed or started by torchrun.

python tests/toy_training.py WORK [--epochs N] [--kill-at STEP] [--save-every-s S] writes the losses of its steps to
WORK/losses-RANK.json.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
from toy_cells import PIXEL_UM, toy_cell, toy_recipe, write_split

from calibration.augment import base_window
from calibration.cells import ScoredCells, TrainingCells
from calibration.recipe import Recipe
from edgecell.preprocess import cut

LABELS = ("neutrophil", "lymphocyte", "platelet")


def training_cells() -> TrainingCells:
    """40 cells of three classes in turn; the last ten allow all three."""
    labels = [LABELS[number % 3] for number in range(40)]
    windows = np.stack([base_window(toy_cell(label, n), (112.0, 112.0), PIXEL_UM) for n, label in enumerate(labels)])
    allowed = np.array([[name == label for name in LABELS] for label in labels])
    allowed[30:] = True
    masks = np.where(windows[:, :, :, 1] < 200, 255, 0).astype(np.uint8)
    return TrainingCells(
        names=tuple(f"toy/{n}" for n in range(40)), allowed=allowed, windows=windows, masks=masks, repeats=np.ones(40, np.int64)
    )


def scored_cells(recipe: Recipe) -> ScoredCells:
    """Twelve other cells of the three classes."""
    labels = [LABELS[number % 3] for number in range(12)]
    size = recipe.preprocess.size_px
    crops = np.stack([cut(toy_cell(label, 100 + n), (112, 112), PIXEL_UM, 20.0, size) for n, label in enumerate(labels)])
    allowed = np.array([[name == label for name in LABELS] for label in labels])
    return ScoredCells(names=tuple(f"toy/{n}" for n in range(12)), allowed=allowed, crops=crops, slides=("toy/",) * 12)


def plain_recipe(folder: Path, epochs: int = 2) -> Recipe:
    """The toy recipe in float32, so that two ways of adding up differ by rounding alone."""
    recipe = toy_recipe(folder / "toy.toml", write_split([], folder / "toy.tsv"), epochs=epochs)
    return msgspec.structs.replace(recipe, training=msgspec.structs.replace(recipe.training, precision="float32"))


def main(arguments: list[str]) -> None:
    """Train the toy recipe in WORK; torchrun may have started this process."""
    import torch

    from calibration import fit, parallel, train

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--save-every-s", type=float, default=60.0)
    asked = parser.parse_args(arguments)
    losses: list[float] = []
    steps = fit.Run.steps

    def watched(run: fit.Run) -> Iterator[float]:
        for loss in steps(run):
            losses.append(loss)
            if run.step == asked.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield loss

    with parallel.joined() as group, patch.object(fit.Run, "steps", watched):
        own = asked.work / f"recipe-{group.rank}"
        own.mkdir(parents=True, exist_ok=True)
        job = fit.Job(name="toy", work=asked.work, save_every_s=asked.save_every_s, group=group, workers=0)
        train.train(plain_recipe(own, asked.epochs), training_cells(), {}, job)
    (asked.work / f"losses-{group.rank}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(sys.argv[1:])
