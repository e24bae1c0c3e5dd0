"""How well `counting = "new_area"` counts every cell once, beside counting every frame, on the phantom slide.

    python -m benchmarks.every_cell_once --seeds 11,12,13 --frames 64
    python -m benchmarks.every_cell_once --seeds 11 --stage hand --overlaps 0.7

The slide is searched as a person does: rows, a tremor, halts, and returns to an old place. error: (counted - unique) / unique,
unique being the cells whose place counts in at least one frame that was not refused as blurred or moving. The segmenter `exact`
finds every cell within half a pixel, so that what is left is the fault of the places alone. In brackets
what was counted against all cells of the counted frames, each as often as it was shown: counting every frame, that is
the segmenter's own error. A line for each overlap sums up the seeds. The scale is told, as from an optics file, or estimated on
the red cells: then the field in which cells count is as wrong as the scale is.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import click
import cv2
import numpy as np

from edgecell import app, clock, pipeline
from edgecell.area import NOTHING_NEW, AreaState
from edgecell.edge import LARGEST_RADIUS_UM, excluded
from edgecell.gate import GateState, Limits
from edgecell.messages import NUCLEATED, RED_BLOOD_CELL, Cell, Frame, Segmentation
from edgecell.protocols import Probe, Segmenter
from edgecell.settings import PartSettings, Settings
from edgecell.sources.phantom import PhantomSource
from edgecell.sources.phantom.options import Options
from edgecell.sources.phantom.truth import TrueCell, truth_of

KINDS = RED_BLOOD_CELL, NUCLEATED
Way = Literal["new_area", "every_frame"]


class Exact:
    """A segmenter that knows what was drawn, but for half a pixel."""

    kinds: tuple[str, ...] = KINDS

    def __init__(self, options: Options) -> None:
        self._options = options

    def __enter__(self) -> "Exact":
        return self

    def __exit__(self, *_: object) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="truth")

    def segment(self, frame: Frame) -> Segmentation:
        return Segmentation(cells=tuple(self._cells(frame)), pixel_um=self._options.pixel_um, pixel_um_source="settings")

    def _cells(self, frame: Frame) -> Iterator[Cell]:
        rng = np.random.default_rng(frame.index)
        size = self._options.width, self._options.height
        for index, true in enumerate(truth_of(self._options, frame.index)):
            x, y = (place + rng.normal(0, 0.5) for place in true.centre_px)
            why = excluded(true.kind, true.box_px, (x, y), size, self._options.pixel_um)
            yield Cell(
                frame_index=frame.index,
                cell_index=index,
                kind=true.kind,
                box_px=true.box_px,
                centre_px=(x, y),
                excluded=why,
            )


class Remembered:
    """What a segmenter said of the frames of a run, for another run over the same frames."""

    def __init__(self, inside: Segmenter) -> None:
        self.kinds, self._inside = inside.kinds, inside
        self._found: dict[int, Segmentation] = {}

    def __enter__(self) -> "Remembered":
        return self

    def __exit__(self, *_: object) -> None: ...

    @classmethod
    def probe(cls) -> Probe:
        return Probe(usable=True, version="remembered")

    def segment(self, frame: Frame) -> Segmentation:
        if frame.index not in self._found:
            self._found[frame.index] = self._inside.segment(frame)
        return self._found[frame.index]


def counts(options: Options, cell: TrueCell) -> bool:
    """Whether its place in the frame is one that counts."""
    inset = LARGEST_RADIUS_UM[cell.kind] / options.pixel_um
    x, y = cell.centre_px
    return inset <= x <= options.width - inset and inset <= y <= options.height - inset


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """counted, unique, shown: cells by kind; shown being those of all counted frames, however often.

    fates: of the frames. lost: regions that were begun after the first. stage_ms: sums.
    """

    counted: Counter[str]
    unique: Counter[str]
    shown: Counter[str]
    fates: Counter[str]
    stage_ms: Counter[str]
    lost: int = 0

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            counted=self.counted + other.counted,
            unique=self.unique + other.unique,
            shown=self.shown + other.shown,
            fates=self.fates + other.fates,
            stage_ms=self.stage_ms + other.stage_ms,
            lost=self.lost + other.lost,
        )

    def __str__(self) -> str:
        words = [
            f"{self.counted[kind]:6} {self.unique[kind]:6} {self.counted[kind] / max(self.unique[kind], 1) - 1:+8.2%}"
            f" ({self.counted[kind] / max(self.shown[kind], 1) - 1:+7.2%})"
            for kind in KINDS
        ]
        return " ".join([*words, f"{self.lost:4}", str(dict(self.fates)), str(dict(self.stage_ms))])


def one_run(options: Options, segmenter: Segmenter, way: Way) -> Outcome:
    """A run over the phantom's frames, as the runtime's detect thread does it."""
    state = GateState(area=AreaState() if way == "new_area" else None)
    counted, shown, fates, stage_ms = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    unique: set[tuple[str, int]] = set()
    lost = 0
    with PhantomSource(options) as source:
        while (frame := source.read(1.0)) is not None:
            detected, state = pipeline.detect(frame, segmenter, Limits(), state, clock.monotonic_ns)
            fates[detected.verdict.reason or "counted"] += 1
            stage_ms.update({name: round(us / 1e3) for name, us in detected.stage_us.items()})
            lost += detected.lost
            if detected.verdict.accepted or detected.verdict.reason == NOTHING_NEW:
                true = [cell for cell in truth_of(options, frame.index) if counts(options, cell)]
                unique |= {(cell.kind, cell.cell_id) for cell in true}
            if detected.segmentation is not None:
                shown.update(cell.kind for cell in true)
                counted.update(cell.kind for cell in detected.segmentation.cells if cell.excluded is None)
    kinds = Counter(kind for kind, _ in unique)
    return Outcome(counted=counted, unique=kinds, shown=shown, fates=fates, stage_ms=stage_ms, lost=lost)


@click.command()
@click.option("--seeds", default="11,12,13", help="Slides, never those that the limits were chosen on: 1 and 2.")
@click.option("--overlaps", default="0,0.1,0.3,0.5,0.7,0.85,0.95")
@click.option("--frames", default=40)
@click.option("--stage", type=click.Choice(["searched", "hand"]), default="searched")
@click.option("--exposure", default=0.0, help="Share of the time between two frames that the shutter is open.")
@click.option("--segmenter", default="network", help="stain, network or exact.")
@click.option("--scale", type=click.Choice(["told", "estimated"]), default="told")
def main(
    seeds: str, overlaps: str, frames: int, stage: Literal["searched", "hand"], exposure: float, segmenter: str, scale: str
) -> None:
    cv2.setNumThreads(1)
    print(
        "overlap seed counting        red unique    error    (own)    nucl unique    error    (own) lost, frames, ms by stage"
    )
    ways: tuple[Way, ...] = "new_area", "every_frame"
    for overlap in map(float, overlaps.split(",")):
        sums: dict[str, Outcome] = {}
        for seed in map(int, seeds.split(",")):
            options = Options(seed=seed, stage=stage, overlap=overlap, frames=frames, exposure=exposure)
            with opened(segmenter, options, told=scale == "told") as inside:
                for way in ways:
                    found = one_run(options, inside, way)
                    sums[way] = sums[way] + found if way in sums else found
                    print(f"{overlap:7.2f} {seed:4} {way:<11} {found}", flush=True)
        for name, each in sums.items():
            print(f"{overlap:7.2f}  all {name:<11} {each}", flush=True)


@contextmanager
def opened(segmenter: str, options: Options, *, told: bool) -> Iterator[Segmenter]:
    if segmenter == "exact":
        yield Exact(options)
        return
    part = PartSettings(part=segmenter, options={"pixel_um": options.pixel_um} if told else {})
    plan = app.plan(Settings(segmenter=part, engine=PartSettings(part="onnxrt")))
    with plan.recogniser() as recogniser:
        yield Remembered(recogniser.segmenter)


if __name__ == "__main__":
    main()
