"""All of it: one JSON file, one page of tables, and the pictures.

    python -m benchmarks --out results --images /tmp/mosaics/575x575

`--quick` is to see that it works. Run it on a machine with nothing else to do: what the fixed work says of the machine stands
in every table.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import drawing, end_to_end, frames, growth, machine, naive, soak, stages, start
from benchmarks.end_to_end import Figures
from benchmarks.growth import Growth
from benchmarks.soak import Outcome as Soak
from benchmarks.stages import Stages
from benchmarks.start import Start
from edgecell import app, bench, clock
from edgecell.errors import EdgecellError
from edgecell.messages import NOTICE, NUCLEATED
from edgecell.settings import PartSettings, Settings
from edgecell.stopwatch import Lap

DRAWN_PX = (1920, 1200)


class Results(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="benchmarks/1"):
    """Everything that was measured. where: what the frames of `stages`, `naive`, `start` and `soak` are."""

    utc: str
    machine: dict[str, str]
    where: str
    stages: Stages
    runs: tuple[Figures, ...]
    naive: dict[str, Any]
    latency_ms: tuple[float, ...]
    start: Start
    soak: Soak
    growth: tuple[Growth, ...]
    notice: str = NOTICE


def measured(images: Sequence[Path], *, quick: bool) -> Results:
    """images: folders of real frames, the first for what is measured on one; none: the phantom's. Raises EdgecellError."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as made:
        runs = list(end_to_end.prepared(Path(made), images))
        folder = images[0] if images else Path(made) / "{}x{}".format(*DRAWN_PX)
        rounds, repeats, frames_of_growth, frames_of_soak = (2, 1, 20_000, 200) if quick else (10, 3, 1_000_000, 2000)
        _say("stages")
        found = stages.measure(frames.read(folder), rounds)
        _say("beside the naive pipeline")
        beside = naive.compare(_plan(folder, 2), frames.read(folder), 20 if quick else 150, 2)
        _say("latency")
        latency = _latency(_plan(folder, 2), 40 if quick else 400)
        _say("whole runs by size, cells and cores")
        figures = tuple(end_to_end.measure(runs, repeats))
        _say("cold start")
        started = start.measure(folder, 1 if quick else 7)
        _say("memory over many frames")
        soaked = soak.soaked(_plan(folder, 2).settings, frames_of_soak, _made(Path(made) / "soak"))
        _say("tally and journal over very many frames")
        grown = growth.of_tally(frames_of_growth), growth.of_journal(frames_of_growth, _made(Path(made) / "growth"))
    return Results(
        utc=clock.utc_now(),
        machine=machine.facts(),
        where=f"real frames, {folder.name}" if images else f"drawn by the phantom, {DRAWN_PX[0]}x{DRAWN_PX[1]}",
        stages=found,
        runs=figures,
        naive=msgspec.to_builtins(beside),
        latency_ms=latency,
        start=started,
        soak=soaked,
        growth=grown,
    )


def as_text(found: Results) -> str:
    """The page."""
    wanted = ("system", "processor", "cores", "memory", "Python", "numpy", "opencv-python-headless", "onnxruntime")
    facts = "; ".join(f"{name} {found.machine[name]}" for name in wanted if name in found.machine)
    return "\n".join(
        [
            "# Benchmarks: what was measured",
            "",
            f"{found.utc}, {facts}.",
            f"One frame at a time: {found.where}. {NOTICE}",
            "",
            "## Stages, one thread",
            "",
            stages.as_text(found.stages),
            "",
            "## Beside the naive pipeline",
            "",
            naive.as_text(msgspec.convert(found.naive, dict[str, Any]) | {"ms": _spreads(found.naive["ms"])}),
            "",
            "## Whole runs",
            "",
            *_runs(found.runs),
            "",
            "## Start, memory, growth",
            "",
            *_rest(found),
            "",
        ]
    )


