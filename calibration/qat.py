"""Quantization-aware fine-tuning: the float network trained on with INT8 simulated, for when INT8 loses too much.

Values are rounded and cut off as an encoding's file does it, at the very inputs and with the very scales; the gradient passes
the rounding as if it were not there (straight-through estimator, Bengio et al. 2013, arXiv 1308.3432), and stops where a value
is cut off. Both encodings take turns: a network made for one alone may come to rely on a cut that the other does not make.
Steps of weights follow the weights as they change, those of activations stay, and so the ranges must be kept for the encoding
after. The float network's own answers are a target beside the labels. Batch norm is folded, so no statistics drift.
"""

import copy
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from calibration.cpu_rules import SEVEN_BITS
from calibration.onnx_module import OnnxModule
from calibration.progress import meter
from calibration.qdq_graph import DEQUANTIZE, QUANTIZE, QdqGraph, channel_axis
from calibration.quantize import WEIGHTED, load
from calibration.steps import Batch, Batches, Part
from calibration.steps import load as loaded

LOG = logging.getLogger("edgecell.calibration")

Outputs = Mapping[str, torch.Tensor]
Loss = Callable[[Outputs, Batch], torch.Tensor]
"""(outputs by name, the batch) -> the mean loss, with a gradient."""

LONGEST_GRADIENT = 1.0


class _Activation(NamedTuple):
    scale: float
    zero: int
    lowest: int
    highest: int

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        steps = _rounded((tensor / self.scale + self.zero).clamp(self.lowest, self.highest))
        return (steps - self.zero) * self.scale


class _Weight(NamedTuple):
    axis: int
    largest: int

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        others = [axis for axis in range(tensor.dim()) if axis != self.axis]
        step = (tensor.detach().abs().amax(others, keepdim=True) / self.largest).clamp(min=1e-12)
        return _rounded((tensor / step).clamp(-self.largest, self.largest)) * step


class Simulation:
    """What the nodes of an encoded model read. It is the `seen` of the float model's OnnxModule: nodes go by the same names."""

    def __init__(self, encoded: Path) -> None:
        graph = QdqGraph.load(encoded)
        largest = SEVEN_BITS if graph.encoding() == "u8s8" else 127
        self.reads: dict[tuple[str, int], _Activation | _Weight] = {}
        for node in graph.nodes:
            for at, name in enumerate(node.input[:2]):
                if node.op_type in {QUANTIZE, DEQUANTIZE} or not graph.quantized(name):
                    continue
                if node.op_type in WEIGHTED and at == 1:
                    self.reads[node.name, at] = _Weight(channel_axis(node), largest)
                else:
                    scale, zero = (graph.constants[each] for each in graph.makers[name].input[1:3])
                    limits = np.iinfo(zero.dtype)
                    self.reads[node.name, at] = _Activation(scale.item(), zero.item(), int(limits.min), int(limits.max))

    def __call__(self, node: str, at: int, tensor: torch.Tensor) -> torch.Tensor:
        read = self.reads.get((node, at))
        return tensor if read is None else read(tensor)


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    """Nearest whole numbers, half to even, with the gradient of no rounding."""
    return tensor + (torch.round(tensor) - tensor).detach()


def fine_tune(
    float_onnx: Path, encoded: Sequence[Path], batches: Batches, loss: Loss, out: Path, *, steps: int, rate: float
) -> None:
    """Write to `out` the float model with weights trained for `steps` steps, the learning rate falling from `rate` to 0.

    encoded: its encodings, which say where and how to round. batches: their first tensor is the input, float32 (N, 3, H, W); a
    short schedule is shown again. Raises SettingsError for a graph that cannot be trained.
    """
    student, simulations = OnnxModule(load(float_onnx)), itertools.cycle([Simulation(each) for each in encoded])
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    parts = [Part(step) for step in itertools.islice(itertools.cycle(range(len(batches))), steps)]
    with meter("fine-tuning for INT8", steps) as progress:
        for batch in loaded(batches, parts, workers=0):
            answers = student(batch[0], next(simulations))
            lost = loss(answers, batch) + distance(answers, teacher(batch[0]))
            optimizer.zero_grad()
            lost.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), LONGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            progress.step(f"loss {lost.item():.4f}")
    onnx.save(student.written(), out)


def distance(answers: Outputs, wanted: Outputs) -> torch.Tensor:
    """Mean square deviation in variances of what is wanted: mean over the outputs."""
    parts: list[Any] = [((answers[name] - each) ** 2).mean() / each.var().clamp(min=1e-12) for name, each in wanted.items()]
    return torch.stack(parts).mean()
