"""A stand-in for `cuda.bindings.runtime` on the GPU of `gpu_stand_in`. Every function returns a tuple, the error first."""

# ruff: noqa: N801, N802, N815, N816 NVIDIA's names
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Any

from gpu_stand_in import GPU, Event, Fault, Operation

cudaHostAllocDefault = 0
cudaStreamNonBlocking = 1
cudaEventBlockingSync = 1
cudaEventDisableTiming = 2


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalState = 401
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorUnknown = 999


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class _Handle:
    """What the real package wraps handles in."""

    def __init__(self, number: int, of: Any = None) -> None:
        self._number, self.of = number, of

    def __int__(self) -> int:
        return self._number


class cudaStream_t(_Handle):
    pass


class cudaEvent_t(_Handle):
    of: Event


class cudaGraph_t(_Handle):
    of: list[Operation]


class cudaGraphExec_t(_Handle):
    of: list[Operation]


def _answers(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """(error, value) or, of a function without a value, (error,), as the real ones."""

    @wraps(function)
    def call(*arguments: Any) -> tuple[Any, ...]:
        returns = function.__annotations__["return"] is not None
        try:
            value = function(*arguments)
        except Fault as fault:
            return (cudaError_t[fault.name], None) if returns else (cudaError_t[fault.name],)
        return (cudaError_t.cudaSuccess, value) if returns else (cudaError_t.cudaSuccess,)

    return call


def cudaGetErrorName(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return cudaError_t.cudaSuccess, error.name.encode()


def cudaGetErrorString(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return cudaError_t.cudaSuccess, b"out of memory" if error == 2 else b"an error"


@_answers
def cudaGetDevice() -> int:
    GPU.enter("get device", also_broken=True)
    return GPU.device


@_answers
def cudaSetDevice(device: int) -> None:
    GPU.enter("set device", also_broken=True)
    if not 0 <= device < GPU.devices:
        raise Fault("cudaErrorInvalidDevice")
    GPU.device = device


@_answers
def cudaMalloc(size: int) -> int:
    return GPU.allocate(size)


@_answers
def cudaFree(devPtr: int) -> None:  # noqa: N803
    if devPtr:
        GPU.free(devPtr)
    else:
        GPU.enter("make context")


@_answers
def cudaHostAlloc(size: int, flags: int) -> int:
    assert flags == cudaHostAllocDefault
    return GPU.allocate_pinned(size)


@_answers
def cudaFreeHost(ptr: int) -> None:
    GPU.free_pinned(ptr)


@_answers
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    assert flags == cudaStreamNonBlocking
    return cudaStream_t(GPU.make_stream())


@_answers
def cudaStreamDestroy(stream: cudaStream_t) -> None:
    GPU.free_stream(int(stream))


@_answers
def cudaStreamSynchronize(stream: cudaStream_t) -> None:
    GPU.wait_stream(int(stream))


@_answers
def cudaEventCreateWithFlags(flags: int) -> cudaEvent_t:
    assert flags & cudaEventBlockingSync
    event = GPU.make_event()
    return cudaEvent_t(id(event), event)


@_answers
def cudaEventDestroy(event: cudaEvent_t) -> None:
    GPU.free_event(event.of)


@_answers
def cudaEventRecord(event: cudaEvent_t, stream: cudaStream_t) -> None:
    GPU.record(event.of, int(stream))


@_answers
def cudaEventSynchronize(event: cudaEvent_t) -> None:
    GPU.wait_event(event.of)


@_answers
def cudaEventElapsedTime(start: cudaEvent_t, end: cudaEvent_t) -> float:
    return (end.of.at_ns - start.of.at_ns) / 1e6


@_answers
def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: cudaStream_t) -> None:
    if kind == cudaMemcpyKind.cudaMemcpyHostToDevice:
        GPU.copy_to_device(dst, src, count, int(stream))
    else:
        GPU.copy_to_host(dst, src, count, int(stream))


@_answers
def cudaStreamBeginCapture(stream: cudaStream_t, mode: cudaStreamCaptureMode) -> None:
    assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    GPU.begin_capture(int(stream))


@_answers
def cudaStreamEndCapture(stream: cudaStream_t) -> cudaGraph_t:
    graph = GPU.end_capture(int(stream))
    return cudaGraph_t(id(graph), graph)


@_answers
def cudaGraphInstantiate(graph: cudaGraph_t, flags: int) -> cudaGraphExec_t:
    assert flags == 0
    ready = GPU.instantiate(graph.of)
    return cudaGraphExec_t(id(ready), ready)


@_answers
def cudaGraphDestroy(graph: cudaGraph_t) -> None:
    GPU.free_graph(graph.of)


@_answers
def cudaGraphLaunch(graphExec: cudaGraphExec_t, stream: cudaStream_t) -> None:  # noqa: N803
    GPU.launch(graphExec.of, int(stream))


@_answers
def cudaGraphExecDestroy(graphExec: cudaGraphExec_t) -> None:  # noqa: N803
    GPU.free_graph(graphExec.of)
