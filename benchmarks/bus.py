"""What listeners, encryption and the journal cost the frame path.

    python -m benchmarks.bus
    python -m benchmarks.bus --json > bus.json

A real run at a camera's pace, on frames that are held in memory, is timed from a frame's capture until its counts are in the
journal and on the bus: with 0, 1 and 50 listeners, of which 10 do not read and have their queues full before the first frame;
with CURVE and without; with the journal and without. A window closes with every frame, far more often than in a run, so that
what a window costs is in every figure. All cases take turns, in another order each round; a figure is the median of its rounds,
a ratio that to none (no listener, no key, no journal) of the same round. The listeners are a process of their own.
"""

import dataclasses
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from typing_extensions import Self

from edgecell import app, settings
from edgecell.app import Plan
from edgecell.bus import curve
from edgecell.messages import NOTICE
from edgecell.settings import JournalSettings, PartSettings, Settings
from edgecell.stopwatch import Around, Stopwatch, TimedPublisher, TimedSource

STALLED = 10
"""Of 50 listeners."""
FILLER_BYTES, FILLERS = 1 << 16, 250
"""Messages that fill the queues of those that do not read: the system's own have some megabytes."""
HIGH_WATER = 20
PRELOAD, WARMUP = 20, 10
JOIN_S = 60.0


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around the frame path."""

    listeners: int
    curve: bool
    journal: bool


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One run. p50_ms, p99_ms: from capture to counts. publish_ms: median of what the journal and the bus take of it.

    sent: counts messages; heard: of those, by a listener that reads (median); stalled_heard: by those that do not, together.
    """

    p50_ms: float
    p99_ms: float
    publish_ms: float
    sent: int
    heard: int
    stalled_heard: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A case. Figures are medians of its rounds; ratio, ratio_p99: median, least and greatest ratio of a round to none's."""

    case: Case
    p50_ms: float
    p99_ms: float
    publish_ms: float
    ratio: tuple[float, float, float]
    ratio_p99: tuple[float, float, float]
    rounds: tuple[Round, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="bus/1"):
    frames: int
    fps: float
    results: tuple[Result, ...]
    notice: str = NOTICE


NONE = Case(listeners=0, curve=False, journal=False)
CASES = tuple(
    Case(listeners=listeners, curve=encrypted, journal=journal)
    for journal in (False, True)
    for encrypted in (False, True)
    for listeners in (0, 1, 50)
)


class Paced(TimedSource):
    """A camera of `fps` frames a second."""

    fps: float
    due_s = 0.0

    def read(self, timeout_s: float) -> Any:
        now = time.monotonic()
        self.due_s = max(self.due_s + 1 / self.fps, now)
        time.sleep(self.due_s - now)
        return super().read(timeout_s)


