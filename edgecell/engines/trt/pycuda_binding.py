"""CUDA through pycuda (`pycuda.driver`): see `edgecell.engines.trt.cuda.Cuda`.

pycuda uses contexts of the driver interface. The device's primary context is the one that TensorRT uses too, so that one is
retained, and pushed for every piece of work: a context is current on one thread only, and an engine may be opened on one thread
and used on another. pycuda (2026.1) knows no graphs. Streams and events go when their last reference does: it is held here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from edgecell.engines.trt.cuda import Bytes, failed, not_freed
from edgecell.errors import InferenceError

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING of cuda.h; pycuda has no name for it."""

_Result = TypeVar("_Result")


class PyCuda:
    """One device through pycuda."""

    title = "pycuda"
    graphs = False

    def __init__(self, device: int) -> None:
        """Raises InferenceError when there is no such device, or no driver."""
        import pycuda.driver

        self.name = f"{self.title} {self.version()}"
        self._driver: Any = pycuda.driver
        self._objects: dict[int, Any] = {}
        self._call("cuInit", self._driver.init)
        self._context: Any = self._call(
            "cuDevicePrimaryCtxRetain", lambda: self._driver.Device(device).retain_primary_context()
        )

    @staticmethod
    def version() -> str:
        """Of the binding. Raises ImportError where it is not installed, or finds no driver to load."""
        import pycuda
        import pycuda.driver

        return str(pycuda.VERSION_TEXT)

    @classmethod
    def problem(cls, supported: str) -> str:  # noqa: ARG003 the seam's
        """It was built here, against what is here. Raises ImportError."""
        cls.version()
        return ""

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the context, and pop it."""
        self._call("cuCtxPushCurrent", self._context.push)
        try:
            yield
        finally:
            self._release("cuCtxPopCurrent", self._driver.Context.pop)

    def close(self) -> None:
        """Let go of the primary context, which is destroyed when nobody else holds it. It must not be current: pycuda would
        take it from its own list of pushed contexts then, and not find it when it is popped."""
        self._release("cuDevicePrimaryCtxRelease", self._context.detach)

    def allocate(self, size: int) -> int:
        allocation = self._call("cuMemAlloc", self._driver.mem_alloc, size)
        return self._kept(int(allocation), allocation)

    def free(self, address: int) -> None:
        self._release("cuMemFree", self._objects.pop(address).free)

    def pinned(self, size: int) -> Bytes:
        host: Bytes = self._call("cuMemHostAlloc", self._driver.pagelocked_empty, size, np.uint8)
        return host

    def free_pinned(self, host: Bytes) -> None:
        allocation: Any = host.base
        self._release("cuMemFreeHost", allocation.free)

    def stream(self) -> int:
        stream = self._call("cuStreamCreate", self._driver.Stream, NON_BLOCKING)
        return self._kept(int(stream.handle), stream)

    def free_stream(self, stream: int) -> None:
        del self._objects[stream]

    def wait_stream(self, stream: int) -> None:
        self._call("cuStreamSynchronize", self._objects[stream].synchronize)

    def event(self, *, timed: bool = False) -> int:
        flags = self._driver.event_flags
        chosen = flags.BLOCKING_SYNC if timed else flags.BLOCKING_SYNC | flags.DISABLE_TIMING
        event = self._call("cuEventCreate", self._driver.Event, chosen)
        return self._kept(id(event), event)

    def free_event(self, event: int) -> None:
        del self._objects[event]

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", self._objects[event].record, self._objects[stream])

    def wait_event(self, event: int) -> None:
        self._call("cuEventSynchronize", self._objects[event].synchronize)

    def elapsed_ms(self, first: int, last: int) -> float:
        return float(self._call("cuEventElapsedTime", self._objects[first].time_till, self._objects[last]))

    def to_device(self, address: int, host: Bytes, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync", self._driver.memcpy_htod_async, address, host, self._objects[stream])

    def to_host(self, host: Bytes, address: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync", self._driver.memcpy_dtoh_async, host, address, self._objects[stream])

    def begin_capture(self, stream: int) -> None:  # noqa: ARG002 the seam's
        raise _no_graphs(self.name)

    def end_capture(self, stream: int) -> int:  # noqa: ARG002 the seam's
        raise _no_graphs(self.name)

    def launch(self, graph: int, stream: int) -> None:  # noqa: ARG002 the seam's
        raise _no_graphs(self.name)

    def free_graph(self, graph: int) -> None:
        """There is none."""

    def _kept(self, handle: int, created: Any) -> int:
        self._objects[handle] = created
        return handle

    def _call(self, name: str, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """What a function of pycuda returns. `name` is CUDA's for it. Raises InferenceError for an error, which must not keep
        pycuda's objects alive by its traceback: they go when their last reference goes."""
        try:
            return function(*arguments)
        except self._driver.Error as error:
            mine = failed(name, type(error).__name__, " ".join(str(error).split()))
        del function, arguments
        raise mine

    def _release(self, name: str, function: Callable[[], object]) -> None:
        try:
            self._call(name, function)
        except InferenceError as error:
            not_freed(error)


def _no_graphs(name: str) -> InferenceError:
    return InferenceError(f"{name} has no CUDA graphs", fix="pip install 'edgecell[cuda]', or set cuda_graphs = false")
