"""What a journal records. Contents are JSON, compressed (zlib); a reader ignores fields that it does not know.

A content carries a random salt, so that its hash, which outlives it, does not let anyone try out what an erased one said.
"""

import os
import zlib
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import field

from edgecell.bundle import CellClass, Specimen
from edgecell.errors import JournalError

MAX_STORED = 32 << 20
"""Largest content in the file, in bytes; more is not read."""
MAX_CONTENT = 256 << 20
"""Largest content once inflated. A window of 1000 cells has about 0.1 MB."""
LEVEL = 1
"""Of compression. 6 takes four times as long for a tenth less."""
CONFIDENCE_DIGITS = 4
SLIDE_DIGITS = 2
"""Of places on the slide in micrometres: a frame is placed to half a pixel at best."""

Fate = Literal["processed", "gated", "dropped", "failed"]
Action = Literal["relabel", "confirm", "reject", "undo"]
Index = Annotated[int, msgspec.Meta(ge=0)]
Some = Annotated[int, msgspec.Meta(ge=1)]


def _salt() -> str:
    return os.urandom(16).hex()


class FrameFate(msgspec.Struct, frozen=True, array_like=True):
    """Where `count` frames from index `first` on went, and why (gated, dropped, failed).

    label: the frame's name; one that has a name stands alone.
    """

    first: Index
    count: Some
    fate: Fate
    reason: str = ""
    label: str = ""


class RecordedCell(msgspec.Struct, frozen=True, array_like=True):
    """One cell of a processed frame. label: "" for an excluded one. confidence: 0-1, to four digits; None where nothing scored
    it.

    box_px: x0, y0, x1, y1, half-open. crop: sha256 of its PNG file where one was kept.
    slide: where its centre lies on the slide, as region, x and y in micrometres, to two digits; None where frames are not
    placed, their scale is unknown, or it was written down before places were.
    """

    frame: Index
    index: Index
    kind: str
    label: str
    confidence: float | None
    decided: bool
    excluded: Literal["edge", "duplicate", "rejected"] | None
    box_px: tuple[int, int, int, int]
    crop: str | None = None
    slide: tuple[Index, float, float] | None = None


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="run_started"):
    """A run begins. settings: all that decides what is counted, bundles included, as JSON; settings_sha256: of its sorted keys.

    operator: who sat at the microscope, "" where nobody said.
    classes: label -> what it means, so that the counts can be made again without the bundles. specimen: that of the bundles.
    proofs: what vouches for each bundle, in words, by the role that `settings` gives it.
    """

    run_id: str
    utc: str
    clock_synced: bool
    device_id: str
    sample_id: str
    version: str
    settings: dict[str, Any]
    settings_sha256: str
    classes: dict[str, CellClass]
    operator: str = ""
    specimen: Specimen | Literal[""] = ""
    proofs: dict[str, str] = {}
    salt: str = field(default_factory=_salt)


class RunResumed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="run_resumed"):
    """A run goes on after its program ended. windows: how many it had. operator: who sits there now."""

    run_id: str
    utc: str
    clock_synced: bool
    version: str
    windows: Index
    operator: str = ""
    salt: str = field(default_factory=_salt)


class Window(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="window"):
    """What happened between two counts messages, and the latter of them.

    message: as published but for its place in the journal, which was not known yet (null and ""). Its topic is `topic`.
    """

    run_id: str
    sequence: Index
    frames: tuple[FrameFate, ...]
    cells: tuple[RecordedCell, ...]
    topic: str
    message: msgspec.Raw
    salt: str = field(default_factory=_salt)


class WindowMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="window"):
    """Of a window all but frames and cells: reading 1500 cells as well takes five times as long."""

    run_id: str
    sequence: Index
    message: msgspec.Raw


