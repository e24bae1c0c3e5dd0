"""What the ledger writes down for a journal: the fates and cells of a window, and what a run needs to go on counting."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from edgecell.journal.events import CONFIDENCE_DIGITS, SLIDE_DIGITS, FrameFate, RecordedCell
from edgecell.messages import Domain, FrameReport, PixelUmSource, Place, Tally
from edgecell.settings import RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The state of a ledger: totals, the frames on their way, the slide as the messages say it, the next sequence numbers."""

    total: Tally = field(default_factory=Tally)
    in_flight: tuple[tuple[int, int], ...] = ()
    domain: Domain = field(default_factory=Domain)
    pixel_um: float | None = None
    pixel_um_source: PixelUmSource = "unknown"
    sequences: Mapping[str, int] = field(default_factory=lambda: {"counts": 0, "heartbeat": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What became of the frames and cells of a closed window."""

    frames: tuple[FrameFate, ...] = ()
    cells: tuple[RecordedCell, ...] = ()


def resumed(books: Books, settings: RunSettings, *, again: bool, programs: int = 1) -> Books:
    """The books of a run that goes on after its program ended. again: whether the source gives the frames that were in flight
    once more; if not, the run begins by dropping them.

    Heartbeats are in no journal: as many numbers are passed over as may have been sent since the last window, by the program
    that made it and those that were begun since and made none; programs: how many these are.
    """
    total, in_flight = books.total, books.in_flight
    if again:
        settled = replace(total.frames, captured=total.frames.captured - total.frames.in_flight, in_flight=0)
        total, in_flight = replace(total, frames=settled), ()
    beats = books.sequences["heartbeat"] + programs * (int(settings.window_s / settings.heartbeat_s) + 2)
    return replace(books, total=total, in_flight=in_flight, sequences={**books.sequences, "heartbeat": beats})


def side_by_side(one: FrameFate, other: FrameFate) -> bool:
    """Whether the second follows the first and differs in nothing else; frames with a name stand alone."""
    alike = (one.fate, one.reason, one.label) == (other.fate, other.reason, "")
    return alike and not other.label and other.first == one.first + one.count


def recorded(report: FrameReport) -> Iterator[RecordedCell]:
    """A processed frame's cells."""
    answers = {answer.cell_index: answer for answer in report.classifications}
    for cell in report.cells:
        answer = answers.get(cell.cell_index)
        sure = None if answer is None or answer.confidence is None else round(float(answer.confidence), CONFIDENCE_DIGITS)
        yield RecordedCell(
            frame=report.frame_index,
            index=cell.cell_index,
            kind=cell.kind,
            label=answer.label if answer else "",
            confidence=sure,
            decided=answer.decided if answer else False,
            excluded=cell.excluded,
            box_px=cell.box_px,
            slide=_slide(report.place, cell.slide_um),
        )


def _slide(place: Place | None, slide_um: tuple[float, float] | None) -> tuple[int, float, float] | None:
    if place is None or slide_um is None:
        return None
    return place.region, round(slide_um[0], SLIDE_DIGITS), round(slide_um[1], SLIDE_DIGITS)
