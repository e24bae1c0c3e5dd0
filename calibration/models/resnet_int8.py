"""A small residual network that loses nothing in INT8: plain 3x3 convolutions, ReLU, widths in multiples of 16.

Depthwise convolutions and squeeze-excite gain almost nothing from INT8 on a CPU and quantize badly; plain convolutions gain 2x.
Every residual block ends in Conv + Add + ReLU, which TensorRT and ONNX Runtime fuse. The last layer is linear on pooled
features, so that it can be refitted without a training framework.
"""

from collections.abc import Sequence

import torch
from torch import nn


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution with batch norm, which the exporter folds into it."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """Two 3x3 convolutions and a skip, which is a 1x1 convolution where shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, 3, stride)
        self.second = conv(outputs, outputs, 3, 1)
        self.skip = conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x))
        return torch.relu(self.second(y) + self.skip(x))


class MixStyle(nn.Module):
    """In training only: with probability p the cells of a batch get, channel by channel, a mixture of their own mean and
    deviation and those of another cell, so that a stain's look tells nothing (Zhou et al. 2021, arXiv 2104.02008; its
    Beta(0.1, 0.1)).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or torch.rand(()) >= self.p:
            return x
        with torch.no_grad():
            mean = x.mean((2, 3), keepdim=True)
            deviation = x.std((2, 3), keepdim=True) + 1e-5
            other = torch.randperm(len(x))
            share = torch.distributions.Beta(0.1, 0.1).sample((len(x), 1, 1, 1)).to(x.dtype)
            new_mean, new_deviation = mean[other].lerp(mean, share), deviation[other].lerp(deviation, share)
        return (x - mean) / deviation * new_deviation + new_mean


def _stem(width: int, steps: int) -> list[nn.Module]:
    """Convolutions that halve the sides `steps` times; each but the last has half the width: detail is cheap while thin."""
    narrow = [width // 2] * (steps - 1)
    pairs = zip([3, *narrow], [*narrow, width], strict=True)
    return [layer for inputs, outputs in pairs for layer in (conv(inputs, outputs, 3, 2), nn.ReLU())]


class ResNetInt8(nn.Module):
    """float32 (N, 3, S, S) -> logits (N, classes), features (N, widths[-1]). blocks: how many at each width.

    stem: how often the sides are halved before the first block.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int] = (32, 64, 96),
        blocks: Sequence[int] = (1, 2, 3),
        dropout: float = 0.2,
        mixstyle: float = 0.0,
        stem: int = 1,
    ) -> None:
        super().__init__()
        layers = _stem(widths[0], stem)
        begin, inputs = len(layers), widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
                inputs = width
        if mixstyle:
            layers.insert(begin + blocks[0], MixStyle(mixstyle))
            layers.insert(begin, MixStyle(mixstyle))
        self.body = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.flatten(self.pool(self.body(x)), 1)
        return self.head(self.drop(features)), features
