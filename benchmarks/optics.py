"""What correcting frames costs, and what it gives back.

    python -m benchmarks.optics cost --images /tmp/mosaics/575x575
    python -m benchmarks.optics restore --data txl_pbc.tar

`cost`: each frame is segmented, corrected as edgecell does it, and corrected in other ways, in turns, on one thread of
OpenCV; the ratio to segmenting is taken frame by frame. How far the answers are from the formula's is told beside.

`restore`: the val fields of TXL-PBC, one microscope after the other, as they are; under a lamp made weak, uneven or coloured on
purpose, as the camera would have seen them; and those corrected by an optics file that was measured by `edgecell optics`' own
functions on places without cells under the same lamp. What is found in them is compared with what is found as they are.
"""

import argparse
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgecell import app, clock, pipeline
from edgecell.app import Recogniser
from edgecell.gate import GateState
from edgecell.imagefile import decoded, listed, load_image
from edgecell.messages import NOTICE, NUCLEATED, PLATELET, RED_BLOOD_CELL, Frame, FrameReport
from edgecell.optics import clear
from edgecell.optics.correct import Correction, evening, in_steps
from edgecell.optics.file import FlatField, Optics, WhiteBalance
from edgecell.pipeline import SlideState
from edgecell.settings import Settings

Image = NDArray[np.uint8]
Light = NDArray[np.float64]
SIZES = ((575, 575), (640, 480), (360, 363))
"""Of three of TXL-PBC's microscopes; the fourth's pictures are squashed."""
NOISE = 1.5
"""Grey values, rms, of the camera that sees the lamp made worse."""
WARM_UP = 3
SAME = 0.5
"""Intersection over union of what is found of one cell twice."""


def lamp(size: tuple[int, int], light: float, corners: float, colour: tuple[float, float, float]) -> Light:
    """(height, width, 3): share of the light that is left. corners: share that the furthest corner loses."""
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    bowl = 1 - corners * ((x - 0.15) ** 2 + (y + 0.1) ** 2) / (1.15**2 + 1.1**2)
    return np.asarray(light * bowl[:, :, None] * np.array(colour))


LAMPS: Mapping[str, tuple[float, float, tuple[float, float, float]]] = {
    "weak (0.3)": (0.3, 0.0, (1.0, 1.0, 1.0)),
    "uneven (corners lose 70 %)": (0.9, 0.7, (1.0, 1.0, 1.0)),
    "yellow (blue 0.45)": (0.9, 0.0, (1.0, 0.85, 0.45)),
    "all three (0.6)": (0.6, 0.7, (1.0, 0.85, 0.45)),
}


def seen_under(image: Image | Light, light: Light, rng: np.random.Generator) -> Image:
    return _bytes(np.clip(np.rint(image * light + rng.normal(0, NOISE, light.shape)), 0, 255))


def measured(background: Sequence[float], light: Light, rng: np.random.Generator) -> Optics:
    """The optics file of a microscope under that lamp, from eight places without cells."""
    height, width = light.shape[:2]
    empty = np.broadcast_to(np.array(background), light.shape)
    seen = [clear.small(seen_under(empty, light, rng), "an empty place") for _ in range(8)]
    red, green, blue = (tuple(map(tuple, grid.tolist())) for grid in clear.surface(seen))
    flat = FlatField(red=red, green=green, blue=blue, frames=8)
    factors = evening(flat, (seen[0].shape[1], seen[0].shape[0]))
    one, two, three = (float(value) for value in clear.levels([picture * factors for picture in seen]))
    return Optics(size_px=(width, height), flat=flat, white=WhiteBalance(level=(one, two, three), frames=8))


@dataclass(frozen=True, slots=True)
class Answers:
    """What was found in the fields of one microscope, in order."""

    reports: tuple[FrameReport, ...]

    @property
    def gated(self) -> int:
        return sum(not report.verdict.accepted for report in self.reports)


def answers(images: Sequence[Image], optics: Optics | None) -> Answers:
    """As `edgecell count` finds them: one run, its scale from its own red cells."""
    plan = app.plan(Settings())
    correct = Correction(optics, "measured") if optics else None
    with plan.recogniser() as recogniser:
        return Answers(tuple(_looked(images, recogniser, correct)))


