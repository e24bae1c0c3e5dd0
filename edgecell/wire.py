"""The messages on the bus. One message is two frames: its topic, then one JSON object in UTF-8.

The topic is the message's `schema`: `counts/1`, `heartbeat/1` or, where that was asked for, `preview/1`. A new field may appear
at any time, so readers ignore what they do not know; a change of meaning gets a new number. `edgecell/schemas/` holds the JSON
Schemas that are generated from the types below, enough for a program in any language; `deploy/wire.md` is written for one. What
it needs besides:

- Order by `sequence`, never by time: a box without a network boots with a wrong clock. Every topic of a run has its own
  sequence from 0. A jump is a loss, and harmless: totals are cumulative, the next message has them all.
- The last message of every topic is sent again when anyone subscribes, so a message may come twice. Ignore what is not newer.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from edgecell.errors import PublishError
from edgecell.messages import NOTICE, Exclusion, FrameFates, PixelUmSource

MAX_BYTES = 1 << 20
"""Largest message that is read. A counts message of 40 classes has about 8 KiB."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
State = Literal["starting", "running", "degraded", "draining", "stopped", "failed"]


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


DeviceId = Annotated[str, _says("The device, as its settings name it.")]
RunId = Annotated[str, _says("The run: one start of the program, or several that resumed it. Totals are those of a run.")]
Sequence = Annotated[Count, _says("From 0 in each run and topic, one more each message. A jump is a loss.")]
ChainHead = Annotated[str, _says("Head of the journal's hash chain at that place, 64 hex digits; empty without a journal.")]
ChainSignature = Annotated[str, _says("Ed25519 signature (128 hex digits) of the head by the device's key; empty without one.")]
Notice = Annotated[str, _says("What these counts may be used for. Show it wherever the counts are shown.")]


class DifferentialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One class of the differential."""

    label: Annotated[str, _says("The class, a key of `cumulative`.")]
    count: Annotated[Count, _says("Its cells.")]
    percent: Annotated[Percent, _says("100 * count / n.")]
    low: Annotated[Percent, _says("Lower limit of the percentage.")]
    high: Annotated[Percent, _says("Upper limit of the percentage.")]


class Differential(msgspec.Struct, frozen=True, kw_only=True):
    """Each class's share of the cells that the differential is over (in blood: the leukocytes)."""

    n: Annotated[Count, _says("Decided cells in the differential: its 100 %.")]
    rows: Annotated[tuple[DifferentialRow, ...], _says("One a class, also those without a cell; empty while n is 0.")]
    method: Annotated[str, _says("How the limits are computed.")]
    confidence: Annotated[float, _says("Probability with which the limits of all classes together hold.")]
    erythroblasts: Annotated[Count, _says("Cells of erythroid classes outside the differential.")]
    erythroblasts_per_100: Annotated[float | None, _says("Those per 100 cells of the differential; null while n is 0.")]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """The rule by which a run ends by itself, and how far it is. cells or width is the aim, the other one is null."""

    cells: Annotated[Count | None, _says("Cells of the differential to count.")]
    width: Annotated[Percent | None, _says("Points of percent that the intervals of all `classes` must be narrower than.")]
    classes: Annotated[tuple[str, ...], _says("Classes that the width is about; none with cells.")]
    now: Annotated[float, _says("Cells of the differential so far; or the widest of those intervals, 100 before any cell.")]
    progress: Annotated[
        float, msgspec.Meta(ge=0, le=1), _says("Share of the cells that it takes; estimated with a width, 1 when reached.")
    ]
    reached: Annotated[bool, _says("true: enough is counted, and the run ends as complete.")]

    def __str__(self) -> str:
        if self.cells is not None:
            return f"{self.now:.0f} of {self.cells} cells of the differential"
        named = ", ".join(self.classes)
        return f"95 % interval of {named} {self.now:.1f} points wide, {self.width or 0:g} wanted"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds from a frame's capture to its counts, over the window."""

    p50: Annotated[float, _says("Median.")]
    p95: Annotated[float, _says("95th percentile.")]
    p99: Annotated[float, _says("99th percentile.")]


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of the run by fate: captured = processed + dropped + gated + failed + in_flight."""

    captured: Annotated[Count, _says("Frames that the source numbered.")]
    processed: Annotated[Count, _says("Looked at: their cells are in the counts.")]
    dropped: Annotated[Count, _says("Lost, or given up unseen because the device was busy.")]
    gated: Annotated[Count, _says("Refused as blurred, badly exposed or the like.")]
    failed: Annotated[Count, _says("Could not be used: corrupt, or an error on the way.")]
    in_flight: Annotated[Count, _says("On their way.")]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that takes part in the run."""

    role: Annotated[str, _says("The kind of cell that it classifies, or `segmenter`.")]
    name: Annotated[str, _says("Name of its bundle.")]
    version: Annotated[str, _says("Version of its bundle.")]
    sha256: Annotated[str, _says("Of its bundle's manifest, which lists the sha256 of every file.")]
    engine: Annotated[str, _says("What runs it, and why where edgecell chose it.")]

    def __str__(self) -> str:
        return f"{self.role}: {self.name} {self.version} on {self.engine}"


class CountsMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="counts/1"):
    """Cell counts of a run so far, and of the window since the message before.

    counts and latency_ms are over the window, all other figures over the run. Always: sum of cumulative + unsure + sum of
    excluded = cells_total.
    """

    device_id: DeviceId
    run_id: RunId
    sample_id: Annotated[str, _says("The sample, or empty: the bus names it only where that is allowed. A run has one.")]
    sequence: Sequence
    window_start_utc: Annotated[str, _says("Start of the window by the device's clock, ISO 8601; see clock_synced.")]
    clock_synced: Annotated[bool, _says("Whether the device knows its clock to be set. If not, times mean nothing.")]
    window_s: Annotated[float, _says("Length of the window in seconds (monotonic clock).")]
    counts: Annotated[dict[str, int], _says("Cells in the window by label; negative where a revision took cells back.")]
    cumulative: Annotated[dict[str, Count], _says("Cells of the run by label. The authority.")]
    unsure: Annotated[Count, _says("Cells of the run that no class was decided for.")]
    excluded: Annotated[dict[str, Count], _says("Cells of the run not counted, by reason: edge, duplicate, rejected.")]
    cells_total: Annotated[Count, _says("All cells found in the run.")]
    counting: Annotated[
        Literal["every_frame", "new_area", "unique"],
        _says("every_frame: a cell counts in each frame that shows it. new_area, unique: each cell counts once."),
    ]
    frames: Frames
    gated_reasons: Annotated[dict[str, Count], _says("Gated frames of the run by reason.")]
    dropped_reasons: Annotated[dict[str, Count], _says("Dropped frames of the run by stage and reason.")] = {}
    latency_ms: Annotated[Latency | None, _says("null when no frame was processed in the window.")]
    differential: Differential
    stop: Annotated[Stop | None, _says("When the run ends by itself; null: with its source, or when somebody ends it.")] = None
    pixel_um: Annotated[float | None, _says("Micrometres a pixel that cells were measured with; null if unknown.")]
    pixel_um_source: Annotated[PixelUmSource, _says("Where pixel_um comes from.")]
    domain: Annotated[
        Literal["known", "foreign"],
        _says("foreign: the slide looks unlike those that the models know, and no nucleated cell is decided. Known at first."),
    ]
    domain_confidence: Annotated[
        float | None, _says("The measure of it: mean confidence (0-1) of the latest cells, null while they are too few.")
    ]
    models: Annotated[tuple[Model, ...], _says("What labels the cells.")]
    valid: Annotated[bool, _says("false: something is wrong on the device, do not rely on this window.")]
    invalid_reason: Annotated[str, _says("What is wrong, empty when valid.")] = ""
    remarks: Annotated[tuple[str, ...], _says("What else happened in the window. It spoils no count.")] = ()
    journal_position: Annotated[
        int | None, _says("Where the device's journal has this window, with every cell of it; null where it keeps none.")
    ] = None
    chain_head: ChainHead = ""
    chain_signature: ChainSignature = ""
    notice: Notice = NOTICE


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the device tells of itself. It spoils no count: a device that is slowed down drops frames, and says so there."""

    temperatures_c: Annotated[dict[str, float], _says("Degrees Celsius by sensor, named as the system names it.")] = {}
    throttled: Annotated[
        tuple[str, ...] | None,
        _says("What slows the device down now: heat, under-voltage, over-current. Empty: nothing; null: nothing would tell."),
    ] = None
    throttled_earlier: Annotated[
        tuple[str, ...], _says("What did at some time since the device was switched on, and does not now.")
    ] = ()
    power_mode: Annotated[str, _says("Power mode, in the words of the board; empty if unknown.")] = ""
    disk_free_mib: Annotated[Count | None, _says("MiB free on the journal's disk, or the working folder's; or null.")] = None
    disk_mib: Annotated[Count | None, _says("MiB of that disk in all; or null.")] = None
    memory_free_mib: Annotated[Count | None, _says("MiB of memory that programs can still have; or null.")] = None


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="heartbeat/1"):
    """The device is alive, also while it has nothing to count. Silence means that the device or the way to it is down."""

    device_id: DeviceId
    run_id: RunId
    sequence: Sequence
    utc: Annotated[str, _says("The device's clock, ISO 8601; see clock_synced.")]
    clock_synced: Annotated[bool, _says("Whether the device knows its clock to be set.")]
    state: Annotated[State, _says("degraded: running, but something (see reason) is being retried. stopped, failed: the end.")]
    reason: Annotated[str, _says("Why the state is what it is, empty when there is nothing to say.")] = ""
    uptime_s: Annotated[float, _says("Seconds since the run started.")]
    frames: Frames
    unsent: Annotated[Count, _says("Messages of this run that the device could not send.")] = 0
    counts_sequence: Annotated[
        int,
        msgspec.Meta(ge=-1),
        _says("That of the run's latest counts message, -1 before it. Who has not got that one lost it."),
    ] = -1
    device: Annotated[
        Device | None, _says("How the device is, seconds ago at most; null before the first look, or while one takes longer.")
    ] = None
    replay: Annotated[str, _says("Where counts that were missed can be asked for, as the device sees it; or empty.")] = ""
    journal_position: Annotated[
        int | None,
        _says("Where the device's journal has the run's latest window, or before one its beginning; null where it keeps none."),
    ] = None
    chain_head: ChainHead = ""
    chain_signature: ChainSignature = ""
    notice: Notice = NOTICE


class PreviewCell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the frame."""

    kind: Annotated[str, _says("What the segmenter took it for.")]
    label: Annotated[str, _says("Its class; empty where it was left out.")]
    confidence: Annotated[float | None, _says("Of that class, 0-1; null where nothing scored it.")]
    decided: Annotated[bool, _says("Whether it counts as that class; else it is unsure, or left out.")]
    excluded: Annotated[Exclusion | None, _says("Why it was left out, or null.")]
    box_px: Annotated[tuple[int, int, int, int], _says("x0, y0, x1, y1 in pixels of the frame, half-open.")]


