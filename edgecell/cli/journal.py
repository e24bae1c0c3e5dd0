"""`edgecell journal`: what was recorded, whether it is whole, and what to do with it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from edgecell.cli.outfile import whole
from edgecell.cli.watch import printable
from edgecell.errors import JournalError, SettingsError
from edgecell.journal import erase as erasing
from edgecell.journal import export as exporting
from edgecell.journal import replay as replaying
from edgecell.journal import verify as verifying
from edgecell.journal.chainfile import Row
from edgecell.journal.events import QualityChecked
from edgecell.journal.reader import Reader, RunSummary, Totals
from edgecell.journal.recording import device_key
from edgecell.journal.reviews import ReviewReader, reviews_of, standing
from edgecell.messages import NOTICE
from edgecell.settings import JournalSettings
from edgecell.signature import key_id, read_public, signed_by

_HEAD = re.compile("[0-9a-f]{64}")
_FOLDER = click.argument("folder", required=False, type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
_RUN = click.option("--run", "run_id", metavar="RUN_ID", help="This run only.")


@click.group()
def command() -> None:
    """Look into the journal that `edgecell run` keeps: every frame's fate, every cell, every window that was published.

    FOLDER is the journal's, by default ~/.local/state/edgecell/journal. All but `erase` only read, also while a run is writing.

    \b
    Examples:
      edgecell journal show
      edgecell journal show --json
      edgecell journal verify box/journal
      edgecell journal export --format parquet --out cells.parquet
      edgecell journal erase --sample 17
    """


@command.command("show")
@_FOLDER
@_RUN
@_JSON
def show(folder: Path | None, run_id: str | None, as_json: bool) -> None:
    """List the runs with their totals, and the quality checks. A run names the latest one before it, of its own device.

    \b
    Examples:
      edgecell journal show
      edgecell journal show box/journal --run 6f1c2a3e-8a53-4bd0-9f52-0d0f6ad1c0de --json
    """
    with _opened(folder) as reader:
        for run in (reader.run(each) for each in _runs(reader, run_id)):
            told = _told(run, reader.totals(run.run_id), _check_before(reader, run))
            told["review"] = standing(_path(folder), run.run_id).told(run.windows)
            click.echo(msgspec.json.encode(told) if as_json else _lines(told))
        for told in _checks(reader) if run_id is None else ():
            click.echo(msgspec.json.encode({**told, "notice": NOTICE}) if as_json else _check_line(told))
    click.echo(NOTICE, err=as_json)


@command.command("verify")
@_FOLDER
@click.option("--key", type=click.Path(path_type=Path), help="Public key (NAME.signing.pub) to check signatures with.")
@click.option("--head", metavar="HEX", default="", help="A chain_head that was published: it must be in the chain.")
@_JSON
def verify(folder: Path | None, key: Path | None, head: str, as_json: bool) -> None:
    """Compute every hash again, of the journal and of the reviews beside it, and name the first event that does not fit. Exit
    code 8 where one does not.

    A whole chain shows that nothing was changed by accident or in part. Whoever may write the file can make all of it anew:
    only a signature by a key that is kept elsewhere (--key), or a head that was published (--head), shows that.

    \b
    Examples:
      edgecell journal verify
      edgecell journal verify box/journal --key device.signing.pub --json
    """
    if head and not _HEAD.fullmatch(head.lower()):
        raise SettingsError(f"{head!r} is no head", fix="give all 64 hex digits of a chain_head")
    public = None if key is None else read_public(key)
    checks = None if public is None else lambda signature, content: signed_by(public, signature, content)
    found = verifying.verify(_path(folder), checks=checks, published=head.lower())
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(found), "whole": found.whole, "notice": NOTICE}))
    else:
        for name, each in (("", found), ("reviews: ", found.reviews)):
            if each is not None:
                click.echo(f"{name}{each.events} events follow from each other; head {each.head}")
                by = f"{each.signed} signed by key {key_id(public)}" if public else f"{each.unchecked} signatures, no key given"
                click.echo(f"{name}{each.erased} contents erased; {by}")
        click.echo(NOTICE)
    fix = "compare it with a copy; what stands before is as it was"
    if found.broken:
        raise JournalError(f"the chain is broken: {found.broken}", fix=fix)
    if found.reviews and found.reviews.broken:
        raise JournalError(f"the chain of reviews is broken: {found.reviews.broken}", fix=fix)


@command.command("replay")
@_FOLDER
@_RUN
@_JSON
def replay(folder: Path | None, run_id: str | None, as_json: bool) -> None:
    """Count the recorded cells again, window by window, and compare with what was published; then with the reviews, and compare
    with what was signed off. Exit code 8 where they differ.

    \b
    Examples:
      edgecell journal replay
      edgecell journal replay box/journal --json
    """
    broken = ""
    with _opened(folder) as reader, _reviews(folder) as reviews:
        for each in _runs(reader, run_id):
            found = replaying.replay(reader, each, reviews)
            broken = broken or found.differs
            if as_json:
                click.echo(msgspec.json.encode({**msgspec.to_builtins(found), "equal": not found.differs, "notice": NOTICE}))
            else:
                verdict = "erased" if found.erased else found.differs or "as published"
                reviewed = f", {found.reviews} reviews" if found.reviews else ""
                counted = f"{found.windows} windows, {found.frames} frames, {found.cells} cells{reviewed}"
                click.echo(f"{found.run_id}: {counted}: {verdict}")
    click.echo(NOTICE, err=as_json)
    if broken:
        raise JournalError(broken, fix="edgecell journal verify tells whether the file was changed")


@command.command("export")
@_FOLDER
@_RUN
@click.option("--sample", metavar="ID", help="This sample only.")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write, for its owner alone; else stdout.")
@click.option("--crops", type=click.Path(path_type=Path, file_okay=False), help="Folder for the pictures that were kept.")
def export(
    folder: Path | None, run_id: str | None, sample: str | None, kind: exporting.Format, out: Path | None, crops: Path | None
) -> None:
    """Write the cells as a table, one row a cell. Parquet needs pyarrow: pip install 'edgecell[parquet]'.

    FILE is whole or as it was before: the table takes its name once it is finished.

    A picture's file is named after its sha256, which is in the column `crop`. The machine's label is in `label`, a person's in
    `reviewed_label`, empty for a cell that was not reviewed, or rejected.

    \b
    Examples:
      edgecell journal export --out cells.csv
      edgecell journal export box/journal --format jsonl --sample 17
    """
    exporting.check(kind)
    with _opened(folder) as reader, _reviews(folder) as reviews:
        runs = [each for each in _runs(reader, run_id) if sample is None or _sample(reader.run(each)) == sample]
        if sample is not None and not runs:
            raise JournalError(f"there is no run of sample {sample!r}", fix="list the samples: edgecell journal show")
        with _written(out, kind, _path(folder)) as file:
            rows = exporting.write(exporting.cells(reader, runs, reviews), kind, file)
        if crops is not None:
            pictures = exporting.write_crops(exporting.cells(reader, runs), _path(folder), crops)
            click.echo(f"{pictures} pictures in {crops}", err=True)
    click.echo(f"{rows} cells of {len(runs)} runs. {NOTICE}", err=True)


@command.command("erase")
@_FOLDER
@click.option("--sample", metavar="ID", required=True, help="The sample.")
@click.option("--key", default="", help="Private key (NAME.signing.key) of a device that signs its journal.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def erase(folder: Path | None, sample: str, key: str, yes: bool, as_json: bool) -> None:
    """Erase all that was recorded of a sample, counts, crops and reviews included. It cannot be undone.

    What stays is the place of each event in the chain, with times and hashes, so that the rest can still be verified.

    \b
    Examples:
      edgecell journal erase --sample 17
      edgecell journal erase box/journal --sample 17 --yes --json
    """
    path = _path(folder)
    Reader.open(path).close()
    if not yes:
        click.confirm(f"Erase sample {sample} from {path} for good?", abort=True, err=True)
    gone = erasing.erase(path, sample, device_key(key))
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.to_builtins(gone), "notice": NOTICE}))
    else:
        click.echo(f"erased: {len(gone.runs)} runs, {gone.events} events, {gone.crops} crops, {gone.reviews} reviews")
    if not gone.complete:
        raise JournalError(
            "someone is reading the journal, so its log still has old pages", fix="erase again once they have left"
        )
    click.echo(NOTICE, err=as_json)


def _path(folder: Path | None) -> Path:
    return folder or JournalSettings().folder


def _opened(folder: Path | None) -> Reader:
    return Reader.open(_path(folder))


@contextmanager
def _reviews(folder: Path | None) -> Iterator[ReviewReader | None]:
    """What people said, None where nobody did."""
    path = reviews_of(_path(folder))
    if path is None:
        yield None
        return
    with ReviewReader.open(path) as reader:
        yield reader


def _runs(reader: Reader, run_id: str | None) -> list[str]:
    return reader.run_ids() if run_id is None else [reader.run(run_id).run_id]


def _sample(run: RunSummary) -> str | None:
    return run.started.sample_id if run.started else None


@contextmanager
def _written(out: Path | None, kind: exporting.Format, folder: Path) -> Iterator[IO[bytes]]:
    """The file, which is there once all of it is, or stdout, which is not for Parquet on a screen. Raises JournalError, also
    for one of the journal's own files."""
    if out is not None:
        with whole(out, folder, "--out") as file:
            yield file
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is no text: give --out FILE")
    yield sys.stdout.buffer


