"""One labelled cell, as every dataset adapter hands it out."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A cell in an image.

    name: unique within the dataset, and what the split files list.
    labels: the class names that the annotation allows, as the dataset has them (a recipe turns them into its own); one for a
    plain label, several where it only narrows them down.
    content: the image file, or the image itself as uint8 (H, W, 3) RGB where it was cut from a field.
    centre_px: (x, y), None for the middle of the image. pixel_um: micrometres per pixel, None where neither dataset nor recipe
    says. slide: within the dataset, what shares one stain and microscope; "" where the dataset is taken for one. origin: the
    patient or slide whose cells must not be on both sides of a split; "" where nobody says. part: where the dataset's own split
    has it: train, val or test; "" if it has none.
    """

    name: str
    labels: tuple[str, ...]
    content: bytes | NDArray[np.uint8]
    pixel_um: float | None
    centre_px: tuple[float, float] | None = None
    slide: str = ""
    origin: str = ""
    part: str = ""

    def image(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""
        return decode(self.content, self.name) if isinstance(self.content, bytes) else self.content

    def centre(self, image: NDArray[np.uint8]) -> tuple[float, float]:
        """Where the cell is in `image`, (x, y) in pixels."""
        return self.centre_px or (image.shape[1] / 2, image.shape[0] / 2)

    def scale(self) -> float:
        """Micrometres per pixel. Raises SettingsError where nobody said."""
        if self.pixel_um is None:
            raise SettingsError(
                f"nothing says how large a pixel of {self.name} is",
                fix="give pixel_um in the recipe's [[data]] of this dataset",
            )
        return self.pixel_um


WINDOW_UM = 27.0  # of a cell cut from a field: enough for a crop of 20 um, shifted, turned and scaled


def windowed(
    name: str,
    labels: tuple[str, ...],
    image: NDArray[np.uint8],
    centre_px: Sequence[float],
    pixel_um: float,
    slide: str,
) -> Sample:
    """A cell in a window of its field, so that the field itself can go. image, centre_px: of the field."""
    side = round(WINDOW_UM / pixel_um)
    x0, y0 = (max(0, round(at - side / 2)) for at in centre_px)
    return Sample(
        name=name,
        labels=labels,
        content=np.ascontiguousarray(image[y0 : y0 + side, x0 : x0 + side]),
        pixel_um=pixel_um,
        centre_px=(centre_px[0] - x0, centre_px[1] - y0),
        slide=slide,
    )


def decode(content: bytes, name: str) -> NDArray[np.uint8]:
    """An encoded image as uint8 (H, W, 3) RGB. Raises SettingsError that names it."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise SettingsError(f"{name} is not an image", fix="copy the dataset again, or remove the file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
