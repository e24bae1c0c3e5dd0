"""The seam to CUDA: device memory, page-locked memory, streams, events, copies and graphs, whichever binding is installed.

Streams, events, graphs and device memory are numbers: the handle, or the address. What they stand for lives until it is freed
here, never until the last reference goes, so the order of release is ours.
"""

import importlib
import logging
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell.errors import InferenceError, MissingDependency

Bytes = NDArray[np.uint8]

_BINDINGS = ("edgecell.engines.trt.cuda_python:CudaPython", "edgecell.engines.trt.pycuda_binding:PyCuda")
"""In this order: cuda-python has graphs, and NVIDIA's own samples use it since TensorRT 10.13."""
_INSTALL = (
    "`pip install 'edgecell[cuda]'` (cuda-python, a wheel for x86_64 and for a Jetson), or `pip install 'edgecell[pycuda]'`, "
    "which is built from source and wants cuda.h: on a Jetson `export CPATH=/usr/local/cuda/include` first"
)
_OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "MemoryError")


class Cuda(Protocol):
    """One device, through one binding. Every call but `close` happens inside `with cuda.current():`.

    name: the binding and its version. graphs: whether capture, launch and free_graph work. Whatever frees does not raise, it
    logs; everything else raises InferenceError.
    """

    name: str
    graphs: bool

    def current(self) -> AbstractContextManager[None]:
        """Make the device this thread's own for a while. May be nested, and with other devices."""

    def close(self) -> None:
        """Let go of the device. Everything else was freed before."""

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device, on a multiple of 256."""

    def free(self, address: int) -> None: ...

    def pinned(self, size: int) -> Bytes:
        """uint8 (size,) in page-locked memory of the host: what asynchronous copies need. Valid until it is freed."""

    def free_pinned(self, host: Bytes) -> None: ...

    def stream(self) -> int:
        """A stream that does not wait for the default one: the number that TensorRT takes."""

    def free_stream(self, stream: int) -> None: ...

    def wait_stream(self, stream: int) -> None:
        """Wait for all that was put into it."""

    def event(self, *, timed: bool = False) -> int:
        """An event. A thread that waits for it sleeps: it burns no core that capture and segmentation need."""

    def free_event(self, event: int) -> None: ...

    def record(self, event: int, stream: int) -> None:
        """Put the event into the stream; it happens when all that was put there before is done."""

    def wait_event(self, event: int) -> None: ...

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds on the device between two timed events that have happened."""

    def to_device(self, address: int, host: Bytes, stream: int) -> None:
        """Put a copy of page-locked bytes into the stream. They must stay as they are until it is done."""

    def to_host(self, host: Bytes, address: int, stream: int) -> None:
        """Put a copy to page-locked bytes into the stream."""

    def begin_capture(self, stream: int) -> None:
        """From here on what is put into the stream is noted, not done."""

    def end_capture(self, stream: int) -> int:
        """The graph of what was noted, ready to be launched. The stream leaves its capture in any case."""

    def launch(self, graph: int, stream: int) -> None:
        """Put all that a graph holds into the stream."""

    def free_graph(self, graph: int) -> None: ...


def open_cuda(device: int = 0, supported: str = "") -> Cuda:
    """The first binding that can be used, on that device. supported: see `find_binding`. Raises MissingDependency,
    InferenceError."""
    found: Cuda = find_binding(supported)(device)
    return found


def find_binding(supported: str = "") -> Any:
    """The class of the first binding that can be used; the device is not touched. Raises MissingDependency.

    supported: the CUDA that the driver supports, as in "12.6", "" if unknown: a binding for a newer one is of no use.
    """
    reasons = []
    for each in _BINDINGS:
        module, _, name = each.partition(":")
        binding = getattr(importlib.import_module(module), name)
        try:
            problem = binding.problem(supported)
        except (ImportError, OSError) as error:
            problem = " ".join(str(error).split())
        if not problem:
            return binding
        reasons.append(problem)
    raise MissingDependency(f"no CUDA binding for Python ({'; '.join(reasons)})", fix=_INSTALL)


def failed(call: str, name: str, text: str) -> InferenceError:
    """What to raise for a call that failed with the error `name`, which `text` explains."""
    if name in _OUT_OF_MEMORY:
        fix = (
            "stop what else uses the device's memory (`nvidia-smi`, on a Jetson `tegrastats`), or run smaller batches or images"
        )
    elif name == "cudaErrorInsufficientDriver":
        fix = (
            "install the binding for the CUDA that the driver supports (`edgecell doctor` shows it), "
            "for CUDA 12 `pip install 'cuda-bindings<13'`; on JetPack 6 `pip uninstall cuda-python cuda-bindings`, "
            "`pip install cuda-python==12.6.2.post1`; or a newer driver"
        )
    else:
        fix = "start again; if it comes back, look at `edgecell doctor` and at what the kernel says (`dmesg`)"
    return InferenceError(f"CUDA: {call} failed: {name} ({text})", fix=fix)


def not_freed(error: InferenceError) -> None:
    """Log, for `--verbose`, what could not be freed: after an error on the device, which was told, that is everything."""
    logging.getLogger("edgecell").debug("%s", error.what)
