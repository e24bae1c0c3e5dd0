"""Halves of a frame: what everyone would have made for himself, made once; and the gate, which looks at nothing else."""

from math import log2

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecell.gate import GateState, Learnt, Limits, blur_um, judge
from edgecell.halves import Halves
from edgecell.messages import Frame
from edgecell.optics.scale import RED_CELL_UM

Image = NDArray[np.uint8]


def field(height: int, width: int) -> Image:
    """Pink discs, a little out of focus, on clear background with a camera's noise."""
    rng = np.random.default_rng(height)
    image = np.full((height, width, 3), (235, 225, 238), np.uint8)
    for x, y in rng.integers(0, (width, height), (60, 2)).tolist():
        cv2.circle(image, (x, y), 36, (205, 160, 165), -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)
    noisy: Image = np.clip(soft + rng.normal(0, 2, soft.shape), 0, 255).astype(np.uint8)
    return noisy


def means(image: Image, times: int) -> Image:
    """Averaged over blocks of 2 x 2, rounded up from the half, by the plain definition."""
    for _ in range(times):
        height, width = image.shape[0] // 2, image.shape[1] // 2
        blocks = image[: 2 * height, : 2 * width].astype(np.uint16)
        sums = blocks[::2, ::2] + blocks[1::2, ::2] + blocks[::2, 1::2] + blocks[1::2, 1::2]
        image = ((sums + 2) // 4).astype(np.uint8)
    return image


@pytest.mark.parametrize("shape", [(480, 640), (481, 643), (150, 1024)])
@pytest.mark.parametrize("times", range(5))
def test_they_are_means_of_four_pixels(shape: tuple[int, int], times: int) -> None:
    image = field(*shape)
    halves = Halves(image)
    assert np.array_equal(halves.green(times), means(image, times)[..., 1])  # asked for first: colours are made on the way
    assert np.array_equal(halves.halved(times), means(image, times))
    assert np.array_equal(Halves(image[..., 1].copy()).green(times), means(image, times)[..., 1])


def test_each_is_made_once_and_goes_with_its_image_only() -> None:
    frame = Frame(source_id="test", index=0, captured_ns=0, image=field(64, 64))
    assert frame.halves.halved(0) is frame.image
    assert frame.halves.halved(2) is frame.halves.halved(2)
    assert frame.halves.green(3) is frame.halves.green(3)


def test_what_cannot_be_halved_stays() -> None:
    assert Halves(field(1, 40)).halved(3).shape == (1, 5, 3)
    assert Halves(field(3, 2)).green(4).shape == (1, 1)


@pytest.mark.parametrize("shape", [(720, 1280), (723, 1281), (1070, 1903), (300, 1800)])
@pytest.mark.parametrize("um", [0.04, 0.06, 0.1, 0.13, 0.25])
def test_the_gate_measures_what_the_green_of_the_whole_frame_says(shape: tuple[int, int], um: float) -> None:
    """To the bit, whether its middle begins between two blocks or not."""
    image = field(*shape)
    frame = Frame(source_id="test", index=0, captured_ns=0, image=image)
    verdict, _ = judge(frame, Limits(), GateState(learnt={shape: Learnt(scales_um=(um,))}))
    green = np.ascontiguousarray(image[..., 1])
    assert verdict.focus == RED_CELL_UM / blur_um(green, um) == RED_CELL_UM / plain_blur_um(green, um)


def plain_blur_um(green: Image, um: float) -> float:
    """`blur_um` by its definition: every border in order, nothing shared."""
    times = max(0, round(log2(0.2 / um)))
    top, left = (max(0, length - (512 << times)) // 2 for length in green.shape)
    small, um = means(green[top : green.shape[0] - top, left : green.shape[1] - left], times), um * 2**times
    sigma = max(0.7, 0.2 / um)
    smooth = cv2.GaussianBlur(small.astype(np.float32), (0, 0), sigma)
    steepness = cv2.magnitude(*(cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis, scale=1 / 8) for axis in (0, 1)))
    grey, side = smooth.astype(np.uint8), 2 * max(2, round(1.5 / um)) + 1
    height = cv2.dilate(grey, np.ones((side, side), np.uint8)) - cv2.erode(grey, np.ones((side, side), np.uint8))
    step = max(1, round(np.sqrt(grey.size / 40_000)))
    height, steepness = height[::step, ::step].ravel(), steepness[::step, ::step].ravel()
    near = (height >= 10) & (steepness > 0)
    height, steepness = height[near], steepness[near]
    steep = steepness >= np.sort(steepness)[int(0.93 * (steepness.size - 1))]
    widths = np.sort(height[steep] / steepness[steep] / np.sqrt(2 * np.pi))
    sharpest = float(widths[int(0.1 * (widths.size - 1))])
    return um * float(np.sqrt(max(sharpest**2 - sigma**2 - 1 / 3 - 1 / 12, 0.01)))