class Preview(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="preview/1"):
    """What the device sees: a frame, shrunk, with its cells, twice a second at most. On this machine only, and off unless it
    was asked for. None is missed: only the newest says anything.
    """

    device_id: DeviceId
    run_id: RunId
    sequence: Sequence
    frame_index: Annotated[Count, _says("The frame's number in its source.")]
    width_px: Annotated[Count, _says("Width of the frame, which boxes are in; the picture is smaller.")]
    height_px: Annotated[Count, _says("Height of the frame.")]
    accepted: Annotated[bool, _says("false: the gate refused the frame, and nothing on it was looked at.")]
    reason: Annotated[str, _says("Why it was refused, empty if it was not.")]
    focus: Annotated[float, _says("Sharpness, without a unit: larger is sharper.")]
    mean_level: Annotated[float, _says("Mean brightness, 0-1.")]
    saturated_fraction: Annotated[float, _says("Share of pixels that are as bright as can be, 0-1.")]
    cells: Annotated[tuple[PreviewCell, ...], _says("All cells that were found on it, at most 2000.")]
    jpeg: Annotated[bytes, _says("The picture, a JPEG file in base64, its longer side at most 1024 pixels.")]
    notice: Notice = NOTICE


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="replay/1"):
    """Asks for the messages of a run from after a sequence number on, oldest first: one frame to the replay socket."""

    id: Annotated[int, msgspec.Meta(ge=0, lt=2**53), _says("Any number; the answer repeats it.")]
    topic: Annotated[Literal["counts/1"], _says("What is recorded.")]
    run_id: Annotated[str, msgspec.Meta(max_length=128), _says("The run.")]
    after: Annotated[int, msgspec.Meta(ge=-1, lt=2**53), _says("The last sequence number that is here already, or -1.")]