def _check_before(reader: Reader, run: RunSummary) -> dict[str, Any] | None:
    """The latest quality check of the run's device before it began; None if there is none."""
    if run.started is None:
        return None
    device, before = run.started.device_id, reader.quality_checks(run.first_position)
    return next((_check(row, check) for row, check in before if check.device_id == device), None)


def _checks(reader: Reader) -> list[dict[str, Any]]:
    """Every quality check, the oldest first."""
    return [{"quality_check": _check(row, check)} for row, check in reader.quality_checks()][::-1]


def _check(row: Row, check: QualityChecked) -> dict[str, Any]:
    names = ("device_id", "utc", "clock_synced", "slide", "passed", "fields", "rows", "reference_sha256")
    return {"position": row.entry.position, **{name: getattr(check, name) for name in names}}


def _check_line(told: dict[str, Any]) -> str:
    check = told["quality_check"]
    return printable(f"event {check['position']}  {check['device_id']}, quality check {_verdict(check)}")


def _verdict(check: dict[str, Any]) -> str:
    failed = [row.name for row in check["rows"] if not row.passed]
    verdict = f"failed in {', '.join(failed)}" if failed else "passed"
    return f"with {check['slide']}, {check['utc']}: {verdict}"


def _told(run: RunSummary, totals: Totals, check: dict[str, Any] | None) -> dict[str, Any]:
    """One run as a table of plain values."""
    started, ended = run.started, run.ended
    if started is None:
        return {"run_id": run.run_id, "windows": run.windows, "erased": True, "notice": NOTICE}
    state = "unfinished" if ended is None else ended.state
    return {
        "run_id": run.run_id,
        "erased": False,
        "device_id": started.device_id,
        "sample_id": started.sample_id,
        "started_utc": started.utc,
        "clock_synced": started.clock_synced,
        "state": state,
        "complete": ended.complete if ended else False,
        "reason": ended.reason if ended else "",
        "windows": run.windows,
        "frames": totals.frames,
        "counts": totals.cumulative,
        "unsure": totals.unsure,
        "excluded": totals.excluded,
        "settings": started.settings,
        "settings_sha256": started.settings_sha256,
        "quality_check": check,
        "key": run.key,
        "notice": NOTICE,
    }


def _lines(told: dict[str, Any]) -> str:
    """The same for a terminal."""
    if told["erased"]:
        return f"{told['run_id']}  erased, {told['windows']} windows"
    counts = ", ".join(f"{label} {count}" for label, count in sorted(told["counts"].items()))
    frames = ", ".join(f"{count} {fate}" for fate, count in told["frames"].items() if count)
    state = told["state"] + (", can be resumed" if not told["complete"] else "")
    review, signed = told["review"], told["review"]["signed_off"]
    by = f"; signed off by {signed['operator']}, {signed['utc']}" if signed else ""
    lines = [
        f"{told['run_id']}  {told['device_id']}, sample {told['sample_id']}, {told['started_utc']}: {state}",
        f"    {told['windows']} windows; frames: {frames or 'none'}",
        f"    cells: {counts or 'none'}; {told['unsure']} unsure, {sum(told['excluded'].values())} excluded",
        *([f"    reviewed: {review['cells']} cells by {', '.join(review['operators'])}{by}"] if review["operators"] else []),
        *([f"    quality check before it {_verdict(told['quality_check'])}"] if told["quality_check"] else []),
    ]
    return "\n".join(printable(line) for line in lines)
