"""Training of a segmenter: deterministic on one machine, with progress and a time to go on stderr."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from calibration.fit import follow
from calibration.models.field_net import FieldNet
from calibration.spots.held import Maps, chosen, line
from calibration.spots.recipe import Recipe
from calibration.spots.sheet import Sheet
from calibration.spots.sheets import Sheets
from calibration.spots.view import View, view
from edgecell.segmenters.network.decode import BOX, INSIDE, KINDS

LOG = logging.getLogger("edgecell.calibration")
OUTPUTS = (KINDS, BOX, INSIDE)
WATCH_EVERY = 5
"""Epochs."""
FIELDS = ("values", "heat", "reach", "whole", "inside", "known")
Tensors = dict[str, torch.Tensor]


class Steps(Dataset[Tensors]):
    """All batches of the schedule, each made from (seed, step) alone. Fields with a cell of the rarest kind are shown twice."""

    def __init__(self, sheets: Sequence[Sheet], recipe: Recipe) -> None:
        self.sheets, self.recipe = sheets, recipe
        self.gains = gains(sheets, recipe)
        rarest = int(self.gains.argmax())
        self.shown = np.repeat(np.arange(len(sheets)), [1 + int((sheet.kinds == rarest).any()) for sheet in sheets])
        self.per_epoch = max(1, len(self.shown) // recipe.training.batch)

    def __len__(self) -> int:
        return self.per_epoch * self.recipe.training.epochs

    def __getitem__(self, step: int) -> Tensors:
        cv2.setNumThreads(1)
        how = self.recipe.training
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng((how.seed, epoch)).permutation(self.shown)
        rng = np.random.default_rng((how.seed, epoch, place, 1))
        chosen = order[place * how.batch : (place + 1) * how.batch]
        return stacked([view(rng, self.sheets[at], self.recipe, self.gains) for at in chosen])


def gains(sheets: Sequence[Sheet], recipe: Recipe) -> NDArray[np.float64]:
    """(K,) how much a cell of each kind counts: rare ones more, one of the most frequent kind 1."""
    counts = np.bincount(np.concatenate([sheet.kinds for sheet in sheets]), minlength=len(recipe.classes)).clip(1)
    return np.asarray((counts.max() / counts) ** recipe.training.balance, np.float64)


def stacked(views: Sequence[View]) -> Tensors:
    """Views as one batch."""
    return {name: torch.from_numpy(np.stack([getattr(each, name) for each in views])) for name in FIELDS}


def loss_of(answers: Sequence[torch.Tensor], asked: Tensors, gain: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Middles: focal loss that forgives near misses (Law and Deng 2018, arXiv 1808.01244). Boxes: generalised intersection over
    union (Rezatofighi et al. 2019, arXiv 1902.09630). Inside: cross entropy. gain: (K,) of each kind."""
    kinds, logs, inside = (answer.float() for answer in answers)
    heat, known = asked["heat"], asked["known"][:, None]
    share = torch.sigmoid(kinds).clamp(1e-4, 1 - 1e-4)
    middle = (heat > 0.999).float()
    right = gain[:, None, None] * middle * (1 - share) ** 2 * torch.log(share)
    wrong = (1 - middle) * (1 - heat) ** 4 * share**2 * torch.log(1 - share) * known
    focal = -(right + wrong).sum() / middle.sum().clamp(min=1)
    box = ((1 - overlap(logs, asked["reach"])) * asked["whole"]).sum() / asked["whole"].sum().clamp(min=1)
    cross = nn.functional.binary_cross_entropy_with_logits(inside, asked["inside"][:, None], weight=known)
    return focal + recipe.training.box * box + recipe.training.inside * cross


def overlap(logs: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Generalised intersection over union (N, h, w) of the boxes seen (logs) and asked for, both from the same grid cells."""
    seen = torch.exp(logs.clamp(-3, 5))
    least, most = torch.minimum(seen, reach), torch.maximum(seen, reach)
    both = (least[:, 0] + least[:, 2]) * (least[:, 1] + least[:, 3])
    hull = (most[:, 0] + most[:, 2]) * (most[:, 1] + most[:, 3])
    union = sum((each[:, 0] + each[:, 2]) * (each[:, 1] + each[:, 3]) for each in (seen, reach)) - both
    return both / union - (hull - union) / hull


def maps_of(model: nn.Module) -> Maps:
    """The network as it is, in float."""

    def answer(values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        model.eval()
        with torch.no_grad():
            parts = model(torch.from_numpy(values))
        return {name: part.numpy() for name, part in zip(OUTPUTS, parts, strict=True)}

    return answer


def train(recipe: Recipe, sheets: Sheets, checkpoint: Path) -> nn.Module:
    """The network with averaged weights after the whole schedule; saved to `checkpoint` (state_dict) as it goes.

    There is no early stopping: the fields held back only watch.
    """
    cv2.setNumThreads(1)  # the loader forks, and a fork inherits OpenCV's thread pool without its threads
    how = recipe.training
    torch.manual_seed(how.seed)
    model: nn.Module = FieldNet(len(recipe.classes), recipe.network.widths, recipe.network.blocks)
    model = model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), how.rate, weight_decay=how.weight_decay)
    steps = Steps(sheets.training, recipe)
    gain = torch.from_numpy(steps.gains).float()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=len(steps), pct_start=0.1)
    last = steps.per_epoch * (how.stop or how.epochs)
    loader = DataLoader(Subset(steps, range(last)), batch_size=None, shuffle=False, num_workers=1, prefetch_factor=4)
    total, columns = 0.0, (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"training {recipe.name}", total=last)
        for number, asked in enumerate(loader, 1):
            model.train()
            with torch.autocast("cpu", torch.bfloat16):
                answers = model(asked["values"].contiguous(memory_format=torch.channels_last))
            loss = loss_of(answers, asked, gain, recipe)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            follow(average, model, min(how.average, number / (number + 20)))
            bar.advance(task)
            if number % (steps.per_epoch * WATCH_EVERY) == 0 or number == last:
                figures = line(chosen(maps_of(average), sheets.held, recipe), recipe)
                LOG.info("epoch %d/%d  loss %.4f  held back: %s", number // steps.per_epoch, how.epochs, total, figures)
                torch.save(average.state_dict(), checkpoint)
            total = 0.98 * total + 0.02 * loss.item()
    return average
