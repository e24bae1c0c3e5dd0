"""What stands on the pages of the PDF, section by section."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

from reportlab.platypus import CondPageBreak, Image, KeepTogether, Spacer

from edgecell.report import words
from edgecell.report.gallery import Group
from edgecell.report.pdf import figures
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
    below = (_frames, _review, _models, _quality, _journal)
    parts = (_head(report), figures.all_of(report), *(section(report) for section in below), _gallery(groups))
    return [flowable for part in parts for flowable in part]


def _head(report: RunReport) -> Flow:
    yield paragraph(TITLES.get(report.specimen, "Cell differential"), TITLE)
    yield paragraph(f"Preliminary. {report.notice}", NOTICE)
    yield Spacer(1, 6)
    scale = "unknown" if report.pixel_um is None else f"{report.pixel_um:.4f} um per pixel ({report.pixel_um_source})"
    ended = f"{report.ended.utc}: " if report.ended else ""
    left = [
        ("Sample", report.sample_id),
        ("Specimen", report.specimen or "not recorded"),
        ("Operator", ", ".join(report.operators) or "not recorded"),
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
    body = [paragraph(told), paragraph(place.head, CODE)]
    if report.reviews is not None:
        body.append(paragraph(f"Reviews have a chain of their own, with the run's latest at event {report.reviews.position}:"))
        body.append(paragraph(report.reviews.head, CODE))
    body += [paragraph(settings), paragraph(report.settings_sha256, CODE)]
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
