"""Pictures as cameras give them, to RGB in one step: what the driver wrote is read where it lies, and never copied first."""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.imagefile import whole_jpeg

MJPG: Final = "MJPG"


class Layout(NamedTuple):
    """channels: bytes in a place of a line. lines: of those for two lines of the picture. code: OpenCV's, None if it is RGB."""

    channels: int
    lines: int
    code: int | None


LAYOUTS: Final = {
    "YUYV": Layout(2, 2, cv2.COLOR_YUV2RGB_YUY2),
    "UYVY": Layout(2, 2, cv2.COLOR_YUV2RGB_UYVY),
    "NV12": Layout(1, 3, cv2.COLOR_YUV2RGB_NV12),
    "BGR3": Layout(3, 2, cv2.COLOR_BGR2RGB),
    "RGB3": Layout(3, 2, None),
}
"""Formats in one plane, by V4L2's names. Luma and colour differences are taken as ITU-R BT.601, 16 to 235, as OpenCV does."""
FORMATS: Final = (MJPG, *LAYOUTS)


class Agreed(NamedTuple):
    """What camera and source agreed on. stride: bytes from line to line, where pictures are not compressed."""

    fourcc: str
    width: int
    height: int
    stride: int


def rgb(data: NDArray[np.uint8], agreed: Agreed) -> NDArray[np.uint8] | None:
    """uint8 (height, width, 3), RGB, an array of its own; None where the picture is not whole. data: uint8 (bytes,)."""
    if agreed.fourcc == MJPG:
        return _decoded(data, agreed)
    channels, lines, code = LAYOUTS[agreed.fourcc]
    rows = agreed.height * lines // 2
    if data.size < (rows - 1) * agreed.stride + agreed.width * channels:
        return None
    there = np.ndarray((rows, agreed.width, channels), np.uint8, data, strides=(agreed.stride, channels, 1))
    return there.copy() if code is None else cv2.cvtColor(there, code).astype(np.uint8, copy=False)


def _decoded(data: NDArray[np.uint8], agreed: Agreed) -> NDArray[np.uint8] | None:
    """OpenCV would fill what is missing of a truncated picture with grey."""
    if not whole_jpeg(data.data):
        return None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    if image is None or image.shape != (agreed.height, agreed.width, 3):
        return None
    return image.astype(np.uint8, copy=False)
