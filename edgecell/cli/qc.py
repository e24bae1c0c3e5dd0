"""`edgecell qc`: a slide that is kept for it, against what it showed when all was well."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress as ProgressBar

from edgecell import __version__, app, clock, settings
from edgecell.app import Plan
from edgecell.cli import options
from edgecell.cli.watch import printable
from edgecell.errors import EdgecellError, FrameCorrupt, FrameTimeout, SettingsError
from edgecell.journal.chainfile import Receipt
from edgecell.journal.events import QualityChecked, QualityRow
from edgecell.journal.journal import Journal
from edgecell.journal.recording import device_key
from edgecell.messages import NOTICE, Frame
from edgecell.quality import measure, reference
from edgecell.quality.measure import Measured
from edgecell.settings import JournalSettings, Settings
from edgecell.wire import Model

FIELDS = 40
"""Enough for the dirt of two batches, and for a count of red cells to a few per cent."""
GLANCE_S = 0.25
"""Longest wait inside the source, so that Ctrl-C is answered."""


def _slide(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """A name that the limits' file takes, before anything is looked at."""
    try:
        return msgspec.convert(value, settings.Id)
    except msgspec.ValidationError:
        raise click.BadParameter("a name has 1 to 128 printable characters") from None


@click.command()
@click.argument("settings_file", metavar="[SETTINGS.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--source", metavar="SPEC", help="Where the slide's frames come from, in place of the settings' source.")
@click.option("--limits", metavar="FILE", type=click.Path(path_type=Path), help="The limits. Default: [qc] limits.")
@click.option("--set-reference", is_flag=True, help="All is well now: write what the slide shows to the limits' file.")
@click.option(
    "--slide",
    metavar="NAME",
    default="reference slide",
    show_default=True,
    callback=_slide,
    help="With --set-reference: its name.",
)
@click.option(
    "--fields", default=FIELDS, show_default=True, type=click.IntRange(measure.LEAST_FIELDS, 10_000), help="Fields to look at."
)
@click.option(
    "--force", is_flag=True, help="With --set-reference: replace limits that are there, and what was changed in them."
)
@options.ENGINE
@click.option("--journal", metavar="DIR", help="Keep the result in the journal in this folder.")
@click.option("--no-journal", is_flag=True, help="Keep the result nowhere.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for each line of the check, the last one for all of it.")
def command(
    settings_file: Path | None,
    source: str | None,
    limits: Path | None,
    set_reference: bool,
    slide: str,
    fields: int,
    force: bool,
    engine: str | None,
    journal: str | None,
    no_journal: bool,
    as_json: bool,
) -> None:
    """Check the microscope with a slide that is kept for it: what it shows now against what it showed when all was well.

    Looked at are the share of fields that can be counted, the diameter of the red cells, level and colour of the background,
    how evenly the field is lit, focus, dirt, cells in a field by kind, and the shares of the classes. One line each: passed or
    not, what was measured, and its limits. Exit code 1 where a line has not passed.

    Begin with --set-reference while all is well. Limits of microscope and camera stand in the file and may be changed there;
    those of counts follow from how many fields and cells were looked at, so that a slide that is as it was passes 99 times of
    100. Move the slide while it is looked at: a field counts once.

    The result is kept in the journal, in its chain of hashes: edgecell journal show.

    \b
    Examples:
      edgecell qc box.toml --limits qc.toml --set-reference --slide QC-3
      edgecell qc box.toml --limits qc.toml
      edgecell qc --source images:slides/qc3 --limits qc.toml --json
    """
    chosen = settings.load(settings_file) if settings_file else Settings()
    file = _limits_file(limits, chosen)
    if set_reference:
        _check_free(file, force=force, journal=journal)
    known = None if set_reference else reference.load(file)
    plan = app.plan(_overridden(chosen, source, engine))
    kept = _journal(chosen, journal, no_journal=no_journal, asked=settings_file is not None, part=plan.source.name)
    measured, models = _measured(plan, fields, file, known)
    if known is None:
        made = reference.reference_of(measured, slide, clock.utc_now(), models)
        reference.save(made, file)
        _tell_reference(made, file, as_json)
        return
    result = _compared(measured, known, file, chosen.device_id)
    _tell(result, _recorded(result, kept), as_json)
    if not result.passed:
        failed = [row.name for row in result.rows if not row.passed]
        what = f"the quality check of {known.slide} failed in {len(failed)} of {len(result.rows)} lines: {', '.join(failed)}"
        raise EdgecellError(
            what, fix="put that right, or, if it is meant to be so, make the reference anew: --set-reference --force"
        )


def _compared(measured: Measured, known: reference.Reference, file: Path, device_id: str) -> QualityChecked:
    """The result. known: the reference in `file`."""
    rows = reference.rows(measured, known)
    return QualityChecked(
        utc=clock.utc_now(),
        clock_synced=clock.synced(),
        device_id=device_id,
        version=__version__,
        slide=known.slide,
        reference_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        fields=measured.fields,
        models=known.models,
        rows=rows,
        passed=all(row.passed for row in rows),
    )


