"""The PDF file: its pages, each with what the report is, what it is of, and what it may not be used for."""

import io
from collections.abc import Sequence
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import SimpleDocTemplate

from edgecell.report.gallery import Group
from edgecell.report.pdf.sections import story
from edgecell.report.pdf.style import ALARM, INK, LINE, shown
from edgecell.report.run import RunReport

MARGIN, PADDING = 15 * mm, 6
"""PADDING: what reportlab leaves free inside a frame."""
LONGEST = 60
"""Letters of a sample's name in the header; all of it is on the first page."""


def write(report: RunReport, groups: Sequence[Group]) -> bytes:
    """The file. The same report gives the same bytes, with one version of reportlab: its date is a fixed one."""
    pages = _drawn(report, groups, pages=0)[1]
    return _drawn(report, groups, pages)[0]


def _drawn(report: RunReport, groups: Sequence[Group], pages: int) -> tuple[bytes, int]:
    """The file and the number of its pages. pages: as its footer says, for it is known only afterwards."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN - PADDING,
        rightMargin=MARGIN - PADDING,
        topMargin=MARGIN + 8 * mm,
        bottomMargin=MARGIN + 6 * mm,
        title=f"Preliminary cell differential, sample {report.sample_id}",
        author=f"edgecell {report.version}",
        subject=report.notice,
        creator="edgecell",
        lang="en",
        invariant=1,
    )

    def framed(canvas: Any, _: Any) -> None:
        _frame(canvas, report, pages)

    document.build(story(report, groups), onFirstPage=framed, onLaterPages=framed)
    return out.getvalue(), int(document.page)


def _frame(canvas: Any, report: RunReport, pages: int) -> None:
    """Header and footer."""
    width, height = A4
    sample = shown(report.sample_id)
    canvas.saveState()
    canvas.setStrokeColor(LINE)
    for y in (height - MARGIN - 3 * mm, MARGIN + 3 * mm):
        canvas.line(MARGIN, y, width - MARGIN, y)
    canvas.setFillColor(INK)
    canvas.setFont("Helvetica", 8)
    canvas.drawString(MARGIN, height - MARGIN, f"Sample {sample if len(sample) <= LONGEST else sample[:LONGEST] + ' ...'}")
    canvas.drawRightString(width - MARGIN, height - MARGIN, f"Run {shown(report.run_id)[:LONGEST]}")
    canvas.drawRightString(width - MARGIN, MARGIN - 2 * mm, f"Page {canvas.getPageNumber()} of {pages}")
    canvas.setFillColor(ALARM)
    canvas.setFont("Helvetica-Bold", 8)
    canvas.drawString(MARGIN, MARGIN - 2 * mm, f"PRELIMINARY. {report.notice}")
    canvas.restoreState()
