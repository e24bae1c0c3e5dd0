"""INT8 beside FP32 on each engine of this machine, in turns, and whether both are equally right.

    python -m benchmarks.engines --rounds 100
    python -m benchmarks.engines --bundle pbc8 --batches 1,4,16 --cells DATASETS/
    python -m benchmarks.engines --bundle cells3 --batches 1 --fields txl_pbc.tar

Every round runs each engine with each encoding once, in a new random order, and a fixed piece of work; so whatever else the
machine does meets all alike. Ratios are taken round by round, against FP32 on the same engine and against FP32 on ONNX Runtime,
the baseline. Accuracy is of cells, or F1 of fields, that no model was trained on: the val split.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.naive import fixed_work
from calibration import field_scores, labelled
from calibration.fields import read_fields
from edgecell import app, bench, clock, processor
from edgecell.app import Chosen
from edgecell.bundle import LOGITS, Bundle, open_bundle
from edgecell.errors import EdgecellError, SettingsError
from edgecell.golden import in_batches, replay
from edgecell.messages import NOTICE
from edgecell.preprocess import to_batch
from edgecell.protocols import Engine
from edgecell.segmenters.network import NetworkSegmenter
from edgecell.settings import PartSettings
from edgecell.signature import ANY

ENGINES, ENCODINGS = ("onnxrt", "openvino"), ("float", "u8s8")
BASELINE = "onnxrt float"
FIXED = "fixed work"
WARM_UP = 5


def chosen(name: str, threads: int) -> Chosen:
    """`onnxrt u8s8` as an engine with its options."""
    engine, _, encoding = name.partition(" ")
    return app.choose("engine", PartSettings(part=engine, options={"encoding": encoding, "threads": threads}))


def usable() -> list[str]:
    """Engine and encoding of all that can run here, the baseline first."""
    there = [name for name in ENGINES if chosen(f"{name} float", 1).part.probe().usable]
    return [f"{name} {encoding}" for name in there for encoding in ENCODINGS]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timed:
    """Milliseconds (rounds,) of each engine with each encoding and of the fixed work: by the clock on the wall, and processor
    time of all threads, which other programs cannot lengthen much. says: what each engine says of itself."""

    wall: dict[str, NDArray[np.float64]]
    cpu: dict[str, NDArray[np.float64]]
    says: dict[str, str]


def timed(bundle: Bundle, batch: int, rounds: int, threads: int) -> Timed:
    """Golden cells are replayed first. batch: pictures at once, of a segmenter of the usual size. Raises EdgecellError."""
    rng, spec = np.random.default_rng(0), bundle.manifest.input
    values = rng.standard_normal((batch, spec.shape[0], *(spec.usual or spec.shape[1:])), dtype=np.float32)
    work, says = fixed_work(), dict[str, str]()
    spent: list[dict[str, tuple[float, float]]] = []
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name in usable():
            engine = chosen(name, threads)
            encoding = engine.part.encoding_of(bundle, engine.options)
            part = engine.part(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=engine.options)
            engines[name] = stack.enter_context(part)
            replay(bundle, engines[name], encoding)
            says[name] = engines[name].description
        names = [*engines, FIXED]
        for _ in range(WARM_UP + rounds):
            row = {}
            for at in rng.permutation(len(names)).tolist():
                start, processor_start = clock.monotonic_ns(), time.process_time_ns()
                work() if names[at] == FIXED else engines[names[at]].infer(values)
                used = time.process_time_ns() - processor_start
                row[names[at]] = (clock.monotonic_ns() - start) / 1e6, used / 1e6
            spent.append(row)
    wall, cpu = ({name: np.array([row[name][which] for row in spent[WARM_UP:]]) for name in names} for which in (0, 1))
    return Timed(wall=wall, cpu=cpu, says=says)


def ratios(spent: Timed) -> dict[str, dict[str, Any]]:
    """Of each engine and encoding, how many times faster than FP32 on the same engine, and than the baseline: p10, p50, p90.

    cpu: how many times less processor time than FP32 on the same engine, median by median.
    """
    found = {}
    for name, ms in spent.wall.items():
        if name != FIXED:
            own = f"{name.partition(' ')[0]} float"
            cpu = float(np.median(spent.cpu[own]) / np.median(spent.cpu[name]))
            by_round = {"own_float": _spread(spent.wall[own] / ms), "baseline": _spread(spent.wall[BASELINE] / ms)}
            found[name] = {**by_round, "cpu": cpu}
    return found


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(("p10", "p50", "p90"), map(float, np.percentile(values, [10, 50, 90])), strict=True))


def right_cells(bundle: Bundle, root: Path, threads: int, most: int) -> dict[str, Any]:
    """How many of PBC's val cells each engine and encoding calls right, and on how many it agrees with the baseline.

    root: folder of the data set. most: at most so many cells, spread over all. Raises EdgecellError.
    """
    how = labelled.how_read(bundle, "pbc", None, {}, None)
    question = labelled.Question(root=root, data=how, part="val", classes=bundle.class_names)
    cells = labelled.read(question, bundle.manifest.preprocess).cells
    known = np.flatnonzero(cells.truth >= 0)
    known = known[:: max(1, len(known) // most)]
    batch, truth = to_batch(cells.seen(bundle.manifest.preprocess)[known], bundle.manifest.preprocess), cells.truth[known]
    called = {}
    for name in usable():
        with app.opened(bundle, chosen(name, threads)) as engine:
            largest = bundle.manifest.input.batch.max
            answers = in_batches(engine, (batch[at : at + largest] for at in range(0, len(batch), largest)))
            called[name] = answers[LOGITS].argmax(axis=1)
    return {
        "cells": len(known),
        "right": {name: int((each == truth).sum()) for name, each in called.items()},
        "as_baseline": {name: int((each == called[BASELINE]).sum()) for name, each in called.items()},
    }


def found_cells(bundle: Bundle, data: Path, threads: int) -> dict[str, Any]:
    """F1 of each kind on TXL-PBC's val fields by engine and encoding, with 95 % intervals. Raises EdgecellError."""
    fields = list(read_fields(data, "val"))
    found = {}
    for name in usable():
        with app.opened(bundle, chosen(name, threads)) as engine:
            figures = field_scores.score(fields, partial(NetworkSegmenter, engine, bundle)).by_source[field_scores.EVERY]
        found[name] = {kind: [each.boxes.f1, *each.boxes.interval] for kind, each in figures.kinds.items()}
    return {"fields": len(fields), "f1": found}


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as plain values. Raises EdgecellError."""
    bundle = open_bundle(asked.bundle, ANY)
    if asked.rounds < 1 or asked.threads < 1 or min(asked.batches) < 1:
        raise SettingsError("--rounds, --threads and --batches must be at least 1", fix="give larger numbers")
    by_batch = {}
    for batch in asked.batches:
        spent = timed(bundle, batch, asked.rounds, asked.threads)
        ms = {name: msgspec.to_builtins(bench.spread(list(values))) for name, values in spent.wall.items()}
        cpu_ms = {name: float(np.median(values)) for name, values in spent.cpu.items()}
        by_batch[batch] = {"ms": ms, "cpu_ms": cpu_ms, "times_faster": ratios(spent)}
    result = {
        "bundle": bundle.manifest.name,
        "processor": str(processor.look()),
        "threads": asked.threads,
        "engines": spent.says,
    }
    result |= {"rounds": asked.rounds, "by_batch": by_batch}
    if asked.cells:
        result["cells"] = right_cells(bundle, asked.cells, asked.threads, asked.most)
    if asked.fields:
        result["fields"] = found_cells(bundle, asked.fields, asked.threads)
    return {**result, "notice": NOTICE}


def as_text(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{result['bundle']} on {result['processor']}, threads {result['threads']}, {result['rounds']} rounds;",
        "times faster: median (p10 to p90), round by round; processor time: its median, and how many times less than FP32's",
        "",
        "| batch | engine | p50 ms | than FP32 on the same engine | than FP32 on ONNX Runtime | processor ms | less |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch, found in result["by_batch"].items():
        for name, each in found["times_faster"].items():
            own, base = (f"{r['p50']:.2f} ({r['p10']:.2f} to {r['p90']:.2f})" for r in (each["own_float"], each["baseline"]))
            cpu = f"{found['cpu_ms'][name]:.2f} | {each['cpu']:.2f}"
            lines.append(f"| {batch} | {name} | {found['ms'][name]['p50']:.2f} | {own} | {base} | {cpu} |")
        fixed, cpu_ms = found["ms"][FIXED], found["cpu_ms"][FIXED]
        steady = f"p99/p50 {fixed['p99'] / fixed['p50']:.2f}"
        lines.append(f"| {batch} | {FIXED} | {fixed['p50']:.2f} | {steady} | | {cpu_ms:.2f} | |")
    if "cells" in result:
        many, right, same = (result["cells"][key] for key in ("cells", "right", "as_baseline"))
        lines += ["", f"| {many} val cells | right | as FP32 on ONNX Runtime |", "|---|---|---|"]
        lines += [f"| {name} | {right[name] / many:.2%} | {same[name] / many:.2%} |" for name in right]
    if "fields" in result:
        f1 = result["fields"]["f1"]
        kinds = list(f1[BASELINE])
        lines += ["", f"| F1, {result['fields']['fields']} val fields | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
        for name, each in f1.items():
            cells = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in (each[kind] for kind in kinds)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *result["engines"].values(), result["notice"]])


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for, as it is typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description="INT8 beside FP32 on each engine.")
    parser.add_argument("--bundle", default="pbc8")
    parser.add_argument(
        "--batches", type=lambda text: [int(each) for each in text.split(",")], default=[1, 4, 16], metavar="N,N"
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="of each engine")
    parser.add_argument("--cells", type=Path, help="folder of PBC: how many val cells a classifier calls right")
    parser.add_argument("--most", type=int, default=2000, help="cells at most")
    parser.add_argument("--fields", type=Path, help="TXL-PBC: a segmenter's F1 on its val fields")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or the exit code of what went wrong, with a line on stderr."""
    asked = options(arguments)
    try:
        result = measure(asked)
    except EdgecellError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if asked.json else as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
