"""At which resolution should the segmenter work? F1 and time of the network at several micrometres a working pixel.

    python -m benchmarks.resolution --data txl_pbc.tar

The val fields of TXL-PBC, each at every resolution in turn. The scale of each microscope is measured first, by the
segmenter itself where its bundle says it works, and then told to all: so no point of the curve is worse because the red
cells were measured worse there. Time is of frames of 1920x1200 laid out of the same fields (see `benchmarks.mosaic`), one
thread, its processor time, in turns with a fixed piece of work.

The network is the one that ships. It has learnt to find cells shown up to 1.5 times too large or too small; beyond that the
curve tells of a network that was not made for it, and one that was trained there may do better.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import msgspec

from benchmarks import mosaic
from benchmarks.frames import Image, as_frame
from benchmarks.machine import cpu_ms
from benchmarks.naive import fixed_work
from calibration import field_scores
from calibration.fields import Field, frame_of, read_fields
from edgecell import app
from edgecell.bundle import Bundle, open_bundle
from edgecell.errors import EdgecellError
from edgecell.messages import NOTICE
from edgecell.protocols import Engine, Segmenter
from edgecell.segmenters.network import NetworkOptions, NetworkSegmenter
from edgecell.settings import PartSettings
from edgecell.signature import ANY

WORK_UM = (0.15, 0.2, 0.25, 0.3, 0.36, 0.45, 0.6)
"""Micrometres a working pixel. Fields of 0.09 um a pixel are not enlarged by any of them."""
TIMED = "575x575"
"""Of this microscope are the frames that are timed: the finest, so shrinking costs most."""
MOSAICS, ROUNDS = 4, 4
Interval = tuple[float, float]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One resolution. f1: by kind, with its 95 % interval (bootstrap over fields). ms: processor time to segment a frame,
    median. fixed: the same over the fixed work's."""

    work_um: float
    f1: dict[str, tuple[float, float, float]]
    ms: float
    fixed: float


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """works_at_um: where the bundle says that it works. pixel_um: of each microscope, as measured. timed_px: of the frames."""

    bundle: str
    fields: int
    works_at_um: float
    pixel_um: dict[str, float]
    timed_px: tuple[int, int]
    points: tuple[Point, ...]
    notice: str = NOTICE


