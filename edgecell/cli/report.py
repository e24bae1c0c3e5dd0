"""`edgecell report`: what a run counted, for people, laboratories and programs."""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from edgecell.cli.meant import run_meant
from edgecell.cli.outfile import whole
from edgecell.cli.watch import printable
from edgecell.journal.reviews import standing
from edgecell.messages import NOTICE
from edgecell.report import fhir, form, hl7, table, words
from edgecell.report.collect import collect
from edgecell.report.corrected import corrected
from edgecell.report.lines import Figure, Line, lines
from edgecell.report.run import RunReport
from edgecell.settings import JournalSettings

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--journal", metavar="DIR", type=click.Path(path_type=Path), help="The journal's folder, if it is another one.")
@click.option("--pdf", "pdf_file", metavar="FILE", type=_FILE, help="Write pages to print, with pictures of the cells.")
@click.option("--csv", "csv_file", metavar="FILE", type=_FILE, help="Write every figure as a table.")
@click.option("--fhir", "fhir_file", metavar="FILE", type=_FILE, help="Write a FHIR R4B Bundle (JSON), status preliminary.")
@click.option("--hl7", "hl7_file", metavar="FILE", type=_FILE, help="Write an HL7 v2.5.1 ORU^R01 message, status preliminary.")
@click.option("--correct", is_flag=True, help="Correct the machine's differential for what its classifier confuses, beside it.")
@click.option("--json", "as_json", is_flag=True, help="All of the report as JSON on stdout.")
def command(
    run_id: str,
    journal: Path | None,
    pdf_file: Path | None,
    csv_file: Path | None,
    fhir_file: Path | None,
    hl7_file: Path | None,
    correct: bool,
    as_json: bool,
) -> None:
    """Report what RUN counted: the differential with its limits, as the machine has it and as people reviewed it.

    RUN is the id of a run in the journal (edgecell journal show), or `latest`. Its cells are counted again first: where the
    totals are not those of the cells, there is no report, and the exit code is 8.

    --pdf needs reportlab: pip install 'edgecell[pdf]'. Files are written whole, for their owner alone. The same journal gives
    the same files. No patient is named in any of them: they name the sample as the run's settings do.

    \b
    Examples:
      edgecell report latest
      edgecell report latest --pdf 17.pdf --fhir 17.fhir.json
      edgecell report 6f1c2a3e-8a53-4bd0-9f52-0d0f6ad1c0de --journal box/journal --json
    """
    folder = journal or JournalSettings().folder
    known = run_meant(folder, run_id)
    said = standing(folder, known)
    report = collect(folder, known, said)
    if correct:
        report = corrected(report)
    forms: list[tuple[str, Path | None, Callable[[], bytes]]] = [
        ("--pdf", pdf_file, lambda: form.pdf(folder, report, said)),
        ("--csv", csv_file, lambda: table.write(report)),
        ("--fhir", fhir_file, lambda: fhir.write(report)),
        ("--hl7", hl7_file, lambda: hl7.write(report)),
    ]
    for option, path, made in forms:
        if path is not None:
            content = made()
            with whole(path, folder, option) as file:
                file.write(content)
    click.echo(msgspec.json.encode(report) if as_json else _text(report))
    click.echo(NOTICE, err=as_json)


def _text(report: RunReport) -> str:
    """For a terminal."""
    head = [
        f"run {report.run_id}, sample {report.sample_id}, {report.device_id}",
        f"began {words.time(report.began_utc, report.clock_synced)}; {words.ending(report)}",
        *([f"operator: {', '.join(report.operators)}"] if report.operators else []),
        words.reviewing(report),
        *(f"WARNING: {told}" for told in words.warnings(report)),
    ]
    told = [(words.title(each.name), _figure(each, each.machine), _figure(each, each.reviewed)) for each in lines(report)]
    wide = max(len(name) for name, _, _ in told)
    rows = [f"{name:{wide}}{machine:>24}{reviewed:>24}" for name, machine, reviewed in [("", "machine", "reviewed"), *told]]
    frames = ", ".join(f"{n} {fate}" for fate, n in msgspec.structs.asdict(report.frames).items() if n)
    below = [f"frames: {frames}", *words.lacking(report), *([words.correction(report)] if report.corrected else [])]
    return "\n".join(printable(line) for line in [*head, *rows, *below])


def _figure(line: Line, figure: Figure) -> str:
    count = "" if figure.cells is None or line.value == "ratio" else f"{figure.cells} "
    value: float | None = getattr(figure, line.value)
    if line.value == "cells" or value is None:
        return count.strip() or "-"
    if line.value == "per_100":
        return f"{count}{value:.1f} per 100"
    high = "" if figure.high is None else f"{figure.high:.1f}"
    return f"{count}{value:.1f}{' %' if line.value == 'percent' else ''} ({figure.low:.1f}-{high})"
