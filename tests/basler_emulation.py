"""Cameras that Basler's SDK emulates, made to give the pictures of a folder instead of their own."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 10))
"""Of the four stripes of a picture, left to right: red, green, blue, and one that tells RGB from every other order."""
NUMBER_PX = 16
"""Side of a square in the upper left corner: its level tells which picture it is."""


def picture(number: int, width: int = 160, height: int = 96) -> Image:
    """RGB."""
    image = np.zeros((height, width, 3), np.uint8)
    for stripe, colour in enumerate(COLOURS):
        image[:, stripe * width // 4 : (stripe + 1) * width // 4] = colour
    image[:NUMBER_PX, :NUMBER_PX] = 50 * number
    return image


def number_of(image: Image) -> int:
    """Which picture it is."""
    return round(float(image[NUMBER_PX // 2, NUMBER_PX // 2, 0]) / 50)


def emulated(
    folder: Path, pictures: Sequence[Image] = (), lines: Sequence[str] = (), suffix: str = ".png"
) -> dict[str, object]:
    """Options of the source for a camera that shows these pictures (RGB, of one size) in turn, by a file of features."""
    pictures = pictures or [picture(number) for number in range(5)]
    shown = folder / "shown"
    shown.mkdir(exist_ok=True)
    for number, image in enumerate(pictures):
        cv2.imwrite(str(shown / f"picture{number}{suffix}"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    settings = ("TestImageSelector\tOff", f"ImageFilename\t{shown}", "ImageFileMode\tOn", *lines)
    features = folder / "camera.pfs"
    heading = ("# {05D8C294-F295-4dfb-9D01-096BD04049F4}", "# GenApi persistence file (version 3.1.0)")
    features.write_text("\n".join((*heading, *settings, "")), encoding="ascii")
    height, width = pictures[0].shape[:2]
    return {"features": features, "width": width, "height": height, "fps": 200}
