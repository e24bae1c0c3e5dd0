"""edgecell beside others on the same frames, the same two cores, in one run, frame by frame.

    python -m benchmarks.peers --images /tmp/mosaics/575x575 --frames 40
    python -m benchmarks.peers --images /tmp/mosaics/575x575 --frames 40 --fields txl_pbc.tar

    yolov8n on ...   a detector of YOLOv8n's size at 640 px, FP32, on ONNX Runtime and on OpenVINO: the frame is shrunk to fit,
                     so a cell of 120 px is shown with 40. Trained, it would find cells and name them (benchmarks.yolo)
    naive            whole-frame OpenCV, then one FP32 call of edgecell's own classifier a cell (benchmarks.naive)
    watershed        scikit-image's, in place of a segmenter: it finds cells and names none (benchmarks.watershed)

Every frame goes through all of them and a fixed piece of work, then through edgecell's own runtime, one at a time. Ratios are
taken frame by frame, from the frame to its counts. Processor time is of all threads; what else the machine does shows less in
it. Memory is the peak of a process of its own, which does nothing else; that of the fixed work is what the benchmark itself,
its libraries and the frames take. Watershed is so slow that it sees every fourth frame.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from benchmarks import yolo
from benchmarks.naive import Image, Naive, fixed_work
from benchmarks.watershed import WatershedSegmenter
from calibration import field_scores, segmenting
from calibration.fields import read_fields
from edgecell import app, bench, clock, processor
from edgecell.app import Chosen, Plan
from edgecell.errors import EdgecellError, FrameTimeout, SettingsError
from edgecell.imagefile import listed, load_image
from edgecell.messages import NOTICE, NUCLEATED, Frame
from edgecell.settings import PartSettings, RunSettings, Settings, engine_from_spec
from edgecell.stopwatch import Lap

THREADS = 2
KINDS = 3
"""Classes of the detector: white cells, red cells, platelets."""
LEAST_SCORE, OVERLAP = 0.25, 0.5
SELDOM = {"watershed": 4}
"""Every so many frames, the first after the warm-up among them."""
EDGECELL, FIXED = "edgecell", "fixed work"

Peer = Callable[[Image], int]
"""Counts the cells of a frame."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turns:
    """What goes before each of edgecell's frames. taken: by frame what each took, (wall, processor) milliseconds; edgecell's
    own wall time is in its laps."""

    images: Sequence[Image]
    peers: Mapping[str, Peer]
    taken: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    laps: list[Lap] = field(default_factory=list)
    idle: threading.Event = field(default_factory=threading.Event)

    def over(self, lap: Lap) -> None:
        """Edgecell has nothing in hand."""
        self.laps.append(lap)
        self.idle.set()


class InTurns:
    """A source that lets the others have each frame before edgecell gets it."""

    live = False

    def __init__(self, options: Turns) -> None:
        self.source_id = "peers"
        self._turns, self._index, self._mark_ns = options, 0, 0
        self._work = fixed_work()

    def __enter__(self) -> Self:
        self._turns.idle.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        return None

    def read(self, timeout_s: float) -> Frame | None:
        turns, index = self._turns, self._index
        if not turns.idle.wait(timeout_s):
            raise FrameTimeout("edgecell is at work on the frame before")
        turns.idle.clear()
        if turns.taken:
            turns.taken[-1][EDGECELL] = float("nan"), (time.process_time_ns() - self._mark_ns) / 1e6
        image = turns.images[index % len(turns.images)]
        self._index += 1
        row = {FIXED: _timed(self._work)}
        for name, count in turns.peers.items():
            if (index - len(turns.images)) % SELDOM.get(name, 1) == 0:
                cv2.setNumThreads(1 if name == "naive" else THREADS)
                row[name] = _timed(lambda count=count: count(image))  # type: ignore[misc]
        cv2.setNumThreads(1)  # as a run has it
        turns.taken.append(row)
        self._mark_ns = time.process_time_ns()
        return Frame(source_id=self.source_id, index=index, captured_ns=clock.monotonic_ns(), image=image)


