"""What a report says of one run.

A report of the same journal is the same, byte for byte: it has no time of its own, and only a correction looks at a bundle too.
"""

from typing import Literal

import msgspec

from edgecell.bundle import CellClass, Specimen
from edgecell.correction import Corrected
from edgecell.journal.events import QualityRow
from edgecell.marrow import Marrow
from edgecell.messages import NOTICE, PixelUmSource
from edgecell.wire import Differential, Frames, Stop


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
    """A place in a chain. head: in hex. signature: of it, "" where there is none. key: id of what signed it."""

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

    classes: what the labels mean, in the order of the differential. reviewed: as machine, where nobody has reviewed. journal:
    where it has the last window, with the head that was published. reviews: where their chain has the run's latest.

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
    reviews: Place | None = None
