"""Training of a recipe's classifier: what is shown, what is lost, what is watched. How it is done is in `calibration.fit`."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.cells import ScoredCells, TrainingCells
from calibration.checkpoint import Marks
from calibration.fit import Job, fit
from calibration.models import TABLE
from calibration.recipe import Recipe
from calibration.start import from_bundle
from calibration.steps import Batch, Batches, Part, Steps
from edgecell import plugins
from edgecell.bundle import open_bundle
from edgecell.preprocess import to_batch

DECIDES = ("classes", "preprocess", "network", "training")
"""The parts of a recipe that weights depend on, besides the cells; others may change while a training is unfinished."""

STARTING_STEPS = 8
"""Batches on which batch norm is measured where a bundle's weights start a training: some hundred cells."""


def network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights."""
    part = plugins.load("network", TABLE, recipe.network.part)
    spec = recipe.network
    module: nn.Module = part(len(recipe.classes), spec.widths, spec.blocks, spec.dropout, spec.mixstyle, spec.stem)
    return module.to(memory_format=torch.channels_last)


def loss_of(logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Minus the log of the probability of what the annotation allows: cross entropy where that is one class."""
    log_p = torch.log_softmax(logits.float(), dim=1)
    return -torch.logsumexp(log_p.masked_fill(~allowed, -1e9), dim=1).mean()


def infer(model: nn.Module, recipe: Recipe, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Float logits (n, classes) and features (n, width) of finished crops."""
    model.eval()
    outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        outputs.extend(
            model(torch.from_numpy(to_batch(crops[at : at + 128], recipe.preprocess))) for at in range(0, len(crops), 128)
        )
    logits, features = (torch.cat(parts).numpy() for parts in zip(*outputs, strict=True))
    return logits, features


def accuracy(model: nn.Module, recipe: Recipe, cells: ScoredCells) -> float:
    """Share of the cells whose best class is one that the annotation allows."""
    logits, _ = infer(model, recipe, cells.crops)
    return float(cells.allowed[np.arange(len(logits)), logits.argmax(axis=1)].mean())


def train(recipe: Recipe, cells: TrainingCells, validation: Mapping[str, ScoredCells], job: Job) -> nn.Module:
    """The network with averaged weights after the whole schedule; `fit` says what it leaves behind and raises."""
    torch.manual_seed(recipe.training.seed)

    def lost(model: nn.Module, batch: Batch) -> torch.Tensor:
        shown, allowed = batch
        logits, _ = model(shown.contiguous(memory_format=torch.channels_last))
        return loss_of(logits, allowed)

    def watched(average: nn.Module) -> dict[str, float]:
        return {name: accuracy(average, recipe, some) for name, some in validation.items()}

    job = replace(job, marks={**job.marks, **marks(recipe, cells)})
    steps = Steps(cells, recipe)
    return fit(job, recipe.training, started(recipe, steps), steps, lost, watched)


def started(recipe: Recipe, steps: Batches) -> nn.Module:
    """The network as training begins: fresh, or with what the bundle that the recipe starts from knows."""
    model = network(recipe)
    if recipe.training.start:
        first = torch.cat([steps.part(Part(number))[0] for number in range(min(STARTING_STEPS, len(steps)))])
        from_bundle(model, recipe.training.start, first)
    return model


def marks(recipe: Recipe, cells: TrainingCells) -> Marks:
    """sha256 by name of all that the weights depend on."""
    parts = msgspec.to_builtins(recipe)
    found = {f"[{name}]": hashlib.sha256(msgspec.json.encode(parts[name])).hexdigest() for name in DECIDES}
    start = recipe.training.start
    return {**found, "set of cells": digest(cells), "bundle to start from": open_bundle(start).sha256 if start else ""}


def digest(cells: TrainingCells) -> str:
    """sha256 of names, labels, repeats and a grid of pixels of every window."""
    found = hashlib.sha256("\n".join(cells.names).encode())
    for each in (cells.allowed, cells.repeats, cells.windows[:, 8::16, 8::16]):
        found.update(np.ascontiguousarray(each).tobytes())
    return found.hexdigest()
