"""Frames a second, and copies a frame, of every source at 1920x1080, beside OpenCV reading a video of the same fields.

    python -m benchmarks.cameras --rounds 5
    python -m benchmarks.cameras --device /dev/video0 --fourcc YUYV      # a camera, which OpenCV reads in turns with edgecell

`opencv` is cv2.VideoCapture on Motion JPEG, and cvtColor to RGB: how one would read a camera first. It has its turn before each
source, in each round. `ratio` is frames a second over OpenCV's, round by round, the median.

Each source takes frames as quickly as it gets them (`frames_s`): an emulated camera, a pipeline or a decoder may be what
limits it. `take_ms` is what the source itself needs for a frame that has come: frames are asked for so slowly that one lies
ready. `written` is the memory that Python's and numpy's allocators gave for a frame at once, over the bytes of the frame
(tracemalloc): 1 is the frame's own array, written once; what is more, is copies. `copies` is that, less one.
"""

import argparse
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2

from benchmarks.camera_feeds import HEIGHT, WIDTH, attached, draw, feeds, given, made, whole
from edgecell import clock
from edgecell.errors import EdgecellError
from edgecell.protocols import FrameSource
from edgecell.sources.v4l2 import V4l2Source

FRAMES, TAKEN, PAUSE_S = 30, 7, 0.1


def opencv(video: Path, fourcc: str = "") -> float:
    """Frames a second of a video, or, with its format, of a camera. The first frame is left out."""
    reader = cv2.VideoCapture(str(video))
    if fourcc:
        reader.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
        reader.set(cv2.CAP_PROP_FRAME_WIDTH, WIDTH)
        reader.set(cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT)
    reader.read()
    start = clock.monotonic_ns()
    for _ in range(FRAMES):
        more, image = reader.read()
        if not more:
            raise SystemExit("OpenCV does not read what it wrote")
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    elapsed_ns = clock.monotonic_ns() - start
    reader.release()
    return FRAMES * 1e9 / elapsed_ns


def frames_s(make: Callable[[], FrameSource]) -> float:
    """As quickly as it gets them. One that ends is opened again, which is left out."""
    spent_ns = frames = 0
    while frames < FRAMES:
        with make() as source:
            given(whole(source))
            start = clock.monotonic_ns()
            while frames < FRAMES and whole(source) is not None:
                frames += 1
            spent_ns += clock.monotonic_ns() - start
    return frames * 1e9 / spent_ns


def taking(make: Callable[[], FrameSource]) -> float:
    """Milliseconds for a frame that lies ready."""
    spent_ms = []
    with make() as source:
        for _ in range(TAKEN):
            clock.sleep(PAUSE_S)
            start = clock.monotonic_ns()
            given(whole(source))
            spent_ms.append((clock.monotonic_ns() - start) / 1e6)
    return median(spent_ms)


def written(make: Callable[[], FrameSource]) -> float:
    """Most memory that was taken while a frame was read, over the frame's own bytes. Looked at while the source is closed too:
    allocations by its library's threads must not meet the beginning or the end of the looking."""
    shares = []
    tracemalloc.start()
    try:
        with make() as source:
            frame = None
            for _ in range(TAKEN):
                del frame
                clock.sleep(PAUSE_S)
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                frame = given(whole(source))
                _, peak = tracemalloc.get_traced_memory()
                shares.append((peak - before) / frame.image.nbytes)
    finally:
        tracemalloc.stop()
    return median(shares)


def measured(make: Callable[[], FrameSource], video: Path, rounds: int, fourcc: str = "") -> dict[str, object]:
    pairs = [(opencv(video, fourcc), frames_s(make)) for _ in range(rounds)]
    times = written(make)
    return {
        "frames_s": round(median(source for _, source in pairs), 1),
        "opencv_frames_s": round(median(baseline for baseline, _ in pairs), 1),
        "ratio": round(median(source / baseline for baseline, source in pairs), 2),
        "take_ms": round(taking(make), 2),
        "written": round(times, 2),
        "copies": round(times - 1, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="sources whose name begins so")
    parser.add_argument("--device", type=Path, help="a V4L2 camera with 1920x1080, instead of all others")
    parser.add_argument("--fourcc", default="MJPG", help="its format")
    asked = parser.parse_args()
    if asked.device:
        options = {"device": str(asked.device), "fourcc": asked.fourcc, "width": WIDTH, "height": HEIGHT}
        told = measured(lambda: made(V4l2Source, options), asked.device, asked.rounds, asked.fourcc)
        print(json.dumps({"source": f"v4l2 {asked.fourcc} ({asked.device})", **told}))
        return
    with tempfile.TemporaryDirectory() as name, attached():
        folder = Path(name)
        for source, make in feeds(folder, draw(folder)).items():
            if source.startswith(asked.only):
                try:
                    told = measured(make, folder / "fields.avi", asked.rounds)
                except EdgecellError as error:
                    told = {"not_measured": str(error)}
                json.dump({"source": source, **told}, sys.stdout)
                print(flush=True)


if __name__ == "__main__":
    main()