def _looked(images: Sequence[Image], recogniser: Recogniser, correct: Correction | None) -> Iterator[FrameReport]:
    gate, slide = GateState(), SlideState()
    for index, image in enumerate(images):
        frame = Frame(source_id="benchmark", index=index, captured_ns=clock.monotonic_ns(), image=image)
        found, gate = pipeline.detect(frame, recogniser.segmenter, recogniser.limits, gate, clock.monotonic_ns, correct)
        [report], slide = pipeline.classify([found], recogniser.classifiers, slide, clock.monotonic_ns)
        yield report


def compared(before: Answers, after: Answers) -> Counter[str]:
    """By kind of cell, how many were found before, after, and both times; of white cells decided before, how many have the same
    label still, another one, or none."""
    told: Counter[str] = Counter(gated=after.gated, fields=len(after.reports))
    for one, two in zip(before.reports, after.reports, strict=True):
        for kind in (NUCLEATED, RED_BLOOD_CELL, PLATELET):
            old, new = ([cell for cell in report.cells if cell.kind == kind] for report in (one, two))
            pairs = _pairs([cell.box_px for cell in old], [cell.box_px for cell in new])
            told.update({f"{kind} before": len(old), f"{kind} after": len(new), f"{kind} both": len(pairs)})
            if kind == NUCLEATED:
                told.update(_labels(one, two, {old[a].cell_index: new[b].cell_index for a, b in pairs}))
    return told


def _labels(one: FrameReport, two: FrameReport, partners: Mapping[int, int]) -> Iterator[str]:
    """What became of each decided label of a nucleated cell. partners: indices of the cells that were found twice."""
    after = {each.cell_index: each for each in two.classifications if each.decided}
    nucleated = {cell.cell_index for cell in one.cells if cell.kind == NUCLEATED}
    for before in one.classifications:
        if before.decided and before.cell_index in nucleated:
            other = after.get(partners.get(before.cell_index, -1))
            yield "label lost" if other is None else "label same" if other.label == before.label else "label other"


def _pairs(old: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """One to one, those that share most first."""
    shares = sorted(((-_iou(one, two), a, b) for a, one in enumerate(old) for b, two in enumerate(new)), key=lambda each: each)
    found: list[tuple[int, int]] = []
    for share, a, b in shares:
        if -share < SAME:
            break
        if all(a != x and b != y for x, y in found):
            found.append((a, b))
    return found


def _iou(one: Sequence[int], two: Sequence[int]) -> float:
    wide, high = (min(one[2 + at], two[2 + at]) - max(one[at], two[at]) for at in (0, 1))
    shared = max(0, wide) * max(0, high)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)) - shared)


def fields(data: Path, most: int) -> dict[tuple[int, int], list[Image]]:
    """The val fields by size, which is to say by microscope."""
    found: dict[tuple[int, int], list[Image]] = defaultdict(list)
    with tarfile.open(data) as archive:
        for name in sorted(archive.getnames()):
            stream = archive.extractfile(name) if name.startswith("txl_pbc/images/val/") and name.endswith(".jpg") else None
            if stream is not None:
                image = decoded(stream.read(), name)
                size = image.shape[1], image.shape[0]
                if size in SIZES and len(found[size]) < most:
                    found[size].append(image)
    return found


def restore(data: Path, most: int) -> None:
    by_size = fields(data, most)
    untouched = {size: answers(images, None) for size, images in by_size.items()}
    print(f"{sum(map(len, by_size.values()))} fields of {len(by_size)} microscopes", flush=True)
    for name, (light, corners, colour) in LAMPS.items():
        totals = {"as it came": Counter[str](), "corrected": Counter[str]()}
        for size, images in by_size.items():
            rng, share = np.random.default_rng(0), lamp(size, light, corners, colour)
            worse = [seen_under(image, share, rng) for image in images]
            background = np.median([clear.level(image[::4, ::4].astype(np.float64)) for image in images], axis=0)
            optics = measured([min(250.0, float(level)) for level in background], share, rng)
            for what, file in (("as it came", None), ("corrected", optics)):
                totals[what].update(compared(untouched[size], answers(worse, file)))
        for what, told in totals.items():
            print(f"{name:28} {what:12} {_row(told)}", flush=True)
    print(NOTICE)


def _row(told: Counter[str]) -> str:
    cells = [
        f"{kind} F1 {2 * told[f'{kind} both'] / max(1, told[f'{kind} before'] + told[f'{kind} after']):.3f} "
        f"({told[f'{kind} before']} then {told[f'{kind} after']})"
        for kind in (NUCLEATED, RED_BLOOD_CELL, PLATELET)
    ]
    decided = sum(told[f"label {each}"] for each in ("same", "other", "lost"))
    labels = (
        f"of {decided} decided white cells {told['label same']} same, {told['label other']} other, {told['label lost']} lost"
    )
    return f"gated {told['gated']} of {told['fields']}; {'; '.join(cells)}; {labels}"


