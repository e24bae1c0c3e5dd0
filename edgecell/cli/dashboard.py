"""What `edgecell watch` fills a terminal with: the same as the page of `edgecell serve`, for a device without a browser.

Nothing is said by colour alone, and nothing is left out in silence: where the window is too low for all classes, a line says
how many are not shown. A terminal without UTF-8 gets its bars in ASCII, a narrow one none.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import TextIOWrapper
from math import ceil
from types import TracebackType
from typing import Literal, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text
from typing_extensions import Self

from edgecell import clock
from edgecell.cli.watch import fates, foreign, left_out, picture, printable, vitals
from edgecell.client import Subscriber
from edgecell.messages import NOTICE
from edgecell.wire import CountsMessage, DifferentialRow, Heartbeat, Message, Stop

FOCUS_WORDS, EXPOSURE_WORDS = ("focus:",), ("lamp:", "white point:")
"""How remarks begin that are about focus or exposure: the topics of `edgecell.drift`, which would load an image library."""
FOCUS_REASONS, EXPOSURE_REASONS = ("blurred",), ("dark", "overexposed")
"""The gate's reasons for the same."""
GONE_S = 3.0
"""Silence after which the screen says so: three heartbeats, as settings have them by default."""
LABEL_CELLS, FIGURES_CELLS, BAR_CELLS = 24, 32, 12
"""Widest label, what the figures behind it take, and the narrowest bar that is drawn, in characters."""
PROGRESS_CELLS = 20
LEAST_ROWS = 4
"""Lines that the table keeps in a low window, head included; what stands below it gives way."""

Level = Literal["good", "look", "bad", "unknown"]
STYLES: Mapping[Level, str] = {"good": "green", "look": "yellow", "bad": "bold red", "unknown": "dim"}


class Marks(NamedTuple):
    """What bars and lights are drawn with. lights: by level."""

    low: str
    line: str
    middle: str
    high: str
    full: str
    rest: str
    lights: Mapping[Level, str]


FINE = Marks("├", "─", "●", "┤", "█", "░", {"good": "●", "look": "▲", "bad": "■", "unknown": "○"})
PLAIN = Marks("[", "-", "o", "]", "#", ".", {"good": "+", "look": "!", "bad": "X", "unknown": "?"})


class Light(NamedTuple):
    """How one thing about the microscope is, with the reason in words."""

    name: str
    level: Level
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that is known at a moment.

    before: the counts message before the latest, of the same run. silent_s: seconds since anything came; None before that.
    endpoint: where it listens. lost, unreadable, problem: what the subscriber says of the way here.
    """

    endpoint: str
    counts: CountsMessage | None = None
    before: CountsMessage | None = None
    heartbeat: Heartbeat | None = None
    silent_s: float | None = None
    lost: int = 0
    unreadable: int = 0
    problem: str = ""

    def after(self, message: Message) -> "Scene":
        """The same after one more message; nothing of another run is kept beside it."""
        kept = self if self.run_id in ("", message.run_id) else Scene(endpoint=self.endpoint)
        if isinstance(message, Heartbeat):
            return replace(kept, heartbeat=message, silent_s=0.0)
        return replace(kept, counts=message, before=kept.counts, silent_s=0.0)

    @property
    def run_id(self) -> str:
        latest = self.counts or self.heartbeat
        return latest.run_id if latest else ""


class Dashboard:
    """A scene, drawn into whatever width and height there is."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = PLAIN if options.ascii_only else FINE
        width, height = options.max_width, options.height or options.size.height
        above = list(_wrapped(_above(self._scene), console, width))
        below = list(_wrapped(_below(self._scene, marks), console, width))
        while below and len(above) + LEAST_ROWS + len(below) > height:
            below.pop()
        room = max(LEAST_ROWS, height - len(above) - len(below))
        yield from above
        yield from _cut(_cells(self._scene, marks, width), room)
        yield from below


