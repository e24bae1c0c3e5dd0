"""A long run, watched for what grows: memory, file descriptors, threads, latency. First and last tenth side by side.

    python -m benchmarks.soak --frames 20000

The whole program in one process: source, gate, segmenter, classifier, journal, bus, and `edgecell watch` in another process
that listens. The first frames of the phantom (640x480) are held in memory and given again and again, so what is measured is
not the drawing. The source is always ready, so latency includes the wait at full mailboxes.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgecell import app, settings
from edgecell.messages import NOTICE, FrameReport
from edgecell.protocols import Progress
from edgecell.settings import JournalSettings, PartSettings, Settings
from edgecell.stopwatch import Stopwatch, TimedSource
from edgecell.wire import Message

TENTHS = 10
SAMPLES = 100
"""Looks at the process in each tenth, evenly spread."""
PRELOAD = 40


class Tenth(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the frames. p50_ms, p99_ms: from capture until counted. rss_mib: the greatest seen. fds, threads: medians."""

    frames: int
    p50_ms: float
    p99_ms: float
    rss_mib: float
    fds: int
    threads: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="soak/1"):
    """tenths: in order. journal_mib: size of the journal's files at the end. processed, lost: frames; messages: counts sent."""

    frames: int
    processed: int
    lost: int
    messages: int
    seconds: float
    journal_mib: float
    tenths: tuple[Tenth, ...]
    notice: str = NOTICE


class Watch(Stopwatch):
    """Keeps two numbers of each frame and four of each look, in arrays made beforehand: the watch itself must not grow."""

    def __init__(self, frames: int) -> None:
        super().__init__(lambda _: None)
        self._every = max(1, frames // (TENTHS * SAMPLES))
        self.latency_ms: NDArray[np.float64] = np.full(frames, np.nan)
        self.looks: NDArray[np.float64] = np.full((frames // self._every + 1, 4), np.nan)
        self._settled = 0
        self.messages = 0

    def captured(self, frame: object) -> None:
        """Nothing to keep: the report says when it was."""

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:  # noqa: ARG002 an Observer's
        if report is not None:
            self.latency_ms[self._settled] = (time.monotonic_ns() - report.captured_ns) / 1e6
        self._settled += 1
        if self._settled % self._every == 0:
            self.looks[self._settled // self._every - 1] = self._settled, *process()

    def sent(self, message: Message) -> None:  # noqa: ARG002 an Observer's
        self.messages += 1

    def tenths(self) -> tuple[Tenth, ...]:
        frames = len(self.latency_ms)
        looks = self.looks[np.isfinite(self.looks[:, 0])]
        found = []
        for number in range(TENTHS):
            first, last = number * frames // TENTHS, (number + 1) * frames // TENTHS
            p50, p99 = np.nanpercentile(self.latency_ms[first:last], [50, 99])
            seen = looks[(looks[:, 0] > first) & (looks[:, 0] <= last), 1:]
            found.append(
                Tenth(
                    frames=last - first,
                    p50_ms=float(p50),
                    p99_ms=float(p99),
                    rss_mib=float(seen[:, 0].max()),
                    fds=int(np.median(seen[:, 1])),
                    threads=int(np.median(seen[:, 2])),
                )
            )
        return tuple(found)


def process() -> tuple[float, int, int]:
    """Resident memory in MiB, open file descriptors, threads of this process."""
    fds, threads = (sum(1 for _ in Path("/proc/self", each).iterdir()) for each in ("fd", "task"))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, fds, threads


def soaked(chosen: Settings, frames: int, folder: Path, preload: int = PRELOAD) -> Outcome:
    """Run these settings for so many frames, with journal and bus in `folder`, and a listener. preload: frames in memory."""
    run = msgspec.structs.replace(chosen.run, max_frames=frames)
    bus = PartSettings(part="zmq", options={"endpoint": f"ipc://{folder}/bus"}, where="soak")
    journal = JournalSettings(path=str(folder / "journal"))
    plan = app.plan(msgspec.structs.replace(chosen, run=run, publisher=bus, journal=journal))
    watch = Watch(frames)
    part = type("PreloadedSource", (TimedSource,), {"part": plan.source.part, "watch": watch, "preload": preload})
    plan = dataclasses.replace(plan, source=dataclasses.replace(plan.source, part=part))
    begun = time.monotonic()
    line = [sys.executable, "-m", "edgecell", "watch", "--json", f"ipc://{folder}/bus"]
    with plan.runtime(watch) as runtime:
        listener = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 our own words
        try:
            last = runtime.run()
        finally:
            listener.kill()
            listener.wait()
    return Outcome(
        frames=frames,
        processed=last.counts.frames.processed,
        lost=frames - last.counts.frames.processed - last.counts.frames.gated,
        messages=watch.messages,
        seconds=time.monotonic() - begun,
        journal_mib=sum(path.stat().st_size for path in (folder / "journal").iterdir()) / 2**20,
        tenths=watch.tenths(),
    )


def table(outcome: Outcome) -> str:
    rows = [("", "p50 ms", "p99 ms", "RSS MiB", "fds", "threads")]
    for name, tenth in (("first tenth", outcome.tenths[0]), ("last tenth", outcome.tenths[-1])):
        figures = f"{tenth.p50_ms:.1f}", f"{tenth.p99_ms:.1f}", f"{tenth.rss_mib:.1f}", str(tenth.fds), str(tenth.threads)
        rows.append((name, *figures))
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in rows)


@click.command()
@click.option("--frames", type=click.IntRange(min=100), default=20_000, show_default=True)
@click.option("--settings", "file", type=click.Path(path_type=Path), help="Settings of a run; not its bus and journal.")
@click.option("--preload", type=click.IntRange(min=1), default=PRELOAD, show_default=True, help="Frames held in memory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(frames: int, file: Path | None, preload: int, as_json: bool) -> None:
    """Run for so many frames and compare the first tenth with the last."""
    phantom = PartSettings(part="phantom", options={"width": 640, "height": 480}, where="soak")
    chosen = settings.load(file) if file else Settings(source=phantom, segmenter=PartSettings(part="stain", where="soak"))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        outcome = soaked(chosen, frames, Path(folder), preload)
    if as_json:
        click.echo(msgspec.json.encode(outcome))
        return
    click.echo(table(outcome))
    click.echo(f"{outcome.frames} frames in {outcome.seconds:.0f} s, {outcome.processed} processed, {outcome.lost} lost")
    click.echo(f"{outcome.messages} messages, journal {outcome.journal_mib:.1f} MiB. {NOTICE}")


if __name__ == "__main__":
    main()
