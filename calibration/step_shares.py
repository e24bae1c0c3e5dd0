"""ONNX Runtime's quantized tensors beside the exact integers, layer by layer."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.integer import compute
from calibration.qdq_graph import QUANTIZE, QdqGraph

_BATCH = 8  # cells at once: the windows of a convolution are nine times its input, in float64


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShare:
    """One layer. op: of the node that makes the tensor. beside: how many of the values are one step off. worst: in steps."""

    layer: str
    op: str
    values: int
    beside: int
    worst: int

    @property
    def share(self) -> float:
        return self.beside / max(self.values, 1)


def step_shares(path: Path, cells: NDArray[np.float32], *, carried: bool = False) -> list[StepShare]:
    """Every quantized tensor of a `u8s8` model on cells float32 (N, C, H, W), in the order of the graph.

    Each layer is computed from ONNX Runtime's own inputs to it; with `carried` from the exact ones, so that differences add up.
    """
    graph = QdqGraph.load(path)
    layers = {node.output[0]: graph.makers.get(node.input[0]) for node in graph.nodes if node.op_type == QUANTIZE}
    away = {name: np.zeros(256, np.int64) for name in layers}
    for batch, theirs in _computed(graph.model, list(layers), cells):
        ours = compute(path, batch, {} if carried else theirs)
        for name in layers:
            apart = np.abs(ours[name].astype(int) - theirs[name].astype(int))
            away[name] += np.bincount(apart.ravel(), minlength=256)
    return [
        StepShare(
            layer=node.name if node is not None else name,
            op=node.op_type if node is not None else "input",
            values=int(away[name].sum()),
            beside=int(away[name][1]),
            worst=int(np.flatnonzero(away[name]).max(initial=0)),
        )
        for name, node in layers.items()
    ]


def opened(model: Any, names: list[str]) -> Any:
    """The model with the quantized tensors as outputs too. ONNX Runtime still fuses what makes them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in names)
    return copy


def _computed(
    model: Any, names: list[str], cells: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], dict[str, NDArray[np.uint8]]]]:
    """Batches of the cells with ONNX Runtime's quantized tensors, optimised as on the device."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "opened.onnx"
        onnx.save(opened(model, names), path)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0].name
        for at in range(0, len(cells), _BATCH):
            batch = cells[at : at + _BATCH]
            yield batch, dict(zip(names, session.run(names, {source: batch}), strict=True))