@contextmanager
def opened(names: Sequence[str], plan: Plan, pixel_um: float) -> Iterator[dict[str, Peer]]:
    """The peers of these names, ready. Raises EdgecellError."""
    with ExitStack() as stack:
        made: dict[str, Peer] = {}
        for name in names:
            if name.startswith("yolov8n on "):
                model = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "yolov8n.onnx"
                yolo.write(model, KINDS)
                made[name] = stack.enter_context(_detector(name.removeprefix("yolov8n on "), model))
            elif name == "naive":
                bundle = plan.bundles[NUCLEATED]
                engine = stack.enter_context(app.opened(bundle, _engine("onnxrt", "float", 1)))
                naive = Naive(engine=engine, bundle=bundle, pixel_um=pixel_um)  # type: ignore[arg-type] # any engine does
                made[name] = lambda image, naive=naive: len(naive.count(image))  # type: ignore[misc]
            else:
                segmenter = WatershedSegmenter()
                made[name] = lambda image, segmenter=segmenter: len(segmenter.segment(_frame(image)).cells)  # type: ignore[misc]
        yield made


def names() -> list[str]:
    """Peers that this machine can run."""
    detectors = [f"yolov8n on {each}" for each in ("onnxrt", "openvino") if _engine(each, "float", 1).part.probe().usable]
    return [*detectors, "naive", "watershed"]


@contextmanager
def _detector(engine: str, model: Path) -> Iterator[Peer]:
    chosen = _engine(engine, "float", THREADS)
    with chosen.part(model, options=chosen.options) as open_engine:

        def count(image: Image) -> int:
            """Shrunk to fit and padded with grey, as such detectors are fed."""
            scale = yolo.SIDE / max(image.shape[:2])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            batch = np.full((1, 3, yolo.SIDE, yolo.SIDE), 114 / 255, np.float32)
            batch[0, :, : small.shape[0], : small.shape[1]] = small.transpose(2, 0, 1) / np.float32(255)
            answer: NDArray[np.float32] = open_engine.infer(batch)["boxes"][0]
            scores = answer[4:].max(axis=0)
            sure = scores >= LEAST_SCORE
            return len(cv2.dnn.NMSBoxes(answer[:4, sure].T.tolist(), scores[sure].tolist(), LEAST_SCORE, OVERLAP))

        yield count


def _engine(name: str, encoding: str, threads: int) -> Chosen:
    return app.choose("engine", PartSettings(part=name, options={"encoding": encoding, "threads": threads}))


def _frame(image: Image) -> Frame:
    return Frame(source_id="peers", index=0, captured_ns=0, image=image)


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    start, processor_start = clock.monotonic_ns(), time.process_time_ns()
    call()
    used = time.process_time_ns() - processor_start
    return (clock.monotonic_ns() - start) / 1e6, used / 1e6


def compare(plan: Plan, images: Sequence[Image], frames: int) -> dict[str, Any]:
    """Times and ratios over `frames` frames, after one pass over the images to warm up. Raises EdgecellError."""
    cv2.setNumThreads(THREADS)
    alone = bench.measure(plan, frames=len(images), warmup=0, preload=True, on_lap=lambda _: None)
    pixel_um = alone.pixel_um or plan.bundles[NUCLEATED].manifest.preprocess.pixel_um
    with opened(names(), plan, pixel_um) as peers:
        turns = Turns(images=images, peers=peers)
        plan = dataclasses.replace(plan, source=Chosen(name="peers", part=InTurns, options=turns))
        bench.measure(plan, frames=frames, warmup=len(images), preload=False, on_lap=turns.over)
    return summary(turns, warmup=len(images))


def summary(turns: Turns, warmup: int) -> dict[str, Any]:
    """By name: p50 milliseconds by the clock on the wall and of the processor, and how many times edgecell's: p10, p50, p90."""
    rows, laps = turns.taken[warmup:], turns.laps[warmup:]
    ours = np.array([lap.end_to_end_ms for lap in laps])
    found: dict[str, dict[str, Any]] = {}
    for name in (EDGECELL, *turns.peers, FIXED):
        wall = ours if name == EDGECELL else np.array([row.get(name, (np.nan, np.nan))[0] for row in rows])
        cpu = np.array([row.get(name, (np.nan, np.nan))[1] for row in rows])
        low, middle, high = (float(value) for value in np.nanpercentile(wall / ours, [10, 50, 90]))
        found[name] = {
            "frames": int(np.isfinite(wall).sum()),
            "p50_ms": float(np.nanmedian(wall)),
            "p99_ms": float(np.nanpercentile(wall, 99)),
            "processor_ms": float(np.nanmedian(cpu)),
            "times_edgecell": {"p10": low, "p50": middle, "p90": high},
        }
    share = {name: each["processor_ms"] / found[EDGECELL]["processor_ms"] for name, each in found.items()}
    for name, each in found.items():
        each["times_edgecell_processor"] = share[name]
    return {"frames": len(laps), "nucleated_per_frame": float(np.mean([lap.nucleated for lap in laps])), "peers": found}


