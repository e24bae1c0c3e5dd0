"""`edgecell run`: the live loop."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from edgecell import app, clock, settings, stoprule
from edgecell.cli import options
from edgecell.cli.watch import line, picture
from edgecell.journal.recording import LATEST
from edgecell.messages import NOTICE, NUCLEATED, FrameReport
from edgecell.protocols import Progress
from edgecell.selftest import MARK, Outcome, SelfTest
from edgecell.settings import Counting, JournalSettings, Settings, StopSettings
from edgecell.wire import CountsMessage, Message, to_wire

DEMO_FRAMES = 200
"""Frames of a run without any argument: enough to fill the table, over within half a minute."""
REDRAW_S = 0.25
PLAIN_S = 5.0


@click.command()
@click.argument("settings_file", metavar="[SETTINGS.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--source", metavar="SPEC", help="phantom, phantom:seed=3,fps=10, or images:PATH (a file, a folder, a video).")
@click.option("--publish", "endpoint", metavar="ENDPOINT", help="Where to publish, e.g. tcp://127.0.0.1:5556.")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--sample-id", help="Name of the sample; on the bus only with [publisher] sample_ids = true.")
@click.option("--operator", help="Who sits at the microscope: for the journal.")
@click.option("--bundle", help="Classifier of nucleated cells: a shipped bundle's name, or the folder of one.")
@options.ENGINE
@options.COUNTING
@options.until
@click.option("--journal", metavar="DIR", help="Keep the journal in this folder.")
@click.option("--no-journal", is_flag=True, help="Keep none: after a crash or a power cut the counts are gone.")
@click.option("--resume", metavar="[RUN_ID]", is_flag=False, flag_value=LATEST, help="Go on with a run of the journal.")
@click.option("--run-id", metavar="ID", help="Name of the new run, for a program that began it. Default: a random one.")
@click.option("--crops", is_flag=True, help="Keep the cells' pictures in the journal, which a review needs.")
@click.option("--preview", is_flag=True, help="Publish what the camera sees, on this machine only: twice a second, shrunk.")
@click.option(
    "--json", "as_json", is_flag=True, help="Counts messages as JSON lines on stdout, as on the bus, and with the sample's id."
)
def command(
    settings_file: Path | None,
    source: str | None,
    endpoint: str | None,
    max_frames: int | None,
    sample_id: str | None,
    operator: str | None,
    bundle: str | None,
    engine: str | None,
    counting: Counting | None,
    stop: StopSettings | None,
    journal: str | None,
    no_journal: bool,
    resume: str | None,
    run_id: str | None,
    crops: bool,
    preview: bool,
    as_json: bool,
) -> None:
    """Grab frames, find and classify their cells, count, and publish the counts.

    Without any argument it looks at the phantom slide, a drawn smear, for 200 frames, and ends with its counts beside what was
    drawn. Ctrl-C or SIGTERM finish the frames that were read, publish the final counts and exit with 0, within two
    seconds: what cannot be finished in that time is counted as dropped.

    With --until-cells, --until-width or [run.stop] the run ends by itself as soon as enough is counted, with all that it has
    counted up to that frame; frames that were read beyond it are dropped, so the counts depend on no clock.

    Every window is in the journal before it is published, by default in ~/.local/state/edgecell/journal. The phantom slide
    without a settings file keeps none, for it counts nothing real.

    --resume goes on with a run that crashed, failed or was stopped, under the same run id: totals, sequence numbers and labels
    are as if nothing had happened. Without RUN_ID that is the latest one of this device and sample that did not come to its
    end; where there is none, a new run begins, so a service may always be started with it. Bundles and settings must be the
    same, but for those that change no count: [publisher], [journal], and of [run] batch_wait_ms, hang_s, memory_mib and
    read_timeout_s.

    \b
    Examples:
      edgecell run
      edgecell run bench.toml
      edgecell run bench.toml --resume
      edgecell run --source images:slides/17 --sample-id 17
      edgecell run --source phantom:stage=searched --max-frames 60 --counting new_area
      edgecell run --source phantom:stage=hand,fps=15 --json
      edgecell run bench.toml --until-cells 200
      edgecell run bench.toml --until-width 5 --of eosinophil --of basophil
    """
    _check_resume(settings_file, resume, run_id)
    chosen = settings.load(settings_file) if settings_file else Settings()
    if settings_file is None and source is None and max_frames is None and stop is None:
        max_frames = DEMO_FRAMES
    chosen = _overridden(
        chosen, source, endpoint, max_frames, sample_id, operator, bundle, engine, counting, stop, preview=preview
    )
    asked = settings_file is not None or resume is not None
    plan = app.plan(_with_journal(chosen, journal, no_journal=no_journal, crops=crops, asked=asked))
    _live(plan, _display(as_json), resume, run_id or "")


def _check_resume(settings_file: Path | None, resume: str | None, run_id: str | None) -> None:
    """Raises UsageError for what cannot be meant."""
    if resume and settings_file is None and (resume.endswith(".toml") or Path(resume).is_file()):
        raise click.UsageError(f"{resume} was taken for the id of a run: write edgecell run {resume} --resume")
    if run_id is not None and resume is not None:
        raise click.UsageError("--run-id is for a new run, --resume goes on with an old one")


def _live(plan: app.Plan, display: "Display", resume: str | None, run_id: str) -> None:
    """The run, shown from its beginning to its end; of the phantom slide beside what was drawn."""
    phantom = plan.source.name == "phantom"
    test = SelfTest(plan.source.options, plan.classes, display, plan.settings.run.counting) if phantom else None
    with display, plan.runtime(test or display, resume, run_id) as runtime:
        last = runtime.run()
    display.end(last, test.outcome() if test else None)


def _overridden(
    chosen: Settings,
    source: str | None,
    endpoint: str | None,
    max_frames: int | None,
    sample_id: str | None,
    operator: str | None,
    bundle: str | None,
    engine: str | None,
    counting: Counting | None,
    stop: StopSettings | None,
    *,
    preview: bool,
) -> Settings:
    """The settings with what the command line says instead."""
    run = chosen.run if max_frames is None else msgspec.structs.replace(chosen.run, max_frames=max_frames)
    run = run if counting is None else msgspec.structs.replace(run, counting=counting)
    run = run if stop is None else msgspec.structs.replace(run, stop=stop)
    publisher = chosen.publisher
    if endpoint is not None:
        publisher = msgspec.structs.replace(publisher, options={**publisher.options, "endpoint": endpoint}, where="--publish")
    if preview:
        publisher = msgspec.structs.replace(publisher, options={**publisher.options, "preview": True})
    values: dict[str, object] = {"run": run, "publisher": publisher}
    if source is not None:
        values["source"] = settings.source_from_spec(source)
    if sample_id is not None:
        values["sample_id"] = sample_id
    if operator is not None:
        values["operator"] = operator
    if bundle is not None:
        values["models"] = {**chosen.models, NUCLEATED: bundle}
    if engine is not None:
        values["engine"] = settings.engine_from_spec(engine)
    return settings.checked(msgspec.structs.replace(chosen, **values))


def _with_journal(chosen: Settings, folder: str | None, *, no_journal: bool, crops: bool, asked: bool) -> Settings:
    """The settings with their journal settled. asked: whether a run of the phantom slide keeps one as well."""
    if folder is not None and no_journal:
        raise click.UsageError("--journal and --no-journal exclude each other")
    kept = chosen.journal
    if no_journal:
        kept = JournalSettings(enabled=False)
    elif folder is not None:
        kept = msgspec.structs.replace(kept or JournalSettings(), enabled=True, path=folder)
    elif kept is None and (asked or chosen.source.part != "phantom"):
        kept = JournalSettings()
    if crops:
        if kept is None or not kept.enabled:
            raise click.UsageError("--crops keeps pictures in the journal, and none is kept: add --journal DIR")
        kept = msgspec.structs.replace(kept, crops=True)
    return msgspec.structs.replace(chosen, journal=kept)


def _display(as_json: bool) -> "Display":
    if as_json:
        return JsonLines()
    return Screen() if sys.stdout.isatty() else PlainLines()


class Display(ABC):
    """Who shows a run. Left when the run is over, however it ended; `end` follows if it ended well."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027 most have nothing to leave
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @abstractmethod
    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None: ...

    @abstractmethod
    def sent(self, message: Message) -> None: ...

    @abstractmethod
    def end(self, last: Progress, outcome: Outcome | None) -> None: ...


