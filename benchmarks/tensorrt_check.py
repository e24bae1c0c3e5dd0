"""Is a bundle right, and how fast, on this GPU? One script for a machine with Python 3.10, numpy, TensorRT and a CUDA binding.

On any machine with edgecell installed, make the pack (real cells: images of one centred cell each, or none):

    python benchmarks/tensorrt_check.py --pack pbc8.npz --bundle pbc8 --data CELLS/ --cells 256

and on the GPU machine, from a checkout, with TensorRT 8.6 to 11 (`tensorrt` or `tensorrt_bindings`) and cuda-python or pycuda:

    python benchmarks/tensorrt_check.py pbc8.npz --bundle edgecell/bundles/pbc8 --out results

It builds INT8, FP16 and FP32 plans with the modules that `edgecell prepare` uses, holds every golden cell against the certified
answers and every real cell against ONNX Runtime's, and measures batches of 1, 8, 16 and 64 with and without CUDA graphs:

    host     latency: from a batch in the program's memory to its answers there; cells/s: with two batches on their way
    device   the same batch already on the device, to its answers there, between two events of its stream

Beside each stand the operations and bytes that the model cannot do without (two operations a multiply-add; every value and
weight of a convolution or matrix product moved once, in the plan's precision) and what share of the device's peaks, given by
--peak-tops and --peak-gbs from its data sheet, this makes of the time. It writes OUT.json and OUT.md. Exit code 0: every
precision that could be built is right; 1: one is not; else as edgecell's own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgecell.clock import monotonic_ns  # noqa: E402  this is a script, so the checkout is not on the path before
from edgecell.engines.trt import building, driver, library  # noqa: E402
from edgecell.engines.trt.buffers import Buffers, Scratch  # noqa: E402
from edgecell.engines.trt.cuda import Cuda, open_cuda  # noqa: E402
from edgecell.engines.trt.execution import Execution  # noqa: E402
from edgecell.engines.trt.library import Library  # noqa: E402
from edgecell.engines.trt.network import Network, Shape  # noqa: E402
from edgecell.engines.trt.request import BuildRequest, Built, Precision, Progress, Shapes  # noqa: E402
from edgecell.errors import EdgecellError, EngineBuildError  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
WIDTH = {"int8": 1, "fp16": 2, "fp32": 4}
"""Bytes of a value."""
LOGITS = "logits"
WARM_UP, MOST_RUNS, LEAST_RUNS = 10, 5000, 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """See `benchmarks/tensorrt_pack.py`."""

    meta: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]

    @property
    def shapes(self) -> Shapes:
        return Shapes(**{which: tuple(shape) for which, shape in self.meta["shapes"].items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is measured on."""

    library: Library
    cuda: Cuda
    facts: dict[str, Any]


def main() -> int:
    given = _arguments()
    try:
        if given.pack:
            from benchmarks import tensorrt_pack  # it needs all of edgecell

            meta = tensorrt_pack.write(given.pack, str(given.bundle or "pbc8"), given.data, given.cells)
            print(f"{given.pack}: {meta['bundle']} {meta['version']}, {given.pack.stat().st_size / 2**20:.1f} MiB")
            return 0
        return check(given)
    except EdgecellError as error:
        print(f"tensorrt_check: error: {error}", file=sys.stderr)
        return error.exit_code


def check(given: argparse.Namespace) -> int:
    """Build, verify and measure every precision, write the report. Raises EdgecellError where nothing can be measured."""
    pack = read(given.inputs)
    bundle = Path(given.bundle or ROOT / "edgecell/bundles" / pack.meta["bundle"])
    machine = look(given.device)
    report: dict[str, Any] = {
        "machine": machine.facts,
        "bundle": {key: pack.meta[key] for key in ("bundle", "version", "work")},
    }
    with tempfile.TemporaryDirectory() as temporary:
        plans = given.plans or Path(temporary)
        try:
            report["precisions"] = {each: _precision(each, pack, bundle, machine, plans, given) for each in given.precision}
        finally:
            machine.cuda.close()
    given.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    given.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    built = [each for each in report["precisions"].values() if "verified" in each]
    return 0 if built and all(each["right"] for each in built) else 1


