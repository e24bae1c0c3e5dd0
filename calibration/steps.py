"""The batches of a schedule: each made from (seed, epoch, position) alone, whoever asks for it and in what order."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from calibration.augment import Base, crop
from calibration.cells import TrainingCells
from calibration.recipe import Recipe
from edgecell.errors import SettingsError
from edgecell.preprocess import to_batch

Batch = tuple[torch.Tensor, ...]


class Part(NamedTuple):
    """The rank-th of `size` shares of the batch of one step; the whole batch as it is."""

    step: int
    rank: int = 0
    size: int = 1

    def rows(self, batch: int) -> range:
        """Which samples of a batch of that many it takes."""
        return range(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)


class Batches(Protocol):
    """What a training is shown. batch: samples a step. per_epoch: steps. len(): steps of the whole schedule."""

    batch: int
    per_epoch: int

    def __len__(self) -> int: ...

    def part(self, part: Part) -> Batch:
        """Tensors whose first axis is that part's samples. A sample is the same whatever part it comes in."""


class _Parts:
    """Batches as the loader asks for them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, part: Part) -> Batch:
        return self.batches.part(part)


def load(batches: Batches, parts: Sequence[Part], workers: int) -> Iterable[Batch]:
    """The parts, in order, made ahead by that many processes; 0: by this one, when asked for.

    OpenCV is set to one thread here: a worker is a fork, which inherits OpenCV's thread pool without its threads, and would
    hang at the first picture.
    """
    cv2.setNumThreads(1)
    ahead = {"prefetch_factor": 4, "multiprocessing_context": "fork"} if workers else {}
    loader: Iterable[Batch] = DataLoader(_Parts(batches), batch_size=None, sampler=parts, num_workers=workers, **ahead)
    return loader


class Steps:
    """All augmented batches of a recipe's schedule: float32 (n, 3, size_px, size_px) and the allowed classes, bool."""

    def __init__(self, cells: TrainingCells, recipe: Recipe) -> None:
        """Raises SettingsError when there are fewer cells than a batch takes."""
        self.cells, self.recipe = cells, recipe
        self.batch = recipe.training.batch
        self.shown = np.repeat(np.arange(len(cells.names)), cells.repeats)
        self.per_epoch = len(self.shown) // self.batch
        if not self.per_epoch:
            raise SettingsError(f"{len(self.shown)} training cells are no batch of {self.batch}", fix="lower training.batch")
        reject = [number for number, entry in enumerate(recipe.classes) if entry.group == "reject"]
        self.is_empty = cells.allowed[:, reject].any(axis=1) & (cells.truth >= 0)
        self.empty = np.flatnonzero(self.is_empty)

    def __len__(self) -> int:
        return self.per_epoch * self.recipe.training.epochs

    def part(self, part: Part) -> Batch:
        seed, (epoch, place) = self.recipe.training.seed, divmod(part.step, self.per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(self.shown)
        at = [place * self.batch + row for row in part.rows(self.batch)]
        crops = [self._crop(np.random.default_rng((seed, epoch, position, 1)), int(order[position])) for position in at]
        return torch.from_numpy(to_batch(crops, self.recipe.preprocess)), torch.from_numpy(self.cells.allowed[order[at]])

    def _crop(self, rng: np.random.Generator, number: int) -> NDArray[np.uint8]:
        how = self.recipe.training.augment
        behind = None
        if self.empty.size and rng.random() < how.background:
            behind = self._base(int(rng.choice(self.empty)))
        return crop(rng, self._base(number), behind, self.recipe.preprocess, how)

    def _base(self, number: int) -> Base:
        mask = self.cells.masks[number]
        return Base(image=self.cells.windows[number], mask=mask if mask.any() and not self.is_empty[number] else None)
