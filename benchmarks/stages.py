"""Every stage of the frame path by itself, and how far it is from what the machine could do at best.

    python -m benchmarks.stages --images /tmp/mosaics/575x575

Each frame goes through a fixed piece of work and then through the frame path itself, one thread, the clock around its parts, so
that whatever the machine does meets all of them. Times are this thread's processor time. A stage's floor is the longer of two
times: for the bytes that it must read and write at least, at the machine's own copying speed, and for the operations of its
network, two a multiply-add, at the machine's own INT8 speed; both are measured in the same run. Where no floor is given, the
work is neither bytes nor multiply-adds.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import msgspec
import numpy as np

from benchmarks import frames
from benchmarks.frames import Image
from benchmarks.machine import Rates, cpu_ms, rates
from benchmarks.naive import fixed_work
from benchmarks.tensorrt_pack import work_of
from edgecell import app, clock, drift, pipeline, tally
from edgecell.app import Recogniser
from edgecell.drift import DriftState
from edgecell.errors import EdgecellError
from edgecell.gate import GateState, Limits
from edgecell.messages import NOTICE, NUCLEATED, Tally
from edgecell.optics.correct import Correction
from edgecell.optics.file import FlatField, Optics
from edgecell.pipeline import SlideState
from edgecell.segmenters.network import look
from edgecell.settings import PartSettings, Settings

WHY = {
    "correct": "it reads a map of factors too",
    "gate": "halves the frame for all (a quarter of it), then smooths, differentiates and dilates a small one in float32",
    "shrink": "between whole factors, three channels at a time",
    "normalise": "three tables are looked up a value at a time, and the white is measured",
    "network": "convolutions of few channels, Q/DQ between them; a large square product is what a library does best",
    "decode": "numpy, some 40 calls; the maps are small",
    "crop": "OpenCV's averaging between whole factors is not vectorised",
    "stain": "each crop's white, red cells and table: some 40 calls a cell on 16,384 pixels",
    "preprocess": "the white of each crop again, in its new stain, and a look-up a value",
    "engine": "as network; a batch is as many cells as the frame has",
}
"""What lies between a stage and its floor."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """ms: median over frames. fixed: ms over that of the fixed work just before it, median; what budgets are made of. bytes,
    operations: of the median frame, at least. floor_ms, over: None where there is no floor. why: of a large `over`."""

    name: str
    ms: float
    fixed: float
    bytes: float
    operations: float
    floor_ms: float | None
    over: float | None
    why: str


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """nucleated, cells: a frame. within: p99/p50 of the fixed work, how unsteady the machine was."""

    frames: int
    size_px: tuple[int, int]
    pixel_um: float
    nucleated: float
    cells: float
    fixed_ms: float
    within: float
    rates: Rates
    stages: tuple[Stage, ...]
    notice: str = NOTICE


@dataclass(eq=False)
class Taps:
    """Milliseconds by part, of the frame in hand."""

    ms: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def on(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            answer: list[Any] = []
            self.ms[name] += cpu_ms(lambda: answer.append(call(*args, **named)))
            return answer[0]

        return timed


def measure(images: Sequence[Image], rounds: int, bundle: str = "pbc8") -> Stages:
    """All images `rounds` times, after two rounds that are not counted. Raises EdgecellError."""
    engine = PartSettings(part="onnxrt", options={"threads": 1})
    plan = app.plan(Settings(models={NUCLEATED: bundle}, engine=engine))
    known = rates()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with plan.recogniser() as parts:
            laps = list(_laps(images, rounds, parts, plan.classes))
    finally:
        cv2.setNumThreads(threads)
    height, width = images[0].shape[:2]
    middle = {name: statistics.median(lap.ms.get(name, 0.0) for lap in laps) for name in laps[0].ms}
    fixed = {name: statistics.median(lap.ms.get(name, 0.0) / lap.fixed_ms for lap in laps) for name in laps[0].ms}
    nucleated = statistics.mean(lap.classified for lap in laps)
    pixel_um = statistics.median(lap.pixel_um for lap in laps if lap.pixel_um)
    least = _least(plan, (width, height), pixel_um, nucleated)
    return Stages(
        frames=len(laps),
        size_px=(width, height),
        pixel_um=pixel_um,
        nucleated=nucleated,
        cells=statistics.mean(lap.cells for lap in laps),
        fixed_ms=statistics.median(lap.fixed_ms for lap in laps),
        within=float(np.divide(*np.percentile([lap.fixed_ms for lap in laps], [99, 50]))),
        rates=known,
        stages=tuple(_stage(name, ms, fixed[name], least.get(name, (0.0, 0.0)), known) for name, ms in middle.items()),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Lap:
    """One frame. ms: by stage, in the order of the path."""

    ms: Mapping[str, float]
    fixed_ms: float
    cells: int
    classified: int
    pixel_um: float | None


def _laps(images: Sequence[Image], rounds: int, parts: Recogniser, classes: Mapping[str, Any]) -> Iterator[Lap]:
    work, correct = fixed_work(), _evening(images[0])
    gate, slide, total, drifted = GateState(), SlideState(), Tally(), DriftState()
    for index in range((rounds + 2) * len(images)):
        frame = frames.as_frame(images[index % len(images)], index)
        taps = Taps()
        fixed_ms = cpu_ms(work)
        taps.on("correct", correct)(frame)
        with _tapped(taps, parts):
            detected, gate = taps.on("detect", pipeline.detect)(frame, parts.segmenter, Limits(), gate, clock.monotonic_ns)
            (report,), slide = taps.on("classify", pipeline.classify)([detected], parts.classifiers, slide, clock.monotonic_ns)
        drifted = taps.on("drift", drift.looked)(frame.image, detected.verdict, drifted)
        total = taps.on("tally", tally.add)(tally.capture(total), report, classes)
        if index >= 2 * len(images):
            classified = sum(answer.probabilities is not None for answer in report.classifications)
            yield Lap(
                ms=_leaves(taps.ms), fixed_ms=fixed_ms, cells=len(report.cells), classified=classified, pixel_um=report.pixel_um
            )


INSIDE = {"detect": ("gate", "shrink", "normalise", "network", "decode"), "classify": ("crop", "stain", "preprocess", "engine")}
REST = {"detect": "cells", "classify": "decide"}


def _leaves(ms: Mapping[str, float]) -> dict[str, float]:
    """What is left of detect and classify is the making of cells and of labels."""
    out = {"correct": ms["correct"]}
    for whole, parts in INSIDE.items():
        out |= {part: ms.get(part, 0.0) for part in parts}
        out[REST[whole]] = ms[whole] - sum(out[part] for part in parts)
    return {**out, "drift": ms["drift"], "tally": ms["tally"]}


@contextmanager
def _tapped(taps: Taps, parts: Recogniser) -> Iterator[None]:
    """The frame path, its parts timed as it calls them."""
    from edgecell import classify

    with ExitStack() as stack:
        for place, attribute, name in (
            (pipeline, "judge", "gate"),
            (look, "resized", "shrink"),
            (look, "field_values", "normalise"),
            (look, "decode", "decode"),
            (pipeline, "_restained", "stain"),
            (classify, "cut", "crop"),
            (classify, "to_batch", "preprocess"),
        ):
            stack.enter_context(patch.object(place, attribute, taps.on(name, getattr(place, attribute))))
        network = parts.segmenter._network._engine  # type: ignore[attr-defined]
        stack.enter_context(patch.object(network, "infer", taps.on("network", network.infer)))
        for classifier in parts.classifiers.values():
            engine = classifier._engine
            stack.enter_context(patch.object(engine, "infer", taps.on("engine", engine.infer)))
        yield


def _evening(image: Image) -> Callable[..., Any]:
    """The correction of a lamp that loses a tenth towards the corners."""
    height, width = image.shape[:2]
    grid = tuple(tuple(230.0 - 11.5 * (x * x + y * y) for x in np.linspace(-1, 1, 9)) for y in np.linspace(-1, 1, 7))
    flat = FlatField(red=grid, green=grid, blue=grid, dark=(2.0, 2.0, 2.0))
    return Correction(Optics(size_px=(width, height), flat=flat), "benchmark")


def _least(plan: app.Plan, size_px: tuple[int, int], pixel_um: float, nucleated: float) -> dict[str, tuple[float, float]]:
    """Bytes and operations that each stage cannot do without."""
    spec, finder = plan.bundles[NUCLEATED], plan.segmenter_bundle
    frame = 3.0 * size_px[0] * size_px[1]
    small_px = spec.manifest.preprocess.size_px
    crop, window = 3.0 * small_px**2, 3.0 * (spec.manifest.preprocess.crop_um / pixel_um) ** 2
    shape = spec.manifest.input.shape
    cell = work_of(spec.file("float.onnx"), (1, *shape))
    least = {
        "correct": (2 * frame, 0.0),
        "gate": (1.25 * frame, 0.0),
        "crop": (nucleated * (window + crop), 0.0),
        "stain": (nucleated * 2 * crop, 0.0),
        "preprocess": (nucleated * 5 * crop, 0.0),
        "engine": (nucleated * 4 * crop, nucleated * 2 * cell["multiply_adds"]),
    }
    if finder is None:
        return least
    zoom = pixel_um / (finder.manifest.preprocess.crop_um / finder.manifest.preprocess.size_px)
    multiple = finder.manifest.input.multiple or 1
    work = [multiple * -(-round(side * zoom) // multiple) for side in size_px]
    small = 3.0 * work[0] * work[1]
    field_work = work_of(finder.file("float.onnx"), (1, 3, work[1], work[0]))
    maps = 4.0 * (len(finder.class_names) + 5) * work[0] * work[1] / 16
    return least | {
        "shrink": (2 * min(small, frame), 0.0),
        "normalise": (5 * small, 0.0),
        "network": (4 * small + maps, 2 * field_work["multiply_adds"]),
        "decode": (maps, 0.0),
    }


def _stage(name: str, ms: float, fixed: float, least: tuple[float, float], known: Rates) -> Stage:
    moved, operations = least
    floor_ms = max(moved / known.copy_gb_s, operations / known.int8_gop_s) / 1e6
    over = ms / floor_ms if floor_ms else None
    return Stage(
        name=name,
        ms=ms,
        fixed=fixed,
        bytes=moved,
        operations=operations,
        floor_ms=floor_ms or None,
        over=over,
        why=WHY.get(name, "") if over is None or over > 3 else "",
    )


def as_text(found: Stages) -> str:
    """A Markdown table."""
    rows = [
        f"| {each.name} | {each.ms:.2f} | {each.fixed:.3f} | {each.bytes / 1e6:.2f} | {each.operations / 1e9:.2f} | "
        + (f"{each.floor_ms:.3f} | {each.over:.1f}" if each.over else "- | -")
        + f" | {each.why} |"
        for each in found.stages
    ]
    known, (width, height) = found.rates, found.size_px
    frame_ms = sum(each.ms for each in found.stages)
    frame = (
        f"{found.frames} frames of {width}x{height} at {found.pixel_um:.3f} um a pixel, {found.cells:.0f} cells, "
        f"{found.nucleated:.1f} of them classified; sum {frame_ms:.1f} ms of one thread."
    )
    machine = (
        f"Fixed work {found.fixed_ms:.1f} ms, p99/p50 {found.within:.2f}. One thread copies {known.copy_gb_s:.1f} GB/s, does "
        f"{known.fp32_gop_s:.0f} (FP32) and {known.int8_gop_s:.0f} (INT8) 1e9 operations a second."
    )
    head = "| stage | ms | / fixed work | MB at least | 1e9 operations | floor ms | ms / floor | why |"
    return "\n".join((head, "|---|---|---|---|---|---|---|---|", *rows, "", frame, machine, NOTICE))


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of frames of one microscope; without it the phantom's, 1920x1200")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--bundle", default="pbc8")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args(arguments)
    try:
        images = frames.read(asked.images) if asked.images else frames.drawn(4, (1920, 1200))
        found = measure(images, asked.rounds, asked.bundle)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(msgspec.to_builtins(found)) if asked.json else as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