class Screen:
    """The dashboard on the terminal's other screen. When it is left, the latest state stays on the first one."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 still shows the rest
        self._console = Console()
        self._live = Live(Text(), console=self._console, screen=self._console.is_terminal, auto_refresh=False)
        self._scene = Scene(endpoint="")
        self._heard_ns = clock.monotonic_ns()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()
        counts, scene = self._scene.counts, self._scene
        self._console.print(Group(*(Text(said, style="bold red") for said in alarms(scene)), picture(counts) if counts else ""))

    def show(self, message: Message, bus: Subscriber) -> None:
        self._scene = self._scene.after(message)
        self._heard_ns = clock.monotonic_ns()
        self._draw(bus)

    def silent(self, seconds: float, bus: Subscriber) -> None:
        """Say it, however short: who asked for it gave the time-out."""
        self._scene = replace(self._scene, silent_s=max(seconds, GONE_S))
        self._draw(bus)

    def glance(self, bus: Subscriber) -> None:
        """Nothing new: but time passes, and the window may have another size."""
        silent_s = (clock.monotonic_ns() - self._heard_ns) / 1e9
        self._scene = replace(self._scene, silent_s=max(silent_s, self._scene.silent_s or 0.0))
        self._draw(bus)

    def _draw(self, bus: Subscriber) -> None:
        way = self._scene
        self._scene = replace(way, endpoint=bus.endpoint, lost=bus.gaps, unreadable=bus.unreadable, problem=bus.last_problem)
        self._live.update(Dashboard(self._scene), refresh=True)


def alarms(scene: Scene) -> list[str]:
    """What is wrong, in words, the worst first."""
    beat, counts = scene.heartbeat, scene.counts
    said = []
    over = beat is not None and beat.state == "stopped"  # then no news is no wonder
    if scene.silent_s is not None and scene.silent_s >= GONE_S and not over:
        said.append(f"nothing received for {scene.silent_s:.1f} s from {scene.endpoint}: these counts may be old")
    enough = over and counts is not None and counts.stop is not None and counts.stop.reached
    if beat and (beat.state in ("degraded", "failed") or (beat.reason and not enough)):
        said.append(f"{beat.device_id} is {beat.state}. {beat.reason}".rstrip())
    if counts and not counts.valid:
        said.append(f"NOT VALID: {counts.invalid_reason}")
    if counts and (held_back := foreign(counts)):
        said.append(held_back)
    said += [remark for remark in (counts.remarks if counts else ()) if not (beat and remark in beat.reason)]
    if beat and beat.device and beat.device.throttled:
        said.append(f"slowed down: {', '.join(beat.device.throttled)}")
    if beat and beat.unsent:
        said.append(f"messages that the device could not send: {beat.unsent}")
    if scene.lost or scene.unreadable:
        said.append(f"messages lost: {scene.lost}, unreadable: {scene.unreadable} {scene.problem}".rstrip())
    return [printable(each) for each in said]


def lights(scene: Scene) -> tuple[Light, Light]:
    """Focus and exposure, by what the gate refused since the message before and by what the run remarks on."""
    return (
        _light("focus", scene, FOCUS_REASONS, FOCUS_WORDS),
        _light("exposure", scene, EXPOSURE_REASONS, EXPOSURE_WORDS),
    )


def _light(name: str, scene: Scene, reasons: Sequence[str], words: Sequence[str]) -> Light:
    now, before = scene.counts, scene.before
    if now is None or not now.frames.processed + now.frames.gated:
        return Light(name, "unknown", "no frame yet")
    invalid = [each for each in now.invalid_reason.split("; ") if each.startswith(tuple(words))]
    if invalid:
        return Light(name, "bad", "counts not valid")
    seen = now.frames.processed + now.frames.gated - (before.frames.processed + before.frames.gated if before else 0)
    refused = {
        reason: now.gated_reasons.get(reason, 0) - (before.gated_reasons.get(reason, 0) if before else 0) for reason in reasons
    }
    many, most = sum(refused.values()), max(refused, key=lambda reason: refused[reason])
    if many > 0:
        return Light(name, "bad" if 2 * many > seen else "look", f"{many} of {seen} frames {most}")
    changed = any(remark.startswith(tuple(words)) for remark in now.remarks)
    return Light(name, "look", "has changed") if changed else Light(name, "good", "good")


def _above(scene: Scene) -> Iterator[Text]:
    """Who, what it may be used for, and what is wrong."""
    counts, beat = scene.counts, scene.heartbeat
    latest = counts or beat
    if latest is None:
        yield Text(printable(f"waiting for the first message from {scene.endpoint}"), style="bold")
        yield Text(NOTICE, style="italic")
    else:
        sample = f"  sample {counts.sample_id}" if counts and counts.sample_id else ""
        state = beat.state if beat else "no heartbeat yet"
        yield Text(printable(f"{latest.device_id} is {state}{sample}  run {latest.run_id}"), style="bold")
        yield Text(printable(latest.notice), style="italic")
    for said in alarms(scene):
        yield Text(f"! {said}", style="bold red")


def _cells(scene: Scene, marks: Marks, width: int) -> tuple[Text, list[Text]]:
    """The head of the table, and a line for each class: those of the differential, then what is counted apart."""
    counts = scene.counts
    if counts is None:
        return Text("no counts yet"), []
    share = counts.differential
    apart = sorted(counts.cumulative.keys() - {row.label for row in share.rows})
    top = min(100.0, 10 * ceil(max((row.high for row in share.rows), default=100.0) / 10))
    wide = min(
        LABEL_CELLS, max((cell_len(label) for label in (*counts.cumulative, *(row.label for row in share.rows))), default=0)
    )
    bar = width - wide - FIGURES_CELLS
    bar = bar if bar >= BAR_CELLS else 0
    scale = f"  0 %{f'{top:.0f} %':>{bar - 3}}" if bar else ""
    head = f"{'':{wide}} {'cells':>7} {'%':>6}  {f'{100 * share.confidence:.0f} % interval':>13}{scale}"
    rows = [_row(row, wide, _interval(row, top, bar, marks)) for row in share.rows]
    others = [Text(f"{_label(label, wide)} {counts.cumulative[label]:7d}", no_wrap=True) for label in apart]
    return Text(head, style="dim", no_wrap=True), [*rows, *others]


def _row(row: DifferentialRow, wide: int, bar: str) -> Text:
    limits = f"{row.low:.1f} - {row.high:.1f}"
    text = Text(f"{_label(row.label, wide)} {row.count:7d} {row.percent:6.1f}  {limits:>13}  ", no_wrap=True)
    return text.append(bar, style="cyan")


def _interval(row: DifferentialRow, top: float, cells: int, marks: Marks) -> str:
    """The interval as a bar of so many characters, the share itself marked on it. top: percent at its right end."""
    if not cells:
        return ""
    low, middle, high = (min(cells - 1, max(0, round(each / top * (cells - 1)))) for each in (row.low, row.percent, row.high))
    drawn = [" "] * cells
    drawn[low : high + 1] = [marks.line] * (high - low + 1)
    drawn[low], drawn[high], drawn[middle] = marks.low, marks.high, marks.middle
    return "".join(drawn)


def _below(scene: Scene, marks: Marks) -> Iterator[Text]:
    """Totals, frames by fate, lights, the device."""
    counts, beat = scene.counts, scene.heartbeat
    if counts and counts.stop:
        yield _stop(counts.stop, marks)
    if counts:
        yield Text(printable(f"{counts.cells_total} cells, differential of {counts.differential.n}, {left_out(counts)}"))
        yield Text(printable(f"{fates(counts)}{_why(counts.gated_reasons)}"))
    yield Text("   ").join(
        Text(f"{each.name} {marks.lights[each.level]} {each.words}", style=STYLES[each.level]) for each in lights(scene)
    )
    if beat and beat.device and (told := vitals(beat.device)):
        yield Text(told)
    if counts:
        heard = "" if scene.silent_s is None else f", heard {scene.silent_s:.0f} s ago"
        yield Text(f"message {counts.sequence}{heard}. Ctrl-C ends the watching, not the run", style="dim")


def _stop(stop: Stop, marks: Marks) -> Text:
    """How far the run is: when it ends by itself."""
    full = round(stop.progress * PROGRESS_CELLS)
    bar = marks.full * full + marks.rest * (PROGRESS_CELLS - full)
    end = "enough is counted" if stop.reached else f"{100 * stop.progress:.0f} %"
    return Text(printable(f"{stop} "), style="bold").append(bar, style="cyan").append(f" {end}")


def _why(reasons: Mapping[str, int]) -> str:
    return f"; gated: {', '.join(f'{count} {reason}' for reason, count in sorted(reasons.items()))}" if reasons else ""


def _cut(table: tuple[Text, list[Text]], height: int) -> Iterator[Text]:
    """The table in so many lines."""
    head, rows = table
    yield head
    if len(rows) < height:
        yield from rows
        yield from [Text()] * (height - 1 - len(rows))
        return
    yield from rows[: height - 2]
    yield Text(f"and {len(rows) - height + 2} more classes: make the window taller", style="bold")


def _wrapped(lines: Iterator[Text], console: Console, width: int) -> Iterator[Text]:
    for line in lines:
        yield from line.wrap(console, width)


def _label(label: str, wide: int) -> str:
    return set_cell_size(printable(label), wide)
