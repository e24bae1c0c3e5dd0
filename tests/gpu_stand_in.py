"""A stand-in for a GPU, which no test machine has, for the stand-ins of NVIDIA's packages in tests/stand_ins.

Device memory is host memory, at its real address, full of rubbish until it is written. What is put into a stream is done when
somebody waits for it, and not before: who forgets to wait, or changes a buffer too early, gets wrong answers. All that was made
and not freed is known, and so is every misuse that a real device would answer with a crash, or not at all.

It has any number of devices, each with its own streams and memory; a thread's device is its own, as with CUDA.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Operation = Callable[[], None]
RUBBISH = 0xA5
ALIGNED = 256


class Fault(Exception):
    """An error of CUDA, by the runtime's name for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(eq=False)
class Memory:
    """device: its number, None for page-locked memory of the host."""

    size: int
    device: int | None
    whole: NDArray[np.uint8] = field(init=False)
    address: int = field(init=False)

    def __post_init__(self) -> None:
        self.whole = np.full(self.size + ALIGNED, RUBBISH, np.uint8)
        self.address = -(-self.whole.ctypes.data // ALIGNED) * ALIGNED

    def part(self, address: int, size: int) -> NDArray[np.uint8]:
        start = address - self.whole.ctypes.data
        return self.whole[start : start + size]


@dataclass(eq=False)
class Stream:
    device: int
    handle: int
    waiting: list[Operation] = field(default_factory=list)
    noted: list[Operation] | None = None
    """What a capture has seen so far."""
    order: threading.RLock = field(default_factory=threading.RLock)
    """Held while something is done: one after the other, whichever threads wait."""


@dataclass(eq=False)
class Event:
    stream: Stream | None = None
    done: bool = False
    at_ns: int = 0


class Gpu:
    """All devices of the machine. memory_bytes: of each."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, *, devices: int = 1, memory_bytes: int = 1 << 32) -> None:
        """A fresh machine."""
        self.devices, self.memory_bytes = devices, memory_bytes
        self.memory: dict[int, Memory] = {}
        self.pinned: dict[int, Memory] = {}
        self.streams: dict[int, Stream] = {}
        self.events: list[Event] = []
        self.graphs: list[list[Operation]] = []
        self.others: Counter[str] = Counter()
        """What the packages made themselves: contexts, engines."""
        self.misuses: list[str] = []
        self.calls: list[str] = []
        self.launches = 0
        self._fail_at = -1
        self._fail: dict[str, tuple[int, str]] = {}
        self._broken = ""
        self._thread = threading.local()
        self._handles = 0x1000

    @property
    def device(self) -> int:
        """Of this thread."""
        return getattr(self._thread, "device", 0)

    @device.setter
    def device(self, number: int) -> None:
        self._thread.device = number

    def fail(self, call: str, *, after: int = 0, name: str = "cudaErrorUnknown") -> None:
        """Have a call fail, once, after so many that do not."""
        self._fail[call] = (after, name)

    def fail_at(self, number: int) -> None:
        """Have the call of that number fail, whatever it is."""
        self._fail_at = number

    def live(self) -> dict[str, int]:
        """What was made and is not freed."""
        found = {
            "memory": len(self.memory),
            "pinned": len(self.pinned),
            "streams": len(self.streams),
            "events": len(self.events),
            "graphs": len(self.graphs),
            **self.others,
        }
        return {what: count for what, count in found.items() if count}

    def misuse(self, what: str) -> Fault:
        """Take down what a real device would not survive."""
        self.misuses.append(what)
        return Fault("cudaErrorIllegalAddress")

    def enter(self, call: str, *, also_broken: bool = False) -> None:
        """Every call of the packages begins here. Raises Fault where one was asked for."""
        number = len(self.calls)
        self.calls.append(call)
        if self._broken and not also_broken:
            raise Fault(self._broken)
        if number == self._fail_at:
            raise self._failed(call, "cudaErrorUnknown")
        after, name = self._fail.get(call, (-1, ""))
        if after == 0:
            del self._fail[call]
            raise self._failed(call, name)
        if after > 0:
            self._fail[call] = (after - 1, name)

    def _failed(self, call: str, name: str) -> Fault:
        if call.startswith("wait"):
            self.broken(name)  # what a wait reports went wrong on the device, and stays
        return Fault(name)

    def broken(self, name: str) -> None:
        """From now on every call fails, as after an error on the device, and nothing is done there any more."""
        self._broken = name
        for stream in list(self.streams.values()):
            stream.waiting.clear()

    # Memory

    def allocate(self, size: int) -> int:
        self.enter("allocate")
        self._outside_capture()
        used = sum(each.size for each in list(self.memory.values()) if each.device == self.device)
        if used + size > self.memory_bytes:
            raise Fault("cudaErrorMemoryAllocation")
        memory = Memory(size, self.device)
        self.memory[memory.address] = memory
        return memory.address

    def free(self, address: int) -> None:
        self._outside_capture()
        self._drain()
        if self.memory.pop(address, None) is None:
            raise self.misuse("free of what is no device memory")
        self.enter("free")

    def allocate_pinned(self, size: int) -> int:
        self.enter("pinned")
        self._outside_capture()
        memory = Memory(size, None)
        self.pinned[memory.address] = memory
        return memory.address

    def free_pinned(self, address: int) -> None:
        self._outside_capture()
        self._drain()
        if self.pinned.pop(address, None) is None:
            raise self.misuse("free of what is no page-locked memory")
        self.enter("free pinned")

    def on_device(self, address: int, size: int) -> NDArray[np.uint8]:
        """Device memory by its address. Raises Fault for memory that is none."""
        return self._find(self.memory, address, size, "device")

    def on_host(self, address: int, size: int) -> NDArray[np.uint8]:
        """Page-locked memory by its address. Raises Fault for other memory: its copies would not be asynchronous."""
        return self._find(self.pinned, address, size, "page-locked")

    def _find(self, memories: dict[int, Memory], address: int, size: int, kind: str) -> NDArray[np.uint8]:
        for memory in list(memories.values()):
            if memory.address <= address and address + size <= memory.address + memory.size:
                return memory.part(address, size)
        raise self.misuse(f"{size} bytes at an address that is no {kind} memory")

    # Streams and events

    def make_stream(self) -> int:
        self.enter("stream")
        self._outside_capture()
        self._handles += 1
        self.streams[self._handles] = Stream(self.device, self._handles)
        return self._handles

    def free_stream(self, handle: int) -> None:
        stream = self._stream(handle)
        del self.streams[handle]
        self._run(stream)
        self.enter("free stream")

    def wait_stream(self, handle: int) -> None:
        stream = self._stream(handle)
        self.enter("wait stream")
        if stream.noted is not None:
            stream.noted = None
            raise Fault("cudaErrorStreamCaptureUnsupported")
        self._run(stream)

    def make_event(self) -> Event:
        self.enter("event")
        event = Event()
        self.events.append(event)
        return event

    def free_event(self, event: Event) -> None:
        self.events.remove(event)
        self.enter("free event")

    def record(self, event: Event, handle: int) -> None:
        stream = self._stream(handle)
        self.enter("record")
        event.stream, event.done = stream, False

        def happen() -> None:
            event.done, event.at_ns = True, time.monotonic_ns()

        self.put(handle, happen)

    def wait_event(self, event: Event) -> None:
        self.enter("wait event")
        if event.stream is not None:
            self._run(event.stream, until=lambda: event.done)

    def put(self, handle: int, operation: Operation) -> None:
        """Into the stream, or into the capture that is going on there."""
        stream = self._stream(handle)
        (stream.waiting if stream.noted is None else stream.noted).append(operation)

    def copy_to_device(self, address: int, host: int, size: int, handle: int) -> None:
        self.enter("copy")
        self.on_device(address, size)
        self.on_host(host, size)
        self.put(handle, lambda: self._copy(self.on_device(address, size), self.on_host(host, size)))

    def copy_to_host(self, host: int, address: int, size: int, handle: int) -> None:
        self.enter("copy")
        self.on_device(address, size)
        self.on_host(host, size)
        self.put(handle, lambda: self._copy(self.on_host(host, size), self.on_device(address, size)))

    def _copy(self, to: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
        to[:] = source

    # Graphs

    def begin_capture(self, handle: int) -> None:
        stream = self._stream(handle)
        self.enter("begin capture")
        if stream.noted is not None:
            raise Fault("cudaErrorIllegalState")
        stream.noted = []

    def capturing(self, handle: int) -> bool:
        return self._stream(handle).noted is not None

    def end_capture(self, handle: int) -> list[Operation]:
        """The graph, which is alive."""
        stream = self._stream(handle)
        noted, stream.noted = stream.noted, None
        self.enter("end capture")
        if noted is None:
            raise Fault("cudaErrorStreamCaptureInvalidated")
        self.graphs.append(noted)
        return noted

    def instantiate(self, graph: list[Operation]) -> list[Operation]:
        self.enter("instantiate")
        ready = list(graph)
        self.graphs.append(ready)
        return ready

    def launch(self, graph: list[Operation], handle: int) -> None:
        self.enter("launch")
        self.launches += 1
        for operation in graph:
            self.put(handle, operation)

    def free_graph(self, graph: list[Operation]) -> None:
        at = next(at for at, each in enumerate(self.graphs) if each is graph)
        del self.graphs[at]
        self.enter("free graph")

    # What goes on inside

    def _stream(self, handle: int) -> Stream:
        if handle not in self.streams:
            raise self.misuse("a stream that is none")
        stream = self.streams[handle]
        if stream.device != self.device:
            raise self.misuse(f"a stream of device {stream.device} while device {self.device} is current")
        return stream

    def _run(self, stream: Stream, until: Callable[[], bool] = lambda: False) -> None:
        try:
            with stream.order:
                while stream.waiting and not until():
                    stream.waiting.pop(0)()
        except Fault as fault:
            self.broken(fault.name)
        if self._broken:
            stream.waiting.clear()
            raise Fault(self._broken)

    def _drain(self) -> None:
        """A free waits for the device."""
        for stream in list(self.streams.values()):
            if stream.device == self.device and not self._broken:
                self._run(stream)

    def _outside_capture(self) -> None:
        """Memory may not be made or freed while this thread captures: it spoils the capture."""
        for stream in list(self.streams.values()):
            if stream.noted is not None:
                stream.noted = None
                raise Fault("cudaErrorStreamCaptureUnsupported")


GPU = Gpu()
