"""CUDA through NVIDIA's cuda-python (`cuda.bindings.runtime`, 12.6 to 13): see `edgecell.engines.trt.cuda.Cuda`.

Every function of it returns a tuple with the error first. TensorRT uses the device's primary context, and so does the CUDA
runtime, so the two share memory and streams.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from edgecell.engines.trt.cuda import Bytes, failed, not_freed
from edgecell.errors import InferenceError

if TYPE_CHECKING:
    from cuda.bindings import runtime
else:
    runtime = None  # until `_load`: a machine without it must be able to import this

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def _load() -> None:
    """Raises ImportError where the binding is not installed, or its native part does not load."""
    global runtime
    from cuda.bindings import runtime


class CudaPython:
    """One device through the CUDA runtime."""

    title = "cuda-python"
    graphs = True

    def __init__(self, device: int) -> None:
        """Raises InferenceError when there is no such device, or no driver."""
        self.name = f"{self.title} {self.version()}"
        self._device = device
        self._objects: dict[int, Any] = {}
        with self.current():
            self._do(runtime.cudaFree, 0)  # makes the primary context, so that what is wrong with the device shows here

    @staticmethod
    def version() -> str:
        """Of the binding. Raises ImportError where it is not installed."""
        _load()
        import cuda.bindings

        return cuda.bindings.__version__

    @classmethod
    def problem(cls, supported: str) -> str:
        """Why it cannot be used, "" if it can. Its version is that of the CUDA that it is for. Raises ImportError."""
        version = cls.version()
        if not supported or int(version.partition(".")[0]) <= int(supported.partition(".")[0]):
            return ""
        older = f"pip install 'cuda-bindings<{int(supported.partition('.')[0]) + 1}'"
        return f"{cls.title} {version} is for a newer CUDA than {supported}, which the driver supports: {older}"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Set the thread's device, and set it back."""
        before = self._get(runtime.cudaGetDevice)
        self._do(runtime.cudaSetDevice, self._device)
        try:
            yield
        finally:
            if before != self._device:
                self._release(runtime.cudaSetDevice, before)

    def close(self) -> None:
        """The primary context is the process's: other engines may use it, so it stays."""

    def allocate(self, size: int) -> int:
        return int(self._get(runtime.cudaMalloc, size))

    def free(self, address: int) -> None:
        self._release(runtime.cudaFree, address)

    def pinned(self, size: int) -> Bytes:
        address = int(self._get(runtime.cudaHostAlloc, size, runtime.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, host: Bytes) -> None:
        self._release(runtime.cudaFreeHost, host.ctypes.data)

    def stream(self) -> int:
        return self._kept(self._get(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking))

    def free_stream(self, stream: int) -> None:
        self._release(runtime.cudaStreamDestroy, self._objects.pop(stream))

    def wait_stream(self, stream: int) -> None:
        self._do(runtime.cudaStreamSynchronize, self._objects[stream])

    def event(self, *, timed: bool = False) -> int:
        flags = runtime.cudaEventBlockingSync | (0 if timed else runtime.cudaEventDisableTiming)
        return self._kept(self._get(runtime.cudaEventCreateWithFlags, flags))

    def free_event(self, event: int) -> None:
        self._release(runtime.cudaEventDestroy, self._objects.pop(event))

    def record(self, event: int, stream: int) -> None:
        self._do(runtime.cudaEventRecord, self._objects[event], self._objects[stream])

    def wait_event(self, event: int) -> None:
        self._do(runtime.cudaEventSynchronize, self._objects[event])

    def elapsed_ms(self, first: int, last: int) -> float:
        return float(self._get(runtime.cudaEventElapsedTime, self._objects[first], self._objects[last]))

    def to_device(self, address: int, host: Bytes, stream: int) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do(runtime.cudaMemcpyAsync, address, host.ctypes.data, host.nbytes, kind, self._objects[stream])

    def to_host(self, host: Bytes, address: int, stream: int) -> None:
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do(runtime.cudaMemcpyAsync, host.ctypes.data, address, host.nbytes, kind, self._objects[stream])

    def begin_capture(self, stream: int) -> None:
        """Other threads may allocate meanwhile: only this one's calls can spoil the capture."""
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do(runtime.cudaStreamBeginCapture, self._objects[stream], mode)

    def end_capture(self, stream: int) -> int:
        graph = self._get(runtime.cudaStreamEndCapture, self._objects[stream])
        try:
            return self._kept(self._get(runtime.cudaGraphInstantiate, graph, 0))
        finally:
            self._release(runtime.cudaGraphDestroy, graph)

    def launch(self, graph: int, stream: int) -> None:
        self._do(runtime.cudaGraphLaunch, self._objects[graph], self._objects[stream])

    def free_graph(self, graph: int) -> None:
        self._release(runtime.cudaGraphExecDestroy, self._objects.pop(graph))

    def _kept(self, created: Any) -> int:
        """The handle of a stream, an event or a graph, under which the binding's own object is kept."""
        handle = int(created)
        self._objects[handle] = created
        return handle

    def _get(
        self, function: Callable[_Given, tuple[runtime.cudaError_t, _Result]], *given: _Given.args, **named: _Given.kwargs
    ) -> _Result:
        """What a function of the runtime returns beside the error. Raises InferenceError for an error."""
        error, value = function(*given, **named)
        self._check(function, error)
        return value

    def _do(self, function: Callable[_Given, tuple[runtime.cudaError_t]], *given: _Given.args, **named: _Given.kwargs) -> None:
        """Call a function that returns the error alone. Raises InferenceError."""
        (error,) = function(*given, **named)
        self._check(function, error)

    def _check(self, function: Callable[..., object], error: runtime.cudaError_t) -> None:
        if error != runtime.cudaError_t.cudaSuccess:
            name, text = runtime.cudaGetErrorName(error)[1], runtime.cudaGetErrorString(error)[1]
            called = getattr(function, "__name__", str(function))
            raise failed(called, name.decode("utf-8", "replace"), text.decode("utf-8", "replace"))

    def _release(self, function: Callable[[Any], tuple[runtime.cudaError_t]], what: Any) -> None:
        try:
            self._do(function, what)
        except InferenceError as error:
            not_freed(error)
