"""The figures of the PDF: the differential with bars, what is reckoned from it, and what stands apart from it."""

from collections.abc import Iterator, Sequence
from typing import Any

from reportlab.platypus import KeepTogether, Spacer

from edgecell.report import words
from edgecell.report.lines import Figure, Line, lines
from edgecell.report.pdf.bars import WIDTH, axis, bars
from edgecell.report.pdf.style import BOLD, BOLD_RIGHT, HEADING, RIGHT, SMALL, paragraph, table
from edgecell.report.run import RunReport

Flow = Iterator[Any]


def all_of(report: RunReport) -> Flow:
    """One section after another."""
    for section in (_differential, _corrected, _marrow, _apart):
        yield from section(report)


def _differential(report: RunReport) -> Flow:
    rows = [line for line in lines(report) if line.part == "differential"]
    reviewed = report.review.cells > 0
    most = axis(figure for line in rows for figure in (line.machine, line.reviewed))
    yield paragraph("Differential", HEADING)
    heads = ["Class", "Machine", "%", "95 % limits", "Reviewed", "%", "95 % limits", f"0 to {most:.0f} %"]
    styles = [BOLD, *[BOLD_RIGHT] * 6, BOLD]
    body = [_class(line, reviewed, most) for line in rows]
    total = [report.machine.differential.n, "", "", report.reviewed.differential.n if reviewed else "-", "", ""]
    foot = [paragraph("All", BOLD), *(paragraph(str(value), BOLD_RIGHT) for value in total), ""]
    head = [paragraph(text, style) for text, style in zip(heads, styles, strict=True)]
    yield table([head, *body, foot], [104, 44, 34, 60, 48, 34, 60, WIDTH + 8], heads=1)
    yield Spacer(1, 3)
    method, confidence = report.machine.differential.method, report.machine.differential.confidence
    which = "Blue: machine, orange: as reviewed" if reviewed else "Blue: machine; nobody has reviewed a cell"
    yield paragraph(f"{which}. Limits hold for all classes together with probability {confidence:g} ({method}).", SMALL)


def _corrected(report: RunReport) -> Flow:
    rows = [line for line in lines(report) if line.part == "corrected"]
    if report.corrected is None:
        return
    head = [paragraph("Class", BOLD), *(paragraph(text, BOLD_RIGHT) for text in ("Corrected %", "95 % limits"))]
    body = [
        [paragraph(words.title(line.name)), *(paragraph(text, RIGHT) for text in _columns(line.machine)[1:])] for line in rows
    ]
    told = paragraph(f"The machine's differential, {words.correction(report)}.", SMALL)
    yield KeepTogether(
        [paragraph("Corrected for known confusion", HEADING), table([head, *body], [230, 140, 140], heads=1), told]
    )


def _marrow(report: RunReport) -> Flow:
    if report.marrow is None:
        return
    head = [paragraph("Ratio", BOLD), *(paragraph(text, BOLD_RIGHT) for text in ("Machine", "Reviewed"))]
    body = []
    for line in (line for line in lines(report) if line.part == "marrow"):
        reviewed = _estimated(line, line.reviewed) if report.review.cells else "-"
        body.append(_row(words.title(line.name), _estimated(line, line.machine), reviewed))
    found = report.marrow.machine
    told = [f"Limits hold for both ratios together with probability {found.confidence:g} ({found.method})"]
    below = paragraph(". ".join([*told, *words.lacking(report)]) + ".", SMALL)
    yield KeepTogether([paragraph("Marrow", HEADING), _table(head, body, 170, 170, 170), below])


def _estimated(line: Line, figure: Figure) -> str:
    """A ratio or a percentage with its limits; "-" where there is none."""
    value: float | None = getattr(figure, line.value)
    if value is None or figure.low is None:
        return "-"
    high = "no upper limit" if figure.high is None else f"{figure.high:.1f}"
    return f"{value:.1f}{' %' if line.value == 'percent' else ''} ({figure.low:.1f}-{high})"


def _class(line: Line, reviewed: bool, most: float) -> list[Any]:
    cells = [*_columns(line.machine), *(_columns(line.reviewed) if reviewed else ("-", "-", "-"))]
    drawn = bars(line.machine, line.reviewed if reviewed else None, most)
    return [*_row(words.title(line.name), *cells), drawn]


def _columns(figure: Figure) -> tuple[str, str, str]:
    if figure.percent is None or figure.low is None or figure.high is None:
        return str(figure.cells), "-", "-"
    return str(figure.cells), f"{figure.percent:.1f}", f"{figure.low:.1f}-{figure.high:.1f}"


def _apart(report: RunReport) -> Flow:
    parts = {"apart": "counted apart", "unsure": "no class decided", "excluded": "not counted", "total": "all cells found"}
    head = [paragraph("Other cells", BOLD), "", paragraph("Machine", BOLD_RIGHT), paragraph("Reviewed", BOLD_RIGHT)]
    body = []
    for line in (line for line in lines(report) if line.part in parts):
        how = parts[line.part] + (", per 100 of the differential" if line.value == "per_100" else "")
        name, *counts = _row(
            words.title(line.name), _counted(line.machine), _counted(line.reviewed) if report.review.cells else "-"
        )
        body.append([name, paragraph(how), *counts])
    yield KeepTogether([paragraph("Counted apart, and not counted", HEADING), _table(head, body, 140, 190, 90, 90)])


def _counted(figure: Figure) -> str:
    return f"{figure.cells}" if figure.per_100 is None else f"{figure.cells} ({figure.per_100:.1f})"


def _row(name: str, *figures: str) -> list[Any]:
    return [paragraph(name), *(paragraph(text, RIGHT) for text in figures)]


def _table(head: Sequence[Any], body: Sequence[Sequence[Any]], *widths: float) -> Any:
    return table([head, *body], widths, heads=1)