def read(path: Path) -> Pack:
    """Raises EngineBuildError when the file is no pack."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise EngineBuildError(f"{path} is no pack: {error}", fix="make one with --pack") from error
    return Pack(meta=meta, arrays=arrays)


def look(device: int) -> Machine:
    """Driver, TensorRT and binding, in this order: without a driver TensorRT would crash. Raises MissingDependency."""
    found = driver.look()
    vendor = library.find(found)
    cuda = open_cuda(device, found.version)
    chosen = found.devices[device]
    facts = {
        "device": chosen.name,
        "compute_capability": chosen.compute_capability,
        "memory_mib": chosen.memory_bytes >> 20,
        "driver_cuda": found.version,
        "platform": found.platform,
        "tensorrt": vendor.text,
        "binding": cuda.name,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    return Machine(library=vendor, cuda=cuda, facts=facts)


def _precision(
    precision: Precision, pack: Pack, bundle: Path, machine: Machine, plans: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """All about one precision; {"error": ...} when there is no plan of it, or it does not run."""
    try:
        request = request_of(precision, pack, bundle, machine.library, plans, given)
        built = building.build(request, _told(precision))
        plan = request.plan.read_bytes()
        with Execution(machine.library, plan, machine.cuda) as execution:
            verified = {
                of: verify(execution, pack, of, _reference(precision)) for of in ("golden", "data") if of in _sets(pack)
            }
        return {
            "file": request.model.name,
            "built": _built(built, len(plan)),
            "right": all(each["right"] for each in verified.values()),
            "verified": verified,
            "measured": list(measure(precision, plan, pack, machine, given)),
        }
    except EdgecellError as error:
        return {"error": str(error)}


def request_of(
    precision: Precision, pack: Pack, bundle: Path, vendor: Library, plans: Path, given: argparse.Namespace
) -> BuildRequest:
    """Raises EngineBuildError when the bundle's file is not the one that the pack was made from."""
    name = {"int8": "s8s8", "fp16": "fp16" if vendor.strongly_typed else "float", "fp32": "float"}[precision]
    model = bundle / f"{name}.onnx"
    expected = pack.meta["files"].get(model.name)
    if expected is None or not model.is_file() or hashlib.sha256(model.read_bytes()).hexdigest() != expected:
        what = f"{model} is not the file that {given.inputs} was made from"
        raise EngineBuildError(what, fix="use --bundle, or make the pack of this bundle with --pack")
    return BuildRequest(
        model=model,
        plan=plans / f"{precision}.plan",
        precision=precision,
        shapes={pack.meta["input"]: pack.shapes},
        workspace_bytes=given.workspace_mib << 20,
        timing_cache=plans / "timing.cache",
        device=given.device,
    )


def verify(execution: Execution, pack: Pack, of: str, reference: str) -> dict[str, Any]:
    """Compare a plan's answers with the reference's. Golden cells: each output within its tolerance. The top class of every
    golden cell must be the reference's; of real cells the share is told."""
    batch, size = pack.arrays[f"{of}/input"], pack.shapes.opt[0]
    parts = [execution.infer(batch[at : at + size]) for at in range(0, len(batch), size)]
    tolerance = pack.meta["tolerance"][reference] if of == "golden" else {}
    told: dict[str, Any] = {"cells": len(batch), "reference": reference, "outputs": {}, "right": True}
    prefix = f"{of}/{reference}/"
    for key in [each for each in pack.arrays if each.startswith(prefix)]:
        name, expected = key.removeprefix(prefix), pack.arrays[key]
        actual = np.concatenate([part[name] for part in parts])
        by_cell = np.abs(actual - expected).reshape(len(expected), -1).max(axis=1)
        worst = int(np.argmax(by_cell))  # what is not a number counts as the largest
        deviation = float(by_cell[worst])
        told["outputs"][name] = {"deviation": deviation, "worst": worst, "spread": float(expected.std())}
        if name in tolerance:
            told["outputs"][name]["tolerance"] = tolerance[name]
            told["right"] &= deviation <= tolerance[name]
        if name == LOGITS:
            told["same_top"] = int((actual.argmax(axis=1) == expected.argmax(axis=1)).sum())
            told["right"] &= of != "golden" or told["same_top"] == len(batch)
        told["right"] &= bool(np.isfinite(by_cell).all())
    return told


