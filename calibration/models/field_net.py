"""A small fully convolutional network that sees whole fields: plain 3x3 convolutions and ReLU, widths in multiples of 16.

Most of its work is done at an eighth and a sixteenth of the input's resolution; it answers on a grid of a quarter, where what
was seen at the coarse scales is added to what is there, since a platelet is two or three grid cells across.
"""

from collections.abc import Sequence

import torch
from torch import nn

from calibration.models.resnet_int8 import Block, conv

MULTIPLE = 16
"""Height and width of the input."""
BEFORE = -4.0
"""What the network first says of a cell's middle, as a logit: they are rare."""


def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(conv(inputs, outputs, 3, stride), nn.ReLU())


class FieldNet(nn.Module):
    """float32 (N, 3, H, W) -> kinds (N, K, H/4, W/4), box (N, 4, ...), inside (N, 1, ...).

    widths: at 1/2, 1/4, 1/8 and 1/16. blocks: at 1/4 (convolutions), 1/8, 1/16 and again at 1/8 (residual blocks).
    """

    def __init__(self, kinds: int, widths: Sequence[int] = (16, 32, 64, 80), blocks: Sequence[int] = (1, 1, 1, 1)) -> None:
        super().__init__()
        first, fine, middle, coarse = widths
        self.kinds = kinds
        self.stem = nn.Sequential(layer(3, first, 2), layer(first, fine, 2), *(layer(fine, fine) for _ in range(blocks[0])))
        self.near = nn.Sequential(Block(fine, middle, 2), *(Block(middle, middle, 1) for _ in range(blocks[1])))
        self.far = nn.Sequential(Block(middle, coarse, 2), *(Block(coarse, coarse, 1) for _ in range(blocks[2])))
        self.from_far = conv(coarse, middle, 1, 1)
        self.both = nn.Sequential(*(Block(middle, middle, 1) for _ in range(blocks[3])))
        self.from_both = conv(middle, fine, 1, 1)
        self.last = layer(fine, fine)
        self.head = nn.Conv2d(fine, kinds + 5, 1)
        nn.init.zeros_(self.head.bias)
        nn.init.constant_(self.head.bias[:kinds], BEFORE)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.stem(x)
        near = self.near(fine)
        both = self.both(torch.relu(near + twice(self.from_far(self.far(near)))))
        answers = self.head(self.last(torch.relu(fine + twice(self.from_both(both)))))
        return answers[:, : self.kinds], answers[:, self.kinds : -1], answers[:, -1:]


def twice(x: torch.Tensor) -> torch.Tensor:
    """At twice the resolution, each value four times."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
