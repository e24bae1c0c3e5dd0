"""Training: deterministic on one machine, with progress and a time to go on stderr."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from torch import nn
from torch.utils.data import DataLoader, Dataset

from calibration.augment import Base, crop
from calibration.cells import ScoredCells, TrainingCells
from calibration.models import TABLE
from calibration.recipe import Recipe
from edgecell import plugins
from edgecell.preprocess import to_batch

LOG = logging.getLogger("edgecell.calibration")


class Steps(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """All augmented batches of the schedule, each made from (seed, step) alone, whoever asks for it and in what order."""

    def __init__(self, cells: TrainingCells, recipe: Recipe) -> None:
        self.cells, self.recipe = cells, recipe
        self.shown = np.repeat(np.arange(len(cells.names)), cells.repeats)
        self.per_epoch = len(self.shown) // recipe.training.batch
        reject = [number for number, entry in enumerate(recipe.classes) if entry.group == "reject"]
        self.is_empty = cells.allowed[:, reject].any(axis=1) & (cells.truth >= 0)
        self.empty = np.flatnonzero(self.is_empty)

    def __len__(self) -> int:
        return self.per_epoch * self.recipe.training.epochs

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        cv2.setNumThreads(1)
        how = self.recipe.training
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng((how.seed, epoch)).permutation(self.shown)
        chosen = order[place * how.batch : (place + 1) * how.batch]
        rng = np.random.default_rng((how.seed, epoch, place, 1))
        crops = [self._crop(rng, int(number)) for number in chosen]
        return torch.from_numpy(to_batch(crops, self.recipe.preprocess)), torch.from_numpy(self.cells.allowed[chosen])

    def _crop(self, rng: np.random.Generator, number: int) -> NDArray[np.uint8]:
        how = self.recipe.training.augment
        behind = None
        if self.empty.size and rng.random() < how.background:
            behind = self._base(int(rng.choice(self.empty)))
        return crop(rng, self._base(number), behind, self.recipe.preprocess, how)

    def _base(self, number: int) -> Base:
        mask = self.cells.masks[number]
        return Base(image=self.cells.windows[number], mask=mask if mask.any() and not self.is_empty[number] else None)


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


def train(recipe: Recipe, cells: TrainingCells, validation: Mapping[str, ScoredCells], checkpoint: Path) -> nn.Module:
    """The network with averaged weights after the whole schedule; also saved to `checkpoint` (state_dict) as it goes.

    There is no early stopping: the schedule is the recipe's, and validation only watches.
    """
    how = recipe.training
    torch.manual_seed(how.seed)
    model = network(recipe)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), how.rate, weight_decay=how.weight_decay)
    steps = Steps(cells, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=len(steps), pct_start=0.1)
    loader = DataLoader(steps, batch_size=None, shuffle=False, num_workers=1, prefetch_factor=4, persistent_workers=False)
    total, columns = 0.0, (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"training {recipe.name}", total=len(steps))
        for number, (batch, allowed) in enumerate(loader, 1):
            model.train()
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = model(batch.contiguous(memory_format=torch.channels_last))
            loss = loss_of(logits, allowed)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            follow(average, model, min(how.average, number / (number + 20)))
            total += loss.item()
            bar.advance(task)
            if number % steps.per_epoch == 0:
                epoch = number // steps.per_epoch
                watched = "  ".join(f"{name} {accuracy(average, recipe, some):.4f}" for name, some in validation.items())
                LOG.info("epoch %d/%d  loss %.4f  validation: %s", epoch, how.epochs, total / steps.per_epoch, watched)
                total = 0.0
                torch.save(average.state_dict(), checkpoint)
    return average


def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's; counters and running statistics likewise."""
    with torch.no_grad():
        for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)
