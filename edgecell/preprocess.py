"""Crop -> tensor. Training, INT8 ranges, evaluation and the device all go through these two functions.

`cut` takes a square window of fixed size in micrometres around a cell; `to_batch` makes the network's input of it.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell.halves import Halves

Crop = NDArray[np.uint8]


class Preprocess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bundle wants its cells.

    pixel_um: micrometres per pixel of the images that the bundle was trained on, the default for single-cell images.
    crop_um: side of the square window around the cell's centre. size_px: side of the network's input.
    interpolation: "area" (pixel-area averaging when shrinking, bilinear when enlarging).
    border: what fills the window where it leaves the image.
    colour: "white" divides by the window's own clear background (see `white_point`), "clear" also takes what is brighter than
    that for as bright, since nothing on a smear is; "rgb" leaves the colours alone.
    red_density: optical densities (natural logarithm; red, green, blue) of the red cells on the bundle's own slides, towards
    which those of other slides are scaled (see `edgecell.stain`); None leaves all slides as they are.
    mean, std: per channel, of the 0-1 values.
    """

    pixel_um: float
    crop_um: float
    size_px: int
    interpolation: Literal["area"] = "area"
    border: Literal["replicate"] = "replicate"
    colour: Literal["white", "clear", "rgb"] = "white"
    red_density: tuple[float, float, float] | None = None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def cut(image: NDArray[np.uint8], centre_px: tuple[float, float], pixel_um: float, crop_um: float, size_px: int) -> Crop:
    """The window of crop_um around centre_px (x, y) of an RGB image at pixel_um, as uint8 (size_px, size_px, 3).

    Outside the image the border pixels are repeated.
    """
    side = max(2, round(crop_um / pixel_um))
    x0, y0 = round(centre_px[0] - side / 2), round(centre_px[1] - side / 2)
    height, width = image.shape[:2]
    inside = image[max(y0, 0) : min(y0 + side, height), max(x0, 0) : min(x0 + side, width)]
    pads = max(-y0, 0), max(y0 + side - height, 0), max(-x0, 0), max(x0 + side - width, 0)
    if any(pads):
        inside = cv2.copyMakeBorder(inside, *pads, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
    if side < size_px or side % size_px == 0:
        how = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
        return cv2.resize(inside, (size_px, size_px), interpolation=how).astype(np.uint8, copy=False)
    # Between whole factors OpenCV averages bytes in float32 too and rounds to even, but takes 1.35 times as long over it.
    mean = cv2.resize(inside.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.rint(mean, out=mean).astype(np.uint8)


def white_point(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Level of the clear background of each crop: uint8 (N, S, S, 3) -> float32 (N, 3), 1-255.

    The mean colour of the brightest tenth of the pixels by their darkest channel: clear background is the one thing on a smear
    that is bright in all three channels at once, and a tenth of the window is clear in all but the most crowded fields.
    Pixels that tie for the last places share them evenly, so that a crop has the same white in every orientation and on every
    CPU. Nearly every crop has such ties: which of them are taken moves the white by 0.03 grey values, 1.2 at most (measured).
    """
    return _white(_planes(crops))


def to_batch(crops: Sequence[Crop] | NDArray[np.uint8], spec: Preprocess) -> NDArray[np.float32]:
    """Crops uint8 (size_px, size_px, 3) RGB -> float32 (N, 3, size_px, size_px), C-contiguous, normalised as spec says."""
    planes = _planes(np.asarray(crops, dtype=np.uint8).reshape(-1, spec.size_px, spec.size_px, 3))
    return _normalised(planes, _white(planes), spec)


def field_values(image: NDArray[np.uint8], spec: Preprocess, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """A whole field, RGB uint8 (H, W, 3) at the bundle's scale -> float32 (3, H, W), normalised as spec says.

    Its white is measured on every other row and column. out: where to write it, its rows without gaps; else it is made.
    """
    planes = cv2.split(image)
    some = np.stack([plane[::2, ::2] for plane in planes])[None].astype(np.uint8, copy=False)
    every = np.tile(np.arange(256, dtype=np.uint8), (1, 3, 1, 1))
    tables = _normalised(every, _white(some), spec)[0, :, 0]
    values = np.empty((3, *image.shape[:2]), np.float32) if out is None else out
    for plane, table, written in zip(planes, tables, values, strict=True):
        cv2.LUT(plane, table, written)
    return values


def resized(halves: Halves, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image uint8 (H, W, 3) at size (x, y): halved as often as that comes out even, since means of 2x2 pixels are quick."""
    times, image = 0, halves.halved(0)
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1] and not (image.shape[0] % 2 or image.shape[1] % 2):
        times += 1
        image = halves.halved(times)
    how = cv2.INTER_AREA if image.shape[1] >= 2 * size[0] else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).astype(np.uint8, copy=False)


def _normalised(planes: NDArray[np.uint8], white: NDArray[np.float32], spec: Preprocess) -> NDArray[np.float32]:
    """Planes uint8 (N, 3, H, W) as the network's input; white: (N, 3)."""
    if spec.colour == "rgb":
        white = np.full((len(planes), 3), 255.0, np.float32)
    # (value / white - mean) / std as one multiplication and one subtraction
    std: NDArray[np.float32] = np.array(spec.std, np.float32)
    mean: NDArray[np.float32] = np.array(spec.mean, np.float32)
    gain = np.reciprocal(white * std)
    values: NDArray[np.float32] = np.multiply(planes, gain[:, :, None, None], dtype=np.float32)
    values -= (mean / std)[:, None, None]
    if spec.colour == "clear":
        np.minimum(values, ((1 - mean) / std)[:, None, None], out=values)
    return values


def _planes(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (N, H, W, 3) -> (N, 3, H, W), C-contiguous. OpenCV takes channels apart faster than a transposed copy does."""
    count, height, width = crops.shape[:3]
    if count == 0:
        return np.zeros((0, 3, height, width), np.uint8)
    channels = cv2.split(crops.reshape(count * height, width, 3))
    return np.stack([channel.reshape(count, height, width) for channel in channels], axis=1).astype(np.uint8, copy=False)


def _white(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`white_point` of planes uint8 (N, 3, H, W). Counts and sums are whole numbers: the order of pixels cannot matter."""
    pixels = planes.reshape(*planes.shape[:2], planes.shape[2] * planes.shape[3])
    darkest = pixels.min(axis=1)
    keep = max(1, darkest.shape[1] // 10)
    # A stable sort of bytes is a radix sort: faster than a partition of them, and its time does not depend on the pixels.
    last = np.sort(darkest, axis=1, kind="stable")[:, -keep, None]
    brighter, tied = darkest > last, darkest == last
    share = (keep - brighter.sum(axis=1)) / tied.sum(axis=1)
    total: NDArray[np.float64] = _sums(pixels, brighter) + _sums(pixels, tied) * share[:, None]
    return np.asarray(np.maximum(total / keep, 1.0), dtype=np.float32)


def _sums(pixels: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Sum (N, 3) over the chosen (N, P) of pixels (N, 3, P)."""
    sums: NDArray[np.uint32] = (pixels * chosen[:, None]).sum(axis=2, dtype=np.uint32)
    return sums
