"""The runtime's half of the stand-in: a "plan" is run by ONNX Runtime, as it is written, on the memory of `gpu_stand_in`.

It is as strict as the real one, or stricter: a context has no memory until some is lent to it, a graph may be captured only
after a run of the same shape, and is worth nothing once its context has changed. What is destroyed out of order, or while it is
still in use, is a misuse that the GPU takes down.
"""

import json
import weakref
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
from gpu_stand_in import GPU, RUBBISH, Fault
from numpy.typing import NDArray
from stand_ins.tensorrt_builder import MAGIC, ILogger
from stand_ins.tensorrt_version import DEVICE, TEXT, VERSION


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


if VERSION >= (10,):

    class ExecutionContextAllocationStrategy(IntEnum):
        STATIC = 0
        ON_PROFILE_CHANGE = 1
        USER_MANAGED = 2


class Dims(tuple[int, ...]):
    __slots__ = ()


class _OneLogger:
    """The real library has one logger for all runtimes: the first one, while any of them is there. It must not go before."""

    def __init__(self) -> None:
        self.used: weakref.ref[ILogger] | None = None

    def take(self, logger: ILogger) -> None:
        if self.used is None or not GPU.others["runtimes"]:
            self.used = weakref.ref(logger)
        known = self.used()
        if known is None:
            raise GPU.misuse("the logger goes before the last runtime")
        if known is not logger:
            known.log(ILogger.WARNING, "The logger passed into createInferRuntime differs from one already provided")


LOGGER = _OneLogger()


class Runtime:
    """Makes engines of plans."""

    __slots__ = ("__weakref__", "_logger", "_made")

    def __init__(self, logger: ILogger) -> None:
        assert logger._made
        LOGGER.take(logger)
        self._logger = logger
        self._made = False
        try:
            GPU.enter("runtime")
        except Fault:
            raise TypeError("pybind11::init(): factory function returned nullptr") from None
        self._made = True
        GPU.others["runtimes"] += 1

    def __del__(self) -> None:
        if self._made:
            GPU.others["runtimes"] -= 1
            if GPU.others["engines"] and not GPU.others["runtimes"]:
                GPU.misuse("a runtime goes before its engine")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        try:
            GPU.enter("deserialize")
        except Fault as fault:
            self._logger.log(ILogger.ERROR, f"Error Code 1: Cuda Runtime ({fault.name})")
            return None
        if not serialized_engine.startswith(MAGIC):
            self._logger.log(ILogger.ERROR, "Serialization assertion failed: magic tag does not match")
            return None
        line, _, model = serialized_engine[len(MAGIC) :].partition(b"\n")
        facts = json.loads(line)
        if facts["version"] != TEXT:
            what = f"the plan file is not compatible, expecting library version {TEXT} got {facts['version']}, please rebuild"
            self._logger.log(ILogger.ERROR, what)
            return None
        if facts["device"] != DEVICE:
            self._logger.log(ILogger.ERROR, "the plan file is generated on an incompatible device")
            return None
        shared = facts["sharing"] or VERSION >= (10,)
        return ICudaEngine(self._logger, facts["profile"], model, shared=shared)


