"""What the sources read at 1920x1080 in `benchmarks.cameras`: files, an emulated or a fake camera, a pipeline, a stand-in."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell import clock
from edgecell.errors import FrameCorrupt
from edgecell.messages import Frame
from edgecell.protocols import FrameSource
from edgecell.sources.aravis import AravisSource
from edgecell.sources.basler import BaslerSource
from edgecell.sources.gstreamer import GstreamerSource
from edgecell.sources.images import ImagesSource
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.v4l2 import V4l2Options, V4l2Source, kernel

WIDTH, HEIGHT, PICTURES = 1920, 1080, 8
PATIENCE_S = 10.0
FAKE_GIGE = "arv-fake-gv-camera-0.8"
Image = NDArray[np.uint8]


def given(frame: Frame | None) -> Frame:
    if frame is None:
        raise SystemExit("the source ended early")
    return frame


def whole(source: FrameSource) -> Frame | None:
    """The next frame that is whole: a fake camera on a busy machine loses packets."""
    while True:
        with suppress(FrameCorrupt):
            return source.read(PATIENCE_S)


def draw(folder: Path) -> list[Image]:
    """Fields of the phantom, RGB, in `folder` as JPEG, PNG and TIFF, each kind in a folder of its own, and as a video."""
    options = msgspec.convert({"width": WIDTH, "height": HEIGHT, "frames": PICTURES}, PhantomSource.Options)
    with PhantomSource(options) as source:
        fields = [given(source.read(PATIENCE_S)).image for _ in range(PICTURES)]
    for kind in ("jpg", "png", "tiff"):
        (folder / kind).mkdir()
        for number, field in enumerate(fields):
            cv2.imwrite(str(folder / kind / f"field{number}.{kind}"), cv2.cvtColor(field, cv2.COLOR_RGB2BGR))
    video = cv2.VideoWriter(str(folder / "fields.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (WIDTH, HEIGHT))
    for field in fields * 8:
        video.write(cv2.cvtColor(field, cv2.COLOR_RGB2BGR))
    video.release()
    return fields


class Memory:
    """Stands for the kernel at a node whose camera has every picture ready: what is left is the source's own work."""

    def __init__(self, pictures: Sequence[Image], width: int = WIDTH, height: int = HEIGHT) -> None:
        self._pictures, self._size = pictures, (width, height)
        self._queued: list[int] = []
        self._sequence = 0

    def open(self, path: Path) -> int:  # noqa: ARG002 the kernel is given it
        return 0

    def close(self, node: int) -> None: ...

    def wait(self, node: int, timeout_s: float) -> bool:  # noqa: ARG002
        return True

    def mapped(self, node: int, length: int, offset: int) -> Image:  # noqa: ARG002
        return self._pictures[offset]

    def ask(self, node: int, call: int, value: Any) -> None:  # noqa: ARG002
        if call == kernel.QUERYCAP:
            value.capabilities = kernel.VIDEO_CAPTURE | kernel.STREAMING
        elif call == kernel.S_FMT:
            value.bytesperline = self._size[0] * 2
        elif call == kernel.REQBUFS:
            value.count = len(self._pictures)
        elif call == kernel.QUERYBUF:
            value.offset, value.length = value.index, self._pictures[value.index].size
        elif call == kernel.QUERYCTRL:
            raise OSError(22, "no control")
        elif call == kernel.QBUF:
            self._queued.append(value.index)
        elif call == kernel.DQBUF:
            value.index, now = self._queued.pop(0), clock.monotonic_ns()
            value.bytesused = self._pictures[value.index].size
            value.sequence, self._sequence = self._sequence, self._sequence + 1
            value.flags = kernel.TIMESTAMP_MONOTONIC
            value.seconds, value.microseconds = now // 10**9, now % 10**9 // 1000


def sent_as(fourcc: str, field: Image) -> Image:
    """A field as a camera would send it: uint8 (bytes,)."""
    if fourcc == "MJPG":
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(field, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, 90))[1]
        return jpeg.ravel().astype(np.uint8, copy=False)
    return cv2.cvtColor(field, cv2.COLOR_RGB2YUV_YUY2).astype(np.uint8, copy=False).ravel()


def feeds(folder: Path, fields: Sequence[Image]) -> dict[str, Callable[[], FrameSource]]:
    """Name -> a source of it, where `draw` has been."""
    size = {"width": WIDTH, "height": HEIGHT}
    features = folder / "camera.pfs"
    lines = ("# {05D8C294-F295-4dfb-9D01-096BD04049F4}", "TestImageSelector\tOff")
    features.write_text("\n".join((*lines, f"ImageFilename\t{folder / 'tiff'}", "ImageFileMode\tOn", "")), encoding="ascii")
    basler = {"features": str(features), **size, "fps": 1000.0, "latest": False}
    raw = f"videotestsrc pattern=smpte num-buffers=400 ! video/x-raw,width={WIDTH},height={HEIGHT}"
    return {
        "phantom": lambda: made(PhantomSource, size),
        "images (PNG)": lambda: made(ImagesSource, {"path": str(folder / "png")}),
        "images (JPEG)": lambda: made(ImagesSource, {"path": str(folder / "jpg")}),
        "v4l2 MJPG (stand-in for the kernel)": lambda: _v4l2("MJPG", fields),
        "v4l2 YUYV (stand-in for the kernel)": lambda: _v4l2("YUYV", fields),
        "basler BayerRG8 (SDK's emulation)": lambda: made(BaslerSource, {**basler, "pixel_format": "BayerRG8"}),
        "basler RGB8 (SDK's emulation)": lambda: made(BaslerSource, {**basler, "pixel_format": "RGB8Packed"}),
        "gstreamer RGB (videotestsrc)": lambda: made(GstreamerSource, _pipeline(f"{raw},format=RGB")),
        "gstreamer BGRx (videotestsrc)": lambda: made(GstreamerSource, _pipeline(f"{raw},format=BGRx")),
        "aravis BayerRG8 (fake GigE camera)": lambda: made(AravisSource, {**size, "pixel_format": "BayerRG8", "fps": 200.0}),
        "aravis RGB8 (fake GigE camera)": lambda: made(AravisSource, {**size, "pixel_format": "RGB8", "fps": 200.0}),
    }


def made(part: type[Any], options: Mapping[str, object]) -> FrameSource:
    source: FrameSource = part(msgspec.convert(options, part.Options, dec_hook=lambda kind, value: kind(value)))
    return source


def _v4l2(fourcc: str, fields: Sequence[Image]) -> FrameSource:
    options = V4l2Options(device="/dev/null", width=WIDTH, height=HEIGHT, fourcc=fourcc)  # type: ignore[arg-type]
    return V4l2Source(options, Memory([sent_as(fourcc, field) for field in fields]))


def _pipeline(source: str) -> dict[str, object]:
    return {"pipeline": f"{source} ! appsink", "live": False}


@contextmanager
def attached() -> Iterator[None]:
    """The cameras that are emulated or faked, while this lasts; without Aravis's program there is none of those."""
    os.environ["PYLON_CAMEMU"] = "1"
    program = shutil.which(FAKE_GIGE)
    quiet = subprocess.DEVNULL
    fake = subprocess.Popen([program, "--interface=127.0.0.1"], stdout=quiet, stderr=quiet) if program else None  # noqa: S603
    try:
        yield
    finally:
        if fake is not None:
            fake.kill()
            fake.wait()
