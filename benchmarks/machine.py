"""The yardsticks: what this machine is, and the best that one of its threads does with bytes and with multiply-adds.

The rates are measured, not read from a data sheet: on a shared machine they are those of the hour, so they are taken in the
same run as what they are held against.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgecell.cli.doctor import examine

SIDE = 1024
"""Of the square matrices that are multiplied: large enough that the arithmetic, not the fetching, is what takes the time."""
COPIED_BYTES = 64 << 20
"""More than fits into the caches of the machines that this runs on."""
ROUNDS = 7


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Of one thread. copy_gb_s: bytes read plus bytes written, 1e9 a second. fp32_gop_s, int8_gop_s: operations, 1e9 a second,
    two a multiply-add, of ONNX Runtime's matrix product (int8: uint8 by int8, as its convolutions of `u8s8` compute)."""

    copy_gb_s: float
    fp32_gop_s: float
    int8_gop_s: float


def facts() -> dict[str, str]:
    """By subject, as `edgecell doctor` says it."""
    chapters = examine(Path("/"))
    return {entry.subject: entry.has for entry in (*chapters["machine"], *chapters["libraries"])}


def rates() -> Rates:
    """The best of ROUNDS each: a floor must not lie above what the machine can do."""
    left, right = (np.random.default_rng(seed).integers(0, 255, COPIED_BYTES, np.uint8) for seed in (1, 2))
    operations = 2 * SIDE**3 / 1e9
    return Rates(
        copy_gb_s=2 * COPIED_BYTES / 1e9 / best_s(lambda: np.copyto(left, right)),
        fp32_gop_s=operations / best_s(_product("MatMul", np.float32, np.float32)),
        int8_gop_s=operations / best_s(_product("MatMulInteger", np.uint8, np.int8)),
    )


def best_s(call: Callable[[], object]) -> float:
    """Shortest of ROUNDS, in seconds of this thread's processor time, after one that is not counted."""
    call()
    return min(cpu_ms(call) for _ in range(ROUNDS)) / 1000


def cpu_ms(call: Callable[[], object]) -> float:
    """Of this thread: what others do on the machine is left out, but for the caches and the clock rate that they take."""
    start = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - start) / 1e6


def median_ms(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    return statistics.median(cpu_ms(call) for _ in range(rounds))


def _product(kind: str, left: type[np.generic], right: type[np.generic]) -> Callable[[], object]:
    """One matrix product in an ONNX Runtime session of one thread."""
    rng = np.random.default_rng(0)
    fixed = rng.integers(-9, 9, (SIDE, SIDE)).astype(right)
    given = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(left)), [SIDE, SIDE])
    answer = TensorProto.INT32 if kind == "MatMulInteger" else TensorProto.FLOAT
    made = helper.make_tensor_value_info("y", answer, [SIDE, SIDE])
    node = helper.make_node(kind, ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", [given], [made], [numpy_helper.from_array(fixed, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = {"x": rng.integers(0, 9, (SIDE, SIDE)).astype(left)}
    return lambda: session.run(None, values)
