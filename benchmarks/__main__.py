"""All of it: one JSON file, one page of tables, and the pictures, in at most 15 minutes on two cores.

    python -m benchmarks --out benchmarks/results --images /tmp/mosaics/575x575 /tmp/mosaics/640x480 /tmp/mosaics/360x363 \\
        --fields txl_pbc.tar --readme README.md

`--quick` is to see that it works. Run it on a machine with nothing else to do: what the fixed work says of the machine stands
in every table. Each part says on stderr when it begins.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import (
    drawing,
    end_to_end,
    engines,
    frames,
    growth,
    machine,
    naive,
    page,
    peers,
    resolution,
    soak,
    stages,
    start,
    throughput,
)
from benchmarks.measured import Beside, Results
from edgecell import app, clock
from edgecell.errors import EdgecellError, SettingsError
from edgecell.messages import NUCLEATED
from edgecell.settings import PartSettings, Settings

DRAWN_PX = (1920, 1200)
KEPT_AS = "results.json"
KEPT = 4
"""Frames that the soak shows again and again: memory that is the benchmark's own."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything: rounds, frames, turns. throughput: rounds, and seconds of each turn. runs: how often each, and
    what their frames are divided by. fields: None for all."""

    stages: int = 10
    naive: int = 300
    throughput: tuple[int, float] = (5, 4.0)
    peers: int = 24
    engines: int = 30
    runs: tuple[int, int] = (2, 1)
    start: int = 11
    soak: int = 1500
    growth: int = 1_000_000
    fields: int | None = None


QUICK = Amount(
    stages=1, naive=12, throughput=(1, 1.0), peers=4, engines=3, runs=(1, 10), start=1, soak=200, growth=6000, fields=12
)


class Told:
    """Says on stderr what begins, and how long it has been."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, what: str) -> None:
        print(f"{clock.utc_now()} after {self.seconds():.0f} s: {what}", file=sys.stderr, flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self._begun


def measured(images: Sequence[Path], fields: Path | None, amount: Amount) -> Results:
    """images: folders of real frames, the first for what is measured on one; none: the phantom's. fields: TXL-PBC's, for the
    curve of resolutions. Raises EdgecellError."""
    told = Told()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as made:
        told("drawing what is drawn")
        repeats, fewer = amount.runs
        drawn = end_to_end.prepared(Path(made), [each.resolve() for each in images])
        runs = [msgspec.structs.replace(run, frames=max(2, run.frames // fewer)) for run in drawn]
        folder = images[0].resolve() if images else Path(made) / "{}x{}".format(*DRAWN_PX)
        told("stages, beside their floors")
        found = stages.measure(frames.read(folder), amount.stages)
        told("the naive pipeline, frame by frame")
        beside = naive.compare(_plan(folder), frames.read(folder), amount.naive, 1)  # one thread each, as the fixed work has
        told("frames a second on two cores")
        paces = throughput.measure(folder, *amount.throughput)
        told("peers, frame by frame, and their memory")
        others = _peers(folder, amount.peers)
        told("INT8 beside FP32")
        encodings = tuple(_engines(bundle, batch, amount.engines) for bundle, batch in (("pbc8", 16), ("cells3", 1)))
        told(f"{len(runs)} whole runs by size, cells and cores, {repeats} times")
        figures = tuple(
            end_to_end.measure(runs, repeats, lambda run: told(f"  {run.source}, {run.size_px}, cores {run.cores}"))
        )
        told("cold start")
        started = start.measure(folder, amount.start)
        told("memory over many frames")
        soaked = _soak(folder, amount.soak)
        told("tally, journal and wire over very many frames")
        journal = growth.of_journal(amount.growth, _made(Path(made) / "growth"))
        grown = growth.of_tally(amount.growth), journal, growth.of_wire(amount.growth)
        told("the segmenter at several resolutions" if fields else "no labelled fields, so no curve of resolutions")
        curve = resolution.measure(fields, amount.fields) if fields else None
    told("done")
    return Results(
        utc=clock.utc_now(),
        seconds=told.seconds(),
        quick=amount == QUICK,
        machine=machine.facts(),
        where=f"real fields, mosaics {folder.name}" if images else f"drawn by the phantom, {DRAWN_PX[0]}x{DRAWN_PX[1]}",
        stages=found,
        naive=msgspec.convert(msgspec.to_builtins(beside), Beside),
        throughput=paces,
        peers=others,
        engines=encodings,
        runs=figures,
        start=started,
        soak=soaked,
        held_mib=KEPT * 3 * found.size_px[0] * found.size_px[1] / 2**20,
        growth=grown,
        resolution=curve,
    )


def _peers(folder: Path, count: int) -> dict[str, Any]:
    line = ["--images", str(folder), "--frames", str(count)]
    return peers.measure(peers.options(line))


def _engines(bundle: str, batch: int, rounds: int) -> dict[str, Any]:
    return engines.measure(engines.options(["--bundle", bundle, "--batches", str(batch), "--rounds", str(rounds)]))


def _soak(folder: Path, count: int) -> soak.Outcome:
    """In a process of its own: memory is what is measured. Raises RuntimeError with its last words."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(f'engine = {{part = "onnxrt", threads = 1}}\nsource = {{part = "images", path = "{folder}"}}\n')
        settings.flush()
        line = [sys.executable, "-m", "benchmarks.soak", "--frames", str(count), "--preload", str(KEPT), "--json"]
        done = subprocess.run([*line, "--settings", settings.name], capture_output=True, check=False)  # noqa: S603 our own words
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.decode().strip().splitlines()[-1:]}")
    return msgspec.json.decode(done.stdout, type=soak.Outcome)


def _plan(folder: Path) -> app.Plan:
    source = PartSettings(part="images", options={"path": str(folder)}, where="--images")
    engine = PartSettings(part="onnxrt", options={"threads": 1}, where="engine")
    return app.plan(Settings(source=source, engine=engine, models={NUCLEATED: throughput.BUNDLE}))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _kept(out: Path) -> Results:
    """The figures as they are kept. Raises SettingsError."""
    try:
        return msgspec.json.decode((out / KEPT_AS).read_bytes(), type=Results)
    except (OSError, msgspec.ValidationError) as error:
        raise SettingsError(f"{out / KEPT_AS}: {error}", fix="leave out --again, so that it is made anew") from error


def draw(found: Results, out: Path) -> None:
    """All pictures, into a folder."""
    drawing.latency(out / "latency.svg", found.naive.taken_ms, found.where)
    drawing.waterfall(out / "stages.svg", found.stages)
    drawing.scaling(out / "scaling.svg", found.runs)
    drawing.peers(out / "peers.svg", found.throughput, found.peers["peers"], found.where)
    if found.resolution is not None:
        drawing.resolution(out / "resolution.svg", found.resolution)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json, results.md and the pictures")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of real frames; see benchmarks.mosaic")
    parser.add_argument("--fields", type=Path, help="TXL-PBC's folder or tar: the segmenter at several resolutions too")
    parser.add_argument("--readme", type=Path, help="put the figures between the marks of this file")
    parser.add_argument("--again", action="store_true", help="measure nothing: page and pictures of the results.json in --out")
    parser.add_argument("--quick", action="store_true", help="few frames, to see that it works: figures that say nothing")
    asked = parser.parse_args(arguments)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        if not asked.again:
            made = measured(asked.images, asked.fields, QUICK if asked.quick else Amount())
            (asked.out / KEPT_AS).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
        found = _kept(asked.out)
        if asked.readme:
            asked.readme.write_text(page.in_readme(asked.readme.read_text(encoding="utf-8"), found), encoding="utf-8")
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    (asked.out / "results.md").write_text(page.as_text(found), encoding="utf-8")
    draw(found, asked.out)
    print(page.as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
