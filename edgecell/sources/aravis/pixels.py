"""What a camera sends -> red, green, blue."""

import cv2
import numpy as np
from numpy.typing import NDArray

FORMATS: dict[str, tuple[int, int | None]] = {
    "BayerRG8": (1, cv2.COLOR_BayerRGGB2RGB),
    "BayerGR8": (1, cv2.COLOR_BayerGRBG2RGB),
    "BayerGB8": (1, cv2.COLOR_BayerGBRG2RGB),
    "BayerBG8": (1, cv2.COLOR_BayerBGGR2RGB),
    "RGB8": (3, None),
    "RGB8Packed": (3, None),
    "BGR8": (3, cv2.COLOR_BGR2RGB),
    "BGR8Packed": (3, cv2.COLOR_BGR2RGB),
    "Mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""By GenICam's names, those with the least to transfer first: bytes a pixel, and OpenCV's conversion, None if there is none.
A Bayer pattern is named by its first line here, as in GenICam; OpenCV's old names go by the second."""
COLOURLESS = "Mono8"


def rgb(data: bytes, name: str, height: int, width: int) -> NDArray[np.uint8] | None:
    """uint8 (height, width, 3), write-locked; None where data is too short for that. What follows the image is left."""
    channels, code = FORMATS[name]
    size = height * width * channels
    if len(data) < size:
        return None
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = np.frombuffer(data, np.uint8, size).reshape(shape)
    image = pixels if code is None else cv2.cvtColor(pixels, code).astype(np.uint8, copy=False)
    image.setflags(write=False)
    return image