def _runs(lines: Sequence[Figures]) -> Iterator[str]:
    yield "| frames | size | cores | cells, nucleated a frame | frames/s (least, most) | fixed works | p50 ms | RSS MiB |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in lines:
        run = each.run
        yield (
            f"| {run.source} | {run.size_px[0]}x{run.size_px[1]} | {run.cores} | {each.cells:.0f}, {each.nucleated:.0f} | "
            f"{each.fps:.1f} ({each.fps_least:.1f}, {each.fps_most:.1f}) | {each.work:.2f} | {each.latency_ms:.0f} | "
            f"{each.rss_mib:.0f} |"
        )


def _rest(found: Results) -> Iterator[str]:
    begun, soaked, held = found.start, found.soak, [tenth.rss_mib for tenth in found.soak.tenths]
    yield (
        f"First counts {begun.first_counts_s:.2f} s after the process was started, median of {begun.repeats}; "
        f"{begun.ratio:.1f} times what its imports and the opening of both networks take."
    )
    yield (
        f"{soaked.frames} frames: RSS {held[0]:.0f} MiB at most in the first tenth, {held[-1]:.0f} in the last, {soak.PRELOAD} "
        f"frames held in memory ({_held_mib(found):.0f} MiB) included."
    )
    for each in found.growth:
        yield (
            f"{each.what}: {each.us[0]:.1f} us a frame in the first tenth of {each.frames} frames, {each.us[1]:.1f} in the "
            f"last ({each.ratio:.2f}); RSS {each.rss_mib[0]:.0f} and {each.rss_mib[1]:.0f} MiB."
        )


def _latency(plan: app.Plan, count: int) -> tuple[float, ...]:
    """Milliseconds from capture until counted, without the waiting between threads."""
    laps: list[float] = []
    outcome = bench.measure(plan, frames=count, warmup=10, preload=True, on_lap=lambda lap: laps.append(_path_ms(lap)))
    return tuple(round(taken, 3) for taken in laps[-outcome.frames :])


def _path_ms(lap: Lap) -> float:
    """Frames that are always ready wait between threads for as long as they can."""
    return lap.end_to_end_ms - lap.stages_ms.get("wait", 0.0)


def _plan(folder: Path, threads: int) -> app.Plan:
    source = PartSettings(part="images", options={"path": str(folder)}, where="--images")
    engine = PartSettings(part="onnxrt", options={"threads": min(threads, len(os.sched_getaffinity(0)))}, where="engine")
    return app.plan(Settings(source=source, engine=engine, models={NUCLEATED: "pbc8"}))


def _spreads(table: dict[str, dict[str, float]]) -> dict[str, bench.Spread]:
    return {name: msgspec.convert(each, bench.Spread) for name, each in table.items()}


def _held_mib(found: Results) -> float:
    width, height = found.stages.size_px
    return soak.PRELOAD * 3 * width * height / 2**20


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _say(what: str) -> None:
    print(f"{clock.utc_now()} {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json, results.md and the pictures")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of real frames; see benchmarks.mosaic")
    parser.add_argument("--quick", action="store_true", help="few frames, to see that it works: figures that say nothing")
    asked = parser.parse_args(arguments)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        found = measured([folder.resolve() for folder in asked.images], quick=asked.quick)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    (asked.out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    (asked.out / "results.md").write_text(as_text(found), encoding="utf-8")
    drawing.latency(asked.out / "latency.svg", found.latency_ms, f"{found.where}, without waiting for a free thread")
    drawing.waterfall(asked.out / "stages.svg", found.stages)
    drawing.scaling(asked.out / "scaling.svg", found.runs)
    drawing.peers(asked.out / "peers.svg", {"naive pipeline": _naive(found)}, found.where)
    print(as_text(found))
    return 0


def _naive(found: Results) -> tuple[float, float, float]:
    ratio = found.naive["naive_over_edgecell"]
    return ratio["p10"], ratio["p50"], ratio["p90"]


if __name__ == "__main__":
    sys.exit(main())