def measure(data: Path, most: int | None = None, name: str = "cells3") -> Curve:
    """data: TXL-PBC's folder or tar. most: fields at most, spread over all of val. Raises EdgecellError."""
    bundle = open_bundle(name, ANY)
    everything = list(read_fields(data, mosaic.SPLIT))
    fields = everything[:: max(1, len(everything) // most)] if most else everything
    listed = msgspec.toml.decode(mosaic.LIST.read_bytes(), type=mosaic.Mosaics)
    named = {field.name: field for field in everything}
    laid = [each for each in listed.mosaic if each.name.startswith(f"{TIMED}/")][:MOSAICS]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _engine(bundle) as engine:
            scales = _scales(fields, engine, bundle)
            f1 = {work_um: _f1(fields, engine, working_at(bundle, work_um), scales) for work_um in WORK_UM}
            frames = [mosaic.lay(each, named, listed.size_px)[0] for each in laid]
            spent = _times(frames, engine, bundle, scales[TIMED])
    finally:
        cv2.setNumThreads(threads)
    return Curve(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        fields=len(fields),
        works_at_um=works_at(bundle),
        pixel_um=scales,
        timed_px=listed.size_px,
        points=tuple(Point(work_um=at, f1=f1[at], ms=spent[at][0], fixed=spent[at][1]) for at in WORK_UM),
    )


def _scales(fields: Sequence[Field], engine: Engine, bundle: Bundle) -> dict[str, float]:
    """um a pixel of each microscope, pooled over its fields as a run pools it."""
    segmenters: dict[str, Segmenter] = {}
    found: dict[str, float] = {}
    for index, field in enumerate(fields):
        segmenter = segmenters.setdefault(field.source, NetworkSegmenter(engine, bundle))
        found[field.source] = segmenter.segment(frame_of(field, index)).pixel_um or found.get(field.source, works_at(bundle))
    return found


def _f1(
    fields: Sequence[Field], engine: Engine, bundle: Bundle, scales: Mapping[str, float]
) -> dict[str, tuple[float, float, float]]:
    segmenters = {source: _told(engine, bundle, um) for source, um in scales.items()}
    tallied = [
        field_scores.tally(field, segmenters[field.source].segment(frame_of(field, index)).cells)
        for index, field in enumerate(fields)
    ]
    kinds = field_scores.report(tallied)[field_scores.EVERY].kinds
    return {kind: (each.boxes.f1, *each.boxes.interval) for kind, each in kinds.items()}


def _times(frames: Sequence[Image], engine: Engine, bundle: Bundle, pixel_um: float) -> dict[float, tuple[float, float]]:
    """Of each resolution the median milliseconds, and those over the fixed work's, after one round that is not counted."""
    segmenters = {work_um: _told(engine, working_at(bundle, work_um), pixel_um) for work_um in WORK_UM}
    work = fixed_work()
    spent: dict[float, list[tuple[float, float]]] = {work_um: [] for work_um in WORK_UM}
    for turn in range(ROUNDS + 1):
        for image in frames:
            fixed_ms = cpu_ms(work)
            for work_um, segmenter in segmenters.items():
                frame = as_frame(image, turn)
                taken = cpu_ms(lambda segmenter=segmenter, frame=frame: segmenter.segment(frame))  # type: ignore[misc]
                if turn:
                    spent[work_um].append((taken, taken / fixed_ms))
    return {
        at: (statistics.median(ms for ms, _ in each), statistics.median(own for _, own in each)) for at, each in spent.items()
    }


def _told(engine: Engine, bundle: Bundle, pixel_um: float) -> NetworkSegmenter:
    return NetworkSegmenter(engine, bundle, NetworkOptions(pixel_um=pixel_um))


def working_at(bundle: Bundle, work_um: float) -> Bundle:
    """The same network, shown cells at another scale."""
    spec = bundle.manifest.preprocess
    spec = msgspec.structs.replace(spec, crop_um=work_um * spec.size_px)
    return dataclasses.replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, preprocess=spec))


def works_at(bundle: Bundle) -> float:
    return bundle.manifest.preprocess.crop_um / bundle.manifest.preprocess.size_px


@contextmanager
def _engine(bundle: Bundle) -> Iterator[Engine]:
    with app.opened(bundle, app.choose("engine", PartSettings(part="onnxrt", options={"threads": 1}))) as engine:
        yield engine


def as_text(found: Curve) -> str:
    """A Markdown table."""
    kinds = list(found.points[0].f1)
    rows = [
        f"| {each.work_um:.2f}{' (works here)' if each.work_um == found.works_at_um else ''} | "
        + " | ".join("{:.3f} ({:.3f}-{:.3f})".format(*each.f1[kind]) for kind in kinds)
        + f" | {each.ms:.1f} | {each.fixed:.2f} |"
        for each in found.points
    ]
    width, height = found.timed_px
    return "\n".join(
        [
            f"| um a working pixel | {' | '.join(f'F1 {kind}' for kind in kinds)} | ms, {width}x{height} | / fixed work |",
            "|---" * (len(kinds) + 3) + "|",
            *rows,
            "",
            f"{found.bundle}, {found.fields} val fields, 95 % bootstrap over fields; border cells included. {NOTICE}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TXL-PBC's folder or tar")
    parser.add_argument("--most", type=int, help="fields at most")
    parser.add_argument("--svg", type=Path, help="draw the curve into this file")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args(arguments)
    try:
        found = measure(asked.data, asked.most)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if asked.svg:
        from benchmarks import drawing

        drawing.resolution(asked.svg, found)
    print(json.dumps(msgspec.to_builtins(found)) if asked.json else as_text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
