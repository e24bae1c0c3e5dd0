"""What stands on the pages of the PDF, section by section."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

from reportlab.platypus import CondPageBreak, Image, KeepTogether, Spacer

from edgecell.report import words
from edgecell.report.gallery import Group
from edgecell.report.lines import Figure, Line, lines
from edgecell.report.pdf.bars import WIDTH, axis, bars
from edgecell.report.pdf.style import (
    BODY,
    BOLD,
    BOLD_RIGHT,
    CENTRE,
    CODE,
    HEADING,
    NOTICE,
    RIGHT,
    SMALL,
    TITLE,
    paragraph,
    table,
)
from edgecell.report.run import RunReport

ACROSS = 8
"""Pictures side by side."""
PICTURE = 54.0
"""Their longer side in points: 19 mm."""
TITLES = {"blood": "Blood cell differential", "marrow": "Bone marrow differential", "balf": "Lavage fluid differential"}
Flow = Iterator[Any]


def story(report: RunReport, groups: Sequence[Group]) -> list[Any]:
    """All of it, in order."""
    parts = (_head(report), _differential(report), _apart(report), _frames(report), _review(report), _models(report))
    more = (_quality(report), _journal(report), _gallery(groups))
    return [flowable for part in (*parts, *more) for flowable in part]


def _head(report: RunReport) -> Flow:
    yield paragraph(TITLES.get(report.specimen, "Cell differential"), TITLE)
    yield paragraph(f"Preliminary. {report.notice}", NOTICE)
    yield Spacer(1, 6)
    scale = "unknown" if report.pixel_um is None else f"{report.pixel_um:.4f} um per pixel ({report.pixel_um_source})"
    ended = f"{report.ended.utc}: " if report.ended else ""
    left = [
        ("Sample", report.sample_id),
        ("Specimen", report.specimen or "not recorded"),
        ("Operator", report.operator or "not recorded"),
        ("Device", report.device_id),
        ("Scale", scale),
    ]
    right = [
        ("Run", report.run_id),
        ("Began", words.time(report.began_utc, report.clock_synced)),
        ("Ended", f"{ended}{words.ending(report)}"),
        ("Counting", words.title(report.counting)),
        ("edgecell", report.version),
    ]
    pairs = [[*_named(*one), *_named(*other)] for one, other in zip(left, right, strict=True)]
    yield table(pairs, [52, 190, 52, 216])
    for warning in words.warnings(report):
        yield Spacer(1, 4)
        yield paragraph(f"Warning: {warning}.", NOTICE)


def _named(name: str, value: str) -> tuple[Any, Any]:
    return paragraph(name, BOLD), paragraph(value)


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


def _class(line: Line, reviewed: bool, most: float) -> list[Any]:
    cells = [*_columns(line.machine), *(_columns(line.reviewed) if reviewed else ("-", "-", "-"))]
    drawn = bars(line.machine, line.reviewed if reviewed else None, most)
    return [paragraph(words.title(line.name)), *(paragraph(text, RIGHT) for text in cells), drawn]


def _columns(figure: Figure) -> tuple[str, str, str]:
    if figure.percent is None or figure.low is None or figure.high is None:
        return str(figure.cells), "-", "-"
    return str(figure.cells), f"{figure.percent:.1f}", f"{figure.low:.1f}-{figure.high:.1f}"


def _apart(report: RunReport) -> Flow:
    parts = {"apart": "counted apart", "unsure": "no class decided", "excluded": "not counted", "total": "all cells found"}
    reviewed = report.review.cells > 0
    rows = [
        [
            paragraph(words.title(line.name)),
            paragraph(parts[line.part] + (", per 100 of the differential" if line.value == "per_100" else "")),
            *(paragraph(text, RIGHT) for text in (_beside(line.machine), _beside(line.reviewed) if reviewed else "-")),
        ]
        for line in lines(report)
        if line.part != "differential"
    ]
    head = [paragraph("Other cells", BOLD), "", paragraph("Machine", BOLD_RIGHT), paragraph("Reviewed", BOLD_RIGHT)]
    yield KeepTogether(
        [paragraph("Counted apart, and not counted", HEADING), table([head, *rows], [140, 190, 90, 90], heads=1)]
    )


def _beside(figure: Figure) -> str:
    per_100 = "" if figure.per_100 is None else f" ({figure.per_100:.1f})"
    return f"{figure.cells}{per_100}"


def _frames(report: RunReport) -> Flow:
    fates = [(fate, str(getattr(report.frames, fate))) for fate in report.frames.__struct_fields__]
    reasons = [f"{n} gated: {why}" for why, n in report.gated_reasons.items()]
    reasons += [f"{n} dropped: {why}" for why, n in report.dropped_reasons.items()]
    head = [paragraph(words.title(fate), BOLD_RIGHT) for fate, _ in fates]
    counts = [paragraph(count, RIGHT) for _, count in fates]
    below = [paragraph("; ".join(reasons), SMALL)] if reasons else []
    yield KeepTogether([paragraph("Frames", HEADING), table([head, counts], [85] * len(fates), heads=1), *below])


def _review(report: RunReport) -> Flow:
    yield paragraph("Review", HEADING)
    told = words.reviewing(report)
    yield paragraph(f"{told[0].upper()}{told[1:]}.")


def _models(report: RunReport) -> Flow:
    yield paragraph("Models", HEADING)
    head = [paragraph(text, BOLD) for text in ("For", "Bundle", "Engine", "sha256 of its manifest; what vouches for it")]
    rows = [
        [
            paragraph(words.title(model.role)),
            paragraph(f"{model.name} {model.version}"),
            paragraph(model.engine, SMALL),
            [paragraph(model.sha256, CODE), paragraph(model.proof or "not recorded", SMALL)],
        ]
        for model in report.models
    ]
    yield table([head, *rows], [60, 75, 90, 285], heads=1)


def _quality(report: RunReport) -> Flow:
    check = report.quality_check
    yield paragraph("Quality check", HEADING)
    if check is None:
        yield paragraph("The journal has none of this device from before the run.")
        return
    verdict = "passed" if check.passed else "NOT PASSED"
    when = words.time(check.utc, check.clock_synced)
    yield paragraph(f"{verdict}: slide {check.slide}, {check.fields} fields, {when}", BODY if check.passed else NOTICE)
    yield Spacer(1, 3)
    head = [paragraph("Line", BOLD), *(paragraph(text, BOLD_RIGHT) for text in ("Measured", "From", "To")), paragraph("", BOLD)]
    rows = [
        [
            paragraph(row.name),
            *(paragraph("-" if value is None else f"{value:.4g}", RIGHT) for value in (row.measured, row.low, row.high)),
            paragraph("passed" if row.passed else "NOT PASSED", BODY if row.passed else BOLD),
        ]
        for row in check.rows
    ]
    yield table([head, *rows], [200, 75, 75, 75, 85], heads=1)


def _journal(report: RunReport) -> Flow:
    place = report.journal
    signed = f"signed by key {place.key}" if place.signature else "not signed"
    told = f"Windows: {report.windows}; the last one is event {place.position}, {signed}. Head of the chain at that place:"
    settings = "SHA-256 of the settings that decide what is counted:"
    body = [paragraph(told), paragraph(place.head, CODE), paragraph(settings), paragraph(report.settings_sha256, CODE)]
    yield KeepTogether([paragraph("Journal", HEADING), *body])


def _gallery(groups: Sequence[Group]) -> Flow:
    yield paragraph("Cells", HEADING)
    if not groups:
        yield paragraph("No pictures of cells were kept: they are with crops = true in [journal].")
        return
    yield paragraph("Of each class as it counts now, spread over the run. Under each its frame and its number in it.", SMALL)
    yield Spacer(1, 6)
    for group in groups:
        yield CondPageBreak(2 * PICTURE)
        yield paragraph(f"{words.title(group.label)}: {len(group.shown)} of {group.kept} pictures", BOLD)
        yield Spacer(1, 2)
        cells = [[_picture(each.jpeg), paragraph(f"{each.frame}:{each.cell}", CENTRE)] for each in group.shown]
        cells += [[]] * (-len(cells) % ACROSS)
        rows = [cells[at : at + ACROSS] for at in range(0, len(cells), ACROSS)]
        yield table(rows, [510 / ACROSS] * ACROSS)
        yield Spacer(1, 8)


def _picture(jpeg: bytes) -> Any:
    return Image(io.BytesIO(jpeg), width=PICTURE, height=PICTURE, kind="proportional")
