"""The baseline: how such a program is written before anyone measures it. And edgecell beside it, in one run, frame by frame.

    python -m benchmarks.naive --images /tmp/mosaics/575x575 --frames 100

Naive: one thread, every OpenCV step on the whole frame at full resolution, FP32, one call of the network a nucleated cell. It
is not made slow on purpose: no step is done twice, nothing is published or drawn, and red cells are found, not classified.

Each frame goes through the naive pipeline, then a fixed piece of work, then edgecell's own runtime, so that whatever else the
machine does meets all three. One has the machine at a time: the next frame starts when edgecell has counted the one before. So
edgecell's overlap of frames is left out, and the ratios, taken frame by frame, are of the time from capture to counts; how many
frames a second the overlap gives is what `edgecell bench` measures. The fixed work is always the same: what it varies by is
the machine's doing.
"""

import argparse
import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from edgecell import app, bench, clock
from edgecell.app import Chosen, Plan
from edgecell.bench import Spread, spread
from edgecell.bundle import LOGITS, Bundle
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import EdgecellError, FrameTimeout, SettingsError
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE, NUCLEATED, Frame
from edgecell.settings import PartSettings, Settings
from edgecell.stopwatch import Lap

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Naive:
    """The pipeline. pixel_um: micrometres a pixel. engine: an open one, FP32, one thread."""

    engine: OnnxRuntimeEngine
    bundle: Bundle
    pixel_um: float

    def count(self, image: Image) -> list[int]:
        """Class of each nucleated cell."""
        return [self._classify(image, box) for box in self.find(image)]

    def find(self, image: Image) -> list[Box]:
        """Boxes (x, y, width, height) of the nucleated cells. Red cells are told apart and counted by their middles."""
        hue, saturation, _ = cv2.split(cv2.cvtColor(cv2.GaussianBlur(image, (5, 5), 0), cv2.COLOR_RGB2HSV))
        _, cells = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self._px(0.8) | 1, self._px(0.8) | 1))
        cells = cv2.morphologyEx(cv2.morphologyEx(cells, cv2.MORPH_OPEN, ellipse), cv2.MORPH_CLOSE, ellipse)
        blue = cv2.bitwise_and(cells, cv2.inRange(hue, np.array(115), np.array(160)))  # of OpenCV's 180: blue to violet
        nuclei = cv2.dilate(cv2.morphologyEx(blue, cv2.MORPH_OPEN, ellipse), ellipse)
        _, middles = cv2.threshold(cv2.distanceTransform(cells, cv2.DIST_L2, 5), self._px(1.5), 255, cv2.THRESH_BINARY)
        cv2.connectedComponentsWithStats(middles.astype(np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(nuclei)
        least = np.pi * self._px(2.5) ** 2
        return [(int(x), int(y), int(width), int(height)) for x, y, width, height, area in stats[1:] if area >= least]

    def _classify(self, image: Image, box: Box) -> int:
        spec = self.bundle.manifest.preprocess
        half = self._px(spec.crop_um / 2)
        x, y = box[0] + box[2] // 2, box[1] + box[3] // 2
        window = image[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
        small = cv2.resize(window, (spec.size_px, spec.size_px), interpolation=cv2.INTER_AREA)
        values = (small / 255.0 - np.array(spec.mean)) / np.array(spec.std)
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
        return int(self.engine.infer(batch)[LOGITS].argmax())

    def _px(self, um: float) -> int:
        return max(1, round(um / self.pixel_um))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rivals:
    """What goes before each of edgecell's frames, and how long it took. threads: of edgecell's networks. laps: edgecell's."""

    images: Sequence[Image]
    naive: Naive
    threads: int
    naive_ms: list[float] = field(default_factory=list)
    fixed_ms: list[float] = field(default_factory=list)
    nucleated: list[int] = field(default_factory=list)
    laps: list[Lap] = field(default_factory=list)
    idle: threading.Event = field(default_factory=threading.Event)

    def over(self, lap: Lap) -> None:
        """Edgecell has nothing in hand."""
        self.laps.append(lap)
        self.idle.set()


class Interleaved:
    """A source that lets the rivals have each frame before edgecell gets it, all on one thread of OpenCV, as a run has it."""

    live = False

    def __init__(self, options: Rivals) -> None:
        self.source_id = "interleaved"
        self._rivals, self._index = options, 0
        self._work = fixed_work()

    def __enter__(self) -> Self:
        self._rivals.idle.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        return None

    def read(self, timeout_s: float) -> Frame | None:
        rivals, index = self._rivals, self._index
        if not rivals.idle.wait(timeout_s):
            raise FrameTimeout("edgecell is at work on the frame before")
        rivals.idle.clear()
        image = rivals.images[index % len(rivals.images)]
        self._index += 1
        naive_ms, labels = _timed(lambda: rivals.naive.count(image))
        fixed_ms, _ = _timed(self._work)
        rivals.naive_ms.append(naive_ms)
        rivals.fixed_ms.append(fixed_ms)
        rivals.nucleated.append(len(labels))
        return Frame(source_id=self.source_id, index=index, captured_ns=clock.monotonic_ns(), image=image)


def fixed_work() -> Callable[[], object]:
    """Some milliseconds of one thread, always on the same numbers: a filter, a conversion, a sort. What it varies by is the
    machine's doing."""
    image = np.random.default_rng(0).integers(0, 256, (600, 960, 3), np.uint8)

    def work() -> object:
        return np.sort(cv2.GaussianBlur(image, (9, 9), 2.0).astype(np.float32).ravel()[::4])

    return work


def compare(plan: Plan, images: Sequence[Image], frames: int, threads: int) -> dict[str, Any]:
    """Times in ms and ratios naive / edgecell over `frames` frames, after one pass over the images to warm up."""
    cv2.setNumThreads(1)
    alone = bench.measure(plan, frames=len(images), warmup=0, preload=True, on_lap=lambda _: None)
    bundle = plan.bundles[NUCLEATED]
    options = OnnxRuntimeOptions(threads=1)
    with OnnxRuntimeEngine(bundle.file("float.onnx"), manifest=bundle.manifest, options=options) as engine:
        pixel_um = alone.pixel_um or bundle.manifest.preprocess.pixel_um
        rivals = Rivals(images=images, naive=Naive(engine=engine, bundle=bundle, pixel_um=pixel_um), threads=threads)
        interleaved = dataclasses.replace(plan, source=Chosen(name="interleaved", part=Interleaved, options=rivals))
        bench.measure(interleaved, frames=frames, warmup=len(images), preload=False, on_lap=rivals.over)
    return summary(rivals, warmup=len(images))


def summary(rivals: Rivals, warmup: int) -> dict[str, Any]:
    """ms: p50, p95, p99, mean of each. naive_over_edgecell: percentiles of the ratio, frame by frame. taken_ms: of each
    frame. within: edgecell's p99/p50 over that of the fixed work, 1 where all unsteadiness is the machine's."""
    edgecell_ms = [lap.end_to_end_ms for lap in rivals.laps]
    times = {"naive": rivals.naive_ms[warmup:], "edgecell": edgecell_ms[warmup:], "fixed_work": rivals.fixed_ms[warmup:]}
    ratios = [naive / ours for naive, ours in zip(times["naive"], times["edgecell"], strict=True)]
    low, middle, high = (float(value) for value in np.percentile(ratios, [10, 50, 90]))
    figures = {name: spread(values) for name, values in times.items()}
    ours, fixed = figures["edgecell"], figures["fixed_work"]
    return {
        "frames": len(ratios),
        "threads": {"naive": 1, "edgecell": rivals.threads},
        "pixel_um": rivals.naive.pixel_um,
        "nucleated_per_frame": {
            "naive": float(np.mean(rivals.nucleated[warmup:])),
            "edgecell": float(np.mean([lap.nucleated for lap in rivals.laps[warmup:]])),
        },
        "ms": figures,
        "taken_ms": times,
        "naive_over_edgecell": {"p10": low, "p50": middle, "p90": high},
        "within": ours.p99 / ours.p50 / (fixed.p99 / fixed.p50),
        "notice": NOTICE,
    }


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = clock.monotonic_ns()
    answer = call()
    return (clock.monotonic_ns() - start) / 1e6, answer


def as_text(result: dict[str, Any]) -> str:
    """A Markdown table and what has to be known of it."""
    figures: dict[str, Spread] = result["ms"]
    ratio, nucleated, threads = (result[name] for name in ("naive_over_edgecell", "nucleated_per_frame", "threads"))
    rows = [
        f"| {name} | {each.p50:.1f} | {each.p95:.1f} | {each.p99:.1f} | {each.p99 / each.p50:.2f} |"
        for name, each in figures.items()
    ]
    lines = [
        f"naive / edgecell: {ratio['p50']:.2f} (median; p10 {ratio['p10']:.2f}, p90 {ratio['p90']:.2f})",
        f"{result['frames']} frames at {result['pixel_um']:.3f} um a pixel; threads: naive 1, edgecell {threads['edgecell']}",
        f"nucleated a frame: naive {nucleated['naive']:.1f}, edgecell {nucleated['edgecell']:.1f}",
        f"edgecell's p99/p50 is {result['within']:.2f} times that of the fixed work",
        NOTICE,
    ]
    return "\n".join(["| | p50 ms | p95 ms | p99 ms | p99/p50 |", "|---|---|---|---|---|", *rows, "", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.naive", description="edgecell beside the naive pipeline.")
    parser.add_argument("--images", type=Path, required=True, help="a folder of frames of one microscope")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of edgecell; the naive pipeline has one")
    parser.add_argument("--bundle", default="pbc8")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    try:
        if options.frames < 1 or options.threads < 1:
            raise SettingsError("--frames and --threads must be at least 1", fix="give larger numbers")
        source = PartSettings(part="images", options={"path": str(options.images)}, where="--images")
        engine = PartSettings(part="onnxrt", options={"threads": options.threads}, where="--threads")
        plan = app.plan(Settings(source=source, engine=engine, models={NUCLEATED: options.bundle}))
        images = [load_image(file) for file in listed(options.images)]
        result = compare(plan, images, options.frames, options.threads)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(msgspec.to_builtins(result)) if options.json else as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
