"""A report is collected from the journal and the reviews beside it, and refused where they do not add up."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgecell import tally
from edgecell.bundle import CellClass
from edgecell.errors import JournalError
from edgecell.journal.chainfile import Row
from edgecell.journal.events import RunEnded, RunStarted, Window
from edgecell.journal.reader import Reader, RunSummary
from edgecell.journal.replay import replay
from edgecell.journal.reviews import ReviewReader, reviews_of
from edgecell.journal.revised import revised
from edgecell.journal.standing import Standing
from edgecell.marrow import ratios
from edgecell.messages import Exclusion, FrameFates, Tally
from edgecell.report.run import Check, Counted, Ended, Place, Ratios, Review, RunReport, SignOff, UsedModel
from edgecell.wire import CountsMessage

_FIX = "edgecell journal verify tells whether a file was changed; what does not add up is not reported"


def collect(folder: Path, run_id: str, said: Standing) -> RunReport:
    """The report of a run in the journal of a folder. said: what stands of its reviews, read before: they are of cells that are
    there by now.

    Raises JournalError for a run that is not there, was erased or has no window yet, and where its totals are not those of its
    cells: such a run is reported by nobody.
    """
    with Reader.open(folder) as reader:
        run = reader.run(run_id)
        if run.started is None:
            raise JournalError(f"the sample of run {run_id} was erased", fix="report another run: edgecell journal show")
        again = replay(reader, run_id)
        if again.differs:
            raise JournalError(f"the totals of run {run_id} do not reconcile: {again.differs}", fix=_FIX)
        last, invalid = _messages(reader, run_id, again.windows)
        report = _report(run, run.started, last, said, invalid, _check_before(reader, run, run.started.device_id))
    _check_signed(report, said)
    return msgspec.structs.replace(report, reviews=_said_at(folder, said))


def _messages(reader: Reader, run_id: str, windows: int) -> tuple[tuple[Row, CountsMessage], dict[str, int]]:
    """The last of the first `windows` messages of a run, and how many of them are not valid, by reason."""
    last: tuple[Row, CountsMessage] | None = None
    invalid = Counter[str]()
    for row, window in reader.windows(run_id):
        if window is None or window.sequence >= windows:
            break
        message = _message(row, window)
        last = row, message
        if not message.valid:
            invalid[message.invalid_reason] += 1
    if last is None:
        raise JournalError(f"run {run_id} has no window yet", fix="wait for its first counts, or report another run")
    return last, dict(invalid)


def _message(row: Row, window: Window) -> CountsMessage:
    try:
        return msgspec.json.decode(window.message, type=CountsMessage)
    except (msgspec.DecodeError, RecursionError) as error:
        what = f"event {row.entry.position} has a message that cannot be read: {error}"
        raise JournalError(what, fix="see which event is broken: edgecell journal verify") from None


def _report(
    run: RunSummary,
    started: RunStarted,
    last: tuple[Row, CountsMessage],
    said: Standing,
    invalid: dict[str, int],
    check: Check | None,
) -> RunReport:
    row, message = last
    classes = started.classes
    machine = Tally(
        counts=message.cumulative,
        unsure=message.unsure,
        excluded=msgspec.convert(message.excluded, dict[Exclusion, int]),
        frames=msgspec.convert(message.frames, FrameFates, from_attributes=True),
    )
    reviewed = _reviewed(run.run_id, machine, said, classes)
    marrow = Ratios(machine=ratios(machine.counts, classes), reviewed=ratios(reviewed.counts, classes))
    return RunReport(
        run_id=run.run_id,
        sample_id=started.sample_id,
        operators=run.operators,
        device_id=started.device_id,
        version=started.version,
        specimen=started.specimen,
        began_utc=started.utc,
        clock_synced=started.clock_synced,
        ended=_ended(run.ended),
        windows=message.sequence + 1,
        windows_invalid=invalid,
        settings_sha256=started.settings_sha256,
        counting=message.counting,
        stop=message.stop,
        frames=message.frames,
        gated_reasons=message.gated_reasons,
        dropped_reasons=message.dropped_reasons,
        pixel_um=message.pixel_um,
        pixel_um_source=message.pixel_um_source,
        domain=message.domain,
        classes=tuple(classes.values()),
        machine=_counted(machine, classes),
        reviewed=_counted(reviewed, classes),
        review=_review(said),
        marrow=marrow if started.specimen == "marrow" else None,
        models=_models(started, message),
        quality_check=check,
        journal=_place(row),
    )


def _place(row: Row) -> Place:
    return Place(
        position=row.entry.position,
        head=row.head.hex(),
        signature=row.signature.hex() if row.signature else "",
        key=row.entry.key,
    )


def _said_at(folder: Path, said: Standing) -> Place | None:
    """Where the chain of reviews has the latest of a run; None where nobody said anything."""
    path = reviews_of(folder) if said.position else None
    if path is None:
        return None
    with ReviewReader.open(path) as reviews:
        return _place(next(reviews.rows(after=said.position - 1)))


def _reviewed(run_id: str, machine: Tally, said: Standing, classes: Mapping[str, CellClass]) -> Tally:
    try:
        return revised(machine, said.reviews, classes)
    except ValueError as error:
        raise JournalError(f"the totals of run {run_id} do not reconcile: {error}", fix=_FIX) from None


def _check_signed(report: RunReport, said: Standing) -> None:
    """Raises JournalError where somebody signed other counts, of the same windows and reviews."""
    signed, now = said.signed_off, report.reviewed
    if signed is None or signed.windows != report.windows:
        return
    if (signed.counts, signed.unsure, signed.excluded) != (now.counts, now.unsure, now.excluded):
        raise JournalError(f"the counts of run {report.run_id} are not those that {signed.operator} signed off", fix=_FIX)


def _review(said: Standing) -> Review:
    signed = said.signed_off
    return Review(
        cells=said.cells,
        operators=said.operators,
        signed_off=None
        if signed is None
        else SignOff(operator=signed.operator, utc=signed.utc, clock_synced=signed.clock_synced, windows=signed.windows),
    )


def _counted(cells: Tally, classes: Mapping[str, CellClass]) -> Counted:
    return Counted(
        counts=dict(cells.counts),
        unsure=cells.unsure,
        excluded={str(reason): count for reason, count in cells.excluded.items()},
        cells_total=cells.cells_total,
        differential=tally.differential(cells, classes),
    )


def _ended(event: RunEnded | None) -> Ended | None:
    return None if event is None else Ended(state=event.state, complete=event.complete, reason=event.reason, utc=event.utc)


def _models(started: RunStarted, message: CountsMessage) -> tuple[UsedModel, ...]:
    return tuple(
        UsedModel(**msgspec.structs.asdict(model), proof=started.proofs.get(model.role, "")) for model in message.models
    )


def _check_before(reader: Reader, run: RunSummary, device_id: str) -> Check | None:
    """The latest quality check of a device before a run began."""
    for row, check in reader.quality_checks(run.first_position):
        if check.device_id == device_id:
            return Check(
                position=row.entry.position,
                utc=check.utc,
                clock_synced=check.clock_synced,
                slide=check.slide,
                passed=check.passed,
                fields=check.fields,
                rows=check.rows,
                reference_sha256=check.reference_sha256,
            )
    return None