class Crowded(TimedPublisher):
    """A bus with its listeners there before the first frame. heard: what they said at the end."""

    listeners: int
    keys: tuple[str, ...]
    heard: list[str]
    process: "subprocess.Popen[str] | None" = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self.listeners:
            stalled = STALLED if self.listeners > STALLED else 0
            line = [
                sys.executable,
                "-m",
                "benchmarks.listeners",
                self._inner.endpoint,
                str(self.listeners - stalled),
                str(stalled),
            ]
            self.process = subprocess.Popen(  # noqa: S603 our own words
                [*line, *self.keys], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._join(self.process)
            for _ in range(FILLERS if stalled else 0):
                self._inner.publish("filler", bytes(FILLER_BYTES))
                self._inner.serve(0.002)
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self.process is not None:
            said, _ = self.process.communicate(timeout=JOIN_S)
            self.heard.extend(said.split()[-2:])

    def _join(self, process: "subprocess.Popen[str]") -> None:
        """Until everyone has heard something."""
        out = process.stdout
        deadline = time.monotonic() + JOIN_S
        while out is None or not select.select([out], [], [], 0)[0]:
            if out is None or time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError("the listeners did not join")
            self._inner.publish("heartbeat/1", b"{}")
            self._inner.serve(0.02)
        out.readline()


def measured(chosen: Settings, case: Case, folder: Path, frames: int, fps: float) -> Round:
    """One run of a case. folder: empty, for its keys and its journal."""
    options: dict[str, object] = {"endpoint": "tcp://127.0.0.1:*", "high_water": HIGH_WATER, "replay": "tcp://127.0.0.1:*"}
    keys: tuple[str, ...] = ()
    if case.curve:
        device, device_public = curve.new_keys("device", folder)
        listener, listener_public = curve.new_keys("listener", folder / "allow")
        options |= {"server_key": str(device), "allow": str(folder / "allow")}
        keys = tuple(path.read_text().strip() for path in (device_public, listener_public, listener))
        listener.unlink()
    run = msgspec.structs.replace(chosen.run, max_frames=frames + WARMUP, window_s=1e-3)
    journal = JournalSettings(enabled=case.journal, path=str(folder / "journal"))
    publisher = PartSettings(part="zmq", options=options, where="bus")
    plan = app.plan(msgspec.structs.replace(chosen, run=run, journal=journal, publisher=publisher))
    watch, heard = Stopwatch(lambda _: None), list[str]()
    with _timed(plan, watch, fps, listeners=case.listeners, keys=keys, heard=heard).runtime(watch) as runtime:
        sent = runtime.run().counts.sequence + 1
    laps = watch.laps[WARMUP:]
    p50, p99 = np.percentile([lap.end_to_end_ms for lap in laps], [50, 99])
    return Round(
        p50_ms=float(p50),
        p99_ms=float(p99),
        publish_ms=statistics.median(lap.stages_ms["publish"] for lap in laps),
        sent=sent,
        heard=int(heard[0]) if heard else 0,
        stalled_heard=int(heard[1]) if heard else 0,
    )


def _timed(plan: Plan, watch: Stopwatch, fps: float, **crowd: object) -> Plan:
    """The plan with the stopwatch around source and publisher."""
    parts: dict[str, tuple[type[Around], dict[str, object]]] = {
        "source": (Paced, {"preload": PRELOAD, "fps": fps}),
        "publisher": (Crowded, crowd),
    }
    for name, (wrapper, own) in parts.items():
        chosen = getattr(plan, name)
        part = type(wrapper.__name__, (wrapper,), {"part": chosen.part, "watch": watch, **own})
        plan = dataclasses.replace(plan, **{name: dataclasses.replace(chosen, part=part)})
    return plan


def compared(rounds: Sequence[dict[Case, Round]]) -> tuple[Result, ...]:
    def spread(ratios: list[float]) -> tuple[float, float, float]:
        return statistics.median(ratios), min(ratios), max(ratios)

    return tuple(
        Result(
            case=case,
            p50_ms=statistics.median(each[case].p50_ms for each in rounds),
            p99_ms=statistics.median(each[case].p99_ms for each in rounds),
            publish_ms=statistics.median(each[case].publish_ms for each in rounds),
            ratio=spread([each[case].p50_ms / each[NONE].p50_ms for each in rounds]),
            ratio_p99=spread([each[case].p99_ms / each[NONE].p99_ms for each in rounds]),
            rounds=tuple(each[case] for each in rounds),
        )
        for case in CASES
    )


def table(outcome: Outcome) -> str:
    on = {True: "on", False: "off"}
    head = f"{'listeners':>9} {'CURVE':>6} {'journal':>8} {'p50 ms':>8} {'ratio (least - greatest)':>26}"
    lines = [f"{head} {'p99 ms':>8} {'publish ms':>11}"]
    for each in outcome.results:
        case, (middle, least, greatest) = each.case, each.ratio
        ratio = f"{middle:.2f} ({least:.2f} - {greatest:.2f})"
        lines.append(
            f"{case.listeners:>9} {on[case.curve]:>6} {on[case.journal]:>8} {each.p50_ms:>8.2f} {ratio:>26} {each.p99_ms:>8.1f}"
            f" {each.publish_ms:>11.2f}"
        )
    return "\n".join(lines)


@click.command()
@click.option("--frames", type=click.IntRange(min=20), default=60, show_default=True, help="Frames of each run.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--fps", type=click.FloatRange(min=1), default=20.0, show_default=True)
@click.option("--settings", "file", type=click.Path(path_type=Path), help="Settings of a run; not its bus and journal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(frames: int, rounds: int, fps: float, file: Path | None, as_json: bool) -> None:
    """Time the frame path with 0, 1 and 50 listeners, CURVE on and off, journal on and off."""
    phantom = PartSettings(part="phantom", options={"width": 320, "height": 240}, where="bus")
    chosen = settings.load(file) if file else Settings(source=phantom, segmenter=PartSettings(part="stain", where="bus"))
    done: list[dict[Case, Round]] = []
    for number in range(rounds):
        order = random.Random(number).sample(CASES, len(CASES))
        found: dict[Case, Round] = {}
        for case in order:
            with tempfile.TemporaryDirectory(prefix="bus-") as folder:
                (Path(folder) / "allow").mkdir(mode=0o700)
                found[case] = measured(chosen, case, Path(folder), frames, fps)
        done.append(found)
        click.echo(f"round {number + 1} of {rounds}", err=True)
    outcome = Outcome(frames=frames, fps=fps, results=compared(done))
    click.echo(msgspec.json.encode(outcome) if as_json else f"{table(outcome)}\n{NOTICE}")


if __name__ == "__main__":
    main()