def cost(folder: Path, rounds: int) -> None:
    cv2.setNumThreads(1)
    images = [load_image(file) for file in listed(folder)]
    height, width = images[0].shape[:2]
    ways, exact = _ways((width, height))
    spent: dict[str, list[float]] = defaultdict(list)
    with app.plan(Settings()).recogniser() as recogniser:
        for number in range(rounds * len(images)):
            frame = Frame(source_id="benchmark", index=number, captured_ns=0, image=images[number % len(images)])
            for name, work in {"segment": recogniser.segmenter.segment, **ways}.items():
                start = clock.monotonic_ns()
                work(frame)
                spent[name].append((clock.monotonic_ns() - start) / 1e6)
    first = Frame(source_id="benchmark", index=0, captured_ns=0, image=images[0])
    for name, times in spent.items():
        ratio = np.median(np.array(times[WARM_UP:]) / np.array(spent["segment"][WARM_UP:]))
        off = (
            f", off the formula by {_off(ways[name](first), exact(images[0])):.2f} grey values at most" if name in ways else ""
        )
        print(f"{name:42} {np.median(times[WARM_UP:]):6.2f} ms, {ratio:.3f} of segmenting{off}")
    print(f"frames of {width}x{height}, {rounds * len(images)} of them, one thread of OpenCV {cv2.__version__}. {NOTICE}")


def _ways(size: tuple[int, int]) -> tuple[dict[str, Callable[[Frame], Frame | Image]], Callable[[Image], Light]]:
    """Ways to correct a frame of an uneven, slightly yellow lamp, and the formula."""
    level, aim = np.array([240.0, 228.0, 178.0]), 235.0
    red, green, blue = (
        ((0.6 * top, 0.8 * top, 0.6 * top), (0.8 * top, top, 0.8 * top), (0.6 * top, 0.8 * top, 0.6 * top)) for top in level
    )
    flat, white = FlatField(red=red, green=green, blue=blue), WhiteBalance(level=(240.0, 228.0, 178.0), aim=aim)
    even = evening(flat, size)
    factors = even * (aim / level)
    bytes_, step = in_steps(factors)
    floats, even32 = factors.astype(np.float32), even.astype(np.float32)
    table = np.clip(np.rint(np.arange(256)[:, None] * aim / level), 0, 255).astype(np.uint8)[None]
    products = np.clip(np.rint(np.arange(256)[:, None] * np.arange(256)[None] * step), 0, 255).astype(np.uint8)

    def two_passes(frame: Frame) -> Image:
        return _bytes(cv2.LUT(_bytes(cv2.multiply(frame.image, even32, dtype=cv2.CV_8U)), table))

    ways: dict[str, Callable[[Frame], Frame | Image]] = {
        "edgecell: one map of bytes": Correction(Optics(size_px=size, flat=flat, white=white), ""),
        "one map of float32": lambda frame: _bytes(cv2.multiply(frame.image, floats, dtype=cv2.CV_8U)),
        "flat field in float32, then a table": two_passes,
        "the table of values by factors, by numpy": lambda frame: _bytes(products[bytes_, frame.image]),
        "numpy, float32": lambda frame: np.clip(np.rint(frame.image * floats), 0, 255).astype(np.uint8),
    }
    return ways, lambda image: np.clip(image * factors, 0, 255)


def _bytes(image: NDArray[np.generic]) -> Image:
    return image.astype(np.uint8, copy=False)


def _off(got: Frame | Image, exact: Light) -> float:
    image = got.image if isinstance(got, Frame) else got
    return float(np.abs(image - exact).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    costs = commands.add_parser("cost", help="time a frame, beside segmenting it")
    costs.add_argument("--images", type=Path, required=True, help="a folder of frames of one size")
    costs.add_argument("--rounds", type=int, default=6)
    restores = commands.add_parser("restore", help="answers under a bad lamp, corrected and not")
    restores.add_argument("--data", type=Path, required=True, help="txl_pbc.tar")
    restores.add_argument("--most", type=int, default=1000, help="fields of each microscope")
    asked = parser.parse_args()
    if asked.command == "cost":
        cost(asked.images, asked.rounds)
    else:
        restore(asked.data, asked.most)


if __name__ == "__main__":
    main()
