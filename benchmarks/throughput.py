"""Frames a second on two cores: edgecell with its overlapping stages, and each peer as it would be run.

    python -m benchmarks.throughput --images /tmp/mosaics/575x575

Each in a process of its own, held to two cores by the scheduler, in turns, `--rounds` times over, the fixed work timed
before each. Frames lie in memory. edgecell is `edgecell bench --preload` with one thread a network and one of OpenCV: its
stages overlap, two frames at once keep both cores busy. A detector of YOLOv8n's size is one process with two threads, since
one frame is all it has at a time; the naive pipeline has one thread, as it is written. scikit-image's watershed is left
out: one frame takes it seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import frames, peers
from benchmarks.machine import median_ms
from benchmarks.naive import fixed_work
from edgecell import app, bench
from edgecell.errors import EdgecellError, SettingsError
from edgecell.messages import NOTICE, NUCLEATED
from edgecell.settings import PartSettings, Settings

SECONDS = 4.0
"""As long as a peer runs at least, after one pass over the frames to warm up."""
FRAMES = 240
"""Of edgecell, about as long."""
CORES = 2
LEFT_OUT = ("watershed",)
BUNDLE = "pbc8"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Of one of them. fps: frames a second by the clock on the wall, median of the rounds, and least and most. processor_ms:
    of all threads, a frame. edgecell_over: how many times as many frames edgecell did in the same round, median, least and
    most."""

    name: str
    threads: int
    fps: float
    fps_least: float
    fps_most: float
    processor_ms: float
    edgecell_over: tuple[float, float, float]


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """What one process says of itself."""

    frames: int
    seconds: float
    processor_s: float


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """fixed_ms: of the fixed work, median and greatest of all turns: what the machine did meanwhile."""

    rounds: int
    cores: int
    fixed_ms: tuple[float, float]
    paces: tuple[Pace, ...]
    notice: str = NOTICE


def measure(folder: Path, rounds: int, seconds: float = SECONDS, bundle: str = BUNDLE) -> Throughput:
    """folder: of frames of one microscope. Raises EdgecellError, RuntimeError with a process's last words."""
    work = fixed_work()
    others = [name for name in peers.names() if name not in LEFT_OUT]
    spent: dict[str, list[Alone]] = {name: [] for name in (peers.EDGECELL, *others)}
    fixed: list[float] = []
    for _ in range(rounds):
        for name, found in spent.items():
            fixed.append(median_ms(work))
            found.append(_process(folder, name, seconds, bundle))
    return Throughput(
        rounds=rounds,
        cores=_cores(),
        fixed_ms=(statistics.median(fixed), max(fixed)),
        paces=tuple(pace(name, found, spent[peers.EDGECELL]) for name, found in spent.items()),
    )


def pace(name: str, found: Sequence[Alone], ours: Sequence[Alone]) -> Pace:
    """Its turns beside edgecell's of the same rounds."""
    speeds = [each.frames / each.seconds for each in found]
    ratios = sorted(our.frames / our.seconds / speed for our, speed in zip(ours, speeds, strict=True))
    return Pace(
        name=name,
        threads=_threads(name),
        fps=statistics.median(speeds),
        fps_least=min(speeds),
        fps_most=max(speeds),
        processor_ms=statistics.median(1000 * each.processor_s / each.frames for each in found),
        edgecell_over=(statistics.median(ratios), ratios[0], ratios[-1]),
    )


def _threads(name: str) -> int:
    """Of a network and of OpenCV."""
    return 1 if name in (peers.EDGECELL, "naive") else CORES


def _cores() -> int:
    return min(CORES, len(os.sched_getaffinity(0)))