class JsonLines(Display):
    """Counts messages as they are on the bus, and with the sample's id, one a line."""

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:
        pass

    def sent(self, message: Message) -> None:
        if isinstance(message, CountsMessage):
            click.echo(to_wire(message)[1])

    def end(self, last: Progress, outcome: Outcome | None) -> None:  # noqa: ARG002 the last counts are out already
        if outcome:
            click.echo(msgspec.json.encode(outcome.as_json()))


class PlainLines(Display):
    """A line every few seconds on stderr, for logs and pipes; the table at the end on stdout."""

    def __init__(self) -> None:
        self._next_ns = 0

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:  # noqa: ARG002
        if clock.monotonic_ns() >= self._next_ns:
            self._next_ns = clock.monotonic_ns() + round(PLAIN_S * 1e9)
            now = progress()
            click.echo(f"{now.fps:.1f} frames/s | {line(now.counts)}", err=True)

    def sent(self, message: Message) -> None:
        pass

    def end(self, last: Progress, outcome: Outcome | None) -> None:
        _print_end(Console(width=110), last, outcome)


class Screen(Display):
    """The whole state, drawn again four times a second."""

    def __init__(self) -> None:
        self._live = Live(console=Console(), auto_refresh=False, transient=True)
        self._next_ns = 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the terminal its cursor back."""
        self._live.stop()

    def settled(self, report: FrameReport | None, progress: Callable[[], Progress]) -> None:  # noqa: ARG002
        if clock.monotonic_ns() < self._next_ns:
            return
        self._live.start()
        self._next_ns = clock.monotonic_ns() + round(REDRAW_S * 1e9)
        self._live.update(_state_of(progress()), refresh=True)

    def sent(self, message: Message) -> None:
        pass

    def end(self, last: Progress, outcome: Outcome | None) -> None:
        _print_end(Console(), last, outcome)


def _state_of(progress: Progress) -> Group:
    return Group(Text(f"{progress.state}, {progress.fps:.1f} frames/s"), picture(progress.counts))


def _print_end(console: Console, last: Progress, outcome: Outcome | None) -> None:
    console.print(_state_of(last))
    if last.counts.stop:
        console.print(Text(stoprule.verdict(last.counts.stop)))
    console.print(Text("\n".join(map(str, last.counts.models))))
    if outcome:
        console.print(_beside_truth(outcome))


def _beside_truth(outcome: Outcome) -> Group:
    table = Table("label", title=f"Counted beside drawn, {outcome.frames} frames", title_justify="left")
    for name in ("counted", "drawn"):
        table.add_column(name, justify="right")
    for label in sorted(outcome.counted.keys() | outcome.true):
        table.add_row(label, str(outcome.counted.get(label, 0)), str(outcome.true.get(label, 0)))
    table.add_row("unsure", str(outcome.unsure), "")
    lines = {
        "red cells wholly inside, error of the count per frame": outcome.red_error,
        "nucleated cells wholly inside, found": outcome.nucleated_found,
        "of those that count, decided": outcome.decided,
        "of those decided, labelled right": outcome.labelled_right,
    }
    text = "\n".join(f"{what}: {'-' if share is None else f'{100 * share:.1f} %'}" for what, share in lines.items())
    return Group(table, Text(text), Text(MARK, style="bold"), Text(NOTICE, style="italic"))
