"""A report as CSV: one line a figure, each with the run that it is of and what it may be used for."""

import csv
import io

from edgecell.journal.export import harmless
from edgecell.report.lines import Figure, lines
from edgecell.report.run import RunReport

_RUN = ("run_id", "sample_id", "device_id", "began_utc", "clock_synced")
_PEOPLE = ("operators", "reviewers", "signed_off_by")
_FIGURES = [f"{who}_{what}" for who in ("machine", "reviewed") for what in Figure._fields]
HEADER = (*_RUN, *_PEOPLE, "part", "name", "loinc", "value", *_FIGURES, "notice")


def write(report: RunReport) -> bytes:
    """UTF-8, CRLF, with a header. Parts beyond those of the lines: `frames`, whose machine_cells is a number of frames."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(HEADER)
    signed = report.review.signed_off
    people = ["; ".join(report.operators), "; ".join(report.review.operators), signed.operator if signed else ""]
    run = [*(getattr(report, name) for name in _RUN), *people]
    for line in lines(report):
        table.writerow(_row([*run, line.part, line.name, line.loinc, line.value, *line.machine, *line.reviewed, report.notice]))
    for fate in report.frames.__struct_fields__:
        figures = [getattr(report.frames, fate), *[None] * (len(_FIGURES) - 1)]
        table.writerow(_row([*run, "frames", fate, "", "cells", *figures, report.notice]))
    return text.getvalue().encode()


def _row(values: list[object]) -> list[object]:
    return ["" if value is None else harmless(value) for value in values]
