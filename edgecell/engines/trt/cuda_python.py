"""CUDA through NVIDIA's cuda-python (`cuda.bindings.runtime`, 12.6 to 13): see `edgecell.engines.trt.cuda.Cuda`.

Every function of it returns a tuple with the error first. TensorRT uses the device's primary context, and so does the CUDA
runtime, so the two share memory and streams.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgecell.engines.trt.cuda import Bytes, failed, not_freed
from edgecell.errors import InferenceError


class CudaPython:
    """One device through the CUDA runtime."""

    graphs = True

    def __init__(self, device: int) -> None:
        """Raises InferenceError when there is no such device, or no driver."""
        from cuda.bindings import runtime

        self.name = f"cuda-python {self.version()}"
        self._runtime: Any = runtime
        self._device = device
        self._objects: dict[int, Any] = {}
        with self.current():
            self._call("cudaFree", 0)  # makes the primary context, so that what is wrong with the device shows here

    @staticmethod
    def version() -> str:
        """Of the binding. Raises ImportError where it is not installed."""
        import cuda.bindings
        from cuda.bindings import runtime  # noqa: F401 a binding whose native part does not load is none

        return str(cuda.bindings.__version__)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Set the thread's device, and set it back."""
        before = self._call("cudaGetDevice")
        self._call("cudaSetDevice", self._device)
        try:
            yield
        finally:
            if before != self._device:
                self._release("cudaSetDevice", before)

    def close(self) -> None:
        """The primary context is the process's: other engines may use it, so it stays."""

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._release("cudaFree", address)

    def pinned(self, size: int) -> Bytes:
        address = int(self._call("cudaHostAlloc", size, self._runtime.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_pinned(self, host: Bytes) -> None:
        self._release("cudaFreeHost", host.ctypes.data)

    def stream(self) -> int:
        return self._kept(self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def free_stream(self, stream: int) -> None:
        self._release("cudaStreamDestroy", self._objects.pop(stream))

    def wait_stream(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", self._objects[stream])

    def event(self, *, timed: bool = False) -> int:
        flags = self._runtime.cudaEventBlockingSync | (0 if timed else self._runtime.cudaEventDisableTiming)
        return self._kept(self._call("cudaEventCreateWithFlags", flags))

    def free_event(self, event: int) -> None:
        self._release("cudaEventDestroy", self._objects.pop(event))

    def record(self, event: int, stream: int) -> None:
        self._call("cudaEventRecord", self._objects[event], self._objects[stream])

    def wait_event(self, event: int) -> None:
        self._call("cudaEventSynchronize", self._objects[event])

    def elapsed_ms(self, first: int, last: int) -> float:
        return float(self._call("cudaEventElapsedTime", self._objects[first], self._objects[last]))

    def to_device(self, address: int, host: Bytes, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, self._objects[stream])

    def to_host(self, host: Bytes, address: int, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, self._objects[stream])

    def begin_capture(self, stream: int) -> None:
        """Other threads may allocate meanwhile: only this one's calls can spoil the capture."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._objects[stream], mode)

    def end_capture(self, stream: int) -> int:
        graph = self._call("cudaStreamEndCapture", self._objects[stream])
        try:
            return self._kept(self._call("cudaGraphInstantiate", graph, 0))
        finally:
            self._release("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        self._call("cudaGraphLaunch", self._objects[graph], self._objects[stream])

    def free_graph(self, graph: int) -> None:
        self._release("cudaGraphExecDestroy", self._objects.pop(graph))

    def _kept(self, created: Any) -> int:
        """The handle of a stream, an event or a graph, under which the binding's own object is kept."""
        handle = int(created)
        self._objects[handle] = created
        return handle

    def _call(self, name: str, *arguments: Any) -> Any:
        """What a function of the runtime returns after the error. Raises InferenceError for an error."""
        error, *values = getattr(self._runtime, name)(*arguments)
        if error != self._runtime.cudaError_t.cudaSuccess:
            raise failed(name, self._text("cudaGetErrorName", error), self._text("cudaGetErrorString", error))
        return values[0] if values else None

    def _release(self, name: str, what: Any) -> None:
        try:
            self._call(name, what)
        except InferenceError as error:
            not_freed(error)

    def _text(self, name: str, error: Any) -> str:
        text: bytes = getattr(self._runtime, name)(error)[1]
        return text.decode("utf-8", "replace")
