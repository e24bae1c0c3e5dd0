"""What flows inside the process, from a frame to the tally. Plain values: frozen, no behaviour beyond derived fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell.halves import Halves

NOTICE = "For research use only. Not for use in diagnostic procedures."

Exclusion = Literal["edge", "duplicate", "rejected"]
PixelUmSource = Literal["settings", "optics", "bundle", "estimated", "unknown"]
Kind = str
NUCLEATED, RED_BLOOD_CELL, PLATELET = "nucleated", "red_blood_cell", "platelet"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image from a source.

    image: uint8, (height, width, 3), RGB, not writeable; owned by the frame.
    index: consecutive from 0 within a source; a gap is a loss.
    captured_ns: monotonic clock at capture.
    pixel_um: micrometres per pixel if the source itself knows it.
    slide_um: (x, y) stage position of the frame's top left corner in micrometres, if known.
    label: how a person would name it (a file name), "" if it has no name.
    halves: the image at fractions of its size, for all who want it so.
    """

    source_id: str
    index: int
    captured_ns: int
    image: NDArray[np.uint8]
    exposure_us: float | None = None
    pixel_um: float | None = None
    slide_um: tuple[float, float] | None = None
    label: str = ""
    halves: Halves = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "halves", Halves(self.image))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says of a frame. focus: unitless, larger is sharper. mean_level, saturated_fraction: 0-1."""

    accepted: bool
    reason: str
    focus: float
    mean_level: float
    saturated_fraction: float


class Place(NamedTuple):
    """Where a frame's top left corner lies: (x, y) in pixels of the frame. Each region of a slide has an origin of its own."""

    region: int
    x: float
    y: float


class Outline(Protocol):
    """The shape of a cell, made when somebody asks for it: a run that counts does not.

    mask: uint8 0/1, (y1 - y0, x1 - x0), the cell inside its box; the caller owns it. area_um2: None where the scale is unknown.
    """

    def mask(self) -> NDArray[np.uint8]: ...

    def area_um2(self) -> float | None: ...


class Join(NamedTuple):
    """Region `young` of a slide turned out to be a part of region `old`: its origin lies at (x, y) there, in pixels."""

    young: int
    old: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One object that a segmenter found.

    box_px: (x0, y0, x1, y1), half-open, in frame pixels. centre_px: (x, y).
    outline: its shape, None where only its box is known.
    scores: (K,) float32 over the segmenter's kinds, or None where it does not score.
    excluded: why the cell is not counted, or None.
    slide_um: (x, y) of its centre in its region of the slide in micrometres, where frames are placed; the stage's, if it tells.
    """

    frame_index: int
    cell_index: int
    kind: Kind
    box_px: tuple[int, int, int, int]
    centre_px: tuple[float, float]
    outline: Outline | None = None
    excluded: Exclusion | None = None
    scores: NDArray[np.float32] | None = None
    slide_um: tuple[float, float] | None = None

    @property
    def mask(self) -> NDArray[np.uint8]:
        """uint8 0/1, (y1 - y0, x1 - x0): the cell inside its box, the whole box where it has no outline; the caller owns it."""
        x0, y0, x1, y1 = self.box_px
        return np.ones((y1 - y0, x1 - x0), np.uint8) if self.outline is None else self.outline.mask()

    @property
    def area_um2(self) -> float | None:
        """None where the scale is unknown, or the outline."""
        return None if self.outline is None else self.outline.area_um2()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """The cells of one frame and the scale they were measured at (pixel_um: micrometres per pixel, None if unknown).

    unsure_below: a cell that no classifier refines is undecided where its best score is lower.
    """

    cells: tuple[Cell, ...]
    pixel_um: float | None
    pixel_um_source: PixelUmSource
    unsure_below: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detected:
    """A frame after gate and segmenter. segmentation is None exactly when the gate refused the frame.

    place: where it lies, if frames are registered. lost: it was found nowhere, so that a new region begins. joined: it showed
    that two regions are one.
    """

    frame: Frame
    verdict: Verdict
    segmentation: Segmentation | None
    stage_us: Mapping[str, float]
    place: Place | None = None
    lost: bool = False
    joined: Join | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """The label of one cell.

    probabilities: (K,) float32, calibrated, in the bundle's class order; None where the kind itself is the label.
    confidence: 0-1, the calibrated probability of `label`; None where nothing scored it (the kind is the label, or the cell
    could not be cut for want of a scale). decided: confident enough to be counted as `label`.
    """

    cell_index: int
    label: str
    confidence: float | None
    decided: bool
    probabilities: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Whether the slide looks like those a bundle knows. mean_confidence: 0-1 over the latest `cells`, None while too few."""

    state: Literal["known", "foreign"] = "known"
    mean_confidence: float | None = None
    cells: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameReport:
    """All that is known of one processed or gated frame. classifications has one entry for each cell not excluded.

    engine_us: of stage_us["classify"], the time inside engines. place, lost, joined: as in Detected.
    """

    frame_index: int
    captured_ns: int
    label: str
    verdict: Verdict
    cells: tuple[Cell, ...]
    classifications: tuple[Classification, ...]
    pixel_um: float | None
    pixel_um_source: PixelUmSource
    stage_us: Mapping[str, float]
    domain: Domain = Domain()
    engine_us: float = 0.0
    place: Place | None = None
    lost: bool = False
    joined: Join | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFates:
    """captured = processed + dropped + gated + failed + in_flight."""

    captured: int = 0
    processed: int = 0
    dropped: int = 0
    gated: int = 0
    failed: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts so far. sum(counts) + unsure + sum(excluded) = cells_total; the reasons add up to the frames gated and dropped."""

    counts: Mapping[str, int] = field(default_factory=dict)
    unsure: int = 0
    excluded: Mapping[Exclusion, int] = field(default_factory=dict)
    frames: FrameFates = FrameFates()
    gated_reasons: Mapping[str, int] = field(default_factory=dict)
    dropped_reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def cells_total(self) -> int:
        return sum(self.counts.values()) + self.unsure + sum(self.excluded.values())
