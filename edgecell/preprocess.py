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
Plane = cv2.typing.MatLike
"""One channel of an image, uint8 (H, W)."""


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
    return np.array([_white(cv2.split(crop)) for crop in crops], np.float32).reshape(-1, 3)


def to_batch(crops: Sequence[Crop] | NDArray[np.uint8], spec: Preprocess) -> NDArray[np.float32]:
    """Crops uint8 (size_px, size_px, 3) RGB -> float32 (N, 3, size_px, size_px), C-contiguous, normalised as spec says."""
    some = np.asarray(crops, dtype=np.uint8).reshape(-1, spec.size_px, spec.size_px, 3)
    planes = [cv2.split(crop) for crop in some]
    batch = np.empty((len(some), 3, spec.size_px, spec.size_px), np.float32)
    tables = _tables(np.array([_white(each) for each in planes], np.float32).reshape(-1, 3), spec)
    for own, table, values in zip(planes, tables, batch, strict=True):
        _look_up(own, table, values)
    return batch


def field_values(image: NDArray[np.uint8], spec: Preprocess, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """A whole field, RGB uint8 (H, W, 3) at the bundle's scale -> float32 (3, H, W), normalised as spec says.

    Its white is measured on every other row and column. out: where to write it, its rows without gaps; else it is made.
    """
    planes = cv2.split(image)
    some = [np.ascontiguousarray(plane[::2, ::2]) for plane in planes]
    values = np.empty((3, *image.shape[:2]), np.float32) if out is None else out
    _look_up(planes, _tables(_white(some)[None], spec)[0], values)
    return values


def resized(halves: Halves, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image uint8 (H, W, 3) at size (x, y): halved as often as that comes out even, since means of 2x2 pixels are quick."""
    times, image = 0, halves.halved(0)
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1] and not (image.shape[0] % 2 or image.shape[1] % 2):
        times += 1
        image = halves.halved(times)
    how = cv2.INTER_AREA if image.shape[1] >= 2 * size[0] else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how).astype(np.uint8, copy=False)


def _tables(white: NDArray[np.float32], spec: Preprocess) -> NDArray[np.float32]:
    """The network's input for each of the 256 values of a channel, (N, 3, 256). white: (N, 3)."""
    if spec.colour == "rgb":
        white = np.full((len(white), 3), 255.0, np.float32)
    # (value / white - mean) / std as one multiplication and one subtraction
    std: NDArray[np.float32] = np.array(spec.std, np.float32)
    mean: NDArray[np.float32] = np.array(spec.mean, np.float32)
    gain = np.reciprocal(white * std)
    values: NDArray[np.float32] = np.arange(256, dtype=np.float32) * gain[:, :, None]
    values -= (mean / std)[:, None]
    if spec.colour == "clear":
        np.minimum(values, ((1 - mean) / std)[:, None], out=values)
    return values


def _look_up(planes: Sequence[Plane], tables: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Planes (H, W) of three channels -> out (3, H, W): faster than reckoning with each pixel."""
    for plane, table, values in zip(planes, tables, out, strict=True):
        cv2.LUT(plane, table, values)


def _white(planes: Sequence[Plane]) -> NDArray[np.float32]:
    """`white_point` (3,) of one image, its channels apart. Counts and sums are whole numbers: the order of pixels cannot
    matter."""
    red, green, blue = planes
    darkest = cv2.min(cv2.min(red, green), blue)
    keep = max(1, darkest.size // 10)
    counts = cv2.calcHist([darkest], [0], None, [256], [0, 256]).ravel()[::-1]
    place = int(np.searchsorted(counts.cumsum(dtype=np.float64), keep))
    last = 255 - place
    share = (keep - float(counts[:place].sum(dtype=np.float64))) / float(counts[place])
    brighter, least = _sums(planes, darkest, last), _sums(planes, darkest, last - 1)
    total = brighter + (least - brighter) * share
    return np.maximum(total / keep, 1.0).astype(np.float32)


def _sums(planes: Sequence[Plane], darkest: Plane, level: int) -> NDArray[np.float64]:
    """Sum (3,) over the pixels whose darkest channel is above a level."""
    _, mask = cv2.threshold(darkest, level, 255, cv2.THRESH_BINARY)
    return np.array([cv2.sumElems(cv2.bitwise_and(plane, mask))[0] for plane in planes])
