"""How often drift is said where there is none, and how soon where there is.

A run is fields of one microscope in random order: what they differ by is no drift, however they differ, so all that is said of
them as they are is a false alarm. But for dirt that was in the microscope when the fields were taken: it is there. Then every
further field of the run is changed in one way, and it is noted whether that is said, and after how many fields.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.fields import Field
from calibration.focus import scales
from calibration.metrics import Share
from edgecell import dirt, drift
from edgecell.drift import DIRT, FOCUS, LAMP, WHITE, DriftState
from edgecell.gate import blur_um
from edgecell.messages import Verdict
from edgecell.optics.scale import RED_CELL_UM
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options

Image = NDArray[np.uint8]
Change = Callable[[Image, float], Image]
BEFORE, AFTER = 2 * drift.FIELDS, 3 * dirt.FIELDS
"""Fields of a run before and after the change. Before it as many as teach the reference, and as many again."""
LEAST_FIELDS = 30
"""Sources with fewer give no runs: each of their fields would come again and again."""
PHANTOM = 100
"""Fields of the drawn slide."""


def _dimmed(share: float, channels: Sequence[int] = (0, 1, 2)) -> Change:
    def change(image: Image, _pixel_um: float) -> Image:
        out = image.copy()
        out[..., channels] = np.rint(image[..., channels] * share)
        return out

    return change


def _softened(sigma_um: float) -> Change:
    def change(image: Image, pixel_um: float) -> Image:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_um / pixel_um), np.uint8)

    return change


def _soiled(depth: float, radius_um: float) -> Change:
    def change(image: Image, pixel_um: float) -> Image:
        height, width = image.shape[:2]
        disc = np.zeros((height, width), np.float32)
        cv2.circle(disc, (width // 4, height // 3), max(1, round(radius_um / pixel_um)), 1.0, -1)
        shade = np.asarray(cv2.GaussianBlur(disc, (0, 0), 0.5 / pixel_um))
        return np.rint(image * (1 - depth * shade[..., None])).astype(np.uint8)

    return change


CHANGES: Mapping[str, tuple[str, Change]] = {
    "lamp x 0.92": (LAMP, _dimmed(0.92)),
    "lamp x 0.85": (LAMP, _dimmed(0.85)),
    "lamp x 0.75": (LAMP, _dimmed(0.75)),
    "blue x 0.96": (WHITE, _dimmed(0.96, [2])),
    "blue x 0.92": (WHITE, _dimmed(0.92, [2])),
    "blue x 0.85": (WHITE, _dimmed(0.85, [2])),
    "blur 0.2 um": (FOCUS, _softened(0.2)),
    "blur 0.35 um": (FOCUS, _softened(0.35)),
    "blur 0.5 um": (FOCUS, _softened(0.5)),
    "spot 2 um, 15 %": (DIRT, _soiled(0.15, 2)),
    "spot 3.5 um, 15 %": (DIRT, _soiled(0.15, 3.5)),
    "spot 3.5 um, 50 %": (DIRT, _soiled(0.5, 3.5)),
}
"""Name -> what is to be said, and the change. Blur: sigma of a Gaussian. Spot: its radius, and the light that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Runs of one source. change: "" for none. alarms: topic -> runs that said it without that change, of all `runs`.

    said: runs that said it, of those that had not said it before. after: fields until then, median; None where none said it.
    """

    source: str
    change: str
    runs: int
    alarms: Mapping[str, int]
    said: Share | None = None
    after: float | None = None

    def summary(self) -> dict[str, object]:
        """As plain values."""
        told = {"source": self.source, "change": self.change, "runs": self.runs, "alarms": self.alarms}
        return {**told, "said": self.said.summary() if self.said else None, "after": self.after}

    def __str__(self) -> str:
        if self.said is None:
            return f"{self.source:<9} unchanged          runs of {self.runs} with a false alarm: {dict(self.alarms) or 'none'}"
        after = "" if self.after is None else f", after {self.after:.0f} fields"
        return f"{self.source:<9} {self.change:<18} said in {self.said}{after}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """As much of a field as drift is told from: its small image, uint8 (h, w, 3), and its focus."""

    small: Image
    verdict: Verdict


def rows(fields: Sequence[Field], runs: int, seed: int = 0) -> Iterator[Row]:
    """For each source with enough fields: the fields as they are, then each change."""
    pixel_um = scales(fields)
    for source in sorted({field.source for field in fields}):
        own = [field for field in fields if field.source == source]
        if len(own) >= LEAST_FIELDS:
            yield from _rows_of(source, [field.image for field in own], pixel_um[source], runs, seed)


def phantom_rows(runs: int, seed: int = 0) -> Iterator[Row]:
    """The same of the drawn slide."""
    options = Options(width=640, height=400, pixel_um=0.1, frames=PHANTOM)
    images = []
    with PhantomSource(options) as source:
        while (frame := source.read(1.0)) is not None:
            images.append(frame.image)
    return _rows_of("phantom", images, options.pixel_um, runs, seed)


def _rows_of(source: str, images: Sequence[Image], pixel_um: float, runs: int, seed: int) -> Iterator[Row]:
    plain = [_seen(image, pixel_um) for image in images]
    orders = [_order(len(images), np.random.default_rng((seed, run))) for run in range(runs)]
    alarms = Counter[str]()
    for order in orders:
        alarms.update({topic for said in _said([plain[at] for at in order]) for topic in said})
    yield Row(source=source, change="", runs=runs, alarms=alarms)
    for name, (topic, change) in CHANGES.items():
        changed = [_seen(change(image, pixel_um), pixel_um) for image in images]
        said = (_said([plain[at] for at in order[:BEFORE]] + [changed[at] for at in order[BEFORE:]]) for order in orders)
        after = [_after(topic, each) for each in said if not any(topic in topics for topics in each[:BEFORE])]
        heard = [fields for fields in after if fields is not None]
        found, middle = Share(count=len(heard), n=len(after)), float(np.median(heard)) if heard else None
        yield Row(source=source, change=name, runs=runs, alarms={}, said=found, after=middle)


def _after(topic: str, said: Sequence[frozenset[str]]) -> int | None:
    """Fields after the change until it was said; None where it never was."""
    return next((at for at, topics in enumerate(said[BEFORE:], 1) if topic in topics), None)


def _seen(image: Image, pixel_um: float) -> _Seen:
    blur = blur_um(np.ascontiguousarray(image[..., 1]), pixel_um)
    verdict = Verdict(accepted=True, reason="", focus=RED_CELL_UM / blur, mean_level=0.5, saturated_fraction=0.0)
    return _Seen(small=drift.small(image), verdict=verdict)


def _order(fields: int, draw: np.random.Generator) -> list[int]:
    """Fields of a run; each once before any comes again."""
    rounds = -(-(BEFORE + AFTER) // fields)
    return [int(at) for _ in range(rounds) for at in draw.permutation(fields)][: BEFORE + AFTER]


def _said(seen: Sequence[_Seen]) -> list[frozenset[str]]:
    """What is said after each field."""
    state, said = DriftState(), []
    for each in seen:
        state = drift.looked(each.small, each.verdict, state)
        said.append(frozenset(found.topic for found in drift.findings(state)))
    return said
