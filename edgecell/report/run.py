"""What a report says of one run: collected from the journal and the reviews beside it, and refused where they do not add up.

A report of the same journal is the same, byte for byte: it has no time of its own and looks at nothing else on the machine.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgecell import tally
from edgecell.bundle import CellClass, Specimen
from edgecell.correction import Corrected
from edgecell.errors import JournalError
from edgecell.journal.chainfile import Row
from edgecell.journal.events import QualityRow, RunEnded, RunStarted, Window
from edgecell.journal.reader import Reader, RunSummary
from edgecell.journal.replay import replay
from edgecell.journal.revised import revised
from edgecell.journal.standing import Standing
from edgecell.marrow import Marrow, ratios
from edgecell.messages import NOTICE, Exclusion, FrameFates, PixelUmSource, Tally
from edgecell.wire import CountsMessage, Differential, Frames, Stop

_FIX = "edgecell journal verify tells whether a file was changed; what does not add up is not reported"


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of a run, as the machine has them or as reviewed: counts, unsure and excluded add up to cells_total."""

    counts: dict[str, int]
    unsure: int
    excluded: dict[str, int]
    cells_total: int
    differential: Differential


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    """Who stands by the reviewed counts. windows: of the run, that they are of."""

    operator: str
    utc: str
    clock_synced: bool
    windows: int


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """cells: that were reviewed. operators: who did. signed_off: None where nobody signed, or a cell was reviewed after it."""

    cells: int
    operators: tuple[str, ...]
    signed_off: SignOff | None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended. complete: its source or its stop rule was at its end."""

    state: str
    complete: bool
    reason: str
    utc: str


class UsedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that took part. sha256: of its bundle's manifest. proof: what vouched for it when the run began, in words."""

    role: str
    name: str
    version: str
    sha256: str
    engine: str
    proof: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The latest quality check of the device before the run. fields: that were looked at."""

    position: int
    utc: str
    clock_synced: bool
    slide: str
    passed: bool
    fields: int
    rows: tuple[QualityRow, ...]
    reference_sha256: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the journal has the last window of the run. head: of its chain, in hex, as published. key: id of what signed it."""

    position: int
    head: str
    signature: str
    key: str


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """Of a bone marrow, by the machine's counts and as reviewed."""

    machine: Marrow
    reviewed: Marrow


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run. windows_invalid: those in which something was wrong on the device, by what. specimen: "" for a run that was
    recorded before the journal told. frames: of the last window; a run that goes on has frames in flight.

    classes: what the labels mean, in the order of the differential. reviewed: as machine, where nobody has reviewed.

    marrow: of a run with that specimen. corrected: the machine's differential without the classifier's known confusion, where
    that was asked for; it stands beside the others.
    """

    notice: str = NOTICE
    run_id: str
    sample_id: str
    operators: tuple[str, ...]
    device_id: str
    version: str
    specimen: Specimen | Literal[""]
    began_utc: str
    clock_synced: bool
    ended: Ended | None
    windows: int
    windows_invalid: dict[str, int]
    settings_sha256: str
    counting: str
    stop: Stop | None
    frames: Frames
    gated_reasons: dict[str, int]
    dropped_reasons: dict[str, int]
    pixel_um: float | None
    pixel_um_source: PixelUmSource
    domain: str
    classes: tuple[CellClass, ...]
    machine: Counted
    reviewed: Counted
    review: Review
    marrow: Ratios | None
    corrected: Corrected | None = None
    models: tuple[UsedModel, ...]
    quality_check: Check | None
    journal: Place


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
    return report


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
        journal=Place(
            position=row.entry.position,
            head=row.head.hex(),
            signature=row.signature.hex() if row.signature else "",
            key=row.entry.key,
        ),
    )


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