def measure(
    precision: Precision, plan: bytes, pack: Pack, machine: Machine, given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One row for each batch size, with and without graphs where the binding has them."""
    _, *size = pack.shapes.opt
    for count in [each for each in given.batches if pack.shapes.min[0] <= each <= pack.shapes.max[0]]:
        for graphs in (False, True) if machine.cuda.graphs else (False,):
            row: dict[str, Any] = {"batch": count, "graphs": graphs}
            with Execution(machine.library, plan, machine.cuda, graphs=graphs) as execution:
                batch = np.random.default_rng(0).standard_normal((count, *size), np.float32)
                row["host_ms"] = _spread(_repeated(lambda: execution.infer(batch), given.seconds))  # noqa: B023 called here
                row["cells_per_s"] = count * _rate(execution, batch, given.seconds)
            with device_run(plan, (count, *size), machine, graphs=graphs) as run:
                row["device_ms"] = _spread(_repeated_on_device(run, given.seconds))
            print(f"{precision} batch {count}{' graph' if graphs else ''}: {row['host_ms']['p50']:.3f} ms", file=sys.stderr)
            yield row | roofline(precision, count, row["device_ms"]["p50"], pack.meta["work"], given)


def roofline(
    precision: str, count: int, milliseconds: float, work: dict[str, int], given: argparse.Namespace
) -> dict[str, float]:
    """Operations and bytes of a batch, what they make a second, and the share of the time that the peaks would need."""
    operations = 2 * count * work["multiply_adds"]
    moved = WIDTH[precision] * (work["weights"] + count * work["values"])
    told: dict[str, float] = {"operations": operations, "bytes": moved}
    told |= {"tops": operations / milliseconds / 1e9, "gb_per_s": moved / milliseconds / 1e6}
    peak = given.peak_tops.get(precision)
    if peak and given.peak_gbs:
        least_ms = max(operations / peak / 1e9, moved / given.peak_gbs / 1e6)
        told |= {"roof_ms": least_ms, "share_of_roof": least_ms / milliseconds}
    return told


@contextmanager
def device_run(plan: bytes, shape: Shape, machine: Machine, *, graphs: bool) -> Iterator[Callable[[], float]]:
    """A call that runs one batch on the device alone, and gives its milliseconds there."""
    cuda = machine.cuda
    with cuda.current(), ExitStack() as owned:
        stream = cuda.stream()
        owned.callback(cuda.free_stream, stream)
        first, last = cuda.event(timed=True), cuda.event(timed=True)
        owned.callback(cuda.free_event, first)
        owned.callback(cuda.free_event, last)
        buffers, scratch = Buffers(cuda), Scratch(cuda)
        owned.callback(buffers.close)
        owned.callback(scratch.close)
        network = owned.enter_context(Network(machine.library, plan))
        context = network.context(stream)
        owned.callback(context.close)
        outputs, needed = context.reshape(shape)
        buffers.grow({network.input: shape, **outputs})
        scratch.grow(max(needed, 1))
        context.lend(scratch.address, scratch.size)
        context.enqueue(buffers.addresses, stream)  # once before a capture
        cuda.wait_stream(stream)
        graph = None
        if graphs:
            cuda.begin_capture(stream)
            context.enqueue(buffers.addresses, stream)
            graph = cuda.end_capture(stream)
            owned.callback(cuda.free_graph, graph)

        def run() -> float:
            cuda.record(first, stream)
            if graph is None:
                context.enqueue(buffers.addresses, stream)
            else:
                cuda.launch(graph, stream)
            cuda.record(last, stream)
            cuda.wait_event(last)
            return cuda.elapsed_ms(first, last)

        yield run
        cuda.wait_stream(stream)


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    of, machine = report["bundle"], report["machine"]
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items() if name != "device")
    lines = [f"# {of['bundle']} {of['version']} on {machine['device']}", "", facts + ".", ""]
    for precision, told in report["precisions"].items():
        lines += [f"## {precision}", ""]
        if "error" in told:
            lines += [f"Not built, or does not run: {told['error']}", ""]
            continue
        made = told["built"]
        lines += [f"{told['file']}, {made['layers']} layers, built in {made['seconds']:.0f} s, {made['mib']:.1f} MiB.", ""]
        for name, each in told["verified"].items():
            top = f", top class equal {each['same_top']} of {each['cells']}" if "same_top" in each else ""
            deviations = ", ".join(
                f"{output} deviates by {one['deviation']:.3g}" + (f" of {one['tolerance']:.3g}" if "tolerance" in one else "")
                for output, one in each["outputs"].items()
            )
            verdict = "right" if each["right"] else "WRONG"
            lines.append(f"- {name}, {each['cells']} cells against {each['reference']}: {verdict}{top}; {deviations}")
        columns = (
            "batch | graphs | host p50 | p95 | p99 ms | cells/s | device p50 | p95 | p99 ms | GB | GB/s | TOP | TOP/s | of roof"
        )
        lines += ["", f"| {columns} |", "|" + " --- |" * len(columns.split("|"))]
        lines += [_line(row) for row in told["measured"]] + [""]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    host, device = row["host_ms"], row["device_ms"]
    roof = f"{row['share_of_roof']:.0%}" if "share_of_roof" in row else "-"
    cells = [str(row["batch"]), "yes" if row["graphs"] else "no"]
    cells += [f"{host[each]:.3f}" for each in ("p50", "p95", "p99")] + [f"{row['cells_per_s']:.0f}"]
    cells += [f"{device[each]:.3f}" for each in ("p50", "p95", "p99")]
    cells += [
        f"{row['bytes'] / 1e9:.4f}",
        f"{row['gb_per_s']:.1f}",
        f"{row['operations'] / 1e12:.4f}",
        f"{row['tops']:.2f}",
        roof,
    ]
    return f"| {' | '.join(cells)} |"


def _sets(pack: Pack) -> set[str]:
    return {name.partition("/")[0] for name in pack.arrays}


def _reference(precision: Precision) -> str:
    return "s8s8" if precision == "int8" else "float"


def _built(built: Built, size: int) -> dict[str, Any]:
    told = {"seconds": built.seconds, "layers": built.layers, "mib": size / 2**20}
    return {**told, "timing_cache": built.timing_cache, "warnings": list(built.warnings)}


def _told(precision: Precision) -> Callable[[Progress], None]:
    return lambda progress: print(f"{precision}: {progress}", file=sys.stderr)


def _repeated(call: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call, after a warm-up."""
    for _ in range(WARM_UP):
        call()
    taken: list[float] = []
    until = monotonic_ns() + int(seconds * 1e9)
    while len(taken) < LEAST_RUNS or (len(taken) < MOST_RUNS and monotonic_ns() < until):
        began = monotonic_ns()
        call()
        taken.append((monotonic_ns() - began) / 1e6)
    return taken


def _repeated_on_device(run: Callable[[], float], seconds: float) -> list[float]:
    taken: list[float] = []
    _repeated(lambda: taken.append(run()), seconds)
    return taken[WARM_UP:]


def _rate(execution: Execution, batch: NDArray[np.float32], seconds: float) -> float:
    """Batches a second, one being taken in while the one before is computed."""
    waiting = execution.submit(batch)
    began, count = monotonic_ns(), 0
    until = began + int(seconds * 1e9)
    while count < LEAST_RUNS or (count < MOST_RUNS and monotonic_ns() < until):
        following = execution.submit(batch)
        waiting.result()
        waiting, count = following, count + 1
    rate = count / ((monotonic_ns() - began) / 1e9)
    waiting.result()
    return rate


def _spread(taken: list[float]) -> dict[str, float]:
    p50, p95, p99 = (float(each) for each in np.percentile(taken, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "runs": len(taken)}


def _peaks(text: str) -> dict[str, float]:
    """`int8,fp16,fp32` in 10^12 operations a second, dense."""
    return dict(zip(PRECISIONS, map(float, text.split(",")), strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="?", type=Path, help="the pack")
    parser.add_argument("--pack", type=Path, metavar="OUT.npz", help="make the pack instead")
    parser.add_argument("--bundle", help="folder of the bundle; for --pack a name will do")
    parser.add_argument("--data", type=Path, help="for --pack: folder of real cells")
    parser.add_argument("--cells", type=int, default=256, help="for --pack: at most so many of them (%(default)s)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 16, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (%(default)s)")
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--workspace-mib", type=int, default=1024)
    parser.add_argument("--plans", type=Path, help="keep plans and timing cache in this folder")
    parser.add_argument("--peak-tops", type=_peaks, default={}, metavar="INT8,FP16,FP32", help="of the device, dense")
    parser.add_argument("--peak-gbs", type=float, help="of the device's memory, GB/s")
    parser.add_argument("--out", type=Path, default=Path("tensorrt_check"), help="report: OUT.json and OUT.md")
    given = parser.parse_args()
    if bool(given.pack) == bool(given.inputs):
        parser.error("give a pack, or --pack OUT.npz to make one")
    return given


if __name__ == "__main__":
    sys.exit(main())