def _limits_file(given: Path | None, chosen: Settings) -> Path:
    """Raises SettingsError where none is named."""
    if given is not None:
        return given
    if not chosen.qc.limits:
        raise SettingsError("there are no limits", fix="give --limits FILE, or limits in [qc]")
    return Path(chosen.qc.limits)


def _check_free(file: Path, *, force: bool, journal: str | None) -> None:
    """Before minutes are spent on a reference that could not be kept. Raises SettingsError, UsageError."""
    if journal is not None:
        raise click.UsageError("--set-reference writes limits and no result: leave out --journal")
    if file.is_dir() or not file.parent.is_dir():
        raise SettingsError(
            f"{file} cannot be written: it is a folder, or its folder is not there", fix="give a file: --limits FILE"
        )
    if file.exists() and not force:
        raise SettingsError(
            f"{file} is there, perhaps with limits changed by hand", fix="give --force to replace it, or another file"
        )


def _overridden(chosen: Settings, source: str | None, engine: str | None) -> Settings:
    if source is not None:
        chosen = msgspec.structs.replace(chosen, source=settings.source_from_spec(source))
    return chosen if engine is None else msgspec.structs.replace(chosen, engine=settings.engine_from_spec(engine))


def _journal(chosen: Settings, folder: str | None, *, no_journal: bool, asked: bool, part: str) -> JournalSettings | None:
    """Where the result is kept, if it is; as for a run, nothing is kept of the phantom slide unless somebody asks for it."""
    if folder is not None and no_journal:
        raise click.UsageError("--journal and --no-journal exclude each other")
    kept = chosen.journal or JournalSettings()
    if folder is not None:
        return msgspec.structs.replace(kept, enabled=True, path=folder)
    if no_journal or not kept.enabled or (part == "phantom" and not asked):
        return None
    return kept


def _measured(plan: Plan, fields: int, file: Path, known: reference.Reference | None) -> tuple[Measured, tuple[Model, ...]]:
    """What the slide shows, and to which models. Raises SettingsError where the reference in `file` is of others."""
    bar = ProgressBar(console=Console(stderr=True), disable=not sys.stderr.isatty())
    with plan.recogniser() as recogniser, bar:
        if known is not None and known.models != reference.named(recogniser.models):
            fix = "make the reference anew with these: --set-reference --force"
            raise SettingsError(f"{file}: models are others than those of now, so their counts cannot be compared", fix=fix)
        task = bar.add_task("fields", total=fields)
        found = measure.measure(_frames(plan), recogniser, fields, lambda seen: bar.update(task, completed=seen))
        return found, recogniser.models


def _frames(plan: Plan) -> Iterator[Frame]:
    """Of the plan's source; those that cannot be used are passed over. Raises SourceError where none comes for too long."""
    with plan.source.make() as source:
        silent_ns = clock.monotonic_ns()
        while True:
            try:
                frame = source.read(GLANCE_S)
            except (FrameTimeout, FrameCorrupt):
                if clock.monotonic_ns() - silent_ns > plan.settings.run.read_timeout_s * 1e9:
                    raise
                continue
            if frame is None:
                return
            yield frame
            silent_ns = clock.monotonic_ns()  # a slow machine that looks at a frame is no silent camera


def _recorded(result: QualityChecked, kept: JournalSettings | None) -> Receipt | None:
    """The result's place in the journal. Raises JournalError, SettingsError, MissingDependency."""
    if kept is None:
        return None
    with Journal.open(kept.folder, device_key(kept.key)) as journal:
        return journal.append(result)


def _tell_reference(made: reference.Reference, file: Path, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"reference": made, "file": str(file), "notice": NOTICE}))
    else:
        click.echo(f"{file}: what {printable(made.slide)} showed in {made.fields} fields is the reference now")
        click.echo(NOTICE)


def _tell(result: QualityChecked, receipt: Receipt | None, as_json: bool) -> None:
    place = None if receipt is None else receipt.position
    if as_json:
        for row in result.rows:
            click.echo(msgspec.json.encode(row))
        told = {name: value for name, value in msgspec.to_builtins(result).items() if name not in ("rows", "salt", "type")}
        click.echo(msgspec.json.encode({**told, "journal_position": place, "notice": NOTICE}))
        return
    click.echo("\n".join(lines(result.rows)))
    where = "kept in no journal" if place is None else f"event {place} of the journal"
    click.echo(f"{printable(result.slide)}, {result.fields} fields: {'passed' if result.passed else 'FAILED'}; {where}")
    click.echo(NOTICE)


def lines(rows: Sequence[QualityRow]) -> Iterator[str]:
    """A line each: passed or not, measured, limits."""
    for row in rows:
        value = "nothing" if row.measured is None else f"{row.measured:.4g}"
        yield f"{'passed' if row.passed else 'FAILED'}  {printable(row.name):<24} {value:>8}  ({row.low:.4g} to {row.high:.4g})"
