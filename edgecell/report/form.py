"""The form of a report that needs more than the base dependencies."""

from pathlib import Path

from edgecell.errors import MissingDependency
from edgecell.journal.standing import Standing
from edgecell.report.gallery import gallery
from edgecell.report.run import RunReport


def pdf(folder: Path, report: RunReport, said: Standing) -> bytes:
    """The PDF, with the pictures in the journal of a folder. said: the reviews that the report is with.

    Raises MissingDependency and JournalError.
    """
    try:
        from edgecell.report.pdf import document
    except ImportError as error:
        fix = "pip install 'edgecell[pdf]', or report without --pdf"
        raise MissingDependency("a PDF needs reportlab, which is not installed", fix=fix) from error
    return document.write(report, gallery(folder, report, said))
