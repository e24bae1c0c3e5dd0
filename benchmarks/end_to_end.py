"""Whole runs of `edgecell bench`, each in a process of its own, by frame size, by cells a frame and by cores.

A run is held to its cores by the scheduler; OpenCV and each network have one thread, since the stages overlap and two
frames at once keep two cores busy. Before each run the fixed work is timed: `work` is how many of it a frame takes, so that
runs of different minutes can be compared.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import msgspec

from benchmarks import frames
from benchmarks.frames import Image
from benchmarks.machine import median_ms
from benchmarks.naive import fixed_work
from edgecell.bench import Outcome

SIZES_PX = ((640, 480), (1280, 720), (1920, 1200), (4912, 3684))
NUCLEATED = (0, 2, 10, 50, 200)
LAID_PX, LAID_UM = (1920, 1200), 0.2
"""Of frames with a given number of nucleated cells: 384 x 240 um, the largest number fits."""
WARMUP = 6
MOST, LEAST, CROWDED = 120, 12, 18
"""Frames of a run: of up to 1920x1200, of far larger ones, and of those laid out: a frame of 1,300 cells takes ten times as
long."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. what: of which table it is a line. source: of frames, for people. frames: that are measured."""

    what: str
    source: str
    folder: str
    size_px: tuple[int, int]
    cores: int
    frames: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one line: medians over its repeats, least and most of the first. fps: frames a second by the clock on the wall. work:
    fixed works a frame. latency_ms: p50 of the time from capture to counts, frames waiting in memory included. rss_mib: peak,
    without what the frames held in memory take."""

    run: Run
    repeats: int
    fps: float
    fps_least: float
    fps_most: float
    work: float
    cells: float
    nucleated: float
    latency_ms: float
    rss_mib: float


def prepared(out: Path, images: Sequence[Path]) -> Iterator[Run]:
    """Draw what is drawn, under `out`, and name every run. images: folders of real frames."""
    for folder in images:
        yield from _lines("real", folder.name, folder, frames.read(folder)[0], MOST)
    for size_px in SIZES_PX:
        folder = _written(out / f"{size_px[0]}x{size_px[1]}", frames.drawn(1 if size_px == SIZES_PX[-1] else 3, size_px))
        count = max(LEAST, min(MOST, MOST * SIZES_PX[2][0] * SIZES_PX[2][1] // (size_px[0] * size_px[1])))
        yield from _lines("size", "phantom, 0.1 um a pixel", folder, frames.read(folder)[0], count)
    for count in NUCLEATED:
        folder = _written(out / f"nucleated-{count}", [frames.laid(count, LAID_PX, LAID_UM)])
        yield from _lines("cells", f"phantom, laid out, {LAID_UM} um a pixel", folder, frames.read(folder)[0], CROWDED)


def measure(runs: Sequence[Run], repeats: int, told: Callable[[Run], None] = lambda _: None) -> Iterator[Figures]:
    """All runs in turns, `repeats` times over. told: hears of each before it begins. Raises RuntimeError with last words."""
    found: dict[Run, list[tuple[float, Outcome]]] = {run: [] for run in runs}
    work = fixed_work()
    for _ in range(repeats):
        for run in runs:
            told(run)
            found[run].append((median_ms(work), _one(run)))
    for run, outcomes in found.items():
        speeds = [outcome.fps for _, outcome in outcomes]
        yield Figures(
            run=msgspec.structs.replace(run, folder=Path(run.folder).name),
            repeats=repeats,
            fps=statistics.median(speeds),
            fps_least=min(speeds),
            fps_most=max(speeds),
            work=statistics.median(1000 / outcome.fps / fixed_ms for fixed_ms, outcome in outcomes),
            cells=outcomes[0][1].cells_per_frame,
            nucleated=outcomes[0][1].nucleated_per_frame,
            latency_ms=statistics.median(outcome.end_to_end_ms.p50 for _, outcome in outcomes),
            rss_mib=statistics.median(outcome.rss_peak_mib - _held_mib(outcome) for _, outcome in outcomes),
        )


def _lines(what: str, source: str, folder: Path, first: Image, count: int) -> Iterator[Run]:
    size_px = first.shape[1], first.shape[0]
    for cores in sorted({1, min(2, len(os.sched_getaffinity(0)))}):
        yield Run(what=what, source=source, folder=str(folder), size_px=size_px, cores=cores, frames=count)


def _written(folder: Path, images: Sequence[Image]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


def _one(run: Run) -> Outcome:
    """One run, in its own process. Raises RuntimeError with its last words."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(f'engine = {{part = "onnxrt", threads = 1}}\nsource = {{part = "images", path = "{run.folder}"}}\n')
        settings.flush()
        line = [sys.executable, "-m", "edgecell", "bench", "--settings", settings.name, "--preload", "--json"]
        return _told([*line, "--frames", str(run.frames), "--warmup", str(WARMUP)], run.cores)


def _told(line: Sequence[str], count: int) -> Outcome:
    cores = sorted(os.sched_getaffinity(0))[:count]
    done = subprocess.run(  # noqa: S603 our own words
        ["taskset", "-c", ",".join(map(str, cores)), *line],  # noqa: S607 of util-linux, wherever it is
        env={**os.environ, "OPENCV_FOR_THREADS_NUM": "1"},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.decode().strip().splitlines()[-1:]}")
    return msgspec.json.decode(done.stdout, type=Outcome)


def _held_mib(outcome: Outcome) -> float:
    width, height = outcome.sizes_px[0]
    return outcome.preloaded * 3 * width * height / 2**20