class RunEnded(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="run_ended"):
    """The program ended the run. complete: its source or its number of frames was at its end, or its stop rule
    reached, so it cannot be resumed. reason: of a failure, or of a stop rule."""

    run_id: str
    utc: str
    state: Literal["stopped", "failed"]
    complete: bool
    reason: str = ""
    salt: str = field(default_factory=_salt)


class SampleErased(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="sample_erased"):
    """The contents of all events of these runs are gone; their entries stay. The sample's name is not repeated here."""

    run_ids: tuple[str, ...]
    utc: str
    events: int
    crops: int
    salt: str = field(default_factory=_salt)


class QualityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a quality check. measured: None where there was nothing to measure, which has not passed."""

    name: str
    measured: float | None
    low: float
    high: float
    passed: bool


class QualityChecked(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="quality_checked"):
    """A slide that is kept for it was compared with its reference. slide: its name. reference_sha256: of the limits' file.

    fields: that were looked at. It belongs to no run, and names no patient's sample.
    """

    utc: str
    clock_synced: bool
    device_id: str
    version: str
    slide: str
    reference_sha256: str
    fields: int
    models: tuple[str, ...]
    rows: tuple[QualityRow, ...]
    passed: bool
    salt: str = field(default_factory=_salt)


class Reviewed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="reviewed"):
    """What a person said of one cell that the machine had labelled. It stands in the chain of the reviews, as does SignedOff.

    action: `relabel` it, as `label`, which is a label of the run's classes or `unsure`; `confirm` the machine's label; `reject`
    it, which is then excluded; `undo` what was said of it at position `undoes` of the chain, whoever said it.
    label: "" for all but relabel; undoes: 0 for all but undo. machine_label, machine_decided: what the machine had said of it.
    """

    run_id: str
    frame: Index
    cell: Index
    action: Action
    label: str = ""
    undoes: Index = 0
    operator: str
    utc: str
    clock_synced: bool
    machine_label: str
    machine_decided: bool
    salt: str = field(default_factory=_salt)


class SignedOff(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="signed_off"):
    """A person stands by the counts of a run as they are with all reviews so far.

    counts, unsure, excluded: the cells as reviewed. windows: of the run, that they are of; journal_position, chain_head: of the
    journal's latest event of the run.
    """

    run_id: str
    operator: str
    utc: str
    clock_synced: bool
    counts: dict[str, int]
    unsure: int
    excluded: dict[str, int]
    windows: Index
    journal_position: Some
    chain_head: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    salt: str = field(default_factory=_salt)


Event: TypeAlias = RunStarted | RunResumed | Window | RunEnded | SampleErased | QualityChecked | Reviewed | SignedOff
Struct = TypeVar("Struct", bound=msgspec.Struct)
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_MESSAGE_DECODER = msgspec.json.Decoder(WindowMessage)


def pack(event: Event) -> bytes:
    """The content of an event as it is stored. Raises JournalError for one that could not be read again."""
    raw = _ENCODER.encode(event)
    packed = zlib.compress(raw, LEVEL)
    if len(raw) > MAX_CONTENT or len(packed) > MAX_STORED:
        raise JournalError(f"one window holds {len(raw)} bytes, too much for the journal", fix="set a shorter [run] window_s")
    return packed


def unpack(packed: bytes) -> Event:
    """The event of a stored content. Raises ValueError that says what is wrong with it."""
    return _unpacked(packed, _DECODER)


def unpack_message(packed: bytes) -> WindowMessage:
    """Of a stored window its message. Raises ValueError as `unpack` does, and for another event."""
    return _unpacked(packed, _MESSAGE_DECODER)


def _unpacked(packed: bytes, decoder: msgspec.json.Decoder[Struct]) -> Struct:
    if len(packed) > MAX_STORED:
        raise ValueError(f"has {len(packed)} bytes, more than {MAX_STORED}")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, MAX_CONTENT)
        if not inflater.eof:
            raise ValueError(f"is cut short, or inflates to more than {MAX_CONTENT} bytes")
        return decoder.decode(raw)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {error}") from None