class Replayed(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="replayed/1"):
    """The answer to replay/1, one frame: a page of messages. Ask again after the last of them, until a page is empty."""

    id: Annotated[int, _says("That of the request; 0 for what was none.")]
    messages: Annotated[
        tuple[msgspec.Raw, ...],
        _says("Each as it was on the bus. Empty: there is none after it. A jump of sequence is a loss for good."),
    ] = ()
    next_run: Annotated[str, _says("With an empty page: the run that this device recorded next, empty if there is none.")] = ""
    error: Annotated[str, _says("Why there is no page, else empty.")] = ""
    retry_s: Annotated[float, _says("With an error: seconds after which asking again may help, 0 if it will not.")] = 0.0


Message: TypeAlias = CountsMessage | Heartbeat
TYPES: dict[str, type[CountsMessage] | type[Heartbeat]] = {"counts/1": CountsMessage, "heartbeat/1": Heartbeat}
"""Topic -> type. A new message is one struct and one line here."""

PREVIEW = "preview/1"
"""Heard by who asks for it by name only: it is no Message, for its order does not matter, and who counts has no use for it."""

SCHEMAS: dict[str, type[msgspec.Struct]] = {**TYPES, PREVIEW: Preview, "replay/1": Replay, "replayed/1": Replayed}
"""Everything that has a JSON Schema: the messages, then what goes over the replay socket."""

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(CountsMessage | Heartbeat)
_PREVIEW_DECODER = msgspec.json.Decoder(Preview)
Read = TypeVar("Read")


def topic_of(message: Message | Preview) -> str:
    """`counts/1`, `heartbeat/1` or `preview/1`."""
    return str(message.__struct_config__.tag)


def to_wire(message: Message | Preview) -> tuple[str, bytes]:
    """Topic and payload (UTF-8 JSON, labels sorted)."""
    return topic_of(message), _ENCODER.encode(message)


def from_wire(payload: bytes) -> Message:
    """The message of a payload. Fields that this version does not know are ignored. Raises PublishError."""
    return _read(payload, _DECODER)


def preview_from_wire(payload: bytes) -> Preview:
    """As from_wire, of the topic `preview/1`."""
    return _read(payload, _PREVIEW_DECODER)


def _read(payload: bytes, decoder: "msgspec.json.Decoder[Read]") -> Read:
    fix = "check that the sender is edgecell, and of a version that this one knows"
    if len(payload) > MAX_BYTES:
        raise PublishError(f"message of {len(payload)} bytes, more than {MAX_BYTES}", fix=fix)
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PublishError(f"message cannot be read: {error}", fix=fix) from None


def frames_of(fates: FrameFates) -> Frames:
    """The frame counts of a tally as they stand on the wire."""
    return msgspec.convert(fates, Frames, from_attributes=True)


def schema_files() -> dict[str, str]:
    """File name -> JSON Schema (draft 2020-12) of each message, request and answer, as checked in under edgecell/schemas."""
    return {f"{topic.replace('/', '-')}.json": json.dumps(schema(topic), indent=2) + "\n" for topic in SCHEMAS}


def schema(topic: str) -> Mapping[str, Any]:
    """JSON Schema of a topic's message. Every field is required: writers always send all of them."""
    _, parts = msgspec.json.schema_components([SCHEMAS[topic]], ref_template="#/$defs/{name}")
    own = parts.pop(SCHEMAS[topic].__name__)
    for part in [own, *parts.values()]:
        part["required"] = list(part["properties"])
        part["description"] = " ".join(part["description"].split())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:edgecell:{topic.replace('/', ':')}"}
    return {**head, **own, "$defs": parts}
