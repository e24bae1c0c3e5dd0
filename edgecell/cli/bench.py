"""`edgecell bench`: how fast this machine is, stage by stage."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console, Group
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from edgecell import app, bench, clock, settings
from edgecell.bench import Outcome, Spread
from edgecell.cli import options
from edgecell.cli.doctor import examine
from edgecell.messages import NOTICE
from edgecell.settings import Settings
from edgecell.stopwatch import Lap

BAR_WIDTH = 30
REDRAW_S = 1.0
"""Drawing takes milliseconds of what is measured."""


@click.command()
@click.option("--source", metavar="SPEC", help="phantom, phantom:width=1920,height=1200, or images:PATH.")
@click.option("--frames", default=200, show_default=True, type=click.IntRange(min=1), help="Frames that are measured.")
@click.option("--warmup", default=10, show_default=True, type=click.IntRange(min=0), help="Frames before, left out.")
@click.option("--preload", is_flag=True, help="Read the frames once in advance: drawing or decoding them is not measured.")
@click.option("--settings", "settings_file", metavar="TOML", type=click.Path(path_type=Path), help="Settings of a run.")
@options.ENGINE
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    source: str | None,
    frames: int,
    warmup: int,
    preload: bool,
    settings_file: Path | None,
    engine: str | None,
    as_json: bool,
) -> None:
    """Measure the frame path of `edgecell run` on this machine: every stage, end to end, frames and cells a second, memory.

    Counts go to a bus of its own on a free port. A source that ends starts over. `read` is what the source takes: for the
    phantom the drawing, for images the decoding. Leave both out with --preload, as a camera would hand frames over ready.
    Reading, detecting and classifying overlap, so frames/s is more than one over the sum of the stages; `wait` is the time
    of a frame between them, and long when the source is always ready.
    Thread counts are settings (--engine onnxrt:threads=2); OpenCV has one, or as many as
    OPENCV_FOR_THREADS_NUM in the environment says.

    \b
    Examples:
      edgecell bench
      edgecell bench --source phantom:width=1920,height=1200 --preload
      edgecell bench --source images:mosaics --preload --frames 500 --json > bench.json
    """
    chosen = settings.load(settings_file) if settings_file else Settings()
    if source is not None:
        chosen = msgspec.structs.replace(chosen, source=settings.source_from_spec(source))
    if engine is not None:
        chosen = msgspec.structs.replace(chosen, engine=settings.engine_from_spec(engine))
    plan = app.plan(chosen)
    # No refresh on a thread of its own: it would take time from what is measured.
    bar = ProgressBar(console=Console(stderr=True), disable=not sys.stderr.isatty(), auto_refresh=False, transient=True)
    with bar:
        outcome = bench.measure(plan, frames=frames, warmup=warmup, preload=preload, on_lap=_Ticker(bar, warmup + frames))
    chapters = examine(Path("/"))
    facts = {entry.subject: entry.has for entry in (*chapters["machine"], *chapters["libraries"])}
    outcome = msgspec.structs.replace(outcome, source=source or outcome.source, machine=facts)
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        Console(width=None if sys.stdout.isatty() else 110).print(_picture(outcome))


class _Ticker:
    """Moves the bar on by one, and draws it now and then."""

    def __init__(self, bar: ProgressBar, total: int) -> None:
        self._bar, self._task = bar, bar.add_task("measuring", total=total)
        self._next_ns = 0

    def __call__(self, lap: Lap) -> None:  # noqa: ARG002 only that there was one
        self._bar.advance(self._task)
        if clock.monotonic_ns() >= self._next_ns:
            self._next_ns = clock.monotonic_ns() + round(REDRAW_S * 1e9)
            self._bar.refresh()


def _picture(outcome: Outcome) -> Group:
    table = Table("stage", title=outcome.source, title_justify="left")
    for name in ("p50 ms", "p95 ms", "p99 ms", "mean ms"):
        table.add_column(name, justify="right")
    table.add_column("share of the work")
    whole = sum(figures.mean for stage, figures in outcome.stages_ms.items() if stage != "wait")
    for stage, figures in outcome.stages_ms.items():
        _add_row(table, stage, figures, None if stage == "wait" else figures.mean / whole)
        if stage == "classify":
            for part, inner in outcome.classify_ms.items():
                _add_row(table, f"  {part}", inner, None)
    table.add_section()
    _add_row(table, "end to end", outcome.end_to_end_ms, None)
    return Group(table, Text("\n".join(_lines(outcome))), Text(NOTICE, style="italic"))


def _add_row(table: Table, name: str, figures: Spread, share: float | None) -> None:
    numbers = [f"{value:.2f}" for value in (figures.p50, figures.p95, figures.p99, figures.mean)]
    bar = "" if share is None else f"{'█' * round(share * BAR_WIDTH):<{BAR_WIDTH}} {100 * share:3.0f} %"
    table.add_row(name, *numbers, bar)


def _lines(outcome: Outcome) -> list[str]:
    fates, machine, threads = outcome.fates, outcome.machine, outcome.threads
    found = f"{outcome.cells_per_frame:.1f} cells a frame, {outcome.nucleated_per_frame:.1f} of them nucleated"
    sizes = ", ".join(f"{width}x{height}" for width, height in outcome.sizes_px)
    scale = "unknown scale" if outcome.pixel_um is None else f"{outcome.pixel_um:.3f} um a pixel"
    how = f"{outcome.preloaded} read in advance, so reading is left out" if outcome.preloaded else "each read anew"
    lost = f"dropped {fates.dropped}, gated {fates.gated}, failed {fates.failed} of {fates.captured} frames"
    facts = [machine[name] for name in ("processor", "cores") if name in machine]
    versions = [f"{name} {machine[name]}" for name in ("Python", "opencv-python-headless", "onnxruntime") if name in machine]
    return [
        f"{outcome.frames} frames of {sizes}, {scale}, after {outcome.warmup} of warm-up, {how}",
        f"{outcome.fps:.1f} frames/s, {outcome.cells_per_s:.0f} cells/s",
        f"{found}, {outcome.classified_per_frame:.1f} classified",
        f"{lost}; memory at most {outcome.rss_peak_mib:.0f} MiB",
        f"threads: OpenCV {threads.opencv}; {'; '.join(threads.engines) or 'no engine'}",
        "; ".join([*facts, *versions]),
    ]
