"""An image at half its size, at a quarter and so on: made once, for whoever looks at the frame next.

Gate and segmenter look at the same frame, both at a fraction of its size. Reading all of its pixels is what takes the time.

OpenCV is imported when a frame is halved: who only listens to the bus knows frames, and must stay small.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
COLOURS = 2
"""Green is taken out of an image halved so often, and halved on by itself: of a channel that is every third byte, the fewer the
better. Means of 2 x 2 are the same before as after."""


class Halves:
    """image: uint8, (H, W, 3) RGB, or (H, W) for one channel. What it gives is shared, and not to be written to."""

    def __init__(self, image: Image) -> None:
        self._images, self._greens = [image], dict[int, Image]()

    def halved(self, times: int) -> Image:
        """The image averaged over blocks of 2 x 2 pixels, `times` over; an odd last row or column is left out each time."""
        while len(self._images) <= times:
            self._images.append(_half(self._images[-1]))
        return self._images[times]

    def green(self, times: int) -> Image:
        """The green of `halved`, (h, w)."""
        if self._images[0].ndim == 2:
            return self.halved(times)
        if times not in self._greens:
            import cv2

            if times <= COLOURS:
                self._greens[times] = cv2.extractChannel(self.halved(times), 1).astype(np.uint8, copy=False)
            else:
                self._greens[times] = _half(self.green(times - 1))
        return self._greens[times]


def _half(image: Image) -> Image:
    """Ten times as fast in OpenCV as blocks of another size."""
    import cv2

    height, width = (max(1, length // 2) for length in image.shape[:2])
    blocks = image[: 2 * height, : 2 * width]
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
