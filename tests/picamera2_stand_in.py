"""A stand-in for picamera2, which runs on a Raspberry Pi only. Names and arguments are those of picamera2 0.3.38.

It keeps to what picamera2's sources do: formats named from the high byte down, one finished request kept for who asks, requests
that must go back, a Job that waits for the next frame.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as Late
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
ORDERS = {"BGR888": (0, 1, 2), "RGB888": (2, 1, 0)}
"""Where red, green and blue stand in memory."""
FRAME_NS = 33_333_000
CONTROLS = ("FrameDurationLimits", "ExposureTime", "AnalogueGain", "AwbEnable", "ColourGains")


class CompletedRequest:
    """One frame, and the buffer that it holds."""

    def __init__(self, request: Any, picam2: "Picamera2") -> None:
        self.number: int = request
        self.picam2 = picam2
        self.ref_count = 1

    def make_array(self, name: str) -> Image:
        assert self.ref_count
        width, height = self.picam2.camera_config[name]["size"]
        image = np.full((height, width, 3), 200, np.uint8)
        red, green, blue = ORDERS[self.picam2.camera_config[name]["format"]]
        stripe = image[:, self.number * 4 % width : self.number * 4 % width + 4]
        stripe[..., red], stripe[..., green], stripe[..., blue] = 255, 40, 0
        return image[: height - (self.number in self.picam2.short)]

    def get_metadata(self) -> dict[str, Any]:
        return self.picam2.told(self.number)

    def release(self) -> None:
        assert self.ref_count == 1, "released twice"
        self.ref_count = 0
        self.picam2.held -= 1


class Job:
    """The next request, when it is there."""

    def __init__(self) -> None:
        self.cancelled = False


class Picamera2:
    """Pictures with an orange stripe that moves, at sizes that it has.

    sizes: what it can do; another becomes the first. format_: what is agreed instead of what was asked for. silent: numbers of
    frames before which it says nothing, once each. failing: numbers of frames at which it raises. skips: frame -> how many
    frames the sensor had lost before it. short: frames that lack a line. late: frames until a control is in force. told_as:
    control -> what the frames tell of it. lacking: controls that it does not have. ahead_ns: of its clock before ours.
    """

    def __init__(
        self,
        camera_num: int = 0,
        verbose_console: Any = None,
        tuning: Any = None,
        allocator: Any = None,
        *,
        sizes: Sequence[tuple[int, int]] = ((1280, 720), (160, 96)),
        format_: str = "",
        silent: Sequence[int] = (),
        failing: Sequence[int] = (),
        skips: Mapping[int, int] | None = None,
        short: Sequence[int] = (),
        late: int = 0,
        told_as: Mapping[str, Any] | None = None,
        lacking: Sequence[str] = (),
        ahead_ns: int = 0,
    ) -> None:
        self.camera_num = camera_num
        self.camera_config: dict[str, Any] = {}
        self.held = self.most_held = self.cancelled = 0
        self.started = self.closed = False
        self.short, self.ahead_ns = short, ahead_ns
        self._sizes, self._format = sizes, format_
        self._silent, self._failing, self._skips = list(silent), failing, skips or {}
        self._late, self._told_as, self._lacking = late, told_as or {}, lacking
        self._number = 0
        self._sensor_ns = time.monotonic_ns() - 10_000_000_000

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx708", "Location": 2, "Rotation": 180, "Id": "/base/axi/i2c@88000/imx708@1a", "Num": 0}]

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        return {name: (1, 64, 1) for name in CONTROLS if name not in self._lacking}

    @property
    def camera_properties(self) -> dict[str, Any]:
        return {"Model": "imx708", "PixelArraySize": (4608, 2592)}

    def create_video_configuration(
        self,
        main: Mapping[str, Any] = {},
        lores: Any = None,
        raw: Any = {},  # noqa: B006
        transform: Any = None,
        colour_space: Any = None,
        buffer_count: int = 6,
        controls: Mapping[str, Any] = {},
        display: str | None = "main",
        encode: str | None = "main",
        queue: bool = True,
        sensor: Any = {},  # noqa: B006
        use_case: str = "video",
    ) -> dict[str, Any]:
        bad = set(main) - {"format", "size", "stride", "preserve_ar"}
        if bad:
            raise ValueError(f"Bad key {bad}")
        return {
            "main": dict(main),
            "buffer_count": buffer_count,
            "controls": dict(controls),
            "queue": queue,
            "display": display,
        }

    def configure(self, camera_config: Any = None) -> None:
        for name in camera_config["controls"]:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        if any(side % 2 for side in camera_config["main"]["size"]):
            raise RuntimeError("width and height should be even")
        self.camera_config = camera_config
        main = camera_config["main"]
        main["format"] = self._format or main["format"]
        main["size"] = main["size"] if main["size"] in self._sizes else self._sizes[0]

    def stream_configuration(self, name: str = "main") -> dict[str, Any]:
        configuration: dict[str, Any] = self.camera_config[name]
        return configuration

    def start(self, config: Any = None, show_preview: Any = False) -> None:
        assert self.camera_config
        self.started = True

    def capture_request(self, wait: Any = None, signal_function: Any = None, flush: Any = None) -> Job:
        assert wait is False, "would wait for ever"
        assert self.started
        return Job()

    def wait(self, job: Job, timeout: float | None = None) -> CompletedRequest:
        assert timeout is not None, "would wait for ever"
        if job.cancelled or self.cancelled:
            raise CancelledError
        if self._number in self._silent:
            self._silent.remove(self._number)
            raise Late
        if self._number in self._failing:
            raise RuntimeError("Failed to queue request")
        self._sensor_ns += FRAME_NS * (1 + self._skips.get(self._number, 0))
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self._number += 1
        return CompletedRequest(self._number - 1, self)

    def cancel_all_and_flush(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        assert not self.held, "a buffer was not given back"
        self.started, self.closed = False, True

    def told(self, number: int) -> dict[str, Any]:
        """What the frame of that number, the last one, tells of itself."""
        asked = self.camera_config["controls"] if number >= self._late else {}
        (duration, _) = asked.get("FrameDurationLimits", (33_333, 33_333))
        found = {
            "SensorTimestamp": self._sensor_ns + self.ahead_ns,
            "FrameDuration": duration,
            "ExposureTime": asked.get("ExposureTime", 9_980),
            "AnalogueGain": asked.get("AnalogueGain", 1.0),
            "ColourGains": asked.get("ColourGains", (1.7, 1.5)),
        }
        return {name: value for name, value in {**found, **self._told_as}.items() if value is not None}
