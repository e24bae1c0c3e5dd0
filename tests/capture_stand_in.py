"""A stand-in for cv2.VideoCapture on a Linux camera, which no test machine has. It keeps what it is told, as a camera does."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Wait = Callable[[], bool]
"""Whether a frame comes in time; may raise cv2.error, as OpenCV does when the driver reports an error."""


def always() -> bool:
    return True


class CaptureStandIn:
    """Gives pictures with a red stripe that moves (BGR, as OpenCV gives them), at a set-up within its means.

    sizes, codes: what it can do; anything else leaves it as it was. fixed: controls that it does not have.
    """

    def __init__(
        self,
        path: str = "",
        api: int = cv2.CAP_V4L2,
        *,
        sizes: Sequence[tuple[int, int]] = ((1280, 720), (640, 480), (160, 96)),
        codes: Sequence[str] = ("MJPG", "YUYV"),
        fixed: Sequence[int] = (),
        opened: bool = True,
        waits: Sequence[Wait] = (),
        broken: Sequence[int] = (),
        time_ms: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.path, self.api = path, api
        self.released = False
        self.props: dict[int, float] = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*codes[0]),
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_BUFFERSIZE: 4,
            cv2.CAP_PROP_EXPOSURE: 156,
        }
        self.timeouts_ns: list[int] = []
        self.grabbed = 0
        self.level_at_release = -1
        self._sizes, self._codes, self._fixed, self._opened = sizes, codes, fixed, opened
        self._waits, self._broken, self._time_ms = list(waits), broken, time_ms
        self._pending = False
        self._asked_width = 0.0

    def isOpened(self) -> bool:  # noqa: N802 OpenCV's name
        return self._opened

    def set(self, prop: int, value: float, /) -> bool:
        if prop in self._fixed:
            return False
        if prop == cv2.CAP_PROP_FOURCC:
            if value not in [cv2.VideoWriter.fourcc(*code) for code in self._codes]:
                return False
        elif prop == cv2.CAP_PROP_FRAME_WIDTH:
            self._asked_width = value
            return True
        elif prop == cv2.CAP_PROP_FRAME_HEIGHT:
            if (self._asked_width, value) not in self._sizes:
                return True
            self.props[cv2.CAP_PROP_FRAME_WIDTH] = self._asked_width
        elif prop == cv2.CAP_PROP_EXPOSURE:
            value = min(value, 5000)
        self.props[prop] = value
        return True

    def get(self, prop: int, /) -> float:
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self._time_ms()
        return -1.0 if prop in self._fixed else self.props.get(prop, -1.0)

    def grab(self) -> bool:
        """As OpenCV: no other frame until the one that waits is retrieved."""
        self.grabbed += not self._pending
        self._pending = True
        return 0 not in self._broken or self.grabbed > 1

    def retrieve(self) -> tuple[bool, Image | None]:
        self._pending = False
        if self.grabbed - 1 in self._broken:
            return False, None
        image = np.full((round(self.props[4]), round(self.props[3]), 3), 200, np.uint8)
        image[:, self.grabbed * 4 : self.grabbed * 4 + 4] = (0, 0, 255)
        return True, image

    def waitAny(self, streams: Sequence[object], timeout_ns: int, /) -> tuple[bool, NDArray[np.int32]]:  # noqa: N802
        """As OpenCV: true even where nothing is ready, so that only the list tells, and that is an array."""
        self.timeouts_ns.append(timeout_ns)
        if not (self._waits.pop(0) if self._waits else always)():
            return True, np.array([], np.int32)
        self.grab()
        return True, np.array([0], np.int32)

    def release(self) -> None:
        self.released, self.level_at_release = True, cv2.utils.logging.getLogLevel()
