"""Makes the pack that `benchmarks/tensorrt_check.py` takes to a GPU machine: inputs, ONNX Runtime's answers, the model's work.

A numpy archive without pickles. `golden/input` and, of a folder of real cells, `data/input`: float32 (N, C, H, W) after
preprocessing, so that the GPU machine needs nothing of edgecell's but its TensorRT modules. `golden/ENCODING/OUTPUT`: the
certified answers; `data/ENCODING/OUTPUT`: ONNX Runtime's, of `s8s8` computed as written. `meta`: JSON, see `meta_of`.
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import edgecell
from edgecell import bundle as bundles
from edgecell.bundle import Bundle, Encoding
from edgecell.engines.onnxrt import OnnxRuntimeEngine, OnnxRuntimeOptions
from edgecell.errors import SettingsError
from edgecell.golden import GOLDEN, in_batches, inputs, read_golden
from edgecell.preprocess import to_batch
from edgecell.verify.pictures import Cells, read_folder

REFERENCES: tuple[Encoding, ...] = ("s8s8", "float")
COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def write(path: Path, name: str, data: Path | None, most: int) -> dict[str, Any]:
    """Write the pack of a bundle, by name or folder, with `most` cells of `data`, evenly spread. Gives its meta.

    Raises EdgecellError.
    """
    bundle = bundles.open_bundle(name)
    arrays: dict[str, NDArray[Any]] = {}
    tolerance: dict[str, dict[str, float]] = {}
    for encoding in REFERENCES:
        golden = read_golden(bundle.file(GOLDEN), encoding)
        arrays["golden/input"] = inputs(golden.crops, bundle.manifest)
        arrays |= {f"golden/{encoding}/{output}": answer for output, answer in golden.outputs.items()}
        tolerance[encoding] = dict(golden.tolerance)
    if data is not None:
        arrays |= _of_data(bundle, data, most)
    meta = meta_of(bundle, tolerance)
    np.savez_compressed(path, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return meta


def meta_of(bundle: Bundle, tolerance: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What the bundle is, sha256 of its files, the shapes (N, C, H, W) of its input, tolerances, and the work of one cell."""
    spec = bundle.manifest.input
    channels, *most = spec.shape
    least = [spec.multiple] * 2 if spec.multiple else most
    usual = list(spec.usual or most)
    return {
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "task": bundle.manifest.task,
        "files": dict(bundle.manifest.files),
        "input": spec.name,
        "shapes": {
            "min": [spec.batch.min, channels, *least],
            "opt": [spec.batch.opt, channels, *usual],
            "max": [spec.batch.max, channels, *most],
        },
        "tolerance": {encoding: dict(each) for encoding, each in tolerance.items()},
        "work": work_of(bundle.file("float.onnx"), (1, channels, usual[0], usual[1])),
        "edgecell": edgecell.__version__,
    }


def work_of(model: Path, shape: tuple[int, ...]) -> dict[str, int]:
    """Of one input of that shape: multiply-adds of convolutions and matrix products, their weights, and the values that they
    read and write, each once. Normalisation, sums and activations fuse into them."""
    graph = onnx.load(str(model))
    for axis, size in zip(graph.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        axis.dim_value = size
    known = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    sizes = {each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim] for each in _values(known)}
    weights = {each.name: list(each.dims) for each in known.initializer}
    layers = [(node, weights[node.input[1]]) for node in known.node if node.op_type in COMPUTING]
    shapes = [(sizes[node.input[0]], weight, sizes[node.output[0]]) for node, weight in layers]
    return {
        "multiply_adds": sum(_multiply_adds(node.op_type, *each) for (node, _), each in zip(layers, shapes, strict=True)),
        "weights": sum(prod(weight) for _, weight, _ in shapes),
        "values": sum(prod(given) + prod(made) for given, _, made in shapes),
    }


def _multiply_adds(kind: str, given: list[int], weight: list[int], made: list[int]) -> int:
    """Convolutions: weight is (out, in, height, width), of a transposed one (in, out, height, width)."""
    if kind == "Conv":
        return prod(made) * prod(weight[1:])
    if kind == "ConvTranspose":
        return prod(given) * prod(weight[1:])
    return prod(made) // made[-1] * prod(weight)


def _values(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.input, *graph.value_info, *graph.output]


def _of_data(bundle: Bundle, data: Path, most: int) -> dict[str, NDArray[Any]]:
    """Real cells of a folder, as a run would see them, and what ONNX Runtime answers."""
    cells = read_folder(bundle, data, None)
    if not isinstance(cells, Cells):
        what = f"{bundle.manifest.name} finds cells in fields, and is compared on its golden fields only"
        raise SettingsError(what, fix="leave out --data")
    chosen = np.unique(np.linspace(0, len(cells.crops) - 1, min(most, len(cells.crops))).astype(int))
    arrays = {"data/input": to_batch(cells.crops[chosen], bundle.manifest.preprocess)}
    largest = bundle.manifest.input.batch.max
    for encoding in REFERENCES:
        options = OnnxRuntimeOptions(encoding=encoding, optimise=encoding != "s8s8")
        with OnnxRuntimeEngine(bundle.file(f"{encoding}.onnx"), manifest=bundle.manifest, options=options) as engine:
            parts = (arrays["data/input"][at : at + largest] for at in range(0, len(chosen), largest))
            arrays |= {f"data/{encoding}/{name}": each for name, each in in_batches(engine, parts).items()}
    return arrays
