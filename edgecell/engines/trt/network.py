"""A plan, deserialized: its tensors, the shapes it takes, and contexts that run it.

TensorRT's objects must go in order: contexts, then engine, runtime; the logger stays. A variable in the frame of a traceback
would keep one alive beyond that, so they are held by attributes only, which are cleared in that order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgecell.engines.trt.library import Library, serves
from edgecell.engines.trt.logger import listener
from edgecell.engines.trt.vendor import TensorRt
from edgecell.errors import EngineBuildError, InferenceError

if TYPE_CHECKING:
    import tensorrt
    from typing_extensions import Self

Shape = tuple[int, ...]
FLOAT_BYTES = np.dtype(np.float32).itemsize
_AGAIN = "build the plan again: edgecell prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shapes of the input (N, C, H, W): smallest, the one that the plan was made fast for, largest."""

    least: Shape
    usual: Shape
    most: Shape

    @property
    def first(self) -> Shape:
        """What buffers are made for at first: the largest batch, or the usual one where height and width vary as well."""
        return self.most if self.most[1:] == self.least[1:] else self.usual

    def problem(self, shape: Shape) -> str:
        """Why an input of this shape cannot be run, and what could; "" if it can."""
        if len(shape) != len(self.most):
            return f"it needs {len(self.most)} axes, (N, C, H, W)"
        for axis, least, size, most in zip("NCHW", self.least, shape, self.most, strict=False):
            if not least <= size <= most:
                return f"{axis} must be {least}" if least == most else f"{axis} must be from {least} to {most}"
        return ""


class Network:
    """The engine of one plan. input, outputs: names. Raises EngineBuildError when the library refuses the plan."""

    def __init__(self, library: Library, plan: bytes) -> None:
        self._library = library
        self._trt = library.module
        self.heard = listener(library.module)
        self._runtime: tensorrt.Runtime | None = None
        self._loaded: tensorrt.ICudaEngine | None = None
        self.input = ""
        self.outputs: tuple[str, ...] = ()
        self._plan = plan

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._loaded = None
        self._runtime = None

    @property
    def _engine(self) -> tensorrt.ICudaEngine:
        if self._loaded is None:
            raise InferenceError("the plan is not open", fix="use it inside its `with` block")
        return self._loaded

    def _open(self) -> None:
        try:
            self._runtime = self._trt.Runtime(self.heard.logger)
        except (TypeError, RuntimeError) as error:
            what = f"TensorRT {self._library.text} does not start ({error}): {self.heard.take()}"
            raise EngineBuildError(what, fix="see `edgecell doctor`") from None
        self._loaded = self._runtime.deserialize_cuda_engine(self._plan)
        self._plan = b""
        if self._loaded is None:
            raise EngineBuildError(f"TensorRT {self._library.text} refuses the plan: {self.heard.take()}", fix=_AGAIN)
        names = [self._engine.get_tensor_name(at) for at in range(self._engine.num_io_tensors)]
        strange = [name for name in names if self._engine.get_tensor_dtype(name) != self._trt.DataType.FLOAT]
        if strange:
            raise EngineBuildError(f"the plan's {strange[0]} is not float32", fix=_AGAIN)
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        inputs = [name for name, mode in modes.items() if mode == self._trt.TensorIOMode.INPUT]
        if len(inputs) != 1:
            raise EngineBuildError(f"the plan has {len(inputs)} inputs, not one", fix=_AGAIN)
        self.input, self.outputs = inputs[0], tuple(name for name in names if name not in inputs)
        least, usual, most = (tuple(each) for each in self._engine.get_tensor_profile_shape(self.input, 0))
        self.profile = Profile(least=least, usual=usual, most=most)

    def output_shapes(self) -> dict[str, Shape]:
        """By name, N left out; 0 is an axis that follows the size of the input."""
        return {name: tuple(max(size, 0) for size in self._engine.get_tensor_shape(name))[1:] for name in self.outputs}

    def context(self, stream: int) -> Context:
        """A new context, to be used on that stream. Raises EngineBuildError."""
        return Context(self, stream)

    def make(self) -> tensorrt.IExecutionContext | None:
        """TensorRT's own context without memory for activations, None if it refuses."""
        return self._library.pick(_make_until_10_1, _make)(self._trt, self._engine)

    def memory_bytes(self, context: tensorrt.IExecutionContext) -> int:
        """Memory for activations that a context wants for the shape it was given."""
        return int(self._library.pick(_memory_until_10_1, _memory)(self._engine, context))

    def lend(self, context: tensorrt.IExecutionContext, address: int, size: int) -> None:
        """Give a context its memory for activations."""
        self._library.pick(_lend_until_10_1, _lend)(context, address, size)


