"""What the frame path answers, written down: of drawn frames, and of real fields where they lie beside the project.

    python tests/answers.py           # write tests/answers.json anew, after a change of answers that was meant

A set of frames is one run: what its first frames teach of scale, stain and sharpness holds for the next ones.
"""

import json
import sys
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks import frames
from benchmarks.budgets import processor
from edgecell import app, clock, pipeline
from edgecell.drift import DriftState
from edgecell.gate import GateState, Limits
from edgecell.messages import NOTICE, NUCLEATED, FrameReport
from edgecell.pipeline import SlideState
from edgecell.settings import PartSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "answers.json"
FIELDS = ROOT.parent / "shared" / "data" / "txl_pbc.tar"
PER_SIZE = 6
"""Fields of each image size, which is to say of each microscope."""
DRAWN = {"drawn 1920x1200": (2, (1920, 1200), 0.1), "drawn 400x300": (2, (400, 300), 0.2)}
LAID = {"laid 1280x720": ((12, 9, 14), (1280, 720), 0.1), "laid 1903x1070": ((8, 7), (1903, 1070), 0.06)}

Image = NDArray[np.uint8]
Answer = dict[str, Any]


def made() -> str:
    """The processor and the libraries that answers are the same on, bit for bit."""
    return f"{processor()}, onnxruntime {onnxruntime.__version__}, opencv {cv2.__version__}, numpy {np.__version__}"


def drawn() -> dict[str, list[Image]]:
    """Frames of the phantom, and frames laid out of pieces of it."""
    some = {name: frames.drawn(count, size, pixel_um=um) for name, (count, size, um) in DRAWN.items()}
    return some | {name: [frames.laid(n, size, um) for n in counts] for name, (counts, size, um) in LAID.items()}


def fields() -> dict[str, list[Image]]:
    """The first val fields of each image size."""
    found = defaultdict[str, list[Image]](list)
    with tarfile.open(FIELDS) as archive:
        for name in sorted(name for name in archive.getnames() if name.startswith("txl_pbc/images/val/")):
            stream = archive.extractfile(name)
            image = None if stream is None else cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                group = found[f"val {image.shape[1]}x{image.shape[0]}"]
                if len(group) < PER_SIZE:
                    group.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
    return dict(found)


def answers(images: Sequence[Image]) -> list[Answer]:
    """Of each frame, with both shipped networks on ONNX Runtime."""
    plan = app.plan(Settings(models={NUCLEATED: "pbc8"}, engine=PartSettings(part="onnxrt", options={"threads": 1})))
    gate, slide, found = GateState(drift=DriftState()), SlideState(), []
    with plan.recogniser() as parts:
        for index, image in enumerate(images):
            frame = frames.as_frame(image, index)
            detected, gate = pipeline.detect(frame, parts.segmenter, Limits(), gate, clock.monotonic_ns)
            (report,), slide = pipeline.classify([detected], parts.classifiers, slide, clock.monotonic_ns)
            found.append(_answer(report))
    return found


def _answer(report: FrameReport) -> Answer:
    """cells: what it is called (why it is left out: its kind), whether that is decided, the box, the confidence."""
    labels = {each.cell_index: each for each in report.classifications}
    cells = []
    for cell in report.cells:
        answer = labels.get(cell.cell_index)
        sure = None if answer is None or answer.confidence is None else round(answer.confidence, 6)
        name = answer.label if answer else f"{cell.excluded}: {cell.kind}"
        cells.append([name, int(answer is not None and answer.decided), *cell.box_px, sure])
    verdict = report.verdict
    return {
        "reason": verdict.reason,
        "focus": round(verdict.focus, 6),
        "level": round(verdict.mean_level, 6),
        "pixel_um": None if report.pixel_um is None else round(report.pixel_um, 8),
        "cells": cells,
    }


def _short(answer: Answer) -> str:
    return json.dumps(answer, separators=(",", ":"))


def recorded() -> tuple[str, dict[str, list[Answer]]]:
    """What they were made on, and the answers by set."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    for cell in (cell for some in kept["sets"].values() for each in some for cell in each["cells"]):
        cell[0] = kept["names"][cell[0]]
    return kept["made"], kept["sets"]


def main() -> int:
    """Write the file anew."""
    sets = drawn() | (fields() if FIELDS.is_file() else {})
    found = {name: answers(images) for name, images in sets.items()}
    names = sorted({cell[0] for some in found.values() for each in some for cell in each["cells"]})
    for cell in (cell for some in found.values() for each in some for cell in each["cells"]):
        cell[0] = names.index(cell[0])
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(map(_short, some)) + "\n]" for name, some in found.items()]
    head = f'"notice": {json.dumps(NOTICE)},\n"made": {json.dumps(made())},\n"names": {json.dumps(names)},\n'
    FILE.write_text("{\n" + head + '"sets": {\n' + ",\n".join(lines) + "\n}\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
