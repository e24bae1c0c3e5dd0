"""Frames a second of the `basler` source at 1920x1080, beside OpenCV reading the same files.

    python -m benchmarks.basler --rounds 5

The camera is one that Basler's SDK emulates from files, so its frames are decoded by the SDK: the ratio says whether the source
keeps up with its camera's decoder, not what a real camera gives. In each round the camera is opened, read and closed before
OpenCV has its turn, since it goes on decoding while nobody reads. `convert_ms` is what the source adds to a frame that has
come: pylon makes RGB of it in the frame's own array, the only copy.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import cv2
import msgspec

from edgecell import clock
from edgecell.messages import Frame
from edgecell.sources.basler import BaslerOptions, BaslerSource
from edgecell.sources.phantom import PhantomSource

WIDTH, HEIGHT, PICTURES, FRAMES = 1920, 1080, 8, 30
FORMATS = ("BayerRG8", "RGB8Packed")
PATIENCE_S = 10.0


def draw(folder: Path) -> list[Path]:
    """Fields of the phantom as TIFF."""
    options = msgspec.convert({"width": WIDTH, "height": HEIGHT, "frames": PICTURES}, PhantomSource.Options)
    files = [folder / f"field{number}.tiff" for number in range(PICTURES)]
    with PhantomSource(options) as source:
        for file in files:
            cv2.imwrite(str(file), cv2.cvtColor(given(source.read(PATIENCE_S)).image, cv2.COLOR_RGB2BGR))
    return files


def given(frame: Frame | None) -> Frame:
    if frame is None:
        raise SystemExit("the source ended early")
    return frame


class Timed:
    """Stands for pylon's converter, and sums up its time."""

    def __init__(self, converter: object) -> None:
        self._converter, self.spent_ns = converter, 0

    def ConvertToArray(self, result: object) -> object:  # noqa: N802 pylon's name
        start = clock.monotonic_ns()
        image = self._converter.ConvertToArray(result)  # type: ignore[attr-defined]
        self.spent_ns += clock.monotonic_ns() - start
        return image


def camera(options: BaslerOptions) -> tuple[float, float]:
    """Frames a second, and milliseconds of conversion a frame."""
    with BaslerSource(options) as source:
        given(source.read(PATIENCE_S))
        timed = source._converter = Timed(source._converter)
        start = clock.monotonic_ns()
        for _ in range(FRAMES):
            given(source.read(PATIENCE_S))
        elapsed_ns = clock.monotonic_ns() - start
    return FRAMES * 1e9 / elapsed_ns, timed.spent_ns / FRAMES / 1e6


def opencv(files: Sequence[Path]) -> float:
    """Frames a second."""
    start = clock.monotonic_ns()
    for number in range(FRAMES):
        image = cv2.imread(str(files[number % len(files)]))
        if image is None:
            raise SystemExit("OpenCV does not read what it wrote")
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return FRAMES * 1e9 / (clock.monotonic_ns() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["PYLON_CAMEMU"] = "1"
    with tempfile.TemporaryDirectory() as name:
        shown = Path(name) / "shown"
        shown.mkdir()
        files = draw(shown)
        features = Path(name) / "camera.pfs"
        lines = (
            "# {05D8C294-F295-4dfb-9D01-096BD04049F4}",
            "TestImageSelector\tOff",
            f"ImageFilename\t{shown}",
            "ImageFileMode\tOn",
        )
        features.write_text("\n".join((*lines, "")), encoding="ascii")
        for pixel_format in FORMATS:
            options = BaslerOptions(
                features=features, width=WIDTH, height=HEIGHT, fps=1000, pixel_format=pixel_format, latest=False
            )
            taken = [(*camera(options), opencv(files)) for _ in range(rounds)]
            told = {
                "pixel_format": pixel_format,
                "ratio_to_opencv": [round(source / baseline, 2) for source, _, baseline in taken],
                "frames_s": round(median(source for source, _, _ in taken), 1),
                "opencv_frames_s": round(median(baseline for _, _, baseline in taken), 1),
                "convert_ms": round(median(spent for _, spent, _ in taken), 2),
            }
            json.dump(told, sys.stdout)
            print()


if __name__ == "__main__":
    main()
