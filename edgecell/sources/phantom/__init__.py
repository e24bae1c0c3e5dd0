"""The phantom slide: a digital smear under a simulated camera. The default source: it needs no camera and no network.

    options -> catalogue -> slide -> view -+-> source (draw, sensor)
                                           +-> truth

Nothing of it says anything about real cells: it is a test of the software.
"""

from collections.abc import Sequence
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import clock
from edgecell.cameras import Camera
from edgecell.errors import FrameTimeout, SourceUnavailable
from edgecell.messages import Frame
from edgecell.protocols import Probe
from edgecell.sources.phantom import draw
from edgecell.sources.phantom import options as phantom_options
from edgecell.sources.phantom.sensor import Sensor, smeared
from edgecell.sources.phantom.stage import focus_um, smear_um
from edgecell.sources.phantom.view import View


class PhantomSource:
    """Frames of the phantom slide, the same for the same options and index. Its frames do not know their pixel_um.

    With a frame rate it is a camera, which goes on whether or not anyone reads; without one it is a file.
    """

    Options = phantom_options.Options

    def __init__(self, options: phantom_options.Options) -> None:
        self.source_id = "phantom"
        self.live = options.fps is not None
        self._options = options
        self._first = self._index = 0
        self._started_ns = 0
        self._bench: _Bench | None = None

    def start_at(self, index: int) -> None:
        """Give the frames from `index` on."""
        self._first = index

    def fingerprint(self) -> str:
        """The options say all."""
        return "phantom"

    def __enter__(self) -> Self:
        self._bench = _Bench(self._options)
        self._index, self._started_ns = self._first, clock.monotonic_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._bench = None

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="built in")

    @classmethod
    def attached(cls) -> Sequence[Camera]:
        return ()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, at the pace of options.fps."""
        if self._bench is None:
            raise SourceUnavailable("the phantom source is not open", fix="use it in a `with` block")
        if self._options.frames is not None and self._index >= self._options.frames:
            return None
        self._wait(timeout_s)
        index, self._index = self._index, self._index + 1
        captured_ns = clock.monotonic_ns()
        image, corner_um = self._bench.picture(index)
        slide_um = corner_um if self._options.encoder else None
        image.setflags(write=False)
        return Frame(source_id=self.source_id, index=index, captured_ns=captured_ns, image=image, slide_um=slide_um)

    def _wait(self, timeout_s: float) -> None:
        if self._options.fps is None:
            return
        due_ns = self._started_ns + round((self._index - self._first) * 1e9 / self._options.fps)
        wait_s = (due_ns - clock.monotonic_ns()) / 1e9
        if wait_s > timeout_s:
            clock.sleep(timeout_s)
            raise FrameTimeout(f"no frame within {timeout_s:g} s", fix="raise the time-out or the phantom's fps")
        clock.sleep(wait_s)


class _Bench:
    """Slide, sprites and sensor of an open source."""

    def __init__(self, options: phantom_options.Options) -> None:
        self._options = options
        self._view = View(options)
        self._sprites = draw.sprites(options.seed, options.stain, options.pixel_um)
        self._turned: dict[tuple[int, int], draw.Sprite] = {}
        self._sensor = Sensor(options)
        self._density = np.empty_like(self._sensor.clear)

    def picture(self, index: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """The frame's image and where its top left corner lies on the slide in um."""
        np.copyto(self._density, self._sensor.clear)
        for seen in self._view.at(index):
            self._lay(self._sprite(seen.individual, seen.turn), seen.x_px, seen.y_px)
        density = smeared(self._density, *(um / self._options.pixel_um for um in smear_um(self._options, index)))
        image = self._sensor.expose(density, index, focus_um(self._options, index))
        left, top = self._view.corner_px(index)
        return image, (left * self._options.pixel_um, top * self._options.pixel_um)

    def _sprite(self, individual: int, turn: int) -> draw.Sprite:
        key = individual, turn
        if key not in self._turned:
            self._turned[key] = draw.turned(self._sprites[individual], turn)
        return self._turned[key]

    def _lay(self, sprite: draw.Sprite, x: int, y: int) -> None:
        """Add a sprite's density with its middle on pixel (x, y), cut at the frame's border."""
        side, half = sprite.shape[0], sprite.shape[0] // 2
        x0, y0 = x - half, y - half
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x0 + side, self._options.width), min(y0 + side, self._options.height)
        if left >= right or top >= bottom:
            return
        part = self._density[top:bottom, left:right]
        cv2.add(part, sprite[top - y0 : bottom - y0, left - x0 : right - x0], part)
