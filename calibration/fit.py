"""Training of any network with any loss: it goes on after a kill, says how long it takes, and is the same every time.

What a step does depends on the seed, the step and the state alone: its batch and what dropout draws are made from (seed, step),
so a training that was killed and goes on equals one that was not, bit for bit, on one machine with as many threads.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from calibration import checkpoint, history, parallel
from calibration.parallel import ALONE, Group
from calibration.progress import Meter, meter
from calibration.recipe import Training
from calibration.steps import Batch, Batches, Part, load
from edgecell.errors import SettingsError

LOG = logging.getLogger("edgecell.calibration")
Loss = Callable[[nn.Module, Batch], torch.Tensor]
"""The mean loss over the samples of a batch, with a gradient."""
Watch = Callable[[nn.Module], Mapping[str, float]]
"""What to watch of the averaged weights after an epoch, by name; the training does not depend on it."""
LONGEST_GRADIENT = 2.0
FEWEST_STEPS = 4
"""Two upwards and two downwards in the learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Where a training runs and what it leaves in `work`: NAME.pt (the averaged weights), NAME.jsonl (history),
    NAME.curves.svg and .png, and, until it is done with, NAME.checkpoint.pt.

    marks: sha256 by name of what the training is of; a checkpoint of another is refused. fresh: start over instead. workers:
    processes that make the batches. save_every_s: at most this long between two checkpoints. group: who trains together.
    """

    name: str
    work: Path
    marks: checkpoint.Marks = field(default_factory=dict)
    fresh: bool = False
    workers: int = 1
    save_every_s: float = 60.0
    group: Group = ALONE

    @property
    def weights(self) -> Path:
        return self.work / f"{self.name}.pt"

    @property
    def checkpoint(self) -> Path:
        return self.work / f"{self.name}.checkpoint.pt"

    def done_with(self) -> None:
        """Forget the checkpoint: the next training starts over."""
        self.checkpoint.unlink(missing_ok=True)


def fit(job: Job, how: Training, model: nn.Module, batches: Batches, loss_of: Loss, watch: Watch) -> nn.Module:
    """The network with averaged weights after the whole schedule; its checkpoint stays until `job.done_with()`.

    There is no early stopping: the schedule is the recipe's, and validation only watches. Raises SettingsError where the
    checkpoint is of another training, where there are more processes than samples in a batch or hardly any steps, and when the
    loss is no number.
    """
    if job.group.size > batches.batch:
        raise SettingsError(f"{job.group.size} processes, but a batch of {batches.batch}", fix="start fewer")
    if len(batches) < FEWEST_STEPS:
        raise SettingsError(f"a training of {len(batches)} steps has no schedule", fix="raise training.epochs")
    begun = _begun(job, how, len(batches))
    marks = {**job.marks, "precision": begun.precision, "batch norm": begun.batch_norm}
    if job.fresh and job.group.first:
        job.done_with()
    run = Run(job, how, model, batches, loss_of)
    run.restore(parallel.told(checkpoint.load(job.checkpoint, marks) if job.group.first else None, job.group))
    with meter(f"training {job.name}", len(batches), run.step, bar=job.group.first) as bar:
        saved_s = time.monotonic()
        for loss in run.steps():
            if not math.isfinite(loss):
                raise SettingsError(f"training {job.name}: the loss is {loss} at step {run.step}", fix="lower training.rate")
            bar.step(f"loss {loss:.3f}")
            ended = run.step % batches.per_epoch == 0
            if ended:
                run.level()
            if not job.group.first:
                continue
            if ended:
                run.end_epoch(begun, watch, bar)
            if ended or time.monotonic() - saved_s >= job.save_every_s:
                checkpoint.save(job.checkpoint, marks, run.state())
                saved_s = time.monotonic()
    return run.average


class Run:
    """The state of a training, what one step does to it, and what is left behind after an epoch."""

    def __init__(self, job: Job, how: Training, model: nn.Module, batches: Batches, loss_of: Loss) -> None:
        self.job, self.how, self.batches, self.loss_of = job, how, batches, loss_of
        self.model, self.average = model, copy.deepcopy(model)
        self.optimizer = torch.optim.AdamW(model.parameters(), how.rate, weight_decay=how.weight_decay)
        total = len(batches)
        # Two steps upwards at least: the schedule divides by one less.
        rising = max(0.1, 2 / total)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, how.rate, total_steps=total, pct_start=rising)
        self.parts = {"model": self.model, "average": self.average, "optimizer": self.optimizer, "schedule": self.schedule}
        self.step, self.lost = 0, 0.0
        self.epochs: list[history.Epoch] = []

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, and the history so far."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        return {**state, "step": self.step, "lost": self.lost, "epochs": msgspec.to_builtins(self.epochs)}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` returned; None is the beginning."""
        if state is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.step, self.lost = state["step"], state["lost"]
        self.epochs = msgspec.convert(state["epochs"], list[history.Epoch])
        if self.job.group.first:
            LOG.info("%s: going on after step %d of %d", self.job.checkpoint, self.step, len(self.batches))

    def steps(self) -> Iterator[float]:
        """Do what is left of the schedule; the loss of the whole batch after each step."""
        parts = [self._part(step) for step in range(self.step, len(self.batches))]
        for part, batch in zip(parts, load(self.batches, parts, self.job.workers), strict=True):
            loss = self._step(part, batch, frozen=self._is_frozen(part.step))
            self.step += 1
            self.lost += loss
            yield loss

    def _is_frozen(self, step: int) -> bool:
        """Whether batch norm uses its running statistics as they are (see calibration.parallel)."""
        return self.job.group.launched and step >= self.batches.per_epoch

    def _part(self, step: int) -> Part:
        """What this process takes of a batch: before statistics are frozen, all of it."""
        return Part(step, self.job.group.rank, self.job.group.size) if self._is_frozen(step) else Part(step)

    def _step(self, part: Part, batch: Batch, *, frozen: bool) -> float:
        self.model.train()
        if frozen:
            parallel.freeze(self.model)
        torch.manual_seed(seed_of(self.how.seed, part))
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16(self.how)):
            loss = self.loss_of(self.model, batch)
        loss = loss * (len(part.rows(self.batches.batch)) / self.batches.batch)
        self.optimizer.zero_grad()
        loss.backward()
        total = loss.detach()
        if part.size > 1:
            grads = [each.grad for each in self.model.parameters() if each.grad is not None]
            parallel.add_up([total, *grads], self.job.group)
        nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        follow(self.average, self.model, min(self.how.average, (part.step + 1) / (part.step + 21)))
        return float(total)

    def level(self) -> None:
        """Processes on unlike machines may have drifted apart by a last bit."""
        parallel.level(self.model, self.job.group)
        parallel.level(self.average, self.job.group)

    def end_epoch(self, begun: history.Begun, watch: Watch, bar: Meter) -> None:
        """Watch, and write weights, history and curves."""
        seen, (rate,) = dict(watch(self.average)), self.schedule.get_last_lr()
        mean = self.lost / self.batches.per_epoch
        number = self.step // self.batches.per_epoch
        self.lost = 0.0
        self.epochs.append(history.Epoch(epoch=number, step=self.step, loss=mean, rate=float(rate), validation=seen))
        watched = "  ".join(f"{name} {value:.4f}" for name, value in seen.items())
        bar.say(f"epoch {number}/{self.how.epochs}  loss {mean:.4f}  validation: {watched}")
        checkpoint.save_tensors(self.job.weights, self.average.state_dict())
        history.write(self.job.work / f"{self.job.name}.jsonl", begun, self.epochs)
        history.draw(self.job.work / f"{self.job.name}.curves", f"{self.job.name}, epoch {number}", self.epochs)


def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the model's; counters and running statistics likewise."""
    with torch.no_grad():
        for mine, theirs in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)


def seed_of(seed: int, part: Part) -> int:
    """Of what a network draws in one step, such as dropout. Each process draws its own."""
    return int(np.random.SeedSequence((seed, *part, 2)).generate_state(1, np.uint64)[0] >> 1)


def is_bfloat16(how: Training) -> bool:
    """Whether convolutions are computed in bfloat16: where the recipe leaves it open and oneDNN has kernels for this CPU."""
    return how.precision == "auto" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _begun(job: Job, how: Training, steps: int) -> history.Begun:
    return history.Begun(
        name=job.name,
        steps=steps,
        processes=job.group.size,
        threads=torch.get_num_threads(),
        precision="bfloat16" if is_bfloat16(how) else "float32",
        batch_norm="frozen after the first epoch" if job.group.launched else "of each batch",
        torch=str(torch.__version__),
    )