class ICudaEngine:
    __slots__ = ("__weakref__", "_input", "_logger", "_model", "_outputs", "_profile", "_shared")

    def __init__(self, logger: ILogger, profile: Mapping[str, list[list[int]]], model: bytes, *, shared: bool) -> None:
        GPU.others["engines"] += 1
        self._shared = shared
        self._logger = logger
        self._profile = profile
        graph = onnx.load_model_from_string(model).graph
        self._input: tuple[str, Dims, DataType] = _tensor(graph.input[0])
        self._outputs: list[tuple[str, Dims, DataType]] = [_tensor(each) for each in graph.output]
        self._model = _Model(model, self._input[0], [name for name, *_ in self._outputs])

    def __del__(self) -> None:
        GPU.others["engines"] -= 1
        if GPU.others["contexts"] and not GPU.others["engines"]:
            GPU.misuse("an engine goes before its contexts")

    @property
    def num_io_tensors(self) -> int:
        return 1 + len(self._outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return 1

    def get_tensor_name(self, index: int) -> str:
        return [self._input, *self._outputs][index][0]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == self._input[0] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._of(name)[2]

    def get_tensor_shape(self, name: str) -> Dims:
        return self._of(name)[1]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert profile_index == 0
        return [Dims(each) for each in self._profile[name]]

    def _of(self, name: str) -> tuple[str, Dims, DataType]:
        return next(each for each in [self._input, *self._outputs] if each[0] == name)

    def _context(self) -> "IExecutionContext | None":
        try:
            GPU.enter("context")
        except Fault as fault:
            self._logger.log(ILogger.ERROR, f"Error Code 1: Cuda Runtime ({fault.name})")
            return None
        has_profile = self._shared or not GPU.others["contexts"]
        return IExecutionContext(self._logger, self._model, self._input[0], self._outputs, self._profile, has_profile)

    if VERSION < (11,):

        @property
        def device_memory_size(self) -> int:
            return _activations(self._profile[self._input[0]][2])

        def create_execution_context_without_device_memory(self) -> "IExecutionContext | None":
            return self._context()

    if VERSION >= (10,):

        def create_execution_context(self, strategy: "ExecutionContextAllocationStrategy") -> "IExecutionContext | None":
            assert strategy == ExecutionContextAllocationStrategy.USER_MANAGED, "the stand-in knows no other"
            return self._context()


class _State:
    """What a context knows, for what it put into streams and may outlive it."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.ran: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)
        self.changes = 0
        self.gone = False


class IExecutionContext:
    __slots__ = ("__weakref__", "_has_profile", "_input", "_logger", "_model", "_outputs", "_profile", "_state")

    def __init__(
        self,
        logger: ILogger,
        model: "_Model",
        input_name: str,
        outputs: list[tuple[str, Dims, DataType]],
        profile: Mapping[str, list[list[int]]],
        has_profile: bool,
    ) -> None:
        GPU.others["contexts"] += 1
        self._has_profile = has_profile
        self._logger, self._model, self._input, self._outputs, self._profile = logger, model, input_name, outputs, profile
        self._state = _State()

    def __del__(self) -> None:
        GPU.others["contexts"] -= 1
        self._state.gone = True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert profile_index == 0
        if not self._has_profile:
            return self._refuse("Profile 0 has been chosen by another IExecutionContext.")
        return self._entered("set profile")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == self._input
        least, _, most = self._profile[name]
        if len(shape) != len(most) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return self._refuse(f"Set dimension {list(shape)} for tensor {name} does not satisfy the optimization profile")
        if not self._entered("set shape"):
            return False
        if shape != self._state.shape:
            self._state.shape = shape
            self._state.changes += 1
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        if name == self._input:
            return Dims(self._state.shape)
        declared = next(dims for output, dims, _ in self._outputs if output == name)
        if -1 in declared[1:]:
            return Dims(self._model.sizes(self._state.shape)[name])
        return Dims((self._state.shape[0], *declared[1:]))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in {self._input, *(output for output, *_ in self._outputs)}:
            return self._refuse(f"Given invalid tensor name: {name}")
        if self._state.addresses.get(name) != memory:
            self._state.addresses[name] = memory
            self._state.changes += 1
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        state = self._state
        if not self._entered("enqueue"):
            return False
        if len(state.addresses) != 1 + len(self._outputs):
            return self._refuse("Address is not set for every tensor")
        if not state.memory[0] or state.memory[1] < _activations(state.shape):
            return self._refuse("the context has too little device memory")
        captured = GPU.capturing(stream_handle)
        if captured and state.ran != state.shape:
            return self._refuse("the stream is capturing, and this shape was not run before")
        state.ran = state.shape
        GPU.put(stream_handle, self._inference(dict(state.addresses), captured))
        return True

    def _inference(self, addresses: Mapping[str, int], captured: bool) -> Callable[[], None]:
        state, model, name = self._state, self._model, self._input
        shape, memory, changes = state.shape, state.memory, state.changes

        def happen() -> None:
            if state.gone:
                raise GPU.misuse("a context went before what it put into a stream was done")
            if captured and state.changes != changes:
                raise GPU.misuse("a graph was launched after its context changed")
            GPU.on_device(memory[0], memory[1])[: _activations(shape)] = RUBBISH
            size = int(np.prod(shape)) * 4
            batch = GPU.on_device(addresses[name], size).view(np.float32).reshape(shape)
            for output, value in model.run(batch).items():
                GPU.on_device(addresses[output], value.nbytes)[:] = np.ascontiguousarray(value).view(np.uint8).ravel()

        return happen

    def _entered(self, call: str) -> bool:
        try:
            GPU.enter(call)
        except Fault as fault:
            return self._refuse(f"Error Code 1: Cuda Runtime ({fault.name})")
        return True

    def _refuse(self, what: str) -> bool:
        self._logger.log(ILogger.ERROR, what)
        return False

    def _lent(self, memory: int, size: int) -> None:
        if self._state.memory != (memory, size):
            self._state.memory = (memory, size)
            self._state.changes += 1

    if VERSION < (10, 1):

        def _set_device_memory(self, memory: int) -> None:
            self._lent(memory, _activations(self._profile[self._input][2]))

        device_memory = property(None, _set_device_memory)
    else:

        def set_device_memory(self, memory: int, size: int) -> None:
            self._lent(memory, size)

        def update_device_memory_size_for_shapes(self) -> int:
            return _activations(self._state.shape)


def _activations(shape: Any) -> int:
    """Bytes that a context wants for an input of that shape."""
    return int(np.prod(shape, dtype=np.int64)) // 16 + 256


def _tensor(value: Any) -> tuple[str, Dims, DataType]:
    kind = value.type.tensor_type
    dims = Dims(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    return value.name, dims, {1: DataType.FLOAT, 10: DataType.HALF}[kind.elem_type]


class _Model:
    """An ONNX model, every operator computed as it is written: of Q/DQ exact fake quantization."""

    def __init__(self, model: bytes, name: str, outputs: list[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self._name, self._outputs = name, outputs
        self._sizes: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {}

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._name: batch}), strict=True))

    def sizes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes, found by a run."""
        if shape not in self._sizes:
            self._sizes[shape] = {name: value.shape for name, value in self.run(np.zeros(shape, np.float32)).items()}
        return self._sizes[shape]