def _process(folder: Path, name: str, seconds: float, bundle: str) -> Alone:
    """One turn, in a process of its own. Raises RuntimeError with its last words."""
    held = ",".join(map(str, sorted(os.sched_getaffinity(0))[:CORES]))
    line = [sys.executable, "-m", "benchmarks.throughput", "--images", str(folder), "--bundle", bundle]
    done = subprocess.run(  # noqa: S603 our own words
        ["taskset", "-c", held, *line, "--seconds", str(seconds), "--alone", name],  # noqa: S607 of util-linux, wherever it is
        env={**os.environ, "OPENCV_FOR_THREADS_NUM": str(_threads(name))},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.decode().strip().splitlines()[-1:]}")
    return msgspec.json.decode(done.stdout, type=Alone)


def alone(folder: Path, name: str, seconds: float, bundle: str) -> Alone:
    """This process does nothing else. Raises EdgecellError."""
    plan = _plan(folder, _threads(name), bundle)
    images = frames.read(folder)
    return _edgecell(plan, len(images), seconds) if name == peers.EDGECELL else _peer(plan, images, name, seconds)


def _edgecell(plan: app.Plan, warmup: int, seconds: float) -> Alone:
    """Its own runtime, from the last frame of the warm-up on."""
    begun: list[float] = []
    ended: list[float] = []

    def over(_: object) -> None:
        begun.append(time.process_time()) if len(begun) < warmup else ended.append(time.process_time())

    count = max(warmup, round(FRAMES * seconds / SECONDS))
    outcome = bench.measure(plan, frames=count, warmup=warmup, preload=True, on_lap=over)
    return Alone(frames=outcome.frames, seconds=outcome.frames / outcome.fps, processor_s=ended[-1] - begun[-1])


def _peer(plan: app.Plan, images: Sequence[frames.Image], name: str, seconds: float) -> Alone:
    """One frame after the other."""
    scale = bench.measure(plan, frames=1, warmup=0, preload=True, on_lap=lambda _: None).pixel_um
    with peers.opened([name], plan, scale or plan.bundles[NUCLEATED].manifest.preprocess.pixel_um) as made:
        for image in images:
            made[name](image)
        count, start, processor_start = 0, time.monotonic(), time.process_time()
        while (passed := time.monotonic() - start) < seconds:
            made[name](images[count % len(images)])
            count += 1
        return Alone(frames=count, seconds=passed, processor_s=time.process_time() - processor_start)


def _plan(folder: Path, threads: int, bundle: str) -> app.Plan:
    source = PartSettings(part="images", options={"path": str(folder)}, where="--images")
    engine = PartSettings(part="onnxrt", options={"threads": threads}, where="threads")
    return app.plan(Settings(source=source, engine=engine, models={NUCLEATED: bundle}))


def as_text(found: Throughput) -> str:
    """A Markdown table."""
    rows = []
    for each in found.paces:
        fps = f"{each.fps:.1f} ({each.fps_least:.1f}-{each.fps_most:.1f})"
        times = "{:.2f} ({:.2f}-{:.2f})".format(*each.edgecell_over)
        rows.append(f"| {each.name} | {each.threads} | {fps} | {each.processor_ms:.1f} | {times} |")
    fixed = "Fixed work {:.1f} ms at the median, {:.1f} at most.".format(*found.fixed_ms)
    return "\n".join(
        [
            "| | threads | frames/s (least-most) | processor ms a frame | edgecell's frames/s over it (least-most) |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"{found.cores} cores, {found.rounds} rounds in turns, each in a process of its own. {fixed} {NOTICE}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of frames of one microscope")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each turn of a peer")
    parser.add_argument("--bundle", default=BUNDLE)
    parser.add_argument("--alone", metavar="NAME", help="one turn of one of them, in this process")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args(arguments)
    try:
        if asked.rounds < 1 or asked.seconds <= 0:
            raise SettingsError("--rounds must be at least 1 and --seconds above 0", fix="give larger numbers")
        if asked.alone:
            print(json.dumps(msgspec.to_builtins(alone(asked.images, asked.alone, asked.seconds, asked.bundle))))
            return 0
        found = measure(asked.images, asked.rounds, asked.seconds, asked.bundle)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(msgspec.to_builtins(found)) if asked.json else as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