class Context:
    """What runs a network, for one shape at a time. Contexts on one stream may share their memory for activations."""

    def __init__(self, network: Network, stream: int) -> None:
        self._network = network
        self._shape: Shape = ()
        self._outputs: dict[str, Shape] = {}
        self._bytes = 0
        self._made = network.make()
        # Before 10 only the first context takes the one profile by itself.
        if self._made is None or not self._made.set_optimization_profile_async(0, stream):
            self._made = None
            raise EngineBuildError(f"TensorRT makes no context for the plan: {network.heard.take()}", fix=_AGAIN)

    def close(self) -> None:
        self._made = None

    @property
    def _context(self) -> tensorrt.IExecutionContext:
        if self._made is None:
            raise InferenceError("the plan is not open", fix="use it inside its `with` block")
        return self._made

    def reshape(self, shape: Shape) -> tuple[Mapping[str, Shape], int]:
        """Set the input's shape: the outputs' shapes, and the bytes of memory for activations to `lend`.

        Raises InferenceError when it does not fit.
        """
        if shape != self._shape:
            self._shape = ()
            if not self._context.set_input_shape(self._network.input, shape):
                raise self._refused(f"an input of shape {shape}")
            outputs = {name: tuple(self._context.get_tensor_shape(name)) for name in self._network.outputs}
            if any(size < 0 for each in outputs.values() for size in each):
                raise self._refused(f"to say the outputs' shapes for an input of {shape}")
            self._shape, self._outputs = shape, outputs
            self._bytes = self._network.memory_bytes(self._context)
        return self._outputs, self._bytes

    def lend(self, address: int, size: int) -> None:
        """The memory for activations."""
        self._network.lend(self._context, address, size)

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Put one inference on the tensors at these addresses into the stream. Raises InferenceError."""
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._refused(f"{name} at its address")
        if not self._context.execute_async_v3(stream):
            raise self._refused("to run")

    def _refused(self, what: str) -> InferenceError:
        said = self._network.heard.take() or "it does not say why"
        return InferenceError(
            f"TensorRT refuses {what}: {said}", fix="see `edgecell doctor`; build the plan again: edgecell prepare"
        )


@serves(since=(8, 6), until=(10, 1))
def _make_until_10_1(_trt: TensorRt, engine: tensorrt.ICudaEngine) -> tensorrt.IExecutionContext | None:
    return engine.create_execution_context_without_device_memory()


@serves(since=(10, 1))
def _make(trt: TensorRt, engine: tensorrt.ICudaEngine) -> tensorrt.IExecutionContext | None:
    return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)


@serves(since=(8, 6), until=(10, 1))
def _memory_until_10_1(engine: tensorrt.ICudaEngine, _context: tensorrt.IExecutionContext) -> int:
    """As much as for the largest shape."""
    return int(engine.device_memory_size)


@serves(since=(10, 1))
def _memory(_engine: tensorrt.ICudaEngine, context: tensorrt.IExecutionContext) -> int:
    return int(context.update_device_memory_size_for_shapes())


@serves(since=(8, 6), until=(10, 1))
def _lend_until_10_1(context: tensorrt.IExecutionContext, address: int, _size: int) -> None:
    context.device_memory = address  # type: ignore[attr-defined]  # the stubs are of a later version


@serves(since=(10, 1))
def _lend(context: tensorrt.IExecutionContext, address: int, size: int) -> None:
    context.set_device_memory(address, size)
