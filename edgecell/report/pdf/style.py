"""Letters, colours and tables of the PDF."""

from collections.abc import Sequence
from typing import Any

from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import Paragraph, Table

from edgecell.report import words

LETTERS = "cp1252"
"""What the fonts have that every PDF reader brings (PDF 32000, annex D). Anything else is escaped, not left out."""
INK, PALE, LINE = colors.HexColor("#1b1f24"), colors.HexColor("#f2f4f7"), colors.HexColor("#c5ccd6")
MACHINE, REVIEWED, ALARM = colors.HexColor("#0072b2"), colors.HexColor("#d55e00"), colors.HexColor("#a8071a")
"""Of Okabe and Ito's palette, made for colour-blind readers; all at least 4.5:1 on white."""

BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=8.5, leading=11, textColor=INK)
SMALL = ParagraphStyle("small", BODY, fontSize=7, leading=8.5)
RIGHT = ParagraphStyle("right", BODY, alignment=2)
BOLD = ParagraphStyle("bold", BODY, fontName="Helvetica-Bold")
BOLD_RIGHT = ParagraphStyle("bold right", BOLD, alignment=2)
CODE = ParagraphStyle("code", BODY, fontName="Courier", fontSize=7, leading=9)
TITLE = ParagraphStyle("title", BODY, fontName="Helvetica-Bold", fontSize=18, leading=22)
HEADING = ParagraphStyle("heading", BOLD, fontSize=11, leading=14, spaceBefore=12, spaceAfter=4, keepWithNext=1)
NOTICE = ParagraphStyle("notice", BOLD, fontSize=9.5, leading=12, textColor=ALARM)
CENTRE = ParagraphStyle("centre", SMALL, fontSize=6, leading=7, alignment=1)


def shown(text: str) -> str:
    """Text that the fonts have, with what they lack escaped: two samples never look the same."""
    plain = words.plain(text)
    return "".join(letter if _known(letter) else f"\\u{ord(letter):04x}" for letter in plain)


def paragraph(text: str, style: ParagraphStyle = BODY) -> Any:
    """Any text as a paragraph: nothing in it is markup."""
    return Paragraph(words.markup(shown(text)), style)


def table(rows: Sequence[Sequence[Any]], widths: Sequence[float], *, heads: int = 0) -> Any:
    """Rows under `heads` rows that are repeated on every page. widths: of the columns, in points."""
    style = [
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ]
    if heads:
        style.append(("BACKGROUND", (0, 0), (-1, heads - 1), PALE))
    return Table([list(row) for row in rows], colWidths=list(widths), repeatRows=heads, style=style, hAlign="LEFT")


def _known(letter: str) -> bool:
    try:
        letter.encode(LETTERS)
    except UnicodeEncodeError:
        return False
    return True
