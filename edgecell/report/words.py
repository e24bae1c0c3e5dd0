"""How a report writes names and numbers, so that all its forms say the same."""

import re
from html import escape

from edgecell.report.run import RunReport

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff\ud800-\udfff]")
"""No text of a document: XML, HL7 and spreadsheets break on some, others turn round what stands beside them."""

LEAST = {"blood": 100, "marrow": 500}
"""Cells of a differential: of blood after CLSI H20, of marrow as laboratories have it."""


def plain(text: str) -> str:
    """The text with what is no letter escaped: a name in a journal may hold anything."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def markup(text: str) -> str:
    """The same as content of an XML element."""
    return escape(plain(text), quote=False)


def title(label: str) -> str:
    """`immature_granulocyte` -> `immature granulocyte`."""
    return plain(label).replace("_", " ")


def time(utc: str, clock_synced: bool) -> str:
    """A time of the device, with a warning where its clock was not set."""
    return f"{plain(utc)}{'' if clock_synced else ' (clock not set: this time means nothing)'}"


def ending(report: RunReport) -> str:
    """How the run ended."""
    ended = report.ended
    if ended is None:
        return "it goes on, or was cut off: these are the counts so far"
    rule = str(report.stop) if report.stop and report.stop.reached else ""
    enough = f"; {rule}" if rule not in ended.reason else ""  # a run that its rule ended gives it as its reason
    reason = f": {plain(ended.reason)}" if ended.reason else ""
    return f"{ended.state}, {'complete' if ended.complete else 'can be resumed'}{reason}{enough}"


def reviewing(report: RunReport) -> str:
    """What people did with the counts."""
    review = report.review
    if not review.cells:
        done = "no cell was reviewed: the reviewed figures are the machine's"
    else:
        done = f"{review.cells} of {report.machine.cells_total} cells reviewed by {', '.join(map(plain, review.operators))}"
    if review.signed_off is None:
        return f"{done}; not signed off"
    signed = review.signed_off
    stale = "" if signed.windows == report.windows else f", before {report.windows - signed.windows} more windows"
    return f"{done}; signed off by {plain(signed.operator)}, {time(signed.utc, signed.clock_synced)}{stale}"


def lacking(report: RunReport) -> list[str]:
    """Which ratios of a marrow cannot be told, and why."""
    return [] if report.marrow is None else list(report.marrow.reviewed.missing)


def correction(report: RunReport) -> str:
    """How the differential was corrected; "" where it was not."""
    found = report.corrected
    if found is None:
        return ""
    known = f"what {plain(found.bundle)} confused of {found.cells} labelled cells of {plain(found.dataset)}"
    return f"corrected for {known}, from {found.n} decided cells; it replaces no count ({found.method})"


def warnings(report: RunReport) -> list[str]:
    """What a reader must know before they read the counts."""
    told = [f"{n} of {report.windows} windows are not valid: {plain(why)}" for why, n in report.windows_invalid.items()]
    if report.domain == "foreign":
        told.append("the slide looks unlike those that the models know: labels of nucleated cells are held back")
    if report.counting == "every_frame":
        told.append("a cell was counted in every frame that shows it")
    n, least = report.reviewed.differential.n, LEAST.get(report.specimen, LEAST["blood"])
    if n < least:
        told.append(f"the differential is over {n} cells, and {least} are wanted at least")
    if report.ended is None:
        told.append("the run has not ended")
    if report.stop is not None and not report.stop.reached:
        told.append(f"not enough was counted for the run's stop rule: {report.stop}")
    return told