def memory_mib(name: str, asked: argparse.Namespace) -> float:
    """Peak of a process that does this alone, on three frames. Raises SettingsError where it fails."""
    command = [sys.executable, "-m", "benchmarks.peers", "--images", str(asked.images), "--engine", asked.engine]
    done = subprocess.run([*command, "--alone", name], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SettingsError(f"{name} alone: {done.stderr.strip()}", fix="run it by hand with --alone")
    return float(done.stdout)


def alone(name: str, plan: Plan, images: Sequence[Image]) -> float:
    """The peak of this process once `name` has done three frames, MiB."""
    cv2.setNumThreads(THREADS)
    some = [images[at % len(images)] for at in range(3)]
    if name == FIXED:
        fixed_work()()
        return bench.rss_peak_mib()
    if name == EDGECELL:
        return bench.measure(plan, frames=3, warmup=0, preload=True, on_lap=lambda _: None).rss_peak_mib
    with opened([name], plan, plan.bundles[NUCLEATED].manifest.preprocess.pixel_um) as peers:
        for image in some:
            peers[name](image)
    return bench.rss_peak_mib()


def right_cells(data: Path) -> dict[str, Any]:
    """F1 on TXL-PBC's val fields, with 95 % intervals, of what finds cells and has learnt. Raises EdgecellError."""
    fields = list(read_fields(data, "val"))
    found = {}
    for name, make in ((EDGECELL, segmenting.factory(None, None)[1]), ("watershed", WatershedSegmenter)):
        figures = field_scores.score(fields, make)
        kinds = figures.by_source[field_scores.EVERY].kinds
        found[name] = {kind: [each.boxes.f1, *each.boxes.interval] for kind, each in kinds.items()}
    return {"fields": len(fields), "f1": found}


def as_text(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{result['frames']} frames, {result['nucleated_per_frame']:.1f} nucleated each, on {result['processor']},",
        f"{THREADS} threads (naive, watershed: 1); times edgecell: median (p10 to p90), frame by frame",
        "",
        "| | p50 ms | times edgecell | processor ms | times edgecell's | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in result["peers"].items():
        ratio, mib = each["times_edgecell"], result["memory_mib"].get(name)
        times = f"{ratio['p50']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})"
        used = f"{each['processor_ms']:.1f} | {each['times_edgecell_processor']:.2f}"
        lines.append(f"| {name} | {each['p50_ms']:.1f} | {times} | {used} | {'' if mib is None else f'{mib:.0f}'} |")
    if "fields" in result:
        f1 = result["fields"]["f1"]
        kinds = list(f1[EDGECELL])
        lines += ["", f"| F1, {result['fields']['fields']} val fields | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
        for name, each in f1.items():
            cells = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in (each[kind] for kind in kinds)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", result["notice"]])


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as plain values. Raises EdgecellError."""
    if asked.frames < 1:
        raise SettingsError("--frames must be at least 1", fix="give a larger number")
    source = PartSettings(part="images", options={"path": str(asked.images)}, where="--images")
    models = {NUCLEATED: asked.bundle}
    run = RunSettings(hang_s=600.0)  # a turn of all peers takes long, and is no hanging camera
    plan = app.plan(Settings(source=source, engine=engine_from_spec(asked.engine), models=models, run=run))
    images = [load_image(file) for file in listed(asked.images)]
    if asked.alone:
        return {"alone": alone(asked.alone, plan, images)}
    result = {**compare(plan, images, asked.frames), "processor": str(processor.look())}
    result["memory_mib"] = {name: memory_mib(name, asked) for name in (EDGECELL, *names(), FIXED)}
    if asked.fields:
        result["fields"] = right_cells(asked.fields)
    return {**result, "notice": NOTICE}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for, as it is typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="edgecell beside others.")
    parser.add_argument("--images", type=Path, required=True, help="a folder of frames of one microscope")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--engine", default=f"onnxrt:threads={THREADS}", help="of edgecell")
    parser.add_argument("--bundle", default="pbc8")
    parser.add_argument("--fields", type=Path, help="TXL-PBC: F1 on its val fields too")
    parser.add_argument("--alone", metavar="NAME", help="peak memory of one alone, in MiB")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    asked = options(arguments)
    try:
        result = measure(asked)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(result["alone"] if asked.alone else json.dumps(result) if asked.json else as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
