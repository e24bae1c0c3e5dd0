"""A stand-in for `pycuda.driver` on the GPU of `gpu_stand_in`.

As with the real one a context is current on the thread that pushed it only, streams and events go with their last reference,
and none of them goes well without its context.
"""

import threading
from collections.abc import Callable
from enum import IntFlag
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from gpu_stand_in import GPU, Fault
from numpy.typing import NDArray

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Error(Exception):
    pass


class MemoryError(Error):  # noqa: A001 pycuda's name
    pass


class LogicError(Error):
    pass


class LaunchError(Error):
    pass


_CLASSES = {"cudaErrorMemoryAllocation": MemoryError, "cudaErrorIllegalAddress": LaunchError}


class event_flags(IntFlag):  # noqa: N801
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


def _raises(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Raise pycuda's errors."""

    @wraps(function)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        try:
            return function(*arguments, **named)
        except Fault as fault:
            raise _CLASSES.get(fault.name, LogicError)(f"{function.__name__} failed: {fault.name}") from None

    return call


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Context] = []


_STACK = _Stack()


def _current() -> "Context":
    if not _STACK.contexts:
        raise LogicError("explicit_context_dependent failed: invalid device context - no currently active context?")
    return _STACK.contexts[-1]


@_raises
def init() -> None:
    GPU.enter("init")


class Device:
    @_raises
    def __init__(self, ordinal: int) -> None:
        if not 0 <= ordinal < GPU.devices:
            raise Fault("cudaErrorInvalidDevice")
        self.ordinal = ordinal

    @_raises
    def retain_primary_context(self) -> "Context":
        GPU.enter("retain context")
        GPU.others["pycuda contexts"] += 1
        return Context(self.ordinal)


class Context:
    def __init__(self, device: int) -> None:
        self._device, self._valid = device, True

    @_raises
    def push(self) -> None:
        if not self._valid:
            raise Fault("cudaErrorInvalidResourceHandle")
        GPU.enter("push context", also_broken=True)
        _STACK.contexts.append(self)
        GPU.device = self._device

    @staticmethod
    @_raises
    def pop() -> None:
        if not _STACK.contexts:
            raise Fault("cudaErrorInvalidResourceHandle")
        _STACK.contexts.pop()
        GPU.device = _STACK.contexts[-1]._device if _STACK.contexts else 0
        GPU.enter("pop context", also_broken=True)

    @_raises
    def detach(self) -> None:
        """As pycuda, a context that is current leaves its own list of them."""
        if not self._valid:
            raise Fault("cudaErrorInvalidResourceHandle")
        self._valid = False
        _STACK.contexts[:] = [each for each in _STACK.contexts if each is not self]
        GPU.others["pycuda contexts"] -= 1
        left = {what: count for what, count in GPU.live().items() if what != "pycuda contexts"}
        if left and not GPU.others["pycuda contexts"]:
            GPU.misuse(f"the context goes before {left}")
        GPU.enter("release context", also_broken=True)


class _Dependent:
    """What belongs to the context that was current when it was made."""

    def __init__(self) -> None:
        self._context = _current()

    def _gone(self, free: Callable[[], None]) -> None:
        """From a destructor: nothing may be raised there."""
        try:
            if _current() is not self._context:
                GPU.misuse(f"{type(self).__name__} goes while another context is current")
            free()
        except (Error, Fault) as error:
            if isinstance(error, LogicError):
                GPU.misuse(f"{type(self).__name__} goes while no context is current")


class Stream(_Dependent):
    handle = 0

    @_raises
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        assert flags == 1
        self.handle = GPU.make_stream()

    def __del__(self) -> None:
        if self.handle:
            self._gone(lambda: GPU.free_stream(self.handle))

    @_raises
    def synchronize(self) -> None:
        _current()
        GPU.wait_stream(self.handle)


class Event(_Dependent):
    of: Any = None

    @_raises
    def __init__(self, flags: int = 0) -> None:
        super().__init__()
        assert flags & event_flags.BLOCKING_SYNC
        self.of = GPU.make_event()

    def __del__(self) -> None:
        if self.of is not None:
            self._gone(lambda: GPU.free_event(self.of))

    @_raises
    def record(self, stream: Stream | None = None) -> "Event":
        _current()
        assert stream is not None
        GPU.record(self.of, stream.handle)
        return self

    @_raises
    def synchronize(self) -> "Event":
        _current()
        GPU.wait_event(self.of)
        return self

    def time_till(self, event: "Event") -> float:
        return float(event.of.at_ns - self.of.at_ns) / 1e6


class DeviceAllocation(_Dependent):
    def __init__(self, address: int) -> None:
        super().__init__()
        self._address = address

    def __int__(self) -> int:
        return self._address

    @_raises
    def free(self) -> None:
        _current()
        GPU.free(self._address)


class PagelockedHostAllocation(_Dependent):
    def __init__(self, address: int, size: int) -> None:
        super().__init__()
        self._address = address
        self.__array_interface__: Any = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}

    @_raises
    def free(self) -> None:
        _current()
        GPU.free_pinned(self._address)


@_raises
def mem_alloc(bytes: int) -> DeviceAllocation:  # noqa: A002 pycuda's name
    _current()
    return DeviceAllocation(GPU.allocate(bytes))


@_raises
def pagelocked_empty(shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> NDArray[np.uint8]:
    _current()
    assert np.dtype(dtype) == np.uint8
    return np.asarray(PagelockedHostAllocation(GPU.allocate_pinned(shape), shape))


@_raises
def memcpy_htod_async(dest: int, src: NDArray[np.uint8], stream: Stream | None = None) -> None:
    _current()
    assert stream is not None
    GPU.copy_to_device(dest, src.ctypes.data, src.nbytes, stream.handle)


@_raises
def memcpy_dtoh_async(dest: NDArray[np.uint8], src: int, stream: Stream | None = None) -> None:
    _current()
    assert stream is not None
    GPU.copy_to_host(dest.ctypes.data, src, dest.nbytes, stream.handle)
